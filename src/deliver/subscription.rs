//! A durable subscriber in memory: its window, and whose turn it is.

use super::error::AckRefused;
use super::session::Ending;
use super::settle::Dirty;
use crate::ack::{Acked, Window};
use crate::clock::Instant;
use crate::engine::Engine;
use crate::ledger::{Entry, SentSpan, Subscriber, Via};
use crate::log::{Failure, Ticket};
use crate::model::{Filter, Name, Offset, Span, SubscriberId};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;

/// Spans of one ledger entry, far below what a record holds.
const SPANS_IN_AN_ENTRY: usize = 4_096;

/// One durable subscriber or connector. Shared by its session, the registry and whoever acknowledges.
pub struct Subscription {
    pub(super) id: SubscriberId,
    pub(super) name: Name,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) dirty: Arc<Dirty>,
    pub(super) inner: Mutex<Inner>,
}

/// What changes. Everything that enters the ledger for this subscriber does so under its lock, in order.
pub(super) struct Inner {
    pub(super) window: Window,
    pub(super) filter: Arc<Filter>,
    pub(super) window_size: u32,
    pub(super) ack_timeout: Duration,
    pub(super) expires: Option<Duration>,
    /// Counts seeks: an answer from before one says nothing about what comes after.
    pub(super) seeks: u64,
    /// Counts sessions: only the newest one's words count.
    pub(super) generation: u64,
    /// The newest session, ended or not, when acks were last lost on their way into the ledger.
    pub(super) lost: Option<u64>,
    pub(super) live: Option<Live>,
    /// How the newest session listens, or listened.
    pub(super) via: Via,
    /// When the last session ended, for expiry.
    pub(super) quiet_since: Instant,
    pub(super) queued: bool,
    /// Acked events that entries just taken hold, until [`Inner::recorded`] has their ticket.
    pub(super) taken: usize,
    /// What is in the ledger and not known to be durable: events that still take room in the window.
    pub(super) on_the_way: VecDeque<(Ticket, usize)>,
    pub(super) deleted: bool,
}

/// The session whose turn it is.
pub(super) struct Live {
    /// Told when its situation changed: room in the window, a way back, the end.
    pub(super) changed: Arc<Notify>,
    /// Set when it is over: why.
    pub(super) ending: Arc<OnceLock<Ending>>,
}

impl Subscription {
    /// As it is when nobody has had it in this life.
    pub(super) fn new(subscriber: &Subscriber, engine: Arc<dyn Engine>, dirty: Arc<Dirty>) -> Self {
        let (window_size, ack_timeout, expires) = super::registry::shape(&subscriber.target);
        let inner = Inner {
            window: window_of(subscriber),
            filter: Arc::new(subscriber.channels().clone()),
            window_size,
            ack_timeout,
            expires,
            seeks: 0,
            generation: 0,
            lost: None,
            live: None,
            via: Via::Http,
            quiet_since: Instant::now(),
            queued: false,
            taken: 0,
            on_the_way: VecDeque::new(),
            deleted: false,
        };
        Self { id: subscriber.id, name: subscriber.name.clone(), engine, dirty, inner: Mutex::new(inner) }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> SubscriberId {
        self.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// How long its oldest open event may wait for its ack.
    #[must_use]
    pub fn ack_timeout(&self) -> Duration {
        self.inner.lock().ack_timeout
    }

    /// Everything matching below is done, durably or about to be: where its next session begins.
    #[must_use]
    pub fn floor(&self) -> Offset {
        self.inner.lock().window.floor()
    }

    /// Whether a session is live.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.inner.lock().live.is_some()
    }

    /// Acknowledges everything up to and including `offset`; without a generation for the live session.
    ///
    /// # Errors
    /// Why it had no effect.
    pub fn ack_through(self: &Arc<Self>, generation: u64, offset: Offset) -> Result<(), AckRefused> {
        self.with_window(Some(generation), |window, now| Ok(window.ack_through(offset, now)?))
    }

    /// Acknowledges just these.
    ///
    /// # Errors
    /// Why it had no effect.
    pub fn ack_each(self: &Arc<Self>, generation: u64, offsets: &[Offset]) -> Result<(), AckRefused> {
        self.with_window(Some(generation), |window, now| Ok(window.ack_each(offsets, now)?))
    }

    /// What the acks of the live session carry, or, where none is, of the last one.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.inner.lock().generation
    }

    /// It was made just now: nothing was ever sent to it.
    pub(super) fn is_new(&self) {
        self.inner.lock().window.of_earlier_life(false);
    }

