//! Floor 2: whom to wake.
//!
//! The [`Hub`] knows every session that is near the tail by its patterns. A durable event is handed
//! to those who match and to nobody else, so an event on `user.17` wakes one browser and not ten
//! thousand. A session that does not take what it is handed falls out, and reads the log instead.

mod hub;
mod trie;

pub use hub::{Handed, Hub, Registration};
