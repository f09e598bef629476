//! Where reading begins or a cursor goes: `from`, `to`, `seek`.

use super::{Invalid, Offset, Timestamp};

/// An offset, a time, or one of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The oldest event still kept.
    Earliest,
    /// The end: only what is published from now on.
    Latest,
    /// That offset.
    At(Offset),
    /// The first event at or after that time.
    Since(Timestamp),
}

impl Place {
    /// Reads `earliest`, `latest`, digits, or RFC 3339; `field` is where it stood.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, Invalid> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            _ if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => text
                .parse()
                .map(|n| Self::At(Offset(n)))
                .map_err(|_| Invalid::new(field, format!("'{text}' is beyond every offset"))),
            _ => Timestamp::parse(field, text).map(Self::Since).map_err(|_| {
                Invalid::new(
                    field,
                    format!(
                        "'{}' is not a place; write an offset, an RFC 3339 time, earliest or latest",
                        text.escape_debug()
                    ),
                )
            }),
        }
    }

    /// Reads a JSON number or string.
    ///
    /// # Errors
    /// Anything else.
    pub fn from_json(field: &'static str, value: &serde_json::Value) -> Result<Self, Invalid> {
        match value {
            serde_json::Value::String(text) => Self::parse(field, text),
            serde_json::Value::Number(n) if n.is_u64() => Ok(Self::At(Offset(n.as_u64().unwrap_or_default()))),
            _ => Err(Invalid::new(field, "must be an offset (number or string), a time, earliest or latest")),
        }
    }
}
