//! Floor 8: the broker over HTTP and WebSocket. PROTOCOL.md says what every path means.

mod asked;
mod body;
mod cloudevents;
mod command;
mod connector_input;
mod connectors;
mod dead_letters;
mod export;
mod feed;
mod health;
mod held;
mod lines;
mod linger;
mod openapi;
mod operate;
mod origin;
mod places;
mod preview;
mod problem;
mod publish;
mod pull;
mod query;
mod read;
mod receipts;
mod refuse;
mod render;
mod router;
mod segment;
mod server;
mod sse;
mod starting;
mod subscribers;
mod ws;

pub use origin::Origins;
pub use router::{ApiOptions, router};
pub use server::{Server, ServerOptions};
