//! The fold of all entries: who there is, and how far each has come.

use super::entry::Entry;
use super::subscriber::Subscriber;
use super::target::Target;
use crate::codec::{self, CodecError};
use crate::model::{Name, Offset, SubscriberId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

const VERSION: u8 = 1;

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
            Entry::Deleted { id } | Entry::Removed { id, .. } => {
                if let Some(gone) = self.subscribers.remove(id) {
                    self.by_name.remove(&gone.name);
                }
            }
            Entry::Retired { start } => {
                self.start = self.start.max(*start);
                self.subscribers.values_mut().for_each(|subscriber| subscriber.retired(self.start));
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
                    subscriber.happened(entry, time, self.start);
                }
            }
        }
    }

    fn made(&mut self, id: SubscriberId, name: &Name, target: &Target, cursor: Offset, time: Timestamp) {
        self.next_id = self.next_id.max(id.0.saturating_add(1));
        let subscriber = Subscriber::made(id, name, target, cursor, time, self.start);
        // A name leads to one: whoever had it can be reached by nobody any more.
        if let Some(before) = self.by_name.insert(name.clone(), id) {
            self.subscribers.remove(&before);
        }
        self.subscribers.insert(id, subscriber);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{SentSpan, Via};
    use crate::model::{Filter, Span, SubscriberSettings};
    use std::time::Duration;

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
    fn who_begins_below_the_start_is_told_however_the_start_got_there() {
        // The story: retention was written down between a PUT's look at the start and its word in the ledger.
        let gap = |state: &State| state.named("a").unwrap().missed.hull();
        let span = |from, to| Some(Span::new(Offset(from), Offset(to)));
        let mut state = State::default();
        state.apply(&Entry::Retired { start: Offset(9) }, Timestamp(1));
        state.apply(&made(0, "a"), Timestamp(2));
        assert_eq!((gap(&state), state.named("a").unwrap().floor), (span(5, 9), Offset(9)));
        state.apply(&Entry::Sought { id: SubscriberId(0), cursor: Offset(20) }, Timestamp(3));
        assert_eq!(gap(&state), None, "what it sought past it does not miss");
        state.apply(&Entry::Sought { id: SubscriberId(0), cursor: Offset(7) }, Timestamp(4));
        assert_eq!((gap(&state), state.named("a").unwrap().floor), (span(7, 9), Offset(9)));
    }

    #[test]
    fn what_is_gone_is_not_tried_again() {
        let mut state = State::default();
        state.apply(&made(0, "a"), Timestamp(1));
        state.apply(&failed(0, 9_000_000, Duration::from_secs(1)), Timestamp(2));
        state.apply(&Entry::Retired { start: Offset(6) }, Timestamp(3));
        assert!(state.named("a").unwrap().failed.is_empty());
    }

    #[test]
    fn a_name_leads_to_one_and_a_snapshot_of_that_can_be_read() {
        // The story: a PUT that failed half-way was repeated; both were in the ledger, and no start could read it.
        let mut state = State::default();
        state.apply(&made(0, "a"), Timestamp(1));
        state.apply(&made(1, "a"), Timestamp(2));
        assert_eq!((state.subscribers().len(), state.named("a").unwrap().id), (1, SubscriberId(1)));
        assert_eq!(State::decode(&state.encode()).unwrap(), state);
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
