//! `stentor read`.

use super::args::Read;
use super::exit::Outcome;
use super::output;
use crate::client::Client;
use serde_json::Value;

pub(super) async fn run(read: Read) -> Outcome {
    let client = read.connection.client()?;
    let people = output::for_people(read.connection.output());
    let mut from = read.from.clone().unwrap_or_else(|| "earliest".to_owned());
    let mut left = read.limit.unwrap_or(u64::MAX);
    // The end as it is now: what is published meanwhile is another question.
    let to = match read.to.clone() {
        Some(to) => to,
        None => end(&client).await?.to_string(),
    };
    while left > 0 {
        let limit = left.min(1_000).to_string();
        let mut query = vec![("from", from.clone()), ("to", to.clone()), ("limit", limit)];
        if !read.patterns.is_empty() {
            query.push(("channels", read.patterns.join(",")));
        }
        let page = client.json(client.request(reqwest::Method::GET, &["v1", "events"]).query(&query)).await?;
        if let Some(gap) = page.get("gap") {
            anstream::eprintln!("stentor: a gap, no longer kept: {gap}");
        }
        let events = page.get("events").and_then(Value::as_array).cloned().unwrap_or_default();
        for event in &events {
            let member = |name: &str| {
                event.get(name).map_or(String::new(), |v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
            };
            output::line(&if people {
                format!("{:>8}  {}  {}  {}", member("offset"), member("time"), member("channel"), member("data"))
            } else {
                event.to_string()
            })?;
        }
        left -= events.len() as u64;
        let next = page.get("next").and_then(Value::as_u64).unwrap_or_default();
        let end = page.get("end").and_then(Value::as_u64).unwrap_or_default();
        let stop = to.parse().unwrap_or(end);
        if next >= stop || (events.is_empty() && next.to_string() == from) {
            return Ok(());
        }
        from = next.to_string();
    }
    Ok(())
}

async fn end(client: &Client) -> Result<u64, super::exit::Fault> {
    let query = [("from", "latest"), ("limit", "1")];
    let page = client.json(client.request(reqwest::Method::GET, &["v1", "events"]).query(&query)).await?;
    Ok(page.get("end").and_then(Value::as_u64).unwrap_or_default())
}
