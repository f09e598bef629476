//! `--recover=accept-loss`: what cannot be read is given up, said, and the log goes on behind it (R5).

use super::LocalOptions;
use crate::engine::EngineError;
use crate::fs::Fs;
use crate::ledger::{self, Entry};
use crate::log::{self, Damage, Filled, LogError, LogKind, LogOptions, Mended, Owner, RecordHeader};
use crate::model::Offset;

/// Keeps what there is of the events.
struct GiveUp;

impl Owner for GiveUp {
    fn snapshot(&mut self, _first: Offset, _found: Option<&[u8]>) -> Option<Vec<u8>> {
        None
    }
    fn kept(&mut self, _header: &RecordHeader, _body: &[u8]) -> Result<(), LogError> {
        Ok(())
    }
    fn lost(&mut self, _damage: &Damage) -> Result<Option<Vec<Filled>>, LogError> {
        Ok(None)
    }
}

/// Mends the ledger; the entries say what was given up.
pub(super) fn of_ledger(fs: &dyn Fs, options: &LocalOptions) -> Result<Vec<Entry>, EngineError> {
    let mended = ledger::accept_loss(fs, &options.log(LogKind::Ledger), &mut options.nonces())?;
    Ok(entries(LogKind::Ledger, &mended))
}

/// Mends the events; the entries say what was given up.
pub(super) fn of_events(fs: &dyn Fs, options: &LocalOptions, events: &LogOptions) -> Result<Vec<Entry>, EngineError> {
    let mended = log::mend(fs, events, &mut options.nonces(), &mut GiveUp)?;
    Ok(entries(LogKind::Events, &mended))
}

fn entries(kind: LogKind, mended: &[Mended]) -> Vec<Entry> {
    let said = mended.iter().map(|Mended { damage, .. }| {
        tracing::error!(log = kind.as_str(), %damage, "given up, as asked");
        Entry::LossAccepted { log: kind.as_str().to_owned(), span: damage.span, detail: damage.to_string() }
    });
    said.collect()
}
