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
