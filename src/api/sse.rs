//! `GET /v1/sse`: PROTOCOL.md section 6. A browser's `EventSource` acknowledges by coming back, so nothing is sent
//! twice on one stream: where something would be, the stream ends.

use super::asked::{self, Asked};
use super::feed::Feed;
use super::openapi::params::{Returning, Stream as InStream};
use super::openapi::problems::{BadQuery, Named};
use super::problem::Problem;
use super::query::Query;
use super::router::Api;
use crate::broker::Error;
use crate::clock::{self, Instant};
use crate::deliver::{Delivery, Ending};
use crate::ledger::Via;
use crate::metrics::Word;
use crate::model::{Invalid, Offset, Place};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc;

/// What a new stream says of coming back.
const RETRY: Duration = Duration::from_secs(2);
/// The same at the end of a stream that goes on with the next one.
const RETRY_SOON: Duration = Duration::from_millis(100);
/// The same where somebody else has the subscriber.
const RETRY_TAKEN_OVER: Duration = Duration::from_secs(30);
/// Within which time those come back who were sent away: spread, so that they do not come at once.
const RETRY_SPREAD: std::ops::Range<u64> = 1_000..10_000;
/// A comment, or where the stream is, so often.
const TICK: Duration = Duration::from_secs(15);
/// A client that takes nothing for so long is gone.
const TAKEN_WITHIN: Duration = Duration::from_secs(35);
/// Chunks on their way to the socket; each is a handful of events.
const CHUNKS: usize = 2;
/// Bytes gathered before they are handed over.
const CHUNK_BYTES: usize = 32 << 10;

/// Server-sent events; /asyncapi.json says what they carry.
#[utoipa::path(get, path = "/v1/sse", operation_id = "sse", tag = "streams", params(InStream, Returning),
    responses((status = 200, description = "the stream", body = String, content_type = "text/event-stream"), BadQuery, Named))]
pub(super) async fn stream(
    State(api): State<Api>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut asked = of_request(&uri, &headers)?;
    if method == Method::HEAD {
        return Ok(response(Body::empty()));
    }
    if api.draining.is_cancelled() {
        return Ok(sent_away(&api));
    }
    if let Some(last) = asked.returned {
        let end = api.broker.end();
        if last >= end {
            let detail = format!("Last-Event-ID: {last} is beyond the end, which is {end}");
            return Err(
                Problem::new(StatusCode::BAD_REQUEST, "offset-beyond-end", detail).with("field", "last_event_id")
            );
        }
        asked.from = Some(Place::At(last.next()));
    }
    let (feed, cursor) = match Feed::open(&api, &asked, Via::Sse).await {
        Ok((feed, opening)) => (feed.once(), opening.cursor),
        // An EventSource that gets a 503 never comes back.
        Err(problem) if problem.is_temporary() => return Ok(sent_away(&api)),
        Err(problem) => return Err(problem),
    };
    let (chunks, taken) = mpsc::channel::<Bytes>(CHUNKS);
    let streams = api.options.streams.clone();
    let stream = Stream { api, feed, chunks, gathered: Vec::new(), told: cursor, tick: Instant::now() + TICK };
    streams.spawn(stream.run());
    let body = stream::unfold(taken, |mut taken| async move {
        let chunk = taken.recv().await?;
        Some((Ok::<_, Infallible>(chunk), taken))
    });
    Ok(response(Body::from_stream(body)))
}

fn of_request(uri: &Uri, headers: &HeaderMap) -> Result<Asked, Problem> {
    let mut query = Query::of(uri);
    let input = asked::of_query(&mut query)?;
    query.end()?;
    let mut asked = asked::check(input)?;
    if let Some(last) = headers.get("last-event-id").filter(|last| !last.is_empty()) {
        asked.returned = last_event(last)?;
        if asked.returned.is_none() {
            asked.from = Some(Place::At(Offset::ZERO));
        }
    }
    Ok(asked)
}

/// The offset that a client had last; none where it stood before the first one, which a stream calls -1.
fn last_event(value: &HeaderValue) -> Result<Option<Offset>, Invalid> {
    let text = value.to_str().unwrap_or_default();
    if text == "-1" {
        return Ok(None);
    }
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let offset = digits.then(|| text.parse().ok()).flatten().map(Offset);
    offset.map(Some).ok_or_else(|| Invalid::new("last_event_id", "must be an offset that this stream has sent"))
}

fn response(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // nginx would hold events back until its buffer is full.
        (axum::http::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, body).into_response()
}

/// What an EventSource is told in place of a 503, so that it comes back.
fn sent_away(api: &Api) -> Response {
    let spread = RETRY_SPREAD.end - RETRY_SPREAD.start;
    let retry = Duration::from_millis(RETRY_SPREAD.start + api.random.next() % spread);
    response(Body::from(format!("retry: {}\n\n", retry.as_millis())))
}

/// Why a stream ends; nobody is told where there is nobody.
enum Ended {
    Gone,
    /// Coming back after so long.
    Retry(Duration),
    TakenOver,
    /// The subscriber stands elsewhere: whoever comes back must not acknowledge what it had before.
    Moved,
}

struct Stream {
    api: Api,
    feed: Feed,
    chunks: mpsc::Sender<Bytes>,
    gathered: Vec<u8>,
    /// The client's last event id stands before this offset.
    told: Offset,
    tick: Instant,
}

