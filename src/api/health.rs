//! `GET /health/live`, `GET /health/ready`, `GET /metrics`.

use super::command::Plain;
use super::openapi::problems::{BadQuery, NotNow};
use super::openapi::receipts::{Live, Ready};
use super::problem::Problem;
use super::router::Api;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// The process runs and answers.
#[utoipa::path(get, path = "/health/live", operation_id = "live", tag = "health",
    responses((status = 200, description = "it runs", body = Live), BadQuery))]
pub(super) async fn live(_: Plain) -> Result<axum::Json<serde_json::Value>, Problem> {
    Ok(axum::Json(json!({"status": "live", "version": env!("CARGO_PKG_VERSION")})))
}

/// Whether publishes and acks are taken.
#[utoipa::path(get, path = "/health/ready", operation_id = "ready", tag = "health",
    responses((status = 200, description = "ready", body = Ready), BadQuery, NotNow))]
pub(super) async fn ready(State(api): State<Api>, _: Plain) -> Result<axum::Json<serde_json::Value>, Problem> {
    let health = api.broker.health();
    let draining = api.draining.is_cancelled() || health.draining;
    let reasons: Vec<String> = [
        draining.then(|| "draining".to_owned()),
        health.publishes.map(|why| format!("publishes: {why}")),
        health.acks.map(|why| format!("acks: {why}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !reasons.is_empty() {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", reasons.join("; "));
        return Err(problem.header(header::RETRY_AFTER, HeaderValue::from_static("1")));
    }
    let uptime = health.uptime.as_secs();
    Ok(axum::Json(json!({"status": "ready", "start": health.start, "end": health.end, "uptime_seconds": uptime})))
}

/// OpenMetrics.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "health",
    responses((status = 200, description = "OpenMetrics", body = String, content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"), BadQuery))]
pub(super) async fn metrics(State(api): State<Api>, _: Plain) -> Result<Response, Problem> {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let broker = api.broker.clone();
    // Everybody is counted, and that may be ten thousand.
    let text = tokio::task::spawn_blocking(move || broker.metrics_text()).await.map_err(|error| {
        tracing::error!(%error, "counting panicked");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "what is counted could not be written")
    })?;
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
