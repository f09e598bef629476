//! `std`, with the scheduler's atomics and threads in the place of its own.

pub use ::std::*;

/// `std::sync`, with the scheduler's atomics. `Arc` and `OnceLock` are `std`'s: nothing waits in them.
pub mod sync {
    pub use ::std::sync::*;
    pub use shuttle::sync::atomic;
}

/// The scheduler's threads.
pub mod thread {
    pub use shuttle::thread::*;
}
