//! Checking a log that nobody has open: every checksum, every offset, every footer.

use super::error::LogError;
use super::judge::Unsealed;
use super::meta::{Durable, Meta};
use super::record::{self, Bad, RecordHeader, RecordKind};
use super::scan;
use super::segment::{self, BadHeader, FOOTER_BYTES, Footer, SegmentHeader};
use super::segments::{fits, resync};
use super::{LogKind, names};
use crate::fs::{self, Fs, Open};
use crate::model::{Offset, Span};
use std::path::{Path, PathBuf};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which file.
    pub path: PathBuf,
    /// The byte at which it shows.
    pub position: u64,
    /// The offsets concerned.
    pub span: Span,
    /// What it is.
    pub detail: String,
    /// Whether it is harm; a torn tail is not, the next start sets it aside.
    pub harm: bool,
}

/// What a check of a log found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Everything that is not as it should be.
    pub findings: Vec<Finding>,
    /// Offsets between two segments that are in no file: harm, but for what retention was taking when it ended.
    pub holes: Vec<Finding>,
    /// Records whose checksums hold.
    pub records: u64,
    /// Segments looked at.
    pub segments: u64,
    /// The oldest segment.
    pub oldest: Option<PathBuf>,
    /// The oldest offset.
    pub start: Offset,
    /// The offset after the newest record.
    pub end: Offset,
    /// The log's id, as its evidence or its first readable segment tells it; none where there is no log.
    pub log_id: Option<[u8; 16]>,
}

/// Looks at a good record or snapshot: its header, body, file and position; says what is wrong with it.
pub type Visit<'a> = &'a mut dyn FnMut(&RecordHeader, &[u8], &Path, u64) -> Result<(), String>;

/// Reads a whole log without changing anything; `visit` gets each good record and its body.
///
/// `proven` is the offset up to which the other log proves that this one was synced, 0 where it proves nothing.
///
/// # Errors
/// Only the file system's: damage is a finding.
pub fn verify(fs: &dyn Fs, dir: &Path, kind: LogKind, proven: Offset, visit: Visit<'_>) -> Result<Verified, LogError> {
    let mut firsts: Vec<Offset> =
        fs.list(dir).map_err(LogError::io(dir))?.iter().filter_map(|name| names::parse_segment(name)).collect();
    firsts.sort_unstable();
    let mut found = Verified {
        start: firsts.first().copied().unwrap_or_default(),
        oldest: firsts.first().map(|first| dir.join(names::segment(*first))),
        ..Verified::default()
    };
    let meta = match Meta::read(fs, dir, kind) {
        Ok(None) if !firsts.is_empty() => {
            let detail = "is missing beside segments, so how far the log was durable is not known";
            found.note(&dir.join(names::META), 0, Span::new(Offset::ZERO, Offset::ZERO), detail, true);
            None
        }
        Ok(meta) => meta.map(|(meta, _)| meta),
        Err(LogError::Io { path, source }) => return Err(LogError::Io { path, source }),
        Err(error) => {
            found.note(&dir.join(names::META), 0, Span::new(Offset::ZERO, Offset::ZERO), error.to_string(), true);
            None
        }
    };
    found.log_id = meta.map(|meta| meta.log_id);
    let mut expected = firsts.first().copied();
    for (n, first) in firsts.iter().enumerate() {
        let path = dir.join(names::segment(*first));
        if let Some(before) = expected.filter(|expected| expected != first) {
            let (span, detail) =
                (Span::new(before.min(*first), before.max(*first)), "a hole in offsets before it".to_owned());
            found.holes.push(Finding { path: path.clone(), position: 0, span, detail, harm: true });
        }
        let evidence = Evidence { last: n + 1 == firsts.len(), durable: meta, proven };
        let next = found.segment(fs, &path, kind, *first, &evidence, visit)?;
        expected = Some(next.max(*first));
        found.end = next.max(*first);
        found.segments += 1;
    }
    if let Some(meta) = meta.filter(|meta| meta.committed > found.end) {
        let span = Span::new(found.end, meta.committed);
        found.note(dir, 0, span, "the log ends before what durable.meta says was synced", true);
    }
    Ok(found)
}

/// What tells of a segment's end how far it was synced.
struct Evidence {
    last: bool,
    durable: Option<Durable>,
    proven: Offset,
}

impl Verified {
    fn note(&mut self, path: &Path, position: u64, span: Span, detail: impl Into<String>, harm: bool) {
        self.findings.push(Finding { path: path.to_owned(), position, span, detail: detail.into(), harm });
    }

