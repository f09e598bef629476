//! One WebSocket connection, from its upgrade to its close.

use super::close::Close;
use super::frame::{self, Nack, Peek, Ping, Subscribe, Working};
use super::wire::Wire;
use crate::api::asked::{self, Asked};
use crate::api::body;
use crate::api::feed::{Feed, Opening};
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::api::router::Api;
use crate::clock::{self, Instant};
use crate::ledger::Via;
use crate::metrics::Word;
use crate::model::limits;
use axum::extract::ws::{Message, WebSocket};
use axum::http::{StatusCode, Uri};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;

const PING_EVERY: Duration = Duration::from_secs(25);
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// Publishes of one connection that may wait for the disk; then its frames wait.
const MAX_OUTSTANDING: usize = 1_024;

/// Ends the connection; `None` where there is nobody to tell.
pub(super) type Ended = Option<Close>;

/// One connection.
pub(super) struct Connection {
    pub(super) api: Api,
    socket: WebSocket,
    pub(super) feed: Feed,
    pub(super) wire: Wire,
    pub(super) batch: Option<usize>,
    /// Publishes and confirmed acks under way: each becomes a frame.
    pub(super) answers: FuturesUnordered<BoxFuture<'static, Message>>,
    next_ping: Instant,
    pinged: Option<Instant>,
    pub(super) via: Word,
}

impl Connection {
    pub(super) fn new(api: Api, socket: WebSocket) -> Self {
        let chosen = socket.protocol().and_then(|chosen| chosen.to_str().ok().map(str::to_owned));
        Self {
            api,
            socket,
            wire: Wire::of(chosen.as_deref()),
            feed: Feed::Nothing,
            batch: None,
            answers: FuturesUnordered::new(),
            next_ping: Instant::now() + PING_EVERY,
            pinged: None,
            via: Word { kind: Via::WebSocket.as_str() },
        }
    }

    /// Serves the connection until one side ends it.
    pub(super) async fn run(mut self, uri: Uri) {
        let api = self.api.clone();
        let sessions = api.broker.metrics().sessions.get_or_create_owned(&self.via);
        sessions.inc();
        let ended = match self.begin(&uri).await {
            Ok(()) => self.serve().await,
            Err(ended) => ended,
        };
        if let Some(close) = ended {
            let goodbye = async {
                if self.socket.send(close.message()).await.is_ok() {
                    // The client's close frame, or the end of the stream, completes the handshake.
                    while matches!(self.socket.recv().await, Some(Ok(_))) {}
                }
            };
            clock::within(PONG_WITHIN, goodbye).await;
        }
        sessions.dec();
    }

    /// Starts delivery where the query asks for it. Faults are told after the upgrade: browsers cannot read a failed one.
    async fn begin(&mut self, uri: &Uri) -> Result<(), Ended> {
        let asked = of_query(uri);
        if self.wire == Wire::CloudEvents {
            return self.begin_plain(asked).await;
        }
        let subscribed = match asked {
            Ok(None) => return Ok(()),
            Ok(Some(asked)) => self.subscribe(asked).await,
            Err(problem) => Err(problem),
        };
        match subscribed {
            Ok(message) => self.send(message).await,
            Err(problem) => {
                self.send(frame::error(&problem, None)).await?;
                Err(Some(Close::NotTheProtocol))
            }
        }
    }

    /// Begins with events at once: there is no frame for anything else.
    async fn begin_plain(&mut self, asked: Result<Option<Asked>, Problem>) -> Result<(), Ended> {
        let anonymous = asked.ok().flatten().filter(|asked| asked.subscriber.is_none() && asked.batch.is_none());
        let asked = anonymous.ok_or(Some(Close::NotCloudEvents))?;
        // What would be told of it has no place in this protocol either.
        self.subscribe(asked).await.map(drop).map_err(|_| Some(Close::NotCloudEvents))
    }

    async fn serve(&mut self) -> Ended {
        let drain = self.api.draining.clone();
        let mut leave_at: Option<Instant> = None;
        loop {
            let tick = self.pinged.map_or(self.next_ping, |pinged| pinged + PONG_WITHIN);
            let ended = tokio::select! {
                received = self.socket.recv(), if self.answers.len() < MAX_OUTSTANDING => self.received(received).await,
                Some(answer) = self.answers.next(), if !self.answers.is_empty() => self.answered(answer).await,
                delivery = self.feed.next() => self.deliver(delivery).await,
                () = clock::sleep_until(tick) => self.ping().await,
                () = drain.cancelled(), if leave_at.is_none() => {
                    // Closes are spread, so that all who come back do not come at once.
                    let spread = u64::try_from(self.api.options.drain.as_millis() / 2).unwrap_or(0).max(1);
                    leave_at = Some(Instant::now() + Duration::from_millis(self.api.random.next() % spread));
                    Ok(())
                }
                () = at(leave_at) => Err(Some(Close::Restart)),
            };
            if let Err(ended) = ended {
                return ended;
            }
        }
    }

    async fn ping(&mut self) -> Result<(), Ended> {
        if self.pinged.is_some() {
            return Err(Some(Close::NoPong));
        }
        self.pinged = Some(Instant::now());
        self.next_ping = Instant::now() + PING_EVERY;
        self.send(Message::Ping(Bytes::new())).await
    }

