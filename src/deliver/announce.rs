//! The broker's own events about connectors, in the log like everybody's: `$stentor.connector.failing`, `.recovered`
//! and `.paused`.
//!
//! They follow the ledger's word. Between that word and the event a kill may fall; then the connector's state is true
//! all the same, and the event is missing.

use super::registry::RegistryParts;
use crate::model::{EventId, Headers, NewEvent, Offset};
use serde_json::{Value, json};

/// What became of a connector.
#[derive(Debug, Clone, Copy)]
pub(super) enum News<'a> {
    /// So many attempts failed in a row that its circuit opened.
    Failing { offset: Offset, attempts: u32, status: Option<u16>, reason: &'a str },
    /// An attempt went well, and closed the circuit.
    Recovered { offset: Offset },
    /// It was stopped.
    Paused { reason: &'a str, offset: Option<Offset> },
}

/// Publishes it. A log that takes nothing is said in the diagnostics, and holds up nobody.
pub(super) async fn announce(parts: &RegistryParts, connector: &str, news: News<'_>) {
    let (channel, data) = match news {
        News::Failing { offset, attempts, status, reason } => (
            "$stentor.connector.failing",
            json!({"connector": connector, "reason": reason, "offset": offset, "attempts": attempts, "status": status}),
        ),
        News::Recovered { offset } => {
            ("$stentor.connector.recovered", json!({"connector": connector, "offset": offset}))
        }
        News::Paused { reason, offset } => {
            ("$stentor.connector.paused", json!({"connector": connector, "reason": reason, "offset": offset}))
        }
    };
    if let Err(error) = publish(parts, channel, connector, &data).await {
        tracing::warn!(connector, channel, error, "could not be told in the log");
    }
}

async fn publish(parts: &RegistryParts, channel: &str, connector: &str, data: &Value) -> Result<(), String> {
    let id = EventId::made(parts.clock.now(), parts.random.next_16());
    let event = NewEvent::check(channel, id, Some(connector), Headers::default(), None, data.to_string().into());
    let event = event.map_err(|invalid| invalid.to_string())?;
    let appended = parts.engine.append(vec![event]).await;
    appended.map(drop).map_err(|error| error.to_string())
}
