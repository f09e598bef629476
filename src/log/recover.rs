//! Opening a log: what is there, what a crash tore off, what is damaged (R3 to R9).

use super::branches::{Branch, take};
use super::error::{Damage, LogError};
use super::judge::Unsealed;
use super::meta::{Durable, Meta};
use super::record::Bad;
use super::scan::{self, Scanned};
use super::segment::{self, BadHeader, FOOTER_BYTES, Footer, SegmentHeader};
use super::segments::{Extent, OnDamage, Segment, Segments};
use super::tail::{Cut, Torn, written};
use super::{LogOptions, Recover, names};
use crate::fs::{File, Fs, Open};
use crate::model::{Offset, Span, Timestamp};
use parking_lot::RwLock;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A log as found, before it is written to.
pub struct Recovered {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) options: LogOptions,
    pub(crate) segments: Arc<Segments>,
    /// The evidence, open for writing; none where only reading is meant.
    pub(crate) meta: Option<Meta>,
    log_id: [u8; 16],
    /// The unsealed last segment's running state; none where the next write begins a segment.
    pub(crate) active: Option<Scanned>,
    /// What was cut.
    pub cut: Option<Cut>,
    /// What is damaged; empty unless opened with [`Recover::ServeReadable`].
    pub damage: Vec<Damage>,
}

struct Found {
    header: SegmentHeader,
    path: PathBuf,
    file: Arc<dyn File>,
    len: u64,
}

/// Opens the log in `options.dir`, making it where there is none.
///
/// # Errors
/// Damage and lost data, unless they are to be served around; unknown versions; the file system's.
pub fn recover(fs: Arc<dyn Fs>, options: LogOptions) -> Result<Recovered, LogError> {
    let dir = options.dir.clone();
    fs.create_dir(&dir).map_err(LogError::io(&dir))?;
    let mut firsts: Vec<Offset> =
        fs.list(&dir).map_err(LogError::io(&dir))?.iter().filter_map(|name| names::parse_segment(name)).collect();
    firsts.sort_unstable();
    let start = options.start.or_else(|| firsts.first().copied()).unwrap_or_default();
    let mut walk = Walk { fs: &*fs, options: &options, start, damage: Vec::new(), torn: None, cut: None, log_id: None };
    let noted = walk.durable(&firsts)?;
    let durable = noted.map(|(durable, _)| durable);
    walk.log_id = durable.map(|durable| durable.log_id);
    let (list, active) = walk.segments(&firsts, durable)?;
    let proven = walk.check_end(&list, durable)?;
    // Only now: of a log that is refused nothing is cut (R5).
    walk.cut_tail()?;
    let Walk { damage, cut, log_id, .. } = walk;
    // Damage in sealed segments is met by readers only, long after this.
    let (on_damage, proven) = match options.recover {
        Recover::Refuse | Recover::AcceptLoss => (OnDamage::Fail, Offset::ZERO),
        Recover::ServeReadable => (OnDamage::Tell, proven),
    };
    let log_id = log_id.unwrap_or(options.new_id);
    let segments = Arc::new(Segments::new(&dir, list, on_damage, proven));
    if options.recover == Recover::ServeReadable {
        // Nothing is written, the evidence least of all.
        return Ok(Recovered { fs, options, segments, meta: None, log_id, active: None, cut, damage });
    }
    // A name that the process before gave may not have been synced: from here on acknowledgements depend on it.
    fs.sync_dir(&dir).map_err(LogError::io(&dir))?;
    let meta = match noted {
        Some(noted) => Meta::open(&*fs, &dir, options.kind, noted)?,
        None => Meta::create(&*fs, &dir, options.kind, options.new_id)?,
    };
    let mut recovered = Recovered { fs, options, segments, meta: Some(meta), log_id, active, cut, damage };
    recovered.write_again(durable)?;
    Ok(recovered)
}

/// One pass over a log's files, and what it met.
struct Walk<'a> {
    fs: &'a dyn Fs,
    options: &'a LogOptions,
    /// The lowest offset that must be there.
    start: Offset,
    damage: Vec<Damage>,
    torn: Option<Torn>,
    cut: Option<Cut>,
    log_id: Option<[u8; 16]>,
}

