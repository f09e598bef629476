//! `stentor bench connector`: an endpoint in this process, called by a connector that lives as long as the load.

use super::ConnectorLoad;
use super::bound::{Bound, PATIENCE};
use super::measure::{Measured, Stopwatch, Told, left_at};
use super::publish::{own_name, publishers};
use crate::cli::endpoint::serve;
use crate::cli::exit::{Exit, Outcome};
use crate::client::Client;
use crate::clock;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What the endpoint has seen.
struct Calls {
    measured: Mutex<Measured>,
    seen: watch::Sender<u64>,
    clockwork: Stopwatch,
}

pub(super) async fn run(load: ConnectorLoad) -> Outcome {
    let client = load.load.connection.client()?;
    let (channel, name) = (own_name("connector", '.'), own_name("connector", '-'));
    let clockwork = Stopwatch::start();
    let calls = Arc::new(Calls { measured: Mutex::new(Measured::new()?), seen: watch::Sender::new(0), clockwork });
    let stop = CancellationToken::new();
    let _stops = stop.clone().drop_guard();
    let url = serve(load.endpoint, endpoint(&calls), &stop).await?;
    let settings = json!({"url": format!("{url}/bench"), "channels": [channel], "format": "data",
        "in_flight": load.in_flight});
    client.json(client.request(Method::PUT, &["v1", "connectors", &name]).json(&settings)).await?;
    let measured = measure(&client, &channel, &load, &calls).await;
    // Whatever came of it, the connector goes: its endpoint ends with this process.
    let removed = client.json(client.request(Method::DELETE, &["v1", "connectors", &name])).await;
    measured?;
    removed?;
    Ok(())
}

async fn measure(client: &Client, channel: &str, load: &ConnectorLoad, calls: &Calls) -> Outcome {
    let bound = Bound::begin(&load.load.bounds);
    let (published, fault) = publishers(client, channel, &load.load, &bound, calls.clockwork).await?;
    let mut seen = calls.seen.subscribe();
    let all_called = seen.wait_for(|seen| *seen >= published.events);
    let arrived = clock::within(PATIENCE, all_called).await.is_some();
    let setup = vec![
        ("in_flight", json!(load.in_flight)),
        ("publishers", json!(load.load.publishers)),
        ("size", json!(load.load.size)),
        ("published", json!(published.events)),
    ];
    let latency = "from the publish to the endpoint's call";
    let told = Told { bench: "connector", setup, latency, seconds: calls.clockwork.seconds() };
    calls.measured.lock().tell(load.load.connection.output(), &told)?;
    match fault {
        Some(error) => Err(error.into()),
        None if arrived => Ok(()),
        None => Err(Exit::TimedOut.because("the endpoint was not called for every event within 30 s")),
    }
}

/// Takes everything, and notes when it came. Calls that come again are counted again.
fn endpoint(calls: &Arc<Calls>) -> Router {
    let calls = Arc::clone(calls);
    let hook = move |body: String| {
        let calls = Arc::clone(&calls);
        async move {
            let Some(left) = left_at(&body) else { return StatusCode::BAD_REQUEST };
            calls.measured.lock().note(body.len(), calls.clockwork.micros().saturating_sub(left));
            calls.seen.send_modify(|seen| *seen += 1);
            StatusCode::NO_CONTENT
        }
    };
    // Payloads are as large as an event may be.
    Router::new().route("/bench", post(hook)).layer(axum::extract::DefaultBodyLimit::max(2 << 20))
}
