//! What the fuzzers found (`fuzz/`), or what was found while their properties were written, bug by bug, kept dead.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use stentor::broker::{Broker, Options, Report, verify_export};
use stentor::engine::{Budget, Engine, Local, LocalOptions};
use stentor::fs::{Fs, MemoryFs};
use stentor::ledger::{Entry, SentSpan, State, Target, Via};
use stentor::log::{Fill, Recover};
use stentor::model::{
    EventId, Filter, Headers, Name, NewEvent, Offset, Span, SubscriberId, SubscriberSettings, Timestamp,
};

fn event(payload: &str) -> NewEvent {
    NewEvent::check("key.a", EventId::Made([0; 16]), None, Headers::default(), None, payload.to_owned().into()).unwrap()
}

fn checked(export: &[u8]) -> Report {
    verify_export(Path::new("export.ndjson"), export, &mut |_| {}).unwrap()
}

/// `publish` and `event` ran into it: a payload may be any JSON, `1e999` among it, and their own check read it into a
/// value, which does not take that. The check of an export did the same, and would call a good export "not JSON"; with
/// 128 levels of lists too, which was found by reading.
#[tokio::test]
async fn an_export_of_any_payload_that_was_taken_is_clean() {
    let broker = Broker::open(Options::memory()).await.unwrap();
    let deep = "[".repeat(128) + &"]".repeat(128);
    for payload in ["1e999", "-1e999", "[123456789012345678901234567890]", &deep] {
        broker.publish(event(payload)).await.unwrap();
    }
    let mut export = broker.export(Filter::everything(), Span::new(Offset::ZERO, broker.end()));
    let mut lines = Vec::new();
    while let Some(block) = export.next_lines().await.unwrap() {
        lines.extend_from_slice(&block);
    }
    let report = checked(&lines);
    assert!(report.is_clean() && report.events == 4, "{:?}", report.findings);
    broker.shutdown().await;
}

