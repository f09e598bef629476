//! Floor 5: how events leave over HTTP: the request, its signature, the guard at the door, the answer.
//!
//! One attempt is one call of [`Sender::send`]; when to make it, and what follows from the answer, is the
//! worker's business in `deliver`.

mod egress;
mod request;
mod send;
mod sign;

pub use egress::{Egress, Network};
pub use request::{check_headers, check_url};
pub use send::{Answer, Attempt, SendError, Sender};
pub use sign::sign;
