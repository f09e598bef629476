//! What all rows of a view come to, whatever their order.

/// How many rows there are, and the sum of their checksums: it tells rows that are missing, come back or changed by
/// damage. Nobody who forges them is kept out; the ledger is the truth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Digest {
    rows: u64,
    sum: u64,
}

impl Digest {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.rows = self.rows.wrapping_add(1);
        self.sum = self.sum.wrapping_add(checksum(key, value));
    }

    fn take(&mut self, key: &[u8], value: &[u8]) {
        self.rows = self.rows.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(checksum(key, value));
    }

    pub(super) fn encode(self) -> [u8; 16] {
        (u128::from(self.rows) << 64 | u128::from(self.sum)).to_be_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let both = u128::from_be_bytes(*bytes.first_chunk()?);
        Some(Self { rows: u64::try_from(both >> 64).ok()?, sum: u64::try_from(both & u128::from(u64::MAX)).ok()? })
    }
}

fn checksum(key: &[u8], value: &[u8]) -> u64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(value);
    u64::from(hasher.finalize())
}

/// The digest, and the bytes that the rows hold.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rows {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
}

impl Rows {
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.digest.add(key, value);
        self.bytes += (key.len() + value.len()) as u64;
    }

    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) {
        self.digest.take(key, value);
        self.bytes = self.bytes.saturating_sub((key.len() + value.len()) as u64);
    }
}
