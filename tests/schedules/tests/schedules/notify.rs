//! From committed to told: the hub, those who register at it, and those who fall behind.

use super::{event, explore, open};
use shuttle::future::{block_on, spawn};
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;
use std::sync::Arc;
use stentor_schedules::broker;
use stentor_schedules::clock::Clock;
use stentor_schedules::deliver::{Source, Step};
use stentor_schedules::engine::{Engine, Memory};
use stentor_schedules::fs::MemoryFs;
use stentor_schedules::model::{Filter, Offset};
use stentor_schedules::notify::Hub;
use tokio_util::sync::CancellationToken;

const EVENTS: u64 = 4;

/// Reads everything that matches; goes away and comes back somewhere between.
async fn listen(engine: Arc<dyn Engine>, hub: Arc<Hub>, filter: &str, mine: fn(u64) -> bool) {
    let filter = Arc::new(Filter::parse(&[filter]).unwrap());
    let leaves_at = thread_rng().gen_range(0..EVENTS * 2);
    let mut source = Source::new(Arc::clone(&engine), Arc::clone(&hub), Arc::clone(&filter), Offset::ZERO);
    for expected in (0..EVENTS).filter(|n| mine(*n)) {
        assert!(source.position() <= Offset(expected), "a position beyond what was given");
        if expected == leaves_at {
            source = Source::new(Arc::clone(&engine), Arc::clone(&hub), Arc::clone(&filter), source.position());
        }
        loop {
            match source.next().await.unwrap() {
                Step::Event(event) => {
                    assert_eq!(event.offset, Offset(expected), "neither gap nor repeat");
                    break;
                }
                Step::CaughtUp(end) => {
                    assert!(end <= Offset(expected), "caught up at {end} before {expected} was given")
                }
                Step::Gap(span) => panic!("a gap {span:?}"),
            }
        }
    }
}

/// Tells as the dispatcher does, and gives a stretch up now and then, as it does where a burst has outrun it: whoever is
/// near reads for himself.
async fn tell(engine: Arc<dyn Engine>, hub: Arc<Hub>) {
    let mut end = engine.follow();
    while hub.handed() < Offset(EVENTS) {
        let (handed, now) = (hub.handed(), *end.borrow_and_update());
        if handed == now {
            end.changed().await.unwrap();
        } else if thread_rng().gen_bool(0.5) {
            hub.lose(handed, now);
        } else {
            let events = engine.recent(handed).unwrap();
            hub.hand_over(&events, handed.plus(events.len() as u64));
        }
    }
}

fn with(engine: Arc<dyn Engine>, loses: bool) {
    let hub = Hub::new(engine.end());
    let publisher = {
        let engine = Arc::clone(&engine);
        thread::spawn(move || {
            for n in 0..EVENTS {
                let channel = if n % 2 == 0 { "a.x" } else { "b.x" };
                block_on(engine.append(vec![event(channel, None, n.to_string())])).unwrap();
            }
        })
    };
    let stop = CancellationToken::new();
    let telling = if loses {
        spawn(tell(Arc::clone(&engine), Arc::clone(&hub)))
    } else {
        spawn(broker::dispatch(Arc::clone(&engine), Arc::clone(&hub), stop.clone()))
    };
    let all = spawn(listen(Arc::clone(&engine), Arc::clone(&hub), "**", |_| true));
    let some = spawn(listen(Arc::clone(&engine), Arc::clone(&hub), "a.*", |n| n % 2 == 0));
    block_on(async {
        all.await.unwrap();
        some.await.unwrap();
    });
    publisher.join().unwrap();
    assert_eq!(hub.near(), 0, "who has gone is gone");
    stop.cancel();
    block_on(telling).unwrap();
}

#[test]
fn who_registers_while_events_are_handed_over_gets_each_once() {
    explore("hand-over", || with(Arc::new(Memory::new(Clock::Machine)), false));
}

#[test]
fn from_the_commit_to_the_listener_nothing_is_lost() {
    explore("commit to listener", || {
        let engine = open(&MemoryFs::new());
        with(Arc::<stentor_schedules::engine::Local>::clone(&engine), false);
        engine.close();
    });
}

#[test]
fn what_the_hub_gives_up_is_read_from_the_log() {
    explore("a hub that gives up", || with(Arc::new(Memory::new(Clock::Machine)), true));
}
