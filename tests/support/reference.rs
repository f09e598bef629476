//! What delivery promises, as the simplest thing that keeps it: the log is a `Vec` of channels, a subscriber a `Vec`
//! of marks, and everything else a search through them. Nothing in it is fast, and nothing is remembered twice.
#![allow(clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::time::Duration;
use stentor::clock::Instant;

/// The channels that events are on.
pub(crate) const CHANNELS: [&str; 4] = ["a.x", "a.y", "b.x", "b.y"];
/// What subscribers ask for, and which of the channels that is.
pub(crate) const FILTERS: [(&[&str], [bool; 4]); 4] = [
    (&["a.*"], [true, true, false, false]),
    (&["b.x"], [false, false, true, false]),
    (&["**"], [true, true, true, true]),
    (&["a.x", "b.*"], [true, false, true, true]),
];
/// So long the oldest open event may wait. Far more than the steps in which the time goes on by itself.
pub(crate) const ACK_TIMEOUT: Duration = Duration::from_secs(3600);

/// How one event stands with one subscriber.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Sends since the last seek, in this life of the broker.
    pub(crate) sends: u32,
    /// Sent, and nobody has said what became of it.
    pub(crate) open: bool,
    /// Sent in this session and not taken back.
    pub(crate) live: bool,
    /// Since when.
    pub(crate) since: Option<Instant>,
    /// Acknowledged, rejected, skipped, or told as a gap.
    pub(crate) done: bool,
    /// Done, and known to be durable.
    pub(crate) kept: bool,
}

/// A live session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader {
    /// Everything below was given, or need not be.
    pub(crate) position: usize,
    /// Acks may name what is below.
    pub(crate) ack_limit: usize,
    pub(crate) rewind: Option<(usize, Instant)>,
    pub(crate) quiet_until: Option<Instant>,
    pub(crate) caught_up: bool,
}

/// A subscriber.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    pub(crate) id: u64,
    pub(crate) filter: usize,
    pub(crate) window: usize,
    pub(crate) marks: Vec<Mark>,
    pub(crate) floor_moved: Instant,
    pub(crate) reader: Option<Reader>,
    /// What he cannot have and was not told yet ends here.
    pub(crate) untold: Option<usize>,
    /// The same for his next session: what this one has been sent it need not be told.
    pub(crate) untold_next: Option<usize>,
    /// Something of his own is in it.
    pub(crate) lost: bool,
}

/// What delivery owes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// This event.
    Event(usize),
    /// Nothing, until something happens.
    Nothing,
}

impl Listener {
    pub(crate) fn new(id: u64, filter: usize, window: usize, log: &[usize], from: usize, now: Instant) -> Self {
        let mut marks = vec![Mark::default(); log.len()];
        marks[..from].iter_mut().for_each(|mark| (mark.done, mark.kept) = (true, true));
        Self { id, filter, window, marks, floor_moved: now, reader: None, untold: None, untold_next: None, lost: false }
    }

    /// Everything of his own that is not done, from an offset on.
    pub(crate) fn waiting<'a>(&'a self, log: &'a [usize], from: usize) -> impl Iterator<Item = usize> + 'a {
        (from..log.len()).filter(|n| FILTERS[self.filter].1[log[*n]] && !self.marks[*n].done)
    }

    /// The lowest matching event that is not done, or the end (invariant 16).
    pub(crate) fn cursor(&self, log: &[usize], start: usize) -> usize {
        self.waiting(log, start).next().unwrap_or(log.len())
    }

    pub(crate) fn live(&self) -> usize {
        self.marks.iter().filter(|mark| mark.live).count()
    }

    pub(crate) fn open(&self) -> Vec<usize> {
        (0..self.marks.len()).filter(|n| self.marks[*n].open).collect()
    }

    /// A session begins at the cursor, and what an earlier one left open is sent again.
    pub(crate) fn begin(&mut self, start: usize, now: Instant) {
        self.end();
        self.give_up(start);
        self.floor_moved = now;
        self.reader = Some(Reader { position: 0, ack_limit: 0, rewind: None, quiet_until: None, caught_up: false });
    }

    pub(crate) fn end(&mut self) {
        self.untold = self.untold.max(self.untold_next.take());
        self.reader = None;
        self.marks.iter_mut().for_each(|mark| mark.live = false);
    }

    /// What retention took and need not be told is neither sent again nor waited for.
    fn give_up(&mut self, start: usize) {
        if self.untold.is_none() && self.untold_next.is_none() {
            for mark in &mut self.marks[..start] {
                (mark.done, mark.open, mark.live) = (true, false, false);
            }
        }
    }

    /// What a session sees to before it sends: the time that is over, the way back.
    pub(crate) fn look(&mut self, start: usize, now: Instant) {
        let oldest = self.marks.iter().position(|mark| mark.open);
        let over = |mark: &Mark| mark.live && mark.since.unwrap_or(now).max(self.floor_moved) + ACK_TIMEOUT <= now;
        if let Some(oldest) = oldest.filter(|oldest| over(&self.marks[*oldest])) {
            self.go_back(oldest, now);
        }
        let Some(reader) = &mut self.reader else { return };
        if let Some((to, not_before)) = reader.rewind.take() {
            reader.position = to;
            reader.quiet_until = reader.quiet_until.max(Some(not_before));
            reader.quiet_until = reader.quiet_until.filter(|until| *until > now);
            if to < start {
                self.give_up(start);
            }
            return;
        }
        reader.quiet_until = reader.quiet_until.filter(|until| *until > now);
    }

