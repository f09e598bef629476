//! The parts of the house where threads and tasks meet: the same files, compiled against primitives whose every step
//! a scheduler decides. `std`, `parking_lot` and `tokio` are replaced in `Cargo.toml` and in the line below; time is
//! [`clock`]'s; nothing else differs. `docs/CONCURRENCY.md` says what is shown, and what is not.
#![allow(dead_code, unused_imports, missing_docs, reason = "parts of the house, without those who use the rest")]

extern crate schedules_std as std;

pub mod broker;
pub mod clock;
pub mod deliver;

#[path = "../../../src/ack/mod.rs"]
pub mod ack;
#[path = "../../../src/codec/mod.rs"]
pub mod codec;
#[path = "../../../src/engine/mod.rs"]
pub mod engine;
#[path = "../../../src/fs/mod.rs"]
pub mod fs;
#[path = "../../../src/ledger/mod.rs"]
pub mod ledger;
#[path = "../../../src/log/mod.rs"]
pub mod log;
#[path = "../../../src/model/mod.rs"]
pub mod model;
#[path = "../../../src/notify/mod.rs"]
pub mod notify;

pub use schedules_metrics as metrics;
