//! What stands in paths, queries and headers.
#![allow(dead_code, reason = "handlers read what they take by name; these say what that is")]

use super::words::{Channel, Duration, EventId, Key, Name, Offset, PatternList, Place};
use utoipa::IntoParams;

/// `{ref}`, where it is a channel.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct InChannel {
    /// The channel. On this path a POST names a channel, a GET an offset.
    r#ref: Channel,
}

/// `{ref}`, where it is an offset.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct AtOffset {
    /// The offset. On this path a POST names a channel, a GET an offset.
    r#ref: Offset,
}

/// `{name}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct Of {
    name: Name,
}

/// What a publisher says beside the payload.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::api) struct PublishHeaders {
    /// The event's id; a quoted structured string is unquoted.
    #[param(rename = "Idempotency-Key", required = false)]
    id: EventId,
    /// The ordering key.
    #[param(rename = "Stentor-Key", required = false)]
    key: Key,
}

/// What marks a CloudEvent in binary mode.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::api) struct CloudEventHeaders {
    /// With it each attribute is a header: `ce-id`, `ce-type` (the channel), `ce-source`, and others that are kept.
    #[param(rename = "ce-specversion", required = false, pattern = "^1\\.0$")]
    specversion: String,
}

/// A page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Page {
    /// The most entries.
    #[param(required = false, minimum = 1, maximum = 10000, default = 100)]
    limit: u64,
    /// What the page before gave as `next`.
    #[param(required = false)]
    after: String,
}

/// Which part of a list that is given whole unless a part is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Slice {
    /// The most entries; without it all of them.
    #[param(required = false, minimum = 1, maximum = 10000)]
    limit: u64,
    /// What the part before gave as `next`.
    #[param(required = false)]
    after: String,
}

/// Which events.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, style = Form)]
pub(in crate::api) struct Span {
    /// Patterns, comma-separated or repeated. Without it: every channel of users' events.
    #[param(required = false, explode = true)]
    channels: Vec<PatternList>,
    /// The first one; by default `earliest`.
    #[param(required = false)]
    from: Place,
    /// Up to here, exclusive; by default the end.
    #[param(required = false)]
    to: Place,
}

/// How much of a range, and how long to wait for it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Long {
    /// The most events; an answer also stops near 8 MiB.
    #[param(required = false, minimum = 1, maximum = 10000, default = 100)]
    limit: u64,
    /// Hold the request until there is something; at most `60s`.
    #[param(required = false)]
    wait: Duration,
}

/// What a stream asks for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, style = Form)]
pub(in crate::api) struct Stream {
    /// Patterns, comma-separated or repeated; needed where there is no subscriber, or it is new.
    #[param(required = false, explode = true)]
    channels: Vec<PatternList>,
    /// A durable subscriber; made on the spot where it is new.
    #[param(required = false)]
    subscriber: Name,
    /// Where to begin; by default `latest`. A subscriber that exists goes on from its cursor.
    #[param(required = false)]
    from: Place,
    /// Open events, at most.
    #[param(required = false, minimum = 1, maximum = 10000)]
    window: u32,
    /// Time to acknowledge, `100ms` to `24h`.
    #[param(required = false)]
    ack_timeout: Duration,
    /// The subscriber is deleted after so long without a session.
    #[param(required = false)]
    expires: Duration,
}

/// Only WebSockets.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Frames {
    /// The most events in a frame; without it each comes alone.
    #[param(required = false, minimum = 1, maximum = 1000)]
    batch: u32,
}

/// Only SSE.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::api) struct Returning {
    /// The last offset that was received: wins over `from`, and acknowledges for a durable subscriber.
    #[param(rename = "Last-Event-ID", required = false, pattern = r"^(-1|[0-9]{1,20})$")]
    last: String,
}

/// A barrier.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Barrier {
    offset: Offset,
    /// At most `60s`; by default `30s`.
    #[param(required = false)]
    timeout: Duration,
}

/// Whose dead letters.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct DeadLettersAsked {
    #[param(required = false)]
    subscriber: Name,
}

/// Which receipts.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, style = Form)]
pub(in crate::api) struct ReceiptsAsked {
    #[param(required = false)]
    subscriber: Name,
    #[param(required = false)]
    offset: Offset,
    /// Patterns, comma-separated or repeated.
    #[param(required = false, explode = true)]
    channel: Vec<PatternList>,
    /// An offset, or a time that is compared with the receipts' own.
    #[param(required = false)]
    from: Place,
    #[param(required = false)]
    to: Place,
}
