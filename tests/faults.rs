//! Damage is refused and named, served around only when asked; a failed sync is final; a full disk heals.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;
use std::sync::Arc;
use stentor::engine::{AppendError, Engine, Local, LocalOptions};
use stentor::fs::{Choices, Fault, MemoryFs};
use stentor::ledger::Entry;
use stentor::log::{Failure, Recover};
use stentor::model::{EventId, Headers, NewEvent, Offset, Span};
use support::{open, options, publish, read_all, stored};

#[tokio::test]
async fn a_flipped_bit_in_a_sealed_segment_is_named_by_file_byte_and_offsets_and_served_around_when_asked() {
    // A start reads footers and the tail, not sealed segments: the damage is met by whoever reads there.
    let (fs, segments) = stored().await;
    // In the body of the second record of the first segment.
    fs.flip(&segments[0], (1024 + 700 + 300) * 8);
    let opened = open(&fs, Recover::Refuse).unwrap();
    for _ in 0..2 {
        let met = read_all(&opened.engine).await.unwrap_err();
        for part in ["damage in", "00000000000000000000.seg", "at byte", "offsets 1 to 2"] {
            assert!(met.contains(part), "each time (invariant 8): {part}: {met}");
        }
    }
    opened.engine.close();
    drop(opened);
    let before = fs.files();
    let opened = open(&fs, Recover::ServeReadable).unwrap();
    let (events, gaps) = read_all(&opened.engine).await.unwrap();
    assert_eq!(gaps, [Span::one(Offset(1))], "the damaged range is told as a gap");
    assert_eq!(events, (0..12).filter(|n| *n != 1).collect::<Vec<u64>>());
    let refused = publish(&opened.engine, 12..13).await.unwrap_err();
    assert!(matches!(refused, AppendError::Failed(Failure::ReadOnly(_))), "{refused}");
    opened.engine.close();
    let kept = |files: Vec<(std::path::PathBuf, Vec<u8>)>| {
        files.into_iter().filter(|(path, _)| path.starts_with("data/events")).collect::<Vec<_>>()
    };
    assert_eq!(kept(before), kept(fs.files()), "the bytes are kept as they are (invariant 8)");
    drop(opened);
    // Without its views a start has to read every segment, and then it refuses.
    for (path, _) in fs.files().into_iter().filter(|(path, _)| path.starts_with("data/views")) {
        stentor::fs::Fs::remove(&fs, &path).unwrap();
    }
    let refused = open(&fs, Recover::Refuse).map(|_| ()).unwrap_err();
    assert!(refused.contains("offsets 1 to 2"), "{refused}");
}

#[tokio::test]
async fn a_bad_record_before_later_groups_is_damage_and_a_missing_segment_a_hole() {
    let (fs, segments) = stored().await;
    fs.flip(segments.last().unwrap(), (1024 + 100) * 8);
    let refused = open(&fs, Recover::Refuse).map(|_| ()).unwrap_err();
    assert!(refused.contains("damage") || refused.contains("lost data"), "{refused}");
    let (fs, segments) = stored().await;
    stentor::fs::Fs::remove(&fs, &segments[1]).unwrap();
    let refused = open(&fs, Recover::Refuse).map(|_| ()).unwrap_err();
    assert!(refused.contains("hole"), "{refused}");
}

#[tokio::test]
async fn a_log_cut_at_a_record_is_lost_data_because_the_evidence_says_so() {
    let (fs, segments) = stored().await;
    let last = segments.last().unwrap();
    let bytes = fs.files().into_iter().find(|(path, _)| path == last).unwrap().1;
    stentor::fs::Fs::remove(&fs, last).unwrap();
    fs.put(last, &bytes[..1024]);
    let refused = open(&fs, Recover::Refuse).map(|_| ()).unwrap_err();
    assert!(refused.contains("durable.meta"), "R6: {refused}");
}

