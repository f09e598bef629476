//! What can happen, as it is written down. Frozen: a change is a new version beside it.

use super::target::Target;
use crate::codec::{self, CodecError};
use crate::log::LogKind;
use crate::model::{Name, Offset, Span, SubscriberId, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const VERSION: u8 = 1;

/// One thing that happened. Its time is its record's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// This ledger belongs to that event log; the first entry of all.
    Began {
        /// The event log's id.
        event_log: [u8; 16],
    },
    /// A subscriber or connector was made.
    Made {
        /// Its number, never given again.
        id: SubscriberId,
        /// Its name.
        name: Name,
        /// What it asked for.
        target: Target,
        /// Its first cursor.
        cursor: Offset,
    },
    /// Its settings were replaced.
    Changed {
        /// Whose.
        id: SubscriberId,
        /// By these.
        target: Target,
        /// New patterns hold from here on.
        from: Offset,
    },
    /// It is gone. Written no more: [`Entry::Removed`] says when, by the event log.
    Deleted {
        /// Who.
        id: SubscriberId,
    },
    /// It said "got it".
    Acked {
        /// Who.
        id: SubscriberId,
        /// Which offsets, those that do not match among them.
        spans: Vec<SentSpan>,
        /// How it listens.
        via: Via,
        /// The status of an endpoint's answer.
        status: Option<u16>,
        /// How long the answer took.
        latency_ms: Option<u32>,
    },
    /// A connector's attempt did not go well; the next one is due.
    Failed {
        /// Whose.
        id: SubscriberId,
        /// Which event.
        offset: Offset,
        /// Attempts so far.
        attempts: u32,
        /// How long it had been failing by then, in time that passed and not in what a clock showed.
        failing_for: Duration,
        /// When the next is due, by the wall clock, for people.
        next_attempt: Timestamp,
        /// The wait until then that was chosen. Clocks jump, so after a restart no more than this is left of it.
        wait: Duration,
        /// The status of the answer, where there was one.
        status: Option<u16>,
        /// What went wrong, without secrets.
        reason: String,
    },
    /// An event was given up: rejected by its listener or by the connector's policy.
    Dead {
        /// Whose.
        id: SubscriberId,
        /// Which event.
        offset: Offset,
        /// Attempts made.
        attempts: u32,
        /// The status of the last answer, where there was one.
        status: Option<u16>,
        /// Why.
        reason: String,
    },
    /// Open events that its new patterns no longer ask for.
    Skipped {
        /// Whose.
        id: SubscriberId,
        /// Which.
        spans: Vec<SentSpan>,
        /// Why.
        reason: String,
    },
    /// Its cursor was moved by hand.
    Sought {
        /// Whose.
        id: SubscriberId,
        /// To here.
        cursor: Offset,
    },
    /// A connector was stopped.
    Paused {
        /// Which.
        id: SubscriberId,
        /// Why, where it was not an operator.
        reason: Option<String>,
    },
    /// It goes on.
    Resumed {
        /// Which.
        id: SubscriberId,
    },
    /// Retention takes events that it asked for and had not acknowledged; it will be told.
    Missed {
        /// Who.
        id: SubscriberId,
        /// Which offsets.
        span: Span,
    },
    /// Everything below is no longer kept. Written before any file goes.
    Retired {
        /// The oldest offset kept.
        start: Offset,
    },
    /// Recovery cut a torn tail.
    Cut {
        /// Which log.
        log: String,
        /// Where the tail lies now.
        quarantined: String,
        /// Its bytes.
        bytes: u64,
    },
    /// The ledger's own entries below are no longer kept. Written before any file goes.
    LedgerRetired {
        /// The oldest entry kept.
        start: Offset,
    },
    /// An operator gave up what cannot be read.
    LossAccepted {
        /// Of which log.
        log: String,
        /// Its offsets.
        span: Span,
        /// What was wrong.
        detail: String,
    },
    /// It was told that it cannot have these any more, and acknowledged something behind them: it knows.
    Told {
        /// Who.
        id: SubscriberId,
        /// Which offsets.
        span: Span,
    },
    /// An event was sent beside the ordinary course, and how that ended; the cursor knows nothing of it.
    Resent {
        /// Whose.
        id: SubscriberId,
        /// Which event.
        offset: Offset,
        /// The replay that it was part of; a dead letter's retry where absent.
        replay: Option<String>,
        /// Attempts made; those before a dead letter died count.
        attempts: u32,
        /// The status of the last answer, where there was one.
        status: Option<u16>,
        /// How long that answer took.
        latency_ms: Option<u32>,
        /// Why it was given up; acknowledged where absent.
        failure: Option<String>,
    },
    /// It is gone, and was there for every event before `end`. Clocks of two logs cannot be compared; offsets can.
    Removed {
        /// Who.
        id: SubscriberId,
        /// The offset after the newest event by then.
        end: Offset,
    },
}

/// Encrypted bytes; only the vault opens them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    pub(super) nonce: [u8; 24],
    pub(super) ciphertext: Vec<u8>,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({} bytes)", self.ciphertext.len())
    }
}

/// Offsets that ended after the same number of attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentSpan {
    /// The offsets.
    pub span: Span,
    /// Sends until then.
    pub attempts: u32,
}

/// How a listener is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Via {
    /// WebSocket.
    WebSocket,
    /// A handler in this process.
    InProcess,
    /// An HTTP connector.
    Connector,
    /// A pull, or `POST …/ack`.
    Http,
    /// Server-sent events.
    Sse,
}

impl Via {
    /// Every one of them.
    pub const ALL: [Self; 5] = [Self::WebSocket, Self::InProcess, Self::Connector, Self::Http, Self::Sse];

    /// The word in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Via::WebSocket => "websocket",
            Via::InProcess => "in_process",
            Via::Connector => "connector",
            Via::Http => "http",
            Via::Sse => "sse",
        }
    }
}

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Acknowledged.
    Acked,
    /// Given up.
    Dead,
    /// No longer asked for.
    Skipped,
}

impl Outcome {
    /// The word in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Acked => "acked",
            Outcome::Dead => "dead",
            Outcome::Skipped => "skipped",
        }
    }
}

impl Entry {
    /// Its record's body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(VERSION, self)
    }

    /// The entry of a record's body.
    ///
    /// # Errors
    /// Bytes that no version of [`Entry::encode`] made.
    pub fn decode(body: &[u8]) -> Result<Self, CodecError> {
        codec::decode(VERSION, body)
    }

    /// The highest event offset that this entry proves to have been durable: it and all below.
    #[must_use]
    pub fn proves(&self) -> Option<Offset> {
        match self {
            Entry::Acked { spans, .. } => spans.iter().map(|acked| acked.span.to).max(),
            Entry::Skipped { spans, .. } => spans.iter().map(|sent| sent.span.to).max(),
            Entry::Failed { offset, .. } | Entry::Dead { offset, .. } | Entry::Resent { offset, .. } => {
                Some(offset.next())
            }
            Entry::Made { cursor, .. } | Entry::Sought { cursor, .. } => Some(*cursor),
            Entry::Changed { from, .. } => Some(*from),
            Entry::Missed { span, .. } | Entry::Told { span, .. } => Some(span.to),
            Entry::Removed { end, .. } => Some(*end),
            Entry::Retired { start } => Some(*start),
            Entry::LossAccepted { log, span, .. } => (log == LogKind::Events.as_str()).then_some(span.to),
            _ => None,
        }
    }
}
