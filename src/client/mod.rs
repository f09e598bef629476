//! Beside the house: the Rust client. It speaks PROTOCOL.md over the network and imports `model` alone.
//!
//! ```no_run
//! # async fn run() -> Result<(), stentor::client::ClientError> {
//! use stentor::client::{Client, Heard, Listen};
//!
//! let client = Client::new("http://127.0.0.1:7836")?;
//! client.publish("key.activated", &serde_json::json!({"provider": "openai_primary"})).await?;
//!
//! // Reconnects by itself, and goes on where this name was.
//! let mut listening = client.listen(Listen::to(["key.*"]).named("worker").from("earliest"));
//! loop {
//!     if let Heard::Event(event) = listening.next().await? {
//!         println!("{} {}", event.offset, event.data());
//!         listening.ack(event.offset).await?;
//!     }
//! }
//! # }
//! ```

mod http;
mod listen;
mod message;

pub use http::{Client, ClientError, PublishAck, PublishOptions};
pub use listen::{Heard, Listen, Listening};
pub use message::Received;
