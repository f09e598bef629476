//! Whatever happens to subscribers, and in whatever order, is what a `Vec` says it must be (RELIABILITY 6.6).
//!
//! Random sequences of making, publishing, delivering, acknowledging, refusing, timing out, taking over, seeking,
//! changing, deleting, making again, retention, crashes, kills and clock jumps run against the broker's delivery on a
//! disk in memory, and against `support/reference.rs`. The runtime's time stands still but where a step moves it.
//!
//! An ordinary run takes sixty sequences, the same each time. `STENTOR_MODEL_SECONDS` says how long; `STENTOR_MODEL_SEED` runs one seed again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

#[path = "support/reference.rs"]
mod reference;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};
use reference::{ACK_TIMEOUT, CHANNELS, Due, FILTERS, Listener};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use stentor::clock::{Clock, Instant, Random};
use stentor::connector::{Egress, Sender};
use stentor::deliver::{AckRefused, Delivery, Ending, Registry, RegistryParts, Session, Subscription};
use stentor::engine::{Budget, Engine, EngineError, Local, LocalOptions, RetentionLimits};
use stentor::fs::{Choices, MemoryFs};
use stentor::ledger::{Entry, Via};
use stentor::log::Fill;
use stentor::model::{
    Event, EventId, Filter, Headers, Kind, Name, NewEvent, Offset, Place, Span, Spans, SubscriberSettings, Timestamp,
};
use stentor::notify::Hub;

const NAMES: [&str; 2] = ["one", "two"];

