//! What is measured, and how it is told.

use crate::cli::args::OutputKind;
use crate::cli::exit::{Exit, Fault, Outcome};
use crate::cli::output;
use crate::clock::Instant;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// Latencies between a microsecond and an hour, to three digits.
const LONGEST_MICROS: u64 = 3_600_000_000;
const DIGITS: u8 = 3;
const PERCENTILES: [(&str, f64); 5] = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99_9", 99.9), ("max", 100.0)];

/// What one party saw; parties are added up.
pub(super) struct Measured {
    micros: Histogram<u64>,
    pub(super) events: u64,
    pub(super) bytes: u64,
}

impl Measured {
    pub(super) fn new() -> Result<Self, Fault> {
        let micros = Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS);
        let micros = micros.map_err(|error| Exit::Failed.because(format!("the histogram: {error}")))?;
        Ok(Self { micros, events: 0, bytes: 0 })
    }

    /// One event that took so long.
    pub(super) fn note(&mut self, bytes: usize, micros: u64) {
        self.events += 1;
        self.bytes += bytes as u64;
        self.took(micros);
    }

    /// Something that took so long, and is no event.
    pub(super) fn took(&mut self, micros: u64) {
        self.micros.saturating_record(micros.max(1));
    }

    pub(super) fn add(&mut self, other: &Self) -> Result<(), Fault> {
        self.events += other.events;
        self.bytes += other.bytes;
        self.micros.add(&other.micros).map_err(|error| Exit::Failed.because(format!("the histogram: {error}")))
    }

    /// Tells it: one object, or a line a figure for people.
    pub(super) fn tell(&self, asked: Option<OutputKind>, told: &Told) -> Outcome {
        let seconds = told.seconds.max(1e-6);
        let rate = |amount: u64| json!((amount as f64 / seconds).round() as u64);
        let mut figures: Vec<(&str, Value)> = vec![("bench", json!(told.bench))];
        figures.extend(told.setup.iter().cloned());
        figures.push(("events", json!(self.events)));
        figures.push(("seconds", json!((seconds * 1e3).round() / 1e3)));
        figures.push(("events_per_second", rate(self.events)));
        figures.push(("bytes_per_second", rate(self.bytes)));
        figures.push(("latency", json!(told.latency)));
        let millis = |percentile: f64| self.micros.value_at_percentile(percentile) as f64 / 1e3;
        let latencies = PERCENTILES.map(|(name, percentile)| (name, millis(percentile)));
        if output::for_people(asked) {
            let lines = figures.iter().map(|(name, value)| (name.replace('_', " "), output::cell(Some(value))));
            let latencies =
                latencies.map(|(name, millis)| (format!("  {}", name.replace('_', ".")), format!("{millis} ms")));
            return output::figures(lines.chain(latencies));
        }
        let mut line: Map<String, Value> = figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let latencies: Map<String, Value> =
            latencies.into_iter().map(|(name, millis)| (name.to_owned(), json!(millis))).collect();
        line.insert("latency_ms".to_owned(), Value::Object(latencies));
        output::line(&Value::Object(line).to_string())
    }
}

/// What was done, for whoever reads the figures.
pub(super) struct Told {
    pub(super) bench: &'static str,
    pub(super) setup: Vec<(&'static str, Value)>,
    /// From what to what the latency goes.
    pub(super) latency: &'static str,
    pub(super) seconds: f64,
}

/// The time since a load began: what payloads carry, and what latencies are taken from.
#[derive(Clone, Copy)]
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn micros(self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn seconds(self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// A payload of `size` bytes that says when it left.
pub(super) fn payload(number: u64, left_at_micros: u64, size: u32) -> Vec<u8> {
    let head = format!("{{\"n\":{number},\"at\":{left_at_micros},\"pad\":\"");
    let pad = (size as usize).saturating_sub(head.len() + 2);
    [head.as_bytes(), &vec![b'.'; pad], b"\"}"].concat()
}

/// When a payload left.
pub(super) fn left_at(data: &str) -> Option<u64> {
    let value: Value = serde_json::from_str(data).ok()?;
    value.get("at").and_then(Value::as_u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_its_size_and_says_when_it_left() {
        let made = payload(7, 123, 256);
        assert_eq!(made.len(), 256);
        assert_eq!(left_at(std::str::from_utf8(&made).unwrap()), Some(123));
    }
}