/// Found by reading, while the property of `export` was written: the offset after the last that a number holds
/// panicked, a gap could lead back, and the range on the last line was believed whatever stood before it.
#[test]
fn an_export_that_goes_back_or_out_of_its_range_is_not_clean() {
    let last = r#"{"checkpoint":null,"from":0,"to":9,"events":1}"#;
    let event = r#"{"offset":4,"id":"a","channel":"a","time":"2026-11-22T04:00:00.000000Z","data":1}"#;
    let good = format!("{{\"gap\":{{\"from\":0,\"to\":4}}}}\n{event}\n{last}\n");
    assert!(checked(good.as_bytes()).is_clean());
    for line in [
        r#"{"offset":18446744073709551615}"#,
        r#"{"gap":{"from":5,"to":2}}"#,
        r#"{"gap":{"from":5,"to":5}}"#,
        r#"{"gap":{"from":5}}"#,
        r#"{"gap":{"from":5,"to":10}}"#,
        r#"{"gap":{"from":5,"to":6},"offset":5}"#,
        r#"[5,null]"#,
        "",
    ] {
        let bad = format!("{event}\n{line}\n{last}\n");
        assert!(!checked(bad.as_bytes()).is_clean(), "{line}");
    }
    let later = event.replace(":4,", ":5,");
    let earlier = later.replace("T04", "T03");
    let two = last.replace(r#""events":1"#, r#""events":2"#);
    assert!(checked(format!("{event}\n{later}\n{two}\n").as_bytes()).is_clean(), "time may stand still");
    assert!(!checked(format!("{event}\n{earlier}\n{two}\n").as_bytes()).is_clean(), "time does not go back");
    for last in [
        r#"{"checkpoint":null,"from":5,"to":9,"events":1}"#,
        r#"{"checkpoint":null,"from":0,"to":4,"events":1}"#,
        r#"{"checkpoint":null,"events":1}"#,
        r#"[null,null,null,0,9,1]"#,
    ] {
        assert!(!checked(format!("{event}\n{last}\n").as_bytes()).is_clean(), "{last}");
    }
}

fn options(recover: Recover) -> LocalOptions {
    LocalOptions {
        event_segment_bytes: 4096,
        ledger_segment_bytes: 4096,
        fill: Fill::Never,
        recover,
        ..LocalOptions::new("data")
    }
}

/// Three events, closed.
async fn stored() -> MemoryFs {
    let fs = MemoryFs::new();
    let engine = Local::open(Arc::new(fs.clone()), &options(Recover::Refuse)).unwrap().engine;
    for n in 0..3 {
        engine.append(vec![event(&n.to_string())]).await.unwrap();
    }
    engine.close();
    fs
}

/// `damage` found it: of a segment that was cut within its first kilobyte the header is sound, and the file ends before
/// the place of its first record. Whoever served around it and read there panicked.
#[tokio::test]
async fn a_segment_cut_before_its_first_record_is_told_as_a_gap() {
    let fs = stored().await;
    let path = Path::new("data/events/00000000000000000000.seg");
    let bytes = fs.files().into_iter().find(|(found, _)| found == path).unwrap().1;
    for keep in [64, 576, 1000, 1024] {
        let cut = fs.fork();
        cut.put(path, &[]);
        cut.put(path, &bytes[..keep]);
        let refused = Local::open(Arc::new(cut.clone()), &options(Recover::Refuse)).map(|_| ()).unwrap_err();
        assert!(refused.to_string().contains("durable.meta"), "{refused}");
        let engine = Local::open(Arc::new(cut.fork()), &options(Recover::ServeReadable)).unwrap().engine;
        let span = Span::new(Offset::ZERO, engine.end());
        let page = engine.read(span, &Arc::new(Filter::all()), Budget::SESSION, None).await.unwrap();
        assert_eq!(page.gap, Some(Span::new(Offset(0), Offset(3))), "cut to {keep} bytes");
    }
}

fn state() -> State {
    let mut state = State::default();
    let id = SubscriberId(0);
    let target = Target::Subscriber(SubscriberSettings::new(Filter::all()));
    let made = Entry::Made { id, name: Name::parse("name", "a").unwrap(), target, cursor: Offset(105) };
    let spans = vec![SentSpan { span: Span::new(Offset(107), Offset(109)), attempts: 1 }];
    let acked = Entry::Acked { id, spans, via: Via::WebSocket, status: None, latency_ms: None };
    state.apply(&made, Timestamp(1));
    state.apply(&acked, Timestamp(2));
    state
}

/// Found on the way to `ledger`: a snapshot that said "done: 107 to 107" was taken, and the question what is missing
/// behind it never ended. Nor does a snapshot whose subscribers have each other's numbers or names mean anything.
#[test]
fn a_snapshot_that_no_fold_ever_made_is_refused() {
    let encoded = state().encode();
    assert!(State::decode(&encoded).is_ok());
    let done = encoded.windows(4).position(|part| part == [105, 1, 107, 109]).expect("floor and what is done");
    for to in [107, 106] {
        let mut bad = encoded.clone();
        bad[done + 3] = to;
        assert!(State::decode(&bad).is_err(), "done from 107 to {to}");
    }
    let mut bad = encoded.clone();
    let next_id = 1 + 1;
    assert_eq!(bad[next_id], 1, "version, no event log, then the next number");
    bad[next_id] = 0;
    assert!(State::decode(&bad).is_err(), "a number that would be given again");
}

/// Found on the way to `ledger`: the number after the highest panicked, and with it every start on that ledger.
#[test]
fn the_highest_number_of_all_does_not_end_the_fold() {
    let mut state = State::default();
    let target = Target::Subscriber(SubscriberSettings::new(Filter::all()));
    let name = Name::parse("name", "a").unwrap();
    state.apply(&Entry::Made { id: SubscriberId(u64::MAX), name, target, cursor: Offset::ZERO }, Timestamp(1));
    assert_eq!(state.next_id, u64::MAX);
}

/// Found on the way to `recovery`: the sequence after the highest panicked at the first sync.
#[tokio::test]
async fn a_durable_meta_with_the_highest_sequence_is_none() {
    let fs = stored().await;
    let path = Path::new("data/events/durable.meta");
    let mut bytes = fs.files().into_iter().find(|(found, _)| found == path).unwrap().1;
    for slot in [0, 512] {
        bytes[slot + 32..slot + 40].fill(0xff);
        let crc = crc32fast::hash(&bytes[slot..slot + 76]);
        bytes[slot + 76..slot + 80].copy_from_slice(&crc.to_le_bytes());
    }
    fs.put(path, &bytes);
    let refused = Local::open(Arc::new(fs), &options(Recover::Refuse)).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("neither slot is valid"), "{refused}");
}

