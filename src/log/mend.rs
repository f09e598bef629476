//! Putting a damaged log right, on an operator's word: what can be read is kept, what cannot is filled from
//! elsewhere or told as a gap for good (R5).
//!
//! A segment with damage is written anew under a temporary name and put in the old one's place in one step, after
//! the old one was kept under another name. Killed anywhere, it can be run again: what is whole is left alone.

use super::error::{Damage, LogError};
use super::meta::Meta;
use super::pieces::{Old, Piece, is_sealed, pieces, pieces_end, read, snapshot, trails};
use super::record::{self, MAGIC, RecordHeader, RecordKind};
use super::scan::note_digest;
use super::segment::{DATA_START, Footer, SegmentHeader};
use super::writer::snapshot_record;
use super::{LogOptions, Nonces, names};
use crate::fs::{self, Fs, Open};
use crate::model::{Offset, Span, Timestamp};
use sha2::{Digest, Sha256};

/// A record from elsewhere.
#[derive(Debug, Clone)]
pub struct Filled {
    /// Its time.
    pub time: Timestamp,
    /// Its body.
    pub body: Vec<u8>,
}

/// What the log's owner does while its log is mended; called in the order of the log.
pub trait Owner {
    /// The snapshot of a segment that begins at `first`; `found` is the one that stands there, if it is whole.
    fn snapshot(&mut self, first: Offset, found: Option<&[u8]>) -> Option<Vec<u8>>;

    /// A record that is kept.
    ///
    /// # Errors
    /// What is wrong with it; nothing is then changed any more.
    fn kept(&mut self, header: &RecordHeader, body: &[u8]) -> Result<(), LogError>;

    /// Records for offsets that cannot be read, all of them in order; none where they are given up.
    ///
    /// # Errors
    /// Why nothing is to be changed any more.
    fn lost(&mut self, damage: &Damage) -> Result<Option<Vec<Filled>>, LogError>;
}

/// What was done to one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// What was wrong.
    pub damage: Damage,
    /// Whether its records were filled in; else they are a gap for good.
    pub filled: bool,
}

/// Goes through the log as [`mend`] does, and changes nothing.
///
/// # Errors
/// As there.
pub fn survey(fs: &dyn Fs, options: &LogOptions, owner: &mut dyn Owner) -> Result<Vec<Mended>, LogError> {
    let mut nonces: Nonces = Box::new(|| 1);
    walk(fs, options, &mut nonces, owner, false)
}

/// Mends the log in `options.dir`, as far as `options.proven` and `durable.meta` say that it went. Nobody else may
/// have it open. Tells what was wrong; nothing is touched where nothing is.
///
/// # Errors
/// The owner's; the file system's; a newer version's; a log of which nothing can be read.
pub fn mend(
    fs: &dyn Fs,
    options: &LogOptions,
    nonces: &mut Nonces,
    owner: &mut dyn Owner,
) -> Result<Vec<Mended>, LogError> {
    fs.create_dir(&options.dir).map_err(LogError::io(&options.dir))?;
    walk(fs, options, nonces, owner, true)
}

fn walk(
    fs: &dyn Fs,
    options: &LogOptions,
    nonces: &mut Nonces,
    owner: &mut dyn Owner,
    write: bool,
) -> Result<Vec<Mended>, LogError> {
    let dir = &options.dir;
    let noted = match Meta::read(fs, dir, options.kind) {
        Err(LogError::Damaged(damage)) => {
            tracing::error!(%damage, "made anew from what can be read");
            None
        }
        other => other?.map(|(noted, _)| noted),
    };
    let mut firsts: Vec<Offset> =
        fs.list(dir).map_err(LogError::io(dir))?.iter().filter_map(|name| names::parse_segment(name)).collect();
    firsts.sort_unstable();
    if firsts.is_empty() && noted.is_none_or(|noted| noted.committed == Offset::ZERO) {
        return Ok(Vec::new());
    }
    let log_id = match noted {
        Some(noted) => noted.log_id,
        None => some_log_id(fs, options, &firsts)?,
    };
    let proven = options.proven.max(noted.map_or(Offset::ZERO, |noted| noted.committed));
    let mut mending = Mending {
        fs,
        options,
        nonces,
        owner,
        log_id,
        write,
        time: Timestamp(0),
        next: options.start.or_else(|| firsts.first().copied()).unwrap_or_default(),
        newest: None,
        mended: Vec::new(),
    };
    for (n, first) in firsts.iter().enumerate() {
        if firsts.get(n + 1).is_some_and(|next| *next <= mending.next) {
            // Retention took it, and the next start removes it.
            continue;
        }
        mending.segment(*first, firsts.get(n + 1).copied(), proven)?;
    }
    if mending.next < proven {
        mending.missing(proven, "the log ends before what was synced")?;
    }
    let Mending { mended, newest, .. } = mending;
    if write && (noted.is_none() || !mended.is_empty()) {
        renew_meta(fs, options, log_id, noted.is_some(), newest)?;
    }
    Ok(mended)
}

