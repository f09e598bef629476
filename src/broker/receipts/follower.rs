//! The receipts' view: the ledger's entries in sled, by subscriber, offset and time.
//!
//! A follower applies committed entries; whoever asks waits until it has come as far as the ledger was
//! when he asked. The view may be deleted, damaged or panic: it is set aside and made again.

use super::rows::{Block, VERSION};
use crate::broker::options::Storage;
use crate::broker::{Error, ErrorKind};
use crate::clock;
use crate::engine::Engine;
use crate::fs::{Fs, RealFs};
use crate::model::Offset;
use crate::view::{Key, Table, View, ViewError};
use parking_lot::RwLock;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a question waits for the view.
const PATIENCE: Duration = Duration::from_secs(30);

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
    applied: watch::Sender<Offset>,
    /// Told when the view was given up and has to be made again.
    given_up: Notify,
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
        let mut block = Block::new(view);
        if from == Offset::ZERO {
            let (snapshot, _) = self.engine.history_begins().map_err(|error| ViewError::new(&error))?;
            block.begin(&snapshot);
        }
        for recorded in entries {
            block.add(&recorded)?;
        }
        view.apply(block.rows, next.0)?;
        self.applied.send_replace(next);
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
