//! What can be wrong with a log.

use crate::model::{Offset, Span};
use std::io;
use std::path::{Path, PathBuf};

/// A log that cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system refused. Worth a retry once its cause is gone.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Bytes that were durable are not what was written. Never mended by itself (R5).
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The log ends before something that is known to have been durable (R6).
    #[error("lost data: {} ends at offset {recovered}, but {evidence} proves that it went up to {proven}", dir.display())]
    LostData {
        /// The log's directory.
        dir: PathBuf,
        /// Where it ends now.
        recovered: Offset,
        /// Where it ended.
        proven: Offset,
        /// What says so.
        evidence: &'static str,
    },
    /// Written by a newer version; nothing of it is touched (R11).
    #[error("{}: {what} {found} is not known to this version; use the stentor that wrote it", path.display())]
    Unknown {
        /// Which file.
        path: PathBuf,
        /// `format version` or `record kind`.
        what: &'static str,
        /// What stands there.
        found: u32,
    },
}

/// Where a log is damaged, and how it shows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("damage in {} at byte {position} (offsets {} to {}): {detail}", path.display(), span.from, span.to)]
pub struct Damage {
    /// Which file.
    pub path: PathBuf,
    /// The first byte that is not believed.
    pub position: u64,
    /// The offsets that cannot be read because of it; `to` is the next that can, or the end as far as known.
    pub span: Span,
    /// How it shows.
    pub detail: String,
}

impl LogError {
    /// Wraps what the file system said about `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// Why nothing more is accepted, told to everyone who waits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A write or sync failed: whether the group is on disk is unknown. Publish again with the same id.
    #[error("the outcome is unknown: {0}")]
    Poisoned(std::sync::Arc<str>),
    /// The disk is full: nothing was written. Worth a retry when there is space.
    #[error("the disk is full; nothing was written")]
    Full,
    /// The log is being closed: nothing was written.
    #[error("the log is closed")]
    Closed,
    /// Too much waits for the disk, or too many files are open: nothing was written. Worth a retry.
    #[error("too much is waiting for the disk, or too many files are open; nothing was written")]
    Busy,
    /// Opened to read what is readable: nothing is written.
    #[error("the log is read-only: {0}")]
    ReadOnly(std::sync::Arc<str>),
}
