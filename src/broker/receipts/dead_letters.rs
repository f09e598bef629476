//! Dead letters: events that a connector's policy or a listener gave up. They stay in the log; this is the list of them.

use super::coverage::last_covering;
use super::rows::{Row, VERSION};
use crate::broker::{Broker, Error, ErrorKind};
use crate::codec;
use crate::engine::Engine;
use crate::ledger::{Outcome, Subscriber};
use crate::model::{Kind, Offset, SubscriberId, Timestamp};
use crate::view::{Key, Table, View, ViewError};
use std::collections::{BTreeMap, BTreeSet};

/// An event that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// By whom.
    pub subscriber: String,
    /// Which.
    pub offset: Offset,
    /// Its channel; `None` where retention took the event.
    pub channel: Option<String>,
    /// Attempts until then.
    pub attempts: u32,
    /// Why.
    pub reason: String,
    /// When.
    pub time: Timestamp,
}

/// Which dead letters are asked for.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterQuery {
    /// Of this subscriber.
    pub subscriber: Option<String>,
    /// Letters at most.
    pub limit: usize,
    /// Behind this one, as `next` gave it.
    pub after: Option<(u64, u64)>,
}

/// A page of dead letters, by subscriber and offset.
#[derive(Debug)]
pub struct DeadLetterPage {
    /// The letters.
    pub letters: Vec<DeadLetter>,
    /// Where to go on; `None` at the end.
    pub next: Option<(u64, u64)>,
}

impl Broker {
    /// Dead letters of living subscribers and connectors, rejects included. One that was delivered since, by a retry
    /// or after a seek, is none any more.
    ///
    /// # Errors
    /// A view that is not ready; a log that cannot be read.
    pub async fn dead_letters(&self, query: DeadLetterQuery) -> Result<DeadLetterPage, Error> {
        self.registry().settle_all().await;
        let (rows, next) = self.receipts_view().ask(move |view, engine| list(view, engine, &query)).await?;
        let mut letters = Vec::with_capacity(rows.len());
        for row in rows {
            let offset = row.span.from;
            let channel = match self.event(offset).await {
                Ok(event) => Some(event.head.channel.to_string()),
                Err(error) if error.kind() == ErrorKind::Gone => None,
                Err(error) => return Err(error),
            };
            let (attempts, time, reason) = (row.attempts, row.time, row.reason.unwrap_or_default());
            letters.push(DeadLetter { subscriber: row.name, offset, channel, attempts, reason, time });
        }
        Ok(DeadLetterPage { letters, next })
    }

    /// Has a connector try dead letters again, out of order; tells how many.
    ///
    /// # Errors
    /// Nobody has the name, or a plain subscriber; an offset that is no dead letter of it, or that retention took: then
    /// none is queued.
    pub async fn retry_dead_letters(&self, name: &str, offsets: Vec<Offset>) -> Result<usize, Error> {
        let id = self.registry().find(Kind::Connector, name)?.id();
        self.registry().settle_all().await;
        let wanted: BTreeSet<Offset> = offsets.into_iter().collect();
        let asked = wanted.clone();
        let found = self.receipts_view().ask(move |view, engine| attempts(view, engine, id, &asked)).await?;
        if let Some(stranger) = wanted.iter().find(|offset| !found.contains_key(offset)) {
            let detail = format!("offset {stranger} is no dead letter of '{name}'; nothing is tried again");
            return Err(Error::new(ErrorKind::NotFound, "dead-letter-not-found", detail));
        }
        if let Some(gone) = wanted.first().filter(|offset| **offset < self.start()) {
            let detail = format!("the event at offset {gone} is no longer kept; nothing is tried again");
            return Err(Error::new(ErrorKind::Gone, "event-gone", detail));
        }
        self.registry().retry_dead_letters(name, &found)?;
        Ok(found.len())
    }
}

/// Receipts, and the subscriber and offset behind which there are more.
type Found = (Vec<Row>, Option<(u64, u64)>);

fn list(view: &View, engine: &dyn Engine, query: &DeadLetterQuery) -> Result<Found, ViewError> {
    let only = match &query.subscriber {
        None => None,
        Some(name) => match engine.state().named(name).map(|subscriber| subscriber.id) {
            None => return Ok((Vec::new(), None)),
            id => id,
        },
    };
    let prefix = Key::new(Table::DeadLetters, only.map(|id| id.0).as_slice());
    let from = match query.after {
        Some((id, offset)) => Key::new(Table::DeadLetters, &[id, offset.saturating_add(1)]),
        None => Key::new(Table::DeadLetters, &[]),
    };
    let from = from.max(prefix.clone());
    let (mut rows, mut places, mut next, mut failed) = (Vec::new(), Vec::new(), None, Ok(()));
    view.scan(&prefix, &from, |key, _| {
        let Some((id, offset)) = Key::number(key, 0).zip(Key::number(key, 1)) else { return true };
        match letter(view, engine, SubscriberId(id), Offset(offset)) {
            Ok(None) => {}
            Ok(Some(_)) if rows.len() == query.limit => {
                next = places.last().copied();
                return false;
            }
            Ok(Some(row)) => {
                places.push((id, offset));
                rows.push(row);
            }
            Err(error) => {
                failed = Err(error);
                return false;
            }
        }
        true
    })?;
    failed?;
    Ok((rows, next))
}

/// Those of these offsets that are dead letters, each with the attempts that were made at it.
fn attempts(
    view: &View,
    engine: &dyn Engine,
    id: SubscriberId,
    offsets: &BTreeSet<Offset>,
) -> Result<BTreeMap<Offset, u32>, ViewError> {
    let mut found = BTreeMap::new();
    for offset in offsets {
        if let Some(row) = letter(view, engine, id, *offset)? {
            found.insert(*offset, row.attempts);
        }
    }
    Ok(found)
}

/// The receipt by which an event is a dead letter now.
fn letter(view: &View, engine: &dyn Engine, id: SubscriberId, offset: Offset) -> Result<Option<Row>, ViewError> {
    let Some(place) = view.get(&Key::new(Table::DeadLetters, &[id.0, offset.0]))? else { return Ok(None) };
    let Ok((at, n)) = codec::decode::<(u64, u64)>(VERSION, &place) else { return Ok(None) };
    let subscriber: Option<Subscriber> = engine.state().get(id).cloned();
    // After a seek it may be on its way again, or may have arrived.
    let Some(subscriber) = subscriber.filter(|subscriber| subscriber.is_done(offset)) else { return Ok(None) };
    let newest = last_covering(view, id, subscriber.seeks.into(), offset, |_, _| Ok(true))?;
    if newest.is_none_or(|row| row.outcome != Outcome::Dead) {
        return Ok(None);
    }
    Ok(view.get(&Key::new(Table::Receipts, &[at, n]))?.and_then(|bytes| Row::decode(&bytes)))
}
