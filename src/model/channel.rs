//! Channels: an event's dotted name.

use super::{Invalid, limits};
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// An event's channel: 1 to 16 tokens joined by `.`, at most 255 bytes.
///
/// Cheap to clone. A leading `$` marks the broker's own channels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(Arc<str>);

impl Channel {
    /// Reads a channel; `$` may lead its first token.
    ///
    /// # Errors
    /// Text outside the grammar of PROTOCOL.md section 1.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        check_tokens("channel", text, is_token)?;
        Ok(Self(text.into()))
    }

    /// Whether this is one of the broker's own, to which nobody else publishes.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.0.starts_with('$')
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks count, length and each token of a dotted name.
pub(super) fn check_tokens(
    field: &'static str,
    text: &str,
    accept: impl Fn(&str, bool) -> bool,
) -> Result<(), Invalid> {
    if text.is_empty() {
        return Err(Invalid::new(field, "is empty; write tokens joined by '.', as in key.activated"));
    }
    if text.len() > limits::MAX_CHANNEL_BYTES {
        return Err(Invalid::new(
            field,
            format!("has {} bytes; at most {} fit", text.len(), limits::MAX_CHANNEL_BYTES),
        ));
    }
    let mut count = 0;
    for token in text.split('.') {
        if !accept(token, count == 0) {
            return Err(Invalid::new(
                field,
                format!(
                    "'{}' in '{}' is not a token; a token is one or more of A-Z a-z 0-9 _ - : @",
                    token.escape_debug(),
                    text.escape_debug()
                ),
            ));
        }
        count += 1;
    }
    if count > limits::MAX_CHANNEL_TOKENS {
        return Err(Invalid::new(field, format!("has {count} tokens; at most {} fit", limits::MAX_CHANNEL_TOKENS)));
    }
    Ok(())
}

/// One or more of `A-Z a-z 0-9 _ - : @`, after a `$` where it is the first.
pub(super) fn is_token(token: &str, first: bool) -> bool {
    let token = if first { token.strip_prefix('$').unwrap_or(token) } else { token };
    !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b':' | b'@'))
}

impl Borrow<str> for Channel {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_follow_the_grammar_to_the_letter() {
        for good in ["a", "key.activated", "A-Z:0@_.x", "$stentor.connector.failing", &"a.".repeat(15).add_tail("a")] {
            assert!(Channel::parse(good).is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        let many = "a.".repeat(16).add_tail("a");
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a.$b", "$", "a/b", "é", "a\n", "*", "a.*", "**", &long, &many]
        {
            assert_eq!(Channel::parse(bad).unwrap_err().field, "channel", "{bad:?}");
        }
    }

    trait AddTail {
        fn add_tail(self, tail: &str) -> String;
    }
    impl AddTail for String {
        fn add_tail(self, tail: &str) -> String {
            self + tail
        }
    }
}
