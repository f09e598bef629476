//! What can be written on the command line.

use super::bench::Bench;
use super::connector_args::{Connector, DeadLetter};
use super::exit::{Exit, Fault};
use crate::client::Client;
use crate::fs::{RealFs, read_all};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// A durable message broker: says a thing once, and keeps telling everyone who asked until each has said "got it".
#[derive(Debug, Parser)]
#[command(name = "stentor", version, max_term_width = 110, args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    /// Without a command the broker is run, and takes what `serve` takes.
    #[command(flatten)]
    pub(super) serve: Serve,
}

/// Where the broker is, and how results look.
#[derive(Debug, Args)]
pub(super) struct Connection {
    /// The broker.
    #[arg(long, env = "STENTOR_URL", default_value = "http://127.0.0.1:7836")]
    url: String,
    #[command(flatten)]
    manner: Manner,
}

/// What every command that talks to a broker takes besides.
#[derive(Debug, Args)]
pub(super) struct Manner {
    /// The token to show the broker.
    #[arg(long, env = "STENTOR_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A file that holds the token.
    #[arg(long, env = "STENTOR_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How results look; a table on a terminal, NDJSON in a pipe.
    #[arg(long, value_enum)]
    output: Option<OutputKind>,
}

/// How results look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputKind {
    /// One JSON object a line.
    Json,
    /// For people.
    Table,
}

impl Connection {
    pub(super) fn client(&self) -> Result<Client, Fault> {
        self.manner.client(&self.url)
    }

    pub(super) fn output(&self) -> Option<OutputKind> {
        self.manner.output
    }
}

impl Manner {
    pub(super) fn client(&self, url: &str) -> Result<Client, Fault> {
        let client = Client::new(url)?;
        Ok(match self.token()? {
            Some(token) => client.with_token(token),
            None => client,
        })
    }

