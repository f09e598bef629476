//! Waiting for a sync that many share.

use super::error::Failure;
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;

/// Everyone who waits for one sync.
#[derive(Default)]
pub(super) struct Round {
    outcome: OnceLock<Result<(), Failure>>,
    done: Notify,
}

impl Round {
    pub(super) fn finish(&self, outcome: Result<(), Failure>) {
        if self.outcome.set(outcome).is_ok() {
            self.done.notify_waiters();
        }
    }
}

/// The right to be told when what was appended is durable. Dropping it cancels nothing.
#[must_use = "what was appended is not durable before its ticket says so"]
#[derive(Clone)]
pub struct Ticket(Arc<Round>);

impl Ticket {
    pub(super) fn of(round: &Arc<Round>) -> Self {
        Self(Arc::clone(round))
    }

    /// For an engine whose appends are durable at once, as far as it goes.
    pub fn done() -> Self {
        let round = Round::default();
        round.finish(Ok(()));
        Self(Arc::new(round))
    }

    /// What came of it, where that is known.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<(), Failure>> {
        self.0.outcome.get().cloned()
    }

    /// Waits for the sync.
    ///
    /// # Errors
    /// Why it will not be known to be durable.
    pub async fn durable(self) -> Result<(), Failure> {
        loop {
            let done = self.0.done.notified();
            tokio::pin!(done);
            done.as_mut().enable();
            if let Some(outcome) = self.0.outcome.get() {
                return outcome.clone();
            }
            done.await;
        }
    }
}
