//! What a connection speaks: the broker's own frames, or plain CloudEvents.

use super::frame;
use crate::model::cloudevents::cloudevent_json;
use crate::model::{Event, Offset, Span};
use axum::extract::ws::Message;
use serde_json::json;

/// The subprotocols, the broker's own first.
pub(super) const SUBPROTOCOLS: [&str; 2] = ["stentor.v1.json", "cloudevents.json"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// PROTOCOL.md section 5.
    Stentor,
    /// One CloudEvent a frame, for anonymous sessions by query (CloudEvents, WebSockets Protocol Binding).
    CloudEvents,
}

impl Wire {
    /// What was chosen; who offers nothing gets the broker's own.
    pub(super) fn of(chosen: Option<&str>) -> Self {
        if chosen == Some("cloudevents.json") { Self::CloudEvents } else { Self::Stentor }
    }

    pub(super) fn event(self, event: &Event, attempt: u32) -> Message {
        frame::shared(match self {
            Wire::Stentor => event.frame_of_attempt(attempt),
            Wire::CloudEvents => cloudevent_json(event),
        })
    }

    /// A gap is an event of the broker's own where there is nothing but events.
    pub(super) fn gap(self, span: Span) -> Message {
        match self {
            Wire::Stentor => frame::gap(span),
            Wire::CloudEvents => frame::text(&json!({
                "specversion": "1.0", "type": "$stentor.gap", "source": "/",
                "id": format!("gap-{}-{}", span.from, span.to),
                "datacontenttype": "application/json", "data": {"from": span.from, "to": span.to},
            })),
        }
    }

    pub(super) fn caught_up(self, end: Offset) -> Option<Message> {
        (self == Wire::Stentor).then(|| frame::caught_up(end))
    }
}
