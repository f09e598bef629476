//! Checking what is stored, without a broker: a data directory, or an export.

use super::exported::ExportedLine;
use super::{Error, ErrorKind};
use crate::codec::decode_event;
use crate::engine::verify_retired_ids;
use crate::fs::{File, Fs, Open, RealFs};
use crate::ledger::{Entry, KEY_FILE, State, Vault};
use crate::log::{Finding, LogKind, RecordHeader, RecordKind, verify};
use crate::model::{Offset, Span, Timestamp};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::io::{self, BufRead};
use std::path::Path;
use std::sync::Arc;

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

/// What the ledger amounts to, as far as it can be read.
#[derive(Default)]
struct Fold {
    state: Option<State>,
    /// The entry or snapshot that proves most events.
    proof: Option<Finding>,
    /// The offset behind the last one that was seen.
    next: Option<Offset>,
    /// Whether entries are missing since the last snapshot: what is folded is then not the state.
    jumped: bool,
}

impl Fold {
    fn take(&mut self, header: &RecordHeader, body: &[u8], path: &Path, position: u64) -> Result<(), String> {
        self.jumped |= self.next.is_some_and(|next| next != header.offset);
        let snapshot = header.kind == RecordKind::Snapshot;
        self.next = Some(if snapshot { header.offset } else { header.offset.next() });
        let known = self.state.as_ref().map_or(Offset::ZERO, |state| state.proven);
        let result = self.apply(header, body);
        let proven = self.state.as_ref().map_or(Offset::ZERO, |state| state.proven);
        if proven > known {
            let detail = format!("events up to {proven} are proven here, but the log ends before");
            let (path, span) = (path.to_owned(), Span::one(header.offset));
            self.proof = Some(Finding { path, position, span, detail, harm: true });
        }
        result
    }

    fn apply(&mut self, header: &RecordHeader, body: &[u8]) -> Result<(), String> {
        if header.kind == RecordKind::Snapshot {
            let snapshot = State::decode(body).map_err(|error| error.to_string())?;
            // The first one tells what is in no entry any more; each later one must be what the entries amount to.
            let jumped = std::mem::take(&mut self.jumped);
            let fits = jumped || self.state.as_ref().is_none_or(|fold| *fold == snapshot);
            self.state = Some(snapshot);
            return if fits { Ok(()) } else { Err("the snapshot is not the fold of the entries before it".to_owned()) };
        }
        let entry = Entry::decode(body).map_err(|error| error.to_string())?;
        self.state.get_or_insert_default().apply(&entry, header.time);
        Ok(())
    }
}

/// Takes a data directory for as long as what it gives is kept. Who changes something has the file made where it is
/// missing, as a power cut may leave it; who only reads changes nothing, and is alone there without it.
///
/// # Errors
/// It is none, or a broker holds it.
pub(super) fn held(fs: &dyn Fs, data: &Path, changes: bool) -> Result<Option<Arc<dyn File>>, Error> {
    if fs.list(&data.join("events")).is_err() {
        let detail = format!("{} is not a data directory: it has no folder 'events'", data.display());
        return Err(Error::new(ErrorKind::NotFound, "data-not-found", detail));
    }
    let path = data.join("stentor.lock");
    let lock = match fs.open(&path, Open::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !changes => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs.open(&path, Open::Create),
        other => other,
    };
    let lock = lock.map_err(|error| {
        Error::new(ErrorKind::Unavailable, "data-in-use", format!("{} cannot be locked: {error}", path.display()))
    })?;
    if !lock.try_lock().unwrap_or(false) {
        let detail = format!("{} is in use by a running stentor; stop it first", data.display());
        return Err(Error::new(ErrorKind::Unavailable, "data-in-use", detail));
    }
    Ok(Some(lock))
}

