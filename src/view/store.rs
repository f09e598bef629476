//! The store below the tables: opened with suspicion, given up without regret.

use super::tables::{Key, Table};
use crate::fs::Fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// sled's own default is 1 GiB.
const CACHE_BYTES: u64 = 32 << 20;

/// The view is not usable; set it aside and build it again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the view cannot be used: {0}")]
pub struct ViewError(String);

impl ViewError {
    /// Wraps what is wrong.
    pub fn new(error: &dyn std::error::Error) -> Self {
        Self(error.to_string())
    }

    /// There is no view at the moment, or one that cannot be the ledger's.
    #[must_use]
    pub fn closed() -> Self {
        Self("it is not of this ledger, or is being made".to_owned())
    }
}

/// An open view. Blocking: never called from an async task.
pub struct View(sled::Db);

fn guarded<R>(f: impl FnOnce() -> sled::Result<R>) -> Result<R, ViewError> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(error)) => Err(ViewError(error.to_string())),
        Err(_) => Err(ViewError("sled panicked".to_owned())),
    }
}

impl View {
    /// Opens the view in `dir`.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn open(fs: &dyn Fs, dir: &Path) -> Result<Self, ViewError> {
        // A snapshot that a crash left half-made keeps sled from opening; it needs none.
        for name in fs.list(dir).unwrap_or_default().iter().filter(|name| name.ends_with(".generating")) {
            fs.remove(&dir.join(name)).map_err(|error| ViewError(error.to_string()))?;
        }
        let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(Some(1_000));
        guarded(|| config.open()).map(Self)
    }

    /// How far the ledger was applied.
    ///
    /// # Errors
    /// The view is not usable.
    pub fn applied_through(&self) -> Result<u64, ViewError> {
        let value = self.get(&Key::new(Table::Applied, &[]))?;
        Ok(value.and_then(|bytes| bytes.first_chunk().map(|chunk| u64::from_be_bytes(*chunk))).unwrap_or(0))
    }

    /// Adds rows, and in the same step how far the ledger is applied.
    ///
    /// # Errors
    /// The view is not usable.
    pub fn apply(&self, rows: Vec<(Key, Option<Vec<u8>>)>, through: u64) -> Result<(), ViewError> {
        let mut batch = sled::Batch::default();
        for (key, value) in rows {
            match value {
                Some(value) => batch.insert(key.bytes(), value),
                None => batch.remove(key.bytes()),
            }
        }
        batch.insert(Key::new(Table::Applied, &[]).bytes(), &through.to_be_bytes());
        guarded(|| self.0.apply_batch(batch))
    }

    /// One row.
    ///
    /// # Errors
    /// The view is not usable.
    pub fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, ViewError> {
        guarded(|| self.0.get(key.bytes())).map(|value| value.map(|value| value.to_vec()))
    }

    /// Rows whose key begins with `prefix`, from `from` on, in order, until `visit` says stop.
    ///
    /// # Errors
    /// The view is not usable.
    pub fn scan(&self, prefix: &Key, from: &Key, mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<(), ViewError> {
        guarded(|| {
            for row in self.0.range(from.bytes().to_vec()..) {
                let (key, value) = row?;
                if !key.starts_with(prefix.bytes()) || !visit(&key, &value) {
                    break;
                }
            }
            Ok(())
        })
    }
}
