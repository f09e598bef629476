//! x
pub mod model;
pub mod fs;
pub mod clock;
pub mod codec;
pub mod log;
pub mod ledger;
pub mod notify;
pub mod ack;
pub mod view;
