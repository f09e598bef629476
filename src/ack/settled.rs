//! What was acknowledged and is not written down yet.

use super::words::Acked;
use crate::model::Span;

/// Spans with their attempts, in the order in which they were acknowledged, neighbours joined.
#[derive(Debug, Default)]
pub(super) struct Settled(Vec<Acked>);

impl Settled {
    /// Adds a span. Neighbours of the same number of attempts are one; what was never sent joins any neighbour.
    pub(super) fn add(&mut self, span: Span, attempts: u32) {
        match self.0.last_mut() {
            Some(last)
                if last.span.to == span.from && (last.attempts == attempts || last.attempts == 0 || attempts == 0) =>
            {
                last.span.to = span.to;
                last.attempts = last.attempts.max(attempts);
            }
            _ => self.0.push(Acked { span, attempts }),
        }
    }

    /// Adds a span in pieces of the same number of attempts; `sent` has the attempts of what was sent in it, and
    /// what else is in it was sent `unknown` times.
    pub(super) fn add_pieces(
        &mut self,
        span: Span,
        sent: impl Iterator<Item = (crate::model::Offset, u32)>,
        unknown: u32,
    ) {
        let (mut from, mut attempts) = (span.from, None);
        for (offset, sent) in sent {
            match attempts {
                Some(same) if same == sent => {}
                None => attempts = Some(sent),
                Some(other) => {
                    self.add(Span::new(from, offset), other);
                    (from, attempts) = (offset, Some(sent));
                }
            }
        }
        self.add(Span::new(from, span.to), attempts.unwrap_or(unknown));
    }

    pub(super) fn take(&mut self) -> Vec<Acked> {
        std::mem::take(&mut self.0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
