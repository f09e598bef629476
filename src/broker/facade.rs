//! The broker: opening, publishing, reading, and the end in order.

use super::maintain::{Maintenance, census, gauges};
use super::options::{Options, Storage};
use super::receipts::Receipts;
use super::{Error, ErrorKind, dispatch};
use crate::clock::{Clock, Instant, Random};
use crate::connector::Sender;
use crate::deliver::{Registry, RegistryParts};
use crate::engine::{Engine, Local, LocalOptions, Memory, Placed, RetentionLimits};
use crate::fs::RealFs;
use crate::metrics::Metrics;
use crate::model::{EventId, Headers, NewEvent, Offset, Timestamp};
use crate::notify::Hub;
use crate::publish::Publisher;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A running broker. Cheap to clone; all clones are the same one.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<dyn Engine>,
    publisher: Publisher,
    registry: Arc<Registry>,
    receipts: Receipts,
    metrics: Arc<Metrics>,
    clock: Clock,
    started: Instant,
    stop: CancellationToken,
    tracker: TaskTracker,
    retention: Arc<Mutex<RetentionLimits>>,
    /// Held while gauges are brought up to date and written out.
    counting: Mutex<()>,
}

/// What a publisher is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Where the event stands.
    pub offset: Offset,
    /// Its id.
    pub id: EventId,
    /// Its time.
    pub time: Timestamp,
    /// It was there before.
    pub duplicate: bool,
}

/// How the broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Why publishes are refused, where they are.
    pub publishes: Option<String>,
    /// Why acks are refused, where they are.
    pub acks: Option<String>,
    /// Whether it is shutting down.
    pub draining: bool,
    /// The oldest offset kept.
    pub start: Offset,
    /// The offset after the newest event.
    pub end: Offset,
    /// How long it has run.
    pub uptime: Duration,
}

impl Broker {
    /// Opens the logs and begins to work: connectors call, listeners are served, retention runs.
    ///
    /// # Errors
    /// A data directory that another process has, or that is damaged; the message says what to do.
    pub async fn open(options: Options) -> Result<Self, Error> {
        // A second broker in the process finds it installed, and that is as good.
        let _already = rustls::crypto::ring::default_provider().install_default().is_err();
        let metrics = Arc::new(Metrics::default());
        let random = Arc::new(Random::from_machine());
        let engine = open_engine(&options, &metrics, &random).await?;
        let hub = Hub::new(engine.end());
        let sender = Arc::new(Sender::new(options.egress.clone(), options.clock.clone())?);
        let publisher = Publisher::new(
            Arc::clone(&engine),
            options.publish,
            options.clock.clone(),
            Arc::clone(&random),
            Arc::clone(&metrics),
        );
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        tracker.spawn(dispatch::run(Arc::clone(&engine), Arc::clone(&hub), stop.clone()));
        let registry = Registry::start(RegistryParts {
            engine: Arc::clone(&engine),
            hub,
            sender,
            clock: options.clock.clone(),
            random,
            metrics: Arc::clone(&metrics),
        });
        let receipts = Receipts::start(Arc::clone(&engine), &options.storage, &tracker, stop.clone());
        let retention = Arc::new(Mutex::new(options.retention));
        let maintenance = Maintenance {
            engine: Arc::clone(&engine),
            registry: Arc::clone(&registry),
            metrics: Arc::clone(&metrics),
            retention: Arc::clone(&retention),
            scrub_bytes: options.scrub_bytes,
            clock: options.clock.clone(),
        };
        tracker.spawn(maintenance.run(stop.clone()));
        metrics.start_time.set(options.clock.now().seconds());
        let (clock, started) = (options.clock, Instant::now());
        let inner = Inner {
            engine,
            publisher,
            registry,
            receipts,
            metrics,
            clock,
            started,
            stop,
            tracker,
            retention,
            counting: Mutex::new(()),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Publishes a value as JSON. Returns when it is on disk.
    ///
    /// # Errors
    /// A channel outside the grammar or of the broker's own; a value that is too large; a disk that is full or broken.
    pub async fn emit<T: Serialize + ?Sized>(&self, channel: &str, data: &T) -> Result<Published, Error> {
        let payload = serde_json::to_vec(data)
            .map_err(|error| Error::new(ErrorKind::Invalid, "data-invalid", error.to_string()))?;
        let id = self.inner.publisher.make_id();
        let event = NewEvent::check(channel, id, None, Headers::default(), None, Bytes::from(payload))?;
        self.publish(event).await
    }

    /// Publishes an event. Returns when it is on disk.
    ///
    /// # Errors
    /// As [`Broker::emit`], and an id that was published with another content.
    pub async fn publish(&self, event: NewEvent) -> Result<Published, Error> {
        let id = event.head.id.clone();
        let Placed { offset, time, duplicate } = self.inner.publisher.publish(event).await?;
        Ok(Published { offset, id, time, duplicate })
    }

    /// Publishes many events, all or none; one answer each, in their order.
    ///
    /// # Errors
    /// As [`Broker::publish`]; the first event at fault is named.
    pub async fn publish_batch(&self, events: Vec<NewEvent>) -> Result<Vec<Placed>, Error> {
        Ok(self.inner.publisher.publish_batch(events).await?)
    }

    /// An id for an event whose publisher gives none.
    #[must_use]
    pub fn make_id(&self) -> EventId {
        self.inner.publisher.make_id()
    }

    /// Bytes of one event and of one batch, at most.
    #[must_use]
    pub fn publish_limits(&self) -> crate::publish::PublishLimits {
        self.inner.publisher.limits()
    }

    /// The subscribers.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.inner.registry
    }

    pub(super) fn engine(&self) -> &Arc<dyn Engine> {
        &self.inner.engine
    }

    pub(super) fn receipts_view(&self) -> &Receipts {
        &self.inner.receipts
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Everything that is counted, as OpenMetrics text.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        // One at a time: what is counted anew is cleared first, and nobody should see it half.
        let _turn = self.inner.counting.lock();
        census(&self.inner.registry, &self.inner.metrics);
        gauges(&*self.inner.engine, &self.inner.metrics);
        self.inner.metrics.encode()
    }

    /// The oldest offset kept.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.inner.engine.start()
    }

