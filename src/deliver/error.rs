//! What delivery says when it cannot.

use crate::ack::AckError;
use crate::engine::EngineError;
use crate::ledger::{TooManySecrets, VaultError};
use crate::log::Failure;
use crate::model::{Invalid, Kind, Offset};

/// Why something about a subscriber could not be done.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// Input outside the grammar.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Nobody has this name.
    #[error("there is no {} named '{name}'", kind.as_str())]
    NotFound {
        /// What was looked for.
        kind: Kind,
        /// The name.
        name: String,
    },
    /// The name is of the other kind.
    #[error("'{name}' is a {}; use another name, or the other path", kind.as_str())]
    WrongKind {
        /// What it is.
        kind: Kind,
        /// The name.
        name: String,
    },
    /// A place beyond the end.
    #[error("{field}: {place} is beyond the end, which is {end}")]
    BeyondEnd {
        /// Where it stood.
        field: &'static str,
        /// The place.
        place: Offset,
        /// The end.
        end: Offset,
    },
    /// As much of it is under way as may be.
    #[error("{limit} {what} already; try again when some are over")]
    Busy {
        /// What is.
        what: &'static str,
        /// How many of them.
        limit: usize,
    },
    /// The signing secret was rotated too often.
    #[error(transparent)]
    TooManySecrets(#[from] TooManySecrets),
    /// The ledger takes nothing.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The log cannot be read.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Secrets cannot be opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Why an ack had no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AckRefused {
    /// It names what cannot be named.
    #[error(transparent)]
    Ack(#[from] AckError),
    /// It comes from a session that is over.
    #[error("this session is over: another one took over, or the subscriber was moved, changed or deleted")]
    Over,
    /// The ledger takes nothing.
    #[error(transparent)]
    Failed(#[from] Failure),
}
