//! Group commit and its tickets: the real log on the real disk in memory.

use super::{Bound, Cases, explore};
use loom::future::block_on;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread::{self, JoinHandle};
use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use stentor_orderings::clock::Clock;
use stentor_orderings::fs::{Fault, MemoryFs};
use stentor_orderings::log::{
    Committed, Failure, Fill, Hook, Log, LogKind, LogOptions, RecordKind, Segments, Ticket, recover,
};
use stentor_orderings::model::Offset;

/// Counts what is durable as an owner's state does: not ordered by itself, the log alone orders it.
#[derive(Default)]
pub(super) struct Owner {
    durable: AtomicU64,
}

impl Hook for Owner {
    type Item = ();
    type Stage = ();

    fn snapshot(&self, _first: Offset) -> Option<Vec<u8>> {
        None
    }

    fn committed(&self, group: Vec<Committed<()>>) {
        let last = group.last().unwrap().offset;
        self.durable.store(last.next().0, Ordering::Relaxed);
    }

    fn failed(&self, _stage: &mut (), from: Offset) {
        assert_eq!(self.durable.load(Ordering::Relaxed), from.0, "what is given anew begins where the durable ends");
    }

    fn synced(&self, _commit: Duration, _sync: Duration) {}
}

pub(super) type Owned = Arc<Log<Owner>>;

pub(super) fn options() -> LogOptions {
    LogOptions { fill: Fill::Never, ..LogOptions::new(Path::new("data"), LogKind::Events, [7; 16]) }
}

pub(super) fn open(fs: &MemoryFs, options: LogOptions) -> (Owned, Arc<Owner>) {
    let recovered = recover(Arc::new(fs.clone()), options).unwrap();
    let owner = Arc::new(Owner::default());
    let log = Log::start(recovered, Arc::clone(&owner), (), Clock::Machine, Box::new(|| 7)).unwrap();
    (Arc::new(log), owner)
}

pub(super) fn append(log: &Owned, body: &[u8]) -> Result<(Offset, Ticket), Failure> {
    log.append(|filling, now| {
        let offset = filling.push(RecordKind::Event, body, 0, now, ());
        (offset, filling.ticket(offset))
    })
}

/// What lies at an offset.
fn at(segments: &Segments, offset: Offset) -> Option<u8> {
    let block = segments.read(offset, None, 1).unwrap();
    block.records.first().map(|record| record.body[0])
}

/// Publishes once and checks what the answer promises.
fn publish(log: &Owned, owner: &Owner, body: u8) -> Result<Offset, Failure> {
    let (offset, ticket) = append(log, &[body])?;
    block_on(ticket.durable())?;
    assert!(log.end() > offset, "invariant 30: answered before it can be seen");
    assert!(owner.durable.load(Ordering::Relaxed) > offset.0, "invariant 30: answered before the owner's state");
    assert_eq!(at(log.segments(), offset), Some(body), "invariant 1");
    Ok(offset)
}

fn publisher(log: &Owned, owner: &Arc<Owner>, body: u8) -> JoinHandle<Result<Offset, Failure>> {
    let (log, owner) = (Arc::clone(log), Arc::clone(owner));
    thread::spawn(move || publish(&log, &owner, body))
}

/// After a start, what was answered is there.
fn is_there(fs: &MemoryFs, answered: &[(u8, Result<Offset, Failure>)]) {
    let recovered = recover(Arc::new(fs.fork()), options()).unwrap();
    for (body, answer) in answered {
        if let Ok(offset) = answer {
            assert_eq!(at(&recovered.segments(), *offset), Some(*body), "invariant 1");
        }
    }
}

/// Who got a place.
fn both(one: &Result<Offset, Failure>, two: &Result<Offset, Failure>) -> &'static str {
    match (one.is_ok(), two.is_ok()) {
        (true, true) => "both",
        (true, false) => "the first",
        (false, true) => "the second",
        (false, false) => "neither",
    }
}

#[test]
fn two_publishers_are_each_told_when_their_own_group_is_durable() {
    explore("two publishers", Bound::Preemptions(2), || {
        let (log, owner) = open(&MemoryFs::new(), options());
        let other = publisher(&log, &owner, 1);
        let mine = publish(&log, &owner, 2).unwrap();
        let mut places = [mine.0, other.join().unwrap().unwrap().0];
        places.sort_unstable();
        assert_eq!(places, [0, 1], "invariant 2");
        log.close();
    });
}

#[test]
fn who_follows_the_end_finds_the_record_and_the_owners_state_and_is_woken_for_each() {
    explore("a follower", Bound::Preemptions(4), || {
        let (log, owner) = open(&MemoryFs::new(), options());
        let mut end = log.committed();
        let tickets = [append(&log, &[0]).unwrap().1, append(&log, &[1]).unwrap().1];
        let mut seen = Offset::ZERO;
        while seen < Offset(2) {
            block_on(end.changed());
            let now = *end.borrow_and_update();
            assert!(now > seen, "woken for nothing");
            assert!(owner.durable.load(Ordering::Relaxed) >= now.0, "invariant 30: {now} before the owner's state");
            for offset in seen.0..now.0 {
                assert_eq!(at(log.segments(), Offset(offset)), Some(u8::try_from(offset).unwrap()), "invariant 30");
            }
            seen = now;
        }
        tickets.into_iter().for_each(|ticket| block_on(ticket.durable()).unwrap());
        log.close();
    });
}

