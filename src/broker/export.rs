//! The log as NDJSON, for auditors: one event a line, gaps said, and a last line that says it is whole.

use super::{Broker, Error};
use crate::engine::{EngineError, Lines, ReadHint};
use crate::model::{Filter, Offset, Span};
use bytes::Bytes;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// A running export. Memory stays bounded: a block is read when the last one was taken.
pub struct Export {
    broker: Broker,
    filter: Arc<Filter>,
    span: Span,
    at: Offset,
    /// The page at `at`, on its way.
    ahead: Option<JoinHandle<Result<Lines, EngineError>>>,
    events: u64,
    finished: bool,
}

impl Broker {
    /// Exports a span as it is now; `span.to` must not lie beyond the end. One that ends before it begins is empty.
    #[must_use]
    pub fn export(&self, filter: Filter, span: Span) -> Export {
        let span = Span::new(span.from, span.to.max(span.from));
        Export {
            broker: self.clone(),
            filter: Arc::new(filter),
            at: span.from,
            span,
            ahead: None,
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
            let page = match self.ahead.take() {
                Some(reading) => joined(reading).await?,
                None => self.page(self.at, None).await?,
            };
            self.at = page.next;
            if self.at < self.span.to {
                // The next block is read and decoded while this one is written and sent.
                self.ahead = Some(tokio::spawn(self.page(self.at, page.hint)));
            }
            if let Some(gap) = page.gap {
                let to = gap.to.min(self.span.to);
                return Ok(Some(format!("{{\"gap\":{{\"from\":{},\"to\":{to}}}}}\n", gap.from).into()));
            }
            if page.events > 0 {
                self.events += page.events;
                return Ok(Some(page.text.into()));
            }
        }
        self.finished = true;
        let Self { span, events, .. } = self;
        let last = format!("{{\"checkpoint\":null,\"from\":{},\"to\":{},\"events\":{events}}}\n", span.from, span.to);
        Ok(Some(last.into()))
    }

    fn page(&self, from: Offset, hint: ReadHint) -> impl Future<Output = Result<Lines, EngineError>> + Send + use<> {
        let (broker, filter, span) = (self.broker.clone(), Arc::clone(&self.filter), Span::new(from, self.span.to));
        async move { broker.engine().read_lines(span, &filter, hint).await }
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

/// A panic over there is the caller's.
async fn joined<R>(task: JoinHandle<R>) -> R {
    match task.await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
