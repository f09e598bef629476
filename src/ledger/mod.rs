//! Floor 4: the ledger, everything that happened to events and to the listeners.
//!
//! It is the second log, of the same format. Each [`Entry`] says one thing that happened; the
//! [`State`] is their fold, held in memory. A ledger segment begins with a snapshot of the fold,
//! so that a start reads the newest segment only. Receipts *are* entries.

mod entry;
mod error;
mod interest;
mod mend;
mod secrets;
mod state;
mod store;
mod subscriber;
mod target;
mod vault;

pub use entry::{Entry, Outcome, Sealed, SentSpan, Via};
pub use error::LedgerError;
pub use interest::Interest;
pub use mend::accept_loss;
pub use secrets::{ConnectorSecrets, SigningSecret, TooManySecrets};
pub use state::State;
pub use store::{Ledger, Recorded};
pub use subscriber::{FailedAttempt, Subscriber};
pub use target::Target;
pub use vault::{KEY_FILE, Vault, VaultError};
