//! `stentor serve`: the broker, from its start to its end in order.

use super::args::Serve;
use super::exit::{Exit, Outcome};
use super::output;
use crate::api::{ApiOptions, Server, ServerOptions, router};
use crate::broker::Broker;
use crate::config::{Config, Layers};
use crate::{clock, telemetry};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) async fn run(serve: Serve) -> Outcome {
    let config = layers(serve).build().map_err(|faults| Exit::Usage.because(faults.to_string()))?;
    telemetry::init(&config.log).map_err(|fault| Exit::Usage.because(format!("log: {fault}")))?;
    raise_file_limit();
    // Before the log is opened, so that a taken address costs nothing.
    let options = ServerOptions { max_connections: config.max_connections, drain: config.drain };
    let server = Server::bind(config.listen, options).await;
    let server = server.map_err(|error| Exit::Failed.because(format!("listen: {}: {error}", config.listen)))?;
    let address = server.address()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let broker = Broker::open(config.broker()).await?;
    let draining = CancellationToken::new();
    let streams = TaskTracker::new();
    let api = ApiOptions { origins: config.origins(), drain: config.drain, streams: streams.clone() };
    let router = router(broker.clone(), api, draining.clone());
    let serving = tokio::spawn(server.serve(router, draining.clone(), streams));
    output::line(&format!("http://{address}"))?;
    tracing::info!(%address, data = %config.data.display(), start = %broker.start(), end = %broker.end(), "serving");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::select! {
        outcome = end(&config, &broker, &draining, serving) => outcome,
        _ = terminate.recv() => Err(Exit::Failed.because("a second signal: ended without waiting")),
        _ = interrupt.recv() => Err(Exit::Failed.because("a second signal: ended without waiting")),
    }
}

/// Not ready any more, streams closed, requests finished, acks settled, logs synced.
async fn end(
    config: &Config,
    broker: &Broker,
    draining: &CancellationToken,
    serving: tokio::task::JoinHandle<()>,
) -> Outcome {
    tracing::info!("draining");
    draining.cancel();
    if let Err(error) = serving.await {
        tracing::error!(%error, "serving ended badly");
    }
    if clock::within(config.drain, broker.shutdown()).await.is_none() {
        return Err(Exit::Failed.because("the logs could not be closed within the drain time"));
    }
    tracing::info!("ended");
    Ok(())
}

fn layers(serve: Serve) -> Layers {
    let mut flags = Vec::new();
    let mut flag = |key, value: Option<String>| flags.extend(value.map(|value| (key, value)));
    flag("data", serve.data.map(|path| path.display().to_string()));
    flag("listen", serve.listen);
    flag("recover", serve.recover);
    flag("insecure", serve.insecure.then(|| "true".to_owned()));
    let environment = std::env::vars().filter(|(name, _)| name.starts_with("STENTOR_")).collect();
    Layers { file: serve.config, environment, flags }
}

/// Ten thousand listeners need as many files; the soft limit is often 1024.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
}
