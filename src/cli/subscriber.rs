//! `stentor subscriber`.

use super::args::{Connection, Named, Seek, Subscriber};
use super::exit::{Exit, Outcome};
use super::output;
use reqwest::Method;
use serde_json::{Value, json};

const COLUMNS: [&str; 7] = ["name", "kind", "channels", "cursor", "end", "open", "connected"];

pub(super) async fn run(command: Subscriber) -> Outcome {
    match command {
        Subscriber::Ls(connection) => list(&connection, "subscribers", &COLUMNS).await,
        Subscriber::Show(named) => show(&named, "subscribers").await,
        Subscriber::Seek(seek) => self::seek(&seek, "subscribers").await,
        Subscriber::Rm(rm) if rm.dry_run => show(&rm.named, "subscribers").await,
        Subscriber::Rm(rm) => remove(&rm.named, "subscribers").await,
        Subscriber::Wait(wait) => {
            let client = wait.connection.client()?;
            let query = [("offset", wait.offset.to_string()), ("timeout", wait.timeout.clone())];
            let request = client.request(Method::GET, &["v1", "subscribers", &wait.name, "wait"]).query(&query);
            let answer = client.json(request).await?;
            output::object(wait.connection.output(), &answer)?;
            match answer.get("reached") {
                Some(Value::Bool(true)) => Ok(()),
                _ => Err(Exit::TimedOut.because(format!("{} is not there yet", wait.name))),
            }
        }
    }
}

/// Prints all pages of a list.
pub(super) async fn list(connection: &Connection, kind: &str, columns: &[&str]) -> Outcome {
    let client = connection.client()?;
    let mut rows = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut query = vec![("limit", "1000".to_owned())];
        query.extend(after.take().map(|after| ("after", after)));
        let page = client.json(client.request(Method::GET, &["v1", kind]).query(&query)).await?;
        rows.extend(page.get(kind).and_then(Value::as_array).cloned().unwrap_or_default());
        after = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if after.is_none() {
            return output::objects(connection.output(), columns, &rows);
        }
    }
}

pub(super) async fn show(named: &Named, kind: &str) -> Outcome {
    let client = named.connection.client()?;
    let shown = client.json(client.request(Method::GET, &["v1", kind, &named.name])).await?;
    output::object(named.connection.output(), &shown)
}

pub(super) async fn seek(seek: &Seek, kind: &str) -> Outcome {
    let client = seek.connection.client()?;
    let request = client.request(Method::POST, &["v1", kind, &seek.name, "seek"]).json(&json!({"to": seek.to}));
    let answer = client.json(request).await?;
    output::object(seek.connection.output(), &answer)
}

pub(super) async fn remove(named: &Named, kind: &str) -> Outcome {
    let client = named.connection.client()?;
    client.json(client.request(Method::DELETE, &["v1", kind, &named.name])).await?;
    Ok(())
}