impl Stream {
    async fn run(mut self) {
        let via = Word { kind: Via::Sse.as_str() };
        let api = self.api.clone();
        let sessions = api.broker.metrics().sessions.get_or_create_owned(&via);
        sessions.inc();
        self.block(&format!("{}retry: {}\n", id(self.told), RETRY.as_millis()));
        let ended = self.serve(&via).await;
        match ended {
            Ended::Gone => {}
            Ended::Retry(after) => self.block(&format!("retry: {}\n", after.as_millis())),
            Ended::TakenOver => {
                let retry = RETRY_TAKEN_OVER.as_millis();
                self.block(&format!("event: taken_over\nretry: {retry}\ndata: {{}}\n"));
            }
            Ended::Moved => {
                let place = self.feed.floor().map_or_else(String::new, id);
                self.block(&format!("{place}retry: {}\n", RETRY_SOON.as_millis()));
            }
        }
        // Nobody is left to be told where the client is gone.
        let _told = self.hand_over().await.is_ok();
        sessions.dec();
    }

    async fn serve(&mut self, via: &Word) -> Ended {
        let drain = self.api.draining.clone();
        let mut leave_at: Option<Instant> = None;
        loop {
            if self.hand_over().await.is_err() {
                return Ended::Gone;
            }
            let chunks = self.chunks.clone();
            let ended = tokio::select! {
                () = chunks.closed() => Err(Ended::Gone),
                () = drain.cancelled(), if leave_at.is_none() => {
                    let spread = u64::try_from(self.api.options.drain.as_millis() / 2).unwrap_or(0).max(1);
                    leave_at = Some(Instant::now() + Duration::from_millis(self.api.random.next() % spread));
                    Ok(())
                }
                () = clock::sleep_until(leave_at.unwrap_or(self.tick)), if leave_at.is_some() => Err(Ended::Retry(RETRY)),
                () = clock::sleep_until(self.tick) => {
                    self.progress();
                    Ok(())
                }
                delivery = self.feed.next() => self.deliver(delivery, via).await,
            };
            if let Err(ended) = ended {
                return ended;
            }
        }
    }

    /// Writes a delivery, and those that are at hand behind it.
    async fn deliver(&mut self, first: Result<Delivery, Error>, via: &Word) -> Result<(), Ended> {
        let mut next = match first {
            Ok(delivery) => Some(delivery),
            Err(error) => {
                tracing::error!(%error, "the log cannot be read; a stream ends");
                return Err(Ended::Retry(RETRY_TAKEN_OVER));
            }
        };
        while let Some(delivery) = next.take() {
            match delivery {
                Delivery::Event { event, attempt } => {
                    let metrics = self.api.broker.metrics();
                    metrics.deliveries.get_or_create(via).inc();
                    if attempt > 1 {
                        metrics.redeliveries.get_or_create(via).inc();
                    }
                    self.told = event.offset.next();
                    self.gathered.extend_from_slice(format!("id: {}\ndata: ", event.offset).as_bytes());
                    self.gathered.extend_from_slice(&event.json());
                    self.gathered.extend_from_slice(b"\n\n");
                }
                Delivery::Gap(span) => {
                    self.api.broker.metrics().gaps.inc();
                    self.block(&format!("event: gap\ndata: {{\"from\":{},\"to\":{}}}\n", span.from, span.to));
                    // Whoever was told comes back from behind it.
                    self.told = self.told.max(span.to);
                    self.block(&id(self.told));
                }
                Delivery::CaughtUp(end) => {
                    self.block(&format!("event: caught_up\ndata: {{\"end\":{end}}}\n"));
                    self.advance();
                }
                Delivery::Ended(Ending::TakenOver) => return Err(Ended::TakenOver),
                Delivery::Ended(Ending::Moved) => return Err(Ended::Moved),
                Delivery::Ended(Ending::Failed) => return Err(Ended::Retry(RETRY_TAKEN_OVER)),
                Delivery::Ended(Ending::Full) => return Err(Ended::Retry(RETRY_SOON)),
            }
            if self.gathered.len() >= CHUNK_BYTES {
                self.hand_over().await.map_err(|()| Ended::Gone)?;
            }
            next = self.feed.next_now();
        }
        Ok(())
    }

    /// Shows that the stream lives, and how far it is.
    fn progress(&mut self) {
        self.tick = Instant::now() + TICK;
        self.advance();
        self.block(":\n");
    }

    /// Moves the client's last event id over what does not match.
    fn advance(&mut self) {
        let position = self.feed.position();
        if position > self.told {
            self.told = position;
            self.block(&id(position));
        }
    }

    fn block(&mut self, lines: &str) {
        self.gathered.extend_from_slice(lines.as_bytes());
        self.gathered.push(b'\n');
    }

    /// Hands over what was gathered, and waits until there is room for it.
    async fn hand_over(&mut self) -> Result<(), ()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.gathered));
        match clock::within(TAKEN_WITHIN, self.chunks.send(chunk)).await {
            Some(Ok(())) => Ok(()),
            _ => Err(()),
        }
    }
}

/// The line that makes the offset before `next` the client's last one.
fn id(next: Offset) -> String {
    match next.0.checked_sub(1) {
        Some(last) => format!("id: {last}\n"),
        None => "id: -1\n".to_owned(),
    }
}
