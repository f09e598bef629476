//! A real log of several segments, damaged in any way.
//!
//! Holds: whatever is flipped, zeroed, cut, copied, swapped or removed, everything that is read is what was written,
//! byte for byte, or damage is told (invariants 1, 5 and 8); damage of one file alone is never taken for a shorter
//! log (6, 7); with damage served around, events and gaps together cover every offset.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use stentor::fs::{Fs, MemoryFs};
use stentor::log::{LogKind, LogOptions, Recover, recover};
use stentor::model::Offset;
use stentor_fuzz::{disk, real};

#[derive(Debug, Arbitrary)]
enum Edit {
    Flip { file: u8, bit: u16 },
    Zero { file: u8, at: u16, len: u16 },
    Cut { file: u8, len: u16 },
    Copy { file: u8, from: u16, to: u16, len: u8 },
    Swap { one: u8, other: u8 },
    Remove { file: u8 },
}

struct Written {
    files: Vec<(PathBuf, Vec<u8>)>,
    bodies: Vec<Vec<u8>>,
}

fn written() -> &'static Written {
    static WRITTEN: OnceLock<Written> = OnceLock::new();
    WRITTEN.get_or_init(|| {
        let fs = real::directory(40);
        let here = disk::dir(LogKind::Events);
        let files: Vec<_> = fs.files().into_iter().filter(|(path, _)| path.parent() == Some(&here)).collect();
        let log = recover(Arc::new(fs), disk::options(LogKind::Events)).expect("a log that was closed opens");
        let (segments, mut at, mut bodies) = (log.segments(), Offset::ZERO, Vec::new());
        while at < segments.end() {
            let block = segments.read(at, None, 1 << 20).expect("it is whole");
            bodies.extend(block.records.iter().map(|record| record.body.to_vec()));
            at = block.next;
        }
        assert!(files.len() >= 4 && bodies.len() == 43, "several segments and durable.meta");
        Written { files, bodies }
    })
}

fn edit(files: &mut Vec<(PathBuf, Vec<u8>)>, edit: &Edit, touched: &mut BTreeSet<PathBuf>) {
    let count = files.len();
    if count == 0 {
        return;
    }
    let pick = |file: u8| usize::from(file) % count;
    match *edit {
        Edit::Flip { file, bit } => {
            let (path, bytes) = &mut files[pick(file)];
            if let Some(byte) = bytes.get_mut(usize::from(bit) / 8) {
                *byte ^= 1 << (bit % 8);
                touched.insert(path.clone());
            }
        }
        Edit::Zero { file, at, len } => {
            let (path, bytes) = &mut files[pick(file)];
            let (at, end) = (usize::from(at).min(bytes.len()), (usize::from(at) + usize::from(len)).min(bytes.len()));
            bytes[at..end].fill(0);
            touched.insert(path.clone());
        }
        Edit::Cut { file, len } => {
            let (path, bytes) = &mut files[pick(file)];
            bytes.truncate(usize::from(len));
            touched.insert(path.clone());
        }
        Edit::Copy { file, from, to, len } => {
            let (path, bytes) = &mut files[pick(file)];
            let part = bytes.iter().skip(usize::from(from)).take(usize::from(len)).copied().collect::<Vec<u8>>();
            let to = usize::from(to).min(bytes.len().saturating_sub(part.len()));
            bytes[to..to + part.len()].copy_from_slice(&part);
            touched.insert(path.clone());
        }
        Edit::Swap { one, other } => {
            let (one, other) = (pick(one), pick(other));
            if one != other {
                let kept = std::mem::take(&mut files[one].1);
                files[one].1 = std::mem::replace(&mut files[other].1, kept);
                touched.extend([files[one].0.clone(), files[other].0.clone()]);
            }
        }
        Edit::Remove { file } => {
            let (path, _) = files.remove(pick(file));
            touched.insert(path);
        }
    }
}

fuzz_target!(|edits: Vec<Edit>| {
    let written = written();
    let (mut files, mut touched) = (written.files.clone(), BTreeSet::new());
    edits.iter().take(6).for_each(|change| edit(&mut files, change, &mut touched));
    let fs = MemoryFs::new();
    files.iter().for_each(|(path, bytes)| fs.put(path, bytes));
    let end = Offset(written.bodies.len() as u64);
    for how in [Recover::ServeReadable, Recover::Refuse] {
        let options = LogOptions { recover: how, ..disk::options(LogKind::Events) };
        let Ok(log) = recover(Arc::new(fs.clone()) as Arc<dyn Fs>, options) else { continue };
        let segments = log.segments();
        let whole = touched.len() < 2 && how == Recover::Refuse;
        assert!(!whole || segments.end() == end, "a shorter log, and nothing was told (6, 7): {touched:?}");
        assert!(segments.end() <= end, "a longer log than was written");
        let mut at = Offset::ZERO;
        while at < segments.end() {
            let Ok(block) = segments.read(at, None, 1 << 20) else {
                assert!(how == Recover::Refuse, "who serves around damage tells it as a gap");
                break;
            };
            let mut next = at;
            for record in &block.records {
                assert_eq!(record.header.offset, next, "dense");
                assert_eq!(record.body, written.bodies[next.0 as usize], "not what was written at {next}");
                next = next.next();
            }
            // A log whose oldest files are gone begins later: only the ledger knows whether retention took them.
            let served_around = |to: Offset| how == Recover::ServeReadable || to == segments.start();
            assert!(block.gap.is_none_or(|gap| served_around(gap.to) && gap.from == at && gap.to == block.next));
            assert!(block.next > at && (block.gap.is_some() || next == block.next), "every offset is told");
            at = block.next;
        }
    }
});
