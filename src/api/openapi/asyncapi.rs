//! `/asyncapi.json`: AsyncAPI 3.0 for `/v1/ws` and `/v1/sse`, with the same schemas as `/openapi.json`.
//!
//! The point of view is the broker's, as the standard wants it: it receives what clients send.

use super::events::{CloudEvent, Event, Gap};
use super::frames::{
    AckedFrame, CaughtUp, CaughtUpFrame, ErrorFrame, EventFrame, EventsFrame, GapFrame, PongFrame, PublishFrame,
    PublishedBatchFrame, PublishedFrame, SubscribedFrame, TakenOver,
};
use crate::api::ws;
use crate::model::limits;
use serde_json::{Map, Value, json};
use utoipa::OpenApi as _;

/// The shapes of everything that is sent either way, but for what a client says.
#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(
    AckedFrame,
    CaughtUp,
    CaughtUpFrame,
    CloudEvent,
    ErrorFrame,
    Event,
    EventFrame,
    EventsFrame,
    Gap,
    GapFrame,
    PongFrame,
    PublishFrame,
    PublishedBatchFrame,
    PublishedFrame,
    SubscribedFrame,
    TakenOver
)))]
struct Sent;

/// What a client may say: the frame's `op`, its shape, what it does, and what is answered.
const CLIENT: &[(&str, &str, &str, &[&str])] = &[
    ("subscribe", "Subscribe", "Asks for events, or changes what is asked for.", &["subscribed", "error"]),
    ("ack", "Ack", "Everything up to an offset is done, or only these offsets are.", &["acked", "error"]),
    ("nack", "Nack", "Delivery goes back to that event after the delay.", &["error"]),
    ("reject", "Reject", "This event will never be wanted: it becomes a dead letter.", &["error"]),
    ("working", "Working", "The event's time to acknowledge starts anew.", &["error"]),
    ("publish", "PublishFrame", "One event, or a batch.", &["published", "published_batch", "error"]),
    ("ping", "Ping", "Browsers cannot see protocol pings.", &["pong"]),
];

/// What the broker says: the message's name, the frame's `op`, its shape and when it comes.
const SERVER: &[(&str, &str, &str, &str)] = &[
    ("subscribed", "subscribed", "SubscribedFrame", "Always the first frame of a subscription."),
    ("event", "event", "EventFrame", "Each delivery; `attempt` only from 2 on."),
    ("events", "events", "EventsFrame", "In place of single ones, for who asked with `batch`."),
    ("caught_up", "caught_up", "CaughtUpFrame", "The replay has reached the live end."),
    ("gap", "gap", "GapFrame", "Offsets that retention or damage took."),
    ("acked", "acked", "AckedFrame", "An ack with `confirm` is durable."),
    ("published", "published", "PublishedFrame", "The event is on disk."),
    ("published_batch", "published", "PublishedBatchFrame", "The batch is on disk."),
    ("pong", "pong", "PongFrame", "The answer to a ping."),
    ("error", "error", "ErrorFrame", "Refused; the connection stays open."),
];

/// What a stream of server-sent events carries: the message's name, its shape and when it comes.
const SSE: &[(&str, &str, &str)] = &[
    ("sse_event", "Event", "Each event: `id:` is its offset, and there is no `event:`."),
    ("sse_caught_up", "CaughtUp", "`event: caught_up`, without an id."),
    ("sse_gap", "Gap", "`event: gap`, without an id."),
    ("sse_taken_over", "TakenOver", "`event: taken_over` and `retry: 30000`, then the end."),
];

/// The whole document.
pub(super) fn document() -> Value {
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Stentor", "version": env!("CARGO_PKG_VERSION"),
            "description": "The streams of a durable, log-structured message broker. Close codes say whether to \
                come back: do not on 1002, 1003, 1007, 1009 and 4500 to 4999; on all others do, with full jitter.",
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "websocket": {"host": limits::DEFAULT_LISTEN, "protocol": "ws"},
            "http": {"host": limits::DEFAULT_LISTEN, "protocol": "http"},
        },
        "channels": channels(),
        "operations": operations(),
        "components": {"messages": messages(), "schemas": schemas()},
    })
}

fn reference(path: String) -> Value {
    json!({"$ref": path})
}

/// Messages of a channel, each a reference to the component of that name.
fn carried<'a>(names: impl Iterator<Item = &'a str>) -> Map<String, Value> {
    names.map(|name| (name.to_owned(), reference(format!("#/components/messages/{name}")))).collect()
}

