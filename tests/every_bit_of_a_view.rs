//! Bits of the receipts' view turned, its files cut and zeroed: it is refused, or says what was written up to some
//! entry, from which the ledger goes on; never anything else (invariant 25).
//!
//! The story: sled left out what it could not read, without a word, and whoever asked who had not got an event was told
//! wrong. One bit in a few; every bit, length and range of a small view with `STENTOR_EVERY=1`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use stentor::fs::RealFs;
use stentor::view::{Key, Table, View, ViewError};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

const TABLES: [Table; 3] = [Table::Receipts, Table::Coverage, Table::DeadLetters];

/// A view: its files, and its rows as of each block.
struct Whole {
    files: Vec<(PathBuf, Vec<u8>)>,
    states: Vec<Rows>,
}

/// What came of so many harms.
#[derive(Debug, Default, PartialEq, Eq)]
struct Came {
    refused: u64,
    begun_anew: u64,
    harmless: u64,
    /// As of an earlier block: what follows is applied again.
    older: u64,
}

impl Whole {
    fn made(blocks: u64, rows_each: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let view = View::open(&RealFs, folder.path()).unwrap();
        let (mut states, mut rows) = (vec![Rows::new()], Rows::new());
        for block in 0..blocks {
            let mut batch = Vec::new();
            for n in 0..rows_each {
                let receipt = format!("receipt {n} of block {block} {}", "x".repeat(usize::try_from(n * 7).unwrap()));
                batch.push((Key::new(Table::Receipts, &[block, n]), Some(receipt.into_bytes())));
                batch.push((Key::new(Table::Coverage, &[n, block]), Some(Vec::new())));
            }
            let letter = (block % 2 == 0).then(|| block.to_be_bytes().to_vec());
            batch.push((Key::new(Table::DeadLetters, &[block % 3]), letter));
            batch.push((Key::new(Table::Receipts, &[block / 2, 3]), None));
            for (key, value) in &batch {
                match value {
                    Some(value) => rows.insert(key.bytes().to_vec(), value.clone()),
                    None => rows.remove(key.bytes()),
                };
            }
            view.apply(batch, block + 1).unwrap();
            states.push(rows.clone());
        }
        drop(view);
        let mut files = Vec::new();
        for entry in fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                files.push((path.strip_prefix(folder.path()).unwrap().to_owned(), fs::read(&path).unwrap()));
            }
        }
        assert!(files.iter().any(|(name, _)| name == Path::new("db")), "{files:?}");
        Self { files, states }
    }

    /// Opens a copy in which one file is harmed.
    fn judge(&self, file: usize, bytes: &[u8], what: &str, came: &mut Came) {
        let copy = tempfile::tempdir().unwrap();
        for (n, (name, own)) in self.files.iter().enumerate() {
            fs::write(copy.path().join(name), if n == file { bytes } else { own }).unwrap();
        }
        let Ok((applied, rows)) = read(copy.path()) else {
            came.refused += 1;
            return;
        };
        let applied = usize::try_from(applied).unwrap();
        assert!(
            self.states.get(applied) == Some(&rows),
            "{}: {what}: wrong at {applied}",
            self.files[file].0.display()
        );
        match applied {
            0 => came.begun_anew += 1,
            all if all + 1 == self.states.len() => came.harmless += 1,
            _ => came.older += 1,
        }
    }

    /// Every so many bits turned, every so many lengths, every so many ranges of two sizes zeroed.
    fn harm(&self, bits: usize, lengths: usize, ranges: usize) -> Came {
        let mut came = Came::default();
        for (file, (_, bytes)) in self.files.iter().enumerate() {
            // The rest was never written.
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            for bit in (0..used * 8).step_by(bits) {
                let mut harmed = bytes.clone();
                harmed[bit / 8] ^= 1 << (bit % 8);
                self.judge(file, &harmed, &format!("bit {bit} turned"), &mut came);
            }
            for length in (0..used).step_by(lengths) {
                self.judge(file, &bytes[..length], &format!("cut to {length}"), &mut came);
            }
            for size in [512, 4096] {
                for from in (0..used).step_by(size * ranges) {
                    let mut harmed = bytes.clone();
                    let to = (from + size).min(harmed.len());
                    harmed[from..to].fill(0);
                    self.judge(file, &harmed, &format!("{from} to {to} zeroed"), &mut came);
                }
            }
        }
        eprintln!("{came:?}");
        came
    }
}

/// How far the view in a folder has come, and its rows.
fn read(dir: &Path) -> Result<(u64, Rows), ViewError> {
    let view = View::open(&RealFs, dir)?;
    let (applied, mut rows) = (view.applied_through()?, Rows::new());
    for table in TABLES {
        let all = Key::new(table, &[]);
        view.scan(&all, &all, |key, value| {
            rows.insert(key.to_vec(), value.to_vec());
            true
        })?;
    }
    Ok((applied, rows))
}

fn whole() -> bool {
    std::env::var_os("STENTOR_EVERY").is_some()
}

/// sled panics on some damage; the view takes that for an error.
fn without_sleds_words() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.location().is_none_or(|place| !place.file().contains("sled-")) {
            usual(info);
        }
    }));
}

#[test]
fn damage_in_a_small_view_is_refused_or_says_what_the_ledger_says() {
    without_sleds_words();
    let (bits, lengths, ranges) = if whole() { (1, 1, 1) } else { (97, 61, 1) };
    let came = Whole::made(3, 4).harm(bits, lengths, ranges);
    assert!(came.refused + came.begun_anew > 0, "{came:?}");
}

#[test]
fn damage_in_a_view_of_many_segments_is_refused_or_says_what_the_ledger_says() {
    without_sleds_words();
    let (bits, lengths, ranges) = if whole() { (10_007, 10_007, 2) } else { (500_009, 250_007, 90) };
    let came = Whole::made(200, 40).harm(bits, lengths, ranges);
    assert!(came.refused > 0 && came.harmless > 0, "{came:?}");
}
