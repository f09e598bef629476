//! What a simulated disk remembers: of every file and name the durable state and what is not yet synced.

use super::Choices;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The unit in which unsynced bytes survive or not.
const SECTOR: usize = 512;

#[derive(Debug, Clone)]
enum Change {
    Write { position: usize, bytes: Vec<u8> },
    Truncate { len: usize },
}

/// A file's durable bytes, and the changes since, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct FileState {
    pub(super) bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Each with whether a failed sync gave it up: a later sync does not bring it back.
    pending: Vec<(Change, bool)>,
}

impl FileState {
    pub(super) fn write(&mut self, position: usize, bytes: &[u8]) {
        let change = Change::Write { position, bytes: bytes.to_vec() };
        apply(&mut self.bytes, &change);
        self.pending.push((change, false));
    }

    pub(super) fn truncate(&mut self, len: usize) {
        let change = Change::Truncate { len };
        apply(&mut self.bytes, &change);
        self.pending.push((change, false));
    }

    pub(super) fn sync(&mut self) {
        for (change, given_up) in self.pending.drain(..) {
            if !given_up {
                apply(&mut self.durable, &change);
            }
        }
    }

    /// What is not synced will not be; where the cache drops it, it is gone at once.
    pub(super) fn fail_sync(&mut self, drops: bool) {
        if drops {
            self.pending.clear();
            self.bytes.clone_from(&self.durable);
        }
        for (_, given_up) in &mut self.pending {
            *given_up = true;
        }
    }

    /// Flips a bit on the platter itself.
    pub(super) fn flip(&mut self, bit: usize) {
        for bytes in [&mut self.bytes, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// What a crash leaves: for the length and for each sector one of its versions.
    fn crash(&self, choices: &mut Choices) -> Vec<u8> {
        let mut versions = vec![self.durable.clone()];
        let mut now = self.durable.clone();
        for (change, _) in &self.pending {
            apply(&mut now, change);
            versions.push(now.clone());
        }
        let mut lengths: Vec<usize> = versions.iter().map(Vec::len).collect();
        lengths.dedup();
        let len = lengths.get(choices.pick(lengths.len())).copied().unwrap_or(0);
        let mut left = Vec::with_capacity(len);
        for start in (0..len).step_by(SECTOR) {
            let end = (start + SECTOR).min(len);
            let mut sector: Vec<Vec<u8>> = versions
                .iter()
                .map(|bytes| {
                    let mut part = bytes.get(start.min(bytes.len())..end.min(bytes.len())).unwrap_or(&[]).to_vec();
                    part.resize(end - start, 0);
                    part
                })
                .collect();
            sector.dedup();
            let chosen = choices.pick(sector.len());
            left.append(&mut sector.swap_remove(chosen));
        }
        left
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { position, bytes: written } => {
            if bytes.len() < position + written.len() {
                bytes.resize(position + written.len(), 0);
            }
            if let Some(place) = bytes.get_mut(*position..position + written.len()) {
                place.copy_from_slice(written);
            }
        }
        Change::Truncate { len } => bytes.resize(*len, 0),
    }
}

#[derive(Debug, Clone)]
enum Naming {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, usize),
}

impl Naming {
    fn touches(&self, dir: &Path) -> bool {
        match self {
            Naming::Link(path, _) | Naming::Unlink(path) | Naming::Rename(path, _, _) => path.parent() == Some(dir),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Naming::Link(path, file) => {
                names.insert(path.clone(), *file);
            }
            Naming::Unlink(path) => {
                names.remove(path);
            }
            Naming::Rename(from, to, file) => {
                if names.get(from) == Some(file) {
                    names.remove(from);
                }
                names.insert(to.clone(), *file);
            }
        }
    }
}

/// Where a wrong read has its bytes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongRead {
    /// The sector behind the right one.
    Behind,
    /// The same place in another file, so many further on in the order of names.
    Another(usize),
}

/// All files and names.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    pub(super) files: Vec<FileState>,
    pub(super) names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<Naming>,
    pub(super) locked: std::collections::BTreeSet<usize>,
}

impl Disk {
    pub(super) fn create(&mut self, path: &Path) -> usize {
        if let Some(&file) = self.names.get(path) {
            if let Some(state) = self.files.get_mut(file) {
                state.truncate(0);
            }
            return file;
        }
        self.files.push(FileState::default());
        let file = self.files.len() - 1;
        self.name(Naming::Link(path.to_owned(), file));
        file
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> bool {
        let Some(&file) = self.names.get(from) else { return false };
        self.name(Naming::Rename(from.to_owned(), to.to_owned(), file));
        true
    }

    pub(super) fn link(&mut self, from: &Path, to: &Path) -> bool {
        let Some(&file) = self.names.get(from) else { return false };
        self.name(Naming::Link(to.to_owned(), file));
        true
    }

    pub(super) fn remove(&mut self, path: &Path) -> bool {
        let known = self.names.contains_key(path);
        if known {
            self.name(Naming::Unlink(path.to_owned()));
        }
        known
    }

    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.pending_names.push(naming);
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) {
        let durable = &mut self.durable_names;
        self.pending_names.retain(|naming| {
            let here = naming.touches(dir);
            if here {
                naming.apply(durable);
            }
            !here
        });
    }

    /// At most so many bytes of a file from a position on.
    pub(super) fn bytes(&self, (file, position): (usize, u64), most: usize) -> &[u8] {
        let bytes = self.files.get(file).map(|file| file.bytes.as_slice()).unwrap_or_default();
        let rest = usize::try_from(position).ok().and_then(|position| bytes.get(position..)).unwrap_or_default();
        rest.get(..most).unwrap_or(rest)
    }

    /// The place that a wrong read gives in place of the right one.
    pub(super) fn elsewhere(&self, (file, position): (usize, u64), wrong: WrongRead) -> (usize, u64) {
        match wrong {
            WrongRead::Behind => (file, position + SECTOR as u64),
            WrongRead::Another(further) => {
                let own = self.names.values().position(|other| *other == file).unwrap_or_default();
                let other = self.names.values().cycle().nth(own + 1 + further % self.names.len().max(1));
                (other.copied().unwrap_or(file), position)
            }
        }
    }

    /// Bytes in all files that have a name.
    pub(super) fn used(&self) -> u64 {
        self.names.values().filter_map(|file| self.files.get(*file)).map(|file| file.bytes.len() as u64).sum()
    }

    /// The disk after a crash: any subset of unsynced namings, any version of unsynced sectors.
    pub(super) fn crash(&self, choices: &mut Choices) -> Disk {
        let mut names = self.durable_names.clone();
        for naming in &self.pending_names {
            if choices.pick(2) == 1 {
                naming.apply(&mut names);
            }
        }
        let mut files = vec![FileState::default(); self.files.len()];
        for file in names.values() {
            if let (Some(before), Some(after)) = (self.files.get(*file), files.get_mut(*file)) {
                let bytes = before.crash(choices);
                *after = FileState { durable: bytes.clone(), bytes, pending: Vec::new() };
            }
        }
        Disk { files, durable_names: names.clone(), names, pending_names: Vec::new(), locked: Default::default() }
    }
}
