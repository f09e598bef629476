//! Mutations that reach behind the checksums: what libFuzzer changed is given right checksums again, most times.
//!
//! Without this nearly every mutation ends at the first CRC; with it the fields behind are tried as well.

use crate::disk::{SEPARATOR, files_mut};
use crate::format::{DATA_START, FOOTER, RECORD_HEADER, header_crc, u32_at, u64_at};
use sha2::{Digest, Sha256};

/// Seals every file of a disk as [`crate::disk`] writes it: three times of four.
pub fn disk(data: &mut [u8], seed: u32) {
    if !seed.is_multiple_of(4) {
        for file in files_mut(data) {
            if file.starts_with(b"STENTMET") { meta(file) } else { segment(file, seed & 4 == 0) }
        }
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// Right checksums for both slots of a `durable.meta`.
pub fn meta(file: &mut [u8]) {
    for slot in [0, 512] {
        if let Some(crc) = file.get(slot..slot + 76).map(crc32fast::hash) {
            put(file, slot + 76, &crc.to_le_bytes());
        }
    }
}

/// Right checksums for a segment's header, snapshot, chain of records and footer; `twin` makes the second copy of
/// the header the first one's.
pub fn segment(file: &mut [u8], twin: bool) {
    let Some(mut header) = file.get(..60).map(<[u8]>::to_vec) else { return };
    header.extend(crc32fast::hash(&header).to_le_bytes());
    put(file, 0, &header);
    if twin {
        put(file, 512, &header);
    } else if let Some(crc) = file.get(512..572).map(crc32fast::hash) {
        put(file, 572, &crc.to_le_bytes());
    }
    let nonce = u64_at(&header, 40).unwrap_or_default();
    let (mut at, mut digest) = (DATA_START, Sha256::new());
    while let Some(length) = chained(file, at) {
        let body = crc32fast::hash(file.get(at + RECORD_HEADER..at + RECORD_HEADER + length).unwrap_or_default());
        put(file, at + 12, &body.to_le_bytes());
        let crc = header_crc(nonce, &file[at..at + RECORD_HEADER]);
        put(file, at + 4, &crc.to_le_bytes());
        if file[at..].starts_with(b"SREC") {
            digest.update(crc.to_le_bytes());
            digest.update(body.to_le_bytes());
        }
        at += RECORD_HEADER + length;
    }
    let footer = file.len().saturating_sub(FOOTER);
    for at in [at, footer] {
        if file.get(at..).is_some_and(|rest| rest.len() >= FOOTER && rest.starts_with(b"SEAL")) {
            put(file, at + 48, &digest.clone().finalize());
            let mut crc = crc32fast::Hasher::new();
            crc.update(&nonce.to_le_bytes());
            crc.update(&file[at + 8..at + FOOTER]);
            put(file, at + 4, &crc.finalize().to_le_bytes());
        }
    }
}

/// Right checksums for one record; `fits` makes its body what follows its header.
pub fn frame(bytes: &mut [u8], nonce: u64, fits: bool) {
    let Some(behind) = bytes.len().checked_sub(RECORD_HEADER) else { return };
    if fits {
        put(bytes, 8, &(behind as u32).to_le_bytes());
    }
    let length = u32_at(bytes, 8).map_or(0, |length| length as usize).min(behind);
    let body = crc32fast::hash(&bytes[RECORD_HEADER..RECORD_HEADER + length]);
    put(bytes, 12, &body.to_le_bytes());
    let crc = header_crc(nonce, &bytes[..RECORD_HEADER]);
    put(bytes, 4, &crc.to_le_bytes());
}

/// The length of the body that a record or snapshot at a place announces, if one stands there.
fn chained(file: &[u8], at: usize) -> Option<usize> {
    let rest = file.get(at..)?;
    (rest.len() >= RECORD_HEADER && (rest.starts_with(b"SREC") || rest.starts_with(b"SNAP")))
        .then(|| u32_at(rest, 8).map(|length| length as usize))?
}

// A separator never looks like the start of a file.
const _: () = assert!(SEPARATOR[0] != b'S');
