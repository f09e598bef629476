//! How fast age may take what is kept, where a clock that jumped ahead makes everything old at once.

use crate::clock::Instant;
use crate::model::Timestamp;
use std::time::Duration;

/// A wall clock that gains so much on the monotonic one between two looks has jumped; less is a machine that was slow.
const JUMP: Duration = Duration::from_secs(10);
/// A log in which everything is younger than this when it is opened tells of no jump worth holding.
const YOUNG: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

/// The pace of one log. While it is held: of the segments that are there a tenth a minute, and at least one, so that
/// whoever sees it can step in. It is held from a jump on until nothing is left that is too old; and from the start on
/// where the log is not young, because the clock may have jumped while nobody looked.
pub(super) struct Pace {
    held: bool,
    seen: (Timestamp, Instant),
    minute: Instant,
    taken: usize,
}

impl Pace {
    /// Of a log as it is found, with the time of its oldest segment.
    pub(super) fn new(now: Timestamp, oldest: Option<Timestamp>) -> Self {
        let held = oldest.is_some_and(|oldest| now.since(oldest) > YOUNG);
        Self { held, seen: (now, Instant::now()), minute: Instant::now(), taken: 0 }
    }

    /// Whether a segment of so many may go for its age now.
    pub(super) fn allows(&mut self, now: Timestamp, segments: usize) -> bool {
        let (wall, monotonic) = std::mem::replace(&mut self.seen, (now, Instant::now()));
        self.held |= now.since(wall) > monotonic.elapsed() + JUMP;
        if self.minute.elapsed() >= MINUTE {
            (self.minute, self.taken) = (Instant::now(), 0);
        }
        !self.held || self.taken < (segments / 10).max(1)
    }

    /// Says whether something went, and whether it might have: a look that was not allowed, or failed, tells nothing of
    /// what is too old.
    pub(super) fn took(&mut self, looked: bool, took: bool) {
        self.taken += usize::from(took);
        self.held &= took || !looked;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    /// Rounds a second apart, each of which would take something.
    async fn taken_in(pace: &mut Pace, mut now: Timestamp, seconds: u64, segments: usize) -> usize {
        let mut taken = 0;
        for _ in 0..seconds {
            tokio::time::advance(Duration::from_secs(1)).await;
            now = now.plus(Duration::from_secs(1));
            let allowed = pace.allows(now, segments);
            pace.took(allowed, allowed);
            taken += usize::from(allowed);
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_costs_a_tenth_a_minute_and_never_less_than_a_segment() {
        for (segments, a_minute) in [(3, 1), (40, 4), (600, 60)] {
            assert_eq!(
                taken_in(&mut Pace::new(NOW, Some(NOW)), NOW, 30, segments).await,
                30,
                "no clock jumped: one a second"
            );
            let mut pace = Pace::new(NOW, Some(NOW));
            assert_eq!(taken_in(&mut pace, NOW.plus(YEAR), 59, segments).await, a_minute.min(59));
            assert_eq!(taken_in(&mut pace, NOW.plus(YEAR), 60, segments).await, a_minute.min(60));
        }
    }

    /// The story: a log whose newest event was fresh was taken for one that no jump had met, though that event had been
    /// published under the clock that was ahead.
    #[tokio::test(start_paused = true)]
    async fn a_log_that_is_not_young_goes_slowly_when_it_is_opened_until_nothing_is_too_old() {
        let mut pace = Pace::new(NOW.plus(YEAR), Some(NOW));
        assert_eq!(taken_in(&mut pace, NOW.plus(YEAR), 59, 40).await, 4);
        tokio::time::advance(MINUTE).await;
        let now = NOW.plus(YEAR + 2 * MINUTE);
        assert!(pace.allows(now, 40));
        pace.took(true, false);
        assert_eq!(taken_in(&mut pace, now, 30, 40).await, 30);
    }

    /// The story: a round that failed was taken for one that found nothing too old, and the hold was let go.
    #[tokio::test(start_paused = true)]
    async fn a_round_that_failed_does_not_end_the_hold() {
        let mut pace = Pace::new(NOW.plus(YEAR), Some(NOW));
        assert!(pace.allows(NOW.plus(YEAR), 40));
        pace.took(false, false);
        assert_eq!(taken_in(&mut pace, NOW.plus(YEAR), 59, 40).await, 4);
    }
}
