//! What is on the disk, what only the machine's memory knows, and what a loss of power makes of the two.
//!
//! A disk writes sectors, each wholly or not at all and in any order, until a sync has waited for them. Names are kept
//! by directory: at a power loss each directory has some first part of what was changed in it since it was synced.
//! A rename from one directory to another happens in both or in neither, as in every journal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{Seeded, guard};

/// What a disk writes wholly or not at all.
pub(crate) const SECTOR_BYTES: u64 = 512;

/// What happened to a file since it was last synced.
#[derive(Clone, Debug)]
enum Change {
    /// A sector got these contents; it is shorter where the file ended.
    Sector(u64, Vec<u8>),
    /// The file was cut or extended.
    Length(u64),
}

fn at(n: u64) -> usize {
    usize::try_from(n).expect("small files")
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Sector(sector, image) => {
            let start = at(sector * SECTOR_BYTES);
            if bytes.len() < start + image.len() {
                bytes.resize(start + image.len(), 0);
            }
            bytes[start..start + image.len()].copy_from_slice(image);
        }
        Change::Length(end) => bytes.resize(at(*end), 0),
    }
}

/// A file's contents.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    /// What reads give.
    pub(super) bytes: Vec<u8>,
    /// What is on the disk for certain.
    durable: Vec<u8>,
    /// What the next sync writes, oldest first.
    dirty: Vec<Change>,
    /// Sectors that can't be read until they are written again.
    pub(super) unreadable: BTreeSet<u64>,
}

pub(super) type Inode = Arc<Mutex<Contents>>;

impl Contents {
    pub(super) fn durably(bytes: Vec<u8>) -> Self {
        Contents { durable: bytes.clone(), bytes, dirty: Vec::new(), unreadable: BTreeSet::new() }
    }

    pub(super) fn write(&mut self, position: u64, written: &[u8]) {
        if written.is_empty() {
            return;
        }
        let end = at(position) + written.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at(position)..end].copy_from_slice(written);
        for sector in position / SECTOR_BYTES..=(end as u64 - 1) / SECTOR_BYTES {
            let start = at(sector * SECTOR_BYTES);
            let end = self.bytes.len().min(start + at(SECTOR_BYTES));
            self.dirty.push(Change::Sector(sector, self.bytes[start..end].to_vec()));
            self.unreadable.remove(&sector);
        }
    }

    pub(super) fn set_length(&mut self, length: u64) {
        self.bytes.resize(at(length), 0);
        self.dirty.push(Change::Length(length));
        let end = length.div_ceil(SECTOR_BYTES);
        self.unreadable.retain(|sector| *sector < end);
    }

    /// Makes what is dirty durable. What an earlier sync failed to write stays lost.
    pub(super) fn sync(&mut self) {
        for change in self.dirty.drain(..) {
            apply(&mut self.durable, &change);
        }
    }

    /// A sync that fails: some of what was dirty was written, and nothing of it is dirty any more. Reads still give
    /// it, and no later sync will write it.
    pub(super) fn fail_sync(&mut self, seeded: &mut Seeded) {
        for change in std::mem::take(&mut self.dirty) {
            if seeded.below(2) > 0 {
                apply(&mut self.durable, &change);
            }
        }
    }

    /// What there is after the power failed.
    fn survivor(&self, seeded: &mut Seeded) -> Contents {
        let mut bytes = self.durable.clone();
        let kept_of_three = [0, 1, 2, 2, 2, 3][seeded.index(6)];
        for change in &self.dirty {
            if seeded.below(3) < kept_of_three {
                apply(&mut bytes, change);
            }
        }
        let end = (bytes.len() as u64).div_ceil(SECTOR_BYTES);
        let unreadable = self.unreadable.iter().copied().filter(|sector| *sector < end).collect();
        Contents { unreadable, ..Contents::durably(bytes) }
    }

    /// Spoils a bit, on the disk as well.
    pub(super) fn flip(&mut self, position: u64, bit: u32) {
        for bytes in [&mut self.bytes, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(at(position)) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }
}

/// The names in one directory.
#[derive(Clone, Debug, Default)]
struct Directory {
    durable: BTreeMap<PathBuf, Inode>,
    /// What was changed since it was synced, oldest first.
    changes: Vec<NameChange>,
}

#[derive(Clone, Debug)]
struct NameChange {
    /// When; both halves of a rename between directories have the same.
    turn: u64,
    path: PathBuf,
    /// What has the name now.
    inode: Option<Inode>,
}

impl Directory {
    /// Makes the first `count` changes durable.
    fn settle(&mut self, count: usize) -> BTreeSet<u64> {
        let mut turns = BTreeSet::new();
        for change in self.changes.drain(..count) {
            turns.insert(change.turn);
            match change.inode {
                Some(inode) => drop(self.durable.insert(change.path, inode)),
                None => drop(self.durable.remove(&change.path)),
            }
        }
        turns
    }
}