/// What happens next. Numbers are drawn small and large, and mean what is there modulo their size.
#[derive(Debug, Clone)]
enum Step {
    /// Events on these channels; one batch, or each for itself; handed over at once, or later.
    Publish {
        channels: Vec<usize>,
        batch: bool,
        hand_over: bool,
    },
    /// The hub gives a stretch up, as it does when a burst has outrun it.
    Lose,
    /// Makes a subscriber, or changes one.
    Put {
        who: usize,
        filter: usize,
        window: u32,
        from: usize,
    },
    Delete {
        who: usize,
    },
    /// A session begins; whoever had the subscriber is taken over.
    Attach {
        who: usize,
    },
    Detach {
        who: usize,
    },
    /// Takes so many deliveries; `park` leaves the session waiting when there is nothing.
    Take {
        who: usize,
        count: usize,
        park: bool,
    },
    AckThrough {
        who: usize,
        pick: usize,
    },
    AckEach {
        who: usize,
        picks: Vec<usize>,
    },
    Nack {
        who: usize,
        pick: usize,
        delayed: bool,
    },
    Reject {
        who: usize,
        pick: usize,
    },
    Working {
        who: usize,
        pick: usize,
    },
    /// A session that is over says something.
    OldWord {
        who: usize,
        pick: usize,
    },
    Seek {
        who: usize,
        to: usize,
    },
    /// Everything acknowledged is written down.
    Settle,
    /// Two ack timeouts go by.
    TimeOut,
    /// The oldest segment goes.
    Retire,
    /// The wall clock jumps.
    Jump {
        to: u64,
    },
    /// The power goes, or just the process.
    Crash {
        seed: Option<u64>,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || 0..NAMES.len();
    let pick = || prop_oneof![6 => 0usize..8, 1 => 0usize..80];
    let one = prop_oneof![
        8 => (prop::collection::vec(0..CHANNELS.len(), 1..7), any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(channels, batch, hand_over)| Step::Publish { channels, batch, hand_over }),
        1 => Just(Step::Lose),
        5 => (who(), 0..FILTERS.len(), 1u32..6, 0usize..40)
            .prop_map(|(who, filter, window, from)| Step::Put { who, filter, window, from }),
        1 => who().prop_map(|who| Step::Delete { who }),
        6 => who().prop_map(|who| Step::Attach { who }),
        1 => who().prop_map(|who| Step::Detach { who }),
        16 => (who(), 1usize..6, any::<bool>()).prop_map(|(who, count, park)| Step::Take { who, count, park }),
        6 => (who(), pick()).prop_map(|(who, pick)| Step::AckThrough { who, pick }),
        5 => (who(), prop::collection::vec(pick(), 1..4)).prop_map(|(who, picks)| Step::AckEach { who, picks }),
        3 => (who(), pick(), any::<bool>()).prop_map(|(who, pick, delayed)| Step::Nack { who, pick, delayed }),
        2 => (who(), pick()).prop_map(|(who, pick)| Step::Reject { who, pick }),
        1 => (who(), pick()).prop_map(|(who, pick)| Step::Working { who, pick }),
        2 => (who(), pick()).prop_map(|(who, pick)| Step::OldWord { who, pick }),
        2 => (who(), 0usize..60).prop_map(|(who, to)| Step::Seek { who, to }),
        2 => Just(Step::Settle),
        3 => Just(Step::TimeOut),
        2 => Just(Step::Retire),
        1 => (0u64..2_000_000_000_000_000).prop_map(|to| Step::Jump { to }),
        2 => prop::option::of(any::<u64>()).prop_map(|seed| Step::Crash { seed }),
    ];
    prop::collection::vec(one, 1..90)
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

type Next = Pin<Box<dyn Future<Output = (Box<Session>, Result<Delivery, EngineError>)> + Send>>;

/// A session in the test's hands: at rest, or waiting for what comes next and woken as an executor would be.
enum Held {
    Idle(Box<Session>),
    Waiting { next: Next, woken: Arc<Flag>, subscription: Arc<Subscription>, generation: u64 },
}

impl Held {
    fn word(&self) -> (Arc<Subscription>, u64) {
        match self {
            Held::Idle(session) => (Arc::clone(session.subscription()), session.generation()),
            Held::Waiting { subscription, generation, .. } => (Arc::clone(subscription), *generation),
        }
    }

    fn park(self) -> Self {
        let (subscription, generation) = self.word();
        match self {
            Held::Idle(mut session) => Held::Waiting {
                next: Box::pin(async move {
                    let next = session.next().await;
                    (session, next)
                }),
                woken: Arc::new(Flag(AtomicBool::new(true))),
                subscription,
                generation,
            },
            waiting => waiting,
        }
    }

    /// Looks once for what comes next. Whoever waits is asked only when it was woken (invariant 30).
    fn poll(self) -> (Self, Option<Delivery>) {
        match self {
            Held::Idle(mut session) => {
                let next = {
                    // Dropped when it is not ready: that loses nothing.
                    let next = std::pin::pin!(session.next());
                    next.poll(&mut Context::from_waker(Waker::noop()))
                };
                match next {
                    Poll::Ready(delivery) => (Held::Idle(session), Some(delivery.unwrap())),
                    Poll::Pending => (Held::Idle(session), None),
                }
            }
            Held::Waiting { mut next, woken, subscription, generation } => {
                if woken.0.swap(false, Ordering::SeqCst) {
                    let waker = Waker::from(Arc::clone(&woken));
                    if let Poll::Ready((session, delivery)) = next.as_mut().poll(&mut Context::from_waker(&waker)) {
                        return (Held::Idle(session), Some(delivery.unwrap()));
                    }
                }
                (Held::Waiting { next, woken, subscription, generation }, None)
            }
        }
    }
}

/// One life of the broker's delivery.
struct Life {
    engine: Arc<Local>,
    hub: Arc<Hub>,
    registry: Arc<Registry>,
}

struct World {
    fs: MemoryFs,
    life: Life,
    clock: Arc<AtomicU64>,
    random: Arc<Random>,
    sender: Arc<Sender>,
    /// The model's log: the channel of each event.
    log: Vec<usize>,
    start: usize,
    listeners: BTreeMap<usize, Listener>,
    sessions: BTreeMap<usize, Held>,
    /// Sessions that are over, newest last, for their words to be refused.
    old: BTreeMap<usize, Vec<Held>>,
    ids: BTreeSet<u64>,
    newest_time: Timestamp,
}

type Checked<T = ()> = Result<T, TestCaseError>;

fn name(who: usize) -> Name {
    Name::parse("name", NAMES[who]).unwrap()
}

fn event(channel: usize) -> NewEvent {
    // Five or six fill a segment.
    let payload = format!("\"{}\"", "x".repeat(500));
    let id = EventId::Made([0; 16]);
    NewEvent::check(CHANNELS[channel], id, None, Headers::default(), None, payload.into()).unwrap()
}

/// Lets tasks and threads go on. The runtime's time does not move by it.
async fn breathe(spin: usize) {
    tokio::task::yield_now().await;
    if spin > 4 {
        std::thread::sleep(Duration::from_micros(20));
    }
}

impl World {
    fn live(fs: &MemoryFs, clock: &Arc<AtomicU64>, random: &Arc<Random>, sender: &Arc<Sender>) -> Life {
        let options = LocalOptions {
            event_segment_bytes: 4096,
            ledger_segment_bytes: 4096,
            fill: Fill::Never,
            clock: Clock::Manual(Arc::clone(clock)),
            random: Arc::clone(random),
            ..LocalOptions::new("data")
        };
        let engine = Arc::new(Local::open(Arc::new(fs.clone()), &options).expect("what a crash leaves opens").engine);
        let hub = Hub::new(engine.end());
        let registry = Registry::start(RegistryParts {
            engine: Arc::<Local>::clone(&engine),
            hub: Arc::clone(&hub),
            sender: Arc::clone(sender),
            clock: Clock::Manual(Arc::clone(clock)),
            random: Arc::clone(random),
            metrics: Arc::default(),
        });
        Life { engine, hub, registry }
    }

    fn new(seed: u64) -> Self {
        let _already = rustls::crypto::ring::default_provider().install_default().is_err();
        let clock = Arc::new(AtomicU64::new(1_000_000_000_000_000));
        let random = Arc::new(Random::seeded(seed));
        let egress = Egress { loopback: true, ..Egress::default() };
        let sender = Arc::new(Sender::new(egress, Clock::Manual(Arc::clone(&clock))).unwrap());
        let fs = MemoryFs::new();
        Self {
            life: Self::live(&fs, &clock, &random, &sender),
            fs,
            clock,
            random,
            sender,
            log: Vec::new(),
            start: 0,
            listeners: BTreeMap::new(),
            sessions: BTreeMap::new(),
            old: BTreeMap::new(),
            ids: BTreeSet::new(),
            newest_time: Timestamp(0),
        }
    }

    async fn run(&mut self, steps: Vec<Step>) -> Checked {
        for (n, step) in steps.into_iter().enumerate() {
            let told = format!("step {n}, {step:?}");
            self.step(step).await.map_err(|error| match error {
                TestCaseError::Fail(why) => TestCaseError::fail(format!("{told}: {why}")),
                reject => reject,
            })?;
        }
        self.drain().await
    }

    async fn step(&mut self, step: Step) -> Checked {
        match step {
            Step::Publish { channels, batch, hand_over } => self.publish(channels, batch, hand_over).await,
            Step::Lose => {
                let (handed, end) = (self.life.hub.handed(), self.life.engine.end());
                if handed < end {
                    self.life.hub.lose(handed, end);
                }
                Ok(())
            }
            Step::Put { who, filter, window, from } => self.put(who, filter, window, from).await,
            Step::Delete { who } => self.delete(who).await,
            Step::Attach { who } => self.attach(who),
            Step::Detach { who } => {
                self.sessions.remove(&who);
                self.listeners.get_mut(&who).into_iter().for_each(Listener::end);
                Ok(())
            }
            Step::Take { who, count, park } => {
                self.hand_over();
                for _ in 0..count {
                    if !self.take(who, park).await? {
                        break;
                    }
                }
                Ok(())
            }
            Step::AckThrough { who, pick } => self.ack_through(who, pick),
            Step::AckEach { who, picks } => self.ack_each(who, &picks),
            Step::Nack { who, pick, delayed } => self.nack(who, pick, delayed),
            Step::Reject { who, pick } => self.reject(who, pick),
            Step::Working { who, pick } => self.working(who, pick),
            Step::OldWord { who, pick } => self.old_word(who, pick),
            Step::Seek { who, to } => self.seek(who, to).await,
            Step::Settle => {
                self.life.registry.settle_all().await;
                self.listeners.values_mut().for_each(Listener::keep);
                self.cursors_are_right(true)
            }
            Step::TimeOut => {
                self.hand_over();
                tokio::time::advance(ACK_TIMEOUT * 2).await;
                for who in 0..NAMES.len() {
                    self.take(who, false).await?;
                }
                Ok(())
            }
            Step::Retire => self.retire().await,
            Step::Jump { to } => {
                self.clock.store(to, Ordering::SeqCst);
                Ok(())
            }
            Step::Crash { seed } => self.crash(seed).await,
        }
    }

    fn end(&self) -> usize {
        self.log.len()
    }

    fn hand_over(&self) {
        let (handed, end) = (self.life.hub.handed(), self.life.engine.end());
        if handed < end {
            match self.life.engine.recent(handed) {
                Some(events) => self.life.hub.hand_over(&events, end),
                None => self.life.hub.lose(handed, end),
            }
        }
    }

    async fn publish(&mut self, channels: Vec<usize>, batch: bool, hand_over: bool) -> Checked {
        let groups: Vec<Vec<usize>> =
            if batch { vec![channels] } else { channels.into_iter().map(|channel| vec![channel]).collect() };
        for group in groups {
            let placed = self.life.engine.append(group.iter().copied().map(event).collect()).await.unwrap();
            prop_assert_eq!(placed[0].offset.0 as usize, self.end(), "invariant 2: offsets are dense");
            for place in &placed {
                prop_assert!(place.time >= self.newest_time, "invariant 28: a clock that jumps changes no order");
                self.newest_time = place.time;
            }
            self.log.extend(group);
            let end = self.end();
            self.listeners.values_mut().for_each(|listener| listener.marks.resize(end, Default::default()));
        }
        if hand_over {
            self.hand_over();
        }
        Ok(())
    }

    async fn put(&mut self, who: usize, filter: usize, window: u32, from: usize) -> Checked {
        let channels = Filter::parse(FILTERS[filter].0).unwrap();
        let settings = SubscriberSettings { window, ack_timeout: ACK_TIMEOUT, ..SubscriberSettings::new(channels) };
        let place = from % (self.end() + 1);
        let made = self
            .life
            .registry
            .put_subscriber(&name(who), settings, Some(Place::At(Offset(place as u64))))
            .await
            .unwrap();
        prop_assert_eq!(made.created, !self.listeners.contains_key(&who));
        let id = self.life.engine.state().named(NAMES[who]).unwrap().id.0;
        match self.listeners.get_mut(&who) {
            Some(listener) => {
                prop_assert_eq!(listener.id, id, "a change keeps the subscriber");
                listener.change(&self.log, self.start, filter, window as usize);
                listener.keep();
                self.is_over(who, Ending::Moved).await?;
            }
            None => {
                prop_assert!(self.ids.insert(id), "invariant 23: a name made again is somebody new");
                let mut listener = Listener::new(id, filter, window as usize, &self.log, place, Instant::now());
                // Asked for from below the start: what it cannot have is told, whatever it is.
                listener.untold = (place < self.start).then_some(self.start);
                self.listeners.insert(who, listener);
            }
        }
        self.cursors_are_right(true)
    }

    async fn delete(&mut self, who: usize) -> Checked {
        let deleted = self.life.registry.delete(Kind::Subscriber, NAMES[who]).await;
        prop_assert_eq!(deleted.is_ok(), self.listeners.remove(&who).is_some());
        prop_assert!(self.life.engine.state().named(NAMES[who]).is_none());
        // Invariant 24: nothing but its end reaches a session of who is deleted.
        self.is_over(who, Ending::Moved).await
    }

    fn attach(&mut self, who: usize) -> Checked {
        let session = self.life.registry.attach(NAMES[who], Via::InProcess);
        prop_assert_eq!(session.is_ok(), self.listeners.contains_key(&who));
        let (Ok(session), Some(listener)) = (session, self.listeners.get_mut(&who)) else { return Ok(()) };
        listener.begin(self.start, Instant::now());
        if let Some(old) = self.sessions.insert(who, Held::Idle(Box::new(session))) {
            let ended = Self::ending(old)?;
            prop_assert_eq!(ended.1, Ending::TakenOver, "invariant 23");
            self.retired_session(who, ended.0);
        }
        Ok(())
    }

    /// A session that is over says so, and nothing else but a gap that it owed. Whoever waits is woken (invariant 30).
    fn ending(mut held: Held) -> Checked<(Held, Ending)> {
        for _ in 0..4 {
            let (still, delivery) = held.poll();
            held = still;
            match delivery {
                Some(Delivery::Ended(ending)) => return Ok((held, ending)),
                Some(Delivery::Gap(_)) => {}
                other => prop_assert!(false, "invariants 23, 24 and 30: a session that is over says so, not {other:?}"),
            }
        }
        Err(TestCaseError::fail("a session that is over says so"))
    }

    fn retired_session(&mut self, who: usize, held: Held) {
        let old = self.old.entry(who).or_default();
        old.push(held);
        if old.len() > 2 {
            old.remove(0);
        }
    }

    async fn is_over(&mut self, who: usize, ending: Ending) -> Checked {
        if let Some(held) = self.sessions.remove(&who) {
            let (held, told) = Self::ending(held)?;
            prop_assert_eq!(told, ending);
            self.retired_session(who, held);
        }
        Ok(())
    }

    /// Takes what is due, which is known before. Tells whether it was an event.
    async fn take(&mut self, who: usize, park: bool) -> Checked<bool> {
        let Some(mut held) = self.sessions.remove(&who) else { return Ok(false) };
        if park {
            held = held.park();
        }
        let mut got = false;
        for spin in 0.. {
            let listener = self.listeners.get_mut(&who).unwrap();
            let due = listener.due(&self.log, self.start, Instant::now());
            let (still, delivery) = held.poll();
            held = still;
            match delivery {
                Some(Delivery::Event { event, attempt }) => {
                    self.delivered(who, due, &event, attempt)?;
                    got = true;
                    break;
                }
                Some(Delivery::CaughtUp(end)) => self.caught_up(who, end)?,
                Some(Delivery::Gap(span)) => self.gap(who, span)?,
                Some(Delivery::Ended(ending)) => prop_assert!(false, "invariant 23: nobody took over: {ending:?}"),
                None if due == Due::Nothing && spin >= 3 => break,
                None => {
                    prop_assert!(spin < 4_000, "invariants 18 and 30: {due:?} is due and does not come");
                    if spin % 40 == 39 {
                        // Acks take room until they are durable, and that is seen to every 100 ms.
                        tokio::time::advance(Duration::from_millis(100)).await;
                    }
                    breathe(spin).await;
                    continue;
                }
            }
            if park {
                held = held.park();
            }
        }
        self.sessions.insert(who, held);
        Ok(got)
    }

    fn delivered(&mut self, who: usize, due: Due, event: &Event, attempt: u32) -> Checked {
        let listener = self.listeners.get_mut(&who).unwrap();
        let offset = event.offset.0 as usize;
        prop_assert!(offset < self.log.len(), "invariant 12");
        prop_assert_eq!(event.head.channel.as_str(), CHANNELS[self.log[offset]], "invariant 1");
        prop_assert_eq!(Due::Event(offset), due, "invariants 17, 19, 20: the next matching one that is not done");
        prop_assert!(
            listener.untold.is_none_or(|to| offset < to),
            "invariant 16: a gap below {:?} is not told",
            listener.untold
        );
        let sends = listener.sent(&self.log, offset, Instant::now());
        prop_assert_eq!(attempt, sends, "the attempts of {}", offset);
        prop_assert!(listener.live() <= listener.window, "invariant 20");
        Ok(())
    }

    fn caught_up(&mut self, who: usize, end: Offset) -> Checked {
        let listener = self.listeners.get_mut(&who).unwrap();
        let Some(reader) = &mut listener.reader else { return Ok(()) };
        prop_assert!(!std::mem::replace(&mut reader.caught_up, true), "caught up is told once");
        let position = reader.position;
        let left = listener.waiting(&self.log, position).next();
        prop_assert!(left.is_none_or(|left| left >= end.0 as usize), "caught up at {end}, and {left:?} was not given");
        Ok(())
    }

    fn gap(&mut self, who: usize, span: Span) -> Checked {
        let listener = self.listeners.get_mut(&who).unwrap();
        prop_assert!(
            span.to.0 as usize <= self.start,
            "invariant 13: a gap {span:?} covers what is kept, from {}",
            self.start
        );
        listener.gap(span.to.0 as usize);
        Ok(())
    }

    /// An offset that a word could be about: mostly an open one.
    fn pick(&self, who: usize, pick: usize) -> usize {
        let open = self.listeners.get(&who).map_or_else(Vec::new, Listener::open);
        open.get(pick).copied().unwrap_or(pick % (self.end() + 2))
    }

    fn ack_through(&mut self, who: usize, pick: usize) -> Checked {
        let offset = self.pick(who, pick);
        let (Some(held), Some(listener)) = (self.sessions.get(&who), self.listeners.get_mut(&who)) else {
            return Ok(());
        };
        let (subscription, generation) = held.word();
        let done = subscription.ack_through(generation, Offset(offset as u64));
        if listener.may_ack(offset) {
            prop_assert!(done.is_ok(), "{offset} may be acknowledged: {done:?}");
            (0..=offset).for_each(|n| listener.finish(n, Instant::now()));
            listener.forgive(&self.log);
        } else {
            prop_assert!(
                done.is_err() || listener.is_behind(&self.log, self.start, offset),
                "invariant 17: {offset} was not delivered, or was taken back"
            );
        }
        Ok(())
    }

    fn ack_each(&mut self, who: usize, picks: &[usize]) -> Checked {
        let offsets: Vec<usize> = picks.iter().map(|pick| self.pick(who, *pick)).collect();
        let (Some(held), Some(listener)) = (self.sessions.get(&who), self.listeners.get_mut(&who)) else {
            return Ok(());
        };
        let (subscription, generation) = held.word();
        let words: Vec<Offset> = offsets.iter().map(|n| Offset(*n as u64)).collect();
        let done = subscription.ack_each(generation, &words);
        if offsets.iter().all(|n| listener.may_ack(*n)) {
            prop_assert!(done.is_ok(), "{offsets:?} may be acknowledged: {done:?}");
        }
        if done.is_ok() {
            for offset in offsets {
                prop_assert!(
                    listener.may_ack(offset) || listener.is_behind(&self.log, self.start, offset),
                    "invariant 17: {offset} was not delivered, or was taken back"
                );
                if listener.is_open(offset) {
                    listener.finish(offset, Instant::now());
                }
            }
            listener.forgive(&self.log);
        }
        Ok(())
    }

    fn nack(&mut self, who: usize, pick: usize, delayed: bool) -> Checked {
        let offset = self.pick(who, pick);
        let (Some(held), Some(listener)) = (self.sessions.get(&who), self.listeners.get_mut(&who)) else {
            return Ok(());
        };
        let (subscription, generation) = held.word();
        let delay = if delayed { ACK_TIMEOUT } else { Duration::ZERO };
        let done = subscription.nack(generation, Offset(offset as u64), delay);
        prop_assert_eq!(done.is_ok(), listener.is_open(offset), "a nack of {}", offset);
        if done.is_ok() {
            listener.nack(offset, delay, Instant::now());
        }
        Ok(())
    }

    fn reject(&mut self, who: usize, pick: usize) -> Checked {
        let offset = self.pick(who, pick);
        let (Some(held), Some(listener)) = (self.sessions.get(&who), self.listeners.get_mut(&who)) else {
            return Ok(());
        };
        let (subscription, generation) = held.word();
        let id = subscription.id();
        let dead = |attempts| Entry::Dead {
            id,
            offset: Offset(offset as u64),
            attempts,
            status: None,
            reason: "rejected".to_owned(),
        };
        let done = subscription.give_up(generation, Offset(offset as u64), dead);
        prop_assert_eq!(done.is_ok(), listener.is_open(offset), "a reject of {}", offset);
        if done.is_ok() {
            listener.finish(offset, Instant::now());
            listener.forgive(&self.log);
        }
        Ok(())
    }

    fn working(&mut self, who: usize, pick: usize) -> Checked {
        let offset = self.pick(who, pick);
        let (Some(held), Some(listener)) = (self.sessions.get(&who), self.listeners.get_mut(&who)) else {
            return Ok(());
        };
        let (subscription, generation) = held.word();
        let done = subscription.working(generation, Offset(offset as u64));
        prop_assert_eq!(done.is_ok(), listener.is_open(offset), "working on {}", offset);
        if done.is_ok() {
            listener.marks[offset].since = Some(Instant::now());
        }
        Ok(())
    }

    /// Invariant 23: what an old session says has no effect, whatever it says.
    fn old_word(&mut self, who: usize, pick: usize) -> Checked {
        let offset = Offset(self.pick(who, pick) as u64);
        for held in self.old.get(&who).into_iter().flatten() {
            let (subscription, generation) = held.word();
            let said = [
                subscription.ack_through(generation, offset),
                subscription.ack_each(generation, &[offset]),
                subscription.nack(generation, offset, Duration::ZERO),
                subscription.working(generation, offset),
            ];
            for word in said {
                prop_assert_eq!(word, Err(AckRefused::Over), "invariant 23");
            }
            let gave_up = subscription.give_up(generation, offset, |_| panic!("invariant 23: an old word is taken"));
            prop_assert_eq!(gave_up.map(drop), Err(AckRefused::Over), "invariant 23");
        }
        Ok(())
    }

    async fn seek(&mut self, who: usize, to: usize) -> Checked {
        let to = to % (self.end() + 1);
        let sought = self.life.registry.seek(Kind::Subscriber, NAMES[who], Place::At(Offset(to as u64))).await;
        let Some(listener) = self.listeners.get_mut(&who) else {
            prop_assert!(sought.is_err());
            return Ok(());
        };
        listener.seek(to.max(self.start));
        prop_assert_eq!(sought.unwrap().0 as usize, listener.cursor(&self.log, self.start), "invariant 16");
        self.is_over(who, Ending::Moved).await
    }

    async fn retire(&mut self) -> Checked {
        let engine = Arc::clone(&self.life.engine);
        let limits = RetentionLimits { max_bytes: Some(0), ..RetentionLimits::default() };
        let now = Timestamp(self.clock.load(Ordering::SeqCst));
        let start = tokio::task::spawn_blocking(move || engine.maintain(limits, now)).await.unwrap().unwrap();
        if let Some(start) = start {
            prop_assert!(start.0 as usize > self.start && start.0 as usize <= self.end());
            self.start = start.0 as usize;
            self.listeners.values_mut().for_each(|listener| listener.retire(&self.log, start.0 as usize));
        }
        prop_assert_eq!(self.life.engine.start().0 as usize, self.start);
        Ok(())
    }

    /// Invariant 16, for what is shown. `settled`: everything that was acknowledged is durable.
    fn cursors_are_right(&self, settled: bool) -> Checked {
        for view in self.life.registry.views(None) {
            let (_, listener) = self.listeners.iter().find(|(who, _)| NAMES[**who] == view.name).unwrap();
            let cursor = view.cursor.0 as usize;
            let accepted = listener.cursor(&self.log, self.start);
            prop_assert!(
                cursor >= self.start && cursor <= accepted,
                "invariants 16, 17: {cursor}, and {accepted} is not done"
            );
            if settled {
                let kept = (self.start..self.end())
                    .find(|n| FILTERS[listener.filter].1[self.log[*n]] && !listener.marks[*n].kept);
                prop_assert!(cursor >= kept.unwrap_or(self.end()), "invariant 16: {cursor} fell behind {kept:?}");
            }
        }
        Ok(())
    }

    async fn crash(&mut self, seed: Option<u64>) -> Checked {
        self.cursors_are_right(false)?;
        let left = match seed {
            Some(seed) => self.fs.crash(&mut Choices::seeded(seed)),
            None => self.fs.fork(),
        };
        self.sessions.clear();
        self.old.clear();
        self.life.registry.stop(Duration::MAX).await;
        self.life.engine.close();
        self.fs = left;
        self.life = Self::live(&self.fs, &self.clock, &self.random, &self.sender);
        prop_assert_eq!(self.life.engine.end().0 as usize, self.end(), "invariants 1, 2");
        prop_assert_eq!(self.life.engine.start().0 as usize, self.start, "invariant 13");
        self.everything_is_there().await?;
        let engine = Arc::clone(&self.life.engine);
        let state = engine.state();
        prop_assert_eq!(state.subscribers().len(), self.listeners.len());
        for (who, listener) in &mut self.listeners {
            let subscriber = state.named(NAMES[*who]).unwrap();
            prop_assert_eq!(subscriber.id.0, listener.id);
            let mut again = 0;
            for n in self.start..self.log.len() {
                let done = subscriber.is_done(Offset(n as u64));
                let mark = &mut listener.marks[n];
                if FILTERS[listener.filter].1[self.log[n]] {
                    prop_assert!(done || !mark.kept, "invariant 16: {n} was durable and is wanted again");
                    prop_assert!(!done || mark.done, "invariant 17: {n} is passed, and nobody acknowledged it");
                }
                again += usize::from(!done && (mark.live || mark.done && mark.sends > 0));
                *mark = reference::Mark { done, kept: done, ..Default::default() };
            }
            prop_assert!(
                again <= listener.window,
                "invariant 21: {again} come again, and the window is {}",
                listener.window
            );
            listener.end();
            listener.retire(&self.log, self.start);
        }
        drop(state);
        self.history_is_right()
    }

    async fn everything_is_there(&self) -> Checked {
        let (mut at, end) = (self.life.engine.start(), self.life.engine.end());
        let filter = Arc::new(Filter::everything());
        while at < end {
            let page = self.life.engine.read(Span::new(at, end), &filter, Budget::SESSION, None).await.unwrap();
            prop_assert!(page.gap.is_none() && page.next > at);
            for event in page.events {
                prop_assert_eq!(event.offset, at, "invariant 1");
                prop_assert_eq!(event.head.channel.as_str(), CHANNELS[self.log[at.0 as usize]], "invariant 1");
                at = at.next();
            }
            at = at.max(page.next);
        }
        Ok(())
    }

    /// Invariants 17 and 33, from the ledger alone: between two seeks an event has one last word, and no floor is
    /// beyond an event without one.
    fn history_is_right(&self) -> Checked {
        let engine = &self.life.engine;
        let mut words: BTreeMap<u64, Spans> = BTreeMap::new();
        let mut at = Offset::ZERO;
        while at < *engine.follow_ledger().borrow() {
            let (entries, next) = engine.history(at).unwrap();
            at = next;
            for recorded in entries {
                let (id, spans): (u64, Vec<Span>) = match recorded.entry {
                    Entry::Acked { id, spans, .. } => (id.0, spans.iter().map(|acked| acked.span).collect()),
                    Entry::Dead { id, offset, .. } => (id.0, vec![Span::one(offset)]),
                    Entry::Skipped { id, spans, .. } => (id.0, spans.iter().map(|sent| sent.span).collect()),
                    Entry::Sought { id, cursor } => {
                        words.insert(id.0, Spans::new());
                        words.entry(id.0).or_default().insert(Span::new(Offset::ZERO, cursor));
                        continue;
                    }
                    Entry::Made { id, cursor, .. } => {
                        words.entry(id.0).or_default().insert(Span::new(Offset::ZERO, cursor));
                        continue;
                    }
                    _ => continue,
                };
                let said = words.entry(id).or_default();
                for span in spans {
                    let new: u64 = said.missing(span).iter().map(|part| part.to.since(part.from)).sum();
                    prop_assert_eq!(new, span.to.since(span.from), "invariant 33: {:?} has two last words", span);
                    said.insert(span);
                }
            }
        }
        for subscriber in engine.state().subscribers() {
            let said = &words[&subscriber.id.0];
            for n in self.start..subscriber.floor.0 as usize {
                let his = subscriber.channels_at(Offset(n as u64)).matches(CHANNELS[self.log[n]]);
                prop_assert!(
                    !his || said.contains(Offset(n as u64)),
                    "invariant 17: the floor passed {n} without a word"
                );
            }
        }
        Ok(())
    }

    /// Invariant 18: once faults stop, everything is acknowledged in the end.
    async fn drain(&mut self) -> Checked {
        for who in self.listeners.keys().copied().collect::<Vec<_>>() {
            self.hand_over();
            self.attach(who)?;
            loop {
                let more = self.take(who, true).await?;
                let listener = &self.listeners[&who];
                match listener.open().iter().rev().find(|n| listener.may_ack(**n)).copied() {
                    Some(newest) => {
                        let pick = listener.open().iter().position(|n| *n == newest).unwrap();
                        self.ack_through(who, pick)?;
                    }
                    None if !more => break,
                    None => {}
                }
            }
        }
        self.life.registry.settle_all().await;
        self.listeners.values_mut().for_each(Listener::keep);
        for view in self.life.registry.views(None) {
            prop_assert_eq!(view.cursor.0 as usize, self.end(), "invariant 18");
        }
        self.cursors_are_right(true)?;
        self.history_is_right()?;
        self.sessions.clear();
        self.old.clear();
        self.life.registry.stop(Duration::MAX).await;
        self.life.engine.close();
        Ok(())
    }
}

fn run(seed: u64, steps: Vec<Step>) -> Checked {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    // The paused time would leap on whenever a task waits for the disk. It does not while blocking work is under way.
    let (stop, stopped) = std::sync::mpsc::sync_channel::<()>(0);
    runtime.block_on(async {
        let _still = tokio::task::spawn_blocking(move || stopped.recv());
        let outcome = World::new(seed).run(steps).await;
        drop(stop);
        outcome
    })
}

/// Sequences of an ordinary run.
const ORDINARY: u64 = 60;

#[test]
fn delivery_does_what_a_vec_says() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let only = number("STENTOR_MODEL_SEED");
    let until = Instant::now() + Duration::from_secs(number("STENTOR_MODEL_SECONDS").unwrap_or(15));
    // An ordinary run is the same each time; who gives it time gets sequences that nobody tried.
    let longer = std::env::var_os("STENTOR_MODEL_SECONDS").is_some();
    let first = only.unwrap_or_else(|| if longer { Random::from_machine().next() } else { 1 });
    let mut cases = 0u64;
    for seed in (0..).map(|n| first.wrapping_add(n)) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config =
            ProptestConfig { cases: 1, failure_persistence: None, max_shrink_iters: 3_000, ..Default::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        match runner.run(&steps(), |steps| run(seed, steps)) {
            Ok(()) => {}
            Err(TestError::Fail(why, steps)) => {
                let steps: Vec<String> = steps.iter().map(|step| format!("  {step:?}")).collect();
                panic!("STENTOR_MODEL_SEED={seed}: {why}\n{}", steps.join("\n"))
            }
            Err(error) => panic!("STENTOR_MODEL_SEED={seed}: {error}"),
        }
        cases += 1;
        if only.is_some() || Instant::now() >= until || (!longer && cases == ORDINARY) {
            break;
        }
    }
    println!("{cases} sequences, from seed {first} on");
}

/// What the machine found, each with its story.
#[test]
fn what_was_found_stays_found() {
    let put = |filter, from| Step::Put { who: 0, filter, window: 1, from };
    let publish = |channels: &[usize]| Step::Publish { channels: channels.to_vec(), batch: false, hand_over: false };
    let take = || Step::Take { who: 0, count: 1, park: false };
    let stories = [
        // Retention took events that he had not acknowledged; then his patterns changed, and with that the floor passed
        // the gap before it was told. It never was (invariant 16).
        vec![
            put(0, 0),
            publish(&[0; 6]),
            Step::Retire,
            put(1, 0),
            publish(&[2, 0]),
            put(0, 0),
            Step::Attach { who: 0 },
        ],
        // An event was open when retention took it; it held the floor back when his patterns changed, so that the
        // cursor fell to the new start, and what the old patterns had not asked for was delivered (invariant 16).
        vec![
            publish(&[0, 0, 0, 2]),
            put(1, 0),
            publish(&[0, 0]),
            Step::Attach { who: 0 },
            take(),
            publish(&[0]),
            Step::Retire,
            put(2, 0),
        ],
        // A session was sent what retention then took. The next one said "done" of it before it was told of the gap,
        // which changed nothing; but the floor moved over what did not match behind it, and that counted as the answer
        // to a gap that nobody had told (promise 6 of PROTOCOL 4).
        vec![
            publish(&[0; 6]),
            publish(&[2, 0, 0, 0]),
            Step::Retire,
            Step::Put { who: 0, filter: 1, window: 2, from: 11 },
            publish(&[1, 0]),
            Step::Publish { channels: vec![1, 0, 0, 0, 2], batch: true, hand_over: true },
            Step::Attach { who: 0 },
            Step::Take { who: 0, count: 3, park: false },
            Step::Retire,
            Step::Attach { who: 0 },
            Step::AckEach { who: 0, picks: vec![4, 6] },
        ],
    ];
    for (n, story) in stories.into_iter().enumerate() {
        run(n as u64, story.clone()).unwrap_or_else(|why| panic!("story {n}: {why}\n{story:?}"));
    }
}
