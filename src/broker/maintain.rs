//! What is due from time to time: retention, views, expiry, gauges.

use crate::clock::{self, Clock};
use crate::deliver::Registry;
use crate::engine::{Engine, RetentionLimits};
use crate::metrics::Metrics;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(1);

pub(super) struct Maintenance {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) registry: Arc<Registry>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) retention: RetentionLimits,
    pub(super) scrub_bytes: u64,
    pub(super) clock: Clock,
}

impl Maintenance {
    /// Sees to everything each second until told to stop.
    pub(super) async fn run(self, stop: CancellationToken) {
        while stop.run_until_cancelled(clock::sleep(EVERY)).await.is_some() {
            let (engine, retention, now) = (Arc::clone(&self.engine), self.retention, self.clock.now());
            let done = tokio::task::spawn_blocking(move || engine.maintain(retention, now)).await;
            match done {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::error!(%error, "retention could not be done"),
                Err(error) => tracing::error!(%error, "maintenance panicked"),
            }
            self.scrub().await;
            self.registry.expire().await;
            gauges(&*self.engine, &self.metrics);
        }
    }
}

impl Maintenance {
    /// Looks for rot, a little each time.
    async fn scrub(&self) {
        let (engine, bytes) = (Arc::clone(&self.engine), self.scrub_bytes);
        match tokio::task::spawn_blocking(move || engine.scrub(bytes)).await {
            Ok(Ok(met)) => {
                for damage in met {
                    self.metrics.rot_found.inc();
                    tracing::error!(%damage, "found by the scrub; stop the broker and run stentor repair");
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, "the scrub could not read a segment"),
            Err(error) => tracing::error!(%error, "the scrub panicked"),
        }
    }
}

/// Brings the gauges up to date.
pub(super) fn gauges(engine: &dyn Engine, metrics: &Metrics) {
    metrics.log_start.set(engine.start().0);
    metrics.log_end.set(engine.end().0);
    metrics.read_only.set(i64::from(engine.refuses_events().is_some()));
}
