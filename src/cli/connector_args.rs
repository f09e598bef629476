//! What can be written behind `stentor connector` and `stentor dead-letter`.

use super::args::{Connection, Manner, Named, Seek};
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(super) enum Connector {
    /// Makes one, or replaces its settings.
    Add(Box<ConnectorAdd>),
    /// Lists them.
    Ls(Connection),
    /// Shows one.
    Show(Named),
    /// Stops it; nothing is lost.
    Pause(Named),
    /// Lets it go on.
    Resume(Named),
    /// Moves its cursor.
    Seek(Seek),
    /// Sends a sample event and says what came back; exit status 1 unless that was 2xx.
    Test(Test),
    /// Prints its latest attempts, the newest first.
    Attempts(Named),
    /// Sends a range again, without moving its cursor.
    Replay(Replay),
    /// Signs with another secret; the old one signs along for 24 h.
    RotateSecret(RotateSecret),
    /// Removes it.
    Rm(Named),
}

#[derive(Debug, Args)]
pub(super) struct ConnectorAdd {
    /// Its name.
    pub(super) name: String,
    /// Where to POST.
    #[arg(long)]
    pub(super) url: String,
    /// Patterns, as in policy.approved.
    #[arg(required = true)]
    pub(super) patterns: Vec<String>,
    /// A header of each request.
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub(super) headers: Vec<String>,
    /// The form of the body: native, data, cloudevents or cloudevents-binary.
    #[arg(long)]
    pub(super) format: Option<String>,
    /// A Jinja template that makes the body; @FILE reads it from a file.
    #[arg(long, value_name = "TEXT|@FILE", conflicts_with = "format")]
    pub(super) template: Option<String>,
    /// The request's content type in place of the format's own.
    #[arg(long)]
    pub(super) content_type: Option<String>,
    /// Where to begin: an offset, a time, earliest or latest.
    #[arg(long)]
    pub(super) from: Option<String>,
    /// How long one request may take.
    #[arg(long)]
    pub(super) timeout: Option<String>,
    /// Requests side by side.
    #[arg(long)]
    pub(super) in_flight: Option<u32>,
    /// Attempts at most, as in 100/s, 100/m or 100/h.
    #[arg(long)]
    pub(super) rate_limit: Option<String>,
    /// The ceiling of the first wait between attempts [default: 1s].
    #[arg(long)]
    pub(super) retry_initial: Option<String>,
    /// The highest such ceiling [default: 5m].
    #[arg(long)]
    pub(super) retry_max: Option<String>,
    /// Gives up after so many attempts, or so long: 10 or 24h.
    #[arg(long)]
    pub(super) give_up_after: Option<String>,
    /// The signing secret, whsec_…; made where there is none.
    #[arg(long, env = "STENTOR_CONNECTOR_SECRET", hide_env_values = true)]
    pub(super) secret: Option<String>,
    /// The broker; --url is the endpoint here.
    #[arg(long, env = "STENTOR_URL", default_value = "http://127.0.0.1:7836")]
    pub(super) broker: String,
    #[command(flatten)]
    pub(super) manner: Manner,
}

#[derive(Debug, Args)]
pub(super) struct Test {
    /// The name.
    pub(super) name: String,
    /// The sample's data, as JSON.
    #[arg(long)]
    pub(super) data: Option<String>,
    #[command(flatten)]
    pub(super) connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The name.
    pub(super) name: String,
    /// From an offset, a time, earliest or latest.
    #[arg(long)]
    pub(super) from: String,
    /// Up to there, exclusive.
    #[arg(long)]
    pub(super) to: Option<String>,
    /// Another place than the connector's own; its headers are not sent to another server.
    #[arg(long)]
    pub(super) url: Option<String>,
    /// Attempts at most, as in 100/s.
    #[arg(long)]
    pub(super) rate: Option<String>,
    /// The broker; --url is the endpoint here.
    #[arg(long, env = "STENTOR_URL", default_value = "http://127.0.0.1:7836")]
    pub(super) broker: String,
    #[command(flatten)]
    pub(super) manner: Manner,
}

#[derive(Debug, Args)]
pub(super) struct RotateSecret {
    /// The name.
    pub(super) name: String,
    /// The new secret, whsec_…; made where there is none.
    #[arg(long, env = "STENTOR_CONNECTOR_SECRET", hide_env_values = true)]
    pub(super) secret: Option<String>,
    #[command(flatten)]
    pub(super) connection: Connection,
}

#[derive(Debug, Subcommand)]
pub(super) enum DeadLetter {
    /// Lists them.
    Ls(DeadLetterLs),
    /// Has a connector try some again, out of order.
    Retry(DeadLetterRetry),
}

#[derive(Debug, Args)]
pub(super) struct DeadLetterLs {
    /// Of one subscriber or connector.
    #[arg(long)]
    pub(super) subscriber: Option<String>,
    #[command(flatten)]
    pub(super) connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct DeadLetterRetry {
    /// The connector.
    pub(super) name: String,
    /// The offsets.
    #[arg(required = true)]
    pub(super) offsets: Vec<u64>,
    #[command(flatten)]
    pub(super) connection: Connection,
}
