//! A broker in memory behind its own router, made anew now and then so that it stays small.

use axum::Router;
use std::time::Duration;
use stentor::api::{ApiOptions, Origins, router};
use stentor::broker::{Broker, Options};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Inputs after which a broker is replaced: it keeps every event that was taken.
const INPUTS: u32 = 20_000;

/// A broker, its router, and the runtime that drives both.
pub struct Served {
    pub runtime: Runtime,
    pub broker: Broker,
    pub router: Router,
    inputs: u32,
}

impl Default for Served {
    fn default() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let broker = runtime.block_on(Broker::open(Options::memory())).expect("a broker in memory opens");
        let options =
            ApiOptions { origins: Origins::default(), drain: Duration::from_millis(10), streams: TaskTracker::new() };
        let router = router(broker.clone(), options, CancellationToken::new());
        Self { runtime, broker, router, inputs: 0 }
    }
}

impl Served {
    /// Counts an input, and replaces a broker that has had enough of them.
    pub fn fresh(&mut self) -> &mut Self {
        self.inputs += 1;
        if self.inputs > INPUTS {
            let old = std::mem::take(self);
            old.runtime.block_on(old.broker.shutdown());
        }
        self
    }
}
