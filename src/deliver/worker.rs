//! A connector's worker: a session of the broker's own that calls an endpoint until it says 2xx.
//!
//! Each ack is written down before the next request goes out, and each failed attempt before its retry:
//! so a kill repeats at most what was in flight, and counts survive it.

use super::announce::{News, announce};
use super::desk::{Desk, Made};
use super::error::{AckRefused, DeliverError};
use super::registry::RegistryParts;
use super::session::{Delivery, Session};
use super::shift::{Failing, Shift, lane, slots};
use super::subscription::Subscription;
use crate::clock::{self, Instant};
use crate::connector::{Answer, Attempt, Purpose, SendError};
use crate::engine::Engine;
use crate::ledger::{ConnectorSecrets, Entry, Target, Via};
use crate::metrics::Word;
use crate::model::{Event, GiveUp, Offset, Span, SubscriberId, limits};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long a worker waits after the log or the ledger failed it.
pub(super) const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Events that a worker looks ahead for keys that are free.
pub(super) fn lookahead(in_flight: u32) -> u32 {
    if in_flight == 1 { 1 } else { (in_flight * 4).clamp(64, limits::MAX_WINDOW) }
}

/// A connector's secrets, opened.
pub(super) fn open_secrets(engine: &dyn Engine, id: SubscriberId) -> Result<ConnectorSecrets, DeliverError> {
    let sealed = match engine.state().get(id).map(|subscriber| subscriber.target.clone()) {
        Some(Target::Connector { secrets, .. }) => secrets,
        _ => return Err(DeliverError::NotFound { kind: crate::model::Kind::Connector, name: id.to_string() }),
    };
    Ok(engine.vault().open_sealed(id, &sealed)?)
}

/// One connector's worker.
pub struct Worker {
    parts: RegistryParts,
    subscription: Arc<Subscription>,
    desk: Arc<Desk>,
    look_again: Arc<Notify>,
    finish: CancellationToken,
    /// Whether it was told to be failing, or stopped by its endpoint, and not yet that it recovered: a resume begins its
    /// failures anew, and whoever heard the alarm wants to hear the end of it.
    alarmed: AtomicBool,
}

/// What came of one attempt.
pub(super) struct Outcome {
    event: Arc<Event>,
    number: u32,
    took: Duration,
    answer: Result<Answer, SendError>,
}

/// Whether a shift goes on.
enum Next {
    GoOn,
    LookAgain,
}

impl Worker {
    pub(super) fn new(
        parts: RegistryParts,
        subscription: Arc<Subscription>,
        desk: Arc<Desk>,
        look_again: Arc<Notify>,
        finish: CancellationToken,
    ) -> Self {
        let failures = parts.engine.state().get(subscription.id()).map_or(0, |subscriber| subscriber.failures_in_row);
        let alarmed = AtomicBool::new(failures >= limits::FAILING_AFTER);
        Self { parts, subscription, desk, look_again, finish, alarmed }
    }