/// Checks a data directory that no broker holds: every checksum, every offset, the ledger against the log.
///
/// `progress` is called now and then with the records checked so far.
///
/// # Errors
/// A directory that is not there, or that a broker holds.
pub fn verify_data(data: &Path, progress: &mut dyn FnMut(u64)) -> Result<Report, Error> {
    let fs = RealFs;
    let _lock = held(&fs, data, false)?;
    let unreadable = |error: crate::log::LogError| Error::new(ErrorKind::Damaged, "log-unreadable", error.to_string());
    let mut report = Report::default();
    let mut leaves = Sha256::new();
    let mut checked = 0;
    // The ledger first: what it proves tells what is missing from the events.
    let mut fold = Fold::default();
    let ledger =
        verify(&fs, &data.join("ledger"), LogKind::Ledger, Offset::ZERO, &mut |header, body, path, position| {
            fold.take(header, body, path, position)
        })
        .map_err(unreadable)?;
    let Fold { state, proof, .. } = fold;
    let state = state.unwrap_or_default();
    let events = verify(&fs, &data.join("events"), LogKind::Events, state.proven, &mut |header, body, _, _| {
        checked += 1;
        if checked % 4096 == 0 {
            progress(checked);
        }
        let event = decode_event(header.offset, header.time, &Bytes::copy_from_slice(body));
        leaves.update(event.map_err(|error| error.to_string())?.leaf());
        Ok(())
    })
    .map_err(unreadable)?;
    for (log, from) in [(&events, state.start), (&ledger, state.ledger_start)] {
        if let Some(path) = log.oldest.clone().filter(|_| from < log.start) {
            let detail = "the segments before it are missing, and no retention took them".to_owned();
            let span = Span::new(from, log.start);
            report.findings.push(Finding { path, position: 0, span, detail, harm: true });
        }
    }
    let holes = [(events.holes, state.start), (ledger.holes, state.ledger_start)];
    for (holes, start) in holes {
        // Below the start files may be missing: retention was on its way when the process ended.
        report.findings.extend(holes.into_iter().filter(|hole| hole.span.to > start));
    }
    let ledger_is_whole = !ledger.findings.iter().any(|finding| finding.harm);
    let of_another = match state.event_log {
        Some(belongs) => (events.log_id != Some(belongs)).then_some("it belongs to another event log"),
        None => {
            (events.end > Offset::ZERO).then_some("its first entry is missing, which is durable before any event is")
        }
    };
    if let Some(detail) = of_another.filter(|_| ledger_is_whole) {
        report.findings.push(Finding {
            path: data.join("ledger"),
            position: 0,
            span: Span::new(Offset::ZERO, events.end),
            detail: detail.to_owned(),
            harm: true,
        });
    }
    report.findings.extend(proof.filter(|_| state.proven > events.end));
    if state.event_log.is_some()
        && let Err(error) = Vault::open(&fs, &data.join("keys"), true)
    {
        let (path, span) = (data.join("keys").join(KEY_FILE), Span::new(Offset::ZERO, Offset::ZERO));
        report.findings.push(Finding { path, position: 0, span, detail: error.to_string(), harm: true });
    }
    for subscriber in state.subscribers().filter(|subscriber| subscriber.floor > events.end) {
        report.findings.push(Finding {
            path: data.join("ledger"),
            position: 0,
            span: Span::new(events.end, subscriber.floor),
            detail: format!("the cursor of '{}' lies beyond the end of the log", subscriber.name),
            harm: true,
        });
    }
    let retired = verify_retired_ids(&fs, data);
    let retired = retired.map_err(|error| Error::new(ErrorKind::Damaged, "log-unreadable", error.to_string()))?;
    report.findings.extend(events.findings.into_iter().chain(ledger.findings).chain(retired));
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
    let mut leaves = Sha256::new();
    let mut next = Offset::ZERO;
    let mut first = None;
    let mut latest = Timestamp(0);
    let mut last = false;
    let mut number = 0;
    for line in lines.lines() {
        let line = line.map_err(|error| Error::new(ErrorKind::Damaged, "export-unreadable", error.to_string()))?;
        number += 1;
        let mut wrong = Vec::new();
        if last {
            wrong.push("stands behind the last line".to_owned());
        }
        let span = match ExportedLine::parse(&line) {
            Err(error) => {
                wrong.push(format!("is neither an event nor a gap: {error}"));
                None
            }
            Ok(ExportedLine::Last { span, events }) => {
                if events != report.events {
                    wrong.push(format!("says {events} events, but there are {}", report.events));
                }
                if first.is_some_and(|first| first < span.from) {
                    wrong.push(format!("says that the export begins at {}, but it begins before", span.from));
                }
                if next > span.to {
                    wrong.push(format!("says that the export ends at {}, but it goes up to {next}", span.to));
                }
                last = true;
                (report.start, report.end) = (span.from, span.to);
                None
            }
            Ok(ExportedLine::Gap(span)) => Some(span),
            Ok(ExportedLine::Event(event)) => {
                // Of an event in the wrong place that is all there is to say.
                if event.offset >= next && event.time < latest {
                    wrong.push(format!("its time {} lies before {latest}, that of an event before it", event.time));
                }
                latest = latest.max(event.time);
                leaves.update(event.leaf());
                report.events += 1;
                Some(Span::one(event.offset))
            }
        };
        if let Some(behind) = span.filter(|span| span.from < next) {
            wrong.push(format!("offset {} stands behind {next}", behind.from));
        }
        let at = Span::new(next, next);
        first = first.or(span.map(|span| span.from));
        report.findings.extend(wrong.into_iter().map(|detail| in_line(path, number, at, &detail)));
        next = span.map_or(next, |span| span.to);
        if report.events.is_multiple_of(4096) {
            progress(report.events);
        }
    }
    if !last {
        let detail = "the last line is missing: the export is not whole";
        report.findings.push(in_line(path, number, Span::new(next, next), detail));
    }
    report.leaves = leaves.finalize().into();
    Ok(report)
}

fn in_line(path: &Path, number: u64, span: Span, detail: &str) -> Finding {
    Finding { path: path.to_owned(), position: number, span, detail: format!("line {number}: {detail}"), harm: true }
}
