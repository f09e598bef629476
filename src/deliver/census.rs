//! How many there are and how they stand: what an operator watches.

use super::registry::Registry;
use super::view::SubscriberView;
use crate::ledger::{Subscriber, Via};
use crate::model::{ConnectorState, Kind};
use std::collections::BTreeMap;

/// Everybody, counted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// By kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Those with a live session, by transport; every transport is there.
    pub live: BTreeMap<&'static str, u64>,
    /// Connectors, by state; every state is there.
    pub states: BTreeMap<&'static str, u64>,
    /// Events delivered and not done.
    pub open: u64,
    /// Name and lag of those furthest behind.
    pub lags: Vec<(String, u64)>,
    /// How many are not among them.
    pub lags_not_shown: u64,
}

impl Registry {
    /// Counts everybody, with the exact lag of at most so many: those whose cursor stands furthest behind the end.
    ///
    /// Exact lag is a count over the channels' summaries, too dear for ten thousand subscribers each time somebody
    /// looks; the cursor is not.
    #[must_use]
    pub fn census(&self, lags_at_most: usize) -> Census {
        let state = |state: ConnectorState| (state.as_str(), 0);
        let mut census = Census { states: ConnectorState::ALL.map(state).into(), ..Census::default() };
        census.live.extend(Via::ALL.map(|via| (via.as_str(), 0)));
        for kind in [Kind::Subscriber, Kind::Connector] {
            census.kinds.insert(kind.as_str(), 0);
        }
        let everybody: Vec<Subscriber> = self.engine().state().subscribers().cloned().collect();
        let mut behind: Vec<(u64, &Subscriber)> = Vec::with_capacity(everybody.len());
        for subscriber in &everybody {
            let subscription = self.subscriptions.lock().get(&subscriber.id).cloned();
            let (open, via) = subscription.map_or((0, None), |subscription| {
                let inner = subscription.inner.lock();
                (inner.window.open(), inner.live.as_ref().map(|_| inner.via))
            });
            let view = SubscriberView::of(self.engine(), subscriber, open, via.is_some(), false);
            census.open += open as u64;
            *census.kinds.entry(view.kind.as_str()).or_default() += 1;
            if let Some(via) = via {
                *census.live.entry(via.as_str()).or_default() += 1;
            }
            if let Some(connector) = &view.connector {
                *census.states.entry(connector.state.as_str()).or_default() += 1;
            }
            behind.push((view.end.since(view.cursor), subscriber));
        }
        behind.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.name.cmp(&other.name)));
        census.lags_not_shown = behind.len().saturating_sub(lags_at_most) as u64;
        let lag = |(_, subscriber): &(u64, &Subscriber)| {
            let view = SubscriberView::of(self.engine(), subscriber, 0, false, true);
            (view.name, view.lag.unwrap_or_default())
        };
        census.lags = behind.iter().take(lags_at_most).map(lag).collect();
        census
    }
}
