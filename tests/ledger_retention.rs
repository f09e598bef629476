//! Old receipts go when they may, and nothing else goes with them: each ledger segment begins with the fold of
//! all before it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stentor::broker::{Broker, Options, ReceiptQuery};
use stentor::deliver::Delivery;
use stentor::engine::{Engine, Local, LocalOptions, RetentionLimits};
use stentor::fs::{Choices, Fault, Fs, MemoryFs};
use stentor::ledger::{Entry, SentSpan, State, Target, Via};
use stentor::log::Fill;
use stentor::model::{
    EventId, Filter, Headers, Kind, Name, NewEvent, Offset, Place, Span, SubscriberId, SubscriberSettings, Timestamp,
};

const KEEP_A_DAY: RetentionLimits =
    RetentionLimits { max_age: None, max_bytes: None, receipts: Some(Duration::from_secs(86_400)) };

fn open(fs: &MemoryFs) -> Result<Local, String> {
    let options = LocalOptions { ledger_segment_bytes: 4096, fill: Fill::Never, ..LocalOptions::new("data") };
    Local::open(Arc::new(fs.clone()), &options).map(|opened| opened.engine).map_err(|error| error.to_string())
}

fn settings() -> SubscriberSettings {
    SubscriberSettings::new(Filter::parse(&["key.*"]).unwrap())
}

/// A ledger of several segments about one subscriber, who acknowledged 100 events one by one.
async fn acked_one_by_one() -> (MemoryFs, Local) {
    let fs = MemoryFs::new();
    let engine = open(&fs).unwrap();
    for n in 0..100u64 {
        let id = EventId::Made([0; 16]);
        let event = NewEvent::check("key.a", id, None, Headers::default(), None, n.to_string().into()).unwrap();
        engine.append(vec![event]).await.unwrap();
    }
    let name = Name::parse("name", "ui").unwrap();
    let made = |id| Entry::Made { id, name, target: Target::Subscriber(settings()), cursor: Offset::ZERO };
    let (id, ticket) = engine.record_new(Box::new(made)).unwrap();
    ticket.durable().await.unwrap();
    for n in 0..100 {
        let spans = vec![SentSpan { span: Span::one(Offset(n)), attempts: 1 }];
        let entry = Entry::Acked { id, spans, via: Via::WebSocket, status: None, latency_ms: None };
        engine.record(vec![entry]).unwrap().durable().await.unwrap();
    }
    (fs, engine)
}

fn ledger_files(fs: &MemoryFs) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs.files().into_iter().map(|(path, _)| path).collect();
    files
        .retain(|path| path.parent() == Some(Path::new("data/ledger")) && path.extension().is_some_and(|e| e == "seg"));
    files
}

fn kept(state: &State) -> (Offset, u64) {
    let subscriber = state.get(SubscriberId(0)).unwrap();
    (subscriber.floor, state.next_id)
}

/// Far enough ahead for everything to be old.
fn in_a_year() -> Timestamp {
    stentor::clock::Clock::Machine.now().plus(Duration::from_secs(365 * 86_400))
}

#[tokio::test]
async fn ledger_segments_go_one_a_round_and_the_fold_stays_whole() {
    let (fs, engine) = acked_one_by_one().await;
    let before = ledger_files(&fs).len();
    assert!(before >= 3, "it rolled");
    engine.maintain(RetentionLimits::default(), in_a_year()).unwrap();
    engine.maintain(KEEP_A_DAY, stentor::clock::Clock::Machine.now()).unwrap();
    assert_eq!(ledger_files(&fs).len(), before, "by default, and within the time, everything is kept");
    for round in 1..before {
        engine.maintain(KEEP_A_DAY, in_a_year()).unwrap();
        assert_eq!(ledger_files(&fs).len(), before - round, "a jumping clock costs a bounded share");
    }
    engine.maintain(KEEP_A_DAY, in_a_year()).unwrap();
    assert_eq!(ledger_files(&fs).len(), 1, "the newest stays");
    let begins = engine.history_begins().unwrap().1;
    assert_eq!(engine.state().ledger_start, begins);
    assert_eq!(engine.history(Offset::ZERO).unwrap().0[0].offset, begins, "what is left can be read");
    engine.close();
    drop(engine);
    let again = open(&fs).unwrap();
    assert_eq!(kept(&again.state()), (Offset(100), 1), "cursors do not stand on what went");
}

#[tokio::test]
async fn a_ledger_segment_that_is_missing_is_no_retention() {
    let (fs, engine) = acked_one_by_one().await;
    engine.close();
    drop(engine);
    Fs::remove(&fs, &ledger_files(&fs)[0]).unwrap();
    let refused = open(&fs).map(|_| ()).unwrap_err();
    assert!(refused.contains("oldest segments are missing"), "{refused}");
}

