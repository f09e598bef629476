//! `GET /v1/export`: NDJSON, streamed, with bounded memory.

use super::openapi::params::Span as InSpan;
use super::openapi::problems::BadQuery;
use super::problem::Problem;
use super::query::Query;
use super::router::Api;
use crate::model::{Filter, Place, Span};
use axum::body::Body;
use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

/// Everything as NDJSON, one event a line; the last line says that it is whole.
#[utoipa::path(get, path = "/v1/export", operation_id = "export", tag = "read", params(InSpan),
    responses((status = 200, description = "one event a line", body = String, content_type = "application/x-ndjson"), BadQuery))]
pub(super) async fn export(State(api): State<Api>, uri: Uri) -> Result<Response, Problem> {
    let mut query = Query::of(&uri);
    let filter = query.channels()?.unwrap_or_else(Filter::everything);
    let from = query.place("from")?.unwrap_or(Place::Earliest);
    let to = query.place("to")?.unwrap_or(Place::Latest);
    query.end()?;
    let span = Span::new(api.broker.resolve("from", from).await?, api.broker.resolve("to", to).await?);
    let export = api.broker.export(filter, span);
    // An error in the middle breaks the stream: without its last line the export is known not to be whole.
    let lines = stream::try_unfold(export, |mut export| async move {
        let lines = export.next_lines().await.inspect_err(|error| tracing::error!(%error, "an export broke off"))?;
        Ok::<_, crate::broker::Error>(lines.map(|lines| (lines, export)))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}
