//! `stentor connector`.

use super::args::Named;
use super::connector_args::{Connector, ConnectorAdd, Replay, RotateSecret, Test};
use super::exit::{Exit, Outcome};
use super::{input, output, subscriber};
use reqwest::Method;
use serde_json::{Map, Value, json};

const COLUMNS: [&str; 7] = ["name", "url", "channels", "state", "cursor", "end", "last_error"];
const ATTEMPTS: [&str; 8] = ["time", "offset", "attempt", "status", "error", "latency_ms", "response", "replay"];

pub(super) async fn run(command: Connector) -> Outcome {
    match command {
        Connector::Add(add) => self::add(*add).await,
        Connector::Ls(connection) => subscriber::list(&connection, "connectors", &COLUMNS).await,
        Connector::Show(named) => subscriber::show(&named, "connectors").await,
        Connector::Seek(seek) => subscriber::seek(&seek, "connectors").await,
        Connector::Rm(named) => subscriber::remove(&named, "connectors").await,
        Connector::Pause(named) => tell(&named, "pause").await,
        Connector::Resume(named) => tell(&named, "resume").await,
        Connector::Test(test) => self::test(&test).await,
        Connector::Attempts(named) => attempts(&named).await,
        Connector::Replay(replay) => self::replay(replay).await,
        Connector::RotateSecret(rotate) => rotate_secret(&rotate).await,
    }
}

async fn add(add: ConnectorAdd) -> Outcome {
    let mut settings = Map::new();
    let mut put = |name: &str, value: Option<Value>| settings.extend(value.map(|value| (name.to_owned(), value)));
    put("url", Some(json!(add.url)));
    put("channels", Some(json!(add.patterns)));
    put("from", add.from.map(Value::from));
    let template = add.template.map(|text| match text.strip_prefix('@') {
        Some(file) => input::text_of(file),
        None => Ok(text),
    });
    let template = template.transpose()?.map(|text| json!({"template": text}));
    put("format", template.or(add.format.map(Value::from)));
    put("content_type", add.content_type.map(Value::from));
    put("timeout", add.timeout.map(Value::from));
    put("in_flight", add.in_flight.map(Value::from));
    let give_up = add.give_up_after.map(|text| text.parse::<u64>().map_or_else(|_| json!(text), |n| json!(n)));
    let retry = [
        ("initial", add.retry_initial.map(Value::from)),
        ("max", add.retry_max.map(Value::from)),
        ("give_up_after", give_up),
    ];
    let retry: Map<String, Value> =
        retry.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    put("retry", (!retry.is_empty()).then_some(Value::Object(retry)));
    put("rate_limit", add.rate_limit.map(Value::from));
    put("secret", add.secret.map(Value::from));
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

async fn test(test: &Test) -> Outcome {
    let client = test.connection.client()?;
    let data = test.data.as_deref().map(serde_json::from_str::<Value>).transpose();
    let data = data.map_err(|error| Exit::Usage.because(format!("--data: is not JSON: {error}")))?;
    let asked: Map<String, Value> = data.into_iter().map(|data| ("data".to_owned(), data)).collect();
    let request = client.request(Method::POST, &["v1", "connectors", &test.name, "test"]).json(&asked);
    let answer = client.json(request).await?;
    output::object(test.connection.output(), &answer)?;
    match answer.get("status").and_then(Value::as_u64) {
        Some(200..=299) => Ok(()),
        Some(status) => Err(Exit::Failed.because(format!("the endpoint answered {status}"))),
        None => Err(Exit::Failed.because("the endpoint did not answer")),
    }
}

async fn attempts(named: &Named) -> Outcome {
    let client = named.connection.client()?;
    let answer = client.json(client.request(Method::GET, &["v1", "connectors", &named.name, "attempts"])).await?;
    let rows = answer.get("attempts").and_then(Value::as_array).cloned().unwrap_or_default();
    output::objects(named.connection.output(), &ATTEMPTS, &rows)
}

async fn replay(replay: Replay) -> Outcome {
    let asked = [("to", replay.to), ("url", replay.url), ("rate", replay.rate)];
    let mut settings: Map<String, Value> =
        asked.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))).collect();
    settings.insert("from".to_owned(), json!(replay.from));
    let client = replay.manner.client(&replay.broker)?;
    let request = client.request(Method::POST, &["v1", "connectors", &replay.name, "replay"]).json(&settings);
    output::object(replay.manner.output(), &client.json(request).await?)
}

async fn rotate_secret(rotate: &RotateSecret) -> Outcome {
    let client = rotate.connection.client()?;
    let asked: Map<String, Value> = rotate.secret.iter().map(|secret| ("secret".to_owned(), json!(secret))).collect();
    let request = client.request(Method::POST, &["v1", "connectors", &rotate.name, "rotate-secret"]).json(&asked);
    output::object(rotate.connection.output(), &client.json(request).await?)
}
