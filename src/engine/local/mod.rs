//! The engine on this machine's disk: the event log and the ledger in one data directory.

mod accept_loss;
mod append;
mod idempotency;
mod likeness;
mod open;
mod read;
mod retention;
mod retired_ids;
mod scrub;
mod space;
mod summary;
mod summary_file;
mod tail;

pub use open::{LocalOptions, Opened};
pub use retention::RetentionLimits;
pub(crate) use retired_ids::verify_retired_ids;

use super::{AppendError, Budget, ChannelInfo, Engine, EngineError, Lines, Page, Placed, ReadHint, Usage};
use crate::fs::{File, Fs};
use crate::ledger::{Entry, Ledger, LedgerError, Recorded, State, Vault};
use crate::log::{Committed, Damage, Failure, Hook, Log, Segments, Ticket};
use crate::metrics::{Metrics, Word};
use crate::model::{Event, Filter, NewEvent, Offset, Span, SubscriberId, Timestamp};
use async_trait::async_trait;
use idempotency::Idempotency;
use parking_lot::{Mutex, RwLockReadGuard};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use summary::Summaries;
use tail::Tail;
use tokio::sync::watch;

/// The engine on this machine's disk.
pub struct Local {
    fs: Arc<dyn Fs>,
    log_id: [u8; 16],
    log: Log<Events>,
    events: Arc<Events>,
    ledger: Ledger,
    vault: Vault,
    retired_ids: retired_ids::RetiredIds,
    /// Where files are kept that do not belong.
    quarantine: PathBuf,
    space: space::Space,
    scrubbing: scrub::Scrubbing,
    /// Held while a cursor or patterns are handed to the ledger, and while retention looks at all of them.
    placing: Mutex<()>,
    /// Opened to serve what is readable: nothing is written, views neither.
    read_only: bool,
    /// Held for as long as the directory is ours: until the engine is closed.
    lock: Mutex<Option<Arc<dyn File>>>,
}

/// What the committing thread keeps up to date: the tail in memory and the channels' summaries.
struct Events {
    tail: Tail,
    summaries: Summaries,
    metrics: Arc<Metrics>,
    summary_dir: PathBuf,
}

/// What rides along with an event's record until it is durable.
struct Pending {
    event: NewEvent,
    /// Of the publisher's id.
    hash: Option<u64>,
}

impl Hook for Events {
    type Item = Pending;
    type Stage = Idempotency;

    fn snapshot(&self, _first: Offset) -> Option<Vec<u8>> {
        None
    }

    fn committed(&self, group: Vec<Committed<Pending>>) {
        let hashes: Vec<Option<u64>> = group.iter().map(|committed| committed.item.hash).collect();
        let place = |Committed { offset, time, item: Pending { event, .. } }| {
            Arc::new(Event::new(offset, time, event.head, event.payload))
        };
        let events: Vec<Arc<Event>> = group.into_iter().map(place).collect();
        self.metrics.published(events.len() as u64, events.iter().map(|event| event.payload.len() as u64).sum());
        self.summaries.note(&events, &hashes);
        self.tail.push(events);
    }

    fn failed(&self, ids: &mut Idempotency, from: Offset) {
        ids.forget_from(from);
    }

    fn synced(&self, commit: Duration, sync: Duration) {
        let kind = Word { kind: "events" };
        self.metrics.commit_seconds.get_or_create(&kind).observe(commit.as_secs_f64());
        self.metrics.sync_seconds.get_or_create(&kind).observe(sync.as_secs_f64());
    }
}

#[async_trait]
impl Engine for Local {
    fn log_id(&self) -> [u8; 16] {
        self.log_id
    }
    fn start(&self) -> Offset {
        self.log.segments().start()
    }
    fn end(&self) -> Offset {
        self.log.end()
    }
    fn follow(&self) -> watch::Receiver<Offset> {
        self.log.committed()
    }

    async fn append(&self, events: Vec<NewEvent>) -> Result<Vec<Placed>, AppendError> {
        append::append(self, events).await
    }

    async fn read(
        &self,
        span: Span,
        filter: &Arc<Filter>,
        budget: Budget,
        hint: ReadHint,
    ) -> Result<Page, EngineError> {
        read::read(self, span, filter, budget, hint).await
    }

