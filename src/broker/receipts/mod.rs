//! Who got what: the ledger's receipts in a view, and the questions that it answers.

mod coverage;
mod dead_letters;
mod follower;
mod of_event;
mod people;
mod query;
mod rows;

pub use dead_letters::{DeadLetter, DeadLetterPage, DeadLetterQuery};
pub(super) use follower::Receipts;
pub use of_event::EventReceipt;
pub use query::{Receipt, ReceiptPage, ReceiptQuery};
