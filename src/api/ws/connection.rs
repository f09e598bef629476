//! One WebSocket connection, from its upgrade to its close.

use super::close::Close;
use super::frame::{self, Ack, Nack, Peek, Ping, Publish, Reject, Subscribe, Working};
use super::wire::Wire;
use crate::api::asked::{self, Asked};
use crate::api::feed::{Feed, Opening};
use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::api::router::Api;
use crate::api::{body, publish, render};
use crate::broker::Error;
use crate::clock::{self, Instant};
use crate::deliver::{Delivery, Ending};
use crate::ledger::{Entry, Via};
use crate::metrics::Word;
use crate::model::{Event, Invalid, Offset, limits};
use axum::extract::ws::{Message, WebSocket};
use axum::http::{StatusCode, Uri};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const PING_EVERY: Duration = Duration::from_secs(25);
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// Publishes of one connection that may wait for the disk; then its frames wait.
const MAX_OUTSTANDING: usize = 1_024;
/// Frames fed to the socket before it is flushed.
const FEED_FRAMES: usize = 128;

/// Ends the connection; `None` where there is nobody to tell.
type Ended = Option<Close>;

/// One connection.
pub(super) struct Connection {
    api: Api,
    socket: WebSocket,
    feed: Feed,
    wire: Wire,
    batch: Option<usize>,
    /// Publishes and confirmed acks under way: each becomes a frame.
    answers: FuturesUnordered<BoxFuture<'static, Message>>,
    next_ping: Instant,
    pinged: Option<Instant>,
    via: Word,
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

