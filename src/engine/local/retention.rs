//! Retention: the oldest whole segments go, and whoever had not acknowledged theirs is told.

use super::Local;
use super::summary::Summaries;
use crate::engine::{Engine, EngineError};
use crate::ledger::Entry;
use crate::log::{remove_retired, set_aside_returned};
use crate::model::{Offset, Span, Timestamp};
use std::time::Duration;

/// How long and how much is kept, of events and of what happened to them; for ever where nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionLimits {
    /// Segments whose newest event is older go.
    pub max_age: Option<Duration>,
    /// The oldest segments go while more bytes than this are kept.
    pub max_bytes: Option<u64>,
    /// Ledger segments, and the receipts in them, go whose newest entry is older.
    pub receipts: Option<Duration>,
}

/// Segments that may go in one round: rounds are a second apart, and the disk has other work.
const MAX_SEGMENTS_A_ROUND: usize = 1;

/// Moves the start as far as the limits say: ledger first, then files.
pub(super) fn retire(local: &Local, limits: RetentionLimits, now: Timestamp) -> Result<Option<Offset>, EngineError> {
    let Some(to) = due(local, limits, now) else { return Ok(None) };
    let start = local.start();
    local.retired_ids.keep(local, Span::new(start, to));
    let ticket = {
        // Nobody gets another cursor or other patterns between the look at who misses what and the word that it goes.
        // Whoever gets them behind that word is told by the fold.
        let _still = local.placing.lock();
        if let Some(before) = local.ledger.barrier() {
            super::open::wait_blocking(before.durable())?;
        }
        let mut entries = missed(local, Span::new(start, to));
        entries.push(Entry::Retired { start: to });
        local.ledger.record(entries)?
    };
    super::open::wait_blocking(ticket.durable())?;
    forget(local, to)?;
    tracing::info!(from = %start, %to, "retention removed the oldest events");
    Ok(Some(to))
}

/// Who has not acknowledged something in there that he asked for.
fn missed(local: &Local, gone: Span) -> Vec<Entry> {
    let state = local.ledger.state();
    let missing = state.subscribers().filter_map(|subscriber| {
        let span = Span::new(subscriber.floor.max(gone.from), gone.to);
        let unacknowledged = subscriber.done.missing(span);
        let lost = unacknowledged.iter().any(|span| local.count(subscriber.channels(), *span) > 0);
        lost.then_some(Entry::Missed { id: subscriber.id, span })
    });
    missing.collect()
}

/// Lets the oldest ledger segment go, where the limits say so. Each begins with the fold of all before it, so
/// nothing but old receipts goes with it.
pub(super) fn retire_ledger(local: &Local, limits: RetentionLimits, now: Timestamp) -> Result<(), EngineError> {
    let Some(age) = limits.receipts else { return Ok(()) };
    let list = local.ledger.segments().list();
    let [oldest, _, ..] = list.as_slice() else { return Ok(()) };
    if now.since(oldest.last_time()) <= age {
        return Ok(());
    }
    let start = oldest.next();
    super::open::wait_blocking(local.ledger.record(vec![Entry::LedgerRetired { start }])?.durable())?;
    remove_retired(&*local.fs, local.ledger.segments(), start)?;
    tracing::info!(%start, "retention removed the oldest receipts");
    Ok(())
}

/// Sees to files from below the start at an opening: one that retention was about to remove goes, one that
/// has come back from elsewhere is set aside.
pub(super) fn tidy(local: &Local) -> Result<(), EngineError> {
    let (start, ledger_start) = {
        let state = local.ledger.state();
        (state.start, state.ledger_start)
    };
    for (segments, to) in [(local.log.segments(), start), (local.ledger.segments(), ledger_start)] {
        set_aside_returned(&*local.fs, segments, &local.quarantine, to)?;
    }
    remove_retired(&*local.fs, local.ledger.segments(), ledger_start)?;
    forget(local, start)
}

/// Removes everything below `to` from disk and memory; the ledger says already that it is gone.
pub(super) fn forget(local: &Local, to: Offset) -> Result<(), EngineError> {
    let gone = remove_retired(&*local.fs, local.log.segments(), to)?;
    Summaries::remove_files(&*local.fs, &local.events.summary_dir, gone.iter().map(|segment| segment.first()));
    local.events.summaries.forget_below(to);
    local.events.tail.forget_below(to);
    Ok(())
}

/// The new start, if the limits ask for one.
fn due(local: &Local, limits: RetentionLimits, now: Timestamp) -> Option<Offset> {
    let list = local.log.segments().list();
    let mut kept: u64 = list.iter().map(|segment| segment.bytes()).sum();
    let mut to = None;
    for segment in list.iter().take(list.len().saturating_sub(1)).take(MAX_SEGMENTS_A_ROUND) {
        let too_old = limits.max_age.is_some_and(|age| now.since(segment.last_time()) > age);
        let too_much = limits.max_bytes.is_some_and(|bytes| kept > bytes);
        if !too_old && !too_much {
            break;
        }
        kept -= segment.bytes();
        to = Some(segment.next());
    }
    to
}