/// All names of the disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) present: BTreeMap<PathBuf, Inode>,
    directories: BTreeMap<PathBuf, Directory>,
    turn: u64,
}

fn dir_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

impl Names {
    fn note(&mut self, path: &Path, inode: Option<Inode>) {
        let change = NameChange { turn: self.turn, path: path.to_owned(), inode };
        self.directories.entry(dir_of(path)).or_default().changes.push(change);
    }

    pub(super) fn add(&mut self, path: &Path, inode: &Inode) {
        self.turn += 1;
        self.present.insert(path.to_owned(), Arc::clone(inode));
        self.note(path, Some(Arc::clone(inode)));
    }

    pub(super) fn remove(&mut self, path: &Path) -> Option<Inode> {
        let inode = self.present.remove(path)?;
        self.turn += 1;
        self.note(path, None);
        Some(inode)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Option<()> {
        let inode = self.remove(from)?;
        if from.parent() == to.parent() {
            // One change: the old name goes as the new one comes.
            let same = self.directories.get_mut(&dir_of(from)).expect("just changed");
            let gone = same.changes.pop().expect("just added");
            self.present.insert(to.to_owned(), Arc::clone(&inode));
            self.note(to, Some(inode));
            let same = self.directories.get_mut(&dir_of(from)).expect("just changed");
            same.changes.push(gone);
        } else {
            self.present.insert(to.to_owned(), Arc::clone(&inode));
            self.note(to, Some(inode));
        }
        Some(())
    }

    /// A name that was always there.
    pub(super) fn put(&mut self, path: &Path, inode: Inode) {
        let directory = self.directories.entry(dir_of(path)).or_default();
        directory.changes.retain(|change| change.path != path);
        directory.durable.insert(path.to_owned(), Arc::clone(&inode));
        self.present.insert(path.to_owned(), inode);
    }

    pub(super) fn sync(&mut self, dir: &Path) {
        let Some(directory) = self.directories.get_mut(dir) else { return };
        let count = directory.changes.len();
        let turns = directory.settle(count);
        self.settle_others(turns);
    }

    /// Lets the other halves of renames happen, with all that came before them in their directories.
    fn settle_others(&mut self, mut turns: BTreeSet<u64>) {
        loop {
            let mut more = BTreeSet::new();
            for directory in self.directories.values_mut() {
                let last = directory.changes.iter().rposition(|c| turns.contains(&c.turn));
                if let Some(last) = last {
                    more.extend(directory.settle(last + 1));
                }
            }
            if more.is_empty() {
                return;
            }
            turns = more;
        }
    }

    /// The power fails: each directory keeps a first part of its changes, each file some of what it was not synced of.
    pub(super) fn lose_power(&mut self, seeded: &mut Seeded) {
        let mut turns = BTreeSet::new();
        for directory in self.directories.values_mut() {
            let turn_at = |at: usize| directory.changes.get(at).map(|change| change.turn);
            let mut kept = seeded.index(directory.changes.len() + 1);
            // A rename within a directory is one change.
            while kept > 0 && turn_at(kept) == turn_at(kept - 1) {
                kept += 1;
            }
            turns.extend(directory.settle(kept));
        }
        self.settle_others(turns);
        self.present.clear();
        // An inode with two names, or with one, is one file afterwards, and no handle from before is of use.
        let mut after: BTreeMap<usize, Inode> = BTreeMap::new();
        for directory in self.directories.values_mut() {
            directory.changes.clear();
            for (path, inode) in &mut directory.durable {
                let fresh = after
                    .entry(Arc::as_ptr(inode) as usize)
                    .or_insert_with(|| Arc::new(Mutex::new(guard(inode).survivor(seeded))));
                *inode = Arc::clone(fresh);
                self.present.insert(path.clone(), Arc::clone(fresh));
            }
        }
    }

    /// The same disk in the same state, that goes its own way.
    pub(super) fn copy(&self) -> Names {
        let mut copies: BTreeMap<usize, Inode> = BTreeMap::new();
        let mut copied = |inode: &mut Inode| {
            let copy = copies
                .entry(Arc::as_ptr(inode) as usize)
                .or_insert_with(|| Arc::new(Mutex::new(guard(inode).clone())));
            *inode = Arc::clone(copy);
        };
        let mut names = self.clone();
        names.present.values_mut().for_each(&mut copied);
        for directory in names.directories.values_mut() {
            directory.durable.values_mut().for_each(&mut copied);
            directory.changes.iter_mut().filter_map(|c| c.inode.as_mut()).for_each(&mut copied);
        }
        names
    }
}
