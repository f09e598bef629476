//! Events: what a publisher hands in, and what it becomes once it has a place in the log.

use super::{Channel, Headers, Invalid, Key, Offset, Timestamp, json, limits};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::OnceLock;

/// The content type that payloads have unless they say otherwise.
pub const JSON: &str = "application/json";

/// An event's id: the publisher's own, which makes its publish idempotent, or one that the broker made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EventId {
    /// A UUIDv7 of the broker's.
    Made([u8; 16]),
    /// 1 to 128 visible ASCII characters of the publisher's.
    Given(Box<str>),
}

impl EventId {
    /// One for an event whose publisher gives none: a UUIDv7 (RFC 9562), so that ids sort by time.
    #[must_use]
    pub fn made(now: Timestamp, random: [u8; 16]) -> Self {
        let mut chance = [0; 10];
        chance.copy_from_slice(random.first_chunk::<10>().expect("16 bytes hold 10"));
        let made = uuid::Builder::from_unix_timestamp_millis(now.0 / 1_000, &chance);
        Self::Made(made.into_uuid().into_bytes())
    }

    /// Reads a publisher's id.
    ///
    /// # Errors
    /// An empty or too long one, or one with other than visible ASCII characters.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > limits::MAX_ID_BYTES || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Invalid::new("id", "is not an event id; an id is 1 to 128 visible ASCII characters"));
        }
        Ok(Self::Given(text.into()))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EventId::Made(bytes) => uuid::Uuid::from_bytes(*bytes).hyphenated().fmt(f),
            EventId::Given(text) => text.fmt(f),
        }
    }
}

/// A publisher's own signature over its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Which key made it.
    pub key_id: Box<str>,
    /// `ed25519`.
    pub alg: Box<str>,
    /// The signature's bytes.
    pub value: Box<[u8]>,
}

/// Everything about an event but its payload and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its id.
    pub id: EventId,
    /// Its channel.
    pub channel: Channel,
    /// The ordering key.
    pub key: Option<Key>,
    /// The publisher's headers.
    pub headers: Headers,
    /// The payload's content type; absent means JSON.
    pub content_type: Option<Box<str>>,
    /// The publisher's signature.
    pub signature: Option<Signature>,
}

/// A checked event that has no place in the log yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// What it says of itself.
    pub head: Head,
    /// What it carries; JSON without raw line breaks where there is no content type.
    pub payload: Bytes,
}

/// A durable event. It never changes.
#[derive(Debug)]
pub struct Event {
    /// Its place in the log.
    pub offset: Offset,
    /// When the broker took it; never earlier than the event before.
    pub time: Timestamp,
    /// What it says of itself.
    pub head: Head,
    /// What it carries.
    pub payload: Bytes,
    json: OnceLock<Bytes>,
    frame: OnceLock<Bytes>,
}

impl Event {
    /// Puts a checked event at its place.
    #[must_use]
    pub fn new(offset: Offset, time: Timestamp, head: Head, payload: Bytes) -> Self {
        Self { offset, time, head, payload, json: OnceLock::new(), frame: OnceLock::new() }
    }

    /// The payload's content type.
    #[must_use]
    pub fn content_type(&self) -> &str {
        self.head.content_type.as_deref().unwrap_or(JSON)
    }

    /// Its payload as a value of the caller's.
    ///
    /// # Errors
    /// A payload that is not JSON, or another value.
    pub fn data<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.payload)
    }

    /// The event as JSON on one line (PROTOCOL.md section 1), made once and shared.
    #[must_use]
    pub fn json(&self) -> Bytes {
        self.json.get_or_init(|| json::event(self, "{")).clone()
    }

    /// Writes the event as JSON on one line, without keeping it.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        json::write_members(out, self);
    }

    /// The WebSocket frame that delivers it first, made once and shared.
    #[must_use]
    pub fn frame(&self) -> Bytes {
        self.frame.get_or_init(|| json::event(self, r#"{"op":"event","#)).clone()
    }

    /// The WebSocket frame of a later attempt.
    #[must_use]
    pub fn frame_of_attempt(&self, attempt: u32) -> Bytes {
        if attempt < 2 {
            return self.frame();
        }
        json::event(self, &format!(r#"{{"op":"event","attempt":{attempt},"#))
    }

    /// Bytes that it holds in memory, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.payload.len() + 256
    }

    /// The event's identity, on which proofs stand: `SHA-256(0x00 ‖ canonical head ‖ SHA-256(payload))`.
    ///
    /// The canonical head is independent of where the record lies; docs/FORMAT.md gives its bytes.
    #[must_use]
    pub fn leaf(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update([0u8]);
        let mut text = |value: &[u8]| {
            hash.update(u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
            hash.update(value);
        };
        text(&self.offset.0.to_be_bytes());
        text(&self.time.0.to_be_bytes());
        text(self.head.id.to_string().as_bytes());
        text(self.head.channel.as_str().as_bytes());
        text(self.head.key.as_ref().map_or("", Key::as_str).as_bytes());
        text(&u32::try_from(self.head.headers.iter().len()).unwrap_or(u32::MAX).to_be_bytes());
        for (name, value) in self.head.headers.iter() {
            text(name.as_bytes());
            text(value.as_bytes());
        }
        text(self.content_type().as_bytes());
        match &self.head.signature {
            None => text(&[]),
            Some(signature) => {
                text(signature.key_id.as_bytes());
                text(signature.alg.as_bytes());
                text(&signature.value);
            }
        }
        hash.update(Sha256::digest(&self.payload));
        hash.finalize().into()
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        (self.offset, self.time, &self.head, &self.payload) == (other.offset, other.time, &other.head, &other.payload)
    }
}

/// Reads a content type; JSON in any dress (`application/json; charset=utf-8`) becomes none.
pub(super) fn content_type(text: &str) -> Result<Option<Box<str>>, Invalid> {
    let essence = text.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(JSON) {
        return Ok(None);
    }
    check_content_type(text)?;
    Ok(Some(text.into()))
}

/// Checks that a content type is `type/subtype` in visible ASCII.
pub(super) fn check_content_type(text: &str) -> Result<(), Invalid> {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let token = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    let fits = text.len() <= limits::MAX_CONTENT_TYPE_BYTES && text.bytes().all(|b| (0x20..0x7f).contains(&b));
    match essence.split_once('/') {
        Some((kind, sub)) if fits && token(kind) && token(sub) => Ok(()),
        _ => Err(Invalid::new("content_type", format!("'{}' is not a content type", text.escape_debug()))),
    }
}
