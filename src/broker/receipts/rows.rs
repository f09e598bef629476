//! What ledger entries are in the receipts' view: rows and their keys.

use super::people::{Person, patterns_key};
use crate::codec;
use crate::ledger::{Entry, Interest, Outcome, Recorded, State};
use crate::model::{Filter, Offset, Span, SubscriberId, Timestamp};
use crate::view::{Key, Table, View, ViewError};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};

/// Of the rows: a view of another one is made again.
pub(super) const VERSION: u8 = 5;

/// One receipt as stored in the view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) id: SubscriberId,
    pub(super) name: String,
    pub(super) span: Span,
    pub(super) time: Timestamp,
    pub(super) outcome: Outcome,
    pub(super) attempts: u32,
    pub(super) status: Option<u16>,
    pub(super) latency_ms: Option<u32>,
    pub(super) reason: Option<String>,
    /// The replay that it is of.
    pub(super) replay: Option<String>,
    /// Seeks of the subscriber before it; part of a key.
    pub(super) seeks: u64,
}

impl Row {
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        codec::decode(VERSION, bytes).ok()
    }
}

/// The rows of a block of entries, which the view takes at once.
pub(super) struct Block<'a> {
    view: &'a View,
    /// What is put into the view, and what is taken out.
    pub(super) rows: Vec<(Key, Option<Vec<u8>>)>,
    /// Everybody who was met: within a block they may be newer than what the view holds.
    people: HashMap<SubscriberId, Person>,
}

impl<'a> Block<'a> {
    pub(super) fn new(view: &'a View) -> Self {
        Self { view, rows: Vec::new(), people: HashMap::new() }
    }

    /// Begins a view: who was made before the oldest entry kept is in no entry any more, but in the snapshot there.
    pub(super) fn begin(&mut self, snapshot: &State) {
        self.rows.push((Key::new(Table::Version, &[]), Some(vec![VERSION])));
        for subscriber in snapshot.subscribers() {
            let (name, interest) = (subscriber.name.to_string(), subscriber.interest.clone());
            self.remember(subscriber.id, Person { name, seeks: subscriber.seeks.into(), interest });
            self.ask_for(subscriber.id, 0, subscriber.channels());
        }
    }

    fn remember(&mut self, id: SubscriberId, person: Person) {
        self.rows.push((Key::new(Table::People, &[id.0]), Some(codec::encode(VERSION, &person))));
        self.people.insert(id, person);
    }

    fn ask_for(&mut self, id: SubscriberId, at: u64, channels: &Filter) {
        self.rows.push((patterns_key(id, at), Some(codec::encode(VERSION, channels))));
    }

    fn removed(&mut self, at: Offset, id: SubscriberId, end: Offset) {
        self.rows.push((Key::new(Table::Deleted, &[at.0, id.0]), Some(codec::encode(VERSION, &end))));
    }

    /// A subscriber as of the entry being applied.
    fn person(&mut self, id: SubscriberId) -> Result<&Person, ViewError> {
        Ok(match self.people.entry(id) {
            Occupied(known) => known.into_mut(),
            Vacant(place) => place.insert(Person::of(self.view, id)?),
        })
    }

    /// Adds what an entry says.
    pub(super) fn add(&mut self, recorded: &Recorded) -> Result<(), ViewError> {
        let Recorded { offset, time, entry } = recorded;
        match entry {
            Entry::Made { id, name, target, cursor } => {
                let interest = Interest::new(*cursor, target.channels());
                self.remember(*id, Person { name: name.to_string(), seeks: 0, interest });
                self.ask_for(*id, offset.0, target.channels());
            }
            Entry::Changed { id, target, from } => {
                let mut person = self.person(*id)?.clone();
                if person.interest.now() != Some(target.channels()) {
                    person.interest.change(*from, target.channels());
                    self.remember(*id, person);
                    self.ask_for(*id, offset.0, target.channels());
                }
            }
            Entry::Sought { id, cursor } => {
                let mut person = self.person(*id)?.clone();
                person.interest.seek(*cursor);
                person.seeks += 1;
                self.remember(*id, person);
            }
            Entry::Removed { id, end } => self.removed(*offset, *id, *end),
            // It says not when, by the event log; its receipts stand for themselves.
            Entry::Deleted { id } => self.removed(*offset, *id, Offset::ZERO),
            Entry::LedgerRetired { start } => self.forget_below(*start)?,
            _ => {}
        }
        for (n, receipt) in receipts_of(entry).into_iter().enumerate() {
            let Person { name, seeks, .. } = self.person(receipt.id)?.clone();
            let row = Row { name, time: *time, seeks, ..receipt };
            let (at, n) = (offset.0, n as u64);
            self.rows.push((Key::new(Table::BySubscriber, &[row.id.0, at, n]), Some(Vec::new())));
            // A replay says nothing about how the delivery itself stands.
            if row.replay.is_none() {
                self.rows.push((Key::new(Table::Coverage, &[row.id.0, seeks, row.span.to.0, at, n]), Some(Vec::new())));
                let letter = Key::new(Table::DeadLetters, &[row.id.0, row.span.from.0]);
                if row.outcome == Outcome::Dead {
                    self.rows.push((letter, Some(codec::encode(VERSION, &(at, n)))));
                } else if matches!(entry, Entry::Resent { .. }) {
                    self.rows.push((letter, None));
                }
            }
            self.rows.push((Key::new(Table::Receipts, &[at, n]), Some(codec::encode(VERSION, &row))));
        }
        Ok(())
    }

