//! Which channels have events where: a bitmap of offsets for each channel of each segment.
//!
//! With it lag is counted, the next match found and channels listed without reading an event. The
//! active segment's grows as events commit; a sealed one's is kept in a file beside (`summary_file`).

use super::super::ChannelInfo;
use super::idempotency::Known;
use crate::model::{Channel, Event, Filter, Offset, Span, Timestamp};
use parking_lot::RwLock;
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// One channel's events in one segment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct InSegment {
    /// Offsets relative to the segment's first.
    pub(super) offsets: RoaringBitmap,
    /// The newest one's time.
    pub(super) last_time: Timestamp,
}

/// One segment's channels.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Summary {
    pub(super) first: Offset,
    pub(super) next: Offset,
    pub(super) channels: HashMap<Channel, InSegment>,
    /// Offsets that were given up: nobody knows whose they were, so everybody is told.
    pub(super) gaps: Vec<Span>,
    /// Ids that publishers gave, until they are kept in the segment's file.
    pub(super) ids: Vec<Known>,
    /// Whether the file is written.
    pub(super) kept: bool,
}

/// The summaries of all segments, in order.
pub(super) struct Summaries {
    list: RwLock<Vec<Summary>>,
    /// Tells the first offset of the active segment.
    active: Box<dyn Fn() -> Offset + Send + Sync>,
}

impl Summary {
    pub(super) fn new(first: Offset) -> Self {
        Self { first, next: first, ..Self::default() }
    }

    pub(super) fn note(&mut self, offset: Offset, time: Timestamp, channel: &Channel, hash: Option<u64>) {
        let at = u32::try_from(offset.since(self.first)).expect("a segment holds fewer than 2^32 records");
        let here = match self.channels.get_mut(channel) {
            Some(here) => here,
            None => self.channels.entry(channel.clone()).or_default(),
        };
        here.offsets.try_push(at).expect("offsets only grow");
        here.last_time = time;
        self.next = offset.next();
        self.ids.extend(hash.map(|hash| Known { hash, offset, time }));
    }

    /// Calls `visit` for each channel here that the filter asks for.
    fn matching<'a>(&'a self, filter: &'a Filter, mut visit: impl FnMut(&'a InSegment)) {
        if filter.patterns().iter().all(|pattern| pattern.literal().is_some()) {
            let literals = filter.patterns().iter().filter_map(|pattern| pattern.literal());
            literals.filter_map(|channel| self.channels.get(channel)).for_each(visit);
            return;
        }
        for (channel, here) in &self.channels {
            if filter.admits(channel) {
                visit(here);
            }
        }
    }

    /// `span` as numbers relative to this segment.
    fn relative(&self, span: Span) -> std::ops::Range<u32> {
        let relative = |offset: Offset| u32::try_from(offset.min(self.next).since(self.first)).unwrap_or(u32::MAX);
        relative(span.from)..relative(span.to)
    }
}

impl Summaries {
    pub(super) fn new(list: Vec<Summary>, active: Box<dyn Fn() -> Offset + Send + Sync>) -> Self {
        Self { list: RwLock::new(list), active }
    }

    /// Adds committed events, each with the hash of its publisher's id; they lie in the active segment, all of them.
    pub(super) fn note(&self, events: &[Arc<Event>], hashes: &[Option<u64>]) {
        let first = (self.active)();
        let mut list = self.list.write();
        if list.last().is_none_or(|last| last.first != first) {
            list.push(Summary::new(first));
        }
        if let Some(last) = list.last_mut() {
            for (event, hash) in events.iter().zip(hashes) {
                last.note(event.offset, event.time, &event.head.channel, *hash);
            }
        }
    }

    pub(super) fn first_match(&self, filter: &Filter, from: Offset) -> Option<Offset> {
        let list = self.list.read();
        let begin = list.partition_point(|summary| summary.next <= from);
        list.iter().skip(begin).find_map(|summary| {
            let at = u32::try_from(from.since(summary.first)).ok()?;
            let mut found: Option<u32> = None;
            summary.matching(filter, |here| {
                let next = here.offsets.range(at..).next();
                found = [found, next].into_iter().flatten().min();
            });
            found.map(|found| summary.first.plus(u64::from(found)))
        })
    }

    /// Where the next gap at or after `from` begins, or `from` inside one.
    pub(super) fn first_gap(&self, from: Offset) -> Option<Offset> {
        let list = self.list.read();
        let begin = list.partition_point(|summary| summary.next <= from);
        let mut gaps = list.iter().skip(begin).flat_map(|summary| &summary.gaps);
        gaps.find(|gap| gap.to > from).map(|gap| gap.from.max(from))
    }

    pub(super) fn count(&self, filter: &Filter, span: Span) -> u64 {
        if span.is_empty() {
            return 0;
        }
        let list = self.list.read();
        let begin = list.partition_point(|summary| summary.next <= span.from);
        let mut count = 0;
        for summary in list.iter().skip(begin).take_while(|summary| summary.first < span.to) {
            let range = summary.relative(span);
            summary.matching(filter, |here| count += here.offsets.range_cardinality(range.clone()));
        }
        count
    }

    pub(super) fn channels(&self) -> Vec<ChannelInfo> {
        let mut found: BTreeMap<Channel, ChannelInfo> = BTreeMap::new();
        for summary in self.list.read().iter() {
            for (channel, here) in &summary.channels {
                let last = here.offsets.max().map_or(summary.first, |at| summary.first.plus(u64::from(at)));
                let info = found.entry(channel.clone()).or_insert_with(|| ChannelInfo {
                    channel: channel.clone(),
                    events: 0,
                    last_offset: last,
                    last_time: here.last_time,
                });
                info.events += here.offsets.len();
                (info.last_offset, info.last_time) = (last, here.last_time);
            }
        }
        found.into_values().collect()
    }

    /// Forgets segments that retention took.
    pub(super) fn forget_below(&self, start: Offset) {
        self.list.write().retain(|summary| summary.next > start);
    }

    /// The summaries of sealed segments that have no file yet.
    pub(super) fn unkept(&self) -> Vec<Summary> {
        let list = self.list.read();
        let sealed = list.len().saturating_sub(1);
        list.iter().take(sealed).filter(|summary| !summary.kept).cloned().collect()
    }

    /// Notes that a summary has its file now.
    pub(super) fn set_kept(&self, first: Offset) {
        if let Some(summary) = self.list.write().iter_mut().find(|summary| summary.first == first) {
            summary.kept = true;
            summary.ids = Vec::new();
        }
    }
}
