//! Which branches of recovery were taken in this process: the simulator says which ones it reached.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! branches {
    ($($name:ident: $says:literal,)*) => {
        /// A branch of recovery.
        #[derive(Debug, Clone, Copy)]
        pub(super) enum Branch {
            $($name,)*
        }

        const SAYS: &[&str] = &[$($says,)*];
    };
}

branches! {
    Empty: "nothing there yet",
    Clean: "an end that the evidence confirms",
    Beyond: "valid bytes beyond the evidence, written again",
    TornTail: "a torn tail set aside and cut",
    TornBatch: "a batch that is not whole, cut from its first record",
    FinishSeal: "a seal that was under way, finished",
    Sealed: "a sealed newest segment",
    Leftover: "a segment below the start",
    OneHeader: "a header of which one copy is damaged",
    BadHeader: "a header that cannot be read, or of another place",
    NoMeta: "durable.meta missing beside segments",
    BadMeta: "durable.meta damaged",
    Hole: "a hole in offsets",
    MissingStart: "the oldest segments missing",
    NoFooter: "an older segment without its footer",
    LaterRecord: "a bad record before one that was written after its sync",
    LaterFooter: "a bad record before a footer",
    MetaBeyond: "a bad record that durable.meta says was synced",
    LedgerBeyond: "a bad record that the ledger proves was synced",
    LostData: "an end before the evidence",
}

static TAKEN: [AtomicU64; SAYS.len()] = [const { AtomicU64::new(0) }; SAYS.len()];

pub(super) fn take(branch: Branch) {
    if let Some(taken) = TAKEN.get(branch as usize) {
        taken.fetch_add(1, Ordering::Relaxed);
    }
}

/// Every branch of recovery, and how often it was taken since the process began.
#[must_use]
pub fn branches() -> Vec<(&'static str, u64)> {
    SAYS.iter().zip(&TAKEN).map(|(says, taken)| (*says, taken.load(Ordering::Relaxed))).collect()
}
