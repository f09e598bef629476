//! The ledger's log and its fold, kept together.

use super::entry::Entry;
use super::error::LedgerError;
use super::state::State;
use crate::clock::Clock;
use crate::log::{
    Committed, Damage, Failure, Filling, Hook, Log, LogError, Nonces, Record, RecordKind, Recovered, Segment, Segments,
    Ticket,
};
use crate::metrics::{Metrics, Word};
use crate::model::{Offset, Span, SubscriberId, Timestamp, limits};
use parking_lot::{RwLock, RwLockReadGuard};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// An entry as it stands in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its place in the ledger.
    pub offset: Offset,
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    pub entry: Entry,
}

struct Fold {
    state: Arc<RwLock<State>>,
    metrics: Arc<Metrics>,
}

impl Hook for Fold {
    type Item = Entry;
    type Stage = u64;

    fn snapshot(&self, _first: Offset) -> Option<Vec<u8>> {
        // Called between two groups: the fold holds all that is committed and nothing else.
        Some(self.state.read().encode())
    }

    fn committed(&self, group: Vec<Committed<Entry>>) {
        let mut state = self.state.write();
        for Committed { time, item, .. } in group {
            state.apply(&item, time);
        }
    }

    fn failed(&self, _next_id: &mut u64, _from: Offset) {
        // A number given to an entry that failed stays unused.
    }

    fn synced(&self, commit: Duration, sync: Duration) {
        let kind = Word { kind: "ledger" };
        self.metrics.commit_seconds.get_or_create(&kind).observe(commit.as_secs_f64());
        self.metrics.sync_seconds.get_or_create(&kind).observe(sync.as_secs_f64());
    }
}

/// The ledger, open.
pub struct Ledger {
    log: Log<Fold>,
    state: Arc<RwLock<State>>,
}

impl Ledger {
    /// Reads the fold of a recovered ledger: its newest snapshot and the entries behind it.
    ///
    /// A beginning that no retention took is damage, unless its loss is accepted.
    ///
    /// # Errors
    /// Damage, and entries that cannot be read.
    pub fn fold(recovered: &Recovered, accept_loss: bool) -> Result<State, LedgerError> {
        let segments = recovered.segments();
        let Some(newest) = segments.list().pop() else { return Ok(State::default()) };
        let mut state = snapshot(&newest)?;
        let (mut at, mut hint) = (newest.first(), None);
        while at < segments.end() {
            let block = segments.read(at, hint, limits::READ_BLOCK_BYTES)?;
            for record in &block.records {
                let recorded = decode(record)?;
                state.apply(&recorded.entry, recorded.time);
            }
            (at, hint) = (block.next, block.hint);
        }
        let oldest = segments.start();
        if oldest > state.ledger_start && !accept_loss {
            return Err(LogError::from(Damage {
                path: segments.dir().to_owned(),
                position: 0,
                span: Span::new(state.ledger_start, oldest),
                detail: "the ledger's oldest segments are missing, and no retention took them".to_owned(),
            })
            .into());
        }
        Ok(state)
    }

    /// Goes on with a recovered ledger and its fold.
    ///
    /// # Errors
    /// The file system's.
    pub fn start(
        recovered: Recovered,
        state: State,
        clock: Clock,
        nonces: Nonces,
        metrics: Arc<Metrics>,
    ) -> Result<Self, LedgerError> {
        let next_id = state.next_id;
        let state = Arc::new(RwLock::new(state));
        let fold = Arc::new(Fold { state: Arc::clone(&state), metrics });
        let log = Log::start(recovered, fold, next_id, clock, nonces)?;
        Ok(Self { log, state })
    }

    /// Appends entries, all or none. They are in the fold once the ticket is done.
    ///
    /// # Errors
    /// Where the ledger accepts nothing any more.
    pub fn record(&self, entries: Vec<Entry>) -> Result<Ticket, Failure> {
        self.log.append(|filling, now| push(filling, entries, now))
    }

    /// As [`Ledger::record`], for an entry that needs a new number.
    ///
    /// # Errors
    /// As there.
    pub fn record_new(&self, entry: impl FnOnce(SubscriberId) -> Entry) -> Result<(SubscriberId, Ticket), Failure> {
        self.log.append(|filling, now| {
            let id = SubscriberId(*filling.stage());
            *filling.stage() += 1;
            (id, push(filling, vec![entry(id)], now))
        })
    }

    /// The ticket of everything that was recorded so far; none where all of it is durable.
    pub fn barrier(&self) -> Option<Ticket> {
        self.log.barrier()
    }

    /// The fold of what is committed.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    /// Committed entries from `from` on, some of them, and where to go on.
    ///
    /// # Errors
    /// Damage, and entries that cannot be read.
    pub fn read(&self, from: Offset) -> Result<(Vec<Recorded>, Offset), LedgerError> {
        let from = from.max(self.log.segments().start());
        let block = self.log.segments().read(from, None, limits::READ_BLOCK_BYTES)?;
        Ok((block.records.iter().map(decode).collect::<Result<_, _>>()?, block.next))
    }

    /// Where the kept entries begin, and the fold of all before them.
    ///
    /// # Errors
    /// A snapshot that cannot be read.
    pub fn oldest(&self) -> Result<(State, Offset), LedgerError> {
        match self.log.segments().list().first() {
            Some(oldest) => Ok((snapshot(oldest)?, oldest.first())),
            None => Ok((State::default(), Offset::ZERO)),
        }
    }

    /// Its segments.
    #[must_use]
    pub fn segments(&self) -> &Arc<Segments> {
        self.log.segments()
    }

    /// The end of the ledger, as it moves.
    #[must_use]
    pub fn committed(&self) -> watch::Receiver<Offset> {
        self.log.committed()
    }

    /// Why nothing is accepted, where that is so.
    #[must_use]
    pub fn refused(&self) -> Option<Failure> {
        self.log.refused()
    }

    /// Commits what was appended and ends.
    pub fn close(&self) {
        self.log.close();
    }
}

/// The state that a segment begins with.
fn snapshot(segment: &Segment) -> Result<State, LedgerError> {
    let Some(bytes) = segment.snapshot()? else { return Ok(State::default()) };
    State::decode(&bytes).map_err(|source| LedgerError::Snapshot { offset: segment.first(), source })
}

fn push(filling: &mut Filling<Fold>, entries: Vec<Entry>, now: Timestamp) -> Ticket {
    let first = filling.next();
    let mut left = u32::try_from(entries.len()).expect("a handful of entries at a time");
    for entry in entries {
        left -= 1;
        let body = entry.encode();
        filling.push(RecordKind::Entry, &body, left, now, entry);
    }
    filling.ticket(first)
}

/// The entry of a ledger record.
///
/// # Errors
/// A body that is no entry.
pub(crate) fn decode(record: &Record) -> Result<Recorded, LedgerError> {
    let (offset, time) = (record.header.offset, record.header.time);
    let entry = Entry::decode(&record.body).map_err(|source| LedgerError::Entry { offset, source })?;
    Ok(Recorded { offset, time, entry })
}
