//! `GET /v1/receipts`, `GET /v1/events/{offset}/receipts`.

use super::openapi::params::{AtOffset, Page, ReceiptsAsked};
use super::openapi::problems::{BadQuery, Missing, NotNow};
use super::openapi::receipts::{EventReceipts, Receipts};
use super::problem::Problem;
use super::query::Query;
use super::router::Api;
use super::segment::Segment;
use super::{read, render};
use crate::broker::ReceiptQuery;
use crate::model::{Filter, Invalid, Name, Place};
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Who has received an event, and who has not.
#[utoipa::path(get, path = "/v1/events/{ref}/receipts", operation_id = "event_receipts", tag = "receipts", params(AtOffset),
    responses((status = 200, description = "one a subscriber", body = EventReceipts), BadQuery, Missing, NotNow))]
pub(super) async fn of_event(
    State(api): State<Api>,
    Segment(text): Segment,
    uri: Uri,
) -> Result<axum::Json<Value>, Problem> {
    Query::of(&uri).end()?;
    let receipts = api.broker.event_receipts(read::offset(&text)?).await?;
    let shown: Vec<Value> = receipts.iter().map(render::event_receipt).collect();
    Ok(axum::Json(json!({"receipts": shown})))
}

/// How deliveries ended; NDJSON with `Accept: application/x-ndjson`.
#[utoipa::path(get, path = "/v1/receipts", operation_id = "receipts", tag = "receipts", params(ReceiptsAsked, Page),
    responses((status = 200, description = "a page", content((Receipts = "application/json"), (String = "application/x-ndjson"))), BadQuery, NotNow))]
pub(super) async fn list(State(api): State<Api>, headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    let mut query = Query::of(&uri);
    let asked = ReceiptQuery {
        subscriber: query
            .one("subscriber")?
            .map(|name| Name::parse("subscriber", &name).map(String::from))
            .transpose()?,
        offset: query.one("offset")?.map(|text| read::offset(&text)).transpose()?,
        channels: query
            .list("channel")
            .map(|patterns| Filter::parse(&patterns).map_err(|invalid| Invalid::new("channel", invalid.detail)))
            .transpose()?,
        from: place(&api, "from", query.place("from")?).await?,
        to: place(&api, "to", query.place("to")?).await?,
        limit: query.limit()?,
        after: query.one("after")?.map(|text| after(&text)).transpose()?,
    };
    query.end()?;
    let page = api.broker.receipts(asked).await?;
    let shown: Vec<Value> = page.receipts.iter().map(render::receipt).collect();
    let lines = headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes() == b"application/x-ndjson");
    if lines {
        let text: String = shown.iter().map(|receipt| format!("{receipt}\n")).collect();
        return Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], text).into_response());
    }
    let next = page.next.map(|(at, n)| format!("{at}.{n}"));
    Ok(axum::Json(json!({"receipts": shown, "next": next})).into_response())
}

/// The ends and offsets become offsets; a time stays one, because it is compared with the receipts' own.
async fn place(api: &Api, field: &'static str, place: Option<Place>) -> Result<Option<Place>, Problem> {
    match place {
        None | Some(Place::Since(_)) => Ok(place),
        Some(place) => Ok(Some(Place::At(api.broker.resolve(field, place).await?))),
    }
}

/// What `next` gave.
fn after(text: &str) -> Result<(u64, u64), Invalid> {
    let parts = text.split_once('.').and_then(|(at, n)| Some((at.parse().ok()?, n.parse().ok()?)));
    parts.ok_or_else(|| Invalid::new("after", "is not what an earlier page gave as next"))
}
