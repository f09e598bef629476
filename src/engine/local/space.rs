//! The soft watermark: publishes are refused before the disk is full, so that acks, receipts and the broker's
//! own files have room to go on.

use crate::fs::Fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Whether the disk has more room than is held back.
pub(super) struct Space {
    dir: PathBuf,
    reserve: u64,
    low: AtomicBool,
    /// As it was seen last; [`UNKNOWN`] before that.
    free: AtomicU64,
}

const UNKNOWN: u64 = u64::MAX;

impl Space {
    pub(super) fn new(dir: PathBuf, reserve: u64) -> Self {
        Self { dir, reserve, low: AtomicBool::new(false), free: AtomicU64::new(UNKNOWN) }
    }

    /// Looks again; called from time to time.
    pub(super) fn look(&self, fs: &dyn Fs) {
        let free = match fs.free(&self.dir) {
            Ok(free) => free,
            // A disk that does not say how full it is says so when it is.
            Err(error) => {
                tracing::debug!(%error, "the free space is not known");
                return;
            }
        };
        self.free.store(free, Ordering::Relaxed);
        let low = free < self.reserve;
        if self.low.swap(low, Ordering::Relaxed) != low {
            let reserve = self.reserve;
            match low {
                true => tracing::error!(free, reserve, "little space is left; publishes are refused"),
                false => tracing::info!(free, reserve, "there is space again; publishes are taken"),
            }
        }
    }

    /// Bytes that were free when it looked last.
    pub(super) fn free(&self) -> Option<u64> {
        Some(self.free.load(Ordering::Relaxed)).filter(|free| *free != UNKNOWN)
    }

    pub(super) fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }
}
