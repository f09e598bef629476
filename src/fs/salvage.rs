//! Reading around bad sectors: a disk that gives most of a file back and refuses some of it with an I/O error.
//!
//! What it refuses comes as zeros, which no checksum takes for anything: so it is met as damage, at its place, like
//! bits that turned. Only for those who were told that something is damaged and want the rest (R5); everybody else
//! gets the disk's error.

use super::{File, Fs, Open};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// The unit in which a disk refuses: a page of the cache, eight sectors of 512 bytes.
const PAGE: usize = 4096;

/// How often a page is asked for before it counts as gone: a disk under strain gives many back the second time.
const TRIES: usize = 3;

/// Whether an error says that the disk cannot give bytes back, rather than that something else went wrong: the errors
/// that Linux has for a medium that fails and for a checksum of its own that does not hold.
#[must_use]
pub fn is_unreadable(error: &io::Error) -> bool {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(errno) => matches!(errno, Errno::IO | Errno::NODATA | Errno::ILSEQ | Errno::BADMSG | Errno::UCLEAN),
        None => error.kind() == io::ErrorKind::Other,
    }
}

/// Reads from `position` on, as much as there is and fits; tells how much that is, and where zeros stand for what
/// cannot be read.
///
/// # Errors
/// Any that says nothing about the medium ([`is_unreadable`]), and where the file does not even tell its length.
pub fn read_around(file: &dyn File, buffer: &mut [u8], position: u64) -> io::Result<(usize, Vec<Range<u64>>)> {
    match file.read_at(buffer, position) {
        Ok(read) => return Ok((read, Vec::new())),
        Err(error) if !is_unreadable(&error) => return Err(error),
        Err(_) => {}
    }
    let there = usize::try_from(file.len()?.saturating_sub(position)).unwrap_or(usize::MAX).min(buffer.len());
    let mut refused: Vec<Range<u64>> = Vec::new();
    let mut at = 0;
    while at < there {
        let from = position + at as u64;
        let page = (PAGE - usize::try_from(from % PAGE as u64).unwrap_or(0)).min(there - at);
        let Some(part) = buffer.get_mut(at..at + page) else { break };
        if !is_given_back(file, part, from)? {
            part.fill(0);
            match refused.last_mut().filter(|last| last.end == from) {
                Some(last) => last.end += page as u64,
                None => refused.push(from..from + page as u64),
            }
        }
        at += page;
    }
    Ok((there, refused))
}

/// The error of a disk that does not give these bytes back.
pub(super) fn unreadable(place: &Range<u64>) -> io::Error {
    io::Error::other(format!("the disk does not give bytes {} to {} back", place.start, place.end))
}

fn is_given_back(file: &dyn File, page: &mut [u8], from: u64) -> io::Result<bool> {
    for _ in 0..TRIES {
        match file.read_at(page, from) {
            Ok(_) => return Ok(true),
            Err(error) if !is_unreadable(&error) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(false)
}

/// Wraps another file system, and reads around what its disk refuses.
pub struct SalvageFs(pub Arc<dyn Fs>);

struct SalvagedFile(Arc<dyn File>);

impl Fs for SalvageFs {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(SalvagedFile(self.0.open(path, how)?)))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.link(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn free(&self, dir: &Path) -> io::Result<u64> {
        self.0.free(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
}

impl File for SalvagedFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let (read, refused) = read_around(&*self.0, buffer, position)?;
        if !refused.is_empty() {
            tracing::error!(?refused, "the disk does not give these bytes back");
        }
        Ok(read)
    }
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.0.write_at(bytes, position)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn try_lock(&self) -> io::Result<bool> {
        self.0.try_lock()
    }
}
