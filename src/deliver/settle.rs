//! Stream acks coalesce: they enter the ledger every 100 ms, or at once for whoever asks.

use super::error::AckRefused;
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

    /// Writes everything down that is waiting, and waits until it is durable. Where it cannot be, the subscriber goes
    /// back to what is: better no session than a false word.
    pub(super) async fn settle(&self) {
        let waiting = std::mem::take(&mut *self.0.lock());
        let recorded: Vec<_> = waiting.into_iter().map(|subscription| (subscription.settle(), subscription)).collect();
        for (ticket, subscription) in recorded {
            let durable = match ticket {
                Ok(None) => Ok(()),
                Ok(Some(ticket)) => ticket.durable().await.map_err(AckRefused::from),
                Err(error) => Err(error),
            };
            if let Err(error) = durable {
                tracing::error!(subscriber = %subscription.name(), %error, "acks are lost; the session ends");
                subscription.reload();
            }
        }
    }

    /// Settles every 100 ms until told to stop.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        while stop.run_until_cancelled(clock::sleep(EVERY)).await.is_some() {
            self.settle().await;
        }
    }
}
