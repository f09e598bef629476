//! The fold of all entries: who there is, and how far each has come.

use super::entry::Entry;
use super::target::Target;
use crate::codec::{self, CodecError};
use crate::model::{Filter, Kind, Name, Offset, Span, Spans, SubscriberId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

const VERSION: u8 = 1;

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
    /// Patterns, each from an offset on; never empty, ascending.
    pub patterns: Vec<(Offset, Filter)>,
    /// Where it began.
    pub first_cursor: Offset,
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
        let behind = self.patterns.partition_point(|(from, _)| *from <= offset);
        self.patterns.get(behind.saturating_sub(1)).map_or(self.channels(), |(_, filter)| filter)
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
}

/// The fold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// The event log that all this is about.
    pub event_log: Option<[u8; 16]>,
    /// The number that the next subscriber gets.
    pub next_id: u64,
    /// The oldest event kept.
    pub start: Offset,
    /// The event log was durable at least up to here, or an entry would not say what it says (R6).
    pub proven: Offset,
    /// The oldest ledger entry kept.
    pub ledger_start: Offset,
    subscribers: BTreeMap<SubscriberId, Subscriber>,
    #[serde(skip)]
    by_name: HashMap<Name, SubscriberId>,
}

impl State {
    /// The state that a snapshot holds.
    ///
    /// # Errors
    /// Bytes that no version of [`State::encode`] made.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut state: Self = codec::decode(VERSION, bytes)?;
        for (id, subscriber) in &state.subscribers {
            let fits = *id == subscriber.id && id.0 < state.next_id;
            if !fits || state.by_name.insert(subscriber.name.clone(), *id).is_some() {
                return Err(CodecError::Malformed(format!("subscriber {id} has another's number or name")));
            }
        }
        Ok(state)
    }

    /// The snapshot.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(VERSION, self)
    }

    /// Who has this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Subscriber> {
        let name = Name::parse("name", name).ok()?;
        self.by_name.get(&name).and_then(|id| self.subscribers.get(id))
    }

    /// Who has this number.
    #[must_use]
    pub fn get(&self, id: SubscriberId) -> Option<&Subscriber> {
        self.subscribers.get(&id)
    }

    /// Everybody, in the order in which they were made.
    pub fn subscribers(&self) -> impl ExactSizeIterator<Item = &Subscriber> {
        self.subscribers.values()
    }

    /// Adds what happened at `time`. Entries about somebody who is gone change nothing.
    pub fn apply(&mut self, entry: &Entry, time: Timestamp) {
        self.proven = self.proven.max(entry.proves().unwrap_or_default());
        match entry {
            Entry::Began { event_log } => self.event_log = Some(*event_log),
            Entry::Made { id, name, target, cursor } => self.made(*id, name, target, *cursor, time),
            Entry::Deleted { id } => {
                if let Some(gone) = self.subscribers.remove(id) {
                    self.by_name.remove(&gone.name);
                }
            }
            Entry::Retired { start } => {
                self.start = self.start.max(*start);
                for subscriber in self.subscribers.values_mut() {
                    subscriber.floor = subscriber.done.first_missing(subscriber.floor.max(self.start));
                    subscriber.done.retain_from(subscriber.floor);
                }
            }
            Entry::LedgerRetired { start } => self.ledger_start = self.ledger_start.max(*start),
            Entry::Cut { .. } | Entry::LossAccepted { .. } | Entry::Resent { .. } => {}
            Entry::Changed { id, .. }
            | Entry::Acked { id, .. }
            | Entry::Failed { id, .. }
            | Entry::Dead { id, .. }
            | Entry::Skipped { id, .. }
            | Entry::Sought { id, .. }
            | Entry::Paused { id, .. }
            | Entry::Resumed { id }
            | Entry::Missed { id, .. }
            | Entry::Told { id, .. } => {
                if let Some(subscriber) = self.subscribers.get_mut(id) {
                    happened(subscriber, entry, time);
                    subscriber.floor = subscriber.floor.max(self.start);
                }
            }
        }
    }

    fn made(&mut self, id: SubscriberId, name: &Name, target: &Target, cursor: Offset, time: Timestamp) {
        self.next_id = self.next_id.max(id.0.saturating_add(1));
        let subscriber = Subscriber {
            id,
            name: name.clone(),
            target: target.clone(),
            patterns: vec![(cursor, target.channels().clone())],
            first_cursor: cursor,
            // Retention may have been recorded between the asking and the making.
            floor: cursor.max(self.start),
            done: Spans::new(),
            seeks: 0,
            created: time,
            last_ack: None,
            failed: BTreeMap::new(),
            failures_in_row: 0,
            paused: None,
            missed: Spans::new(),
        };
        self.by_name.insert(name.clone(), id);
        self.subscribers.insert(id, subscriber);
    }
}

