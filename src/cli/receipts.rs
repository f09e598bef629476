//! `stentor receipts`.

use super::args::Receipts;
use super::exit::Outcome;
use super::output;
use reqwest::Method;
use serde_json::Value;

pub(super) async fn run(receipts: Receipts) -> Outcome {
    let client = receipts.connection.client()?;
    let asked = receipts.connection.output();
    if let (Some(offset), None, None) = (receipts.offset, &receipts.subscriber, &receipts.channel) {
        let request = client.request(Method::GET, &["v1", "events", &offset.to_string(), "receipts"]);
        let answer = client.json(request).await?;
        let rows = answer.get("receipts").and_then(Value::as_array).cloned().unwrap_or_default();
        return output::objects(asked, &["subscriber", "state", "time", "attempts"], &rows);
    }
    let mut query = vec![("limit", "1000".to_owned())];
    query.extend(receipts.offset.map(|offset| ("offset", offset.to_string())));
    query.extend(receipts.subscriber.map(|name| ("subscriber", name)));
    query.extend(receipts.channel.map(|channel| ("channel", channel)));
    let columns = ["subscriber", "from", "to", "time", "outcome", "attempts", "status", "reason"];
    let mut rows: Vec<Value> = Vec::new();
    loop {
        let page = client.json(client.request(Method::GET, &["v1", "receipts"]).query(&query)).await?;
        rows.extend(page.get("receipts").and_then(Value::as_array).cloned().unwrap_or_default());
        query.retain(|(name, _)| *name != "after");
        match page.get("next").and_then(Value::as_str) {
            Some(next) => query.push(("after", next.to_owned())),
            None => return output::objects(asked, &columns, &rows),
        }
    }
}
