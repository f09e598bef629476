//! `stentor read`.

use super::args::Read;
use super::exit::Outcome;
use super::output;
use crate::client::Client;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

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
        let page: Page = client.parsed(client.request(reqwest::Method::GET, &["v1", "events"]).query(&query)).await?;
        if let Some(gap) = &page.gap {
            output::say(format_args!("a gap, no longer kept: {gap}"));
        }
        for event in &page.events {
            // In a pipe each byte of a payload stays as it was published.
            if people { output::line(&row(event))? } else { output::line(event.get())? }
        }
        left -= page.events.len() as u64;
        let stop = to.parse().unwrap_or(page.end);
        if page.next >= stop || (page.events.is_empty() && page.next.to_string() == from) {
            return Ok(());
        }
        from = page.next.to_string();
    }
    Ok(())
}

#[derive(Deserialize)]
struct Page {
    events: Vec<Box<RawValue>>,
    next: u64,
    end: u64,
    gap: Option<Value>,
}

/// An event for people.
fn row(event: &RawValue) -> String {
    let event: Value = serde_json::from_str(event.get()).unwrap_or_default();
    let member = |name: &str| output::cell(event.get(name));
    format!("{:>8}  {}  {}  {}", member("offset"), member("time"), member("channel"), member("data"))
}

async fn end(client: &Client) -> Result<u64, super::exit::Fault> {
    let query = [("from", "latest"), ("limit", "1")];
    let page = client.json(client.request(reqwest::Method::GET, &["v1", "events"]).query(&query)).await?;
    Ok(page.get("end").and_then(Value::as_u64).unwrap_or_default())
}
