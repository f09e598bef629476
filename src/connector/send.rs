//! One attempt: the request goes out, the answer comes back or does not.

use super::check::check_url;
use super::egress::{Egress, Guarded};
use super::excerpt::{LOOKED_AT, excerpt};
use super::request::{Attempt, request};
use crate::clock::{self, Clock, Instant};
use crate::model::{Timestamp, limits};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use std::sync::Arc;
use std::time::Duration;

/// The endpoint answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// When it asks to be called again.
    pub retry_after: Option<Duration>,
    /// From the first byte sent to the last byte read.
    pub latency: Duration,
    /// The start of the response, on one line and without the connector's secrets.
    pub start: String,
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
        let builder = || {
            Client::builder()
                .redirect(Policy::none())
                .no_proxy()
                .dns_resolver(Guarded(Arc::clone(&egress)))
                .connect_timeout(Duration::from_secs(10))
                .pool_idle_timeout(Duration::from_secs(30))
                .user_agent(concat!("stentor/", env!("CARGO_PKG_VERSION")))
                .tcp_nodelay(true)
        };
        let client = builder().build().or_else(|error| {
            // A small container has no authorities. That is no reason not to keep and deliver everything else.
            tracing::warn!(
                error = causes(&error),
                "no certificate authorities were found: every https endpoint will be refused. \
                Install ca-certificates, or name a file in SSL_CERT_FILE, and start again"
            );
            builder().tls_certs_only([]).build()
        });
        let client = client.map_err(|error| SendError(causes(&error)))?;
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
        let timeout = attempt.settings.timeout;
        let refused = |invalid: crate::model::Invalid| SendError(invalid.to_string());
        let outgoing = request(&attempt, self.clock.now()).map_err(refused)?;
        let url = check_url(&outgoing.url, &self.egress).map_err(refused)?;
        // One that is not answered in time is the request's to tell.
        if clock::within(timeout, self.leads_here(&url)).await == Some(true) {
            return Err(SendError(LEADS_HERE.to_owned()));
        }
        let began = Instant::now();
        let request = self.client.post(url).headers(outgoing.headers).body(outgoing.body).timeout(timeout);
        let response = request.send().await.map_err(|error| describe(error, timeout))?;
        let denied = response.remote_addr().is_some_and(|at| !self.egress.permits(at.ip()));
        if denied {
            return Err(SendError("connected to an address that connectors may not reach".to_owned()));
        }
        // The name may have led elsewhere a moment ago.
        if response.remote_addr().is_some_and(|at| self.egress.is_own(at)) {
            return Err(SendError(LEADS_HERE.to_owned()));
        }
        let status = response.status().as_u16();
        let retry_after = retry_after(&response, self.clock.now());
        let (start, cut) = drain(response).await.map_err(|error| describe(error, timeout))?;
        let start = excerpt(&start, cut, attempt.secrets);
        Ok(Answer { status, retry_after, latency: began.elapsed(), start })
    }
}

const LEADS_HERE: &str = "the URL leads to this broker: what it publishes would be sent to it again";

impl Sender {
    /// Whether a host leads to the broker's own listener, of which nobody knew when the connector was made. Asked only
    /// where the port is the same.
    async fn leads_here(&self, url: &Url) -> bool {
        let port = url.port_or_known_default();
        let (Some(host), Some(port)) = (url.host_str().filter(|_| self.egress.is_own_port(port)), port) else {
            return false;
        };
        // A name that leads nowhere is the request's to tell.
        let found = tokio::net::lookup_host((host.trim_start_matches('[').trim_end_matches(']'), port)).await;
        found.is_ok_and(|mut found| found.any(|at| self.egress.is_own(at)))
    }
}

/// Reads the answer's body, so that the connection can be used again; a long one is left. Gives its start, and whether
/// there was more.
async fn drain(mut response: Response) -> Result<(Vec<u8>, bool), reqwest::Error> {
    let (mut read, mut start) = (0, Vec::new());
    while let Some(chunk) = response.chunk().await? {
        read += chunk.len();
        start.extend(chunk.iter().take(LOOKED_AT - start.len()));
        if read > limits::MAX_RESPONSE_BYTES {
            break;
        }
    }
    let cut = read > start.len();
    Ok((start, cut))
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
    SendError(causes(&error.without_url()))
}

/// An error, and what it came of.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
