//! The one writer of a log: appends, syncs, rotates.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::age::{AgeFrom, Ages};
use super::batch::Batch;
use super::cache::trimmed;
use super::chunk::Chunk;
use super::index::{Durable, ENTRY_BYTES, HEADER, IndexEntry, Stretch, Summary};
use super::keeper::{Job, Keeper, Maintain};
use super::live::Live;
use super::manifest::Member;
use super::map::Committed;
use super::names::{draft_path, index_path, rotated_name};
use super::record::{CLOSED, HEAD_BYTES, LOG_MAGIC, OPENED};
use super::sealed_index;
use super::segment::{NewSegment, Segment};
use super::shared::Shared;
use super::source::Location;
use super::storage::{Access, Lock, StorageFile, create_fresh, is_full, write_full};
use super::ticket::Ticket;
use super::{AppendError, lock};
use crate::planted::{planted, unless};
use crate::time::{Clock, Timestamp, monotonic};

/// A sync leaves the last index entry open to grow in place while its stretch is shorter than this, so
/// that single events do not cost an index entry each.
const MIN_STRETCH_BYTES: u32 = 4 << 10;
/// The index is synced after this many bytes: what has to be scanned at most after a power loss.
const INDEX_SYNC_BYTES: u64 = 64 << 20;
/// How often free space is asked for, in bytes written.
const SPACE_CHECK_BYTES: u64 = 8 << 20;
/// How often free space is asked for while nothing else is due.
const SPACE_CHECK_PERIOD: Duration = Duration::from_secs(5);
/// How soon a rotation, an index file or a reservation of stamps that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is said that it still fails.
const SAY_PERIOD: Duration = Duration::from_secs(600);
/// How far ahead stamps are reserved in the manifest, and when more are: so a busy log costs a short sync every five
/// seconds, on the keeper's thread. After a power loss stamps begin so far ahead of the clock at most.
const RESERVED: Duration = Duration::from_secs(10);
const RESERVE_AT: Duration = Duration::from_secs(5);
/// How often notes are written down, what could not be read is looked at again, and checksums are read again.
const TIDY_PERIOD: Duration = Duration::from_secs(10);
/// What is read again at least each time, so that small logs are through soon.
const MIN_SCRUB_BYTES: u64 = 1 << 20;

/// The writer of a log; there is one at a time. It is owned by the thread that records.
///
/// Dropped without [`Writer::close`], it leaves the log as a crash would.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    clock: Clock,
    ages: Ages,
    live: LiveFile,
    committed: Committed,
    floor: Option<Timestamp>,
    /// Stamps up to here may be given; and whether more were asked for.
    reserved: Timestamp,
    asked_for: Timestamp,
    poisoned: Option<Arc<str>>,
    space_unchecked: u64,
    /// Whether `min_free_bytes` counts.
    keeps_free: bool,
    rotated_millis: u64,
    seals: VecDeque<Ticket>,
    syncing: Option<Syncing>,
    next: Deadlines,
    // Dropped in this order: the keeper's thread ends before the lock is let go.
    keeper: Keeper,
    _lock: LockGuard,
}

/// Says nothing about itself.
struct LockGuard(#[expect(dead_code, reason = "held for its drop")] Lock);

impl std::fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LockGuard")
    }
}

/// The live segment as the writer sees it. A rotation makes a new one.
#[derive(Debug)]
struct LiveFile {
    file: Arc<dyn StorageFile>,
    path: PathBuf,
    base: u64,
    bytes: u64,
    /// The last stretch, while it grows.
    open: Option<Stretch>,
    /// Closed stretches.
    stretches: usize,
    /// The index file, once it could be made, and how many of its entries are final.
    index_file: Option<Arc<dyn StorageFile>>,
    index_written: usize,
    /// How far the segment, and its index, are durable.
    durable: Durable,
    index_durable: u64,
    /// Whether its name may not be durable yet.
    name_unsynced: bool,
    /// Whether the disk was too full for its head.
    head_due: bool,
    /// Whether a part of a batch was cut off that the disk had no room for.
    is_cut: bool,
    /// AgeFrom when its first record, and its last, have aged.
    begun: Option<AgeFrom>,
    written: AgeFrom,
}

