//! `GET /v1/receipts`, `GET /v1/events/{offset}/receipts`.

use super::openapi::params::{AtOffset, Page, ReceiptsAsked, Slice};
use super::openapi::problems::{BadQuery, Missing, NotNow};
use super::openapi::receipts::{EventReceipts, Receipts};
use super::problem::Problem;
use super::query::{Query, accepts};
use super::router::Api;
use super::segment::Segment;
use super::{read, render};
use crate::broker::{Error, ReceiptPage, ReceiptQuery};
use crate::model::{Filter, Invalid, Name, Place, limits};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

/// Who has received an event, and who has not.
#[utoipa::path(get, path = "/v1/events/{ref}/receipts", operation_id = "event_receipts", tag = "receipts", params(AtOffset, Slice),
    responses((status = 200, description = "one a subscriber", body = EventReceipts), BadQuery, Missing, NotNow))]
pub(super) async fn of_event(
    State(api): State<Api>,
    Segment(text): Segment,
    uri: Uri,
) -> Result<axum::Json<Value>, Problem> {
    let mut query = Query::of(&uri);
    let limit = query.some_limit()?;
    let after = query.one("after")?;
    query.end()?;
    // One more than are due: whether there is a next page.
    let most = limit.map_or(usize::MAX, |limit| limit + 1);
    let receipts = api.broker.event_receipts_behind(read::offset(&text)?, after, most).await?;
    let named = receipts.iter().map(|receipt| (receipt.subscriber.clone(), render::event_receipt(receipt)));
    Ok(axum::Json(render::slice("receipts", named, limit)))
}

/// How deliveries ended; NDJSON with `Accept: application/x-ndjson`.
#[utoipa::path(get, path = "/v1/receipts", operation_id = "receipts", tag = "receipts", params(ReceiptsAsked, Page),
    responses((status = 200, description = "a page", content((Receipts = "application/json"), (String = "application/x-ndjson"))), BadQuery, NotNow))]
pub(super) async fn list(State(api): State<Api>, headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    let mut query = Query::of(&uri);
    let limit = query.some_limit()?;
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
        limit: limit.unwrap_or(limits::DEFAULT_LIMIT),
        after: query.one("after")?.map(|text| after(&text)).transpose()?,
    };
    query.end()?;
    let page = api.broker.receipts(asked.clone()).await?;
    if accepts(&headers, "application/x-ndjson") {
        // Without a limit it is all of them: lines have no place for where to go on.
        let next = page.next.filter(|_| limit.is_none()).map(|next| ReceiptQuery { after: Some(next), ..asked });
        return Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], lines(api, page, next)).into_response());
    }
    let shown: Vec<Value> = page.receipts.iter().map(render::receipt).collect();
    let next = page.next.map(|(at, n)| format!("{at}.{n}"));
    Ok(axum::Json(json!({"receipts": shown, "next": next})).into_response())
}

/// The receipts of a page and of all behind it, a line each, one page in memory.
fn lines(api: Api, first: ReceiptPage, next: Option<ReceiptQuery>) -> Body {
    let text = |page: &ReceiptPage| {
        page.receipts.iter().map(|receipt| format!("{}\n", render::receipt(receipt))).collect::<String>()
    };
    let rest = stream::try_unfold((api, next), move |(api, asked)| async move {
        let Some(asked) = asked else { return Ok::<_, Error>(None) };
        let page = api.broker.receipts(asked.clone()).await?;
        let next = page.next.map(|next| ReceiptQuery { after: Some(next), ..asked });
        Ok(Some((text(&page), (api, next))))
    });
    Body::from_stream(stream::once(std::future::ready(Ok(text(&first)))).chain(rest))
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
