//! `/v1/subscribers`.

use super::command::{Bare, Command, Plain};
use super::openapi::listeners::{Cursor, Reached, Subscriber, Subscribers};
use super::openapi::params::{Barrier, Of, Page};
use super::openapi::problems::{BadQuery, Commanded, Named, Taken, Written};
use super::openapi::words;
use super::problem::Problem;
use super::query::Query;
use super::router::Api;
use super::segment::Segment;
use super::{read, render};
use crate::model::{Filter, Invalid, Kind, Name, Place, SubscriberSettings, limits, parse_duration};
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use utoipa::ToSchema;

/// A subscriber's settings.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscriberInput {
    #[schema(value_type = Vec<words::Pattern>, min_items = 1, max_items = 256)]
    channels: Vec<String>,
    /// Where a new one begins; by default `latest`.
    #[schema(value_type = Option<words::Where>)]
    from: Option<Value>,
    /// Open events, at most; by default 256.
    #[schema(minimum = 1, maximum = 10000)]
    window: Option<u32>,
    /// `100ms` to `24h`; by default `30s`.
    #[schema(value_type = Option<words::Duration>)]
    ack_timeout: Option<String>,
    /// Deleted after so long without a session; by default never.
    #[schema(value_type = Option<words::Duration>)]
    expires: Option<String>,
}

/// Makes a subscriber, or replaces its settings: absent ones return to their defaults.
#[utoipa::path(put, path = "/v1/subscribers/{name}", operation_id = "put_subscriber", tag = "subscribers", params(Of),
    request_body = SubscriberInput,
    responses((status = 201, description = "made", body = Subscriber), (status = 200, description = "replaced", body = Subscriber), Commanded, Taken, Written))]
pub(super) async fn put(
    State(api): State<Api>,
    Segment(name): Segment,
    Command(input): Command<SubscriberInput>,
) -> Result<Response, Problem> {
    let name = Name::parse("name", &name)?;
    let mut settings = SubscriberSettings::new(Filter::parse(&input.channels)?);
    settings.window = input.window.unwrap_or(settings.window);
    if let Some(text) = input.ack_timeout {
        settings.ack_timeout = parse_duration("ack_timeout", &text)?;
    }
    settings.expires = input.expires.map(|text| parse_duration("expires", &text)).transpose()?;
    let from = input.from.map(|from| Place::from_json("from", &from)).transpose()?;
    let made = api.broker.registry().put_subscriber(&name, settings, from).await?;
    let view = api.broker.registry().view(Kind::Subscriber, name.as_str()).await?;
    let status = if made.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(render::subscriber(&view))).into_response())
}

/// A subscriber.
#[utoipa::path(get, path = "/v1/subscribers/{name}", operation_id = "subscriber", tag = "subscribers", params(Of),
    responses((status = 200, description = "the subscriber", body = Subscriber), BadQuery, Named))]
pub(super) async fn show(
    State(api): State<Api>,
    Segment(name): Segment,
    _: Plain,
) -> Result<axum::Json<Value>, Problem> {
    let view = api.broker.registry().view(Kind::Subscriber, &name).await?;
    Ok(axum::Json(render::subscriber(&view)))
}

/// Subscribers and connectors by name, without `lag`.
#[utoipa::path(get, path = "/v1/subscribers", operation_id = "subscribers", tag = "subscribers", params(Page),
    responses((status = 200, description = "a page", body = Subscribers), BadQuery))]
pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Result<axum::Json<Value>, Problem> {
    listed(&api, &uri, None, "subscribers").await
}

/// A page of names; `next` is the last of them. Of one kind with `lag`.
pub(super) async fn listed(
    api: &Api,
    uri: &Uri,
    kind: Option<Kind>,
    member: &str,
) -> Result<axum::Json<Value>, Problem> {
    let mut query = Query::of(uri);
    let limit = query.limit()?;
    let after = query.one("after")?;
    query.end()?;
    // A cursor is what is durable: what was acknowledged a moment ago is written down first.
    api.broker.registry().settle_all().await;
    let views = api.broker.registry().views(kind);
    let mut behind = views.iter().filter(|view| after.as_ref().is_none_or(|after| view.name > *after));
    let page: Vec<_> = behind.by_ref().take(limit).collect();
    let next = behind.next().and(page.last()).map(|last| &last.name);
    let mut shown: Vec<Value> = Vec::new();
    for view in page.iter().copied() {
        let Some(kind) = kind else {
            shown.push(render::subscriber(view));
            continue;
        };
        // With `lag`, which is a count for each. Who is gone by now is left out.
        if let Ok(view) = api.broker.registry().view(kind, &view.name).await {
            shown.push(render::subscriber(&view));
        }
    }
    Ok(axum::Json(json!({member: shown, "next": next})))
}

/// Forgets a subscriber.
#[utoipa::path(delete, path = "/v1/subscribers/{name}", operation_id = "delete_subscriber", tag = "subscribers", params(Of),
    responses((status = 204, description = "forgotten"), Commanded, Named, Written))]
pub(super) async fn delete(State(api): State<Api>, Segment(name): Segment, _: Bare) -> Result<StatusCode, Problem> {
    api.broker.registry().delete(Kind::Subscriber, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where to go on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SeekInput {
    #[schema(value_type = words::Where)]
    to: Value,
}

impl SeekInput {
    pub(super) fn place(&self) -> Result<Place, Invalid> {
        Place::from_json("to", &self.to)
    }
}

/// Moves the cursor either way, and ends the live session.
#[utoipa::path(post, path = "/v1/subscribers/{name}/seek", operation_id = "seek_subscriber", tag = "subscribers", params(Of),
    request_body = SeekInput,
    responses((status = 200, description = "moved", body = Cursor), Commanded, Named, Written))]
pub(super) async fn seek(
    State(api): State<Api>,
    Segment(name): Segment,
    Command(input): Command<SeekInput>,
) -> Result<axum::Json<Value>, Problem> {
    let cursor = api.broker.registry().seek(Kind::Subscriber, &name, input.place()?).await?;
    Ok(axum::Json(json!({"cursor": cursor})))
}

/// A barrier: answers when no matching event up to that offset is unacknowledged.
#[utoipa::path(get, path = "/v1/subscribers/{name}/wait", operation_id = "wait_for_subscriber", tag = "subscribers", params(Of, Barrier),
    responses((status = 200, description = "reached or timed out", body = Reached), BadQuery, Named))]
pub(super) async fn wait(
    State(api): State<Api>,
    Segment(name): Segment,
    uri: Uri,
) -> Result<axum::Json<Value>, Problem> {
    let mut query = Query::of(&uri);
    let offset = query.one("offset")?.ok_or_else(|| Invalid::new("offset", "is missing"))?;
    let timeout = query.duration("timeout")?.unwrap_or(Duration::from_secs(30));
    query.end()?;
    let offset = read::offset(&offset)?;
    if timeout > limits::MAX_WAIT {
        return Err(Invalid::new("timeout", "is longer than 60s").into());
    }
    let (reached, cursor) = api.broker.wait_for(&name, offset, timeout).await?;
    Ok(axum::Json(json!({"reached": reached, "cursor": cursor})))
}