    /// Goes on behind a gap without anybody's ack.
    pub(super) fn pass_gap(self: &Arc<Self>, generation: u64, gap: Span) -> Result<(), AckRefused> {
        self.with_window(Some(generation), |window, now| {
            window.pass_gap(gap, now);
            Ok(())
        })
    }

    /// A listener has come back and has everything up to and including `offset`, whichever session sent it:
    /// [`Window::returned`].
    ///
    /// # Errors
    /// The ledger takes nothing.
    pub fn returned(self: &Arc<Self>, offset: Offset) -> Result<(), AckRefused> {
        self.with_window(None, |window, now| {
            window.returned(offset, now);
            Ok(())
        })
    }

    /// Takes delivery back to `offset` after a while.
    ///
    /// # Errors
    /// Why it had no effect.
    pub fn nack(self: &Arc<Self>, generation: u64, offset: Offset, delay: Duration) -> Result<(), AckRefused> {
        self.with_window(Some(generation), |window, now| Ok(window.nack(offset, delay, now)?))
    }

    /// Starts the ack timeout of `offset` anew.
    ///
    /// # Errors
    /// Why it had no effect.
    pub fn working(self: &Arc<Self>, generation: u64, offset: Offset) -> Result<(), AckRefused> {
        self.with_window(Some(generation), |window, now| Ok(window.working(offset, now)?))
    }

    /// Gives one event up for ever; it is dead-lettered. The ticket is of that word.
    ///
    /// # Errors
    /// Why it had no effect.
    pub fn give_up(
        self: &Arc<Self>,
        generation: u64,
        offset: Offset,
        dead: impl FnOnce(u32) -> Entry,
    ) -> Result<Ticket, AckRefused> {
        let mut inner = self.inner.lock();
        if inner.generation != generation {
            return Err(AckRefused::Over);
        }
        let attempts = inner.window.give_up(offset, Instant::now())?;
        let mut entries = inner.take_acks(self.id, None, None);
        entries.push(dead(attempts));
        let ticket = self.record(&mut inner, entries)?;
        inner.wake();
        drop(inner);
        self.dirty.add(Arc::clone(self), true);
        Ok(ticket)
    }

    /// Writes down what was acknowledged, now. None where nothing was.
    ///
    /// # Errors
    /// The ledger takes nothing.
    pub fn settle(&self) -> Result<Option<Ticket>, AckRefused> {
        self.settle_as(&mut self.inner.lock(), None, None)
    }

    /// Waits until everything that it acknowledged so far is written down, or known not to be. Nobody else's acks are
    /// waited for: a crowd that returns would wait for all of it, each one anew.
    pub async fn settled(&self) {
        // A failure has been told, and has ended the session.
        let _settled = self.settle().is_ok();
        // What was recorded just before, by whomever, may still be on its way.
        if let Some(ticket) = self.newest_ticket() {
            let _outcome = ticket.durable().await.is_ok();
        }
    }

