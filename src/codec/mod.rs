//! Floor 1: the only place that knows bincode.
//!
//! bincode 1.3.3 is finished and unmaintained, so it is fenced: pinned exactly, one set of options
//! (varint lengths, little-endian, no trailing bytes), never on bytes from the network, always on a
//! slice whose length a checked frame has already bounded, always behind a leading version byte.
//! Golden files in `tests/golden/` hold every persisted type to its bytes.

mod event;

pub use event::{decode_event, encode_event, write_event_line};

use bincode::Options;
use serde::de::Deserialize;
use serde::ser::Serialize;

/// Stored bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The leading version byte is another one.
    #[error("version {found} where {expected} is known; a newer stentor wrote this")]
    Version {
        /// What stands there; 0 where nothing does.
        found: u8,
        /// What this build reads.
        expected: u8,
    },
    /// The bytes do not decode.
    #[error("not decodable: {0}")]
    Malformed(String),
}

fn options() -> impl Options {
    bincode::DefaultOptions::new().reject_trailing_bytes()
}

/// Encodes a value behind its version byte.
///
/// # Panics
/// Never for the stored types: they have a known form and memory can be written.
#[must_use]
pub fn encode<T: Serialize>(version: u8, value: &T) -> Vec<u8> {
    let mut out = vec![version];
    options().serialize_into(&mut out, value).expect("stored types always have a binary form");
    out
}

/// Decodes what [`encode`] made.
///
/// # Errors
/// Another version, or bytes that are not such a value.
pub fn decode<'a, T: Deserialize<'a>>(version: u8, bytes: &'a [u8]) -> Result<T, CodecError> {
    match bytes.split_first() {
        Some((found, rest)) if *found == version => {
            options().deserialize(rest).map_err(|error| CodecError::Malformed(error.to_string()))
        }
        found => Err(CodecError::Version { found: found.map_or(0, |(found, _)| *found), expected: version }),
    }
}

/// Encodes a value that has a file of its own: [`encode`], then the CRC-32 of that.
#[must_use]
pub fn encode_checked<T: Serialize>(version: u8, value: &T) -> Vec<u8> {
    let mut out = encode(version, value);
    out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    out
}

/// Decodes what [`encode_checked`] made.
///
/// # Errors
/// Another checksum or version, or bytes that are not such a value.
pub fn decode_checked<'a, T: Deserialize<'a>>(version: u8, bytes: &'a [u8]) -> Result<T, CodecError> {
    match bytes.split_last_chunk::<4>() {
        Some((body, crc)) if crc32fast::hash(body) == u32::from_le_bytes(*crc) => decode(version, body),
        _ => Err(CodecError::Malformed("the checksum does not hold".to_owned())),
    }
}