impl LiveFile {
    /// One without records that a rotation begins.
    fn empty(file: Arc<dyn StorageFile>, path: PathBuf, base: u64, now: Duration) -> Self {
        LiveFile {
            file,
            path,
            base,
            bytes: HEAD_BYTES,
            open: None,
            stretches: 0,
            index_file: None,
            index_written: 0,
            durable: if planted("rotate: the new segment is not durable") {
                Durable { end: 1 << 40, crc: 0 }
            } else {
                Durable::default()
            },
            index_durable: 0,
            // It becomes so with the rotated segment's, which every sync waits for.
            name_unsynced: false,
            head_due: false,
            is_cut: false,
            begun: None,
            written: AgeFrom::Uptime(now),
        }
    }

    /// One that was found.
    fn found(live: &Live, opened: &AtOpening) -> Self {
        let closed = live.index.slots().len();
        LiveFile {
            file: Arc::clone(&live.file),
            path: live.path.clone(),
            base: live.base,
            bytes: live.bytes,
            open: live.open,
            stretches: closed,
            index_written: if opened.index_file.is_some() { closed } else { 0 },
            index_file: opened.index_file.clone(),
            durable: Durable { end: opened.durable, crc: live.open.map_or(0, |open| open.crc) },
            index_durable: opened.durable,
            name_unsynced: opened.head_due,
            head_due: opened.head_due,
            is_cut: false,
            begun: live.first().map(AgeFrom::Wall),
            written: AgeFrom::Wall(live.last().unwrap_or(Timestamp::MIN)),
        }
    }
}

/// A sync that runs beside the appends.
#[derive(Debug)]
struct Syncing {
    ticket: Ticket,
    /// Which live segment, by its base, and how much of it will be durable.
    base: u64,
    durable: Durable,
}

/// Why a segment was not rotated.
enum Unrotated {
    /// Everything is as it was before.
    NotNow(io::Error),
    /// Some files have their new names and some don't.
    HalfWay(io::Error),
}

/// When what is due next, by [`Clock::uptime`].
#[derive(Debug)]
struct Deadlines {
    evict: Duration,
    archive: Duration,
    tidy: Duration,
    space: Duration,
    /// Not before this.
    rotate: Duration,
    index: Duration,
    reserve: Duration,
    /// When it may be said again that stamps are not reserved.
    say_unreserved: Duration,
}

