//! The segments that exist, shared by the one writer and all readers.

use super::error::{Damage, LogError};
use super::index::{Index, Mark};
use super::record::{self, MAGIC, RecordHeader, SNAPSHOT_MAGIC};
use super::scan;
use super::segment::{DATA_START, Footer, SegmentHeader};
use crate::fs::File;
use crate::model::{Offset, Span, Timestamp};
use bytes::Bytes;
use parking_lot::RwLock;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How far a segment's records go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Where the last committed record ends.
    pub(crate) end: u64,
    /// The offset after it.
    pub(crate) next: Offset,
    /// The last committed record's time.
    pub(crate) last_time: Timestamp,
    /// There once the segment is sealed.
    pub(crate) footer: Option<Footer>,
}

/// One segment. Whoever holds it can read it, even after retention removed its name.
pub struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    pub(crate) extent: RwLock<Extent>,
    pub(crate) index: RwLock<Option<Index>>,
}

impl Segment {
    /// Its first offset.
    #[must_use]
    pub fn first(&self) -> Offset {
        self.header.first
    }

    /// The offset after its last committed record.
    #[must_use]
    pub fn next(&self) -> Offset {
        self.extent.read().next
    }

    /// What it says at its end, once it is sealed.
    #[must_use]
    pub fn footer(&self) -> Option<Footer> {
        self.extent.read().footer
    }

    /// Bytes of its records.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.extent.read().end
    }

    /// The time of its last record.
    #[must_use]
    pub fn last_time(&self) -> Timestamp {
        self.extent.read().last_time
    }

    /// The snapshot that it begins with, if there is one.
    pub(crate) fn snapshot(&self) -> Result<Option<Vec<u8>>, LogError> {
        let len = usize::try_from(self.header.snapshot_len).unwrap_or(usize::MAX);
        if len == 0 {
            return Ok(None);
        }
        // The header says how long it is, but no more is allocated than the file holds.
        let held = self.file.len().map_err(LogError::io(&self.path))?.saturating_sub(DATA_START);
        let bytes = self.read_bytes(DATA_START, len.min(usize::try_from(held).unwrap_or(usize::MAX)))?;
        match record::parse(&bytes, self.header.nonce, SNAPSHOT_MAGIC) {
            Ok((header, body)) if header.record_len() == len => Ok(Some(body.to_vec())),
            _ => Err(self
                .damage(DATA_START, Span::new(self.first(), self.next()), "the snapshot's checksum does not hold")
                .into()),
        }
    }

    /// Up to `len` bytes from `position` on.
    pub(crate) fn read_bytes(&self, position: u64, len: usize) -> Result<Vec<u8>, LogError> {
        let mut bytes = vec![0; len];
        let read = self.file.read_at(&mut bytes, position).map_err(LogError::io(&self.path))?;
        bytes.truncate(read);
        Ok(bytes)
    }

    pub(crate) fn damage(&self, position: u64, span: Span, detail: impl Into<String>) -> Damage {
        Damage { path: self.path.clone(), position, span, detail: detail.into() }
    }

    /// A record at or before `offset` whose place is known; builds the index where there is none.
    pub(crate) fn seek(&self, find: impl Fn(&Index) -> Option<Mark>) -> Result<Mark, LogError> {
        let start = Mark { offset: self.first(), time: self.header.time_floor, position: self.header.records_start() };
        if let Some(index) = &*self.index.read() {
            return Ok(find(index).unwrap_or(start));
        }
        let index = scan::build_index(self)?;
        let found = find(&index).unwrap_or(start);
        *self.index.write() = Some(index);
        Ok(found)
    }
}

/// A place in a segment that a reader can go on from without a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hint {
    pub(crate) segment: Offset,
    pub(crate) offset: Offset,
    pub(crate) position: u64,
}

/// One record as read: its header and its body.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its header, checked.
    pub header: RecordHeader,
    /// Its body, checked; a slice of the block that was read.
    pub body: Bytes,
}

/// A stretch of the log as read.
#[derive(Debug, Clone)]
pub struct Block {
    /// The records, in order.
    pub records: Vec<Record>,
    /// Where to go on.
    pub next: Offset,
    /// How to go on there without a search.
    pub hint: Option<Hint>,
    /// Offsets before `next` that cannot be had any more; then there are no records.
    pub gap: Option<Span>,
}

impl Block {
    fn gap(span: Span) -> Self {
        Self { records: Vec::new(), next: span.to, hint: None, gap: Some(span) }
    }
}

/// What a reader does when it meets damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDamage {
    /// Returns the error, each time.
    Fail,
    /// Tells it as a gap and goes on behind it: `--recover=serve-readable`.
    Tell,
}

/// All segments in order.
pub struct Segments {
    list: RwLock<Vec<Arc<Segment>>>,
    on_damage: OnDamage,
    /// Where damage is told: the log went up to here, though no segment that can be read does. What lies between is a
    /// gap. Else nothing.
    proven: Offset,
    dir: PathBuf,
}

