//! A handler that listens in this process.

use super::{Broker, Error};
use crate::deliver::{Handler, HandlerError, Step};
use crate::model::{Event, Filter, Name, SubscriberSettings};
use std::future::Future;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Listens until it is stopped. Dropping it lets it go on until the broker shuts down.
pub struct Listener {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Listener {
    /// Ends it; the handler's work on one event may be cut off, and that event comes again.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "a listener ended badly");
        }
    }
}

impl Broker {
    /// Calls `handler` for each event that matches, one after another, in order.
    ///
    /// With a name the listener is durable: it exists while nobody runs it, an event is acknowledged when the
    /// handler returns Ok and comes again when it returns Err, and after a restart it goes on where it was.
    /// Without a name it hears what is published from now on, each event once.
    ///
    /// # Errors
    /// A pattern or name outside the grammar; a ledger that takes nothing.
    pub async fn on<'a, F, R>(
        &self,
        patterns: impl AsRef<str>,
        name: impl Into<Option<&'a str>>,
        handler: F,
    ) -> Result<Listener, Error>
    where
        F: Fn(Arc<Event>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        let patterns: Vec<&str> = patterns.as_ref().split(',').collect();
        let filter = Filter::parse(&patterns)?;
        let handler: Handler = Arc::new(move |event| Box::pin(handler(event)));
        let stop = self.stopping().child_token();
        let task = match name.into() {
            Some(name) => {
                let name = Name::parse("name", name)?;
                self.ensure(&name, filter).await?;
                let registry = Arc::clone(self.registry());
                tokio::spawn(registry.handle(name.to_string(), handler, stop.clone()))
            }
            None => tokio::spawn(self.clone().hear(filter, handler, stop.clone())),
        };
        Ok(Listener { stop, task })
    }

    /// Makes the subscriber, or changes what it listens to; other settings stay.
    async fn ensure(&self, name: &Name, filter: Filter) -> Result<(), Error> {
        match self.registry().settings(name.as_str()) {
            Ok(settings) if settings.channels == filter => Ok(()),
            Ok(settings) => {
                let settings = SubscriberSettings { channels: filter, ..settings };
                self.registry().put_subscriber(name, settings, None).await?;
                Ok(())
            }
            Err(crate::deliver::DeliverError::NotFound { .. }) => {
                self.registry().put_subscriber(name, SubscriberSettings::new(filter), None).await?;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn hear(self, filter: Filter, handler: Handler, stop: CancellationToken) {
        let mut source = self.registry().anonymous(filter, self.end());
        loop {
            match stop.run_until_cancelled(source.next()).await {
                None => return,
                Some(Ok(Step::Event(event))) => {
                    if let Err(error) = handler(Arc::clone(&event)).await {
                        tracing::warn!(offset = %event.offset, %error, "a handler without a name failed; it is not told again");
                    }
                }
                Some(Ok(Step::Gap(_) | Step::CaughtUp(_))) => {}
                Some(Err(error)) => {
                    tracing::error!(%error, "the log cannot be read; a listener ends");
                    return;
                }
            }
        }
    }
}
