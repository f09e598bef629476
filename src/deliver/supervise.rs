//! Every connector has one worker; one that panics is employed again, and that is said.

use super::desk::{Desk, ReplayPlace};
use super::errand::{Errands, Replay};
use super::error::DeliverError;
use super::registry::RegistryParts;
use super::subscription::Subscription;
use super::worker::Worker;
use crate::clock;
use crate::model::{Kind, SubscriberId};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a worker that panicked stays away.
const PAUSE_AFTER_PANIC: Duration = Duration::from_secs(1);

/// Keeps the workers at work.
pub struct Supervisor {
    parts: RegistryParts,
    tracker: TaskTracker,
    stop: CancellationToken,
    /// Told to finish what is under way and to begin nothing.
    finish: CancellationToken,
    workers: Mutex<HashMap<SubscriberId, Employed>>,
}

struct Employed {
    desk: Arc<Desk>,
    look_again: Arc<Notify>,
    dismissed: CancellationToken,
    task: JoinHandle<()>,
}

impl Supervisor {
    pub(super) fn new(parts: RegistryParts, tracker: TaskTracker, stop: CancellationToken) -> Self {
        let finish = stop.child_token();
        Self { parts, tracker, stop, finish, workers: Mutex::default() }
    }

    /// Puts a worker to a connector.
    pub(super) fn employ(&self, subscription: Arc<Subscription>) {
        let look_again = Arc::new(Notify::new());
        let dismissed = self.stop.child_token();
        let (id, name) = (subscription.id(), subscription.name().to_string());
        let desk = Arc::new(Desk::default());
        let deliver: Make = {
            let (parts, finish) = (self.parts.clone(), self.finish.clone());
            let (desk, look_again) = (Arc::clone(&desk), Arc::clone(&look_again));
            Box::new(move || {
                let (parts, finish, subscription) = (parts.clone(), finish.clone(), Arc::clone(&subscription));
                let (desk, look_again) = (Arc::clone(&desk), Arc::clone(&look_again));
                Box::pin(Worker::new(parts, subscription, desk, look_again, finish).run())
            })
        };
        let retry: Make = {
            let (parts, finish, desk) = (self.parts.clone(), self.finish.clone(), Arc::clone(&desk));
            Box::new(move || {
                let (parts, finish, desk) = (parts.clone(), finish.clone(), Arc::clone(&desk));
                Box::pin(Errands { parts, id, desk, finish }.retry_letters())
            })
        };
        let both = (supervise(name.clone(), deliver, dismissed.clone()), supervise(name, retry, dismissed.clone()));
        let task = self.tracker.spawn(async {
            tokio::join!(both.0, both.1);
        });
        self.workers.lock().insert(id, Employed { desk, look_again, dismissed, task });
    }

    /// What is known of a connector in this life.
    pub(super) fn desk(&self, id: SubscriberId) -> Option<Arc<Desk>> {
        self.workers.lock().get(&id).map(|employed| Arc::clone(&employed.desk))
    }

    /// Begins a replay; it ends by itself, with its connector, or with the broker.
    ///
    /// # Errors
    /// Nobody is there, or too many are under way.
    pub(super) fn run_replay(
        &self,
        id: SubscriberId,
        make: impl FnOnce(ReplayPlace) -> Replay,
    ) -> Result<(), DeliverError> {
        let workers = self.workers.lock();
        let gone = || DeliverError::NotFound { kind: Kind::Connector, name: id.to_string() };
        let employed = workers.get(&id).ok_or_else(gone)?;
        let replay = make(employed.desk.begin_replay()?);
        let (parts, desk, finish) = (self.parts.clone(), Arc::clone(&employed.desk), self.finish.clone());
        let (errands, dismissed) = (Errands { parts, id, desk, finish }, employed.dismissed.clone());
        self.tracker.spawn(async move { dismissed.run_until_cancelled_owned(Box::pin(errands.replay(replay))).await });
        Ok(())
    }

    /// Tells a worker that its connector was changed, moved, paused or resumed.
    pub(super) fn look_again(&self, id: SubscriberId) {
        if let Some(employed) = self.workers.lock().get(&id) {
            employed.look_again.notify_one();
        }
    }

    /// Ends a worker, whatever it is doing, and waits until it is gone.
    pub(super) async fn dismiss(&self, id: SubscriberId) {
        let employed = self.workers.lock().remove(&id);
        if let Some(Employed { dismissed, task, .. }) = employed {
            dismissed.cancel();
            if let Err(error) = task.await {
                tracing::error!(%error, "a worker's supervisor ended badly");
            }
        }
    }

    /// Lets all workers finish what is under way.
    pub(super) async fn finish(&self) {
        self.finish.cancel();
        let tasks: Vec<JoinHandle<()>> = self.workers.lock().drain().map(|(_, employed)| employed.task).collect();
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a worker's supervisor ended badly");
            }
        }
    }
}

/// Makes the work anew, where it panicked.
type Make = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

async fn supervise(connector: String, make: Make, dismissed: CancellationToken) {
    loop {
        // A task of its own, so that a panic ends it alone.
        let mut task = tokio::spawn(make());
        let outcome = tokio::select! {
            outcome = &mut task => outcome,
            () = dismissed.cancelled() => {
                task.abort();
                if let Err(error) = task.await && error.is_panic() {
                    tracing::error!(connector, %error, "a dismissed worker panicked");
                }
                return;
            }
        };
        match outcome {
            Ok(()) => return,
            Err(error) => {
                tracing::error!(connector, %error, "a worker panicked; it is employed again");
                clock::sleep(PAUSE_AFTER_PANIC).await;
            }
        }
    }
}
