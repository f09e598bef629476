//! `POST /v1/subscribers/{name}/pull` and `…/ack`: listeners that ask instead of staying connected.

use super::command::{Command, OptionalCommand};
use super::openapi::listeners::{Cursor, Pulled};
use super::openapi::params::Of;
use super::openapi::problems::{Commanded, Named, Written};
use super::openapi::words;
use super::problem::Problem;
use super::router::Api;
use super::segment::Segment;
use super::{body, render};
use crate::broker::Error;
use crate::deliver::PullQuery;
use crate::ledger::Via;
use crate::metrics::Word;
use crate::model::{Invalid, Offset, limits, parse_duration};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use utoipa::ToSchema;

/// What is pulled; nothing at all means every default.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PullInput {
    /// By default 100.
    #[schema(minimum = 1, maximum = 10000)]
    max: Option<u64>,
    /// Hold the request until there is something; at most `60s`, by default `0s`.
    #[schema(value_type = Option<words::Duration>)]
    wait: Option<String>,
    /// The session that an earlier pull opened.
    session: Option<String>,
    /// Open one although another is live.
    takeover: Option<bool>,
}

/// The next events of a subscriber.
#[utoipa::path(post, path = "/v1/subscribers/{name}/pull", operation_id = "pull", tag = "subscribers", params(Of),
    request_body = Option<PullInput>,
    responses((status = 200, description = "the next events; may be none", body = Pulled), Commanded, Named, Written))]
pub(super) async fn pull(
    State(api): State<Api>,
    Segment(name): Segment,
    OptionalCommand(input): OptionalCommand<PullInput>,
) -> Result<Response, Problem> {
    // Nothing is said where the defaults will do.
    let input = input.unwrap_or_default();
    let max = input.max.map_or(limits::DEFAULT_LIMIT, |max| usize::try_from(max).unwrap_or(usize::MAX));
    if max == 0 || max > limits::MAX_READ_LIMIT {
        return Err(Invalid::new("max", format!("must be a number from 1 to {}", limits::MAX_READ_LIMIT)).into());
    }
    let wait = input.wait.map_or(Ok(Duration::ZERO), |wait| parse_duration("wait", &wait))?;
    if wait > limits::MAX_WAIT {
        return Err(Invalid::new("wait", "is longer than 60s").into());
    }
    let query = PullQuery { max, wait, session: input.session, takeover: input.takeover.unwrap_or_default() };
    let registry = api.broker.registry();
    let pulled = registry.pull(&name, &query).await.map_err(Error::from)?;
    let (subscription, _) = registry.acknowledger(&name, None).map_err(Error::from)?;
    let mut out = format!("{{\"session\":\"{}\",\"events\":", pulled.session).into_bytes();
    render::deliveries(&mut out, pulled.events.iter().map(|(event, attempt)| (&**event, *attempt)));
    let gap = pulled.gap.map_or(String::new(), |gap| format!(",\"gap\":{}", render::gap(gap)));
    out.extend_from_slice(format!(",\"cursor\":{}{gap}}}", registry.cursor(&subscription)?).as_bytes());
    Ok(([(header::CONTENT_TYPE, "application/json")], out).into_response())
}

/// What is done: everything up to `offset`, or each of `offsets`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AckInput {
    #[schema(value_type = Option<words::OffsetInput>)]
    offset: Option<Value>,
    #[schema(value_type = Option<Vec<words::OffsetInput>>)]
    offsets: Option<Vec<Value>>,
    /// The session that got them; without it, the live one.
    session: Option<String>,
}

/// Acknowledges; the answer comes when that is durable.
#[utoipa::path(post, path = "/v1/subscribers/{name}/ack", operation_id = "ack", tag = "subscribers", params(Of),
    request_body = AckInput,
    responses((status = 200, description = "durable", body = Cursor), Commanded, Named, Written))]
pub(super) async fn ack(
    State(api): State<Api>,
    Segment(name): Segment,
    Command(input): Command<AckInput>,
) -> Result<axum::Json<Value>, Problem> {
    let registry = api.broker.registry();
    let (subscription, generation) = registry.acknowledger(&name, input.session.as_deref()).map_err(Error::from)?;
    match (input.offset, input.offsets) {
        (Some(offset), None) => subscription.ack_through(generation, body::offset(&offset)?)?,
        (None, Some(offsets)) => {
            let offsets = offsets.iter().map(body::offset).collect::<Result<Vec<Offset>, _>>()?;
            subscription.ack_each(generation, &offsets)?;
        }
        _ => return Err(Invalid::new("offset", "give either offset or offsets").into()),
    }
    api.broker.metrics().acks.get_or_create(&Word { kind: Via::Http.as_str() }).inc();
    subscription.confirmed(generation).await?;
    Ok(axum::Json(json!({"cursor": registry.cursor(&subscription)?})))
}
