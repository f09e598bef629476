//! Frames: what a client says, and what it is told.

use crate::api::asked;
use crate::api::openapi::words::{self, OffsetInput};
use crate::api::problem::Problem;
use crate::api::render;
use crate::engine::Placed;
use crate::model::{EventInput, Filter, Invalid, Offset, Span, parse_duration};
use axum::extract::ws::{Message, Utf8Bytes};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::ToSchema;

/// The word that says what a frame is; it was looked at before, and stands in each so that it is not unknown.
pub(super) type Op = serde::de::IgnoredAny;

/// The shapes of what a client says; a publish is borrowed, and described by `openapi::frames`.
#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(Ack, Nack, Ping, Reject, Subscribe, Working)))]
pub(super) struct Said;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nack {
    #[serde(rename = "op")]
    #[schema(value_type = String)]
    _op: Op,
    #[schema(value_type = OffsetInput)]
    pub(super) offset: Value,
    #[schema(value_type = Option<words::Duration>)]
    pub(super) delay: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reject {
    #[serde(rename = "op")]
    #[schema(value_type = String)]
    _op: Op,
    #[schema(value_type = OffsetInput)]
    pub(super) offset: Value,
    #[schema(max_length = 1020)]
    pub(super) reason: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Working {
    #[serde(rename = "op")]
    #[schema(value_type = String)]
    _op: Op,
    #[schema(value_type = OffsetInput)]
    pub(super) offset: Value,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ping {
    #[serde(rename = "op")]
    #[schema(value_type = String)]
    _op: Op,
}

/// Asks for delivery, or changes what is delivered.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Subscribe {
    #[serde(rename = "op", default)]
    #[schema(value_type = String, required = true)]
    pub(super) _op: Op,
    #[schema(value_type = Option<Vec<words::Pattern>>)]
    pub(super) channels: Option<Vec<String>>,
    #[schema(value_type = Option<words::Name>)]
    pub(super) subscriber: Option<String>,
    #[schema(value_type = Option<words::Where>)]
    pub(super) from: Option<Value>,
    #[schema(minimum = 1, maximum = 10000)]
    pub(super) window: Option<u32>,
    #[schema(value_type = Option<words::Duration>)]
    pub(super) ack_timeout: Option<String>,
    #[schema(value_type = Option<words::Duration>)]
    pub(super) expires: Option<String>,
    #[schema(minimum = 1, maximum = 1000)]
    pub(super) batch: Option<u32>,
}

impl From<Subscribe> for asked::Input {
    fn from(frame: Subscribe) -> Self {
        let Subscribe { _op: _, channels, subscriber, from, window, ack_timeout, expires, batch } = frame;
        Self { channels, subscriber, from, window, ack_timeout, expires, batch }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ack {
    #[serde(rename = "op")]
    #[schema(value_type = String)]
    _op: Op,
    #[schema(value_type = Option<OffsetInput>)]
    pub(super) offset: Option<Value>,
    #[schema(value_type = Option<Vec<OffsetInput>>)]
    pub(super) offsets: Option<Vec<Value>>,
    #[serde(default)]
    pub(super) confirm: bool,
}

/// A publish: one event, or a batch of them. Borrowed, because its data is kept byte for byte.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Publish<'a> {
    // Both were looked at before; they stand here so that they are not unknown.
    #[serde(rename = "op")]
    _op: Op,
    #[serde(borrow, rename = "ref")]
    _reference: Option<&'a RawValue>,
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    headers: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(borrow)]
    content_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data_base64: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) events: Option<Vec<&'a RawValue>>,
}

/// `"data":null` is a payload; only an absent `data` is none.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<'a> Publish<'a> {
    /// A member of a single event, where one stands beside `events`.
    pub(super) fn single_member(&self) -> Option<&'static str> {
        let members = [
            ("channel", self.channel.is_some()),
            ("data", self.data.is_some() || self.data_base64.is_some()),
            ("id", self.id.is_some()),
            ("key", self.key.is_some()),
            ("headers", !self.headers.is_empty()),
            ("content_type", self.content_type.is_some()),
        ];
        members.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }

    /// The one event of a publish that is no batch.
    pub(super) fn single(self) -> Result<EventInput<'a>, Invalid> {
        Ok(EventInput {
            channel: self.channel.ok_or_else(|| Invalid::new("channel", "is missing"))?,
            data: self.data,
            id: self.id,
            key: self.key,
            headers: self.headers,
            content_type: self.content_type,
            data_base64: self.data_base64,
        })
    }
}

