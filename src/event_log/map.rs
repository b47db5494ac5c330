//! Which records are where: the map that a log's writer, its keeper and its readers share.
//!
//! Every record has an offset, its ordinal in the log. Segments, the live one and the cache each hold a
//! range of offsets, so a reader goes from one to the other by asking for the next offset, whatever was
//! rotated, archived or evicted meanwhile. One mutex guards the map, for microseconds at a time; no file
//! is touched under it. A segment's own lock is taken under it, never the other way round.

use std::collections::VecDeque;
use std::sync::Arc;

use super::cache::Cache;
use super::chunk::Chunk;
use super::live::Live;
use super::manifest::Member;
use super::segment::Segment;
use super::source::Location;
use crate::time::Timestamp;

/// How far the log's file holds the records; readers see exactly these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Committed {
    /// One past the last record's offset: its ordinal, counted from the oldest one that was kept when the log was opened.
    pub offset: u64,
    /// The latest timestamp in the log.
    pub last: Option<Timestamp>,
}

/// How a log had ended when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Started {
    /// There was none.
    #[default]
    New,
    /// In order.
    Clean,
    /// Its process died; the machine did not, so everything written was still there.
    Kill,
    /// The machine stopped, or it can't be told: what was not synced may be lost.
    PowerLoss,
}

/// What the older segments amount to, kept up to date so that nobody has to add them up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) segments: u64,
    pub(super) archives: u64,
    pub(super) missing: u64,
    pub(super) unread: u64,
}

impl Totals {
    fn count(&mut self, segment: &Segment, count: impl Fn(u64, u64) -> u64) {
        let is_missing = segment.is_missing();
        let is_archive = segment.is_archived();
        let add = |total: &mut u64, n: u64| *total = count(*total, n);
        add(&mut self.events, if is_missing { 0 } else { segment.summary.count });
        add(&mut self.bytes, if is_missing { 0 } else { segment.disk_bytes() });
        add(&mut self.segments, u64::from(!is_missing && !is_archive));
        add(&mut self.archives, u64::from(is_archive));
        add(&mut self.missing, u64::from(is_missing));
        add(&mut self.unread, u64::from(segment.unread.is_some()));
    }
}

/// What of the log lies where, as far as anybody has to know while it is read and written.
#[derive(Debug)]
pub(super) struct State {
    /// Rotated segments and archives, oldest first.
    older: VecDeque<Arc<Segment>>,
    totals: Totals,
    pub(super) live: Live,
    pub(super) cache: Cache,
    pub(super) committed: Committed,
    /// The latest stamp that retention has deleted.
    pub(super) deleted: Option<Timestamp>,
    /// No stamp later than this is given without saying so in the manifest before.
    pub(super) reserved: Timestamp,
    /// What every stamp of this life is later than, as found when the log was opened.
    pub(super) floor: Option<Timestamp>,
    /// Whether the wall clock has leapt and not gone evenly for a day since.
    pub(super) is_clock_odd: bool,
    pub(super) poisoned: Option<Arc<str>>,
    pub(super) no_space: bool,
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
    pub(super) fn new(older: VecDeque<Arc<Segment>>, live: Live, committed: Committed) -> Self {
        let mut totals = Totals::default();
        older.iter().for_each(|segment| totals.count(segment, |total, n| total + n));
        State {
            older,
            totals,
            live,
            cache: Cache::default(),
            committed,
            deleted: None,
            reserved: Timestamp::MIN,
            floor: None,
            is_clock_odd: false,
            poisoned: None,
            no_space: false,
        }
    }

    /// Rotated segments and archives, oldest first.
    pub(super) const fn older(&self) -> &VecDeque<Arc<Segment>> {
        &self.older
    }

    pub(super) const fn totals(&self) -> Totals {
        self.totals
    }

    /// Adds a segment behind the others; the live one goes on with `live`.
    pub(super) fn rotate(&mut self, segment: Arc<Segment>, live: Live) {
        self.totals.count(&segment, |total, n| total + n);
        self.older.push_back(segment);
        self.live = live;
    }

    /// Takes out the oldest segment; readers don't find it any more.
    pub(super) fn pop_oldest(&mut self) -> Option<Arc<Segment>> {
        let oldest = self.older.pop_front()?;
        self.totals.count(&oldest, |total, n| total - n);
        self.cache.evict_before(oldest.end());
        Some(oldest)
    }

    /// Puts it back.
    pub(super) fn push_oldest(&mut self, segment: Arc<Segment>) {
        self.totals.count(&segment, |total, n| total + n);
        self.older.push_front(segment);
    }

    /// Says where a segment's bytes are from now on; one that was deleted meanwhile is told so too.
    pub(super) fn move_to(
        &mut self,
        segment: &Segment,
        location: Location,
        listed: Member,
        sealed: bool,
    ) {
        let is_here = self.at(segment).is_some();
        if is_here {
            self.totals.count(segment, |total, n| total - n);
        }
        segment.move_to(location, listed, sealed);
        if is_here {
            self.totals.count(segment, |total, n| total + n);
        }
    }

    /// Puts what is known of a segment now in its place, if it is still there.
    pub(super) fn replace(&mut self, segment: Arc<Segment>) {
        if let Some(at) = self.at(&segment) {
            self.totals.count(&self.older[at], |total, n| total - n);
            self.totals.count(&segment, |total, n| total + n);
            self.older[at] = segment;
        }
    }

    fn at(&self, segment: &Segment) -> Option<usize> {
        let at = self.older.partition_point(|older| older.base < segment.base);
        // Segments without records have the base of the one behind them.
        let mut same = self.older.range(at..).take_while(|older| older.base == segment.base);
        same.position(|older| older.name == segment.name).map(|behind| at + behind)
    }

    /// The offset of the oldest record kept.
    pub(super) fn first_offset(&self) -> u64 {
        self.older.front().map_or(self.live.base, |segment| segment.base)
    }

    /// The first record's timestamp.
    pub(super) fn first_stamp(&self) -> Option<Timestamp> {
        let older = self.older.iter().find(|segment| segment.summary.count > 0);
        older.map(|segment| segment.summary.first).or_else(|| self.live.first())
    }

    /// Records in all.
    pub(super) fn events(&self) -> u64 {
        self.totals.events + self.live.count()
    }

    /// Bytes of all segments and archives.
    pub(super) fn bytes(&self) -> u64 {
        self.totals.bytes + self.live.bytes
    }

    /// The chunk that begins with the record at `offset`, if it is in RAM.
    pub(super) fn cached(&self, offset: u64) -> Option<Chunk> {
        self.cache.at(offset)
    }

    /// The whole chunk that holds the record at `offset`, if it is in RAM.
    pub(super) fn cached_around(&self, offset: u64) -> Option<Chunk> {
        self.cache.around(offset).cloned()
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

    /// The rotated segment in which the last record before `offset` lies, or that ends before it; `None` if it lies in
    /// the live one.
    pub(super) fn older_before(&self, offset: u64) -> Option<Arc<Segment>> {
        if offset > self.live.base {
            return None;
        }
        let at = self.older.partition_point(|segment| segment.base < offset);
        self.older.get(at.checked_sub(1)?).map(Arc::clone)
    }
}
