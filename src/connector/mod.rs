//! Floor 5: how events leave over HTTP: the request, its signature, the guard at the door, the answer.
//!
//! One attempt is one call of [`Sender::send`]; when to make it, and what follows from the answer, is the
//! worker's business in `deliver`.

mod check;
mod egress;
mod excerpt;
mod request;
mod send;
mod sign;
mod template;

pub use check::{check_headers, check_url};
pub use egress::{Egress, Network};
pub use request::{Attempt, Outgoing, Purpose, request};
pub use send::{Answer, SendError, Sender};
pub use sign::{sign, signatures};
pub use template::check_template;
