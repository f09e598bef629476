//! Which path means what.

use super::openapi::{self, Documents};
use super::problem::Problem;
use super::{
    Origins, connectors, dead_letters, export, health, linger, operate, origin, preview, publish, pull, read, receipts,
    sse, subscribers, ws,
};
use crate::broker::Broker;
use crate::clock::Random;
use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use std::any::Any;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::util::MapRequestLayer;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

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
    /// What the API says of itself.
    pub(super) documents: Documents,
}

impl Deref for Api {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// The whole contract over HTTP. `draining` is cancelled when the broker is to end.
pub fn router(broker: Broker, options: ApiOptions, draining: CancellationToken) -> Router {
    let (routes, collected) = routes().split_for_parts();
    let documents = Documents::new(collected);
    let api = Api(Arc::new(Parts { broker, options, draining, random: Random::from_machine(), documents }));
    routes
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(api.clone(), origin::check))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(MapRequestLayer::new(linger::linger))
        .with_state(api)
}

/// Every path, from the handlers' own annotations: what is served is what `/openapi.json` says.
fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(publish::many, read::range))
        // One path, two meanings: a channel to publish on, an offset to read.
        .routes(routes!(publish::one, read::one))
        .routes(routes!(receipts::of_event))
        .routes(routes!(read::channels))
        .routes(routes!(export::export))
        .routes(routes!(preview::preview))
        .routes(routes!(receipts::list))
        .routes(routes!(subscribers::list))
        .routes(routes!(subscribers::put, subscribers::show, subscribers::delete))
        .routes(routes!(subscribers::seek))
        .routes(routes!(subscribers::wait))
        .routes(routes!(pull::pull))
        .routes(routes!(pull::ack))
        .routes(routes!(connectors::list))
        .routes(routes!(connectors::put, connectors::show, connectors::delete))
        .routes(routes!(connectors::seek))
        .routes(routes!(connectors::pause))
        .routes(routes!(connectors::resume))
        .routes(routes!(operate::test))
        .routes(routes!(operate::attempts))
        .routes(routes!(operate::rotate_secret))
        .routes(routes!(operate::replay))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::retry))
        .routes(routes!(ws::upgrade))
        .routes(routes!(sse::stream))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(openapi::openapi))
        .routes(routes!(openapi::asyncapi))
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::{Request, header};
    use tower::ServiceExt as _;

    async fn broken() -> StatusCode {
        std::panic::resume_unwind(Box::new("a secret of the code's own"))
    }

    #[tokio::test]
    async fn a_panic_ends_its_request_with_a_problem_that_tells_nothing() {
        let router: Router =
            Router::new().route("/broken", axum::routing::get(broken)).layer(CatchPanicLayer::custom(panicked));
        let answer = router.oneshot(Request::get("/broken").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
        let body = axum::body::to_bytes(answer.into_body(), 1 << 16).await.unwrap();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&problem["type"], &problem["status"]), (&"/problems/internal".into(), &500.into()));
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
    }

    #[test]
    fn every_path_is_made_from_an_annotated_handler() {
        // `route` takes handlers that the document does not know of; `routes` refuses them.
        let source = include_str!("router.rs").split("#[cfg(test)]").next().unwrap();
        assert!(!source.contains(".route(") && source.matches(".routes(").count() > 25);
    }
}
