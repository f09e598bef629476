//! What the view knows of a subscriber, whether it is still there or not.

use super::rows::{Row, VERSION};
use crate::codec;
use crate::ledger::{Interest, Outcome};
use crate::model::{Filter, SubscriberId};
use crate::view::{Key, Table, View, ViewError};
use serde::{Deserialize, Serialize};

/// What the entries so far say of a subscriber.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Person {
    pub(super) name: String,
    pub(super) seeks: u64,
    /// What it asks for, or asked for in the end.
    pub(super) interest: Interest,
}

impl Person {
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        codec::decode(VERSION, bytes).ok()
    }

    /// As the view has it. Of a number that it does not know there is nothing to say but that.
    pub(super) fn of(view: &View, id: SubscriberId) -> Result<Self, ViewError> {
        let stored = view.get(&Key::new(Table::People, &[id.0]))?.and_then(|bytes| Self::decode(&bytes));
        let unknown = || Self { name: format!("deleted-{id}"), seeks: 0, interest: Interest::default() };
        Ok(stored.unwrap_or_else(unknown))
    }
}

/// The key of the patterns that were in force from an entry on.
pub(super) fn patterns_key(id: SubscriberId, at: u64) -> Key {
    Key::new(Table::Patterns, &[id.0, !at])
}

/// The patterns that a subscriber had when the entry at `at` was written.
///
/// They are those that a receipt in that entry was sent under: a change writes down first what was acknowledged.
pub(super) fn patterns_at(view: &View, id: SubscriberId, at: u64) -> Result<Option<Filter>, ViewError> {
    let mut found = None;
    view.scan(&Key::new(Table::Patterns, &[id.0]), &patterns_key(id, at), |_, value| {
        found = codec::decode(VERSION, value).ok();
        false
    })?;
    Ok(found)
}

/// Whether a receipt is about just this event, and not about a stretch in which its subscriber may not have asked for
/// all.
pub(super) fn is_exact(row: &Row) -> bool {
    row.outcome != Outcome::Acked || row.span.to == row.span.from.next()
}
