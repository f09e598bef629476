//! `stentor serve`: the broker, from its start to its end in order.

use super::args::Serve;
use super::exit::{Exit, Outcome};
use super::output;
use super::service::{self, Reload, Signals};
use crate::api::{ApiOptions, Server, ServerOptions, router};
use crate::broker::Broker;
use crate::clock;
use crate::config::{Config, Layers};
use crate::fs::{Fs, Open, RealFs};
use crate::telemetry::Diagnostics;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) async fn run(serve: Serve) -> Outcome {
    let layers = layers(serve);
    let effective = layers.effective().map_err(|faults| Exit::Usage.because(faults.to_string()))?;
    let config = effective.config.clone();
    let diagnostics = Diagnostics::begin(&config.log).map_err(|fault| Exit::Usage.because(format!("log: {fault}")))?;
    let files = raise_file_limit();
    // Before the log is opened, so that a taken address costs nothing.
    let options = ServerOptions {
        max_connections: room_for(config.max_connections, files, &config.data),
        max_connections_per_address: config.max_connections_per_address,
        drain: config.drain,
    };
    let server = Server::bind(config.listen, options).await;
    let server = server.map_err(|error| Exit::Failed.because(format!("listen: {}: {error}", config.listen)))?;
    let address = server.address()?;
    let mut signals = Signals::listen()?;
    service::tell_status("opening the logs");
    let mut options = config.broker();
    options.egress.own = Some(address);
    let broker = tokio::select! {
        opened = Box::pin(Broker::open(options)) => opened?,
        // Nothing was promised yet, so there is nothing to wait for.
        () = signals.end() => return Ok(()),
        never = server.starting() => match never {},
    };
    let draining = CancellationToken::new();
    let streams = TaskTracker::new();
    let api = ApiOptions { origins: config.origins(), drain: config.drain, streams: streams.clone() };
    let router = router(broker.clone(), api, draining.clone());
    let counted = broker.metrics().ingress.clone();
    let serving = tokio::spawn(server.serve(router, draining.clone(), streams, counted));
    output::line(&format!("http://{address}"))?;
    service::tell_ready(&format!("serving http://{address}"));
    tracing::info!(%address, data = %config.data.display(), start = %broker.start(), end = %broker.end(), "serving");
    let mut reload = Reload { layers, settings: effective.settings, diagnostics, broker: broker.clone() };
    while !signals.end_or_reload().await {
        reload.run();
    }
    service::tell_stopping();
    let outcome = tokio::select! {
        outcome = end(&config, &broker, &draining, serving) => outcome,
        () = signals.end() => Err(Exit::Failed.because("a second signal: ended without waiting")),
    };
    if outcome.is_err() {
        // Letting it go would wait for a disk that has not answered in time. What it has not confirmed is as after a
        // power cut, and nobody was told otherwise.
        std::mem::forget(broker);
    }
    outcome
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
    if clock::within(config.drain, broker.shutdown_within(config.drain / 2)).await.is_none() {
        return Err(Exit::Failed.because("the logs could not be closed within the drain time"));
    }
    tracing::info!("ended");
    Ok(())
}

/// What the command line, the environment and the file say.
pub(super) fn layers(serve: Serve) -> Layers {
    let mut flags = Vec::new();
    let mut flag = |key, value: Option<String>| flags.extend(value.map(|value| (key, value)));
    flag("data", serve.data.map(|path| path.display().to_string()));
    flag("listen", serve.listen);
    flag("recover", serve.recover);
    flag("insecure", serve.insecure.then(|| "true".to_owned()));
    // A name or value that is not UTF-8 is no key's.
    let environment = std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)));
    let environment = environment.filter(|(n, _)| n.starts_with("STENTOR_") || n == "STATE_DIRECTORY").collect();
    Layers { file: serve.config.or_else(usual_file), environment, flags }
}

/// The file that is read where none is named: the unit's, or the user's, if it is there.
fn usual_file() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let unit = variable("CONFIGURATION_DIRECTORY").map(|dir| dir.join("stentor.toml"));
    let home = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")));
    let user = home.map(|dir| dir.join("stentor").join("stentor.toml"));
    [unit, user].into_iter().flatten().find(|path| RealFs.open(path, Open::Read).is_ok())
}

/// How many connections there may be: as many as are asked for, and as the machine has files for beside the logs'.
fn room_for(asked: usize, files: usize, data: &Path) -> usize {
    let segments = |log: &str| RealFs.list(&data.join(log)).map_or(0, |names| names.len());
    let room = files.saturating_sub(OWN_FILES + segments("events") + segments("ledger")).max(1);
    if room < asked {
        tracing::info!(asked, room, files, "fewer connections than max_connections: the limit on open files is lower");
    }
    asked.min(room)
}

/// Files that are kept for the logs and for calls of connectors: a log that cannot open its next segment takes no
/// events any more, and that must not be for the sake of one more listener.
const OWN_FILES: usize = 512;

/// Ten thousand listeners need as many files; the soft limit is often 1024. Gives what it is now.
fn raise_file_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
    let now = if raised.is_ok() { limit.maximum } else { limit.current };
    now.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}
