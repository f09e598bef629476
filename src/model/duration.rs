//! Durations as the contract writes them: digits and `ms`, `s`, `m`, `h` or `d`.

use super::Invalid;
use std::time::Duration;

/// Reads `250ms`, `30s`, `5m`, `24h`, `7d`.
///
/// # Errors
/// Anything else, and what exceeds a thousand years.
pub fn parse_duration(field: &'static str, text: &str) -> Result<Duration, Invalid> {
    let bad = || {
        Invalid::new(field, format!("'{text}' is not a duration; write digits and a unit: ms, s, m, h or d, as in 30s"))
    };
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(bad()),
    };
    let total = number.checked_mul(millis).filter(|total| *total <= 1_000 * 366 * 86_400_000).ok_or_else(bad)?;
    Ok(Duration::from_millis(total))
}

/// Writes a duration in the largest unit that holds it exactly; finer than a millisecond is cut.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis > 0 && millis.is_multiple_of(size) {
            return format!("{}{unit}", millis / size);
        }
    }
    format!("{millis}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_in_the_contracts_units() {
        for text in ["250ms", "30s", "5m", "25h", "7d"] {
            assert_eq!(format_duration(parse_duration("wait", text).unwrap()), text);
        }
        assert_eq!(parse_duration("wait", "0s").unwrap(), Duration::ZERO);
        for text in ["", "5", "s", "-5s", "5 s", "1.5s", "5S", "99999999999999999999s", "99999999999999d"] {
            let error = parse_duration("wait", text).unwrap_err();
            assert_eq!(error.field, "wait", "{text}");
        }
    }
}
