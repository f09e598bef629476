//! The engine under any sequence of operations and faults, against a model that is a `Vec`.
//!
//! Holds: every acknowledged event is read, byte for byte, once, in order (invariants 1, 2, 12); one that was not
//! acknowledged is wholly there after a restart or not at all (3); a repeat gets the first one's offset, also after a
//! crash and where retention took the first one, and another content under the same id is refused (26); a cursor is where it was acknowledged or asked to be
//! (16, 17); after a failed call nothing more is acknowledged, after a full disk everything goes on (10, 11); a start
//! after a kill, a power cut or both, interrupted anywhere, is never refused (9); retention takes only what it records
//! (13).
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use stentor::engine::{AppendError, Budget, Engine, Local, RetentionLimits};
use stentor::fs::{Choices, Fault, MemoryFs};
use stentor::ledger::{Entry, SentSpan, Target, Via};
use stentor::log::{Failure, Ticket};
use stentor::model::{
    EventId, Filter, Headers, Name, NewEvent, Offset, Span, SubscriberId, SubscriberSettings, Timestamp,
};
use stentor_fuzz::real;
use tokio::runtime::Runtime;

#[derive(Debug, Arbitrary)]
enum Step {
    Publish { size: u8 },
    Batch { count: u8, size: u8 },
    Repeat { of: u8, other: bool },
    Ack { upto: u8 },
    Seek { to: u8 },
    Retain { bytes: u8 },
    Restart,
    Kill,
    PowerCut { seed: u8 },
    FailCall { after: u8, for_good: bool },
    FillDisk { left: u8 },
    Heal,
    Read { from: u8, events: u8 },
}

/// What was promised, and what may be there besides.
#[derive(Default)]
struct Model {
    /// Every acknowledged event's payload, by offset.
    events: Vec<String>,
    /// The publish whose outcome is unknown: the first that failed since the start.
    unknown: Vec<String>,
    cursors: Vec<u64>,
    made: bool,
    start: u64,
    retired: u64,
    /// Ids below may be forgotten: the disk refused to keep them when retention took their events.
    known: u64,
    /// Whether a fault is set.
    faulty: bool,
    count: u64,
    /// Whether the two logs still take something.
    poisoned: bool,
    ledger_poisoned: bool,
}

struct Run {
    fs: MemoryFs,
    engine: Option<Local>,
    runtime: Runtime,
    model: Model,
}

fn event(payload: &str) -> NewEvent {
    let id: String = payload.chars().filter(char::is_ascii_digit).take(18).collect();
    named(&id, payload)
}

fn named(id: &str, payload: &str) -> NewEvent {
    let id = EventId::parse(id).expect("digits are an id");
    NewEvent::check("key.a", id, None, Headers::default(), None, payload.to_owned().into()).expect("an event")
}

const WHO: SubscriberId = SubscriberId(0);

impl Run {
    fn payload(&mut self, size: u8) -> String {
        self.model.count += 1;
        format!("\"{:018}{}\"", self.model.count, "p".repeat(usize::from(size) * 5))
    }

    /// Opens the disk; without a fault that must work, and what is there must be what was promised.
    fn start(&mut self) {
        self.engine = None;
        let opened = Local::open(Arc::new(self.fs.clone()), &real::options());
        let opened = match opened {
            Ok(opened) => opened,
            Err(_) => {
                // The fault's doing; without it nothing may keep the engine from starting.
                self.fs = self.fs.fork();
                Local::open(Arc::new(self.fs.clone()), &real::options())
                    .unwrap_or_else(|error| panic!("a start was refused: {error} (9)"))
            }
        };
        self.engine = Some(opened.engine);
        // What is still armed would meet the model's own reading.
        self.fs.set_fault(Fault::default());
        self.model.faulty = false;
        self.model.poisoned = false;
        self.model.ledger_poisoned = false;
        self.settle();
        if !self.model.made {
            let settings = SubscriberSettings::new(Filter::parse(&["key.*"]).expect("a pattern"));
            let name = Name::parse("name", "auditor").expect("a name");
            let engine = self.engine.as_ref().expect("it is open");
            let target = Target::Subscriber(settings);
            let made = engine.record_new(Box::new(move |id| Entry::Made { id, name, target, cursor: Offset::ZERO }));
            let made = made.map(|(_, ticket)| self.runtime.block_on(ticket.durable()));
            self.model.made = matches!(made, Ok(Ok(())));
            self.model.ledger_poisoned |= !self.model.made;
            self.model.cursors = vec![0];
        }
    }

