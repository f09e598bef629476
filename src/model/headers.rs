//! The headers that travel with an event.

use super::{Invalid, limits};

/// String to string, names in lower case and unique, sorted by name, within the limits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers(Vec<(Box<str>, Box<str>)>);

impl Headers {
    /// Checks and sorts a set of headers.
    ///
    /// # Errors
    /// Too many, too large, a name given twice, a name that is not a lower-case HTTP token, a value with control characters.
    pub fn parse<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, Invalid> {
        let mut list: Vec<(Box<str>, Box<str>)> = Vec::new();
        let mut bytes = 0;
        for (name, value) in pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            let token = !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&b));
            if !token {
                return Err(Invalid::new(
                    "headers",
                    format!("'{}' is not a header name; names are HTTP tokens in lower case", name.escape_debug()),
                ));
            }
            if value.chars().any(char::is_control) {
                return Err(Invalid::new("headers", format!("the value of '{name}' has control characters")));
            }
            bytes += name.len() + value.len();
            list.push((name.into(), value.into()));
        }
        if list.len() > limits::MAX_HEADERS {
            return Err(Invalid::new("headers", format!("{} given; at most {} fit", list.len(), limits::MAX_HEADERS)));
        }
        if bytes > limits::MAX_HEADERS_BYTES {
            return Err(Invalid::new(
                "headers",
                format!("{bytes} bytes of names and values; at most {} fit", limits::MAX_HEADERS_BYTES),
            ));
        }
        list.sort();
        if let Some(pair) = list.windows(2).find(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
            let name = pair.first().map_or("", |(name, _)| name);
            return Err(Invalid::new("headers", format!("'{name}' is given twice")));
        }
        Ok(Self(list))
    }

    /// The pairs, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The value of one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// None at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pairs but for the trace context, which differs between two tries of one publish.
    pub fn without_trace(&self) -> impl Iterator<Item = (&str, &str)> {
        let trace = ["traceparent", "tracestate", "ce-traceparent", "ce-tracestate"];
        self.iter().filter(move |(name, _)| !trace.contains(name))
    }
}
