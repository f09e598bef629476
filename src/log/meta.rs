//! `durable.meta`: how far the log was synced, as evidence that does not lie in the log (R6).

use super::bytes::{take, u32_at, u64_at};
use super::error::{Damage, LogError};
use super::{LogKind, names, segment::FORMAT_VERSION};
use crate::fs::{self, File, Fs, Open};
use crate::model::{Offset, Span};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const META_MAGIC: [u8; 8] = *b"STENTMET";
const SLOT_BYTES: usize = 80;
/// Each slot has a sector of its own, so that a torn write costs one at most.
const SLOT_STRIDE: usize = 512;

/// What was known to be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Durable {
    /// Counts the writes; the higher one of two slots is the newer.
    pub(crate) sequence: u64,
    pub(crate) log_id: [u8; 16],
    /// The offset after the last synced record.
    pub(crate) committed: Offset,
    /// The active segment.
    pub(crate) segment: Offset,
    /// The end of the last synced record in it.
    pub(crate) position: u64,
}

/// The open file.
pub(crate) struct Meta {
    file: Arc<dyn File>,
    path: PathBuf,
    kind: LogKind,
    pub(crate) latest: Durable,
    /// The slot that survives a power cut: never written to, until the other one is synced.
    safe_slot: u64,
    /// Whether the other slot was written since.
    written: bool,
    /// Whether the last write to it failed, and may have torn what stood there.
    torn: bool,
}

fn encode(kind: LogKind, durable: &Durable) -> Vec<u8> {
    let mut out = Vec::with_capacity(SLOT_BYTES);
    out.extend_from_slice(&META_MAGIC);
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&(kind as u32).to_le_bytes());
    out.extend_from_slice(&durable.log_id);
    for number in [durable.sequence, durable.committed.0, durable.segment.0, durable.position] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.resize(SLOT_BYTES - 4, 0);
    out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    out
}

fn decode(kind: LogKind, slot: &[u8]) -> Option<Result<Durable, u32>> {
    let slot = slot.get(..SLOT_BYTES)?;
    let crc = crc32fast::hash(slot.get(..SLOT_BYTES - 4)?);
    if !slot.starts_with(&META_MAGIC) || u32_at(slot, SLOT_BYTES - 4) != crc || u32_at(slot, 12) != kind as u32 {
        return None;
    }
    // No log is synced so often; the next number has to exist.
    if u64_at(slot, 32) == u64::MAX {
        return None;
    }
    let version = u32_at(slot, 8);
    if version != FORMAT_VERSION {
        return Some(Err(version));
    }
    Some(Ok(Durable {
        log_id: take(slot, 16),
        sequence: u64_at(slot, 32),
        committed: Offset(u64_at(slot, 40)),
        segment: Offset(u64_at(slot, 48)),
        position: u64_at(slot, 56),
    }))
}

impl Meta {
    /// Makes the file for a new log; durable before any segment is (R8).
    pub(crate) fn create(fs: &dyn Fs, dir: &Path, kind: LogKind, log_id: [u8; 16]) -> Result<Self, LogError> {
        let path = dir.join(names::META);
        let latest = Durable { sequence: 0, log_id, committed: Offset::ZERO, segment: Offset::ZERO, position: 0 };
        let mut bytes = encode(kind, &latest);
        bytes.resize(2 * SLOT_STRIDE, 0);
        fs::replace(fs, dir, names::META, &bytes).map_err(LogError::io(&path))?;
        let file = fs.open(&path, Open::Write).map_err(LogError::io(&path))?;
        Ok(Self { file, path, kind, latest, safe_slot: 0, written: false, torn: false })
    }

    /// Reads the newer of the two slots, and tells which it is; `None` where there is no file.
    pub(crate) fn read(fs: &dyn Fs, dir: &Path, kind: LogKind) -> Result<Option<(Durable, u64)>, LogError> {
        let path = dir.join(names::META);
        let damage = |detail: &str| {
            let span = Span::new(Offset::ZERO, Offset::ZERO);
            Damage { path: path.clone(), position: 0, span, detail: detail.to_owned() }
        };
        let bytes = match fs::read_all(fs, &path, 4096) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // Not what was written, and so nothing that a second try would mend.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(damage("is longer than it can be, so how far the log was durable is not known").into());
            }
            Err(error) if fs::is_unreadable(&error) => {
                let detail = format!("cannot be read, so how far the log was durable is not known: {error}");
                return Err(damage(&detail).into());
            }
            other => other.map_err(LogError::io(&path))?,
        };
        let slots = [decode(kind, &bytes), decode(kind, bytes.get(SLOT_STRIDE..).unwrap_or_default())];
        let mut newest: Option<(Durable, u64)> = None;
        for (slot, number) in slots.into_iter().zip(0..) {
            let Some(slot) = slot else { continue };
            let slot = slot.map_err(|found| LogError::Unknown { path: path.clone(), what: "format version", found })?;
            newest = newest.filter(|(other, _)| other.sequence >= slot.sequence).or(Some((slot, number)));
        }
        let neither = "neither slot is valid, so how far the log was durable is not known";
        newest.map(Some).ok_or_else(|| damage(neither).into())
    }

    /// Opens the file to go on from its newer slot.
    pub(crate) fn open(
        fs: &dyn Fs,
        dir: &Path,
        kind: LogKind,
        (latest, safe_slot): (Durable, u64),
    ) -> Result<Self, LogError> {
        let path = dir.join(names::META);
        let file = fs.open(&path, Open::Write).map_err(LogError::io(&path))?;
        // What was read may have been in the page cache only, where a killed process left it: before the other slot is
        // touched, this one is made durable, by writing it again and not by trusting what is cached (R7).
        let again = file.write_at(&encode(kind, &latest), safe_slot * SLOT_STRIDE as u64).and_then(|()| file.sync());
        again.map_err(LogError::io(&path))?;
        Ok(Self { file, path, kind, latest, safe_slot, written: false, torn: false })
    }

    /// Notes a new end, in the slot that is not the safe one. Survives a kill of the process; a power cut only after [`Meta::sync`].
    pub(crate) fn write(&mut self, committed: Offset, segment: Offset, position: u64) -> io::Result<()> {
        let next =
            Durable { sequence: self.latest.sequence + 1, committed, segment, position, log_id: self.latest.log_id };
        let at = (1 - self.safe_slot) * SLOT_STRIDE as u64;
        // Until it is written again a slot that is torn is not worth a sync, and never the safe one.
        (self.written, self.torn) = (false, true);
        self.file.write_at(&encode(self.kind, &next), at)?;
        self.latest = next;
        (self.written, self.torn) = (true, false);
        Ok(())
    }

    /// Makes the slot that was written since the last call the safe one.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.torn {
            let Durable { committed, segment, position, .. } = self.latest;
            match self.write(committed, segment, position) {
                // The safe slot says less until there is space again.
                Err(error) if fs::is_full(&error) => return Ok(()),
                other => other?,
            }
        }
        if std::mem::replace(&mut self.written, false) {
            self.file.sync()?;
            self.safe_slot = 1 - self.safe_slot;
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