    pub(super) fn settle_as(
        &self,
        inner: &mut Inner,
        status: Option<u16>,
        latency: Option<Duration>,
    ) -> Result<Option<Ticket>, AckRefused> {
        let entries = inner.take_acks(self.id, status, latency);
        if entries.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.record(inner, entries)?))
    }

    /// Hands entries over to the ledger. What it does not take is not settled: the session ends with it.
    pub(super) fn record(&self, inner: &mut Inner, entries: Vec<Entry>) -> Result<Ticket, Failure> {
        match self.engine.record(entries) {
            Ok(ticket) => {
                inner.recorded(&ticket);
                Ok(ticket)
            }
            Err(failure) => {
                self.lose(inner, &failure);
                Err(failure)
            }
        }
    }

    /// Waits until everything that this session acknowledged is durable.
    ///
    /// # Errors
    /// The ledger did not keep it; or it lost something since, and then nobody knows.
    pub async fn confirmed(&self, generation: u64) -> Result<(), AckRefused> {
        self.settled().await;
        self.release()?;
        // That the session is over takes nothing back: only what is lost does.
        let lost = self.inner.lock().lost.is_some_and(|lost| lost >= generation);
        if lost { Err(AckRefused::Over) } else { Ok(()) }
    }

    /// Gives room back for what is durable by now; says what failed.
    ///
    /// # Errors
    /// The ledger did not keep something that was acknowledged.
    pub fn release(&self) -> Result<(), Failure> {
        let mut inner = self.inner.lock();
        while let Some((ticket, events)) = inner.on_the_way.pop_front() {
            match ticket.outcome() {
                None => {
                    inner.on_the_way.push_front((ticket, events));
                    break;
                }
                Some(Ok(())) => {}
                Some(Err(failure)) => {
                    self.lose(&mut inner, &failure);
                    return Err(failure);
                }
            }
            inner.window.durable(events);
            inner.wake();
        }
        Ok(())
    }

    /// The newest thing of this subscriber's that is on its way into the ledger.
    pub(super) fn newest_ticket(&self) -> Option<Ticket> {
        self.inner.lock().on_the_way.back().map(|(ticket, _)| ticket.clone())
    }

    /// Takes window, filter and settings anew from what is durable, after something that was not written down.
    /// The session ends: it must not go on from what nobody will remember.
    pub(super) fn reload(&self) {
        self.go_back(&mut self.inner.lock());
    }

    /// As [`Subscription::reload`], in the same breath in which it turned out: nobody may see the window in between.
    pub(super) fn lose(&self, inner: &mut Inner, failure: &Failure) {
        tracing::error!(subscriber = %self.name, %failure, "acks are lost; the session ends");
        self.go_back(inner);
    }

    fn go_back(&self, inner: &mut Inner) {
        let subscriber = self.engine.state().get(self.id).cloned();
        if let Some(subscriber) = subscriber {
            let (window_size, ack_timeout, expires) = super::registry::shape(&subscriber.target);
            inner.window = window_of(&subscriber);
            inner.filter = Arc::new(subscriber.channels().clone());
            (inner.window_size, inner.ack_timeout, inner.expires) = (window_size, ack_timeout, expires);
        }
        inner.queued = false;
        inner.taken = 0;
        inner.on_the_way.clear();
        inner.deleted = false;
        inner.lost = Some(inner.generation);
        inner.end_session(Ending::Failed);
    }

    fn with_window(
        self: &Arc<Self>,
        generation: Option<u64>,
        f: impl FnOnce(&mut Window, Instant) -> Result<(), AckRefused>,
    ) -> Result<(), AckRefused> {
        let mut inner = self.inner.lock();
        if generation.is_some_and(|generation| inner.generation != generation) {
            return Err(AckRefused::Over);
        }
        f(&mut inner.window, Instant::now())?;
        inner.wake();
        let urgent = inner.window.is_urgent();
        let waits = inner.window.has_settled() && !std::mem::replace(&mut inner.queued, true);
        drop(inner);
        if waits || urgent {
            self.dirty.add(Arc::clone(self), urgent);
        }
        Ok(())
    }
}

/// The window of a subscriber as the ledger knows it.
pub(super) fn window_of(subscriber: &Subscriber) -> Window {
    let (window_size, _, _) = super::registry::shape(&subscriber.target);
    let mut window = Window::new(window_size, subscriber.floor, subscriber.done.clone(), Instant::now());
    window.of_earlier_life(true);
    for (offset, failed) in &subscriber.failed {
        window.remember(*offset, failed.attempts);
    }
    window
}

impl Inner {
    /// Ends the live session, if there is one; the next begins at the floor.
    pub(super) fn end_session(&mut self, ending: Ending) {
        self.generation += 1;
        self.quiet_since = Instant::now();
        if let Some(live) = self.live.take() {
            live.ending.get_or_init(|| ending);
            live.changed.notify_one();
        }
    }

    /// Notes the ticket of the entries that were just taken.
    pub(super) fn recorded(&mut self, ticket: &Ticket) {
        let events = std::mem::take(&mut self.taken);
        self.on_the_way.push_back((ticket.clone(), events));
    }

    /// Whether it has had no session for longer than it said.
    pub(super) fn expired(&self) -> bool {
        let quiet = Instant::now().duration_since(self.quiet_since);
        self.live.is_none() && self.expires.is_some_and(|expires| quiet >= expires)
    }

    pub(super) fn wake(&self) {
        if let Some(live) = &self.live {
            live.changed.notify_one();
        }
    }

    /// The entries for what was acknowledged since the last time.
    pub(super) fn take_acks(&mut self, id: SubscriberId, status: Option<u16>, latency: Option<Duration>) -> Vec<Entry> {
        self.queued = false;
        let (settled, events) = self.window.take_settled();
        self.taken += events;
        let via = self.via;
        let spans: Vec<SentSpan> =
            settled.into_iter().map(|Acked { span, attempts }| SentSpan { span, attempts }).collect();
        let latency_ms = latency.map(|latency| u32::try_from(latency.as_millis()).unwrap_or(u32::MAX));
        let entry = |spans: &[SentSpan]| Entry::Acked { id, spans: spans.to_vec(), via, status, latency_ms };
        let mut entries: Vec<Entry> = spans.chunks(SPANS_IN_AN_ENTRY).map(entry).collect();
        // The word about what it cannot have any more ends the telling of it.
        entries.extend(self.window.take_answered().map(|span| Entry::Told { id, span }));
        entries
    }
}
