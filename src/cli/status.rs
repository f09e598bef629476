//! `stentor status`: one page of state.

use super::args::Connection;
use super::exit::Outcome;
use super::output;
use crate::client::{Client, ClientError};
use reqwest::Method;
use serde_json::{Value, json};

/// What one look at a broker found.
pub(super) struct Look {
    /// The page.
    pub(super) status: Value,
    /// Every subscriber and connector, as far as one page of them goes.
    pub(super) subscribers: Vec<Value>,
    /// Every channel, as far as one page of them goes.
    pub(super) channels: Vec<Value>,
}

pub(super) async fn run(connection: &Connection) -> Outcome {
    let client = connection.client()?;
    output::object(connection.output(), &look(&client).await?.status)
}

/// Looks once. A broker that is not ready is no error: the page says why.
pub(super) async fn look(client: &Client) -> Result<Look, ClientError> {
    let live = client.json(client.request(Method::GET, &["health", "live"])).await?;
    let ready = match client.json(client.request(Method::GET, &["health", "ready"])).await {
        Ok(ready) => Ok(ready),
        Err(ClientError::Refused { status: 503, detail, .. }) => Err(detail),
        Err(error) => return Err(error),
    };
    let mut subscribers = list(client, "subscribers").await?;
    let connectors = list(client, "connectors").await?;
    let channels = list(client, "channels").await?;
    let failing = connectors.iter().filter(|row| text(row, "state") == "failing").count();
    let member = |name: &str| ready.as_ref().ok().and_then(|ready| ready.get(name)).cloned();
    let status = json!({
        "version": live.get("version"),
        "ready": ready.is_ok(),
        "trouble": ready.as_ref().err(),
        "start": member("start"),
        "end": member("end"),
        "uptime_seconds": member("uptime_seconds"),
        "channels": channels.len(),
        "subscribers": subscribers.len() - connectors.len().min(subscribers.len()),
        "connectors": connectors.len(),
        "connectors_failing": failing,
    });
    // The list of connectors says more about each: how it is doing, and what went wrong last.
    subscribers.retain(|row| text(row, "kind") != "connector");
    subscribers.extend(connectors);
    Ok(Look { status, subscribers, channels })
}

async fn list(client: &Client, kind: &str) -> Result<Vec<Value>, ClientError> {
    let page = client.json(client.request(Method::GET, &["v1", kind]).query(&[("limit", "10000")])).await?;
    Ok(page.get(kind).and_then(Value::as_array).cloned().unwrap_or_default())
}

/// A member that is text, or nothing.
pub(super) fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}
