//! What ledger entries are in the receipts' view: rows and their keys.

use crate::codec;
use crate::ledger::{Entry, Interest, Outcome, Recorded, State};
use crate::model::{Channel, Filter, Offset, Span, SubscriberId, Timestamp};
use crate::view::{Key, Table, View, ViewError};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};

/// Of the rows: a view of another one is made again.
pub(super) const VERSION: u8 = 4;

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

/// What the entries so far say of a subscriber, whether it is still there or not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Person {
    pub(super) name: String,
    pub(super) seeks: u64,
    /// What it asked for, from so many seeks on: a seek lays the patterns in force over those of before. Ascending.
    interests: Vec<(u64, Interest)>,
}

impl Person {
    fn new(name: String, seeks: u64, interest: Interest) -> Self {
        Self { name, seeks, interests: vec![(seeks, interest)] }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        codec::decode(VERSION, bytes).ok()
    }

    /// As the view has it. Of a number that it does not know there is nothing to say but that.
    pub(super) fn of(view: &View, id: SubscriberId) -> Result<Self, ViewError> {
        let stored = view.get(&Key::new(Table::People, &[id.0]))?.and_then(|bytes| Self::decode(&bytes));
        Ok(stored.unwrap_or_else(|| Self::new(format!("deleted-{id}"), 0, Interest::default())))
    }

    /// What it asked for behind so many seeks.
    pub(super) fn interest(&self, seeks: u64) -> Option<&Interest> {
        let behind = self.interests.partition_point(|(from, _)| *from <= seeks);
        self.interests.get(behind.saturating_sub(1)).map(|(_, interest)| interest)
    }

    /// Whether it asked for an event at this offset, on this channel, at any time.
    pub(super) fn ever_asked(&self, offset: Offset, channel: &Channel) -> bool {
        self.interests.iter().any(|(_, interest)| interest.holds(offset, channel))
    }

    fn changed(&mut self, from: Offset, channels: &Filter) {
        if let Some((_, now)) = self.interests.last_mut() {
            now.change(from, channels);
        }
    }

    fn sought(&mut self, cursor: Offset) {
        self.seeks += 1;
        if let Some((_, now)) = self.interests.last_mut() {
            if !now.is_uniform() {
                let mut next = now.clone();
                next.seek(cursor);
                self.interests.push((self.seeks, next));
            } else {
                now.seek(cursor);
            }
        }
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
            self.remember(subscriber.id, Person::new(name, subscriber.seeks.into(), interest));
        }
    }

    fn remember(&mut self, id: SubscriberId, person: Person) {
        self.rows.push((Key::new(Table::People, &[id.0]), Some(codec::encode(VERSION, &person))));
        self.people.insert(id, person);
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
                self.remember(*id, Person::new(name.to_string(), 0, interest));
            }
            Entry::Changed { id, target, from } => {
                let mut person = self.person(*id)?.clone();
                person.changed(*from, target.channels());
                self.remember(*id, person);
            }
            Entry::Sought { id, cursor } => {
                let mut person = self.person(*id)?.clone();
                person.sought(*cursor);
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
        let deleted = Key::new(Table::Deleted, &[]);
        self.view.scan(&deleted, &deleted, |key, _| {
            let (Some(at), Some(id)) = (Key::number(key, 0), Key::number(key, 1)) else { return true };
            if at >= start.0 {
                return false;
            }
            gone.push((Key::new(Table::Deleted, &[at, id]), None));
            gone.push((Key::new(Table::People, &[id]), None));
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
