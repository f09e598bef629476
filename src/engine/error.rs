//! What an engine says when it cannot.

use crate::codec::CodecError;
use crate::ledger::{LedgerError, VaultError};
use crate::log::{Failure, LogError};
use crate::model::Offset;

/// An engine that cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The event log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The keys.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// An event that cannot be read although its checksum holds.
    #[error("event {offset}: {source}")]
    Event {
        /// Which event.
        offset: Offset,
        /// Why.
        source: CodecError,
    },
    /// Another process has the data directory.
    #[error("{0} is in use by another stentor; stop that one, or choose another --data")]
    Locked(String),
    /// Ledger and events do not belong together.
    #[error("the ledger does not belong to these events, or is lost; put both folders back as they were together")]
    Mismatched,
    /// Nothing is accepted.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Why events were not appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// An id was published on its channel before, and said something else. Nothing was appended.
    #[error("event {index} of the batch: its id was published at offset {offset} with another content")]
    Conflict {
        /// Which event of the batch, from 0.
        index: usize,
        /// Where the first one stands.
        offset: Offset,
    },
    /// The log.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The first event with this id cannot be read back to compare.
    #[error("the event published earlier with this id cannot be read: {0}")]
    Unreadable(String),
}
