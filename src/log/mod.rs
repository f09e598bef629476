//! Floor 3: the segmented log. docs/FORMAT.md gives every byte, and came first.
//!
//! A log is a directory of segments, named by their first offset, each a header, records, and once
//! it is sealed a footer. One [`Writer`] appends groups of records; a group is written, synced,
//! and only then readable. The group after it is not written before that sync returned, and every
//! record says where its group began: so what a crash tore off can be told from damage.
//!
//! ```text
//! publishers ──► filling group ──► commit thread: write, sync, durable.meta ──► tickets
//!                                        │
//! readers  ◄── blocks ◄── Segments ◄─────┘ extent
//! ```
//!
//! [`Log`] is the log with its committing thread. The same log serves events and the ledger; what
//! rides along with a record is its owner's business ([`Hook`]).

mod ahead;
mod branches;
mod bytes;
mod commit;
mod error;
mod index;
mod judge;
mod mend;
mod meta;
mod names;
mod pieces;
mod record;
mod recover;
mod scan;
mod scrub;
mod segment;
mod segments;
mod tail;
mod ticket;
mod verify;
mod writer;

pub use ahead::Fill;
pub use branches::branches;
pub use commit::{Committed, Filling, Hook, Log};
pub use error::{Damage, Failure, LogError};
pub use mend::{Filled, Mended, Owner, mend, survey};
pub use record::{RecordHeader, RecordKind};
pub use recover::{Recovered, recover};
pub use scrub::Scrub;
pub use segment::Footer;
pub use segments::{Block, Hint, OnDamage, Record, Segment, Segments};
pub use tail::Cut;
pub use ticket::Ticket;
pub use verify::{Finding, Verified, Visit, verify};
pub use writer::{Group, Snapshot, Writer, remove_retired, set_aside_returned};

use crate::model::{Offset, limits};
use std::path::PathBuf;
use std::time::Duration;

/// Which of the two logs a directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum LogKind {
    /// What was published.
    Events = 1,
    /// What happened to it.
    Ledger = 2,
}

impl LogKind {
    pub(crate) fn parse(kind: u32) -> Option<Self> {
        match kind {
            1 => Some(Self::Events),
            2 => Some(Self::Ledger),
            _ => None,
        }
    }

    /// Its directory's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Ledger => "ledger",
        }
    }
}

/// What to do with damage when a log is opened (R5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recover {
    /// Refuse to open.
    #[default]
    Refuse,
    /// Open without writing; tell what is damaged as gaps.
    ServeReadable,
    /// Keep what can be read, give the rest up for good, and go on behind it: the operator's word.
    AcceptLoss,
}

/// Gives each new segment its random nonce; a simulator gives its own.
pub type Nonces = Box<dyn FnMut() -> u64 + Send>;

/// How a log is opened.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Where it lies.
    pub dir: PathBuf,
    /// Where cut tails are kept.
    pub quarantine: PathBuf,
    /// Which log it is.
    pub kind: LogKind,
    /// The id that a new log gets.
    pub new_id: [u8; 16],
    /// Bytes of a segment before the next begins.
    pub segment_bytes: u64,
    /// What to do with damage.
    pub recover: Recover,
    /// When the next segment is filled.
    pub fill: Fill,
    /// How often the evidence of the end is synced while the log is open.
    pub evidence_every: Duration,
    /// The lowest offset that must still be there. Where nothing is said it is the oldest that is there, and
    /// the owner checks it: a ledger says itself where it begins.
    pub start: Option<Offset>,
    /// The log was durable at least up to here, by evidence that lies elsewhere (R6).
    pub proven: Offset,
}

impl LogOptions {
    /// The log of this kind below a data directory, with its default sizes.
    #[must_use]
    pub fn new(data: &std::path::Path, kind: LogKind, new_id: [u8; 16]) -> Self {
        Self {
            dir: data.join(kind.as_str()),
            quarantine: data.join("quarantine"),
            kind,
            new_id,
            segment_bytes: match kind {
                LogKind::Events => limits::EVENT_SEGMENT_BYTES,
                LogKind::Ledger => limits::LEDGER_SEGMENT_BYTES,
            },
            recover: Recover::Refuse,
            fill: Fill::Ahead,
            evidence_every: Duration::from_secs(1),
            start: None,
            proven: Offset::ZERO,
        }
    }
}
