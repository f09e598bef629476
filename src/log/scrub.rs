//! Reading sealed segments again, slowly, so that rot is found before a listener finds it (R12).

use super::error::{Damage, LogError};
use super::segment::{DATA_START, FOOTER_BYTES, Footer, SegmentHeader};
use super::segments::{Hint, Segment, Segments};
use crate::model::{Offset, Span, limits};

/// Where a scrub of one log stands.
#[derive(Debug, Default)]
pub struct Scrub {
    at: Offset,
    hint: Option<Hint>,
}

impl Scrub {
    /// Goes on for about `bytes`, and says what damage it met; what a disk does not give back is damaged too. Begins
    /// again at the end.
    pub fn go_on(&mut self, segments: &Segments, bytes: u64) -> Vec<Damage> {
        let mut met = Vec::new();
        let mut left = bytes;
        while left > 0 {
            let list = segments.list();
            let sealed = list.iter().filter(|segment| segment.footer().is_some());
            let Some(segment) = sealed.into_iter().find(|segment| segment.next() > self.at) else {
                *self = Self::default();
                break;
            };
            if self.at <= segment.first() {
                self.at = segment.first();
                let framed = twice(|| frame(segment));
                met.extend(framed.unwrap_or_else(|error| Some(unreadable(segment, self.at, 0, &error))));
            }
            match twice(|| segments.read(self.at, self.hint, limits::READ_BLOCK_BYTES)) {
                Ok(block) => {
                    let read: usize = block.records.iter().map(|record| record.header.record_len()).sum();
                    left = left.saturating_sub((read as u64).max(1));
                    (self.at, self.hint) = (block.next.max(self.at.next()), block.hint);
                }
                Err(LogError::Damaged(damage)) => {
                    (self.at, self.hint) = (damage.span.to.max(self.at.next()), None);
                    met.push(damage);
                }
                Err(error) => {
                    let position = self.hint.map_or(segment.header.records_start(), |hint| hint.position);
                    met.push(unreadable(segment, self.at, position, &error));
                    (self.at, self.hint) = (segment.next(), None);
                }
            }
        }
        met
    }
}

/// Asks again where the disk refused: a disk under strain gives much back the second time.
fn twice<R>(read: impl Fn() -> Result<R, LogError>) -> Result<R, LogError> {
    match read() {
        Err(LogError::Io { .. }) => read(),
        other => other,
    }
}

/// Somewhere at or behind an offset and a position.
fn unreadable(segment: &Segment, at: Offset, position: u64, error: &LogError) -> Damage {
    segment.damage(position, Span::new(at, segment.next()), error.to_string())
}

/// What stands around the records: both copies of the header, the snapshot, the footer.
fn frame(segment: &Segment) -> Result<Option<Damage>, LogError> {
    let harm = |position: u64, detail: &str| {
        let span = Span::new(segment.first(), segment.first());
        Ok(Some(segment.damage(position, span, detail)))
    };
    let bytes = segment.read_bytes(0, usize::try_from(DATA_START).unwrap_or(usize::MAX))?;
    if SegmentHeader::decode(&bytes) != Ok((segment.header, true)) {
        return harm(0, "a copy of the segment's header, or what stands between the copies, is damaged");
    }
    match segment.snapshot() {
        Err(LogError::Damaged(damage)) => return Ok(Some(damage)),
        other => other.map(drop)?,
    }
    let footer = segment.footer();
    let position = segment.bytes();
    let bytes = segment.read_bytes(position, FOOTER_BYTES)?;
    if Footer::decode(&bytes, segment.header.nonce) != footer {
        return harm(position, "the segment's footer is damaged");
    }
    Ok(None)
}
