//! A publisher's id is known for 24 hours and 1,000,000 ids, also where retention takes its event before (26).
//!
//! tests/crash_images.rs holds the same over every crash state of a retirement.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use stentor::clock::Clock;
use stentor::engine::{AppendError, Engine, Local, LocalOptions, Placed, RetentionLimits};
use stentor::fs::{Fault, MemoryFs};
use stentor::log::Fill;
use stentor::model::{EventId, Headers, NewEvent, Offset, Timestamp};

const DAY: u64 = 86_400_000_000;
const ONE_BYTE: RetentionLimits = RetentionLimits { max_age: None, max_bytes: Some(1), receipts: None };

struct Disk {
    fs: MemoryFs,
    now: Arc<AtomicU64>,
}

impl Disk {
    fn new() -> Self {
        Self { fs: MemoryFs::new(), now: Arc::new(AtomicU64::new(DAY)) }
    }

    fn open(&self) -> Local {
        let clock = Clock::Manual(Arc::clone(&self.now));
        let options = LocalOptions { event_segment_bytes: 4096, fill: Fill::Never, clock, ..LocalOptions::new("data") };
        Local::open(Arc::new(self.fs.clone()), &options).unwrap().engine
    }

    fn kept(&self) -> Vec<PathBuf> {
        let files = self.fs.files().into_iter().map(|(path, _)| path);
        files.filter(|path| path.parent() == Some(Path::new("data/ids"))).collect()
    }
}

fn event(n: u64, payload: &str, trace: &str) -> NewEvent {
    let id = EventId::parse(&format!("order-{n}")).unwrap();
    let headers = Headers::parse([("a", "b"), ("traceparent", trace)]).unwrap();
    let payload = format!("[\"{payload}\",\"{}\"]", "x".repeat(900));
    NewEvent::check("key.a", id, None, headers, None, payload.into()).unwrap()
}

async fn publish(engine: &Local, n: u64, payload: &str) -> Result<Placed, AppendError> {
    Ok(engine.append(vec![event(n, payload, "00-1")]).await?[0])
}

/// Twenty events with ids in several segments, of which retention took all but the newest; where each was.
async fn worn(disk: &Disk) -> (Local, Vec<Placed>) {
    let engine = disk.open();
    let mut placed = Vec::new();
    for n in 0..20 {
        disk.now.fetch_add(1_000_000, Ordering::Relaxed);
        placed.push(publish(&engine, n, "first").await.unwrap());
    }
    while engine.maintain(ONE_BYTE, Timestamp(2 * DAY)).unwrap().is_some() {}
    assert!(engine.start() > Offset(12), "retention took most: {}", engine.start());
    (engine, placed)
}

async fn each_is_known(engine: &Local, placed: &[Placed]) {
    for (n, first) in placed.iter().enumerate() {
        let again = engine.append(vec![event(n as u64, "first", "00-2")]).await.unwrap()[0];
        assert_eq!(again, Placed { duplicate: true, ..*first }, "the first one's place and time, whatever the trace");
        let other = publish(engine, n as u64, "other").await;
        assert!(matches!(other, Err(AppendError::Conflict { offset, .. }) if offset == first.offset), "{other:?}");
    }
}

#[tokio::test]
async fn an_id_is_known_after_retention_took_its_event_and_over_restarts() {
    let disk = Disk::new();
    let (engine, placed) = worn(&disk).await;
    each_is_known(&engine, &placed).await;
    engine.close();
    drop(engine);
    let engine = disk.open();
    each_is_known(&engine, &placed).await;
    assert_eq!(engine.end(), Offset(20), "no repeat took an offset");
}

#[tokio::test]
async fn what_is_kept_of_retired_ids_goes_when_their_window_is_over() {
    let disk = Disk::new();
    let (engine, placed) = worn(&disk).await;
    assert!(!disk.kept().is_empty());
    disk.now.fetch_add(DAY, Ordering::Relaxed);
    let anew = publish(&engine, 0, "other").await.unwrap();
    assert_eq!((anew.offset, anew.duplicate), (Offset(20), false), "a day later it is a new event");
    engine.maintain(RetentionLimits::default(), Timestamp(2 * DAY)).unwrap();
    assert_eq!(disk.kept(), Vec::<PathBuf>::new());
    assert!(publish(&engine, 0, "other").await.unwrap().duplicate);
    assert_eq!(placed[0].offset, Offset(0));
}

