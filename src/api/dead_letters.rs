//! `/v1/dead-letters`: what was given up, and another try at it.

use super::command::Command;
use super::openapi::connectors::{DeadLetters, Queued};
use super::openapi::params::{DeadLettersAsked, Page};
use super::openapi::problems::{BadQuery, Commanded, Named, NotNow};
use super::openapi::words;
use super::problem::Problem;
use super::query::Query;
use super::router::Api;
use crate::broker::DeadLetterQuery;
use crate::model::{Invalid, Name, Offset, limits};
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// What was given up, rejects included.
#[utoipa::path(get, path = "/v1/dead-letters", operation_id = "dead_letters", tag = "connectors", params(DeadLettersAsked, Page),
    responses((status = 200, description = "a page", body = DeadLetters), BadQuery, NotNow))]
pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Result<axum::Json<Value>, Problem> {
    let mut query = Query::of(&uri);
    let asked = DeadLetterQuery {
        subscriber: query
            .one("subscriber")?
            .map(|name| Name::parse("subscriber", &name).map(String::from))
            .transpose()?,
        limit: query.limit()?,
        after: query.one("after")?.map(|text| after(&text)).transpose()?,
    };
    query.end()?;
    let page = api.broker.dead_letters(asked).await?;
    let shown: Vec<Value> = page
        .letters
        .iter()
        .map(|letter| {
            json!({
                "subscriber": letter.subscriber, "offset": letter.offset, "channel": letter.channel,
                "attempts": letter.attempts, "reason": letter.reason, "time": letter.time.to_string(),
            })
        })
        .collect();
    let next = page.next.map(|(id, offset)| format!("{id}.{offset}"));
    Ok(axum::Json(json!({"dead_letters": shown, "next": next})))
}

/// What `next` gave.
fn after(text: &str) -> Result<(u64, u64), Invalid> {
    let parts = text.split_once('.').and_then(|(id, offset)| Some((id.parse().ok()?, offset.parse().ok()?)));
    parts.ok_or_else(|| Invalid::new("after", "is not what an earlier page gave as next"))
}

/// Which ones; connectors only.
#[derive(Deserialize, ToSchema)]
#[schema(as = DeadLetterRetry)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryInput {
    #[schema(value_type = words::Name)]
    subscriber: String,
    #[schema(value_type = Vec<words::Offset>, min_items = 1, max_items = 10000)]
    offsets: Vec<Offset>,
}

/// Another try at what a connector gave up, out of order.
#[utoipa::path(post, path = "/v1/dead-letters/retry", operation_id = "retry_dead_letters", tag = "connectors",
    request_body = RetryInput,
    responses((status = 202, description = "queued", body = Queued), Commanded, Named, NotNow))]
pub(super) async fn retry(State(api): State<Api>, Command(input): Command<RetryInput>) -> Result<Response, Problem> {
    let name = Name::parse("subscriber", &input.subscriber)?;
    if input.offsets.is_empty() || input.offsets.len() > limits::MAX_DEAD_LETTER_RETRIES {
        let detail = format!("must be 1 to {} of them", limits::MAX_DEAD_LETTER_RETRIES);
        return Err(Invalid::new("offsets", detail).into());
    }
    let queued = api.broker.retry_dead_letters(name.as_str(), input.offsets).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(json!({"queued": queued}))).into_response())
}
