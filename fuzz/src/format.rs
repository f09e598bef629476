//! docs/FORMAT.md read a second time, by code that shares nothing with the broker's.

/// Bytes of a record's header.
pub const RECORD_HEADER: usize = 48;
/// Where records, or a snapshot, begin.
pub const DATA_START: usize = 1024;
/// Bytes of a footer.
pub const FOOTER: usize = 96;
/// Bytes of a record's body at most.
pub const MAX_BODY: u32 = (1 << 20) + (16 << 10);

/// A little-endian number; `None` where the bytes end before.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// A little-endian number; `None` where the bytes end before.
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// A segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub log: u32,
    pub log_id: [u8; 16],
    pub first: u64,
    pub nonce: u64,
    pub time_floor: u64,
    pub snapshot: u32,
}

/// Whether a copy of a header is sound, and which version it is of.
fn version(copy: &[u8]) -> Option<u32> {
    let copy = copy.get(..64)?;
    let sound = copy.starts_with(b"STENTSEG") && u32_at(copy, 60)? == crc32fast::hash(&copy[..60]);
    sound.then(|| u32_at(copy, 8))?
}

fn header_copy(copy: &[u8]) -> Option<Header> {
    let copy = copy.get(..64)?;
    let good = version(copy)? == 1 && matches!(u32_at(copy, 12)?, 1 | 2);
    good.then_some(Header {
        log: u32_at(copy, 12)?,
        log_id: copy[16..32].try_into().ok()?,
        first: u64_at(copy, 32)?,
        nonce: u64_at(copy, 40)?,
        time_floor: u64_at(copy, 48)?,
        snapshot: u32_at(copy, 56)?,
    })
}

/// The header of a segment: either copy will do, two valid ones that differ are damage, and a version that is not
/// known is not read.
pub fn header(segment: &[u8]) -> Option<Header> {
    let known = |at: usize| segment.get(at..).and_then(version).is_none_or(|version| version == 1);
    if !known(0) || !known(512) {
        return None;
    }
    match (header_copy(segment), segment.get(512..).and_then(header_copy)) {
        (Some(a), Some(b)) => (a == b).then_some(a),
        (a, b) => a.or(b),
    }
}

/// One record, both of whose checksums hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub at: usize,
    pub body_crc: u32,
    pub offset: u64,
    pub durable: u64,
    pub time: u64,
    pub batch_left: u32,
    pub kind: u32,
    pub body: &'a [u8],
}

/// The kind of a record that stands for offsets which were given up.
pub const GAP: u32 = 4;

/// The checksum of a record's header.
pub fn header_crc(nonce: u64, header: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&nonce.to_le_bytes());
    crc.update(&header[..4]);
    crc.update(&header[8..RECORD_HEADER]);
    crc.finalize()
}

/// The record that stands at a position.
pub fn record(segment: &[u8], at: usize, nonce: u64) -> Option<Record<'_>> {
    let header = segment.get(at..at.checked_add(RECORD_HEADER)?)?;
    let length = u32_at(header, 8)?;
    if !header.starts_with(b"SREC") || u32_at(header, 4)? != header_crc(nonce, header) || length > MAX_BODY {
        return None;
    }
    let body = segment.get(at + RECORD_HEADER..(at + RECORD_HEADER).checked_add(length as usize)?)?;
    let kind = u32_at(header, 44)?;
    (u32_at(header, 12)? == crc32fast::hash(body) && matches!(kind, 1 | 2 | GAP)).then_some(Record {
        at,
        body_crc: u32_at(header, 12)?,
        offset: u64_at(header, 16)?,
        durable: u64_at(header, 24)?,
        time: u64_at(header, 32)?,
        batch_left: u32_at(header, 40)?,
        kind,
        body,
    })
}

impl Record<'_> {
    /// The record as it is written.
    pub fn write(&self, nonce: u64) -> Vec<u8> {
        let mut out = b"SREC\0\0\0\0".to_vec();
        out.extend((self.body.len() as u32).to_le_bytes());
        out.extend(self.body_crc.to_le_bytes());
        out.extend(self.offset.to_le_bytes());
        out.extend(self.durable.to_le_bytes());
        out.extend(self.time.to_le_bytes());
        out.extend(self.batch_left.to_le_bytes());
        out.extend(self.kind.to_le_bytes());
        let crc = header_crc(nonce, &out);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out.extend(self.body);
        out
    }
}

/// The records from the start of a segment on, as far as each fits its place: offsets dense, groups and batches
/// whole, times never decreasing.
pub fn chain<'a>(segment: &'a [u8], header: &Header) -> Vec<Record<'a>> {
    let mut found: Vec<Record<'a>> = Vec::new();
    let mut at = DATA_START + header.snapshot as usize;
    let (mut expected, mut time) = (header.first, header.time_floor);
    while let Some(record) = record(segment, at, header.nonce) {
        let before = found.last();
        let group = record.durable == expected || before.is_some_and(|before| before.durable == record.durable);
        let batch = before
            .is_none_or(|before| before.batch_left == 0 || Some(before.batch_left) == record.batch_left.checked_add(1));
        if record.offset != expected || record.durable > expected || !group || record.time < time || !batch {
            break;
        }
        at += RECORD_HEADER + record.body.len();
        expected = match record.kind {
            GAP => match record.body.try_into().map(u64::from_le_bytes) {
                Ok(behind) if behind > expected => behind,
                _ => break,
            },
            _ => expected.saturating_add(1),
        };
        time = record.time;
        found.push(record);
    }
    found
}

/// Every record that stands anywhere in a segment with both checksums right.
pub fn anywhere<'a>(segment: &'a [u8], nonce: u64) -> impl Iterator<Item = Record<'a>> {
    memchr::memmem::find_iter(segment, b"SREC").filter_map(move |at| record(segment, at, nonce))
}