impl Walk<'_> {
    /// Damage ends the opening, unless what is readable is to be served.
    fn met(&mut self, damage: Damage) -> Result<(), LogError> {
        if self.options.recover != Recover::ServeReadable {
            return Err(damage.into());
        }
        tracing::error!(%damage, "serving what is readable");
        self.damage.push(damage);
        Ok(())
    }

    fn durable(&mut self, firsts: &[Offset]) -> Result<Option<(Durable, u64)>, LogError> {
        match Meta::read(self.fs, &self.options.dir, self.options.kind) {
            Ok(None) if firsts.is_empty() => {
                take(Branch::Empty);
                Ok(None)
            }
            Ok(None) => {
                take(Branch::NoMeta);
                let damage = Damage {
                    path: self.options.dir.join(names::META),
                    position: 0,
                    span: Span::new(Offset::ZERO, Offset::ZERO),
                    detail: "is missing beside segments, so how far the log was durable is not known".to_owned(),
                };
                self.met(damage).map(|()| None)
            }
            Err(LogError::Damaged(damage)) => {
                take(Branch::BadMeta);
                self.met(damage).map(|()| None)
            }
            other => other,
        }
    }

    fn segments(
        &mut self,
        firsts: &[Offset],
        durable: Option<Durable>,
    ) -> Result<(Vec<Arc<Segment>>, Option<Scanned>), LogError> {
        let mut list: Vec<Arc<Segment>> = Vec::new();
        let mut active = None;
        let mut expected: Option<Offset> = None;
        for (n, first) in firsts.iter().enumerate() {
            let last = n + 1 == firsts.len();
            let Some(found) = self.open_segment(*first)? else {
                continue;
            };
            if expected.is_some_and(|expected| expected != *first) {
                take(Branch::Hole);
                let from = expected.unwrap_or_default();
                let span = Span::new(from.min(*first), (*first).max(from));
                self.met(Damage {
                    path: found.path.clone(),
                    position: 0,
                    span,
                    detail: "a hole in offsets before it".into(),
                })?;
            }
            let extent = match self.footer(&found)? {
                Some(footer) => {
                    if last {
                        take(Branch::Sealed);
                    }
                    sealed(footer)
                }
                None => {
                    let (extent, running) = self.unsealed(&found, last, durable)?;
                    if last {
                        active = running;
                    }
                    extent
                }
            };
            // Below the start files may be missing: retention was on its way when the process ended.
            expected = Some(extent.next).filter(|next| *next > self.start);
            if extent.next <= self.start && !last {
                take(Branch::Leftover);
            }
            let Found { header, path, file, .. } = found;
            list.push(Arc::new(Segment { header, path, file, extent: RwLock::new(extent), index: RwLock::new(None) }));
        }
        let oldest = list.iter().find(|segment| segment.next() > self.start);
        if let Some(oldest) = oldest
            && oldest.first() > self.start
        {
            take(Branch::MissingStart);
            let span = Span::new(self.start, oldest.first());
            self.met(Damage {
                path: oldest.path.clone(),
                position: 0,
                span,
                detail: "the segments before it are missing".into(),
            })?;
        }
        Ok((list, active))
    }

    /// Opens one segment; `None` where its header is damaged and it is served around.
    fn open_segment(&mut self, first: Offset) -> Result<Option<Found>, LogError> {
        let path = self.options.dir.join(names::segment(first));
        let how = if self.options.recover != Recover::ServeReadable { Open::Write } else { Open::Read };
        let file = self.fs.open(&path, how).map_err(LogError::io(&path))?;
        let len = file.len().map_err(LogError::io(&path))?;
        let mut bytes = vec![0; segment::DATA_START as usize];
        let read = file.read_at(&mut bytes, 0).map_err(LogError::io(&path))?;
        bytes.truncate(read);
        let (header, both) = match SegmentHeader::decode(&bytes) {
            Ok(decoded) => decoded,
            Err(BadHeader::Version(found)) => return Err(LogError::Unknown { path, what: "format version", found }),
            Err(BadHeader::Damaged) => {
                take(Branch::BadHeader);
                let detail = "neither copy of the segment's header is valid, or they differ".to_owned();
                self.met(Damage { path, position: 0, span: Span::new(first, first), detail })?;
                return Ok(None);
            }
        };
        if header.kind != self.options.kind
            || header.first != first
            || self.log_id.is_some_and(|id| id != header.log_id)
        {
            take(Branch::BadHeader);
            let detail = "a segment of another log or another place".to_owned();
            self.met(Damage { path, position: 0, span: Span::new(first, first), detail })?;
            return Ok(None);
        }
        if !both {
            take(Branch::OneHeader);
            tracing::warn!(path = %path.display(), "a copy of the segment's header, or what stands between the copies, is damaged");
        }
        self.log_id = Some(header.log_id);
        Ok(Some(Found { header, path, file, len }))
    }

    /// The footer at the very end of the file, if that is what stands there.
    fn footer(&self, found: &Found) -> Result<Option<Footer>, LogError> {
        let Some(at) = found.len.checked_sub(FOOTER_BYTES as u64) else { return Ok(None) };
        let mut bytes = vec![0; FOOTER_BYTES];
        found.file.read_at(&mut bytes, at).map_err(LogError::io(&found.path))?;
        let footer = Footer::decode(&bytes, found.header.nonce);
        Ok(footer.filter(|footer| footer.position == at && footer.first == found.header.first))
    }

    /// A segment without a footer at its end: the active one, or damage.
    fn unsealed(
        &mut self,
        found: &Found,
        last: bool,
        durable: Option<Durable>,
    ) -> Result<(Extent, Option<Scanned>), LogError> {
        let len =
            usize::try_from(found.len).map_err(|_| LogError::io(&found.path)(io::ErrorKind::InvalidData.into()))?;
        let mut bytes = vec![0; len];
        let read = found.file.read_at(&mut bytes, 0).map_err(LogError::io(&found.path))?;
        bytes.truncate(read);
        let (good, before_batch) = scan::scan(&bytes, &found.header);
        let whole = bytes.len();
        // Zeros filled ahead tell nothing; what is searched below ends with the last byte that was written.
        bytes.truncate((good.end + written(bytes.get(good.end..).unwrap_or_default()) + FOOTER_BYTES).min(whole));
        if let Bad::Kind(kind) = good.stop {
            return Err(LogError::Unknown { path: found.path.clone(), what: "record kind", found: kind });
        }
        let seal = bytes.get(good.end..).and_then(|rest| Footer::decode(rest, found.header.nonce));
        if let Some(footer) =
            seal.filter(|footer| before_batch.is_none() && good.is_sealed_by(footer, found.header.first))
        {
            return self.finish_seal(found, footer, bytes.get(good.end + FOOTER_BYTES..).unwrap_or_default());
        }
        if before_batch.is_some() {
            take(Branch::TornBatch);
        }
        let kept = before_batch.unwrap_or_else(|| good.clone());
        let (path, header, proven) = (&*found.path, &found.header, self.options.proven);
        let unsealed = Unsealed { path, header, bytes: &bytes, good: &good, kept: kept.next, last, durable, proven };
        let damage = unsealed.damage();
        let extent = Extent { end: kept.end as u64, next: kept.next, last_time: kept.last_time, footer: None };
        if let Some((branch, damage)) = damage {
            take(branch);
            let to = damage.span.to;
            self.met(damage)?;
            // Served around: readers go as far as valid records do, and meet the damage on their way.
            let extent = Extent { end: bytes.len() as u64, next: to.max(kept.next), ..extent };
            return Ok((extent, None));
        }
        self.note_tail(found, &bytes, kept.end);
        Ok((extent, Some(kept)))
    }

    /// A crash came between writing the footer and cutting the file to it: the rest of that step. Behind the footer
    /// stand zeros, then, and nothing else.
    fn finish_seal(
        &mut self,
        found: &Found,
        footer: Footer,
        behind: &[u8],
    ) -> Result<(Extent, Option<Scanned>), LogError> {
        take(Branch::FinishSeal);
        let end = footer.position + FOOTER_BYTES as u64;
        if behind.iter().any(|b| *b != 0) {
            let span = Span::new(footer.next, footer.next);
            let detail = "bytes behind the segment's footer".to_owned();
            self.met(Damage { path: found.path.clone(), position: end, span, detail })?;
        }
        if found.len > end && self.options.recover != Recover::ServeReadable {
            found.file.truncate(end).and_then(|()| found.file.sync()).map_err(LogError::io(&found.path))?;
        }
        Ok((sealed(footer), None))
    }

    fn note_tail(&mut self, found: &Found, bytes: &[u8], end: usize) {
        let rest = bytes.get(end..).unwrap_or_default();
        let torn = rest.get(..written(rest)).unwrap_or_default();
        if torn.is_empty() || self.options.recover == Recover::ServeReadable {
            return;
        }
        let (segment, path, file) = (found.header.first, found.path.clone(), Arc::clone(&found.file));
        self.torn = Some(Torn { segment, path, file, end, bytes: torn.to_owned() });
    }

    fn cut_tail(&mut self) -> Result<(), LogError> {
        if let Some(torn) = self.torn.take() {
            take(Branch::TornTail);
            self.cut = Some(torn.cut(self.fs, self.options)?);
        }
        Ok(())
    }

    /// Holds the end that was found against the evidence (R6), and gives the one that counts.
    fn check_end(&mut self, list: &[Arc<Segment>], durable: Option<Durable>) -> Result<Offset, LogError> {
        let recovered = list.last().map_or(Offset::ZERO, |segment| segment.next());
        let noted = durable.map_or(Offset::ZERO, |durable| durable.committed);
        let (proven, evidence) =
            if noted >= self.options.proven { (noted, "durable.meta") } else { (self.options.proven, "the ledger") };
        if proven <= recovered {
            return Ok(recovered);
        }
        take(Branch::LostData);
        let dir = self.options.dir.clone();
        if self.options.recover != Recover::ServeReadable {
            return Err(LogError::LostData { dir, recovered, proven, evidence });
        }
        let detail = format!("the log ends before what {evidence} says was synced");
        self.met(Damage { path: dir, position: 0, span: Span::new(recovered, proven), detail })?;
        Ok(proven)
    }
}

