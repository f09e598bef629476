//! `--recover=serve-readable`: whatever is harmed, each offset that was synced is an event, byte for byte, or in a gap
//! that is told; nothing is left out without a word, and least of all the end (R5).
//!
//! The story: where the newest segment was the one that could not be read, the log ended before it, and an export of
//! that said it was whole.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use stentor::clock::Clock;
use stentor::engine::{Engine, Local, LocalOptions};
use stentor::fs::MemoryFs;
use stentor::log::Recover;
use stentor::model::{Offset, Timestamp};
use support::{HARMS, event, forget_views, open, options, outside, publish, read_events, segments, stored};

#[tokio::test]
async fn each_offset_is_an_event_or_in_a_gap_to_the_very_end() {
    for harm in HARMS {
        for views in [true, false] {
            let (fs, paths) = stored().await;
            (harm.harm)(&fs, &paths);
            if !views {
                forget_views(&fs);
            }
            let name = format!("{}, views kept: {views}", harm.name);
            let engine = open(&fs, Recover::ServeReadable).map_err(|error| format!("{name}: {error}")).unwrap().engine;
            assert_eq!(engine.end(), Offset(12), "{name}: it ends where it was synced");
            let (events, gaps) = read_events(&engine).await.unwrap();
            let offsets: Vec<u64> = events.iter().map(|event| event.offset.0).collect();
            assert_eq!(offsets, outside(&gaps, 12)[engine.start().0 as usize..], "{name}: {gaps:?}");
            for found in &events {
                assert_eq!(found.payload, event(found.offset.0).payload, "{name}: byte for byte");
            }
        }
    }
}

#[tokio::test]
async fn a_place_by_time_is_found_before_damage_too() {
    // The story, found in review: the index made behind damage began at the segment's own time there, earlier than what
    // stands before it, and a search by time skipped the events between without a word.
    let (fs, now) = (MemoryFs::new(), Arc::new(AtomicU64::new(1_000)));
    let timed = LocalOptions { clock: Clock::Manual(Arc::clone(&now)), ..options() };
    let engine = Local::open(Arc::new(fs.clone()), &timed).unwrap().engine;
    for n in 0..12 {
        now.store(1_000 * (n + 1), Relaxed);
        publish(&engine, n..n + 1).await.unwrap();
    }
    engine.close();
    drop(engine);
    // The third record of the first segment.
    fs.flip(&segments(&fs, "events")[0], (1024 + 2 * 684 + 100) * 8);
    for views in [true, false] {
        if !views {
            forget_views(&fs);
        }
        let engine = open(&fs, Recover::ServeReadable).unwrap().engine;
        for n in 0..12 {
            let found = engine.at_time(Timestamp(1_000 * (n + 1))).await.unwrap();
            // Of the damaged one only that it is not before the next is known.
            let expected = if n == 2 { 3 } else { n };
            assert_eq!(found, Offset(expected), "views kept: {views}");
        }
        engine.close();
    }
}
