//! A disk in memory, with every fault that RELIABILITY.md asks about.

use super::disk::{Disk, WrongRead};
use super::{Choices, File, Fs, Open};
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What goes wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fault {
    /// The call, counted from 0, that fails with an I/O error; a failing write tears in the middle,
    /// a failing sync gives its bytes up.
    pub fail_call: Option<u64>,
    /// Whether every call after that one fails too.
    pub keep_failing: bool,
    /// What it fails for.
    pub want: Want,
    /// Bytes that fit on the disk.
    pub capacity: Option<u64>,
    /// Whether a failed sync also drops from the cache what it gave up; else it stays readable until the power goes.
    pub drops: bool,
    /// The call, counted from 0, that, where it reads, gives other bytes than those that were asked for.
    pub wrong_read: Option<(u64, WrongRead)>,
}

/// What a call fails for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Want {
    /// A medium that works: any call.
    #[default]
    Medium,
    /// Space: a call that asks for some, by a write, a new file, another name.
    Space,
    /// A file's number: a call that opens a file or a directory.
    Files,
}

#[derive(Debug, Default)]
struct State {
    disk: Disk,
    fault: Fault,
    calls: u64,
    trace: u64,
    misread: bool,
    struck: bool,
}

/// A file system in memory. Clones share the disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryFs(Arc<Mutex<State>>);

struct MemoryFile {
    fs: MemoryFs,
    file: usize,
    holds_lock: std::sync::atomic::AtomicBool,
}

/// A path as a number in a trace.
fn digest(path: &Path) -> u64 {
    u64::from(crc32fast::hash(path.as_os_str().as_encoded_bytes()))
}

fn broken() -> io::Error {
    io::Error::other("injected I/O error")
}

impl State {
    /// Counts a call, and gives the error that it is to fail with.
    fn fails(&mut self, asks: &[Want], what: [u64; 4]) -> Option<io::Error> {
        let call = self.calls;
        self.calls += 1;
        for word in what {
            // FNV-1a, over words: enough to tell two traces apart.
            self.trace = (self.trace ^ word).wrapping_mul(0x0100_0000_01b3);
        }
        let Fault { want, keep_failing, .. } = self.fault;
        let due = self.fault.fail_call.is_some_and(|nth| call == nth || (keep_failing && call > nth));
        let strikes = due && (want == Want::Medium || asks.contains(&want));
        self.struck |= strikes;
        strikes.then(|| match want {
            Want::Medium => broken(),
            Want::Space => io::ErrorKind::StorageFull.into(),
            Want::Files => rustix::io::Errno::MFILE.into(),
        })
    }

    fn call(&mut self, what: [u64; 4]) -> io::Result<()> {
        self.call_for(&[], what)
    }

    fn call_for(&mut self, asks: &[Want], what: [u64; 4]) -> io::Result<()> {
        self.fails(asks, what).map_or(Ok(()), Err)
    }
}

impl MemoryFs {
    /// An empty disk without faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what goes wrong from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.0.lock().fault = fault;
    }

    /// Calls made so far, each of which can be made to fail.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// A digest of all calls so far: what, where, how much. The same calls give the same one.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.0.lock().trace
    }

    /// Whether a call was made to fail.
    #[must_use]
    pub fn was_struck(&self) -> bool {
        self.0.lock().struck
    }

    /// Whether the wrong read that was set gave bytes that differ from the right ones.
    #[must_use]
    pub fn was_misread(&self) -> bool {
        self.0.lock().misread
    }

    /// The disk as a crash at this moment leaves it.
    #[must_use]
    pub fn crash(&self, choices: &mut Choices) -> MemoryFs {
        let disk = self.0.lock().disk.crash(choices);
        MemoryFs(Arc::new(Mutex::new(State { disk, ..State::default() })))
    }

    /// A second disk with the same state, unsynced parts included.
    #[must_use]
    pub fn fork(&self) -> MemoryFs {
        let mut disk = self.0.lock().disk.clone();
        disk.locked.clear();
        MemoryFs(Arc::new(Mutex::new(State { disk, ..State::default() })))
    }

    /// Flips one bit of a file, counted from its start.
    pub fn flip(&self, path: &Path, bit: usize) {
        let mut state = self.0.lock();
        if let Some(&file) = state.disk.names.get(path)
            && let Some(file) = state.disk.files.get_mut(file)
        {
            file.flip(bit);
        }
    }

    /// Every file's path and bytes.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.0.lock();
        let bytes = |file: &usize| state.disk.files.get(*file).map(|f| f.bytes.clone()).unwrap_or_default();
        state.disk.names.iter().map(|(path, file)| (path.clone(), bytes(file))).collect()
    }

    /// Puts a file there, durable at once.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.0.lock();
        let file = state.disk.create(path);
        if let Some(file) = state.disk.files.get_mut(file) {
            file.write(0, bytes);
            file.sync();
        }
        if let Some(dir) = path.parent() {
            state.disk.sync_dir(dir);
        }
    }
}