    async fn read_lines(&self, span: Span, filter: &Arc<Filter>, hint: ReadHint) -> Result<Lines, EngineError> {
        read::lines(self, span, filter, hint).await
    }

    fn recent(&self, from: Offset) -> Option<Vec<Arc<Event>>> {
        self.events.tail.since(from, self.end())
    }

    async fn at_time(&self, time: Timestamp) -> Result<Offset, EngineError> {
        let segments = Arc::clone(self.log.segments());
        Ok(read::blocking(move || segments.at_time(time)).await?)
    }

    fn first_match(&self, filter: &Filter, from: Offset) -> Option<Offset> {
        self.events.summaries.first_match(filter, from).filter(|found| *found < self.end())
    }

    fn count(&self, filter: &Filter, span: Span) -> u64 {
        self.events.summaries.count(filter, Span::new(span.from, span.to.min(self.end())))
    }

    fn channels(&self) -> Vec<ChannelInfo> {
        self.events.summaries.channels()
    }

    fn record(&self, entries: Vec<Entry>) -> Result<Ticket, Failure> {
        self.events.metrics.ledger_entries.inc_by(entries.len() as u64);
        let places = entries.iter().any(|entry| matches!(entry, Entry::Sought { .. } | Entry::Changed { .. }));
        let _placing = places.then(|| self.placing.lock());
        self.ledger.record(entries)
    }

    fn record_new(
        &self,
        entry: Box<dyn FnOnce(SubscriberId) -> Entry + Send>,
    ) -> Result<(SubscriberId, Ticket), Failure> {
        self.events.metrics.ledger_entries.inc();
        let _placing = self.placing.lock();
        self.ledger.record_new(entry)
    }

    fn ledger_barrier(&self) -> Option<Ticket> {
        self.ledger.barrier()
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.ledger.state()
    }
    fn follow_ledger(&self) -> watch::Receiver<Offset> {
        self.ledger.committed()
    }
    fn history_begins(&self) -> Result<(State, Offset), LedgerError> {
        self.ledger.oldest()
    }
    fn history(&self, from: Offset) -> Result<(Vec<Recorded>, Offset), LedgerError> {
        self.ledger.read(from)
    }
    fn vault(&self) -> &Vault {
        &self.vault
    }
    fn refuses_events(&self) -> Option<Failure> {
        self.log.refused().or_else(|| self.space.is_low().then_some(Failure::Full))
    }
    fn refuses_entries(&self) -> Option<Failure> {
        self.ledger.refused()
    }
    fn usage(&self) -> Usage {
        let bytes = |segments: &Segments| segments.list().iter().map(|segment| segment.bytes()).sum();
        let oldest = |segments: &Segments| {
            let time = segments.list().first().map(|segment| segment.last_time());
            time.filter(|time| time.0 > 0)
        };
        let (events, ledger) = (self.log.segments(), self.ledger.segments());
        Usage {
            event_bytes: bytes(events),
            ledger_bytes: bytes(ledger),
            event_segments: events.list().len(),
            ledger_segments: ledger.list().len(),
            oldest_event: oldest(events),
            oldest_entry: oldest(ledger),
            ledger_start: ledger.start(),
            disk_free: self.space.free(),
        }
    }

    fn maintain(&self, limits: RetentionLimits, now: Timestamp) -> Result<Option<Offset>, EngineError> {
        if self.read_only {
            return Ok(None);
        }
        self.space.look(&*self.fs);
        self.events.summaries.keep_sealed(&*self.fs, &self.events.summary_dir, self.log.segments());
        retention::retire_ledger(self, limits, now)?;
        let retired = retention::retire(self, limits, now)?;
        self.retired_ids.tidy(self)?;
        Ok(retired)
    }

    fn scrub(&self, bytes: u64) -> Vec<Damage> {
        if self.read_only {
            // Opened although it is damaged: that was said already.
            return Vec::new();
        }
        self.scrubbing.go_on(self.log.segments(), self.ledger.segments(), bytes)
    }

    fn close(&self) {
        self.log.close();
        self.ledger.close();
        if !self.read_only {
            self.events.summaries.keep_sealed(&*self.fs, &self.events.summary_dir, self.log.segments());
        }
        self.lock.lock().take();
    }
}
