//! The background scrub of both logs: each damage is said once.

use crate::log::{Damage, Scrub, Segments};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::path::PathBuf;

/// Where the scrub stands, and what it has said already.
#[derive(Default)]
pub(super) struct Scrubbing(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    events: Scrub,
    ledger: Scrub,
    said: HashSet<(PathBuf, u64, String)>,
}

impl Scrubbing {
    /// Reads about `bytes` more of each log's sealed segments; gives what was not said before.
    pub(super) fn go_on(&self, events: &Segments, ledger: &Segments, bytes: u64) -> Vec<Damage> {
        let mut inner = self.0.lock();
        let Inner { events: of_events, ledger: of_ledger, said } = &mut *inner;
        let mut met = of_events.go_on(events, bytes);
        met.extend(of_ledger.go_on(ledger, bytes));
        met.retain(|damage| said.insert((damage.path.clone(), damage.position, damage.detail.clone())));
        met
    }
}
