//! What a connection delivers: events one by one or gathered, gaps, the end.

use super::close::Close;
use super::connection::{Connection, Ended};
use super::frame;
use super::wire::Wire;
use crate::api::problem::Problem;
use crate::api::render;
use crate::broker::Error;
use crate::deliver::{Delivery, Ending};
use crate::model::Event;
use std::sync::Arc;

/// Frames fed to the socket before it is flushed.
const FEED_FRAMES: usize = 128;

impl Connection {
    /// Sends a delivery and those that are at hand behind it, flushed once: one system call for many events.
    pub(super) async fn deliver(&mut self, first: Result<Delivery, Error>) -> Result<(), Ended> {
        let mut next = match first {
            Ok(delivery) => Some(delivery),
            Err(error) => {
                if self.wire == Wire::Stentor {
                    self.send(frame::error(&Problem::from(error), None)).await?;
                }
                return Err(Some(Close::Trouble));
            }
        };
        let mut gathered: Vec<(Arc<Event>, u32)> = Vec::new();
        let mut frames = 0;
        while let Some(delivery) = next.take() {
            match delivery {
                Delivery::Event { event, attempt } => {
                    self.count(attempt);
                    if self.batch.is_some() {
                        gathered.push((event, attempt));
                    } else {
                        self.put(self.wire.event(&event, attempt)).await?;
                    }
                }
                other => {
                    self.put_gathered(&mut gathered).await?;
                    self.tell(other).await?;
                }
            }
            frames += 1;
            if self.batch.is_some_and(|most| gathered.len() >= most) {
                self.put_gathered(&mut gathered).await?;
            }
            if frames < FEED_FRAMES.max(self.batch.unwrap_or(0)) {
                next = self.feed.next_now();
            }
        }
        self.put_gathered(&mut gathered).await?;
        self.flush().await
    }

    fn count(&self, attempt: u32) {
        let metrics = self.api.broker.metrics();
        metrics.deliveries.get_or_create(&self.via).inc();
        if attempt > 1 {
            metrics.redeliveries.get_or_create(&self.via).inc();
        }
    }

    async fn tell(&mut self, delivery: Delivery) -> Result<(), Ended> {
        match delivery {
            Delivery::Event { .. } => Ok(()),
            Delivery::Gap(span) => {
                self.api.broker.metrics().gaps.inc();
                self.put(self.wire.gap(span)).await
            }
            Delivery::CaughtUp(end) => match self.wire.caught_up(end) {
                Some(message) => self.put(message).await,
                None => Ok(()),
            },
            Delivery::Ended(ending) => {
                let close = match ending {
                    Ending::TakenOver => Close::TakenOver,
                    Ending::Moved => Close::Moved,
                    Ending::Failed | Ending::Full => Close::Trouble,
                };
                self.flush().await?;
                Err(Some(close))
            }
        }
    }

    /// The `events` frame of what was gathered.
    async fn put_gathered(&mut self, gathered: &mut Vec<(Arc<Event>, u32)>) -> Result<(), Ended> {
        if gathered.is_empty() {
            return Ok(());
        }
        let bytes: usize = gathered.iter().map(|(event, _)| event.weight()).sum();
        let mut out = Vec::with_capacity(bytes + 32);
        out.extend_from_slice(br#"{"op":"events","events":"#);
        render::deliveries(&mut out, gathered.iter().map(|(event, attempt)| (&**event, *attempt)));
        gathered.clear();
        out.push(b'}');
        self.put(frame::shared(out.into())).await
    }
}