#[tokio::test]
async fn what_retention_was_about_to_remove_goes_at_the_next_start_and_what_comes_back_is_set_aside() {
    let (fs, engine) = acked_one_by_one().await;
    let all: Vec<_> = fs.files().into_iter().filter(|(path, _)| ledger_files(&fs).contains(path)).collect();
    engine.maintain(KEEP_A_DAY, in_a_year()).unwrap();
    engine.maintain(KEEP_A_DAY, in_a_year()).unwrap();
    engine.close();
    drop(engine);
    for (path, bytes) in &all[..2] {
        fs.put(path, bytes);
    }
    let again = open(&fs).unwrap();
    assert!(ledger_files(&fs).iter().all(|path| *path != all[0].0 && *path != all[1].0), "neither is back");
    let aside: Vec<_> = fs.files().into_iter().filter(|(path, _)| path.starts_with("data/quarantine")).collect();
    assert_eq!(aside.len(), 1, "the last one may be a crash's; the one before it came from elsewhere: {aside:?}");
    assert_eq!(aside[0].1, all[0].1, "every byte is kept");
    assert_eq!(kept(&again.state()), (Offset(100), 1));
}

#[tokio::test]
async fn a_crash_at_any_call_of_a_ledgers_retention_leaves_a_ledger_that_opens() {
    let (fs, engine) = acked_one_by_one().await;
    engine.close();
    drop(engine);
    let mut images = 0;
    for call in 0.. {
        let disk = fs.fork();
        let engine = open(&disk).unwrap();
        let at = disk.calls() + call;
        disk.set_fault(Fault { fail_call: Some(at), keep_failing: true, ..Fault::default() });
        // Three rounds, so that more than one removal may be lost.
        let whole = (0..3).all(|_| engine.maintain(KEEP_A_DAY, in_a_year()).is_ok());
        drop(engine);
        let mut choices = Choices::exhaustive();
        for version in 0..64 {
            let left = disk.crash(&mut choices);
            let again = open(&left).unwrap_or_else(|error| panic!("call {call}, version {version}: {error}"));
            assert_eq!(kept(&again.state()), (Offset(100), 1), "call {call}, version {version}");
            // A torn tail may be set aside; a segment may not.
            let is_segment = |path: &Path| path.extension().is_some_and(|kind| kind == "seg");
            let aside = |path: &Path| path.starts_with("data/quarantine") && is_segment(path);
            let came_back = left.files().into_iter().any(|(path, _)| aside(&path));
            assert!(!came_back, "call {call}, version {version}: what went came back, as if from elsewhere");
            images += 1;
            if !choices.advance() {
                break;
            }
        }
        if whole {
            break;
        }
    }
    assert!(images > 30, "{images} images");
}

#[tokio::test]
async fn the_receipts_view_forgets_with_the_ledger_and_is_the_same_made_anew() {
    // Invariant 25, with a ledger whose beginning is gone: names and seeks come from the oldest snapshot.
    let folder = tempfile::tempdir().unwrap();
    let options = |receipts| Options {
        ledger_segment_bytes: 4096,
        retention: RetentionLimits { receipts, ..RetentionLimits::default() },
        ..Options::new(folder.path())
    };
    let broker = Broker::open(options(None)).await.unwrap();
    let name = Name::parse("name", "ui").unwrap();
    broker.registry().put_subscriber(&name, settings(), Some(Place::Earliest)).await.unwrap();
    let last = listen_and_seek_back(&broker).await;
    let first_page = || ReceiptQuery { limit: 1_000, ..ReceiptQuery::default() };
    let all = broker.receipts(first_page()).await.unwrap().receipts;
    broker.shutdown().await;
    drop(broker);

    let broker = Broker::open(options(Some(Duration::ZERO))).await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let fewer = loop {
        let left = broker.receipts(first_page()).await.unwrap().receipts;
        if left.len() < all.len() / 2 {
            break left;
        }
        assert!(tokio::time::Instant::now() < deadline, "old receipts go: {} of {}", left.len(), all.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(all.ends_with(&fewer), "the oldest went, and nothing else");
    let standing = broker.event_receipts(last).await.unwrap();
    broker.shutdown().await;
    drop(broker);

    std::fs::remove_dir_all(folder.path().join("views/receipts")).unwrap();
    let broker = Broker::open(options(None)).await.unwrap();
    let anew = broker.receipts(first_page()).await.unwrap().receipts;
    assert!(fewer.ends_with(&anew) && !anew.is_empty(), "{} of {}", anew.len(), fewer.len());
    assert_eq!(broker.event_receipts(last).await.unwrap(), standing);
    broker.shutdown().await;
}

/// Acknowledges 60 events one by one, seeks back to the first, and acknowledges them again; the last one's offset.
async fn listen_and_seek_back(broker: &Broker) -> Offset {
    for n in 0..60 {
        broker.emit("key.a", &n).await.unwrap();
    }
    for _ in 0..2 {
        let mut session = broker.registry().attach("ui", Via::InProcess).unwrap();
        let mut left = 60;
        while left > 0 {
            if let Delivery::Event { event, .. } = session.next().await.unwrap() {
                let subscription = Arc::clone(session.subscription());
                subscription.ack_each(session.generation(), &[event.offset]).unwrap();
                broker.registry().settle_all().await;
                left -= 1;
            }
        }
        drop(session);
        broker.registry().seek(Kind::Subscriber, "ui", Place::Earliest).await.unwrap();
    }
    Offset(59)
}
