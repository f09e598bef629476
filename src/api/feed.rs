//! What a connection is fed from: nothing, an anonymous reader, or a durable subscriber's session.

use super::asked::Asked;
use super::problem::Problem;
use super::router::Api;
use crate::broker::Error;
use crate::deliver::{DeliverError, Delivery, Ending, Session, Source, Step};
use crate::ledger::Via;
use crate::model::{Filter, Kind, Name, Offset, Place, SubscriberSettings};
use axum::http::StatusCode;
use std::future::pending;

/// Where events come from.
pub(super) enum Feed {
    Nothing,
    Anonymous(Box<Source>),
    Durable(Box<Session>),
}

/// What a new feed is told first.
pub(super) struct Opening {
    pub(super) filter: Filter,
    pub(super) subscriber: Option<String>,
    pub(super) cursor: Offset,
}

impl Feed {
    /// Opens what is asked for, on a connection that has no feed yet.
    pub(super) async fn open(api: &Api, asked: &Asked, via: Via) -> Result<(Self, Opening), Problem> {
        match &asked.subscriber {
            Some(name) => Self::open_durable(api, name, asked, via).await,
            None => {
                let filter = asked.filter.clone().unwrap_or_else(Filter::all);
                let from = api.broker.resolve("from", asked.from.unwrap_or(Place::Latest)).await?;
                let source = api.broker.registry().anonymous(filter.clone(), from);
                Ok((Self::Anonymous(Box::new(source)), Opening { filter, subscriber: None, cursor: from }))
            }
        }
    }

    /// A new subscriber is made on the spot; of an existing one only what is given changes.
    async fn open_durable(api: &Api, name: &Name, asked: &Asked, via: Via) -> Result<(Self, Opening), Problem> {
        let registry = api.broker.registry();
        match registry.settings(name.as_str()) {
            Ok(before) => {
                let mut settings = before.clone();
                change(&mut settings, asked);
                if settings != before {
                    registry.put_subscriber_as(name, settings, None, Ending::TakenOver).await?;
                }
            }
            Err(DeliverError::NotFound { .. }) => {
                let filter = asked.filter.clone().ok_or_else(|| {
                    let detail = format!("channels: is missing; '{name}' is new and needs patterns");
                    Problem::new(StatusCode::BAD_REQUEST, "channels-invalid", detail).with("field", "channels")
                })?;
                let mut settings = SubscriberSettings::new(filter);
                change(&mut settings, asked);
                registry.put_subscriber(name, settings, asked.from).await?;
            }
            Err(error) => return Err(error.into()),
        }
        if let Some(last) = asked.returned {
            // What was acknowledged has to be durable before there is room for more.
            let subscription = registry.find(Kind::Subscriber, name.as_str())?;
            subscription.returned(last)?;
            subscription.settled().await;
        }
        let session = registry.attach(name.as_str(), via)?;
        // The cursor that is told counts what the session before acknowledged last.
        session.subscription().settled().await;
        let opening = Opening {
            filter: (*session.filter()).clone(),
            subscriber: Some(name.to_string()),
            cursor: registry.cursor(session.subscription())?,
        };
        Ok((Self::Durable(Box::new(session)), opening))
    }

    /// Changes the channels: an anonymous session goes on from its present position, a durable one as PUT does.
    pub(super) async fn change(&mut self, api: &Api, asked: &Asked, via: Via) -> Result<Opening, Problem> {
        let not_here = |field: &str, why: &str| {
            Problem::new(StatusCode::BAD_REQUEST, format!("{field}-invalid"), format!("{field}: {why}"))
                .with("field", field)
        };
        if asked.from.is_some() {
            return Err(not_here("from", "cannot change on a live connection; seek, or open another"));
        }
        let (next, opening) = match self {
            Feed::Nothing => return Err(not_here("channels", "there is no subscription to change")),
            Feed::Anonymous(source) => {
                if asked.subscriber.is_some() {
                    return Err(not_here("subscriber", "cannot change on a live connection; open another"));
                }
                let filter = asked.filter.clone().unwrap_or_else(Filter::all);
                let cursor = source.position();
                let next = api.broker.registry().anonymous(filter.clone(), cursor);
                (Feed::Anonymous(Box::new(next)), Opening { filter, subscriber: None, cursor })
            }
            Feed::Durable(session) => {
                let name = session.subscription().name().clone();
                if asked.subscriber.as_ref().is_some_and(|other| *other != name) {
                    return Err(not_here("subscriber", "cannot change on a live connection; open another"));
                }
                Self::open_durable(api, &name, asked, via).await?
            }
        };
        *self = next;
        Ok(opening)
    }

    /// The same feed, which sends nothing twice.
    pub(super) fn once(self) -> Self {
        match self {
            Feed::Durable(session) => Feed::Durable(Box::new(session.once())),
            other => other,
        }
    }

    /// Everything matching below was given.
    pub(super) fn position(&self) -> Offset {
        match self {
            Feed::Nothing => Offset::ZERO,
            Feed::Anonymous(source) => source.position(),
            Feed::Durable(session) => session.position(),
        }
    }

    /// Where its subscriber goes on with the next session; none where it has no subscriber.
    pub(super) fn floor(&self) -> Option<Offset> {
        match self {
            Feed::Durable(session) => Some(session.subscription().floor()),
            _ => None,
        }
    }

    /// The next thing to tell; never, where there is no feed.
    pub(super) async fn next(&mut self) -> Result<Delivery, Error> {
        match self {
            Feed::Nothing => pending().await,
            Feed::Anonymous(source) => Ok(delivery(source.next().await?)),
            Feed::Durable(session) => Ok(session.next().await?),
        }
    }

    /// What is at hand.
    pub(super) fn next_now(&mut self) -> Option<Delivery> {
        match self {
            Feed::Nothing => None,
            Feed::Anonymous(source) => source.next_now().map(delivery),
            Feed::Durable(session) => session.next_now(),
        }
    }

    /// The durable session, for acks.
    pub(super) fn session(&self) -> Result<&Session, Problem> {
        match self {
            Feed::Durable(session) => Ok(session),
            _ => {
                let detail = "this connection has no durable subscriber; subscribe with a name to acknowledge";
                Err(Problem::new(StatusCode::CONFLICT, "no-subscriber", detail))
            }
        }
    }
}

fn delivery(step: Step) -> Delivery {
    match step {
        Step::Event(event) => Delivery::Event { event, attempt: 1 },
        Step::Gap(span) => Delivery::Gap(span),
        Step::CaughtUp(end) => Delivery::CaughtUp(end),
    }
}

fn change(settings: &mut SubscriberSettings, asked: &Asked) {
    if let Some(filter) = &asked.filter {
        settings.channels = filter.clone();
    }
    settings.window = asked.window.unwrap_or(settings.window);
    settings.ack_timeout = asked.ack_timeout.unwrap_or(settings.ack_timeout);
    settings.expires = asked.expires.or(settings.expires);
}
