//! A segment's own bytes: the header at its start, the footer at its end (docs/FORMAT.md, "Segment").

use super::LogKind;
use super::bytes::{take, u32_at, u64_at};
use crate::model::{Offset, Timestamp};

/// The format that this version writes, and the only one that it reads.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// Bytes of one copy of the header.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;
/// Where the second copy stands: in another sector, so that one bad sector does not cost the nonce.
pub(crate) const SECOND_COPY: usize = 512;
/// Where records, or a ledger segment's snapshot, begin.
pub(crate) const DATA_START: u64 = 1024;
/// Bytes of the footer.
pub(crate) const FOOTER_BYTES: usize = 96;

const SEGMENT_MAGIC: [u8; 8] = *b"STENTSEG";
const FOOTER_MAGIC: [u8; 4] = *b"SEAL";

/// What a segment says at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) kind: LogKind,
    pub(crate) log_id: [u8; 16],
    pub(crate) first: Offset,
    pub(crate) nonce: u64,
    /// The time of the last record before this segment; times go on from here.
    pub(crate) time_floor: Timestamp,
    /// Bytes of the snapshot's record between the header and the first record; 0 where there is none.
    pub(crate) snapshot_len: u64,
}

/// Why a segment's header is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadHeader {
    Version(u32),
    Damaged,
}

impl SegmentHeader {
    /// Everything before the first record: both copies, zeros between.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        copy.extend_from_slice(&SEGMENT_MAGIC);
        copy.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        copy.extend_from_slice(&(self.kind as u32).to_le_bytes());
        copy.extend_from_slice(&self.log_id);
        copy.extend_from_slice(&self.first.0.to_le_bytes());
        copy.extend_from_slice(&self.nonce.to_le_bytes());
        copy.extend_from_slice(&self.time_floor.0.to_le_bytes());
        copy.extend_from_slice(&u32::try_from(self.snapshot_len).unwrap_or(u32::MAX).to_le_bytes());
        copy.extend_from_slice(&crc32fast::hash(&copy).to_le_bytes());
        let mut out = copy.clone();
        out.resize(SECOND_COPY, 0);
        out.extend_from_slice(&copy);
        out.resize(DATA_START as usize, 0);
        out
    }

    /// Reads the header from the segment's first bytes: either copy will do, but two that differ are damage.
    ///
    /// The second result tells whether both copies were sound, and nothing but zeros between them.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, bool), BadHeader> {
        let copies = (Self::decode_copy(bytes, 0), Self::decode_copy(bytes, SECOND_COPY));
        match copies {
            (Ok(a), Ok(b)) if a == b => Ok((a, is_blank(bytes))),
            (Ok(_), Ok(_)) => Err(BadHeader::Damaged),
            (Err(BadHeader::Version(v)), _) | (_, Err(BadHeader::Version(v))) => Err(BadHeader::Version(v)),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok((one, false)),
            (Err(BadHeader::Damaged), Err(BadHeader::Damaged)) => Err(BadHeader::Damaged),
        }
    }

    fn decode_copy(bytes: &[u8], at: usize) -> Result<Self, BadHeader> {
        let copy = bytes.get(at..at + SEGMENT_HEADER_BYTES).ok_or(BadHeader::Damaged)?;
        let crc = crc32fast::hash(copy.get(..60).unwrap_or_default());
        if !copy.starts_with(&SEGMENT_MAGIC) || u32_at(copy, 60) != crc {
            return Err(BadHeader::Damaged);
        }
        let version = u32_at(copy, 8);
        if version != FORMAT_VERSION {
            return Err(BadHeader::Version(version));
        }
        Ok(Self {
            kind: LogKind::parse(u32_at(copy, 12)).ok_or(BadHeader::Damaged)?,
            log_id: take(copy, 16),
            first: Offset(u64_at(copy, 32)),
            nonce: u64_at(copy, 40),
            time_floor: Timestamp(u64_at(copy, 48)),
            snapshot_len: u64::from(u32_at(copy, 56)),
        })
    }

    /// Where the first record stands.
    pub(crate) fn records_start(&self) -> u64 {
        DATA_START + self.snapshot_len
    }
}

/// Whether the bytes between the copies and behind them are as they were written: zeros.
fn is_blank(bytes: &[u8]) -> bool {
    let between = SEGMENT_HEADER_BYTES..SECOND_COPY;
    let behind = SECOND_COPY + SEGMENT_HEADER_BYTES..DATA_START as usize;
    [between, behind].into_iter().all(|part| bytes.get(part).is_some_and(|part| part.iter().all(|byte| *byte == 0)))
}

/// What a sealed segment says at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// Records in the segment.
    pub count: u64,
    /// The first one's offset.
    pub first: Offset,
    /// The offset after the last one's.
    pub next: Offset,
    /// Where the footer stands: the end of the last record.
    pub position: u64,
    /// The last record's time.
    pub last_time: Timestamp,
    /// SHA-256 over all records' header and body CRCs in order.
    pub digest: [u8; 32],
}

impl Footer {
    pub(crate) fn encode(&self, nonce: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        out.extend_from_slice(&FOOTER_MAGIC);
        out.extend_from_slice(&[0; 4]);
        for number in [self.count, self.first.0, self.next.0, self.position, self.last_time.0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.digest);
        out.resize(FOOTER_BYTES, 0);
        let crc = footer_crc(nonce, &out);
        out.splice(4..8, crc.to_le_bytes());
        out
    }

    /// Reads a footer; `None` where the bytes are none of this segment's.
    pub(crate) fn decode(bytes: &[u8], nonce: u64) -> Option<Self> {
        let bytes = bytes.get(..FOOTER_BYTES)?;
        (bytes.starts_with(&FOOTER_MAGIC) && u32_at(bytes, 4) == footer_crc(nonce, bytes)).then(|| Self {
            count: u64_at(bytes, 8),
            first: Offset(u64_at(bytes, 16)),
            next: Offset(u64_at(bytes, 24)),
            position: u64_at(bytes, 32),
            last_time: Timestamp(u64_at(bytes, 40)),
            digest: take(bytes, 48),
        })
    }
}

fn footer_crc(nonce: u64, footer: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&nonce.to_le_bytes());
    crc.update(footer.get(8..).unwrap_or_default());
    crc.finalize()
}

/// Whether a valid footer stands anywhere at or after `from`.
pub(crate) fn find_footer(bytes: &[u8], from: usize, nonce: u64) -> Option<Footer> {
    let rest = bytes.get(from..)?;
    rest.windows(FOOTER_MAGIC.len())
        .enumerate()
        .filter(|(_, window)| *window == FOOTER_MAGIC)
        .find_map(|(at, _)| Footer::decode(rest.get(at..)?, nonce))
}
