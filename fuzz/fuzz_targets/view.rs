//! Views, any bytes: rows of the receipts' view, its keys, and the summaries of sealed segments; and the ids that are
//! kept when retention takes their events. The first byte says which.
//!
//! Holds: a row is a receipt or none, never a panic, and never allocates beyond its bytes (invariant 14); keys sort as
//! their numbers do, and give them back; with a damaged summary the answers are those of the log (25), and with a
//! false one under a right checksum every event is still read as it was written (5); damaged ids keep nothing from
//! opening, and what is published then is read (1).
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use stentor::broker::Receipt;
use stentor::engine::{AppendError, Budget, Engine, Local, LocalOptions};
use stentor::fs::MemoryFs;
use stentor::log::Recover;
use stentor::model::{Event, Filter, Offset, Span};
use stentor::view::{Key, Table};
use stentor_fuzz::{memory, real};
use tokio::runtime::Runtime;

/// A data directory, the summaries in it, its events, and how many are on each of two channels.
struct Stored {
    fs: MemoryFs,
    summaries: Vec<PathBuf>,
    events: Vec<Arc<Event>>,
    counted: Vec<u64>,
}

fn open(fs: &MemoryFs) -> Local {
    let options = LocalOptions { recover: Recover::ServeReadable, ..real::options() };
    Local::open(Arc::new(fs.clone()), &options).expect("a view keeps nothing from opening").engine
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(real::runtime)
}

fn read(engine: &Local) -> Vec<Arc<Event>> {
    let filter = Arc::new(Filter::everything());
    let (mut at, mut found) = (Offset::ZERO, Vec::new());
    while at < engine.end() {
        let span = Span::new(at, engine.end());
        let page = runtime().block_on(engine.read(span, &filter, Budget::SESSION, None)).expect("it is whole");
        assert!(page.next > at && page.gap.is_none());
        at = page.next;
        found.extend(page.events);
    }
    found
}

fn filters() -> [Filter; 2] {
    [Filter::all(), Filter::parse(&["key.*"]).expect("a pattern")]
}

fn counts(engine: &Local) -> Vec<u64> {
    let span = Span::new(Offset::ZERO, engine.end());
    let found = filters().map(|filter| {
        let first = engine.first_match(&filter, Offset(1));
        assert!(first.is_none_or(|first| first < engine.end()));
        engine.count(&filter, span)
    });
    found.to_vec()
}

fn stored() -> &'static Stored {
    static STORED: OnceLock<Stored> = OnceLock::new();
    STORED.get_or_init(|| {
        let fs = real::directory(14);
        let sum = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "sum");
        let summaries: Vec<PathBuf> = fs.files().into_iter().map(|(path, _)| path).filter(sum).collect();
        assert!(!summaries.is_empty());
        let engine = open(&fs);
        let (events, counted) = (read(&engine), counts(&engine));
        engine.close();
        drop(engine);
        Stored { fs, summaries, events, counted }
    })
}

/// The first summary replaced by any bytes; with a right checksum where `seal` says so.
fn summary(bytes: &[u8], seal: bool) {
    let stored = stored();
    let fs = stored.fs.fork();
    let mut file = bytes.to_vec();
    if seal {
        file.extend(crc32fast::hash(bytes).to_le_bytes());
    }
    let sound = file.split_last_chunk::<4>().is_some_and(|(body, crc)| crc32fast::hash(body).to_le_bytes() == *crc);
    fs.put(&stored.summaries[0], &file);
    let engine = memory::within(1 << 20, || open(&fs));
    let counted = counts(&engine);
    let _channels = engine.channels();
    assert!(sound || counted == stored.counted, "a damaged view is made again from the log (25)");
    assert!(read(&engine) == stored.events, "what is read comes from the log (5)");
}

/// A directory of which retention took the oldest segment; the ids kept of it replaced by any bytes.
fn retired_ids(bytes: &[u8], seal: bool) {
    static WORN: OnceLock<(MemoryFs, PathBuf)> = OnceLock::new();
    let (fs, path) = WORN.get_or_init(real::worn);
    let fs = fs.fork();
    let mut file = bytes.to_vec();
    if seal {
        file.extend(crc32fast::hash(bytes).to_le_bytes());
    }
    fs.put(path, &file);
    let opened = memory::within(1 << 20, || Local::open(Arc::new(fs.clone()), &real::options()));
    let engine = opened.expect("ids keep nothing from opening").engine;
    let end = engine.end();
    for n in [0, 2, 1_000] {
        match runtime().block_on(engine.append(vec![real::event(n)])) {
            Ok(placed) => assert!(placed[0].duplicate || placed[0].offset >= end, "it has a place"),
            // A false likeness under a right checksum makes a repeat another event.
            Err(error) => assert!(seal && matches!(error, AppendError::Conflict { .. }), "{error}"),
        }
    }
    engine.close();
}

fn keys(bytes: &[u8]) {
    let (one, other) = bytes.split_at(bytes.len() / 2);
    let numbers = |bytes: &[u8]| -> Vec<u64> {
        bytes.chunks_exact(8).take(5).map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap_or_default())).collect()
    };
    let (one, other) = (numbers(one), numbers(other));
    let (a, b) = (Key::new(Table::Coverage, &one), Key::new(Table::Coverage, &other));
    assert_eq!(a.cmp(&b), one.cmp(&other), "keys sort as numbers do");
    for (n, number) in one.iter().enumerate() {
        assert_eq!(Key::number(a.bytes(), n), Some(*number));
    }
    assert_eq!(Key::number(a.bytes(), one.len()), None);
    assert!(Key::number(bytes, 1).is_none() || bytes.len() >= 17);
}

fuzz_target!(|data: &[u8]| {
    let Some((what, bytes)) = data.split_first() else { return };
    match what % 6 {
        0 => {
            let row = memory::within(bytes.len() + 4096, || Receipt::of_row(bytes));
            assert!(row.is_none_or(|row| row.subscriber.len() <= bytes.len()));
        }
        1 => keys(bytes),
        2 => summary(bytes, false),
        3 => summary(bytes, true),
        4 => retired_ids(bytes, false),
        _ => retired_ids(bytes, true),
    }
});
