//! The broker as a library: what is emitted is heard, durably by name, and comes again when a handler fails.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use stentor::broker::{Broker, Options};
use stentor::ledger::Outcome;
use stentor::model::Kind;
use tokio::sync::mpsc;

/// Offset and channel of an event.
type Word = (u64, String);

fn hears() -> (mpsc::Sender<Word>, mpsc::Receiver<Word>) {
    mpsc::channel(64)
}

/// Listens durably and tells what it heard.
async fn listen(broker: &Broker, name: &str, heard: mpsc::Sender<Word>) -> stentor::broker::Listener {
    let handler = move |event: Arc<stentor::model::Event>| {
        let heard = heard.clone();
        async move { Ok(heard.send((event.offset.0, event.head.channel.to_string())).await?) }
    };
    broker.on("key.*", name, handler).await.unwrap()
}

#[tokio::test]
async fn an_agent_that_was_away_hears_what_it_missed_and_its_receipt_survives_the_loss_of_the_views() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::open(Options::new(folder.path())).await.unwrap();
    let (heard, mut hears) = hears();
    let agent = listen(&broker, "agent", heard.clone()).await;
    broker.emit("key.activated", &json!({"provider": "openai_primary"})).await.unwrap();
    assert_eq!(hears.recv().await, Some((0, "key.activated".to_owned())));
    agent.stop().await;
    broker.emit("other.thing", &1).await.unwrap();
    broker.emit("key.revoked", &json!(null)).await.unwrap();
    broker.shutdown().await;
    drop(broker);

    std::fs::remove_dir_all(folder.path().join("views")).unwrap();
    let broker = Broker::open(Options::new(folder.path())).await.unwrap();
    let receipts = broker.event_receipts(stentor::model::Offset(0)).await.unwrap();
    assert_eq!(receipts.len(), 1);
    assert_eq!((receipts[0].subscriber.as_str(), receipts[0].outcome), ("agent", Some(Outcome::Acked)));
    let agent = listen(&broker, "agent", heard).await;
    assert_eq!(hears.recv().await, Some((2, "key.revoked".to_owned())));
    let (reached, cursor) =
        broker.wait_for("agent", stentor::model::Offset(2), std::time::Duration::from_secs(10)).await.unwrap();
    assert!(reached && cursor.0 == 3);
    let view = broker.registry().view(Kind::Subscriber, "agent").await.unwrap();
    assert_eq!(view.lag, Some(0));
    agent.stop().await;
    broker.shutdown().await;
}

#[tokio::test]
async fn an_event_comes_again_until_its_handler_returns_ok_and_nothing_overtakes_it() {
    let broker = Broker::open(Options::memory()).await.unwrap();
    let (heard, mut hears) = hears();
    let failures = Arc::new(AtomicU32::new(0));
    let tries = Arc::clone(&failures);
    let handler = move |event: Arc<stentor::model::Event>| {
        let (heard, tries) = (heard.clone(), Arc::clone(&tries));
        async move {
            if event.offset.0 == 1 && tries.fetch_add(1, Ordering::Relaxed) < 2 {
                return Err("not yet".into());
            }
            Ok(heard.send((event.offset.0, event.data::<String>()?)).await?)
        }
    };
    let agent = broker.on("key.**", "agent", handler).await.unwrap();
    for n in 0..4 {
        broker.emit("key.activated", &format!("event {n}")).await.unwrap();
    }
    for n in 0..4 {
        assert_eq!(hears.recv().await, Some((n, format!("event {n}"))));
    }
    assert_eq!(failures.load(Ordering::Relaxed), 3);
    agent.stop().await;
    broker.shutdown().await;
}

#[tokio::test]
async fn two_processes_never_have_one_directory() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::open(Options::new(folder.path())).await.unwrap();
    let second = Broker::open(Options::new(folder.path())).await.err().unwrap();
    assert!(second.to_string().contains("in use by another stentor"), "invariant 15: {second}");
    broker.shutdown().await;
}
