//! One record: a fixed header, then the body (docs/FORMAT.md, "Record").

use super::bytes::{u32_at, u64_at};
use crate::model::{Offset, Timestamp, limits};

/// Bytes of a record's header.
pub(crate) const HEADER_BYTES: usize = 48;
/// Never zero, so that preallocated zeros are no record.
pub(crate) const MAGIC: [u8; 4] = *b"SREC";
/// A ledger segment's snapshot: framed like a record, but it has no offset of its own.
pub(crate) const SNAPSHOT_MAGIC: [u8; 4] = *b"SNAP";

/// What a record's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum RecordKind {
    /// A published event.
    Event = 1,
    /// A ledger entry.
    Entry = 2,
    /// The state that a ledger segment begins with.
    Snapshot = 3,
    /// Offsets that an operator gave up; the body is the offset behind them.
    Gap = 4,
}

impl RecordKind {
    fn parse(kind: u32) -> Option<Self> {
        match kind {
            1 => Some(Self::Event),
            2 => Some(Self::Entry),
            3 => Some(Self::Snapshot),
            4 => Some(Self::Gap),
            _ => None,
        }
    }
}

/// A record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of the body.
    pub body_len: u32,
    /// CRC-32 of the body.
    pub body_crc: u32,
    /// The record's place in the log.
    pub offset: Offset,
    /// The first offset of its commit group: everything below was synced before it was written.
    pub durable: Offset,
    /// When it was appended; never decreasing.
    pub time: Timestamp,
    /// Records of the same atomic batch that still follow.
    pub batch_left: u32,
    /// What the body is.
    pub kind: RecordKind,
}

impl RecordHeader {
    /// The header's bytes, all but the CRC, which needs the segment's nonce and is set by [`seal_header`].
    pub(crate) fn encode(&self, magic: [u8; 4]) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let parts: [(usize, &[u8]); 8] = [
            (0, &magic),
            (8, &self.body_len.to_le_bytes()),
            (12, &self.body_crc.to_le_bytes()),
            (16, &self.offset.0.to_le_bytes()),
            (24, &self.durable.0.to_le_bytes()),
            (32, &self.time.0.to_le_bytes()),
            (40, &self.batch_left.to_le_bytes()),
            (44, &(self.kind as u32).to_le_bytes()),
        ];
        for (at, bytes) in parts {
            if let Some(place) = out.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        }
        out
    }

    /// Bytes of the whole record.
    #[must_use]
    pub fn record_len(&self) -> usize {
        HEADER_BYTES + self.body_len as usize
    }
}

/// CRC over the nonce and what the header says, so that no payload can contain a record that recovery believes (R1).
fn header_crc(nonce: u64, header: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&nonce.to_le_bytes());
    crc.update(header.get(..4).unwrap_or_default());
    crc.update(header.get(8..HEADER_BYTES).unwrap_or_default());
    crc.finalize()
}

/// Sets the CRC of an encoded header.
pub(crate) fn seal_header(nonce: u64, header: &mut [u8]) -> u32 {
    let crc = header_crc(nonce, header);
    if let Some(place) = header.get_mut(4..8) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
    crc
}

/// Why the bytes at some place are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    /// Nothing was written here: the magic's four bytes are zero, or no byte is left.
    Blank,
    /// The bytes end inside the header, or inside the body that the header announces.
    Short {
        /// Bytes that would be needed.
        needed: usize,
    },
    /// Magic or header CRC are wrong, or a length exceeds the limit.
    Header,
    /// The body's CRC is wrong.
    Body(RecordHeader),
    /// A valid header of a kind that this version does not know.
    Kind(u32),
}

