//! Files as commands read them.

use crate::fs::File;
use std::io::Read;
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
