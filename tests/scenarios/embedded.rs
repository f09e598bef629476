//! The broker in a process of somebody's own, for `test_conformance.py`.
//!
//! `embedded DATA publish CHANNEL`: publishes each line of stdin as a payload, as it stands.
//! `embedded DATA listen CHANNEL COUNT`: the durable listener `agent` prints the payloads that it had not had yet, a
//! line each, until there are so many.

use std::io::BufRead;
use std::sync::Arc;
use stentor::broker::{Broker, Options};
use tokio::sync::mpsc;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [data, rest @ ..] = words.as_slice() else { return Err("embedded DATA publish|listen …".into()) };
    let broker = Broker::open(Options::new(data)).await?;
    match rest {
        [verb, channel] if verb == "publish" => publish(&broker, channel).await?,
        [verb, channel, count] if verb == "listen" => listen(&broker, channel, count.parse()?).await?,
        _ => return Err("embedded DATA publish CHANNEL | listen CHANNEL COUNT".into()),
    }
    broker.shutdown().await;
    Ok(())
}

async fn publish(broker: &Broker, channel: &str) -> Result<(), Failure> {
    for line in std::io::stdin().lock().lines() {
        let payload: Box<serde_json::value::RawValue> = serde_json::from_str(&line?)?;
        broker.emit(channel, &payload).await?;
    }
    Ok(())
}

async fn listen(broker: &Broker, channel: &str, count: usize) -> Result<(), Failure> {
    let (heard, mut hears) = mpsc::channel(1);
    let listener = broker
        .on(channel, "agent", move |event| {
            let heard = heard.clone();
            async move { Ok(heard.send(Arc::clone(&event)).await?) }
        })
        .await?;
    for _ in 0..count {
        let event = hears.recv().await.ok_or("the listener ended")?;
        println!("{}", std::str::from_utf8(&event.payload)?);
    }
    listener.stop().await;
    Ok(())
}
