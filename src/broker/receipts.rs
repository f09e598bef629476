//! The receipts' view: the ledger's entries in sled, by subscriber, offset and time.
//!
//! A follower applies committed entries; whoever asks waits until it has come as far as the ledger was
//! when he asked. The view may be deleted, damaged or panic: it is set aside and made again.

use super::options::Storage;
use super::{Error, ErrorKind};
use crate::clock;
use crate::codec;
use crate::engine::Engine;
use crate::fs::{Fs, RealFs};
use crate::ledger::{Entry, Outcome, Recorded};
use crate::model::{Offset, Span, SubscriberId, Timestamp};
use crate::view::{Key, Table, View, ViewError};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Of the rows: a view of another one is made again.
pub(super) const VERSION: u8 = 3;
/// How long a question waits for the view.
const PATIENCE: Duration = Duration::from_secs(30);

/// Name and number of seeks of everybody who was met in a batch.
type People = HashMap<SubscriberId, (String, u64)>;
/// What a batch puts into the view, and what it takes out.
type Rows = Vec<(Key, Option<Vec<u8>>)>;

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
    seeks: u64,
}

impl Row {
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        codec::decode(VERSION, bytes).ok()
    }
}

/// The view and its follower.
pub(super) struct Receipts {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    engine: Arc<dyn Engine>,
    dir: PathBuf,
    quarantine: PathBuf,
    /// A folder that goes with the process, for a broker in memory.
    _temporary: Option<Temporary>,
    pub(super) view: RwLock<Option<View>>,
    applied: watch::Sender<Offset>,
    /// Told when the view was given up and has to be made again.
    given_up: Notify,
}

impl Receipts {
    /// Opens the view in the background and follows the ledger.
    pub(super) fn start(
        engine: Arc<dyn Engine>,
        storage: &Storage,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (data, temporary) = match storage {
            Storage::Local(data) => (data.clone(), None),
            Storage::Memory => {
                let temporary = Temporary::new();
                (temporary.0.clone(), Some(temporary))
            }
        };
        let shared = Arc::new(Shared {
            engine,
            dir: data.join("views").join("receipts"),
            quarantine: data.join("quarantine"),
            _temporary: temporary,
            view: RwLock::new(None),
            applied: watch::Sender::new(Offset::ZERO),
            given_up: Notify::new(),
        });
        tracker.spawn(follow(Arc::clone(&shared), stop));
        Self { shared }
    }

    /// Runs a question on the pool for blocking work, once the view has everything that is committed now.
    pub(super) async fn ask<R: Send + 'static>(
        &self,
        question: impl Fn(&View, &dyn Engine) -> Result<R, ViewError> + Send + 'static,
    ) -> Result<R, Error> {
        let target = *self.shared.engine.follow_ledger().borrow();
        let mut applied = self.shared.applied.subscribe();
        let caught_up = async { applied.wait_for(|applied| *applied >= target).await.is_ok() };
        if clock::within(PATIENCE, caught_up).await != Some(true) {
            return Err(not_ready());
        }
        let shared = Arc::clone(&self.shared);
        let answer = tokio::task::spawn_blocking(move || match &*shared.view.read() {
            Some(view) => question(view, &*shared.engine),
            None => Err(ViewError::closed()),
        });
        match answer.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the receipts' view is made again");
                self.shared.give_up();
                Err(not_ready())
            }
            Err(error) => {
                tracing::error!(%error, "a question about receipts panicked");
                Err(Error::new(ErrorKind::Internal, "internal", "a fault of the broker's own"))
            }
        }
    }
}

fn not_ready() -> Error {
    Error::new(ErrorKind::Unavailable, "view-not-ready", "the receipts' view is being built; try again")
}

