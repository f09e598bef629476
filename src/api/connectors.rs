//! `/v1/connectors`.

use super::command::{Bare, Command, Plain};
use super::connector_input::Input;
use super::openapi::connectors::{Connector, ConnectorMade, Connectors};
use super::openapi::listeners::Cursor;
use super::openapi::params::{Of, Page};
use super::openapi::problems::{BadQuery, Commanded, Named, Taken, Written};
use super::problem::Problem;
use super::render;
use super::router::Api;
use super::segment::Segment;
use super::subscribers::{SeekInput, listed};
use crate::model::{Kind, Name};
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Makes a connector, or replaces its settings.
#[utoipa::path(put, path = "/v1/connectors/{name}", operation_id = "put_connector", tag = "connectors", params(Of),
    request_body = Input,
    responses((status = 201, description = "made: its secret is told once", body = ConnectorMade), (status = 200, description = "replaced", body = Connector), Commanded, Taken, Written))]
pub(super) async fn put(
    State(api): State<Api>,
    Segment(name): Segment,
    Command(input): Command<Input>,
) -> Result<Response, Problem> {
    let name = Name::parse("name", &name)?;
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

/// A connector.
#[utoipa::path(get, path = "/v1/connectors/{name}", operation_id = "connector", tag = "connectors", params(Of),
    responses((status = 200, description = "the connector", body = Connector), BadQuery, Named))]
pub(super) async fn show(
    State(api): State<Api>,
    Segment(name): Segment,
    _: Plain,
) -> Result<axum::Json<Value>, Problem> {
    let view = api.broker.registry().view(Kind::Connector, &name).await?;
    Ok(axum::Json(render::connector(&view)))
}

/// Connectors by name.
#[utoipa::path(get, path = "/v1/connectors", operation_id = "connectors", tag = "connectors", params(Page),
    responses((status = 200, description = "a page", body = Connectors), BadQuery))]
pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Result<axum::Json<Value>, Problem> {
    listed(&api, &uri, Some(Kind::Connector), "connectors").await
}

/// Forgets a connector.
#[utoipa::path(delete, path = "/v1/connectors/{name}", operation_id = "delete_connector", tag = "connectors", params(Of),
    responses((status = 204, description = "forgotten"), Commanded, Named, Written))]
pub(super) async fn delete(State(api): State<Api>, Segment(name): Segment, _: Bare) -> Result<StatusCode, Problem> {
    api.broker.registry().delete(Kind::Connector, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Moves the cursor either way.
#[utoipa::path(post, path = "/v1/connectors/{name}/seek", operation_id = "seek_connector", tag = "connectors", params(Of),
    request_body = SeekInput,
    responses((status = 200, description = "moved", body = Cursor), Commanded, Named, Written))]
pub(super) async fn seek(
    State(api): State<Api>,
    Segment(name): Segment,
    Command(input): Command<SeekInput>,
) -> Result<axum::Json<Value>, Problem> {
    let cursor = api.broker.registry().seek(Kind::Connector, &name, input.place()?).await?;
    Ok(axum::Json(json!({"cursor": cursor})))
}

/// Stops calling; nothing is lost.
#[utoipa::path(post, path = "/v1/connectors/{name}/pause", operation_id = "pause", tag = "connectors", params(Of),
    responses((status = 204, description = "paused"), Commanded, Named, Written))]
pub(super) async fn pause(State(api): State<Api>, Segment(name): Segment, _: Bare) -> Result<StatusCode, Problem> {
    api.broker.registry().set_paused(&name, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Goes on from the cursor.
#[utoipa::path(post, path = "/v1/connectors/{name}/resume", operation_id = "resume", tag = "connectors", params(Of),
    responses((status = 204, description = "active"), Commanded, Named, Written))]
pub(super) async fn resume(State(api): State<Api>, Segment(name): Segment, _: Bare) -> Result<StatusCode, Problem> {
    api.broker.registry().set_paused(&name, false).await?;
    Ok(StatusCode::NO_CONTENT)
}
