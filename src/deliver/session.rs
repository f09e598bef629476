//! One live reader of a durable subscriber.

use super::source::{Source, Step};
use super::subscription::{Live, Subscription};
use crate::ack::{Want, Window};
use crate::clock::{self, Instant};
use crate::engine::EngineError;
use crate::ledger::Via;
use crate::model::{Event, Filter, Offset, Span};
use crate::notify::Hub;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A newer session has the subscriber.
    TakenOver,
    /// The subscriber was sought, changed or deleted.
    Moved,
    /// The ledger takes no acks.
    Failed,
    /// It sends nothing twice ([`Session::once`]), and has nothing left to send: its window is full, or what it sent
    /// first has waited for its ack for too long.
    Full,
}

/// What a session has for its transport.
#[derive(Debug)]
pub enum Delivery {
    /// Send this.
    Event {
        /// The event.
        event: Arc<Event>,
        /// How often it was sent since the last seek, this time included.
        attempt: u32,
    },
    /// Tell that these cannot be had any more.
    Gap(Span),
    /// Tell that the replay has reached the live end.
    CaughtUp(Offset),
    /// Close.
    Ended(Ending),
}

/// A live reader: events in order, redelivered when it is due, never more open than the window allows.
pub struct Session {
    subscription: Arc<Subscription>,
    generation: u64,
    source: Source,
    changed: Arc<Notify>,
    ending: Arc<OnceLock<Ending>>,
    /// The next event, waiting for room in the window.
    held: Option<Arc<Event>>,
    /// After a nack with a delay.
    quiet_until: Option<Instant>,
    /// What retention took before this session began.
    missed: Option<Span>,
    once: bool,
}

impl Session {
    /// Takes the subscriber over from whoever had it; none where it has been deleted.
    pub(super) fn begin(subscription: &Arc<Subscription>, hub: &Arc<Hub>, via: Via) -> Option<Self> {
        let engine = Arc::clone(&subscription.engine);
        let missed = engine.state().get(subscription.id).and_then(|subscriber| subscriber.missed.hull());
        let (changed, ending) = (Arc::new(Notify::new()), Arc::new(OnceLock::new()));
        let start = engine.start();
        let mut inner = subscription.inner.lock();
        if inner.deleted {
            return None;
        }
        inner.end_session(Ending::TakenOver);
        let size = inner.window_size;
        inner.window.retire(start);
        let floor = inner.window.begin_session(size, Instant::now());
        inner.live = Some(Live { changed: Arc::clone(&changed), ending: Arc::clone(&ending) });
        inner.via = via;
        let source = Source::new(engine, Arc::clone(hub), Arc::clone(&inner.filter), floor);
        let generation = inner.generation;
        drop(inner);
        Some(Self {
            subscription: Arc::clone(subscription),
            generation,
            source,
            changed,
            ending,
            held: None,
            quiet_until: None,
            missed,
            once: false,
        })
    }

    /// Ends with [`Ending::Full`] once its window is full, or where it would send something again: its transport hears
    /// of acks only by the listener's return.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Everything matching below was sent, or need not be.
    #[must_use]
    pub fn position(&self) -> Offset {
        self.held.as_ref().map_or_else(|| self.source.position(), |held| held.offset)
    }