async fn follow(shared: Arc<Shared>, stop: CancellationToken) {
    let mut end = shared.engine.follow_ledger();
    loop {
        end.borrow_and_update();
        let theirs = Arc::clone(&shared);
        let stopping = stop.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || theirs.catch_up(&stopping)).await {
            tracing::error!(%error, "the receipts' follower panicked");
        }
        // A view that was given up is made again at once; a good one waits for the ledger.
        let idle = shared.view.read().is_some();
        let wait = async {
            if idle {
                return tokio::select! {
                    changed = end.changed() => changed.is_ok(),
                    () = shared.given_up.notified() => true,
                };
            }
            clock::sleep(Duration::from_millis(100)).await;
            true
        };
        if stop.run_until_cancelled(wait).await != Some(true) {
            // sled's own threads end with it, before the directory is let go.
            *shared.view.write() = None;
            return;
        }
    }
}

impl Shared {
    /// Applies everything that is committed and not yet in the view.
    fn catch_up(&self, stop: &CancellationToken) {
        if self.view.read().is_none() {
            match self.open() {
                Ok(view) => *self.view.write() = Some(view),
                Err(error) => {
                    tracing::error!(%error, "the receipts' view cannot be made");
                    return;
                }
            }
        }
        while !stop.is_cancelled() {
            match self.apply_some() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, "the receipts' view is made again");
                    self.give_up();
                    return;
                }
            }
        }
    }

    /// Opens the view; one that cannot be opened, or that is ahead of the ledger, is set aside.
    fn open(&self) -> Result<View, ViewError> {
        RealFs.create_dir(&self.dir).map_err(|error| ViewError::new(&error))?;
        let end = self.engine.follow_ledger().borrow().0;
        let usable = View::open(&RealFs, &self.dir)
            .and_then(|view| view.applied_through().map(|applied| (view, applied)))
            .and_then(|(view, applied)| if applied <= end { Ok((view, applied)) } else { Err(ViewError::closed()) })
            .and_then(|(view, applied)| {
                let version = view.get(&Key::new(Table::Version, &[]))?;
                if applied == 0 || version.as_deref() == Some(&[VERSION]) { Ok(view) } else { Err(ViewError::closed()) }
            });
        match usable {
            Ok(view) => Ok(view),
            Err(error) => {
                tracing::warn!(%error, "the receipts' view is set aside and made again");
                self.set_aside()?;
                View::open(&RealFs, &self.dir)
            }
        }
    }

    fn set_aside(&self) -> Result<(), ViewError> {
        let io = |error: std::io::Error| ViewError::new(&error);
        RealFs.create_dir(&self.quarantine).map_err(io)?;
        let name = format!("views-{}", uuid::Uuid::now_v7().simple());
        RealFs.rename(&self.dir, &self.quarantine.join(name)).map_err(io)?;
        RealFs.create_dir(&self.dir).map_err(io)
    }

    fn give_up(&self) {
        *self.view.write() = None;
        self.applied.send_replace(Offset::ZERO);
        if let Err(error) = self.set_aside() {
            tracing::error!(%error, "the receipts' view cannot be set aside");
        }
        self.given_up.notify_one();
    }

    /// Applies a block of entries; tells whether there may be more.
    fn apply_some(&self) -> Result<bool, ViewError> {
        let view = self.view.read();
        let view = view.as_ref().ok_or_else(ViewError::closed)?;
        let from = Offset(view.applied_through()?);
        if from > Offset::ZERO && from < self.engine.state().ledger_start {
            // What lay between is gone, and with it names and seeks: made again, it has them from the snapshot.
            return Err(ViewError::closed());
        }
        let (entries, next) = self.engine.history(from).map_err(|error| ViewError::new(&error))?;
        if next <= from {
            self.applied.send_replace(from);
            return Ok(false);
        }
        let mut rows = Vec::new();
        // Within a block a name or seek may be newer than what the view holds.
        let mut people = People::new();
        if from == Offset::ZERO {
            rows.push((Key::new(Table::Version, &[]), Some(vec![VERSION])));
            // Who was made before the oldest entry kept is in no entry any more, but in the snapshot there.
            let (state, _) = self.engine.history_begins().map_err(|error| ViewError::new(&error))?;
            for subscriber in state.subscribers() {
                let known = (subscriber.name.to_string(), u64::from(subscriber.seeks));
                remember(subscriber.id, known, &mut people, &mut rows);
            }
        }
        for recorded in entries {
            self.rows_of(view, &recorded, &mut people, &mut rows)?;
        }
        view.apply(rows, next.0)?;
        self.applied.send_replace(next);
        Ok(true)
    }

    /// Name and number of seeks of a subscriber, as of the entry being applied.
    fn person(&self, view: &View, id: SubscriberId, people: &mut People) -> Result<(String, u64), ViewError> {
        if let Some(known) = people.get(&id) {
            return Ok(known.clone());
        }
        let stored = view.get(&Key::new(Table::Names, &[id.0]))?;
        let stored = stored.and_then(|bytes| codec::decode::<(String, u64)>(VERSION, &bytes).ok());
        let known = stored.unwrap_or_else(|| (format!("deleted-{id}"), 0));
        people.insert(id, known.clone());
        Ok(known)
    }

    fn rows_of(&self, view: &View, recorded: &Recorded, people: &mut People, rows: &mut Rows) -> Result<(), ViewError> {
        let Recorded { offset, time, entry } = recorded;
        match entry {
            Entry::Made { id, name, .. } => remember(*id, (name.to_string(), 0), people, rows),
            Entry::Sought { id, .. } => {
                let (name, seeks) = self.person(view, *id, people)?;
                remember(*id, (name, seeks + 1), people, rows);
            }
            Entry::LedgerRetired { start } => forget_below(view, *start, rows)?,
            _ => {}
        }
        for (n, receipt) in receipts_of(entry).into_iter().enumerate() {
            let (name, seeks) = self.person(view, receipt.id, people)?;
            let row = Row { name, time: *time, seeks, ..receipt };
            let (at, n) = (offset.0, n as u64);
            rows.push((Key::new(Table::BySubscriber, &[row.id.0, at, n]), Some(Vec::new())));
            // A replay says nothing about how the delivery itself stands.
            if row.replay.is_none() {
                rows.push((Key::new(Table::Coverage, &[row.id.0, seeks, row.span.to.0, at, n]), Some(Vec::new())));
                let letter = Key::new(Table::DeadLetters, &[row.id.0, row.span.from.0]);
                if row.outcome == Outcome::Dead {
                    rows.push((letter, Some(codec::encode(VERSION, &(at, n)))));
                } else if matches!(entry, Entry::Resent { .. }) {
                    rows.push((letter, None));
                }
            }
            rows.push((Key::new(Table::Receipts, &[at, n]), Some(codec::encode(VERSION, &row))));
        }
        Ok(())
    }
}

