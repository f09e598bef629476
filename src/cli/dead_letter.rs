//! `stentor dead-letter`.

use super::connector_args::DeadLetter;
use super::exit::Outcome;
use super::output;
use reqwest::Method;
use serde_json::{Value, json};

const COLUMNS: [&str; 6] = ["subscriber", "offset", "channel", "attempts", "reason", "time"];

pub(super) async fn run(command: DeadLetter) -> Outcome {
    match command {
        DeadLetter::Ls(ls) => {
            let client = ls.connection.client()?;
            let mut rows = Vec::new();
            let mut after: Option<String> = None;
            loop {
                let mut query = vec![("limit", "1000".to_owned())];
                query.extend(ls.subscriber.clone().map(|name| ("subscriber", name)));
                query.extend(after.take().map(|after| ("after", after)));
                let page = client.json(client.request(Method::GET, &["v1", "dead-letters"]).query(&query)).await?;
                rows.extend(page.get("dead_letters").and_then(Value::as_array).cloned().unwrap_or_default());
                after = page.get("next").and_then(Value::as_str).map(str::to_owned);
                if after.is_none() {
                    return output::objects(ls.connection.output(), &COLUMNS, &rows);
                }
            }
        }
        DeadLetter::Retry(retry) => {
            let client = retry.connection.client()?;
            let asked = json!({"subscriber": retry.name, "offsets": retry.offsets});
            let request = client.request(Method::POST, &["v1", "dead-letters", "retry"]).json(&asked);
            output::object(retry.connection.output(), &client.json(request).await?)
        }
    }
}
