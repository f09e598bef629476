//! A committing thread that ends by a fault of the house's own: whoever waits for it is told, and nobody waits for ever
//! (R7, invariant 10).
//!
//! The story: it refused what was appended later, and left whoever waited for all that had been appended, retention and
//! a change of settings among them, waiting without end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails; one thread is to panic")]

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use stentor::clock::Clock;
use stentor::fs::MemoryFs;
use stentor::log::{Committed, Failure, Hook, Log, LogKind, LogOptions, RecordKind, Ticket, recover};
use stentor::model::Offset;

/// The owner of a log, who waits for a word when the first group is durable, and panics on it.
struct Faulty {
    go_on: parking_lot::Mutex<mpsc::Receiver<()>>,
}

impl Hook for Faulty {
    type Item = ();
    type Stage = ();

    fn snapshot(&self, _first: Offset) -> Option<Vec<u8>> {
        None
    }

    fn committed(&self, _group: Vec<Committed<()>>) {
        self.go_on.lock().recv().unwrap();
        panic!("a fault in what is done with a group");
    }

    fn failed(&self, _stage: &mut (), _from: Offset) {}

    fn synced(&self, _commit: Duration, _sync: Duration) {}
}

fn append(log: &Log<Faulty>) -> Result<Ticket, Failure> {
    log.append(|filling, now| {
        let offset = filling.push(RecordKind::Event, b"what happened", 0, now, ());
        filling.ticket(offset)
    })
}

#[tokio::test]
async fn whoever_waits_for_a_thread_that_panicked_is_told() {
    let options = LogOptions::new(Path::new("data"), LogKind::Events, [7; 16]);
    let recovered = recover(Arc::new(MemoryFs::new()), options).unwrap();
    let (go, go_on) = mpsc::sync_channel(1);
    let owner = Arc::new(Faulty { go_on: parking_lot::Mutex::new(go_on) });
    let log = Log::start(recovered, owner, (), Clock::Machine, Box::new(|| 7)).unwrap();
    let first = append(&log).unwrap();
    let end = log.committed();
    // Appended while the first is in the thread's hands, and so in the group behind it.
    let second = append(&log).unwrap();
    let barrier = log.barrier().unwrap();
    go.send(()).unwrap();
    for (who, ticket) in [("the one it was about", first), ("one behind it", second), ("a barrier", barrier)] {
        let told = tokio::time::timeout(Duration::from_secs(60), ticket.durable()).await;
        let told = told.unwrap_or_else(|_| panic!("{who} still waits")).unwrap_err();
        assert!(matches!(&told, Failure::Poisoned(why) if why.contains("committing thread")), "{who}: {told}");
    }
    assert!(append(&log).is_err(), "nothing more is taken");
    assert!(log.barrier().is_none_or(|ticket| ticket.outcome().is_some()), "and nothing is left to wait for");
    assert_eq!(*end.borrow(), Offset::ZERO, "nobody was let at what its owner does not know of");
    log.close();
}
