//! Files as commands read them.

use super::exit::{Exit, Fault, of_file};
use crate::fs::{self, File, RealFs};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Reads a file from its start to its end.
pub(super) struct Sequential {
    file: Arc<dyn File>,
    position: u64,
}

impl Sequential {
    pub(super) fn new(file: Arc<dyn File>) -> Self {
        Self { file, position: 0 }
    }
}

impl Read for Sequential {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

/// A file's text, where it is one of at most a mebibyte.
pub(super) fn text_of(path: &str) -> Result<String, Fault> {
    let bytes = fs::read_all(&RealFs, Path::new(path), 1 << 20).map_err(|error| of_file(Path::new(path), &error))?;
    String::from_utf8(bytes).map_err(|_| Exit::Failed.because(format!("{path}: is not UTF-8")))
}
