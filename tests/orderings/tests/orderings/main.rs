//! Every promise between two threads that rests on an order of steps, a memory ordering or a wake-up, in every
//! execution that loom finds: all of them, or all with so many changes of turn that nobody was forced to. A wake-up
//! that is lost is a deadlock, and found.
//!
//! `STENTOR_PREEMPTIONS` sets that number for the tests that have one: more take longer.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod commit;
mod notify;
mod retire;

use loom::model::Builder;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// How far a test goes.
#[derive(Clone, Copy)]
enum Bound {
    /// Every order of steps.
    None,
    /// Every order with so many changes of turn that nobody was forced to.
    Preemptions(usize),
}

/// Runs `f` in every execution within the bound, to the end.
fn explore(name: &str, bound: Bound, f: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = match bound {
        Bound::None => None,
        Bound::Preemptions(at_most) => {
            Some(std::env::var("STENTOR_PREEMPTIONS").map_or(at_most, |number| number.parse().unwrap()))
        }
    };
    builder.max_branches = 100_000;
    // Whatever the environment says.
    (builder.max_permutations, builder.max_duration) = (None, None);
    let executions = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&executions);
    #[expect(clippy::disallowed_methods, reason = "how long it takes is for people; nothing follows it")]
    let began = Instant::now();
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        f();
    });
    let within = builder.preemption_bound.map_or("every order".to_owned(), |at_most| format!("{at_most} preemptions"));
    let (executions, seconds) = (executions.load(Ordering::Relaxed), began.elapsed().as_secs_f32());
    println!("{name}: {executions} executions, {within}, {seconds:.1} s");
}

/// What `f` makes, in one execution.
fn once<T: Send + 'static>(f: impl Fn() -> T + Send + Sync + 'static) -> T {
    let mut builder = Builder::new();
    // Loom begins to explore when it is told to, and nobody tells it to.
    builder.expect_explicit_explore = true;
    builder.max_branches = 100_000;
    let made = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&made);
    builder.check(move || *kept.lock().unwrap() = Some(f()));
    made.lock().unwrap().take().unwrap()
}

/// What happened in some execution: a test whose promise was never put to the test says nothing.
#[derive(Clone, Default)]
struct Cases(Arc<Mutex<BTreeSet<String>>>);

impl Cases {
    fn met(&self, case: impl Into<String>) {
        self.0.lock().unwrap().insert(case.into());
    }

    fn are(&self, expected: &[&str]) {
        let expected: BTreeSet<String> = expected.iter().map(|case| (*case).to_owned()).collect();
        assert_eq!(*self.0.lock().unwrap(), expected, "what was met in some execution");
    }
}
