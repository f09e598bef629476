//! The bodies of publishes, any bytes: the first says which form (NDJSON, array, one payload) and in what pieces it
//! comes, the rest is the body.
//!
//! Holds, through the router itself: every answer is one that PROTOCOL.md sections 2 and 9 name, never a fault of the
//! broker's own; a refusal is a problem that says what, and changes nothing; what is taken is counted rightly, reads
//! back byte for byte but for line breaks between tokens, and keeps every limit; a batch is taken whole or not at all
//! (invariant 3).
#![no_main]

use axum::body::Body;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::cell::RefCell;
use std::convert::Infallible;
use stentor::broker::RangeQuery;
use stentor::client::Received;
use stentor::model::{Event, Filter, Place, limits};
use stentor_fuzz::serve::Served;
use tower::ServiceExt;

thread_local!(static SERVED: RefCell<Served> = RefCell::default());

/// An entry as it was sent; numbers may be larger than any float, and data deeper than parsers go.
#[derive(serde::Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    serde::Deserialize::deserialize(deserializer).map(Some)
}

fn on_one_line(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect()
}

/// A body that comes so many bytes at a time; at once for 0.
fn in_pieces(body: &[u8], size: usize) -> Body {
    if size == 0 {
        return Body::from(Bytes::copy_from_slice(body));
    }
    let pieces: Vec<_> = body.chunks(size).map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece))).collect();
    Body::from_stream(futures_util::stream::iter(pieces))
}

fn check(event: &Event) {
    assert!(event.head.channel.as_str().len() <= limits::MAX_CHANNEL_BYTES && !event.head.channel.is_system());
    assert!(event.head.id.to_string().len() <= limits::MAX_ID_BYTES);
    assert!(event.head.headers.iter().len() <= limits::MAX_HEADERS);
    assert!(event.head.headers.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>() <= limits::MAX_HEADERS_BYTES);
    assert!(event.head.key.as_ref().is_none_or(|key| key.as_str().len() <= limits::MAX_KEY_BYTES));
    let shown = event.json();
    assert!(!shown.iter().any(|byte| matches!(byte, b'\n' | b'\r')), "it fits on a line of NDJSON and of SSE");
    let shown: Received = serde_json::from_slice(&shown).expect("an event is shown as JSON that the client reads");
    assert_eq!(shown.channel, event.head.channel.as_str());
}

fuzz_target!(|data: &[u8]| SERVED.with_borrow_mut(|served| {
    let served = served.fresh();
    let Some((form, body)) = data.split_first() else { return };
    let (path, kind) = match form % 4 {
        0 => ("/v1/events", Some("application/x-ndjson")),
        1 => ("/v1/events", Some("application/json")),
        2 => ("/v1/events/key.a", None),
        _ => ("/v1/events/key.a", Some("text/plain")),
    };
    let mut request = Request::post(path);
    if let Some(kind) = kind {
        request = request.header("content-type", kind);
    }
    let request = request.body(in_pieces(body, usize::from(form >> 2))).expect("a request");
    let (router, broker) = (served.router.clone(), &served.broker);
    let begin = broker.end();
    served.runtime.block_on(async {
        let answer = router.oneshot(request).await.expect("a router always answers");
        let (status, answer_kind) = (answer.status(), answer.headers()["content-type"].clone());
        let answer = answer.into_body().collect().await.expect("an answer has a body").to_bytes();
        let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
        let query = RangeQuery {
            filter: Filter::everything(),
            from: Place::At(begin),
            to: None,
            limit: 10_000,
            wait: Default::default(),
        };
        let events = broker.read(query).await.expect("memory can be read").events;
        events.iter().for_each(|event| check(event));
        match status {
            StatusCode::CREATED | StatusCode::OK => {}
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::CONFLICT => {
                assert_eq!(answer_kind, "application/problem+json");
                assert_eq!(answer["status"], status.as_u16());
                assert!(answer["type"].as_str().is_some_and(|kind| kind.starts_with("/problems/")));
                assert!(answer["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
                assert!(events.is_empty(), "refused, and yet something was taken (3)");
                return;
            }
            other => panic!("{other}: {answer}"),
        }
        if path != "/v1/events" {
            assert_eq!(events.len(), 1);
            let payload: Vec<u8> = match kind {
                Some(_) => body.to_vec(),
                None => on_one_line(body),
            };
            assert_eq!(events[0].payload, payload, "byte for byte");
            return;
        }
        let lines: Vec<Line<'_>> = if form % 4 == 0 {
            let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.iter().all(u8::is_ascii_whitespace));
            lines.map(|line| serde_json::from_slice(line).expect("taken, so it is JSON")).collect()
        } else {
            serde_json::from_slice(body).expect("taken, so it is JSON")
        };
        let duplicates = answer["duplicates"].as_u64().expect("a count");
        assert_eq!(answer["count"], lines.len());
        assert_eq!(events.len() as u64 + duplicates, lines.len() as u64, "whole (3)");
        assert_eq!(status == StatusCode::OK, events.is_empty());
        if duplicates == 0 {
            for (line, event) in lines.iter().zip(&events) {
                assert_eq!(line.channel, event.head.channel.as_str());
                let kept = line.data.is_none_or(|data| on_one_line(data.get().as_bytes()) == event.payload);
                assert!(kept, "the data is what was sent, byte for byte");
            }
        }
    });
}));
