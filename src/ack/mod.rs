//! Floor 2: what is in flight to one listener, and what its words about it mean.

mod settled;
mod window;

pub use window::{AckError, Acked, Rewind, Want, Window};
