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
        let micros = (u128::from(random) * (ceiling.as_micros() + 1)) >> 64;
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
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
}
