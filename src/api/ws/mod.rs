//! `GET /v1/ws`: PROTOCOL.md section 5, subprotocols `stentor.v1.json` and `cloudevents.json`.

mod close;
mod connection;
mod deliver;
mod frame;
mod says;
mod wire;

use super::openapi::params::{Frames, Stream as InStream};
use super::openapi::problems::NoUpgrade;
use super::problem::Problem;
use super::router::Api;
use crate::model::limits;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use connection::Connection;
use std::collections::BTreeMap;
use utoipa::OpenApi as _;
use utoipa::openapi::{RefOr, Schema};

/// tungstenite's own default allocates 128 KiB a connection.
const READ_BUFFER_BYTES: usize = 4 << 10;
const WRITE_BUFFER_BYTES: usize = 16 << 10;

/// The shapes of the frames that a client sends, by name.
pub(super) fn schemas() -> BTreeMap<String, RefOr<Schema>> {
    frame::Said::openapi().components.unwrap_or_default().schemas
}

/// A WebSocket; /asyncapi.json says what its frames are. Bad parameters are told after the upgrade.
#[utoipa::path(get, path = "/v1/ws", operation_id = "websocket", tag = "streams", params(InStream, Frames),
    responses((status = 101, description = "`stentor.v1.json` or `cloudevents.json`"), NoUpgrade))]
pub(super) async fn upgrade(
    State(api): State<Api>,
    uri: Uri,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => {
            let detail = format!("this path takes WebSocket upgrades: {rejection}");
            let problem = Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade-required", detail);
            let problem = problem.header(header::UPGRADE, HeaderValue::from_static("websocket"));
            return problem.header(header::CONNECTION, HeaderValue::from_static("upgrade")).into_response();
        }
    };
    upgrade
        .protocols(wire::SUBPROTOCOLS)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        // Twice the limit is read before the connection is simply cut: up to there a close code can be told.
        .max_message_size(2 * limits::MAX_FRAME_BYTES)
        .max_frame_size(2 * limits::MAX_FRAME_BYTES)
        .on_failed_upgrade(|error| tracing::debug!(%error, "a WebSocket upgrade failed"))
        .on_upgrade(move |socket| {
            let streams = api.options.streams.clone();
            streams.track_future(Box::pin(Connection::new(api, socket).run(uri)))
        })
}
