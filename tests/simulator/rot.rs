//! Bits that turn and reads that give another block: detected each time, and nothing wrong is ever delivered.

use super::images::add;
use super::oracle::{Oracle, read};
use super::workload::{Base, open};
use std::cell::Cell;
use std::path::Path;
use stentor::engine::Engine;
use stentor::fs::{Choices, Fault, MemoryFs};
use tokio::runtime::Runtime;

/// What came of it.
#[derive(Default)]
pub(crate) struct Rot {
    pub(crate) tried: Cell<u64>,
    /// The start refused and said why.
    pub(crate) refused: Cell<u64>,
    /// Readers were told.
    pub(crate) told: Cell<u64>,
    /// It hit nothing that matters: every promise is kept.
    pub(crate) harmless: Cell<u64>,
}

impl Rot {
    /// Turns a drawn bit of a drawn file.
    pub(crate) fn turn_a_bit(&self, runtime: &Runtime, base: &Base, draw: &mut Choices, story: &dyn Fn() -> String) {
        let disk = base.fs.fork();
        let mut files = disk.files();
        files.retain(|(path, bytes)| !bytes.is_empty() && !path.starts_with(Path::new("data/keys")));
        let (path, bytes) = &files[draw.pick(files.len())];
        let bit = draw.pick(bytes.len() * 8);
        disk.flip(path, bit);
        self.judge(runtime, &disk, &base.oracle, &|| format!("{}, bit {bit} of {}", story(), path.display()));
    }

    /// Lets one call of a start, and of reading everything, give the wrong block.
    pub(crate) fn read_wrong(&self, runtime: &Runtime, base: &Base, draw: &mut Choices, story: &dyn Fn() -> String) {
        let disk = base.fs.fork();
        let nth = draw.pick(60) as u64;
        disk.set_fault(Fault { wrong_read: Some(nth), ..Fault::default() });
        self.judge(runtime, &disk, &base.oracle, &|| format!("{}, call {nth} reads another block", story()));
    }

    /// Either it is said, or everything is as it was promised.
    fn judge(&self, runtime: &Runtime, disk: &MemoryFs, oracle: &Oracle, story: &dyn Fn() -> String) {
        add(&self.tried, 1);
        let engine = match open(disk) {
            Err(_) => return add(&self.refused, 1),
            Ok(opened) => opened.engine,
        };
        match read(runtime, &engine) {
            Err(_) => add(&self.told, 1),
            Ok(seen) => {
                let (start, end) = (engine.start().0, engine.end().0);
                let promised = oracle.acknowledged.len() as u64;
                assert!(end >= promised, "{}: the log ends at {end} of {promised}, and nobody was told (1)", story());
                assert_eq!(start, oracle.start, "{}: the start moved (13)", story());
                for (offset, payload) in &seen {
                    assert_eq!(payload, &oracle.acknowledged[*offset as usize], "{}: wrong bytes (5)", story());
                }
                let floor = engine.state().named("auditor").map(|subscriber| subscriber.floor.0);
                assert_eq!(floor, Some(oracle.floor.max(start)), "{}: the cursor (16, 17)", story());
                add(&self.harmless, 1);
            }
        }
    }
}
