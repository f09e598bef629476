//! Floor 9: configuration, layered: flags over environment over file over defaults.
//!
//! Every key has one name in all three: `retention.max_age` in the file, `STENTOR_RETENTION_MAX_AGE` in the
//! environment. All faults are reported at once, each with where it stood.

mod file;
mod keys;
mod layers;

pub use keys::{Config, KEYS, Key};
pub use layers::{ConfigFaults, Effective, Layers, Setting, Source};
