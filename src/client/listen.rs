//! Listening over WebSocket: comes back after every break, and goes on where it was.

use super::http::{Client, ClientError};
use super::message::{Frame, Received};
use crate::model::Backoff;
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde_json::json;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Reconnects are spread between half a second and twenty (PROTOCOL.md section 5).
const LEAST_WAIT: Duration = Duration::from_millis(500);
const BACKOFF: Backoff = Backoff { initial: Duration::from_secs(1), max: Duration::from_millis(19_500) };
/// The broker pings every 25 s: longer silence is a dead connection.
const SILENCE: Duration = Duration::from_secs(40);
/// How long an answer to a close may take to go.
const ANSWERING: Duration = Duration::from_secs(1);
/// How often the broker is told that an event is worked on.
const WORKING: Duration = Duration::from_secs(5);
/// What is kept while something else is done; behind that the broker waits.
const KEPT: usize = 1_024;

/// What to listen to, and as whom.
#[derive(Debug, Clone, Default)]
pub struct Listen {
    channels: Vec<String>,
    subscriber: Option<String>,
    from: Option<String>,
    window: Option<u32>,
    ack_timeout: Option<String>,
}

impl Listen {
    /// To these patterns.
    pub fn to<S: Into<String>>(channels: impl IntoIterator<Item = S>) -> Self {
        Self { channels: channels.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// As a durable subscriber: what it does not acknowledge comes again.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.subscriber = Some(name.into());
        self
    }

    /// From an offset, a time, `earliest` or `latest`; a subscriber that exists goes on from its cursor.
    #[must_use]
    pub fn from(mut self, place: impl Into<String>) -> Self {
        self.from = Some(place.into());
        self
    }

    /// Open events at most.
    #[must_use]
    pub fn window(mut self, window: u32) -> Self {
        self.window = Some(window);
        self
    }

    /// How long the oldest open event may wait for its ack, as in `30s`.
    #[must_use]
    pub fn ack_timeout(mut self, timeout: impl Into<String>) -> Self {
        self.ack_timeout = Some(timeout.into());
        self
    }
}

/// What a listener hears.
#[derive(Debug, Clone)]
pub enum Heard {
    /// It is subscribed (again): where it stands, and the end.
    Subscribed {
        /// Its cursor.
        cursor: u64,
        /// The end.
        end: u64,
    },
    /// An event.
    Event(Received),
    /// The replay has reached the live end.
    CaughtUp {
        /// Everything below was delivered.
        end: u64,
    },
    /// Offsets that cannot be had any more.
    Gap {
        /// The first of them.
        from: u64,
        /// The first behind them.
        to: u64,
    },
    /// The connection broke; it comes back after a while.
    Reconnecting {
        /// Why.
        reason: String,
    },
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A listener. Nothing happens unless [`Listening::next`] is awaited.
pub struct Listening {
    client: Client,
    listen: Listen,
    socket: Option<Socket>,
    failures: u32,
    /// Where an anonymous listener goes on.
    next: Option<u64>,
    waiting: VecDeque<Heard>,
    /// What was met at the socket while something else was done: a close, a break.
    met: Option<Option<Result<Message, WsError>>>,
    /// What the broker refused last: the reason of a close that follows.
    refused: Option<String>,
}

impl Client {
    /// Begins to listen.
    #[must_use]
    pub fn listen(&self, listen: Listen) -> Listening {
        Listening {
            client: self.clone(),
            listen,
            socket: None,
            failures: 0,
            next: None,
            waiting: VecDeque::new(),
            met: None,
            refused: None,
        }
    }
}

impl Listening {
    /// What comes next. Breaks are told and mended; only a close for good is an error.
    ///
    /// # Errors
    /// The broker refuses the subscription, or closed the connection with a code that says not to come back.
    pub async fn next(&mut self) -> Result<Heard, ClientError> {
        loop {
            if self.listen.subscriber.is_some() {
                self.look().await;
                if self.met.as_ref().is_some_and(is_end) {
                    self.forget();
                }
            }
            if let Some(heard) = self.waiting.pop_front() {
                return Ok(heard);
            }
            // First what was met: a close that says not to come back must not be heard after coming back.
            let message = match (self.met.take(), &mut self.socket) {
                (Some(met), _) => Ok(met),
                (None, Some(socket)) => tokio::time::timeout(SILENCE, socket.next()).await,
                (None, None) => match self.connect().await {
                    Ok(()) => continue,
                    Err(error @ (ClientError::Refused { .. } | ClientError::Url(_))) => return Err(error),
                    Err(error) => return Ok(self.broke(error.to_string()).await),
                },
            };
            let message = match message {
                Err(_) => return Ok(self.broke("nothing was heard for 40 s".to_owned()).await),
                Ok(None) => return Ok(self.broke("the connection ended".to_owned()).await),
                Ok(Some(Err(error))) => return Ok(self.broke(error.to_string()).await),
                Ok(Some(Ok(message))) => message,
            };
            match message {
                Message::Text(text) => self.hear(text.as_str())?,
                Message::Close(frame) => {
                    let (code, reason) = frame.map_or((1005, String::new()), |f| (f.code.into(), f.reason.to_string()));
                    if matches!(code, 1002 | 1003 | 1007 | 1009 | 4500..=4999) {
                        let reason = self.refused.take().unwrap_or(reason);
                        return Err(ClientError::Closed { code, reason });
                    }
                    return Ok(self.broke(format!("closed with code {code}: {reason}")).await);
                }
                _ => {}
            }
        }
    }

