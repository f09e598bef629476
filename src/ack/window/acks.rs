//! What a listener says of what it was sent, and what that does to the window.

use super::Window;
use crate::ack::words::AckError;
use crate::clock::Instant;
use crate::model::{Offset, Span};
use std::time::Duration;

impl Window {
    /// Everything up to and including `offset` is done. Below the floor it changes nothing.
    ///
    /// # Errors
    /// [`AckError::Beyond`].
    pub fn ack_through(&mut self, offset: Offset, now: Instant) -> Result<(), AckError> {
        if offset < self.floor {
            self.answer(offset);
            return Ok(());
        }
        self.within(offset)?;
        self.answer(offset);
        let span = Span::new(self.floor, offset.next());
        for part in self.done.missing(span) {
            self.settle(part, 0);
        }
        let kept = self.open.split_off(&offset.next());
        self.acked += std::mem::replace(&mut self.open, kept).len();
        self.recount();
        self.done.insert(span);
        self.advance(now);
        Ok(())
    }

    /// A listener has come back and says that it has everything up to and including `offset`, whichever session sent
    /// it. It is believed as far as was sent since the last seek; in a life that has sent nothing yet, altogether.
    pub fn returned(&mut self, offset: Offset, now: Instant) {
        let to = if self.sent_before { offset.next() } else { offset.next().min(self.delivered) };
        if to <= self.floor {
            return;
        }
        self.ack_limit = self.ack_limit.max(to);
        if self.sent_before {
            // For the receipts: these were sent, and it is not known how often.
            self.done.missing(Span::new(self.floor, to)).into_iter().for_each(|span| self.settle(span, 1));
            self.done.insert(Span::new(self.floor, to));
            self.delivered = self.delivered.max(to);
            self.advance(now);
        } else if let Some(last) = to.0.checked_sub(1) {
            let within = self.ack_through(Offset(last), now);
            debug_assert!(within.is_ok(), "it was sent");
        }
    }

    /// Only these are done. Those that are not open change nothing.
    ///
    /// # Errors
    /// [`AckError::Beyond`], and then none of them is done.
    pub fn ack_each(&mut self, offsets: &[Offset], now: Instant) -> Result<(), AckError> {
        for offset in offsets.iter().filter(|offset| **offset >= self.floor) {
            self.within(*offset)?;
        }
        for offset in offsets {
            self.answer(*offset);
            if self.open.contains_key(offset) {
                self.finish_one(*offset);
            }
        }
        self.advance(now);
        Ok(())
    }

    /// A request that carried this one was answered: it is done if it is still open, whoever changed what meanwhile.
    /// Tells whether it was.
    pub fn answered(&mut self, offset: Offset, now: Instant) -> bool {
        let open = self.open.contains_key(&offset);
        if open {
            self.finish_one(offset);
            self.advance(now);
        }
        open
    }

    fn finish_one(&mut self, offset: Offset) {
        self.settle(Span::one(offset), 0);
        self.remove(offset);
        self.acked += 1;
        self.done.insert(Span::one(offset));
    }

    /// This one will never be wanted; gives the attempts that were made. Like an ack it takes room until it is durable.
    ///
    /// # Errors
    /// [`AckError::Beyond`], [`AckError::NotOpen`].
    pub fn give_up(&mut self, offset: Offset, now: Instant) -> Result<u32, AckError> {
        self.is_open(offset)?;
        let attempts = self.remove(offset).map_or(0, |open| open.attempts);
        self.acked += 1;
        self.done.insert(Span::one(offset));
        self.advance(now);
        Ok(attempts)
    }

    /// Delivery goes back to this event after a while; acks at or beyond it are refused until it is sent again.
    ///
    /// # Errors
    /// [`AckError::Beyond`], [`AckError::NotOpen`].
    pub fn nack(&mut self, offset: Offset, delay: Duration, now: Instant) -> Result<(), AckError> {
        self.is_open(offset)?;
        self.go_back(offset, now + delay);
        self.ack_limit = self.ack_limit.min(offset);
        Ok(())
    }

    /// The ack timeout of this one starts anew.
    ///
    /// # Errors
    /// [`AckError::Beyond`], [`AckError::NotOpen`].
    pub fn working(&mut self, offset: Offset, now: Instant) -> Result<(), AckError> {
        self.is_open(offset)?;
        if let Some(open) = self.open.get_mut(&offset) {
            open.since = now;
        }
        Ok(())
    }

    fn within(&self, offset: Offset) -> Result<(), AckError> {
        if offset < self.ack_limit { Ok(()) } else { Err(AckError::Beyond { offset, limit: self.ack_limit }) }
    }

    fn is_open(&self, offset: Offset) -> Result<(), AckError> {
        if offset >= self.floor {
            self.within(offset)?;
        }
        if self.open.contains_key(&offset) { Ok(()) } else { Err(AckError::NotOpen(offset)) }
    }
}