/// `recovery` found it: a `durable.meta` with a tail of anything behind it was an error of the file system's, which
/// nobody could serve around, and not the damage that it is.
#[tokio::test]
async fn a_durable_meta_that_grew_is_damage_and_can_be_served_around() {
    let fs = stored().await;
    let path = Path::new("data/events/durable.meta");
    let mut bytes = fs.files().into_iter().find(|(found, _)| found == path).unwrap().1;
    bytes.resize(5_000, 7);
    fs.put(path, &bytes);
    let refused = Local::open(Arc::new(fs.fork()), &options(Recover::Refuse)).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("damage in data/events/durable.meta"), "{refused}");
    let engine = Local::open(Arc::new(fs), &options(Recover::ServeReadable)).unwrap().engine;
    assert_eq!(engine.end(), Offset(3));
}

/// `recovery` found it: a segment that ends with a footer, and with anything but zeros behind that, was taken for one
/// whose sealing a crash had interrupted, and what stood behind the footer was cut off and kept nowhere.
#[tokio::test]
async fn bytes_behind_a_footer_are_damage_and_stay() {
    let fs = rolled().await;
    let (path, mut bytes) = segments(&fs).swap_remove(0);
    let plain = bytes.len();
    bytes.extend([0; 100]);
    bytes.extend(b"something that somebody wrote");
    fs.put(&path, &bytes);
    let refused = Local::open(Arc::new(fs.fork()), &options(Recover::Refuse)).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("bytes behind the segment's footer") && refused.contains(&plain.to_string()), "{refused}");
    let around = fs.fork();
    let engine = Local::open(Arc::new(around.clone()), &options(Recover::ServeReadable)).unwrap().engine;
    assert_eq!(engine.end(), Offset(8), "all of it is readable");
    assert!(segments(&around)[0].1 == bytes, "every byte is where it was (8)");
    // Zeros are what an interrupted sealing leaves: they may go.
    bytes.truncate(plain + 100);
    let zeros = fs.fork();
    Fs::remove(&zeros, &path).unwrap();
    zeros.put(&path, &bytes);
    Local::open(Arc::new(zeros.clone()), &options(Recover::Refuse)).unwrap();
    assert_eq!(segments(&zeros)[0].1.len(), plain);
}

/// Eight events in three segments or more, closed.
async fn rolled() -> MemoryFs {
    let fs = MemoryFs::new();
    let engine = Local::open(Arc::new(fs.clone()), &options(Recover::Refuse)).unwrap().engine;
    for _ in 0..8 {
        engine.append(vec![event(&format!("\"{}\"", "x".repeat(700)))]).await.unwrap();
    }
    engine.close();
    assert!(segments(&fs).len() >= 3);
    fs
}

fn segments(fs: &MemoryFs) -> Vec<(PathBuf, Vec<u8>)> {
    let ours = |path: &Path| path.starts_with("data/events") && path.extension().is_some_and(|kind| kind == "seg");
    fs.files().into_iter().filter(|(path, _)| ours(path)).collect()
}

/// `recovery` found it: the newest segment was lost, and the one before it had lost its footer and the end of its last
/// record. The start cut that as a torn tail first, and only then met the evidence that it had been durable.
#[tokio::test]
async fn nothing_of_a_log_that_is_refused_is_cut() {
    let fs = rolled().await;
    let mut found = segments(&fs);
    Fs::remove(&fs, &found.pop().unwrap().0).unwrap();
    let (path, bytes) = found.pop().unwrap();
    Fs::remove(&fs, &path).unwrap();
    fs.put(&path, &bytes[..bytes.len() - 96 - 10]);
    let before = segments(&fs);
    let refused = Local::open(Arc::new(fs.clone()), &options(Recover::Refuse)).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("lost data") && refused.contains("durable.meta"), "{refused}");
    assert!(segments(&fs) == before, "every byte is where it was (8)");
    assert!(!fs.files().iter().any(|(path, _)| path.starts_with("data/quarantine")), "and nothing was set aside (7)");
}