    /// Whether nothing is sent before an ack comes, or a delay is over.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.held.is_some() || self.quiet_until.is_some()
    }

    /// Whether it has read what there is, and takes from now on what is handed over.
    #[must_use]
    pub fn is_near(&self) -> bool {
        self.source.is_near()
    }

    /// Whose session it is.
    #[must_use]
    pub fn subscription(&self) -> &Arc<Subscription> {
        &self.subscription
    }

    /// What its acks carry.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What the subscriber asks for.
    #[must_use]
    pub fn filter(&self) -> Arc<Filter> {
        Arc::clone(&self.subscription.inner.lock().filter)
    }

    /// The next thing to do, waiting for it. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Damage and the file system's.
    pub async fn next(&mut self) -> Result<Delivery, EngineError> {
        loop {
            if let Some(delivery) = self.next_now() {
                return Ok(delivery);
            }
            let deadline = self.deadline();
            let blocked = self.held.is_some() || self.quiet_until.is_some();
            tokio::select! {
                () = self.changed.notified() => {}
                () = at(deadline) => {}
                step = self.source.next(), if !blocked => {
                    let step = step?;
                    // Somebody's nack may have come together with it: then it is no longer the next.
                    match self.look() {
                        Err(ended) => return Ok(Delivery::Ended(ended)),
                        Ok(true) => {
                            if matches!(step, Step::CaughtUp(_)) {
                                self.source.not_told();
                            }
                            continue;
                        }
                        Ok(false) => {}
                    }
                    if let Some(delivery) = self.take(step) {
                        return Ok(delivery);
                    }
                }
            }
        }
    }

    /// What is at hand, without waiting or reading.
    pub fn next_now(&mut self) -> Option<Delivery> {
        loop {
            if let Some(span) = self.missed.take() {
                let mut inner = self.subscription.inner.lock();
                // Told to a session that is over, it is not told to the one that lives.
                if inner.generation == self.generation {
                    inner.window.told(span);
                }
                return Some(Delivery::Gap(span));
            }
            if let Err(ended) = self.look() {
                return Some(Delivery::Ended(ended));
            }
            if self.quiet_until.is_some() {
                return None;
            }
            if self.held.is_none() {
                let step = self.source.next_now()?;
                if let Some(delivery) = self.take(step) {
                    return Some(delivery);
                }
            } else {
                let delivery = self.send_held();
                if delivery.is_some() || self.held.is_some() {
                    return delivery;
                }
            }
        }
    }

    /// Sees to what changed: the end, a way back, the time that is over. Tells whether delivery went back.
    fn look(&mut self) -> Result<bool, Ending> {
        let now = Instant::now();
        let mut inner = self.subscription.inner.lock();
        if inner.generation != self.generation {
            return Err(self.why());
        }
        let timeout = inner.ack_timeout;
        let overdue = |window: &Window| window.deadline(timeout).is_some_and(|deadline| deadline <= now);
        if self.once && (inner.window.is_full() || overdue(&inner.window)) {
            return Err(Ending::Full);
        }
        inner.window.expire(timeout, now);
        let rewind = inner.window.take_rewind();
        if let Some(rewind) = rewind {
            self.source.go_to(rewind.to);
            self.held = None;
            // Of two delays the longer one holds: nothing is sent meanwhile.
            self.quiet_until = self.quiet_until.max(Some(rewind.not_before));
        }
        self.quiet_until = self.quiet_until.filter(|until| *until > now);
        Ok(rewind.is_some())
    }

    /// What a step of the source means for this subscriber.
    fn take(&mut self, step: Step) -> Option<Delivery> {
        match step {
            Step::Event(event) => {
                self.held = Some(event);
                self.send_held()
            }
            Step::CaughtUp(end) => Some(Delivery::CaughtUp(end)),
            Step::Gap(span) => {
                let engine = &self.subscription.engine;
                let missed = engine.state().get(self.subscription.id).and_then(|subscriber| subscriber.missed.hull());
                // What retention took counts where something of his own was in it; damage always does.
                let retired = span.to <= engine.start();
                let mut inner = self.subscription.inner.lock();
                if inner.generation != self.generation {
                    return Some(Delivery::Ended(self.why()));
                }
                if !retired {
                    inner.window.reached(span.to);
                    return Some(Delivery::Gap(span));
                }
                inner.window.retire(span.to);
                let missed = missed?;
                inner.window.told(missed);
                Some(Delivery::Gap(missed))
            }
        }
    }

    fn send_held(&mut self) -> Option<Delivery> {
        let event = self.held.take()?;
        let mut inner = self.subscription.inner.lock();
        if inner.generation != self.generation {
            return Some(Delivery::Ended(self.why()));
        }
        match inner.window.wants(event.offset) {
            Want::Skip => None,
            Want::Full => {
                self.held = Some(event);
                None
            }
            Want::Send => {
                let attempt = inner.window.sent(event.offset, Instant::now());
                Some(Delivery::Event { event, attempt })
            }
        }
    }

    fn why(&self) -> Ending {
        self.ending.get().copied().unwrap_or(Ending::Moved)
    }

    /// When something is due without anybody's word.
    fn deadline(&self) -> Option<Instant> {
        let inner = self.subscription.inner.lock();
        let expiry = inner.window.deadline(inner.ack_timeout);
        [expiry, self.quiet_until].into_iter().flatten().min()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What it acknowledged is queued, and settled within 100 ms.
        let mut inner = self.subscription.inner.lock();
        if inner.generation == self.generation {
            inner.end_session(Ending::Moved);
        }
    }
}

/// Waits until then; for ever where there is no time.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => clock::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// A timeout for sessions whose transport knows itself when an event is lost.
pub(super) const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
