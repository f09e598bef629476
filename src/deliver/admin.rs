//! Making, changing, moving and deleting subscribers and connectors: one after another, each to its end.

use super::announce::{News, announce};
use super::error::DeliverError;
use super::registry::{ConnectorInput, Made, Registry, shape};
use super::session::Ending;
use super::subscription::{Inner, Subscription};
use crate::ack::Window;
use crate::clock::Instant;
use crate::ledger::{ConnectorSecrets, Entry, SentSpan, SigningSecret, Target};
use crate::log::Ticket;
use crate::model::{Kind, Name, Offset, Place, Span, SubscriberId, SubscriberSettings};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Registry {
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
        self.put_subscriber_as(name, settings, from, Ending::Moved).await
    }

    /// As [`Registry::put_subscriber`]; a live session is told this ending: who changes settings in order to take
    /// over says so.
    ///
    /// # Errors
    /// As there.
    pub async fn put_subscriber_as(
        self: &Arc<Self>,
        name: &Name,
        settings: SubscriberSettings,
        from: Option<Place>,
        ending: Ending,
    ) -> Result<Made, DeliverError> {
        let (this, name) = (Arc::clone(self), name.clone());
        Self::to_its_end(async move { this.put_subscriber_now(&name, settings, from, ending).await }).await
    }

    async fn put_subscriber_now(
        &self,
        name: &Name,
        settings: SubscriberSettings,
        from: Option<Place>,
        ending: Ending,
    ) -> Result<Made, DeliverError> {
        settings.check()?;
        let _one_at_a_time = self.admin.lock().await;
        let target = Target::Subscriber(settings);
        match self.existing(Kind::Subscriber, name)? {
            Some(subscription) => self.change(&subscription, target, ending).await?,
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
        self.check_connector(&input)?;
        let _one_at_a_time = self.admin.lock().await;
        let settings = input.settings;
        if let Some(subscription) = self.existing(Kind::Connector, name)? {
            let kept = self.secrets(subscription.id)?;
            let secrets = ConnectorSecrets {
                headers: input.headers.unwrap_or(kept.headers),
                signing: input.secret.unwrap_or(kept.signing),
                retiring: kept.retiring,
            };
            let sealed = self.engine().vault().seal(subscription.id, &secrets);
            self.change(&subscription, Target::Connector { settings, secrets: sealed }, Ending::Moved).await?;
            return Ok(Made { created: false, secret: None });
        }
        let signing = input.secret.unwrap_or_else(SigningSecret::random);
        let secrets = ConnectorSecrets::new(input.headers.unwrap_or_default(), signing);
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
        self.add(&subscriber).is_new();
        Ok(())
    }

    /// Replaces settings: the live session ends and comes back, the cursor stays.
    pub(super) async fn change(
        &self,
        subscription: &Arc<Subscription>,
        target: Target,
        ending: Ending,
    ) -> Result<(), DeliverError> {
        let ticket = {
            let mut inner = subscription.inner.lock();
            let filter = Arc::new(target.channels().clone());
            // What retention took while it was open is no longer waited for, and must not hold the floor back.
            inner.window.retire(self.engine().start());
            let from = self.window_cursor(&inner);
            if *inner.filter != *filter {
                // The cursor stays: what the old patterns did not ask for is done, whatever the new ones ask for.
                inner.window.pass(from, Instant::now());
            }
            let mut entries = inner.take_acks(subscription.id, None, None);
            if *inner.filter != *filter {
                let asked = |offset| self.engine().first_match(&filter, offset) == Some(offset);
                entries.extend(self.skipped(subscription.id, &mut inner, asked, "no longer asked for"));
            }
            let (window_size, ack_timeout, expires) = shape(&target);
            entries.push(Entry::Changed { id: subscription.id, target, from });
            // A window that has gone ahead of what could be written down goes back.
            let ticket = self.engine().record(entries).inspect_err(|failure| subscription.lose(&mut inner, failure))?;
            inner.recorded(&ticket);
            inner.filter = filter;
            inner.window_size = window_size;
            inner.ack_timeout = ack_timeout;
            inner.expires = expires;
            inner.end_session(ending);
            ticket
        };
        if let Err(failure) = ticket.durable().await {
            subscription.reload();
            return Err(failure.into());
        }
        self.supervisor.look_again(subscription.id);
        Ok(())
    }

    /// The cursor as the window has it: the lowest matching offset that is not done, or the end.
    fn window_cursor(&self, inner: &Inner) -> Offset {
        let mut at = inner.window.floor();
        while let Some(found) = self.engine().first_match(&inner.filter, at) {
            if !inner.window.is_done(found) {
                return found;
            }
            at = found.next();
        }
        self.engine().end().max(at)
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
        let asked = self.resolve("to", to).await?;
        let start = self.engine().start();
        let to = asked.max(start);
        let _one_at_a_time = self.admin.lock().await;
        let subscription = self.find(kind, name)?;
        let ticket = {
            let mut inner = subscription.inner.lock();
            let mut entries = inner.take_acks(subscription.id, None, None);
            entries.push(Entry::Sought { id: subscription.id, cursor: to });
            if asked < start {
                // Asked for from below the start: it is told what it cannot have.
                entries.push(Entry::Missed { id: subscription.id, span: Span::new(asked, start) });
            }
            let ticket = self.engine().record(entries).inspect_err(|failure| subscription.lose(&mut inner, failure))?;
            inner.taken = 0;
            inner.on_the_way.clear();
            inner.seeks += 1;
            let size = inner.window_size;
            inner.window = Window::new(size, to, Default::default(), Instant::now());
            inner.end_session(Ending::Moved);
            ticket
        };
        if let Some(desk) = self.supervisor.desk(subscription.id) {
            desk.forget_letters_from(to);
        }
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
        let recorded = {
            let mut inner = subscription.inner.lock();
            if only.is_some() && !inner.expired() {
                return Ok(());
            }
            let mut entries = inner.take_acks(subscription.id, None, None);
            entries.extend(self.skipped(subscription.id, &mut inner, |_| false, "the subscriber was deleted"));
            entries.push(Entry::Removed { id: subscription.id, end: self.engine().end() });
            let recorded = self.engine().record(entries);
            if recorded.is_ok() {
                inner.deleted = true;
                inner.end_session(Ending::Moved);
            }
            recorded
        };
        let durable = match recorded {
            Ok(ticket) => ticket.durable().await,
            refused => refused.map(drop),
        };
        if let Err(failure) = durable {
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
        let was_paused = self.engine().state().get(id).is_some_and(|subscriber| subscriber.paused.is_some());
        let entry = if paused { Entry::Paused { id, reason: None } } else { Entry::Resumed { id } };
        self.engine().record(vec![entry])?.durable().await?;
        self.supervisor.look_again(id);
        if paused && !was_paused {
            announce(&self.parts, name, News::Paused { reason: "an operator paused it", offset: None }).await;
        }
        Ok(())
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

    /// A connector's secrets, opened.
    pub(super) fn secrets(&self, id: SubscriberId) -> Result<ConnectorSecrets, DeliverError> {
        super::worker::open_secrets(self.engine(), id)
    }

    /// Runs something to its end, whoever stops waiting for it: half a change is none that anybody asked for.
    pub(super) async fn to_its_end<R: Send + 'static>(work: impl Future<Output = R> + Send + 'static) -> R {
        match tokio::spawn(work).await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// What was sent, is open, and is not asked for any more: done, with a receipt that says why.
    fn skipped(
        &self,
        id: SubscriberId,
        inner: &mut Inner,
        asked: impl Fn(Offset) -> bool,
        reason: &str,
    ) -> Option<Entry> {
        // What a connector tried in an earlier life is open too, though it has not been taken in hand in this one.
        let tried: Vec<(Offset, u32)> = self.engine().state().get(id).map_or_else(Vec::new, |subscriber| {
            subscriber.failed.iter().map(|(offset, failed)| (*offset, failed.attempts)).collect()
        });
        let mut sent: BTreeMap<Offset, u32> =
            tried.into_iter().filter(|(offset, _)| !inner.window.is_done(*offset) && !asked(*offset)).collect();
        // A worker takes events in hand ahead of their requests: there is nothing to say of those that were never sent.
        sent.extend(inner.window.change_patterns(asked).into_iter().filter(|(_, attempts)| *attempts > 0));
        let spans: Vec<SentSpan> =
            sent.into_iter().map(|(offset, attempts)| SentSpan { span: Span::one(offset), attempts }).collect();
        (!spans.is_empty()).then(|| Entry::Skipped { id, spans, reason: reason.to_owned() })
    }
}
