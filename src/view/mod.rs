//! Floor 2: sled behind one table of typed keys.
//!
//! sled 0.34.7 never calls fsync, so it cannot be the truth; here it is a view, made from the ledger,
//! that may vanish at any moment. Whatever goes wrong with it, an error or a panic, the answer is the
//! same: set aside, and built again. Keys are a table's letter and big-endian numbers, so that they
//! sort as the numbers do. Its file I/O is the one exception to the seam in `fs`.

mod digest;
mod store;
mod tables;

pub use store::{View, ViewError};
pub use tables::{Key, Table};
