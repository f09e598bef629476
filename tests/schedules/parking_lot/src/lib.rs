//! What the house uses of `parking_lot`, on the locks of whoever explores: shuttle or, in `tests/orderings`, loom. A wait
//! with a time limit ends only when it is notified: a wake-up that is lost is a deadlock, and found.

use explorer::sync as under;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

#[derive(Default)]
pub struct Mutex<T>(under::Mutex<T>);

pub struct MutexGuard<'a, T> {
    of: &'a Mutex<T>,
    /// None only while it is given up for a wait.
    held: Option<under::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub fn new(value: T) -> Self {
        Self(under::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { of: self, held: Some(self.take()) }
    }

    fn take(&self) -> under::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex")
    }
}

impl<T> MutexGuard<'_, T> {
    pub fn unlocked<R>(this: &mut Self, f: impl FnOnce() -> R) -> R {
        this.held = None;
        let result = f();
        this.held = Some(this.of.take());
        result
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.held.as_ref().expect("held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("held")
    }
}

#[derive(Default)]
pub struct Condvar(under::Condvar);

pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.held.take().expect("held");
        guard.held = Some(self.0.wait(held).unwrap_or_else(|poisoned| poisoned.into_inner()));
    }

    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _limit: Duration) -> WaitTimeoutResult {
        self.wait(guard);
        WaitTimeoutResult(false)
    }

    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

#[derive(Default)]
pub struct RwLock<T>(under::RwLock<T>);

pub type RwLockReadGuard<'a, T> = under::RwLockReadGuard<'a, T>;
pub type RwLockWriteGuard<'a, T> = under::RwLockWriteGuard<'a, T>;

impl<T> RwLock<T> {
    pub fn new(value: T) -> Self {
        Self(under::RwLock::new(value))
    }

    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<T> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RwLock")
    }
}
