//! The receipts' view: the ledger's entries in sled, by subscriber, offset and time.
//!
//! A follower applies committed entries; whoever asks waits until it has come as far as the ledger was
//! when he asked. The view may be deleted, damaged or panic: it is set aside and made again.

use super::rows::{Block, VERSION};
use crate::broker::options::Storage;
use crate::broker::{Error, ErrorKind};
use crate::clock::{self, Instant};
use crate::engine::Engine;
use crate::fs::{Fs, RealFs};
use crate::ledger::LedgerError;
use crate::log::LogError;
use crate::model::Offset;
use crate::view::{Key, Table, View, ViewError};
use parking_lot::RwLock;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a question waits for the view.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it is waited before a view that could not be made is made again: the first time, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));
/// Views that were set aside and are kept, the newest: they hold nothing that the ledger does not.
const KEPT: usize = 2;
const SET_ASIDE: &str = "views-";
/// How often it is looked whether the view has grown beyond its rows, and from which size on.
const LOOK: Duration = Duration::from_secs(60);
const LEAST: u64 = 64 << 20;

/// The view and its follower.
pub(in crate::broker) struct Receipts {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    engine: Arc<dyn Engine>,
    dir: PathBuf,
    quarantine: PathBuf,
    /// A folder that goes with the process, for a broker in memory.
    _temporary: Option<Temporary>,
    pub(super) view: RwLock<Option<View>>,
    progress: watch::Sender<Progress>,
    /// Told when the view was given up and has to be made again.
    given_up: Notify,
}

/// How far the view has come.
#[derive(Clone, Copy, Default)]
struct Progress {
    applied: Offset,
    /// The ledger cannot be read from there on: it is damaged, and the view is not to blame.
    stuck: bool,
}

/// Why the view comes no further.
enum Trouble {
    /// It is of no use: it is set aside and made again.
    View(ViewError),
    /// The ledger is; another view would come no further.
    Ledger(LedgerError),
}

impl From<ViewError> for Trouble {
    fn from(error: ViewError) -> Self {
        Self::View(error)
    }
}

