//! What is shown of a subscriber: computed from what is durable.

use crate::engine::Engine;
use crate::ledger::{Subscriber, Target};
use crate::model::{ConnectorSettings, ConnectorState, Filter, Kind, Offset, Span, Timestamp, limits};
use std::time::Duration;

/// A subscriber or connector as `GET` shows it.
#[derive(Debug, Clone)]
pub struct SubscriberView {
    /// Its name.
    pub name: String,
    /// What kind it is.
    pub kind: Kind,
    /// What it asks for.
    pub channels: Filter,
    /// The lowest matching offset that is not acknowledged, or the end.
    pub cursor: Offset,
    /// The end.
    pub end: Offset,
    /// Matching events from the cursor on that are not acknowledged; only where asked for.
    pub lag: Option<u64>,
    /// Delivered and not done.
    pub open: usize,
    /// Whether a session is live.
    pub connected: bool,
    /// When it last acknowledged.
    pub last_ack: Option<Timestamp>,
    /// When it was made.
    pub created: Timestamp,
    /// Open events at most.
    pub window: u32,
    /// How long the oldest may wait.
    pub ack_timeout: Duration,
    /// When it is deleted for want of a session.
    pub expires: Option<Duration>,
    /// What only a connector has.
    pub connector: Option<ConnectorView>,
}

/// What only a connector has.
#[derive(Debug, Clone)]
pub struct ConnectorView {
    /// Its settings.
    pub settings: ConnectorSettings,
    /// The names of its headers, whose values are secrets.
    pub headers: Vec<String>,
    /// How it is doing.
    pub state: ConnectorState,
    /// When the next attempt is due.
    pub next_attempt: Option<Timestamp>,
    /// What went wrong last.
    pub last_error: Option<String>,
}

impl SubscriberView {
    /// Looks at one. `lag` costs a count over the summaries.
    pub(super) fn of(engine: &dyn Engine, subscriber: &Subscriber, open: usize, connected: bool, lag: bool) -> Self {
        let end = engine.end();
        let channels = subscriber.channels().clone();
        let (window, ack_timeout, expires, connector) = match &subscriber.target {
            Target::Subscriber(settings) => (settings.window, settings.ack_timeout, settings.expires, None),
            Target::Connector { settings, secrets } => {
                // Secrets that this key does not open are told where they are needed.
                let secrets = engine.vault().open_sealed(subscriber.id, secrets);
                let headers = secrets.map(|secrets| secrets.headers.iter().map(|(name, _)| name.clone()).collect());
                let view = connector_view(subscriber, settings, headers.unwrap_or_default());
                (settings.in_flight, settings.timeout, None, Some(view))
            }
        };
        Self {
            name: subscriber.name.to_string(),
            kind: subscriber.kind(),
            cursor: cursor(engine, subscriber, end),
            end,
            lag: lag.then(|| lag_of(engine, subscriber, end)),
            open,
            connected,
            last_ack: subscriber.last_ack,
            created: subscriber.created,
            window,
            ack_timeout,
            expires,
            channels,
            connector,
        }
    }
}

fn connector_view(subscriber: &Subscriber, settings: &ConnectorSettings, headers: Vec<String>) -> ConnectorView {
    let newest = subscriber.failed.values().min_by_key(|failed| failed.next_attempt);
    let state = if subscriber.paused.is_some() {
        ConnectorState::Paused
    } else if subscriber.failures_in_row >= limits::FAILING_AFTER {
        ConnectorState::Failing
    } else if newest.is_some() {
        ConnectorState::Retrying
    } else {
        ConnectorState::Active
    };
    let pause_reason = subscriber.paused.clone().filter(|reason| !reason.is_empty());
    ConnectorView {
        settings: settings.clone(),
        headers,
        state,
        next_attempt: newest.filter(|_| subscriber.paused.is_none()).map(|failed| failed.next_attempt),
        last_error: newest.map(|failed| failed.reason.clone()).or(pause_reason),
    }
}

/// The lowest matching offset that is not done, or the end.
pub(super) fn cursor(engine: &dyn Engine, subscriber: &Subscriber, end: Offset) -> Offset {
    let mut at = subscriber.done.first_missing(subscriber.floor.max(engine.start()));
    loop {
        match engine.first_match(subscriber.channels(), at) {
            None => return end,
            Some(found) if subscriber.done.contains(found) => at = subscriber.done.first_missing(found),
            Some(found) => return found.min(end),
        }
    }
}

fn lag_of(engine: &dyn Engine, subscriber: &Subscriber, end: Offset) -> u64 {
    let from = subscriber.floor.max(engine.start());
    let missing = subscriber.done.missing(Span::new(from, end));
    missing.into_iter().map(|span| engine.count(subscriber.channels(), span)).sum()
}