    /// Works until told to finish, or until the connector is deleted.
    pub async fn run(self) {
        while !self.finish.is_cancelled() {
            let Some(subscriber) = self.parts.engine.state().get(self.subscription.id()).cloned() else { return };
            if let Some(reason) = &subscriber.paused {
                // An operator gives none, and knows.
                self.alarmed.fetch_or(!reason.is_empty(), Relaxed);
                self.rest(None).await;
                continue;
            }
            if self.parts.engine.refuses_entries().is_some() {
                // What was sent could not be written down, and would be sent again and again.
                self.rest(Some(PAUSE_AFTER_FAILURE)).await;
                continue;
            }
            let Some(session) = Session::begin(&self.subscription, &self.parts.hub, Via::Connector) else { return };
            // A change or seek that ended the session before may still be on its way to the ledger. All that this one
            // works with is read behind it, so that nothing of the life before is in it.
            if let Some(ticket) = self.parts.engine.ledger_barrier()
                && let Err(error) = ticket.durable().await
            {
                tracing::error!(connector = %self.subscription.name(), %error, "cannot work");
                drop(session);
                self.rest(Some(PAUSE_AFTER_FAILURE)).await;
                continue;
            }
            let secrets = match open_secrets(&*self.parts.engine, self.subscription.id()) {
                Ok(secrets) => secrets,
                Err(error) => {
                    tracing::error!(connector = %self.subscription.name(), %error, "cannot work");
                    drop(session);
                    self.rest(None).await;
                    continue;
                }
            };
            let Some(subscriber) = self.parts.engine.state().get(self.subscription.id()).cloned() else { return };
            let Target::Connector { settings, .. } = subscriber.target else { return };
            let seeks = self.subscription.inner.lock().seeks;
            let (wall, now) = (self.parts.clock.now(), Instant::now());
            let remembered = |(offset, failed)| (offset, Failing::remembered(&failed, wall, now));
            let shift = Shift {
                seeks,
                session,
                settings: Arc::new(settings),
                secrets: Arc::new(secrets),
                waiting: VecDeque::new(),
                retries: BTreeMap::new(),
                failed: subscriber.failed.into_iter().map(remembered).collect(),
                busy: HashSet::new(),
                running: FuturesUnordered::new(),
                failures_in_row: subscriber.failures_in_row,
                next_new: now,
            };
            if let Err(error) = self.work(shift).await {
                tracing::error!(connector = %self.subscription.name(), %error, "the worker rests");
                // Something may not have been written down: go on from what was.
                self.subscription.reload();
                self.rest(Some(PAUSE_AFTER_FAILURE)).await;
            }
        }
    }

    async fn rest(&self, at_most: Option<Duration>) {
        let until = Instant::now() + at_most.unwrap_or(super::session::NEVER);
        tokio::select! {
            () = self.look_again.notified() => {}
            () = self.finish.cancelled() => {}
            () = clock::sleep_until(until) => {}
        }
    }

    async fn work(&self, mut shift: Shift) -> Result<(), DeliverError> {
        loop {
            let finishing = self.finish.is_cancelled();
            if finishing && shift.running.is_empty() {
                return Ok(());
            }
            let due = if finishing { None } else { self.begin_attempts(&mut shift) };
            let wants_more = !finishing && shift.waiting.len() < lookahead(shift.settings.in_flight) as usize;
            let next = tokio::select! {
                Some(outcome) = shift.running.next(), if !shift.running.is_empty() => {
                    self.settle(&mut shift, outcome).await?
                }
                delivery = shift.session.next(), if wants_more => match delivery? {
                    Delivery::Event { event, .. } => {
                        // Taken in hand is not sent: only requests count.
                        self.sent(event.offset, shift.failed.get(&event.offset).map_or(0, |failed| failed.attempts));
                        shift.receive(event);
                        Next::GoOn
                    }
                    Delivery::Gap(span) => {
                        self.pass_gap(&shift, span)?;
                        Next::GoOn
                    }
                    Delivery::CaughtUp(_) => Next::GoOn,
                    Delivery::Ended(_) => Next::LookAgain,
                },
                () = clock::sleep_until(due.unwrap_or_else(|| Instant::now() + super::session::NEVER)), if due.is_some() => {
                    Next::GoOn
                }
                () = self.look_again.notified() => Next::LookAgain,
                () = self.finish.cancelled(), if !finishing => Next::GoOn,
            };
            if matches!(next, Next::LookAgain) {
                // What is under way is finished and settled under the settings that it began with.
                while let Some(outcome) = shift.running.next().await {
                    self.settle(&mut shift, outcome).await?;
                }
                return Ok(());
            }
        }
    }

    /// Nothing can be done about what retention or damage took but to go on behind it. What is open before it stays so.
    fn pass_gap(&self, shift: &Shift, gap: Span) -> Result<(), DeliverError> {
        tracing::warn!(connector = %self.subscription.name(), from = %gap.from, to = %gap.to, "events are gone before they were sent");
        self.parts.metrics.gaps.inc();
        self.subscription.pass_gap(shift.session.generation(), gap).map_err(refused)
    }

