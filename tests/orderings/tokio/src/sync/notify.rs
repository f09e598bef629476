//! `Notify`, as tokio documents it: `notify_one` wakes who has waited longest, or leaves one permit; `notify_waiters`
//! wakes everyone whose `notified()` was made before, polled or not, and leaves nothing; who is dropped with a wake-up
//! that was meant for one hands it on. No wake-up comes by itself.
//!
//! Orderings as in tokio 1.54: `notified` reads the count of `notify_waiters` with `Acquire` and without the lock, all
//! else goes through the lock.

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

#[derive(Debug, Default)]
pub struct Notify {
    /// How often `notify_waiters` was called.
    calls: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    permit: bool,
    /// In the order in which they came; gone once they have seen what they were told.
    waiters: VecDeque<Waiter>,
    next_id: u64,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    waker: Option<Waker>,
    told: Option<Told>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    One,
    All,
}

impl Inner {
    /// Tells the first who was not told yet, or leaves a permit.
    fn tell_one(&mut self) -> Option<Waker> {
        match self.waiters.iter_mut().find(|waiter| waiter.told.is_none()) {
            Some(waiter) => {
                waiter.told = Some(Told::One);
                waiter.waker.take()
            }
            None => {
                self.permit = true;
                None
            }
        }
    }
}

impl Notify {
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn notify_one(&self) {
        let woken = self.inner().tell_one();
        if let Some(waker) = woken {
            waker.wake();
        }
    }

    pub fn notify_waiters(&self) {
        let woken: Vec<Waker> = {
            let mut inner = self.inner();
            self.calls.fetch_add(1, Ordering::AcqRel);
            let waiting = inner.waiters.iter_mut().filter(|waiter| waiter.told.is_none());
            waiting
                .filter_map(|waiter| {
                    waiter.told = Some(Told::All);
                    waiter.waker.take()
                })
                .collect()
        };
        woken.into_iter().for_each(Waker::wake);
    }

    pub fn notified(&self) -> Notified<'_> {
        Notified { notify: self, calls: self.calls.load(Ordering::Acquire), state: State::Made }
    }
}

#[derive(Debug)]
pub struct Notified<'a> {
    notify: &'a Notify,
    calls: usize,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Made,
    Waiting(u64),
    Done,
}

impl Notified<'_> {
    /// Takes its place in the queue; whether it was woken already.
    pub fn enable(self: Pin<&mut Self>) -> bool {
        self.get_mut().look(None).is_ready()
    }

    fn look(&mut self, waker: Option<&Waker>) -> Poll<()> {
        match self.state {
            State::Made => {
                let mut inner = self.notify.inner();
                if self.notify.calls.load(Ordering::Acquire) == self.calls && !std::mem::take(&mut inner.permit) {
                    let id = inner.next_id;
                    inner.next_id += 1;
                    inner.waiters.push_back(Waiter { id, waker: waker.cloned(), told: None });
                    self.state = State::Waiting(id);
                    return Poll::Pending;
                }
            }
            State::Waiting(id) => {
                let mut inner = self.notify.inner();
                let at = inner.waiters.iter().position(|waiter| waiter.id == id).expect("it leaves by itself only");
                if inner.waiters[at].told.is_none() {
                    if let Some(waker) = waker {
                        inner.waiters[at].waker = Some(waker.clone());
                    }
                    return Poll::Pending;
                }
                inner.waiters.remove(at);
            }
            State::Done => return Poll::Ready(()),
        }
        self.state = State::Done;
        Poll::Ready(())
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.get_mut().look(Some(context.waker()))
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        let State::Waiting(id) = self.state else { return };
        let woken = {
            let mut inner = self.notify.inner();
            let at = inner.waiters.iter().position(|waiter| waiter.id == id);
            let told = at.and_then(|at| inner.waiters.remove(at)).and_then(|waiter| waiter.told);
            if told == Some(Told::One) { inner.tell_one() } else { None }
        };
        if let Some(waker) = woken {
            waker.wake();
        }
    }
}
