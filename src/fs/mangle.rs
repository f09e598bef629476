//! A file system that stores every byte mangled.
//!
//! Whoever reads or writes through the seam sees nothing of it; whoever goes round it sees rubbish.

use super::{File, Fs, Open};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Wraps another file system and flips bits of every byte by its position.
pub struct MangleFs<F>(pub F);

struct MangledFile(Arc<dyn File>);

fn mangle(bytes: &mut [u8], position: u64) {
    for (byte, at) in bytes.iter_mut().zip(position..) {
        *byte ^= (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 | 1;
    }
}

impl<F: Fs> Fs for MangleFs<F> {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(MangledFile(self.0.open(path, how)?)))
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

impl File for MangledFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let read = self.0.read_at(buffer, position)?;
        mangle(buffer.get_mut(..read).unwrap_or_default(), position);
        Ok(read)
    }
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut mangled = bytes.to_vec();
        mangle(&mut mangled, position);
        self.0.write_at(&mangled, position)
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
