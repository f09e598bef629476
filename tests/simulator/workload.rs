//! Operations on the engine, each with what it promises once it is answered.

use super::oracle::{Oracle, event};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use stentor::clock::{Clock, Random};
use stentor::engine::{Engine, EngineError, Local, LocalOptions, Opened, RetentionLimits};
use stentor::fs::{Fault, MemoryFs};
use stentor::ledger::{Entry, SentSpan, Target, Via};
use stentor::log::Fill;
use stentor::model::{Filter, Name, Offset, Span, SubscriberId, SubscriberSettings, Timestamp};
use tokio::runtime::Runtime;

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// One event; it fills a good part of a segment, so that every third rolls.
    Publish,
    /// Three events, all or none.
    Batch,
    /// The subscriber acknowledges all that is published.
    Ack,
    /// Its cursor goes back to the oldest event.
    Seek,
    /// The oldest segment goes, where there is another.
    Retire,
    /// Stop and start again.
    Restart,
}

pub(crate) const STEPS: [Step; 6] = [Step::Publish, Step::Batch, Step::Ack, Step::Seek, Step::Retire, Step::Restart];

/// Small segments, no threads but the two that commit, nothing that depends on time or chance.
fn options(fill: Fill) -> LocalOptions {
    LocalOptions {
        event_segment_bytes: 4096,
        ledger_segment_bytes: 4096,
        fill,
        evidence_every: Duration::from_secs(86_400),
        clock: Clock::Manual(Arc::new(AtomicU64::new(1_000_000))),
        random: Arc::new(Random::seeded(7)),
        ..LocalOptions::new("data")
    }
}

/// Opens a disk to see what is on it.
pub(crate) fn open(fs: &MemoryFs) -> Result<Opened, EngineError> {
    open_with(fs, Fill::AtOnce)
}

fn open_with(fs: &MemoryFs, fill: Fill) -> Result<Opened, EngineError> {
    Local::open(Arc::new(fs.clone()), &options(fill))
}

/// A disk, an engine on it while it runs, and what it promised.
pub(crate) struct Run {
    pub(crate) fs: MemoryFs,
    pub(crate) engine: Option<Local>,
    pub(crate) oracle: Oracle,
    /// Events that were tried so far: each has a payload of its own.
    pub(crate) count: usize,
    fill: Fill,
}

/// A disk at rest, what it promised, and what the process that began there has done since: none of that is stopped in
/// order, so that whatever it left unsynced is still in the page cache when the power fails.
#[derive(Clone)]
pub(crate) struct Base {
    pub(crate) fs: MemoryFs,
    pub(crate) oracle: Oracle,
    /// How many events were tried before it.
    pub(crate) count: usize,
    since: Vec<Step>,
    fill: Fill,
}

impl Base {
    /// A disk on which nothing happened but the first start; its segments get their zeros thus.
    pub(crate) fn first(runtime: &Runtime, fill: Fill) -> Self {
        let mut run = Run::on(MemoryFs::new(), Oracle::default(), fill);
        assert!(run.start(runtime), "an empty disk opens");
        run.rest()
    }

    /// This disk with these promises, on which no process runs.
    pub(crate) fn found(&self, fs: MemoryFs, oracle: Oracle) -> Self {
        // More than any step may have tried.
        Self { fs, oracle, count: self.count + 3 * (self.since.len() + 1), since: Vec::new(), fill: self.fill }
    }

    /// A process on a copy of this disk that has not started.
    pub(crate) fn run(&self) -> Run {
        Run { count: self.count, ..Run::on(self.fs.fork(), self.oracle.clone(), self.fill) }
    }

    /// A process on a copy of this disk that has done what was done since.
    fn going(&self, runtime: &Runtime) -> Run {
        let mut run = self.run();
        assert!(run.start(runtime), "the disk of the steps before opens");
        for step in &self.since {
            assert!(run.step(runtime, *step), "without a fault everything works: {step:?} of {:?}", self.since);
        }
        run
    }

    /// After one more step that went well.
    pub(crate) fn after(&self, runtime: &Runtime, step: Step) -> Self {
        let mut after = self.clone();
        after.since.push(step);
        if step == Step::Restart { after.at_rest(runtime) } else { after }
    }

    /// The same with the process stopped in order.
    pub(crate) fn at_rest(&self, runtime: &Runtime) -> Self {
        self.going(runtime).rest()
    }

