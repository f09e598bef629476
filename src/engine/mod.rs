//! Floor 5: where the logs live, behind one trait.
//!
//! [`Memory`] is the reference, [`Local`] the log on this machine's disk. One conformance suite runs
//! against every engine (`tests/engine_conformance.rs`). Everything above knows [`Engine`] only.

mod error;
mod local;
mod memory;
mod page;

pub use error::{AppendError, EngineError};
pub(crate) use local::verify_retired_ids;
pub use local::{Local, LocalOptions, Opened, RetentionLimits};
pub use memory::Memory;
pub use page::{Budget, ChannelInfo, Lines, Page, Placed, ReadHint};

use crate::ledger::{Entry, LedgerError, Recorded, State, Vault};
use crate::log::{Damage, Failure, Ticket};
use crate::model::{Event, Filter, NewEvent, Offset, Span, SubscriberId, Timestamp};
use async_trait::async_trait;
use parking_lot::RwLockReadGuard;
use std::sync::Arc;
use tokio::sync::watch;

/// What the logs take of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of the event log.
    pub event_bytes: u64,
    /// Bytes of the ledger.
    pub ledger_bytes: u64,
    /// Segments of the event log.
    pub event_segments: usize,
    /// Segments of the ledger.
    pub ledger_segments: usize,
    /// When the last event of the oldest segment was published; none where there is no event.
    pub oldest_event: Option<Timestamp>,
    /// The same of the ledger's oldest segment.
    pub oldest_entry: Option<Timestamp>,
    /// The oldest ledger entry kept.
    pub ledger_start: Offset,
    /// Bytes that can still be written, where that is known.
    pub disk_free: Option<u64>,
}

/// The pair of logs that a broker stands on.
///
/// 1. Offsets are dense; [`Engine::append`] gives them in the order of the calls' success.
/// 2. What [`Engine::append`] returned MUST be durable, and MUST be in [`Engine::read`] from then on.
/// 3. Nothing at or above [`Engine::end`] MUST ever be seen by a reader.
/// 4. An id published again on its channel within the window MUST give the first one's place, or a
///    conflict where it says something else; also while the first is still being written.
/// 5. Entries MUST be in [`Engine::state`] once their ticket is done, in the order of the calls.
/// 6. [`Engine::start`] may move at any time; readers are told by a gap.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// The event log's id.
    fn log_id(&self) -> [u8; 16];

    /// The oldest offset kept.
    fn start(&self) -> Offset;

    /// The offset after the newest durable event.
    fn end(&self) -> Offset;

    /// The end, as it moves.
    fn follow(&self) -> watch::Receiver<Offset>;

    /// Makes events durable, all or none, and says where each stands. Dropping the future cancels nothing.
    ///
    /// # Errors
    /// A conflict, or why nothing is accepted.
    async fn append(&self, events: Vec<NewEvent>) -> Result<Vec<Placed>, AppendError>;

    /// Reads events that match, from `span.from` up to `span.to`, within a budget.
    ///
    /// # Errors
    /// Damage and the file system's; the same each time.
    async fn read(&self, span: Span, filter: &Arc<Filter>, budget: Budget, hint: ReadHint)
    -> Result<Page, EngineError>;

    /// As [`Engine::read`], a block of events as lines of JSON.
    ///
    /// # Errors
    /// As [`Engine::read`].
    async fn read_lines(&self, span: Span, filter: &Arc<Filter>, hint: ReadHint) -> Result<Lines, EngineError> {
        self.read(span, filter, Budget::BLOCK, hint).await.map(Lines::from)
    }

    /// All events from `from` on that are in memory; `None` where some are not.
    fn recent(&self, from: Offset) -> Option<Vec<Arc<Event>>>;

    /// The first offset at or after a time.
    ///
    /// # Errors
    /// As [`Engine::read`].
    async fn at_time(&self, time: Timestamp) -> Result<Offset, EngineError>;

    /// The lowest matching offset at or above `from`, without reading events.
    fn first_match(&self, filter: &Filter, from: Offset) -> Option<Offset>;

    /// How many events match in a span, without reading events.
    fn count(&self, filter: &Filter, span: Span) -> u64;

    /// Every channel that has events, by name.
    fn channels(&self) -> Vec<ChannelInfo>;

    /// Appends ledger entries, all or none.
    ///
    /// # Errors
    /// Why nothing is accepted.
    fn record(&self, entries: Vec<Entry>) -> Result<Ticket, Failure>;

    /// Appends an entry that needs a new number.
    ///
    /// # Errors
    /// Why nothing is accepted.
    fn record_new(
        &self,
        entry: Box<dyn FnOnce(SubscriberId) -> Entry + Send>,
    ) -> Result<(SubscriberId, Ticket), Failure>;

    /// The ticket of every entry recorded so far; none where all of them are durable.
    fn ledger_barrier(&self) -> Option<Ticket>;

    /// The fold of the committed ledger. Held briefly; never across an await.
    fn state(&self) -> RwLockReadGuard<'_, State>;

    /// The end of the ledger, as it moves.
    fn follow_ledger(&self) -> watch::Receiver<Offset>;

    /// Where the kept ledger entries begin, and the fold of all before them. Blocking.
    ///
    /// # Errors
    /// Damage.
    fn history_begins(&self) -> Result<(State, Offset), LedgerError>;

    /// Committed ledger entries from `from` on, some of them, and where to go on. Blocking.
    ///
    /// # Errors
    /// Damage.
    fn history(&self, from: Offset) -> Result<(Vec<Recorded>, Offset), LedgerError>;

    /// Seals and opens secrets.
    fn vault(&self) -> &Vault;

    /// Why publishes are refused, where they are.
    fn refuses_events(&self) -> Option<Failure>;

    /// Why nothing enters the ledger, where that is so.
    fn refuses_entries(&self) -> Option<Failure>;

    /// What the logs take of the disk, as it was seen last.
    fn usage(&self) -> Usage;

    /// What is due from time to time: keeps views, and removes the oldest events and receipts as far as the
    /// limits say.
    /// Tells the new start where it moved. Blocking.
    ///
    /// # Errors
    /// Why it could not be recorded or done.
    fn maintain(&self, limits: RetentionLimits, now: Timestamp) -> Result<Option<Offset>, EngineError>;

    /// Reads about so many bytes more of what is sealed in each log, and gives the damage that was not told before.
    /// Begins again at the end. Blocking.
    fn scrub(&self, bytes: u64) -> Vec<Damage>;

    /// Commits everything that was appended and ends. Blocking.
    fn close(&self);
}
