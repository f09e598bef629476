//! Who there is: making, changing, moving and deleting subscribers and connectors.

use super::error::DeliverError;
use super::session::{Ending, NEVER, Session};
use super::settle::Dirty;
use super::source::Source;
use super::subscription::{Inner, Subscription, window_of};
use super::supervise::Supervisor;
use super::view::{SubscriberView, cursor};
use crate::ack::Window;
use crate::clock::{Clock, Instant, Random};
use crate::connector::Sender;
use crate::engine::Engine;
use crate::ledger::{ConnectorSecrets, Entry, SigningSecret, Subscriber, Target, Via};
use crate::log::{Failure, Ticket};
use crate::metrics::Metrics;
use crate::model::{ConnectorSettings, Filter, Kind, Name, Offset, Place, Span, SubscriberId, SubscriberSettings};
use crate::notify::Hub;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
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
    parts: RegistryParts,
    subscriptions: Mutex<HashMap<SubscriberId, Arc<Subscription>>>,
    dirty: Arc<Dirty>,
    supervisor: Supervisor,
    /// Making, changing and deleting happen one after another.
    admin: tokio::sync::Mutex<()>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Registry {
    /// Everybody whom the ledger knows; connectors begin to work at once.
    #[must_use]
    pub fn start(parts: RegistryParts) -> Arc<Self> {
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

    fn engine(&self) -> &dyn Engine {
        &*self.parts.engine
    }

    fn add(&self, subscriber: &Subscriber) -> Arc<Subscription> {
        let (window_size, ack_timeout, expires) = shape(&subscriber.target);
        let inner = Inner {
            window: window_of(subscriber),
            filter: Arc::new(subscriber.channels().clone()),
            window_size,
            ack_timeout,
            expires,
            generation: 0,
            ending: Ending::Moved,
            live: None,
            via: Via::Http,
            quiet_since: Instant::now(),
            queued: false,
            deleted: false,
        };
        let subscription = Arc::new(Subscription {
            id: subscriber.id,
            name: subscriber.name.clone(),
            engine: Arc::clone(&self.parts.engine),
            dirty: Arc::clone(&self.dirty),
            inner: Mutex::new(inner),
        });
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

    /// Runs something to its end, whoever stops waiting for it: half a change is none that anybody asked for.
    async fn to_its_end<R: Send + 'static>(work: impl Future<Output = R> + Send + 'static) -> R {
        match tokio::spawn(work).await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
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

    /// Makes a subscriber, or replaces its settings.
    ///
    /// # Errors
    /// Settings outside their limits, the name of a connector, a ledger that takes nothing.
    pub async fn put_subscriber(
        self: &Arc<Self>,
        name: &Name,
        settings: SubscriberSettings,
        from: Option<Place>,
    ) -> Result<Made, DeliverError> {
        let (this, name) = (Arc::clone(self), name.clone());
        Self::to_its_end(async move { this.put_subscriber_now(&name, settings, from).await }).await
    }

    async fn put_subscriber_now(
        &self,
        name: &Name,
        settings: SubscriberSettings,
        from: Option<Place>,
    ) -> Result<Made, DeliverError> {
        settings.check()?;
        let _one_at_a_time = self.admin.lock().await;
        let target = Target::Subscriber(settings);
        match self.existing(Kind::Subscriber, name)? {
            Some(subscription) => self.change(&subscription, target).await?,
            None => return self.make(name, target, from).await,
        }
        Ok(Made { created: false, secret: None })
    }

    /// Makes a connector, or replaces its settings.
    ///
    /// # Errors
    /// As [`Registry::put_subscriber`], and a URL or header that is not allowed.
    pub async fn put_connector(self: &Arc<Self>, name: &Name, input: ConnectorInput) -> Result<Made, DeliverError> {
        let this = Arc::clone(self);
        let name = name.clone();
        Self::to_its_end(async move { this.put_connector_now(&name, input).await }).await
    }

    async fn put_connector_now(&self, name: &Name, input: ConnectorInput) -> Result<Made, DeliverError> {
        input.settings.check()?;
        crate::connector::check_url(&input.settings.url, self.parts.sender.egress())?;
        input.headers.as_deref().map_or(Ok(()), crate::connector::check_headers)?;
        let _one_at_a_time = self.admin.lock().await;
        let settings = input.settings;
        if let Some(subscription) = self.existing(Kind::Connector, name)? {
            let kept = self.secrets(subscription.id)?;
            let secrets = ConnectorSecrets {
                headers: input.headers.unwrap_or(kept.headers),
                signing: input.secret.unwrap_or(kept.signing),
            };
            let sealed = self.engine().vault().seal(subscription.id, &secrets);
            self.change(&subscription, Target::Connector { settings, secrets: sealed }).await?;
            return Ok(Made { created: false, secret: None });
        }
        let secrets = ConnectorSecrets {
            headers: input.headers.unwrap_or_default(),
            signing: input.secret.unwrap_or_else(SigningSecret::random),
        };
        let told = secrets.signing.clone();
        let cursor = self.resolve("from", input.from.unwrap_or(Place::Latest)).await?;
        let engine = Arc::clone(&self.parts.engine);
        let made_name = name.clone();
        let (id, ticket) = self.engine().record_new(Box::new(move |id| {
            let secrets = engine.vault().seal(id, &secrets);
            Entry::Made { id, name: made_name, target: Target::Connector { settings, secrets }, cursor }
        }))?;
        self.made(id, ticket).await?;
        Ok(Made { created: true, secret: Some(told) })
    }

    fn existing(&self, kind: Kind, name: &Name) -> Result<Option<Arc<Subscription>>, DeliverError> {
        match self.find(kind, name.as_str()) {
            Ok(subscription) => Ok(Some(subscription)),
            Err(DeliverError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn make(&self, name: &Name, target: Target, from: Option<Place>) -> Result<Made, DeliverError> {
        let cursor = self.resolve("from", from.unwrap_or(Place::Latest)).await?;
        let name = name.clone();
        let entry = Box::new(move |id| Entry::Made { id, name, target, cursor });
        let (id, ticket) = self.engine().record_new(entry)?;
        self.made(id, ticket).await?;
        Ok(Made { created: true, secret: None })
    }

    async fn made(&self, id: SubscriberId, ticket: Ticket) -> Result<(), DeliverError> {
        ticket.durable().await?;
        let subscriber = self.engine().state().get(id).cloned();
        let Some(subscriber) = subscriber else { return Ok(()) };
        let start = self.engine().start();
        if subscriber.first_cursor < start {
            // Asked for from below the start: it is told what it cannot have.
            let span = Span::new(subscriber.first_cursor, start);
            self.engine().record(vec![Entry::Missed { id, span }])?.durable().await?;
        }
        self.add(&subscriber);
        Ok(())
    }

    /// Replaces settings: the live session ends and comes back, the cursor stays.
    async fn change(&self, subscription: &Arc<Subscription>, target: Target) -> Result<(), DeliverError> {
        let ticket = {
            let mut inner = subscription.inner.lock();
            let filter = Arc::new(target.channels().clone());
            let mut entries = inner.take_acks(subscription.id, None, None);
            let from = inner.window.floor();
            if *inner.filter != *filter {
                let gone =
                    inner.window.change_patterns(|offset| self.engine().first_match(&filter, offset) == Some(offset));
                let spans: Vec<Span> = gone.into_iter().map(Span::one).collect();
                if !spans.is_empty() {
                    let reason = "no longer asked for".to_owned();
                    entries.push(Entry::Skipped { id: subscription.id, spans, reason });
                }
            }
            let (window_size, ack_timeout, expires) = shape(&target);
            entries.push(Entry::Changed { id: subscription.id, target, from });
            let ticket = self.engine().record(entries)?;
            inner.filter = filter;
            inner.window_size = window_size;
            inner.ack_timeout = ack_timeout;
            inner.expires = expires;
            inner.end_session(Ending::Moved);
            ticket
        };
        if let Err(failure) = ticket.durable().await {
            subscription.reload();
            return Err(failure.into());
        }
        self.supervisor.look_again(subscription.id);
        Ok(())
    }

    /// Moves a cursor either way; the live session ends and comes back there.
    ///
    /// # Errors
    /// A place beyond the end, a ledger that takes nothing.
    pub async fn seek(self: &Arc<Self>, kind: Kind, name: &str, to: Place) -> Result<Offset, DeliverError> {
        let this = Arc::clone(self);
        let name = name.to_owned();
        Self::to_its_end(async move { this.seek_now(kind, &name, to).await }).await
    }

    async fn seek_now(&self, kind: Kind, name: &str, to: Place) -> Result<Offset, DeliverError> {
        let to = self.resolve("to", to).await?.max(self.engine().start());
        let _one_at_a_time = self.admin.lock().await;
        let subscription = self.find(kind, name)?;
        let ticket = {
            let mut inner = subscription.inner.lock();
            let mut entries = inner.take_acks(subscription.id, None, None);
            entries.push(Entry::Sought { id: subscription.id, cursor: to });
            let ticket = self.engine().record(entries)?;
            let size = inner.window_size;
            inner.window = Window::new(size, to, Default::default(), Instant::now());
            inner.end_session(Ending::Moved);
            ticket
        };
        if let Err(failure) = ticket.durable().await {
            subscription.reload();
            return Err(failure.into());
        }
        self.supervisor.look_again(subscription.id);
        self.cursor(&subscription)
    }

    /// Deletes one; it gets nothing from the moment that this returns (invariant 24).
    ///
    /// # Errors
    /// Nobody has the name, a ledger that takes nothing.
    pub async fn delete(self: &Arc<Self>, kind: Kind, name: &str) -> Result<(), DeliverError> {
        let this = Arc::clone(self);
        let name = name.to_owned();
        Self::to_its_end(async move { this.delete_now(kind, &name, None).await }).await
    }

    /// With `only`, deletes just that one, and only while it has been quiet for longer than it said.
    async fn delete_now(&self, kind: Kind, name: &str, only: Option<SubscriberId>) -> Result<(), DeliverError> {
        let _one_at_a_time = self.admin.lock().await;
        let subscription = self.find(kind, name)?;
        if only.is_some_and(|id| id != subscription.id) {
            return Ok(());
        }
        self.supervisor.dismiss(subscription.id).await;
        let ticket = {
            let mut inner = subscription.inner.lock();
            if only.is_some() && !inner.expired() {
                return Ok(());
            }
            let mut entries = inner.take_acks(subscription.id, None, None);
            entries.push(Entry::Deleted { id: subscription.id });
            let ticket = self.engine().record(entries)?;
            inner.deleted = true;
            inner.end_session(Ending::Moved);
            ticket
        };
        if let Err(failure) = ticket.durable().await {
            // It is still there, and so is its worker.
            subscription.reload();
            if kind == Kind::Connector {
                self.supervisor.employ(subscription);
            }
            return Err(failure.into());
        }
        self.subscriptions.lock().remove(&subscription.id);
        Ok(())
    }

    /// Stops a connector, or lets it go on. Nothing is lost meanwhile.
    ///
    /// # Errors
    /// Nobody has the name, a ledger that takes nothing.
    pub async fn set_paused(self: &Arc<Self>, name: &str, paused: bool) -> Result<(), DeliverError> {
        let this = Arc::clone(self);
        let name = name.to_owned();
        Self::to_its_end(async move { this.set_paused_now(&name, paused).await }).await
    }

    async fn set_paused_now(&self, name: &str, paused: bool) -> Result<(), DeliverError> {
        let _one_at_a_time = self.admin.lock().await;
        let id = self.find(Kind::Connector, name)?.id;
        let entry = if paused { Entry::Paused { id, reason: None } } else { Entry::Resumed { id } };
        self.engine().record(vec![entry])?.durable().await?;
        self.supervisor.look_again(id);
        Ok(())
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

    /// Looks at one, after what it acknowledged has been written down.
    ///
    /// # Errors
    /// Nobody has the name.
    pub async fn view(&self, kind: Kind, name: &str) -> Result<SubscriberView, DeliverError> {
        let subscription = self.find(kind, name)?;
        self.settle_all().await;
        let subscriber = self.engine().state().get(subscription.id).cloned();
        let subscriber = subscriber.ok_or_else(|| DeliverError::NotFound { kind, name: name.to_owned() })?;
        let (open, connected) = self.presence(&subscription);
        Ok(SubscriberView::of(self.engine(), &subscriber, open, connected, true))
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

    /// A connector's secrets, opened.
    fn secrets(&self, id: SubscriberId) -> Result<ConnectorSecrets, DeliverError> {
        super::worker::open_secrets(self.engine(), id)
    }

    /// Waits until everything that was acknowledged so far is written down.
    pub async fn settle_all(&self) {
        self.dirty.settle().await;
        // What the settler recorded just before may still be on its way.
        if let Some(ticket) = self.engine().ledger_barrier()
            && let Err(error) = ticket.durable().await
        {
            tracing::error!(%error, "acks could not be written down");
        }
    }

    /// Deletes whoever had no session for longer than he said.
    pub async fn expire(self: &Arc<Self>) {
        let over = |subscription: &Arc<Subscription>| subscription.inner.lock().expired();
        let due: Vec<Arc<Subscription>> = self.subscriptions.lock().values().filter(|s| over(s)).cloned().collect();
        for subscription in due {
            let (this, name) = (Arc::clone(self), subscription.name.clone());
            let only = Some(subscription.id);
            let deleted =
                Self::to_its_end(async move { this.delete_now(Kind::Subscriber, name.as_str(), only).await }).await;
            match deleted {
                Ok(()) => tracing::info!(subscriber = %subscription.name, "expired: it had no session for too long"),
                Err(error) => tracing::warn!(subscriber = %subscription.name, %error, "could not be deleted"),
            }
        }
    }

    /// Lets workers finish what is under way, and writes every ack down.
    pub async fn stop(&self) {
        self.supervisor.finish().await;
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        self.settle_all().await;
    }
}

/// Window, ack timeout and expiry of a target.
pub(super) fn shape(target: &Target) -> (u32, std::time::Duration, Option<std::time::Duration>) {
    match target {
        Target::Subscriber(settings) => (settings.window, settings.ack_timeout, settings.expires),
        // A worker knows itself when an attempt is over, so nothing of its own ever times out.
        Target::Connector { settings, .. } => (super::worker::lookahead(settings.in_flight), NEVER, None),
    }
}
