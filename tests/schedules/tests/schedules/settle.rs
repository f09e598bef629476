//! Takeover, acks, time-outs and settlement.

use super::{event, explore, open};
use shuttle::future::{block_on, spawn};
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stentor_schedules::clock;
use stentor_schedules::deliver::{AckRefused, Delivery, Ending, Session, Table};
use stentor_schedules::engine::{Engine, Local};
use stentor_schedules::fs::MemoryFs;
use stentor_schedules::ledger::{Entry, Target};
use stentor_schedules::model::{Filter, Name, Offset, Span, Spans, SubscriberSettings};
use stentor_schedules::notify::Hub;
use tokio_util::sync::CancellationToken;

const EVENTS: u64 = 4;
const WINDOW: u32 = 2;

/// What was sent and said, by whomever.
#[derive(Default)]
struct Said {
    sent: BTreeSet<u64>,
    acked: BTreeSet<u64>,
    /// Asked about, and the answer is not there yet.
    asked: BTreeSet<u64>,
    newest: u64,
}

struct Stage {
    engine: Arc<Local>,
    table: Table,
    said: Mutex<Said>,
}

impl Stage {
    fn new(engine: Arc<Local>) -> Self {
        let settings = SubscriberSettings {
            window: WINDOW,
            ack_timeout: Duration::from_secs(1),
            ..SubscriberSettings::new(Filter::all())
        };
        let name = Name::parse("name", "ui").unwrap();
        let made = |id| Entry::Made { id, name, target: Target::Subscriber(settings), cursor: Offset::ZERO };
        let (id, ticket) = engine.record_new(Box::new(made)).unwrap();
        block_on(ticket.durable()).unwrap();
        let subscriber = engine.state().get(id).cloned().unwrap();
        let hub = Hub::new(engine.end());
        let table = Table::new(Arc::<Local>::clone(&engine), hub, &subscriber);
        Self { engine, table, said: Mutex::default() }
    }

    fn attach(&self) -> Session {
        let session = self.table.attach();
        let mut said = self.said.lock().unwrap();
        said.newest = said.newest.max(session.generation());
        session
    }

    /// What an event's arrival must mean, whoever gets it.
    fn sent(&self, offset: u64) {
        let sent = {
            let mut said = self.said.lock().unwrap();
            said.sent.insert(offset);
            said.sent.clone()
        };
        let state = self.engine.state();
        let subscriber = state.get(self.table.subscription.id()).unwrap();
        let open = sent.iter().filter(|n| !subscriber.is_done(Offset(**n))).count();
        assert!(open <= WINDOW as usize, "invariants 20, 21: {sent:?} sent, done below {}", subscriber.floor);
    }

    /// Says something about what was just delivered.
    fn say(&self, generation: u64, offset: u64) {
        let subscription = &self.table.subscription;
        let word = thread_rng().gen_range(0..4);
        if word < 2 {
            self.said.lock().unwrap().asked.extend(0..=offset);
        }
        let superseded = self.said.lock().unwrap().newest > generation;
        let answer = match word {
            0 => subscription.ack_through(generation, Offset(offset)),
            1 => subscription.ack_each(generation, &[Offset(offset)]),
            2 => subscription.nack(generation, Offset(offset), Duration::from_millis(thread_rng().gen_range(0..300))),
            _ => Ok(()),
        };
        if word < 3 && superseded {
            assert_eq!(answer, Err(AckRefused::Over), "invariant 23");
        }
        if answer.is_ok() && word < 2 {
            let from = if word == 0 { 0 } else { offset };
            self.said.lock().unwrap().acked.extend(from..=offset);
        }
    }

    /// A session that takes so many deliveries at most; tells the generation that it had.
    async fn session(&self, deliveries: usize) -> u64 {
        let mut session = self.attach();
        let generation = session.generation();
        let mut given: BTreeSet<u64> = BTreeSet::new();
        let mut left = deliveries;
        while left > 0 {
            let delivery = tokio::select! {
                delivery = session.next() => delivery.unwrap(),
                // Nothing may come any more: an ack of the one before was under way when this one began.
                () = clock::sleep(Duration::from_secs(2)) => {
                    if self.said.lock().unwrap().acked.len() == EVENTS as usize {
                        break;
                    }
                    continue;
                }
            };
            left -= 1;
            match delivery {
                Delivery::Event { event, .. } => {
                    let offset = event.offset.0;
                    let done = self.said.lock().unwrap().asked.clone();
                    let skipped = (0..offset).find(|n| !given.contains(n) && !done.contains(n));
                    assert_eq!(skipped, None, "invariants 17, 19: {offset} comes before it");
                    given.insert(offset);
                    self.sent(offset);
                    self.say(generation, offset);
                }
                Delivery::CaughtUp(end) => assert_eq!(end, Offset(EVENTS)),
                Delivery::Gap(span) => panic!("a gap {span:?}"),
                Delivery::Ended(ending) => {
                    assert_eq!(ending, Ending::TakenOver, "invariant 23");
                    let late = self.table.subscription.ack_through(generation, Offset(0));
                    assert_eq!(late, Err(AckRefused::Over), "invariant 23");
                    break;
                }
            }
            if self.said.lock().unwrap().acked.len() == EVENTS as usize {
                break;
            }
        }
        generation
    }

