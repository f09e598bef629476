//! What operators do with a connector: `test`, `attempts`, `rotate-secret`, `replay`.

use super::problem::Problem;
use super::query::Query;
use super::router::Api;
use super::segment::Segment;
use super::{body, render};
use crate::deliver::{AttemptRecord, ReplayInput};
use crate::ledger::SigningSecret;
use crate::model::{Place, Rate};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TestInput {
    data: Option<Box<RawValue>>,
}

/// Sends a sample event and says what came back.
pub(super) async fn test(
    State(api): State<Api>,
    Segment(name): Segment,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<axum::Json<Value>, Problem> {
    Query::of(&uri).end()?;
    let input: Option<TestInput> = body::optional_json(&headers, body).await?;
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
pub(super) async fn attempts(
    State(api): State<Api>,
    Segment(name): Segment,
    uri: Uri,
) -> Result<axum::Json<Value>, Problem> {
    Query::of(&uri).end()?;
    let attempts = api.broker.registry().attempts(&name)?;
    let shown: Vec<Value> = attempts.iter().map(attempt).collect();
    Ok(axum::Json(json!({"attempts": shown})))
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateInput {
    secret: Option<String>,
}

/// Signs with another secret; it is told this once.
pub(super) async fn rotate_secret(
    State(api): State<Api>,
    Segment(name): Segment,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<axum::Json<Value>, Problem> {
    Query::of(&uri).end()?;
    let input: Option<RotateInput> = body::optional_json(&headers, body).await?;
    let given = input.and_then(|input| input.secret).map(|text| SigningSecret::parse(&text)).transpose()?;
    let secret = api.broker.registry().rotate_secret(&name, given).await?;
    Ok(axum::Json(json!({"secret": secret.reveal()})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    from: Value,
    to: Option<Value>,
    url: Option<String>,
    rate: Option<String>,
}

/// Sends a range again.
pub(super) async fn replay(
    State(api): State<Api>,
    Segment(name): Segment,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    Query::of(&uri).end()?;
    let input: Replay = body::json(&headers, body).await?;
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
