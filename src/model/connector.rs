//! What a connector is told: where to call, with what, and how stubbornly.

use super::{Backoff, Filter, Invalid, Rate, limits};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The settings of a connector, without its secrets: those are headers and a signing key, kept sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectorSettings {
    /// Where to POST.
    pub url: String,
    /// What is sent there.
    pub channels: Filter,
    /// In which form.
    pub format: Format,
    /// The request's content type in place of the format's own.
    pub content_type: Option<String>,
    /// How long one request may take.
    pub timeout: Duration,
    /// How failures are tried again.
    pub retry: Retry,
    /// Requests side by side; above 1 events are ordered for each key only.
    pub in_flight: u32,
    /// Attempts at most; as many as it takes if absent.
    pub rate_limit: Option<Rate>,
}

/// The form of a request's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// The event as JSON.
    Native,
    /// The payload alone, with its content type.
    Data,
    /// A CloudEvent in structured mode.
    CloudEvents,
    /// A CloudEvent in binary mode.
    CloudEventsBinary,
    /// A text of the operator's own: a Jinja template over the event's members.
    Template(String),
}

impl Format {
    /// What can be asked for.
    pub const KNOWN: &str = "write native, data, cloudevents, cloudevents-binary or {\"template\":\"…\"}";

    /// Reads the word of a format that has one.
    ///
    /// # Errors
    /// Another word.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "native" => Ok(Format::Native),
            "data" => Ok(Format::Data),
            "cloudevents" => Ok(Format::CloudEvents),
            "cloudevents-binary" => Ok(Format::CloudEventsBinary),
            _ => Err(Invalid::new("format", format!("'{}' is none; {}", text.escape_debug(), Format::KNOWN))),
        }
    }
}

/// How failures are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// The ceiling of the first wait.
    pub initial: Duration,
    /// The highest ceiling.
    pub max: Duration,
    /// When an event is dead-lettered; never if absent.
    pub give_up_after: Option<GiveUp>,
}

/// When to stop trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GiveUp {
    /// After so many attempts.
    Attempts(u32),
    /// When it has been failing for so long: time in which it was tried, or waited for its next attempt.
    After(Duration),
}

impl Default for Retry {
    fn default() -> Self {
        Self { initial: Duration::from_secs(1), max: Duration::from_secs(300), give_up_after: None }
    }
}

impl Retry {
    /// The waits between attempts.
    #[must_use]
    pub fn backoff(&self) -> Backoff {
        Backoff { initial: self.initial, max: self.max }
    }
}

impl ConnectorSettings {
    /// The defaults for this place and these channels.
    #[must_use]
    pub fn new(url: impl Into<String>, channels: Filter) -> Self {
        Self {
            url: url.into(),
            channels,
            format: Format::Native,
            content_type: None,
            timeout: Duration::from_secs(15),
            retry: Retry::default(),
            in_flight: 1,
            rate_limit: None,
        }
    }

    /// Checks the ranges and their relations.
    ///
    /// # Errors
    /// The first field that is outside its limits.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.timeout < Duration::from_millis(10) || self.timeout > limits::MAX_CONNECTOR_TIMEOUT {
            return Err(Invalid::new("timeout", "must be 10ms to 5m"));
        }
        if self.retry.initial < Duration::from_millis(1) || self.retry.initial > self.retry.max {
            return Err(Invalid::new("retry", "initial must be at least 1ms and at most max"));
        }
        if self.retry.max > Duration::from_secs(24 * 3600) {
            return Err(Invalid::new("retry", "max must be at most 24h"));
        }
        if matches!(self.retry.give_up_after, Some(GiveUp::Attempts(0))) {
            return Err(Invalid::new("retry", "give_up_after must be at least 1 attempt, a duration or null"));
        }
        if self.in_flight == 0 || self.in_flight > limits::MAX_IN_FLIGHT {
            return Err(Invalid::new("in_flight", format!("must be 1 to {}", limits::MAX_IN_FLIGHT)));
        }
        if let Some(content_type) = &self.content_type {
            super::event::check_content_type(content_type)?;
        }
        Ok(())
    }
}

/// How a connector is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectorState {
    /// The last attempt went well, or there was none.
    Active,
    /// The last attempt failed and will be tried again.
    Retrying,
    /// So many failed in a row that the circuit is open; the next attempt is the probe.
    Failing,
    /// Stopped by an operator or by a 410.
    Paused,
}

impl ConnectorState {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Active, Self::Retrying, Self::Failing, Self::Paused];

    /// The word in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ConnectorState::Active => "active",
            ConnectorState::Retrying => "retrying",
            ConnectorState::Failing => "failing",
            ConnectorState::Paused => "paused",
        }
    }
}
