//! How fast the engine makes events durable, without HTTP: `cargo bench --bench append [-- SECONDS]`.
//!
//! One publisher waits for its own sync; 64 share one. The difference to the figures over HTTP is what HTTP costs.

use std::sync::Arc;
use std::time::Duration;
use stentor::clock::Instant;
use stentor::engine::{Engine, Local, LocalOptions};
use stentor::fs::RealFs;
use stentor::model::{EventId, Headers, NewEvent};

/// Appends from so many tasks for so long; gives the latencies in order.
async fn run(engine: &Arc<Local>, publishers: usize, seconds: u64) -> Vec<Duration> {
    let until = Instant::now() + Duration::from_secs(seconds);
    let publisher = |engine: Arc<Local>| async move {
        let payload = format!("{{\"pad\":\"{}\"}}", "x".repeat(290));
        let id = EventId::Made([7; 16]);
        let event = NewEvent::check("bench", id, None, Headers::default(), None, payload.into()).expect("a good event");
        let mut took = Vec::new();
        while Instant::now() < until {
            let began = Instant::now();
            engine.append(vec![event.clone()]).await.expect("the disk takes it");
            took.push(began.elapsed());
        }
        took
    };
    let tasks: Vec<_> = (0..publishers).map(|_| tokio::spawn(publisher(Arc::clone(engine)))).collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("a publisher ends well"));
    }
    all.sort_unstable();
    all
}

fn main() {
    let seconds = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(3);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on the disk that is measured");
    let opened = Local::open(Arc::new(RealFs), &LocalOptions::new(folder.path())).expect("an empty folder opens");
    let engine = Arc::new(opened.engine);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    for publishers in [1, 16, 64, 256] {
        let took = runtime.block_on(run(&engine, publishers, seconds));
        let at = |share: usize| took.get(took.len() * share / 1000).copied().unwrap_or_default();
        let rate = took.len() as u64 / seconds;
        println!("{publishers:>4} publishers  {rate:>8} events/s  p50 {:?}  p99 {:?}", at(500), at(990));
    }
    engine.close();
}
