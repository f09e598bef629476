//! Questions about receipts.

use super::people::{Person, is_exact, patterns_at};
use super::rows::Row;
use crate::broker::{Broker, Error};
use crate::engine::Engine;
use crate::ledger::Outcome;
use crate::model::{Filter, Offset, Place, Span, SubscriberId, Timestamp};
use crate::view::{Key, Table, View, ViewError};

/// How deliveries ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Who.
    pub subscriber: String,
    /// Which offsets.
    pub span: Span,
    /// When.
    pub time: Timestamp,
    /// How.
    pub outcome: Outcome,
    /// Sends until then.
    pub attempts: u32,
    /// The status of an endpoint's answer.
    pub status: Option<u16>,
    /// How long that answer took.
    pub latency_ms: Option<u32>,
    /// Why it was given up or skipped.
    pub reason: Option<String>,
    /// The replay that it is of.
    pub replay: Option<String>,
}

/// Which receipts are asked for.
#[derive(Debug, Clone, Default)]
pub struct ReceiptQuery {
    /// Of this subscriber.
    pub subscriber: Option<String>,
    /// That cover this offset.
    pub offset: Option<Offset>,
    /// That cover an event on these channels.
    pub channels: Option<Filter>,
    /// From this offset or time on.
    pub from: Option<Place>,
    /// Up to this offset or time.
    pub to: Option<Place>,
    /// Receipts at most.
    pub limit: usize,
    /// Behind this one, as `next` gave it.
    pub after: Option<(u64, u64)>,
}

/// A page of receipts, in the order of the ledger.
#[derive(Debug)]
pub struct ReceiptPage {
    /// The receipts.
    pub receipts: Vec<Receipt>,
    /// Where to go on; `None` at the end.
    pub next: Option<(u64, u64)>,
}

impl Receipt {
    /// The receipt that a row of the view holds; `None` where the bytes are no row. A view may hold anything: it
    /// is a file that others can damage.
    #[must_use]
    pub fn of_row(bytes: &[u8]) -> Option<Self> {
        Row::decode(bytes).map(shown)
    }
}

impl Broker {
    /// Receipts that fit a question, after everything that was acknowledged so far has been written down.
    ///
    /// # Errors
    /// A view that is not ready.
    pub async fn receipts(&self, query: ReceiptQuery) -> Result<ReceiptPage, Error> {
        self.registry().settle_all().await;
        self.receipts_view().ask(move |view, engine| list(view, engine, &query)).await
    }
}

fn list(view: &View, engine: &dyn Engine, query: &ReceiptQuery) -> Result<ReceiptPage, ViewError> {
    let mut page = ReceiptPage { receipts: Vec::new(), next: None };
    let id = match &query.subscriber {
        None => None,
        Some(name) => match find_id(view, engine, name)? {
            None => return Ok(page),
            id => id,
        },
    };
    let (table, mut numbers) = match id {
        Some(id) => (Table::BySubscriber, vec![id.0]),
        None => (Table::Receipts, Vec::new()),
    };
    let prefix = Key::new(table, &numbers);
    let skip = numbers.len();
    if let Some((at, n)) = query.after {
        numbers.extend([at, n.saturating_add(1)]);
    }
    let mut places: Vec<(u64, u64)> = Vec::new();
    let mut failed = Ok(());
    view.scan(&prefix, &Key::new(table, &numbers), |key, value| {
        let Some(place) = Key::number(key, skip).zip(Key::number(key, skip + 1)) else { return true };
        let row = match table {
            Table::Receipts => Row::decode(value),
            _ => match view.get(&Key::new(Table::Receipts, &[place.0, place.1])) {
                Ok(bytes) => bytes.and_then(|bytes| Row::decode(&bytes)),
                Err(error) => {
                    failed = Err(error);
                    return false;
                }
            },
        };
        let fits = row.as_ref().map_or(Ok(false), |row| asked_for(view, engine, row, place.0, query));
        let fits = match fits {
            Ok(fits) => fits,
            Err(error) => {
                failed = Err(error);
                return false;
            }
        };
        if let Some(row) = row.filter(|_| fits) {
            if page.receipts.len() == query.limit {
                page.next = places.last().copied();
                return false;
            }
            places.push(place);
            page.receipts.push(shown(row));
        }
        true
    })?;
    failed?;
    Ok(page)
}

/// The newest subscriber that has, or had, this name.
fn find_id(view: &View, engine: &dyn Engine, name: &str) -> Result<Option<SubscriberId>, ViewError> {
    if let Some(living) = engine.state().named(name) {
        return Ok(Some(living.id));
    }
    let mut found = None;
    let prefix = Key::new(Table::People, &[]);
    view.scan(&prefix, &prefix, |key, value| {
        if Person::decode(value).is_some_and(|person| person.name == name) {
            found = Key::number(key, 0).map(SubscriberId);
        }
        true
    })?;
    Ok(found)
}

/// Whether a receipt, of the entry at `at`, fits a question.
fn asked_for(view: &View, engine: &dyn Engine, row: &Row, at: u64, query: &ReceiptQuery) -> Result<bool, ViewError> {
    let within = |place: Option<Place>, after: bool| match place {
        None | Some(Place::Earliest | Place::Latest) => true,
        Some(Place::At(offset)) => {
            if after {
                row.span.to > offset
            } else {
                row.span.from < offset
            }
        }
        Some(Place::Since(time)) => {
            if after {
                row.time >= time
            } else {
                row.time < time
            }
        }
    };
    if !within(query.from, true) || !within(query.to, false) {
        return Ok(false);
    }
    if query.offset.is_some_and(|offset| !row.span.contains(offset)) {
        return Ok(false);
    }
    match (query.offset, &query.channels) {
        (None, None) => Ok(true),
        (Some(_), None) if is_exact(row) => Ok(true),
        (offset, channels) => holds(view, engine, row, at, offset.map_or(row.span, Span::one), channels.as_ref()),
    }
}

/// Whether there is an event in the span, on these channels, that the receipt in the entry at `at` is about.
fn holds(
    view: &View,
    engine: &dyn Engine,
    row: &Row,
    at: u64,
    span: Span,
    channels: Option<&Filter>,
) -> Result<bool, ViewError> {
    if span.to <= engine.start() {
        // What retention took can no longer be asked; its receipt stands for itself.
        return Ok(true);
    }
    let everything = Filter::everything();
    let wanted = channels.unwrap_or(&everything);
    let theirs = if is_exact(row) { Some(everything.clone()) } else { patterns_at(view, row.id, at)? };
    let asked = |at| theirs.as_ref().is_some_and(|theirs| engine.first_match(theirs, at) == Some(at));
    let mut at = span.from;
    while let Some(found) = engine.first_match(wanted, at).filter(|found| *found < span.to) {
        if asked(found) {
            return Ok(true);
        }
        at = found.next();
    }
    Ok(false)
}

fn shown(row: Row) -> Receipt {
    Receipt {
        subscriber: row.name,
        span: row.span,
        time: row.time,
        outcome: row.outcome,
        attempts: row.attempts,
        status: row.status,
        latency_ms: row.latency_ms,
        reason: row.reason,
        replay: row.replay,
    }
}
