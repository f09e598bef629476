//! Floor 1: what is counted. Names and units follow OpenMetrics; no label has unbounded values.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;

/// One label with few values, all of them the broker's own words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Word {
    /// How a listener is reached, how an attempt ended, why a publish was refused, which log.
    pub kind: &'static str,
}

/// A subscriber's or connector's name. Names are people's own, so that few of them are shown: [`MAX_NAMES`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Named {
    /// The name.
    pub subscriber: String,
}

/// Names that get series of their own, at most.
pub const MAX_NAMES: usize = 100;

/// Times of one kind, by log.
pub type Seconds = Family<Word, Histogram, fn() -> Histogram>;

/// What the accept loop counts.
#[derive(Debug, Clone, Default)]
pub struct Ingress {
    /// Connections open now.
    pub connections: Gauge,
    /// Connections that had no place, by which cap.
    pub refused: Family<Word, Counter>,
}

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    /// Events made durable.
    pub events_published: Counter,
    /// Bytes of their payloads.
    pub published_bytes: Counter,
    /// Publishes answered with an earlier event.
    pub duplicates: Counter,
    /// Publishes refused, by the problem's name.
    pub refused: Family<Word, Counter>,
    /// Time of a commit, by log: write and sync.
    pub commit_seconds: Seconds,
    /// Of that, the sync.
    pub sync_seconds: Seconds,
    /// Entries appended to the ledger.
    pub ledger_entries: Counter,
    /// Connections.
    pub ingress: Ingress,
    /// Connections of listeners now, by transport.
    pub sessions: Family<Word, Gauge>,
    /// Events sent to listeners.
    pub deliveries: Family<Word, Counter>,
    /// Of those, the ones sent before.
    pub redeliveries: Family<Word, Counter>,
    /// Acks taken.
    pub acks: Family<Word, Counter>,
    /// Gaps told.
    pub gaps: Counter,
    /// Attempts of connectors.
    pub attempts: Family<Word, Counter>,
    /// Time of an attempt, whatever came of it.
    pub attempt_seconds: Histogram,
    /// Events given up.
    pub dead_letters: Counter,
    /// Subscribers and connectors, by kind.
    pub subscribers: Family<Word, Gauge>,
    /// Subscribers and connectors with a live session, by transport.
    pub subscribers_live: Family<Word, Gauge>,
    /// Connectors, by state.
    pub connectors: Family<Word, Gauge>,
    /// Events delivered and not done.
    pub open_events: Gauge,
    /// Matching events not acknowledged, of those furthest behind.
    pub lag: Family<Named, Gauge>,
    /// Subscribers and connectors whose lag is not shown.
    pub lag_not_shown: Gauge,
    /// The oldest offset kept.
    pub log_start: Gauge<u64, AtomicU64>,
    /// The offset after the newest durable event.
    pub log_end: Gauge<u64, AtomicU64>,
    /// The oldest ledger entry kept.
    pub ledger_start: Gauge<u64, AtomicU64>,
    /// The place after the newest durable ledger entry.
    pub ledger_end: Gauge<u64, AtomicU64>,
    /// Bytes of each log on disk.
    pub log_bytes: Family<Word, Gauge>,
    /// Bytes free on the disk.
    pub disk_free_bytes: Gauge,
    /// Whether each log takes nothing any more since a write or sync failed.
    pub poisoned: Family<Word, Gauge>,
    /// When the broker was opened: seconds since 1970.
    pub start_time: Gauge<u64, AtomicU64>,
    /// 1 while publishes are refused for want of space or after a disk error.
    pub read_only: Gauge,
    /// Damaged places that the scrub found in sealed segments.
    pub rot_found: Counter,
    /// Torn tails set aside at start.
    pub torn_tails: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            events_published: Counter::default(),
            published_bytes: Counter::default(),
            duplicates: Counter::default(),
            refused: Family::default(),
            commit_seconds: Family::new_with_constructor(disk_times),
            sync_seconds: Family::new_with_constructor(disk_times),
            ledger_entries: Counter::default(),
            ingress: Ingress::default(),
            sessions: Family::default(),
            deliveries: Family::default(),
            redeliveries: Family::default(),
            acks: Family::default(),
            gaps: Counter::default(),
            attempts: Family::default(),
            attempt_seconds: Histogram::new(exponential_buckets(1e-3, 2.0, 16)),
            dead_letters: Counter::default(),
            subscribers: Family::default(),
            subscribers_live: Family::default(),
            connectors: Family::default(),
            open_events: Gauge::default(),
            lag: Family::default(),
            lag_not_shown: Gauge::default(),
            log_start: Gauge::default(),
            log_end: Gauge::default(),
            ledger_start: Gauge::default(),
            ledger_end: Gauge::default(),
            log_bytes: Family::default(),
            disk_free_bytes: Gauge::default(),
            poisoned: Family::default(),
            start_time: Gauge::default(),
            read_only: Gauge::default(),
            rot_found: Counter::default(),
            torn_tails: Counter::default(),
        };
        metrics.register();
        metrics
    }
}

