//! The body of an event's record: version, length of the head, head, payload (docs/FORMAT.md).

use super::{CodecError, decode, encode};
use crate::model::json::{Id, Members};
use crate::model::{Channel, Event, EventId, Head, Headers, Key, NewEvent, Offset, Signature, Timestamp};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;

/// The head as stored. Frozen: a change is a new version beside it.
#[derive(Serialize, Deserialize)]
struct HeadV1<'a> {
    #[serde(borrow)]
    id: IdV1<'a>,
    channel: &'a str,
    key: Option<&'a str>,
    #[serde(borrow)]
    headers: Vec<(&'a str, &'a str)>,
    #[serde(borrow)]
    content_type: ContentTypeV1<'a>,
    #[serde(borrow)]
    signature: Option<SignatureV1<'a>>,
}

#[derive(Serialize, Deserialize)]
enum IdV1<'a> {
    Made([u8; 16]),
    Given(&'a str),
}

#[derive(Serialize, Deserialize)]
enum ContentTypeV1<'a> {
    Json,
    OctetStream,
    Text,
    Other(&'a str),
}

#[derive(Serialize, Deserialize)]
struct SignatureV1<'a> {
    key_id: &'a str,
    alg: &'a str,
    value: &'a [u8],
}

const OCTET_STREAM: &str = "application/octet-stream";
const TEXT: &str = "text/plain";

/// The body of the record for `event`.
#[must_use]
pub fn encode_event(event: &NewEvent) -> Vec<u8> {
    let head = &event.head;
    let stored = HeadV1 {
        id: match &head.id {
            EventId::Made(bytes) => IdV1::Made(*bytes),
            EventId::Given(text) => IdV1::Given(text),
        },
        channel: head.channel.as_str(),
        key: head.key.as_ref().map(Key::as_str),
        headers: head.headers.iter().collect(),
        content_type: match head.content_type.as_deref() {
            None => ContentTypeV1::Json,
            Some(OCTET_STREAM) => ContentTypeV1::OctetStream,
            Some(TEXT) => ContentTypeV1::Text,
            Some(other) => ContentTypeV1::Other(other),
        },
        signature: head.signature.as_ref().map(|s| SignatureV1 { key_id: &s.key_id, alg: &s.alg, value: &s.value }),
    };
    let encoded = encode(VERSION, &stored);
    let len = u16::try_from(encoded.len()).expect("a checked head is below MAX_HEAD_BYTES");
    let mut body = Vec::with_capacity(2 + encoded.len() + event.payload.len());
    body.extend_from_slice(&len.to_le_bytes());
    body.extend_from_slice(&encoded);
    body.extend_from_slice(&event.payload);
    body
}

/// The event whose record has this place, time and body; its payload is a slice of `body`.
///
/// # Errors
/// Bytes that no version of [`encode_event`] made.
pub fn decode_event(offset: Offset, time: Timestamp, body: &Bytes) -> Result<Event, CodecError> {
    let (stored, payload_at) = split(body)?;
    let grammar = |error: crate::model::Invalid| CodecError::Malformed(error.to_string());
    let head = Head {
        id: match stored.id {
            IdV1::Made(bytes) => EventId::Made(bytes),
            IdV1::Given(text) => EventId::parse(text).map_err(grammar)?,
        },
        channel: Channel::parse(stored.channel).map_err(grammar)?,
        key: stored.key.map(Key::parse).transpose().map_err(grammar)?,
        headers: if stored.headers.is_empty() {
            Headers::default()
        } else {
            Headers::parse(stored.headers).map_err(grammar)?
        },
        content_type: match stored.content_type {
            ContentTypeV1::Json => None,
            ContentTypeV1::OctetStream => Some(OCTET_STREAM.into()),
            ContentTypeV1::Text => Some(TEXT.into()),
            ContentTypeV1::Other(other) => Some(other.into()),
        },
        signature: stored.signature.map(|s| Signature {
            key_id: s.key_id.into(),
            alg: s.alg.into(),
            value: s.value.into(),
        }),
    };
    Ok(Event::new(offset, time, head, body.slice(payload_at..)))
}