    /// The disk at the moment when the power fails at the `call`-th call of a step; none where it has fewer.
    pub(crate) fn crash(&self, runtime: &Runtime, step: Step, call: u64) -> Option<(MemoryFs, Oracle)> {
        let mut run = self.going(runtime);
        let at = run.fs.calls() + call;
        run.fs.set_fault(Fault { fail_call: Some(at), keep_failing: true, ..Fault::default() });
        run.step(runtime, step);
        // The power is off: what the process still tries while it ends comes to nothing.
        run.engine = None;
        (run.fs.calls() > at).then_some((run.fs, run.oracle))
    }
}

impl Run {
    /// A process that has not started.
    pub(crate) fn on(fs: MemoryFs, oracle: Oracle, fill: Fill) -> Self {
        Self { fs, engine: None, oracle, count: 0, fill }
    }

    /// Stops in order.
    fn rest(mut self) -> Base {
        if let Some(engine) = self.engine.take() {
            engine.close();
        }
        Base { fs: self.fs, oracle: self.oracle, count: self.count, since: Vec::new(), fill: self.fill }
    }

    /// Opens the engine, and makes the subscriber the first time. Tells whether all of it was answered.
    pub(crate) fn start(&mut self, runtime: &Runtime) -> bool {
        let Ok(opened) = open_with(&self.fs, self.fill) else { return false };
        if !self.oracle.made {
            let settings = SubscriberSettings::new(Filter::parse(&["key.*"]).unwrap());
            let (name, cursor) = (Name::parse("name", "auditor").unwrap(), Offset::ZERO);
            let made = move |id| Entry::Made { id, name, target: Target::Subscriber(settings), cursor };
            let made = opened.engine.record_new(Box::new(made));
            self.oracle.made = made.is_ok_and(|(_, ticket)| runtime.block_on(ticket.durable()).is_ok());
        }
        self.engine = Some(opened.engine);
        self.oracle.made
    }

    /// Does a step; tells whether it was answered.
    pub(crate) fn step(&mut self, runtime: &Runtime, step: Step) -> bool {
        match step {
            Step::Publish => self.publish(runtime, 1),
            Step::Batch => self.publish(runtime, 3),
            Step::Ack => self.ack(runtime),
            Step::Seek => self.seek(runtime),
            Step::Retire => self.retire(),
            Step::Restart => {
                if let Some(engine) = self.engine.take() {
                    engine.close();
                }
                self.start(runtime)
            }
        }
    }

    fn publish(&mut self, runtime: &Runtime, events: usize) -> bool {
        let Some(engine) = &self.engine else { return false };
        let payload = |n: usize| format!("\"{n:018}{}\"", "p".repeat(700));
        let payloads: Vec<String> = (self.count..self.count + events).map(payload).collect();
        self.count += events;
        self.oracle.pending.clone_from(&payloads);
        if runtime.block_on(engine.append(payloads.iter().map(|p| event(p)).collect())).is_err() {
            return false;
        }
        self.oracle.pending.clear();
        self.oracle.acknowledged.extend(payloads);
        true
    }

    fn ack(&mut self, runtime: &Runtime) -> bool {
        let Some(engine) = &self.engine else { return false };
        let span = Span::new(Offset(self.oracle.floor.max(self.oracle.start)), engine.end());
        if span.is_empty() {
            return true;
        }
        let spans = vec![SentSpan { span, attempts: 1 }];
        let entry = Entry::Acked { id: SubscriberId(0), spans, via: Via::WebSocket, status: None, latency_ms: None };
        self.moves_to(runtime, span.to.0, entry)
    }

    fn seek(&mut self, runtime: &Runtime) -> bool {
        let cursor = Offset(self.oracle.start);
        self.moves_to(runtime, cursor.0, Entry::Sought { id: SubscriberId(0), cursor })
    }

    fn moves_to(&mut self, runtime: &Runtime, floor: u64, entry: Entry) -> bool {
        let Some(engine) = &self.engine else { return false };
        self.oracle.pending_floor = floor;
        let done = engine.record(vec![entry]).is_ok_and(|ticket| runtime.block_on(ticket.durable()).is_ok());
        if done {
            self.oracle.floor = floor;
        }
        done
    }

    fn retire(&mut self) -> bool {
        let Some(engine) = &self.engine else { return false };
        let limits = RetentionLimits { max_bytes: Some(1), ..RetentionLimits::default() };
        // One segment a round: what may go is all but the newest.
        self.oracle.pending_start = engine.end().0;
        let retired = engine.maintain(limits, Timestamp(2_000_000)).is_ok();
        if retired {
            self.oracle.start = engine.start().0;
            self.oracle.pending_start = self.oracle.start;
            self.oracle.floor = self.oracle.floor.max(self.oracle.start);
            self.oracle.pending_floor = self.oracle.floor;
        }
        retired
    }
}