fn sealed(footer: Footer) -> Extent {
    Extent { end: footer.position, next: footer.next, last_time: footer.last_time, footer: Some(footer) }
}

impl Recovered {
    /// After an unclean stop the page cache is not trusted: what lies beyond the evidence is written again
    /// in place and synced, before anybody relies on it (R7).
    fn write_again(&mut self, durable: Option<Durable>) -> Result<(), LogError> {
        let (Some(durable), Some(segment)) = (durable, self.segments.list().pop()) else { return Ok(()) };
        let extent = *segment.extent.read();
        let begin = segment.header.records_start();
        let from = if durable.segment == segment.first() { durable.position.max(begin) } else { begin };
        // A footer that was seen may never have reached the disk either.
        let end = extent.footer.map_or(extent.end, |footer| footer.position + FOOTER_BYTES as u64);
        take(if end > from { Branch::Beyond } else { Branch::Clean });
        if end > from {
            let len = usize::try_from(end - from).unwrap_or(usize::MAX);
            let bytes = segment.read_bytes(from, len)?;
            let again = segment.file.write_at(&bytes, from).and_then(|()| segment.file.sync());
            again.map_err(LogError::io(&segment.path))?;
        }
        // The evidence too: what was read of it may have been in the page cache only.
        let Some(meta) = &mut self.meta else { return Ok(()) };
        let noted = meta.write(extent.next, segment.first(), extent.end).and_then(|()| meta.sync());
        noted.map_err(LogError::io(meta.path()))
    }

    /// The log's id.
    #[must_use]
    pub fn log_id(&self) -> [u8; 16] {
        self.log_id
    }

    /// What can be read of it.
    #[must_use]
    pub fn segments(&self) -> Arc<Segments> {
        Arc::clone(&self.segments)
    }

    /// The time of the newest record.
    #[must_use]
    pub fn last_time(&self) -> Timestamp {
        self.segments.list().last().map_or(Timestamp(0), |segment| segment.last_time())
    }
}
