//! The window: open events, acks in any order, redelivery.
//!
//! ```text
//!        floor            ack limit       delivered
//! ─ done ──┼── open, done, … ──┼── to be sent again ──┼── not sent yet ──►
//! ```
//! Everything below the floor is done or does not match. Acks move it; nothing else does.

use super::settled::Settled;
use super::words::{Acked, Rewind, Want};
use crate::clock::Instant;
use crate::model::{Offset, Span, Spans};
use std::collections::BTreeMap;
use std::time::Duration;

mod acks;

#[derive(Debug, Clone, Copy)]
struct Open {
    attempts: u32,
    since: Instant,
    /// Sent in this session and not taken back.
    live: bool,
}

/// What is in flight to one listener.
#[derive(Debug)]
pub struct Window {
    size: usize,
    floor: Offset,
    floor_moved: Instant,
    done: Spans,
    open: BTreeMap<Offset, Open>,
    /// Of them, those sent in this session.
    live: usize,
    /// Sends of an earlier life, where that matters: added to what is counted here.
    earlier: BTreeMap<Offset, u32>,
    ack_limit: Offset,
    delivered: Offset,
    settled: Settled,
    /// Events acknowledged and not written down yet, and of those written down the ones that are not durable yet.
    /// They count against the window: a crash brings back no more than it holds.
    acked: usize,
    undurable: usize,
    rewind: Option<Rewind>,
    /// What retention took and this session was told of; and, once an ack has answered it, what is to be written down.
    told: Option<Span>,
    answered: Option<Span>,
    /// Nothing was sent in this life of the broker, and what was sent in the one before is not known.
    sent_before: bool,
}

impl Window {
    /// A window that goes on from what is durable.
    #[must_use]
    pub fn new(size: u32, floor: Offset, done: Spans, now: Instant) -> Self {
        Self {
            size: size as usize,
            floor,
            floor_moved: now,
            done,
            open: BTreeMap::new(),
            live: 0,
            earlier: BTreeMap::new(),
            ack_limit: floor,
            delivered: floor,
            settled: Settled::default(),
            acked: 0,
            undurable: 0,
            rewind: None,
            told: None,
            answered: None,
            sent_before: false,
        }
    }

    /// Remembers that an event was sent before, so that its attempts go on counting. Nothing else follows from it:
    /// what lies below may never have been sent in this life.
    pub fn remember(&mut self, offset: Offset, attempts: u32) {
        self.earlier.insert(offset, attempts);
    }

    /// Goes on behind an earlier life of the broker, which may have sent what this one has not; or, made in this one,
    /// does not.
    pub fn of_earlier_life(&mut self, earlier: bool) {
        self.sent_before = earlier;
    }

    /// Forgets what retention took: it can neither be sent nor be waited for.
    pub fn retire(&mut self, start: Offset) {
        if start <= self.floor {
            return;
        }
        self.open = self.open.split_off(&start);
        self.recount();
        self.floor = start;
        self.delivered = self.delivered.max(start);
        self.done.retain_from(start);
    }

    /// A new session begins at the floor; what an earlier one left open is sent again.
    pub fn begin_session(&mut self, size: u32, now: Instant) -> Offset {
        self.size = size as usize;
        (self.rewind, self.told, self.sent_before) = (None, None, false);
        self.ack_limit = self.floor;
        self.floor_moved = now;
        self.open.values_mut().for_each(|open| open.live = false);
        self.live = 0;
        self.floor
    }

    /// New patterns hold from the floor on: open events that `matches` refuses are forgotten and given back, with their sends.
    pub fn change_patterns(&mut self, matches: impl Fn(Offset) -> bool) -> Vec<(Offset, u32)> {
        let gone = self.open.iter().filter(|(offset, _)| !matches(**offset));
        let gone: Vec<(Offset, u32)> = gone.map(|(offset, open)| (*offset, open.attempts)).collect();
        for (offset, _) in &gone {
            self.remove(*offset);
            self.done.insert(Span::one(*offset));
        }
        // Below what was sent there may be events now that match and never were.
        self.delivered = self.floor;
        self.ack_limit = self.floor;
        gone
    }

    /// Whether the event at `offset`, next in order, is to be sent now.
    #[must_use]
    pub fn wants(&self, offset: Offset) -> Want {
        if offset < self.floor || self.done.contains(offset) {
            Want::Skip
        } else if self.live + self.acked + self.undurable < self.size {
            Want::Send
        } else {
            Want::Full
        }
    }

