//! `stentor status`.

use super::args::Connection;
use super::exit::Outcome;
use super::output;
use reqwest::Method;
use serde_json::{Value, json};

pub(super) async fn run(connection: &Connection) -> Outcome {
    let client = connection.client()?;
    let get =
        |path: &'static [&'static str]| client.json(client.request(Method::GET, path).query(&[("limit", "10000")]));
    let live = client.json(client.request(Method::GET, &["health", "live"])).await?;
    let ready = client.json(client.request(Method::GET, &["health", "ready"])).await;
    let subscribers = get(&["v1", "subscribers"]).await?;
    let channels = get(&["v1", "channels"]).await?;
    let count = |value: &Value, name: &str, filter: &dyn Fn(&Value) -> bool| {
        value.get(name).and_then(Value::as_array).map_or(0, |rows| rows.iter().filter(|row| filter(row)).count())
    };
    let is =
        |name: &'static str, word: &'static str| move |row: &Value| row.get(name).and_then(Value::as_str) == Some(word);
    let status = json!({
        "version": live.get("version"),
        "ready": ready.is_ok(),
        "trouble": ready.as_ref().err().map(ToString::to_string),
        "start": ready.as_ref().ok().and_then(|ready| ready.get("start").cloned()),
        "end": ready.as_ref().ok().and_then(|ready| ready.get("end").cloned()),
        "uptime_seconds": ready.as_ref().ok().and_then(|ready| ready.get("uptime_seconds").cloned()),
        "channels": count(&channels, "channels", &|_| true),
        "subscribers": count(&subscribers, "subscribers", &is("kind", "subscriber")),
        "connectors": count(&subscribers, "subscribers", &is("kind", "connector")),
        "connectors_failing": count(&subscribers, "subscribers", &is("state", "failing")),
    });
    output::object(connection.output(), &status)
}
