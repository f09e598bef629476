//! Close codes: they say whether to come back.

use axum::extract::ws::{CloseFrame, Message};
use tokio_tungstenite::tungstenite::{self, error::ProtocolError};

/// Why the broker closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Close {
    /// A binary frame; do not come back with another.
    NoBinary,
    /// A frame that is no frame; do not come back with it.
    BadFrame,
    /// Text that is not UTF-8.
    NotUtf8,
    /// A frame over the limit.
    TooLarge,
    /// Not the protocol; do not come back.
    NotTheProtocol,
    /// Not what the subprotocol `cloudevents.json` takes; do not come back with it.
    NotCloudEvents,
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
    /// What to say after a frame that could not be read; nothing where the connection is gone.
    pub(super) fn after(error: axum::Error) -> Option<Self> {
        tracing::debug!(%error, "a WebSocket broke");
        match error.into_inner().downcast_ref::<tungstenite::Error>()? {
            tungstenite::Error::Capacity(_) => Some(Close::TooLarge),
            tungstenite::Error::Utf8(_) => Some(Close::NotUtf8),
            tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
            tungstenite::Error::Protocol(_) => Some(Close::BadFrame),
            _ => None,
        }
    }

    /// The close frame.
    pub(super) fn message(self) -> Message {
        let (code, reason) = match self {
            Close::NoBinary => (1003, "binary frames are not taken"),
            Close::BadFrame => (1002, "not a WebSocket frame"),
            Close::NotUtf8 => (1007, "text that is not UTF-8"),
            Close::TooLarge => (1009, "the frame is over the limit"),
            Close::NotTheProtocol => (4500, "not the protocol; the error before says why"),
            Close::NotCloudEvents => (4500, "cloudevents.json takes channels and from by query, and no frames"),
            Close::TakenOver => (4509, "taken over by a newer session"),
            Close::NoPong => (4408, "no pong"),
            Close::Moved => (4410, "the subscriber was moved or changed"),
            Close::Restart => (1012, "restart"),
            Close::Trouble => (1011, "the log or the ledger failed"),
        };
        Message::Close(Some(CloseFrame { code, reason: reason.into() }))
    }
}
