//! What can be wrong with a ledger.

use super::vault::VaultError;
use crate::codec::CodecError;
use crate::log::LogError;
use crate::model::Offset;

/// A ledger that cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The log below.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An entry that cannot be read although its checksum holds.
    #[error("ledger entry {offset}: {source}")]
    Entry {
        /// Which entry.
        offset: Offset,
        /// Why.
        source: CodecError,
    },
    /// A snapshot that cannot be read although its checksum holds.
    #[error("the snapshot before ledger entry {offset}: {source}")]
    Snapshot {
        /// The first entry behind it.
        offset: Offset,
        /// Why.
        source: CodecError,
    },
    /// The keys.
    #[error(transparent)]
    Vault(#[from] VaultError),
}
