//! `--recover=serve-readable`: whatever is harmed, each offset that was synced is an event, byte for byte, or in a gap
//! that is told; nothing is left out without a word, and least of all the end (R5).
//!
//! The story: where the newest segment was the one that could not be read, the log ended before it, and an export of
//! that said it was whole.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod support;

use stentor::engine::Engine;
use stentor::log::Recover;
use stentor::model::Offset;
use support::{HARMS, event, forget_views, open, outside, read_events, stored};

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
