//! The one writer: a group at a time, written, synced, noted; segments sealed and begun.
//!
//! Everything here blocks and happens in one thread, in one order. Whoever drives it decides what
//! a thread is: the committing thread in production, a loop in the simulator.

use super::ahead::Ahead;
use super::error::{Failure, LogError};
use super::index::Mark;
use super::meta::Meta;
use super::names;
use super::record::{self, HEADER_BYTES, RecordHeader, RecordKind, SNAPSHOT_MAGIC};
use super::recover::Recovered;
use super::scan::note_digest;
use super::segment::{FOOTER_BYTES, Footer, SegmentHeader};
use super::segments::{Extent, Segment, Segments};
use super::{LogKind, LogOptions, Nonces};
use crate::clock::Instant;
use crate::fs::{self, Fs};
use crate::model::{Offset, Timestamp};
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Records that become durable together: encoded, but for the header CRC, which needs the segment's nonce.
#[derive(Default)]
pub struct Group {
    bytes: Vec<u8>,
    records: Vec<(usize, RecordHeader)>,
}

impl Group {
    /// Adds a record; `header.body_len` and `header.body_crc` describe `body`.
    pub(crate) fn push(&mut self, header: RecordHeader, body: &[u8]) {
        self.records.push((self.bytes.len(), header));
        self.bytes.extend_from_slice(&header.encode(record::MAGIC));
        self.bytes.extend_from_slice(body);
    }

    /// Bytes that it takes on disk.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// No record in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Makes it ready for other records, keeping its memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.records.clear();
    }

    fn first(&self) -> Option<Offset> {
        self.records.first().map(|(_, header)| header.offset)
    }
}

/// What a new segment begins with: the state at its first offset, for a ledger.
pub type Snapshot<'a> = &'a dyn Fn(Offset) -> Option<Vec<u8>>;

/// The active segment's running state.
struct Active {
    segment: Arc<Segment>,
    count: u64,
    digest: Sha256,
}

/// The owner of a log's files.
pub struct Writer {
    fs: Arc<dyn Fs>,
    options: LogOptions,
    segments: Arc<Segments>,
    meta: Meta,
    ahead: Ahead,
    active: Option<Active>,
    nonces: Nonces,
    poisoned: Option<Arc<str>>,
    last_sync: Duration,
}

impl Writer {
    /// Goes on with a recovered log.
    ///
    /// # Errors
    /// The file system's, while the next segment is prepared.
    pub fn new(recovered: Recovered, nonces: Nonces) -> Result<Self, LogError> {
        let Recovered { fs, options, segments, meta, active, .. } = recovered;
        let meta = meta.expect("a log that is written to was recovered for writing");
        let ahead = Ahead::new(Arc::clone(&fs), &options.dir, options.segment_bytes, options.fill)
            .map_err(LogError::io(&options.dir))?;
        let active = active.and_then(|scanned| {
            let segment = segments.list().pop()?;
            Some(Active { segment, count: scanned.count, digest: scanned.digest })
        });
        Ok(Self { fs, options, segments, meta, ahead, active, nonces, poisoned: None, last_sync: Duration::ZERO })
    }

