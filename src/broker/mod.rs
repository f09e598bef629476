//! Floor 7: the broker as a library, and what the rest of the house stands on.
//!
//! ```
//! # async fn run() -> Result<(), stentor::broker::Error> {
//! use stentor::broker::{Broker, Options};
//!
//! let folder = tempfile::tempdir().expect("a folder");
//! let broker = Broker::open(Options::new(folder.path())).await?;
//!
//! // Durable because it has a name; acknowledged when the handler returns Ok, tried again when it returns Err.
//! let (heard, mut hears) = tokio::sync::mpsc::channel(1);
//! let agent = broker.on("key.*", "agent", move |event| {
//!     let heard = heard.clone();
//!     async move { Ok(heard.send(event.offset).await?) }
//! }).await?;
//!
//! let published = broker.emit("key.activated", &serde_json::json!({"provider": "openai_primary"})).await?;
//! assert_eq!(hears.recv().await, Some(published.offset));
//!
//! agent.stop().await;
//! broker.shutdown().await;
//! # Ok(())
//! # }
//! # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
//! ```

mod dispatch;
mod error;
mod export;
mod exported;
mod facade;
mod listener;
mod maintain;
mod options;
mod pace;
mod reading;
mod receipts;
mod repair;
mod verify;

pub use error::{Error, ErrorKind};
pub use export::Export;
pub use exported::ExportedLine;
pub use facade::{Broker, Health, Published};
pub use listener::Listener;
pub use options::{Options, Storage};
pub use reading::{Range, RangeQuery};
pub use receipts::{DeadLetter, DeadLetterPage, DeadLetterQuery, EventReceipt, Receipt, ReceiptPage, ReceiptQuery};
pub use repair::{Reopen, repair};
pub use verify::{Report, verify_data, verify_export};
