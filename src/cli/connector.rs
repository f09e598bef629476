//! `stentor connector`.

use super::args::{Connector, ConnectorAdd, Named};
use super::exit::{Exit, Outcome};
use super::{output, subscriber};
use reqwest::Method;
use serde_json::{Map, Value, json};

const COLUMNS: [&str; 7] = ["name", "url", "channels", "state", "cursor", "end", "last_error"];

pub(super) async fn run(command: Connector) -> Outcome {
    match command {
        Connector::Add(add) => self::add(add).await,
        Connector::Ls(connection) => subscriber::list(&connection, "connectors", &COLUMNS).await,
        Connector::Show(named) => subscriber::show(&named, "connectors").await,
        Connector::Seek(seek) => subscriber::seek(&seek, "connectors").await,
        Connector::Rm(named) => subscriber::remove(&named, "connectors").await,
        Connector::Pause(named) => tell(&named, "pause").await,
        Connector::Resume(named) => tell(&named, "resume").await,
    }
}

async fn add(add: ConnectorAdd) -> Outcome {
    let mut settings = Map::new();
    let mut put = |name: &str, value: Option<Value>| settings.extend(value.map(|value| (name.to_owned(), value)));
    put("url", Some(json!(add.url)));
    put("channels", Some(json!(add.patterns)));
    put("from", add.from.map(Value::from));
    put("format", add.format.map(Value::from));
    put("timeout", add.timeout.map(Value::from));
    put("in_flight", add.in_flight.map(Value::from));
    let give_up = add.give_up_after.map(|text| text.parse::<u64>().map_or_else(|_| json!(text), |n| json!(n)));
    put("retry", give_up.map(|give_up| json!({"give_up_after": give_up})));
    let header = |text: &String| {
        let pair = text.split_once(':').map(|(name, value)| (name.trim().to_lowercase(), json!(value.trim())));
        pair.ok_or_else(|| Exit::Usage.because("--header: must be 'NAME: VALUE'"))
    };
    if !add.headers.is_empty() {
        let headers: Map<String, Value> = add.headers.iter().map(header).collect::<Result<_, _>>()?;
        put("headers", Some(Value::Object(headers)));
    }
    let client = add.manner.client(&add.broker)?;
    let request = client.request(Method::PUT, &["v1", "connectors", &add.name]).json(&settings);
    let answer = client.json(request).await?;
    output::object(add.manner.output(), &answer)
}

async fn tell(named: &Named, what: &str) -> Outcome {
    let client = named.connection.client()?;
    client.json(client.request(Method::POST, &["v1", "connectors", &named.name, what])).await?;
    Ok(())
}
