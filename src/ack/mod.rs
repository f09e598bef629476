//! Floor 2: what is in flight to one listener, and what its words about it mean.

mod settled;
mod window;
mod words;

pub use window::Window;
pub use words::{AckError, Acked, Rewind, Want};
