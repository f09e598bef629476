//! Bits that turn and reads that give another block: detected each time, and nothing wrong is ever delivered.

use super::images::add;
use super::oracle::{Oracle, is_segment, read};
use super::workload::{Base, STEPS, open};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use stentor::engine::Engine;
use stentor::fs::{Choices, Fault, Fs, MemoryFs, WrongRead};
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
    /// Wrong reads that gave other bytes than the right ones.
    pub(crate) misread: Cell<u64>,
}

impl Rot {
    /// Turns a drawn bit of a drawn file.
    pub(crate) fn turn_a_bit(&self, runtime: &Runtime, base: &Base, draw: &mut Choices, story: &dyn Fn() -> String) {
        let disk = base.fs.fork();
        let what = turn_one_bit(&disk, draw);
        self.judge(runtime, &disk, &base.oracle, &|| format!("{}, {what}", story()));
    }

    /// Takes a drawn file away, or cuts it at a drawn byte.
    pub(crate) fn take_away(&self, runtime: &Runtime, base: &Base, draw: &mut Choices, story: &dyn Fn() -> String) {
        let disk = base.fs.fork();
        let what = take_one_away(&disk, draw);
        self.judge(runtime, &disk, &base.oracle, &|| format!("{}, {what}", story()));
    }

    /// Several of these at once. What was lost may then go unsaid, with its evidence; nothing wrong is delivered.
    pub(crate) fn several(&self, runtime: &Runtime, base: &Base, draw: &mut Choices, story: &dyn Fn() -> String) {
        let disk = base.fs.fork();
        for _ in 0..2 + draw.pick(2) {
            if draw.pick(2) == 0 {
                take_one_away(&disk, draw);
            } else {
                turn_one_bit(&disk, draw);
            }
        }
        add(&self.tried, 1);
        let Ok(opened) = open(&disk) else { return add(&self.refused, 1) };
        let Ok(seen) = read(runtime, &opened.engine) else { return add(&self.told, 1) };
        for (offset, payload) in &seen {
            assert_eq!(payload, &base.oracle.acknowledged[*offset as usize], "{}: wrong bytes (5)", story());
        }
        add(&self.harmless, 1);
    }

    /// The power fails at a drawn call of a step, and a bit of what that leaves turns; half of the time the newest
    /// segment still has zeros behind its end, as one that was filled ahead. Whether it was synced may not be known any
    /// more, but nothing wrong is delivered.
    pub(crate) fn after_a_crash(&self, runtime: &Runtime, base: &Base, draw: &mut Choices, story: &dyn Fn() -> String) {
        let (step, call) = (STEPS[draw.pick(STEPS.len())], draw.pick(16) as u64);
        let Some((disk, oracle)) = base.crash(runtime, step, call) else { return };
        let disk = disk.crash(draw);
        if draw.pick(2) == 0
            && let Some((path, bytes)) = newest_segment(&disk)
        {
            disk.put(&path, &[bytes, vec![0; 4096]].concat());
        }
        let what = if draw.pick(2) == 0 { turn_one_bit(&disk, draw) } else { turn_a_late_bit(&disk, draw) };
        add(&self.tried, 1);
        let Ok(opened) = open(&disk) else { return add(&self.refused, 1) };
        let Ok(seen) = read(runtime, &opened.engine) else { return add(&self.told, 1) };
        let tried: Vec<&String> = oracle.acknowledged.iter().chain(&oracle.pending).collect();
        for (offset, payload) in &seen {
            let said = format!("{}, {step:?} ended at call {call}, then {what}", story());
            assert_eq!(payload, tried[*offset as usize], "{said}: wrong bytes (5)");
        }
        add(&self.harmless, 1);
    }

    /// Lets one call of a start, and of reading everything, give the sector behind, or another file's bytes.
    pub(crate) fn read_wrong(&self, runtime: &Runtime, base: &Base, draw: &mut Choices, story: &dyn Fn() -> String) {
        let disk = base.fs.fork();
        let nth = draw.pick(60) as u64;
        let wrong = if draw.pick(2) == 0 { WrongRead::Behind } else { WrongRead::Another(draw.pick(8)) };
        disk.set_fault(Fault { wrong_read: Some((nth, wrong)), ..Fault::default() });
        self.judge(runtime, &disk, &base.oracle, &|| format!("{}, call {nth} reads wrong: {wrong:?}", story()));
        add(&self.misread, u64::from(disk.was_misread()));
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

/// Any file but the keys, and its bytes.
fn any_file(disk: &MemoryFs, draw: &mut Choices) -> (PathBuf, Vec<u8>) {
    let mut files = disk.files();
    files.retain(|(path, bytes)| !bytes.is_empty() && !path.starts_with(Path::new("data/keys")));
    files.swap_remove(draw.pick(files.len()))
}

fn turn_one_bit(disk: &MemoryFs, draw: &mut Choices) -> String {
    let (path, bytes) = any_file(disk, draw);
    let bit = draw.pick(bytes.len() * 8);
    disk.flip(&path, bit);
    format!("bit {bit} of {}", path.display())
}

fn newest_segment(disk: &MemoryFs) -> Option<(PathBuf, Vec<u8>)> {
    let of_events = |path: &Path| path.starts_with("data/events") && is_segment(path);
    disk.files().into_iter().filter(|(path, _)| of_events(path)).max()
}

/// Turns a bit of what was written last to the newest segment: its last records, and the footer where it has one.
fn turn_a_late_bit(disk: &MemoryFs, draw: &mut Choices) -> String {
    let Some((path, bytes)) = newest_segment(disk) else { return "nothing written yet".to_owned() };
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    let bit = written * 8 - 1 - draw.pick(written.min(1_500) * 8);
    disk.flip(&path, bit);
    format!("bit {bit} of {}", path.display())
}

fn take_one_away(disk: &MemoryFs, draw: &mut Choices) -> String {
    let (path, bytes) = any_file(disk, draw);
    Fs::remove(disk, &path).unwrap();
    if draw.pick(2) == 0 {
        return format!("{} removed", path.display());
    }
    let len = draw.pick(bytes.len());
    disk.put(&path, &bytes[..len]);
    format!("{} cut to {len}", path.display())
}
