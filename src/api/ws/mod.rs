//! `GET /v1/ws`: PROTOCOL.md section 5, subprotocols `stentor.v1.json` and `cloudevents.json`.

mod close;
mod connection;
mod frame;
mod wire;

use super::problem::Problem;
use super::router::Api;
use crate::model::limits;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use connection::Connection;

/// tungstenite's own default allocates 128 KiB a connection.
const READ_BUFFER_BYTES: usize = 4 << 10;
const WRITE_BUFFER_BYTES: usize = 16 << 10;

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
