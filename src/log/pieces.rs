//! What a segment consists of when nothing about it is taken for granted: records that are whole, and stretches that
//! cannot be read.

use super::error::{Damage, LogError};
use super::judge::Unsealed;
use super::record::{self, Bad, MAGIC, RecordHeader, SNAPSHOT_MAGIC};
use super::scan::{note_digest, scan};
use super::segment::{self, DATA_START, Footer, SegmentHeader};
use super::segments::{fits, resync};
use super::{LogOptions, names};
use crate::fs::{self, Fs, Open};
use crate::model::{Offset, Span};
use sha2::{Digest, Sha256};
use std::io;
use std::path::Path;

/// A stretch of a segment.
pub(super) enum Piece {
    /// A record that is whole: where it stands and how long it is.
    Record(usize, RecordHeader),
    /// Offsets that cannot be read.
    Lost(Damage),
}

pub(super) struct Old {
    pub(super) first: Offset,
    pub(super) path: std::path::PathBuf,
    pub(super) bytes: Vec<u8>,
    pub(super) header: Option<SegmentHeader>,
    pub(super) footer: Option<Footer>,
    /// Whether one of the header's two copies is damaged.
    pub(super) one_header: bool,
    /// Where zeros stand for what the disk does not give back.
    pub(super) refused: Vec<std::ops::Range<u64>>,
}

pub(super) fn read(
    fs: &dyn Fs,
    options: &LogOptions,
    first: Offset,
    log_id: Option<[u8; 16]>,
) -> Result<Old, LogError> {
    let path = options.dir.join(names::segment(first));
    let (bytes, refused) = read_all(fs, &path).map_err(LogError::io(&path))?;
    let (header, both) = match SegmentHeader::decode(&bytes) {
        Ok((header, both)) => (Some(header), both),
        Err(segment::BadHeader::Version(found)) => {
            return Err(LogError::Unknown { path, what: "format version", found });
        }
        Err(segment::BadHeader::Damaged) => (None, true),
    };
    let header = header.filter(|header| {
        header.kind == options.kind && header.first == first && log_id.is_none_or(|id| id == header.log_id)
    });
    let footer = header.and_then(|header| {
        let found = segment::find_footer(&bytes, DATA_START as usize, header.nonce)?;
        (found.first == first).then_some(found)
    });
    Ok(Old { first, path, bytes, header, footer, one_header: !both, refused })
}

/// All of a file, with zeros for what the disk does not give back.
fn read_all(fs: &dyn Fs, path: &Path) -> io::Result<(Vec<u8>, Vec<std::ops::Range<u64>>)> {
    let file = fs.open(path, Open::Read)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(usize::MAX)];
    let (read, refused) = fs::read_around(&*file, &mut bytes, 0)?;
    if !refused.is_empty() {
        tracing::error!(path = %path.display(), ?refused, "the disk does not give these bytes back");
    }
    bytes.truncate(read);
    Ok((bytes, refused))
}

/// The whole snapshot of a segment, if it has one.
pub(super) fn snapshot(old: &Old) -> Option<&[u8]> {
    let header = old.header.filter(|header| header.snapshot_len > 0)?;
    let rest = old.bytes.get(DATA_START as usize..)?;
    let (found, body) = record::parse(rest, header.nonce, SNAPSHOT_MAGIC).ok()?;
    (found.record_len() as u64 == header.snapshot_len).then_some(body)
}

