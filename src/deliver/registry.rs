//! Who there is: making, changing, moving and deleting subscribers and connectors.

use super::error::DeliverError;
use super::pull::Pulls;
use super::session::{NEVER, Session};
use super::settle::Dirty;
use super::source::Source;
use super::subscription::Subscription;
use super::supervise::Supervisor;
use super::view::{SubscriberView, cursor};
use crate::clock::{self, Clock, Random};
use crate::connector::Sender;
use crate::engine::Engine;
use crate::ledger::{SigningSecret, Subscriber, Target, Via};
use crate::log::Failure;
use crate::metrics::{Metrics, Word};
use crate::model::{ConnectorSettings, Filter, Kind, Name, Offset, Place, SubscriberId, SubscriberSettings};
use crate::notify::Hub;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What delivery stands on.
#[derive(Clone)]
pub struct RegistryParts {
    /// The logs.
    pub engine: Arc<dyn Engine>,
    /// Who is near.
    pub hub: Arc<Hub>,
    /// Who calls endpoints.
    pub sender: Arc<Sender>,
    /// The wall clock.
    pub clock: Clock,
    /// Jitter.
    pub random: Arc<Random>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// A connector as it is asked for.
#[derive(Debug)]
pub struct ConnectorInput {
    /// Its settings.
    pub settings: ConnectorSettings,
    /// Its headers; absent keeps what it has.
    pub headers: Option<Vec<(String, String)>>,
    /// Its signing secret; absent keeps what it has, or makes one.
    pub secret: Option<SigningSecret>,
    /// Where a new one begins.
    pub from: Option<Place>,
}

/// What putting a name did.
#[derive(Debug)]
pub struct Made {
    /// It is new.
    pub created: bool,
    /// The signing secret of a new connector, told this once.
    pub secret: Option<SigningSecret>,
}

/// All durable subscribers, live or not.
pub struct Registry {
    pub(super) parts: RegistryParts,
    pub(super) subscriptions: Mutex<HashMap<SubscriberId, Arc<Subscription>>>,
    dirty: Arc<Dirty>,
    pub(super) supervisor: Supervisor,
    /// Making, changing and deleting happen one after another.
    pub(super) admin: tokio::sync::Mutex<()>,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) pulls: Pulls,
}

impl Registry {
    /// Everybody whom the ledger knows; connectors begin to work at once.
    #[must_use]
    pub fn start(parts: RegistryParts) -> Arc<Self> {
        foresee(&parts.metrics);
        let stop = CancellationToken::new();
        let tracker = TaskTracker::new();
        let dirty = Arc::new(Dirty::default());
        tracker.spawn(Arc::clone(&dirty).run(stop.clone()));
        let supervisor = Supervisor::new(parts.clone(), tracker.clone(), stop.clone());
        let registry = Arc::new(Self {
            subscriptions: Mutex::default(),
            dirty,
            supervisor,
            admin: tokio::sync::Mutex::new(()),
            tracker,
            stop,
            pulls: Pulls::default(),
            parts,
        });
        let everybody: Vec<Subscriber> = registry.parts.engine.state().subscribers().cloned().collect();
        for subscriber in everybody {
            registry.add(&subscriber);
        }
        registry
    }

    /// What delivery stands on.
    #[must_use]
    pub fn parts(&self) -> &RegistryParts {
        &self.parts
    }

    pub(super) fn engine(&self) -> &dyn Engine {
        &*self.parts.engine
    }

    pub(super) fn add(&self, subscriber: &Subscriber) -> Arc<Subscription> {
        let (engine, dirty) = (Arc::clone(&self.parts.engine), Arc::clone(&self.dirty));
        let subscription = Arc::new(Subscription::new(subscriber, engine, dirty));
        self.subscriptions.lock().insert(subscriber.id, Arc::clone(&subscription));
        if subscriber.kind() == Kind::Connector {
            self.supervisor.employ(Arc::clone(&subscription));
        }
        subscription
    }

    /// Finds one by name and kind.
    ///
    /// # Errors
    /// Nobody has the name, or somebody of the other kind.
    pub fn find(&self, kind: Kind, name: &str) -> Result<Arc<Subscription>, DeliverError> {
        Name::parse("name", name)?;
        let (id, found) = {
            let state = self.engine().state();
            let subscriber = state.named(name);
            subscriber
                .map(|subscriber| (subscriber.id, subscriber.kind()))
                .ok_or_else(|| DeliverError::NotFound { kind, name: name.to_owned() })?
        };
        if found != kind {
            return Err(DeliverError::WrongKind { kind: found, name: name.to_owned() });
        }
        let subscription = self.subscriptions.lock().get(&id).cloned();
        subscription.ok_or_else(|| DeliverError::NotFound { kind, name: name.to_owned() })
    }

    /// The offset that a place means now.
    ///
    /// # Errors
    /// A place beyond the end; the log cannot be read.
    pub async fn resolve(&self, field: &'static str, place: Place) -> Result<Offset, DeliverError> {
        let engine = self.engine();
        match place {
            Place::Earliest => Ok(engine.start()),
            Place::Latest => Ok(engine.end()),
            Place::Since(time) => Ok(engine.at_time(time).await?),
            Place::At(place) if place > engine.end() => {
                Err(DeliverError::BeyondEnd { field, place, end: engine.end() })
            }
            Place::At(place) => Ok(place),
        }
    }

