//! Patterns: what a listener asks for.

use super::channel::{check_tokens, is_token};
use super::{Channel, Invalid, limits};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `key.activated`, `key.*`, `key.**`, `**`: `*` stands for one whole token, `**`, only as the
/// last token, for one or more. Neither matches a leading `$` token.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Text outside the grammar of PROTOCOL.md section 1.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        check_tokens("channels", text, |token, first| token == "*" || token == "**" || is_token(token, first))?;
        if text.split('.').rev().skip(1).any(|token| token == "**") {
            return Err(Invalid::new("channels", format!("'{text}': ** can only be the last token")));
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether `channel` is one that this pattern asks for.
    #[must_use]
    pub fn matches(&self, channel: &str) -> bool {
        let mut asked = self.0.split('.');
        let mut tokens = channel.split('.');
        let mut first = true;
        loop {
            match (asked.next(), tokens.next()) {
                (None, None) => return true,
                (Some("*" | "**"), Some(token)) if first && token.starts_with('$') => return false,
                (Some("**"), Some(_)) => return true,
                (Some("*"), Some(_)) => {}
                (Some(asked), Some(token)) if asked == token => {}
                _ => return false,
            }
            first = false;
        }
    }

    /// The one channel that is asked for, where there is no wildcard.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(&self.0)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Pattern {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The patterns of one listener; an event matches once, however many of them it fits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Filter(Vec<Pattern>);

impl Filter {
    /// Reads a list of patterns, sorted out of repeats.
    ///
    /// # Errors
    /// An empty list, more than 256, or a pattern outside the grammar.
    pub fn parse<S: AsRef<str>>(patterns: &[S]) -> Result<Self, Invalid> {
        if patterns.is_empty() {
            return Err(Invalid::new("channels", "is empty; name at least one pattern, as in key.*"));
        }
        if patterns.len() > limits::MAX_PATTERNS {
            return Err(Invalid::new("channels", format!("has more than {} patterns", limits::MAX_PATTERNS)));
        }
        let mut parsed: Vec<Pattern> = Vec::new();
        for text in patterns {
            let pattern = Pattern::parse(text.as_ref())?;
            if !parsed.contains(&pattern) {
                parsed.push(pattern);
            }
        }
        Ok(Self(parsed))
    }

    /// Everything that users publish.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![Pattern("**".to_owned())])
    }

    /// Everything, the broker's own channels too.
    #[must_use]
    pub fn everything() -> Self {
        Self(vec![Pattern("**".to_owned()), Pattern("$stentor.**".to_owned())])
    }

    /// Whether one of the patterns asks for `channel`.
    #[must_use]
    pub fn matches(&self, channel: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(channel))
    }

    /// The patterns.
    #[must_use]
    pub fn patterns(&self) -> &[Pattern] {
        &self.0
    }

    /// Whether one of the patterns asks for this channel.
    #[must_use]
    pub fn admits(&self, channel: &Channel) -> bool {
        self.matches(channel.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_whole_tokens_and_never_for_a_leading_dollar() {
        let table = [
            ("key.activated", "key.activated", true),
            ("key.activated", "key.activated.x", false),
            ("key.*", "key.activated", true),
            ("key.*", "key", false),
            ("key.*", "key.a.b", false),
            ("*.activated", "key.activated", true),
            ("key.**", "key.a", true),
            ("key.**", "key.a.b.c", true),
            ("key.**", "key", false),
            ("**", "anything.at.all", true),
            ("**", "$stentor.connector.failing", false),
            ("*.connector.failing", "$stentor.connector.failing", false),
            ("$stentor.**", "$stentor.connector.failing", true),
            ("Key.*", "key.a", false),
        ];
        for (pattern, channel, expected) in table {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(channel), expected, "{pattern} on {channel}");
        }
    }

    #[test]
    fn patterns_outside_the_grammar_are_refused() {
        for bad in ["", "**.a", "a.**.b", "a*", "a.*b", "a..b", "***", "a b"] {
            assert_eq!(Pattern::parse(bad).unwrap_err().field, "channels", "{bad}");
        }
        assert!(Filter::parse::<&str>(&[]).is_err());
    }
}
