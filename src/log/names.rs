//! The names of a log's files: made here, read here, nowhere else.

use crate::model::Offset;
use std::path::Path;

/// The segment that is being filled ahead and has no place in the log yet.
pub(crate) const NEXT: &str = "next.tmp";
/// How far the log was synced, as evidence of its own.
pub(crate) const META: &str = "durable.meta";

/// The name of the segment that begins with `first`.
pub(crate) fn segment(first: Offset) -> String {
    format!("{first:020}.seg", first = first.0)
}

/// The first offset of the segment with this name.
pub(crate) fn parse_segment(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".seg")?;
    let first = (digits.len() == 20).then(|| digits.parse().ok()).flatten().map(Offset)?;
    (segment(first) == name).then_some(first)
}

/// The name under which bytes cut from a segment are kept aside. The same cut gives the same name.
pub(crate) fn quarantined(log: &str, first: Offset, position: u64, crc: u32) -> String {
    format!("{log}-{:020}-{position}-{crc:08x}.tail", first.0)
}

/// The name under which a segment is kept aside that retention had taken and that came back.
pub(crate) fn returned(dir: &Path, first: Offset) -> String {
    let log = dir.file_name().unwrap_or_default().to_string_lossy();
    format!("{log}-{}", segment(first))
}

/// The name under which a segment is kept aside that was written anew. The same bytes give the same name.
pub(crate) fn replaced(log: &str, first: Offset, crc: u32) -> String {
    format!("{log}-{:020}-{crc:08x}.seg", first.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_made_here_are_read_as_segments() {
        assert_eq!(parse_segment(&segment(Offset(483_920))), Some(Offset(483_920)));
        for other in ["next.tmp", "durable.meta", "1.seg", "+0000000000000000001.seg", "00000000000000000001.seg.bak"] {
            assert_eq!(parse_segment(other), None, "{other}");
        }
    }
}
