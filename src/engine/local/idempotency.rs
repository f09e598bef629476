//! Which ids were published lately, and where.
//!
//! Only hashes are kept: a hit is confirmed from the log. Two different ids with one hash (nobody has
//! seen it happen, but somebody may try) are told apart by probing with a salt.

use crate::model::{EventId, Head, Offset, Timestamp, limits};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};

/// The window of remembered ids.
#[derive(Debug)]
pub(super) struct Idempotency {
    places: HashMap<u64, Offset>,
    /// Oldest first, for forgetting.
    order: VecDeque<Known>,
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
    let EventId::Given(id) = &head.id else { return None };
    let mut hash = Sha256::new();
    hash.update([salt]);
    for part in [head.channel.as_str(), head.headers.get("ce-source").unwrap_or_default(), id] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

/// Whether two heads are of one and the same publish.
pub(super) fn same_identity(a: &Head, b: &Head) -> bool {
    a.id == b.id && a.channel == b.channel && a.headers.get("ce-source") == b.headers.get("ce-source")
}

impl Idempotency {
    pub(super) fn new() -> Self {
        Self { places: HashMap::new(), order: VecDeque::new() }
    }

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

    /// Forgets what retention took.
    pub(super) fn forget_below(&mut self, start: Offset) {
        while self.order.front().is_some_and(|oldest| oldest.offset < start) {
            self.forget_oldest();
        }
    }

    /// Forgets what was appended and failed: its publisher may try again.
    pub(super) fn forget_from(&mut self, from: Offset) {
        while let Some(newest) = self.order.pop_back_if(|newest| newest.offset >= from) {
            self.places.remove(&newest.hash);
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front()
            && self.places.get(&oldest.hash) == Some(&oldest.offset)
        {
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
    fn an_id_is_forgotten_when_its_time_is_over_or_its_event_is_gone() {
        let mut ids = Idempotency::new();
        ids.remember(known(1, 0, 0));
        ids.remember(known(2, 5, 10));
        let day = Timestamp(0).plus(Duration::from_secs(24 * 3600));
        assert_eq!(ids.find(1, Timestamp(day.0 - 1)), Some(Offset(0)));
        assert_eq!(ids.find(1, day), None);
        ids.forget_below(Offset(5));
        assert_eq!(ids.find(1, Timestamp(0)), None);
        ids.forget_from(Offset(5));
        assert_eq!(ids.find(2, Timestamp(0)), None, "a failed publish never blocks its retry");
    }
}
