//! One subscriber or connector, as far as it is durable: what the entries about it amount to.

use super::entry::Entry;
use super::interest::Interest;
use super::target::Target;
use crate::model::{Filter, Kind, Name, Offset, Span, Spans, SubscriberId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A connector's event that went wrong and is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// Attempts so far.
    pub attempts: u32,
    /// How long it had been failing when that was written down, or when its wait was cut short.
    pub failing_for: Duration,
    /// When that was written down.
    pub since: Timestamp,
    /// When the next is due, by the wall clock.
    pub next_attempt: Timestamp,
    /// The wait until then that was chosen.
    pub wait: Duration,
    /// The status of the last answer.
    pub status: Option<u16>,
    /// What went wrong last.
    pub reason: String,
}

impl FailedAttempt {
    /// What is left of the wait when the wall clock shows `now`: never more than was chosen, whatever the clock did.
    #[must_use]
    pub fn left(&self, now: Timestamp) -> Duration {
        self.next_attempt.since(now).min(self.wait)
    }

    /// How long it has been failing when the wall clock shows `now`. Of the time since the last attempt no more counts
    /// than the wait that was chosen: how long nobody tried, or how far a clock jumped, says nothing about the endpoint.
    #[must_use]
    pub fn failing_by(&self, now: Timestamp) -> Duration {
        self.failing_for + self.wait.saturating_sub(self.left(now))
    }
}

/// One subscriber or connector, as far as it is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriber {
    /// Its number.
    pub id: SubscriberId,
    /// Its name.
    pub name: Name,
    /// What it asks for.
    pub target: Target,
    /// Which patterns it had at which offset, and where it began.
    pub interest: Interest,
    /// Everything below is done or does not match.
    pub floor: Offset,
    /// What is done at or above the floor.
    pub done: Spans,
    /// Seeks so far: between two, each event has one receipt.
    pub seeks: u32,
    /// When it was made.
    pub created: Timestamp,
    /// When it last acknowledged.
    pub last_ack: Option<Timestamp>,
    /// Events of a connector that are tried again.
    pub failed: BTreeMap<Offset, FailedAttempt>,
    /// Failures since the last success.
    pub failures_in_row: u32,
    /// Stopped, and why.
    pub paused: Option<String>,
    /// What retention took before it was acknowledged, until the listener has said that it knows.
    pub missed: Spans,
}

impl Subscriber {
    /// One that was made at `time` and begins at `cursor`, in a log that begins at `start`.
    pub(super) fn made(
        id: SubscriberId,
        name: &Name,
        target: &Target,
        cursor: Offset,
        time: Timestamp,
        start: Offset,
    ) -> Self {
        let mut made = Self {
            id,
            name: name.clone(),
            target: target.clone(),
            interest: Interest::new(cursor, target.channels()),
            floor: cursor,
            done: Spans::new(),
            seeks: 0,
            created: time,
            last_ack: None,
            failed: BTreeMap::new(),
            failures_in_row: 0,
            paused: None,
            missed: Spans::new(),
        };
        made.begin_at(cursor, start);
        made
    }

    /// Nothing before the cursor is asked for. What lies between it and the log's start cannot be had, and is told:
    /// asked for from below the start, or retention was written down between the asking and the word of it.
    fn begin_at(&mut self, cursor: Offset, start: Offset) {
        self.floor = cursor.max(start);
        self.missed = Spans::new();
        if cursor < start {
            self.missed.insert(Span::new(cursor, start));
        }
    }

    /// What lies below the start is gone, and so is what was to be tried again of it.
    pub(super) fn retired(&mut self, start: Offset) {
        self.floor = self.done.first_missing(self.floor.max(start));
        self.done.retain_from(self.floor);
        self.failed = self.failed.split_off(&self.floor);
    }

