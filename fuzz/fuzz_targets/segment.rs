//! One segment, any bytes.
//!
//! Holds: what `verify` shows of a segment is the chain of records that a second reading of docs/FORMAT.md finds there,
//! and behind it, where it goes on behind a bad record, records of ascending places and offsets that are whole
//! (invariants 5 and 6); each record, written again from what was read, gives the same bytes; nothing is allocated
//! beyond the bytes that are there (14).
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use stentor::fs::MemoryFs;
use stentor::log::{LogKind, RecordKind, verify};
use stentor::model::Offset;
use stentor_fuzz::{disk, format, memory, seal};

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = fuzzer_mutate(data, size, max_size);
    if !seed.is_multiple_of(4) {
        seal::segment(&mut data[..size], seed & 4 == 0);
    }
    size
});

fuzz_target!(|data: &[u8]| {
    let Some(first) = format::u64_at(data, 32) else { return };
    let kind = if data[12] == 2 { LogKind::Ledger } else { LogKind::Events };
    let (fs, dir) = (MemoryFs::new(), disk::dir(kind));
    fs.put(&dir.join(format!("{first:020}.seg")), data);
    let header = format::header(data).filter(|header| header.first == first && header.log == kind as u32);
    let expected = header.map(|header| format::chain(data, &header)).unwrap_or_default();
    // What was given up is told as such, not shown.
    let expected: Vec<_> = expected.into_iter().filter(|record| record.kind != format::GAP).collect();
    let nonce = header.map_or(0, |header| header.nonce);
    let (mut shown, mut behind) = (0, (0, 0));
    let checked = memory::within(data.len() * 4 + (64 << 10), || {
        verify(&fs, &dir, kind, Offset::ZERO, &mut |header, body, _, position| {
            // The snapshot in front is shown as well; the chain begins behind it.
            if header.kind == RecordKind::Snapshot {
                return Ok(());
            }
            let own = format::Record {
                at: position as usize,
                body_crc: header.body_crc,
                offset: header.offset.0,
                durable: header.durable.0,
                time: header.time.0,
                batch_left: header.batch_left,
                kind: header.kind as u32,
                body,
            };
            match expected.get(shown) {
                Some(expected) => assert_eq!(&own, expected, "a record of the chain"),
                None => assert_eq!(Some(own), format::record(data, own.at, nonce), "a record behind a bad one"),
            }
            assert!(shown == 0 || (own.at >= behind.0 && own.offset >= behind.1), "one after the other");
            behind = (own.at + format::RECORD_HEADER + own.body.len(), own.offset.saturating_add(1));
            let written = own.write(nonce);
            assert_eq!(written, data[own.at..own.at + written.len()], "read and written again");
            shown += 1;
            Ok(())
        })
    });
    let checked = checked.expect("a disk without faults can be read");
    assert!(shown >= expected.len(), "every record of the chain is shown");
    assert_eq!(checked.records, shown as u64);
});
