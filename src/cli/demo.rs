//! `stentor demo`: a broker, a listener that goes away and comes back, an endpoint that fails at first, in one
//! terminal. It ends well only if what was promised held.

use super::endpoint::{DRAIN, LOOPBACK, serve};
use super::exit::{Exit, Outcome};
use super::output::line;
use crate::api::{ApiOptions, Origins, router};
use crate::broker::{Broker, Options};
use crate::client::{Client, Heard, Listen, Listening};
use crate::clock;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const PATIENCE: Duration = Duration::from_secs(20);
const EVENTS: u64 = 5;
/// Between two questions for what nobody announces.
const ASK_AGAIN: Duration = Duration::from_millis(20);

pub(super) async fn run() -> Outcome {
    let stop = CancellationToken::new();
    let _stops_all = stop.clone().drop_guard();
    let broker = Broker::open(Options::memory()).await?;
    let streams = TaskTracker::new();
    let api = ApiOptions { origins: Origins::default(), drain: DRAIN, streams };
    let url = serve(LOOPBACK, router(broker.clone(), api, stop.clone()), &stop).await?;
    let client = Client::new(&url)?;
    line(&format!("a broker at {url}, in memory"))?;

    let (called, calls) = mpsc::channel(16);
    let endpoint = serve(LOOPBACK, endpoint(called), &stop).await?;
    let settings = json!({"url": format!("{endpoint}/hook"), "channels": ["policy.approved"],
        "retry": {"initial": "50ms", "max": "200ms"}});
    client.json(client.request(reqwest::Method::PUT, &["v1", "connectors", "EMS-Scheduler"]).json(&settings)).await?;
    line("an endpoint that fails three times, called by the connector EMS-Scheduler")?;

    let mut worker = client.listen(Listen::to(["**"]).named("worker"));
    expect("the worker is subscribed", subscribed(&mut worker)).await?;
    drop(worker);
    line("a worker that subscribes and goes away")?;

    for n in 0..EVENTS {
        let ack = client.publish("policy.approved", &json!({"policy": n})).await?;
        line(&format!("  published offset {} on {}", ack.offset, ack.channel))?;
    }
    expect("the endpoint has everything, in order", endpoint_has_all(calls)).await?;
    let mut worker = client.listen(Listen::to(["**"]).named("worker"));
    expect("the worker comes back and gets what it missed, in order", worker_has_all(&mut worker)).await?;
    expect("every delivery has its receipt", receipts(&client)).await?;
    drop(worker);
    stop.cancel();
    broker.shutdown().await;
    line("what was promised held")
}

/// Fails three times, then takes everything and says what it took.
fn endpoint(called: mpsc::Sender<u64>) -> Router {
    let failures = Arc::new(AtomicU64::new(3));
    let hook = move |axum::Json(event): axum::Json<Value>| {
        let (failures, called) = (Arc::clone(&failures), called.clone());
        async move {
            let left = failures.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if left.is_ok() {
                return StatusCode::INTERNAL_SERVER_ERROR;
            }
            let offset = event.get("offset").and_then(Value::as_u64);
            match (offset, called.send(offset.unwrap_or_default()).await) {
                (Some(_), Ok(())) => StatusCode::OK,
                _ => StatusCode::BAD_REQUEST,
            }
        }
    };
    Router::new().route("/hook", post(hook))
}

async fn expect(what: &str, check: impl Future<Output = Result<(), String>>) -> Outcome {
    match clock::within(PATIENCE, check).await {
        Some(Ok(())) => line(&format!("  holds: {what}")),
        Some(Err(why)) => Err(Exit::Failed.because(format!("does not hold: {what}: {why}"))),
        None => Err(Exit::Failed.because(format!("does not hold in time: {what}"))),
    }
}

async fn subscribed(worker: &mut Listening) -> Result<(), String> {
    match worker.next().await {
        Ok(Heard::Subscribed { .. }) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

async fn endpoint_has_all(mut calls: mpsc::Receiver<u64>) -> Result<(), String> {
    for expected in 0..EVENTS {
        let offset = calls.recv().await;
        if offset != Some(expected) {
            return Err(format!("{offset:?} where {expected} was due"));
        }
    }
    Ok(())
}

async fn worker_has_all(worker: &mut Listening) -> Result<(), String> {
    let mut expected = 0;
    while expected < EVENTS {
        match worker.next().await.map_err(|error| error.to_string())? {
            Heard::Event(event) if event.offset == expected => {
                worker.ack(event.offset).await.map_err(|error| error.to_string())?;
                expected += 1;
            }
            Heard::Event(event) => return Err(format!("{} where {expected} was due", event.offset)),
            _ => {}
        }
    }
    Ok(())
}

/// A barrier tells when the worker's acks are durable. The endpoint's answers may still be on their way to the broker.
async fn receipts(client: &Client) -> Result<(), String> {
    let last = (EVENTS - 1).to_string();
    let wait = client.request(reqwest::Method::GET, &["v1", "subscribers", "worker", "wait"]);
    client.json(wait.query(&[("offset", &last)])).await.map_err(|error| error.to_string())?;
    loop {
        let answer = client.json(client.request(reqwest::Method::GET, &["v1", "events", &last, "receipts"])).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let rows = answer.get("receipts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let states: Vec<_> = rows.iter().map(|row| row.get("state").and_then(Value::as_str)).collect();
        match states[..] {
            [Some("acked"), Some("acked")] => return Ok(()),
            [_, _] if states.contains(&Some("pending")) => clock::sleep(ASK_AGAIN).await,
            _ => return Err(answer.to_string()),
        }
    }
}
