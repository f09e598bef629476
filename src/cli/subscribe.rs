//! `stentor subscribe`.

use super::args::Subscribe;
use super::exit::{Exit, Outcome};
use super::output;
use crate::client::{Heard, Listen, Listening, Received};
use std::process::Stdio;
use tokio::io::AsyncWriteExt;

pub(super) async fn run(subscribe: Subscribe) -> Outcome {
    let client = subscribe.connection.client()?;
    let people = output::for_people(subscribe.connection.output());
    let mut listen = Listen::to(subscribe.patterns);
    if let Some(name) = &subscribe.name {
        listen = listen.named(name);
    }
    if let Some(from) = &subscribe.from {
        listen = listen.from(from);
    }
    let mut listening = client.listen(listen);
    let (mut count, mut order) = (0, Order::default());
    loop {
        let heard = listening.next().await?;
        if subscribe.name.is_some() && !order.wants(&heard) {
            // It comes again although it was acknowledged: the ack was refused, or it crossed the event.
            if let Some(done) = order.repeats(&heard) {
                listening.ack(done).await?;
            }
            continue;
        }
        match heard {
            Heard::Event(event) => {
                let done = match &subscribe.exec {
                    Some(command) => listening.while_working(event.offset, execute(command, &event)).await?,
                    None => {
                        output::line(&if people { readable(&event) } else { one_line(&event)? })?;
                        true
                    }
                };
                if !done {
                    failed(&subscribe.name, &mut listening, event.offset).await;
                    order.again = Some(event.offset);
                    continue;
                }
                if subscribe.name.is_some() {
                    listening.ack(event.offset).await?;
                    order.done = Some(event.offset);
                }
                count += 1;
                if subscribe.count == Some(count) {
                    return listening.leave().await.map_err(Into::into);
                }
            }
            Heard::Gap { from, to } => output::say(format_args!("events from {from} to {to} are no longer kept")),
            Heard::Reconnecting { reason } => output::say(format_args!("{reason}; coming back")),
            Heard::Subscribed { .. } | Heard::CaughtUp { .. } => {}
        }
    }
}

/// What of that which was sent already still counts. An ack covers everything before it: nothing may be done, and
/// acknowledged, behind an event that is to come again.
#[derive(Default)]
struct Order {
    /// Comes again, and until then nothing counts.
    again: Option<u64>,
    /// Acknowledged; it may have been sent twice by then.
    done: Option<u64>,
}

impl Order {
    fn wants(&mut self, heard: &Heard) -> bool {
        match heard {
            Heard::Event(event) => {
                self.again = self.again.filter(|again| *again != event.offset);
                self.again.is_none() && self.done.is_none_or(|done| event.offset > done)
            }
            Heard::Gap { to, .. } => {
                self.again = self.again.filter(|again| *again >= *to);
                true
            }
            // Delivery begins at the cursor, wherever that was moved.
            Heard::Subscribed { .. } => {
                *self = Self::default();
                true
            }
            Heard::CaughtUp { .. } | Heard::Reconnecting { .. } => true,
        }
    }

    /// What to acknowledge anew: nothing where an event before it is to come again.
    fn repeats(&self, heard: &Heard) -> Option<u64> {
        let Heard::Event(event) = heard else { return None };
        self.done.filter(|done| self.again.is_none() && event.offset <= *done)
    }
}

/// A durable subscriber gets the event again; nobody else remembers it, so that it is said.
async fn failed(name: &Option<String>, listening: &mut Listening, offset: u64) {
    if name.is_some() {
        output::say(format_args!("the command failed on offset {offset}; it comes again in 5 s"));
        listening.nack(offset, "5s").await;
    } else {
        output::say(format_args!("the command failed on offset {offset}; with --as it would come again"));
    }
}

fn readable(event: &Received) -> String {
    format!("{:>8}  {}  {}  {}", event.offset, event.time, event.channel, event.data())
}

fn one_line(event: &Received) -> Result<String, super::exit::Fault> {
    serde_json::to_string(event).map_err(|error| Exit::Failed.because(error.to_string()))
}

/// Runs a command with the event on its stdin; whether it ended well.
async fn execute(command: &str, event: &Received) -> Result<bool, super::exit::Fault> {
    let mut child = tokio::process::Command::new("sh").arg("-c").arg(command).stdin(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input may still end well.
        let written = stdin.write_all(one_line(event)?.as_bytes()).await;
        if let Err(error) = written {
            tracing::debug!(%error, "the command did not read the event");
        }
    }
    Ok(child.wait().await?.success())
}