    /// Makes a session of an existing subscriber; whoever had it is told and closed.
    ///
    /// # Errors
    /// Nobody has the name; the ledger takes no acks.
    pub fn attach(&self, name: &str, via: Via) -> Result<Session, DeliverError> {
        let subscription = self.find(Kind::Subscriber, name)?;
        // A full disk heals, and acks may have room where publishes have none.
        if let Some(failure) = self.engine().refuses_entries().filter(|failure| *failure != Failure::Full) {
            return Err(failure.into());
        }
        let session = Session::begin(&subscription, &self.parts.hub, via);
        session.ok_or_else(|| DeliverError::NotFound { kind: Kind::Subscriber, name: name.to_owned() })
    }

    /// A reader without a name: no cursor, no acks.
    #[must_use]
    pub fn anonymous(&self, filter: Filter, from: Offset) -> Source {
        let (engine, hub) = (Arc::clone(&self.parts.engine), Arc::clone(&self.parts.hub));
        Source::new(engine, hub, Arc::new(filter), from)
    }

    /// The cursor that is shown: what is durable.
    ///
    /// # Errors
    /// The subscriber is gone.
    pub fn cursor(&self, subscription: &Subscription) -> Result<Offset, DeliverError> {
        let engine = self.engine();
        let subscriber = engine.state().get(subscription.id).cloned();
        let subscriber = subscriber
            .ok_or_else(|| DeliverError::NotFound { kind: Kind::Subscriber, name: subscription.name.to_string() })?;
        Ok(cursor(engine, &subscriber, engine.end()))
    }

    /// What a plain subscriber asks for now.
    ///
    /// # Errors
    /// Nobody has the name, or a connector has it.
    pub fn settings(&self, name: &str) -> Result<SubscriberSettings, DeliverError> {
        let id = self.find(Kind::Subscriber, name)?.id;
        match self.engine().state().get(id).map(|subscriber| subscriber.target.clone()) {
            Some(Target::Subscriber(settings)) => Ok(settings),
            _ => Err(DeliverError::NotFound { kind: Kind::Subscriber, name: name.to_owned() }),
        }
    }

    /// Looks at one, after what it acknowledged has been written down.
    ///
    /// # Errors
    /// Nobody has the name.
    pub async fn view(&self, kind: Kind, name: &str) -> Result<SubscriberView, DeliverError> {
        let subscription = self.find(kind, name)?;
        subscription.settled().await;
        let subscriber = self.engine().state().get(subscription.id).cloned();
        let subscriber = subscriber.ok_or_else(|| DeliverError::NotFound { kind, name: name.to_owned() })?;
        let (open, connected) = self.presence(&subscription);
        let mut view = SubscriberView::of(self.engine(), &subscriber, open, connected, true);
        if let Some(connector) = view.connector.as_mut().filter(|connector| connector.last_error.is_none()) {
            // What was given up is in no retry any more; that it failed is still the last thing known.
            let failing = subscriber.failures_in_row > 0;
            connector.last_error =
                self.supervisor.desk(subscription.id).filter(|_| failing).and_then(|d| d.last_failure());
        }
        Ok(view)
    }

    /// Looks at all of a kind, or at all, by name.
    #[must_use]
    pub fn views(&self, kind: Option<Kind>) -> Vec<SubscriberView> {
        let mut everybody: Vec<Subscriber> = self.engine().state().subscribers().cloned().collect();
        everybody.retain(|subscriber| kind.is_none_or(|kind| subscriber.kind() == kind));
        everybody.sort_by(|a, b| a.name.cmp(&b.name));
        let view = |subscriber: &Subscriber| {
            let subscription = self.subscriptions.lock().get(&subscriber.id).cloned();
            let (open, connected) = subscription.map_or((0, false), |subscription| self.presence(&subscription));
            SubscriberView::of(self.engine(), subscriber, open, connected, false)
        };
        everybody.iter().map(view).collect()
    }

    fn presence(&self, subscription: &Subscription) -> (usize, bool) {
        let inner = subscription.inner.lock();
        (inner.window.open(), inner.live.is_some())
    }

    /// Waits until everything that was acknowledged so far is written down.
    pub async fn settle_all(&self) {
        let everybody: Vec<Arc<Subscription>> = self.subscriptions.lock().values().cloned().collect();
        for subscription in everybody {
            // A failure has been told, and has ended its session.
            let _settled = subscription.settle().is_ok();
        }
        // What was recorded just before, by whomever, may still be on its way.
        if let Some(ticket) = self.engine().ledger_barrier()
            && let Err(error) = ticket.durable().await
        {
            tracing::error!(%error, "acks could not be written down");
        }
    }

    /// Lets workers finish what is under way, for so long at most, and writes every ack down.
    pub async fn stop(&self, patience: Duration) {
        if clock::within(patience, self.supervisor.finish()).await.is_none() {
            tracing::warn!(
                "not every endpoint has answered in time: what was under way goes out again after the next start"
            );
        }
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        self.settle_all().await;
        self.dirty.clear();
    }
}

/// What did not happen yet is a zero, and not an absence: alarms and rates need one.
fn foresee(metrics: &Metrics) {
    for via in Via::ALL {
        let via = Word { kind: via.as_str() };
        for counts in [&metrics.deliveries, &metrics.redeliveries, &metrics.acks] {
            counts.get_or_create(&via).inc_by(0);
        }
        metrics.subscribers_live.get_or_create(&via).set(0);
    }
    for kind in ["delivered", "failed"] {
        metrics.attempts.get_or_create(&Word { kind }).inc_by(0);
    }
}

/// Window, ack timeout and expiry of a target.
pub(super) fn shape(target: &Target) -> (u32, Duration, Option<Duration>) {
    match target {
        Target::Subscriber(settings) => (settings.window, settings.ack_timeout, settings.expires),
        // A worker knows itself when an attempt is over, so nothing of its own ever times out.
        Target::Connector { settings, .. } => (super::worker::lookahead(settings.in_flight), NEVER, None),
    }
}
