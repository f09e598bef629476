//! Which receipt covers an event.

use super::rows::Row;
use crate::model::{Offset, SubscriberId};
use crate::view::{Key, Table, View, ViewError};

/// The newest receipt of a subscriber that covers an offset, and that fits; `fits` is told the place of its entry too.
pub(super) fn last_covering(
    view: &View,
    id: SubscriberId,
    seeks: u64,
    offset: Offset,
    fits: impl Fn(&Row, u64) -> Result<bool, ViewError>,
) -> Result<Option<Row>, ViewError> {
    for seeks in (0..=seeks).rev() {
        if let Some((row, at)) = covering(view, id, seeks, offset)?
            && fits(&row, at)?
        {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

/// The receipt of a subscriber, between two seeks, that covers an offset.
fn covering(view: &View, id: SubscriberId, seeks: u64, offset: Offset) -> Result<Option<(Row, u64)>, ViewError> {
    let prefix = Key::new(Table::Coverage, &[id.0, seeks]);
    let from = Key::new(Table::Coverage, &[id.0, seeks, offset.next().0]);
    let mut place: Option<(Option<u64>, (u64, u64))> = None;
    // Between two seeks spans are disjoint, but that a dead letter may be tried again: so those that end first beyond
    // the offset are the only candidates, and the newest of them counts.
    view.scan(&prefix, &from, |key, _| {
        let end = Key::number(key, 2);
        let same = place.is_none_or(|(first, _)| first == end);
        if let Some(found) = Key::number(key, 3).zip(Key::number(key, 4)).filter(|_| same) {
            place = Some((end, found));
        }
        same
    })?;
    let Some((_, (at, n))) = place else { return Ok(None) };
    let row = view.get(&Key::new(Table::Receipts, &[at, n]))?.and_then(|bytes| Row::decode(&bytes));
    Ok(row.filter(|row| row.span.contains(offset)).map(|row| (row, at)))
}
