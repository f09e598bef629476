use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, Ordering};
use std::sync::OnceLock as Value;

/// `std`'s, with its orderings: what `set` did before is seen by whoever gets the value.
#[derive(Debug)]
pub struct OnceLock<T> {
    set: AtomicBool,
    /// Who sets, one after another.
    setting: Mutex<()>,
    value: Value<T>,
}

impl<T> OnceLock<T> {
    pub fn new() -> Self {
        Self { set: AtomicBool::new(false), setting: Mutex::new(()), value: Value::new() }
    }

    pub fn get(&self) -> Option<&T> {
        // Loom decides whether the value is seen yet; that it is there is `std`'s business.
        if self.set.load(Ordering::Acquire) { self.value.get() } else { None }
    }

    pub fn set(&self, value: T) -> Result<(), T> {
        let _setting = self.setting.lock();
        self.value.set(value)?;
        self.set.store(true, Ordering::Release);
        Ok(())
    }

    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.get() {
            return value;
        }
        let _setting = self.setting.lock();
        let value = self.value.get_or_init(make);
        self.set.store(true, Ordering::Release);
        value
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}
