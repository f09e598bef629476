//! Close codes: they say whether to come back.

use axum::extract::ws::{CloseFrame, Message};

/// Why the broker closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Close {
    /// A binary frame; do not come back with another.
    NoBinary,
    /// Not the protocol; do not come back.
    NotTheProtocol,
    /// A newer session has the subscriber; do not come back.
    TakenOver,
    /// No pong came; come back.
    NoPong,
    /// The subscriber was moved or changed; come back to its new place.
    Moved,
    /// The broker restarts; come back.
    Restart,
    /// The log or ledger failed; come back later.
    Trouble,
}

impl Close {
    /// The close frame.
    pub(super) fn message(self) -> Message {
        let (code, reason) = match self {
            Close::NoBinary => (1003, "binary frames are not taken"),
            Close::NotTheProtocol => (4500, "not the protocol; the error before says why"),
            Close::TakenOver => (4509, "taken over by a newer session"),
            Close::NoPong => (4408, "no pong"),
            Close::Moved => (4410, "the subscriber was moved or changed"),
            Close::Restart => (1012, "restart"),
            Close::Trouble => (1011, "the log or the ledger failed"),
        };
        Message::Close(Some(CloseFrame { code, reason: reason.into() }))
    }
}
