//! Group commit and its tickets.

use super::{event, explore, open};
use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use stentor_schedules::engine::{Budget, Engine, Local};
use stentor_schedules::fs::{Fault, MemoryFs};
use stentor_schedules::ledger::{Entry, Target};
use stentor_schedules::model::{Filter, Name, Offset, Span, SubscriberSettings};

/// What was answered, by its payload.
type Answered = Arc<Mutex<BTreeMap<String, Offset>>>;

/// Publishes one after another until something is refused.
fn publisher(engine: &Arc<Local>, answered: &Answered, who: usize, events: usize) -> thread::JoinHandle<()> {
    let (engine, answered) = (Arc::clone(engine), Arc::clone(answered));
    thread::spawn(move || {
        for n in 0..events {
            let payload = format!("\"{who}-{n}\"");
            let Ok(placed) = block_on(engine.append(vec![event("a", None, payload.clone())])) else { return };
            let offset = placed[0].offset;
            // Durable, then visible, then answered (invariants 4, 12).
            assert!(offset < engine.end(), "answered before it can be seen");
            let found = engine.recent(offset).unwrap();
            assert_eq!(found[0].payload, payload.as_bytes(), "invariant 1");
            assert!(answered.lock().unwrap().insert(payload, offset).is_none());
        }
    })
}

/// After a start, everything that was answered is there, once (invariants 1, 2).
fn is_there(fs: &MemoryFs, answered: &Answered) {
    let engine = open(&fs.fork());
    let filter = Arc::new(Filter::everything());
    let mut at = Offset::ZERO;
    while at < engine.end() {
        let page = block_on(engine.read(Span::new(at, engine.end()), &filter, Budget::SESSION, None)).unwrap();
        for event in &page.events {
            let payload = String::from_utf8(event.payload.to_vec()).unwrap();
            let told = answered.lock().unwrap().remove(&payload);
            assert!(told.is_none_or(|told| told == event.offset), "invariant 1");
        }
        at = page.next;
    }
    engine.close();
    assert!(answered.lock().unwrap().is_empty(), "invariant 1: lost {answered:?}");
}

#[test]
fn publishers_share_syncs_and_each_is_told_when_his_is_done() {
    explore("group commit", || {
        let engine = open(&MemoryFs::new());
        let answered = Answered::default();
        let publishers = [publisher(&engine, &answered, 0, 2), publisher(&engine, &answered, 1, 2)];
        let follower = {
            let engine = Arc::clone(&engine);
            thread::spawn(move || {
                let (mut end, mut seen) = (engine.follow(), Offset::ZERO);
                while seen < Offset(4) {
                    let now = *end.borrow_and_update();
                    // State first, then the wake-up (invariant 30).
                    let events = engine.recent(seen).unwrap();
                    assert!(events.len() as u64 >= now.since(seen), "told of {now}, and it is not there");
                    for event in events {
                        assert_eq!(event.offset, seen, "invariant 2");
                        seen = seen.next();
                    }
                    if seen < Offset(4) {
                        block_on(end.changed()).unwrap();
                    }
                }
            })
        };
        publishers.into_iter().chain([follower]).for_each(|thread| thread.join().unwrap());
        let mut places: Vec<u64> = answered.lock().unwrap().values().map(|offset| offset.0).collect();
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2, 3], "invariant 2");
        engine.close();
    });
}

#[test]
fn a_disk_that_fails_leaves_nobody_waiting_and_takes_nothing_back() {
    explore("a failing disk", || {
        let fs = MemoryFs::new();
        let engine = open(&fs);
        let fail_call = Some(fs.calls() + thread_rng().gen_range(0..8));
        fs.set_fault(Fault { fail_call, keep_failing: thread_rng().gen_bool(0.5), ..Fault::default() });
        let answered = Answered::default();
        let publishers = [publisher(&engine, &answered, 0, 2), publisher(&engine, &answered, 1, 2)];
        publishers.into_iter().for_each(|thread| thread.join().unwrap());
        engine.close();
        is_there(&fs, &answered);
    });
}

#[test]
fn an_end_in_the_middle_answers_everybody() {
    explore("an end", || {
        let fs = MemoryFs::new();
        let engine = open(&fs);
        let answered = Answered::default();
        let publishers = [publisher(&engine, &answered, 0, 2), publisher(&engine, &answered, 1, 2)];
        let closing = Arc::clone(&engine);
        let end = thread::spawn(move || closing.close());
        publishers.into_iter().chain([end]).for_each(|thread| thread.join().unwrap());
        is_there(&fs, &answered);
    });
}

#[test]
fn a_repeat_waits_for_the_first_ones_answer() {
    explore("a repeat", || {
        let engine = open(&MemoryFs::new());
        let repeat = |n: usize| {
            let engine = Arc::clone(&engine);
            thread::spawn(move || {
                // One of them gives up waiting: that cancels nothing.
                let mut append = Box::pin(engine.append(vec![event("a", Some("id-1"), "1".to_owned())]));
                if n == 0 && block_on(async { futures_util::poll!(append.as_mut()) }).is_pending() {
                    return None;
                }
                (n > 0).then(|| block_on(append).unwrap()[0].offset)
            })
        };
        let offsets: Vec<_> =
            [repeat(0), repeat(1), repeat(2)].into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(offsets.into_iter().flatten().all(|offset| offset == Offset(0)), "invariant 26");
        engine.close();
        assert_eq!(engine.end(), Offset(1), "invariant 26");
    });
}

#[test]
fn an_entry_is_in_the_fold_once_its_ticket_is_done_whoever_waits() {
    explore("tickets", || {
        let engine = open(&MemoryFs::new());
        let make = |name: &'static str| {
            let engine = Arc::clone(&engine);
            thread::spawn(move || {
                let settings = SubscriberSettings::new(Filter::all());
                let target = Target::Subscriber(settings);
                let name = Name::parse("name", name).unwrap();
                let made = move |id| Entry::Made { id, name, target, cursor: Offset::ZERO };
                let (id, ticket) = engine.record_new(Box::new(made)).unwrap();
                let (second, there) = (ticket.clone(), Arc::clone(&engine));
                let other = thread::spawn(move || {
                    block_on(second.durable()).unwrap();
                    assert!(there.state().get(id).is_some(), "invariant 30: done, and not in the fold");
                });
                block_on(ticket.durable()).unwrap();
                assert!(engine.state().get(id).is_some(), "invariant 30: done, and not in the fold");
                other.join().unwrap();
                id
            })
        };
        let (one, two) = (make("one"), make("two"));
        let barrier = engine.ledger_barrier();
        if let Some(barrier) = barrier {
            block_on(barrier.durable()).unwrap();
        }
        assert_ne!(one.join().unwrap(), two.join().unwrap());
        engine.close();
    });
}
