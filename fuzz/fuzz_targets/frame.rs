//! One record's frame, any bytes behind a segment's nonce: the innermost of what recovery believes.
//!
//! Holds: the house's own reading, compiled from its file, and a second reading of docs/FORMAT.md find the same record
//! or none; written again it is the same bytes; the frame of another segment, a frame cut short and one with a turned
//! bit are none (invariants 5 and 6, R1); a search finds the first place where a valid header stands, and no other.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use record::{Bad, HEADER_BYTES, MAGIC};
use stentor_fuzz::{format, seal};

#[allow(dead_code, reason = "the whole file of the house, of which a frame needs a part")]
#[path = "../../src/log/bytes.rs"]
mod bytes;
#[allow(dead_code, reason = "the whole file of the house, of which a frame needs a part")]
#[path = "../../src/log/record.rs"]
mod record;
mod model {
    pub use stentor::model::*;
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = fuzzer_mutate(data, size, max_size);
    if !seed.is_multiple_of(4)
        && let Some((nonce, frame)) = data[..size].split_first_chunk_mut()
    {
        seal::frame(frame, u64::from_le_bytes(*nonce), seed & 4 == 0);
    }
    size
});

fuzz_target!(|data: &[u8]| {
    let Some((nonce, bytes)) = data.split_first_chunk() else { return };
    let nonce = u64::from_le_bytes(*nonce);
    match (record::parse(bytes, nonce, MAGIC), format::record(bytes, 0, nonce)) {
        (Ok((header, body)), Some(own)) => {
            assert_eq!((header.body_crc, header.offset.0, header.durable.0), (own.body_crc, own.offset, own.durable));
            assert_eq!((header.time.0, header.batch_left), (own.time, own.batch_left));
            assert_eq!((header.kind as u32, body), (own.kind, own.body));
            let mut again = header.encode(MAGIC);
            record::seal_header(nonce, &mut again);
            assert_eq!((&again[..], header.record_len()), (&bytes[..HEADER_BYTES], HEADER_BYTES + body.len()));
            breaks(bytes, nonce, header.record_len());
        }
        (Err(_), None) => {}
        (found, own) => panic!("the house reads {found:?}, the format says {own:?}"),
    }
    let header = |at: usize| record::parse_header(&bytes[at..], nonce, MAGIC).ok();
    let first = (1..bytes.len()).find_map(|at| header(at).map(|header| (at, header)));
    assert_eq!(record::find_header(bytes, 1, nonce), first, "the first valid header behind the start");
});

/// Of a whole frame, what was harmed is none.
fn breaks(bytes: &[u8], nonce: u64, len: usize) {
    assert!(record::parse(bytes, !nonce, MAGIC).is_err(), "it is of another segment");
    let needed = if len > HEADER_BYTES { len } else { HEADER_BYTES };
    assert_eq!(record::parse(&bytes[..len - 1], nonce, MAGIC), Err(Bad::Short { needed }));
    let mut turned = bytes[..len].to_vec();
    // Any bit, and the same one for the same input.
    let bit = crc32fast::hash(&turned) as usize % (len * 8);
    turned[bit / 8] ^= 1 << (bit % 8);
    assert!(record::parse(&turned, nonce, MAGIC).is_err(), "bit {bit} is turned");
}
