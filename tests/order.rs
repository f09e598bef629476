//! What can be seen of an event, and when: nothing before it is durable and in everybody's reach, and whoever is
//! woken finds what he was woken for (invariants 10 and 30).
//!
//! Nothing here waits for luck but the last test: a waker runs in the very call that wakes, and looks around.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;
use stentor::clock::Clock;
use stentor::fs::{Choices, MemoryFs};
use stentor::log::{Committed, Fill, Hook, Log, LogKind, LogOptions, RecordKind, Ticket, recover};
use stentor::model::{Event, EventId, Filter, Headers, NewEvent, Offset, Timestamp};
use stentor::notify::{Handed, Hub};
use tokio::sync::{Notify, watch};

/// Looks around at the moment at which somebody is woken.
struct AtWake<F>(F);

impl<F: Fn() + Send + Sync + 'static> Wake for AtWake<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

fn at_wake(look: impl Fn() + Send + Sync + 'static) -> Waker {
    Waker::from(Arc::new(AtWake(look)))
}

fn options() -> LogOptions {
    LogOptions { fill: Fill::Never, ..LogOptions::new(Path::new("data"), LogKind::Events, [0; 16]) }
}

/// What the log ends at for whoever starts on this disk after a power cut that took everything unsynced.
fn survives(fs: &MemoryFs) -> Offset {
    let disk = fs.crash(&mut Choices::exhaustive());
    recover(Arc::new(disk), options()).map_or(Offset::ZERO, |recovered| recovered.segments().end())
}

/// The owner of a log, who looks around whenever it is told that a group is durable.
struct Owner {
    fs: MemoryFs,
    end: OnceLock<watch::Receiver<Offset>>,
    tickets: Mutex<Vec<Ticket>>,
    told: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

impl Owner {
    fn end(&self) -> Offset {
        *self.end.get().unwrap().borrow()
    }

    fn expect(&self, holds: bool, what: &str) {
        if !holds {
            self.wrong.lock().unwrap().push(what.to_owned());
        }
    }
}

impl Hook for Owner {
    type Item = ();
    type Stage = ();

    fn snapshot(&self, _first: Offset) -> Option<Vec<u8>> {
        None
    }

    fn committed(&self, group: Vec<Committed<()>>) {
        let (first, last) = (group[0].offset, group.last().unwrap().offset);
        self.expect(survives(&self.fs) > last, "the owner was told before a power cut could not take it");
        self.expect(self.end() <= first, "readers were let at it before the owner was told");
        let tickets = self.tickets.lock().unwrap();
        self.expect(tickets.last().unwrap().outcome().is_none(), "it was answered before the owner was told");
        drop(tickets);
        self.told.store(last.next().0, Ordering::SeqCst);
    }

    fn failed(&self, _stage: &mut (), _from: Offset) {}

    fn synced(&self, _commit: Duration, _sync: Duration) {}
}

#[test]
fn a_record_is_durable_then_known_to_its_owner_then_readable_then_answered() {
    let fs = MemoryFs::new();
    let owner = Arc::new(Owner {
        fs: fs.clone(),
        end: OnceLock::new(),
        tickets: Mutex::default(),
        told: AtomicU64::new(0),
        wrong: Mutex::default(),
    });
    let recovered = recover(Arc::new(fs), options()).unwrap();
    let mut nonce = 0;
    let nonces = Box::new(move || {
        nonce += 1;
        nonce
    });
    let log = Log::start(recovered, Arc::clone(&owner), (), Clock::Machine, nonces).unwrap();
    owner.end.set(log.committed()).unwrap();
    for group in [1, 3, 1u64] {
        let (woken, answered) = mpsc::sync_channel(4_096);
        let looks = Arc::clone(&owner);
        let (mut waits, last) = log
            .append(|filling, now| {
                let mut last = Offset::ZERO;
                for left in (0..group).rev() {
                    last = filling.push(RecordKind::Event, b"what happened", left as u32, now, ());
                }
                let ticket = filling.ticket(last);
                owner.tickets.lock().unwrap().push(ticket.clone());
                // Looked at under the lock: nothing of it is written yet, so whoever waits is woken later.
                let mut waits = Box::pin(ticket.durable());
                let waker = at_wake(move || {
                    looks.expect(looks.told.load(Ordering::SeqCst) > last.0, "it was answered before the owner knew");
                    looks.expect(looks.end() > last, "it was answered before it was readable");
                    looks.expect(survives(&looks.fs) > last, "it was answered before it was durable");
                    woken.send(()).unwrap();
                });
                assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                (waits, last)
            })
            .unwrap();
        answered.recv_timeout(Duration::from_secs(60)).expect("whoever waits is woken");
        assert!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready(), "and finds the answer");
        assert_eq!(log.end(), last.next(), "exactly what was committed is readable");
    }
    log.close();
    let wrong = owner.wrong.lock().unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
}

