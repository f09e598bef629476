//! Real data directories, written by the broker's own code: the same bytes each time.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use stentor::clock::{Clock, Random};
use stentor::engine::{Engine, Local, LocalOptions, RetentionLimits};
use stentor::fs::MemoryFs;
use stentor::ledger::{Entry, SentSpan, Target, Via};
use stentor::log::{Fill, Recover};
use stentor::model::{
    EventId, Filter, Headers, Name, NewEvent, Offset, Span, SubscriberId, SubscriberSettings, Timestamp,
};
use tokio::runtime::Runtime;

/// How the directories here are opened.
pub fn options() -> LocalOptions {
    LocalOptions {
        event_segment_bytes: 4096,
        ledger_segment_bytes: 4096,
        fill: Fill::Never,
        recover: Recover::Refuse,
        clock: Clock::Manual(Arc::new(AtomicU64::new(1_795_297_593_123_456))),
        random: Arc::new(Random::seeded(7)),
        ..LocalOptions::new("data")
    }
}

/// A runtime on this thread.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Events of every form.
pub fn event(n: u64) -> NewEvent {
    let (channel, kind) = match n % 4 {
        0 => ("key.activated", None),
        1 => ("policy.approved", Some("text/plain")),
        2 => ("user.17", Some("application/octet-stream")),
        _ => ("a.b.c", Some("image/png")),
    };
    let headers = if n.is_multiple_of(3) {
        Headers::parse([("ce-source", "/a"), ("x", "é")])
    } else {
        Headers::parse([("", ""); 0])
    };
    let id = if n.is_multiple_of(2) {
        EventId::parse(&format!("id-{n}")).expect("an id")
    } else {
        EventId::Made([n as u8; 16])
    };
    let payload = format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat((n as usize * 37) % 300));
    let key = n.is_multiple_of(5).then_some("k é");
    NewEvent::check(channel, id, key, headers.expect("headers"), kind, payload.into()).expect("an event")
}

/// Every kind of ledger entry that needs no secret.
pub fn entries() -> Vec<Entry> {
    let id = SubscriberId(0);
    let span = |from, to| Span::new(Offset(from), Offset(to));
    let target =
        || Target::Subscriber(SubscriberSettings::new(Filter::parse(&["key.*", "$stentor.**"]).expect("patterns")));
    let reason = || "answered 503".to_owned();
    let acked = |from, to| vec![SentSpan { span: span(from, to), attempts: 1 }];
    let (failing_for, wait) = (std::time::Duration::from_secs(1), std::time::Duration::from_secs(1));
    let (next_attempt, status) = (Timestamp(2_000_000), Some(503));
    vec![
        Entry::Made { id, name: Name::parse("name", "agent").expect("a name"), target: target(), cursor: Offset(0) },
        Entry::Acked { id, spans: acked(0, 3), via: Via::WebSocket, status: None, latency_ms: None },
        Entry::Changed { id, target: target(), from: Offset(3) },
        Entry::Failed { id, offset: Offset(3), attempts: 2, failing_for, next_attempt, wait, status, reason: reason() },
        Entry::Dead { id, offset: Offset(3), attempts: 3, status: None, reason: reason() },
        Entry::Skipped { id, spans: acked(4, 5), reason: reason() },
        Entry::Acked { id, spans: acked(6, 8), via: Via::Connector, status: Some(204), latency_ms: Some(12) },
        Entry::Sought { id, cursor: Offset(2) },
        Entry::Paused { id, reason: Some(reason()) },
        Entry::Resumed { id },
        Entry::Missed { id, span: span(2, 4) },
        Entry::Cut { log: "events".into(), quarantined: "quarantine/x.tail".into(), bytes: 77 },
        Entry::Resent {
            id,
            offset: Offset(3),
            replay: Some("again".into()),
            attempts: 1,
            status: Some(200),
            latency_ms: None,
            failure: None,
        },
    ]
}

/// A data directory of so many events and a batch of three, closed.
pub fn directory(events: u64) -> MemoryFs {
    let (fs, runtime) = (MemoryFs::new(), runtime());
    let engine = Local::open(Arc::new(fs.clone()), &options()).expect("an empty disk opens").engine;
    runtime.block_on(async {
        for n in 0..events {
            engine.append(vec![event(n)]).await.expect("a disk without faults");
        }
        engine.append((events..events + 3).map(event).collect()).await.expect("a disk without faults");
        for _ in 0..events / 4 {
            for entry in entries() {
                let ticket = engine.record(vec![entry]).expect("the ledger takes it");
                ticket.durable().await.expect("a disk without faults");
            }
        }
    });
    engine.close();
    fs
}

/// How long anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A directory of which retention took the oldest segment, and the file that keeps its ids.
pub fn worn() -> (MemoryFs, PathBuf) {
    let fs = directory(14);
    let engine = Local::open(Arc::new(fs.clone()), &options()).expect("it is whole").engine;
    let one_byte = RetentionLimits { max_bytes: Some(1), ..RetentionLimits::default() };
    engine.maintain(one_byte, Timestamp(0)).expect("a disk without faults").expect("there is more than one segment");
    engine.close();
    drop(engine);
    let kept = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "ids");
    let path = fs.files().into_iter().map(|(path, _)| path).find(kept).expect("ids are kept");
    (fs, path)
}
