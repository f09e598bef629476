//! Rates as the contract writes them: `100/s`, `100/m`, `100/h`.

use super::Invalid;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// So many in each second, minute or hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    count: u32,
    per: Per,
}

/// The stretch that a rate is told in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Per {
    Second,
    Minute,
    Hour,
}

impl Rate {
    /// Reads `100/s`, `100/m` or `100/h`.
    ///
    /// # Errors
    /// Anything else, and none at all.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, Invalid> {
        let bad = || {
            let said = text.escape_debug();
            Invalid::new(field, format!("'{said}' is not a rate; write a number from 1 and /s, /m or /h, as in 100/s"))
        };
        let (digits, unit) = text.split_once('/').ok_or_else(bad)?;
        let per = match unit {
            "s" => Per::Second,
            "m" => Per::Minute,
            "h" => Per::Hour,
            _ => return Err(bad()),
        };
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let count = digits.parse().ok().filter(|count| plain && *count > 0).ok_or_else(bad)?;
        Ok(Self { count, per })
    }

    /// The time from one to the next, where they are spread evenly.
    #[must_use]
    pub fn interval(self) -> Duration {
        let stretch = match self.per {
            Per::Second => 1,
            Per::Minute => 60,
            Per::Hour => 3_600,
        };
        Duration::from_secs(stretch) / self.count
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per {
            Per::Second => 's',
            Per::Minute => 'm',
            Per::Hour => 'h',
        };
        write!(f, "{}/{unit}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written_in_the_contracts_units() {
        for (text, millis) in [("100/s", 10), ("2/m", 30_000), ("1/h", 3_600_000)] {
            let rate = Rate::parse("rate", text).unwrap();
            assert_eq!((rate.to_string(), rate.interval()), (text.to_owned(), Duration::from_millis(millis)));
        }
        for text in ["", "5", "/s", "0/s", "+5/s", "5/d", "5/ s", "1.5/s", "99999999999/s", "5/s/s"] {
            assert_eq!(Rate::parse("rate", text).unwrap_err().field, "rate", "{text}");
        }
    }
}