/// What an entry does to the one whom it is about.
fn happened(subscriber: &mut Subscriber, entry: &Entry, time: Timestamp) {
    match entry {
        Entry::Changed { target, from, .. } => {
            if subscriber.channels() != target.channels() {
                subscriber.patterns.retain(|(at, _)| at < from);
                subscriber.patterns.push((*from, target.channels().clone()));
            }
            subscriber.target = target.clone();
            retry_now(subscriber, time);
        }
        Entry::Acked { spans, .. } => {
            spans.iter().for_each(|acked| subscriber.finish(acked.span));
            subscriber.last_ack = Some(time);
            subscriber.failures_in_row = 0;
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
            subscriber.failed.insert(*offset, failed);
            subscriber.failures_in_row = subscriber.failures_in_row.saturating_add(1);
        }
        Entry::Dead { offset, .. } => {
            subscriber.finish(Span::one(*offset));
            if subscriber.kind() == Kind::Connector {
                // The endpoint failed once more, as before every other retry.
                subscriber.failures_in_row = subscriber.failures_in_row.saturating_add(1);
            }
        }
        Entry::Skipped { spans, .. } => spans.iter().for_each(|sent| subscriber.finish(sent.span)),
        Entry::Sought { cursor, .. } => {
            // What is delivered from here on is delivered under the patterns in force now.
            let channels = subscriber.channels().clone();
            subscriber.patterns.retain(|(at, _)| at < cursor);
            subscriber.patterns.push((*cursor, channels));
            subscriber.floor = *cursor;
            subscriber.done = Spans::new();
            subscriber.failed.clear();
            subscriber.missed = Spans::new();
            subscriber.first_cursor = subscriber.first_cursor.min(*cursor);
            subscriber.seeks = subscriber.seeks.saturating_add(1);
        }
        Entry::Paused { reason, .. } => subscriber.paused = Some(reason.clone().unwrap_or_default()),
        Entry::Resumed { .. } => {
            subscriber.paused = None;
            subscriber.failures_in_row = 0;
            retry_now(subscriber, time);
        }
        Entry::Missed { span, .. } => subscriber.missed.insert(*span),
        Entry::Told { span, .. } => subscriber.missed.remove(*span),
        Entry::Began { .. }
        | Entry::Made { .. }
        | Entry::Deleted { .. }
        | Entry::Retired { .. }
        | Entry::LedgerRetired { .. }
        | Entry::LossAccepted { .. }
        | Entry::Resent { .. }
        | Entry::Cut { .. } => {}
    }
}

