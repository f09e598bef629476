//! How a broker is opened.

use crate::clock::Clock;
use crate::connector::Egress;
use crate::engine::RetentionLimits;
use crate::log::Recover;
use crate::model::limits;
use crate::publish::PublishLimits;
use std::path::PathBuf;

/// Where the logs live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// In this directory.
    Local(PathBuf),
    /// In memory: gone with the process.
    Memory,
}

/// How a broker is opened. The defaults are those of `stentor serve`.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the logs live.
    pub storage: Storage,
    /// What to do with damage.
    pub recover: Recover,
    /// How long and how much is kept.
    pub retention: RetentionLimits,
    /// How large a publish may be.
    pub publish: PublishLimits,
    /// Which addresses connectors may reach.
    pub egress: Egress,
    /// Bytes of an event segment.
    pub event_segment_bytes: u64,
    /// Bytes of a ledger segment.
    pub ledger_segment_bytes: u64,
    /// Publishes are refused while less than this is free on the disk; acks and receipts go on.
    pub reserve_bytes: u64,
    /// Bytes of sealed segments that are read again each second to find rot; none with 0.
    pub scrub_bytes: u64,
    /// The wall clock.
    pub clock: Clock,
}

impl Options {
    /// A broker on this data directory.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self { storage: Storage::Local(data.into()), ..Self::memory() }
    }

    /// A broker that forgets everything when it ends.
    #[must_use]
    pub fn memory() -> Self {
        Self {
            storage: Storage::Memory,
            recover: Recover::Refuse,
            retention: RetentionLimits::default(),
            publish: PublishLimits::default(),
            egress: Egress { loopback: true, ..Egress::default() },
            event_segment_bytes: limits::EVENT_SEGMENT_BYTES,
            ledger_segment_bytes: limits::LEDGER_SEGMENT_BYTES,
            reserve_bytes: limits::RESERVE_BYTES,
            scrub_bytes: limits::SCRUB_BYTES,
            clock: Clock::Machine,
        }
    }
}