    /// Holds what a start found against the model, and takes over what the crash decided.
    fn settle(&mut self) {
        let engine = self.engine.as_ref().expect("it is open");
        let model = &mut self.model;
        let start = engine.start().0;
        assert!(start >= model.start && start <= model.retired.max(model.start), "retention took {start} (13)");
        let promised = model.events.len();
        let seen = read(&self.runtime, engine, start, u64::MAX, 1000);
        assert!(start as usize + seen.len() >= promised, "{} of {promised} are there (1)", seen.len());
        let (old, new) = seen.split_at(promised - start as usize);
        assert!(old == &model.events[start as usize..], "byte for byte, in order, once (1, 2)");
        assert!(new.is_empty() || new == &model.unknown[..], "wholly or not at all (3): {}", new.len());
        model.events.extend(new.iter().cloned());
        model.unknown.clear();
        (model.start, model.retired) = (start, start);
        if let Some(subscriber) = engine.state().get(WHO) {
            model.made = true;
            let floor = subscriber.floor.0;
            assert!(floor <= engine.end().0, "a cursor beyond the end (16)");
            let allowed = |cursor: &u64| (*cursor).max(start) == floor;
            assert!(model.cursors.iter().any(allowed), "cursor {floor}, not of {:?} (16, 17)", model.cursors);
            model.cursors = vec![floor];
        } else {
            assert!(!model.made, "a subscriber is gone");
        }
    }

    fn publish(&mut self, payloads: Vec<String>) {
        let engine = self.engine.as_ref().expect("it is open");
        let events = payloads.iter().map(|payload| event(payload)).collect();
        let first = self.model.events.len() as u64;
        match self.runtime.block_on(engine.append(events)) {
            Ok(placed) => {
                assert!(!self.model.poisoned, "acknowledged after a failure (10)");
                let expected = first..first + payloads.len() as u64;
                assert!(placed.iter().map(|place| place.offset.0).eq(expected), "dense (2)");
                self.model.events.extend(payloads);
            }
            Err(AppendError::Failed(Failure::Full)) => {}
            Err(AppendError::Failed(_)) => {
                if !self.model.poisoned {
                    self.model.unknown = payloads;
                }
                self.model.poisoned = true;
            }
            Err(error) => panic!("a first publish: {error}"),
        }
    }

    fn record(&mut self, entry: Entry, cursor: u64) {
        let engine = self.engine.as_ref().expect("it is open");
        let outcome = engine.record(vec![entry]).map(Ticket::durable).map(|done| self.runtime.block_on(done));
        match outcome {
            Ok(Ok(())) => {
                assert!(!self.model.ledger_poisoned, "recorded after a failure (10)");
                // A retirement that is written down and not done yet lifts cursors already.
                let start = engine.state().start.0;
                let known = self.model.start..=self.model.retired.max(self.model.start);
                assert!(known.contains(&start), "retention took {start} (13)");
                let floor = engine.state().get(WHO).map(|subscriber| subscriber.floor.0);
                assert_eq!(floor, Some(cursor.max(start)), "the fold moved (16)");
                self.model.cursors = vec![cursor];
            }
            Ok(Err(Failure::Full)) | Err(Failure::Full) => {}
            Ok(Err(_)) | Err(_) => {
                if !self.model.ledger_poisoned {
                    self.model.cursors.push(cursor);
                }
                self.model.ledger_poisoned = true;
            }
        }
    }