/// What [`super::open`] found out about the live segment.
pub(super) struct AtOpening {
    pub(super) durable: u64,
    pub(super) index_file: Option<Arc<dyn StorageFile>>,
    pub(super) head_due: bool,
    pub(super) rotated_millis: u64,
    /// No stamp may be given up to this one.
    pub(super) floor: Option<Timestamp>,
    pub(super) lock: Lock,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        clock: Clock,
        keeper: Keeper,
        opened: AtOpening,
    ) -> Self {
        let state = lock(&shared.state);
        let open = LiveFile::found(&state.live, &opened);
        let (committed, reserved, is_odd) = (state.committed, state.reserved, state.is_clock_odd);
        drop(state);
        let now = clock.uptime();
        let ages = Ages::new(clock.clone(), opened.floor.max(committed.last), is_odd);
        shared.note_clock(ages.is_paused());
        if ages.is_paused() && shared.config.delete_after.is_some() {
            tracing::warn!(log = %shared.config.name, "the clock may have leapt: it is more than a day from the newest stamp, had leapt before, or the manifest is damaged; nothing is deleted by age for 24 hours");
        }
        Writer {
            ages,
            live: open,
            committed,
            floor: opened.floor.max(committed.last),
            reserved,
            asked_for: reserved,
            poisoned: None,
            space_unchecked: SPACE_CHECK_BYTES,
            keeps_free: true,
            rotated_millis: opened.rotated_millis,
            seals: VecDeque::new(),
            syncing: None,
            next: Deadlines {
                evict: now,
                archive: now,
                tidy: now + TIDY_PERIOD,
                space: now,
                rotate: now,
                index: now,
                reserve: now,
                say_unreserved: now,
            },
            keeper,
            _lock: LockGuard(opened.lock),
            shared,
            clock,
        }
    }

    /// The latest timestamp in the log; the next record's must be later.
    pub fn last_timestamp(&self) -> Option<Timestamp> {
        self.committed.last
    }

    /// What the next record's timestamp must be later than, so that none is given twice: also those whose entries a
    /// power loss may have taken, or retention.
    pub const fn stamp_floor(&self) -> Option<Timestamp> {
        self.floor
    }

    #[cfg(test)]
    pub(super) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Remembers over a crash that no record's timestamp will be at or before `to` any more. Costs a sync of the manifest;
    /// where that can't be written it is remembered once it can.
    pub fn pass(&mut self, to: Timestamp) {
        self.floor = self.floor.max(Some(to));
        // An end that is told after a leap must not make the next start believe the clock.
        if !planted("pass: looking at the clock") {
            self.ages.look();
            self.shared.note_clock(self.ages.is_paused());
        }
        let now = self.clock.uptime();
        let is_tried = now >= self.next.reserve;
        if let Err(error) = self.shared.pass(to, is_tried) {
            tracing::debug!(%error, "remembered when the manifest is written anew");
            if is_tried {
                self.next.reserve = now + RETRY;
            }
        }
    }

    /// From now on `min_free_bytes` does not count: what was accepted is written while there is any space at all.
    pub const fn ignore_min_free(&mut self) {
        self.keeps_free = false;
    }

    /// How much of a batch may fit into so many free bytes, with some left for what else is written.
    pub fn room(&self, free_bytes: u64) -> usize {
        let kept = self.shared.config.min_free_bytes.filter(|_| self.keeps_free).unwrap_or(0);
        usize::try_from(free_bytes.saturating_sub(kept) / 2).unwrap_or(usize::MAX)
    }

    /// Whether appending so many bytes, up to a stamp, is two writes and nothing that takes longer: no rotation, and no
    /// reservation of stamps to wait for.
    pub fn is_quick(&self, bytes: usize, last: Timestamp) -> bool {
        let end = self.live.bytes + bytes as u64;
        last <= self.reserved && self.shared.config.segment_bytes.is_none_or(|max| end <= max)
    }

    /// Writes the records to the live segment and shows them to readers. The batch's buffer itself becomes
    /// part of the cache. Rotates first if the segment would grow beyond `segment_bytes`.
    ///
    /// Costs two writes (the records, their index entry), a checksum, and one short lock; the records are durable after the next
    /// [`Writer::sync`].
    ///
    /// # Errors
    ///
    /// [`AppendError::NoSpace`] with the batch, of which nothing was kept; [`AppendError::Poisoned`].
    ///
    /// # Panics
    ///
    /// If the batch does not begin later than [`Writer::last_timestamp`].
    pub fn append(&mut self, batch: Batch) -> Result<Committed, AppendError> {
        self.check_sound()?;
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
            return Ok(self.committed);
        };
        assert!(self.committed.last.is_none_or(|l| l < first), "stamps rise from batch to batch");
        let bytes = batch.bytes() as u64;
        if let Some(max) = self.shared.config.segment_bytes
            && self.live.bytes > HEAD_BYTES
            && self.live.bytes + bytes > max
        {
            self.rotate()?;
        }
        if !planted("append: reserving stamps") {
            self.reserve_for(last);
        }
        self.space_unchecked += bytes;
        if self.space_unchecked >= SPACE_CHECK_BYTES
            && let Some((free_bytes, wanted_bytes)) = self.missing_space()
        {
            return Err(AppendError::NoSpace { batch, free_bytes, wanted_bytes });
        }
        let written = self
            .write_head()
            .and_then(|()| write_full(&*self.live.file, &batch.bytes, self.live.bytes));
        if let Err(error) = written
            && !planted("append: a failed write counts as success")
        {
            return Err(self.not_written(error, batch));
        }
        let spans: Vec<_> = batch.spans().collect();
        let bytes = trimmed(batch.bytes);
        let mut chunks = Vec::with_capacity(spans.len());
        let mut closed = Vec::new();
        let mut offset = self.committed.offset;
        for span in spans {
            let part = bytes.slice(span.start..span.end);
            match &mut self.live.open {
                Some(open) => open.grow(span, &part),
                open => *open = Some(Stretch::of_span(self.live.bytes, span, &part)),
            }
            self.live.bytes += part.len() as u64;
            if self.live.open.as_ref().is_some_and(Stretch::is_full) {
                closed.extend(self.live.open.take());
            }
            chunks.push(Chunk::new(part, offset, span.count, span.first, span.last));
            offset += u64::from(span.count);
        }
        let now = self.clock.uptime();
        self.live.begun.get_or_insert(AgeFrom::Uptime(now));
        self.live.written = AgeFrom::Uptime(now);
        self.floor = Some(last);
        self.committed = Committed { offset, last: Some(last) };
        self.live.stretches += closed.len();
        let mut state = lock(&self.shared.state);
        for stretch in closed {
            state.live.index.push(stretch);
        }
        state.live.open = self.live.open;
        state.live.bytes = self.live.bytes;
        for chunk in chunks {
            state.cache.push(chunk, now);
        }
        state.cache.evict(self.shared.config.cache_bytes, None);
        state.committed = self.committed;
        state.no_space = false;
        drop(state);
        self.shared.metrics.appended_bytes.add(bytes.len() as u64);
        self.shared.watch.send_replace(self.committed);
        if !planted("append: the index") {
            self.write_index();
        }
        Ok(self.committed)
    }

    /// Makes everything appended so far durable (`fdatasync`); nothing to do costs nothing.
    ///
    /// # Errors
    ///
    /// [`AppendError::Poisoned`]: a failed sync is never tried again, because the kernel may already have
    /// forgotten what it could not write.
    pub fn sync(&mut self) -> Result<(), AppendError> {
        self.check_sound()?;
        self.finish_sync()?;
        while let Some(seal) = self.seals.pop_front() {
            unless("sync: rotated segments", || seal.wait())
                .map_err(|reason| self.poison(reason))?;
        }
        if self.live.durable.end == self.live.bytes && !self.live.name_unsynced {
            return Ok(());
        }
        let begun = monotonic();
        unless("sync: the segment", || self.live.file.sync())
            .or_else(
                |error| {
                    if planted("sync: a failure counts as success") { Ok(()) } else { Err(error) }
                },
            )
            .map_err(|error| self.failed("sync", &error))?;
        self.shared.metrics.sync.observe(begun.elapsed(), 1);
        self.shared.metrics.syncs.inc();
        if self.live.name_unsynced {
            unless("sync: the new name", || self.shared.dir.sync())
                .map_err(|error| self.failed("sync", &error))?;
            self.live.name_unsynced = false;
        }
        self.live.is_cut = false;
        self.live.durable =
            Durable { end: self.live.bytes, crc: self.live.open.map_or(0, |open| open.crc) };
        if self.live.open.is_some_and(|open| open.bytes >= MIN_STRETCH_BYTES) {
            self.close_stretch();
        }
        if self.live.durable.end - self.live.index_durable >= INDEX_SYNC_BYTES
            && let Some(index_file) = &self.live.index_file
        {
            match index_file.sync() {
                Ok(()) => self.live.index_durable = self.live.durable.end,
                Err(error) => self.index_failed(&error),
            }
        }
        Ok(())
    }

    /// Makes what has been appended by now durable, on the keeper's thread while appends go on. True if
    /// everything appended is durable; false while a sync is under way, to be asked again later.
    ///
    /// # Errors
    ///
    /// As [`Writer::sync`], also for the sync that was begun last.
    pub fn sync_beside(&mut self) -> Result<bool, AppendError> {
        self.check_sound()?;
        if self.syncing.as_ref().is_some_and(|syncing| !syncing.ticket.is_done()) {
            return Ok(false);
        }
        self.finish_sync()?;
        self.check_seals()?;
        if self.live.durable.end == self.live.bytes && !self.live.name_unsynced {
            // The seals were asked for before the sync, and are done before it.
            return Ok(self.seals.is_empty());
        }
        let ticket = Ticket::default();
        let crc = self.live.open.map_or(0, |open| open.crc);
        let durable = Durable { end: self.live.bytes, crc };
        let sync = Job::Sync {
            file: Arc::clone(&self.live.file),
            new_name: std::mem::take(&mut self.live.name_unsynced),
            ticket: ticket.clone(),
        };
        self.keeper.submit(&self.shared, sync);
        self.shared.metrics.syncs.inc();
        self.syncing = Some(Syncing { ticket, base: self.live.base, durable });
        Ok(false)
    }

    /// Waits for a sync that runs beside, and takes note of what it made durable.
    fn finish_sync(&mut self) -> Result<(), AppendError> {
        let Some(syncing) = self.syncing.take() else { return Ok(()) };
        unless("sync beside: waiting for it", || syncing.ticket.wait())
            .map_err(|reason| self.poison(reason))?;
        if syncing.base == self.live.base && syncing.durable.end > self.live.durable.end {
            self.live.durable = syncing.durable;
            if self.live.open.is_some_and(|open| open.bytes >= MIN_STRETCH_BYTES) {
                self.close_stretch();
            }
        }
        Ok(())
    }

    /// Does what is due: evicts, rotates by age, looks after free space, archives, deletes, reads checksums again.
    /// Returns how soon to call it next. What takes long runs on a thread of its own.
    ///
    /// # Errors
    ///
    /// [`AppendError::Poisoned`]. Eviction goes on even then.
    pub fn maintain(&mut self) -> Result<Duration, AppendError> {
        let (now, has_leapt) = self.ages.look();
        let uptime = now.uptime;
        self.shared.note_clock(self.ages.is_paused());
        let config = &self.shared.config;
        if has_leapt {
            let wall = now.wall;
            tracing::warn!(log = %config.name, %wall, "the clock has leapt by more than a day: nothing is deleted by age for 24 hours");
        }
        if uptime >= self.next.evict {
            self.next.evict = uptime + config.evict_period;
            if let Some(age) = config.evict_after {
                lock(&self.shared.state).cache.evict(None, uptime.checked_sub(age));
            }
        }
        let mut due = self.next.evict;
        if self.poisoned.is_some() {
            return self.check_sound().map(|()| due.saturating_sub(uptime));
        }
        if uptime >= self.next.space {
            self.next.space = uptime + SPACE_CHECK_PERIOD;
            self.missing_space();
        }
        due = due.min(self.next.space);
        if let (Some(begun), Some(period)) = (self.live.begun, self.shared.config.reopen_period) {
            let age = now.age(begun);
            if age >= period {
                self.rotate()?;
                due = due.min(self.next.rotate.max(uptime));
            } else {
                due = due.min(uptime + (period - age));
            }
        }
        let archive = uptime >= self.next.archive;
        if archive {
            self.next.archive = uptime + self.shared.config.archive_period;
        }
        if archive || uptime >= self.next.tidy {
            self.next.tidy = uptime + TIDY_PERIOD;
            let scrub_bytes = self.scrub_bytes();
            self.submit_maintain(archive, scrub_bytes);
        }
        due = due.min(self.next.archive).min(self.next.tidy);
        self.check_seals()?;
        Ok(due.saturating_sub(uptime))
    }

    fn submit_maintain(&mut self, archive: bool, scrub_bytes: u64) {
        let (now, _) = self.ages.look();
        let maintain = Maintain { now, by_age: !self.ages.is_paused(), archive, scrub_bytes };
        self.keeper.submit(&self.shared, Job::Maintain(maintain));
    }

    /// How many bytes are read again in one [`TIDY_PERIOD`], so that all are within `scrub_period`.
    fn scrub_bytes(&self) -> u64 {
        let Some(period) = self.shared.config.scrub_period else { return 0 };
        let bytes = lock(&self.shared.state).bytes();
        // A tenth more, for rounds that are left out.
        let share = u128::from(bytes) * TIDY_PERIOD.as_millis() * 11 / 10;
        let bytes = share / period.as_millis().max(1);
        u64::try_from(bytes).unwrap_or(u64::MAX).max(MIN_SCRUB_BYTES)
    }

    /// Gives the live segment its rotated name and begins a new one. Does nothing if it has no records, or
    /// if that cannot be done now: then the segment grows on, and it is tried again.
    ///
    /// Costs a few renames; the old segment is synced and its index completed on the keeper's thread.
    ///
    /// # Errors
    ///
    /// [`AppendError::Poisoned`].
    pub fn rotate(&mut self) -> Result<(), AppendError> {
        self.check_sound()?;
        let uptime = self.clock.uptime();
        if self.live.bytes == HEAD_BYTES || uptime < self.next.rotate {
            return Ok(());
        }
        if self.live.is_cut && !planted("rotate: what was cut off") {
            // It may be on the disk all the same, and is about to be written to the next segment.
            self.live.file.sync().map_err(|error| self.failed("sync", &error))?;
            self.live.is_cut = false;
        }
        self.close_stretch();
        self.write_index();
        match self.try_rotate() {
            Ok(()) => {}
            Err(Unrotated::NotNow(error)) => {
                self.next.rotate = uptime + RETRY;
                tracing::warn!(log = %self.shared.config.name, %error, "not rotated; the segment grows on and it is tried again");
                return Ok(());
            }
            Err(Unrotated::HalfWay(error)) => return Err(self.failed("rotate", &error)),
        }
        if self.shared.config.max_bytes.is_some() {
            self.submit_maintain(false, 0);
        }
        Ok(())
    }

    /// The renames of a rotation. What fails half way is undone.
    fn try_rotate(&mut self) -> Result<(), Unrotated> {
        let shared = Arc::clone(&self.shared);
        let storage = &*shared.storage;
        let new_path = draft_path(&self.live.path);
        let new_file = new_segment(&shared, &new_path).map_err(Unrotated::NotNow)?;
        let now = self.clock.now();
        let (millis, name) = self.unused_name(now).map_err(Unrotated::NotNow)?;
        let path = shared.config.dir.join(&name);
        let live_path = self.live.path.clone();
        let (index_from, index_to) = (index_path(&live_path), index_path(&path));
        // The index goes first: a live segment without one is scanned, but never meets a stranger's. On opening, an
        // index without its segment gets its name back.
        let mut renames = [(&index_from, &index_to), (&live_path, &path), (&new_path, &live_path)];
        if planted("rotate: the index goes first") && self.live.index_file.is_some() {
            renames.swap(0, 1);
        }
        let mut skipped = 0;
        for (at, (from, to)) in renames.iter().enumerate() {
            // An index that is to be begun anew may be there or not.
            let may_miss = at == 0 && self.live.index_file.is_none();
            if may_miss && planted("rotate: the index that is there") {
                skipped = 1;
                continue;
            }
            let Err(error) = storage.rename(from, to) else { continue };
            if may_miss && error.kind() == io::ErrorKind::NotFound {
                skipped = 1;
                continue;
            }
            let undone = if planted("rotate: undoing half a rotation") { skipped } else { at };
            for (from, to) in renames[skipped..undone].iter().rev() {
                if let Err(undoing) = storage.rename(to, from) {
                    tracing::error!(log = %shared.config.name, %undoing, "a rotation was not undone");
                    return Err(Unrotated::HalfWay(error));
                }
            }
            return Err(Unrotated::NotNow(error));
        }
        self.rotated_millis = millis;
        self.begin_segment(new_file, millis, name, path);
        Ok(())
    }

    /// The live segment is a rotated one from now on, and `file` the live one.
    fn begin_segment(
        &mut self,
        file: Arc<dyn StorageFile>,
        rotated_millis: u64,
        name: String,
        path: PathBuf,
    ) {
        let uptime = self.clock.uptime();
        let mut state = lock(&self.shared.state);
        let index = Arc::new(std::mem::take(&mut state.live.index));
        let (first, last) = index.interval().expect("the segment has records");
        let summary = Summary { bytes: self.live.bytes, count: index.count(), first, last, crc: 0 };
        let records_crc = index.content_crc();
        let end = self.live.base + summary.count;
        let live_path = self.live.path.clone();
        let new = LiveFile::empty(Arc::clone(&file), live_path.clone(), end, uptime);
        let old = std::mem::replace(&mut self.live, new);
        let segment = Arc::new(Segment::new(NewSegment {
            base: old.base,
            name,
            rotated_millis,
            summary,
            listed: Member { disk_bytes: summary.bytes, summary, records_crc },
            reach: state.older().back().map_or(Timestamp::MIN, |segment| segment.reach),
            written: old.written,
            rotated: AgeFrom::Uptime(uptime),
            location: Location::Open(Arc::clone(&old.file), path),
            disk_bytes: summary.bytes,
            index: Some(Arc::clone(&index)),
            is_partial: false,
            unread: None,
        }));
        state.rotate(Arc::clone(&segment), Live::empty(file, live_path, end));
        drop(state);
        self.shared.note_rotated(&segment.name);
        self.shared.metrics.rotations.inc();
        tracing::debug!(segment = %segment.name, bytes = summary.bytes, count = summary.count, "rotated");
        let ticket = Ticket::default();
        self.seals.push_back(ticket.clone());
        let seal = Job::Seal { segment, file: old.file, index, ticket };
        self.keeper.submit(&self.shared, seal);
    }

    /// Syncs everything and marks the live segment closed.
    ///
    /// # Errors
    ///
    /// [`AppendError::Poisoned`]; the log is then as after a crash.
    pub fn close(mut self) -> Result<(), AppendError> {
        self.check_sound()?;
        self.close_stretch();
        self.write_index();
        if !planted("close: syncing") {
            self.sync()?;
        }
        if let Some(index_file) = &self.live.index_file
            && let Err(error) = index_file.sync()
        {
            // It is made anew from the segment.
            self.index_failed(&error);
        }
        // Where the manifest could not be written for a while there is nobody else now to do it.
        self.shared.write_notes();
        if self.live.head_due {
            return Ok(());
        }
        // Only now: the mark says that everything before it is durable.
        let file = Arc::clone(&self.live.file);
        write_full(&*file, &CLOSED, 4)
            .and_then(|()| file.sync())
            .map_err(|error| self.failed("close", &error))
    }

    /// Sees to it that stamps up to `last` are reserved, and that more will be before they are needed. Where the
    /// manifest cannot be written recording goes on all the same.
    fn reserve_for(&mut self, last: Timestamp) {
        if later(last, RESERVE_AT) <= self.reserved {
            return;
        }
        self.reserved = self.reserved.max(lock(&self.shared.state).reserved);
        let ahead = later(last, RESERVED);
        if last > self.reserved {
            let now = self.clock.uptime();
            if now < self.next.reserve {
                return;
            }
            // What is stamped after a leap must not make the next start believe the clock.
            self.ages.look();
            self.shared.note_clock(self.ages.is_paused());
            match self.shared.reserve(ahead) {
                Ok(()) => (self.reserved, self.asked_for) = (ahead, ahead),
                Err(error) => {
                    if now >= self.next.say_unreserved {
                        self.next.say_unreserved = now + SAY_PERIOD;
                        tracing::warn!(log = %self.shared.config.name, %error, "stamps not reserved, tried again every second: after a power loss now some might be given twice");
                    }
                    self.next.reserve = now + RETRY;
                }
            }
        } else if later(last, RESERVE_AT) > self.asked_for {
            self.asked_for = ahead;
            self.keeper.submit(&self.shared, Job::Reserve(ahead));
        }
    }

    /// Writes the head that a full disk had no room for.
    fn write_head(&mut self) -> io::Result<()> {
        if self.live.head_due {
            write_full(&*self.live.file, &[LOG_MAGIC, OPENED].concat(), 0)?;
            self.live.head_due = false;
        }
        Ok(())
    }

    fn check_sound(&self) -> Result<(), AppendError> {
        match &self.poisoned {
            Some(_) if planted("poison: is forgotten") => Ok(()),
            Some(reason) => Err(AppendError::Poisoned { reason: Arc::clone(reason) }),
            None => Ok(()),
        }
    }

    /// Forgets the rotated segments that are durable by now.
    fn check_seals(&mut self) -> Result<(), AppendError> {
        if let Some(reason) = self.seals.iter().find_map(Ticket::failure) {
            return Err(self.poison(reason));
        }
        self.seals.retain(|seal| !seal.is_done());
        Ok(())
    }

    /// Remembers the first failure; every later call answers with it.
    fn poison(&mut self, reason: Arc<str>) -> AppendError {
        tracing::error!(log = %self.shared.config.name, %reason, "recorder stopped; restart to repair");
        lock(&self.shared.state).poisoned = Some(Arc::clone(&reason));
        self.poisoned = Some(Arc::clone(&reason));
        AppendError::Poisoned { reason }
    }

    fn failed(&mut self, what: &str, error: &io::Error) -> AppendError {
        self.poison(format!("{what} failed: {error}").into())
    }

    /// A write failed: if only for want of space, and what was written of it can be cut off, all is well.
    fn not_written(&mut self, error: io::Error, batch: Batch) -> AppendError {
        if !is_full(&error) {
            return self.failed("write", &error);
        }
        if let Err(error) =
            unless("append: cutting off a part", || self.live.file.set_bytes(self.live.bytes))
        {
            return self.failed("cutting off a partial write", &error);
        }
        self.live.is_cut = true;
        let wanted_bytes = batch.bytes() as u64;
        let free_bytes = self.shared.storage.free_bytes(&self.shared.config.dir).unwrap_or(0);
        self.note_no_space(free_bytes, wanted_bytes);
        AppendError::NoSpace { batch, free_bytes, wanted_bytes }
    }

    /// The free and the wanted bytes if there are fewer free than `min_free_bytes`.
    fn missing_space(&mut self) -> Option<(u64, u64)> {
        let wanted = self.shared.config.min_free_bytes.filter(|_| self.keeps_free)?;
        // What cannot be asked is taken to be enough; the write itself will tell.
        let asked = self.shared.storage.free_bytes(&self.shared.config.dir);
        let free = asked.as_ref().map_or(u64::MAX, |free| *free);
        self.shared.free_bytes.store(asked.unwrap_or(0), Ordering::Relaxed);
        if free >= wanted {
            self.space_unchecked = 0;
            return None;
        }
        self.space_unchecked = SPACE_CHECK_BYTES;
        self.note_no_space(free, wanted);
        Some((free, wanted))
    }

    fn note_no_space(&self, free_bytes: u64, wanted_bytes: u64) {
        if !std::mem::replace(&mut lock(&self.shared.state).no_space, true) {
            let log = &self.shared.config.name;
            tracing::error!(%log, free_bytes, wanted_bytes, "no space; recording stops until there is");
        }
    }

    /// Closes the open stretch, so that the next record begins a new one.
    fn close_stretch(&mut self) {
        if let Some(open) = self.live.open.take() {
            let mut state = lock(&self.shared.state);
            state.live.index.push(open);
            state.live.open = None;
            self.live.stretches += 1;
        }
    }

    /// Writes the index entries that are not in the file yet, the open stretch's last: that one is
    /// written over as it grows. What cannot be written is written later, or made anew from the segment.
    fn write_index(&mut self) {
        if self.live.index_file.is_none() && self.clock.uptime() < self.next.index {
            return;
        }
        match self.try_write_index() {
            Err(error) if !is_full(&error) => self.index_failed(&error),
            _ => {}
        }
    }

    /// The index file is begun anew, soon.
    fn index_failed(&mut self, error: &io::Error) {
        self.next.index = self.clock.uptime() + RETRY;
        tracing::warn!(log = %self.shared.config.name, %error, "index not written; it is begun anew");
        self.live.index_file = None;
        self.live.index_written = 0;
    }

    fn try_write_index(&mut self) -> io::Result<()> {
        let entries = self.unwritten_index();
        let storage = &*self.shared.storage;
        let index_file = match &self.live.index_file {
            Some(file) => file,
            None if self.live.stretches > 0 && !planted("append: an index begins as a draft") => {
                let bytes = [&HEADER[..], &entries].concat();
                let file = sealed_index::begin_anew(storage, &self.live.path, &bytes)?;
                self.live.index_file = Some(file);
                self.live.index_written = self.live.stretches;
                return Ok(());
            }
            None => {
                let file = create_fresh(storage, &index_path(&self.live.path))?;
                write_full(&*file, &HEADER, 0)?;
                self.live.index_file.insert(file)
            }
        };
        let at = HEADER.len() + self.live.index_written * ENTRY_BYTES;
        write_full(&**index_file, &entries, at as u64)?;
        self.live.index_written = self.live.stretches;
        Ok(())
    }

    /// The entries of the index that its file does not have, or not as they are now.
    fn unwritten_index(&self) -> Vec<u8> {
        let durable = self.live.durable;
        let state = lock(&self.shared.state);
        let closed = state.live.index.slots()[self.live.index_written..].iter().map(|s| s.stretch);
        let entries = closed.chain(self.live.open);
        entries.flat_map(|stretch| IndexEntry::Stretch { stretch, durable }.encode()).collect()
    }

    /// A name for the live segment that sorts after every other and that nobody has.
    fn unused_name(&self, now: Timestamp) -> io::Result<(u64, String)> {
        let mut millis = (now.micros() / 1000).max(self.rotated_millis + 1);
        loop {
            let name = rotated_name(&self.shared.config.name, millis);
            let path = self.shared.config.dir.join(&name);
            let mut taken = false;
            for path in [index_path(&path), path] {
                match self.shared.storage.open(&path, Access::Read) {
                    Ok(_) => taken = true,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            if !taken {
                return Ok((millis, name));
            }
            millis += 1;
        }
    }
}

/// Makes an empty segment.
pub(super) fn new_segment(
    shared: &Shared,
    path: &std::path::Path,
) -> io::Result<Arc<dyn StorageFile>> {
    let file = create_fresh(&*shared.storage, path)?;
    write_full(&*file, &[LOG_MAGIC, OPENED].concat(), 0)?;
    Ok(file)
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
    Timestamp::from_micros(at.micros().saturating_add(micros))
}
