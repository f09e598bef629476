//! Reading: ranges, single events, channels, and waiting for what is to come.

use super::{Broker, Error, ErrorKind};
use crate::clock::Instant;
use crate::engine::{Budget, ChannelInfo};
use crate::model::{Event, Filter, Offset, Place, Span, limits};
use std::sync::Arc;
use std::time::Duration;

/// What a range read asks for.
#[derive(Debug, Clone)]
pub struct RangeQuery {
    /// Which channels.
    pub filter: Filter,
    /// From where.
    pub from: Place,
    /// Up to where, exclusive; the end where absent.
    pub to: Option<Place>,
    /// Events at most.
    pub limit: usize,
    /// How long to wait until there is something.
    pub wait: Duration,
}

/// What a range read gives.
#[derive(Debug)]
pub struct Range {
    /// Matching events.
    pub events: Vec<Arc<Event>>,
    /// The offset after the last one examined.
    pub next: Offset,
    /// The end.
    pub end: Offset,
    /// Offsets that cannot be had any more.
    pub gap: Option<Span>,
}

impl Broker {
    /// Reads a range.
    ///
    /// # Errors
    /// A place beyond the end; a log that cannot be read.
    pub async fn read(&self, query: RangeQuery) -> Result<Range, Error> {
        let deadline = Instant::now() + query.wait.min(limits::MAX_WAIT);
        let from = self.registry().resolve("from", query.from).await?;
        let to = match query.to {
            Some(to) => Some(self.registry().resolve("to", to).await?),
            None => None,
        };
        let filter = Arc::new(query.filter);
        let budget = Budget { events: query.limit, bytes: limits::MAX_READ_BYTES };
        let mut end = self.engine().follow();
        let mut range = Range { events: Vec::new(), next: from, end: from, gap: None };
        loop {
            range.end = *end.borrow_and_update();
            let upto = to.unwrap_or(range.end).min(range.end);
            self.fill(&mut range, upto, &filter, budget).await?;
            let done = !range.events.is_empty() || range.gap.is_some() || to.is_some_and(|to| range.next >= to);
            let left = deadline.saturating_duration_since(Instant::now());
            if done || left.is_zero() {
                return Ok(range);
            }
            let waited = crate::clock::within(left, end.changed());
            if !matches!(self.stopping().run_until_cancelled(waited).await, Some(Some(Ok(())))) {
                return Ok(range);
            }
        }
    }

    async fn fill(&self, range: &mut Range, to: Offset, filter: &Arc<Filter>, budget: Budget) -> Result<(), Error> {
        let (mut bytes, mut hint) = (0, None);
        while range.next < to && range.events.len() < budget.events && bytes < budget.bytes {
            let left = Budget { events: budget.events - range.events.len(), bytes: budget.bytes - bytes };
            let page = self.engine().read(Span::new(range.next, to), filter, left, hint).await?;
            if let Some(gap) = page.gap {
                if range.events.is_empty() && range.gap.is_none() {
                    range.gap = Some(Span::new(gap.from, gap.to.min(to)));
                    range.next = page.next.min(to);
                    continue;
                }
                return Ok(());
            }
            bytes += page.events.iter().map(|event| event.weight()).sum::<usize>();
            hint = page.hint;
            range.next = page.next;
            range.events.extend(page.events);
        }
        Ok(())
    }

    /// One event.
    ///
    /// # Errors
    /// No such event yet, or one that retention removed.
    pub async fn event(&self, offset: Offset) -> Result<Arc<Event>, Error> {
        if offset >= self.end() {
            let detail = format!("there is no event at offset {offset} yet; the end is {}", self.end());
            return Err(Error::new(ErrorKind::NotFound, "event-not-found", detail));
        }
        let budget = Budget { events: 1, bytes: 1 };
        let everything = Arc::new(Filter::everything());
        let page = self.engine().read(Span::one(offset), &everything, budget, None).await?;
        page.events.into_iter().next().ok_or_else(|| {
            let detail = format!("the event at offset {offset} is no longer kept; the start is {}", self.start());
            Error::new(ErrorKind::Gone, "event-gone", detail)
        })
    }

    /// The offset that a place means now.
    ///
    /// # Errors
    /// A place beyond the end; a log that cannot be read.
    pub async fn resolve(&self, field: &'static str, place: Place) -> Result<Offset, Error> {
        Ok(self.registry().resolve(field, place).await?)
    }

    /// Waits until a subscriber has no unacknowledged matching event up to `offset`; tells whether that came in
    /// time, and its cursor.
    ///
    /// # Errors
    /// Nobody has the name.
    pub async fn wait_for(&self, name: &str, offset: Offset, timeout: Duration) -> Result<(bool, Offset), Error> {
        let deadline = Instant::now() + timeout.min(limits::MAX_WAIT);
        let (mut ledger, mut end) = (self.engine().follow_ledger(), self.engine().follow());
        let subscription = self.registry().find(crate::model::Kind::Subscriber, name)?;
        subscription.settled().await;
        loop {
            ledger.borrow_and_update();
            end.borrow_and_update();
            let cursor = self.registry().cursor(&subscription)?;
            let left = deadline.saturating_duration_since(Instant::now());
            // What is not durable yet cannot be acknowledged, so an end beyond the offset is needed as well.
            let reached = cursor > offset && self.end() > offset;
            if reached || left.is_zero() {
                return Ok((reached, cursor));
            }
            let either = async {
                tokio::select! { changed = ledger.changed() => changed, changed = end.changed() => changed }
            };
            let waited = crate::clock::within(left, either);
            if self.stopping().run_until_cancelled(waited).await.is_none() {
                return Ok((false, cursor));
            }
        }
    }

    /// Every channel that has events, by name.
    #[must_use]
    pub fn channels(&self) -> Vec<ChannelInfo> {
        self.engine().channels()
    }

    /// How many events match in a span, and the first of them, without reading.
    #[must_use]
    pub fn count(&self, filter: &Filter, span: Span) -> u64 {
        self.engine().count(filter, span)
    }
}
