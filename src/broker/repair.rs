//! Restoring what is damaged from an export: only what cannot be read is replaced, and only by what fits.

use super::exported::ExportedLine;
use super::verify::{held, verify_export};
use super::{Error, ErrorKind};
use crate::codec::{decode_event, encode_event};
use crate::fs::Fs;
use crate::ledger::Ledger;
use crate::log::{self, Damage, Filled, LogError, LogKind, LogOptions, Mended, Nonces, Owner, RecordHeader, Recover};
use crate::log::{RecordKind, recover};
use crate::model::{Event, NewEvent, Offset, Span};
use bytes::Bytes;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

/// An export that can be read from its beginning again.
pub type Reopen<'a> = &'a dyn Fn() -> Result<Box<dyn BufRead>, Error>;

/// Restores every damaged range of the events in `data` from an unfiltered export that covers it.
///
/// Everything is checked before anything is written: that the export agrees with every event that can still be
/// read, leaf by leaf, and that it has every event that cannot. A copy of each replaced segment is kept in
/// `quarantine/`. Nothing is done where nothing is damaged.
///
/// # Errors
/// A directory in use; a damaged ledger; an export that does not fit, does not cover the damage, or is damaged itself.
pub fn repair(
    fs: &Arc<dyn Fs>,
    data: &Path,
    export: Reopen<'_>,
    mut nonces: Nonces,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<Mended>, Error> {
    let _lock = held(&**fs, data, true)?;
    let report = verify_export(Path::new("the export"), export()?, progress)?;
    if let Some(finding) = report.findings.iter().find(|finding| finding.harm) {
        let detail = format!("the export itself is not whole: {}", finding.detail);
        return Err(Error::new(ErrorKind::Damaged, "export-damaged", detail));
    }
    let refused = |error: LogError| Error::new(ErrorKind::Damaged, "repair-refused", error.to_string());
    let options = options(fs, data)?;
    let mut survey = Source { lines: Lines::new(export()?), replaced: Vec::new(), progress };
    let planned = log::survey(&**fs, &options, &mut survey).map_err(refused)?;
    if planned.is_empty() {
        return Ok(planned);
    }
    let mut source = Source { lines: Lines::new(export()?), replaced: Vec::new(), progress: survey.progress };
    let mended = log::mend(&**fs, &options, &mut nonces, &mut source).map_err(refused)?;
    let replaced = std::mem::take(&mut source.replaced);
    check(fs, &options, &replaced)?;
    Ok(mended)
}

/// How the events are opened: where they begin and how far they went, as the ledger says.
fn options(fs: &Arc<dyn Fs>, data: &Path) -> Result<LogOptions, Error> {
    let of_ledger = |error: &dyn std::fmt::Display| {
        let detail = format!("an export restores events, and here the ledger is damaged: {error}");
        Error::new(ErrorKind::Damaged, "ledger-damaged", detail)
    };
    let ledger = LogOptions { recover: Recover::ServeReadable, ..LogOptions::new(data, LogKind::Ledger, [0; 16]) };
    let ledger = recover(Arc::clone(fs), ledger).map_err(|error| of_ledger(&error))?;
    if let Some(damage) = ledger.damage.first() {
        return Err(of_ledger(damage));
    }
    let state = Ledger::fold(&ledger, false).map_err(|error| of_ledger(&error))?;
    let events = LogOptions::new(data, LogKind::Events, state.event_log.unwrap_or_default());
    Ok(LogOptions { start: Some(state.start), proven: state.proven, ..events })
}

/// Reads back what was filled in: the events there are the export's.
fn check(fs: &Arc<dyn Fs>, options: &LogOptions, replaced: &[(Offset, [u8; 32])]) -> Result<(), Error> {
    let mut expected = replaced.iter().peekable();
    let mut wrong = None;
    let visited = log::verify(&**fs, &options.dir, LogKind::Events, options.proven, &mut |header, body, _, _| {
        if let Some((_, leaf)) = expected.next_if(|(offset, _)| *offset == header.offset) {
            let event = decode_event(header.offset, header.time, &Bytes::copy_from_slice(body));
            if !event.is_ok_and(|event| event.leaf() == *leaf) {
                wrong = Some(header.offset);
            }
        }
        Ok(())
    });
    let missing = expected.next().map(|(offset, _)| *offset).or(wrong);
    match (visited, missing) {
        (Ok(_), None) => Ok(()),
        (Ok(_), Some(offset)) => {
            let detail = format!("event {offset} reads back as another than the export's; the old segments are kept");
            Err(Error::new(ErrorKind::Internal, "repair-failed", detail))
        }
        (Err(error), _) => Err(Error::new(ErrorKind::Damaged, "log-unreadable", error.to_string())),
    }
}

/// The export beside the log, line for event.
struct Source<'a> {
    lines: Lines,
    /// What was filled in: offsets and leaves.
    replaced: Vec<(Offset, [u8; 32])>,
    progress: &'a mut dyn FnMut(u64),
}

