//! Listeners in this process: acknowledged when the handler returns Ok, tried again when it returns Err.

use super::registry::Registry;
use super::session::{Delivery, Ending, Session};
use crate::clock;
use crate::ledger::Via;
use crate::metrics::Word;
use crate::model::{Backoff, Event};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What a handler says when it could not do its work; the event comes again.
pub type HandlerError = Box<dyn std::error::Error + Send + Sync>;

/// Does the work for one event.
pub type Handler = Arc<dyn Fn(Arc<Event>) -> BoxFuture<'static, Result<(), HandlerError>> + Send + Sync>;

const BACKOFF: Backoff = Backoff { initial: Duration::from_millis(100), max: Duration::from_secs(30) };

impl Registry {
    /// Feeds a durable subscriber's events to a handler, one after another, until told to stop.
    pub async fn handle(self: Arc<Self>, name: String, handler: Handler, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let session = match self.attach(&name, Via::InProcess) {
                Ok(session) => session,
                Err(error) => {
                    tracing::error!(subscriber = name, %error, "an in-process listener ends");
                    return;
                }
            };
            let ended = stop.run_until_cancelled(Box::pin(self.feed(session, &handler))).await;
            match ended {
                Some(Ending::Moved) => {}
                Some(Ending::TakenOver) => {
                    tracing::warn!(subscriber = name, "another listener took over; this one ends");
                    return;
                }
                Some(Ending::Failed | Ending::Full) => clock::sleep(Duration::from_secs(1)).await,
                None => return,
            }
        }
    }

    async fn feed(&self, mut session: Session, handler: &Handler) -> Ending {
        let subscription = Arc::clone(session.subscription());
        let generation = session.generation();
        let via = Word { kind: Via::InProcess.as_str() };
        loop {
            let (event, attempt) = match session.next().await {
                Ok(Delivery::Event { event, attempt }) => (event, attempt),
                Ok(Delivery::Gap(span)) => {
                    tracing::warn!(subscriber = %subscription.name(), from = %span.from, to = %span.to, "events are gone");
                    self.parts().metrics.gaps.inc();
                    continue;
                }
                Ok(Delivery::CaughtUp(_)) => continue,
                Ok(Delivery::Ended(ending)) => return ending,
                Err(error) => {
                    tracing::error!(subscriber = %subscription.name(), %error, "the log cannot be read");
                    return Ending::Failed;
                }
            };
            self.parts().metrics.deliveries.get_or_create(&via).inc();
            let offset = event.offset;
            let done = AssertUnwindSafe(async { handler(event).await }).catch_unwind().await;
            let refused = match done {
                Ok(Ok(())) => {
                    self.parts().metrics.acks.get_or_create(&via).inc();
                    subscription.ack_through(generation, offset)
                }
                failed => {
                    let why = failed.map_or_else(
                        |_| "it panicked".to_owned(),
                        |result| result.err().map_or_else(String::new, |error| error.to_string()),
                    );
                    tracing::warn!(subscriber = %subscription.name(), %offset, attempt, why, "the handler failed; the event comes again");
                    self.parts().metrics.redeliveries.get_or_create(&via).inc();
                    let delay = BACKOFF.wait(attempt, self.parts().random.next());
                    subscription.nack(generation, offset, delay)
                }
            };
            if let Err(error) = refused {
                tracing::debug!(subscriber = %subscription.name(), %offset, %error, "its word came too late");
            }
        }
    }
}
