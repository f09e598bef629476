//! The soft watermark: publishes are refused before the disk is full, so that acks, receipts and the broker's
//! own files have room to go on.

use crate::fs::Fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the disk has more room than is held back.
pub(super) struct Space {
    dir: PathBuf,
    reserve: u64,
    low: AtomicBool,
}

impl Space {
    pub(super) fn new(dir: PathBuf, reserve: u64) -> Self {
        Self { dir, reserve, low: AtomicBool::new(false) }
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
        let low = free < self.reserve;
        if self.low.swap(low, Ordering::Relaxed) != low {
            let reserve = self.reserve;
            match low {
                true => tracing::error!(free, reserve, "little space is left; publishes are refused"),
                false => tracing::info!(free, reserve, "there is space again; publishes are taken"),
            }
        }
    }

    pub(super) fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }
}
