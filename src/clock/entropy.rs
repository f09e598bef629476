//! Chance: cheap numbers that spread things out, and secret bytes.

use std::sync::atomic::{AtomicU64, Ordering};

/// A source of numbers for ids, nonces and jitter. Not for secrets.
///
/// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014) over a
/// shared counter: no lock, and the same seed gives the same sequence.
#[derive(Debug)]
pub struct Random(AtomicU64);

impl Random {
    /// Seeded by the machine.
    #[must_use]
    pub fn from_machine() -> Self {
        let mut seed = [0; 8];
        fill_secret(&mut seed);
        Self::seeded(u64::from_le_bytes(seed))
    }

    /// Seeded by hand.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next number, uniform over all of `u64`.
    pub fn next(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 16 bytes of it.
    pub fn next_16(&self) -> [u8; 16] {
        ((u128::from(self.next()) << 64) | u128::from(self.next())).to_le_bytes()
    }
}

/// Fills a buffer with secret bytes from the machine.
///
/// # Panics
/// Where the machine has no randomness: nothing safe can be done then.
pub fn fill_secret(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}