    /// What kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.target.kind()
    }

    /// The patterns in force now.
    #[must_use]
    pub fn channels(&self) -> &Filter {
        self.target.channels()
    }

    /// The patterns that were in force at an offset.
    #[must_use]
    pub fn channels_at(&self, offset: Offset) -> &Filter {
        self.interest.at(offset).unwrap_or(self.channels())
    }

    /// Whether everything at that offset is done.
    #[must_use]
    pub fn is_done(&self, offset: Offset) -> bool {
        offset < self.floor || self.done.contains(offset)
    }

    fn finish(&mut self, span: Span) {
        self.done.insert(span);
        self.floor = self.done.first_missing(self.floor);
        self.done.retain_from(self.floor);
        let floor = self.floor;
        self.failed.retain(|offset, _| *offset >= floor && !span.contains(*offset));
        self.missed.remove(span);
    }

    /// What an entry does to the one whom it is about, in a log that begins at `start`.
    pub(super) fn happened(&mut self, entry: &Entry, time: Timestamp, start: Offset) {
        match entry {
            Entry::Changed { target, from, .. } => {
                if *from < start && self.target.channels() != target.channels() {
                    // Retention looked for what the old patterns ask for.
                    self.missed.insert(Span::new(*from, start));
                }
                self.interest.change(*from, target.channels());
                self.target = target.clone();
                self.retry_now(time);
            }
            Entry::Acked { spans, .. } => {
                spans.iter().for_each(|acked| self.finish(acked.span));
                self.last_ack = Some(time);
                self.failures_in_row = 0;
            }
            Entry::Failed { offset, attempts, failing_for, next_attempt, wait, status, reason, .. } => {
                let failed = FailedAttempt {
                    attempts: *attempts,
                    failing_for: *failing_for,
                    since: time,
                    next_attempt: *next_attempt,
                    wait: *wait,
                    status: *status,
                    reason: reason.clone(),
                };
                self.failed.insert(*offset, failed);
                self.failures_in_row = self.failures_in_row.saturating_add(1);
            }
            Entry::Dead { offset, .. } => {
                self.finish(Span::one(*offset));
                if self.kind() == Kind::Connector {
                    // The endpoint failed once more, as before every other retry.
                    self.failures_in_row = self.failures_in_row.saturating_add(1);
                }
            }
            Entry::Skipped { spans, .. } => spans.iter().for_each(|sent| self.finish(sent.span)),
            Entry::Sought { cursor, .. } => {
                self.interest.seek(*cursor);
                self.done = Spans::new();
                self.failed.clear();
                self.begin_at(*cursor, start);
                self.seeks = self.seeks.saturating_add(1);
            }
            Entry::Paused { reason, .. } => self.paused = Some(reason.clone().unwrap_or_default()),
            Entry::Resumed { .. } => {
                self.paused = None;
                self.failures_in_row = 0;
                self.retry_now(time);
            }
            Entry::Missed { span, .. } => self.missed.insert(*span),
            Entry::Told { span, .. } => self.missed.remove(*span),
            Entry::Began { .. }
            | Entry::Made { .. }
            | Entry::Deleted { .. }
            | Entry::Removed { .. }
            | Entry::Retired { .. }
            | Entry::LedgerRetired { .. }
            | Entry::LossAccepted { .. }
            | Entry::Resent { .. }
            | Entry::Cut { .. } => {}
        }
        self.floor = self.floor.max(start);
    }

    /// Whoever mended a connector, or let it go on, does not want to wait for the old backoff. The ledger's time never
    /// falls, so where the clock was set back it lies ahead of it; that nothing is left to wait says it on any clock.
    fn retry_now(&mut self, time: Timestamp) {
        for failed in self.failed.values_mut() {
            // What has passed of the wait counts, or whoever puts the same settings every minute would never see it given up.
            failed.failing_for += time.since(failed.since).min(failed.wait);
            failed.next_attempt = failed.next_attempt.min(time);
            failed.wait = Duration::ZERO;
        }
    }
}
