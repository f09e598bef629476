//! Handing durable events over to the sessions near the tail.
//!
//! A session whose inbox is full is near no more: it leaves the hub at once, so that an event costs nothing for those who
//! do not keep up, however many there are. It registers anew when it has read the log that far.

use super::trie::Trie;
use crate::model::{Event, Filter, Offset, limits};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// Everyone who is near the tail.
#[derive(Default)]
pub struct Hub {
    near: Mutex<Near>,
    /// Everything below was handed to whoever matched.
    handed: AtomicU64,
    /// Whoever waits for that to move.
    moved: Notify,
}

#[derive(Default)]
struct Near {
    trie: Trie,
    inboxes: HashMap<u64, Arc<Inbox>>,
    next_key: u64,
}

/// What was handed to one session and not yet taken; bounded.
struct Inbox {
    filter: Arc<Filter>,
    queue: Mutex<Queue>,
    filled: Arc<Notify>,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// The first event that did not fit: the session is out of the hub since.
    lost_from: Option<Offset>,
}

/// What a session finds in its inbox.
#[derive(Debug)]
pub enum Handed {
    /// The next event that matches.
    Event(Arc<Event>),
    /// Nothing that matches lies below this offset.
    Nothing(Offset),
    /// The inbox was too small: from this offset on the log must be read.
    FellBehind(Offset),
}

impl Hub {
    /// A hub for a log whose end is `end`.
    #[must_use]
    pub fn new(end: Offset) -> Arc<Self> {
        let hub = Self::default();
        hub.handed.store(end.0, Ordering::Release);
        Arc::new(hub)
    }

    /// Adds a session. It gets every matching event from [`Registration::from`] on; what is below it reads
    /// from the log. `filled` is notified when there is something to take.
    pub fn register(self: &Arc<Self>, filter: Arc<Filter>, filled: Arc<Notify>) -> Registration {
        let mut near = self.near.lock();
        let key = near.next_key;
        near.next_key += 1;
        for pattern in filter.patterns() {
            near.trie.insert(pattern, key);
        }
        let inbox = Arc::new(Inbox { filter, queue: Mutex::default(), filled });
        near.inboxes.insert(key, Arc::clone(&inbox));
        // Read under the lock under which it moves: no event falls between.
        let from = Offset(self.handed.load(Ordering::Acquire));
        Registration { hub: Arc::clone(self), key, inbox, from }
    }

    /// Hands durable events over, in order; `end` is the offset behind the last one.
    pub fn hand_over(&self, events: &[Arc<Event>], end: Offset) {
        let mut near = self.near.lock();
        let mut woken: Vec<Arc<Inbox>> = Vec::new();
        let mut matching = Vec::new();
        for event in events {
            matching.clear();
            near.trie.find(event.head.channel.as_str(), &mut matching);
            matching.sort_unstable();
            matching.dedup();
            for key in &matching {
                let Some(inbox) = near.inboxes.get(key) else { continue };
                match inbox.put(event) {
                    Put::First => woken.push(Arc::clone(inbox)),
                    Put::Behind => {}
                    Put::Full => near.remove(*key),
                }
            }
        }
        // State first, then the wake-up (invariant 30): a session that sees this has all below in its inbox.
        self.handed.store(end.0, Ordering::Release);
        drop(near);
        self.moved.notify_waiters();
        for inbox in woken {
            inbox.filled.notify_one();
        }
    }

    /// Says that `from` to `to` cannot be handed over: whoever is near reads the log from there.
    pub fn lose(&self, from: Offset, to: Offset) {
        let mut near = self.near.lock();
        let lost = std::mem::take(&mut near.inboxes);
        near.trie = Trie::default();
        for inbox in lost.values() {
            inbox.queue.lock().lost_from = Some(from);
        }
        self.handed.store(to.0, Ordering::Release);
        drop(near);
        self.moved.notify_waiters();
        for inbox in lost.into_values() {
            inbox.filled.notify_one();
        }
    }

    /// Waits until everything below was handed over.
    pub async fn reached(&self, offset: Offset) {
        loop {
            let mut moved = pin!(self.moved.notified());
            // Waited for before looking, so that no move falls between.
            moved.as_mut().enable();
            if self.handed() >= offset {
                return;
            }
            moved.await;
        }
    }

