//! The segment that is written to, as readers see it.

use std::path::PathBuf;
use std::sync::Arc;

use super::index::{Index, Slot, Stretch};
use super::record::HEAD_BYTES;
use super::storage::StorageFile;
use crate::time::Timestamp;

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) file: Arc<dyn StorageFile>,
    pub(super) path: PathBuf,
    /// Offset of its first record.
    pub(super) base: u64,
    /// How long the file is, as written.
    pub(super) bytes: u64,
    /// Its closed stretches.
    pub(super) index: Index,
    /// The stretch behind them.
    pub(super) open: Option<Stretch>,
}

impl Live {
    /// One without records.
    pub(super) fn empty(file: Arc<dyn StorageFile>, path: PathBuf, base: u64) -> Self {
        Live { file, path, base, bytes: HEAD_BYTES, index: Index::default(), open: None }
    }

    /// Its last stretch if that is still open.
    fn open_slot(&self) -> Option<Slot> {
        self.open.map(|open| self.index.slot_for(open))
    }

    /// How many records are in it.
    pub(super) fn count(&self) -> u64 {
        self.open_slot().map_or(self.index.count(), |slot| slot.end())
    }

    /// Its first record's timestamp.
    pub(super) fn first(&self) -> Option<Timestamp> {
        let closed = self.index.slots().first().map(|slot| slot.stretch.first);
        closed.or(self.open.map(|open| open.first))
    }

    /// The latest timestamp in it.
    pub(super) fn last(&self) -> Option<Timestamp> {
        let indexed = self.index.interval().map(|(_, last)| last);
        indexed.into_iter().chain(self.open.map(|open| open.last)).max()
    }

    /// The ordinal of the first record of the stretch in which the first record at or after `from` lies.
    pub(super) fn search(&self, from: Timestamp) -> u64 {
        self.index.search(from).unwrap_or(self.index.count())
    }

    /// The stretches from the one that holds record `ordinal`, for about `bytes` bytes.
    pub(super) fn run(&self, ordinal: u64, bytes: usize) -> Vec<Slot> {
        let (mut left, mut run) = (bytes as u64, Vec::new());
        for slot in self.index.slots_from(ordinal) {
            run.push(*slot);
            left = left.saturating_sub(u64::from(slot.stretch.bytes));
            if left == 0 {
                return run;
            }
        }
        run.extend(self.open_slot().filter(|slot| slot.end() > ordinal));
        run
    }

    /// The stretches up to the one that holds the record before `ordinal`, for about `bytes` bytes.
    pub(super) fn run_before(&self, ordinal: u64, bytes: usize) -> Vec<Slot> {
        self.index.run_before(ordinal, self.open_slot(), bytes)
    }
}