    /// Takes out what retention took from the ledger.
    fn forget_below(&mut self, start: Offset) -> Result<(), ViewError> {
        let (mut gone, mut letters) = (Vec::new(), Vec::new());
        let all = Key::new(Table::Receipts, &[]);
        self.view.scan(&all, &all, |key, value| {
            let (Some(at), Some(n)) = (Key::number(key, 0), Key::number(key, 1)) else { return true };
            if at >= start.0 {
                return false;
            }
            if let Some(row) = Row::decode(value) {
                let coverage = [row.id.0, row.seeks, row.span.to.0, at, n];
                gone.push((Key::new(Table::BySubscriber, &[row.id.0, at, n]), None));
                gone.push((Key::new(Table::Coverage, &coverage), None));
                if row.outcome == Outcome::Dead {
                    letters.push((Key::new(Table::DeadLetters, &[row.id.0, row.span.from.0]), (at, n)));
                }
            }
            gone.push((Key::new(Table::Receipts, &[at, n]), None));
            true
        })?;
        for (key, place) in letters {
            // One that died again has a newer receipt.
            let newest = self.view.get(&key)?.and_then(|bytes| codec::decode::<(u64, u64)>(VERSION, &bytes).ok());
            if newest == Some(place) {
                gone.push((key, None));
            }
        }
        // Whoever was deleted before has no receipt left.
        let mut forgotten = std::collections::HashSet::new();
        let deleted = Key::new(Table::Deleted, &[]);
        self.view.scan(&deleted, &deleted, |key, _| {
            let (Some(at), Some(id)) = (Key::number(key, 0), Key::number(key, 1)) else { return true };
            if at >= start.0 {
                return false;
            }
            gone.push((Key::new(Table::Deleted, &[at, id]), None));
            gone.push((Key::new(Table::People, &[id]), None));
            forgotten.insert(id);
            true
        })?;
        // Of the patterns the ones in force at the start stay, and those behind.
        let (patterns, mut known) = (Key::new(Table::Patterns, &[]), None);
        self.view.scan(&patterns, &patterns, |key, _| {
            let (Some(id), Some(turned)) = (Key::number(key, 0), Key::number(key, 1)) else { return true };
            if known == Some(id) || forgotten.contains(&id) {
                gone.push((Key::new(Table::Patterns, &[id, turned]), None));
            } else if !turned <= start.0 {
                known = Some(id);
            }
            true
        })?;
        // First, so that what this batch adds under the same key stays.
        self.rows.splice(0..0, gone);
        Ok(())
    }
}

/// The receipts that an entry is; spans in which nothing was sent are none.
fn receipts_of(entry: &Entry) -> Vec<Row> {
    let row = |id: &SubscriberId, span: Span, outcome, attempts| Row {
        id: *id,
        name: String::new(),
        span,
        time: Timestamp(0),
        outcome,
        attempts,
        status: None,
        latency_ms: None,
        reason: None,
        replay: None,
        seeks: 0,
    };
    match entry {
        Entry::Acked { id, spans, status, latency_ms, .. } => spans
            .iter()
            .filter(|acked| acked.attempts > 0)
            .map(|acked| Row {
                status: *status,
                latency_ms: *latency_ms,
                ..row(id, acked.span, Outcome::Acked, acked.attempts)
            })
            .collect(),
        Entry::Dead { id, offset, attempts, status, reason } => vec![Row {
            status: *status,
            reason: Some(reason.clone()),
            ..row(id, Span::one(*offset), Outcome::Dead, *attempts)
        }],
        Entry::Skipped { id, spans, reason } => spans
            .iter()
            .map(|sent| Row { reason: Some(reason.clone()), ..row(id, sent.span, Outcome::Skipped, sent.attempts) })
            .collect(),
        Entry::Resent { id, offset, replay, attempts, status, latency_ms, failure } => {
            let outcome = if failure.is_some() { Outcome::Dead } else { Outcome::Acked };
            vec![Row {
                status: *status,
                latency_ms: *latency_ms,
                reason: failure.clone(),
                replay: replay.clone(),
                ..row(id, Span::one(*offset), outcome, *attempts)
            }]
        }
        _ => Vec::new(),
    }
}