    /// Whether the events that this session was sent and has not acknowledged fill it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.live >= self.size
    }

    /// Notes that it was sent, and gives the number of the attempt.
    pub fn sent(&mut self, offset: Offset, now: Instant) -> u32 {
        let attempts = self.earlier.remove(&offset).unwrap_or(0);
        let open = self.open.entry(offset).or_insert(Open { attempts, since: now, live: false });
        open.attempts += 1;
        open.since = now;
        self.live += usize::from(!std::mem::replace(&mut open.live, true));
        let attempts = open.attempts;
        self.reached(offset.next());
        attempts
    }

    /// Notes that a gap up to `to` was told; it can be acknowledged like an event.
    pub fn reached(&mut self, to: Offset) {
        self.ack_limit = self.ack_limit.max(to);
        self.delivered = self.delivered.max(to);
    }

    /// Notes that this session was told what retention took. An ack of its last event, or of anything behind it, is
    /// the answer; until then whoever comes next is told again.
    pub fn told(&mut self, span: Span) {
        self.reached(span.to);
        self.told = Some(span);
    }

    /// These cannot be had, and nobody waits for them: they are done, whatever is open beside them stays.
    pub fn pass_gap(&mut self, gap: Span, now: Instant) {
        if let Some(last) = gap.to.0.checked_sub(1) {
            self.answer(Offset(last));
        }
        let span = Span::new(gap.from.max(self.floor), gap.to);
        self.done.missing(span).into_iter().for_each(|part| self.settled.add(part, 0));
        self.done.insert(span);
        self.delivered = self.delivered.max(gap.to);
        self.advance(now);
    }

    /// When the oldest open event has been open for too long; none where nothing waits for an ack.
    #[must_use]
    pub fn deadline(&self, ack_timeout: Duration) -> Option<Instant> {
        let (_, oldest) = self.open.first_key_value()?;
        oldest.live.then(|| oldest.since.max(self.floor_moved) + ack_timeout)
    }

    /// Goes back to the oldest open event if its time is over. Late acks still count.
    pub fn expire(&mut self, ack_timeout: Duration, now: Instant) -> bool {
        let due = self.deadline(ack_timeout).is_some_and(|deadline| deadline <= now);
        if due && let Some((&oldest, _)) = self.open.first_key_value() {
            self.go_back(oldest, now);
        }
        due
    }

    /// Where delivery has to go back to, once.
    pub fn take_rewind(&mut self) -> Option<Rewind> {
        self.rewind.take()
    }

    /// Corrects the count of an open event to what its transport knows.
    pub fn set_attempts(&mut self, offset: Offset, attempts: u32) {
        if let Some(open) = self.open.get_mut(&offset) {
            open.attempts = attempts;
        }
    }

    /// What was acknowledged since the last call, and how many events that are; they take room in the window until
    /// [`Window::durable`] gives it back.
    pub fn take_settled(&mut self) -> (Vec<Acked>, usize) {
        let events = std::mem::take(&mut self.acked);
        self.undurable += events;
        (self.settled.take(), events)
    }

    /// So many acknowledged events are durable now.
    pub fn durable(&mut self, events: usize) {
        self.undurable = self.undurable.saturating_sub(events);
    }

    /// Whether acks have to be written down before the usual time, because they take up half of the window.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.acked * 2 >= self.size
    }

    /// Everything below `to` is done, sent or not: it does not match. Nothing below it may be open.
    pub fn pass(&mut self, to: Offset, now: Instant) {
        self.delivered = self.delivered.max(to);
        self.advance(now);
    }

    /// What retention took and has been answered since the last call.
    pub fn take_answered(&mut self) -> Option<Span> {
        self.answered.take()
    }

    /// Whether something was acknowledged since [`Window::take_settled`].
    #[must_use]
    pub fn has_settled(&self) -> bool {
        !self.settled.is_empty() || self.answered.is_some()
    }

    /// Everything below is done or does not match.
    #[must_use]
    pub fn floor(&self) -> Offset {
        self.floor
    }

    /// Whether this one is done.
    #[must_use]
    pub fn is_done(&self, offset: Offset) -> bool {
        offset < self.floor || self.done.contains(offset)
    }

    /// Delivered and not done.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Sends of this one so far.
    #[must_use]
    pub fn attempts(&self, offset: Offset) -> Option<u32> {
        self.open.get(&offset).map(|open| open.attempts)
    }

    fn answer(&mut self, offset: Offset) {
        if self.told.is_some_and(|told| told.to <= offset.next()) {
            self.answered = self.told.take();
        }
    }

    fn go_back(&mut self, to: Offset, not_before: Instant) {
        self.open.range_mut(to..).for_each(|(_, open)| open.live = false);
        self.recount();
        let earlier = self.rewind.filter(|rewind| rewind.to <= to);
        self.rewind = earlier.or(Some(Rewind { to, not_before }));
    }

    fn remove(&mut self, offset: Offset) -> Option<Open> {
        let removed = self.open.remove(&offset);
        self.live -= usize::from(removed.is_some_and(|open| open.live));
        removed
    }

    fn recount(&mut self) {
        self.live = self.open.values().filter(|open| open.live).count();
    }

    /// Writes down the acks of a span; what is not open here was sent `unknown` times.
    fn settle(&mut self, span: Span, unknown: u32) {
        let sent = self.open.range(span.from..span.to).map(|(&offset, open)| (offset, open.attempts));
        self.settled.add_pieces(span, sent, unknown);
    }

    /// Moves the floor to the lowest event that still matters, and never beyond what was sent: what it passes and was
    /// not sent does not match.
    fn advance(&mut self, now: Instant) {
        let oldest = self.open.first_key_value().map_or(self.delivered, |(&oldest, _)| oldest);
        let to = oldest.min(self.delivered).max(self.floor);
        for part in self.done.missing(Span::new(self.floor, to)) {
            self.settled.add(part, 0);
        }
        if to > self.floor {
            self.floor = to;
            self.floor_moved = now;
        }
        self.done.retain_from(self.floor);
        self.earlier = self.earlier.split_off(&self.floor);
    }
}

#[cfg(test)]
mod tests;
