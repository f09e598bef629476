//! A torn tail: what a crash left behind the last whole record. Found while a log is opened, cut once nothing speaks
//! against opening it, and kept aside (R4).

use super::error::LogError;
use super::{LogOptions, names};
use crate::fs::{File, Fs};
use crate::model::Offset;
use std::path::PathBuf;
use std::sync::Arc;

/// A torn tail that recovery cut: bytes that nobody was ever told were safe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub path: PathBuf,
    /// Where the log ends now.
    pub position: u64,
    /// Bytes set aside.
    pub bytes: u64,
    /// Where they lie now.
    pub quarantined: PathBuf,
}

/// A torn tail, as long as it is not cut.
pub(super) struct Torn {
    pub(super) segment: Offset,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn File>,
    /// Where it begins.
    pub(super) end: usize,
    pub(super) bytes: Vec<u8>,
}

impl Torn {
    /// Sets it aside, and only then cuts it off.
    pub(super) fn cut(self, fs: &dyn Fs, options: &LogOptions) -> Result<Cut, LogError> {
        let Self { segment, path, file, end, bytes } = self;
        let name = names::quarantined(options.kind.as_str(), segment, end as u64, crc32fast::hash(&bytes));
        let quarantine = &options.quarantine;
        let keep = fs.create_dir(quarantine).and_then(|()| crate::fs::replace(fs, quarantine, &name, &bytes));
        keep.map_err(LogError::io(quarantine))?;
        file.truncate(end as u64).and_then(|()| file.sync()).map_err(LogError::io(&path))?;
        let quarantined = quarantine.join(name);
        tracing::warn!(
            segment = %path.display(), position = end, bytes = bytes.len(), quarantined = %quarantined.display(),
            "cut a torn tail: it was never acknowledged"
        );
        Ok(Cut { path, position: end as u64, bytes: bytes.len() as u64, quarantined })
    }
}

/// Bytes up to and with the last one that is not zero.
pub(super) fn written(bytes: &[u8]) -> usize {
    const CHUNK: usize = 4096;
    let zero_chunks = bytes.rchunks(CHUNK).take_while(|chunk| chunk.iter().all(|b| *b == 0)).count();
    let rest = bytes.get(..bytes.len().saturating_sub(zero_chunks * CHUNK)).unwrap_or_default();
    rest.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1)
}