    /// Handles a frame, and those behind it that have arrived already.
    async fn received(&mut self, first: Option<Result<Message, axum::Error>>) -> Result<(), Ended> {
        let mut received = first;
        loop {
            let message = match received {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(Close::after(error)),
                None => return Err(None),
            };
            // Whoever says anything is there.
            self.pinged = None;
            match message {
                Message::Text(text) if text.as_str().len() > limits::MAX_FRAME_BYTES => {
                    return Err(Some(Close::TooLarge));
                }
                Message::Text(_) if self.wire == Wire::CloudEvents => return Err(Some(Close::NotCloudEvents)),
                Message::Text(text) => self.handle(text.as_str()).await?,
                Message::Binary(_) => return Err(Some(Close::NoBinary)),
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Close(_) => {
                    // Flushing sends the answering close frame that is queued already.
                    let flushed = self.socket.flush().await;
                    tracing::trace!(?flushed, "a client said goodbye");
                    return Err(None);
                }
            }
            if self.answers.len() >= MAX_OUTSTANDING {
                break;
            }
            match self.socket.recv().now_or_never() {
                Some(next) => received = next,
                None => break,
            }
        }
        self.flush().await
    }

    async fn handle(&mut self, text: &str) -> Result<(), Ended> {
        let peek = match body::object::<Peek<'_>>(text) {
            Ok(peek) => peek,
            Err(problem) => return self.put(frame::error(&problem, None)).await,
        };
        let reference = peek.reference.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
        let handled = match peek.op.as_deref() {
            Some("publish") => self.publish(text, reference.clone()),
            Some("auth") => {
                let detail = "this broker asks for no token";
                Err(Problem::new(StatusCode::BAD_REQUEST, "auth-not-needed", detail))
            }
            Some("ping") => match body::object::<Ping>(text) {
                Ok(_) => return self.put(frame::text(&json!({"op": "pong"}))).await,
                Err(problem) => Err(problem),
            },
            Some("subscribe") => match self.subscribe_by_frame(text).await {
                Ok(message) => return self.send(message).await,
                Err(problem) => Err(problem),
            },
            Some("ack") => body::object(text).and_then(|ack| self.ack(ack)),
            Some("nack") => body::object(text).and_then(|nack: Nack| self.nack(&nack)),
            Some("reject") => body::object(text).and_then(|reject| self.reject(reject)),
            Some("working") => body::object(text).and_then(|working: Working| self.working(&working.offset)),
            Some(other) => {
                let detail = format!("op '{}' is not known", other.escape_debug());
                Err(Problem::new(StatusCode::BAD_REQUEST, "op-unknown", detail))
            }
            None => Err(Problem::new(StatusCode::BAD_REQUEST, "op-unknown", "op: is missing")),
        };
        match handled {
            Ok(()) => Ok(()),
            Err(problem) => self.put(frame::error(&problem, reference.as_ref())).await,
        }
    }

    async fn subscribe_by_frame(&mut self, text: &str) -> Result<Message, Problem> {
        let mut frame: Subscribe = body::object(text)?;
        // On a live durable connection the name may be left out: it is the connection's own.
        let durable = matches!(self.feed, Feed::Durable(_));
        if durable && frame.subscriber.is_none() {
            frame.subscriber = self.feed.session().ok().map(|session| session.subscription().name().to_string());
        }
        let asked = asked::check(frame.into())?;
        self.subscribe(asked).await
    }

    async fn subscribe(&mut self, asked: Asked) -> Result<Message, Problem> {
        let opening = if matches!(self.feed, Feed::Nothing) {
            let (feed, opening) = Feed::open(&self.api, &asked, Via::WebSocket).await?;
            self.feed = feed;
            opening
        } else {
            self.feed.change(&self.api, &asked, Via::WebSocket).await?
        };
        self.batch = asked.batch.or(self.batch);
        let Opening { filter, subscriber, cursor } = opening;
        Ok(frame::subscribed(&filter, subscriber.as_deref(), cursor, self.api.broker.end()))
    }

    /// Sends an answer and those that are ready behind it, flushed once.
    async fn answered(&mut self, first: Message) -> Result<(), Ended> {
        self.put(first).await?;
        while let Some(Some(answer)) = self.answers.next().now_or_never() {
            self.put(answer).await?;
        }
        self.flush().await
    }

    pub(super) async fn put(&mut self, message: Message) -> Result<(), Ended> {
        self.within_pong(|socket| Box::pin(socket.feed(message))).await
    }

    pub(super) async fn flush(&mut self) -> Result<(), Ended> {
        self.within_pong(|socket| Box::pin(socket.flush())).await
    }

    pub(super) async fn send(&mut self, message: Message) -> Result<(), Ended> {
        self.put(message).await?;
        self.flush().await
    }

    /// A client that takes nothing for as long as a ping may go unanswered is gone.
    async fn within_pong<'a>(
        &'a mut self,
        write: impl FnOnce(&'a mut WebSocket) -> BoxFuture<'a, Result<(), axum::Error>>,
    ) -> Result<(), Ended> {
        match clock::within(PING_EVERY + PONG_WITHIN, write(&mut self.socket)).await {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => {
                tracing::debug!(%error, "a WebSocket broke");
                Err(None)
            }
            None => Err(None),
        }
    }
}

/// Reads the query; `None` where it asks for nothing.
fn of_query(uri: &Uri) -> Result<Option<Asked>, Problem> {
    if uri.query().unwrap_or_default().is_empty() {
        return Ok(None);
    }
    let mut query = Query::of(uri);
    let asked = asked::Input { batch: asked::batch(&mut query)?, ..asked::of_query(&mut query)? };
    query.end()?;
    Ok(Some(asked::check(asked)?))
}

/// Waits until then; for ever where there is no time.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => clock::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
