//! `stentor bench`: a load on a running broker, bounded by a number of events, by time, or both.

mod bound;
mod connector;
mod fanout;
mod measure;
mod publish;
mod replay;

use super::args::Connection;
use super::exit::Outcome;
use clap::{Args, Subcommand};
use std::net::SocketAddr;

#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// Publishes; measures from request to answer, which is when the event is on disk.
    Publish(PublishLoad),
    /// Publishes to many listeners; measures from the publish to each listener's frame.
    Fanout(FanoutLoad),
    /// Reads what is in the log with many listeners; measures until each has reached the live end.
    Replay(ReplayLoad),
    /// Publishes to an endpoint of its own behind a connector; measures from the publish to the call.
    Connector(ConnectorLoad),
}

/// How much, and how long. Whichever is reached first ends it; Ctrl-C ends it too, with what was measured so far.
#[derive(Debug, Args)]
pub(super) struct Bounds {
    /// Events at most.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
    /// Seconds at most [default: 10, where there is no count].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) seconds: Option<u64>,
}

/// What is published.
#[derive(Debug, Args)]
pub(super) struct Published {
    /// Publishers side by side, each with one event under way.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(super) publishers: u16,
    /// Bytes of each payload.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(64..=1 << 20))]
    pub(super) size: u32,
    #[command(flatten)]
    pub(super) bounds: Bounds,
    #[command(flatten)]
    pub(super) connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct PublishLoad {
    #[command(flatten)]
    load: Published,
}

#[derive(Debug, Args)]
pub(super) struct FanoutLoad {
    /// Listeners, each on a WebSocket of its own.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    listeners: u16,
    #[command(flatten)]
    load: Published,
}

#[derive(Debug, Args)]
pub(super) struct ReplayLoad {
    /// Patterns; everything where there is none.
    patterns: Vec<String>,
    /// Listeners, each on a WebSocket of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    listeners: u16,
    /// Where they begin: an offset, a time or earliest.
    #[arg(long, default_value = "earliest")]
    from: String,
    #[command(flatten)]
    bounds: Bounds,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct ConnectorLoad {
    /// Requests that the connector may have under way.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,
    /// The address that the endpoint takes, where the broker can reach it.
    #[arg(long, default_value = "127.0.0.1:0")]
    endpoint: SocketAddr,
    #[command(flatten)]
    load: Published,
}

pub(super) async fn run(bench: Bench) -> Outcome {
    match bench {
        Bench::Publish(load) => publish::run(load).await,
        Bench::Fanout(load) => fanout::run(load).await,
        Bench::Replay(load) => replay::run(load).await,
        Bench::Connector(load) => connector::run(load).await,
    }
}
