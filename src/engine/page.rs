//! What goes in and out of an engine.

use crate::log::Hint;
use crate::model::{Channel, Event, Offset, Span, Timestamp, limits};
use std::sync::Arc;

/// Where an event stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its offset.
    pub offset: Offset,
    /// Its time.
    pub time: Timestamp,
    /// It was there before: this was a repeat.
    pub duplicate: bool,
}

/// How much one read may give.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Events at most.
    pub events: usize,
    /// Bytes of them, about.
    pub bytes: usize,
}

impl Budget {
    /// What a session reads ahead.
    pub const SESSION: Budget = Budget { events: 1_024, bytes: limits::READ_BLOCK_BYTES };
    /// What an export takes at once: a block, however small its events are.
    pub const BLOCK: Budget = Budget { events: usize::MAX, bytes: limits::READ_BLOCK_BYTES };
}

/// How a reader goes on without a search.
pub type ReadHint = Option<Hint>;

/// What one read gave.
#[derive(Debug, Default)]
pub struct Page {
    /// Matching events, in order.
    pub events: Vec<Arc<Event>>,
    /// The offset after the last one that was examined: where to go on.
    pub next: Offset,
    /// Offsets that cannot be had any more; then there are no events.
    pub gap: Option<Span>,
    /// How to go on at `next` without a search.
    pub hint: ReadHint,
}

/// What one read for an export gave.
#[derive(Debug, Default)]
pub struct Lines {
    /// Matching events as JSON, a line each, in order.
    pub text: Vec<u8>,
    /// How many.
    pub events: u64,
    /// As in [`Page`].
    pub next: Offset,
    /// As in [`Page`].
    pub gap: Option<Span>,
    /// As in [`Page`].
    pub hint: ReadHint,
}

impl From<Page> for Lines {
    fn from(page: Page) -> Self {
        let mut text = Vec::with_capacity(page.events.iter().map(|event| event.weight()).sum());
        for event in &page.events {
            event.write_json(&mut text);
            text.push(b'\n');
        }
        Self { text, events: page.events.len() as u64, next: page.next, gap: page.gap, hint: page.hint }
    }
}

/// What is known of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelInfo {
    /// Its name.
    pub channel: Channel,
    /// Events kept on it.
    pub events: u64,
    /// The newest one's offset.
    pub last_offset: Offset,
    /// The newest one's time.
    pub last_time: Timestamp,
}

/// Takes matching events from an iterator over consecutive ones, within a budget.
pub(super) fn take_matching<'a>(
    from: Offset,
    events: impl Iterator<Item = &'a Arc<Event>>,
    matches: impl Fn(&Event) -> bool,
    budget: Budget,
) -> Page {
    let mut page = Page { next: from, ..Page::default() };
    let mut bytes = 0;
    for event in events {
        if page.events.len() >= budget.events || bytes >= budget.bytes {
            break;
        }
        page.next = event.offset.next();
        if matches(event) {
            bytes += event.weight();
            page.events.push(Arc::clone(event));
        }
    }
    page
}
