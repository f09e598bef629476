//! Which path means what.

use super::problem::Problem;
use super::{
    Origins, connectors, dead_letters, export, health, operate, origin, preview, publish, pull, read, receipts, sse,
    subscribers, ws,
};
use crate::broker::Broker;
use crate::clock::Random;
use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use std::any::Any;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;

/// How the broker is served.
#[derive(Debug, Clone)]
pub struct ApiOptions {
    /// Which pages may talk to it.
    pub origins: Origins,
    /// Over how long the closes are spread when it ends.
    pub drain: Duration,
    /// Streams under way, which outlive their requests: whoever ends the broker waits for them.
    pub streams: TaskTracker,
}

/// What every handler has. Cloned for each request, so it is one count and nothing more.
#[derive(Clone)]
pub(super) struct Api(Arc<Parts>);

/// What is behind it.
pub(super) struct Parts {
    pub(super) broker: Broker,
    pub(super) options: ApiOptions,
    /// Cancelled when the broker begins to end: not ready any more, streams close.
    pub(super) draining: CancellationToken,
    /// Jitter for spreading closes.
    pub(super) random: Random,
}

impl Deref for Api {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// The whole contract over HTTP. `draining` is cancelled when the broker is to end.
pub fn router(broker: Broker, options: ApiOptions, draining: CancellationToken) -> Router {
    let api = Api(Arc::new(Parts { broker, options, draining, random: Random::from_machine() }));
    Router::new()
        .route("/v1/events", post(publish::many).get(read::range))
        // One path, two meanings: a channel to publish on, an offset to read.
        .route("/v1/events/{ref}", post(publish::one).get(read::one))
        .route("/v1/events/{ref}/receipts", get(receipts::of_event))
        .route("/v1/channels", get(read::channels))
        .route("/v1/export", get(export::export))
        .route("/v1/preview", post(preview::preview))
        .route("/v1/receipts", get(receipts::list))
        .route("/v1/subscribers", get(subscribers::list))
        .route("/v1/subscribers/{name}", put(subscribers::put).get(subscribers::show).delete(subscribers::delete))
        .route("/v1/subscribers/{name}/seek", post(subscribers::seek))
        .route("/v1/subscribers/{name}/wait", get(subscribers::wait))
        .route("/v1/subscribers/{name}/pull", post(pull::pull))
        .route("/v1/subscribers/{name}/ack", post(pull::ack))
        .route("/v1/connectors", get(connectors::list))
        .route("/v1/connectors/{name}", put(connectors::put).get(connectors::show).delete(connectors::delete))
        .route("/v1/connectors/{name}/seek", post(connectors::seek))
        .route("/v1/connectors/{name}/pause", post(connectors::pause))
        .route("/v1/connectors/{name}/resume", post(connectors::resume))
        .route("/v1/connectors/{name}/test", post(operate::test))
        .route("/v1/connectors/{name}/attempts", get(operate::attempts))
        .route("/v1/connectors/{name}/rotate-secret", post(operate::rotate_secret))
        .route("/v1/connectors/{name}/replay", post(operate::replay))
        .route("/v1/dead-letters", get(dead_letters::list))
        .route("/v1/dead-letters/retry", post(dead_letters::retry))
        .route("/v1/ws", get(ws::upgrade))
        .route("/v1/sse", get(sse::stream))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(api.clone(), origin::check))
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(api)
}

async fn not_found(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "path-not-found", format!("there is no path {}", uri.path()))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {method}; Allow says what it takes", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}

/// A panic in one request ends that request alone; what it says stays here.
fn panicked(_panic: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("a request's handler panicked");
    let detail = "a fault of the broker's own; its operator finds more in the diagnostics";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
}
