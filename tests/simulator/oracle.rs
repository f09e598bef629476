//! What was promised so far, and whether a disk still keeps it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stentor::engine::{AppendError, Budget, Engine, Local};
use stentor::fs::MemoryFs;
use stentor::model::{EventId, Filter, Headers, NewEvent, Span, SubscriberId};
use tokio::runtime::Runtime;

use super::workload::open;

/// What was promised, and what may be there besides.
#[derive(Debug, Clone, Default, Hash)]
pub(crate) struct Oracle {
    /// Payloads of acknowledged events, by offset.
    pub(crate) acknowledged: Vec<String>,
    /// The publish that was under way: wholly there, or not at all.
    pub(crate) pending: Vec<String>,
    /// The cursor as it was told, and as it would be had the operation under way been done.
    pub(crate) floor: u64,
    pub(crate) pending_floor: u64,
    /// The oldest event kept, and what it would be.
    pub(crate) start: u64,
    pub(crate) pending_start: u64,
    /// Whether the subscriber was told to exist.
    pub(crate) made: bool,
}

/// Everything readable, by offset.
pub(crate) type Seen = BTreeMap<u64, String>;

impl Oracle {
    /// Holds a disk against the promises: it opens, shows what it must, and a second start changes nothing.
    ///
    /// # Panics
    /// At the first promise that is broken, with `story` and the invariant's number.
    pub(crate) fn check(&self, runtime: &Runtime, fs: &MemoryFs, story: &dyn Fn() -> String) {
        let engine = open(fs).unwrap_or_else(|error| panic!("{}: a plain crash was refused: {error}", story())).engine;
        let seen = read(runtime, &engine).unwrap_or_else(|error| panic!("{}: {error} (5, 8)", story()));
        self.holds(&engine, &seen, story);
        engine.close();
        drop(engine);
        let before = segments(fs);
        let again = open(fs).unwrap_or_else(|error| panic!("{}: the second start: {error} (9)", story()));
        assert!(again.cuts.is_empty(), "{}: the second recovery cut something (9)", story());
        let same = read(runtime, &again.engine).unwrap_or_else(|error| panic!("{}: {error} (9)", story()));
        assert_eq!(same, seen, "{}: the second recovery sees the same (9)", story());
        again.engine.close();
        drop(again);
        assert!(before == segments(fs), "{}: the second recovery wrote to a segment (9)", story());
    }

    /// Events, start and cursor are what was promised.
    fn holds(&self, engine: &Local, seen: &Seen, story: &dyn Fn() -> String) {
        let (start, end) = (engine.start().0, engine.end().0);
        let promised = self.acknowledged.len() as u64;
        let (low, high) = (self.start.min(self.pending_start), self.start.max(self.pending_start));
        assert!((low..=high).contains(&start), "{}: start {start}, not {low} to {high} (13)", story());
        assert!(end >= promised, "{}: the log ends at {end} of {promised} acknowledged events (1)", story());
        assert!(seen.keys().copied().eq(start..end), "{}: offsets are dense (2): {:?}", story(), seen.keys());
        for (offset, payload) in seen.range(..promised) {
            let told = &self.acknowledged[*offset as usize];
            assert_eq!(payload, told, "{}: event {offset}, byte for byte (1, 2)", story());
        }
        let rest: Vec<&String> = seen.range(promised..).map(|(_, payload)| payload).collect();
        let whole = rest.is_empty() || rest.iter().copied().eq(&self.pending);
        assert!(whole, "{}: {} of an unacknowledged publish (3)", story(), rest.len());
        if self.made {
            let floor = engine.state().get(SubscriberId(0)).map(|subscriber| subscriber.floor.0);
            let floor = floor.unwrap_or_else(|| panic!("{}: the subscriber is gone (17)", story()));
            let told = [self.floor, self.pending_floor].map(|floor| floor.max(start));
            assert!(told.contains(&floor), "{}: cursor {floor}, not one of {told:?} (16, 17)", story());
            assert!(floor <= end, "{}: the cursor is beyond the end (16)", story());
        }
    }

    /// Publishing again what was answered gives the same offset, also where retention took the event (26).
    pub(crate) fn check_repeats(&self, runtime: &Runtime, fs: &MemoryFs, story: &dyn Fn() -> String) {
        let engine = open(fs).unwrap_or_else(|error| panic!("{}: {error}", story())).engine;
        for (offset, payload) in self.acknowledged.iter().enumerate() {
            let placed = runtime.block_on(engine.append(vec![event(payload)]));
            let placed = placed.unwrap_or_else(|error: AppendError| panic!("{}: {error} (26)", story()));
            let first = (placed[0].offset.0 as usize, placed[0].duplicate);
            assert_eq!(first, (offset, true), "{}: a repeat of event {offset} (26)", story());
        }
        engine.close();
    }
}

/// An event whose id is its payload's number.
pub(crate) fn event(payload: &str) -> NewEvent {
    let id: String = payload.chars().filter(char::is_ascii_alphanumeric).take(18).collect();
    let id = EventId::parse(&id).unwrap();
    NewEvent::check("key.activated", id, None, Headers::default(), None, payload.to_owned().into()).unwrap()
}

/// Reads everything; the first error or gap ends it.
pub(crate) fn read(runtime: &Runtime, engine: &Local) -> Result<Seen, String> {
    let filter = Arc::new(Filter::everything());
    let mut at = engine.start();
    let mut seen = Seen::new();
    while at < engine.end() {
        let page = runtime.block_on(engine.read(Span::new(at, engine.end()), &filter, Budget::SESSION, None));
        let page = page.map_err(|error| format!("unreadable at {at}: {error}"))?;
        if let Some(gap) = page.gap {
            return Err(format!("a gap {gap:?}"));
        }
        for event in &page.events {
            let payload = String::from_utf8(event.payload.to_vec()).map_err(|error| error.to_string())?;
            if seen.insert(event.offset.0, payload).is_some() {
                return Err(format!("event {} comes twice", event.offset));
            }
        }
        if page.next <= at {
            return Err(format!("reading does not get on at {at}"));
        }
        at = page.next;
    }
    Ok(seen)
}

fn segments(fs: &MemoryFs) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = fs.files();
    files.retain(|(path, _)| is_segment(path));
    files
}

pub(crate) fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == "seg")
}
