//! Retention takes whole segments, oldest first, and whoever had not acknowledged something of his own is told.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::time::Duration;
use stentor::broker::{Broker, ErrorKind, Options};
use stentor::deliver::Delivery;
use stentor::engine::RetentionLimits;
use stentor::ledger::Via;
use stentor::model::{Filter, Kind, Name, Offset, Place, SubscriberSettings};

fn options(folder: &std::path::Path, max_bytes: Option<u64>) -> Options {
    Options {
        event_segment_bytes: 4096,
        retention: RetentionLimits { max_bytes, ..RetentionLimits::default() },
        ..Options::new(folder)
    }
}

async fn make(broker: &Broker, name: &str, pattern: &str) {
    let settings = SubscriberSettings::new(Filter::parse(&[pattern]).unwrap());
    let name = Name::parse("name", name).unwrap();
    broker.registry().put_subscriber(&name, settings, Some(Place::Earliest)).await.unwrap();
}

#[tokio::test]
async fn the_oldest_segments_go_and_only_who_lost_something_of_his_own_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::open(options(folder.path(), None)).await.unwrap();
    make(&broker, "loser", "mine").await;
    make(&broker, "stranger", "theirs").await;
    for n in 0..40u64 {
        broker.emit("mine", &format!("{n}{}", "x".repeat(500))).await.unwrap();
    }
    broker.emit("theirs", &"the last").await.unwrap();
    broker.shutdown().await;
    drop(broker);

    let broker = Broker::open(options(folder.path(), Some(9_000))).await.unwrap();
    // One segment a second goes; the start is followed until it stands.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let kept = |broker: &Broker| broker.end().0 - broker.start().0;
    while kept(&broker) > 18 {
        assert!(tokio::time::Instant::now() < deadline, "retention gets on: start {}", broker.start());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let start = broker.start();
    assert!(start > Offset(0));
    assert_eq!(broker.event(Offset(0)).await.unwrap_err().kind(), ErrorKind::Gone, "410");

    let mut loser = broker.registry().attach("loser", Via::InProcess).unwrap();
    match loser.next().await.unwrap() {
        Delivery::Gap(span) => assert_eq!((span.from, span.to), (Offset(0), start), "told what it missed"),
        other => panic!("{other:?}"),
    }
    match loser.next().await.unwrap() {
        Delivery::Event { event, .. } => assert_eq!(event.offset, start, "and goes on behind it"),
        other => panic!("{other:?}"),
    }
    let mut stranger = broker.registry().attach("stranger", Via::InProcess).unwrap();
    match stranger.next().await.unwrap() {
        Delivery::Event { event, .. } => assert_eq!(event.offset, Offset(40), "it lost nothing, and hears of nothing"),
        other => panic!("{other:?}"),
    }
    let view = broker.registry().view(Kind::Subscriber, "loser").await.unwrap();
    assert_eq!(view.lag, Some(40 - view.cursor.0), "lag counts what is kept");
    drop((loser, stranger));
    broker.shutdown().await;
    drop(broker);
    let again = Broker::open(options(folder.path(), None)).await.unwrap();
    assert!(again.start() >= start, "nothing retired comes back (invariant 13)");
    again.shutdown().await;
}
