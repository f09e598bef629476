//! From durable to told: the hub.

use super::{Bound, Cases, explore};
use loom::future::block_on;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use std::sync::Arc;
use stentor_orderings::model::{Event, EventId, Filter, Headers, NewEvent, Offset, Timestamp, limits};
use stentor_orderings::notify::{Handed, Hub, Registration};
use tokio::sync::Notify;

fn event(offset: u64, bytes: usize) -> Arc<Event> {
    let payload = format!("\"{}\"", "x".repeat(bytes));
    let new = NewEvent::check("a", EventId::Made([0; 16]), None, Headers::default(), None, payload.into()).unwrap();
    Arc::new(Event::new(Offset(offset), Timestamp(0), new.head, new.payload))
}

fn all() -> Arc<Filter> {
    Arc::new(Filter::all())
}

/// Takes until everything below `end` came, as a session does: where there is nothing it waits to be told. Gives the
/// offset up to which it came.
fn take_all(near: &Registration, filled: &Notify, end: Offset) -> Offset {
    let mut at = near.from();
    while at < end {
        match near.take() {
            Handed::Event(event) => {
                assert_eq!(event.offset, at, "neither gap nor repeat from where the hand-over begins");
                at = at.next();
            }
            Handed::Nothing(below) => {
                assert!(below <= at, "invariant 30: {below} was handed over, and the inbox has nothing at {at}");
                block_on(filled.notified());
            }
            Handed::FellBehind(from) => {
                assert_eq!(from, at, "everything before was given");
                return from;
            }
        }
    }
    end
}

fn hand_over(hub: &Arc<Hub>, to: u64) -> thread::JoinHandle<()> {
    let hub = Arc::clone(hub);
    thread::spawn(move || {
        for offset in 0..to {
            hub.hand_over(&[event(offset, 1)], Offset(offset + 1));
        }
    })
}

#[test]
fn who_registers_during_the_hand_over_gets_everything_from_where_it_was_told_it_begins() {
    let cases = Cases::default();
    let met = cases.clone();
    explore("registering", Bound::None, move || {
        let hub = Hub::new(Offset::ZERO);
        let telling = hand_over(&hub, 2);
        let filled = Arc::new(Notify::new());
        let near = hub.register(all(), Arc::clone(&filled));
        met.met(near.from().to_string());
        assert_eq!(take_all(&near, &filled, Offset(2)), Offset(2));
        drop(near);
        telling.join().unwrap();
        assert_eq!((hub.near(), hub.handed()), (0, Offset(2)));
    });
    cases.are(&["0", "1", "2"]);
}

#[test]
fn who_sees_how_far_was_handed_over_has_all_of_it_in_the_inbox() {
    explore("handed", Bound::None, || {
        let hub = Hub::new(Offset::ZERO);
        let near = hub.register(all(), Arc::new(Notify::new()));
        let telling = hand_over(&hub, 2);
        let handed = hub.handed();
        for offset in 0..handed.0 {
            let Handed::Event(event) = near.take() else { panic!("invariant 30: nothing at {offset} below {handed}") };
            assert_eq!(event.offset, Offset(offset));
        }
        if let Some(below) = near.taken() {
            let taken = handed;
            let left = match near.take() {
                Handed::Event(event) => event.offset,
                Handed::Nothing(below) => below,
                Handed::FellBehind(from) => panic!("nobody gave {from} up"),
            };
            assert!(left >= below && below >= taken, "invariant 30: {left} is left, and all below {below} was taken");
        }
        telling.join().unwrap();
    });
}

#[test]
fn who_waits_for_an_offset_is_woken_when_it_was_handed_over() {
    explore("reached", Bound::None, || {
        let hub = Hub::new(Offset::ZERO);
        let near = hub.register(all(), Arc::new(Notify::new()));
        let telling = hand_over(&hub, 2);
        block_on(hub.reached(Offset(2)));
        assert_eq!(near.taken(), None, "something waits");
        for offset in 0..2 {
            assert!(matches!(near.take(), Handed::Event(event) if event.offset == Offset(offset)), "invariant 30");
        }
        assert_eq!(near.taken(), Some(Offset(2)));
        telling.join().unwrap();
    });
}

