//! What the API says of itself: `/openapi.json` from the handlers' own annotations, `/asyncapi.json` for the streams.
//!
//! The router is made from the annotated handlers, so a path that is served is a path that is documented.

mod asyncapi;
pub(super) mod connectors;
pub(super) mod events;
mod frames;
pub(super) mod listeners;
pub(super) mod params;
pub(super) mod problems;
pub(super) mod receipts;
pub(super) mod words;

use super::command::Plain;
use super::problem::Problem;
use super::router::Api;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use problems::{BadQuery, ProblemShape};
use utoipa::OpenApi as _;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{OpenApi, RefOr, Schema};

/// What every answer may be, whatever is asked: a page of another origin, a fault of the broker's own.
const ALWAYS: [u16; 2] = [403, 500];

/// The frame of the document; paths come from the router.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Stentor", description = "A durable, log-structured message broker.", license(name = "MIT OR Apache-2.0")),
    components(schemas(
        ProblemShape, events::EventShape,
        // What parameters refer to is not collected from them.
        words::Channel, words::Duration, words::EventId, words::Key, words::Name, words::Offset, words::PatternList,
        words::Place
    )),
    tags(
        (name = "publish", description = "Hand events in; the answer leaves when they are on disk."),
        (name = "read", description = "Read without a subscriber."),
        (name = "subscribers", description = "Durable listeners."),
        (name = "connectors", description = "Endpoints that the broker calls."),
        (name = "streams", description = "WebSocket and server-sent events; /asyncapi.json says what they carry."),
        (name = "receipts", description = "How deliveries ended."),
        (name = "health", description = "Whether it runs, and how."),
    )
)]
struct Frame;

/// The document without its paths.
pub(super) fn frame() -> OpenApi {
    Frame::openapi()
}

/// Adds to the collected paths what holds for all of them.
pub(super) fn finish(mut document: OpenApi) -> OpenApi {
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
        for operation in operations.into_iter().filter_map(Option::as_mut) {
            always(operation);
            or_nothing(operation);
        }
    }
    document
}

fn always(operation: &mut Operation) {
    for status in ALWAYS {
        let answers = &mut operation.responses.responses;
        answers.entry(status.to_string()).or_insert_with(|| RefOr::T(problems::refusal(status)));
    }
}

/// A body that may be left out is not one that may be `null`.
fn or_nothing(operation: &mut Operation) {
    let Some(RefOr::T(body)) = &mut operation.request_body else { return };
    for content in body.content.values_mut() {
        let RefOr::T(content) = content else { continue };
        let Some(RefOr::T(Schema::OneOf(choice))) = &content.schema else { continue };
        let shapes: Vec<_> = choice.items.iter().filter(|item| matches!(item, RefOr::Ref(_))).cloned().collect();
        if let [shape] = shapes.as_slice() {
            content.schema = Some(shape.clone());
        }
    }
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "health", responses(
    (status = 200, description = "OpenAPI 3.1", body = Object), BadQuery))]
pub(super) async fn openapi(State(api): State<Api>, _: Plain) -> Result<Response, Problem> {
    Ok(json(&api.documents.openapi))
}

/// The streams, in AsyncAPI.
#[utoipa::path(get, path = "/asyncapi.json", operation_id = "asyncapi", tag = "health", responses(
    (status = 200, description = "AsyncAPI 3.0", body = Object), BadQuery))]
pub(super) async fn asyncapi(State(api): State<Api>, _: Plain) -> Result<Response, Problem> {
    Ok(json(&api.documents.asyncapi))
}

/// The documents, written once.
pub(super) struct Documents {
    openapi: Bytes,
    asyncapi: Bytes,
}

impl Documents {
    /// Writes them for a router's own paths.
    pub(super) fn new(collected: OpenApi) -> Self {
        let openapi = finish(collected).to_json().expect("a document without cycles can be written");
        Self { openapi: openapi.into(), asyncapi: asyncapi::document().to_string().into() }
    }
}

fn json(document: &Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document.clone()).into_response()
}
