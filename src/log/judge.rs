//! Torn or damaged: what bytes behind the last good record mean (R3, R6).

use super::LogOptions;
use super::branches::{Branch, take};
use super::error::Damage;
use super::meta::Durable;
use super::record;
use super::scan::Scanned;
use super::segment::{self, SegmentHeader};
use crate::model::{Offset, Span};
use std::path::Path;

#[expect(clippy::too_many_arguments, reason = "one place calls it, with all that is known of a tail")]
/// Whether what stands behind the last good record is damage rather than a torn tail (R3, R6).
pub(super) fn judge(
    options: &LogOptions,
    path: &Path,
    header: &SegmentHeader,
    bytes: &[u8],
    good: &Scanned,
    kept: Offset,
    last: bool,
    durable: Option<Durable>,
) -> Option<Damage> {
    let damage = |to: Offset, detail: &str| {
        let span = Span::new(good.next, to.max(good.next));
        Some(Damage { path: path.to_owned(), position: good.end as u64, span, detail: detail.to_owned() })
    };
    if !last {
        take(Branch::NoFooter);
        let to = end_of_valid(bytes, good, header.nonce);
        return damage(to, "not the newest segment, and its footer is missing or wrong");
    }
    let mut at = good.end + 1;
    while let Some((position, later)) = record::find_header(bytes, at, header.nonce) {
        if later.durable > good.next {
            take(Branch::LaterRecord);
            let to = end_of_valid(bytes, good, header.nonce);
            return damage(to, "a bad record, and a later one that was written after it was synced");
        }
        at = position + 1;
    }
    if let Some(footer) = segment::find_footer(bytes, good.end, header.nonce) {
        take(Branch::LaterFooter);
        return damage(footer.next, "a bad record before the segment's footer");
    }
    let noted = durable.filter(|d| d.segment == header.first).map(|d| d.committed);
    if let Some(committed) = noted.filter(|committed| *committed > kept) {
        take(Branch::MetaBeyond);
        return damage(committed, "a bad record, and durable.meta says that it was synced");
    }
    if options.proven > kept {
        take(Branch::LedgerBeyond);
        return damage(options.proven, "a bad record, and the ledger proves that it was synced");
    }
    None
}

/// The offset after the last valid record anywhere behind the good ones.
fn end_of_valid(bytes: &[u8], good: &Scanned, nonce: u64) -> Offset {
    let mut end = good.next;
    let mut at = good.end;
    while let Some((position, header)) = record::find_header(bytes, at, nonce) {
        end = end.max(header.offset.next());
        at = position + 1;
    }
    end
}
