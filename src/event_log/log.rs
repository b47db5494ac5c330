//! What a log's writer and its readers share: which records are where.
//!
//! Every record has an offset, its ordinal in the log. Segments, the live one and the cache each hold a
//! range of offsets, so a reader goes from one to the other by asking for the next offset, whatever was
//! rotated, archived or evicted meanwhile. One mutex guards the map, for microseconds at a time; no file
//! is touched under it.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::cache::Cache;
use super::chunk::Chunk;
use super::cursor::Cursor;
use super::index::{Index, Slot, Stretch};
use super::segment::Segment;
use super::storage::{Storage, StorageFile};
use super::{LogConfig, lock};
use crate::time::Timestamp;

/// The ordinal of a record in the log, counted from the oldest one that was kept when the log was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub(super) u64);

impl Offset {
    /// The ordinal as a number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// How far the log's file holds the records; readers see exactly these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Committed {
    /// One past the last record.
    pub offset: Offset,
    /// The latest timestamp in the log.
    pub last: Option<Timestamp>,
}

/// Counters and sizes of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Records in segments and archives.
    pub events: u64,
    /// Bytes of segments and archives on disk, without their indexes.
    pub bytes: u64,
    /// Segments, with the live one.
    pub segments: u64,
    /// Archives.
    pub archives: u64,
    /// RAM held by the cache.
    pub cache_bytes: u64,
    /// Records in the cache.
    pub cache_events: u64,
    /// Stretches of bytes found damaged since the log was opened.
    pub damaged: u64,
    /// Bytes of torn tails cut off, and kept aside, when the log was opened.
    pub torn_bytes: u64,
    /// Rotations since the log was opened.
    pub rotations: u64,
    /// Segments archived since the log was opened.
    pub archived: u64,
    /// Segments and archives deleted by retention since the log was opened.
    pub deleted: u64,
    /// Records deleted with them.
    pub deleted_events: u64,
    /// Reads of segment files by cursors.
    pub cold_reads: u64,
    /// Bytes appended since the log was opened.
    pub appended_bytes: u64,
    /// Syncs since the log was opened.
    pub syncs: u64,
    /// Why the writer accepts nothing more, if so.
    pub poisoned: Option<Arc<str>>,
    /// Whether appends fail for want of space.
    pub no_space: bool,
}

/// Readers' handle on a log. Cheap to clone; it outlives the writer.
#[derive(Clone, Debug)]
pub struct Log {
    pub(super) shared: Arc<Shared>,
}

impl Log {
    /// How far the log's file holds the records.
    pub fn committed(&self) -> Committed {
        lock(&self.shared.state).committed
    }

    /// Tells whenever more is committed.
    pub fn watch(&self) -> watch::Receiver<Committed> {
        self.shared.watch.subscribe()
    }

    /// A cursor at the first entry stamped `from` or later. It is looked up when first read from.
    pub fn cursor(&self, from: Timestamp) -> Cursor {
        Cursor::new(Arc::clone(&self.shared), from, false)
    }

    /// The same, but the cursor says where entries were deleted or are damaged instead of stepping over.
    pub fn strict_cursor(&self, from: Timestamp) -> Cursor {
        Cursor::new(Arc::clone(&self.shared), from, true)
    }

    /// The first and the latest timestamp in the log.
    pub fn interval(&self) -> Option<(Timestamp, Timestamp)> {
        let state = lock(&self.shared.state);
        Some((state.first_stamp()?, state.committed.last?))
    }

    /// The first and the latest timestamp in RAM.
    pub fn cache_interval(&self) -> Option<(Timestamp, Timestamp)> {
        lock(&self.shared.state).cache.interval()
    }

    /// Counters and sizes, as they are now.
    pub fn stats(&self) -> LogStats {
        let counters = &self.shared.counters;
        let state = lock(&self.shared.state);
        let older_bytes: u64 = state.older.iter().map(|segment| segment.disk_bytes()).sum();
        let archives = state.older.iter().filter(|segment| segment.is_archived()).count() as u64;
        LogStats {
            events: state.committed.offset.0 - state.first_offset(),
            bytes: older_bytes + state.live.bytes,
            segments: state.older.len() as u64 + 1 - archives,
            archives,
            cache_bytes: state.cache.ram_bytes(),
            cache_events: state.cache.events(),
            damaged: counters.damaged.get(),
            torn_bytes: counters.torn_bytes.get(),
            rotations: counters.rotations.get(),
            archived: counters.archived.get(),
            deleted: counters.deleted.get(),
            deleted_events: counters.deleted_events.get(),
            cold_reads: counters.cold_reads.get(),
            appended_bytes: counters.appended_bytes.get(),
            syncs: counters.syncs.get(),
            poisoned: state.poisoned.clone(),
            no_space: state.no_space,
        }
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) damaged: Counter,
    pub(super) torn_bytes: Counter,
    pub(super) rotations: Counter,
    pub(super) archived: Counter,
    pub(super) deleted: Counter,
    pub(super) deleted_events: Counter,
    pub(super) cold_reads: Counter,
    pub(super) appended_bytes: Counter,
    pub(super) syncs: Counter,
}