    /// Makes a group durable: one write, one sync. Only then is it readable.
    ///
    /// # Errors
    /// [`Failure::Full`] where nothing of it was written; [`Failure::Poisoned`] where that is unknown,
    /// and from then on each time.
    pub fn commit(&mut self, group: &mut Group, snapshot: Snapshot<'_>) -> Result<(), Failure> {
        self.check()?;
        let Some(first) = group.first() else { return Ok(()) };
        self.make_room(first, group.len() as u64, snapshot)?;
        let (meta, meta_path) = (&mut self.meta, self.options.dir.clone());
        let Some(active) = &mut self.active else { return Err(Failure::Closed) };
        let before = *active.segment.extent.read();
        assert_eq!(before.next, first, "a group goes on where the log ends");
        let mut digest = active.digest.clone();
        for (at, header) in &group.records {
            let encoded = group.bytes.get_mut(*at..at + HEADER_BYTES).unwrap_or_default();
            record::seal_header(active.segment.header.nonce, encoded);
            note_digest(&mut digest, encoded, header);
        }
        let file = Arc::clone(&active.segment.file);
        // A full disk is not a broken one: what was written of the group is cut off again, durably.
        let is_cut =
            |error: &io::Error| fs::is_full(error) && file.truncate(before.end).and_then(|()| file.sync()).is_ok();
        if let Err(error) = file.write_at(&group.bytes, before.end) {
            let (cut, path) = (is_cut(&error), active.segment.path.clone());
            return Err(if cut { Failure::Full } else { self.poison(&path, "write", &error) });
        }
        let began = Instant::now();
        let synced = file.sync();
        self.last_sync = began.elapsed();
        if let Err(error) = synced {
            let path = active.segment.path.clone();
            return Err(self.poison(&path, "sync", &error));
        }
        let end = before.end + group.bytes.len() as u64;
        let last = group.records.last().map_or(before.last_time, |(_, header)| header.time);
        let next = first.plus(group.records.len() as u64);
        if let Err(error) = meta.write(next, active.segment.first(), end) {
            // A file system that never writes in place asks for space here too.
            let cut = is_cut(&error);
            return Err(if cut { Failure::Full } else { self.poison(&meta_path.join(names::META), "write", &error) });
        }
        if let Some(index) = &mut *active.segment.index.write() {
            for (at, header) in &group.records {
                index.note(Mark { offset: header.offset, time: header.time, position: before.end + *at as u64 });
            }
        }
        active.count += group.records.len() as u64;
        active.digest = digest;
        *active.segment.extent.write() = Extent { end, next, last_time: last, footer: None };
        Ok(())
    }

    /// Sees to a segment that the group fits into.
    fn make_room(&mut self, first: Offset, bytes: u64, snapshot: Snapshot<'_>) -> Result<(), Failure> {
        let Some(active) = &self.active else { return self.begin(first, snapshot) };
        let extent = *active.segment.extent.read();
        // The snapshot does not count: a large one would leave no room for entries, and roll at each of them.
        let used = extent.end - active.segment.header.snapshot_len;
        let fits = used + bytes + FOOTER_BYTES as u64 <= self.options.segment_bytes;
        if fits || active.count == 0 {
            return Ok(());
        }
        self.roll(first, snapshot)
    }

    /// Seals the active segment and begins the next one. What needs space comes first, so that a full
    /// disk is met while the log is still whole.
    fn roll(&mut self, first: Offset, snapshot: Snapshot<'_>) -> Result<(), Failure> {
        let last_time = self.active.as_ref().map_or(Timestamp(0), |active| active.segment.last_time());
        let next = self.prepare(first, last_time, snapshot)?;
        self.seal()?;
        self.place(next)
    }

    fn begin(&mut self, first: Offset, snapshot: Snapshot<'_>) -> Result<(), Failure> {
        let last_time = self.segments.list().last().map_or(Timestamp(0), |segment| segment.last_time());
        let next = self.prepare(first, last_time, snapshot)?;
        self.place(next)
    }