/// 20 µs to 2.6 s: from a disk that lies in memory to one that hangs.
fn disk_times() -> Histogram {
    Histogram::new(exponential_buckets(20e-6, 2.0, 18))
}

impl Metrics {
    fn register(&mut self) {
        let mut registry = Registry::with_prefix("stentor");
        self.register_logs(&mut registry);
        self.register_delivery(&mut registry);
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Which broker this is", version);
        let since = "When the broker was opened, since 1970";
        registry.register_with_unit("start_time", since, Unit::Seconds, self.start_time.clone());
        let connections = self.ingress.connections.clone();
        registry.register("connections", "Connections open now", connections);
        let refused = self.ingress.refused.clone();
        registry.register("connections_refused", "Connections that had no place, by cap", refused);
        self.registry = registry;
    }

    /// Publishing, both logs, the disk.
    fn register_logs(&self, registry: &mut Registry) {
        registry.register("events_published", "Events made durable", self.events_published.clone());
        let bytes = self.published_bytes.clone();
        registry.register_with_unit("published_payload", "Payload bytes made durable", Unit::Bytes, bytes);
        registry.register("publish_duplicates", "Publishes answered with an earlier event", self.duplicates.clone());
        registry.register("publish_refused", "Publishes refused, by problem", self.refused.clone());
        let commit = self.commit_seconds.clone();
        registry.register_with_unit("commit", "Time of one group's write and sync, by log", Unit::Seconds, commit);
        let sync = self.sync_seconds.clone();
        registry.register_with_unit("sync", "Time of one group's sync, by log", Unit::Seconds, sync);
        registry.register("ledger_entries", "Entries appended to the ledger", self.ledger_entries.clone());
        registry.register("log_start_offset", "The oldest offset kept", self.log_start.clone());
        registry.register("log_end_offset", "The offset after the newest durable event", self.log_end.clone());
        registry.register("ledger_start_offset", "The oldest ledger entry kept", self.ledger_start.clone());
        registry.register("ledger_end_offset", "The place after the newest ledger entry", self.ledger_end.clone());
        registry.register_with_unit("log", "Bytes of each log on disk", Unit::Bytes, self.log_bytes.clone());
        let free = self.disk_free_bytes.clone();
        registry.register_with_unit("disk_free", "Bytes free on the disk of the data directory", Unit::Bytes, free);
        registry.register("read_only", "1 while publishes are refused by the disk", self.read_only.clone());
        registry.register("log_poisoned", "1 where a log failed and takes nothing any more", self.poisoned.clone());
        registry.register("rot_found", "Damaged places found by the scrub", self.rot_found.clone());
        registry.register("torn_tails", "Torn tails set aside when the log was opened", self.torn_tails.clone());
    }

    /// Subscribers, sessions, connectors.
    fn register_delivery(&self, registry: &mut Registry) {
        registry.register("sessions", "Connections of listeners now, by transport", self.sessions.clone());
        registry.register("deliveries", "Events sent to listeners", self.deliveries.clone());
        registry.register("redeliveries", "Events sent to listeners again", self.redeliveries.clone());
        registry.register("acks", "Acks taken", self.acks.clone());
        registry.register("gaps", "Gaps told to listeners", self.gaps.clone());
        registry.register("connector_attempts", "Attempts of connectors, by how they ended", self.attempts.clone());
        let seconds = self.attempt_seconds.clone();
        registry.register_with_unit("connector_attempt", "Time of a connector's attempt", Unit::Seconds, seconds);
        registry.register("dead_letters", "Events given up", self.dead_letters.clone());
        registry.register("subscribers", "Subscribers and connectors", self.subscribers.clone());
        let live = self.subscribers_live.clone();
        registry.register("subscribers_live", "Subscribers and connectors with a live session", live);
        registry.register("connectors", "Connectors, by state", self.connectors.clone());
        registry.register("open_events", "Events delivered and not done", self.open_events.clone());
        registry.register(
            "subscriber_lag",
            "Matching events not acknowledged, of those furthest behind",
            self.lag.clone(),
        );
        let hidden = self.lag_not_shown.clone();
        registry.register(
            "subscriber_lag_not_shown",
            "Subscribers and connectors without a series of their own",
            hidden,
        );
    }

    /// Counts events that became durable.
    pub fn published(&self, events: u64, bytes: u64) {
        self.events_published.inc_by(events);
        self.published_bytes.inc_by(bytes);
    }

    /// Everything, as OpenMetrics text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("a string can be written to");
        out
    }
}
