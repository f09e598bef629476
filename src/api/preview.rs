//! `POST /v1/preview`: what a listener or a connector would get. Nothing is made and nothing is sent.

use super::command::Command;
use super::connector_input::Input;
use super::openapi::connectors::Preview;
use super::openapi::problems::Commanded;
use super::openapi::words;
use super::problem::Problem;
use super::router::Api;
use super::{body, render};
use crate::broker::RangeQuery;
use crate::connector::{Attempt, Outgoing, Purpose, request};
use crate::ledger::{ConnectorSecrets, SigningSecret};
use crate::model::{Event, Filter, Invalid, Place, Span};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// Events, and so requests, that are shown.
const SHOWN: usize = 10;

/// A listener that could be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PreviewInput {
    #[schema(value_type = Vec<words::Pattern>, min_items = 1, max_items = 256)]
    channels: Vec<String>,
    /// By default `earliest`.
    #[schema(value_type = Option<words::Where>)]
    from: Option<Value>,
    /// Exclusive; by default the end.
    #[schema(value_type = Option<words::Where>)]
    to: Option<Value>,
    /// Settings as a connector's PUT takes them; `channels` may be left out.
    #[schema(value_type = Option<Object>)]
    connector: Option<Map<String, Value>>,
}

/// What a listener or a connector would get. Nothing is made, and nothing is sent.
#[utoipa::path(post, path = "/v1/preview", operation_id = "preview", tag = "read", request_body = PreviewInput,
    responses((status = 200, description = "what matches", body = Preview), Commanded))]
pub(super) async fn preview(
    State(api): State<Api>,
    Command(input): Command<PreviewInput>,
) -> Result<Response, Problem> {
    let filter = Filter::parse(&input.channels)?;
    let from = input.from.map(|from| Place::from_json("from", &from)).transpose()?.unwrap_or(Place::Earliest);
    let to = input.to.map(|to| Place::from_json("to", &to)).transpose()?;
    let span = Span::new(
        api.broker.resolve("from", from).await?,
        api.broker.resolve("to", to.unwrap_or(Place::Latest)).await?,
    );
    let matches = api.broker.count(&filter, span);
    let query = RangeQuery {
        filter,
        from: Place::At(span.from),
        to: Some(Place::At(span.to)),
        limit: SHOWN,
        wait: Duration::ZERO,
    };
    let range = api.broker.read(query).await?;
    let mut out = format!("{{\"matches\":{matches},\"events\":").into_bytes();
    render::events(&mut out, &range.events);
    if let Some(gap) = range.gap {
        out.extend_from_slice(format!(",\"gap\":{}", render::gap(gap)).as_bytes());
    }
    if let Some(settings) = input.connector {
        let requests = requests(&api, settings, &input.channels, &range.events)?;
        out.extend_from_slice(format!(",\"requests\":{requests}").as_bytes());
    }
    out.push(b'}');
    Ok(([(header::CONTENT_TYPE, "application/json")], out).into_response())
}

/// The requests that these settings would make of these events.
fn requests(
    api: &Api,
    mut settings: Map<String, Value>,
    channels: &[String],
    events: &[Arc<Event>],
) -> Result<Value, Problem> {
    if *settings.entry("channels").or_insert_with(|| json!(channels)) != json!(channels) {
        return Err(Invalid::new("channels", "the connector's are others than the preview's; leave those out").into());
    }
    let input: Input = body::object(&Value::Object(settings).to_string())?;
    let input = input.check()?;
    api.broker.registry().check_connector(&input)?;
    let secrets = ConnectorSecrets::new(input.headers.unwrap_or_default(), SigningSecret::random());
    let (log_id, settings) = (api.broker.registry().parts().engine.log_id(), &input.settings);
    let one = |event: &Arc<Event>| {
        let (number, secrets, purpose) = (1, &secrets, Purpose::Delivery);
        request(&Attempt { event, log_id, number, settings, secrets, purpose }, api.broker.now())
    };
    Ok(events.iter().map(|event| shown(one(event), event)).collect())
}

/// A request, or why there would be none.
fn shown(request: Result<Outgoing, Invalid>, event: &Event) -> Value {
    let Outgoing { url, headers, body } = match request {
        Ok(outgoing) => outgoing,
        Err(invalid) => return json!({"offset": event.offset, "error": invalid.to_string()}),
    };
    let text = |value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers: Map<String, Value> =
        headers.iter().map(|(name, value)| (name.as_str().to_owned(), json!(text(value)))).collect();
    match std::str::from_utf8(&body) {
        Ok(body) => json!({"method": "POST", "url": url, "headers": headers, "body": body}),
        // No text, so no JSON string either.
        Err(_) => {
            json!({"method": "POST", "url": url, "headers": headers, "body": null, "body_base64": STANDARD.encode(&body)})
        }
    }
}
