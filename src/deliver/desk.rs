//! What is known of a connector in this life of the broker only: its latest attempts, its pace, the dead letters that
//! wait for their retry. None of it is truth; a restart begins with an empty desk.

use super::error::DeliverError;
use crate::clock::Instant;
use crate::connector::{Answer, SendError};
use crate::model::{Offset, Rate, Timestamp, limits};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// One attempt of a connector, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// When its answer came, or its failure.
    pub time: Timestamp,
    /// Which event.
    pub offset: Offset,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The status of the answer.
    pub status: Option<u16>,
    /// Why there was none.
    pub error: Option<String>,
    /// How long it took.
    pub latency: Duration,
    /// The start of the response, without the connector's secrets.
    pub response: Option<String>,
    /// The replay that it was part of.
    pub replay: Option<String>,
}

impl AttemptRecord {
    /// What went wrong, if anything did.
    pub(super) fn failure(&self) -> Option<String> {
        match self.status {
            Some(status) if (200..300).contains(&status) => None,
            Some(status) => Some(format!("answered {status}")),
            None => self.error.clone(),
        }
    }
}

/// One connector's.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// The newest first, numbered in their order.
    attempts: Mutex<VecDeque<(u64, AttemptRecord)>>,
    pub(super) pace: Pace,
    letters: Mutex<Letters>,
    letters_came: Notify,
    replays: Mutex<usize>,
}

/// An attempt as its sender knows it.
pub(super) struct Made<'a> {
    pub(super) time: Timestamp,
    pub(super) offset: Offset,
    pub(super) attempt: u32,
    pub(super) took: Duration,
    pub(super) answer: &'a Result<Answer, SendError>,
    pub(super) replay: Option<&'a str>,
}

impl Made<'_> {
    pub(super) fn record(&self) -> AttemptRecord {
        let Made { time, offset, attempt, took, answer, replay } = *self;
        AttemptRecord {
            time,
            offset,
            attempt,
            status: answer.as_ref().ok().map(|answer| answer.status),
            error: answer.as_ref().err().map(ToString::to_string),
            latency: answer.as_ref().map_or(took, |answer| answer.latency),
            response: answer.as_ref().ok().map(|answer| answer.start.clone()),
            replay: replay.map(str::to_owned),
        }
    }
}

impl Desk {
    /// Remembers an attempt; the oldest one goes.
    pub(super) fn note(&self, made: &Made<'_>) {
        let mut attempts = self.attempts.lock();
        attempts.truncate(limits::MAX_ATTEMPTS_KEPT - 1);
        let number = attempts.front().map_or(0, |(newest, _)| newest + 1);
        attempts.push_front((number, made.record()));
    }

    /// The latest attempts with their numbers, the newest first; those before a number, where one is given.
    pub(super) fn attempts(&self, before: Option<u64>) -> Vec<(u64, AttemptRecord)> {
        let attempts = self.attempts.lock();
        attempts.iter().filter(|(number, _)| before.is_none_or(|before| *number < before)).cloned().collect()
    }

    /// What went wrong at the newest attempt of the ordinary course.
    pub(super) fn last_failure(&self) -> Option<String> {
        let attempts = self.attempts.lock();
        attempts.iter().find(|(_, record)| record.replay.is_none()).and_then(|(_, record)| record.failure())
    }

    /// Takes dead letters in for their retry: all of them, or none where they would be too many. Those that wait
    /// already are not taken twice.
    pub(super) fn queue(&self, letters: &BTreeMap<Offset, u32>, now: Instant) -> Result<(), DeliverError> {
        let mut waiting = self.letters.lock();
        let new: Vec<_> = letters.iter().filter(|(offset, _)| !waiting.known.contains(offset)).collect();
        if waiting.known.len() + new.len() > limits::MAX_DEAD_LETTER_RETRIES {
            return Err(DeliverError::Busy {
                what: "dead letters wait for their retry",
                limit: limits::MAX_DEAD_LETTER_RETRIES,
            });
        }
        for (offset, attempts) in new {
            waiting.known.insert(*offset);
            let letter = Letter { offset: *offset, before: *attempts, tried: 0, since: now };
            waiting.due.insert((now, *offset), letter);
        }
        drop(waiting);
        self.letters_came.notify_one();
        Ok(())
    }

    /// The dead letter that has been due for longest, taken in hand; waits for it.
    pub(super) async fn next_letter(&self) -> Letter {
        loop {
            let due = {
                let mut waiting = self.letters.lock();
                match waiting.due.first_entry() {
                    Some(first) if first.key().0 <= Instant::now() => return first.remove(),
                    first => first.map(|first| first.key().0),
                }
            };
            let timer = crate::clock::sleep_until(due.unwrap_or_else(|| Instant::now() + super::session::NEVER));
            tokio::select! {
                () = self.letters_came.notified() => {}
                () = timer => {}
            }
        }
    }

    /// Puts a dead letter back until then, if it is still wanted.
    pub(super) fn put_back(&self, letter: Letter, due: Instant) {
        let mut waiting = self.letters.lock();
        if waiting.known.contains(&letter.offset) {
            waiting.due.insert((due, letter.offset), letter);
        }
    }

