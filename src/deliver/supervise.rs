//! Every connector has one worker; one that panics is employed again, and that is said.

use super::registry::RegistryParts;
use super::subscription::Subscription;
use super::worker::Worker;
use crate::clock;
use crate::model::SubscriberId;
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
        let id = subscription.id();
        let task = self.tracker.spawn(supervise(
            self.parts.clone(),
            subscription,
            Arc::clone(&look_again),
            self.finish.clone(),
            dismissed.clone(),
        ));
        self.workers.lock().insert(id, Employed { look_again, dismissed, task });
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

async fn supervise(
    parts: RegistryParts,
    subscription: Arc<Subscription>,
    look_again: Arc<Notify>,
    finish: CancellationToken,
    dismissed: CancellationToken,
) {
    loop {
        let worker = Worker::new(parts.clone(), Arc::clone(&subscription), Arc::clone(&look_again), finish.clone());
        // A task of its own, so that a panic ends it alone.
        let mut task = tokio::spawn(Box::pin(worker.run()));
        let outcome = tokio::select! {
            outcome = &mut task => outcome,
            () = dismissed.cancelled() => {
                task.abort();
                if let Err(error) = task.await && error.is_panic() {
                    tracing::error!(connector = %subscription.name(), %error, "a dismissed worker panicked");
                }
                return;
            }
        };
        match outcome {
            Ok(()) => return,
            Err(error) => {
                tracing::error!(connector = %subscription.name(), %error, "a worker panicked; it is employed again");
                clock::sleep(PAUSE_AFTER_PANIC).await;
            }
        }
    }
}