/// What writer and readers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: LogConfig,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) state: Mutex<State>,
    pub(super) watch: watch::Sender<Committed>,
    pub(super) counters: Counters,
    /// Damage already reported, by the segment's first offset and the position in it.
    reported: Mutex<BTreeSet<(u64, u64)>>,
}

/// More damaged places than this are counted, but no longer named one by one.
const MAX_REPORTED: usize = 10_000;

impl Shared {
    pub(super) fn new(config: LogConfig, storage: Arc<dyn Storage>, state: State) -> Self {
        let watch = watch::Sender::new(state.committed);
        let (counters, reported) = (Counters::default(), Mutex::default());
        Shared { config, storage, state: Mutex::new(state), watch, counters, reported }
    }

    /// Counts and names damage, once for each place.
    pub(super) fn report_damage(&self, base: u64, path: &Path, damage: &super::Damage) {
        let mut reported = lock(&self.reported);
        if reported.len() >= MAX_REPORTED || !reported.insert((base, damage.position)) {
            return;
        }
        drop(reported);
        self.counters.damaged.add(1);
        tracing::error!(
            segment = %path.display(),
            position = damage.position,
            bytes = damage.bytes,
            what = damage.what,
            "segment is damaged; readers step over it"
        );
    }
}

/// Which records are where. Offsets of `older`, `live` and `cache` follow one another without a gap.
#[derive(Debug)]
pub(super) struct State {
    /// Segments that were rotated, oldest first.
    pub(super) older: VecDeque<Arc<Segment>>,
    pub(super) live: Live,
    pub(super) cache: Cache,
    pub(super) committed: Committed,
    pub(super) poisoned: Option<Arc<str>>,
    pub(super) no_space: bool,
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) file: Arc<dyn StorageFile>,
    pub(super) path: PathBuf,
    /// Offset of its first record.
    pub(super) base: u64,
    /// Its length.
    pub(super) bytes: u64,
    /// Its closed stretches.
    pub(super) index: Index,
    /// The stretch behind them.
    pub(super) open: Option<Stretch>,
}

impl Live {
    /// Its last stretch if that is still open.
    fn open_slot(&self) -> Option<Slot> {
        self.open.map(|open| self.index.slot_for(open))
    }

    /// Its records.
    pub(super) fn count(&self) -> u64 {
        self.open_slot().map_or(self.index.count(), |slot| slot.end())
    }

    /// Its first record's timestamp.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.index
            .slots()
            .first()
            .map(|slot| slot.stretch.first)
            .or(self.open.map(|open| open.first))
    }

    /// The latest timestamp in it.
    pub(super) fn last(&self) -> Option<Timestamp> {
        let indexed = self.index.interval().map(|(_, last)| last);
        indexed.into_iter().chain(self.open.map(|open| open.last)).max()
    }

    /// The ordinal of the first record of the stretch in which the first record at or after `from` lies.
    fn search(&self, from: Timestamp) -> u64 {
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
}

/// Where a cursor's next entry is.
#[derive(Debug)]
pub(super) enum Found {
    /// At this offset.
    At(u64),
    /// In this segment, as its index will tell.
    In(Arc<Segment>),
    /// Not written yet.
    End,
}

impl State {
    /// The offset of the oldest record kept.
    pub(super) fn first_offset(&self) -> u64 {
        self.older.front().map_or(self.live.base, |segment| segment.base)
    }

    /// The first record's timestamp.
    pub(super) fn first_stamp(&self) -> Option<Timestamp> {
        let older = self.older.iter().find(|segment| segment.summary.count > 0);
        older.map(|segment| segment.summary.first).or_else(|| self.live.first())
    }

    /// The chunk that begins with the record at `offset`, if it is in RAM.
    pub(super) fn cached(&self, offset: u64) -> Option<Chunk> {
        self.cache.at(offset)
    }

    /// The offset of the first entry stamped `from` or later, if RAM suffices to tell.
    pub(super) fn search_cached(&self, from: Timestamp) -> Option<Found> {
        if self.committed.last.is_none_or(|last| last < from) {
            return Some(Found::End);
        }
        if let Some(offset) = self.cache.search(from) {
            return Some(Found::At(offset));
        }
        let first = self.first_offset();
        self.cache.at(first).map(|_| Found::At(first))
    }

    /// Where to look for the first entry stamped `from` or later; it is not before what this says.
    pub(super) fn search(&self, from: Timestamp) -> Found {
        if self.committed.last.is_none_or(|last| last < from) {
            return Found::End;
        }
        let at = self.older.partition_point(|segment| segment.reach < from);
        match self.older.get(at) {
            Some(segment) => Found::In(Arc::clone(segment)),
            None => Found::At(self.live.base + self.live.search(from)),
        }
    }

    /// The rotated segment that holds `offset`; `None` if the live one does.
    pub(super) fn older_at(&self, offset: u64) -> Option<Arc<Segment>> {
        let at = self.older.partition_point(|segment| segment.end() <= offset);
        self.older.get(at).map(Arc::clone)
    }
}
