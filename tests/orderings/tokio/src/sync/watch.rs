//! `watch`: a value that moves, with `new` for a channel whose receivers come later. Its sender is never dropped before
//! they are, here.

use super::Notify;
use loom::sync::{RwLock, RwLockReadGuard};
use std::ops::Deref;
use std::sync::Arc;

#[derive(Debug)]
struct Shared<T> {
    /// The value, and how often it was replaced.
    value: RwLock<(T, usize)>,
    moved: Notify,
}

#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

#[derive(Debug)]
pub struct Receiver<T> {
    of: Arc<Shared<T>>,
    seen: usize,
}

#[derive(Debug)]
pub struct Ref<'a, T>(RwLockReadGuard<'a, (T, usize)>);

impl<T> Deref for Ref<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0.0
    }
}

impl<T> Shared<T> {
    fn read(&self) -> RwLockReadGuard<'_, (T, usize)> {
        self.value.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<T> Sender<T> {
    pub fn new(value: T) -> Self {
        Self(Arc::new(Shared { value: RwLock::new((value, 0)), moved: Notify::new() }))
    }

    pub fn send_replace(&self, value: T) -> T {
        let before = {
            let mut shared = self.0.value.write().unwrap_or_else(|poisoned| poisoned.into_inner());
            shared.1 += 1;
            std::mem::replace(&mut shared.0, value)
        };
        self.0.moved.notify_waiters();
        before
    }

    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.0.read())
    }

    pub fn subscribe(&self) -> Receiver<T> {
        let seen = self.0.read().1;
        Receiver { of: Arc::clone(&self.0), seen }
    }
}

impl<T> Receiver<T> {
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let value = self.of.read();
        self.seen = value.1;
        Ref(value)
    }

    /// Waits until the value was replaced since it was last looked at.
    pub async fn changed(&mut self) {
        loop {
            // Asked for before looking: `notify_waiters` reaches it though it was never polled.
            let moved = self.of.moved.notified();
            let now = self.of.read().1;
            if now != self.seen {
                self.seen = now;
                return;
            }
            moved.await;
        }
    }
}
