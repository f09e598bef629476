//! Names of subscribers and connectors, their ids, and ordering keys.

use super::{Invalid, limits};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A subscriber's or connector's name: 1 to 128 of `A-Z a-z 0-9 _ - . : @`. One namespace for both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

impl Name {
    /// Reads a name; `field` is where it stood.
    ///
    /// # Errors
    /// Text outside the grammar.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, Invalid> {
        let fits = !text.is_empty() && text.len() <= limits::MAX_NAME_BYTES;
        if fits && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:@".contains(&b)) {
            return Ok(Self(text.into()));
        }
        Err(Invalid::new(
            field,
            format!("'{}' is not a name; a name is 1 to 128 of A-Z a-z 0-9 _ - . : @", text.escape_debug()),
        ))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse("name", &text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A subscriber's number: given once, never again, so that a name made anew is somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubscriberId(pub u64);

impl fmt::Display for SubscriberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An ordering key: 1 to 255 bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(Box<str>);

impl Key {
    /// Reads a key.
    ///
    /// # Errors
    /// An empty or too long one, or one with control characters.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > limits::MAX_KEY_BYTES || text.chars().any(char::is_control) {
            return Err(Invalid::new("key", "is not a key; a key is 1 to 255 bytes without control characters"));
        }
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