fn event(offset: u64, channel: &str) -> Arc<Event> {
    let id = EventId::Made([0; 16]);
    let event = NewEvent::check(channel, id, None, Headers::default(), None, offset.to_string().into()).unwrap();
    Arc::new(Event::new(Offset(offset), Timestamp(0), event.head, event.payload))
}

fn mine() -> Arc<Filter> {
    Arc::new(Filter::parse(&["mine.*"]).unwrap())
}

#[test]
fn whoever_the_hub_wakes_finds_all_he_was_woken_for() {
    let hub = Hub::new(Offset::ZERO);
    let filled = Arc::new(Notify::new());
    let session = Arc::new(hub.register(mine(), Arc::clone(&filled)));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let looks = (Arc::clone(&hub), Arc::clone(&session), Arc::clone(&seen));
    let waker = at_wake(move || {
        let (hub, session, seen) = &looks;
        let handed = hub.handed();
        // Only where the hub is done with it: it may hold its locks before that.
        let found = (handed == Offset(3)).then(|| session.take());
        seen.lock().unwrap().push((handed, found));
    });
    let mut waits = pin!(filled.notified());
    assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    hub.hand_over(&[event(0, "other"), event(1, "mine.a"), event(2, "mine.a")], Offset(3));
    assert!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    let seen = seen.lock().unwrap();
    let [(handed, found)] = seen.as_slice() else { panic!("woken once: {seen:?}") };
    assert_eq!(*handed, Offset(3), "woken before the hub had handed over");
    assert!(matches!(found, Some(Handed::Event(event)) if event.offset == Offset(1)), "{found:?}");
    assert!(matches!(session.take(), Handed::Event(event) if event.offset == Offset(2)));
    assert!(matches!(session.take(), Handed::Nothing(Offset(3))));
}

#[test]
fn nothing_comes_from_below_where_the_hub_said_that_nothing_is() {
    const BATCH: u64 = 2_000;
    const ROUNDS: u64 = 60;
    let hub = Hub::new(Offset::ZERO);
    let session = hub.register(mine(), Arc::new(Notify::new()));
    let over = AtomicBool::new(false);
    let (taken, late) = std::thread::scope(|scope| {
        let looks = scope.spawn(|| {
            // Asks without a pause, and holds each answer against all before it.
            let (mut below, mut taken) = (Offset::ZERO, 0);
            loop {
                let last_look = over.load(Ordering::SeqCst);
                match session.take() {
                    Handed::Event(event) if event.offset < below => return (taken, Some((event.offset, below))),
                    Handed::Event(_) => taken += 1,
                    Handed::Nothing(to) if last_look && to == Offset(BATCH * ROUNDS) => return (taken, None),
                    Handed::Nothing(to) => below = to,
                    Handed::FellBehind(from) => panic!("an inbox holds more than {from}"),
                }
            }
        });
        for round in 0..ROUNDS {
            // A long batch of which the last one matches: handing over takes its time.
            let first = round * BATCH;
            let channel = |offset| if offset + 1 == first + BATCH { "mine.a" } else { "other" };
            let batch: Vec<_> = (first..first + BATCH).map(|offset| event(offset, channel(offset))).collect();
            hub.hand_over(&batch, Offset(first + BATCH));
        }
        over.store(true, Ordering::SeqCst);
        looks.join().unwrap()
    });
    assert_eq!(late, None, "an event came from below an offset below which nothing was left");
    assert_eq!(taken, ROUNDS);
}
