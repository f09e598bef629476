//! The request that carries an event.

use super::sign::signatures;
use super::template;
use crate::ledger::ConnectorSecrets;
use crate::model::cloudevents::{CLOUDEVENT_JSON, cloudevent_headers, cloudevent_json};
use crate::model::{ConnectorSettings, Event, Format, Invalid, JSON, Timestamp};
use bytes::Bytes;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;

/// What is sent, and to whom.
pub struct Attempt<'a> {
    /// The event.
    pub event: &'a Event,
    /// Its log.
    pub log_id: [u8; 16],
    /// The number of this attempt, from 1.
    pub number: u32,
    /// The connector's settings.
    pub settings: &'a ConnectorSettings,
    /// Its secrets.
    pub secrets: &'a ConnectorSecrets,
    /// What it is sent for.
    pub purpose: Purpose<'a>,
}

/// What an event is sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// It is delivered.
    Delivery,
    /// It is delivered once more because somebody asked for a range again, there or elsewhere.
    Replay {
        /// Another place than the connector's own.
        url: Option<&'a str>,
    },
    /// It never was in the log: somebody wants to see what the endpoint answers.
    Test {
        /// Takes the offset's place in `webhook-id`, so that no receiver takes a real event for its repeat.
        id: &'a str,
    },
}

impl Attempt<'_> {
    /// Where it goes.
    pub(super) fn url(&self) -> &str {
        match self.purpose {
            Purpose::Replay { url: Some(url) } => url,
            _ => &self.settings.url,
        }
    }

    /// Whether it goes to the connector's own server. No other one is shown the headers that are meant for it.
    fn is_at_home(&self) -> bool {
        let origin = |text: &str| Url::parse(text).ok().map(|url| url.origin());
        self.url() == self.settings.url || origin(self.url()).is_some_and(|at| Some(at) == origin(&self.settings.url))
    }
}

/// A request as it goes out: a POST.
#[derive(Debug)]
pub struct Outgoing {
    /// Where to.
    pub url: String,
    /// All headers but those that HTTP itself adds.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// The request for one attempt at an event, as it looks at that time.
///
/// # Errors
/// A template that fails on this event; an event that no header can name.
pub fn request(attempt: &Attempt<'_>, now: Timestamp) -> Result<Outgoing, Invalid> {
    let Attempt { event, settings, secrets, .. } = attempt;
    let (body, content_type) = body(event, &settings.format)?;
    let mut headers = HeaderMap::new();
    if attempt.is_at_home() {
        for (name, text) in &secrets.headers {
            let mut value = value("a header", text)?;
            value.set_sensitive(true);
            headers.insert(self::name(name)?, value);
        }
    }
    if settings.format == Format::CloudEventsBinary {
        for (name, text) in cloudevent_headers(event) {
            headers.insert(self::name(&name)?, value("an attribute", &text)?);
        }
    }
    let log = uuid::Uuid::from_bytes(attempt.log_id);
    // The same on every attempt and replay; no dot may be in it.
    let id = match attempt.purpose {
        Purpose::Test { id } => format!("evt_{}_test_{id}", log.simple()),
        _ => format!("evt_{}_{}", log.simple(), event.offset),
    };
    let timestamp = now.seconds();
    let signature = signatures(secrets.signing_at(now), &id, timestamp, &body);
    let content_type = settings.content_type.as_deref().unwrap_or(&content_type);
    headers.insert("content-type", value("content_type", content_type)?);
    headers.insert("webhook-id", value("webhook-id", &id)?);
    headers.insert("webhook-timestamp", timestamp.into());
    headers.insert("webhook-signature", value("webhook-signature", &signature)?);
    headers.insert("stentor-offset", event.offset.0.into());
    headers.insert("stentor-channel", value("stentor-channel", event.head.channel.as_str())?);
    headers.insert("stentor-id", value("stentor-id", &event.head.id.to_string())?);
    headers.insert("stentor-attempt", attempt.number.into());
    match attempt.purpose {
        Purpose::Delivery => {}
        Purpose::Replay { .. } => drop(headers.insert("stentor-replay", HeaderValue::from_static("true"))),
        Purpose::Test { .. } => drop(headers.insert("stentor-test", HeaderValue::from_static("true"))),
    }
    Ok(Outgoing { url: attempt.url().to_owned(), headers, body })
}

fn body<'a>(event: &'a Event, format: &Format) -> Result<(Bytes, Cow<'a, str>), Invalid> {
    Ok(match format {
        Format::Native => (event.json(), JSON.into()),
        Format::Data | Format::CloudEventsBinary => (event.payload.clone(), event.content_type().into()),
        Format::CloudEvents => (cloudevent_json(event), CLOUDEVENT_JSON.into()),
        Format::Template(text) => (template::render(text, event)?, JSON.into()),
    })
}

fn name(text: &str) -> Result<HeaderName, Invalid> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| Invalid::new("headers", "a name is invalid"))
}

fn value(what: &'static str, text: &str) -> Result<HeaderValue, Invalid> {
    HeaderValue::from_str(text).map_err(|_| Invalid::new("headers", format!("{what} is not a header value")))
}
