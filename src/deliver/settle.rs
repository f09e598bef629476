//! Stream acks coalesce: they enter the ledger every 100 ms, sooner where they fill half of a window, at once for
//! whoever asks. Until they are durable they take room in the window, so that a crash brings back no more than it holds.

use super::subscription::Subscription;
use crate::clock;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_millis(100);

/// Subscribers with acks that are not durable yet.
#[derive(Default)]
pub(super) struct Dirty {
    waiting: Mutex<Vec<Arc<Subscription>>>,
    urgent: Notify,
}

impl Dirty {
    pub(super) fn add(&self, subscription: Arc<Subscription>, urgent: bool) {
        self.waiting.lock().push(subscription);
        if urgent {
            self.urgent.notify_one();
        }
    }

    /// Lets everybody go, at the end.
    pub(super) fn clear(&self) {
        self.waiting.lock().clear();
    }

    /// Writes everything down that is waiting, and waits until it is durable. Where it cannot be, the subscriber has
    /// gone back to what is: better no session than a false word.
    async fn settle(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        // All of them first, so that they share a sync.
        let recorded: Vec<_> = waiting.into_iter().filter(|subscription| subscription.settle().is_ok()).collect();
        for subscription in recorded {
            if let Some(ticket) = subscription.newest_ticket() {
                let _outcome = ticket.durable().await.is_ok();
            }
            // A failure has been told, and has ended the session.
            let _released = subscription.release().is_ok();
        }
    }

    /// Settles every 100 ms, and when it is urgent, until told to stop.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let due = async || {
            tokio::select! {
                () = clock::sleep(EVERY) => {}
                () = self.urgent.notified() => {}
            }
        };
        while stop.run_until_cancelled(due()).await.is_some() {
            self.settle().await;
        }
        // Nobody is left waiting here: a subscription knows this list, and the list must not keep it alive.
        self.settle().await;
    }
}