    /// Whether a dead letter's retry is still wanted.
    pub(super) fn wants(&self, offset: Offset) -> bool {
        self.letters.lock().known.contains(&offset)
    }

    /// The connector was sought back: from there on everything is delivered in the ordinary course again.
    pub(super) fn forget_letters_from(&self, to: Offset) {
        let mut waiting = self.letters.lock();
        waiting.known.retain(|offset| *offset < to);
        waiting.due.retain(|(_, offset), _| *offset < to);
    }

    /// A dead letter's retry is over.
    pub(super) fn done_with(&self, offset: Offset) {
        self.letters.lock().known.remove(&offset);
    }

    /// A place for a replay, held until it is over.
    pub(super) fn begin_replay(self: &Arc<Self>) -> Result<ReplayPlace, DeliverError> {
        let mut replays = self.replays.lock();
        if *replays >= limits::MAX_REPLAYS {
            return Err(DeliverError::Busy { what: "replays are under way", limit: limits::MAX_REPLAYS });
        }
        *replays += 1;
        drop(replays);
        Ok(ReplayPlace(Arc::clone(self)))
    }
}

/// Dead letters that wait.
#[derive(Debug, Default)]
struct Letters {
    due: BTreeMap<(Instant, Offset), Letter>,
    /// Those, and the one in hand.
    known: BTreeSet<Offset>,
}

/// A dead letter that is tried again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Letter {
    pub(super) offset: Offset,
    /// Attempts before it died.
    pub(super) before: u32,
    /// Attempts since it was asked for again, and since when that is.
    pub(super) tried: u32,
    pub(super) since: Instant,
}

/// A replay's place among those of its connector.
pub(super) struct ReplayPlace(Arc<Desk>);

impl Drop for ReplayPlace {
    fn drop(&mut self) {
        *self.0.replays.lock() -= 1;
    }
}

/// Spreads attempts evenly, so that no stretch holds more than the rate says.
///
/// The generic cell rate algorithm without a burst; by hand, because it has to follow the clock that deadlines follow.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Option<Instant>>);

/// A late timer's due is made up for, up to here.
const SLACK: Duration = Duration::from_millis(10);

impl Pace {
    /// Takes leave to send now, or says when to ask again.
    pub(super) fn take(&self, rate: Option<Rate>, now: Instant) -> Result<(), Instant> {
        let Some(rate) = rate else { return Ok(()) };
        let mut last = self.0.lock();
        let due = last.map_or(now, |last| last + rate.interval());
        if due > now {
            return Err(due);
        }
        *last = Some(due.max(now.checked_sub(SLACK).unwrap_or(now)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_even_also_over_late_timers() {
        let (pace, began, rate) = (Pace::default(), Instant::now(), Rate::parse("rate", "100/s").unwrap());
        let at = |millis| began + Duration::from_millis(millis);
        assert_eq!(pace.take(Some(rate), at(0)), Ok(()));
        assert_eq!(pace.take(Some(rate), at(4)), Err(at(10)));
        assert_eq!(pace.take(Some(rate), at(13)), Ok(()));
        assert_eq!(pace.take(Some(rate), at(14)), Err(at(20)), "what the timer was late is made up for");
        assert_eq!(pace.take(Some(rate), at(1_000)), Ok(()));
        assert_eq!(pace.take(Some(rate), at(1_000)), Ok(()));
        assert_eq!(pace.take(Some(rate), at(1_000)), Err(at(1_010)), "a pause is no credit");
        assert_eq!(pace.take(None, at(1_000)), Ok(()));
        let slower = Rate::parse("rate", "1/s").unwrap();
        assert_eq!(pace.take(Some(slower), at(1_500)), Err(at(2_000)), "another rate counts from the last one");
    }

    #[tokio::test]
    async fn a_dead_letter_waits_once_however_often_it_is_asked_for() {
        let (desk, now) = (Desk::default(), Instant::now());
        let letters = BTreeMap::from([(Offset(5), 3), (Offset(2), 1)]);
        desk.queue(&letters, now).unwrap();
        desk.queue(&letters, now).unwrap();
        let first = desk.next_letter().await;
        assert_eq!((first.offset, first.before), (Offset(2), 1));
        desk.queue(&letters, now).unwrap();
        assert_eq!(desk.next_letter().await.offset, Offset(5));
        assert!(crate::clock::within(Duration::from_millis(1), desk.next_letter()).await.is_none(), "both are in hand");
        desk.done_with(Offset(2));
        desk.queue(&letters, now).unwrap();
        let in_hand = desk.next_letter().await;
        assert_eq!(in_hand.offset, Offset(2));
        // The story: sought back, an event was sent in the ordinary course and by its retry at once, and by that for ever.
        desk.forget_letters_from(Offset(2));
        desk.put_back(in_hand, now);
        assert!(!desk.wants(Offset(2)), "the ordinary course has it");
        assert!(crate::clock::within(Duration::from_millis(1), desk.next_letter()).await.is_none());
        let many: BTreeMap<Offset, u32> =
            (0..=limits::MAX_DEAD_LETTER_RETRIES as u64).map(|n| (Offset(n), 1)).collect();
        assert!(matches!(desk.queue(&many, now), Err(DeliverError::Busy { .. })));
    }
}
