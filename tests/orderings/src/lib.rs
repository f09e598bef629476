//! The parts of the house where threads meet without a lock around all of it, compiled against loom: it goes through
//! every order of their steps, and lets an atomic read every value that its memory ordering allows. `std`,
//! `parking_lot` and `tokio` are replaced in `Cargo.toml` and in the line below; time is the schedules' clock; the disk
//! is the house's own in memory. `docs/CONCURRENCY.md` says what is shown, and what is not.
#![allow(dead_code, unused_imports, missing_docs, reason = "parts of the house, without those who use the rest")]

extern crate orderings_std as std;

#[path = "../../schedules/src/clock.rs"]
pub mod clock;
#[path = "../../../src/fs/mod.rs"]
pub mod fs;
#[path = "../../../src/log/mod.rs"]
pub mod log;
#[path = "../../../src/model/mod.rs"]
pub mod model;
#[path = "../../../src/notify/mod.rs"]
pub mod notify;
