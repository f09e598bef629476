//! Rot in a sealed segment is found and named without any reader (R12), once.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod support;

use stentor::engine::Engine;
use stentor::ledger::Entry;
use stentor::log::{Damage, Recover};
use stentor::model::{Offset, Span};
use support::{bytes_of, open, publish, segments, stored};

/// More than everything there is, twice over: the second turn says nothing new.
fn scrub(engine: &stentor::engine::Local) -> Vec<Damage> {
    let met = engine.scrub(1 << 30);
    assert!(engine.scrub(1 << 30).is_empty(), "each damage is said once");
    met
}

#[tokio::test]
async fn a_whole_log_gives_the_scrub_nothing_to_say() {
    let (fs, _) = stored().await;
    let engine = open(&fs, Recover::Refuse).unwrap().engine;
    assert_eq!(scrub(&engine), []);
}

#[tokio::test]
async fn rot_in_a_record_is_named_by_file_byte_and_offset() {
    let (fs, paths) = stored().await;
    let engine = open(&fs, Recover::Refuse).unwrap().engine;
    publish(&engine, 12..14).await.unwrap();
    assert_eq!(scrub(&engine), []);
    fs.flip(&paths[1], (1024 + 300) * 8);
    let met = scrub(&engine);
    assert_eq!(met.len(), 1, "{met:?}");
    assert_eq!((&met[0].path, met[0].position), (&paths[1], 1024));
    let first = met[0].span.from;
    assert_eq!(met[0].span, Span::one(first), "just the one record");
    fs.flip(&paths[0], (1024 + 300) * 8);
    let met = scrub(&engine);
    assert_eq!(met.iter().map(|damage| damage.span.from).collect::<Vec<_>>(), [Offset(0)], "and later rot later");
}

#[tokio::test]
async fn rot_around_the_records_is_found_too() {
    let (fs, paths) = stored().await;
    let footer = bytes_of(&fs, &paths[0]).len() - 50;
    for (byte, says) in [(30, "header"), (512 + 30, "header"), (footer, "footer")] {
        let disk = fs.fork();
        let engine = open(&disk, Recover::Refuse).unwrap().engine;
        disk.flip(&paths[0], byte * 8);
        let met = scrub(&engine);
        assert!(met.len() == 1 && met[0].detail.contains(says), "byte {byte}: {met:?}");
    }
}

#[tokio::test]
async fn the_ledger_is_scrubbed_too_its_snapshots_included() {
    let (fs, _) = stored().await;
    let engine = open(&fs, Recover::Refuse).unwrap().engine;
    for _ in 0..60 {
        let said = Entry::Cut { log: "x".repeat(80), quarantined: "y".repeat(80), bytes: 1 };
        engine.record(vec![said]).unwrap().durable().await.unwrap();
    }
    let ledger = segments(&fs, "ledger");
    fs.flip(&ledger[0], (1024 + 50) * 8);
    fs.flip(&ledger[1], (2048 + 60) * 8);
    let met = scrub(&engine);
    assert_eq!(met.iter().map(|damage| &damage.path).collect::<Vec<_>>(), [&ledger[0], &ledger[1]], "{met:?}");
    assert!(met[0].detail.contains("snapshot"), "{met:?}");
}

#[tokio::test]
async fn it_goes_on_where_it_stopped_and_begins_again_at_the_end() {
    let (fs, paths) = stored().await;
    let engine = open(&fs, Recover::Refuse).unwrap().engine;
    fs.flip(&paths[1], (1024 + 300) * 8);
    let mut turns = 0;
    while engine.scrub(1).is_empty() {
        turns += 1;
        assert!(turns < 50, "a byte at a time it comes to the second segment");
    }
    assert!(turns >= 1, "not in the first turn");
}
