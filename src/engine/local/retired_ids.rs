//! Publishers' ids that outlive their events: the window in which a repeat is known may be longer than retention.
//!
//! Before a segment goes, what is within the window of its ids is kept in `ids/`, a file a segment: what [`Stored`]
//! holds, then the CRC-32 of it. It is durable before the ledger says that the segment is gone, and goes itself when
//! its last id is beyond the window. Unlike a view it cannot be made again.

use super::Local;
use super::idempotency::{Idempotency, Known};
use super::likeness::Likeness;
use crate::codec::{self, CodecError, decode_event};
use crate::engine::EngineError;
use crate::fs::{self, Fs};
use crate::log::{Finding, LogError};
use crate::model::{Offset, Span, Timestamp, limits};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

const VERSION: u8 = 1;
const MAX_BYTES: usize = 1 << 30;

#[derive(Serialize, Deserialize)]
struct Stored {
    first: u64,
    next: u64,
    /// Offset, time and likeness, ascending.
    ids: Vec<(u64, u64, Likeness)>,
}

/// The files in `ids/`.
pub(super) struct RetiredIds {
    dir: PathBuf,
    /// The spans of the segments that have one, ascending.
    files: Mutex<Vec<Span>>,
}

fn name(first: Offset) -> String {
    format!("{:020}.ids", first.0)
}

impl RetiredIds {
    /// Reads what is kept of events below `start` into `ids`. A damaged file is set aside and said; one of a segment
    /// that is still there was written before a crash, and is written again.
    pub(super) fn load(
        fs: &dyn Fs,
        data: &Path,
        start: Offset,
        read_only: bool,
        ids: &mut Idempotency,
    ) -> Result<Self, EngineError> {
        let dir = data.join("ids");
        let mut files = Vec::new();
        for name in names(fs, &dir)? {
            let path = dir.join(&name);
            let io = |source| EngineError::Log(LogError::Io { path: path.clone(), source });
            let bytes = fs::read_all(fs, &path, MAX_BYTES).map_err(io)?;
            let before = files.last().map_or(Offset::ZERO, |last: &Span| last.to);
            match decode(&name, &bytes) {
                Ok(Stored { first, next, ids: kept }) if first >= before.0 && next <= start.0 => {
                    files.push(Span::new(Offset(first), Offset(next)));
                    for (offset, time, likeness) in kept {
                        let (offset, time) = (Offset(offset), Timestamp(time));
                        ids.remember(Known { hash: likeness.hash(), offset, time });
                        ids.retire([(offset, likeness)]);
                    }
                }
                _ if read_only => {}
                Ok(Stored { first, .. }) if first >= start.0 => fs.remove(&path).map_err(io)?,
                other => {
                    let error = other.err().map_or_else(|| "they overlap others".to_owned(), |error| error.to_string());
                    let quarantine = data.join("quarantine");
                    fs.create_dir(&quarantine).and_then(|()| fs.rename(&path, &quarantine.join(&name))).map_err(io)?;
                    tracing::error!(error, file = %path.display(), "ids of retired events are damaged and set aside: \
                        publishing one of them again gives a new event");
                }
            }
        }
        Ok(Self { dir, files: Mutex::new(files) })
    }

    /// Keeps what is within the window of a span that is about to go, on disk and in memory.
    ///
    /// A disk that cannot take it does not stop retention, which may be what frees it: then the window ends with the
    /// process, and that is said.
    pub(super) fn keep(&self, local: &Local, span: Span) {
        let known = local.log.with_stage(|ids| ids.within(span));
        if known.is_empty() {
            return;
        }
        let ids = likenesses(local, span, &known);
        let likenesses: Vec<(Offset, Likeness)> =
            ids.iter().map(|(at, _, likeness)| (Offset(*at), *likeness)).collect();
        local.log.with_stage(|ids| ids.retire(likenesses));
        let stored = Stored { first: span.from.0, next: span.to.0, ids };
        let bytes = codec::encode_checked(VERSION, &stored);
        let written = local.fs.create_dir(&self.dir);
        match written.and_then(|()| fs::replace(&*local.fs, &self.dir, &name(span.from), &bytes)) {
            Ok(()) => {
                let mut files = self.files.lock();
                // Retention that did not get further comes here again.
                if files.last() != Some(&span) {
                    files.push(span);
                }
            }
            Err(error) => {
                tracing::warn!(%error, from = %span.from, to = %span.to, "ids of events that retention takes \
                could not be kept: after a restart, publishing one of them again gives a new event")
            }
        }
    }

