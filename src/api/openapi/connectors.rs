//! Connectors, their attempts and dead letters.
#![allow(dead_code, reason = "answers are rendered from views; these say what they look like")]

use super::events::{Event, Gap};
use super::listeners::ListenerKind;
use super::words::{AnyChannel, Duration, Name, Offset, Pattern, Rate, Secret, Time};
use crate::api::connector_input::RetryInput;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// How an event becomes a request.
#[derive(ToSchema)]
#[serde(untagged)]
pub(in crate::api) enum Format {
    Known(KnownFormat),
    Template(Template),
}

#[derive(ToSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::api) enum KnownFormat {
    /// The event as JSON.
    Native,
    /// The payload alone.
    Data,
    /// A CloudEvent in structured mode.
    #[serde(rename = "cloudevents")]
    CloudEvents,
    /// A CloudEvent in binary mode.
    #[serde(rename = "cloudevents-binary")]
    CloudEventsBinary,
}

/// A Jinja template whose variables are the event's members.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Template {
    template: String,
}

/// After so many attempts, or so long.
#[derive(ToSchema)]
#[serde(untagged)]
pub(in crate::api) enum GiveUp {
    Attempts(AttemptCount),
    After(Duration),
}

#[derive(ToSchema)]
#[schema(minimum = 0, format = "uint32")]
pub(in crate::api) struct AttemptCount(u32);

#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::api) enum ConnectorState {
    Active,
    Retrying,
    Failing,
    Paused,
}

/// A connector; neither its secret nor the values of its headers come back.
#[derive(ToSchema)]
pub(in crate::api) struct Connector {
    name: Name,
    kind: ListenerKind,
    channels: Vec<Pattern>,
    /// The lowest matching offset that is not acknowledged, or the end.
    cursor: Offset,
    end: Offset,
    /// Matching events from the cursor on that are not acknowledged; not among subscribers in a list.
    #[schema(nullable = false)]
    lag: Option<u64>,
    open: u64,
    connected: bool,
    #[schema(required = true)]
    last_ack: Option<Time>,
    created: Time,
    /// Its `in_flight`.
    #[schema(minimum = 1, maximum = 256)]
    window: u32,
    /// Its `timeout`.
    ack_timeout: Duration,
    /// Always null.
    #[schema(required = true)]
    expires: Option<Duration>,
    url: String,
    /// The names of the headers that are set; their values never come back.
    #[schema(value_type = Object)]
    headers: std::collections::BTreeMap<String, ()>,
    format: Format,
    #[schema(required = true)]
    content_type: Option<String>,
    timeout: Duration,
    retry: RetryInput,
    #[schema(minimum = 1, maximum = 256)]
    in_flight: u32,
    #[schema(required = true)]
    rate_limit: Option<Rate>,
    state: ConnectorState,
    #[schema(required = true)]
    next_attempt: Option<Time>,
    #[schema(required = true)]
    last_error: Option<String>,
}

/// A new connector, and once its signing secret.
#[derive(ToSchema)]
pub(in crate::api) struct ConnectorMade {
    #[serde(flatten)]
    connector: Connector,
    secret: Secret,
}

/// A page of connectors.
#[derive(ToSchema)]
pub(in crate::api) struct Connectors {
    connectors: Vec<Connector>,
    /// Opaque; pass it as `after`. Null at the end.
    #[schema(required = true)]
    next: Option<String>,
}

/// What came back.
#[derive(ToSchema)]
pub(in crate::api) struct Tested {
    time: Time,
    /// What the endpoint answered; null where nothing came.
    #[schema(required = true)]
    status: Option<u16>,
    #[schema(required = true)]
    error: Option<String>,
    latency_ms: u64,
    /// The start of the response.
    #[schema(required = true)]
    response: Option<String>,
}

/// The latest attempts.
#[derive(ToSchema)]
pub(in crate::api) struct Attempts {
    attempts: Vec<Attempt>,
    /// Opaque; pass it as `after`. Null at the end; there where `limit` was given.
    next: Option<String>,
}

#[derive(ToSchema)]
pub(in crate::api) struct Attempt {
    time: Time,
    offset: Offset,
    attempt: u32,
    #[schema(required = true)]
    status: Option<u16>,
    #[schema(required = true)]
    error: Option<String>,
    latency_ms: u64,
    #[schema(required = true)]
    response: Option<String>,
    #[schema(nullable = false)]
    replay: Option<String>,
}

/// A secret that is told this once; the one before signs along for 24 h.
#[derive(ToSchema)]
pub(in crate::api) struct NewSecret {
    secret: Secret,
}

/// A replay that has begun.
#[derive(ToSchema)]
pub(in crate::api) struct Replaying {
    replay: String,
    events: u64,
    #[schema(nullable = false)]
    gap: Option<Gap>,
}

/// A page of what was given up.
#[derive(ToSchema)]
pub(in crate::api) struct DeadLetters {
    dead_letters: Vec<DeadLetter>,
    /// Opaque; pass it as `after`. Null at the end.
    #[schema(required = true)]
    next: Option<String>,
}

#[derive(ToSchema)]
pub(in crate::api) struct DeadLetter {
    subscriber: Name,
    offset: Offset,
    /// Null where the event is no longer kept.
    #[schema(required = true)]
    channel: Option<AnyChannel>,
    attempts: u32,
    #[schema(required = true)]
    reason: Option<String>,
    time: Time,
}

/// How many were queued.
#[derive(ToSchema)]
pub(in crate::api) struct Queued {
    queued: u64,
}

/// What a listener or a connector would get.
#[derive(ToSchema)]
pub(in crate::api) struct Preview {
    matches: u64,
    /// The first ten.
    #[schema(max_items = 10)]
    events: Vec<Event>,
    /// With connector settings: what would be sent, signed with a throw-away secret.
    #[schema(nullable = false)]
    requests: Option<Vec<PreviewedRequest>>,
}

/// A request, or why there would be none.
#[derive(ToSchema)]
pub(in crate::api) struct PreviewedRequest {
    #[schema(nullable = false)]
    method: Option<String>,
    #[schema(nullable = false)]
    url: Option<String>,
    #[schema(nullable = false)]
    headers: Option<BTreeMap<String, String>>,
    /// Null where it is no text, and stands in `body_base64`.
    body: Option<String>,
    #[schema(nullable = false)]
    body_base64: Option<String>,
    /// The event that makes no request.
    #[schema(nullable = false)]
    offset: Option<u64>,
    #[schema(nullable = false)]
    error: Option<String>,
}