/// Just enough of a frame to know what it is.
#[derive(Deserialize)]
pub(super) struct Peek<'a> {
    #[serde(borrow)]
    pub(super) op: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "ref")]
    pub(super) reference: Option<&'a RawValue>,
}

pub(super) fn delay(text: Option<&str>) -> Result<Duration, Invalid> {
    let delay = text.map_or(Ok(Duration::ZERO), |text| parse_duration("delay", text))?;
    if delay > crate::model::limits::MAX_NACK_DELAY {
        return Err(Invalid::new("delay", "is longer than 1h"));
    }
    Ok(delay)
}

/// A text frame of JSON that was made here.
pub(super) fn text(value: &Value) -> Message {
    Message::Text(value.to_string().into())
}

/// A text frame of bytes that are JSON already.
pub(super) fn shared(bytes: Bytes) -> Message {
    match Utf8Bytes::try_from(bytes) {
        Ok(text) => Message::Text(text),
        // An event's JSON is UTF-8 by its making; what is stored was checked when it was published.
        Err(error) => text(&json!({"op": "error", "code": "event-unreadable", "detail": error.to_string()})),
    }
}

pub(super) fn subscribed(filter: &Filter, subscriber: Option<&str>, cursor: Offset, end: Offset) -> Message {
    let mut frame = json!({"op": "subscribed", "channels": render::patterns(filter), "cursor": cursor, "end": end});
    if let (Some(name), Some(members)) = (subscriber, frame.as_object_mut()) {
        members.insert("subscriber".to_owned(), json!(name));
    }
    text(&frame)
}

pub(super) fn gap(span: Span) -> Message {
    text(&json!({"op": "gap", "from": span.from, "to": span.to}))
}

pub(super) fn caught_up(end: Offset) -> Message {
    text(&json!({"op": "caught_up", "end": end}))
}

/// An error; the connection stays open.
pub(super) fn error(problem: &Problem, reference: Option<&Value>) -> Message {
    let mut frame = json!({"op": "error", "code": problem.code(), "detail": problem.detail()});
    if let (Some(reference), Some(members)) = (reference, frame.as_object_mut()) {
        members.insert("ref".to_owned(), reference.clone());
    }
    text(&frame)
}

/// The answer to one published event.
pub(super) fn published(placed: Placed, id: &str, reference: Option<&Value>) -> Message {
    let mut out = br#"{"op":"published","#.to_vec();
    if let Some(reference) = reference {
        out.extend_from_slice(format!("\"ref\":{reference},").as_bytes());
    }
    out.extend_from_slice(format!("\"offset\":{},\"id\":", placed.offset).as_bytes());
    crate::model::write_string(&mut out, id);
    out.extend_from_slice(if placed.duplicate { b",\"duplicate\":true}" } else { b"}" });
    shared(out.into())
}

/// The answer to a published batch.
pub(super) fn published_batch(placed: &[Placed], reference: Option<&Value>) -> Message {
    let (_, mut frame) = render::batch(placed);
    if let Some(members) = frame.as_object_mut() {
        members.insert("op".to_owned(), json!("published"));
        if let Some(reference) = reference {
            members.insert("ref".to_owned(), reference.clone());
        }
    }
    text(&frame)
}