/// Reads the header at the start of `bytes`. Its CRC is checked before anything it says is used.
pub(crate) fn parse_header(bytes: &[u8], nonce: u64, magic: [u8; 4]) -> Result<RecordHeader, Bad> {
    if bytes.iter().take(4).all(|b| *b == 0) {
        return Err(Bad::Blank);
    }
    let Some(header) = bytes.get(..HEADER_BYTES) else { return Err(Bad::Short { needed: HEADER_BYTES }) };
    if !header.starts_with(&magic) || u32_at(header, 4) != header_crc(nonce, header) {
        return Err(Bad::Header);
    }
    let number = u32_at(header, 44);
    let kind = RecordKind::parse(number).ok_or(Bad::Kind(number))?;
    // A snapshot stands in its own place only, and nothing else does there.
    if (kind == RecordKind::Snapshot) != (magic == SNAPSHOT_MAGIC) {
        return Err(Bad::Kind(number));
    }
    let parsed = RecordHeader {
        body_len: u32_at(header, 8),
        body_crc: u32_at(header, 12),
        offset: Offset(u64_at(header, 16)),
        durable: Offset(u64_at(header, 24)),
        time: Timestamp(u64_at(header, 32)),
        batch_left: u32_at(header, 40),
        kind,
    };
    let limit = if magic == SNAPSHOT_MAGIC { limits::MAX_SNAPSHOT_BYTES } else { limits::MAX_BODY_BYTES };
    if parsed.body_len as usize > limit {
        return Err(Bad::Header);
    }
    Ok(parsed)
}

/// Reads the record at the start of `bytes`: header and body, both checked.
pub(crate) fn parse(bytes: &[u8], nonce: u64, magic: [u8; 4]) -> Result<(RecordHeader, &[u8]), Bad> {
    let header = parse_header(bytes, nonce, magic)?;
    let needed = header.record_len();
    let body = bytes.get(HEADER_BYTES..needed).ok_or(Bad::Short { needed })?;
    if crc32fast::hash(body) != header.body_crc {
        return Err(Bad::Body(header));
    }
    Ok((header, body))
}

/// The offset behind a record: the next one, or where a gap ends. None where a gap's body is none.
pub(crate) fn behind(header: &RecordHeader, body: &[u8]) -> Option<Offset> {
    if header.kind != RecordKind::Gap {
        return Some(header.offset.next());
    }
    let to = Offset(u64::from_le_bytes(body.try_into().ok()?));
    (to > header.offset).then_some(to)
}

/// The next place at or after `from` where a valid header stands, wherever that is.
pub(crate) fn find_header(bytes: &[u8], from: usize, nonce: u64) -> Option<(usize, RecordHeader)> {
    let mut at = from;
    while let Some(rest) = bytes.get(at..) {
        // Records are not aligned, so every byte may begin one.
        let found = rest.windows(MAGIC.len()).position(|window| window == MAGIC)?;
        at += found;
        if let Ok(header) = parse_header(bytes.get(at..).unwrap_or_default(), nonce, MAGIC) {
            return Some((at, header));
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by the fuzz target `segment`: a record of another kind in the snapshot's place was shown as one.
    #[test]
    fn a_snapshot_stands_in_its_own_place_only() {
        let nonce = 7;
        for (kind, magic, good) in [
            (RecordKind::Snapshot, SNAPSHOT_MAGIC, true),
            (RecordKind::Gap, SNAPSHOT_MAGIC, false),
            (RecordKind::Entry, SNAPSHOT_MAGIC, false),
            (RecordKind::Snapshot, MAGIC, false),
            (RecordKind::Entry, MAGIC, true),
        ] {
            let (offset, durable) = (Offset(0), Offset(0));
            let (time, body_crc) = (Timestamp(0), crc32fast::hash(b""));
            let header = RecordHeader { body_len: 0, body_crc, offset, durable, time, batch_left: 0, kind };
            let mut bytes = header.encode(magic);
            seal_header(nonce, &mut bytes);
            assert_eq!(parse(&bytes, nonce, magic).is_ok(), good, "{kind:?} under {magic:?}");
        }
    }
}
