//! `std`, with loom's atomics and threads in the place of its own, and hash maps that are the same in every execution.

pub use ::std::*;

mod counter;
mod once;

/// `std::sync`. `Arc` is `std`'s: who drops it last decides nothing here.
pub mod sync {
    pub use super::once::OnceLock;
    pub use ::std::sync::*;

    /// Loom's atomics.
    pub mod atomic {
        pub use crate::counter::AtomicU64;
        pub use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    }
}

/// Loom's threads.
pub mod thread {
    pub use loom::thread::*;
}

/// `std::collections`. Loom wants an execution that it repeats to be the same, also in the order of a map.
pub mod collections {
    pub use ::std::collections::*;

    /// `std`'s, without chance.
    pub type HashMap<K, V> = ::std::collections::HashMap<K, V, Same>;
    type Same = ::std::hash::BuildHasherDefault<::std::hash::DefaultHasher>;
}
