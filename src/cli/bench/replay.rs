//! `stentor bench replay`: reading what is there, as fast as it comes.

use super::ReplayLoad;
use super::bound::Bound;
use super::measure::{Measured, Stopwatch, Told};
use crate::cli::exit::{Exit, Fault, Outcome};
use crate::client::{Client, Heard, Listen};
use serde_json::json;
use std::sync::Arc;
use tokio::task::JoinSet;

pub(super) async fn run(load: ReplayLoad) -> Outcome {
    let client = load.connection.client()?;
    let patterns = if load.patterns.is_empty() { vec!["**".to_owned()] } else { load.patterns.clone() };
    let bar = crate::cli::output::progress(load.bounds.count, "replayed");
    let bound = Bound::begin(&load.bounds);
    let watch = Stopwatch::start();
    let mut reading = JoinSet::new();
    for _ in 0..load.listeners {
        let listen = Listen::to(patterns.clone()).from(&load.from);
        reading.spawn(read(client.clone(), listen, Arc::clone(&bound), bar.clone(), Measured::new()?));
    }
    let mut all = Measured::new()?;
    while let Some(ended) = reading.join_next().await {
        let measured = ended.map_err(|error| Exit::Failed.because(error.to_string()))??;
        all.add(&measured)?;
    }
    bar.finish_and_clear();
    let setup = vec![("listeners", json!(load.listeners)), ("channels", json!(patterns))];
    let latency = "from the connection to the live end, by listener";
    all.tell(load.connection.output(), &Told { bench: "replay", setup, latency, seconds: watch.seconds() })
}

/// Reads until the live end; time is taken of whoever gets there.
async fn read(
    client: Client,
    listen: Listen,
    bound: Arc<Bound>,
    bar: indicatif::ProgressBar,
    mut measured: Measured,
) -> Result<Measured, Fault> {
    let watch = Stopwatch::start();
    let mut listener = client.listen(listen);
    while let Some(heard) = bound.over().run_until_cancelled(listener.next()).await {
        match heard? {
            Heard::Event(event) => {
                if bound.next().is_none() {
                    break;
                }
                measured.events += 1;
                measured.bytes += event.data().len() as u64;
                bar.inc(1);
            }
            Heard::CaughtUp { .. } => {
                measured.took(watch.micros());
                break;
            }
            Heard::Reconnecting { reason } => return Err(Exit::Failed.because(reason)),
            Heard::Subscribed { .. } | Heard::Gap { .. } => {}
        }
    }
    Ok(measured)
}
