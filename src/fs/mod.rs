//! Floor 1: the only way to a disk.
//!
//! The log, the ledger, keys and quarantine do all I/O through [`Fs`] and [`File`], so that tests
//! can put a disk underneath that loses, tears and refuses ([`MemoryFs`]), and one that mangles
//! every byte to prove that nobody goes round the seam ([`MangleFs`]).

mod choices;
mod disk;
mod mangle;
mod memory;
mod real;
mod salvage;

pub use choices::Choices;
pub use disk::WrongRead;
pub use mangle::MangleFs;
pub use memory::{Fault, MemoryFs, Want};
pub use real::RealFs;
use salvage::unreadable;
pub use salvage::{SalvageFs, is_unreadable, read_around};

use std::io;
use std::path::Path;
use std::sync::Arc;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must exist.
    Write,
    /// For reading and writing, made empty.
    Create,
}

/// A file system, as much of one as a log needs.
///
/// What a caller may count on after a crash:
/// 1. The name of a file MUST be taken as lost until [`Fs::sync_dir`] returned for its directory
///    after the call that made, renamed or removed it. Names not synced may survive in any combination.
/// 2. [`Fs::rename`] replaces in one step: after a crash the new name leads to the old file or to
///    the new one, never to nothing.
/// 3. What stands behind a name is [`File`]'s business: a synced name of an unsynced file may lead to zeros.
pub trait Fs: Send + Sync + 'static {
    /// Makes a directory and those above it, durably; one that exists is left alone.
    ///
    /// # Errors
    /// The system's.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names in a directory, in no order.
    ///
    /// # Errors
    /// The system's, `NotFound` among them.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Opens a file.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;

    /// Gives a file another name, replacing what had it.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name.
    ///
    /// # Errors
    /// The system's; `AlreadyExists` where something has that name.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name; whoever has the file open keeps it.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Bytes that can still be written below a directory.
    ///
    /// # Errors
    /// The system's.
    fn free(&self, dir: &Path) -> io::Result<u64>;

    /// Makes the directory's names durable.
    ///
    /// # Errors
    /// The system's. After one the names MUST NOT be relied on.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file; every position is absolute.
///
/// What a caller may count on after a crash:
/// 1. Of bytes written since the last successful [`File::sync`] each sector of 512 bytes may hold
///    any of its versions, independent of its neighbours, and the length any of its values.
/// 2. After a failed [`File::sync`] the bytes MUST be taken as lost for good: a later success says
///    nothing about them (Rebello et al., "Can Applications Recover from fsync Failures?", ATC '20).
#[expect(clippy::len_without_is_empty, reason = "no caller asks whether a file is empty")]
pub trait File: Send + Sync {
    /// Its length in bytes.
    ///
    /// # Errors
    /// The system's.
    fn len(&self) -> io::Result<u64>;

    /// Reads until the buffer is full or the file ends; tells how much that was.
    ///
    /// # Errors
    /// The system's.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes all of it.
    ///
    /// # Errors
    /// The system's; any part of the bytes may have been written.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// Cuts the file.
    ///
    /// # Errors
    /// The system's.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes bytes and length durable.
    ///
    /// # Errors
    /// The system's; final, see above.
    fn sync(&self) -> io::Result<()>;

    /// Takes the file's lock for this process; `false` where another one has it.
    ///
    /// # Errors
    /// The system's.
    fn try_lock(&self) -> io::Result<bool>;
}

/// Reads a whole file; what the disk refuses is asked for again before it counts as gone.
///
/// # Errors
/// The system's, and `InvalidData` where it is longer than `limit`.
pub fn read_all(fs: &dyn Fs, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let file = fs.open(path, Open::Read)?;
    let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    if len > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{len} bytes where at most {limit} belong")));
    }
    let mut bytes = vec![0; len];
    let (read, refused) = read_around(&*file, &mut bytes, 0)?;
    if let Some(place) = refused.first() {
        return Err(unreadable(place));
    }
    bytes.truncate(read);
    Ok(bytes)
}

/// Puts a file in place as a whole or not at all: temporary name, sync, rename, sync of the directory.
///
/// # Errors
/// The system's; the old file is then still in place.
pub fn replace(fs: &dyn Fs, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.tmp"));
    let written = fs.open(&temporary, Open::Create).and_then(|file| {
        file.write_at(bytes, 0)?;
        file.sync()
    });
    if let Err(error) = written {
        // What came of it must not keep the rest of a full disk. The next attempt writes over it where it stays.
        fs.remove(&temporary).ok();
        return Err(error);
    }
    fs.rename(&temporary, &dir.join(name))?;
    fs.sync_dir(dir)
}

/// The directory that a name stands in.
#[must_use]
pub fn above(path: &Path) -> &Path {
    path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Keeps a file under another name, durably, before its own name goes to another: the file itself, so that what cannot
/// be read now may be read some day. Where that cannot be (another file system, one without links) these bytes of it.
///
/// # Errors
/// The system's; the file is then kept nowhere else.
pub fn keep(fs: &dyn Fs, from: &Path, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs.create_dir(dir)?;
    match fs.link(from, &dir.join(name)) {
        Ok(()) => fs.sync_dir(dir),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs.sync_dir(dir),
        Err(_) => replace(fs, dir, name, bytes),
    }
}

/// Whether an error says that too many files are open: nothing was touched, and it passes.
#[must_use]
pub fn is_out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Whether an error says that the disk is full.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