/// Whoever mended a connector, or let it go on, does not want to wait for the old backoff. The ledger's time never
/// falls, so where the clock was set back it lies ahead of it; that nothing is left to wait says it on any clock.
fn retry_now(subscriber: &mut Subscriber, time: Timestamp) {
    for failed in subscriber.failed.values_mut() {
        // What has passed of the wait counts, or whoever puts the same settings every minute would never see it given up.
        failed.failing_for += time.since(failed.since).min(failed.wait);
        failed.next_attempt = failed.next_attempt.min(time);
        failed.wait = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{SentSpan, Via};
    use crate::model::SubscriberSettings;

    fn made(id: u64, name: &str) -> Entry {
        Entry::Made {
            id: SubscriberId(id),
            name: Name::parse("name", name).unwrap(),
            target: Target::Subscriber(SubscriberSettings::new(Filter::parse(&["key.*"]).unwrap())),
            cursor: Offset(5),
        }
    }

    fn failed(id: u64, next_attempt: u64, wait: Duration) -> Entry {
        Entry::Failed {
            id: SubscriberId(id),
            offset: Offset(5),
            attempts: 1,
            failing_for: Duration::from_secs(60),
            next_attempt: Timestamp(next_attempt),
            wait,
            status: None,
            reason: "refused".to_owned(),
        }
    }

    fn acked(id: u64, from: u64, to: u64) -> Entry {
        let span = Span::new(Offset(from), Offset(to));
        Entry::Acked {
            id: SubscriberId(id),
            spans: vec![SentSpan { span, attempts: 1 }],
            via: Via::WebSocket,
            status: None,
            latency_ms: None,
        }
    }

    #[test]
    fn the_floor_moves_only_over_what_is_done() {
        let mut state = State::default();
        state.apply(&made(0, "a"), Timestamp(1));
        state.apply(&acked(0, 7, 8), Timestamp(2));
        assert_eq!(state.named("a").unwrap().floor, Offset(5));
        state.apply(&acked(0, 5, 7), Timestamp(3));
        assert_eq!(state.named("a").unwrap().floor, Offset(8));
        assert_eq!(state.proven, Offset(8));
    }

    #[test]
    fn a_retry_is_never_further_away_than_was_chosen_and_at_once_for_whoever_resumes() {
        let second = Duration::from_secs(1);
        let mut state = State::default();
        state.apply(&made(0, "a"), Timestamp(1));
        state.apply(&failed(0, 9_000_000, second), Timestamp(8_000_000));
        let left = |state: &State, now| state.named("a").unwrap().failed[&Offset(5)].left(Timestamp(now));
        assert_eq!(left(&state, 8_600_000), Duration::from_millis(400));
        assert_eq!(left(&state, 100), second, "the clock was set back");
        assert_eq!(left(&state, u64::MAX), Duration::ZERO, "or ahead");
        // The ledger's time never falls: it is ahead of a clock that was set back.
        state.apply(&Entry::Resumed { id: SubscriberId(0) }, Timestamp(8_000_001));
        assert_eq!(left(&state, 100), Duration::ZERO);
    }

    #[test]
    fn an_event_fails_for_the_time_that_it_was_tried_whatever_the_clock_shows() {
        let (minute, second) = (Duration::from_secs(60), Duration::from_secs(1));
        let mut state = State::default();
        state.apply(&made(0, "a"), Timestamp(1));
        state.apply(&failed(0, 9_000_000, second), Timestamp(8_000_000));
        let by = |state: &State, now| state.named("a").unwrap().failed[&Offset(5)].failing_by(Timestamp(now));
        assert_eq!(by(&state, 8_600_000), minute + second * 3 / 5);
        assert_eq!(by(&state, 100), minute, "the clock was set back");
        assert_eq!(by(&state, u64::MAX), minute + second, "or ahead, or nobody was there for years");
        state.apply(&Entry::Resumed { id: SubscriberId(0) }, Timestamp(8_400_000));
        assert_eq!(by(&state, u64::MAX), minute + second * 2 / 5, "the rest of the wait was not waited for");
        state.apply(&Entry::Resumed { id: SubscriberId(0) }, Timestamp(8_900_000));
        assert_eq!(by(&state, u64::MAX), minute + second * 2 / 5);
    }

    #[test]
    fn a_name_made_again_is_somebody_else() {
        let mut state = State::default();
        state.apply(&made(0, "a"), Timestamp(1));
        state.apply(&Entry::Deleted { id: SubscriberId(0) }, Timestamp(2));
        state.apply(&made(1, "a"), Timestamp(3));
        state.apply(&acked(0, 5, 50), Timestamp(4));
        assert_eq!(state.named("a").unwrap().floor, Offset(5));
        assert_eq!(state.next_id, 2);
    }

    #[test]
    fn a_snapshot_is_the_state() {
        let mut state = State::default();
        state.apply(&Entry::Began { event_log: [7; 16] }, Timestamp(0));
        state.apply(&made(0, "a"), Timestamp(1));
        state.apply(&acked(0, 7, 9), Timestamp(2));
        assert_eq!(State::decode(&state.encode()).unwrap(), state);
    }
}
