//! One attempt: the request goes out, the answer comes back or does not.

use super::egress::{Egress, Guarded};
use super::request::{build, check_url};
use crate::clock::{Clock, Instant};
use crate::ledger::ConnectorSecrets;
use crate::model::{ConnectorSettings, Event, Timestamp, limits};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use std::sync::Arc;
use std::time::Duration;

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
}

/// The endpoint answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// When it asks to be called again.
    pub retry_after: Option<Duration>,
    /// From the first byte sent to the last byte read.
    pub latency: Duration,
}

/// The endpoint did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SendError(pub String);

/// Makes attempts. One for all connectors: they share its connections.
pub struct Sender {
    client: Client,
    egress: Arc<Egress>,
    clock: Clock,
}

impl Sender {
    /// A sender behind this guard: no redirects, no proxy from the environment, no decompression.
    ///
    /// # Errors
    /// Where TLS cannot be set up.
    pub fn new(egress: Egress, clock: Clock) -> Result<Self, SendError> {
        let egress = Arc::new(egress);
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .dns_resolver(Guarded(Arc::clone(&egress)))
            .connect_timeout(Duration::from_secs(10))
            .pool_idle_timeout(Duration::from_secs(30))
            .user_agent(concat!("stentor/", env!("CARGO_PKG_VERSION")))
            .tcp_nodelay(true)
            .build()
            .map_err(|error| SendError(error.to_string()))?;
        Ok(Self { client, egress, clock })
    }

    /// What may be reached.
    #[must_use]
    pub fn egress(&self) -> &Egress {
        &self.egress
    }

    /// Sends one event. Any answer is a success here; what it means is the caller's business.
    ///
    /// # Errors
    /// No connection, no answer in time, or an address that may not be reached.
    pub async fn send(&self, attempt: Attempt<'_>) -> Result<Answer, SendError> {
        let Attempt { event, log_id, number, settings, secrets } = attempt;
        let url = check_url(&settings.url, &self.egress).map_err(|invalid| SendError(invalid.to_string()))?;
        let outgoing = build(event, log_id, number, settings, secrets, self.clock.now())
            .map_err(|invalid| SendError(invalid.to_string()))?;
        let began = Instant::now();
        let request = self.client.post(url).headers(outgoing.headers).body(outgoing.body).timeout(settings.timeout);
        let response = request.send().await.map_err(|error| describe(error, settings.timeout))?;
        let denied = response.remote_addr().is_some_and(|at| !self.egress.permits(at.ip()));
        if denied {
            return Err(SendError("connected to an address that connectors may not reach".to_owned()));
        }
        let status = response.status().as_u16();
        let retry_after = retry_after(&response, self.clock.now());
        drain(response).await.map_err(|error| describe(error, settings.timeout))?;
        Ok(Answer { status, retry_after, latency: began.elapsed() })
    }
}

/// Reads the answer's body, so that the connection can be used again; a long one is left.
async fn drain(mut response: Response) -> Result<(), reqwest::Error> {
    let mut read = 0;
    while let Some(chunk) = response.chunk().await? {
        read += chunk.len();
        if read > limits::MAX_RESPONSE_BYTES {
            break;
        }
    }
    Ok(())
}

/// `Retry-After` in seconds or as an HTTP date (RFC 9110, 10.2.3), at most 24 h.
fn retry_after(response: &Response, now: Timestamp) -> Option<Duration> {
    let text = response.headers().get("retry-after")?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            Duration::from_secs(u64::try_from(date.as_second()).ok()?.saturating_sub(now.seconds()))
        }
    };
    Some(wait.min(limits::MAX_RETRY_AFTER))
}

/// What went wrong, without the URL: its query may hold a secret.
fn describe(error: reqwest::Error, timeout: Duration) -> SendError {
    if error.is_timeout() {
        return SendError(format!("no answer within {}", crate::model::format_duration(timeout)));
    }
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    SendError(text)
}
