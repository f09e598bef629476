//! The event as JSON: the one object that stands in answers, frames, webhooks and exports.

use super::Event;
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

/// The event's members and the brace behind them.
pub(super) fn write_members(out: &mut Vec<u8>, event: &Event) {
    let head = &event.head;
    out.extend_from_slice(br#""offset":"#);
    write_number(out, event.offset.0, 1);
    out.extend_from_slice(br#","id":"#);
    match &head.id {
        super::EventId::Given(id) => write_string(out, id),
        super::EventId::Made(bytes) => {
            out.push(b'"');
            let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
            out.extend_from_slice(uuid::Uuid::from_bytes(*bytes).hyphenated().encode_lower(&mut text).as_bytes());
            out.push(b'"');
        }
    }
    out.extend_from_slice(br#","channel":""#);
    out.extend_from_slice(head.channel.as_str().as_bytes());
    out.extend_from_slice(br#"","time":""#);
    event.time.write(out);
    out.push(b'"');
    if let Some(key) = &head.key {
        out.extend_from_slice(br#","key":"#);
        write_string(out, key.as_str());
    }
    if !head.headers.is_empty() {
        out.extend_from_slice(br#","headers":{"#);
        for (n, (name, value)) in head.headers.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            write_string(out, name);
            out.push(b':');
            write_string(out, value);
        }
        out.push(b'}');
    }
    match &head.content_type {
        None => {
            out.extend_from_slice(br#","data":"#);
            out.extend_from_slice(&event.payload);
        }
        Some(content_type) => {
            out.extend_from_slice(br#","content_type":"#);
            write_string(out, content_type);
            write(out, format_args!(r#","data_base64":"{}""#, STANDARD.encode(&event.payload)));
        }
    }
    if let Some(signature) = &head.signature {
        out.extend_from_slice(br#","signature":{"key_id":"#);
        write_string(out, &signature.key_id);
        out.extend_from_slice(br#","alg":"#);
        write_string(out, &signature.alg);
        write(out, format_args!(r#","value":"{}"}}"#, STANDARD.encode(&signature.value)));
    }
    out.push(b'}');
}

fn write(out: &mut Vec<u8>, args: std::fmt::Arguments<'_>) {
    out.write_fmt(args).expect("memory can be written");
}
