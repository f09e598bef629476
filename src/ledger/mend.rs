//! Putting a damaged ledger right, on an operator's word: what cannot be read is given up, the fold goes on without it.

use super::entry::Entry;
use super::error::LedgerError;
use super::state::State;
use crate::fs::Fs;
use crate::log::{self, Damage, Filled, LogError, LogOptions, Mended, Nonces, Owner, RecordHeader, RecordKind};
use crate::model::Offset;

/// Follows the fold, so that a snapshot that is lost can be made again.
#[derive(Default)]
struct Follow(State);

impl Owner for Follow {
    fn snapshot(&mut self, _first: Offset, found: Option<&[u8]>) -> Option<Vec<u8>> {
        if let Some(state) = found.and_then(|bytes| State::decode(bytes).ok()) {
            self.0 = state;
        }
        Some(self.0.encode())
    }

    fn kept(&mut self, header: &RecordHeader, body: &[u8]) -> Result<(), LogError> {
        // What no version wrote is met, and said, by the start that follows.
        if header.kind == RecordKind::Entry
            && let Ok(entry) = Entry::decode(body)
        {
            self.0.apply(&entry, header.time);
        }
        Ok(())
    }

    fn lost(&mut self, _damage: &Damage) -> Result<Option<Vec<Filled>>, LogError> {
        Ok(None)
    }
}

/// Gives up what cannot be read of the ledger in `options.dir`: acks in it are lost, and lead to redelivery.
///
/// # Errors
/// Those of [`log::mend`].
pub fn accept_loss(fs: &dyn Fs, options: &LogOptions, nonces: &mut Nonces) -> Result<Vec<Mended>, LedgerError> {
    Ok(log::mend(fs, options, nonces, &mut Follow::default())?)
}