    /// Everything below was handed over.
    #[must_use]
    pub fn handed(&self) -> Offset {
        Offset(self.handed.load(Ordering::Acquire))
    }

    /// Sessions near the tail.
    #[must_use]
    pub fn near(&self) -> usize {
        self.near.lock().inboxes.len()
    }
}

impl Near {
    /// Takes a session out. It may be out already, because it fell behind.
    fn remove(&mut self, key: u64) {
        let Some(inbox) = self.inboxes.remove(&key) else { return };
        for pattern in inbox.filter.patterns() {
            self.trie.remove(pattern, key);
        }
    }
}

/// What became of an event that was put into an inbox.
enum Put {
    /// The first that waits there: the session has to be woken.
    First,
    /// Others wait before it, for the first of which the session was woken.
    Behind,
    /// Neither it nor what follows found a place, behind others again: this session fell behind.
    Full,
}

impl Inbox {
    fn put(&self, event: &Arc<Event>) -> Put {
        let mut queue = self.queue.lock();
        if queue.events.len() >= limits::INBOX_EVENTS || queue.bytes >= limits::INBOX_BYTES {
            queue.lost_from = Some(event.offset);
            return Put::Full;
        }
        queue.bytes += event.weight();
        queue.events.push_back(Arc::clone(event));
        if queue.events.len() == 1 { Put::First } else { Put::Behind }
    }
}

/// A session's place in the hub; dropping it takes the session out.
pub struct Registration {
    hub: Arc<Hub>,
    key: u64,
    inbox: Arc<Inbox>,
    from: Offset,
}

impl Registration {
    /// The first offset that is handed over.
    #[must_use]
    pub fn from(&self) -> Offset {
        self.from
    }

    /// Everything below that matches was taken already; none where something waits.
    #[must_use]
    pub fn taken(&self) -> Option<Offset> {
        let handed = self.hub.handed();
        let queue = self.inbox.queue.lock();
        (queue.events.is_empty() && queue.lost_from.is_none()).then_some(handed)
    }

    /// Takes the next thing.
    #[must_use]
    pub fn take(&self) -> Handed {
        // Read before the inbox is looked at: what is below was put there earlier.
        let handed = self.hub.handed();
        let mut queue = self.inbox.queue.lock();
        if let Some(event) = queue.events.pop_front() {
            queue.bytes -= event.weight();
            return Handed::Event(event);
        }
        match queue.lost_from {
            Some(from) => Handed::FellBehind(from),
            None => Handed::Nothing(handed),
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.hub.near.lock().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventId, Headers, NewEvent, Timestamp};

    fn event(offset: u64) -> Arc<Event> {
        let new = NewEvent::check("a.b", EventId::Made([0; 16]), None, Headers::default(), None, "0".to_owned().into());
        let new = new.expect("an event");
        Arc::new(Event::new(Offset(offset), Timestamp(0), new.head, new.payload))
    }

    #[test]
    fn whoever_is_not_near_any_more_is_not_looked_for_in_the_trie_either() {
        let hub = Hub::new(Offset::ZERO);
        let filters =
            [vec!["a.b"], vec!["a.*", "a.b", "**"]].map(|patterns| Filter::parse(&patterns).expect("patterns"));
        let mut places = filters.map(|filter| hub.register(Arc::new(filter), Arc::default()));
        let found = || {
            let mut found = Vec::new();
            hub.near.lock().trie.find("a.b", &mut found);
            found.len()
        };
        assert_eq!(found(), 4);
        for offset in 0..=limits::INBOX_EVENTS as u64 {
            hub.hand_over(&[event(offset)], Offset(offset + 1));
        }
        assert_eq!((found(), hub.near()), (0, 0));
        for place in &mut places {
            let anew = hub.register(Arc::clone(&place.inbox.filter), Arc::default());
            drop(std::mem::replace(place, anew));
        }
        assert_eq!((found(), hub.near()), (4, 2), "who came back stays when what was before is dropped");
        hub.lose(hub.handed(), hub.handed());
        assert_eq!((found(), hub.near()), (0, 0));
    }
}
