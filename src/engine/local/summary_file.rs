//! Summaries of sealed segments on disk, in `views/segments/`: views, checked before they are believed.
//!
//! One file a segment: what [`Stored`] holds, then the CRC-32 of it. A file that is missing, damaged or of
//! another segment is made again by reading the segment.

use super::idempotency::{self, Known};
use super::summary::{InSegment, Summaries, Summary};
use crate::codec::{self, decode_event};
use crate::engine::EngineError;
use crate::fs::{self, Fs};
use crate::log::{Segment, Segments};
use crate::model::{Channel, Offset, Span, Timestamp, limits};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

const VERSION: u8 = 2;
const MAX_BYTES: usize = 1 << 30;

#[derive(Serialize, Deserialize)]
struct Stored {
    /// The digest in the segment's footer: whose summary this is.
    digest: [u8; 32],
    first: u64,
    next: u64,
    channels: BTreeMap<String, (u64, Vec<u8>)>,
    /// Offsets that were given up.
    gaps: Vec<(u64, u64)>,
    /// Ids that publishers gave: hash, offset relative to the first, time.
    ids: Vec<(u64, u32, u64)>,
}

fn name(first: Offset) -> String {
    format!("{:020}.sum", first.0)
}

/// A segment's summary, with its publishers' ids: from the file, or from the segment itself.
pub(super) fn load(fs: &dyn Fs, dir: &Path, segments: &Segments, segment: &Segment) -> Result<Summary, EngineError> {
    if let Some(footer) = segment.footer()
        && let Some(kept) = read(fs, dir, segment.first(), footer.digest)
    {
        return Ok(kept);
    }
    scan(segments, segment)
}

fn read(fs: &dyn Fs, dir: &Path, first: Offset, digest: [u8; 32]) -> Option<Summary> {
    let bytes = fs::read_all(fs, &dir.join(name(first)), MAX_BYTES).ok()?;
    let stored: Stored = codec::decode_checked(VERSION, &bytes).ok()?;
    if stored.digest != digest || stored.first != first.0 {
        return None;
    }
    let mut summary = Summary { first, next: Offset(stored.next), kept: true, ..Summary::default() };
    for (channel, (last_time, offsets)) in stored.channels {
        let offsets = RoaringBitmap::deserialize_from(offsets.as_slice()).ok()?;
        summary.channels.insert(Channel::parse(&channel).ok()?, InSegment { offsets, last_time: Timestamp(last_time) });
    }
    summary.gaps = stored.gaps.into_iter().map(|(from, to)| Span::new(Offset(from), Offset(to))).collect();
    let known =
        |(hash, at, time): (u64, u32, u64)| Known { hash, offset: first.plus(u64::from(at)), time: Timestamp(time) };
    summary.ids = stored.ids.into_iter().map(known).collect();
    Some(summary)
}

/// Writes a summary. It is a view: where that fails, it is tried again, or made again at the next start.
fn write(fs: &dyn Fs, dir: &Path, summary: &Summary, digest: [u8; 32]) -> io::Result<()> {
    let mut channels = BTreeMap::new();
    for (channel, here) in &summary.channels {
        let mut offsets = Vec::with_capacity(here.offsets.serialized_size());
        here.offsets.serialize_into(&mut offsets)?;
        channels.insert(channel.to_string(), (here.last_time.0, offsets));
    }
    let relative = |known: &Known| u32::try_from(known.offset.since(summary.first)).unwrap_or(u32::MAX);
    let stored = Stored {
        digest,
        first: summary.first.0,
        next: summary.next.0,
        channels,
        gaps: summary.gaps.iter().map(|gap| (gap.from.0, gap.to.0)).collect(),
        ids: summary.ids.iter().map(|known| (known.hash, relative(known), known.time.0)).collect(),
    };
    let bytes = codec::encode_checked(VERSION, &stored);
    fs.create_dir(dir)?;
    fs::replace(fs, dir, &name(summary.first), &bytes)
}

/// Makes a summary by reading the segment.
fn scan(segments: &Segments, segment: &Segment) -> Result<Summary, EngineError> {
    let mut summary = Summary::new(segment.first());
    let (mut at, mut hint) = (segment.first(), None);
    while at < segment.next() {
        let block = segments.read(at, hint, limits::READ_BLOCK_BYTES)?;
        for record in &block.records {
            let (offset, time) = (record.header.offset, record.header.time);
            let event =
                decode_event(offset, time, &record.body).map_err(|source| EngineError::Event { offset, source })?;
            summary.note(offset, time, &event.head.channel, idempotency::hash(&event.head, 0));
        }
        summary.gaps.extend(block.gap);
        (at, hint) = (block.next.max(at.next()), block.hint);
    }
    summary.next = segment.next();
    Ok(summary)
}

impl Summaries {
    /// Keeps the summaries of segments that were sealed lately, so that the next start need not read them.
    pub(super) fn keep_sealed(&self, fs: &dyn Fs, dir: &Path, segments: &Segments) {
        for summary in self.unkept() {
            let segment = segments.list().into_iter().find(|segment| segment.first() == summary.first);
            let Some(footer) = segment.and_then(|segment| segment.footer()) else { continue };
            match write(fs, dir, &summary, footer.digest) {
                Ok(()) => self.set_kept(summary.first),
                Err(error) => tracing::warn!(%error, segment = %summary.first, "a segment's summary is not kept yet"),
            }
        }
    }

    /// Removes the files of segments that are gone.
    pub(super) fn remove_files(fs: &dyn Fs, dir: &Path, firsts: impl Iterator<Item = Offset>) {
        for first in firsts {
            if let Err(error) = fs.remove(&dir.join(name(first)))
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, segment = %first, "a retired segment's summary stays behind");
            }
        }
    }
}
