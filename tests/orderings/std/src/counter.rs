use loom::sync::atomic as checked;
use std::sync::atomic::{self as plain, Ordering};

/// Loom's, where it is made by `default` or `from`. Made by `new` it may stand in a static, which outlives loom's
/// executions: then it is `std`'s, and only counts. That holds: any ordering but `Relaxed` is refused.
#[derive(Debug)]
pub struct AtomicU64(Kind);

#[derive(Debug)]
enum Kind {
    Counts(plain::AtomicU64),
    Orders(checked::AtomicU64),
}

fn counts(order: Ordering) {
    assert_eq!(order, Ordering::Relaxed, "an atomic that orders is to be made by `default`, so that loom sees it");
}

impl AtomicU64 {
    pub const fn new(value: u64) -> Self {
        Self(Kind::Counts(plain::AtomicU64::new(value)))
    }

    pub fn load(&self, order: Ordering) -> u64 {
        match &self.0 {
            Kind::Counts(value) => {
                counts(order);
                value.load(order)
            }
            Kind::Orders(value) => value.load(order),
        }
    }

    pub fn store(&self, to: u64, order: Ordering) {
        match &self.0 {
            Kind::Counts(value) => {
                counts(order);
                value.store(to, order);
            }
            Kind::Orders(value) => value.store(to, order),
        }
    }

    pub fn fetch_add(&self, more: u64, order: Ordering) -> u64 {
        match &self.0 {
            Kind::Counts(value) => {
                counts(order);
                value.fetch_add(more, order)
            }
            Kind::Orders(value) => value.fetch_add(more, order),
        }
    }
}

impl Default for AtomicU64 {
    fn default() -> Self {
        Self::from(0)
    }
}

impl From<u64> for AtomicU64 {
    fn from(value: u64) -> Self {
        Self(Kind::Orders(checked::AtomicU64::new(value)))
    }
}
