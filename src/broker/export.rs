//! The log as NDJSON, for auditors: one event a line, gaps said, and a last line that says it is whole.

use super::{Broker, Error};
use crate::engine::{Budget, ReadHint};
use crate::model::{Filter, Offset, Span};
use bytes::Bytes;
use std::sync::Arc;

/// A running export. Memory stays bounded: a block is read when the last one was taken.
pub struct Export {
    broker: Broker,
    filter: Arc<Filter>,
    span: Span,
    at: Offset,
    hint: ReadHint,
    events: u64,
    finished: bool,
}

impl Broker {
    /// Exports a span as it is now; `span.to` must not lie beyond the end.
    #[must_use]
    pub fn export(&self, filter: Filter, span: Span) -> Export {
        Export {
            broker: self.clone(),
            filter: Arc::new(filter),
            at: span.from,
            span,
            hint: None,
            events: 0,
            finished: false,
        }
    }
}

impl Export {
    /// The next lines; `None` after the last.
    ///
    /// # Errors
    /// A log that cannot be read. The export is then not whole, and lacks its last line.
    pub async fn next_lines(&mut self) -> Result<Option<Bytes>, Error> {
        if self.finished {
            return Ok(None);
        }
        while self.at < self.span.to {
            let span = Span::new(self.at, self.span.to);
            let page = self.broker.engine().read(span, &self.filter, Budget::SESSION, self.hint).await?;
            (self.at, self.hint) = (page.next, page.hint);
            if let Some(gap) = page.gap {
                let to = gap.to.min(self.span.to);
                return Ok(Some(format!("{{\"gap\":{{\"from\":{},\"to\":{to}}}}}\n", gap.from).into()));
            }
            if page.events.is_empty() {
                continue;
            }
            self.events += page.events.len() as u64;
            let mut lines = Vec::with_capacity(page.events.iter().map(|event| event.weight()).sum());
            for event in &page.events {
                lines.extend_from_slice(&event.json());
                lines.push(b'\n');
            }
            return Ok(Some(lines.into()));
        }
        self.finished = true;
        let Self { span, events, .. } = self;
        let last = format!("{{\"checkpoint\":null,\"from\":{},\"to\":{},\"events\":{events}}}\n", span.from, span.to);
        Ok(Some(last.into()))
    }

    /// Events given so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// How far it has come.
    #[must_use]
    pub fn position(&self) -> Offset {
        self.at
    }
}
