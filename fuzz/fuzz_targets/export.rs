//! An export, any NDJSON.
//!
//! Holds: an export that is said to be clean is what PROTOCOL.md section 3 describes, by a check written anew: events
//! and gaps in order and inside the range that the last line names, the last line true and last; a line that is an
//! event is one that the client reads, and what the client writes it reads again; the check ends, and allocates
//! no more than its findings take (invariants 14 and 32).
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::path::Path;
use stentor::broker::verify_export;
use stentor::client::Received;
use stentor_fuzz::memory;

#[derive(Deserialize)]
struct Line<'a> {
    offset: Option<u64>,
    gap: Option<Gap>,
    #[serde(borrow)]
    checkpoint: Option<&'a RawValue>,
    from: Option<u64>,
    to: Option<u64>,
    events: Option<u64>,
}

#[derive(Deserialize)]
struct Gap {
    from: u64,
    to: u64,
}

fn parse(line: &str) -> Result<Line<'_>, String> {
    let object = line.starts_with('{').then_some(line).ok_or("no object")?;
    serde_json::from_str(object).map_err(|error| error.to_string())
}

/// Whether it is a whole export: its events, or what is wrong.
fn whole(text: &str) -> Result<u64, String> {
    let lines: Vec<&str> = text.lines().collect();
    let (last, lines) = lines.split_last().ok_or("no last line")?;
    let last = parse(last)?;
    let (from, to) = last.from.zip(last.to).ok_or("no range")?;
    let (mut at, mut events) = (from, 0);
    for line in lines {
        let line = parse(line)?;
        let (begin, end) = match (line.gap, line.offset) {
            (Some(gap), None) => (gap.from, gap.to),
            (None, Some(offset)) => (offset, offset.checked_add(1).ok_or("beyond all offsets")?),
            _ => return Err("neither an event nor a gap, or both".to_owned()),
        };
        if begin < at || end <= begin || end > to || line.checkpoint.is_some() {
            return Err(format!("{begin} to {end} where {at} to {to} is left"));
        }
        at = end;
        events += u64::from(line.offset.is_some());
    }
    if last.events == Some(events) { Ok(events) } else { Err(format!("{events} events")) }
}

fuzz_target!(|data: &[u8]| {
    let mut progress = |_: u64| {};
    let report = memory::within(data.len() * 256 + (16 << 10), || verify_export(Path::new("x"), data, &mut progress));
    let Ok(report) = report else {
        assert!(std::str::from_utf8(data).is_err(), "only a file that is no text cannot be checked");
        return;
    };
    let text = String::from_utf8_lossy(data);
    if report.is_clean() {
        assert_eq!(whole(&text), Ok(report.events), "said to be clean");
    }
    for line in text.lines() {
        let Ok(event) = serde_json::from_str::<Received>(line) else { continue };
        let written = serde_json::to_string(&event).expect("an event can be written");
        let again: Received = serde_json::from_str(&written).expect("what the client wrote it reads");
        assert_eq!(serde_json::to_string(&again).expect("an event can be written"), written);
        assert_eq!(again.data(), event.data(), "byte for byte");
    }
});
