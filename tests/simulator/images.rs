//! Every version of a disk that a crash may leave.

use super::chains::Chains;
use super::oracle::Oracle;
use super::workload::{Base, Run, STEPS, Step};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use stentor::fs::{Choices, Fault, MemoryFs};
use stentor::log::Fill;
use tokio::runtime::Runtime;

/// Versions of a disk that are drawn where not all are tried.
const DRAWN: u64 = 16;
/// Of so many states one is published to again.
const REPEATS_EVERY: u64 = 32;

/// How much is tried, and what was.
pub(crate) struct Tries {
    pub(crate) seed: u64,
    /// Versions of one disk tried in order.
    pub(crate) in_order: usize,
    /// Crash states in all, about; every small workload is gone through first, whatever it takes.
    pub(crate) at_most: u64,
    /// Crashes during recovery.
    pub(crate) chains: Option<Chains>,
    /// Which part of how many: small workloads are dealt out by their first two steps.
    pub(crate) part: (u64, u64),
    /// Called after each state; says whether there is time for more.
    pub(crate) goes_on: Box<dyn Fn(&Tries) -> bool>,
    /// When segments get their zeros.
    pub(crate) fill: Fill,
    /// Versions of disks at crash points.
    pub(crate) states: Cell<u64>,
    /// Those that differ, each with what was promised there. A call that changes nothing leaves the disk as the call
    /// before left it: each is tried once.
    seen: RefCell<HashSet<u64>>,
    pub(crate) points: Cell<u64>,
    /// Crash points of which not every version was tried.
    pub(crate) not_all: Cell<u64>,
    /// A digest of all calls of all runs.
    pub(crate) trace: Cell<u64>,
}

impl Tries {
    pub(crate) fn new(seed: u64, in_order: usize, at_most: u64) -> Self {
        let zero = || Cell::new(0);
        Self {
            seed,
            in_order,
            at_most,
            chains: None,
            part: (0, 1),
            goes_on: Box::new(|_| true),
            fill: Fill::AtOnce,
            states: zero(),
            seen: RefCell::default(),
            points: zero(),
            not_all: zero(),
            trace: zero(),
        }
    }

    /// Versions of disks that were tried, each once.
    pub(crate) fn different(&self) -> u64 {
        self.seen.borrow().len() as u64
    }

    fn is_over(&self) -> bool {
        self.states.get() >= self.at_most || !(self.goes_on)(self)
    }

    /// Tries the versions of a disk at a crash.
    pub(crate) fn images(&self, runtime: &Runtime, fs: &MemoryFs, oracle: &Oracle, story: &dyn Fn() -> String) {
        add(&self.points, 1);
        self.trace.set((self.trace.get() ^ fs.trace()).wrapping_mul(0x0100_0000_01b3));
        let mut choices = Choices::exhaustive();
        for n in 0..self.in_order {
            self.image(runtime, &fs.crash(&mut choices), oracle, &|| format!("{}, version {n}", story()));
            if !choices.advance() {
                return;
            }
        }
        add(&self.not_all, 1);
        for n in 0..DRAWN {
            let seed = self.seed ^ n;
            let disk = fs.crash(&mut Choices::seeded(seed));
            self.image(runtime, &disk, oracle, &|| format!("{}, drawn by seed {seed}", story()));
        }
    }

    /// Tries one version.
    fn image(&self, runtime: &Runtime, disk: &MemoryFs, oracle: &Oracle, story: &dyn Fn() -> String) {
        add(&self.states, 1);
        let mut digest = DefaultHasher::new();
        (disk.files(), oracle).hash(&mut digest);
        if !self.seen.borrow_mut().insert(digest.finish()) {
            return;
        }
        if let Some(chains) = &self.chains {
            chains.crash_recovery(runtime, disk, oracle, self.different(), story);
        }
        oracle.check(runtime, disk, story);
        if self.different().is_multiple_of(REPEATS_EVERY) {
            oracle.check_repeats(runtime, disk, story);
        }
    }

    /// The power fails at each call of the very first start.
    pub(crate) fn first_start(&self, runtime: &Runtime) {
        for call in 0.. {
            let fs = MemoryFs::new();
            fs.set_fault(Fault { fail_call: Some(call), keep_failing: true, ..Fault::default() });
            let mut run = Run::on(fs.clone(), Oracle::default(), self.fill);
            run.start(runtime);
            run.engine = None;
            self.images(runtime, &fs, &run.oracle, &|| format!("first start, call {call}"));
            if fs.calls() <= call {
                return;
            }
        }
    }

    /// Every workload of so many steps, the power failing at each call of its last one.
    ///
    /// Tells whether there was time for all of them.
    pub(crate) fn every_workload(&self, runtime: &Runtime, longest: usize) -> bool {
        if self.part.0 == 0 {
            self.first_start(runtime);
        }
        self.beyond(runtime, &Base::first(runtime, self.fill), &mut Vec::new(), longest)
    }

    /// Depth first, so that only the disks of one workload's steps are held at a time.
    fn beyond(&self, runtime: &Runtime, base: &Base, steps: &mut Vec<Step>, left: usize) -> bool {
        if left == 0 {
            return true;
        }
        for step in STEPS {
            steps.push(step);
            if self.has(steps) {
                for call in 0.. {
                    let Some((fs, oracle)) = base.crash(runtime, step, call) else { break };
                    self.images(runtime, &fs, &oracle, &|| format!("{steps:?}, power off at call {call} of the last"));
                    if !(self.goes_on)(self) {
                        return false;
                    }
                }
            }
            let deeper = steps.len() < 2 || self.has(steps);
            if deeper && !self.beyond(runtime, &base.after(runtime, step), steps, left - 1) {
                return false;
            }
            steps.pop();
        }
        true
    }

    /// Whether this part tries what happens in the last of these steps.
    fn has(&self, steps: &[Step]) -> bool {
        let (part, of) = self.part;
        match steps {
            [first, second, ..] => (*first as u64 * STEPS.len() as u64 + *second as u64) % of == part,
            _ => part == 0,
        }
    }

    /// Workloads of 7 to 20 steps drawn by the seed, the power failing at drawn calls of their last step.
    pub(crate) fn drawn_workloads(&self, runtime: &Runtime) {
        let mut draw = Choices::seeded(self.seed);
        while !self.is_over() {
            let steps: Vec<Step> = (0..7 + draw.pick(14)).map(|_| STEPS[draw.pick(STEPS.len())]).collect();
            let fill = if draw.pick(4) == 0 { Fill::Never } else { Fill::AtOnce };
            let mut base = Base::first(runtime, fill);
            for (n, step) in steps.iter().enumerate() {
                // Crashes all along the way: each step gets its share.
                let call = draw.pick(24) as u64;
                if let Some((fs, oracle)) = base.crash(runtime, *step, call) {
                    let done = &steps[..=n];
                    self.images(runtime, &fs, &oracle, &|| {
                        format!("{done:?}, power off at call {call} of the last, zeros {fill:?}")
                    });
                }
                base = base.after(runtime, *step);
            }
        }
    }
}

pub(crate) fn add(cell: &Cell<u64>, more: u64) {
    cell.set(cell.get() + more);
}
