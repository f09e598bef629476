//! `stentor publish`.

use super::args::{OutputKind, Publish};
use super::exit::{Exit, Outcome};
use super::output;
use crate::client::{Client, PublishOptions};
use crate::model::limits;
use std::path::Path;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

/// Events in one request of `--ndjson`.
const BATCH_EVENTS: usize = 1_000;
const BATCH_BYTES: usize = limits::MAX_BATCH_BYTES / 2;

pub(super) async fn run(publish: Publish) -> Outcome {
    let client = publish.connection.client()?;
    if let Some(file) = &publish.ndjson {
        return many(&client, file, publish.connection.output()).await;
    }
    let payload = match publish.data.as_deref() {
        None | Some("-") => {
            let mut payload = Vec::new();
            tokio::io::stdin().read_to_end(&mut payload).await?;
            payload
        }
        Some(data) => data.as_bytes().to_vec(),
    };
    let header = |text: &String| {
        let pair = text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        pair.ok_or_else(|| Exit::Usage.because(format!("--header: '{text}' is not NAME=VALUE")))
    };
    let options = PublishOptions {
        id: publish.id,
        key: publish.key,
        headers: publish.headers.iter().map(header).collect::<Result<_, _>>()?,
        content_type: publish.content_type,
    };
    let channel = publish.channel.unwrap_or_default();
    let ack = client.publish_bytes(&channel, payload, options).await?;
    let shown = serde_json::to_value(ack).map_err(|error| Exit::Failed.because(error.to_string()))?;
    output::object(publish.connection.output(), &shown)
}

/// Publishes a file in batches, each all or none; says after which line it stopped where one is refused.
async fn many(client: &Client, file: &Path, asked: Option<OutputKind>) -> Outcome {
    let opened: Box<dyn tokio::io::AsyncRead + Unpin> = if file.as_os_str() == "-" {
        Box::new(tokio::io::stdin())
    } else {
        let opened = super::output::reader(file);
        Box::new(opened.map_err(|error| super::exit::of_file(file, &error))?)
    };
    let mut lines = BufReader::new(opened).lines();
    let bar = output::progress(None, "published");
    let (mut batch, mut count, mut done) = (String::new(), 0, 0u64);
    loop {
        let line = lines.next_line().await?;
        let ended = line.is_none();
        if let Some(line) = line.filter(|line| !line.trim().is_empty()) {
            batch.push_str(&line);
            batch.push('\n');
            count += 1;
        }
        if count > 0 && (ended || count >= BATCH_EVENTS || batch.len() >= BATCH_BYTES) {
            let request = client.request(reqwest::Method::POST, &["v1", "events"]);
            let request = request.header("content-type", "application/x-ndjson").body(std::mem::take(&mut batch));
            if let Err(error) = client.json(request).await {
                let mut fault = super::exit::Fault::from(error);
                fault.message = format!("{done} lines are published; behind them: {}", fault.message);
                return Err(fault);
            }
            done += count as u64;
            count = 0;
            bar.set_position(done);
        }
        if ended {
            bar.finish_and_clear();
            return output::object(asked, &serde_json::json!({"published": done}));
        }
    }
}
