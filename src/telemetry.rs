//! Floor 8: setting up diagnostics. For people on a terminal, JSON lines elsewhere; always on stderr.

use std::io::IsTerminal;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// Diagnostics that are written; their level can be changed while the process runs.
pub struct Diagnostics(reload::Handle<EnvFilter, Registry>);

impl Diagnostics {
    /// Begins to write diagnostics, from this level or filter on (`info`, `stentor=debug,warn`, …).
    ///
    /// # Errors
    /// A filter that cannot be read.
    pub fn begin(filter: &str) -> Result<Self, String> {
        let (filter, handle) = reload::Layer::new(parse(filter)?);
        let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
        let lines = if std::io::stderr().is_terminal() {
            lines.boxed()
        } else {
            lines.json().flatten_event(true).with_ansi(false).boxed()
        };
        // Whoever embeds the broker may have set up diagnostics already; those stay.
        let _theirs_stay = tracing_subscriber::registry().with(filter).with(lines).try_init().is_err();
        Ok(Self(handle))
    }

    /// Writes from this level or filter on from now.
    ///
    /// # Errors
    /// A filter that cannot be read; the old one stays.
    pub fn set(&self, filter: &str) -> Result<(), String> {
        self.0.reload(parse(filter)?).map_err(|error| error.to_string())
    }
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter).map_err(|error| error.to_string())
}
