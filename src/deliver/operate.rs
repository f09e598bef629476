//! What operators do with connectors: rotate a secret, try the endpoint, look at attempts, replay, try dead letters again.

use super::desk::{AttemptRecord, Made};
use super::errand::Replay;
use super::error::DeliverError;
use super::registry::{ConnectorInput, Registry};
use super::session::Ending;
use crate::clock::Instant;
use crate::connector::{self, Attempt, Purpose};
use crate::ledger::{SigningSecret, Target};
use crate::model::{
    Event, EventId, Filter, Format, Headers, Invalid, Kind, NewEvent, Offset, Place, Rate, Span, SubscriberId,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a replay is asked for.
#[derive(Debug)]
pub struct ReplayInput {
    /// From where.
    pub from: Place,
    /// Up to where, exclusive; the end where absent.
    pub to: Option<Place>,
    /// Another place than the connector's own.
    pub url: Option<String>,
    /// Attempts at most.
    pub rate: Option<Rate>,
}

/// A replay that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayBegun {
    /// What its receipts and attempts name it.
    pub id: String,
    /// Events that it sends.
    pub events: u64,
    /// What it was asked for and is no longer kept.
    pub gap: Option<Span>,
}

impl Registry {
    /// Checks a connector's settings, headers, URL and template.
    ///
    /// # Errors
    /// The first thing that is not allowed.
    pub fn check_connector(&self, input: &ConnectorInput) -> Result<(), Invalid> {
        input.settings.check()?;
        connector::check_url(&input.settings.url, self.parts.sender.egress())?;
        if let Format::Template(text) = &input.settings.format {
            connector::check_template(text)?;
        }
        input.headers.as_deref().map_or(Ok(()), connector::check_headers)
    }

    /// Signs with another secret from now on, the given one or a new one, and tells it. The one before signs along for
    /// 24 h.
    ///
    /// # Errors
    /// Nobody has the name; too many secrets sign along; a ledger that takes nothing.
    pub async fn rotate_secret(
        self: &Arc<Self>,
        name: &str,
        secret: Option<SigningSecret>,
    ) -> Result<SigningSecret, DeliverError> {
        let this = Arc::clone(self);
        let name = name.to_owned();
        Self::to_its_end(async move { this.rotate_secret_now(&name, secret).await }).await
    }

    async fn rotate_secret_now(
        &self,
        name: &str,
        secret: Option<SigningSecret>,
    ) -> Result<SigningSecret, DeliverError> {
        let _one_at_a_time = self.admin.lock().await;
        let subscription = self.find(Kind::Connector, name)?;
        let (id, settings) = self.connector(name)?;
        let mut secrets = self.secrets(id)?;
        let secret = secret.unwrap_or_else(SigningSecret::random);
        secrets.rotate(secret.clone(), self.parts.clock.now())?;
        let sealed = self.engine().vault().seal(id, &secrets);
        self.change(&subscription, Target::Connector { settings, secrets: sealed }, Ending::Moved).await?;
        Ok(secret)
    }

    /// The latest attempts with their numbers, the newest first; those before a number, where one is given. Of this
    /// life of the broker.
    ///
    /// # Errors
    /// Nobody has the name.
    pub fn attempts(&self, name: &str, before: Option<u64>) -> Result<Vec<(u64, AttemptRecord)>, DeliverError> {
        let id = self.find(Kind::Connector, name)?.id();
        Ok(self.supervisor.desk(id).map(|desk| desk.attempts(before)).unwrap_or_default())
    }

    /// Sends a sample event, now and once, and tells what came back. Nothing follows from it.
    ///
    /// # Errors
    /// Nobody has the name; data that is no JSON.
    pub async fn test_connector(&self, name: &str, data: Option<Bytes>) -> Result<AttemptRecord, DeliverError> {
        let (id, settings) = self.connector(name)?;
        let secrets = self.secrets(id)?;
        let event = self.sample(name, &settings.channels, data)?;
        let test = event.head.id.to_string();
        let (log_id, purpose) = (self.engine().log_id(), Purpose::Test { id: &test });
        let attempt = Attempt { event: &event, log_id, number: 1, settings: &settings, secrets: &secrets, purpose };
        let began = Instant::now();
        let answer = self.parts.sender.send(attempt).await;
        let (time, took) = (self.parts.clock.now(), began.elapsed());
        Ok(Made { time, offset: event.offset, attempt: 1, took, answer: &answer, replay: None }.record())
    }

    /// An event as one that the connector asked for looks. Its offset is 0, which is told at the very beginning: no
    /// receiver that remembers the highest one takes later events for repeats.
    fn sample(&self, name: &str, channels: &Filter, data: Option<Bytes>) -> Result<Event, Invalid> {
        let pattern = channels.patterns().first().map_or("sample", |pattern| pattern.as_str());
        let channel: Vec<&str> =
            pattern.split('.').map(|token| if token.starts_with('*') { "sample" } else { token }).collect();
        let now = self.parts.clock.now();
        let id = EventId::made(now, self.parts.random.next_16());
        let data = data.unwrap_or_else(|| serde_json::json!({"sample": true, "connector": name}).to_string().into());
        let NewEvent { head, payload } = NewEvent::check(&channel.join("."), id, None, Headers::default(), None, data)?;
        Ok(Event::new(Offset::ZERO, now, head, payload))
    }

    /// Sends a range again, to the connector or elsewhere; the cursor stays where it is.
    ///
    /// # Errors
    /// Nobody has the name; a place beyond the end; a URL that is not allowed; too many replays under way.
    pub async fn replay(&self, name: &str, input: ReplayInput) -> Result<ReplayBegun, DeliverError> {
        let (id, settings) = self.connector(name)?;
        if let Some(url) = &input.url {
            connector::check_url(url, self.parts.sender.egress())?;
        }
        let asked = self.resolve("from", input.from).await?;
        let to = self.resolve("to", input.to.unwrap_or(Place::Latest)).await?;
        let start = self.engine().start();
        let span = Span::new(asked.max(start), to);
        let gone = Span::new(asked, start.min(to));
        let events = if span.is_empty() { 0 } else { self.engine().count(&settings.channels, span) };
        let random = self.parts.random.next_16();
        let replay_id = EventId::made(self.parts.clock.now(), random).to_string();
        let filter = Arc::new(settings.channels);
        let begun = ReplayBegun { id: replay_id.clone(), events, gap: (!gone.is_empty()).then_some(gone) };
        self.supervisor.run_replay(id, |place| Replay {
            id: replay_id,
            filter,
            span,
            url: input.url,
            rate: input.rate,
            place,
        })?;
        Ok(begun)
    }

    /// Has a connector try dead letters again, each given with the attempts that were made at it.
    ///
    /// # Errors
    /// Nobody has the name; too many wait already.
    pub fn retry_dead_letters(&self, name: &str, letters: &BTreeMap<Offset, u32>) -> Result<(), DeliverError> {
        let id = self.find(Kind::Connector, name)?.id();
        let desk = self.supervisor.desk(id);
        let desk = desk.ok_or_else(|| DeliverError::NotFound { kind: Kind::Connector, name: name.to_owned() })?;
        desk.queue(letters, Instant::now())
    }

    fn connector(&self, name: &str) -> Result<(SubscriberId, crate::model::ConnectorSettings), DeliverError> {
        let id = self.find(Kind::Connector, name)?.id();
        match self.engine().state().get(id).map(|subscriber| subscriber.target.clone()) {
            Some(Target::Connector { settings, .. }) => Ok((id, settings)),
            _ => Err(DeliverError::NotFound { kind: Kind::Connector, name: name.to_owned() }),
        }
    }
}
