//! A small log on a disk in memory, and the ways to harm it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "each test uses its part; one that cannot go on fails"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use stentor::engine::{AppendError, Budget, Engine, Local, LocalOptions, Opened};
use stentor::fs::{Fs, MemoryFs};
use stentor::log::{Fill, Recover};
use stentor::model::{Event, EventId, Filter, Headers, NewEvent, Offset, Span};

pub(crate) fn options() -> LocalOptions {
    LocalOptions {
        event_segment_bytes: 4096,
        ledger_segment_bytes: 4096,
        fill: Fill::Never,
        ..LocalOptions::new("data")
    }
}

pub(crate) fn open(fs: &MemoryFs, recover: Recover) -> Result<Opened, String> {
    open_on(Arc::new(fs.clone()), recover)
}

pub(crate) fn open_on(fs: Arc<dyn Fs>, recover: Recover) -> Result<Opened, String> {
    Local::open(fs, &LocalOptions { recover, ..options() }).map_err(|error| error.to_string())
}

pub(crate) fn event(n: u64) -> NewEvent {
    let payload = format!("[{n},\"{}\"]", "x".repeat(600));
    NewEvent::check("key.a", EventId::Made([0; 16]), None, Headers::default(), None, payload.into()).unwrap()
}

pub(crate) async fn publish(engine: &Local, numbers: std::ops::Range<u64>) -> Result<(), AppendError> {
    for n in numbers {
        engine.append(vec![event(n)]).await?;
    }
    Ok(())
}

/// Everything that can be read, and the gaps that are told.
pub(crate) async fn read_events(engine: &Local) -> Result<(Vec<Arc<Event>>, Vec<Span>), String> {
    let filter = Arc::new(Filter::parse(&["key.*"]).unwrap());
    let (mut at, mut events, mut gaps) = (engine.start(), Vec::new(), Vec::new());
    while at < engine.end() {
        let page = engine.read(Span::new(at, engine.end()), &filter, Budget::SESSION, None).await;
        let page = page.map_err(|error| error.to_string())?;
        assert!(page.next > at, "reading gets on");
        gaps.extend(page.gap);
        events.extend(page.events);
        at = page.next;
    }
    Ok((events, gaps))
}

/// Offsets that can be read, and the gaps that are told.
pub(crate) async fn read_all(engine: &Local) -> Result<(Vec<u64>, Vec<Span>), String> {
    let (events, gaps) = read_events(engine).await?;
    Ok((events.iter().map(|event| event.offset.0).collect(), gaps))
}

/// The segments of a log, oldest first.
pub(crate) fn segments(fs: &MemoryFs, log: &str) -> Vec<PathBuf> {
    let here = Path::new("data").join(log);
    let files = fs.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.parent() == Some(&here) && path.extension().is_some_and(|kind| kind == "seg")).collect()
}

pub(crate) fn bytes_of(fs: &MemoryFs, path: &Path) -> Vec<u8> {
    fs.files().into_iter().find(|(found, _)| found == path).unwrap().1
}

/// A log of 12 events in several segments, closed; the disk and the names of its segments.
pub(crate) async fn stored() -> (MemoryFs, Vec<PathBuf>) {
    let fs = MemoryFs::new();
    let engine = open(&fs, Recover::Refuse).unwrap().engine;
    publish(&engine, 0..12).await.unwrap();
    engine.close();
    let segments = segments(&fs, "events");
    assert!(segments.len() >= 3, "it rolled");
    (fs, segments)
}

/// A way to harm it.
pub(crate) struct Harm {
    pub(crate) name: &'static str,
    pub(crate) harm: fn(&MemoryFs, &[PathBuf]),
}

/// Every way that costs events of [`stored`] although they were synced.
pub(crate) const HARMS: &[Harm] = &[
    Harm { name: "a bit in a sealed segment's body", harm: |fs, s| fs.flip(&s[0], (1024 + 700 + 300) * 8) },
    Harm { name: "a bit in a record's header", harm: |fs, s| fs.flip(&s[1], (1024 + 20) * 8) },
    Harm {
        name: "both copies of a segment's header",
        harm: |fs, s| {
            fs.flip(&s[1], 40 * 8);
            fs.flip(&s[1], (512 + 40) * 8);
        },
    },
    Harm { name: "a sealed segment's footer", harm: |fs, s| fs.flip(&s[0], (bytes_of(fs, &s[0]).len() - 40) * 8) },
    Harm { name: "a sealed segment cut in the middle", harm: |fs, s| cut(fs, &s[1], 2_000) },
    Harm { name: "a segment missing", harm: |fs, s| Fs::remove(fs, &s[1]).unwrap() },
    Harm { name: "the first segment missing", harm: |fs, s| Fs::remove(fs, &s[0]).unwrap() },
    Harm { name: "the newest segment missing", harm: |fs, s| Fs::remove(fs, s.last().unwrap()).unwrap() },
    Harm { name: "all segments missing", harm: |fs, s| s.iter().for_each(|path| Fs::remove(fs, path).unwrap()) },
    Harm { name: "the newest segment emptied", harm: |fs, s| cut(fs, s.last().unwrap(), 1024) },
    Harm {
        name: "a bit in the newest segment's first record",
        harm: |fs, s| fs.flip(s.last().unwrap(), (1024 + 100) * 8),
    },
    Harm {
        name: "a bit in the very last record",
        harm: |fs, s| fs.flip(s.last().unwrap(), (bytes_of(fs, s.last().unwrap()).len() - 1) * 8),
    },
    Harm { name: "a segment in another's place", harm: |fs, s| fs.put(&s[1], &bytes_of(fs, &s[0])) },
    Harm {
        name: "two bits far apart and a segment missing",
        harm: |fs, s| {
            fs.flip(&s[0], (1024 + 100) * 8);
            fs.flip(s.last().unwrap(), (1024 + 100) * 8);
            Fs::remove(fs, &s[1]).unwrap();
        },
    },
    Harm {
        name: "two bad records of a sealed segment",
        harm: |fs, s| {
            fs.flip(&s[0], (1024 + 100) * 8);
            fs.flip(&s[0], (1024 + 2 * 684 + 100) * 8);
        },
    },
    Harm {
        name: "durable.meta missing beside a bad bit",
        harm: |fs, s| {
            Fs::remove(fs, Path::new("data/events/durable.meta")).unwrap();
            fs.flip(&s[0], (1024 + 100) * 8);
        },
    },
];

fn cut(fs: &MemoryFs, path: &Path, len: usize) {
    let bytes = bytes_of(fs, path);
    Fs::remove(fs, path).unwrap();
    fs.put(path, &bytes[..len]);
}

/// Without what was kept of the segments in views, a start reads them all.
pub(crate) fn forget_views(fs: &MemoryFs) {
    for (path, _) in fs.files().into_iter().filter(|(path, _)| path.starts_with("data/views")) {
        Fs::remove(fs, &path).unwrap();
    }
}

/// The offsets that no gap covers.
pub(crate) fn outside(gaps: &[Span], end: u64) -> Vec<u64> {
    (0..end).filter(|n| !gaps.iter().any(|gap| gap.contains(Offset(*n)))).collect()
}