/// What a segment consists of, and where its records end.
///
/// # Errors
/// A record of a kind that this version does not know: whoever wrote it can read it, and nothing is lost (R11).
pub(super) fn pieces(old: &Old, following: Option<Offset>, proven: Offset) -> Result<(Vec<Piece>, usize), LogError> {
    let lost = |position: usize, span: Span, detail: &str| {
        Piece::Lost(Damage { path: old.path.clone(), position: position as u64, span, detail: detail.to_owned() })
    };
    let until = old.footer.map(|footer| footer.next).or(following);
    let Some(header) = old.header else {
        let to = until.unwrap_or(proven);
        let nothing = to <= old.first;
        let gone = lost(0, Span::new(old.first, to), "its header cannot be read, or it is of another log or place");
        return Ok((if nothing { Vec::new() } else { vec![gone] }, 0));
    };
    let mut pieces = Vec::new();
    let mut at = usize::try_from(header.records_start()).unwrap_or(usize::MAX);
    let mut next = old.first;
    let bound = until.unwrap_or(Offset(u64::MAX));
    loop {
        let rest = old.bytes.get(at..).unwrap_or_default();
        match record::parse(rest, header.nonce, MAGIC) {
            Ok((found, body)) if fits(&found, next) => {
                if let Some(behind) = record::behind(&found, body) {
                    pieces.push(Piece::Record(at, found));
                    at += found.record_len();
                    next = behind;
                    continue;
                }
            }
            Err(Bad::Kind(found)) => {
                return Err(LogError::Unknown { path: old.path.clone(), what: "record kind", found });
            }
            _ => {}
        }
        // The next record that is whole, wherever it stands.
        let Some((found, record)) = resync(&old.bytes, at + 1, header.nonce, next, bound) else { break };
        pieces.push(lost(at, Span::new(next, record.offset), "no valid record"));
        (at, next) = (found, record.offset);
    }
    if until.is_none() {
        let (good, before) = scan(&old.bytes, &header);
        let kept = before.as_ref().unwrap_or(&good);
        let (path, header, bytes) = (&*old.path, &header, &*old.bytes);
        let (kept_to, durable) = (kept.next, None);
        let tail = Unsealed { path, header, bytes, good: &good, kept: kept_to, last: true, durable, proven };
        if tail.damage().is_none() {
            // A plain torn tail, and an atomic batch that it tore in two: what a start cuts is not put in place here.
            pieces.retain(|piece| matches!(piece, Piece::Record(at, _) if *at < kept.end));
            return Ok((pieces, kept.end));
        }
    }
    match until {
        Some(to) if next < to => pieces.push(lost(at, Span::new(next, to), "no valid record")),
        Some(_) => {}
        // The newest segment, with damage in it: what is behind that may be a batch that is not whole.
        None if pieces.iter().any(|piece| matches!(piece, Piece::Lost(_))) => drop_torn_batch(&mut pieces, proven),
        None => {}
    }
    Ok((pieces, at))
}

/// Whether the file ends with a footer that fits its records.
pub(super) fn is_sealed(old: &Old, pieces: &[Piece], end: usize) -> bool {
    let mut digest = Sha256::new();
    for piece in pieces {
        if let Piece::Record(at, header) = piece {
            note_digest(&mut digest, old.bytes.get(*at..).unwrap_or_default(), header);
        }
    }
    old.footer.is_some_and(|footer| {
        footer.position == end as u64
            && old.bytes.len() == end + segment::FOOTER_BYTES
            && footer.count == pieces.len() as u64
            && footer.digest == <[u8; 32]>::from(digest.finalize())
    })
}

/// Whether anything but zeros stands behind the footer at `end`.
pub(super) fn trails(old: &Old, end: usize) -> bool {
    old.bytes.get(end + segment::FOOTER_BYTES..).is_some_and(|rest| rest.iter().any(|byte| *byte != 0))
}

/// Takes off a last batch that is not whole, unless it is known to have been synced.
fn drop_torn_batch(pieces: &mut Vec<Piece>, proven: Offset) {
    if !matches!(pieces.last(), Some(Piece::Record(_, header)) if header.batch_left > 0) {
        return;
    }
    let mut follows: Option<u32> = None;
    while let Some(Piece::Record(_, header)) = pieces.last() {
        let same_batch = follows.is_none_or(|left| header.batch_left == left + 1);
        if !same_batch || header.offset < proven {
            break;
        }
        follows = Some(header.batch_left);
        pieces.pop();
    }
}

pub(super) fn pieces_end(old: &Old, pieces: &[Piece]) -> Offset {
    match pieces.last() {
        Some(Piece::Record(at, header)) => {
            let body = old.bytes.get(at + record::HEADER_BYTES..at + header.record_len()).unwrap_or_default();
            record::behind(header, body).unwrap_or(header.offset.next())
        }
        _ => old.first,
    }
}
