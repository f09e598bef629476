//! What a WebSocket's server sends, and the data of named SSE events. What a client sends stands in `ws::frame`.
#![allow(dead_code, reason = "frames are written by hand for speed; these say what they look like")]

use super::events::{Event, EventShape};
use super::words::{Channel, EventId, Key, Name, Offset, Pattern};
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// One event, or a batch in `events`; the members of one exclude the other.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishFrame {
    op: String,
    /// Any JSON value: it comes back with the answer.
    #[schema(required = false)]
    r#ref: Value,
    channel: Option<Channel>,
    #[schema(required = false)]
    data: Value,
    id: Option<EventId>,
    key: Option<Key>,
    #[schema(required = false)]
    headers: BTreeMap<String, String>,
    content_type: Option<String>,
    data_base64: Option<String>,
    #[schema(max_items = 10000)]
    events: Option<Vec<EventShape>>,
}

#[derive(ToSchema)]
pub(super) struct SubscribedFrame {
    op: String,
    channels: Vec<Pattern>,
    #[schema(nullable = false)]
    subscriber: Option<Name>,
    cursor: Offset,
    end: Offset,
}

#[derive(ToSchema)]
pub(super) struct AckedFrame {
    op: String,
    cursor: Offset,
}

#[derive(ToSchema)]
pub(super) struct PublishedFrame {
    op: String,
    #[schema(required = false)]
    r#ref: Value,
    offset: Offset,
    id: EventId,
    #[schema(nullable = false)]
    duplicate: Option<bool>,
}

#[derive(ToSchema)]
pub(super) struct PublishedBatchFrame {
    op: String,
    #[schema(required = false)]
    r#ref: Value,
    first_offset: Offset,
    last_offset: Offset,
    count: u64,
    duplicates: u64,
    #[schema(nullable = false)]
    offsets: Option<Vec<u64>>,
}

#[derive(ToSchema)]
pub(super) struct PongFrame {
    op: String,
}

#[derive(ToSchema)]
pub(super) struct EventFrame {
    op: String,
    #[serde(flatten)]
    event: Event,
}

#[derive(ToSchema)]
pub(super) struct EventsFrame {
    op: String,
    #[schema(min_items = 1, max_items = 1000)]
    events: Vec<Event>,
}

#[derive(ToSchema)]
pub(super) struct CaughtUpFrame {
    op: String,
    end: Offset,
}

#[derive(ToSchema)]
pub(super) struct GapFrame {
    op: String,
    from: Offset,
    /// Exclusive.
    to: Offset,
}

#[derive(ToSchema)]
pub(super) struct ErrorFrame {
    op: String,
    /// The last part of the problem's type.
    code: String,
    detail: String,
    #[schema(required = false)]
    r#ref: Value,
}

/// SSE: every matching event below `end` and none at or above it has been sent.
#[derive(ToSchema)]
pub(super) struct CaughtUp {
    end: Offset,
}

/// SSE: a newer session has the subscriber.
#[derive(ToSchema)]
pub(super) struct TakenOver {}
