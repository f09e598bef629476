//! Floor 6: the way in. What a publisher says is checked here, given an id where it has none, and
//! handed to the engine; the answer leaves when it is durable.

use crate::clock::{Clock, Random};
use crate::engine::{AppendError, Engine, Placed};
use crate::log::Failure;
use crate::metrics::{Metrics, Word};
use crate::model::{EventId, Invalid, NewEvent, Offset, limits};
use std::collections::HashSet;
use std::sync::Arc;

/// How large a publish may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishLimits {
    /// Bytes of one event's payload.
    pub max_event_bytes: usize,
    /// Bytes of one batch.
    pub max_batch_bytes: usize,
}

impl Default for PublishLimits {
    fn default() -> Self {
        Self { max_event_bytes: limits::MAX_EVENT_BYTES, max_batch_bytes: limits::MAX_BATCH_BYTES }
    }
}

/// Why a publish was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// It does not follow the grammar.
    #[error("{}{invalid}", line.map_or(String::new(), |line| format!("event {line}: ")))]
    Invalid {
        /// Which event of a batch, from 1.
        line: Option<usize>,
        /// What is wrong.
        invalid: Invalid,
    },
    /// The channel is the broker's own.
    #[error("{}channel: '{channel}' begins with $, and those channels are the broker's own", line.map_or(String::new(), |line| format!("event {line}: ")))]
    SystemChannel {
        /// Which event of a batch, from 1.
        line: Option<usize>,
        /// The channel.
        channel: String,
    },
    /// It is larger than it may be.
    #[error("{}{what} is {size}; at most {limit} fit", line.map_or(String::new(), |line| format!("event {line}: ")))]
    TooLarge {
        /// Which event of a batch, from 1.
        line: Option<usize>,
        /// What is: the data's bytes, the batch's bytes, the batch's events.
        what: &'static str,
        /// How large it is; at least, where reading stopped there.
        size: usize,
        /// How large it may be.
        limit: usize,
    },
    /// Its id was published on its channel before, with another content.
    #[error("{}id: it was published on this channel at offset {offset} with another payload, content type, key or headers", line.map_or(String::new(), |line| format!("event {line}: ")))]
    Conflict {
        /// Which event of a batch, from 1.
        line: Option<usize>,
        /// Where the first one stands.
        offset: Offset,
    },
    /// The log does not take it; where the outcome is unknown, publish again with the same id.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl PublishError {
    /// Every word that [`PublishError::word`] gives.
    const WORDS: [&str; 5] = ["invalid", "system_channel", "too_large", "conflict", "unavailable"];

    /// The word in metrics.
    fn word(&self) -> &'static str {
        let [invalid, system_channel, too_large, conflict, unavailable] = Self::WORDS;
        match self {
            PublishError::Invalid { .. } => invalid,
            PublishError::SystemChannel { .. } => system_channel,
            PublishError::TooLarge { .. } => too_large,
            PublishError::Conflict { .. } => conflict,
            PublishError::Failed(_) => unavailable,
        }
    }
}

/// Takes publishes.
pub struct Publisher {
    engine: Arc<dyn Engine>,
    limits: PublishLimits,
    clock: Clock,
    random: Arc<Random>,
    metrics: Arc<Metrics>,
}

impl Publisher {
    /// A publisher into this engine.
    #[must_use]
    pub fn new(
        engine: Arc<dyn Engine>,
        limits: PublishLimits,
        clock: Clock,
        random: Arc<Random>,
        metrics: Arc<Metrics>,
    ) -> Self {
        for kind in PublishError::WORDS {
            // A refusal that did not happen yet is a zero, and not an absence.
            metrics.refused.get_or_create(&Word { kind }).inc_by(0);
        }
        Self { engine, limits, clock, random, metrics }
    }

    /// How large a publish may be.
    #[must_use]
    pub fn limits(&self) -> PublishLimits {
        self.limits
    }

    /// An id for an event without one.
    #[must_use]
    pub fn make_id(&self) -> EventId {
        EventId::made(self.clock.now(), self.random.next_16())
    }

    /// Publishes one event.
    ///
    /// # Errors
    /// Why it was refused.
    pub async fn publish(&self, event: NewEvent) -> Result<Placed, PublishError> {
        let outcome = match self.check(&event, None) {
            Ok(()) => self.append(vec![event], false).await,
            Err(error) => Err(error),
        };
        let placed = self.count(outcome)?;
        placed.first().copied().ok_or(PublishError::Failed(Failure::Closed))
    }

    /// Publishes many, all or none; one answer each, in their order.
    ///
    /// # Errors
    /// Why none was taken; it names the first event that is at fault.
    pub async fn publish_batch(&self, events: Vec<NewEvent>) -> Result<Vec<Placed>, PublishError> {
        let outcome = match self.check_batch(&events) {
            Ok(()) => self.append(events, true).await,
            Err(error) => Err(error),
        };
        self.count(outcome)
    }

    async fn append(&self, events: Vec<NewEvent>, batch: bool) -> Result<Vec<Placed>, PublishError> {
        let placed = self.engine.append(events).await;
        placed.map_err(|error| match error {
            AppendError::Conflict { index, offset } => {
                PublishError::Conflict { line: batch.then_some(index + 1), offset }
            }
            AppendError::Failed(failure) => PublishError::Failed(failure),
            AppendError::Unreadable(why) => PublishError::Failed(Failure::Poisoned(why.into())),
        })
    }

    fn check_batch(&self, events: &[NewEvent]) -> Result<(), PublishError> {
        if events.is_empty() {
            let invalid = Invalid::new("events", "the batch is empty; give at least one event");
            return Err(PublishError::Invalid { line: None, invalid });
        }
        if events.len() > limits::MAX_BATCH_EVENTS {
            let limit = limits::MAX_BATCH_EVENTS;
            return Err(PublishError::TooLarge {
                line: None,
                what: "the batch's number of events",
                size: events.len(),
                limit,
            });
        }
        let mut seen = HashSet::new();
        for (index, event) in events.iter().enumerate() {
            let line = Some(index + 1);
            self.check(event, line)?;
            let source = event.head.headers.get("ce-source");
            if matches!(event.head.id, EventId::Given(_)) && !seen.insert((&event.head.channel, source, &event.head.id))
            {
                let invalid = Invalid::new("id", format!("'{}' stands in the batch twice", event.head.id));
                return Err(PublishError::Invalid { line, invalid });
            }
        }
        Ok(())
    }

    fn check(&self, event: &NewEvent, line: Option<usize>) -> Result<(), PublishError> {
        if event.head.channel.is_system() {
            return Err(PublishError::SystemChannel { line, channel: event.head.channel.to_string() });
        }
        let (size, limit) = (event.size(), self.limits.max_event_bytes);
        if size > limit {
            return Err(PublishError::TooLarge { line, what: "the number of the data's bytes", size, limit });
        }
        Ok(())
    }

    fn count(&self, outcome: Result<Vec<Placed>, PublishError>) -> Result<Vec<Placed>, PublishError> {
        match &outcome {
            Ok(placed) => {
                let repeats = placed.iter().filter(|placed| placed.duplicate).count();
                self.metrics.duplicates.inc_by(repeats as u64);
            }
            Err(error) => {
                let kind = error.word();
                self.metrics.refused.get_or_create(&Word { kind }).inc();
            }
        }
        outcome
    }
}
