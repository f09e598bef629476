//! What is answered while the logs are being opened: that it lives, and that nothing else can be asked yet.

use super::command::Plain;
use super::health;
use super::problem::Problem;
use super::server::{HELD_BACK, connection};
use super::{held::Held, places::Places};
use crate::clock;
use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::routing::get;
use prometheus_client::metrics::gauge::Gauge;
use std::convert::Infallible;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Callers that are told so at once; a start takes seconds, and nobody needs more.
const AT_ONCE: usize = 256;

fn router() -> Router {
    Router::new().route("/health/live", get(|plain: Plain| health::live(plain))).fallback(not_yet)
}

async fn not_yet() -> Problem {
    let detail = "the logs are being opened; ask again";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "starting", detail)
        .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

/// Answers on `listener` until it is dropped; connections end then with the answer that is due.
pub(super) async fn answer(listener: &TcpListener) -> Infallible {
    let until = CancellationToken::new();
    let _ended_with_this = until.clone().drop_guard();
    let places = Places::new(AT_ONCE, AT_ONCE);
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            clock::sleep(HELD_BACK).await;
            continue;
        };
        // Beyond that many they see a closed connection, and try again.
        if let Ok(place) = places.take(peer.ip(), Gauge::default()) {
            tokio::spawn(connection(Held { stream, _place: place }, router(), until.clone()));
        }
    }
}
