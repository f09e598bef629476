//! Retirement while others read: the real segments, on the real disk in memory.

use super::commit::{Owned, append, open, options};
use super::{Bound, Cases, explore, once};
use loom::future::block_on;
use loom::thread;
use std::path::PathBuf;
use std::sync::Arc;
use stentor_orderings::fs::MemoryFs;
use stentor_orderings::log::{Hint, LogOptions, Segments, recover, remove_retired};
use stentor_orderings::model::{Offset, limits};

/// A log of two records a segment, so large that a block ends between them.
fn stored(records: u64) -> Vec<(PathBuf, Vec<u8>)> {
    const BODY: usize = limits::READ_BLOCK_BYTES / 2;
    let segment_bytes = 3 * BODY as u64;
    once(move || {
        let fs = MemoryFs::new();
        let (log, _) = open(&fs, LogOptions { segment_bytes, ..options() });
        for n in 0..records {
            block_on(append(&log, &vec![byte(n); BODY]).unwrap().1.durable()).unwrap();
        }
        log.close();
        fs.files()
    })
}

/// What a record's body consists of.
fn byte(offset: u64) -> u8 {
    u8::try_from(offset + 1).unwrap()
}

/// One read of what lies at `at`: the record whole, or the word that it is gone.
fn read(segments: &Segments, at: Offset, hint: Option<Hint>, met: &Cases) -> (Offset, Option<Hint>) {
    let block = segments.read(at, hint, 1).unwrap();
    match block.gap {
        Some(gap) => {
            assert_eq!((gap.from, gap.to), (at, block.next), "invariant 13");
            assert!(gap.to > at && gap.to <= segments.start(), "invariant 13: a gap over what is kept");
            met.met(format!("{at} to {} is gone", gap.to));
        }
        None => assert!(!block.records.is_empty(), "invariant 13: nothing at {at}, and no gap"),
    }
    for (record, offset) in block.records.iter().zip(at.0..) {
        assert_eq!(record.header.offset, Offset(offset), "invariant 13: passed over without a word");
        assert!(record.body.iter().all(|found| *found == byte(offset)), "invariant 1: another record's bytes");
    }
    (block.next, block.hint)
}

fn retire(fs: &MemoryFs, segments: &Arc<Segments>, to: Offset) -> thread::JoinHandle<()> {
    let (fs, segments) = (fs.clone(), Arc::clone(segments));
    thread::spawn(move || {
        remove_retired(&fs, &segments, to).unwrap();
        assert_eq!(segments.start(), to, "all that was to go, and no more");
    })
}

/// Reads to the end, from where it stands.
fn read_all(segments: &Segments, mut at: Offset, mut hint: Option<Hint>, end: Offset, met: &Cases) {
    while at < end {
        (at, hint) = read(segments, at, hint, met);
    }
}

/// The stored log on a disk of its own.
fn segments(stored: &[(PathBuf, Vec<u8>)]) -> (MemoryFs, Arc<Segments>) {
    let fs = MemoryFs::new();
    stored.iter().for_each(|(path, bytes)| fs.put(path, bytes));
    let recovered = recover(Arc::new(fs.clone()), options()).unwrap();
    (fs, recovered.segments())
}

#[test]
fn a_reader_gets_each_record_whole_or_is_told_that_it_is_gone() {
    let (stored, cases) = (stored(6), Cases::default());
    let met = cases.clone();
    explore("a reader from the start", Bound::Preemptions(3), move || {
        let (fs, segments) = segments(&stored);
        let retirer = retire(&fs, &segments, Offset(4));
        read_all(&segments, Offset::ZERO, None, Offset(6), &met);
        retirer.join().unwrap();
    });
    let gone = |from: u64, to: u64| format!("{from} to {to} is gone");
    cases.are(&[&gone(0, 2), &gone(0, 4), &gone(1, 2), &gone(1, 4), &gone(2, 4), &gone(3, 4)]);
}

#[test]
fn a_reader_with_a_hint_into_a_segment_that_goes_gets_on() {
    let (stored, cases) = (stored(4), Cases::default());
    let met = cases.clone();
    explore("a reader with a hint", Bound::Preemptions(4), move || {
        let (fs, segments) = segments(&stored);
        let (at, hint) = read(&segments, Offset::ZERO, None, &met);
        assert!(at == Offset(1) && hint.is_some());
        let retirer = retire(&fs, &segments, Offset(2));
        read_all(&segments, at, hint, Offset(4), &met);
        retirer.join().unwrap();
    });
    cases.are(&["1 to 2 is gone"]);
}

#[test]
fn two_readers_and_retirement_do_not_meet_in_an_index() {
    let (stored, cases) = (stored(4), Cases::default());
    let met = cases.clone();
    explore("two readers", Bound::Preemptions(3), move || {
        let (fs, segments) = segments(&stored);
        let retirer = retire(&fs, &segments, Offset(2));
        let (there, met_there) = (Arc::clone(&segments), met.clone());
        let other = thread::spawn(move || read_all(&there, Offset(1), None, Offset(2), &met_there));
        read_all(&segments, Offset::ZERO, None, Offset(4), &met);
        other.join().unwrap();
        retirer.join().unwrap();
    });
    cases.are(&["0 to 2 is gone", "1 to 2 is gone"]);
}

#[test]
fn a_reader_at_the_tail_follows_while_segments_are_made_and_taken() {
    let cases = Cases::default();
    let met = cases.clone();
    explore("a reader at the tail", Bound::Preemptions(2), move || {
        let fs = MemoryFs::new();
        // What lies there already is not in question.
        loom::stop_exploring();
        // A segment for each group.
        let (log, _): (Owned, _) = open(&fs, LogOptions { segment_bytes: 1, ..options() });
        block_on(append(&log, &[byte(0)]).unwrap().1.durable()).unwrap();
        loom::explore();
        let mut end = log.committed();
        let (segments, met) = (Arc::clone(log.segments()), met.clone());
        let reader = thread::spawn(move || {
            let (mut at, mut hint) = (Offset::ZERO, None);
            loop {
                while at < *end.borrow_and_update() {
                    (at, hint) = read(&segments, at, hint, &met);
                }
                if at == Offset(2) {
                    return;
                }
                block_on(end.changed());
            }
        });
        block_on(append(&log, &[byte(1)]).unwrap().1.durable()).unwrap();
        remove_retired(&fs, log.segments(), Offset(1)).unwrap();
        reader.join().unwrap();
        log.close();
    });
    cases.are(&["0 to 1 is gone"]);
}

#[test]
fn who_reads_where_a_record_is_being_written_finds_all_of_it_or_nothing() {
    let cases = Cases::default();
    let met = cases.clone();
    explore("a look behind the end", Bound::Preemptions(3), move || {
        let fs = MemoryFs::new();
        loom::stop_exploring();
        let (log, _) = open(&fs, options());
        block_on(append(&log, &[byte(0)]).unwrap().1.durable()).unwrap();
        loom::explore();
        let ticket = append(&log, &[byte(1)]).unwrap().1;
        let block = log.segments().read(Offset(1), None, 1).unwrap();
        assert_eq!(block.gap, None);
        match block.records.first() {
            None => assert_eq!(block.next, Offset(1)),
            Some(record) => assert_eq!((&record.body[..], block.next), (&[byte(1)][..], Offset(2)), "invariant 1"),
        }
        met.met(if block.records.is_empty() { "nothing" } else { "all of it" });
        block_on(ticket.durable()).unwrap();
        log.close();
    });
    cases.are(&["nothing", "all of it"]);
}
