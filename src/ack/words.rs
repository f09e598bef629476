//! What a window is asked, and what it says.

use crate::clock::Instant;
use crate::model::{Offset, Span};

/// Offsets that were acknowledged after so many sends; 0 where none of them was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acked {
    /// The offsets; those that do not match stand among them.
    pub span: Span,
    /// Sends until the ack.
    pub attempts: u32,
}

/// Why an ack is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AckError {
    /// It names an offset that was not delivered, or is to be delivered again.
    #[error("offset {offset} was not delivered; acks may name offsets below {limit}")]
    Beyond {
        /// The offset that was named.
        offset: Offset,
        /// The first offset that cannot be named.
        limit: Offset,
    },
    /// It names an event that is not open.
    #[error("offset {0} is not open: it was acknowledged before, or does not match")]
    NotOpen(Offset),
}

/// Whether an event is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// It is done.
    Skip,
    /// It has to wait until an open one is done.
    Full,
    /// Send it.
    Send,
}

/// Delivery goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewind {
    /// To this event.
    pub to: Offset,
    /// Not before then.
    pub not_before: Instant,
}
