//! The sparse index of one segment: where to begin looking for an offset or a time.

use crate::model::{Offset, Timestamp, limits};

/// A record whose place is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) offset: Offset,
    pub(crate) time: Timestamp,
    pub(crate) position: u64,
}

/// One mark every 64 KiB or so, ascending. A view: made again from the records when needed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index(Vec<Mark>);

impl Index {
    /// Notes a record if it lies far enough behind the last mark.
    pub(crate) fn note(&mut self, mark: Mark) {
        if self.0.last().is_none_or(|last| mark.position >= last.position + limits::INDEX_STRIDE) {
            self.0.push(mark);
        }
    }

    /// Notes a record behind damage, however near the last mark is.
    pub(crate) fn force(&mut self, mark: Mark) {
        self.0.push(mark);
    }

    /// The last mark at or before `offset`.
    pub(crate) fn seek(&self, offset: Offset) -> Option<Mark> {
        let behind = self.0.partition_point(|mark| mark.offset <= offset);
        self.0.get(behind.checked_sub(1)?).copied()
    }

    /// The last mark that is earlier than `time`.
    pub(crate) fn seek_time(&self, time: Timestamp) -> Option<Mark> {
        let behind = self.0.partition_point(|mark| mark.time < time);
        self.0.get(behind.checked_sub(1)?).copied()
    }
}