#[tokio::test]
async fn a_bad_record_before_the_very_last_one_is_damage_though_no_other_evidence_is_left() {
    // The evidence on the side is synced once a second: a power cut takes what it said of the last second. Then only
    // the record behind tells that the bad one was synced, and of the last two no other is behind.
    let fs = MemoryFs::new();
    let options = LocalOptions { evidence_every: std::time::Duration::from_secs(86_400), ..options() };
    let engine = Local::open(Arc::new(fs.clone()), &options).unwrap().engine;
    publish(&engine, 0..1).await.unwrap();
    publish(&engine, 1..2).await.unwrap();
    // The first version: whatever was not synced is lost.
    let left = fs.crash(&mut Choices::exhaustive());
    drop(engine);
    let whole = Local::open(Arc::new(left.fork()), &options).unwrap().engine;
    assert_eq!(read_all(&whole).await.unwrap().0, [0, 1], "both were synced");
    left.flip(Path::new("data/events/00000000000000000000.seg"), (1024 + 100) * 8);
    let refused = Local::open(Arc::new(left), &options).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("written after it was synced"), "{refused}");
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_acknowledged_and_reads_go_on() {
    let fs = MemoryFs::new();
    let engine = open(&fs, Recover::Refuse).unwrap().engine;
    publish(&engine, 0..2).await.unwrap();
    // Of a publish's calls the first writes and the second syncs.
    fs.set_fault(Fault { fail_call: Some(fs.calls() + 1), ..Fault::default() });
    let failed = publish(&engine, 2..3).await.unwrap_err();
    assert!(matches!(failed, AppendError::Failed(Failure::Poisoned(_))), "{failed}");
    fs.set_fault(Fault::default());
    let after = publish(&engine, 3..4).await.unwrap_err();
    assert!(matches!(after, AppendError::Failed(Failure::Poisoned(_))), "a failed sync is final (R7): {after}");
    assert!(engine.refuses_events().is_some(), "health says so");
    assert_eq!(read_all(&engine).await.unwrap().0, [0, 1]);
}

