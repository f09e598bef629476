//! Retirement while others read and publish.

use super::{event, explore, open};
use shuttle::future::block_on;
use shuttle::thread;
use std::sync::Arc;
use stentor_schedules::deliver::{Source, Step};
use stentor_schedules::engine::{Budget, Engine, RetentionLimits};
use stentor_schedules::fs::MemoryFs;
use stentor_schedules::model::{Filter, Offset, Span, Timestamp};
use stentor_schedules::notify::Hub;

const EVENTS: u64 = 13;

#[test]
fn a_reader_is_given_every_event_or_told_of_the_gap() {
    // Three segments; after a start nothing of them is in memory.
    let stored = std::sync::OnceLock::new();
    explore("retirement", move || {
        let stored: &MemoryFs = stored.get_or_init(|| {
            let fs = MemoryFs::new();
            let engine = open(&fs);
            for n in 0..EVENTS {
                let payload = format!("[{n},\"{}\"]", "x".repeat(500));
                block_on(engine.append(vec![event("a", None, payload)])).unwrap();
            }
            engine.close();
            fs
        });
        let engine = open(&stored.fork());
        let retirer = {
            let engine = Arc::clone(&engine);
            thread::spawn(move || {
                let limits = RetentionLimits { max_bytes: Some(0), ..RetentionLimits::default() };
                for _ in 0..2 {
                    let start = engine.maintain(limits, Timestamp(0)).unwrap().expect("a segment goes");
                    assert_eq!(engine.start(), start);
                    // Invariant 13: recorded before it goes.
                    assert_eq!(engine.state().start, start);
                }
            })
        };
        let reader = {
            let engine = Arc::clone(&engine);
            thread::spawn(move || {
                let filter = Arc::new(Filter::all());
                let (mut at, mut hint) = (Offset::ZERO, None);
                while at < Offset(EVENTS) {
                    let budget = Budget { events: 3, bytes: 1 << 20 };
                    let page = block_on(engine.read(Span::new(at, engine.end()), &filter, budget, hint)).unwrap();
                    if let Some(gap) = page.gap {
                        assert_eq!((gap.from, gap.to), (at, page.next), "invariant 13");
                        assert!(gap.to <= engine.start(), "invariant 13: a gap over what is kept");
                    } else {
                        assert!(!page.events.is_empty(), "invariant 13: nothing at {at}, and no gap");
                    }
                    for event in &page.events {
                        assert_eq!(event.offset, at, "invariant 13: passed over without a word");
                        at = at.next();
                    }
                    (at, hint) = (page.next, page.hint);
                }
            })
        };
        let listener = {
            let engine: Arc<dyn Engine> = Arc::<stentor_schedules::engine::Local>::clone(&engine);
            thread::spawn(move || {
                let hub = Hub::new(engine.end());
                let mut source = Source::new(engine, hub, Arc::new(Filter::all()), Offset::ZERO);
                let mut at = Offset::ZERO;
                while at < Offset(EVENTS) {
                    match block_on(source.next()).unwrap() {
                        Step::Event(event) => {
                            assert_eq!(event.offset, at, "invariant 13: passed over without a word");
                            at = at.next();
                        }
                        Step::Gap(span) => {
                            assert!(span.from <= at && span.to > at, "invariant 13");
                            at = span.to;
                        }
                        Step::CaughtUp(end) => assert_eq!(end, at),
                    }
                }
            })
        };
        [retirer, reader, listener].into_iter().for_each(|thread| thread.join().unwrap());
        engine.close();
    });
}