    /// Whoever comes last acknowledges everything (invariant 18).
    async fn last(&self) {
        let mut session = self.attach();
        let generation = session.generation();
        loop {
            let floor = self.engine.state().get(self.table.subscription.id()).unwrap().floor;
            if floor == Offset(EVENTS) {
                return;
            }
            tokio::select! {
                delivery = session.next() => match delivery.unwrap() {
                    Delivery::Event { event, .. } => {
                        self.sent(event.offset.0);
                        self.said.lock().unwrap().asked.extend(0..=event.offset.0);
                        self.table.subscription.ack_through(generation, event.offset).unwrap();
                        self.said.lock().unwrap().acked.extend(0..=event.offset.0);
                    }
                    Delivery::CaughtUp(_) => {}
                    other => panic!("{other:?}"),
                },
                () = clock::sleep(Duration::from_millis(50)) => {}
            }
        }
    }

    /// Invariants 17 and 33, from the ledger: one last word for each event, and only what was said.
    fn one_word_each(&self) {
        let (mut at, mut words) = (Offset::ZERO, Spans::new());
        while at < *self.engine.follow_ledger().borrow() {
            let (entries, next) = self.engine.history(at).unwrap();
            at = next;
            for recorded in entries {
                let Entry::Acked { spans, .. } = recorded.entry else { continue };
                for span in spans.into_iter().map(|acked| acked.span) {
                    assert_eq!(words.missing(span), [span], "invariant 33: {span:?} has two last words");
                    words.insert(span);
                }
            }
        }
        let acked = &self.said.lock().unwrap().acked;
        let said = (0..EVENTS).filter(|n| words.contains(Offset(*n)));
        assert!(
            said.clone().all(|n| acked.contains(&n)),
            "invariant 17: {words:?} are done, {acked:?} were acknowledged"
        );
        assert_eq!(words.missing(Span::new(Offset::ZERO, Offset(EVENTS))), [], "invariant 18");
    }
}

#[test]
fn whoever_takes_over_loses_nothing_and_nobody_else_has_a_word() {
    let stored = std::sync::OnceLock::new();
    explore("takeover, acks, time-outs, settlement", move || {
        let stored: &MemoryFs = stored.get_or_init(|| {
            let fs = MemoryFs::new();
            let engine = open(&fs);
            let events = (0..EVENTS).map(|n| event("a", None, n.to_string())).collect();
            block_on(engine.append(events)).unwrap();
            engine.close();
            fs
        });
        let stage = Arc::new(Stage::new(open(&stored.fork())));
        let stop = CancellationToken::new();
        let settling = {
            let (stage, stop) = (Arc::clone(&stage), stop.clone());
            spawn(async move { stage.table.settle(stop).await })
        };
        // Time goes by: in steps of the settlement, and in steps of the ack timeout.
        let over = CancellationToken::new();
        let time = {
            let over = over.clone();
            thread::spawn(move || {
                while !over.is_cancelled() {
                    clock::advance(Duration::from_millis(if thread_rng().gen_bool(0.3) { 1_000 } else { 100 }));
                    thread::yield_now();
                }
            })
        };
        let sessions: Vec<_> = (0..2)
            .map(|_| {
                let stage = Arc::clone(&stage);
                spawn(async move { stage.session(6).await })
            })
            .collect();
        block_on(async {
            let mut generations = BTreeSet::new();
            for session in sessions {
                assert!(generations.insert(session.await.unwrap()), "invariant 23");
            }
            stage.last().await;
            over.cancel();
            stop.cancel();
            settling.await.unwrap();
        });
        time.join().unwrap();
        stage.one_word_each();
        stage.engine.close();
    });
}
