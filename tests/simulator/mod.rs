//! The simulator: the real log, ledger and recovery on a disk in memory whose every crash state can be had.
//!
//! `workload` runs operations against the engine and keeps the `oracle`; `images` tries what a crash may leave;
//! `chains` crashes recovery itself; `rot` turns bits and reads. tests/crash_images.rs runs a little of it each
//! time, simulate.rs as much as is asked for.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "each user takes its part; what cannot go on fails"
)]

pub(crate) mod chains;
pub(crate) mod images;
pub(crate) mod oracle;
pub(crate) mod rot;
pub(crate) mod workload;
