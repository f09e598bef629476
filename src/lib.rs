//! Stentor: a durable, log-structured message broker in one binary.
//!
//! A publisher says a thing once. Stentor writes it to disk and keeps telling everyone who asked, until each
//! has said "got it".
//!
//! ```text
//!  publish ──► log: append ──► commit (write, sync) ──► notify ──► deliver ──► listener
//!  (check,      (offset,         (one sync for all        (only      (WebSocket,
//!   dedup)       frame)           that waited)           who match)   HTTP connector, …)
//!                                                                         │
//!  receipt ◄── cursor ◄── ledger: append ◄── ack window ◄── ack ──────────┘
//! ```
//!
//! The modules stand in the order in which an event passes them. Each imports only from lower floors;
//! `tests/house.rs` holds that. `docs/ARCHITECTURE.md` follows one event through the files.

// Floor 0: the words: offsets, events, channels and patterns, limits. No I/O, no async.
pub mod model;

// Floor 1: the only way to a disk, with a disk in memory that fails in every way.
pub mod fs;

// Floor 1: time and chance.
pub mod clock;

// Floor 1: the only place that knows bincode.
pub mod codec;

// Floor 1: what is counted.
pub mod metrics;

// Floor 2: whom to wake.
pub mod notify;

// Floor 2: what is in flight, and what acks mean.
pub mod ack;

// Floor 2: sled behind one table of typed keys.
pub mod view;

// Floor 3: the segmented log, its recovery, its group commit.
pub mod log;

// Floor 4: everything that happened, and its fold into state.
pub mod ledger;

// Floor 5: where the logs live: in memory, on this disk.
pub mod engine;

// Floor 5: how events leave over HTTP: request, signature, egress guard.
pub mod connector;

// Floor 6: the way in.
pub mod publish;

// Floor 6: the way out: sessions, workers, settling, supervision.
pub mod deliver;

// Floor 7: the broker as a library.
pub mod broker;

// Floor 8: HTTP and WebSocket.
pub mod api;

// Floor 8: diagnostics.
pub mod telemetry;

// Floor 9: defaults, file, environment, flags.
pub mod config;

// Floor 10: the command line.
pub mod cli;

// Beside the house: the client, which imports `model` alone.
pub mod client;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../docs/EMBEDDING.md")]
struct Embedding;
