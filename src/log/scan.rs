//! Going through a segment's records: a block for a reader, the whole for recovery and the index.

use super::error::LogError;
use super::index::{Index, Mark};
use super::record::{self, Bad, MAGIC, RecordHeader, RecordKind};
use super::segment::{Footer, SegmentHeader};
use super::segments::{Block, Extent, Hint, Record, Segment, fits, resync};
use crate::model::{Offset, Span, Timestamp, limits};
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// What the records at the start of a segment amount to, up to the first bytes that are none.
#[derive(Clone)]
pub(crate) struct Scanned {
    /// Where the last good record ends.
    pub(crate) end: usize,
    /// The offset after it.
    pub(crate) next: Offset,
    /// The last good record's time.
    pub(crate) last_time: Timestamp,
    /// Good records.
    pub(crate) count: u64,
    /// The running digest of the footer.
    pub(crate) digest: Sha256,
    /// Why the next bytes are no record.
    pub(crate) stop: Bad,
}

impl Scanned {
    /// Whether this footer, found where these records end, is theirs: of a segment that begins at `first`.
    pub(crate) fn is_sealed_by(&self, footer: &Footer, first: Offset) -> bool {
        footer.first == first
            && footer.next == self.next
            && footer.count == self.count
            && footer.position == self.end as u64
            && footer.digest == <[u8; 32]>::from(self.digest.clone().finalize())
    }
}

/// Goes through all records of a segment's bytes.
///
/// Where the records end inside an atomic batch, the second result is the state before that batch.
pub(crate) fn scan(bytes: &[u8], header: &SegmentHeader) -> (Scanned, Option<Scanned>) {
    let mut now = Scanned {
        end: usize::try_from(header.records_start()).unwrap_or(usize::MAX),
        next: header.first,
        last_time: header.time_floor,
        count: 0,
        digest: Sha256::new(),
        stop: Bad::Blank,
    };
    let mut group = header.first;
    let mut before_batch: Option<(Scanned, u32)> = None;
    loop {
        let rest = bytes.get(now.end..).unwrap_or_default();
        let (record, behind) = match record::parse(rest, header.nonce, MAGIC) {
            Ok((record, body)) => (record, record::behind(&record, body)),
            Err(bad) => {
                now.stop = bad;
                break;
            }
        };
        // A group begins where its own first offset stands, or goes on from the record before.
        let in_group = record.durable == now.next || (record.durable == group && now.count > 0);
        let batch_goes_on =
            before_batch.as_ref().is_none_or(|(_, left)| record.batch_left.checked_add(1) == Some(*left));
        let Some(behind) = behind.filter(|_| fits(&record, now.next)) else {
            now.stop = Bad::Header;
            break;
        };
        if !in_group || record.time < now.last_time || !batch_goes_on {
            now.stop = Bad::Header;
            break;
        }
        if record.batch_left > 0 && before_batch.is_none() {
            before_batch = Some((now.clone(), record.batch_left));
        } else if record.batch_left == 0 {
            before_batch = None;
        } else if let Some((_, left)) = &mut before_batch {
            *left = record.batch_left;
        }
        group = record.durable;
        note_digest(&mut now.digest, rest, &record);
        now.end += record.record_len();
        now.next = behind;
        now.last_time = record.time;
        now.count += 1;
    }
    let before = before_batch.map(|(mut before, _)| {
        before.stop = now.stop;
        before
    });
    (now, before)
}

/// Adds a record to the digest that the footer holds: both of its CRCs.
pub(crate) fn note_digest(digest: &mut Sha256, encoded: &[u8], header: &RecordHeader) {
    digest.update(encoded.get(4..8).unwrap_or_default());
    digest.update(header.body_crc.to_le_bytes());
}

