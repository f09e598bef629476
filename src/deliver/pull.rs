//! Sessions of listeners that ask again and again instead of staying connected: PROTOCOL.md section 4, `pull`.

use super::error::{AckRefused, DeliverError};
use super::registry::Registry;
use super::session::{Delivery, Session};
use super::subscription::Subscription;
use crate::clock::{self, Instant};
use crate::engine::EngineError;
use crate::ledger::Via;
use crate::model::{Event, Kind, Offset, Span, SubscriberId, limits};
use crate::notify::Hub;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Why a pull gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum PullRefused {
    /// A stream has the subscriber.
    #[error("'{0}' has a live stream; close it, or pull with \"takeover\": true")]
    Streaming(String),
    /// The session is over.
    #[error(transparent)]
    Over(#[from] AckRefused),
    /// The subscriber cannot be had.
    #[error(transparent)]
    Deliver(#[from] DeliverError),
    /// The log cannot be read.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What one pull gave.
#[derive(Debug)]
pub struct Pulled {
    /// The session's name, for the next pull and for acks.
    pub session: String,
    /// Events and their attempts, in order.
    pub events: Vec<(Arc<Event>, u32)>,
    /// What cannot be had any more.
    pub gap: Option<Span>,
}

/// What a pull asks for.
#[derive(Debug, Clone)]
pub struct PullQuery {
    /// Events at most.
    pub max: usize,
    /// How long to wait until there is one.
    pub wait: Duration,
    /// The session of an earlier pull.
    pub session: Option<String>,
    /// Whether a live stream may be ended for it.
    pub takeover: bool,
}

/// The pull sessions, one for each subscriber at most.
#[derive(Default)]
pub(super) struct Pulls(Mutex<HashMap<SubscriberId, Arc<Pull>>>);

/// One of them. It lives as long as somebody asks.
struct Pull {
    token: String,
    subscription: Arc<Subscription>,
    generation: u64,
    session: tokio::sync::Mutex<Session>,
    used: Mutex<Instant>,
}

impl Pulls {
    fn of(&self, subscription: &Subscription) -> Option<Arc<Pull>> {
        self.0.lock().get(&subscription.id()).filter(|pull| pull.is_live()).cloned()
    }

    /// Lets one go; its session ends with the last pull that is under way.
    fn forget(&self, gone: &Arc<Pull>) {
        let mut pulls = self.0.lock();
        if pulls.get(&gone.subscription.id()).is_some_and(|pull| Arc::ptr_eq(pull, gone)) {
            pulls.remove(&gone.subscription.id());
        }
    }
}

impl Pull {
    fn is_live(&self) -> bool {
        self.subscription.generation() == self.generation
    }

    fn touch(&self) {
        *self.used.lock() = Instant::now();
    }

    /// How long it may still be quiet; none where somebody has taken over.
    fn left(&self) -> Option<Duration> {
        // Whoever waits for events is not quiet.
        if self.session.try_lock().is_err() {
            self.touch();
        }
        let quiet = Instant::now().duration_since(*self.used.lock());
        self.is_live().then(|| self.subscription.ack_timeout().saturating_sub(quiet))
    }
}

impl Registry {
    /// Gives the next events of a subscriber, not those that are open. The first pull opens a session; who names none
    /// goes on with the one that lives. Waits while there is nothing, or no room.
    ///
    /// # Errors
    /// Nobody has the name; a stream has the subscriber; the session that was named is over.
    pub async fn pull(self: &Arc<Self>, name: &str, query: &PullQuery) -> Result<Pulled, PullRefused> {
        let deadline = Instant::now() + query.wait.min(limits::MAX_WAIT);
        let pull = self.pull_session(name, query).await?;
        pull.touch();
        let mut session = pull.session.lock().await;
        let until = (&*self.parts.hub, self.engine().end());
        let pulled = gather(&mut session, query.max, deadline, until, &self.stop).await;
        drop(session);
        pull.touch();
        let (events, gap) = pulled?;
        let metrics = &self.parts.metrics;
        let via = crate::metrics::Word { kind: Via::Http.as_str() };
        metrics.deliveries.get_or_create(&via).inc_by(events.len() as u64);
        let again = events.iter().filter(|(_, attempt)| *attempt > 1).count();
        metrics.redeliveries.get_or_create(&via).inc_by(again as u64);
        metrics.gaps.inc_by(u64::from(gap.is_some()));
        Ok(Pulled { session: pull.token.clone(), events, gap })
    }

    /// Who may acknowledge for a session that was pulled with, or, where none is named, for the live one.
    ///
    /// # Errors
    /// Nobody has the name; the session is over.
    pub fn acknowledger(&self, name: &str, session: Option<&str>) -> Result<(Arc<Subscription>, u64), PullRefused> {
        let subscription = self.find(Kind::Subscriber, name)?;
        let Some(token) = session else {
            let generation = subscription.generation();
            return Ok((subscription, generation));
        };
        let pull = self.pulls.of(&subscription).filter(|pull| pull.token == token).ok_or(AckRefused::Over)?;
        pull.touch();
        Ok((subscription, pull.generation))
    }

    async fn pull_session(self: &Arc<Self>, name: &str, query: &PullQuery) -> Result<Arc<Pull>, PullRefused> {
        let subscription = self.find(Kind::Subscriber, name)?;
        let live = self.pulls.of(&subscription);
        match (live, &query.session) {
            (Some(pull), Some(token)) if pull.token == *token => return Ok(pull),
            (_, Some(_)) => return Err(AckRefused::Over.into()),
            (Some(pull), None) if !query.takeover => return Ok(pull),
            (None, None) if subscription.connected() && !query.takeover => {
                return Err(PullRefused::Streaming(name.to_owned()));
            }
            (_, None) => {}
        }
        let session = self.attach(name, Via::Http)?;
        // What the session before acknowledged makes room once it is durable.
        subscription.settled().await;
        let pull = Arc::new(Pull {
            token: uuid::Uuid::from_bytes(self.parts.random.next_16()).simple().to_string(),
            subscription,
            generation: session.generation(),
            session: tokio::sync::Mutex::new(session),
            used: Mutex::new(Instant::now()),
        });
        self.pulls.0.lock().insert(pull.subscription.id(), Arc::clone(&pull));
        self.tracker.spawn(watch(Arc::clone(self), Arc::clone(&pull)));
        Ok(pull)
    }
}

/// Ends a session that has been quiet for as long as an event may be open.
async fn watch(registry: Arc<Registry>, pull: Arc<Pull>) {
    while let Some(left) = pull.left().filter(|left| !left.is_zero()) {
        // Settings may change meanwhile; a long time is looked at again.
        let pause = left.min(LOOK_EVERY);
        if registry.stop.run_until_cancelled(clock::sleep(pause)).await.is_none() {
            break;
        }
    }
    registry.pulls.forget(&pull);
}

const LOOK_EVERY: Duration = Duration::from_secs(5);

type Gathered = (Vec<(Arc<Event>, u32)>, Option<Span>);

/// Takes what there is, up to where the log ended at the call; waits where that is nothing.
async fn gather(
    session: &mut Session,
    max: usize,
    deadline: Instant,
    (hub, end): (&Hub, Offset),
    stop: &CancellationToken,
) -> Result<Gathered, PullRefused> {
    let (mut events, mut gap, mut bytes) = (Vec::new(), None, 0);
    while events.len() < max && bytes < limits::MAX_READ_BYTES {
        let left = deadline.saturating_duration_since(Instant::now());
        let delivery = match session.next_now() {
            Some(delivery) => delivery,
            // What was published before the call may be on its way to a session that is near.
            None if session.is_near() && !session.is_blocked() && session.position() < end => {
                hub.reached(end).await;
                continue;
            }
            None if session.is_near() || session.is_blocked() => {
                if !events.is_empty() || gap.is_some() || left.is_zero() {
                    break;
                }
                match stop.run_until_cancelled(clock::within(left, session.next())).await {
                    Some(Some(delivery)) => delivery?,
                    _ => break,
                }
            }
            None => match stop.run_until_cancelled(session.next()).await {
                Some(delivery) => delivery?,
                None => break,
            },
        };
        match delivery {
            Delivery::Event { event, attempt } => {
                bytes += event.weight();
                events.push((event, attempt));
            }
            Delivery::Gap(span) => {
                gap = Some(gap.map_or(span, |gap: Span| Span::new(gap.from.min(span.from), span.to)))
            }
            Delivery::CaughtUp(_) => {}
            // What was taken before it ended is its own; the next session has it again.
            Delivery::Ended(_) => return Err(AckRefused::Over.into()),
        }
    }
    Ok((events, gap))
}
