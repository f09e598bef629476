//! `/v1/connectors`.

use super::connector_input::Input;
use super::problem::Problem;
use super::query::Query;
use super::router::Api;
use super::segment::Segment;
use super::subscribers::{SeekInput, listed};
use super::{body, render};
use crate::model::{Kind, Name};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

pub(super) async fn put(
    State(api): State<Api>,
    Segment(name): Segment,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    Query::of(&uri).end()?;
    let name = Name::parse("name", &name)?;
    let input: Input = body::json(&headers, body).await?;
    let made = api.broker.registry().put_connector(&name, input.check()?).await?;
    let view = api.broker.registry().view(Kind::Connector, name.as_str()).await?;
    let mut shown = render::connector(&view);
    if let (Some(secret), Some(members)) = (&made.secret, shown.as_object_mut()) {
        // Told this once, and never again.
        members.insert("secret".to_owned(), json!(secret.reveal()));
    }
    let status = if made.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(shown)).into_response())
}

pub(super) async fn show(
    State(api): State<Api>,
    Segment(name): Segment,
    uri: Uri,
) -> Result<axum::Json<Value>, Problem> {
    Query::of(&uri).end()?;
    let view = api.broker.registry().view(Kind::Connector, &name).await?;
    Ok(axum::Json(render::connector(&view)))
}

pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Result<axum::Json<Value>, Problem> {
    listed(&api, &uri, Some(Kind::Connector), "connectors")
}

pub(super) async fn delete(State(api): State<Api>, Segment(name): Segment, uri: Uri) -> Result<StatusCode, Problem> {
    Query::of(&uri).end()?;
    api.broker.registry().delete(Kind::Connector, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn seek(
    State(api): State<Api>,
    Segment(name): Segment,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<axum::Json<Value>, Problem> {
    Query::of(&uri).end()?;
    let input: SeekInput = body::json(&headers, body).await?;
    let cursor = api.broker.registry().seek(Kind::Connector, &name, input.place()?).await?;
    Ok(axum::Json(json!({"cursor": cursor})))
}

pub(super) async fn pause(State(api): State<Api>, Segment(name): Segment, uri: Uri) -> Result<StatusCode, Problem> {
    Query::of(&uri).end()?;
    api.broker.registry().set_paused(&name, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn resume(State(api): State<Api>, Segment(name): Segment, uri: Uri) -> Result<StatusCode, Problem> {
    Query::of(&uri).end()?;
    api.broker.registry().set_paused(&name, false).await?;
    Ok(StatusCode::NO_CONTENT)
}
