//! `POST /v1/events` with CloudEvents 1.0, in the three modes of its HTTP binding.

use super::body;
use super::problem::Problem;
use super::publish::{self, answer, at_line, event_headers, idempotency_key};
use super::router::Api;
use crate::model::cloudevents::CloudEventInput;
use crate::model::{Invalid, NewEvent};
use axum::body::Body;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use serde_json::value::RawValue;

/// How a request carries CloudEvents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Structured,
    Batched,
    Binary,
}

impl Mode {
    /// How this request does; none where it carries none.
    pub(super) fn of(kind: Option<&str>, headers: &HeaderMap) -> Option<Self> {
        match kind {
            Some("application/cloudevents+json") => Some(Self::Structured),
            Some("application/cloudevents-batch+json") => Some(Self::Batched),
            _ => headers.contains_key("ce-specversion").then_some(Self::Binary),
        }
    }
}

/// Publishes what the request carries: one event, or a batch, all or none.
pub(super) async fn publish(api: &Api, mode: Mode, headers: &HeaderMap, body: Body) -> Result<Response, Problem> {
    let limits = api.broker.publish_limits();
    other_version(headers)?;
    let event = match mode {
        Mode::Batched => {
            let bytes = body::read(headers, body, limits.max_batch_bytes).await?;
            return publish::all(api, batch(&bytes)?).await;
        }
        Mode::Binary => binary(headers, body::read(headers, body, limits.max_event_bytes).await?)?,
        // The event is smaller than its envelope; the broker measures it.
        Mode::Structured => structured(&body::read(headers, body, limits.max_batch_bytes).await?)?,
    };
    let channel = event.head.channel.clone();
    let published = api.broker.publish(event).await?;
    Ok(answer(&channel, &published))
}

/// Beside an envelope the attributes may stand in headers too, but must not say another thing (the HTTP binding's
/// section 3.2.2). The others are the envelope's business.
fn other_version(headers: &HeaderMap) -> Result<(), Invalid> {
    match headers.get("ce-specversion") {
        Some(version) if version != "1.0" => {
            let said = String::from_utf8_lossy(version.as_bytes()).escape_debug().to_string();
            Err(Invalid::new("attribute", format!("'specversion' is '{said}'; 1.0 is taken")))
        }
        _ => Ok(()),
    }
}

fn structured(bytes: &[u8]) -> Result<NewEvent, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|error| body::not_json(&error))?;
    Ok(body::object::<CloudEventInput<'_>>(text)?.check()?)
}

fn batch(bytes: &[u8]) -> Result<Vec<(usize, NewEvent)>, Problem> {
    let inputs: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(|error| body::bad_json(&error))?;
    publish::too_many(inputs.len())?;
    let entry = |(n, input): (usize, &&RawValue)| {
        let line = n + 1;
        let input: CloudEventInput<'_> = body::object(input.get()).map_err(|problem| problem.with("line", line))?;
        Ok((line, input.check().map_err(at_line(line))?))
    };
    inputs.iter().enumerate().map(entry).collect()
}

fn binary(headers: &HeaderMap, body: bytes::Bytes) -> Result<NewEvent, Problem> {
    let attribute = |(name, value)| Some((axum::http::HeaderName::as_str(name).strip_prefix("ce-")?, value));
    let attributes = headers.iter().filter_map(attribute);
    let input = CloudEventInput::of_headers(
        attributes.map(|(name, value): (_, &axum::http::HeaderValue)| (name, value.as_bytes())),
    )?;
    let kind = match headers.get(header::CONTENT_TYPE) {
        Some(kind) => Some(kind.to_str().map_err(|_| Invalid::new("content_type", "is not visible ASCII"))?),
        None => None,
    };
    let kept = event_headers(headers)?;
    let kept: Vec<(&str, &str)> = kept.iter().map(|(name, value)| (*name, &**value)).collect();
    let event = input.check_binary(kind, body, &kept)?;
    // Said twice in two ways it could be two things.
    if headers.contains_key("stentor-key") {
        return Err(Invalid::new("key", "is the CloudEvent's partitionkey or subject; leave Stentor-Key out").into());
    }
    if idempotency_key(headers)?.is_some_and(|id| id != event.head.id) {
        return Err(Invalid::new("id", "Idempotency-Key is not the CloudEvent's id; leave it out").into());
    }
    Ok(event)
}
