//! Which ids were published lately, and where.
//!
//! Only hashes are kept: a hit is confirmed from the log, or from what is kept of an event that retention
//! took (`retired_ids`). Two different ids with one hash (nobody has seen it happen, but somebody may try)
//! are told apart by probing with a salt.

use super::likeness::{Likeness, identity};
use crate::model::{Head, Offset, Span, Timestamp, limits};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// The window of remembered ids.
#[derive(Debug, Default)]
pub(super) struct Idempotency {
    places: HashMap<u64, Offset>,
    /// Oldest first, for forgetting.
    order: VecDeque<Known>,
    /// Of those that retention took.
    retired: BTreeMap<Offset, Likeness>,
}

/// A remembered id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) hash: u64,
    pub(super) offset: Offset,
    pub(super) time: Timestamp,
}

/// The hash of a publisher's id with its channel and CloudEvents source; none where the broker made the id.
pub(super) fn hash(head: &Head, salt: u8) -> Option<u64> {
    identity(head, salt)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

/// Whether two heads are of one and the same publish.
pub(super) fn same_identity(a: &Head, b: &Head) -> bool {
    a.id == b.id && a.channel == b.channel && a.headers.get("ce-source") == b.headers.get("ce-source")
}

impl Idempotency {
    /// Where an event with this hash was appended, if that is within the window.
    pub(super) fn find(&self, hash: u64, now: Timestamp) -> Option<Offset> {
        let offset = self.places.get(&hash).copied()?;
        let at = self.order.partition_point(|known| known.offset < offset);
        let fresh = self.order.get(at).is_some_and(|known| now.since(known.time) < limits::IDEMPOTENCY_AGE);
        fresh.then_some(offset)
    }

    /// Remembers one, and forgets what is beyond the window.
    pub(super) fn remember(&mut self, known: Known) {
        self.places.insert(known.hash, known.offset);
        self.order.push_back(known);
        while self.order.front().is_some_and(|oldest| {
            self.order.len() > limits::IDEMPOTENCY_EVENTS || known.time.since(oldest.time) >= limits::IDEMPOTENCY_AGE
        }) {
            self.forget_oldest();
        }
    }

    /// The ids within the window that were given to events of a span.
    pub(super) fn within(&self, span: Span) -> Vec<Known> {
        let at = self.order.partition_point(|known| known.offset < span.from);
        self.order.iter().skip(at).take_while(|known| known.offset < span.to).copied().collect()
    }

    /// Keeps what a repeat is held against once retention has taken the events themselves.
    pub(super) fn retire(&mut self, likenesses: impl IntoIterator<Item = (Offset, Likeness)>) {
        self.retired.extend(likenesses);
    }

    /// What is kept of an event that retention took, and its time.
    pub(super) fn retired(&self, offset: Offset) -> Option<(Likeness, Timestamp)> {
        let likeness = self.retired.get(&offset)?;
        let at = self.order.partition_point(|known| known.offset < offset);
        self.order.get(at).filter(|known| known.offset == offset).map(|known| (*likeness, known.time))
    }

    /// The oldest event whose id is remembered.
    pub(super) fn oldest(&self) -> Option<Offset> {
        self.order.front().map(|known| known.offset)
    }

    /// Forgets what was appended and failed: its publisher may try again.
    pub(super) fn forget_from(&mut self, from: Offset) {
        while let Some(newest) = self.order.pop_back_if(|newest| newest.offset >= from) {
            self.places.remove(&newest.hash);
        }
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.order.pop_front() else { return };
        self.retired.remove(&oldest.offset);
        if self.places.get(&oldest.hash) == Some(&oldest.offset) {
            self.places.remove(&oldest.hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn known(hash: u64, offset: u64, seconds: u64) -> Known {
        Known { hash, offset: Offset(offset), time: Timestamp(seconds * 1_000_000) }
    }

    #[test]
    fn an_id_is_forgotten_when_its_time_is_over_not_when_its_event_is_gone() {
        let mut ids = Idempotency::default();
        ids.remember(known(1, 0, 0));
        ids.remember(known(2, 5, 10));
        let day = Timestamp(0).plus(Duration::from_secs(24 * 3600));
        assert_eq!(ids.find(1, Timestamp(day.0 - 1)), Some(Offset(0)));
        assert_eq!(ids.find(1, day), None);
        let likeness = Likeness { identity: [1; 16], content: [2; 16] };
        ids.retire([(Offset(0), likeness)]);
        assert_eq!(ids.find(1, Timestamp(0)), Some(Offset(0)));
        assert_eq!(ids.retired(Offset(0)), Some((likeness, Timestamp(0))));
        ids.remember(known(3, 6, 24 * 3600));
        assert_eq!((ids.find(1, Timestamp(0)), ids.retired(Offset(0))), (None, None));
        assert_eq!(ids.oldest(), Some(Offset(5)));
        ids.forget_from(Offset(5));
        assert_eq!(ids.find(2, Timestamp(0)), None, "a failed publish never blocks its retry");
    }
}
