//! Wall-clock times as the contract shows them: RFC 3339, UTC, microseconds.

use super::Invalid;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Microseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Later by `by`.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
    }

    /// The time that passed since `earlier`; none if it lies in the future.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Reads RFC 3339 with any offset from UTC.
    ///
    /// # Errors
    /// Text that is no RFC 3339 time, or one before 1970.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, Invalid> {
        let bad = || Invalid::new(field, format!("'{text}' is not a time; write RFC 3339, as in 2026-11-21T21:36:33Z"));
        let at: jiff::Timestamp = text.parse().map_err(|_| bad())?;
        u64::try_from(at.as_microsecond()).map(Self).map_err(|_| bad())
    }
}

/// `2026-11-21T21:36:33.123456Z`, always with six decimals.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Days to date after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms":
        // this stands in every frame, so it does not go through a calendar library.
        let (seconds, micros) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let (days, day_seconds) = (seconds / 86_400, seconds % 86_400);
        let z = days + 719_468;
        let (era, day_of_era) = (z / 146_097, z % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let (hour, minute, second) = (day_seconds / 3_600, day_seconds / 60 % 60, day_seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_the_calendar_library_writes_it() {
        for micros in [0, 1_763_760_993_123_456, 951_782_400_000_000, 4_107_542_399_999_999, 68_256_000_000_001] {
            let ours = Timestamp(micros).to_string();
            let theirs = jiff::Timestamp::from_microsecond(i64::try_from(micros).unwrap()).unwrap();
            assert_eq!(ours, format!("{theirs:.6}"));
            assert_eq!(Timestamp::parse("time", &ours).unwrap(), Timestamp(micros));
        }
    }
}
