//! From durable to told: follows the log's end and hands new events to the hub.

use crate::engine::{Budget, Engine};
use crate::model::{Filter, Offset, Span};
use crate::notify::Hub;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Hands over until told to stop.
pub(super) async fn run(engine: Arc<dyn Engine>, hub: Arc<Hub>, stop: CancellationToken) {
    let mut end = engine.follow();
    let mut position = hub.handed();
    loop {
        let now = *end.borrow_and_update();
        if position < now {
            position = hand_over(&*engine, &hub, position, now).await;
            continue;
        }
        let changed = stop.run_until_cancelled(end.changed()).await;
        if !matches!(changed, Some(Ok(()))) {
            return;
        }
    }
}

/// Normally everything is in memory. Where a burst has outrun that, the events are read like anybody reads them.
async fn hand_over(engine: &dyn Engine, hub: &Hub, from: Offset, to: Offset) -> Offset {
    if let Some(events) = engine.recent(from) {
        let behind = events.last().map_or(to, |last| last.offset.next());
        hub.hand_over(&events, behind);
        return behind;
    }
    let everything = Arc::new(Filter::everything());
    match engine.read(Span::new(from, to), &everything, Budget::SESSION, None).await {
        Ok(page) => {
            match page.gap {
                // Each finds it where he reads, and is told in his own way.
                Some(gap) => hub.lose(from, gap.to),
                None => hub.hand_over(&page.events, page.next),
            }
            page.next
        }
        Err(error) => {
            // Whoever is near finds the same error when he reads for himself; nobody is passed over silently.
            tracing::error!(%error, %from, "cannot hand over; sessions read for themselves");
            hub.lose(from, to);
            to
        }
    }
}