    fn publish(&mut self, text: &str, reference: Option<Value>) -> Result<(), Problem> {
        let mut publish: Publish<'_> = body::object(text)?;
        let broker = self.api.broker.clone();
        let failed = |error: Error, reference: Option<&Value>| frame::error(&Problem::from(error), reference);
        if let Some(events) = publish.events.take() {
            if let Some(member) = publish.single_member() {
                return Err(Invalid::new(member, "and events exclude each other").into());
            }
            let limit = broker.publish_limits().max_batch_bytes;
            if events.iter().map(|event| event.get().len()).sum::<usize>() > limit {
                let detail = format!("the batch is larger than {limit} bytes");
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail));
            }
            let events = publish::entries(&self.api, &events)?;
            self.answers.push(Box::pin(async move {
                match publish::batch(&broker, events).await {
                    Ok(placed) => frame::published_batch(&placed, reference.as_ref()),
                    Err(error) => failed(error, reference.as_ref()),
                }
            }));
            return Ok(());
        }
        let event = publish.single()?.check(|| broker.make_id())?;
        self.answers.push(Box::pin(async move {
            match broker.publish(event).await {
                Ok(published) => {
                    let id = published.id.to_string();
                    let (offset, time, duplicate) = (published.offset, published.time, published.duplicate);
                    frame::published(crate::engine::Placed { offset, time, duplicate }, &id, reference.as_ref())
                }
                Err(error) => failed(error, reference.as_ref()),
            }
        }));
        Ok(())
    }

    fn ack(&mut self, ack: Ack) -> Result<(), Problem> {
        let session = self.feed.session()?;
        let (subscription, generation) = (Arc::clone(session.subscription()), session.generation());
        match (ack.offset, ack.offsets) {
            (Some(offset), None) => subscription.ack_through(generation, body::offset(&offset)?)?,
            (None, Some(offsets)) => {
                let offsets = offsets.iter().map(body::offset).collect::<Result<Vec<Offset>, _>>()?;
                subscription.ack_each(generation, &offsets)?;
            }
            _ => return Err(Invalid::new("offset", "give either offset or offsets").into()),
        }
        self.api.broker.metrics().acks.get_or_create(&self.via).inc();
        if ack.confirm {
            let registry = Arc::clone(self.api.broker.registry());
            self.answers.push(Box::pin(async move {
                let durable = subscription.confirmed(generation).await.map_err(Problem::from);
                let cursor = durable.and_then(|()| Ok(registry.cursor(&subscription)?));
                match cursor {
                    Ok(cursor) => frame::text(&json!({"op": "acked", "cursor": cursor})),
                    Err(problem) => frame::error(&problem, None),
                }
            }));
        }
        Ok(())
    }

    fn nack(&mut self, nack: &Nack) -> Result<(), Problem> {
        let session = self.feed.session()?;
        let (offset, delay) = (body::offset(&nack.offset)?, frame::delay(nack.delay.as_deref())?);
        Ok(session.subscription().nack(session.generation(), offset, delay)?)
    }

    fn reject(&mut self, reject: Reject) -> Result<(), Problem> {
        let session = self.feed.session()?;
        let offset = body::offset(&reject.offset)?;
        let reason = reject.reason.unwrap_or_else(|| "rejected by its listener".to_owned());
        if reason.len() > limits::MAX_KEY_BYTES * 4 {
            return Err(Invalid::new("reason", "is longer than 1020 bytes").into());
        }
        let id = session.subscription().id();
        let dead = |attempts| Entry::Dead { id, offset, attempts, status: None, reason };
        // Nobody waits for this word: like an ack, it is durable within the next commits.
        let _ticket = session.subscription().give_up(session.generation(), offset, dead)?;
        self.api.broker.metrics().dead_letters.inc();
        Ok(())
    }

    fn working(&mut self, offset: &Value) -> Result<(), Problem> {
        let session = self.feed.session()?;
        Ok(session.subscription().working(session.generation(), body::offset(offset)?)?)
    }

    /// Sends an answer and those that are ready behind it, flushed once.
    async fn answered(&mut self, first: Message) -> Result<(), Ended> {
        self.put(first).await?;
        while let Some(Some(answer)) = self.answers.next().now_or_never() {
            self.put(answer).await?;
        }
        self.flush().await
    }

    /// Sends a delivery and those that are at hand behind it, flushed once: one system call for many events.
    async fn deliver(&mut self, first: Result<Delivery, Error>) -> Result<(), Ended> {
        let mut next = match first {
            Ok(delivery) => Some(delivery),
            Err(error) => {
                if self.wire == Wire::Stentor {
                    self.send(frame::error(&Problem::from(error), None)).await?;
                }
                return Err(Some(Close::Trouble));
            }
        };
        let mut gathered: Vec<(Arc<Event>, u32)> = Vec::new();
        let mut frames = 0;
        while let Some(delivery) = next.take() {
            match delivery {
                Delivery::Event { event, attempt } => {
                    self.count(attempt);
                    if self.batch.is_some() {
                        gathered.push((event, attempt));
                    } else {
                        self.put(self.wire.event(&event, attempt)).await?;
                    }
                }
                other => {
                    self.put_gathered(&mut gathered).await?;
                    self.tell(other).await?;
                }
            }
            frames += 1;
            if self.batch.is_some_and(|most| gathered.len() >= most) {
                self.put_gathered(&mut gathered).await?;
            }
            if frames < FEED_FRAMES.max(self.batch.unwrap_or(0)) {
                next = self.feed.next_now();
            }
        }
        self.put_gathered(&mut gathered).await?;
        self.flush().await
    }

    fn count(&self, attempt: u32) {
        let metrics = self.api.broker.metrics();
        metrics.deliveries.get_or_create(&self.via).inc();
        if attempt > 1 {
            metrics.redeliveries.get_or_create(&self.via).inc();
        }
    }

    async fn tell(&mut self, delivery: Delivery) -> Result<(), Ended> {
        match delivery {
            Delivery::Event { .. } => Ok(()),
            Delivery::Gap(span) => {
                self.api.broker.metrics().gaps.inc();
                self.put(self.wire.gap(span)).await
            }
            Delivery::CaughtUp(end) => match self.wire.caught_up(end) {
                Some(message) => self.put(message).await,
                None => Ok(()),
            },
            Delivery::Ended(ending) => {
                let close = match ending {
                    Ending::TakenOver => Close::TakenOver,
                    Ending::Moved => Close::Moved,
                    Ending::Failed | Ending::Full => Close::Trouble,
                };
                self.flush().await?;
                Err(Some(close))
            }
        }
    }

    /// The `events` frame of what was gathered.
    async fn put_gathered(&mut self, gathered: &mut Vec<(Arc<Event>, u32)>) -> Result<(), Ended> {
        if gathered.is_empty() {
            return Ok(());
        }
        let bytes: usize = gathered.iter().map(|(event, _)| event.weight()).sum();
        let mut out = Vec::with_capacity(bytes + 32);
        out.extend_from_slice(br#"{"op":"events","events":"#);
        render::deliveries(&mut out, gathered.iter().map(|(event, attempt)| (&**event, *attempt)));
        gathered.clear();
        out.push(b'}');
        self.put(frame::shared(out.into())).await
    }

    async fn put(&mut self, message: Message) -> Result<(), Ended> {
        self.within_pong(|socket| Box::pin(socket.feed(message))).await
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        self.within_pong(|socket| Box::pin(socket.flush())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Ended> {
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