    /// Checks one segment and gives the offset behind it.
    fn segment(
        &mut self,
        fs: &dyn Fs,
        path: &Path,
        kind: LogKind,
        first: Offset,
        evidence: &Evidence,
        visit: Visit<'_>,
    ) -> Result<Offset, LogError> {
        let file = fs.open(path, Open::Read).map_err(LogError::io(path))?;
        let len = usize::try_from(file.len().map_err(LogError::io(path))?).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        let (read, refused) = fs::read_around(&*file, &mut bytes, 0).map_err(LogError::io(path))?;
        for bytes in refused {
            let detail = format!("{} bytes that the disk does not give back", bytes.end - bytes.start);
            self.note(path, bytes.start, Span::new(first, first), detail, true);
        }
        bytes.truncate(read);
        let header = match SegmentHeader::decode(&bytes) {
            Ok((header, both)) => {
                if !both {
                    self.note(
                        path,
                        0,
                        Span::new(first, first),
                        "a copy of the header, or what stands between the copies, is damaged",
                        true,
                    );
                }
                header
            }
            Err(BadHeader::Version(found)) => {
                self.note(path, 8, Span::new(first, first), format!("format version {found} is not known"), true);
                return Ok(first);
            }
            Err(BadHeader::Damaged) => {
                self.note(path, 0, Span::new(first, first), "neither copy of the header is valid", true);
                return Ok(first);
            }
        };
        if header.kind != kind || header.first != first || self.log_id.is_some_and(|id| id != header.log_id) {
            self.note(path, 0, Span::new(first, first), "a segment of another log or another place", true);
            return Ok(first);
        }
        self.log_id = Some(header.log_id);
        self.snapshot(path, &bytes, &header, visit);
        let (good, before) = scan::scan(&bytes, &header);
        let begin = (usize::try_from(header.records_start()).unwrap_or(usize::MAX), first);
        self.visit(path, &bytes, &header, begin, good.end, visit);
        let tail = bytes.get(good.end..).unwrap_or_default();
        if let Some(footer) = Footer::decode(tail, header.nonce) {
            let span = Span::new(first, good.next);
            let behind = tail.get(FOOTER_BYTES..).unwrap_or_default();
            if before.is_some() || !good.is_sealed_by(&footer, first) {
                self.note(path, good.end as u64, span, "the footer does not fit the records before it", true);
            } else if behind.iter().any(|byte| *byte != 0) {
                self.note(
                    path,
                    (good.end + FOOTER_BYTES) as u64,
                    Span::new(good.next, good.next),
                    "bytes behind the segment's footer",
                    true,
                );
            }
            return Ok(good.next);
        }
        if let Bad::Kind(kind) = good.stop {
            let span = Span::new(good.next, good.next);
            self.note(path, good.end as u64, span, format!("record kind {kind} is not known"), true);
            return Ok(good.next);
        }
        if let Some(footer) = segment::find_footer(&bytes, good.end, header.nonce) {
            self.around(path, &bytes, &header, &good, footer.next, visit);
            return Ok(footer.next);
        }
        let kept = before.as_ref().map_or(good.next, |before| before.next);
        let &Evidence { last, durable, proven } = evidence;
        let (header, bytes) = (&header, &bytes);
        let unsealed = Unsealed { path, header, bytes, good: &good, kept, last, durable, proven };
        if let Some((_, damage)) = unsealed.damage() {
            let to = damage.span.to;
            self.note(path, damage.position, damage.span, damage.detail, true);
            return Ok(to);
        }
        if !matches!(good.stop, Bad::Blank) || tail.iter().any(|b| *b != 0) || before.is_some() {
            self.note(
                path,
                good.end as u64,
                Span::new(good.next, unsealed.end_of_valid()),
                "a torn tail, never acknowledged; the next start sets it aside",
                false,
            );
        }
        Ok(kept)
    }

    /// Goes on behind a bad record of a sealed segment, from each record that is whole again.
    fn around(
        &mut self,
        path: &Path,
        bytes: &[u8],
        header: &SegmentHeader,
        good: &scan::Scanned,
        to: Offset,
        visit: Visit<'_>,
    ) {
        let (mut at, mut next) = (good.end, good.next);
        loop {
            let whole = resync(bytes, at + 1, header.nonce, next, to);
            let span = Span::new(next, whole.as_ref().map_or(to, |(_, record)| record.offset));
            self.note(path, at as u64, span, "a bad record in a sealed segment", true);
            let Some((found, record)) = whole else { return };
            (at, next) = self.visit(path, bytes, header, (found, record.offset), bytes.len(), visit);
            if next >= to {
                return;
            }
        }
    }

    fn snapshot(&mut self, path: &Path, bytes: &[u8], header: &SegmentHeader, visit: Visit<'_>) {
        if header.snapshot_len == 0 {
            return;
        }
        let rest = bytes.get(segment::DATA_START as usize..).unwrap_or_default();
        let wrong = match record::parse(rest, header.nonce, record::SNAPSHOT_MAGIC) {
            Ok((record, body)) if record.record_len() as u64 == header.snapshot_len => {
                visit(&record, body, path, segment::DATA_START).err()
            }
            _ => Some("the snapshot's checksum does not hold".to_owned()),
        };
        if let Some(detail) = wrong {
            self.note(path, segment::DATA_START, Span::new(header.first, header.first), detail, true);
        }
    }

    /// Shows the records from a place and offset on, up to `end` or the first that is not whole, and gives where that is.
    fn visit(
        &mut self,
        path: &Path,
        bytes: &[u8],
        header: &SegmentHeader,
        (mut at, mut next): (usize, Offset),
        end: usize,
        visit: Visit<'_>,
    ) -> (usize, Offset) {
        while at < end {
            let rest = bytes.get(at..).unwrap_or_default();
            let Ok((record, body)) = record::parse(rest, header.nonce, record::MAGIC) else { break };
            let Some(behind) = record::behind(&record, body).filter(|_| fits(&record, next)) else { break };
            if record.kind == RecordKind::Gap {
                let span = Span::new(record.offset, behind);
                self.note(path, at as u64, span, "given up by an operator, told as a gap", false);
            } else {
                self.records += 1;
                if let Err(detail) = visit(&record, body, path, at as u64) {
                    self.note(path, at as u64, Span::one(record.offset), detail, true);
                }
            }
            (at, next) = (at + record.record_len(), behind);
        }
        (at, next)
    }
}