impl Owner for Source<'_> {
    fn snapshot(&mut self, _first: Offset, _found: Option<&[u8]>) -> Option<Vec<u8>> {
        None
    }

    fn kept(&mut self, header: &RecordHeader, body: &[u8]) -> Result<(), LogError> {
        if header.offset.0.is_multiple_of(4096) {
            (self.progress)(header.offset.0);
        }
        if header.kind != RecordKind::Event {
            return Ok(());
        }
        let Some(theirs) = self.lines.at(header.offset)? else { return Ok(()) };
        let ours = decode_event(header.offset, header.time, &Bytes::copy_from_slice(body));
        if ours.is_ok_and(|ours| ours.leaf() == theirs.leaf()) {
            return Ok(());
        }
        Err(unfit(
            Span::one(header.offset),
            "the export has another event there: it is not of this log, or was changed",
        ))
    }

    fn lost(&mut self, damage: &Damage) -> Result<Option<Vec<Filled>>, LogError> {
        let mut filled = Vec::new();
        let mut at = damage.span.from;
        while at < damage.span.to {
            let Some(event) = self.lines.at(at)? else {
                let detail = format!("the export does not have it, and the log is damaged there: {damage}");
                return Err(unfit(Span::new(at, damage.span.to), detail));
            };
            self.replaced.push((at, event.leaf()));
            let (head, payload) = (event.head.clone(), event.payload.clone());
            filled.push(Filled { time: event.time, body: encode_event(&NewEvent { head, payload }) });
            at = at.next();
        }
        Ok(Some(filled))
    }
}

fn unfit(span: Span, detail: impl Into<String>) -> LogError {
    Damage { path: "the export".into(), position: 0, span, detail: detail.into() }.into()
}

/// The events of an export, in order.
struct Lines {
    reader: Box<dyn BufRead>,
    number: u64,
    current: Option<Box<Event>>,
    line: String,
}

impl Lines {
    fn new(reader: Box<dyn BufRead>) -> Self {
        Self { reader, number: 0, current: None, line: String::new() }
    }

    /// The event at an offset; asked for in ascending order.
    fn at(&mut self, offset: Offset) -> Result<Option<Box<Event>>, LogError> {
        while self.current.as_ref().is_none_or(|event| event.offset < offset) {
            if !self.advance()? {
                return Ok(None);
            }
        }
        Ok(self.current.take_if(|event| event.offset == offset))
    }

    /// Goes on to the next event; false at the end.
    fn advance(&mut self) -> Result<bool, LogError> {
        loop {
            self.line.clear();
            let position = self.number;
            let bad = |detail: String| {
                let span = Span::new(Offset::ZERO, Offset::ZERO);
                LogError::from(Damage { path: "the export".into(), position, span, detail })
            };
            let read = self.reader.read_line(&mut self.line).map_err(|error| bad(error.to_string()))?;
            if read == 0 {
                return Ok(false);
            }
            self.number += 1;
            let number = self.number;
            match ExportedLine::parse(self.line.trim_end_matches('\n')) {
                Ok(ExportedLine::Event(event)) => {
                    self.current = Some(event);
                    return Ok(true);
                }
                Ok(_) => {}
                Err(error) => return Err(bad(format!("line {number}: {error}"))),
            }
        }
    }
}
