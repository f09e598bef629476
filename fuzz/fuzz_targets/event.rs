//! The body of an event's record, any bytes.
//!
//! Holds: what decodes, encoded and decoded again, is the same event and from then on the same bytes; its parts follow
//! the grammar's limits; where its payload is JSON, so is every form in which it is shown; nothing is allocated beyond
//! what serde sets aside for a list before it is read (1 MiB) and the bytes that are there (invariant 14).
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use stentor::client::Received;
use stentor::codec::{decode_event, encode_event};
use stentor::model::{NewEvent, Offset, Timestamp, limits, normalise_json};
use stentor_fuzz::memory;

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    let (offset, time) = (Offset(7), Timestamp(1_795_297_593_123_456));
    let decoded = memory::within((1 << 20) + data.len() * 32 + 4096, || decode_event(offset, time, &body));
    let Ok(event) = decoded else { return };
    let head = &event.head;
    assert!(head.channel.as_str().len() <= limits::MAX_CHANNEL_BYTES);
    assert!(head.headers.iter().len() <= limits::MAX_HEADERS);
    assert!(head.key.as_ref().is_none_or(|key| key.as_str().len() <= limits::MAX_KEY_BYTES));
    assert!(event.payload.len() <= data.len());
    let new = NewEvent { head: head.clone(), payload: event.payload.clone() };
    let again = Bytes::from(encode_event(&new));
    assert!(again.len() <= data.len(), "the shortest form is written");
    let back = decode_event(offset, time, &again).expect("what was encoded decodes");
    assert_eq!(back, event);
    assert_eq!(encode_event(&NewEvent { head: back.head.clone(), payload: back.payload.clone() }), again);
    assert_eq!(back.leaf(), event.leaf(), "one event, one identity");
    let json = head.content_type.is_none() && normalise_json(event.payload.clone()).is_ok_and(|p| p == event.payload);
    if json || head.content_type.is_some() {
        for shown in [event.json(), event.frame(), event.frame_of_attempt(3)] {
            assert!(!shown.contains(&b'\n'), "one line");
            let shown: Received = serde_json::from_slice(&shown).expect("an event is shown as JSON");
            assert_eq!((shown.offset, shown.channel.as_str()), (7, head.channel.as_str()));
        }
    }
});