impl From<LedgerError> for Trouble {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl Receipts {
    /// Opens the view in the background and follows the ledger.
    pub(in crate::broker) fn start(
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
            progress: watch::Sender::default(),
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
        let mut progress = self.shared.progress.subscribe();
        let caught_up = async {
            let come = progress.wait_for(|progress| progress.applied >= target || progress.stuck).await;
            come.map_or(Progress::default(), |progress| *progress)
        };
        match clock::within(PATIENCE, caught_up).await {
            Some(progress) if progress.applied >= target => {}
            Some(Progress { stuck: true, .. }) => {
                // The reasons name files of the machine; they are for the log of whoever runs it.
                let detail = "the ledger is damaged where receipts are read from; the broker's own log says where";
                return Err(Error::new(ErrorKind::Damaged, "log-unreadable", detail));
            }
            _ => return Err(not_ready()),
        }
        let shared = Arc::clone(&self.shared);
        let answer = tokio::task::spawn_blocking(move || {
            shared.view.read().as_ref().map(|view| question(view, &*shared.engine))
        });
        match answer.await {
            Ok(Some(Ok(answer))) => Ok(answer),
            // It is being made anew, or let go of at the end: nothing is wrong with the folder.
            Ok(None) => Err(not_ready()),
            Ok(Some(Err(error))) => {
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
    let (mut again, mut looked) = (AGAIN.0, Instant::now());
    loop {
        end.borrow_and_update();
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            let theirs = Arc::clone(&shared);
            if let Err(error) = tokio::task::spawn_blocking(move || theirs.trim(LEAST)).await {
                tracing::error!(%error, "the look at the view's size panicked");
            }
        }
        let theirs = Arc::clone(&shared);
        let stopping = stop.clone();
        let refused = tokio::task::spawn_blocking(move || theirs.catch_up(&stopping)).await.unwrap_or_else(|error| {
            tracing::error!(%error, "the receipts' follower panicked");
            false
        });
        // A view that was given up is made again soon, and less and less soon; a good one waits for the ledger, and
        // where that cannot be read on, for somebody to mend it.
        let useless = refused || shared.view.read().is_none();
        let stuck = shared.progress.borrow().stuck;
        let pause = if stuck { Some(AGAIN.1) } else { useless.then_some(again) };
        let wait = async {
            if let Some(pause) = pause {
                clock::sleep(pause).await;
                return true;
            }
            tokio::select! {
                changed = end.changed() => changed.is_ok(),
                () = shared.given_up.notified() => true,
            }
        };
        again = if useless { (again * 2).min(AGAIN.1) } else { AGAIN.0 };
        if stop.run_until_cancelled(wait).await != Some(true) {
            // sled's own threads end with it, before the directory is let go.
            *shared.view.write() = None;
            return;
        }
    }
}

impl Shared {
    /// Applies everything that is committed and not yet in the view. Tells whether the disk refused to read the ledger,
    /// which says nothing of it.
    fn catch_up(&self, stop: &CancellationToken) -> bool {
        if self.view.read().is_none() {
            match self.open() {
                Ok(view) => *self.view.write() = Some(view),
                Err(error) => {
                    tracing::error!(%error, "the receipts' view cannot be made");
                    return false;
                }
            }
        }
        while !stop.is_cancelled() {
            match self.apply_some() {
                Ok(true) => {}
                Ok(false) => return false,
                Err(Trouble::View(error)) => {
                    tracing::warn!(%error, "the receipts' view is made again");
                    self.give_up();
                    return false;
                }
                Err(Trouble::Ledger(LedgerError::Log(error @ LogError::Io { .. }))) => {
                    tracing::warn!(%error, "the ledger was not read; it is tried again");
                    return true;
                }
                Err(Trouble::Ledger(error)) => {
                    tracing::error!(%error, "no receipts can be shown: the ledger cannot be read");
                    self.progress.send_modify(|progress| progress.stuck = true);
                    return false;
                }
            }
        }
        false
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
        let name = format!("{SET_ASIDE}{}", uuid::Uuid::now_v7().simple());
        RealFs.rename(&self.dir, &self.quarantine.join(name)).map_err(io)?;
        // Their names are in the order of their making.
        let mut aside = RealFs.list(&self.quarantine).map_err(io)?;
        aside.retain(|name| name.starts_with(SET_ASIDE));
        aside.sort_unstable();
        for name in aside.iter().rev().skip(KEPT) {
            RealFs.remove_tree(&self.quarantine.join(name)).map_err(io)?;
        }
        RealFs.create_dir(&self.dir).map_err(io)
    }

    /// Makes a view anew that takes more of the disk than its rows are worth.
    fn trim(&self, least: u64) {
        if !self.view.read().as_ref().is_some_and(|view| view.is_overgrown(least).unwrap_or(false)) {
            return;
        }
        tracing::info!("the receipts' view has grown beyond its rows, and is made again");
        // sled lets its folder go with the last who has it.
        *self.view.write() = None;
        self.progress.send_replace(Progress::default());
        if let Err(error) = RealFs.remove_tree(&self.dir) {
            tracing::error!(%error, "the receipts' view cannot be removed");
        }
    }

    fn give_up(&self) {
        *self.view.write() = None;
        self.progress.send_replace(Progress::default());
        if let Err(error) = self.set_aside() {
            tracing::error!(%error, "the receipts' view cannot be set aside");
        }
        self.given_up.notify_one();
    }

    /// Applies a block of entries; tells whether there may be more.
    fn apply_some(&self) -> Result<bool, Trouble> {
        let view = self.view.read();
        let view = view.as_ref().ok_or_else(ViewError::closed)?;
        let from = Offset(view.applied_through()?);
        if from > Offset::ZERO && from < self.engine.state().ledger_start {
            // What lay between is gone, and with it names and seeks: made again, it has them from the snapshot.
            return Err(ViewError::closed().into());
        }
        let (entries, next) = self.engine.history(from)?;
        if next <= from {
            self.progress.send_replace(Progress { applied: from, stuck: false });
            return Ok(false);
        }
        let mut block = Block::new(view);
        if from == Offset::ZERO {
            let (snapshot, _) = self.engine.history_begins()?;
            block.begin(&snapshot);
        }
        for recorded in entries {
            block.add(&recorded)?;
        }
        view.apply(block.rows, next.0)?;
        self.progress.send_replace(Progress { applied: next, stuck: false });
        Ok(true)
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
        if let Err(error) = RealFs.remove_tree(&self.0) {
            tracing::debug!(%error, dir = %self.0.display(), "a temporary folder stays behind");
        }
    }
}
