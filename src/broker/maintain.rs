//! What is due from time to time: retention, views, expiry, gauges.

use super::pace::Pace;
use crate::clock::{self, Clock};
use crate::deliver::Registry;
use crate::engine::{Engine, RetentionLimits};
use crate::log::Failure;
use crate::metrics::{MAX_NAMES, Metrics, Named, Word};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(1);

pub(super) struct Maintenance {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) registry: Arc<Registry>,
    pub(super) metrics: Arc<Metrics>,
    /// As it is now; it may be changed while the broker runs.
    pub(super) retention: Arc<Mutex<RetentionLimits>>,
    pub(super) scrub_bytes: u64,
    pub(super) clock: Clock,
}

impl Maintenance {
    /// Sees to everything each second until told to stop.
    pub(super) async fn run(self, stop: CancellationToken) {
        let (now, found) = (self.clock.now(), self.engine.usage());
        let (mut events, mut receipts) = (Pace::new(now, found.oldest_event), Pace::new(now, found.oldest_entry));
        while stop.run_until_cancelled(clock::sleep(EVERY)).await.is_some() {
            let (engine, mut retention, now) = (Arc::clone(&self.engine), *self.retention.lock(), self.clock.now());
            let (before, start) = (engine.usage(), engine.start());
            let (may, may_receipts) =
                (events.allows(now, before.event_segments), receipts.allows(now, before.ledger_segments));
            retention.max_age = retention.max_age.filter(|_| may);
            retention.receipts = retention.receipts.filter(|_| may_receipts);
            let done = tokio::task::spawn_blocking(move || engine.maintain(retention, now)).await;
            // A round that failed does not tell that nothing was too old.
            let well = matches!(done, Ok(Ok(_)));
            events.took(may && well, self.engine.start() > start);
            receipts.took(may_receipts && well, self.engine.usage().ledger_start > before.ledger_start);
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
            Ok(met) => {
                for damage in met {
                    self.metrics.rot_found.inc();
                    tracing::error!(%damage, "found by the scrub; stop the broker and run stentor repair");
                }
            }
            Err(error) => tracing::error!(%error, "the scrub panicked"),
        }
    }
}

/// Counts everybody anew. Dearer than the other gauges, and therefore done when somebody looks.
pub(super) fn census(registry: &Registry, metrics: &Metrics) {
    let census = registry.census(MAX_NAMES);
    let word = |kind| Word { kind };
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    for (family, counts) in [
        (&metrics.subscribers, &census.kinds),
        (&metrics.subscribers_live, &census.live),
        (&metrics.connectors, &census.states),
    ] {
        for (kind, count) in counts {
            family.get_or_create(&word(kind)).set(number(*count));
        }
    }
    metrics.open_events.set(number(census.open));
    metrics.lag.clear();
    for (subscriber, lag) in census.lags {
        metrics.lag.get_or_create(&Named { subscriber }).set(number(lag));
    }
    metrics.lag_not_shown.set(number(census.lags_not_shown));
}

/// Brings the gauges up to date.
pub(super) fn gauges(engine: &dyn Engine, metrics: &Metrics) {
    let usage = engine.usage();
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let poisoned = |failure: Option<Failure>| i64::from(matches!(failure, Some(Failure::Poisoned(_))));
    for (kind, size, failure) in [
        ("events", usage.event_bytes, engine.refuses_events()),
        ("ledger", usage.ledger_bytes, engine.refuses_entries()),
    ] {
        metrics.log_bytes.get_or_create(&Word { kind }).set(bytes(size));
        metrics.poisoned.get_or_create(&Word { kind }).set(poisoned(failure));
    }
    metrics.ledger_start.set(usage.ledger_start.0);
    metrics.ledger_end.set(engine.follow_ledger().borrow().0);
    if let Some(free) = usage.disk_free {
        metrics.disk_free_bytes.set(bytes(free));
    }
    metrics.log_start.set(engine.start().0);
    metrics.log_end.set(engine.end().0);
    metrics.read_only.set(i64::from(engine.refuses_events().is_some()));
}
