//! Wall-clock times as the contract shows them: RFC 3339, UTC, microseconds.

use super::Invalid;
use super::json::write_number;
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

    /// Reads RFC 3339 (section 5.6) with any offset from UTC. Digits behind the microseconds count as one more of
    /// them, so that nothing at or after the time said lies before what is read; before 1970 is 1970.
    ///
    /// # Errors
    /// Text that is no RFC 3339 time.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, Invalid> {
        let bad = || Invalid::new(field, format!("'{text}' is not a time; write RFC 3339, as in 2026-11-21T21:36:33Z"));
        // The library takes more of ISO 8601 than RFC 3339 does.
        if !is_rfc_3339(text.as_bytes()) {
            return Err(bad());
        }
        let at: jiff::Timestamp = text.parse().map_err(|_| bad())?;
        let micros = at.as_nanosecond().max(0) as u128;
        u64::try_from(micros.div_ceil(1_000)).map(Self).map_err(|_| bad())
    }
}

/// Whether a text has the shape `date-time` of RFC 3339; its numbers may still be out of range.
fn is_rfc_3339(text: &[u8]) -> bool {
    const UP_TO_SECONDS: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    const OFFSET: &[u8] = b"dd:dd";
    let fits = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text.iter().zip(shape).all(|(byte, shape)| match shape {
                b'd' => byte.is_ascii_digit(),
                letter => byte.eq_ignore_ascii_case(letter),
            })
    };
    let Some((start, rest)) = text.split_at_checked(UP_TO_SECONDS.len()) else { return false };
    let decimals = rest.strip_prefix(b".").map(|rest| rest.iter().take_while(|byte| byte.is_ascii_digit()).count());
    let zone = match decimals {
        None => rest,
        Some(0) => return false,
        Some(decimals) => rest.get(1 + decimals..).unwrap_or_default(),
    };
    let zoned = match zone {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', offset @ ..] => fits(offset, OFFSET),
        _ => false,
    };
    fits(start, UP_TO_SECONDS) && zoned
}

/// `2026-11-21T21:36:33.123456Z`, always with six decimals.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(27);
        self.write(&mut text);
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl Timestamp {
    /// Writes it as it is shown.
    pub(super) fn write(self, out: &mut Vec<u8>) {
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
        let mut behind = *b"-00-00T00:00:00.000000Z";
        for (at, width, number) in
            [(1, 2, month), (4, 2, day), (7, 2, hour), (10, 2, minute), (13, 2, second), (16, 6, micros)]
        {
            let mut left = number;
            for digit in behind.iter_mut().skip(at).take(width).rev() {
                *digit = b'0' + (left % 10) as u8;
                left /= 10;
            }
        }
        write_number(out, year, 4);
        out.extend_from_slice(&behind);
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

    #[test]
    fn a_time_is_read_as_rfc_3339_has_it_and_as_nothing_more() {
        let read = |text| Timestamp::parse("time", text).map(|time| time.0).ok();
        assert_eq!(read("1970-01-01T01:00:00.000001+01:00"), Some(1));
        assert_eq!(read("1970-01-01t00:00:00.0000011z"), Some(2), "what is not before the time said");
        assert_eq!(read("0001-01-01T00:00:00Z"), Some(0));
        for none in [
            "2020-01-01T00:00Z",
            "2020-01-01T00:00:00+0530",
            "2020-01-01T00:00:00+05",
            "20200101T000000Z",
            "2020-01-01T00:00:00,5Z",
            "2020-01-01T00:00:00.Z",
            "2020-01-01T00:00:00Z[UTC]",
            "+002020-01-01T00:00:00Z",
            "2020-01-01T00:00:00",
            "2020-13-01T00:00:00Z",
            "2020-01-01 00:00:00Z",
            "",
        ] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
