//! The next segment is filled ahead by a thread of its own, and written to by another: never by both (R8).
//!
//! The story: after a refusal the filler tried again under the name `next.tmp` that the writer had meanwhile taken for
//! a segment. Zeros were written over acknowledged events, and at the next roll another segment's header.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod support;

use parking_lot::{Condvar, Mutex};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stentor::engine::{Engine, Local, LocalOptions};
use stentor::fs::{File, Fs, MemoryFs, Open};
use stentor::log::{Fill, Recover};
use support::{event, open_on, options, read_all};

/// What the filler of one log has come to.
#[derive(Default)]
struct Seen {
    /// Openings of `next.tmp`.
    opened: usize,
    /// A write of the filler's that waits.
    waits: bool,
    /// Somebody has given `next.tmp` its place.
    placed: bool,
}

/// A disk that refuses to open the first `next.tmp` of a directory, and keeps the filler's write to the second one
/// waiting until that file was given a place by another, or for so long that nobody will.
#[derive(Clone)]
struct Slow {
    disk: MemoryFs,
    dir: &'static Path,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

struct SlowFile(Arc<dyn File>, Slow);

fn is_filler() -> bool {
    std::thread::current().name() == Some("fill-ahead")
}

impl Slow {
    fn new(dir: &'static str) -> Self {
        Self { disk: MemoryFs::new(), dir: Path::new(dir), seen: Arc::default() }
    }

    fn tell(&self, what: impl FnOnce(&mut Seen)) {
        what(&mut self.seen.0.lock());
        self.seen.1.notify_all();
    }

    fn is_next(&self, path: &Path) -> bool {
        path == self.dir.join("next.tmp")
    }

    /// Waits until the filler is in the middle of its second attempt.
    fn second_attempt(&self) {
        let mut seen = self.seen.0.lock();
        while !seen.waits {
            assert!(!self.seen.1.wait_for(&mut seen, Duration::from_secs(60)).timed_out(), "it is tried again");
        }
    }
}

impl Fs for Slow {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        if !self.is_next(path) {
            return self.disk.open(path, how);
        }
        let mut first = false;
        self.tell(|seen| {
            first = seen.opened == 0;
            seen.opened += 1;
        });
        if first {
            return Err(io::Error::other("too many open files"));
        }
        Ok(Arc::new(SlowFile(self.disk.open(path, how)?, self.clone())))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)?;
        if self.is_next(from) {
            self.tell(|seen| seen.placed = true);
        }
        Ok(())
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.link(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn free(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
}

impl File for SlowFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(buffer, position)
    }
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        if is_filler() {
            let (lock, changed) = &*self.1.seen;
            let mut seen = lock.lock();
            seen.waits = true;
            changed.notify_all();
            while !seen.placed && !changed.wait_for(&mut seen, Duration::from_secs(2)).timed_out() {}
        }
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

#[tokio::test]
async fn a_segment_that_is_still_being_filled_is_nobody_elses() {
    let slow = Slow::new("data/events");
    let options = LocalOptions { fill: Fill::Ahead, ..options() };
    let engine = Local::open(Arc::new(slow.clone()), &options).unwrap().engine;
    let waiting = slow.clone();
    tokio::task::spawn_blocking(move || waiting.second_attempt()).await.unwrap();
    // Several segments' worth: each needs a next one.
    let mut acknowledged = Vec::new();
    for n in 0..24 {
        acknowledged.push(engine.append(vec![event(n)]).await.unwrap()[0].offset.0);
    }
    drop(engine);
    let again = open_on(Arc::new(slow.disk.clone()), Recover::Refuse).unwrap().engine;
    assert_eq!(read_all(&again).await.unwrap(), (acknowledged, Vec::new()), "every event acknowledged is there");
}