    fn step(&mut self, step: &Step) {
        let engine = self.engine.as_ref().expect("it is open");
        let end = self.model.events.len() as u64;
        match *step {
            Step::Publish { size } => {
                let payload = self.payload(size);
                self.publish(vec![payload]);
            }
            Step::Batch { count, size } => {
                let payloads = (0..2 + count % 3).map(|_| self.payload(size)).collect();
                self.publish(payloads);
            }
            Step::Repeat { of, other } if end > self.model.known => {
                let offset = self.model.known + u64::from(of) % (end - self.model.known);
                let payload = &self.model.events[offset as usize];
                let id: String = payload.chars().filter(char::is_ascii_digit).take(18).collect();
                let event = named(&id, if other { "\"other\"" } else { payload });
                match self.runtime.block_on(engine.append(vec![event])) {
                    Ok(placed) => {
                        assert!(!other && placed[0].duplicate && placed[0].offset.0 == offset, "{placed:?} (26)");
                    }
                    Err(AppendError::Conflict { offset: first, .. }) => assert!(other && first.0 == offset, "(26)"),
                    // Without its fault a disk answers; with one, reading back may fail.
                    Err(AppendError::Failed(_) | AppendError::Unreadable(_)) => {}
                }
            }
            Step::Ack { upto } if self.model.made => {
                let from = self.model.cursors[0].max(self.model.start);
                let to = (from + u64::from(upto) % 8).min(end);
                if to > from && !self.model.ledger_poisoned {
                    let spans = vec![SentSpan { span: Span::new(Offset(from), Offset(to)), attempts: 1 }];
                    let entry = Entry::Acked { id: WHO, spans, via: Via::WebSocket, status: None, latency_ms: None };
                    self.record(entry, to);
                }
            }
            Step::Seek { to } if self.model.made && end > self.model.start => {
                let to = self.model.start + u64::from(to) % (end - self.model.start);
                self.record(Entry::Sought { id: WHO, cursor: Offset(to) }, to);
            }
            Step::Retain { bytes } if !self.model.ledger_poisoned => {
                let limits = RetentionLimits { max_bytes: Some(u64::from(bytes) * 100), ..RetentionLimits::default() };
                match engine.maintain(limits, Timestamp(0)) {
                    Ok(Some(to)) => {
                        (self.model.start, self.model.retired) = (to.0, to.0);
                        if self.model.faulty {
                            self.model.known = to.0;
                        }
                    }
                    Ok(None) => {}
                    // How far it came is not known: up to all that was published.
                    Err(_) => {
                        (self.model.retired, self.model.known) = (end, end);
                        self.model.start = engine.start().0;
                        // A full disk is none: it heals by itself.
                        let refused = engine.refuses_entries();
                        self.model.ledger_poisoned = refused.is_some_and(|failure| failure != Failure::Full);
                    }
                }
            }
            Step::Restart => {
                engine.close();
                self.start();
            }
            // What was written is there for the next process, synced or not.
            Step::Kill => {
                self.fs = self.fs.fork();
                self.start();
            }
            Step::PowerCut { seed } => {
                self.fs = self.fs.crash(&mut Choices::seeded(u64::from(seed)));
                self.start();
            }
            Step::FailCall { after, for_good } => {
                let call = self.fs.calls() + u64::from(after % 64);
                self.fs.set_fault(Fault { fail_call: Some(call), keep_failing: for_good, ..Fault::default() });
                self.model.faulty = true;
            }
            Step::FillDisk { left } => {
                let used: u64 = self.fs.files().iter().map(|(_, bytes)| bytes.len() as u64).sum();
                let capacity = Some(used + u64::from(left) * 32);
                self.fs.set_fault(Fault { capacity, ..Fault::default() });
                self.model.faulty = true;
            }
            Step::Heal => {
                self.fs.set_fault(Fault::default());
                self.model.faulty = false;
            }
            Step::Read { from, events } => {
                let from = self.model.start + u64::from(from) % (end - self.model.start + 1);
                let budget = 1 + usize::from(events);
                let seen = try_read(&self.runtime, engine, from, u64::MAX, budget);
                assert!(seen.is_none_or(|seen| seen == self.model.events[from as usize..]), "read {from} (12)");
            }
            _ => {}
        }
    }
}

fn read(runtime: &Runtime, engine: &Local, from: u64, to: u64, events: usize) -> Vec<String> {
    try_read(runtime, engine, from, to, events).expect("a disk without faults can be read (5, 8)")
}

/// Everything from `from` on; `None` where a fault came between.
fn try_read(runtime: &Runtime, engine: &Local, from: u64, to: u64, events: usize) -> Option<Vec<String>> {
    let filter = Arc::new(Filter::everything());
    let (mut at, end, mut seen) = (Offset(from), Offset(to).min(engine.end()), Vec::new());
    while at < end {
        let budget = Budget { events, bytes: 1 << 20 };
        let page = runtime.block_on(engine.read(Span::new(at, end), &filter, budget, None)).ok()?;
        assert!(page.gap.is_none() && page.next > at, "no gap at {at}, and reading gets on");
        for event in &page.events {
            assert_eq!(event.offset.0, from + seen.len() as u64, "offsets are dense (2)");
            seen.push(String::from_utf8(event.payload.to_vec()).expect("it was text"));
        }
        at = page.next;
    }
    Some(seen)
}

fuzz_target!(|steps: Vec<Step>| {
    let mut run = Run { fs: MemoryFs::new(), engine: None, runtime: real::runtime(), model: Model::default() };
    run.start();
    for step in steps.iter().take(24) {
        run.step(step);
    }
    // Whatever happened, the disk without its faults starts, twice, and holds what was promised.
    run.fs.set_fault(Fault::default());
    run.step(&Step::Kill);
    run.step(&Step::Restart);
});
