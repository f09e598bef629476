//! What ends a load: so many events, so much time, or Ctrl-C.

use super::Bounds;
use crate::clock::{self, Instant};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Where nobody says how much.
const SECONDS: u64 = 10;
/// How long what is under way may take to arrive after the last publish.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Shared by everybody who puts on load.
pub(super) struct Bound {
    given: AtomicU64,
    count: u64,
    over: CancellationToken,
}

impl Bound {
    /// Begins now.
    pub(super) fn begin(bounds: &Bounds) -> Arc<Self> {
        let seconds = bounds.seconds.or(bounds.count.is_none().then_some(SECONDS));
        let over = CancellationToken::new();
        let (ends, deadline) = (over.clone(), seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds)));
        tokio::spawn(async move {
            let time = async {
                match deadline {
                    Some(deadline) => clock::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = time => {}
                _ = tokio::signal::ctrl_c() => {}
                () = ends.cancelled() => {}
            }
            ends.cancel();
        });
        Arc::new(Self { given: AtomicU64::new(0), count: bounds.count.unwrap_or(u64::MAX), over })
    }

    /// The number of the next event, from 0; none when it is over.
    pub(super) fn next(&self) -> Option<u64> {
        if self.over.is_cancelled() {
            return None;
        }
        let number = self.given.fetch_add(1, Ordering::Relaxed);
        (number < self.count).then_some(number)
    }

    /// Time or somebody's patience is over.
    pub(super) fn over(&self) -> &CancellationToken {
        &self.over
    }
}
