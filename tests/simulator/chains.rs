//! Recovery that is itself interrupted, up to three times in a row, each time at another call (R9).

use super::images::add;
use super::oracle::Oracle;
use super::workload::open;
use std::cell::Cell;
use stentor::fs::{Choices, Fault, MemoryFs};
use tokio::runtime::Runtime;

const DEPTH: usize = 3;

/// Crashes during recovery: for one of so many crash states a chain of three.
pub(crate) struct Chains {
    seed: u64,
    every: u64,
    pub(crate) tried: Cell<u64>,
    /// Starts that were really interrupted, at each depth.
    pub(crate) interrupted: [Cell<u64>; DEPTH],
}

impl Chains {
    pub(crate) fn new(seed: u64, every: u64) -> Self {
        Self { seed, every, tried: Cell::new(0), interrupted: Default::default() }
    }

    /// Interrupts recovery of this disk, then of what that left, then once more; the promises hold at the end.
    pub(crate) fn crash_recovery(
        &self,
        runtime: &Runtime,
        disk: &MemoryFs,
        oracle: &Oracle,
        number: u64,
        story: &dyn Fn() -> String,
    ) {
        if !number.is_multiple_of(self.every) {
            return;
        }
        add(&self.tried, 1);
        let seed = self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut draw = Choices::seeded(seed);
        let mut disk = disk.fork();
        for depth in &self.interrupted {
            // A start makes some forty calls; most fall inside.
            let call = draw.pick(48) as u64;
            disk.set_fault(Fault { fail_call: Some(disk.calls() + call), keep_failing: true, ..Fault::default() });
            if open(&disk).is_err() {
                add(depth, 1);
            }
            // Half of the time only the process is killed, and the next one finds the page cache as it was.
            disk = if draw.pick(2) == 0 { disk.fork() } else { disk.crash(&mut draw) };
        }
        // What an interrupted start said it retired may be gone by now; nothing else.
        oracle.check(runtime, &disk, &|| format!("{}, recovery interrupted by seed {seed}", story()));
    }
}
