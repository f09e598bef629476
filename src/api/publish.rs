//! `POST /v1/events/{channel}` and `POST /v1/events`.

use super::openapi::events::{Batch, CloudEvent, Placed as PlacedShape, Published as PublishedShape};
use super::openapi::params::{CloudEventHeaders, InChannel, PublishHeaders};
use super::openapi::problems;
use super::openapi::words::Binary;
use super::problem::Problem;
use super::query::Query;
use super::router::Api;
use super::segment::Segment;
use super::{body, cloudevents, lines};
use crate::broker::{Broker, Error, Published};
use crate::engine::Placed;
use crate::model::{Channel, EventId, EventInput, Headers, Invalid, NewEvent, limits, write_string};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::io::Write as _;

const HEADER_PREFIX: &str = "stentor-header-";

/// One event: the body is the payload.
#[utoipa::path(post, path = "/v1/events/{ref}", operation_id = "publish", tag = "publish", params(InChannel, PublishHeaders),
    request_body(description = "The payload, at most `max_event_size`.", content((serde_json::Value = "application/json"), (Binary = "text/plain"), (Binary = "application/octet-stream"))),
    responses((status = 201, description = "on disk", body = PublishedShape), (status = 200, description = "a repeat", body = PublishedShape), problems::Published))]
pub(super) async fn one(
    State(api): State<Api>,
    Segment(channel): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let (Parts { uri, headers, .. }, body) = request.into_parts();
    Query::of(&uri).end()?;
    let limit = api.broker.publish_limits().max_event_bytes;
    let channel_name = Channel::parse(&channel)?;
    if channel_name.is_system() {
        let detail = format!("channel: '{channel}' begins with $, and those channels are the broker's own");
        return Err(Problem::new(StatusCode::FORBIDDEN, "channel-reserved", detail).with("field", "channel"));
    }
    let payload = body::read(&headers, body, limit).await?;
    let id = idempotency_key(&headers)?;
    let key = text(&headers, "stentor-key", "key")?;
    let kind = text(&headers, header::CONTENT_TYPE.as_str(), "content_type")?;
    let event = NewEvent::check(
        &channel,
        id.unwrap_or_else(|| api.broker.make_id()),
        key,
        Headers::parse(event_headers(&headers)?)?,
        kind,
        payload,
    )?;
    let published = api.broker.publish(event).await?;
    Ok(answer(&channel_name, &published))
}

pub(super) fn answer(channel: &Channel, published: &Published) -> Response {
    let mut out = Vec::with_capacity(192);
    let written = write!(out, "{{\"offset\":{},\"id\":", published.offset);
    write_string(&mut out, &published.id.to_string());
    let rest = write!(out, ",\"channel\":\"{channel}\",\"time\":\"{}\"", published.time);
    written.and(rest).expect("memory can be written");
    let status = if published.duplicate {
        out.extend_from_slice(b",\"duplicate\":true");
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    out.push(b'}');
    (status, [(header::CONTENT_TYPE, "application/json")], out).into_response()
}

/// A header's value as text; what is not visible ASCII is refused under the field's name.
fn text<'a>(headers: &'a HeaderMap, name: &str, field: &'static str) -> Result<Option<&'a str>, Invalid> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Invalid::new(field, format!("header {name} is given twice")));
    }
    // Keys may hold other characters: header values are bytes, and UTF-8 is what people send.
    std::str::from_utf8(value.as_bytes())
        .map(Some)
        .map_err(|_| Invalid::new(field, format!("header {name} is not UTF-8")))
}

/// The publisher's id. It may be a structured string (draft-ietf-httpapi-idempotency-key-header, RFC 8941 section
/// 3.3.3): `"abc"` means `abc`.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<EventId>, Invalid> {
    let Some(text) = text(headers, "idempotency-key", "id")? else { return Ok(None) };
    if !text.starts_with('"') {
        return EventId::parse(text).map(Some);
    }
    let bad = || Invalid::new("id", "Idempotency-Key begins with a quote and is no structured string");
    let (mut id, mut rest) = (String::new(), text.chars().skip(1));
    loop {
        match rest.next().ok_or_else(bad)? {
            '"' => break,
            '\\' => id.push(rest.next().filter(|c| matches!(c, '"' | '\\')).ok_or_else(bad)?),
            other => id.push(other),
        }
    }
    if rest.next().is_some() {
        return Err(Invalid::new("id", "Idempotency-Key has something behind its closing quote"));
    }
    EventId::parse(&id).map(Some)
}

