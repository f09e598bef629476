//! Subscribers, and what is answered about them.
#![allow(dead_code, reason = "answers are rendered from views; these say what they look like")]

use super::connectors::Connector;
use super::events::{Event, Gap};
use super::words::{Duration, Name, Offset, Pattern, Time};
use serde::Serialize;
use utoipa::ToSchema;

/// Who a name belongs to.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::api) enum ListenerKind {
    Subscriber,
    Connector,
}

/// A durable listener.
#[derive(ToSchema)]
pub(in crate::api) struct Subscriber {
    name: Name,
    kind: ListenerKind,
    channels: Vec<Pattern>,
    /// The lowest matching offset that is not acknowledged, or the end.
    cursor: Offset,
    end: Offset,
    /// Matching events from the cursor on that are not acknowledged; not in lists.
    #[schema(nullable = false)]
    lag: Option<u64>,
    /// Delivered and not yet acknowledged.
    open: u64,
    connected: bool,
    #[schema(required = true)]
    last_ack: Option<Time>,
    created: Time,
    #[schema(minimum = 1, maximum = 10000)]
    window: u32,
    ack_timeout: Duration,
    #[schema(required = true)]
    expires: Option<Duration>,
}

/// A subscriber, or a connector with its own settings: they share one namespace.
#[derive(ToSchema)]
#[serde(untagged)]
pub(in crate::api) enum Listener {
    Subscriber(Subscriber),
    Connector(Box<Connector>),
}

/// A page of subscribers.
#[derive(ToSchema)]
pub(in crate::api) struct Subscribers {
    subscribers: Vec<Listener>,
    /// Opaque; pass it as `after`. Null at the end.
    #[schema(required = true)]
    next: Option<String>,
}

/// Where a listener stands.
#[derive(ToSchema)]
pub(in crate::api) struct Cursor {
    cursor: Offset,
}

/// Whether the barrier was reached in time.
#[derive(ToSchema)]
pub(in crate::api) struct Reached {
    reached: bool,
    cursor: Offset,
}

/// The next events of a pull session.
#[derive(ToSchema)]
pub(in crate::api) struct Pulled {
    session: String,
    events: Vec<Event>,
    cursor: Offset,
    #[schema(nullable = false)]
    gap: Option<Gap>,
}
