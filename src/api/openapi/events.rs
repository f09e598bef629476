//! Events, as they are handed in and given out.
#![allow(dead_code, reason = "answers are written by hand for speed; these say what they look like")]

use super::words::{AnyChannel, Channel, EventId, Key, Offset, Time};
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// An event as it stands everywhere: `data`, or `content_type` and `data_base64` in its place.
#[derive(ToSchema)]
pub(in crate::api) struct Event {
    offset: Offset,
    id: EventId,
    channel: AnyChannel,
    time: Time,
    #[schema(nullable = false)]
    key: Option<Key>,
    /// Names in lower case.
    #[schema(nullable = false)]
    headers: Option<BTreeMap<String, String>>,
    /// Any JSON value, byte for byte as published.
    #[schema(required = false)]
    data: Value,
    #[schema(nullable = false)]
    content_type: Option<String>,
    #[schema(nullable = false)]
    data_base64: Option<String>,
    /// Which send of it this is, from 2 on.
    #[schema(nullable = false, minimum = 2)]
    attempt: Option<u32>,
}

/// An event in a batch, a line of NDJSON or a publish frame: `data`, or `content_type` and `data_base64`.
#[derive(ToSchema)]
#[schema(as = EventInput)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct EventShape {
    channel: Channel,
    /// Any JSON value; null is one.
    #[schema(required = false)]
    data: Value,
    id: Option<EventId>,
    key: Option<Key>,
    /// Names in lower case; at most 32, and 8 KiB together.
    #[schema(required = false)]
    headers: BTreeMap<String, String>,
    /// With `data_base64` alone.
    #[schema(max_length = 255)]
    content_type: Option<String>,
    data_base64: Option<String>,
}

/// Several events, all or none.
#[derive(ToSchema)]
#[schema(min_items = 1, max_items = 10000)]
pub(in crate::api) struct Batch(Vec<EventShape>);

/// A CloudEvent 1.0 in structured mode; `type` is the channel.
#[derive(ToSchema)]
pub(in crate::api) struct CloudEvent {
    #[schema(pattern = "^1\\.0$")]
    specversion: String,
    id: EventId,
    #[schema(min_length = 1)]
    source: String,
    r#type: Channel,
    #[schema(nullable = false)]
    datacontenttype: Option<String>,
    #[schema(nullable = false)]
    subject: Option<String>,
    #[schema(nullable = false)]
    time: Option<Time>,
    #[schema(nullable = false)]
    partitionkey: Option<String>,
    #[schema(required = false)]
    data: Value,
    #[schema(nullable = false)]
    data_base64: Option<String>,
}

/// Where a published event stands.
#[derive(ToSchema)]
pub(in crate::api) struct Published {
    offset: Offset,
    id: EventId,
    channel: Channel,
    time: Time,
    /// It was published before, and this is where.
    #[schema(nullable = false)]
    duplicate: Option<bool>,
}

/// Where a published batch stands.
#[derive(ToSchema)]
pub(in crate::api) struct PublishedBatch {
    first_offset: Offset,
    last_offset: Offset,
    count: u64,
    duplicates: u64,
    /// One an entry, where there are duplicates: repeats keep their old places.
    #[schema(nullable = false)]
    offsets: Option<Vec<u64>>,
}

/// Where what was published stands: a CloudEvent alone as one event, all else as a batch.
#[derive(ToSchema)]
#[serde(untagged)]
pub(in crate::api) enum Placed {
    Batch(PublishedBatch),
    One(Published),
}

/// Offsets that retention or damage took; `to` is exclusive.
#[derive(ToSchema)]
pub(in crate::api) struct Gap {
    from: Offset,
    to: Offset,
}

/// A range of events.
#[derive(ToSchema)]
pub(in crate::api) struct Range {
    events: Vec<Event>,
    /// Where to go on: pass it as `from`.
    next: Offset,
    end: Offset,
    #[schema(nullable = false)]
    gap: Option<Gap>,
}

/// The channels that hold events.
#[derive(ToSchema)]
pub(in crate::api) struct Channels {
    channels: Vec<ChannelInfo>,
    /// Opaque; pass it as `after`. Null at the end.
    #[schema(required = true)]
    next: Option<String>,
}

#[derive(ToSchema)]
pub(in crate::api) struct ChannelInfo {
    channel: AnyChannel,
    events: u64,
    last_offset: Offset,
    last_time: Time,
}
