//! What operators do with a connector: `test`, `attempts`, `rotate-secret`, `replay`.

use super::command::{Command, OptionalCommand};
use super::openapi::connectors::{Attempts, NewSecret, Replaying, Tested};
use super::openapi::params::{Of, Slice};
use super::openapi::problems::{BadQuery, Commanded, Named, Written};
use super::openapi::words;
use super::problem::Problem;
use super::query::Query;
use super::render;
use super::router::Api;
use super::segment::Segment;
use crate::deliver::{AttemptRecord, ReplayInput};
use crate::ledger::SigningSecret;
use crate::model::{Place, Rate};
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// What is sent; nothing at all means a sample of the broker's own.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TestInput {
    #[schema(value_type = Value, required = false)]
    data: Option<Box<RawValue>>,
}

/// Sends a sample event and says what came back.
#[utoipa::path(post, path = "/v1/connectors/{name}/test", operation_id = "test_connector", tag = "connectors", params(Of),
    request_body = Option<TestInput>,
    responses((status = 200, description = "what came back", body = Tested), Commanded, Named))]
pub(super) async fn test(
    State(api): State<Api>,
    Segment(name): Segment,
    OptionalCommand(input): OptionalCommand<TestInput>,
) -> Result<axum::Json<Value>, Problem> {
    let data = input.and_then(|input| input.data).map(|data| data.get().as_bytes().to_vec().into());
    let record = api.broker.registry().test_connector(&name, data).await?;
    Ok(axum::Json(json!({
        "time": record.time.to_string(), "status": record.status, "error": record.error,
        "latency_ms": millis(&record), "response": record.response,
    })))
}

fn millis(record: &AttemptRecord) -> u64 {
    u64::try_from(record.latency.as_millis()).unwrap_or(u64::MAX)
}

/// The latest attempts, the newest first.
#[utoipa::path(get, path = "/v1/connectors/{name}/attempts", operation_id = "attempts", tag = "connectors", params(Of, Slice),
    responses((status = 200, description = "the newest first", body = Attempts), BadQuery, Named))]
pub(super) async fn attempts(
    State(api): State<Api>,
    Segment(name): Segment,
    uri: Uri,
) -> Result<axum::Json<Value>, Problem> {
    let mut query = Query::of(&uri);
    let limit = query.some_limit()?;
    let before = query.number("after", 0, u64::MAX)?;
    query.end()?;
    let attempts = api.broker.registry().attempts(&name, before)?;
    let numbered = attempts.iter().map(|(number, record)| (number.to_string(), attempt(record)));
    Ok(axum::Json(render::slice("attempts", numbered, limit)))
}

fn attempt(record: &AttemptRecord) -> Value {
    let mut shown = json!({
        "time": record.time.to_string(), "offset": record.offset, "attempt": record.attempt,
        "status": record.status, "error": record.error, "latency_ms": millis(record), "response": record.response,
    });
    if let (Some(replay), Some(members)) = (&record.replay, shown.as_object_mut()) {
        members.insert("replay".to_owned(), json!(replay));
    }
    shown
}

/// The next secret; made unless given.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateInput {
    #[schema(value_type = Option<words::Secret>)]
    secret: Option<String>,
}

/// Signs with another secret; it is told this once.
#[utoipa::path(post, path = "/v1/connectors/{name}/rotate-secret", operation_id = "rotate_secret", tag = "connectors", params(Of),
    request_body = Option<RotateInput>,
    responses((status = 200, description = "told this once", body = NewSecret), Commanded, Named, Written))]
pub(super) async fn rotate_secret(
    State(api): State<Api>,
    Segment(name): Segment,
    OptionalCommand(input): OptionalCommand<RotateInput>,
) -> Result<axum::Json<Value>, Problem> {
    let given = input.and_then(|input| input.secret).map(|text| SigningSecret::parse(&text)).transpose()?;
    let secret = api.broker.registry().rotate_secret(&name, given).await?;
    Ok(axum::Json(json!({"secret": secret.reveal()})))
}

/// What is sent again, where to, and how fast.
#[derive(Deserialize, ToSchema)]
#[schema(as = ReplayInput)]
#[serde(deny_unknown_fields)]
pub(super) struct Replay {
    #[schema(value_type = words::Where)]
    from: Value,
    /// Exclusive; by default the end.
    #[schema(value_type = Option<words::Where>)]
    to: Option<Value>,
    /// By default the connector's own.
    url: Option<String>,
    #[schema(value_type = Option<words::Rate>)]
    rate: Option<String>,
}

/// Sends a range again.
#[utoipa::path(post, path = "/v1/connectors/{name}/replay", operation_id = "replay", tag = "connectors", params(Of),
    request_body = Replay,
    responses((status = 202, description = "begun", body = Replaying), Commanded, Named))]
pub(super) async fn replay(
    State(api): State<Api>,
    Segment(name): Segment,
    Command(input): Command<Replay>,
) -> Result<Response, Problem> {
    let input = ReplayInput {
        from: Place::from_json("from", &input.from)?,
        to: input.to.map(|to| Place::from_json("to", &to)).transpose()?,
        url: input.url,
        rate: input.rate.map(|text| Rate::parse("rate", &text)).transpose()?,
    };
    let begun = api.broker.registry().replay(&name, input).await?;
    let mut answer = json!({"replay": begun.id, "events": begun.events});
    if let (Some(gap), Some(members)) = (begun.gap, answer.as_object_mut()) {
        members.insert("gap".to_owned(), render::gap(gap));
    }
    Ok((StatusCode::ACCEPTED, axum::Json(answer)).into_response())
}
