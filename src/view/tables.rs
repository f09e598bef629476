//! The keys of the view.

/// What a row is about. Each has a letter, and numbers that follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Table {
    /// `(ledger offset, n)`: a receipt.
    Receipts = b'r',
    /// `(subscriber, ledger offset, n)`: a subscriber's receipts.
    BySubscriber = b's',
    /// `(subscriber, seeks, to, ledger offset, n)`: which receipt covers an offset.
    Coverage = b'c',
    /// `(subscriber)`: its name, its seeks, and what it asks for.
    People = b'p',
    /// `(subscriber, all bits of a ledger offset turned)`: the patterns in force from that entry on. Turned, so that
    /// the next key is the entry before.
    Patterns = b'f',
    /// `(ledger offset, subscriber)`: who was deleted, and the event log's end by then.
    Deleted = b'x',
    /// `(subscriber, offset)`: a dead letter.
    DeadLetters = b'd',
    /// `()`: the version of the rows.
    Version = b'v',
    /// `()`: how far the ledger was applied, and what all other rows come to by then.
    Applied = b'a',
}

/// A key: its table and its numbers, big-endian.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Vec<u8>);

impl Key {
    /// The key with these numbers; fewer than the table has make a prefix.
    #[must_use]
    pub fn new(table: Table, numbers: &[u64]) -> Self {
        let mut bytes = Vec::with_capacity(1 + numbers.len() * 8);
        bytes.push(table as u8);
        numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_be_bytes()));
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The `n`-th number of a key as stored.
    #[must_use]
    pub fn number(bytes: &[u8], n: usize) -> Option<u64> {
        bytes.get(1 + n * 8..)?.first_chunk().map(|chunk| u64::from_be_bytes(*chunk))
    }
}
