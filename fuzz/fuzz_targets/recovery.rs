//! A log's directory, any bytes: recovery.
//!
//! Holds: a log that is refused keeps every byte (invariant 8), and so does one that is served around; of one that is
//! opened, every record read is one whose checksums and place are right (5), the bytes that were cut are in
//! quarantine, and opening it again finds the same and changes no segment (9), after a power cut too; reading gets on
//! and ends; nothing is allocated beyond the bytes that are there, and what serde sets aside for a list before it is
//! read (14).
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use stentor::fs::{Choices, MemoryFs};
use stentor::ledger::Ledger;
use stentor::log::{LogError, LogKind, LogOptions, Recover, Recovered, recover};
use stentor::model::Offset;
use stentor_fuzz::{disk, format, memory, seal};

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = fuzzer_mutate(data, size, max_size);
    seal::disk(&mut data[..size], seed);
    size
});

type Files = Vec<(PathBuf, Vec<u8>)>;

fn open(fs: &MemoryFs, kind: LogKind, recover_how: Recover) -> Result<Recovered, LogError> {
    recover(Arc::new(fs.clone()), LogOptions { recover: recover_how, ..disk::options(kind) })
}

/// Everything that can be read, by offset; damage that is met ends it.
fn read(recovered: &Recovered, truth: &HashSet<(u64, Vec<u8>)>) -> (Vec<(u64, Vec<u8>)>, bool) {
    let segments = recovered.segments();
    let (mut at, end, mut found, mut steps) = (segments.start(), segments.end(), Vec::new(), 0);
    while at < end {
        let Ok(block) = segments.read(at, None, 1 << 20) else { return (found, false) };
        for record in &block.records {
            let own = (record.header.offset.0, record.body.to_vec());
            assert!(truth.contains(&own), "a record that stands nowhere with right checksums (5)");
            found.push(own);
        }
        assert!(block.next > at, "reading gets on");
        at = block.next;
        steps += 1;
        assert!(steps < 10_000, "reading ends");
    }
    (found, true)
}

fn truth(files: &Files) -> HashSet<(u64, Vec<u8>)> {
    let segments = files.iter().filter_map(|(_, bytes)| Some((bytes, format::header(bytes)?)));
    let records = segments.flat_map(|(bytes, header)| format::anywhere(bytes, header.nonce));
    records.map(|record| (record.offset, record.body.to_vec())).collect()
}

fuzz_target!(|data: &[u8]| {
    let (fs, kind) = disk::disk(data);
    let before = disk::segments(&fs);
    let truth = truth(&before);
    // A ledger's snapshot has lists, for which serde sets aside 1 MiB at most before it reads them.
    let lists = if kind == LogKind::Ledger { 1 << 20 } else { 0 };
    memory::within(lists + data.len() * 4 + (64 << 10), || {
        let around = fs.fork();
        if let Ok(served) = open(&around, kind, Recover::ServeReadable) {
            read(&served, &truth);
            // A ledger that cannot be read is served around too; here it must only not panic.
            if kind == LogKind::Ledger {
                let _fold = Ledger::fold(&served, false).is_ok();
            }
        }
        assert_eq!(disk::segments(&around), before, "who only reads changes nothing (8)");

        let first = match open(&fs, kind, Recover::Refuse) {
            Ok(first) => first,
            Err(LogError::Damaged(_) | LogError::LostData { .. } | LogError::Unknown { .. }) => {
                assert!(quarantined(&fs).is_empty(), "nothing of a log that is refused is cut (8)");
                assert_eq!(without_zeros(disk::segments(&fs)), without_zeros(before), "nor changed");
                return;
            }
            Err(error) => panic!("a disk without faults: {error}"),
        };
        if let Some(cut) = &first.cut {
            let kept = quarantined(&fs);
            let (_, old) = before.iter().find(|(path, _)| *path == cut.path).expect("it was there");
            let tail = &old[cut.position as usize..][..cut.bytes as usize];
            assert!(kept.iter().any(|(_, bytes)| bytes == tail), "what was cut is in quarantine (7)");
        }
        let end = first.segments().end();
        let seen = read(&first, &truth);
        if kind == LogKind::Ledger {
            let _fold = Ledger::fold(&first, false).is_ok();
        }
        drop(first);
        let after = disk::segments(&fs);
        let dark = fs.crash(&mut Choices::seeded(data.len() as u64));
        for (fs, how) in [(fs, "again"), (dark, "after a power cut")] {
            let second = open(&fs, kind, Recover::Refuse).unwrap_or_else(|error| panic!("{how}: {error} (9)"));
            assert!(second.cut.is_none(), "{how}: the second recovery cut something (9)");
            assert_eq!((end, &seen), (second.segments().end(), &read(&second, &truth)), "{how}: it sees the same (9)");
            assert_eq!(after, disk::segments(&fs), "{how}: the second recovery changed a segment (9)");
        }
        assert!(end >= Offset::ZERO);
    });
});

fn quarantined(fs: &MemoryFs) -> Files {
    fs.files().into_iter().filter(|(path, _)| path.starts_with("data/quarantine")).collect()
}

/// Zeros behind a footer are the rest of a seal that a crash interrupted, and may go.
fn without_zeros(mut files: Files) -> Files {
    for (_, bytes) in &mut files {
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(used);
    }
    files
}
