//! From durable to told.

#[path = "../../../src/broker/dispatch.rs"]
mod dispatch;

use crate::engine::Engine;
use crate::notify::Hub;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub async fn dispatch(engine: Arc<dyn Engine>, hub: Arc<Hub>, stop: CancellationToken) {
    dispatch::run(engine, hub, stop).await;
}
