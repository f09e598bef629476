//! The next segment, zero-filled ahead on a thread of its own.
//!
//! Overwriting zeros that are already on disk makes a sync cheaper than growing a file, and filling
//! inline would stall publishers for tens of milliseconds (`docs/PERFORMANCE.md`).

use super::names;
use crate::fs::{self, File, Fs, Open};
use parking_lot::{Condvar, Mutex};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes written between two pauses.
const CHUNK: usize = 1 << 20;
/// The pause that leaves the disk to the committing thread.
const PAUSE: Duration = Duration::from_millis(2);
/// How often a full disk is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// When a segment's file gets the zeros that its records are written over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// Before it is wanted, on a thread of its own.
    Ahead,
    /// When it is wanted, by who wants it: where no thread may be about, as in a simulation.
    AtOnce,
    /// Not at all: it grows.
    Never,
}

/// Whose `next.tmp` is. There is one name, and whoever opens it for writing has the file that will be a segment: the
/// filler while it fills, the writer from [`Ahead::take`] to [`Ahead::taken`], never both.
enum Slot {
    /// The filler's: being filled.
    Filling,
    /// Nobody's: filled and synced.
    Ready(Arc<dyn File>),
    /// Nobody's: not fillable now.
    Refused(io::ErrorKind),
    /// The filler's: what was refused is tried again.
    Retrying(io::ErrorKind),
    /// The writer's.
    Lent(Arc<dyn File>),
    /// Nobody wants one any more.
    Stopped,
}

struct Shared {
    slot: Mutex<Slot>,
    changed: Condvar,
}

/// Where the writer takes its next segment from.
pub(crate) struct Ahead {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    /// Zeros that a segment gets when it is wanted.
    at_once: u64,
    filler: Option<(Arc<Shared>, JoinHandle<()>)>,
}

impl Ahead {
    /// Begins to fill where that is to be done ahead.
    pub(crate) fn new(fs: Arc<dyn Fs>, dir: &Path, bytes: u64, fill: Fill) -> io::Result<Self> {
        let path = dir.join(names::NEXT);
        let at_once = if fill == Fill::AtOnce { bytes } else { 0 };
        let mut ahead = Self { fs, path, at_once, filler: None };
        if fill == Fill::Ahead {
            let shared = Arc::new(Shared { slot: Mutex::new(Slot::Filling), changed: Condvar::new() });
            let (fs, path, theirs) = (Arc::clone(&ahead.fs), ahead.path.clone(), Arc::clone(&shared));
            let thread = std::thread::Builder::new()
                .name("fill-ahead".to_owned())
                .spawn(move || run(&*fs, &path, bytes, &theirs))?;
            ahead.filler = Some((shared, thread));
        }
        Ok(ahead)
    }

    /// The next segment's file, still named `next.tmp`: zeros only, or empty. It is the writer's until
    /// [`Ahead::taken`]; who did not get as far as a place for it asks again.
    ///
    /// # Errors
    /// Where it could not be filled; a full disk among them.
    pub(crate) fn take(&self) -> io::Result<Arc<dyn File>> {
        let Some((shared, _)) = &self.filler else {
            return fill_or_empty(&*self.fs, &self.path, self.at_once, &mut || true);
        };
        let mut slot = shared.slot.lock();
        let file = loop {
            match &*slot {
                Slot::Filling => shared.changed.wait(&mut slot),
                Slot::Ready(file) => break Arc::clone(file),
                Slot::Refused(kind) | Slot::Retrying(kind) if fs::is_full(&(*kind).into()) => {
                    return Err((*kind).into());
                }
                // Any other trouble may be over: a segment that grows is slower, and as good.
                Slot::Refused(_) => break self.fs.open(&self.path, Open::Create)?,
                Slot::Retrying(_) => shared.changed.wait(&mut slot),
                // What was written before it found no place must not stand behind what is written now.
                Slot::Lent(file) => return file.truncate(0).map(|()| Arc::clone(file)),
                Slot::Stopped => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        };
        *slot = Slot::Lent(Arc::clone(&file));
        Ok(file)
    }

    /// Says that the file has its place under another name now, and that another one is wanted.
    pub(crate) fn taken(&self) {
        if let Some((shared, _)) = &self.filler {
            *shared.slot.lock() = Slot::Filling;
            shared.changed.notify_all();
        }
    }

    /// Whether the next segment waits for space. After any other trouble it is opened as it is wanted.
    pub(crate) fn refused(&self) -> bool {
        self.filler.as_ref().is_some_and(|(shared, _)| match &*shared.slot.lock() {
            Slot::Refused(kind) | Slot::Retrying(kind) => fs::is_full(&(*kind).into()),
            _ => false,
        })
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Some((shared, thread)) = self.filler.take() {
            *shared.slot.lock() = Slot::Stopped;
            shared.changed.notify_all();
            if thread.join().is_err() {
                tracing::error!("the thread that fills segments ahead panicked");
            }
        }
    }
}

fn run(fs: &dyn Fs, path: &Path, bytes: u64, shared: &Shared) {
    let mut goes_on = || {
        let mut slot = shared.slot.lock();
        if !matches!(*slot, Slot::Stopped) {
            // The wait ends early when the writer stops.
            shared.changed.wait_for(&mut slot, PAUSE);
        }
        !matches!(*slot, Slot::Stopped)
    };
    loop {
        let filled = fill_or_empty(fs, path, bytes, &mut goes_on);
        // An end in the middle of it is no fault.
        let stopped = matches!(*shared.slot.lock(), Slot::Stopped);
        if let (Err(error), false) = (&filled, stopped) {
            tracing::warn!(path = %path.display(), %error, "the next segment cannot be filled ahead");
        }
        let mut slot = shared.slot.lock();
        if matches!(*slot, Slot::Stopped) {
            return;
        }
        *slot = filled.map_or_else(|error| Slot::Refused(error.kind()), Slot::Ready);
        shared.changed.notify_all();
        loop {
            match *slot {
                Slot::Ready(_) | Slot::Lent(_) => shared.changed.wait(&mut slot),
                Slot::Refused(kind) => {
                    let over = shared.changed.wait_for(&mut slot, RETRY).timed_out();
                    if over && matches!(*slot, Slot::Refused(_)) {
                        *slot = Slot::Retrying(kind);
                    }
                }
                Slot::Filling | Slot::Retrying(_) => break,
                Slot::Stopped => return,
            }
        }
    }
}

/// Half a file would keep the last of a full disk's space from everyone else.
fn fill_or_empty(fs: &dyn Fs, path: &Path, bytes: u64, goes_on: &mut dyn FnMut() -> bool) -> io::Result<Arc<dyn File>> {
    fill(fs, path, bytes, goes_on).inspect_err(|error| {
        if fs::is_full(error)
            && let Err(error) = fs.open(path, Open::Write).and_then(|file| file.truncate(0))
        {
            tracing::warn!(path = %path.display(), %error, "the half-filled segment cannot be emptied");
        }
    })
}

fn fill(fs: &dyn Fs, path: &Path, bytes: u64, goes_on: &mut dyn FnMut() -> bool) -> io::Result<Arc<dyn File>> {
    let file = fs.open(path, Open::Create)?;
    let zeros = vec![0; CHUNK.min(usize::try_from(bytes).unwrap_or(CHUNK))];
    let mut at = 0;
    while at < bytes {
        let len = CHUNK.min(usize::try_from(bytes - at).unwrap_or(CHUNK));
        file.write_at(zeros.get(..len).unwrap_or_default(), at)?;
        file.sync()?;
        at += len as u64;
        if !goes_on() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    Ok(file)
}
