//! A connector's settings as JSON.

use super::openapi::{connectors as shapes, words};
use super::problem::Problem;
use crate::deliver::ConnectorInput;
use crate::ledger::SigningSecret;
use crate::model::{ConnectorSettings, Filter, Format, GiveUp, Invalid, Place, Rate, parse_duration};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A connector's settings; absent ones take their defaults.
#[derive(Deserialize, ToSchema)]
#[schema(as = ConnectorInput)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    #[schema(pattern = "^https?://")]
    url: String,
    #[schema(value_type = Vec<words::Pattern>, min_items = 1, max_items = 256)]
    channels: Vec<String>,
    /// Where a new one begins; by default `latest`.
    #[schema(value_type = Option<words::Where>)]
    from: Option<Value>,
    /// At most 32, sent with each request; absent, those that it has stay. They never come back.
    headers: Option<BTreeMap<String, String>>,
    #[schema(value_type = Option<shapes::Format>)]
    format: Option<Value>,
    /// Of a template's requests.
    content_type: Option<String>,
    /// At most `5m`; by default `15s`.
    #[schema(value_type = Option<words::Duration>)]
    timeout: Option<String>,
    #[schema(value_type = Option<RetryInput>)]
    retry: Option<Value>,
    /// Requests side by side, in order for each key; by default 1.
    #[schema(minimum = 1, maximum = 256)]
    in_flight: Option<u32>,
    #[schema(value_type = Option<words::Rate>)]
    rate_limit: Option<String>,
    /// Made unless given.
    #[schema(value_type = Option<words::Secret>)]
    secret: Option<String>,
}

/// How a refused event is tried again.
#[derive(Deserialize, ToSchema)]
#[schema(as = Retry)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryInput {
    /// By default `1s`.
    #[schema(value_type = Option<words::Duration>)]
    initial: Option<String>,
    /// By default `5m`.
    #[schema(value_type = Option<words::Duration>)]
    max: Option<String>,
    #[schema(value_type = Option<shapes::GiveUp>)]
    give_up_after: Option<Value>,
}

impl Input {
    /// Checks everything that can be checked without the broker.
    pub(super) fn check(self) -> Result<ConnectorInput, Problem> {
        let mut settings = ConnectorSettings::new(self.url, Filter::parse(&self.channels)?);
        settings.format = match self.format {
            None | Some(Value::Null) => Format::Native,
            Some(Value::String(word)) => Format::parse(&word)?,
            Some(Value::Object(members)) => template(&members)?,
            Some(_) => return Err(Invalid::new("format", format!("is none; {}", Format::KNOWN)).into()),
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
        settings.rate_limit = self.rate_limit.map(|text| Rate::parse("rate_limit", &text)).transpose()?;
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

/// `{"template":"…"}`.
fn template(members: &Map<String, Value>) -> Result<Format, Invalid> {
    match (members.get("template"), members.len()) {
        (Some(Value::String(text)), 1) => Ok(Format::Template(text.clone())),
        _ => Err(Invalid::new("format", format!("is none; {}", Format::KNOWN))),
    }
}