/// The id of a log whose evidence is lost: of the first segment that tells.
fn some_log_id(fs: &dyn Fs, options: &LogOptions, firsts: &[Offset]) -> Result<[u8; 16], LogError> {
    for first in firsts {
        if let Some(header) = read(fs, options, *first, None)?.header {
            return Ok(header.log_id);
        }
    }
    let span = Span::new(Offset::ZERO, firsts.last().copied().unwrap_or_default());
    let detail = "no segment of it can be read, and its evidence neither; restore the folder".to_owned();
    Err(Damage { path: options.dir.clone(), position: 0, span, detail }.into())
}

struct Mending<'a> {
    fs: &'a dyn Fs,
    options: &'a LogOptions,
    nonces: &'a mut Nonces,
    owner: &'a mut dyn Owner,
    log_id: [u8; 16],
    write: bool,
    /// Where the log has been followed to.
    time: Timestamp,
    next: Offset,
    /// The newest segment's first offset and the end of its records.
    newest: Option<(Offset, Offset, u64)>,
    mended: Vec<Mended>,
}

impl Mending<'_> {
    fn segment(&mut self, first: Offset, following: Option<Offset>, proven: Offset) -> Result<(), LogError> {
        if first > self.next {
            self.missing(first, "a segment is missing")?;
        }
        let old = read(self.fs, self.options, first, Some(self.log_id))?;
        // A retired segment may still lie below the start; nothing overlaps otherwise.
        if first < self.next && self.newest.is_some() {
            let detail = "it begins inside the segment before it; one of them is not of this place".to_owned();
            return Err(Damage { path: old.path, position: 0, span: Span::new(first, self.next), detail }.into());
        }
        let (pieces, end) = pieces(&old, following, proven)?;
        let found = snapshot(&old);
        let wants_snapshot = old.header.is_none_or(|header| header.snapshot_len > 0);
        let state = self.owner.snapshot(first, found);
        let behind = self.next.max(pieces_end(&old, &pieces));
        let not_as_sealed = match following {
            Some(_) => !is_sealed(&old, &pieces, end),
            None => match old.footer {
                None => behind < proven,
                Some(_) => trails(&old, end),
            },
        };
        let lost = pieces.iter().any(|piece| matches!(piece, Piece::Lost(_)));
        let whole = |position: u64, detail: &str| {
            let span = Span::new(first, first);
            Some(Damage { path: old.path.clone(), position, span, detail: detail.to_owned() })
        };
        let harm = if old.header.is_none() && !lost {
            whole(0, "its header cannot be read, or it is of another log or place")
        } else if old.one_header && !lost {
            whole(0, "a copy of the header, or what stands between the copies, is damaged")
        } else if wants_snapshot && state.is_some() && found.is_none() {
            whole(DATA_START, "the snapshot's checksum does not hold")
        } else if not_as_sealed && !lost {
            whole(end as u64, "its footer is missing or wrong, or something stands behind it")
        } else if let Some(bytes) = old.refused.first().filter(|_| !lost) {
            // Where nothing stood, but the next start reads it too.
            whole(bytes.start, "the disk does not give back what stands here")
        } else {
            None
        };
        if harm.is_some() || lost {
            return self.rewrite(&old, pieces, state, harm);
        }
        for piece in &pieces {
            if let Piece::Record(at, header) = piece {
                self.keep(&old.bytes, *at, header)?;
            }
        }
        self.next = behind;
        self.newest = Some((first, self.next, end as u64));
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8], at: usize, header: &RecordHeader) -> Result<Vec<u8>, LogError> {
        let body = bytes.get(at + record::HEADER_BYTES..at + header.record_len()).unwrap_or_default();
        self.owner.kept(header, body)?;
        self.time = self.time.max(header.time);
        Ok(body.to_vec())
    }

    /// A segment for offsets that lie in no file at all.
    fn missing(&mut self, to: Offset, why: &str) -> Result<(), LogError> {
        let first = self.next;
        let path = self.options.dir.join(names::segment(first));
        let damage = Damage { path: path.clone(), position: 0, span: Span::new(first, to), detail: why.to_owned() };
        let old =
            Old { first, path, bytes: Vec::new(), header: None, footer: None, one_header: false, refused: Vec::new() };
        let state = self.owner.snapshot(first, None);
        self.rewrite(&old, vec![Piece::Lost(damage)], state, None)
    }

    /// Writes a segment anew: each record a group of its own, so that no group begins in what is lost.
    fn rewrite(
        &mut self,
        old: &Old,
        pieces: Vec<Piece>,
        state: Option<Vec<u8>>,
        harm: Option<Damage>,
    ) -> Result<(), LogError> {
        let nonce = (self.nonces)();
        let mut new = New { bytes: Vec::new(), nonce, count: 0, digest: Sha256::new(), next: old.first };
        let state = state.map(|body| snapshot_record(nonce, old.first, self.time, &body));
        let header = SegmentHeader {
            kind: self.options.kind,
            log_id: self.log_id,
            first: old.first,
            nonce,
            time_floor: self.time,
            snapshot_len: state.as_ref().map_or(0, |state| state.len() as u64),
        };
        new.bytes.extend(header.encode());
        new.bytes.extend(state.unwrap_or_default());
        let kind = match self.options.kind {
            super::LogKind::Events => RecordKind::Event,
            super::LogKind::Ledger => RecordKind::Entry,
        };
        // What costs no record: a snapshot, a footer.
        let mut mended: Vec<Mended> = harm.map(|damage| Mended { damage, filled: true }).into_iter().collect();
        for piece in pieces {
            match piece {
                Piece::Record(at, header) => {
                    let body = self.keep(&old.bytes, at, &header)?;
                    new.push(header.kind, self.time, &body);
                    // A gap stands for more than its own offset.
                    new.next = record::behind(&header, &body).unwrap_or(new.next);
                }
                Piece::Lost(damage) => {
                    let filled = self.owner.lost(&damage)?;
                    for Filled { time, body } in filled.iter().flatten() {
                        self.time = self.time.max(*time);
                        new.push(kind, self.time, body);
                    }
                    if filled.is_none() {
                        new.push(RecordKind::Gap, self.time, &damage.span.to.0.to_le_bytes());
                        new.next = damage.span.to;
                    }
                    assert_eq!(new.next, damage.span.to, "what is filled in is all that was lost");
                    mended.push(Mended { damage, filled: filled.is_some() });
                }
            }
        }
        let end = new.bytes.len() as u64;
        // One without records stays the active one: sealed, it would share its name with the segment that follows.
        if new.count > 0 {
            new.seal(old.first, self.time);
        }
        if self.write {
            self.put(old, &new.bytes)?;
        }
        self.mended.append(&mut mended);
        self.next = new.next;
        self.newest = Some((old.first, new.next, end));
        Ok(())
    }

    /// Keeps the old segment under another name, then puts the new one in its place.
    fn put(&self, old: &Old, bytes: &[u8]) -> Result<(), LogError> {
        if !old.bytes.is_empty() {
            let quarantine = &self.options.quarantine;
            let name = names::replaced(self.options.kind.as_str(), old.first, crc32fast::hash(&old.bytes));
            fs::keep(self.fs, &old.path, quarantine, &name, &old.bytes).map_err(LogError::io(quarantine))?;
        }
        let dir = &self.options.dir;
        fs::replace(self.fs, dir, &names::segment(old.first), bytes).map_err(LogError::io(&old.path))
    }
}