    /// The token itself, or what stands in the file that is named.
    fn token(&self) -> Result<Option<String>, Fault> {
        let (None, Some(path)) = (&self.token, &self.token_file) else { return Ok(self.token.clone()) };
        let bad = |why: String| Exit::Usage.because(format!("--token-file: {}: {why}", path.display()));
        let bytes = read_all(&RealFs, path, 64 << 10).map_err(|error| bad(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| bad("is not text".to_owned()))?;
        Ok(Some(text.trim().to_owned()))
    }

    pub(super) fn output(&self) -> Option<OutputKind> {
        self.output
    }
}

/// A name, on the broker.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// The name.
    pub(super) name: String,
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// Where to move a cursor.
#[derive(Debug, Args)]
pub(super) struct Seek {
    /// The name.
    pub(super) name: String,
    /// To an offset, a time, earliest or latest.
    pub(super) to: String,
    #[command(flatten)]
    pub(super) connection: Connection,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Runs the broker.
    Serve(Serve),
    /// Publishes events.
    Publish(Publish),
    /// Prints events as they come.
    Subscribe(Subscribe),
    /// Prints a range of events and ends.
    Read(Read),
    /// Looks at subscribers, moves and removes them.
    #[command(subcommand)]
    Subscriber(Subscriber),
    /// Makes connectors, looks at them, tries, moves and removes them.
    #[command(subcommand)]
    Connector(Connector),
    /// Looks at what was given up, and has it tried again.
    #[command(subcommand)]
    DeadLetter(DeadLetter),
    /// Prints receipts: who got what, when and how.
    Receipts(Receipts),
    /// Writes the log to a file, for auditors.
    Export(Export),
    /// Checks an export or a data directory: every checksum and offset.
    Verify(Verify),
    /// Restores damaged ranges of a data directory from an unfiltered export that verifies.
    Repair(Repair),
    /// Prints how the broker is.
    Status(Connection),
    /// Shows how the broker is, live; in a pipe one line a second.
    Top(Top),
    /// Puts a load on a running broker, and measures.
    #[command(subcommand)]
    Bench(Bench),
    /// Shows what was promised: a listener that goes away, an endpoint that fails at first.
    Demo,
    /// Checks the broker's configuration, or shows it.
    #[command(subcommand)]
    Config(Config),
    /// Prints completions for a shell, to be sourced by it.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Takes the flags of `serve`, so that what is looked at is what would run.
#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Says whether the broker could start with it; every fault with its place, and status 2.
    Check(ConfigArguments),
    /// Prints every key: its value, and where that was written.
    Show(ConfigArguments),
}

#[derive(Debug, Args)]
pub(super) struct ConfigArguments {
    #[command(flatten)]
    pub(super) serve: Serve,
    /// How results look; a table on a terminal, NDJSON in a pipe.
    #[arg(long, value_enum)]
    pub(super) output: Option<OutputKind>,
}

#[derive(Debug, Args)]
pub(super) struct Top {
    /// How often to look, as in 1s.
    #[arg(long, default_value = "1s")]
    pub(super) every: String,
    /// Ends after so many looks.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
    #[command(flatten)]
    pub(super) connection: Connection,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Serve {
    /// The data directory [default: data].
    #[arg(long)]
    pub(super) data: Option<PathBuf>,
    /// The address to serve; port 0 picks one [default: 127.0.0.1:7836].
    #[arg(long)]
    pub(super) listen: Option<String>,
    /// A configuration file in TOML.
    #[arg(long, env = "STENTOR_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// What to do with damage: refuse, serve-readable or accept-loss [default: refuse].
    #[arg(long)]
    pub(super) recover: Option<String>,
    /// Serves other addresses than loopback although no token guards them.
    #[arg(long)]
    pub(super) insecure: bool,
}

#[derive(Debug, Args)]
pub(super) struct Publish {
    /// The channel, as in key.activated.
    #[arg(required_unless_present = "ndjson")]
    pub(super) channel: Option<String>,
    /// The payload; `-`, or nothing, reads stdin.
    pub(super) data: Option<String>,
    /// The event's id: publishing it again changes nothing.
    #[arg(long)]
    pub(super) id: Option<String>,
    /// The ordering key.
    #[arg(long)]
    pub(super) key: Option<String>,
    /// A header of the event.
    #[arg(long = "header", value_name = "NAME=VALUE")]
    pub(super) headers: Vec<String>,
    /// The payload's content type, where it is not JSON.
    #[arg(long)]
    pub(super) content_type: Option<String>,
    /// Publishes every line of a file: {"channel","data","id"?,"key"?,"headers"?}.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["channel", "data", "id", "key", "headers"])]
    pub(super) ndjson: Option<PathBuf>,
    #[command(flatten)]
    pub(super) connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct Subscribe {
    /// Patterns, as in key.*; they may be left out for a subscriber that exists.
    #[arg(required_unless_present = "name")]
    pub(super) patterns: Vec<String>,
    /// Listens as this durable subscriber, and acknowledges what was printed or done.
    #[arg(long = "as", value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Where to begin: an offset, a time, earliest or latest.
    #[arg(long)]
    pub(super) from: Option<String>,
    /// Ends after so many events; with --exec, after so many that CMD ended well on.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
    /// Runs this for each event, the event on its stdin; acknowledged when it ends well.
    #[arg(long, value_name = "CMD")]
    pub(super) exec: Option<String>,
    #[command(flatten)]
    pub(super) connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct Read {
    /// Patterns; everything where there is none.
    pub(super) patterns: Vec<String>,
    /// From an offset, a time, earliest or latest.
    #[arg(long)]
    pub(super) from: Option<String>,
    /// Up to there, exclusive.
    #[arg(long)]
    pub(super) to: Option<String>,
    /// Events at most.
    #[arg(long)]
    pub(super) limit: Option<u64>,
    #[command(flatten)]
    pub(super) connection: Connection,
}

#[derive(Debug, Subcommand)]
pub(super) enum Subscriber {
    /// Lists them.
    Ls(Connection),
    /// Shows one.
    Show(Named),
    /// Moves its cursor.
    Seek(Seek),
    /// Waits until it has acknowledged everything up to an offset.
    Wait(Wait),
    /// Removes it; its name made again is a new subscriber.
    Rm(Remove),
}

/// What to remove.
#[derive(Debug, Args)]
pub(super) struct Remove {
    #[command(flatten)]
    pub(super) named: Named,
    /// Shows what would go, and leaves it.
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct Wait {
    /// The name.
    pub(super) name: String,
    /// The offset.
    pub(super) offset: u64,
    /// How long, as in 30s; at most 60s.
    #[arg(long, default_value = "30s")]
    pub(super) timeout: String,
    #[command(flatten)]
    pub(super) connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct Receipts {
    /// How every subscriber stands with one event.
    #[arg(long)]
    pub(super) offset: Option<u64>,
    /// Of one subscriber.
    #[arg(long)]
    pub(super) subscriber: Option<String>,
    /// Of events on a channel.
    #[arg(long)]
    pub(super) channel: Option<String>,
    #[command(flatten)]
    pub(super) connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// From a data directory that no broker holds.
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// Patterns; everything where there is none.
    pub(super) patterns: Vec<String>,
    /// From an offset, a time, earliest or latest.
    #[arg(long)]
    pub(super) from: Option<String>,
    /// Up to there, exclusive.
    #[arg(long)]
    pub(super) to: Option<String>,
    #[command(flatten)]
    pub(super) connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// An export, or a data directory that no broker holds.
    pub(super) path: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Repair {
    /// A data directory that no broker holds.
    pub(super) data: PathBuf,
    /// An unfiltered export of it.
    #[arg(long)]
    pub(super) from: PathBuf,
}