    /// Waits for some work on an event, and stays a listener meanwhile: pings are answered, what comes is kept, and the
    /// broker hears that the event is worked on.
    pub async fn while_working<R>(&mut self, offset: u64, work: impl Future<Output = R>) -> R {
        tokio::pin!(work);
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + WORKING, WORKING);
        loop {
            let listens = self.met.is_none() && self.waiting.len() < KEPT;
            let message = async {
                match &mut self.socket {
                    Some(socket) if listens => socket.next().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                done = &mut work => return done,
                message = message => self.keep(message).await,
                _ = ticks.tick() => {
                    if self.listen.subscriber.is_some() {
                        self.say(&json!({"op": "working", "offset": offset})).await;
                    }
                }
            }
        }
    }

    /// What was kept for a named listener is not his any more: the broker sends it again, here or to whoever took over.
    /// Done now it would be done twice. A gap is told all the same: an ack may have gone past it.
    fn forget(&mut self) {
        self.waiting.retain(|heard| matches!(heard, Heard::Gap { .. }));
    }

    /// Hears what has arrived already, before anything that was kept is given: an end may be among it.
    async fn look(&mut self) {
        while self.met.is_none() && (1..KEPT).contains(&self.waiting.len()) {
            let Some(message) = self.socket.as_mut().and_then(|socket| socket.next().now_or_never()) else { return };
            self.keep(message).await;
        }
    }

    /// Keeps what came while something else was done; an end is met later.
    async fn keep(&mut self, message: Option<Result<Message, WsError>>) {
        match message {
            Some(Ok(Message::Text(text))) if self.hear(text.as_str()).is_ok() => {}
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            end => {
                let answers = matches!(end, Some(Ok(Message::Close(_))));
                // First of all, so that it is met even where nobody waits until it is answered.
                self.met = Some(end);
                // The answer is queued. It goes at once: the broker waits for it, and the work may take long.
                if let Some(socket) = self.socket.as_mut().filter(|_| answers) {
                    _ = tokio::time::timeout(ANSWERING, socket.flush()).await;
                }
            }
        }
    }

    /// Acknowledges everything up to and including this offset. Where the connection is broken nothing is said:
    /// the event comes again.
    ///
    /// # Errors
    /// None at present; the signature leaves room.
    pub async fn ack(&mut self, offset: u64) -> Result<(), ClientError> {
        self.say(&json!({"op": "ack", "offset": offset})).await;
        Ok(())
    }

    /// Asks for this event again after a while, as in `5s`.
    pub async fn nack(&mut self, offset: u64, delay: &str) {
        self.say(&json!({"op": "nack", "offset": offset, "delay": delay})).await;
    }

    /// Says goodbye: what was acknowledged is on its way before the connection closes.
    ///
    /// # Errors
    /// None at present; the signature leaves room.
    pub async fn leave(mut self) -> Result<(), ClientError> {
        if let Some(socket) = &mut self.socket {
            let goodbye = async {
                if socket.close(None).await.is_ok() {
                    while matches!(socket.next().await, Some(Ok(_))) {}
                }
            };
            // A broker that does not answer has had the acks all the same, or they come again.
            let _answered = tokio::time::timeout(Duration::from_secs(5), goodbye).await.is_ok();
        }
        Ok(())
    }