/// Writes the event of a record as a line of JSON, where its channel is wanted; tells whether it was. The same line as
/// [`Event::write_json`] gives, without making an event: exports read far more than anybody looks at.
///
/// # Errors
/// As [`decode_event`], but that the grammar of names is not checked again.
pub fn write_event_line(
    offset: Offset,
    time: Timestamp,
    body: &[u8],
    wanted: impl FnOnce(&str) -> bool,
    out: &mut Vec<u8>,
) -> Result<bool, CodecError> {
    let (stored, payload_at) = split(body)?;
    if !wanted(stored.channel) {
        return Ok(false);
    }
    let members = Members {
        offset,
        time,
        id: match stored.id {
            IdV1::Made(bytes) => Id::Made(bytes),
            IdV1::Given(id) => Id::Given(id),
        },
        channel: stored.channel,
        key: stored.key,
        headers: stored.headers.into_iter(),
        content_type: match stored.content_type {
            ContentTypeV1::Json => None,
            ContentTypeV1::OctetStream => Some(OCTET_STREAM),
            ContentTypeV1::Text => Some(TEXT),
            ContentTypeV1::Other(other) => Some(other),
        },
        signature: stored.signature.map(|s| (s.key_id, s.alg, s.value)),
        payload: body.get(payload_at..).unwrap_or_default(),
    };
    out.push(b'{');
    members.write(out);
    out.push(b'\n');
    Ok(true)
}

/// The head of a body, and where its payload begins.
fn split(body: &[u8]) -> Result<(HeadV1<'_>, usize), CodecError> {
    let short = || CodecError::Malformed("the body is shorter than its head".to_owned());
    let (len, rest) = body.split_first_chunk::<2>().ok_or_else(short)?;
    let len = usize::from(u16::from_le_bytes(*len));
    Ok((decode(VERSION, rest.get(..len).ok_or_else(short)?)?, 2 + len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_event_comes_back_as_it_went_in(
            id in "[!-~]{1,40}", channel in "[a-z]{1,8}(\\.[a-z0-9]{1,8}){0,3}", key in prop::option::of("[a-z é]{1,20}"),
            headers in prop::collection::btree_map("[a-z-]{1,10}", "[ -~]{0,20}", 0..4),
            kind in prop::sample::select(vec!["text/plain", "application/octet-stream", "image/png", "text/plain; charset=x"]),
            payload in prop::collection::vec(any::<u8>(), 0..600), made in any::<Option<[u8; 16]>>(),
        ) {
            let id = made.map_or_else(|| EventId::parse(&id).unwrap(), EventId::Made);
            let event = NewEvent::check(&channel, id, key.as_deref(), Headers::parse(&headers).unwrap(), Some(kind), payload.into()).unwrap();
            let body = Bytes::from(encode_event(&event));
            let back = decode_event(Offset(7), Timestamp(8), &body).unwrap();
            prop_assert_eq!(&back.head, &event.head);
            prop_assert_eq!(&back.payload, &event.payload);
            let (mut line, mut lines) = (Vec::new(), Vec::new());
            prop_assert!(write_event_line(Offset(7), Timestamp(8), &body, |name| name == channel, &mut line).unwrap());
            back.write_json(&mut lines);
            lines.push(b'\n');
            prop_assert_eq!(&line, &lines);
            prop_assert!(!write_event_line(Offset(7), Timestamp(8), &body, |_| false, &mut line).unwrap());
            prop_assert_eq!(line, lines);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(event) = decode_event(Offset(0), Timestamp(0), &Bytes::from(bytes)) {
                prop_assert!(event.head.channel.as_str().len() <= 255);
            }
        }
    }
}