    /// Writes and syncs the next segment's beginning, still under its temporary name.
    fn prepare(&mut self, first: Offset, time_floor: Timestamp, snapshot: Snapshot<'_>) -> Result<Segment, Failure> {
        let nonce = (self.nonces)();
        let state = snapshot(first).map(|body| snapshot_record(nonce, first, time_floor, &body));
        let header = SegmentHeader {
            kind: self.options.kind,
            log_id: self.meta.latest.log_id,
            first,
            nonce,
            time_floor,
            snapshot_len: state.as_ref().map_or(0, |state| state.len() as u64),
        };
        let mut bytes = header.encode();
        bytes.extend(state.unwrap_or_default());
        let written = self.ahead.take().and_then(|file| {
            file.write_at(&bytes, 0)?;
            file.sync()?;
            Ok(file)
        });
        let path = self.options.dir.join(names::segment(first));
        let file = match written {
            Ok(file) => file,
            Err(error) if fs::is_full(&error) => return Err(Failure::Full),
            Err(error) if fs::is_out_of_files(&error) => return Err(busy(&path, &error)),
            Err(error) => return Err(self.poison(&path, "prepare", &error)),
        };
        let end = header.records_start();
        let extent = Extent { end, next: first, last_time: time_floor, footer: None };
        Ok(Segment { header, path, file, extent: RwLock::new(extent), index: RwLock::new(Some(Default::default())) })
    }

    /// Gives the prepared segment its name, durably, before anything may depend on it (R8).
    fn place(&mut self, segment: Segment) -> Result<(), Failure> {
        let temporary = self.options.dir.join(names::NEXT);
        match self.fs.rename(&temporary, &segment.path) {
            // A directory grows too. It has no active segment now, and the next group begins one.
            Err(error) if fs::is_full(&error) => return Err(Failure::Full),
            Err(error) => return Err(self.poison(&segment.path, "rename", &error)),
            Ok(()) => {}
        }
        self.ahead.taken();
        match self.fs.sync_dir(&self.options.dir) {
            // The directory was not even opened. The next group begins this segment anew, in its place, once the file
            // for it is filled.
            Err(error) if fs::is_out_of_files(&error) => return Err(busy(&segment.path, &error)),
            Err(error) => return Err(self.poison(&segment.path, "rename", &error)),
            Ok(()) => {}
        }
        let segment = Arc::new(segment);
        self.segments.push(Arc::clone(&segment));
        self.active = Some(Active { segment, count: 0, digest: Sha256::new() });
        Ok(())
    }

    /// Writes the footer, cuts the file to it, and makes both durable with the evidence.
    fn seal(&mut self) -> Result<(), Failure> {
        let Some(active) = self.active.take() else { return Ok(()) };
        let extent = *active.segment.extent.read();
        let footer = Footer {
            count: active.count,
            first: active.segment.first(),
            next: extent.next,
            position: extent.end,
            last_time: extent.last_time,
            digest: active.digest.clone().finalize().into(),
        };
        let file = &active.segment.file;
        if let Err(error) = file.write_at(&footer.encode(active.segment.header.nonce), extent.end) {
            // Without its zeros ahead a segment grows, and a full disk may meet its footer.
            let cut = fs::is_full(&error) && file.truncate(extent.end).and_then(|()| file.sync()).is_ok();
            let path = active.segment.path.clone();
            self.active = Some(active);
            return Err(if cut { Failure::Full } else { self.poison(&path, "seal", &error) });
        }
        let sealed =
            file.truncate(extent.end + FOOTER_BYTES as u64).and_then(|()| file.sync()).and_then(|()| self.meta.sync());
        if let Err(error) = sealed {
            return Err(self.poison(&active.segment.path, "seal", &error));
        }
        active.segment.extent.write().footer = Some(footer);
        Ok(())
    }

    /// Makes the evidence survive a power cut: each second, and at the end.
    ///
    /// # Errors
    /// [`Failure::Poisoned`].
    pub fn sync_meta(&mut self) -> Result<(), Failure> {
        if self.poisoned.is_some() {
            return Ok(());
        }
        if let Err(error) = self.meta.sync() {
            let path = self.meta.path().to_owned();
            return Err(self.poison(&path, "sync", &error));
        }
        Ok(())
    }

    /// How long the last group's sync took.
    pub(crate) fn last_sync(&self) -> Duration {
        self.last_sync
    }

    /// How often the evidence is to be synced.
    pub(crate) fn evidence_every(&self) -> Duration {
        self.options.evidence_every
    }