#[test]
fn who_only_looks_at_a_ticket_sees_the_end_once_it_is_done() {
    explore("a look at a ticket", Bound::None, || {
        let (log, owner) = open(&MemoryFs::new(), options());
        let (offset, ticket) = append(&log, &[3]).unwrap();
        for _ in 0..2 {
            if ticket.outcome().is_some() {
                assert!(
                    owner.durable.load(Ordering::Relaxed) > offset.0,
                    "invariant 30: done before the owner's state"
                );
                assert!(log.end() > offset, "invariant 30: done before it can be seen");
                assert!(log.barrier().is_none(), "done, and somebody could still be told to wait for it");
            }
        }
        log.close();
        assert_eq!(ticket.outcome(), Some(Ok(())), "closing commits what was appended");
    });
}

#[test]
fn several_wait_on_one_ticket_and_one_who_gives_up_takes_nothing_from_the_others() {
    explore("one ticket", Bound::Preemptions(2), || {
        let (log, owner) = open(&MemoryFs::new(), options());
        let (offset, ticket) = append(&log, &[3]).unwrap();
        let (second, third, there) = (ticket.clone(), ticket.clone(), Arc::clone(&log));
        let other = thread::spawn(move || {
            block_on(second.durable()).unwrap();
            assert!(there.end() > offset, "invariant 30");
        });
        let mut gives_up = Box::pin(third.durable());
        block_on(poll_fn(|context| {
            let _ = gives_up.as_mut().poll(context);
            Poll::Ready(())
        }));
        drop(gives_up);
        block_on(ticket.durable()).unwrap();
        assert!(owner.durable.load(Ordering::Relaxed) > offset.0, "invariant 30");
        other.join().unwrap();
        log.close();
    });
}

#[test]
fn a_disk_that_breaks_fails_its_group_and_everything_behind_and_leaves_nobody_waiting() {
    // Each call of the first commit in turn: the segment's making, the write, the sync, the evidence.
    for call in 0..8 {
        let cases = Cases::default();
        let met = cases.clone();
        explore(&format!("a disk that breaks at call {call}"), Bound::Preemptions(2), move || {
            let fs = MemoryFs::new();
            let (log, owner) = open(&fs, options());
            fs.set_fault(Fault { fail_call: Some(fs.calls() + call), ..Fault::default() });
            let publish = |log: &Owned| match append(log, &[1]) {
                Ok((_, ticket)) => ("waited", block_on(ticket.durable()).unwrap_err()),
                Err(refused) => ("refused", refused),
            };
            let there = Arc::clone(&log);
            let other = thread::spawn(move || publish(&there));
            let (mine, theirs) = (publish(&log), other.join().unwrap());
            log.close();
            let refused = log.refused().unwrap();
            assert!(matches!(refused, Failure::Poisoned(_)), "{refused}");
            for (case, answer) in [mine, theirs] {
                assert_eq!(answer, refused, "what failed, and what is behind it");
                met.met(case);
            }
            assert!(append(&log, &[9]).is_err(), "told to everyone from then on");
            assert_eq!((owner.durable.load(Ordering::Relaxed), log.end()), (0, Offset::ZERO), "nobody was shown it");
        });
        cases.are(&["waited", "refused"]);
    }
}

#[test]
fn after_a_full_disk_the_offsets_are_given_anew_without_a_hole() {
    let cases = Cases::default();
    let met = cases.clone();
    explore("a full disk", Bound::Preemptions(2), move || {
        let fs = MemoryFs::new();
        let (log, owner) = open(&fs, options());
        fs.set_fault(Fault { capacity: Some(0), ..Fault::default() });
        let other = publisher(&log, &owner, 1);
        let room = fs.clone();
        let (offset, first) = append(&log, &[2]).unwrap();
        room.set_fault(Fault::default());
        let first = block_on(first.durable()).map(|()| offset);
        let theirs = other.join().unwrap();
        let third = publish(&log, &owner, 3);
        log.close();
        let answered = [(2, first), (1, theirs), (3, third)];
        let mut places: Vec<u64> =
            answered.iter().filter_map(|(_, answer)| answer.as_ref().ok().map(|offset| offset.0)).collect();
        places.sort_unstable();
        assert_eq!(places, (0..log.end().0).collect::<Vec<_>>(), "invariant 2: neither a hole nor a place given twice");
        for (_, answer) in &answered {
            assert!(matches!(answer, Ok(_) | Err(Failure::Full)), "{answer:?}");
        }
        assert!(answered[2].1.is_ok(), "there is room again");
        is_there(&fs, &answered);
        met.met(both(&answered[0].1, &answered[1].1));
    });
    cases.are(&["neither", "the first", "the second", "both"]);
}

#[test]
fn an_end_in_the_middle_answers_everybody_and_keeps_what_it_acknowledged() {
    let cases = Cases::default();
    let met = cases.clone();
    explore("an end", Bound::Preemptions(2), move || {
        let fs = MemoryFs::new();
        let (log, owner) = open(&fs, options());
        let others = [publisher(&log, &owner, 1), publisher(&log, &owner, 2)];
        log.close();
        let [one, two] = others.map(|other| other.join().unwrap());
        for answer in [&one, &two] {
            assert!(matches!(answer, Ok(_) | Err(Failure::Closed)), "{answer:?}");
        }
        met.met(both(&one, &two));
        is_there(&fs, &[(1, one), (2, two)]);
    });
    cases.are(&["neither", "the first", "the second", "both"]);
}
