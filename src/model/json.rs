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

/// The event's members behind `opening`, which ends where the first member belongs.
pub(super) fn event(event: &Event, opening: &str) -> Bytes {
    let mut out = Vec::with_capacity(opening.len() + event.payload.len() + 192);
    let head = &event.head;
    out.extend_from_slice(opening.as_bytes());
    write(&mut out, format_args!(r#""offset":{},"id":"#, event.offset));
    match &head.id {
        super::EventId::Given(id) => write_string(&mut out, id),
        made @ super::EventId::Made(_) => write(&mut out, format_args!("\"{made}\"")),
    }
    write(&mut out, format_args!(r#","channel":"{}","time":"{}""#, head.channel, event.time));
    if let Some(key) = &head.key {
        out.extend_from_slice(br#","key":"#);
        write_string(&mut out, key.as_str());
    }
    if !head.headers.is_empty() {
        out.extend_from_slice(br#","headers":{"#);
        for (n, (name, value)) in head.headers.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            write_string(&mut out, name);
            out.push(b':');
            write_string(&mut out, value);
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
            write_string(&mut out, content_type);
            write(&mut out, format_args!(r#","data_base64":"{}""#, STANDARD.encode(&event.payload)));
        }
    }
    if let Some(signature) = &head.signature {
        out.extend_from_slice(br#","signature":{"key_id":"#);
        write_string(&mut out, &signature.key_id);
        out.extend_from_slice(br#","alg":"#);
        write_string(&mut out, &signature.alg);
        write(&mut out, format_args!(r#","value":"{}"}}"#, STANDARD.encode(&signature.value)));
    }
    out.push(b'}');
    out.into()
}

fn write(out: &mut Vec<u8>, args: std::fmt::Arguments<'_>) {
    out.write_fmt(args).expect("memory can be written");
}
