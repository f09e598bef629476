//! Requests over HTTP, and what can go wrong.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is none.
    #[error("{0}")]
    Url(String),
    /// The broker cannot be reached, or the connection broke. Worth a retry; a publish with the same id.
    #[error("the broker cannot be reached: {0}")]
    Unreachable(String),
    /// The broker refused.
    #[error("{detail} (status {status}, {code})")]
    Refused {
        /// The status.
        status: u16,
        /// The last part of the problem's type.
        code: String,
        /// What is wrong.
        detail: String,
    },
    /// A connection was closed for good: the code says not to come back.
    #[error("closed for good with code {code}: {reason}")]
    Closed {
        /// The close code.
        code: u16,
        /// What the broker said.
        reason: String,
    },
    /// What came is not of the protocol.
    #[error("not the protocol: {0}")]
    Protocol(String),
}

/// A broker somewhere.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: reqwest::Url,
    token: Option<String>,
}

/// What may go with a publish.
#[derive(Debug, Clone, Default)]
pub struct PublishOptions {
    /// The event's id; makes repeating safe.
    pub id: Option<String>,
    /// The ordering key.
    pub key: Option<String>,
    /// Headers of the event.
    pub headers: Vec<(String, String)>,
    /// The payload's content type; JSON where absent.
    pub content_type: Option<String>,
}

/// The broker has it on disk.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct PublishAck {
    /// Where it stands.
    pub offset: u64,
    /// Its id.
    pub id: String,
    /// Its channel.
    pub channel: String,
    /// Its time: RFC 3339.
    pub time: String,
    /// It was there before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}

impl Client {
    /// A client of the broker at this URL.
    ///
    /// # Errors
    /// Text that is no URL; for `https`, a machine without certificate authorities.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        // Whoever installed another provider before keeps it.
        let _already = rustls::crypto::ring::default_provider().install_default().is_err();
        let base = reqwest::Url::parse(url).map_err(|error| ClientError::Url(format!("'{url}': {error}")))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(ClientError::Url(format!("'{url}' must begin with http:// or https://")));
        }
        let builder =
            || reqwest::Client::builder().no_proxy().tcp_nodelay(true).connect_timeout(Duration::from_secs(10));
        let http = match builder().build() {
            // Without TLS nobody has to vouch for anybody.
            Err(_) if base.scheme() == "http" => builder().tls_certs_only([]).build(),
            built => built,
        };
        let http = http.map_err(|error| {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            ClientError::Unreachable(format!(
                "TLS cannot be set up ({cause}); install ca-certificates, or name a file in SSL_CERT_FILE"
            ))
        })?;
        Ok(Self { http, base, token: None })
    }

    /// Sends this token with everything.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// The broker's URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    /// Publishes a value as JSON. Returns when it is on the broker's disk.
    ///
    /// # Errors
    /// The broker refuses it, or cannot be reached: then its outcome is unknown.
    pub async fn publish<T: Serialize + ?Sized>(&self, channel: &str, data: &T) -> Result<PublishAck, ClientError> {
        let payload = serde_json::to_vec(data).map_err(|error| ClientError::Protocol(error.to_string()))?;
        self.publish_bytes(channel, payload, PublishOptions::default()).await
    }

    /// Publishes a payload as it is.
    ///
    /// # Errors
    /// As [`Client::publish`].
    pub async fn publish_bytes(
        &self,
        channel: &str,
        payload: Vec<u8>,
        options: PublishOptions,
    ) -> Result<PublishAck, ClientError> {
        let mut request = self.request(reqwest::Method::POST, &["v1", "events", channel]).body(payload);
        if let Some(id) = &options.id {
            request = request.header("idempotency-key", id);
        }
        if let Some(key) = &options.key {
            request = request.header("stentor-key", key);
        }
        if let Some(kind) = &options.content_type {
            request = request.header("content-type", kind);
        }
        for (name, value) in &options.headers {
            request = request.header(format!("stentor-header-{name}"), value);
        }
        let answer = self.answer(request).await?;
        answer.json().await.map_err(|error| ClientError::Protocol(error.to_string()))
    }

    /// A request to a path of these segments, each encoded as it needs.
    pub fn request(&self, method: reqwest::Method, segments: &[&str]) -> reqwest::RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request; anything but 2xx is an error that says what the broker said.
    ///
    /// # Errors
    /// As [`Client::publish`].
    pub async fn answer(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, ClientError> {
        let answer = request.send().await.map_err(|error| {
            let source = std::error::Error::source(&error).map_or(String::new(), |source| format!(": {source}"));
            ClientError::Unreachable(format!("{}{source}", error.without_url()))
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let text = answer.text().await.unwrap_or_default();
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let member = |name: &str| problem.get(name).and_then(Value::as_str).map(str::to_owned);
        let code = member("type").and_then(|kind| kind.rsplit('/').next().map(str::to_owned));
        Err(ClientError::Refused {
            status: status.as_u16(),
            code: code.unwrap_or_default(),
            detail: member("detail").unwrap_or(text),
        })
    }

    /// Sends a request and reads its JSON answer.
    ///
    /// # Errors
    /// As [`Client::publish`].
    pub async fn json(&self, request: reqwest::RequestBuilder) -> Result<Value, ClientError> {
        self.parsed(request).await
    }

    /// Sends a request and reads the answer as a type of the caller's; no answer at all reads as `null`.
    ///
    /// # Errors
    /// As [`Client::json`], and an answer that is another.
    pub async fn parsed<T: serde::de::DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<T, ClientError> {
        let answer = self.answer(request).await?;
        let text = answer.text().await.map_err(|error| ClientError::Unreachable(error.to_string()))?;
        let text = if text.is_empty() { "null" } else { &text };
        serde_json::from_str(text).map_err(|error| ClientError::Protocol(error.to_string()))
    }

    pub(super) fn base(&self) -> &reqwest::Url {
        &self.base
    }

    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }
}
