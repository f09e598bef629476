//! `/v1/connectors`.

use super::problem::Problem;
use super::query::Query;
use super::router::Api;
use super::segment::Segment;
use super::subscribers::{SeekInput, listed};
use super::{body, render};
use crate::deliver::ConnectorInput;
use crate::ledger::SigningSecret;
use crate::model::{ConnectorSettings, Filter, Format, GiveUp, Invalid, Kind, Name, Place, parse_duration};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    url: String,
    channels: Vec<String>,
    from: Option<Value>,
    headers: Option<BTreeMap<String, String>>,
    format: Option<Value>,
    content_type: Option<String>,
    timeout: Option<String>,
    retry: Option<Value>,
    in_flight: Option<u32>,
    rate_limit: Option<Value>,
    secret: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryInput {
    initial: Option<String>,
    max: Option<String>,
    give_up_after: Option<Value>,
}

impl Input {
    fn check(self) -> Result<ConnectorInput, Problem> {
        let mut settings = ConnectorSettings::new(self.url, Filter::parse(&self.channels)?);
        settings.format = match self.format {
            None | Some(Value::Null) => Format::Native,
            Some(Value::String(word)) => Format::parse(&word)?,
            Some(_) => return Err(Invalid::new("format", "is not served; write native or data").into()),
        };
        settings.content_type = self.content_type;
        if let Some(text) = self.timeout {
            settings.timeout = parse_duration("timeout", &text)?;
        }
        if let Some(retry) = self.retry.filter(|retry| !retry.is_null()) {
            if !retry.is_object() {
                return Err(Invalid::new("retry", "must be an object: initial, max, give_up_after").into());
            }
            let retry: RetryInput = serde_json::from_value(retry)
                .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "retry-invalid", format!("retry: {error}")))?;
            let duration = |text: Option<String>, default| -> Result<_, Invalid> {
                text.map_or(Ok(default), |text| parse_duration("retry", &text))
            };
            settings.retry.initial = duration(retry.initial, settings.retry.initial)?;
            settings.retry.max = duration(retry.max, settings.retry.max)?;
            settings.retry.give_up_after =
                retry.give_up_after.and_then(|value| give_up(value).transpose()).transpose()?;
        }
        settings.in_flight = self.in_flight.unwrap_or(settings.in_flight);
        if self.rate_limit.is_some_and(|limit| !limit.is_null()) {
            return Err(Invalid::new("rate_limit", "is not served by this version; leave it out").into());
        }
        Ok(ConnectorInput {
            settings,
            headers: self.headers.map(|headers| headers.into_iter().collect()),
            secret: self.secret.map(|text| SigningSecret::parse(&text)).transpose()?,
            from: self.from.map(|from| Place::from_json("from", &from)).transpose()?,
        })
    }
}

/// A number of attempts, a duration, or nothing.
fn give_up(value: Value) -> Result<Option<GiveUp>, Invalid> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(GiveUp::After(parse_duration("retry", &text)?))),
        Value::Number(number) => {
            let attempts = number.as_u64().and_then(|attempts| u32::try_from(attempts).ok());
            attempts.map(|attempts| Some(GiveUp::Attempts(attempts))).ok_or_else(bad_give_up)
        }
        _ => Err(bad_give_up()),
    }
}

fn bad_give_up() -> Invalid {
    Invalid::new("retry", "give_up_after must be a number of attempts, a duration or null")
}

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
