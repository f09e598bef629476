//! The clock of the schedules: time moves when a test says so, and whoever sleeps is woken then.

#[path = "../../../src/clock/entropy.rs"]
mod entropy;

pub use entropy::{Random, fill_secret};

use crate::model::Timestamp;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

/// The time, and who waits for it. On real locks: to look at the clock is no step of a schedule.
struct Time {
    now: Duration,
    sleeping: Vec<Waker>,
}

thread_local! {
    static TIME: std::cell::RefCell<Time> = const { std::cell::RefCell::new(Time { now: Duration::ZERO, sleeping: Vec::new() }) };
}

/// A schedule begins at nought.
pub fn reset() {
    TIME.with_borrow_mut(|time| *time = Time { now: Duration::ZERO, sleeping: Vec::new() });
}

/// So much time goes by.
pub fn advance(by: Duration) {
    let woken = TIME.with_borrow_mut(|time| {
        time.now += by;
        std::mem::take(&mut time.sleeping)
    });
    woken.into_iter().for_each(Waker::wake);
}

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    pub fn now() -> Self {
        Self(TIME.with_borrow(|time| time.now))
    }

    pub fn elapsed(&self) -> Duration {
        Self::now().duration_since(*self)
    }

    pub fn duration_since(&self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub fn saturating_duration_since(&self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

impl std::ops::AddAssign<Duration> for Instant {
    fn add_assign(&mut self, by: Duration) {
        *self = *self + by;
    }
}

/// The wall clock.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    #[default]
    Machine,
    Manual(Arc<AtomicU64>),
}

impl Clock {
    pub fn now(&self) -> Timestamp {
        match self {
            Clock::Machine => Timestamp(u64::try_from(Instant::now().0.as_micros()).unwrap_or(u64::MAX)),
            Clock::Manual(micros) => Timestamp(micros.load(Ordering::Relaxed)),
        }
    }
}

pub async fn sleep_until(at: Instant) {
    std::future::poll_fn(|context| {
        if Instant::now() >= at {
            return Poll::Ready(());
        }
        TIME.with_borrow_mut(|time| time.sleeping.push(context.waker().clone()));
        Poll::Pending
    })
    .await;
}

pub async fn sleep(duration: Duration) {
    sleep_until(Instant::now() + duration).await;
}

pub async fn within<F: Future>(duration: Duration, future: F) -> Option<F::Output> {
    let (mut future, mut over) = (pin!(future), pin!(sleep(duration)));
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        over.as_mut().poll(context).map(|()| None)
    })
    .await
}