    /// Removes files whose last id is beyond the window.
    pub(super) fn tidy(&self, local: &Local) -> Result<(), EngineError> {
        let mut files = self.files.lock();
        if files.is_empty() {
            return Ok(());
        }
        let oldest = local.log.with_stage(|ids| ids.oldest());
        let over = |span: &Span| oldest.is_none_or(|oldest| span.to <= oldest);
        while let Some(span) = files.first().copied().filter(over) {
            let path = self.dir.join(name(span.from));
            match local.fs.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(EngineError::Log(LogError::Io { path, source: error }));
                }
                _ => files.remove(0),
            };
        }
        Ok(())
    }
}

/// Looks through `ids/` of a data directory: every checksum, and ids where they say they are.
///
/// # Errors
/// A directory that cannot be read.
pub(crate) fn verify_retired_ids(fs: &dyn Fs, data: &Path) -> Result<Vec<Finding>, EngineError> {
    let dir = data.join("ids");
    let mut findings = Vec::new();
    for name in names(fs, &dir)? {
        let path = dir.join(&name);
        let bytes = fs::read_all(fs, &path, MAX_BYTES);
        let bytes = bytes.map_err(|source| EngineError::Log(LogError::Io { path: path.clone(), source }))?;
        if let Err(error) = decode(&name, &bytes) {
            let detail = format!("ids of retired events: {error}");
            findings.push(Finding {
                path,
                position: 0,
                span: Span::new(Offset::ZERO, Offset::ZERO),
                detail,
                harm: true,
            });
        }
    }
    Ok(findings)
}

/// The files, in the order of their offsets.
fn names(fs: &dyn Fs, dir: &Path) -> Result<Vec<String>, EngineError> {
    let mut names = match fs.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(|source| EngineError::Log(LogError::Io { path: dir.to_owned(), source }))?,
    };
    names.retain(|name| name.ends_with(".ids"));
    names.sort();
    Ok(names)
}

fn decode(named: &str, bytes: &[u8]) -> Result<Stored, CodecError> {
    let stored: Stored = codec::decode_checked(VERSION, bytes)?;
    let inside = stored.ids.iter().all(|(at, _, _)| (stored.first..stored.next).contains(at));
    let ascending = stored.ids.is_sorted_by(|(a, ..), (b, ..)| a < b);
    if named == name(Offset(stored.first)) && inside && ascending {
        Ok(stored)
    } else {
        Err(CodecError::Malformed("it is another segment's".to_owned()))
    }
}

/// What is kept of each known event of a span. Damage must not hold retention up: what cannot be read is left out.
fn likenesses(local: &Local, span: Span, known: &[Known]) -> Vec<(u64, u64, Likeness)> {
    let mut kept = Vec::with_capacity(known.len());
    let mut wanted = known.iter().map(|known| known.offset).peekable();
    let (mut at, mut hint, mut strange) = (span.from, None, 0);
    while at < span.to && wanted.peek().is_some() {
        let block = match local.log.segments().read(at, hint, limits::READ_BLOCK_BYTES) {
            Ok(block) => block,
            Err(error) => {
                tracing::warn!(%error, from = %at, to = %span.to, "ids of events that cannot be read are not kept when \
                    retention takes them: publishing one of them again gives a new event");
                break;
            }
        };
        for record in &block.records {
            let (offset, time) = (record.header.offset, record.header.time);
            while wanted.next_if(|next| *next < offset).is_some() {}
            if wanted.next_if_eq(&offset).is_none() {
                continue;
            }
            match decode_event(offset, time, &record.body) {
                Ok(event) => {
                    kept.extend(Likeness::of(&event.head, &event.payload).map(|likeness| (offset.0, time.0, likeness)));
                }
                // Its checksum holds: another version of this broker wrote it, which knows more.
                Err(_) => strange += 1,
            }
        }
        (at, hint) = (block.next.max(at.next()), block.hint);
    }
    if strange > 0 {
        tracing::warn!(events = strange, from = %span.from, to = %span.to, "ids of events that another version of this \
            broker wrote are not kept when retention takes them: publishing one of them again gives a new event");
    }
    kept
}