#[test]
fn two_who_wait_for_an_offset_are_both_woken() {
    explore("reached by two", Bound::Preemptions(3), || {
        let hub = Hub::new(Offset::ZERO);
        let other = Arc::clone(&hub);
        let waiting = thread::spawn(move || block_on(other.reached(Offset(1))));
        let telling = hand_over(&hub, 1);
        block_on(hub.reached(Offset(1)));
        waiting.join().unwrap();
        telling.join().unwrap();
    });
}

#[test]
fn who_waits_for_an_offset_sees_what_was_done_before_it_was_handed_over() {
    explore("what was done before", Bound::Preemptions(5), || {
        let hub = Hub::new(Offset::ZERO);
        let done = Arc::new(AtomicU64::new(0));
        let telling = {
            let (hub, done) = (Arc::clone(&hub), Arc::clone(&done));
            thread::spawn(move || {
                for to in 1..3 {
                    // Not ordered by itself: only the hub's store is.
                    done.store(to, Ordering::Relaxed);
                    hub.hand_over(&[], Offset(to));
                }
            })
        };
        let handed = hub.handed();
        assert!(Offset(done.load(Ordering::Relaxed)) >= handed, "invariant 30: {handed} was seen before its state");
        block_on(hub.reached(Offset(2)));
        assert_eq!(done.load(Ordering::Relaxed), 2, "invariant 30: woken before the state");
        telling.join().unwrap();
    });
}

#[test]
fn what_the_hub_gives_up_is_told_before_it_counts_as_handed_over() {
    explore("a hub that gives up", Bound::Preemptions(3), || {
        let hub = Hub::new(Offset::ZERO);
        let filled = Arc::new(Notify::new());
        let near = hub.register(all(), Arc::clone(&filled));
        let telling = {
            let hub = Arc::clone(&hub);
            thread::spawn(move || {
                hub.hand_over(&[event(0, 1)], Offset(1));
                hub.lose(Offset(1), Offset(2));
                hub.hand_over(&[event(2, 1)], Offset(3));
            })
        };
        assert_eq!(take_all(&near, &filled, Offset(3)), Offset(1));
        assert!(matches!(near.take(), Handed::FellBehind(Offset(1))), "and nothing behind it is handed over");
        block_on(hub.reached(Offset(3)));
        telling.join().unwrap();
    });
}

#[test]
fn who_is_too_slow_for_his_inbox_is_told_from_where() {
    let cases = Cases::default();
    let met = cases.clone();
    explore("a full inbox", Bound::None, move || {
        let hub = Hub::new(Offset::ZERO);
        let filled = Arc::new(Notify::new());
        let near = hub.register(all(), Arc::clone(&filled));
        let telling = {
            let hub = Arc::clone(&hub);
            thread::spawn(move || {
                // The first fills it: the second fits only where the first was taken.
                hub.hand_over(&[event(0, limits::INBOX_BYTES)], Offset(1));
                hub.hand_over(&[event(1, 1)], Offset(2));
            })
        };
        let to = take_all(&near, &filled, Offset(2));
        telling.join().unwrap();
        assert_eq!(hub.near() as u64, to.0 - 1, "who fell behind is out of the hub, and nobody else");
        drop(near);
        assert_eq!(hub.near(), 0);
        met.met(to.to_string());
    });
    // Fell behind, and kept up.
    cases.are(&["1", "2"]);
}

#[test]
fn who_leaves_and_comes_back_is_handed_everything_from_there_and_leaves_nothing_behind() {
    explore("coming back", Bound::Preemptions(4), || {
        let hub = Hub::new(Offset::ZERO);
        let filled = Arc::new(Notify::new());
        let near = hub.register(all(), Arc::clone(&filled));
        let telling = hand_over(&hub, 2);
        let before = near.from();
        drop(near);
        let near = hub.register(all(), Arc::clone(&filled));
        assert!(near.from() >= before);
        assert_eq!(take_all(&near, &filled, Offset(2)), Offset(2));
        drop(near);
        telling.join().unwrap();
        assert_eq!(hub.near(), 0);
    });
}