impl Fs for MemoryFs {
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        // Directories are durable at once: nothing depends on the moment of their making.
        self.0.lock().call([1, 0, 0, 0])
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.0.lock();
        state.call_for(&[Want::Files], [2, digest(dir), 0, 0])?;
        let here = state.disk.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(here.filter_map(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned()).collect())
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut state = self.0.lock();
        let asks: &[Want] = if how == Open::Create { &[Want::Files, Want::Space] } else { &[Want::Files] };
        state.call_for(asks, [3, how as u64, digest(path), 0])?;
        let file = match how {
            Open::Create => state.disk.create(path),
            Open::Read | Open::Write => *state.disk.names.get(path).ok_or(io::ErrorKind::NotFound)?,
        };
        Ok(Arc::new(MemoryFile { fs: self.clone(), file, holds_lock: false.into() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.call_for(&[Want::Space], [4, digest(from), digest(to), 0])?;
        if state.disk.rename(from, to) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.call_for(&[Want::Space], [13, digest(from), digest(to), 0])?;
        if state.disk.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if state.disk.link(from, to) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.call([5, digest(path), 0, 0])?;
        if state.disk.remove(path) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn free(&self, _dir: &Path) -> io::Result<u64> {
        let state = self.0.lock();
        Ok(state.fault.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.disk.used())))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.call_for(&[Want::Files], [6, digest(dir), 0, 0])?;
        state.disk.sync_dir(dir);
        Ok(())
    }
}

impl File for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.fs.0.lock();
        state.call([7, self.file as u64, 0, 0])?;
        Ok(state.disk.files.get(self.file).map_or(0, |file| file.bytes.len() as u64))
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut state = self.fs.0.lock();
        state.call([10, self.file as u64, position, buffer.len() as u64])?;
        let right = (self.file, position);
        let bytes = state.disk.bytes(right, buffer.len());
        let read = bytes.len();
        let Some(buffer) = buffer.get_mut(..read) else { return Ok(0) };
        buffer.copy_from_slice(bytes);
        if let Some((_, wrong)) = state.fault.wrong_read.filter(|(nth, _)| state.calls == nth + 1) {
            // A disk gives as much as it was asked for, from wherever it is; behind the end of a file stand zeros.
            let wrong = state.disk.bytes(state.disk.elsewhere(right, wrong), read);
            let zeros = std::iter::repeat_n(&0, read - wrong.len());
            let differs = buffer.iter_mut().zip(wrong.iter().chain(zeros)).fold(false, |differs, (to, from)| {
                let before = std::mem::replace(to, *from);
                differs | (before != *from)
            });
            state.misread |= differs;
        }
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut state = self.fs.0.lock();
        let fails = state.fails(&[Want::Space], [11, self.file as u64, position, bytes.len() as u64]);
        let position = usize::try_from(position).map_err(io::Error::other)?;
        let used = state.disk.used();
        let capacity = state.fault.capacity;
        let Some(file) = state.disk.files.get_mut(self.file) else { return Err(broken()) };
        if let Some(error) = fails {
            file.write(position, bytes.get(..bytes.len() / 2).unwrap_or_default());
            return Err(error);
        }
        let grows = (position + bytes.len()).saturating_sub(file.bytes.len());
        let room = usize::try_from(capacity.map_or(u64::MAX, |c| c.saturating_sub(used))).unwrap_or(usize::MAX);
        if grows > room {
            let fits = bytes.len() - (grows - room);
            file.write(position, bytes.get(..fits).unwrap_or_default());
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write(position, bytes);
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.fs.0.lock();
        state.call([8, self.file as u64, len, 0])?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        state.disk.files.get_mut(self.file).ok_or_else(broken)?.truncate(len);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.fs.0.lock();
        let fails = state.fails(&[], [12, self.file as u64, 0, 0]);
        let drops = state.fault.drops;
        let file = state.disk.files.get_mut(self.file).ok_or_else(broken)?;
        if let Some(error) = fails {
            file.fail_sync(drops);
            return Err(error);
        }
        file.sync();
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut state = self.fs.0.lock();
        state.call([9, self.file as u64, 0, 0])?;
        let taken = state.disk.locked.insert(self.file);
        self.holds_lock.store(taken, std::sync::atomic::Ordering::Relaxed);
        Ok(taken)
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        if self.holds_lock.load(std::sync::atomic::Ordering::Relaxed) {
            self.fs.0.lock().disk.locked.remove(&self.file);
        }
    }
}
