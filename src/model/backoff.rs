//! Exponential backoff with full jitter.

use std::time::Duration;

/// How long to wait before attempt after attempt.
///
/// Full jitter after "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): the wait is
/// uniform between nothing and the exponential ceiling, so that what failed together does not come
/// back together (invariant 29).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The ceiling after the first failure.
    pub initial: Duration,
    /// The ceiling never grows beyond this.
    pub max: Duration,
}

impl Backoff {
    /// The wait after `failures` failures (1 or more); `random` is uniform over all of `u64`.
    #[must_use]
    pub fn wait(&self, failures: u32, random: u64) -> Duration {
        let ceiling = self.initial.saturating_mul(1u32 << failures.saturating_sub(1).min(30)).min(self.max);
        part(ceiling, random)
    }

    /// The wait where the other side asked for one, and `wait` where it did not. What it asks for is obeyed; those who
    /// were told the same come back over a quarter of it more, at most over the longest wait.
    #[must_use]
    pub fn wait_as_asked(&self, asked: Option<Duration>, failures: u32, random: u64) -> Duration {
        asked.map_or_else(|| self.wait(failures, random), |asked| asked + part((asked / 4).min(self.max), random))
    }
}

/// A share of a duration, uniform from nothing to all of it.
fn part(whole: Duration, random: u64) -> Duration {
    let micros = (u128::from(random) * (whole.as_micros() + 1)) >> 64;
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_its_maximum_and_the_wait_fills_it_evenly() {
        let backoff = Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(60) };
        assert_eq!(backoff.wait(1, u64::MAX), Duration::from_secs(1));
        assert_eq!(backoff.wait(3, u64::MAX), Duration::from_secs(4));
        assert_eq!(backoff.wait(500, u64::MAX), Duration::from_secs(60));
        assert_eq!(backoff.wait(3, 0), Duration::ZERO);
        assert_eq!(backoff.wait(3, u64::MAX / 2).as_millis(), 2_000);
    }

    /// Invariant 29. The story: where an endpoint asked for two minutes, all came back within one second of them.
    #[test]
    fn of_those_who_failed_together_no_twentieth_comes_back_in_a_hundredth_of_the_wait() {
        const RETRIES: usize = 10_000;
        let backoff = Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(3_600) };
        let random = crate::clock::Random::seeded(29);
        let asked = [1, 2, 30, 120, 3_600, 14_400].map(|seconds| (Some(Duration::from_secs(seconds)), 1));
        for (asked, failures) in (1..=13).map(|failures| (None, failures)).chain(asked) {
            let mut waits: Vec<Duration> =
                (0..RETRIES).map(|_| backoff.wait_as_asked(asked, failures, random.next())).collect();
            waits.sort_unstable();
            let window = asked.unwrap_or_else(|| backoff.wait(failures, u64::MAX)) / 100;
            let most = waits
                .iter()
                .enumerate()
                .map(|(from, first)| waits.iter().skip(from).take_while(|wait| **wait - *first <= window).count());
            let most = most.max().unwrap_or_default();
            assert!(most <= RETRIES / 20, "{most} of {RETRIES} within {window:?}: {asked:?}, {failures} failures");
            assert!(asked.is_none_or(|asked| waits.first().is_some_and(|least| *least >= asked)), "it is obeyed");
        }
    }
}
