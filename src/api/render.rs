//! How things look as JSON.

use crate::broker::{EventReceipt, Receipt};
use crate::deliver::SubscriberView;
use crate::engine::Placed;
use crate::model::{ConnectorSettings, Event, Filter, Format, GiveUp, Kind, Span, format_duration};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A list under a name, whole; where a limit was given so many, and where to go on: the last one's key.
pub(super) fn slice(name: &str, all: impl Iterator<Item = (String, Value)>, limit: Option<usize>) -> Value {
    let mut all = all;
    let Some(limit) = limit else { return json!({name: all.map(|(_, shown)| shown).collect::<Vec<_>>()}) };
    let (keys, page): (Vec<_>, Vec<_>) = all.by_ref().take(limit).unzip();
    let next = all.next().and(keys.last());
    json!({name: page, "next": next})
}

/// The answer to a batch, and its status: 200 where all are repeats.
pub(super) fn batch(placed: &[Placed]) -> (StatusCode, Value) {
    let new: Vec<u64> = placed.iter().filter(|placed| !placed.duplicate).map(|placed| placed.offset.0).collect();
    let all: Vec<u64> = placed.iter().map(|placed| placed.offset.0).collect();
    let duplicates = placed.len() - new.len();
    // Where there is anything new, the range is of the new ones: repeats keep their old places, told below.
    let range = if new.is_empty() { &all } else { &new };
    let mut summary = json!({
        "first_offset": range.iter().min(), "last_offset": range.iter().max(),
        "count": placed.len(), "duplicates": duplicates,
    });
    if duplicates > 0
        && let Some(members) = summary.as_object_mut()
    {
        members.insert("offsets".to_owned(), json!(all));
    }
    (if new.is_empty() { StatusCode::OK } else { StatusCode::CREATED }, summary)
}

pub(super) fn patterns(filter: &Filter) -> Value {
    filter.patterns().iter().map(|pattern| json!(pattern.as_str())).collect()
}

pub(super) fn gap(span: Span) -> Value {
    json!({"from": span.from, "to": span.to})
}

/// A subscriber as `GET` shows it.
pub(super) fn subscriber(view: &SubscriberView) -> Value {
    if view.kind == Kind::Connector {
        return connector(view);
    }
    Value::Object(common(view))
}

/// What every listener shows; a connector's window is its `in_flight`, and its ack timeout its `timeout`.
fn common(view: &SubscriberView) -> Map<String, Value> {
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    put("name", json!(view.name));
    put("kind", json!(view.kind.as_str()));
    put("channels", patterns(&view.channels));
    put("cursor", json!(view.cursor));
    put("end", json!(view.end));
    if let Some(lag) = view.lag {
        put("lag", json!(lag));
    }
    put("open", json!(view.open));
    put("last_ack", json!(view.last_ack.map(|time| time.to_string())));
    put("created", json!(view.created.to_string()));
    put("connected", json!(view.connected));
    put("window", json!(view.window));
    put("ack_timeout", json!(format_duration(view.ack_timeout)));
    put("expires", json!(view.expires.map(format_duration)));
    shown
}

/// A connector as `GET` shows it: no secret, no header value.
pub(super) fn connector(view: &SubscriberView) -> Value {
    let mut shown = common(view);
    if let Some(connector) = &view.connector {
        shown.extend(settings(&connector.settings));
        // Which there are; what they hold never comes back.
        let headers: Map<String, Value> = connector.headers.iter().map(|name| (name.clone(), Value::Null)).collect();
        shown.insert("headers".to_owned(), Value::Object(headers));
        shown.insert("state".to_owned(), json!(connector.state.as_str()));
        shown.insert("next_attempt".to_owned(), json!(connector.next_attempt.map(|time| time.to_string())));
        shown.insert("last_error".to_owned(), json!(connector.last_error));
    }
    Value::Object(shown)
}

fn format(format: &Format) -> Value {
    match format {
        Format::Native => json!("native"),
        Format::Data => json!("data"),
        Format::CloudEvents => json!("cloudevents"),
        Format::CloudEventsBinary => json!("cloudevents-binary"),
        Format::Template(text) => json!({"template": text}),
    }
}

fn settings(settings: &ConnectorSettings) -> Map<String, Value> {
    let give_up_after = settings.retry.give_up_after.map(|give_up| match give_up {
        GiveUp::Attempts(attempts) => json!(attempts),
        GiveUp::After(duration) => json!(format_duration(duration)),
    });
    let shown = json!({
        "url": settings.url, "format": format(&settings.format), "content_type": settings.content_type,
        "timeout": format_duration(settings.timeout),
        "retry": {
            "initial": format_duration(settings.retry.initial), "max": format_duration(settings.retry.max),
            "give_up_after": give_up_after,
        },
        "in_flight": settings.in_flight, "rate_limit": settings.rate_limit.map(|rate| rate.to_string()),
    });
    match shown {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

pub(super) fn receipt(receipt: &Receipt) -> Value {
    let mut shown = json!({
        "subscriber": receipt.subscriber, "from": receipt.span.from, "to": receipt.span.to,
        "time": receipt.time.to_string(), "outcome": receipt.outcome.as_str(), "attempts": receipt.attempts,
    });
    if let Some(members) = shown.as_object_mut() {
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                members.insert(name.to_owned(), value);
            }
        };
        put("status", receipt.status.map(|status| json!(status)));
        put("latency_ms", receipt.latency_ms.map(|latency| json!(latency)));
        put("replay", receipt.replay.as_ref().map(|replay| json!(replay)));
        put("reason", receipt.reason.as_ref().map(|reason| json!(reason)));
    }
    shown
}

pub(super) fn event_receipt(receipt: &EventReceipt) -> Value {
    let state = receipt.outcome.map_or("pending", |outcome| outcome.as_str());
    let mut shown = json!({"subscriber": receipt.subscriber, "state": state});
    if let Some(members) = shown.as_object_mut() {
        if let Some(time) = receipt.time {
            members.insert("time".to_owned(), json!(time.to_string()));
        }
        if let Some(attempts) = receipt.attempts {
            members.insert("attempts".to_owned(), json!(attempts));
        }
    }
    shown
}

/// Events as a list.
pub(super) fn events(out: &mut Vec<u8>, events: &[Arc<Event>]) {
    deliveries(out, events.iter().map(|event| (&**event, 1)));
}

/// Deliveries as a list: events, and from the second on the attempt.
pub(super) fn deliveries<'a>(out: &mut Vec<u8>, deliveries: impl Iterator<Item = (&'a Event, u32)>) {
    out.push(b'[');
    for (n, (event, attempt)) in deliveries.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        let json = event.json();
        if attempt > 1 {
            out.extend_from_slice(format!("{{\"attempt\":{attempt},").as_bytes());
            out.extend_from_slice(json.get(1..).unwrap_or_default());
        } else {
            out.extend_from_slice(&json);
        }
    }
    out.push(b']');
}
