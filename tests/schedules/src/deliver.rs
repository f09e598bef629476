//! Delivery without connectors: sessions, acks, settlement. The registry's part, finding a subscriber by its name, is
//! not here; a [`Table`] has the one that a test made.

#[path = "../../../src/deliver/error.rs"]
mod error;
#[path = "../../../src/deliver/session.rs"]
mod session;
#[path = "../../../src/deliver/settle.rs"]
mod settle;
#[path = "../../../src/deliver/source.rs"]
mod source;
#[path = "../../../src/deliver/subscription.rs"]
mod subscription;

mod registry {
    use crate::ledger::Target;
    use std::time::Duration;

    pub(super) fn shape(target: &Target) -> (u32, Duration, Option<Duration>) {
        match target {
            Target::Subscriber(settings) => (settings.window, settings.ack_timeout, settings.expires),
            Target::Connector { .. } => unreachable!("there are no connectors here"),
        }
    }
}

pub use error::{AckRefused, DeliverError};
pub use session::{Delivery, Ending, Session};
pub use source::{Source, Step};
pub use subscription::Subscription;

use crate::engine::Engine;
use crate::ledger::{Subscriber, Via};
use crate::notify::Hub;
use settle::Dirty;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A subscriber, and what settles its acks.
pub struct Table {
    pub subscription: Arc<Subscription>,
    hub: Arc<Hub>,
    dirty: Arc<Dirty>,
}

impl Table {
    pub fn new(engine: Arc<dyn Engine>, hub: Arc<Hub>, subscriber: &Subscriber) -> Self {
        let dirty = Arc::new(Dirty::default());
        let subscription = Arc::new(Subscription::new(subscriber, engine, Arc::clone(&dirty)));
        Self { subscription, hub, dirty }
    }

    /// Takes the subscriber over.
    pub fn attach(&self) -> Session {
        Session::begin(&self.subscription, &self.hub, Via::InProcess).expect("it is not deleted")
    }

    /// Settles acks until told to stop.
    pub async fn settle(&self, stop: CancellationToken) {
        Arc::clone(&self.dirty).run(stop).await;
    }
}
