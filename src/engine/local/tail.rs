//! The newest events in memory, ready to send.

use crate::model::{Event, Offset, limits};
use parking_lot::RwLock;
use std::collections::VecDeque;
use std::sync::Arc;

/// A few megabytes of consecutive events, the newest ones.
#[derive(Default)]
pub(super) struct Tail(RwLock<Kept>);

#[derive(Default)]
struct Kept {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
}

impl Tail {
    /// Adds the newest events, and forgets the oldest that do not fit.
    pub(super) fn push(&self, events: Vec<Arc<Event>>) {
        let mut kept = self.0.write();
        for event in events {
            kept.bytes += event.weight();
            kept.events.push_back(event);
        }
        while kept.bytes > limits::TAIL_BYTES
            && let Some(oldest) = kept.events.pop_front()
        {
            kept.bytes -= oldest.weight();
        }
    }

    /// Runs over the events from `from` up to `end`; `None` where the first of them is not here.
    pub(super) fn with<R>(
        &self,
        from: Offset,
        end: Offset,
        f: impl FnOnce(&mut dyn Iterator<Item = &Arc<Event>>) -> R,
    ) -> Option<R> {
        let kept = self.0.read();
        let first = kept.events.front()?.offset;
        let skip = usize::try_from(from.0.checked_sub(first.0)?).ok()?;
        let count = usize::try_from(end.since(from)).ok()?;
        Some(f(&mut kept.events.iter().skip(skip).take(count)))
    }

    /// The events from `from` up to `end`; `None` where the first of them is not here.
    pub(super) fn since(&self, from: Offset, end: Offset) -> Option<Vec<Arc<Event>>> {
        if from >= end {
            return Some(Vec::new());
        }
        self.with(from, end, |events| events.cloned().collect())
    }

    /// Forgets what retention took.
    pub(super) fn forget_below(&self, start: Offset) {
        let mut kept = self.0.write();
        while let Some(oldest) = kept.events.pop_front_if(|oldest| oldest.offset < start) {
            kept.bytes -= oldest.weight();
        }
    }
}
