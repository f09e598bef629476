//! A disk that gives a file back but for one sector: that costs the record in it and no other (R5, R12).
//!
//! The story: only wrong bits were damage. An I/O error ended `serve-readable`, `accept-loss`, repair and `verify` each
//! time they came to it, and the scrub began again at the same place for ever.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod support;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use stentor::engine::{Engine, Local};
use stentor::fs::{File, Fs, MemoryFs, Open};
use stentor::log::{LogKind, Recover, verify};
use stentor::model::{Offset, Span};
use support::{open, open_on, outside, publish, read_all, stored};

/// Reads that touch these bytes of that file fail, once the sector has gone.
#[derive(Clone)]
struct Bad {
    disk: MemoryFs,
    path: PathBuf,
    bytes: Range<u64>,
    gone: Arc<AtomicBool>,
}

struct BadFile(Arc<dyn File>, Bad);

impl Fs for Bad {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let file = self.disk.open(path, how)?;
        Ok(if path == self.path { Arc::new(BadFile(file, self.clone())) } else { file })
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
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

impl File for BadFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let end = (position + buffer.len() as u64).min(self.0.len()?);
        let touches = position < self.1.bytes.end && end > self.1.bytes.start;
        if touches && self.1.gone.load(Ordering::SeqCst) {
            return Err(io::Error::other("injected: unreadable sector"));
        }
        self.0.read_at(buffer, position)
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

/// A stored log whose second segment has a sector that cannot be read, in the middle of its first records.
async fn harmed() -> Bad {
    let (disk, paths) = stored().await;
    support::forget_views(&disk);
    Bad { disk, path: paths[1].clone(), bytes: 1536..2048, gone: Arc::new(AtomicBool::new(true)) }
}

async fn around(engine: &Local) -> Span {
    let (events, gaps) = read_all(engine).await.unwrap();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(events, outside(&gaps, engine.end().0), "everything else is there");
    assert!(gaps[0].to.since(gaps[0].from) < 8, "a page costs a few records, not the log: {gaps:?}");
    gaps[0]
}

#[tokio::test]
async fn serve_readable_tells_it_as_a_gap() {
    let bad = harmed().await;
    let engine = open_on(Arc::new(bad), Recover::ServeReadable).unwrap().engine;
    around(&engine).await;
}

#[tokio::test]
async fn accept_loss_gives_up_what_it_holds_and_goes_on() {
    let bad = harmed().await;
    let engine = open_on(Arc::new(bad.clone()), Recover::AcceptLoss).unwrap().engine;
    publish(&engine, 12..14).await.unwrap();
    engine.close();
    drop(engine);
    // The file that was put in its place lies elsewhere on the disk.
    let again = open(&bad.disk, Recover::Refuse).unwrap().engine;
    let gap = around(&again).await;
    assert_eq!((again.end(), gap.to.0 < 12), (Offset(14), true));
}

#[tokio::test]
async fn verify_names_its_place_and_goes_on() {
    let bad = harmed().await;
    let found = verify(&bad, Path::new("data/events"), LogKind::Events, &mut |_, _, _, _| Ok(())).unwrap();
    assert!(found.findings.iter().any(|one| one.harm && one.path == bad.path && one.position == 0), "{found:?}");
    assert_eq!(found.end, Offset(12), "it is read to its end");
}

#[tokio::test]
async fn the_scrub_says_it_once_and_goes_on_behind_it() {
    let (disk, paths) = stored().await;
    let gone = Arc::new(AtomicBool::new(false));
    let bad = Bad { disk: disk.clone(), path: paths[0].clone(), bytes: 100..200, gone: Arc::clone(&gone) };
    let engine = open_on(Arc::new(bad), Recover::Refuse).unwrap().engine;
    gone.store(true, Ordering::SeqCst);
    disk.flip(&paths[1], (1024 + 300) * 8);
    let met = engine.scrub(1 << 30);
    let of: Vec<_> = met.iter().map(|damage| &damage.path).collect();
    assert_eq!(of, [&paths[0], &paths[1]], "both, in one turn: {met:?}");
    assert!(met[0].detail.contains("unreadable sector"), "{met:?}");
    assert!(engine.scrub(1 << 30).is_empty(), "each once");
}
