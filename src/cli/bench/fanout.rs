//! `stentor bench fanout`: every listener gets every event.

use super::FanoutLoad;
use super::bound::{Bound, PATIENCE};
use super::measure::{Measured, Stopwatch, Told, left_at};
use super::publish::{own_name, publishers};
use crate::cli::exit::{Exit, Fault, Outcome};
use crate::client::{Client, Heard, Listen, Listening};
use crate::clock;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Connections that are made at once.
const CONNECTING: usize = 128;

pub(super) async fn run(FanoutLoad { listeners, load }: FanoutLoad) -> Outcome {
    let client = load.connection.client()?;
    let channel = own_name("fanout", '.');
    let connecting = stream::iter(0..listeners).map(|_| subscribed(&client, &channel));
    let ready: Vec<Listening> = connecting.buffer_unordered(CONNECTING).try_collect().await?;
    let clockwork = Stopwatch::start();
    // How many each has to get, as soon as that is known.
    let (told, expected) = watch::channel(None);
    let mut listening = JoinSet::new();
    for listener in ready {
        listening.spawn(listen(listener, expected.clone(), clockwork, Measured::new()?));
    }
    let bound = Bound::begin(&load.bounds);
    let (published, fault) = publishers(&client, &channel, &load, &bound, clockwork).await?;
    told.send_replace(Some(published.events));
    let mut all = Measured::new()?;
    let gathered = clock::within(PATIENCE, async {
        while let Some(ended) = listening.join_next().await {
            let measured = ended.map_err(|error| Exit::Failed.because(error.to_string()))??;
            all.add(&measured)?;
        }
        Ok::<_, Fault>(())
    });
    let outcome = gathered.await;
    let setup = vec![
        ("listeners", json!(listeners)),
        ("publishers", json!(load.publishers)),
        ("size", json!(load.size)),
        ("published", json!(published.events)),
    ];
    let latency = "from the publish to each listener's frame";
    all.tell(load.connection.output(), &Told { bench: "fanout", setup, latency, seconds: clockwork.seconds() })?;
    match (outcome, fault) {
        (_, Some(error)) => Err(error.into()),
        (None, None) => Err(Exit::TimedOut.because("not every listener got every event within 30 s")),
        (Some(outcome), None) => outcome,
    }
}

/// Connects, and waits for the broker's word that events will come.
async fn subscribed(client: &Client, channel: &str) -> Result<Listening, Fault> {
    let mut listener = client.listen(Listen::to([channel]));
    loop {
        match listener.next().await? {
            Heard::Subscribed { .. } => return Ok(listener),
            Heard::Reconnecting { reason } => return Err(Exit::Failed.because(reason)),
            _ => {}
        }
    }
}

async fn listen(
    mut listener: Listening,
    mut expected: watch::Receiver<Option<u64>>,
    clockwork: Stopwatch,
    mut measured: Measured,
) -> Result<Measured, Fault> {
    loop {
        let enough = expected.borrow_and_update().is_some_and(|all| measured.events >= all);
        if enough {
            return Ok(measured);
        }
        tokio::select! {
            heard = listener.next() => if let Heard::Event(event) = heard? {
                let left = left_at(event.data()).ok_or_else(|| Exit::Failed.because("an event that is not ours"))?;
                measured.note(event.data().len(), clockwork.micros().saturating_sub(left));
            },
            changed = expected.changed() => if changed.is_err() {
                return Ok(measured);
            },
        }
    }
}
