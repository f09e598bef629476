//! `stentor repair`: damaged ranges come back from an export, the rest is left as it is (R5).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod support;

use std::io::{BufRead, Cursor};
use std::path::Path;
use std::sync::Arc;
use stentor::broker::{Error, repair};
use stentor::engine::Engine;
use stentor::fs::{Choices, Fault, Fs, MemoryFs};
use stentor::log::{Mended, Recover};
use stentor::model::Event;
use support::{HARMS, bytes_of, forget_views, open, read_events, stored};

/// An unfiltered export of these events.
fn export(events: &[Arc<Event>]) -> String {
    let mut lines: String = events.iter().map(|e| String::from_utf8(e.json().to_vec()).unwrap() + "\n").collect();
    let (from, to) = (events[0].offset, events.last().unwrap().offset.next());
    lines += &format!("{{\"checkpoint\":null,\"from\":{from},\"to\":{to},\"events\":{}}}\n", events.len());
    lines
}

fn run(fs: &MemoryFs, export: &str) -> Result<Vec<Mended>, Error> {
    let disk: Arc<dyn Fs> = Arc::new(fs.clone());
    let reopen = || Ok(Box::new(Cursor::new(export.as_bytes().to_vec())) as Box<dyn BufRead>);
    repair(&disk, Path::new("data"), &reopen, Box::new(|| 77), &mut |_| {})
}

async fn events(fs: &MemoryFs) -> Vec<Arc<Event>> {
    let engine = open(fs, Recover::Refuse).unwrap().engine;
    let (events, gaps) = read_events(&engine).await.unwrap();
    assert!(gaps.is_empty(), "{gaps:?}");
    engine.close();
    events
}

#[tokio::test]
async fn every_kind_of_damage_is_restored_with_the_same_identity() {
    for harm in HARMS {
        let (fs, paths) = stored().await;
        let before = events(&fs).await;
        let whole: Vec<Vec<u8>> = paths.iter().map(|path| bytes_of(&fs, path)).collect();
        (harm.harm)(&fs, &paths);
        let harmed: Vec<Option<Vec<u8>>> =
            paths.iter().map(|path| fs.files().into_iter().find(|(found, _)| found == path).map(|(_, b)| b)).collect();
        let mended = run(&fs, &export(&before)).map_err(|error| format!("{}: {error}", harm.name)).unwrap();
        assert!(!mended.is_empty() && mended.iter().all(|m| m.filled), "{}: {mended:?}", harm.name);
        forget_views(&fs);
        let after = events(&fs).await;
        let leaves = |events: &[Arc<Event>]| events.iter().map(|event| event.leaf()).collect::<Vec<_>>();
        assert_eq!(leaves(&before), leaves(&after), "{}", harm.name);
        for ((path, whole), harmed) in paths.iter().zip(&whole).zip(&harmed) {
            if harmed.as_ref() == Some(whole) && path != paths.last().unwrap() {
                assert_eq!(&bytes_of(&fs, path), whole, "{}: what is whole is left alone", harm.name);
            }
        }
    }
}

#[tokio::test]
async fn where_nothing_is_damaged_nothing_is_done() {
    let (fs, _) = stored().await;
    let all = export(&events(&fs).await);
    let before = fs.files();
    assert!(run(&fs, &all).unwrap().is_empty());
    assert_eq!(before, fs.files());
}

#[tokio::test]
async fn an_export_that_does_not_fit_changes_nothing() {
    let (fs, paths) = stored().await;
    let all = events(&fs).await;
    fs.flip(&paths[0], (1024 + 700 + 300) * 8);
    let before = fs.files();
    let whole = export(&all);
    let other_event = whole.replacen("[5,", "[6,", 1);
    let lacking: Vec<_> = all.iter().filter(|event| event.offset.0 != 1).cloned().collect();
    let cut_short = whole.lines().take(8).map(|line| format!("{line}\n")).collect::<String>();
    let swapped = {
        let mut lines: Vec<&str> = whole.lines().collect();
        lines.swap(2, 3);
        lines.join("\n") + "\n"
    };
    for (what, export, says) in [
        ("another event in it", other_event.as_str(), "another event"),
        ("without the damaged one", &export(&lacking), "does not have it"),
        ("without its last line", &cut_short, "last line is missing"),
        ("out of order", &swapped, "stands behind"),
        ("nothing at all", "", "last line is missing"),
        ("not an export", "{\"a\":1}\n", "neither an event nor a gap"),
    ] {
        let refused = run(&fs, export).unwrap_err().to_string();
        assert!(refused.contains(says), "{what}: {refused}");
        assert_eq!(before, fs.files(), "{what}: nothing is changed");
    }
}

#[tokio::test]
async fn killed_at_any_call_it_can_be_run_again() {
    // Invariant 9, for this way of mending too: the power fails at each of its calls, and the second run ends it.
    let (fs, paths) = stored().await;
    let before = events(&fs).await;
    let all = export(&before);
    fs.flip(&paths[0], (1024 + 100) * 8);
    Fs::remove(&fs, &paths[1]).unwrap();
    forget_views(&fs);
    let mut tried = 0;
    for call in 0.. {
        let disk = fs.fork();
        disk.set_fault(Fault { fail_call: Some(disk.calls() + call), keep_failing: true, ..Fault::default() });
        let failed = run(&disk, &all).is_err();
        let disk = disk.crash(&mut Choices::seeded(call));
        run(&disk, &all).map_err(|error| format!("call {call}: {error}")).unwrap();
        let leaves = |events: &[Arc<Event>]| events.iter().map(|event| event.leaf()).collect::<Vec<_>>();
        assert_eq!(leaves(&before), leaves(&events(&disk).await), "call {call}");
        tried += 1;
        if !failed {
            break;
        }
    }
    assert!(tried > 10, "there are calls to fail: {tried}");
}
