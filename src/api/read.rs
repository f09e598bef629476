//! `GET /v1/events`, `GET /v1/events/{offset}`, `GET /v1/channels`.

use super::command::Plain;
use super::openapi::events::{Channels, Event, Range};
use super::openapi::params::{AtOffset, Long, Page, Span as InSpan};
use super::openapi::problems::{BadQuery, Gone};
use super::problem::Problem;
use super::query::{Query, accepts};
use super::render;
use super::router::Api;
use super::segment::Segment;
use super::sse;
use crate::broker::RangeQuery;
use crate::model::{Filter, Invalid, Offset, Place, limits};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

/// A range of events, or with `Accept: text/event-stream` a stream as on `/v1/sse`.
#[utoipa::path(get, path = "/v1/events", operation_id = "read", tag = "read", params(InSpan, Long),
    responses((status = 200, description = "the range", content((Range = "application/json"), (String = "text/event-stream"))), BadQuery))]
pub(super) async fn range(
    State(api): State<Api>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if accepts(&headers, "text/event-stream") {
        return sse::stream(State(api), method, uri, headers).await;
    }
    let mut query = Query::of(&uri);
    let wait = query.duration("wait")?.unwrap_or_default();
    if wait > limits::MAX_WAIT {
        return Err(Invalid::new("wait", "is longer than 60s").into());
    }
    let asked = RangeQuery {
        filter: query.channels()?.unwrap_or_else(Filter::all),
        from: query.place("from")?.unwrap_or(Place::Earliest),
        to: query.place("to")?,
        limit: query.limit()?,
        wait,
    };
    query.end()?;
    let range = api.broker.read(asked).await?;
    let mut out = br#"{"events":"#.to_vec();
    render::events(&mut out, &range.events);
    let gap = range.gap.map_or(String::new(), |gap| format!(",\"gap\":{}", render::gap(gap)));
    out.extend_from_slice(format!(",\"next\":{},\"end\":{}{gap}}}", range.next, range.end).as_bytes());
    Ok((JSON, out).into_response())
}

/// The offset in a path.
pub(super) fn offset(text: &str) -> Result<Offset, Invalid> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let parsed = digits.then(|| text.parse().ok()).flatten().map(Offset);
    parsed.ok_or_else(|| Invalid::new("offset", format!("'{}' is not an offset", text.escape_debug())))
}

/// One event.
#[utoipa::path(get, path = "/v1/events/{ref}", operation_id = "event", tag = "read", params(AtOffset),
    responses((status = 200, description = "the event", body = Event), BadQuery, Gone))]
pub(super) async fn one(State(api): State<Api>, Segment(text): Segment, _: Plain) -> Result<Response, Problem> {
    let event = api.broker.event(offset(&text)?).await?;
    Ok((JSON, event.json()).into_response())
}

/// The channels that hold events.
#[utoipa::path(get, path = "/v1/channels", operation_id = "channels", tag = "read", params(Page),
    responses((status = 200, description = "a page", body = Channels), BadQuery))]
pub(super) async fn channels(State(api): State<Api>, uri: Uri) -> Result<axum::Json<Value>, Problem> {
    let mut query = Query::of(&uri);
    let limit = query.limit()?;
    let after = query.one("after")?;
    query.end()?;
    let behind = |name: &str| after.as_deref().is_none_or(|after| name > after);
    let mut found: Vec<Value> = Vec::new();
    let mut next = None;
    for info in api.broker.channels().iter().filter(|info| behind(info.channel.as_str())) {
        if found.len() == limit {
            next = found.last().and_then(|last| last.get("channel")).cloned();
            break;
        }
        found.push(json!({
            "channel": info.channel.as_str(), "events": info.events,
            "last_offset": info.last_offset, "last_time": info.last_time.to_string(),
        }));
    }
    Ok(axum::Json(json!({"channels": found, "next": next})))
}
