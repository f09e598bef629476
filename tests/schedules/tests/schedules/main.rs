//! Every promise that two threads or tasks could break between them, under schedules that are drawn: half of them at
//! random, half with few well-placed changes of turn (PCT). A wake-up that is lost is a deadlock, and found.
//!
//! `STENTOR_SCHEDULES` says how many schedules each test tries, `STENTOR_SEED` which; a failure prints the schedule.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod commit;
mod notify;
mod retire;
mod settle;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};
use std::sync::Arc;
use stentor_schedules::clock::{self, Clock, Random};
use stentor_schedules::engine::{Local, LocalOptions};
use stentor_schedules::fs::MemoryFs;
use stentor_schedules::log::Fill;
use stentor_schedules::model::{EventId, Headers, NewEvent};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Runs `f` under as many schedules as were asked for.
fn explore(name: &str, f: impl Fn() + Send + Sync + 'static) {
    let schedules = usize::try_from(number("STENTOR_SCHEDULES").unwrap_or(200)).unwrap();
    let seed = number("STENTOR_SEED").unwrap_or_else(|| {
        let mut bytes = [0; 8];
        clock::fill_secret(&mut bytes);
        u64::from_le_bytes(bytes)
    });
    println!("{name}: {schedules} schedules, STENTOR_SEED={seed}");
    let f = Arc::new(move || {
        clock::reset();
        f();
    });
    run(RandomScheduler::new_from_seed(seed, schedules.div_ceil(2)), Arc::clone(&f));
    run(PctScheduler::new_from_seed(seed, 3, schedules / 2), f);
}

fn run<F: Fn() + Send + Sync + 'static>(scheduler: impl Scheduler + Send + 'static, f: Arc<F>) {
    let mut config = Config::new();
    config.stack_size = 1 << 19;
    config.max_steps = MaxSteps::FailAfter(2_000_000);
    Runner::new(scheduler, config).run(move || f());
}

fn open(fs: &MemoryFs) -> Arc<Local> {
    let options = LocalOptions {
        event_segment_bytes: 4096,
        ledger_segment_bytes: 4096,
        fill: Fill::Never,
        clock: Clock::Machine,
        random: Arc::new(Random::seeded(7)),
        ..LocalOptions::new("data")
    };
    Arc::new(Local::open(Arc::new(fs.clone()), &options).unwrap().engine)
}

fn event(channel: &str, id: Option<&str>, payload: String) -> NewEvent {
    let id = id.map_or(EventId::Made([0; 16]), |id| EventId::parse(id).unwrap());
    NewEvent::check(channel, id, None, Headers::default(), None, payload.into()).unwrap()
}
