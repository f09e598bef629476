//! Invariant 14, "a decoder allocates at most what the limit and the remaining bytes allow", held at each allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The system's allocator, which ends the process where one allocation is larger than allowed.
pub struct Watched;

/// Every target that links this crate is watched.
#[global_allocator]
static WATCHED: Watched = Watched;

fn check(size: usize) {
    // A panic's own trace is not the decoder's doing.
    if size > LIMIT.load(Ordering::Relaxed) && !std::thread::panicking() {
        let limit = LIMIT.swap(usize::MAX, Ordering::Relaxed);
        eprintln!("one allocation of {size} bytes, where at most {limit} are allowed (invariant 14)");
        // libFuzzer keeps the input of whoever aborts; the trace says which decoder it was.
        eprintln!("{}", std::backtrace::Backtrace::force_capture());
        std::process::abort();
    }
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        check(size);
        unsafe { System.realloc(pointer, layout, size) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Runs `f`; no allocation in it may be larger than `limit` bytes.
pub fn within<R>(limit: usize, f: impl FnOnce() -> R) -> R {
    LIMIT.store(limit, Ordering::Relaxed);
    let result = f();
    LIMIT.store(usize::MAX, Ordering::Relaxed);
    result
}