#[tokio::test]
async fn ids_that_the_broker_made_are_not_kept() {
    let disk = Disk::new();
    let engine = disk.open();
    for _ in 0..20 {
        let mut event = event(0, "first", "00-1");
        event.head.id = EventId::Made([7; 16]);
        engine.append(vec![event]).await.unwrap();
    }
    while engine.maintain(ONE_BYTE, Timestamp(2 * DAY)).unwrap().is_some() {}
    assert!(engine.start() > Offset(12));
    assert_eq!(disk.kept(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn damage_does_not_hold_retention_up() {
    // It did: the ids of a segment were read before it went, and one that could not be read never went.
    let disk = Disk::new();
    let engine = disk.open();
    for n in 0..20 {
        publish(&engine, n, "first").await.unwrap();
    }
    disk.fs.flip(Path::new("data/events/00000000000000000000.seg"), 1_500 * 8);
    while engine.maintain(ONE_BYTE, Timestamp(2 * DAY)).unwrap().is_some() {}
    assert!(engine.start() > Offset(12), "retention took it: {}", engine.start());
    let last = engine.append(vec![event(19, "first", "00-1")]).await.unwrap()[0];
    assert_eq!((last.offset, last.duplicate), (Offset(19), true));
}

#[tokio::test]
async fn damaged_ids_are_set_aside_and_the_broker_starts() {
    // An id of it is then published anew: the only way on, and the log says so. No other id is touched.
    let disk = Disk::new();
    let (engine, placed) = worn(&disk).await;
    engine.close();
    drop(engine);
    let whole = disk.fs.files();
    let (path, bytes) = whole.iter().find(|(path, _)| *path == disk.kept()[0]).unwrap().clone();
    for bit in (0..bytes.len() * 8).step_by(7) {
        disk.fs.flip(&path, bit);
        let engine = disk.open();
        assert!(!disk.kept().contains(&path), "bit {bit} is found");
        let aside = disk.fs.files().into_iter().filter(|(path, _)| path.starts_with("data/quarantine")).count();
        assert_eq!(aside, 1);
        let last = placed.last().unwrap();
        let again = engine.append(vec![event(19, "first", "00-1")]).await.unwrap()[0];
        assert_eq!((again.offset, again.duplicate), (last.offset, true));
        engine.close();
        drop(engine);
        disk.fs.put(&path, &bytes);
    }
}

#[tokio::test]
async fn a_disk_without_room_for_the_ids_does_not_hold_retention_up() {
    // Retention may be what frees it. Then the window of those ids ends with the process; no other id is touched.
    let mut given_up = 0;
    for room in (0..2_500).step_by(25) {
        let disk = Disk::new();
        let engine = disk.open();
        let mut placed = Vec::new();
        for n in 0..20 {
            placed.push(publish(&engine, n, "first").await.unwrap());
        }
        let used: usize = disk.fs.files().iter().map(|(_, bytes)| bytes.len()).sum();
        disk.fs.set_fault(Fault { capacity: Some(used as u64 + room), ..Fault::default() });
        while engine.maintain(ONE_BYTE, Timestamp(2 * DAY)).is_ok_and(|retired| retired.is_some()) {}
        disk.fs.set_fault(Fault::default());
        let start = engine.start();
        each_is_known(&engine, &placed).await;
        engine.close();
        drop(engine);
        let engine = disk.open();
        for (n, first) in placed.iter().enumerate() {
            let again = publish(&engine, n as u64, "first").await.unwrap();
            let known = again == Placed { duplicate: true, ..*first };
            assert!(known || (!again.duplicate && first.offset < start), "room {room}, event {n}: {again:?}");
            given_up += usize::from(!known);
        }
    }
    assert!(given_up > 0, "in some of them the ids did not fit, and what was kept of their events did go");
}
