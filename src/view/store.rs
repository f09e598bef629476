//! The store below the tables: opened with suspicion, given up without regret.

use super::digest::{Digest, Rows};
use super::tables::{Key, Table};
use crate::fs::Fs;
use parking_lot::Mutex;
use std::collections::BTreeMap;
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
pub struct View {
    db: sled::Db,
    /// As they are.
    rows: Mutex<Rows>,
}

fn guarded<R>(f: impl FnOnce() -> sled::Result<R>) -> Result<R, ViewError> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(error)) => Err(ViewError(error.to_string())),
        Err(_) => Err(ViewError("sled panicked".to_owned())),
    }
}

impl View {
    /// Opens the view in `dir`, and reads all of it: sled leaves out what it cannot read, without a word, so that rows
    /// are counted and held against what was written.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn open(fs: &dyn Fs, dir: &Path) -> Result<Self, ViewError> {
        // A snapshot that a crash left half-made keeps sled from opening; it needs none.
        for name in fs.list(dir).unwrap_or_default().iter().filter(|name| name.ends_with(".generating")) {
            fs.remove(&dir.join(name)).map_err(|error| ViewError(error.to_string()))?;
        }
        let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(Some(1_000));
        let db = guarded(|| config.open())?;
        let applied = Key::new(Table::Applied, &[]);
        let (mut rows, mut written) = (Rows::default(), Some(Digest::default()));
        guarded(|| {
            for row in db.iter() {
                let (key, value) = row?;
                if *key == *applied.bytes() {
                    written = value.get(8..).and_then(Digest::decode);
                } else {
                    rows.add(&key, &value);
                }
            }
            Ok(())
        })?;
        if written != Some(rows.digest) {
            return Err(ViewError("rows are missing or are not what they were".to_owned()));
        }
        Ok(Self { db, rows: Mutex::new(rows) })
    }

    /// Whether it takes more than eight times as much of the disk as its rows hold, and more than `least` bytes: sled
    /// gives little back of what it has taken.
    ///
    /// # Errors
    /// The view is not usable.
    pub fn is_overgrown(&self, least: u64) -> Result<bool, ViewError> {
        let takes = guarded(|| self.db.size_on_disk())?;
        Ok(takes > least && takes / 8 > self.rows.lock().bytes)
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
        // Of two for one key the later counts.
        let changes: BTreeMap<&[u8], Option<&[u8]>> =
            rows.iter().map(|(key, value)| (key.bytes(), value.as_deref())).collect();
        let mut rows = self.rows.lock();
        let (mut next, mut batch) = (*rows, sled::Batch::default());
        for (key, value) in changes {
            if let Some(old) = guarded(|| self.db.get(key))? {
                next.take(key, &old);
            }
            match value {
                Some(value) => {
                    next.add(key, value);
                    batch.insert(key, value);
                }
                None => batch.remove(key),
            }
        }
        let applied = [&through.to_be_bytes()[..], &next.digest.encode()].concat();
        batch.insert(Key::new(Table::Applied, &[]).bytes(), applied);
        guarded(|| self.db.apply_batch(batch))?;
        *rows = next;
        Ok(())
    }

    /// One row.
    ///
    /// # Errors
    /// The view is not usable.
    pub fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, ViewError> {
        guarded(|| self.db.get(key.bytes())).map(|value| value.map(|value| value.to_vec()))
    }

    /// Rows whose key begins with `prefix`, from `from` on, in order, until `visit` says stop.
    ///
    /// # Errors
    /// The view is not usable.
    pub fn scan(&self, prefix: &Key, from: &Key, mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<(), ViewError> {
        guarded(|| {
            for row in self.db.range(from.bytes().to_vec()..) {
                let (key, value) = row?;
                if !key.starts_with(prefix.bytes()) || !visit(&key, &value) {
                    break;
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::RealFs;

    #[test]
    fn a_view_that_was_emptied_is_overgrown_and_a_full_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let view = View::open(&RealFs, dir.path()).unwrap();
        let key = |n: u64| Key::new(Table::Receipts, &[n]);
        let rows = |value: Option<Vec<u8>>| (0..3_000).map(|n| (key(n), value.clone())).collect::<Vec<_>>();
        view.apply(rows(Some(vec![7; 1_000])), 1).unwrap();
        guarded(|| view.db.flush()).unwrap();
        assert!(!view.is_overgrown(1 << 20).unwrap(), "its rows need it");
        view.apply(rows(None), 2).unwrap();
        assert!(view.is_overgrown(1 << 20).unwrap());
        assert!(!view.is_overgrown(1 << 30).unwrap(), "so little is not worth the work");
    }
}
