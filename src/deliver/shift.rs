//! What a worker has in hand between two looks at its settings: which event is next, and when.

use super::session::Session;
use super::worker::Outcome;
use crate::clock::Instant;
use crate::ledger::{ConnectorSecrets, FailedAttempt};
use crate::model::{ConnectorSettings, Event, Key, Offset, Timestamp, limits};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Which events must not overtake each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// All of them.
    Everything,
    /// Those of a key.
    Key(Key),
    /// None: an event without a key.
    Alone(Offset),
}

/// An event that fails, on the clock that deadlines follow.
pub(super) struct Failing {
    pub(super) attempts: u32,
    /// How long it had been failing at `since`.
    pub(super) failing_for: Duration,
    pub(super) since: Instant,
    /// When its next attempt is due.
    pub(super) due: Instant,
}

impl Failing {
    /// Goes on from what was written down, however long ago that was.
    pub(super) fn remembered(failed: &FailedAttempt, wall: Timestamp, now: Instant) -> Self {
        let failing_for = failed.failing_by(wall);
        Self { attempts: failed.attempts, failing_for, since: now, due: now + failed.left(wall) }
    }

    pub(super) fn failing_at(&self, now: Instant) -> Duration {
        self.failing_for + now.duration_since(self.since)
    }
}

/// What a worker has in hand, from one look at its settings to the next.
pub(super) struct Shift {
    pub(super) session: Session,
    pub(super) settings: Arc<ConnectorSettings>,
    pub(super) secrets: Arc<ConnectorSecrets>,
    /// Fetched and not begun, in order.
    pub(super) waiting: VecDeque<Arc<Event>>,
    /// Failed, each with the time of its next attempt.
    pub(super) retries: BTreeMap<(Instant, Offset), Arc<Event>>,
    pub(super) failed: HashMap<Offset, Failing>,
    pub(super) busy: HashSet<Lane>,
    pub(super) running: FuturesUnordered<BoxFuture<'static, Outcome>>,
    pub(super) failures_in_row: u32,
    /// With the circuit open, when an event that was never tried may be the probe.
    pub(super) next_new: Instant,
    /// Seeks of the subscriber when the shift began.
    pub(super) seeks: u64,
}

/// An attempt that may be begun.
pub(super) enum Candidate {
    /// The retry that is due first.
    Retry,
    /// The waiting event at this place, whose lane is free.
    New(usize),
}

impl Shift {
    /// Takes an event in; one that failed before a restart waits for its time.
    pub(super) fn receive(&mut self, event: Arc<Event>) {
        match self.failed.get(&event.offset) {
            Some(failing) => {
                self.busy.insert(lane(&self.settings, &event));
                self.retries.insert((failing.due, event.offset), event);
            }
            None => self.waiting.push_back(event),
        }
    }

    /// What has been due for longest: a retry, or the first waiting event whose lane is free.
    ///
    /// With the circuit open that is the probe. A poison event alone may have opened it, so that others have their
    /// turn too; and where the endpoint is down the backlog is not failed event by event as fast as it answers, but
    /// each new one waits as long as the one before it was told to.
    pub(super) fn next_attempt(&self, now: Instant) -> Option<(Instant, Candidate)> {
        let retry = self.retries.keys().next().map(|(due, _)| (*due, Candidate::Retry));
        let free = self.waiting.iter().position(|event| !self.busy.contains(&lane(&self.settings, event)));
        let new_due = if is_failing(self) { self.next_new } else { now };
        let new = free.map(|at| (new_due, Candidate::New(at)));
        [retry, new].into_iter().flatten().min_by_key(|(due, _)| *due)
    }

    /// Takes it in hand; its lane is busy until it is done.
    pub(super) fn take(&mut self, candidate: &Candidate) -> Option<Arc<Event>> {
        match candidate {
            Candidate::Retry => self.retries.pop_first().map(|(_, event)| event),
            Candidate::New(at) => {
                let event = self.waiting.remove(*at)?;
                self.busy.insert(lane(&self.settings, &event));
                Some(event)
            }
        }
    }
}

/// Requests that may run side by side; an open circuit lets one probe through at a time.
pub(super) fn slots(shift: &Shift) -> usize {
    if is_failing(shift) { 1 } else { shift.settings.in_flight as usize }
}

pub(super) fn is_failing(shift: &Shift) -> bool {
    shift.failures_in_row >= limits::FAILING_AFTER
}

pub(super) fn lane(settings: &ConnectorSettings, event: &Event) -> Lane {
    match &event.head.key {
        _ if settings.in_flight == 1 => Lane::Everything,
        Some(key) => Lane::Key(key.clone()),
        None => Lane::Alone(event.offset),
    }
}