fn channels() -> Value {
    let frames = CLIENT.iter().map(|(op, ..)| *op).chain(SERVER.iter().map(|(name, ..)| *name));
    let text = json!({"type": "string"});
    json!({
        "websocket": {
            "address": "/v1/ws", "title": "WebSocket, subprotocol stentor.v1.json",
            "description": "Text frames, each one JSON object with `op`. Query parameters start delivery at once.",
            "servers": [reference("#/servers/websocket".to_owned())],
            "messages": carried(frames),
            "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0", "query": {"type": "object", "properties": {
                "channels": text, "from": text, "subscriber": text, "window": text, "ack_timeout": text,
                "expires": text, "batch": text,
            }}}},
        },
        "cloudevents": {
            "address": "/v1/ws", "title": "WebSocket, subprotocol cloudevents.json",
            "description": "Plain CloudEvents, one a text frame, to anonymous sessions by query; the client sends none.",
            "servers": [reference("#/servers/websocket".to_owned())],
            "messages": carried(["cloudevent"].into_iter()),
            "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0", "query": {"type": "object", "properties": {
                "channels": text, "from": text,
            }}}},
        },
        "sse": {
            "address": "/v1/sse", "title": "Server-sent events",
            "description": "Blocks with only an `id:` are progress, comments show that the stream lives. \
                `Last-Event-ID` resumes, and acknowledges for a durable subscriber.",
            "servers": [reference("#/servers/http".to_owned())],
            "messages": carried(SSE.iter().map(|(name, ..)| *name)),
        },
    })
}

fn operations() -> Map<String, Value> {
    let of = |channel: &str, name: &str| reference(format!("#/channels/{channel}/messages/{name}"));
    let on = |channel: &str| reference(format!("#/channels/{channel}"));
    let mut operations = Map::new();
    for (op, _, what, answers) in CLIENT {
        let answers: Vec<Value> = answers.iter().map(|name| of("websocket", name)).collect();
        let operation = json!({
            "action": "receive", "channel": on("websocket"), "summary": what, "messages": [of("websocket", op)],
            "reply": {"channel": on("websocket"), "messages": answers},
        });
        operations.insert(format!("on_{op}"), operation);
    }
    let told = ["event", "events", "caught_up", "gap", "error"].map(|name| of("websocket", name));
    let sends = |channel: &str, what: &str, messages: Vec<Value>| json!({"action": "send", "channel": on(channel), "summary": what, "messages": messages});
    operations.insert("deliver".to_owned(), sends("websocket", "Delivers to a session.", told.to_vec()));
    let plain = vec![of("cloudevents", "cloudevent")];
    operations.insert("deliver_cloudevents".to_owned(), sends("cloudevents", "Delivers plain CloudEvents.", plain));
    let streamed = SSE.iter().map(|(name, ..)| of("sse", name)).collect();
    operations.insert("stream".to_owned(), sends("sse", "Streams to an EventSource.", streamed));
    operations
}

/// A frame of the protocol: its shape, and the `op` that says which one it is.
fn frame(name: &str, op: &str, shape: &str, when: &str) -> (String, Value) {
    let shape = reference(format!("#/components/schemas/{shape}"));
    let payload = json!({"allOf": [shape, {"type": "object", "properties": {"op": {"const": op}}}]});
    (name.to_owned(), json!({"name": name, "title": name, "summary": when, "payload": payload}))
}

fn messages() -> Map<String, Value> {
    let plain = |name: &str, shape: &str, when: &str| {
        let payload = reference(format!("#/components/schemas/{shape}"));
        (name.to_owned(), json!({"name": name, "title": name, "summary": when, "payload": payload}))
    };
    let mut messages: Map<String, Value> =
        CLIENT.iter().map(|(op, shape, what, _)| frame(op, op, shape, what)).collect();
    messages.extend(SERVER.iter().map(|(name, op, shape, when)| frame(name, op, shape, when)));
    messages.extend(SSE.iter().map(|(name, shape, when)| plain(name, shape, when)));
    messages.extend([plain("cloudevent", "CloudEvent", "Each delivery; a gap comes as type `$stentor.gap`.")]);
    messages
}

/// The schemas of both directions.
fn schemas() -> Value {
    let mut schemas = Sent::openapi().components.unwrap_or_default().schemas;
    schemas.extend(ws::schemas());
    json!(schemas)
}
