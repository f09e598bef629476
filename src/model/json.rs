//! The event as JSON: the one object that stands in answers, frames, webhooks and exports.

use super::{Event, Offset, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use std::io::Write as _;

/// Writes a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, text).expect("a string always has a JSON form and memory can be written");
    }
}

/// Writes a number, with zeros before it up to `width` digits. Offsets and times stand in every event: going through
/// the formatter for them was a fifth of an export.
pub(super) fn write_number(out: &mut Vec<u8>, number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let (mut left, mut used) = (number, 0);
    for digit in digits.iter_mut().rev() {
        if left == 0 && used >= width.max(1) {
            break;
        }
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
        used += 1;
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

/// The event's members behind `opening`, which ends where the first member belongs.
pub(super) fn event(event: &Event, opening: &str) -> Bytes {
    let mut out = Vec::with_capacity(opening.len() + event.payload.len() + 192);
    out.extend_from_slice(opening.as_bytes());
    write_members(&mut out, event);
    out.into()
}

/// An event's members where they lie: in an [`Event`], or in the record that holds it.
pub struct Members<'a, H> {
    /// Its place.
    pub offset: Offset,
    /// When the broker took it.
    pub time: Timestamp,
    /// Its id.
    pub id: Id<'a>,
    /// Its channel.
    pub channel: &'a str,
    /// The ordering key.
    pub key: Option<&'a str>,
    /// Names and values of the publisher's headers.
    pub headers: H,
    /// The payload's content type; absent means JSON.
    pub content_type: Option<&'a str>,
    /// A key's name, an algorithm, and the signature.
    pub signature: Option<(&'a str, &'a str, &'a [u8])>,
    /// What it carries.
    pub payload: &'a [u8],
}

/// An id where it lies.
pub enum Id<'a> {
    /// The broker's.
    Made([u8; 16]),
    /// The publisher's.
    Given(&'a str),
}

impl<'a, H: Iterator<Item = (&'a str, &'a str)>> Members<'a, H> {
    /// Writes the event as JSON, on one line and without its opening brace.
    pub fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#""offset":"#);
        write_number(out, self.offset.0, 1);
        out.extend_from_slice(br#","id":"#);
        match self.id {
            Id::Given(id) => write_string(out, id),
            Id::Made(bytes) => {
                out.push(b'"');
                let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
                out.extend_from_slice(uuid::Uuid::from_bytes(bytes).hyphenated().encode_lower(&mut text).as_bytes());
                out.push(b'"');
            }
        }
        out.extend_from_slice(br#","channel":"#);
        write_string(out, self.channel);
        out.extend_from_slice(br#","time":""#);
        self.time.write(out);
        out.push(b'"');
        if let Some(key) = self.key {
            out.extend_from_slice(br#","key":"#);
            write_string(out, key);
        }
        let mut opening: &[u8] = br#","headers":{"#;
        let mut closing: &[u8] = b"";
        for (name, value) in self.headers {
            out.extend_from_slice(opening);
            write_string(out, name);
            out.push(b':');
            write_string(out, value);
            (opening, closing) = (b",", b"}");
        }
        out.extend_from_slice(closing);
        match self.content_type {
            None => {
                out.extend_from_slice(br#","data":"#);
                out.extend_from_slice(self.payload);
            }
            Some(content_type) => {
                out.extend_from_slice(br#","content_type":"#);
                write_string(out, content_type);
                write(out, format_args!(r#","data_base64":"{}""#, STANDARD.encode(self.payload)));
            }
        }
        if let Some((key_id, alg, value)) = self.signature {
            out.extend_from_slice(br#","signature":{"key_id":"#);
            write_string(out, key_id);
            out.extend_from_slice(br#","alg":"#);
            write_string(out, alg);
            write(out, format_args!(r#","value":"{}"}}"#, STANDARD.encode(value)));
        }
        out.push(b'}');
    }
}

/// The event's members and the brace behind them.
pub(super) fn write_members(out: &mut Vec<u8>, event: &Event) {
    let head = &event.head;
    let members = Members {
        offset: event.offset,
        time: event.time,
        id: match &head.id {
            super::EventId::Made(bytes) => Id::Made(*bytes),
            super::EventId::Given(id) => Id::Given(id),
        },
        channel: head.channel.as_str(),
        key: head.key.as_ref().map(super::Key::as_str),
        headers: head.headers.iter(),
        content_type: head.content_type.as_deref(),
        signature: head.signature.as_ref().map(|s| (&*s.key_id, &*s.alg, &*s.value)),
        payload: &event.payload,
    };
    members.write(out);
}

fn write(out: &mut Vec<u8>, args: std::fmt::Arguments<'_>) {
    out.write_fmt(args).expect("memory can be written");
}