    /// The offset after the newest event.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.inner.engine.end()
    }

    /// The wall clock's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// How it is.
    #[must_use]
    pub fn health(&self) -> Health {
        Health {
            publishes: self.inner.engine.refuses_events().map(|failure| failure.to_string()),
            acks: self.inner.engine.refuses_entries().map(|failure| failure.to_string()),
            draining: self.inner.stop.is_cancelled(),
            start: self.start(),
            end: self.end(),
            uptime: self.inner.started.elapsed(),
        }
    }

    /// Keeps so long and so much from now on. What was removed already does not come back.
    pub fn set_retention(&self, limits: RetentionLimits) {
        *self.inner.retention.lock() = limits;
    }

    /// Cancelled when the broker shuts down.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.inner.stop
    }

    /// Ends in order: listeners and connectors finish what is under way, acks are written down, both logs
    /// are committed and synced, the directory is let go. A connector's attempt may take as long as its `timeout`.
    pub async fn shutdown(&self) {
        self.shutdown_within(Duration::MAX).await;
    }

    /// As [`Self::shutdown`], but attempts of connectors have no longer than `patience` to be answered. What was not
    /// goes out again after the next start, as it does after a kill.
    pub async fn shutdown_within(&self, patience: Duration) {
        self.inner.stop.cancel();
        self.inner.registry.stop(patience).await;
        self.inner.tracker.close();
        self.inner.tracker.wait().await;
        let engine = Arc::clone(&self.inner.engine);
        if let Err(error) = tokio::task::spawn_blocking(move || engine.close()).await {
            tracing::error!(%error, "closing the logs panicked");
        }
    }
}

async fn open_engine(
    options: &Options,
    metrics: &Arc<Metrics>,
    random: &Arc<Random>,
) -> Result<Arc<dyn Engine>, Error> {
    let data = match &options.storage {
        Storage::Memory => return Ok(Arc::new(Memory::new(options.clock.clone()))),
        Storage::Local(data) => data.clone(),
    };
    let local = LocalOptions {
        recover: options.recover,
        reserve_bytes: options.reserve_bytes,
        event_segment_bytes: options.event_segment_bytes,
        ledger_segment_bytes: options.ledger_segment_bytes,
        clock: options.clock.clone(),
        random: Arc::clone(random),
        metrics: Arc::clone(metrics),
        ..LocalOptions::new(data)
    };
    let opened = tokio::task::spawn_blocking(move || Local::open(Arc::new(RealFs), &local)).await;
    let opened = opened.map_err(|error| Error::new(ErrorKind::Internal, "internal", error.to_string()))??;
    metrics.torn_tails.inc_by(opened.cuts.len() as u64);
    Ok(Arc::new(opened.engine))
}
