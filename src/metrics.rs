//! Floor 1: what is counted. Names and units follow OpenMetrics; no label has unbounded values.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;

/// One label with few values, all of them the broker's own words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Word {
    /// How a listener is reached, how an attempt ended, why a publish was refused.
    pub kind: &'static str,
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
    /// Time of a commit: write and sync.
    pub commit_seconds: Histogram,
    /// Entries appended to the ledger.
    pub ledger_entries: Counter,
    /// Sessions live now.
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
    /// Events given up.
    pub dead_letters: Counter,
    /// The oldest offset kept.
    pub log_start: Gauge<u64, AtomicU64>,
    /// The offset after the newest durable event.
    pub log_end: Gauge<u64, AtomicU64>,
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
            commit_seconds: Histogram::new(exponential_buckets(20e-6, 2.0, 18)),
            ledger_entries: Counter::default(),
            sessions: Family::default(),
            deliveries: Family::default(),
            redeliveries: Family::default(),
            acks: Family::default(),
            gaps: Counter::default(),
            attempts: Family::default(),
            dead_letters: Counter::default(),
            log_start: Gauge::default(),
            log_end: Gauge::default(),
            read_only: Gauge::default(),
            rot_found: Counter::default(),
            torn_tails: Counter::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let mut registry = Registry::with_prefix("stentor");
        registry.register("events_published", "Events made durable", self.events_published.clone());
        registry.register_with_unit(
            "published_payload",
            "Payload bytes made durable",
            Unit::Bytes,
            self.published_bytes.clone(),
        );
        registry.register("publish_duplicates", "Publishes answered with an earlier event", self.duplicates.clone());
        registry.register("publish_refused", "Publishes refused, by problem", self.refused.clone());
        registry.register_with_unit(
            "commit",
            "Time of one group's write and sync",
            Unit::Seconds,
            self.commit_seconds.clone(),
        );
        registry.register("ledger_entries", "Entries appended to the ledger", self.ledger_entries.clone());
        registry.register("sessions", "Sessions live now", self.sessions.clone());
        registry.register("deliveries", "Events sent to listeners", self.deliveries.clone());
        registry.register("redeliveries", "Events sent to listeners again", self.redeliveries.clone());
        registry.register("acks", "Acks taken", self.acks.clone());
        registry.register("gaps", "Gaps told to listeners", self.gaps.clone());
        registry.register("connector_attempts", "Attempts of connectors, by how they ended", self.attempts.clone());
        registry.register("dead_letters", "Events given up", self.dead_letters.clone());
        registry.register("log_start_offset", "The oldest offset kept", self.log_start.clone());
        registry.register("log_end_offset", "The offset after the newest durable event", self.log_end.clone());
        registry.register("read_only", "1 while publishes are refused by the disk", self.read_only.clone());
        registry.register("rot_found", "Damaged places found by the scrub", self.rot_found.clone());
        registry.register("torn_tails", "Torn tails set aside when the log was opened", self.torn_tails.clone());
        self.registry = registry;
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