#[tokio::test]
async fn a_full_disk_refuses_publishes_keeps_reading_and_heals_by_itself() {
    let fs = MemoryFs::new();
    let engine = open(&fs, Recover::Refuse).unwrap().engine;
    publish(&engine, 0..3).await.unwrap();
    let used: u64 = fs.files().iter().map(|(_, bytes)| bytes.len() as u64).sum();
    fs.set_fault(Fault { capacity: Some(used + 900), ..Fault::default() });
    let mut kept = 3;
    let failed = loop {
        match publish(&engine, kept..kept + 1).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(failed, AppendError::Failed(Failure::Full)), "507, and nothing written: {failed}");
    assert_eq!(read_all(&engine).await.unwrap().0, (0..kept).collect::<Vec<_>>(), "reads go on (invariant 11)");
    fs.set_fault(Fault::default());
    publish(&engine, kept..kept + 4).await.unwrap();
    engine.close();
    drop(engine);
    let again = open(&fs, Recover::Refuse).unwrap();
    assert!(again.cuts.is_empty(), "no partial record remains");
    assert_eq!(read_all(&again.engine).await.unwrap().0, (0..kept + 4).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_payload_that_holds_whole_segments_is_never_taken_for_records() {
    let (fs, segments) = stored().await;
    let segment = fs.files().into_iter().find(|(path, _)| *path == segments[0]).unwrap().1;
    let fs = MemoryFs::new();
    let options = LocalOptions { event_segment_bytes: 1 << 16, ..options() };
    let engine = Local::open(Arc::new(fs.clone()), &options).unwrap().engine;
    let planted = NewEvent::check(
        "key.a",
        EventId::Made([0; 16]),
        None,
        Headers::default(),
        Some("application/octet-stream"),
        segment.into(),
    );
    engine.append(vec![planted.unwrap()]).await.unwrap();
    engine.close();
    drop(engine);
    // The record around it is bad, at any bit of its header and of the bytes before and behind what is planted; and it
    // is the last: a torn tail, in which nothing may be found (R1).
    let last = Path::new("data/events/00000000000000000000.seg");
    let len = fs.files().into_iter().find(|(path, _)| path == last).unwrap().1.len();
    for bit in (1024 * 8..1120 * 8).chain((len - 32) * 8..len * 8) {
        let disk = fs.fork();
        disk.flip(last, bit);
        let refused = Local::open(Arc::new(disk.fork()), &options).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("durable.meta"), "bit {bit}: only the evidence proves that it was there: {refused}");
        let around = LocalOptions { recover: Recover::ServeReadable, ..options.clone() };
        let engine = Local::open(Arc::new(disk), &around).unwrap().engine;
        assert_eq!(read_all(&engine).await.unwrap(), (Vec::new(), vec![Span::one(Offset(0))]), "bit {bit}");
    }
}

#[tokio::test]
async fn a_format_version_that_is_not_known_is_refused_and_nothing_is_touched() {
    let (fs, segments) = stored().await;
    let mut bytes = fs.files().into_iter().find(|(path, _)| *path == segments[0]).unwrap().1;
    for copy in [0, 512] {
        bytes[copy + 8] = 2;
        let crc = crc32fast::hash(&bytes[copy..copy + 60]);
        bytes[copy + 60..copy + 64].copy_from_slice(&crc.to_le_bytes());
    }
    fs.put(&segments[0], &bytes);
    let events = |fs: &MemoryFs| -> Vec<_> {
        fs.files().into_iter().filter(|(path, _)| path.starts_with("data/events")).collect()
    };
    let before = events(&fs);
    for recover in [Recover::Refuse, Recover::ServeReadable] {
        let refused = open(&fs, recover).map(|_| ()).unwrap_err();
        assert!(refused.contains("format version 2 is not known"), "R11: {refused}");
    }
    assert!(before == events(&fs), "nothing of it is touched");
}

#[tokio::test]
async fn with_a_damaged_ledger_events_are_still_read_and_nothing_is_acknowledged() {
    let (fs, _) = stored().await;
    let ledger = Path::new("data/ledger/00000000000000000000.seg");
    fs.flip(ledger, (1024 + 48) * 8);
    let refused = open(&fs, Recover::Refuse).map(|_| ()).unwrap_err();
    assert!(refused.contains("data/ledger"), "{refused}");
    let opened = open(&fs, Recover::ServeReadable).unwrap();
    assert_eq!(read_all(&opened.engine).await.unwrap().0, (0..12).collect::<Vec<_>>());
    assert!(matches!(opened.engine.refuses_entries(), Some(Failure::ReadOnly(_))), "anonymous reads only (R5)");
}

#[tokio::test]
async fn with_little_space_left_publishes_are_refused_and_acks_have_room() {
    // The soft watermark: nothing is written, and what keeps the promises goes on.
    let fs = MemoryFs::new();
    let options = LocalOptions { reserve_bytes: 10_000, ..options() };
    let engine = Local::open(Arc::new(fs.clone()), &options).unwrap().engine;
    publish(&engine, 0..3).await.unwrap();
    let used: u64 = fs.files().iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let now = stentor::clock::Clock::Machine.now();
    fs.set_fault(Fault { capacity: Some(used + 9_000), ..Fault::default() });
    engine.maintain(Default::default(), now).unwrap();
    let before = fs.files();
    let refused = publish(&engine, 3..4).await.unwrap_err();
    assert!(matches!(refused, AppendError::Failed(Failure::Full)), "{refused}");
    assert_eq!(before, fs.files(), "nothing was written");
    assert_eq!(engine.refuses_events(), Some(Failure::Full), "health says so");
    assert_eq!(engine.refuses_entries(), None);
    let said = Entry::Cut { log: String::new(), quarantined: String::new(), bytes: 0 };
    engine.record(vec![said]).unwrap().durable().await.unwrap();
    fs.set_fault(Fault { capacity: Some(used + 20_000), ..Fault::default() });
    engine.maintain(Default::default(), now).unwrap();
    publish(&engine, 3..4).await.unwrap();
    assert_eq!(read_all(&engine).await.unwrap().0, [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_disk_that_is_full_at_a_footer_refuses_and_heals() {
    // The story: a segment that grows met the full disk at its footer, and the log was poisoned for it.
    let (mut refused, mut healed) = (0, 0);
    for spare in 0..200 {
        let fs = MemoryFs::new();
        let engine = open(&fs, Recover::Refuse).unwrap().engine;
        publish(&engine, 0..3).await.unwrap();
        let used: u64 = fs.files().iter().map(|(_, bytes)| bytes.len() as u64).sum();
        fs.set_fault(Fault { capacity: Some(used + 700 + spare * 10), ..Fault::default() });
        let mut stored = 3;
        for n in 3..8 {
            match publish(&engine, n..n + 1).await {
                Ok(()) => stored += 1,
                Err(AppendError::Failed(Failure::Full)) => break,
                Err(other) => panic!("with {spare} more tens of bytes: {other}"),
            }
        }
        refused += u64::from(stored < 8);
        fs.set_fault(Fault::default());
        publish(&engine, stored..12).await.unwrap();
        assert_eq!(read_all(&engine).await.unwrap().0, (0..12).collect::<Vec<u64>>());
        engine.close();
        drop(engine);
        let again = open(&fs, Recover::Refuse).unwrap().engine;
        assert_eq!(read_all(&again).await.unwrap().0, (0..12).collect::<Vec<u64>>());
        healed += 1;
    }
    assert!(refused > 100 && healed == 200, "{refused} of {healed}");
}

#[tokio::test]
async fn a_ledger_that_is_lost_beside_its_events_is_refused() {
    // The story: the broker began a new ledger, and every subscriber was forgotten without a word.
    let (fs, _) = stored().await;
    let ledger: Vec<_> = fs.files().into_iter().filter(|(path, _)| path.starts_with("data/ledger")).collect();
    for (path, _) in &ledger {
        stentor::fs::Fs::remove(&fs, path).unwrap();
    }
    let refused = open(&fs, Recover::Refuse).map(|_| ()).unwrap_err();
    assert!(refused.contains("ledger does not belong to these events, or is lost"), "{refused}");
    let (other, _) = stored().await;
    for (path, bytes) in other.files().into_iter().filter(|(path, _)| path.starts_with("data/ledger")) {
        fs.put(&path, &bytes);
    }
    let refused = open(&fs, Recover::Refuse).map(|_| ()).unwrap_err();
    assert!(refused.contains("ledger does not belong to these events"), "another log's: {refused}");
    for (path, bytes) in &ledger {
        fs.put(path, bytes);
    }
    assert!(open(&fs, Recover::Refuse).is_ok(), "put back as they were together");
}

#[tokio::test]
async fn a_retired_file_that_cannot_be_removed_goes_in_a_later_round() {
    // The story: its offsets were gone from memory, the file stayed for ever, and the next start refused it.
    let (fs, paths) = stored().await;
    let limits = stentor::engine::RetentionLimits { max_bytes: Some(1), ..Default::default() };
    let now = stentor::clock::Clock::Machine.now();
    let mut stayed = 0;
    for nth in 0..20 {
        let disk = fs.fork();
        let engine = open(&disk, Recover::Refuse).unwrap().engine;
        disk.set_fault(Fault { fail_call: Some(disk.calls() + nth), ..Fault::default() });
        let failed = engine.maintain(limits, now).is_err();
        disk.set_fault(Fault::default());
        if failed && engine.refuses_entries().is_none() {
            stayed += u64::from(support::segments(&disk, "events")[0] == paths[0]);
            engine.maintain(limits, now).unwrap();
            assert!(support::segments(&disk, "events")[0] > paths[0], "call {nth}: it goes in the next round");
        }
        let (start, end) = (engine.start(), engine.end());
        engine.close();
        drop(engine);
        let again = open(&disk, Recover::Refuse).map_err(|error| format!("call {nth}: {error}")).unwrap().engine;
        assert!(again.start() >= start && again.end() == end, "nothing retired comes back (invariant 13)");
    }
    assert!(stayed > 0, "the removal itself failed once");
}
