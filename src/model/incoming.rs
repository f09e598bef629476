//! Events as clients write them in batches and frames, and what makes a payload fit to store.

use super::event::content_type;
use super::{Channel, EventId, Head, Headers, Invalid, Key, NewEvent, limits};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Levels of arrays and objects in a payload; what parsers elsewhere take by default.
const MAX_DEPTH: usize = 128;

/// One event as it stands in a batch, an NDJSON line or a publish frame.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventInput<'a> {
    /// Where it goes.
    #[serde(borrow)]
    pub channel: Cow<'a, str>,
    /// Its payload, where it is JSON.
    #[serde(borrow, default, deserialize_with = "present")]
    pub data: Option<&'a RawValue>,
    /// The publisher's id.
    #[serde(borrow, default)]
    pub id: Option<Cow<'a, str>>,
    /// The ordering key.
    #[serde(borrow, default)]
    pub key: Option<Cow<'a, str>>,
    /// The publisher's headers.
    #[serde(borrow, default)]
    pub headers: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    /// The payload's content type where it is not JSON.
    #[serde(borrow, default)]
    pub content_type: Option<Cow<'a, str>>,
    /// Such a payload.
    #[serde(borrow, default)]
    pub data_base64: Option<Cow<'a, str>>,
}

/// `"data":null` is a payload; only an absent `data` is none.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl EventInput<'_> {
    /// Checks every field; `made` gives the broker's id where there is none.
    ///
    /// # Errors
    /// The first field that does not follow the grammar.
    pub fn check(&self, made: impl FnOnce() -> EventId) -> Result<NewEvent, Invalid> {
        let payload = match (&self.data, &self.data_base64) {
            (Some(data), None) => Bytes::copy_from_slice(data.get().as_bytes()),
            (None, Some(text)) => STANDARD
                .decode(text.as_bytes())
                .map_err(|error| Invalid::new("data_base64", format!("is not base64: {error}")))?
                .into(),
            (None, None) => return Err(Invalid::new("data", "is missing; give data, or content_type and data_base64")),
            (Some(_), Some(_)) => return Err(Invalid::new("data", "and data_base64 exclude each other")),
        };
        if self.data.is_some() && self.content_type.is_some() {
            return Err(Invalid::new("content_type", "goes with data_base64, not with data"));
        }
        if self.data_base64.is_some() && self.content_type.is_none() {
            return Err(Invalid::new("content_type", "is missing; data_base64 needs it"));
        }
        let id = self.id.as_deref().map(EventId::parse).transpose()?;
        NewEvent::check(
            &self.channel,
            id.unwrap_or_else(made),
            self.key.as_deref(),
            Headers::parse(&self.headers)?,
            self.content_type.as_deref(),
            payload,
        )
    }
}

impl NewEvent {
    /// Checks the parts of an event. Without a content type, or with JSON's, the payload must be JSON.
    ///
    /// # Errors
    /// The first part that does not follow the grammar.
    pub fn check(
        channel: &str,
        id: EventId,
        key: Option<&str>,
        headers: Headers,
        kind: Option<&str>,
        payload: Bytes,
    ) -> Result<Self, Invalid> {
        let channel = Channel::parse(channel)?;
        let key = key.map(Key::parse).transpose()?;
        let content_type = kind.map(content_type).transpose()?.flatten();
        let payload = if content_type.is_none() { normalise_json(payload)? } else { payload };
        Ok(Self { head: Head { id, channel, key, headers, content_type, signature: None }, payload })
    }

    /// Bytes that it counts for against the event limit.
    #[must_use]
    pub fn size(&self) -> usize {
        self.payload.len()
    }

    /// Whether a repeat says the same as the first: payload, content type, key, headers without the trace context.
    #[must_use]
    pub fn same_as(&self, head: &Head, payload: &[u8]) -> bool {
        self.payload == payload
            && self.head.content_type == head.content_type
            && self.head.key == head.key
            && self.head.headers.without_trace().eq(head.headers.without_trace())
    }
}

/// Checks that a payload is one JSON value, and puts a space for each raw line break between its tokens.
///
/// In valid JSON a raw CR or LF stands only between tokens, so nothing else changes, and the event
/// fits on one line of NDJSON and of SSE.
///
/// # Errors
/// Bytes that are not JSON in UTF-8, or nested deeper than 128 levels.
pub fn normalise_json(payload: Bytes) -> Result<Bytes, Invalid> {
    let text = std::str::from_utf8(&payload).map_err(|e| Invalid::new("data", format!("is not UTF-8: {e}")))?;
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map_err(|e| Invalid::new("data", format!("is not JSON: {e}; give another Content-Type for other payloads")))?;
    if text.bytes().filter(|b| matches!(b, b'[' | b'{')).count() > MAX_DEPTH && depth(text) > MAX_DEPTH {
        return Err(Invalid::new("data", format!("is nested deeper than {MAX_DEPTH} levels")));
    }
    if !text.bytes().any(|b| matches!(b, b'\r' | b'\n')) {
        return Ok(payload);
    }
    let one_line: Vec<u8> = text.bytes().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }).collect();
    Ok(one_line.into())
}

/// The deepest nesting of valid JSON.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for b in text.bytes() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

// A head built from checked parts always fits the log's own limit; limits.rs holds the sum.
const _: () = assert!(limits::MAX_HEADERS * 2 * 8 < 2_048);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<NewEvent, Invalid> {
        serde_json::from_str::<EventInput<'_>>(text).unwrap().check(|| EventId::Made([0; 16]))
    }

    #[test]
    fn payloads_keep_every_byte_but_line_breaks_between_tokens() {
        let stored = normalise_json(Bytes::from_static(b" {\"a\":\r\n 1.0e5,\"b\":\"x\\n\"}\n")).unwrap();
        assert_eq!(&stored[..], b" {\"a\":   1.0e5,\"b\":\"x\\n\"} ");
        for bad in [&b""[..], b"{", b"nul", b"\xff\xfe", b"{} {}", b"\"\n\""] {
            assert_eq!(normalise_json(Bytes::copy_from_slice(bad)).unwrap_err().field, "data");
        }
        let deep = |n: usize| Bytes::from("[".repeat(n) + &"]".repeat(n));
        assert!(normalise_json(deep(128)).is_ok());
        assert!(normalise_json(deep(129)).unwrap_err().detail.contains("nested"));
        assert!(normalise_json(Bytes::from(format!("\"{}\"", "[".repeat(500)))).is_ok());
    }

    #[test]
    fn an_entry_names_the_field_that_is_wrong() {
        assert_eq!(check(r#"{"channel":"a","data":null}"#).unwrap().payload, "null");
        let table = [
            (r#"{"channel":"a"}"#, "data"),
            (r#"{"channel":"a b","data":1}"#, "channel"),
            (r#"{"channel":"a","data":1,"id":""}"#, "id"),
            (r#"{"channel":"a","data":1,"key":""}"#, "key"),
            (r#"{"channel":"a","data":1,"headers":{"A":"b"}}"#, "headers"),
            (r#"{"channel":"a","data":1,"data_base64":"AA=="}"#, "data"),
            (r#"{"channel":"a","data_base64":"AA=="}"#, "content_type"),
            (r#"{"channel":"a","data_base64":"A","content_type":"text/plain"}"#, "data_base64"),
            (r#"{"channel":"a","data_base64":"AA==","content_type":"text"}"#, "content_type"),
        ];
        for (text, field) in table {
            assert_eq!(check(text).unwrap_err().field, field, "{text}");
        }
    }
}