    fn go_back(&mut self, to: usize, not_before: Instant) {
        self.marks[to..].iter_mut().for_each(|mark| mark.live = false);
        let Some(reader) = &mut self.reader else { return };
        reader.rewind = Some(match reader.rewind {
            // Of two delays the longer one holds.
            Some((earlier, until)) => (earlier.min(to), until.max(not_before)),
            None => (to, not_before),
        });
    }

    /// The next event in order (invariant 19), if there is room for it (invariant 20) and nobody asked to wait.
    pub(crate) fn due(&mut self, log: &[usize], start: usize, now: Instant) -> Due {
        self.look(start, now);
        let Some(reader) = self.reader else { return Due::Nothing };
        let next = self.waiting(log, reader.position).next();
        match next {
            Some(next) if reader.quiet_until.is_none() && self.live() < self.window => Due::Event(next),
            _ => Due::Nothing,
        }
    }

    pub(crate) fn sent(&mut self, log: &[usize], offset: usize, now: Instant) -> u32 {
        let mark = &mut self.marks[offset];
        (mark.open, mark.live, mark.since) = (true, true, Some(now));
        mark.sends += 1;
        if let Some(reader) = &mut self.reader {
            reader.position = offset + 1;
            reader.ack_limit = reader.ack_limit.max(offset + 1);
        }
        // A session may have read what retention took since: then it is sent, and is no gap.
        let below: Vec<usize> = self.waiting(log, 0).take_while(|n| Some(*n) < self.untold).collect();
        if below.contains(&offset) && below.iter().all(|n| self.marks[*n].live) {
            self.untold = None;
        }
        self.marks[offset].sends
    }

    /// Whether an ack may name this one, nothing else known.
    pub(crate) fn may_ack(&self, offset: usize) -> bool {
        self.reader.is_some_and(|reader| offset < reader.ack_limit)
    }

    /// Whether it is open and may be named.
    pub(crate) fn is_open(&self, offset: usize) -> bool {
        self.may_ack(offset) && self.marks.get(offset).is_some_and(|mark| mark.open)
    }

    /// Whether nothing of his own that is kept and not done lies at or below this one.
    pub(crate) fn is_behind(&self, log: &[usize], start: usize, offset: usize) -> bool {
        self.waiting(log, start).next().is_none_or(|waiting| waiting > offset)
    }

    pub(crate) fn finish(&mut self, offset: usize, now: Instant) {
        let mark = &mut self.marks[offset];
        (mark.done, mark.open, mark.live) = (true, false, false);
        self.floor_moved = now;
    }

    /// After acks: what retention took and was acknowledged need not be told.
    pub(crate) fn forgive(&mut self, log: &[usize]) {
        let left = |to: usize, live: bool| {
            let waiting = self.waiting(log, 0).take_while(|n| *n < to);
            waiting.filter(|n| live || !self.marks[*n].live).last().map(|last| last + 1)
        };
        let (now, next) = (self.untold, self.untold_next);
        let (now, next) = (now.and_then(|to| left(to, false)), next.and_then(|to| left(to, true)));
        (self.untold, self.untold_next) = (now, next);
    }

    /// Retention took everything below.
    pub(crate) fn retire(&mut self, log: &[usize], start: usize) {
        let lost: Vec<usize> = self.waiting(log, 0).take_while(|n| *n < start).collect();
        self.lost |= !lost.is_empty();
        self.untold_next = self.untold_next.max(lost.last().map(|n| n + 1));
        self.untold = self.untold.max(lost.iter().rfind(|n| !self.marks[**n].live).map(|n| n + 1));
    }

    pub(crate) fn nack(&mut self, offset: usize, delay: Duration, now: Instant) {
        self.go_back(offset, now + delay);
        if let Some(reader) = &mut self.reader {
            reader.ack_limit = reader.ack_limit.min(offset);
        }
    }

    pub(crate) fn seek(&mut self, to: usize) {
        self.end();
        (self.untold, self.lost) = (None, false);
        for (n, mark) in self.marks.iter_mut().enumerate() {
            *mark = Mark { done: n < to, kept: n < to, ..Mark::default() };
        }
    }

    /// New patterns hold from the cursor on; what was open and is no longer asked for is skipped, with a record.
    pub(crate) fn change(&mut self, log: &[usize], start: usize, filter: usize, window: usize) {
        self.end();
        self.window = window;
        if FILTERS[self.filter].0 != FILTERS[filter].0 {
            let cursor = self.cursor(log, start);
            // Who was made from below the start and changed before he came asks for something else now.
            self.untold = self.untold.filter(|_| self.lost);
            for (n, (channel, mark)) in log.iter().zip(&mut self.marks).enumerate() {
                if n < cursor || mark.open && !FILTERS[filter].1[*channel] {
                    (mark.done, mark.open) = (true, false);
                }
            }
        }
        self.filter = filter;
    }

    /// Everything that is done so far is durable.
    pub(crate) fn keep(&mut self) {
        self.marks.iter_mut().for_each(|mark| mark.kept = mark.done);
    }

    /// Told as a gap: it can neither be sent nor be waited for.
    pub(crate) fn gap(&mut self, to: usize) {
        self.untold = self.untold.filter(|untold| *untold > to);
        self.untold_next = self.untold_next.filter(|untold| *untold > to);
        self.lost &= self.untold.is_some();
        for mark in &mut self.marks[..to] {
            (mark.done, mark.open, mark.live) = (true, false, false);
        }
        if let Some(reader) = &mut self.reader {
            reader.ack_limit = reader.ack_limit.max(to);
            reader.position = reader.position.max(to);
        }
    }
}