    /// Whether space is waited for. Events are refused as soon as the next segment has none; acks go on as long as the
    /// one that is written has room for them (invariant 11).
    pub(crate) fn waits_for_space(&self) -> bool {
        let room = |active: &Active| {
            let used = active.segment.extent.read().end - active.segment.header.snapshot_len;
            used + ROOM_FOR_ACKS < self.options.segment_bytes
        };
        let goes_on = self.options.kind == LogKind::Ledger && self.active.as_ref().is_some_and(room);
        !goes_on && self.ahead.refused()
    }

    fn check(&self) -> Result<(), Failure> {
        self.poisoned.as_ref().map_or(Ok(()), |why| Err(Failure::Poisoned(Arc::clone(why))))
    }

    /// The first failure ends the writer, and its reason is kept (R7).
    fn poison(&mut self, path: &Path, what: &str, error: &io::Error) -> Failure {
        let why: Arc<str> = format!("{what} of {} failed: {error}", path.display()).into();
        tracing::error!(%why, "the log takes no further writes");
        Failure::Poisoned(Arc::clone(self.poisoned.get_or_insert(why)))
    }
}

/// Nothing of a group was written, and the next one tries again.
fn busy(path: &Path, error: &io::Error) -> Failure {
    tracing::warn!(path = %path.display(), %error, "no further segment now; it is tried again");
    Failure::Busy
}

/// What a ledger's segment keeps for the acks of one group.
const ROOM_FOR_ACKS: u64 = 64 << 10;

/// Removes the segments that lie wholly below `to`, oldest first, and makes that durable. The newest stays.
///
/// # Errors
/// The file system's; what is left is removed at the next opening.
pub fn remove_retired(fs: &dyn Fs, segments: &Segments, to: Offset) -> Result<Vec<Arc<Segment>>, LogError> {
    let mut gone = Vec::new();
    while let Some(oldest) = segments.oldest_below(to) {
        fs.remove(&oldest.path).map_err(LogError::io(&oldest.path))?;
        segments.forget_oldest();
        gone.push(oldest);
    }
    if !gone.is_empty() {
        fs.sync_dir(segments.dir()).map_err(LogError::io(segments.dir()))?;
    }
    Ok(gone)
}

/// Sets segments aside that lie wholly below `to` and were gone already: retention takes one at a time, and the
/// last one it took may still be there after a crash, but none from before it. The newest stays.
///
/// # Errors
/// The file system's.
pub fn set_aside_returned(fs: &dyn Fs, segments: &Segments, quarantine: &Path, to: Offset) -> Result<(), LogError> {
    while let Some(oldest) = segments.oldest_below(Offset(to.0.saturating_sub(1))) {
        let name = names::returned(segments.dir(), oldest.first());
        fs.create_dir(quarantine).map_err(LogError::io(quarantine))?;
        fs.rename(&oldest.path, &quarantine.join(&name)).map_err(LogError::io(&oldest.path))?;
        fs.sync_dir(quarantine).map_err(LogError::io(quarantine))?;
        fs.sync_dir(segments.dir()).map_err(LogError::io(segments.dir()))?;
        tracing::warn!(segment = %oldest.path.display(), name, "a segment that retention had taken came back; set aside");
        segments.forget_oldest();
    }
    Ok(())
}

/// The record of a snapshot, as it stands at a segment's start.
pub(crate) fn snapshot_record(nonce: u64, first: Offset, time: Timestamp, body: &[u8]) -> Vec<u8> {
    let header = RecordHeader {
        body_len: u32::try_from(body.len()).expect("a snapshot is below MAX_SNAPSHOT_BYTES"),
        body_crc: crc32fast::hash(body),
        offset: first,
        durable: first,
        time,
        batch_left: 0,
        kind: RecordKind::Snapshot,
    };
    let mut out = header.encode(SNAPSHOT_MAGIC).to_vec();
    record::seal_header(nonce, &mut out);
    out.extend_from_slice(body);
    out
}