    /// Begins what may be begun, and says when the next will be due; with every slot taken it waits for an answer, not
    /// for time.
    fn begin_attempts(&self, shift: &mut Shift) -> Option<Instant> {
        let now = Instant::now();
        while shift.running.len() < slots(shift) {
            let (due, candidate) = shift.next_attempt(now)?;
            if due > now {
                return Some(due);
            }
            if let Err(later) = self.desk.pace.take(shift.settings.rate_limit, now) {
                return Some(later);
            }
            if let Some(event) = shift.take(&candidate) {
                self.begin(shift, event);
            }
        }
        None
    }

    fn begin(&self, shift: &Shift, event: Arc<Event>) {
        let number = shift.failed.get(&event.offset).map_or(0, |failed| failed.attempts) + 1;
        let (sender, log_id) = (Arc::clone(&self.parts.sender), self.parts.engine.log_id());
        let (settings, secrets) = (Arc::clone(&shift.settings), Arc::clone(&shift.secrets));
        self.sent(event.offset, number);
        self.count(number);
        let seconds = self.parts.metrics.attempt_seconds.clone();
        shift.running.push(Box::pin(async move {
            let purpose = Purpose::Delivery;
            let attempt = Attempt { event: &event, log_id, number, settings: &settings, secrets: &secrets, purpose };
            let began = Instant::now();
            let answer = sender.send(attempt).await;
            let took = began.elapsed();
            seconds.observe(took.as_secs_f64());
            Outcome { event, number, took, answer }
        }));
    }

    fn sent(&self, offset: Offset, attempts: u32) {
        self.subscription.inner.lock().window.set_attempts(offset, attempts);
    }

    fn count(&self, number: u32) {
        let via = Word { kind: Via::Connector.as_str() };
        self.parts.metrics.deliveries.get_or_create(&via).inc();
        if number > 1 {
            self.parts.metrics.redeliveries.get_or_create(&via).inc();
        }
    }

    /// Writes down what came of an attempt, and waits until that is durable.
    async fn settle(&self, shift: &mut Shift, outcome: Outcome) -> Result<Next, DeliverError> {
        let Outcome { event, number, took, answer } = outcome;
        let offset = event.offset;
        let time = self.parts.clock.now();
        self.desk.note(&Made { time, offset, attempt: number, took, answer: &answer, replay: None });
        let delivered = matches!(&answer, Ok(answer) if (200..300).contains(&answer.status));
        let kind = if delivered { "delivered" } else { "failed" };
        self.parts.metrics.attempts.get_or_create(&Word { kind }).inc();
        match answer {
            Ok(answer) if delivered => {
                self.parts.metrics.acks.get_or_create(&Word { kind: Via::Connector.as_str() }).inc();
                if self.settle_ack(shift.seeks, offset, number, &answer).await? {
                    self.tell(self.alarmed.swap(false, Relaxed).then_some(News::Recovered { offset })).await;
                    shift.failures_in_row = 0;
                }
                shift.failed.remove(&offset);
                shift.busy.remove(&lane(&shift.settings, &event));
                Ok(Next::GoOn)
            }
            Ok(answer) => {
                let reason = format!("answered {}", answer.status);
                let gone = answer.status == 410;
                let next =
                    self.settle_failure(shift, event, number, Some(answer.status), answer.retry_after, reason).await?;
                // An answer of the life before a change says nothing about the endpoint that there is now.
                if !gone || matches!(next, Next::LookAgain) {
                    return Ok(next);
                }
                let id = self.subscription.id();
                let reason = "the endpoint answered 410 Gone";
                let entry = Entry::Paused { id, reason: Some(reason.to_owned()) };
                let ticket = {
                    let mut inner = self.subscription.inner.lock();
                    if inner.generation != shift.session.generation() {
                        return Ok(Next::LookAgain);
                    }
                    self.subscription.record(&mut inner, vec![entry])?
                };
                ticket.durable().await?;
                self.tell(Some(News::Paused { reason, offset: Some(offset) })).await;
                Ok(Next::LookAgain)
            }
            Err(error) => self.settle_failure(shift, event, number, None, None, error.to_string()).await,
        }
    }

