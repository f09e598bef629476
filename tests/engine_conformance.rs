//! What every engine must do, run against every engine: the memory engine is the reference.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use stentor::engine::{AppendError, Budget, Engine, Local, LocalOptions, Memory, Placed};
use stentor::fs::MemoryFs;
use stentor::ledger::{Entry, Target};
use stentor::model::{EventId, Filter, Headers, Name, NewEvent, Offset, Span, SubscriberSettings};

/// Runs a promise against each engine.
async fn each<F: AsyncFn(Arc<dyn Engine>)>(promise: F) {
    promise(Arc::new(Memory::new(stentor::clock::Clock::Machine))).await;
    for segment in [4_096, 1 << 20] {
        let options = LocalOptions {
            event_segment_bytes: segment,
            ledger_segment_bytes: 4_096,
            fill_ahead: false,
            ..LocalOptions::new("data")
        };
        let opened = Local::open(Arc::new(MemoryFs::new()), &options).expect("an empty disk opens");
        promise(Arc::new(opened.engine)).await;
    }
}

fn event(channel: &str, id: Option<&str>, data: &str) -> NewEvent {
    let id = id.map_or(EventId::Made([1; 16]), |id| EventId::parse(id).unwrap());
    NewEvent::check(channel, id, None, Headers::default(), None, data.to_owned().into()).unwrap()
}

async fn read(engine: &dyn Engine, filter: &[&str], from: u64, to: u64) -> Vec<(u64, String)> {
    let filter = Arc::new(Filter::parse(filter).unwrap());
    let (mut at, to) = (Offset(from), Offset(to));
    let mut seen = Vec::new();
    while at < to.min(engine.end()) {
        let page = engine.read(Span::new(at, to), &filter, Budget { events: 3, bytes: 1 << 20 }, None).await.unwrap();
        seen.extend(page.events.iter().map(|e| (e.offset.0, String::from_utf8(e.payload.to_vec()).unwrap())));
        assert!(page.next > at, "a read always gets on");
        at = page.next;
    }
    seen
}

#[tokio::test]
async fn offsets_are_dense_and_reads_give_back_every_byte() {
    each(async |engine| {
        for n in 0..40u64 {
            let channel = if n % 4 == 0 { "key.activated" } else { "user.17" };
            let placed =
                engine.append(vec![event(channel, None, &format!("[{n},\"{}\"]", "x".repeat(300)))]).await.unwrap();
            assert_eq!((placed[0].offset, placed[0].duplicate), (Offset(n), false));
        }
        assert_eq!(engine.end(), Offset(40));
        let all = read(&*engine, &["**"], 0, 40).await;
        assert_eq!(all.len(), 40);
        assert!(
            all.iter()
                .enumerate()
                .all(|(n, (offset, data))| *offset == n as u64 && data.starts_with(&format!("[{n},")))
        );
        let keys = read(&*engine, &["key.*"], 5, 30).await;
        assert_eq!(keys.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [8, 12, 16, 20, 24, 28]);
        let filter = Filter::parse(&["key.*"]).unwrap();
        assert_eq!(engine.count(&filter, Span::new(Offset(5), Offset(30))), 6);
        assert_eq!(engine.first_match(&filter, Offset(5)), Some(Offset(8)));
        assert_eq!(engine.first_match(&filter, Offset(37)), None);
        let channels = engine.channels();
        assert_eq!(
            channels.iter().map(|c| (c.channel.as_str(), c.events, c.last_offset.0)).collect::<Vec<_>>(),
            [("key.activated", 10, 36), ("user.17", 30, 39)]
        );
    })
    .await;
}

#[tokio::test]
async fn the_same_id_on_the_same_channel_gives_the_first_place_and_other_content_is_refused() {
    each(async |engine| {
        let first = engine.append(vec![event("a", Some("id-1"), "1")]).await.unwrap()[0];
        let again = engine.append(vec![event("a", Some("id-1"), "1")]).await.unwrap()[0];
        assert_eq!(again, Placed { duplicate: true, ..first });
        assert!(!engine.append(vec![event("b", Some("id-1"), "1")]).await.unwrap()[0].duplicate);
        let end = engine.end();
        let batch = vec![event("a", None, "2"), event("a", Some("id-1"), "3")];
        let refused = engine.append(batch).await.unwrap_err();
        assert_eq!(refused, AppendError::Conflict { index: 1, offset: first.offset });
        assert_eq!(engine.end(), end, "nothing of a refused batch is there");
        let mixed = engine.append(vec![event("a", Some("id-2"), "4"), event("a", Some("id-1"), "1")]).await.unwrap();
        assert_eq!((mixed[0].offset, mixed[0].duplicate, mixed[1].offset), (end, false, first.offset));
    })
    .await;
}

#[tokio::test]
async fn a_repeat_of_a_pending_publish_waits_for_the_first_ones_answer() {
    each(async |engine| {
        let publish = |n: u64| {
            let engine = Arc::clone(&engine);
            async move {
                engine.append(vec![event("a", Some(&format!("id-{}", n % 10)), &format!("{}", n % 10))]).await.unwrap()
                    [0]
            }
        };
        let placed = futures_util::future::join_all((0..200).map(publish)).await;
        assert_eq!(engine.end(), Offset(10));
        for (n, place) in placed.iter().enumerate() {
            assert_eq!(place.offset, placed[n % 10].offset, "invariant 26");
        }
        assert_eq!(placed.iter().filter(|place| !place.duplicate).count(), 10);
    })
    .await;
}

#[tokio::test]
async fn entries_are_in_the_fold_once_their_ticket_is_done_and_numbers_are_never_given_again() {
    each(async |engine| {
        let make = |name: &str| {
            let (name, settings) = (Name::parse("name", name).unwrap(), SubscriberSettings::new(Filter::all()));
            engine.record_new(Box::new(move |id| Entry::Made {
                id,
                name,
                target: Target::Subscriber(settings),
                cursor: Offset::ZERO,
            }))
        };
        let (first, ticket) = make("a").unwrap();
        ticket.durable().await.unwrap();
        assert_eq!(engine.state().named("a").map(|s| s.id), Some(first));
        engine.record(vec![Entry::Deleted { id: first }]).unwrap().durable().await.unwrap();
        let (second, ticket) = make("a").unwrap();
        ticket.durable().await.unwrap();
        assert_ne!(first, second);
        let (history, _) = engine.history(Offset::ZERO).unwrap();
        assert!(history.windows(2).all(|pair| pair[0].offset.next() == pair[1].offset && pair[0].time <= pair[1].time));
    })
    .await;
}