/// Takes out what retention took from the ledger.
fn forget_below(view: &View, start: Offset, rows: &mut Rows) -> Result<(), ViewError> {
    let (mut gone, mut letters) = (Vec::new(), Vec::new());
    let all = Key::new(Table::Receipts, &[]);
    view.scan(&all, &all, |key, value| {
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
        let newest = view.get(&key)?.and_then(|bytes| codec::decode::<(u64, u64)>(VERSION, &bytes).ok());
        if newest == Some(place) {
            gone.push((key, None));
        }
    }
    // First, so that what this batch adds under the same key stays.
    rows.splice(0..0, gone);
    Ok(())
}

/// Writes down a subscriber's name and seeks.
fn remember(id: SubscriberId, known: (String, u64), people: &mut People, rows: &mut Rows) {
    rows.push((Key::new(Table::Names, &[id.0]), Some(codec::encode(VERSION, &known))));
    people.insert(id, known);
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

/// A folder of this process's own.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("stentor-{}", uuid::Uuid::now_v7().simple())))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        remove(&self.0.join("views").join("receipts"));
    }
}

/// Removes a view's files; what is left behind in a temporary folder does no harm.
fn remove(dir: &Path) {
    for name in RealFs.list(dir).unwrap_or_default() {
        if let Err(error) = RealFs.remove(&dir.join(&name)) {
            tracing::debug!(%error, name, "a temporary file stays behind");
        }
    }
}
