//! Floor 8: setting up diagnostics. For people on a terminal, JSON lines elsewhere; always on stderr.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Begins to write diagnostics, from this level or filter on (`info`, `stentor=debug,warn`, …).
///
/// # Errors
/// A filter that cannot be read.
pub fn init(filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let set = if std::io::stderr().is_terminal() {
        builder.try_init()
    } else {
        builder.json().flatten_event(true).with_ansi(false).try_init()
    };
    // Whoever embeds the broker may have set up diagnostics already; those stay.
    set.or(Ok(()))
}
