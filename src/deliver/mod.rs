//! Floor 6: the way out. A session is the one mechanism: a filter, a position, a window of open events
//! and a transport that can send and be acknowledged. What PROTOCOL.md section 4 promises is kept here,
//! once, whatever carries the events.
//!
//! [`Source`] finds the next event, near the tail or far back. [`Registry`] knows the durable
//! subscribers. A [`Session`] is one of them, live; a [`Worker`] is a session of the broker's own that
//! calls an endpoint.

mod admin;
mod announce;
mod census;
mod desk;
mod errand;
mod error;
mod handler;
mod operate;
mod pull;
mod registry;
mod session;
mod settle;
mod shift;
mod source;
mod subscription;
mod supervise;
mod view;
mod worker;

pub use census::Census;
pub use desk::AttemptRecord;
pub use error::{AckRefused, DeliverError};
pub use handler::{Handler, HandlerError};
pub use operate::{ReplayBegun, ReplayInput};
pub use pull::{PullQuery, PullRefused, Pulled};
pub use registry::{ConnectorInput, Made, Registry, RegistryParts};
pub use session::{Delivery, Ending, Session};
pub use source::{Source, Step};
pub use subscription::Subscription;
pub use supervise::Supervisor;
pub use view::{ConnectorView, SubscriberView};
pub use worker::Worker;
