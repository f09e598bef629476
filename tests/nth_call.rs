//! Every single call of a long workload fails once: no acknowledgement after the error, reads go on, the next start
//! has every promise (R7, invariants 1, 3, 4, 10, 11).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod simulator;

use simulator::oracle::{Oracle, read};
use simulator::workload::{Base, Run, Step};
use stentor::engine::Engine;
use stentor::fs::{Fault, Want};
use stentor::log::Fill;
use tokio::runtime::Runtime;

/// Long enough for both logs to roll; `STENTOR_CALLS=2000` asks for more.
fn workload(runtime: &Runtime, calls: u64, fill: Fill) -> (Base, Vec<Step>) {
    let cycle = [
        Step::Publish,
        Step::Ack,
        Step::Batch,
        Step::Ack,
        Step::Seek,
        Step::Publish,
        Step::Retire,
        Step::Ack,
        Step::Restart,
    ];
    let base = Base::first(runtime, fill);
    let mut run = base.run();
    let (before, mut steps) = (run.fs.calls(), Vec::new());
    assert!(run.start(runtime));
    for step in cycle.into_iter().cycle() {
        if run.fs.calls() - before >= calls {
            break;
        }
        assert!(run.step(runtime, step), "without a fault everything works");
        steps.push(step);
    }
    (base, steps)
}

/// Runs the workload, its starts included, until a step is not answered; the promises are those of before it.
fn until_refused(runtime: &Runtime, run: &mut Run, steps: &[Step], story: &dyn Fn() -> String) -> bool {
    if !run.start(runtime) {
        return true;
    }
    for step in steps {
        let before = run.oracle.clone();
        if !run.step(runtime, *step) {
            if run.engine.is_some() {
                still_readable(runtime, run, &before, story);
            }
            return true;
        }
    }
    false
}

/// Runs the workload with the `nth` call failing. Tells whether it was reached.
fn fail(runtime: &Runtime, base: &Base, steps: &[Step], nth: u64, drops: bool) -> bool {
    let story = || format!("call {nth} fails{}", if drops { ", the cache drops what it gave up" } else { "" });
    let mut run = base.run();
    let at = run.fs.calls() + nth;
    run.fs.set_fault(Fault { fail_call: Some(at), drops, ..Fault::default() });
    if until_refused(runtime, &mut run, steps, &story) {
        // Whoever was refused may ask again, and gets no false answer: nothing is acknowledged after a poisoning.
        let asked = run.oracle.clone();
        let (events, entries) = run
            .engine
            .as_ref()
            .map_or((false, false), |e| (e.refuses_events().is_some(), e.refuses_entries().is_some()));
        assert!(!events || !run.step(runtime, Step::Publish), "{}: acknowledged after a failure (10)", story());
        run.oracle = asked.clone();
        assert!(!entries || !run.step(runtime, Step::Seek), "{}: a cursor moved after a failure (10)", story());
        run.oracle = asked;
    }
    let reached = run.fs.calls() > at;
    run.fs.set_fault(Fault::default());
    run.engine = None;
    ends_well(runtime, run, nth, &story);
    reached
}

/// The process ends and starts again, on a kept page cache and on what a power cut leaves of it.
fn ends_well(runtime: &Runtime, run: Run, nth: u64, story: &dyn Fn() -> String) {
    let Run { fs, oracle, .. } = run;
    for disk in [fs.fork(), fs.crash(&mut stentor::fs::Choices::seeded(nth))] {
        oracle.check(runtime, &disk, story);
    }
}

/// What was acknowledged can be read while nothing is written any more.
fn still_readable(runtime: &Runtime, run: &Run, before: &Oracle, story: &dyn Fn() -> String) {
    let engine = run.engine.as_ref().unwrap();
    let seen = read(runtime, engine).unwrap_or_else(|error| panic!("{}: {error} (11)", story()));
    let promised = before.acknowledged.len() as u64;
    assert!(engine.end().0 >= promised, "{}: readers see less than was acknowledged (1)", story());
    assert!(seen.range(..promised).all(|(at, told)| *told == before.acknowledged[*at as usize]), "{}", story());
}

#[test]
fn every_call_of_a_workload_may_fail_once_and_no_promise_breaks() {
    let calls = std::env::var("STENTOR_CALLS").ok().and_then(|text| text.parse().ok()).unwrap_or(500u64);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for fill in [Fill::AtOnce, Fill::Never] {
        let (base, steps) = workload(&runtime, calls, fill);
        let mut tried = 0;
        for drops in [false, true] {
            for nth in 0.. {
                if !fail(&runtime, &base, &steps, nth, drops) {
                    break;
                }
                tried += 1;
            }
        }
        println!("zeros {fill:?}: {} steps, {tried} calls failed one at a time, 0 violations", steps.len());
        assert!(tried >= 2 * calls, "{tried} calls");
    }
}

#[test]
fn the_disk_may_be_full_at_any_byte_and_it_heals() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for fill in [Fill::AtOnce, Fill::Never] {
        let (base, steps) = workload(&runtime, 200, fill);
        let used: u64 = base.fs.files().iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let mut refused = 0;
        for spare in (0..40_000).step_by(199) {
            let story = || format!("zeros {fill:?}, {spare} bytes more fit");
            let mut run = base.run();
            run.fs.set_fault(Fault { capacity: Some(used + spare), ..Fault::default() });
            refused += u32::from(until_refused(&runtime, &mut run, &steps, &story));
            heals(&runtime, run, spare, &story);
        }
        println!("zeros {fill:?}: the disk was full {refused} times, and healed each time");
        assert!(refused > 50, "the disk was full {refused} times");
    }
}

#[test]
fn every_call_that_asks_for_space_or_for_a_file_may_be_refused_it_once_and_it_heals() {
    let calls = std::env::var("STENTOR_CALLS").ok().and_then(|text| text.parse().ok()).unwrap_or(500u64);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (want, fill) in [Want::Space, Want::Files].into_iter().flat_map(|w| [(w, Fill::AtOnce), (w, Fill::Never)]) {
        let (base, steps) = workload(&runtime, calls, fill);
        let mut struck = 0;
        for nth in 0..calls {
            let story = || format!("zeros {fill:?}, call {nth} is refused for want of {want:?}");
            let mut run = base.run();
            run.fs.set_fault(Fault { fail_call: Some(run.fs.calls() + nth), want, ..Fault::default() });
            until_refused(&runtime, &mut run, &steps, &story);
            struck += u64::from(run.fs.was_struck());
            heals(&runtime, run, nth, &story);
        }
        println!("zeros {fill:?}: {struck} of {calls} calls were refused for want of {want:?}");
        assert!(struck > calls / 8, "{struck} calls were refused for want of {want:?}");
    }
}

/// There is enough again: publishes and acks go on by themselves, after another start where there was none.
fn heals(runtime: &Runtime, mut run: Run, seed: u64, story: &dyn Fn() -> String) {
    run.fs.set_fault(Fault::default());
    if run.engine.is_none() {
        assert!(run.start(runtime), "{}: a start that was refused it may be made again", story());
    }
    run.oracle.pending.clear();
    assert!(run.step(runtime, Step::Publish), "{}: publishing heals by itself (11)", story());
    assert!(run.step(runtime, Step::Ack), "{}: and so do acks (11)", story());
    run.engine = None;
    ends_well(runtime, run, seed, story);
}