    async fn tell(&self, news: Option<News<'_>>) {
        if let Some(news) = news {
            self.alarmed.store(!matches!(news, News::Recovered { .. }), Relaxed);
            announce(&self.parts, self.subscription.name().as_str(), news).await;
        }
    }

    /// Tells whether it counts.
    async fn settle_ack(&self, seeks: u64, offset: Offset, number: u32, answer: &Answer) -> Result<bool, DeliverError> {
        let ticket = {
            let mut inner = self.subscription.inner.lock();
            // Sought meanwhile: the answer is of the life before. Changed only: it counts, unless it is no longer asked for.
            let sought = inner.seeks != seeks;
            inner.window.set_attempts(offset, number);
            if sought || !inner.window.answered(offset, Instant::now()) {
                return Ok(false);
            }
            inner.wake();
            self.subscription.settle_as(&mut inner, Some(answer.status), Some(answer.latency)).map_err(refused)?
        };
        if let Some(ticket) = ticket {
            ticket.durable().await?;
            self.subscription.release()?;
        }
        Ok(true)
    }

    async fn settle_failure(
        &self,
        shift: &mut Shift,
        event: Arc<Event>,
        number: u32,
        status: Option<u16>,
        retry_after: Option<Duration>,
        reason: String,
    ) -> Result<Next, DeliverError> {
        let offset = event.offset;
        let now = Instant::now();
        let failing_for = shift.failed.get(&offset).map_or(Duration::ZERO, |failing| failing.failing_at(now));
        let given_up = match shift.settings.retry.give_up_after {
            None => false,
            Some(GiveUp::Attempts(most)) => number >= most,
            Some(GiveUp::After(longest)) => failing_for >= longest,
        };
        shift.failures_in_row = shift.failures_in_row.saturating_add(1);
        let id = self.subscription.id();
        let opened = (shift.failures_in_row == limits::FAILING_AFTER).then(|| reason.clone());
        let news = opened.as_deref().map(|reason| News::Failing { offset, attempts: number, status, reason });
        if given_up {
            self.parts.metrics.dead_letters.inc();
            tracing::warn!(connector = %self.subscription.name(), %offset, attempts = number, %reason, "given up");
            let dead = |_| Entry::Dead { id, offset, attempts: number, status, reason };
            match self.subscription.give_up(shift.session.generation(), offset, dead) {
                Ok(ticket) => {
                    ticket.durable().await?;
                    self.tell(news).await;
                }
                // Changed or sought meanwhile: the failure was of the life before.
                Err(AckRefused::Over) => return Ok(Next::LookAgain),
                Err(error) => return Err(refused(error)),
            }
            shift.failed.remove(&offset);
            shift.busy.remove(&lane(&shift.settings, &event));
            return Ok(Next::GoOn);
        }
        let wait = shift.settings.retry.backoff().wait_as_asked(retry_after, number, self.parts.random.next());
        let next_attempt = self.parts.clock.now().plus(wait);
        tracing::debug!(connector = %self.subscription.name(), %offset, attempt = number, %reason, ?wait, "tried again");
        let entry = Entry::Failed { id, offset, attempts: number, failing_for, next_attempt, wait, status, reason };
        let ticket = {
            let inner = self.subscription.inner.lock();
            if inner.generation != shift.session.generation() {
                return Ok(Next::LookAgain);
            }
            self.parts.engine.record(vec![entry])?
        };
        ticket.durable().await?;
        self.tell(news).await;
        let due = now + wait;
        if number == 1 {
            shift.next_new = due;
        }
        shift.failed.insert(offset, Failing { attempts: number, failing_for, since: now, due });
        shift.retries.insert((due, offset), event);
        Ok(Next::GoOn)
    }
}

fn refused(error: AckRefused) -> DeliverError {
    match error {
        AckRefused::Failed(failure) => failure.into(),
        other => crate::model::Invalid::new("offset", other.to_string()).into(),
    }
}
