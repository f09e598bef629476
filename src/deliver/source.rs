//! The next event for one listener, near the tail or far back.
//!
//! A session that is *near* gets events by hand-over from the hub; one that is *far* reads the log until
//! it is near again. The switch: register first, then read the log up to where the hand-over begins,
//! then take what was handed over. So there is neither gap nor repeat, at any speed.

use crate::engine::{Budget, Engine, EngineError, Page, ReadHint};
use crate::model::{Event, Filter, Offset, Span};
use crate::notify::{Handed, Hub, Registration};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::Notify;

/// Who is not further behind than this registers for the hand-over.
const NEAR: u64 = 1_024;

/// What comes next.
#[derive(Debug)]
pub enum Step {
    /// An event that matches.
    Event(Arc<Event>),
    /// Offsets that cannot be had any more.
    Gap(Span),
    /// Every matching event below this offset was given; told once.
    CaughtUp(Offset),
}

type Reading = Pin<Box<dyn Future<Output = Result<Page, EngineError>> + Send>>;

/// Where a listener's events come from.
pub struct Source {
    engine: Arc<dyn Engine>,
    hub: Arc<Hub>,
    filter: Arc<Filter>,
    filled: Arc<Notify>,
    /// Everything matching below was given.
    position: Offset,
    /// Read and not yet given; behind them reading goes on at `read_to`.
    ready: VecDeque<Arc<Event>>,
    read_to: Offset,
    hint: ReadHint,
    /// A read under way: kept here, so that whoever stops waiting loses nothing.
    reading: Option<Reading>,
    near: Option<Registration>,
    /// Where the hand-over takes over: the log's end when this session registered. The hub may be behind it
    /// still, and what was acknowledged before a listener came must not come after its "caught up".
    live_from: Offset,
    told_caught_up: bool,
}

impl Source {
    /// Events that match, from `from` on.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, hub: Arc<Hub>, filter: Arc<Filter>, from: Offset) -> Self {
        Self {
            engine,
            hub,
            filter,
            filled: Arc::new(Notify::new()),
            position: from,
            ready: VecDeque::new(),
            read_to: from,
            hint: None,
            reading: None,
            near: None,
            live_from: from,
            told_caught_up: false,
        }
    }

    /// Goes back, or forward, to an offset.
    pub fn go_to(&mut self, to: Offset) {
        self.position = to;
        self.read_to = to;
        self.hint = None;
        self.ready.clear();
        self.reading = None;
        self.near = None;
    }

    /// That it has caught up was given and did not get through: it is told again when it has.
    pub fn not_told(&mut self) {
        self.told_caught_up = false;
    }

    /// Everything matching below was given.
    #[must_use]
    pub fn position(&self) -> Offset {
        let taken =
            self.near.as_ref().filter(|_| self.is_near() && self.ready.is_empty()).and_then(Registration::taken);
        self.position.max(taken.unwrap_or_default())
    }

    /// What comes next, waiting for it. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Damage and the file system's; the same each time.
    pub async fn next(&mut self) -> Result<Step, EngineError> {
        loop {
            if let Some(step) = self.next_now() {
                return Ok(step);
            }
            if self.is_near() {
                self.filled.notified().await;
                continue;
            }
            let page = self.read().await?;
            self.hint = page.hint;
            self.read_to = page.next;
            if let Some(gap) = page.gap {
                self.position = gap.to;
                return Ok(Step::Gap(gap));
            }
            self.ready = page.events.into();
        }
    }

    /// What is at hand, without waiting or reading.
    pub fn next_now(&mut self) -> Option<Step> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.position = event.offset.next();
                return Some(Step::Event(event));
            }
            self.position = self.position.max(self.read_to);
            if self.near.is_none() && self.reading.is_none() {
                let behind = self.engine.end().since(self.position);
                if behind > NEAR {
                    return None;
                }
                let near = self.hub.register(Arc::clone(&self.filter), Arc::clone(&self.filled));
                // Read after registering: from here on everything is handed over.
                self.live_from = near.from().max(self.engine.end());
                self.near = Some(near);
            }
            let near = self.near.as_ref().filter(|_| self.live_from <= self.position)?;
            if !self.told_caught_up {
                self.told_caught_up = true;
                return Some(Step::CaughtUp(self.position));
            }
            match near.take() {
                // Read from the log before the hand-over of it was through.
                Handed::Event(event) if event.offset < self.position => {}
                Handed::Event(event) => {
                    self.position = event.offset.next();
                    return Some(Step::Event(event));
                }
                Handed::Nothing(below) => {
                    self.position = self.position.max(below);
                    return None;
                }
                Handed::FellBehind(from) => {
                    self.position = self.position.max(from);
                    self.read_to = self.position;
                    self.hint = None;
                    self.near = None;
                }
            }
        }
    }

    /// Whether everything below the hand-over was given.
    pub(super) fn is_near(&self) -> bool {
        self.near.is_some() && self.live_from <= self.position
    }

    async fn read(&mut self) -> Result<Page, EngineError> {
        let reading = match &mut self.reading {
            Some(reading) => reading,
            none => {
                let to = if self.near.is_some() { self.live_from } else { self.engine.end() };
                let (engine, filter) = (Arc::clone(&self.engine), Arc::clone(&self.filter));
                let (span, hint) = (Span::new(self.position, to), self.hint);
                none.insert(Box::pin(async move { engine.read(span, &filter, Budget::SESSION, hint).await }))
            }
        };
        let page = reading.await;
        self.reading = None;
        page
    }
}
