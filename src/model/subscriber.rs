//! What a durable subscriber asks for.

use super::{Filter, Invalid, limits};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Whether a name belongs to a listener that comes to the broker or to an endpoint that the broker calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Comes and asks.
    Subscriber,
    /// Is called over HTTP.
    Connector,
}

impl Kind {
    /// The word in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Subscriber => "subscriber",
            Kind::Connector => "connector",
        }
    }
}

/// The settings of a subscriber.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriberSettings {
    /// What it listens to.
    pub channels: Filter,
    /// Open events at most.
    pub window: u32,
    /// How long the oldest open event may wait for its ack.
    pub ack_timeout: Duration,
    /// Deleted after so long without a session; never if absent.
    pub expires: Option<Duration>,
}

impl SubscriberSettings {
    /// The defaults for these channels.
    #[must_use]
    pub fn new(channels: Filter) -> Self {
        Self { channels, window: limits::DEFAULT_WINDOW, ack_timeout: limits::DEFAULT_ACK_TIMEOUT, expires: None }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// A window or time outside its limits.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.window == 0 || self.window > limits::MAX_WINDOW {
            return Err(Invalid::new("window", format!("must be 1 to {}", limits::MAX_WINDOW)));
        }
        if self.ack_timeout < limits::MIN_ACK_TIMEOUT || self.ack_timeout > limits::MAX_ACK_TIMEOUT {
            return Err(Invalid::new("ack_timeout", "must be 100ms to 24h"));
        }
        Ok(())
    }
}
