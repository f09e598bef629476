//! Torn or damaged: what bytes behind the last good record mean (R3, R6).

use super::branches::Branch;
use super::error::Damage;
use super::meta::Durable;
use super::record;
use super::scan::Scanned;
use super::segment::{self, SegmentHeader};
use crate::model::{Offset, Span};
use std::path::Path;

/// A segment without its footer at the end, and everything that tells how far it was synced.
pub(super) struct Unsealed<'a> {
    pub(super) path: &'a Path,
    pub(super) header: &'a SegmentHeader,
    pub(super) bytes: &'a [u8],
    /// The records that hold.
    pub(super) good: &'a Scanned,
    /// The offset after those of them that stay: a batch that is not whole does not.
    pub(super) kept: Offset,
    /// Whether no segment follows it.
    pub(super) last: bool,
    /// What durable.meta says.
    pub(super) durable: Option<Durable>,
    /// Up to where the other log proves that this one was synced.
    pub(super) proven: Offset,
}

impl Unsealed<'_> {
    /// Whether what stands behind the last good record is damage rather than a torn tail, and how that was seen.
    pub(super) fn damage(&self) -> Option<(Branch, Damage)> {
        let Self { good, .. } = self;
        let damage = |to: Offset, detail: &str| {
            let span = Span::new(good.next, to.max(good.next));
            Damage { path: self.path.to_owned(), position: good.end as u64, span, detail: detail.to_owned() }
        };
        if !self.last {
            let detail = "not the newest segment, and its footer is missing or wrong";
            return Some((Branch::NoFooter, damage(self.end_of_valid(), detail)));
        }
        let mut at = good.end + 1;
        while let Some((position, later)) = record::find_header(self.bytes, at, self.header.nonce) {
            if later.durable > good.next {
                let detail = "a bad record, and a later one that was written after it was synced";
                return Some((Branch::LaterRecord, damage(self.end_of_valid(), detail)));
            }
            at = position + 1;
        }
        if let Some(footer) = segment::find_footer(self.bytes, good.end, self.header.nonce) {
            return Some((Branch::LaterFooter, damage(footer.next, "a bad record before the segment's footer")));
        }
        let noted = self.durable.filter(|durable| durable.segment == self.header.first).map(|d| d.committed);
        if let Some(committed) = noted.filter(|committed| *committed > self.kept) {
            let detail = "a bad record, and durable.meta says that it was synced";
            return Some((Branch::MetaBeyond, damage(committed, detail)));
        }
        if self.proven > self.kept {
            let detail = "a bad record, and the ledger proves that it was synced";
            return Some((Branch::LedgerBeyond, damage(self.proven, detail)));
        }
        None
    }

    /// The offset after the last valid record anywhere behind the good ones.
    pub(super) fn end_of_valid(&self) -> Offset {
        let mut end = self.good.next;
        let mut at = self.good.end;
        while let Some((position, header)) = record::find_header(self.bytes, at, self.header.nonce) {
            end = end.max(header.offset.next());
            at = position + 1;
        }
        end
    }
}