    async fn say(&mut self, frame: &serde_json::Value) {
        if let Some(socket) = &mut self.socket
            && let Err(error) = socket.send(Message::text(frame.to_string())).await
        {
            // Why is still to be read: a close, or the same break.
            tracing::debug!(%error, "a frame was not sent; the connection is broken");
        }
    }

    fn hear(&mut self, text: &str) -> Result<(), ClientError> {
        let protocol = |error: serde_json::Error| ClientError::Protocol(error.to_string());
        let frame: Frame = serde_json::from_str(text).map_err(protocol)?;
        let number = |number: Option<u64>| number.ok_or_else(|| ClientError::Protocol(text.to_owned()));
        let heard = match frame.op.as_str() {
            "event" => {
                let event: Received = serde_json::from_str(text).map_err(protocol)?;
                self.next = Some(event.offset + 1);
                Heard::Event(event)
            }
            "subscribed" => {
                self.failures = 0;
                let cursor = number(frame.cursor)?;
                self.next = self.next.or(Some(cursor));
                Heard::Subscribed { cursor, end: number(frame.end)? }
            }
            "caught_up" => {
                let end = number(frame.end)?;
                self.next = self.next.max(Some(end));
                Heard::CaughtUp { end }
            }
            "gap" => Heard::Gap { from: number(frame.from)?, to: number(frame.to)? },
            "error" => {
                tracing::warn!(code = frame.code, detail = frame.detail, "the broker refused a frame");
                self.refused = frame.detail;
                return Ok(());
            }
            _ => return Ok(()),
        };
        self.waiting.push_back(heard);
        Ok(())
    }

    /// Waits its time before it comes back: full jitter, so that a thousand do not come at once.
    async fn broke(&mut self, reason: String) -> Heard {
        self.socket = None;
        self.met = None;
        if self.listen.subscriber.is_some() {
            self.forget();
        }
        self.failures = self.failures.saturating_add(1);
        let mut random = [0; 8];
        let spread = getrandom::fill(&mut random).map_or(u64::MAX / 2, |()| u64::from_le_bytes(random));
        tokio::time::sleep(LEAST_WAIT + BACKOFF.wait(self.failures, spread)).await;
        Heard::Reconnecting { reason }
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let mut url = self.client.base().clone();
        let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
        if url.set_scheme(scheme).is_err() {
            return Err(ClientError::Url(format!("{url} cannot carry a WebSocket")));
        }
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["v1", "ws"]);
        }
        self.query(&mut url);
        let mut request = url.as_str().into_client_request().map_err(|error| ClientError::Url(error.to_string()))?;
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", HeaderValue::from_static("stentor.v1.json"));
        if let Some(token) = self.client.token() {
            let value = HeaderValue::from_str(&format!("Bearer {token}"));
            headers.insert("authorization", value.map_err(|error| ClientError::Url(error.to_string()))?);
        }
        match tokio_tungstenite::connect_async_with_config(request, None, true).await {
            Ok((socket, _)) => {
                self.socket = Some(socket);
                Ok(())
            }
            Err(WsError::Http(answer)) if answer.status().is_client_error() => Err(ClientError::Refused {
                status: answer.status().as_u16(),
                code: "upgrade-refused".to_owned(),
                detail: answer.body().as_ref().map_or(String::new(), |body| String::from_utf8_lossy(body).into_owned()),
            }),
            Err(error) => Err(ClientError::Unreachable(error.to_string())),
        }
    }

    fn query(&self, url: &mut reqwest::Url) {
        let listen = &self.listen;
        let mut query = url.query_pairs_mut();
        if !listen.channels.is_empty() {
            query.append_pair("channels", &listen.channels.join(","));
        }
        if let Some(name) = &listen.subscriber {
            query.append_pair("subscriber", name);
        }
        // An anonymous listener has no cursor at the broker: it remembers its own.
        let place = self.next.filter(|_| listen.subscriber.is_none()).map(|next| next.to_string());
        if let Some(place) = place.or_else(|| listen.from.clone()) {
            query.append_pair("from", &place);
        }
        if let Some(window) = listen.window {
            query.append_pair("window", &window.to_string());
        }
        if let Some(timeout) = &listen.ack_timeout {
            query.append_pair("ack_timeout", timeout);
        }
    }
}

/// Whether nothing follows what was met: the connection was closed, or broke.
fn is_end(met: &Option<Result<Message, WsError>>) -> bool {
    !matches!(met, Some(Ok(message)) if !message.is_close())
}
