//! Checking what is stored, without a broker: a data directory, or an export.

use super::{Error, ErrorKind};
use crate::codec::decode_event;
use crate::fs::{Fs, Open, RealFs};
use crate::ledger::{Entry, State};
use crate::log::{Finding, LogKind, verify};
use crate::model::{Offset, Span};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::io::BufRead;
use std::path::Path;

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// Everything that is not as it should be.
    pub findings: Vec<Finding>,
    /// Events whose checksums hold.
    pub events: u64,
    /// Ledger entries whose checksums hold.
    pub entries: u64,
    /// The oldest event's offset.
    pub start: Offset,
    /// The offset after the newest event's.
    pub end: Offset,
    /// SHA-256 over the leaves of all events in order; the same for the same events wherever they lie.
    pub leaves: [u8; 32],
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        !self.findings.iter().any(|finding| finding.harm)
    }
}

/// Checks a data directory that no broker holds: every checksum, every offset, the ledger against the log.
///
/// `progress` is called now and then with the records checked so far.
///
/// # Errors
/// A directory that is not there, or that a broker holds.
pub fn verify_data(data: &Path, progress: &mut dyn FnMut(u64)) -> Result<Report, Error> {
    let fs = RealFs;
    if fs.list(&data.join("events")).is_err() {
        let detail = format!("{} is not a data directory: it has no folder 'events'", data.display());
        return Err(Error::new(ErrorKind::NotFound, "data-not-found", detail));
    }
    // Opened for reading: a lock needs no more, and a check changes nothing.
    let lock = fs.open(&data.join("stentor.lock"), Open::Read);
    if lock.is_ok_and(|lock| !lock.try_lock().unwrap_or(false)) {
        let detail = format!("{} is in use by a running stentor; stop it first", data.display());
        return Err(Error::new(ErrorKind::Unavailable, "data-in-use", detail));
    }
    let unreadable = |error: crate::log::LogError| Error::new(ErrorKind::Damaged, "log-unreadable", error.to_string());
    let mut report = Report::default();
    let mut leaves = Sha256::new();
    let mut checked = 0;
    let events = verify(&fs, &data.join("events"), LogKind::Events, &mut |header, body, _, _| {
        checked += 1;
        if checked % 4096 == 0 {
            progress(checked);
        }
        let event = decode_event(header.offset, header.time, &Bytes::copy_from_slice(body));
        leaves.update(event.map_err(|error| error.to_string())?.leaf());
        Ok(())
    })
    .map_err(unreadable)?;
    let mut state = State::default();
    let ledger = verify(&fs, &data.join("ledger"), LogKind::Ledger, &mut |header, body, _, _| {
        let entry = Entry::decode(body).map_err(|error| error.to_string())?;
        state.apply(&entry, header.time);
        match entry.proves() {
            Some(proven) if proven > events.end => {
                Err(format!("this entry proves events up to {proven}, but the log ends at {}", events.end))
            }
            _ => Ok(()),
        }
    })
    .map_err(unreadable)?;
    for subscriber in state.subscribers().filter(|subscriber| subscriber.floor > events.end) {
        report.findings.push(Finding {
            path: data.join("ledger"),
            position: 0,
            span: Span::new(events.end, subscriber.floor),
            detail: format!("the cursor of '{}' lies beyond the end of the log", subscriber.name),
            harm: true,
        });
    }
    report.findings.extend(events.findings.into_iter().chain(ledger.findings));
    (report.events, report.entries) = (events.records, ledger.records);
    (report.start, report.end) = (events.start, events.end);
    report.leaves = leaves.finalize().into();
    Ok(report)
}

/// Checks an export: every line an event in order, gaps said, and the last line there and true.
///
/// # Errors
/// A file that cannot be read.
pub fn verify_export(path: &Path, lines: impl BufRead, progress: &mut dyn FnMut(u64)) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut next: Option<u64> = None;
    let mut closed = false;
    let finding = |position: usize, offset: u64, detail: String| Finding {
        path: path.to_owned(),
        position: position as u64 + 1,
        span: Span::one(Offset(offset)),
        detail: format!("line {}: {detail}", position + 1),
        harm: true,
    };
    for (n, line) in lines.lines().enumerate() {
        let line = line.map_err(|error| Error::new(ErrorKind::Damaged, "export-unreadable", error.to_string()))?;
        let at = next.unwrap_or(0);
        let Ok(value) = serde_json::from_str::<serde_json::Value>(&line) else {
            report.findings.push(finding(n, at, "is not JSON".to_owned()));
            continue;
        };
        if closed {
            report.findings.push(finding(n, at, "stands behind the last line".to_owned()));
        }
        if value.get("checkpoint").is_some() {
            closed = true;
            let said = value.get("events").and_then(serde_json::Value::as_u64);
            if said != Some(report.events) {
                let detail = format!("says {said:?} events, but there are {}", report.events);
                report.findings.push(finding(n, at, detail));
            }
            report.end = Offset(value.get("to").and_then(serde_json::Value::as_u64).unwrap_or(at));
            report.start = Offset(value.get("from").and_then(serde_json::Value::as_u64).unwrap_or(0));
            continue;
        }
        let number = |of: &serde_json::Value, name: &str| of.get(name).and_then(serde_json::Value::as_u64);
        let offset = value.get("gap").map_or_else(|| number(&value, "offset"), |gap| number(gap, "from"));
        match offset {
            Some(offset) if next.is_none_or(|next| offset >= next) => {
                next = Some(value.get("gap").and_then(|gap| number(gap, "to")).unwrap_or(offset + 1));
            }
            Some(offset) => report.findings.push(finding(n, offset, format!("offset {offset} stands behind {at}"))),
            None => report.findings.push(finding(n, at, "is neither an event nor a gap".to_owned())),
        }
        if value.get("gap").is_none() {
            report.events += 1;
        }
        if report.events.is_multiple_of(4096) {
            progress(report.events);
        }
    }
    if !closed {
        report.findings.push(finding(
            0,
            next.unwrap_or(0),
            "the last line is missing: the export is not whole".to_owned(),
        ));
    }
    Ok(report)
}