/// Reads a block: from a known place, the records at or after `from`.
pub(crate) fn read_block(
    segment: &Segment,
    extent: &Extent,
    offset: Offset,
    position: u64,
    from: Offset,
    max_bytes: usize,
) -> Result<Block, LogError> {
    let mut at = offset;
    let mut position = position;
    let mut len = max_bytes.max(limits::READ_BLOCK_BYTES);
    let mut records = Vec::new();
    while records.is_empty() && at < extent.next {
        // A file that is served around may end before its first record.
        let left = usize::try_from(extent.end.saturating_sub(position)).unwrap_or(usize::MAX);
        let block = Bytes::from(segment.read_bytes(position, len.min(left))?);
        let mut used = 0;
        while at < extent.next {
            let rest = block.get(used..).unwrap_or_default();
            if rest.is_empty() && used > 0 && block.len() < left {
                // Passed over by headers alone, beyond the end of the block.
                break;
            }
            // What lies before `from` is passed over by its header alone.
            let parsed = if at < from {
                record::parse_header(rest, segment.header.nonce, MAGIC)
            } else {
                record::parse(rest, segment.header.nonce, MAGIC).map(|(header, _)| header)
            };
            // A gap's end stands in its body.
            let (parsed, behind) = match parsed {
                Ok(header) if header.kind == RecordKind::Gap => {
                    match record::parse(rest, segment.header.nonce, MAGIC) {
                        Ok((header, body)) => (Ok(header), record::behind(&header, body)),
                        Err(bad) => (Err(bad), None),
                    }
                }
                other => (other, Some(at.next())),
            };
            let header = match parsed {
                Ok(header) if fits(&header, at) && behind.is_some() => header,
                Err(Bad::Short { needed }) if block.len() < left && block.len() >= len.min(left) => {
                    len = len.max(needed);
                    break;
                }
                Err(Bad::Kind(found)) => {
                    return Err(LogError::Unknown { path: segment.path.clone(), what: "record kind", found });
                }
                Err(_) | Ok(_) if !records.is_empty() => break,
                bad => return Err(damaged(segment, extent, position + used as u64, at, bad.err())),
            };
            let behind = behind.unwrap_or(at.next());
            if header.kind == RecordKind::Gap && behind > from {
                if !records.is_empty() {
                    break;
                }
                let position = position + (used + header.record_len()) as u64;
                let hint = Some(Hint { segment: segment.first(), offset: behind, position });
                return Ok(Block { records, next: behind, hint, gap: Some(Span::new(at.max(from), behind)) });
            }
            if at >= from && header.kind != RecordKind::Gap {
                let body = block.slice(used + record::HEADER_BYTES..used + header.record_len());
                records.push(Record { header, body });
            }
            used += header.record_len();
            at = behind;
        }
        position += used as u64;
    }
    let hint = Some(Hint { segment: segment.first(), offset: at, position });
    Ok(Block { records, next: at, hint, gap: None })
}

fn damaged(segment: &Segment, extent: &Extent, position: u64, at: Offset, bad: Option<Bad>) -> LogError {
    let detail = match bad {
        Some(Bad::Body(_)) => "the body's checksum does not hold",
        Some(Bad::Blank) => "zeros where a record belongs",
        Some(Bad::Short { .. }) => "the file ends inside a record",
        Some(Bad::Header | Bad::Kind(_)) => "no valid record header",
        None => "a valid record of another place",
    };
    let rest = usize::try_from(extent.end.saturating_sub(position)).unwrap_or(usize::MAX);
    match segment.read_bytes(position, rest) {
        Err(error) => error,
        Ok(bytes) => {
            let behind = resync(&bytes, 1, segment.header.nonce, at, extent.next);
            segment
                .damage(position, Span::new(at, behind.map_or(extent.next, |(_, record)| record.offset)), detail)
                .into()
        }
    }
}

/// Goes through a segment's headers for its index.
pub(crate) fn build_index(segment: &Segment) -> Result<Index, LogError> {
    let extent = *segment.extent.read();
    let mut index = Index::default();
    let mut hint = Hint { segment: segment.first(), offset: segment.first(), position: segment.header.records_start() };
    while hint.offset < extent.next {
        let block =
            match read_block(segment, &extent, hint.offset, hint.position, hint.offset, limits::READ_BLOCK_BYTES) {
                // What lies behind damage is found from a mark of its own: the next record that is whole.
                Err(LogError::Damaged(damage)) => {
                    let rest = usize::try_from(extent.end.saturating_sub(damage.position)).unwrap_or(usize::MAX);
                    let bytes = segment.read_bytes(damage.position, rest)?;
                    let behind = resync(&bytes, 1, segment.header.nonce, damage.span.from, extent.next);
                    let Some((found, record)) = behind else { break };
                    let (offset, position) = (record.offset, damage.position + found as u64);
                    // With its own time: marks that do not ascend would hide what stands before the damage.
                    index.force(Mark { offset, time: record.time, position });
                    hint = Hint { segment: segment.first(), offset, position };
                    continue;
                }
                other => other?,
            };
        let mut position = hint.position;
        for record in &block.records {
            index.note(Mark { offset: record.header.offset, time: record.header.time, position });
            position += record.header.record_len() as u64;
        }
        let Some(next) = block.hint else { break };
        hint = next;
    }
    Ok(index)
}