impl Segments {
    pub(crate) fn new(dir: &Path, list: Vec<Arc<Segment>>, on_damage: OnDamage, proven: Offset) -> Self {
        Self { list: RwLock::new(list), on_damage, proven, dir: dir.to_owned() }
    }

    /// The segments, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Segment>> {
        self.list.read().clone()
    }

    pub(crate) fn push(&self, segment: Arc<Segment>) {
        self.list.write().push(segment);
    }

    /// The oldest offset kept.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.list.read().first().map_or(Offset::ZERO, |segment| segment.first())
    }

    /// The offset after the newest committed record.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.list.read().last().map_or(Offset::ZERO, |segment| segment.next()).max(self.proven)
    }

    /// The directory they lie in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The oldest segment, where it lies wholly below `to`. The newest stays.
    pub(crate) fn oldest_below(&self, to: Offset) -> Option<Arc<Segment>> {
        let list = self.list.read();
        let oldest = list.first().filter(|_| list.len() > 1)?;
        (oldest.next() <= to).then(|| Arc::clone(oldest))
    }

    pub(crate) fn forget_oldest(&self) {
        self.list.write().remove(0);
    }

    /// What a reader does when it meets damage.
    #[must_use]
    pub fn on_damage(&self) -> OnDamage {
        self.on_damage
    }

    fn find(&self, offset: Offset) -> Option<(Arc<Segment>, Option<Offset>)> {
        let list = self.list.read();
        let behind = list.partition_point(|segment| segment.first() <= offset);
        let segment = list.get(behind.checked_sub(1)?)?;
        Some((Arc::clone(segment), list.get(behind).map(|next| next.first())))
    }

    /// Reads on from `from`: about `max_bytes` of records, all of one segment, committed only.
    ///
    /// # Errors
    /// The file system's, and damage where it is not told as a gap; the same each time.
    pub fn read(&self, from: Offset, hint: Option<Hint>, max_bytes: usize) -> Result<Block, LogError> {
        let start = self.start();
        if from < start {
            return Ok(Block::gap(Span::new(from, start)));
        }
        let Some((segment, following)) = self.find(from) else {
            // Retention may have come between, or no segment can be read at all.
            let start = self.start();
            let to = if from < start { start } else { self.proven };
            let gap = (from < to).then(|| Span::new(from, to));
            return Ok(Block { records: Vec::new(), next: to.max(from), hint: None, gap });
        };
        let extent = *segment.extent.read();
        if from >= extent.next {
            // Between a segment and the one after it there is a hole only where damage was accepted for reading.
            return Ok(match following {
                Some(first) if first > from => Block::gap(Span::new(from, first)),
                None if self.proven > from => Block::gap(Span::new(from, self.proven)),
                _ => Block { records: Vec::new(), next: from, hint: None, gap: None },
            });
        }
        let outcome = match hint.filter(|hint| hint.segment == segment.first() && hint.offset == from) {
            Some(hint) => scan::read_block(&segment, &extent, hint.offset, hint.position, from, max_bytes),
            None => segment
                .seek(|index| index.seek(from))
                .and_then(|mark| scan::read_block(&segment, &extent, mark.offset, mark.position, from, max_bytes)),
        };
        match outcome {
            Err(LogError::Damaged(damage)) if self.on_damage == OnDamage::Tell => {
                let to = if damage.span.to > from { damage.span.to } else { extent.next };
                Ok(Block::gap(Span::new(from, to)))
            }
            other => other,
        }
    }

    /// The first offset whose time is at or after `time`; the end where there is none.
    ///
    /// # Errors
    /// As [`Segments::read`].
    pub fn at_time(&self, time: Timestamp) -> Result<Offset, LogError> {
        let Some(segment) = self.list().into_iter().find(|segment| segment.last_time() >= time) else {
            return Ok(self.end());
        };
        let mark = segment.seek(|index| index.seek_time(time))?;
        let mut at = mark.offset;
        let end = segment.next();
        let mut hint = None;
        while at < end {
            let block = self.read(at, hint, crate::model::limits::READ_BLOCK_BYTES)?;
            if let Some(found) = block.records.iter().find(|record| record.header.time >= time) {
                return Ok(found.header.offset);
            }
            (at, hint) = (block.next, block.hint);
        }
        Ok(at)
    }
}

/// Whether a record's header fits its place: the offset expected there, in a group that began at or before it.
pub(crate) fn fits(header: &RecordHeader, expected: Offset) -> bool {
    header.offset == expected && header.durable <= expected
}

/// The next readable record behind damage in a segment: its position in `bytes` and its header.
pub(crate) fn resync(
    bytes: &[u8],
    from: usize,
    nonce: u64,
    expected: Offset,
    end: Offset,
) -> Option<(usize, RecordHeader)> {
    let mut at = from;
    while let Some((found, header)) = record::find_header(bytes, at, nonce) {
        let whole = record::parse(bytes.get(found..).unwrap_or_default(), nonce, MAGIC).is_ok();
        if whole && header.offset > expected && header.offset < end {
            return Some((found, header));
        }
        at = found + 1;
    }
    None
}
