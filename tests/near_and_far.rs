//! A listener sees every matching event once and in order, whatever its speed and the publishers': the switch
//! between hand-over and log leaves neither gap nor repeat (DESIGN 6).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use proptest::prelude::*;
use stentor::broker::{Broker, Options};
use stentor::deliver::Step;
use stentor::model::{Filter, Offset};

/// What happens next.
#[derive(Debug, Clone)]
enum Move {
    /// So many events are published, every third on the listener's channel.
    Publish(u16),
    /// The listener takes so many at most.
    Take(u16),
    /// The listener goes back so far.
    GoBack(u16),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (1u16..40).prop_map(Move::Publish),
        1 => (300u16..2500).prop_map(Move::Publish),
        4 => (1u16..40).prop_map(Move::Take),
        1 => (100u16..1500).prop_map(Move::Take),
        1 => (1u16..600).prop_map(Move::GoBack),
    ];
    prop::collection::vec(one, 1..25)
}

fn payload(n: u64) -> String {
    // Large enough that bursts overflow an inbox and outrun what is kept of it.
    format!("[{n},\"{}\"]", "x".repeat(200))
}

async fn run(memory: bool, moves: Vec<Move>) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let options = if memory {
        Options::memory()
    } else {
        Options { event_segment_bytes: 64 << 10, ..Options::new(folder.path()) }
    };
    let broker = Broker::open(options).await.unwrap();
    let mut source = broker.registry().anonymous(Filter::parse(&["mine.*"]).unwrap(), Offset::ZERO);
    let (mut published, mut expected) = (0u64, 0u64);
    let matching = |offset: u64| offset.is_multiple_of(3);
    for next in moves.into_iter().chain([Move::Take(u16::MAX)]) {
        match next {
            Move::Publish(count) => {
                let channel = |n: u64| if matching(n) { "mine.a" } else { "other" };
                let batch = (published..published + u64::from(count)).map(|n| event(channel(n), &payload(n))).collect();
                broker.publish_batch(batch).await.unwrap();
                published += u64::from(count);
            }
            Move::GoBack(by) => {
                expected = expected.saturating_sub(u64::from(by));
                source.go_to(Offset(expected));
            }
            Move::Take(count) => {
                for _ in 0..count {
                    expected = (expected..).find(|n| matching(*n)).unwrap();
                    if expected >= published {
                        break;
                    }
                    match source.next().await.unwrap() {
                        Step::Event(event) => {
                            prop_assert_eq!(event.offset.0, expected);
                            expected += 1;
                        }
                        Step::CaughtUp(end) => {
                            prop_assert!(end.0 <= expected, "caught up at {end} before {expected} was given")
                        }
                        Step::Gap(span) => prop_assert!(false, "a gap {span:?}"),
                    }
                }
            }
        }
    }
    drop(source);
    broker.shutdown().await;
    Ok(())
}

fn event(channel: &str, data: &str) -> stentor::model::NewEvent {
    use stentor::model::{EventId, Headers, NewEvent};
    NewEvent::check(channel, EventId::Made([0; 16]), None, Headers::default(), None, data.to_owned().into()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn neither_gap_nor_repeat_at_any_speed(moves in moves(), memory in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(memory, moves))?;
    }
}

#[tokio::test]
async fn what_was_acknowledged_before_a_listener_came_reaches_it_before_its_caught_up() {
    // The story: a publish was answered, the hub had not handed it over yet, and a listener who came in that
    // moment was told "caught up" at offset 0, and got the event afterwards.
    use stentor::engine::{Engine, Memory};
    let engine: std::sync::Arc<dyn Engine> = std::sync::Arc::new(Memory::new(stentor::clock::Clock::Machine));
    let hub = stentor::notify::Hub::new(Offset::ZERO);
    engine.append(vec![event("mine.a", "0"), event("other", "1")]).await.unwrap();
    let filter = std::sync::Arc::new(Filter::parse(&["mine.*"]).unwrap());
    let mut source = stentor::deliver::Source::new(std::sync::Arc::clone(&engine), hub.clone(), filter, Offset::ZERO);
    let first = source.next().await.unwrap();
    assert!(matches!(&first, Step::Event(event) if event.offset == Offset(0)), "{first:?}");
    let second = source.next().await.unwrap();
    assert!(matches!(second, Step::CaughtUp(Offset(2))), "{second:?}");
    // What the hub is late with is not given again; what is new comes.
    engine.append(vec![event("mine.a", "2")]).await.unwrap();
    hub.hand_over(&engine.recent(Offset(0)).unwrap(), Offset(3));
    let third = source.next().await.unwrap();
    assert!(matches!(&third, Step::Event(event) if event.offset == Offset(2)), "{third:?}");
}

#[tokio::test]
async fn whoever_does_not_keep_up_leaves_the_hub_and_registers_anew_when_it_has_read_the_log() {
    // The story: ten thousand listeners that had stopped reading were offered every event, each in its turn, and the
    // others waited for that.
    use stentor::engine::{Engine, Memory};
    use stentor::model::limits::INBOX_EVENTS;
    let engine: std::sync::Arc<dyn Engine> = std::sync::Arc::new(Memory::new(stentor::clock::Clock::Machine));
    let hub = stentor::notify::Hub::new(Offset::ZERO);
    let filters = ["**", "mine.*"].map(|pattern| std::sync::Arc::new(Filter::parse(&[pattern]).unwrap()));
    let mut sources = filters
        .map(|filter| stentor::deliver::Source::new(std::sync::Arc::clone(&engine), hub.clone(), filter, Offset::ZERO));
    for source in &mut sources {
        assert!(matches!(source.next().await.unwrap(), Step::CaughtUp(Offset(0))));
    }
    assert_eq!(hub.near(), 2);
    let publish = async |channel: &str, count: usize| {
        for _ in 0..count {
            let from = engine.end();
            engine.append(vec![event(channel, "0")]).await.unwrap();
            hub.hand_over(&engine.recent(from).unwrap(), engine.end());
        }
    };
    publish("others.a", INBOX_EVENTS).await;
    assert_eq!(hub.near(), 2, "a full inbox still is in time");
    publish("others.a", 1).await;
    assert_eq!(hub.near(), 1, "whoever an event found no place with is offered no other");
    publish("mine.a", INBOX_EVENTS + 1).await;
    assert_eq!(hub.near(), 0);
    let [all, mine] = &mut sources;
    for (source, from) in [(all, 0), (mine, INBOX_EVENTS as u64 + 1)] {
        for expected in from..engine.end().0 {
            let step = source.next().await.unwrap();
            assert!(matches!(&step, Step::Event(event) if event.offset.0 == expected), "{step:?} for {expected}");
        }
        assert!(source.next_now().is_none());
    }
    assert_eq!(hub.near(), 2, "both keep up again");
    publish("mine.a", 1).await;
    for source in &mut sources {
        let step = source.next_now();
        assert!(matches!(&step, Some(Step::Event(event)) if event.offset.next() == engine.end()), "{step:?}");
    }
    hub.lose(engine.end(), engine.end());
    assert_eq!(hub.near(), 0, "what cannot be handed over, everybody reads from the log");
}
