//! The house's metrics on real atomics: counting decides nothing, and must not double the schedules.

#[path = "../../../../src/metrics.rs"]
mod metrics;

pub use metrics::*;
