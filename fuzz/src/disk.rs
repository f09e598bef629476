//! A log's directory as one string of bytes, so that a fuzzer can hold it: `durable.meta` and segments, each behind a
//! separator. A segment gets the name that its header's first offset asks for.

use crate::format::u64_at;
use memchr::memmem;
use std::path::{Path, PathBuf};
use stentor::fs::MemoryFs;
use stentor::log::{Fill, LogKind, LogOptions};

/// Stands between two files.
pub const SEPARATOR: &[u8; 8] = b"\n--file\n";

/// The files in a string of bytes.
pub fn files(data: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut rest = data;
    while let Some(at) = memmem::find(rest, SEPARATOR) {
        found.push(&rest[..at]);
        rest = &rest[at + SEPARATOR.len()..];
    }
    found.push(rest);
    found
}

/// As [`files`], to change them in place.
pub fn files_mut(data: &mut [u8]) -> Vec<&mut [u8]> {
    let lengths: Vec<usize> = files(data).iter().map(|file| file.len()).collect();
    let mut found = Vec::new();
    let mut rest = data;
    for length in lengths {
        let (file, behind) = rest.split_at_mut(length);
        found.push(file);
        rest = behind.split_at_mut(SEPARATOR.len().min(behind.len())).1;
    }
    found
}

/// A directory as a string of bytes.
pub fn join<'a>(files: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    files.into_iter().collect::<Vec<_>>().join(&SEPARATOR[..])
}

/// The directory that a log of this kind lies in.
pub fn dir(kind: LogKind) -> PathBuf {
    Path::new("data").join(kind.as_str())
}

/// The disk that a string of bytes describes, and which log is on it.
pub fn disk(data: &[u8]) -> (MemoryFs, LogKind) {
    let files = files(data);
    let ledger = files.iter().find(|file| file.len() >= 16).is_some_and(|file| file[12] == 2);
    let kind = if ledger { LogKind::Ledger } else { LogKind::Events };
    let (fs, dir) = (MemoryFs::new(), dir(kind));
    for file in files {
        let name = match (file.starts_with(b"STENTMET"), u64_at(file, 32)) {
            (true, _) => "durable.meta".to_owned(),
            (false, Some(first)) => format!("{first:020}.seg"),
            (false, None) => continue,
        };
        fs.put(&dir.join(name), file);
    }
    (fs, kind)
}

/// How a log on such a disk is opened.
pub fn options(kind: LogKind) -> LogOptions {
    LogOptions { fill: Fill::Never, segment_bytes: 4096, ..LogOptions::new(Path::new("data"), kind, [3; 16]) }
}

/// The files of a log's directory that hold records.
pub fn segments(fs: &MemoryFs) -> Vec<(PathBuf, Vec<u8>)> {
    fs.files().into_iter().filter(|(path, _)| path.extension().is_some_and(|kind| kind == "seg")).collect()
}
