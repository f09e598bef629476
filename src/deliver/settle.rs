//! Stream acks coalesce: they enter the ledger every 100 ms, or at once for whoever asks.

use super::subscription::Subscription;
use crate::clock;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_millis(100);

/// Subscribers with acks that are not in the ledger yet.
#[derive(Default)]
pub(super) struct Dirty(Mutex<Vec<Arc<Subscription>>>);

impl Dirty {
    pub(super) fn add(&self, subscription: Arc<Subscription>) {
        self.0.lock().push(subscription);
    }

    /// Writes everything down that is waiting; the last ticket covers all.
    pub(super) fn settle(&self) -> Option<crate::log::Ticket> {
        let waiting = std::mem::take(&mut *self.0.lock());
        let mut last = None;
        for subscription in waiting {
            match subscription.settle() {
                Ok(ticket) => last = ticket.or(last),
                Err(error) => {
                    // With the ledger closed an ack cannot be kept: better no session than a false word.
                    tracing::error!(subscriber = %subscription.name(), %error, "acks are lost; the session ends");
                    subscription.inner.lock().end_session(super::session::Ending::Failed);
                }
            }
        }
        last
    }

    /// Settles every 100 ms until told to stop.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        while stop.run_until_cancelled(clock::sleep(EVERY)).await.is_some() {
            self.settle();
        }
    }
}
