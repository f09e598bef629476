//! Floor 1: time and chance, the two things that differ between two runs of the same program.
//!
//! Only this module asks the machine for them. Wall-clock time is for people (an event's `time`)
//! and never orders anything; deadlines follow [`Instant`], which tests can pause.

mod entropy;

pub use entropy::{Random, fill_secret};
pub use tokio::time::Instant;

use crate::model::Timestamp;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The wall clock: the machine's, or one that a test sets.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's.
    #[default]
    Machine,
    /// Microseconds since 1970 as a test has set them.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The time now. It may jump either way between two calls.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
            Clock::Machine => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
            }
            Clock::Manual(micros) => Timestamp(micros.load(Ordering::Relaxed)),
        }
    }
}

/// Waits until then.
pub async fn sleep_until(at: Instant) {
    tokio::time::sleep_until(at).await;
}

/// Waits so long.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Runs `future` so long at most; `None` where it did not end in time.
pub async fn within<F: Future>(duration: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(duration, future).await.ok()
}
