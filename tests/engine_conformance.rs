//! What every engine must do, run against every engine: the memory engine is the reference.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use stentor::engine::{AppendError, Budget, Engine, Local, LocalOptions, Memory, Placed};
use stentor::fs::MemoryFs;
use stentor::ledger::{Entry, Target};
use stentor::log::Fill;
use stentor::model::{EventId, Filter, Headers, Name, NewEvent, Offset, Span, SubscriberSettings};

/// Runs a promise against each engine.
async fn each<F: AsyncFn(Arc<dyn Engine>)>(promise: F) {
    promise(Arc::new(Memory::new(stentor::clock::Clock::Machine))).await;
    for segment in [4_096, 1 << 20] {
        let options = LocalOptions {
            event_segment_bytes: segment,
            ledger_segment_bytes: 4_096,
            fill: Fill::Never,
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

/// Every way of reading lines against every way of reading events.
async fn lines_are_events(engine: &dyn Engine) {
    for (patterns, from, to) in [(["**"], 0, 40), (["key.*"], 3, 39), (["user.*"], 7, 8), (["none"], 0, 40)] {
        let filter = Arc::new(Filter::parse(&patterns).unwrap());
        let span = Span::new(Offset(from), Offset(to));
        let budget = Budget { events: 100, bytes: 1 << 20 };
        let (mut at, mut expected) = (span.from, Vec::new());
        while at < span.to {
            let page = engine.read(Span::new(at, span.to), &filter, budget, None).await.unwrap();
            for event in page.events {
                event.write_json(&mut expected);
                expected.push(b'\n');
            }
            at = page.next;
        }
        let (mut at, mut hint, mut text, mut events) = (span.from, None, Vec::new(), 0);
        while at < span.to {
            let lines = engine.read_lines(Span::new(at, span.to), &filter, hint).await.unwrap();
            assert!(lines.next > at, "a read always gets on");
            (at, hint, events) = (lines.next, lines.hint, events + lines.events);
            text.extend(lines.text);
        }
        assert_eq!(String::from_utf8(text).unwrap(), String::from_utf8(expected.clone()).unwrap());
        assert_eq!(events as usize, expected.iter().filter(|byte| **byte == b'\n').count());
        assert_eq!(at, span.to);
    }
}

async fn forty(engine: &dyn Engine) {
    for n in 0..40u64 {
        let channel = if n % 4 == 0 { "key.activated" } else { "user.17" };
        let id = (n % 3 == 0).then(|| format!("id-{n}"));
        let data = format!("[{n},\"{}\"]", "x".repeat(300));
        engine.append(vec![event(channel, id.as_deref(), &data)]).await.unwrap();
    }
}

#[tokio::test]
async fn lines_are_the_events_as_json() {
    each(async |engine| {
        forty(&*engine).await;
        lines_are_events(&*engine).await;
    })
    .await;
}

#[tokio::test]
async fn lines_that_are_written_from_the_disk_are_those_of_its_events() {
    for segment in [4_096, 1 << 20] {
        let disk = Arc::new(MemoryFs::new());
        let options = LocalOptions { event_segment_bytes: segment, fill: Fill::Never, ..LocalOptions::new("data") };
        let before = Local::open(disk.clone(), &options).unwrap().engine;
        forty(&before).await;
        before.close();
        // What is in memory is what was appended in this life.
        let after = Local::open(disk, &options).unwrap().engine;
        assert!(after.recent(Offset(0)).is_none(), "it has to be read from the disk");
        lines_are_events(&after).await;
    }
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
