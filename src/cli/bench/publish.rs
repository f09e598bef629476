//! `stentor bench publish`, and the publishers of the other loads.

use super::bound::Bound;
use super::measure::{Measured, Stopwatch, Told, payload};
use super::{PublishLoad, Published};
use crate::cli::exit::{Exit, Fault, Outcome};
use crate::cli::output;
use crate::client::{Client, ClientError, PublishOptions};
use crate::clock::Random;
use serde_json::json;
use std::sync::Arc;
use tokio::task::JoinSet;

/// A channel that no other load has.
pub(super) fn own_name(what: &str, joint: char) -> String {
    format!("bench{joint}{what}{joint}{:012x}", Random::from_machine().next() & 0xffff_ffff_ffff)
}

pub(super) async fn run(PublishLoad { load }: PublishLoad) -> Outcome {
    let client = load.connection.client()?;
    let channel = own_name("publish", '.');
    let watch = Stopwatch::start();
    let bound = Bound::begin(&load.bounds);
    let (measured, fault) = publishers(&client, &channel, &load, &bound, watch).await?;
    let setup = vec![("publishers", json!(load.publishers)), ("size", json!(load.size))];
    let latency = "from the request to its answer";
    measured.tell(load.connection.output(), &Told { bench: "publish", setup, latency, seconds: watch.seconds() })?;
    fault.map_or(Ok(()), |error| Err(error.into()))
}

/// Publishes until the load is over; what was measured, and what ended it early.
pub(super) async fn publishers(
    client: &Client,
    channel: &str,
    load: &Published,
    bound: &Arc<Bound>,
    watch: Stopwatch,
) -> Result<(Measured, Option<ClientError>), Fault> {
    let bar = output::progress(load.bounds.count, "published");
    let mut running = JoinSet::new();
    for _ in 0..load.publishers {
        let (client, channel, bound, size, bar) =
            (client.clone(), channel.to_owned(), Arc::clone(bound), load.size, bar.clone());
        let mut measured = Measured::new()?;
        running.spawn(async move {
            while let Some(number) = bound.next() {
                let began = watch.micros();
                let body = payload(number, began, size);
                let bytes = body.len();
                if let Err(error) = client.publish_bytes(&channel, body, PublishOptions::default()).await {
                    // The others would fail as well, as fast as they can.
                    bound.over().cancel();
                    return (measured, Some(error));
                }
                measured.note(bytes, watch.micros() - began);
                bar.inc(1);
            }
            (measured, None)
        });
    }
    let (mut all, mut fault) = (Measured::new()?, None);
    while let Some(ended) = running.join_next().await {
        let (measured, error) = ended.map_err(|error| Exit::Failed.because(error.to_string()))?;
        all.add(&measured)?;
        fault = fault.or(error);
    }
    bar.finish_and_clear();
    Ok((all, fault))
}