/// A segment as it is written anew.
struct New {
    bytes: Vec<u8>,
    nonce: u64,
    count: u64,
    digest: Sha256,
    next: Offset,
}

impl New {
    fn push(&mut self, kind: RecordKind, time: Timestamp, body: &[u8]) {
        let header = RecordHeader {
            body_len: u32::try_from(body.len()).expect("a body is below MAX_BODY_BYTES"),
            body_crc: crc32fast::hash(body),
            offset: self.next,
            durable: self.next,
            time,
            batch_left: 0,
            kind,
        };
        let mut encoded = header.encode(MAGIC);
        record::seal_header(self.nonce, &mut encoded);
        note_digest(&mut self.digest, &encoded, &header);
        self.bytes.extend_from_slice(&encoded);
        self.bytes.extend_from_slice(body);
        self.count += 1;
        self.next = self.next.next();
    }

    fn seal(&mut self, first: Offset, last_time: Timestamp) {
        let footer = Footer {
            count: self.count,
            first,
            next: self.next,
            position: self.bytes.len() as u64,
            last_time,
            digest: self.digest.clone().finalize().into(),
        };
        self.bytes.extend(footer.encode(self.nonce));
    }
}

/// Notes the end as it is now: evidence of what was given up would refuse the next start.
fn renew_meta(
    fs: &dyn Fs,
    options: &LogOptions,
    log_id: [u8; 16],
    readable: bool,
    newest: Option<(Offset, Offset, u64)>,
) -> Result<(), LogError> {
    let path = options.dir.join(names::META);
    let mut meta = if readable {
        let noted = Meta::read(fs, &options.dir, options.kind)?;
        let Some(noted) = noted else { return Ok(()) };
        Meta::open(fs, &options.dir, options.kind, noted)?
    } else {
        if let Ok(file) = fs.open(&path, Open::Read) {
            let mut bytes = vec![0; 4096];
            let (read, _) = fs::read_around(&*file, &mut bytes, 0).map_err(LogError::io(&path))?;
            bytes.truncate(read);
            let name = format!("{}-{:08x}.meta", options.kind.as_str(), crc32fast::hash(&bytes));
            let quarantine = &options.quarantine;
            fs::keep(fs, &path, quarantine, &name, &bytes).map_err(LogError::io(quarantine))?;
        }
        Meta::create(fs, &options.dir, options.kind, log_id)?
    };
    let (segment, committed, position) = newest.unwrap_or_default();
    meta.write(committed, segment, position).and_then(|()| meta.sync()).map_err(LogError::io(&path))
}