/// `Stentor-Header-NAME`, and the publisher's trace context. `tracestate` may come in several lines (W3C Trace Context,
/// section 3.3); they are one list.
pub(super) fn event_headers(headers: &HeaderMap) -> Result<Vec<(&str, Cow<'_, str>)>, Invalid> {
    let mut pairs: Vec<(&str, Cow<'_, str>)> = Vec::new();
    for (name, value) in headers {
        let kept = match name.as_str() {
            trace @ ("traceparent" | "tracestate") => trace,
            other => match other.strip_prefix(HEADER_PREFIX) {
                Some(kept) => kept,
                None => continue,
            },
        };
        let value = std::str::from_utf8(value.as_bytes())
            .map_err(|_| Invalid::new("headers", format!("the value of '{kept}' is not UTF-8")))?;
        match pairs.iter_mut().find(|(name, _)| kept == "tracestate" && *name == kept) {
            Some((_, list)) => *list = format!("{list},{value}").into(),
            None => pairs.push((kept, value.into())),
        }
    }
    Ok(pairs)
}

/// Many events, all or none.
#[utoipa::path(post, path = "/v1/events", operation_id = "publish_many", tag = "publish", params(CloudEventHeaders),
    request_body(description = "All or none: a JSON array, NDJSON or CloudEvents. With `ce-specversion` the body is the payload of one CloudEvent in binary mode.", content(
        (Batch = "application/json"), (String = "application/x-ndjson"), (CloudEvent = "application/cloudevents+json"),
        (Vec<CloudEvent> = "application/cloudevents-batch+json"))),
    responses((status = 201, description = "on disk", body = PlacedShape), (status = 200, description = "all are repeats", body = PlacedShape), problems::Published))]
pub(super) async fn many(
    State(api): State<Api>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    Query::of(&uri).end()?;
    let limit = api.broker.publish_limits().max_batch_bytes;
    let kind = body::essence(&headers);
    if let Some(mode) = cloudevents::Mode::of(kind.as_deref(), &headers) {
        return cloudevents::publish(&api, mode, &headers, body).await;
    }
    let ndjson = match kind.as_deref() {
        Some("application/x-ndjson") => true,
        Some("application/json") | None => false,
        Some(other) => {
            let detail = format!(
                "Content-Type '{}' is not taken here; send application/x-ndjson, a JSON array or CloudEvents, \
                 or one payload to /v1/events/CHANNEL",
                other.escape_debug()
            );
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type-unsupported", detail));
        }
    };
    let events = if ndjson {
        lines::read(&api, body::Incoming::new(&headers, body, limit)?).await?
    } else {
        array(&api, &body::read(&headers, body, limit).await?)?
    };
    all(&api, events).await
}

/// Publishes a batch and answers for it.
pub(super) async fn all(api: &Api, events: Vec<(usize, NewEvent)>) -> Result<Response, Problem> {
    let placed = batch(&api.broker, events).await?;
    let (status, summary) = super::render::batch(&placed);
    Ok((status, axum::Json(summary)).into_response())
}

fn array(api: &Api, bytes: &[u8]) -> Result<Vec<(usize, NewEvent)>, Problem> {
    let inputs: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(|error| body::bad_json(&error))?;
    entries(api, &inputs)
}

/// The events of a list, each with its place in it, from 1.
pub(super) fn entries(api: &Api, inputs: &[&RawValue]) -> Result<Vec<(usize, NewEvent)>, Problem> {
    too_many(inputs.len())?;
    let entry = |(n, input): (usize, &&RawValue)| {
        let input: EventInput<'_> = body::object(input.get()).map_err(|problem| problem.with("line", n + 1))?;
        Ok((n + 1, check(api, &input, n + 1)?))
    };
    inputs.iter().enumerate().map(entry).collect()
}

/// Publishes a batch; a fault is told with the line where the event stood.
pub(super) async fn batch(broker: &Broker, events: Vec<(usize, NewEvent)>) -> Result<Vec<Placed>, Error> {
    let (lines, events): (Vec<usize>, Vec<NewEvent>) = events.into_iter().unzip();
    broker.publish_batch(events).await.map_err(|error| {
        let line = error.line().and_then(|entry| lines.get(entry.saturating_sub(1)).copied());
        error.at(line)
    })
}

pub(super) fn check(api: &Api, input: &EventInput<'_>, line: usize) -> Result<NewEvent, Problem> {
    input.check(|| api.broker.make_id()).map_err(at_line(line))
}

/// What is wrong with an event of a batch, with the line where it stands.
pub(super) fn at_line(line: usize) -> impl Fn(Invalid) -> Problem {
    move |invalid| Error::from(crate::publish::PublishError::Invalid { line: Some(line), invalid }).into()
}

pub(super) fn too_many(count: usize) -> Result<(), Problem> {
    if count <= limits::MAX_BATCH_EVENTS {
        return Ok(());
    }
    let detail = format!("the batch has more than {} events", limits::MAX_BATCH_EVENTS);
    let limit = json!(limits::MAX_BATCH_EVENTS);
    Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail).with("limit", limit))
}
