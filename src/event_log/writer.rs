//! The one writer of a log: appends, syncs, rotates.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::batch::Batch;
use super::cache::trimmed;
use super::chunk::Chunk;
use super::index::{Durable, ENTRY_BYTES, Entry, HEADER, Index, Stretch, Summary};
use super::keeper::{Job, Keeper, Ticket};
use super::log::{Committed, Live, Offset, Shared};
use super::record::{CLOSED, HEAD_BYTES, LOG_MAGIC, OPENED};
use super::segment::{Place, Segment, index_path, rotated_name};
use super::storage::{Access, Lock, StorageFile, create_fresh, is_full, write_full};
use super::{AppendError, lock};
use crate::time::{Clock, Timestamp};

/// A sync leaves the last index entry open to grow in place while its stretch is shorter than this, so
/// that single events do not cost an index entry each.
const MIN_STRETCH_BYTES: u32 = 4 << 10;
/// The index is synced after this many bytes: what has to be scanned at most after a power loss.
const INDEX_SYNC_BYTES: u64 = 64 << 20;
/// How often free space is asked for, in bytes written.
const SPACE_CHECK_BYTES: u64 = 8 << 20;
/// How often free space is asked for while nothing else is due.
const SPACE_CHECK_PERIOD: Duration = Duration::from_secs(5);

/// The writer of a log; there is one at a time. It is owned by the thread that records.
///
/// Dropped without [`Writer::close`], it leaves the log as a crash would.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    clock: Clock,
    live: Open,
    committed: Committed,
    poisoned: Option<Arc<str>>,
    space_unchecked: u64,
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

/// The live segment as the writer sees it.
#[derive(Debug)]
struct Open {
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
    first: Option<Timestamp>,
}

/// A sync that runs beside the appends.
#[derive(Debug)]
struct Syncing {
    ticket: Ticket,
    /// Which live segment, by its base, and how much of it will be durable.
    base: u64,
    durable: Durable,
}

#[derive(Debug)]
struct Deadlines {
    evict: Timestamp,
    archive: Timestamp,
    space: Timestamp,
}

/// What [`super::open`] found out about the live segment.
pub(super) struct Opened {
    pub(super) durable: u64,
    pub(super) index_file: Option<Arc<dyn StorageFile>>,
    pub(super) rotated_millis: u64,
    pub(super) lock: Lock,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, clock: Clock, keeper: Keeper, opened: Opened) -> Self {
        let state = lock(&shared.state);
        let live = &state.live;
        let (closed, committed) = (live.index.slots().len(), state.committed);
        let open = Open {
            file: Arc::clone(&live.file),
            path: live.path.clone(),
            base: live.base,
            bytes: live.bytes,
            open: live.open,
            stretches: closed,
            index_written: if opened.index_file.is_some() { closed } else { 0 },
            index_file: opened.index_file,
            durable: Durable { end: opened.durable, crc: live.open.map_or(0, |open| open.crc) },
            index_durable: opened.durable,
            name_unsynced: false,
            first: live.first(),
        };
        drop(state);
        let now = clock.now();
        Writer {
            live: open,
            committed,
            poisoned: None,
            space_unchecked: SPACE_CHECK_BYTES,
            rotated_millis: opened.rotated_millis,
            seals: VecDeque::new(),
            syncing: None,
            next: Deadlines { evict: now, archive: now, space: now },
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
            self.rotate(self.clock.now())?;
        }
        self.space_unchecked += bytes;
        if self.space_unchecked >= SPACE_CHECK_BYTES
            && let Some((free_bytes, wanted_bytes)) = self.missing_space()
        {
            return Err(AppendError::NoSpace { batch, free_bytes, wanted_bytes });
        }
        if let Err(error) = write_full(&*self.live.file, &batch.bytes, self.live.bytes) {
            return Err(self.not_written(error, batch));
        }
        let spans: Vec<_> = batch.spans().collect();
        let bytes = trimmed(batch.bytes);
        let mut chunks = Vec::with_capacity(spans.len());
        let mut closed = Vec::new();
        let mut offset = self.committed.offset.0;
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
        self.live.first.get_or_insert(first);
        self.committed = Committed { offset: Offset(offset), last: Some(last) };
        self.live.stretches += closed.len();
        let mut state = lock(&self.shared.state);
        for stretch in closed {
            state.live.index.push(stretch);
        }
        state.live.open = self.live.open;
        state.live.bytes = self.live.bytes;
        for chunk in chunks {
            state.cache.push(chunk);
        }
        state.cache.evict(self.shared.config.cache_bytes, None);
        state.committed = self.committed;
        state.no_space = false;
        drop(state);
        self.shared.counters.appended_bytes.add(bytes.len() as u64);
        self.shared.watch.send_replace(self.committed);
        self.write_index()?;
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
            seal.wait().map_err(|reason| self.poison(reason))?;
        }
        if self.live.durable.end == self.live.bytes && !self.live.name_unsynced {
            return Ok(());
        }
        self.live.file.sync().map_err(|error| self.failed("sync", &error))?;
        self.shared.counters.syncs.add(1);
        if self.live.name_unsynced {
            let dir = &self.shared.config.dir;
            self.shared.storage.sync_dir(dir).map_err(|error| self.failed("sync", &error))?;
            self.live.name_unsynced = false;
        }
        self.live.durable =
            Durable { end: self.live.bytes, crc: self.live.open.map_or(0, |open| open.crc) };
        if self.live.open.is_some_and(|open| open.bytes >= MIN_STRETCH_BYTES) {
            self.close_stretch();
        }
        if self.live.durable.end - self.live.index_durable >= INDEX_SYNC_BYTES
            && let Some(index_file) = &self.live.index_file
        {
            index_file.sync().map_err(|error| self.failed("sync", &error))?;
            self.live.index_durable = self.live.durable.end;
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
        self.shared.counters.syncs.add(1);
        self.syncing = Some(Syncing { ticket, base: self.live.base, durable });
        Ok(false)
    }

    /// Waits for a sync that runs beside, and takes note of what it made durable.
    fn finish_sync(&mut self) -> Result<(), AppendError> {
        let Some(syncing) = self.syncing.take() else { return Ok(()) };
        syncing.ticket.wait().map_err(|reason| self.poison(reason))?;
        if syncing.base == self.live.base && syncing.durable.end > self.live.durable.end {
            self.live.durable = syncing.durable;
            if self.live.open.is_some_and(|open| open.bytes >= MIN_STRETCH_BYTES) {
                self.close_stretch();
            }
        }
        Ok(())
    }

    /// Does what is due by `now`: evicts, rotates by age, looks after free space, archives and deletes.
    /// Returns when to call it next. Archiving and deleting run on a thread of their own.
    ///
    /// # Errors
    ///
    /// [`AppendError::Poisoned`]. Eviction goes on even then.
    pub fn maintain(&mut self, now: Timestamp) -> Result<Timestamp, AppendError> {
        let config = &self.shared.config;
        // A clock that stepped back must not put off what was due for as long as it stepped.
        let clamp = |due: Timestamp, period: Duration| due.min(later(now, period));
        self.next.evict = clamp(self.next.evict, config.evict_period);
        self.next.space = clamp(self.next.space, SPACE_CHECK_PERIOD);
        self.next.archive = clamp(self.next.archive, config.archive_period);
        if now >= self.next.evict {
            self.next.evict = later(now, config.evict_period);
            if let Some(age) = config.evict_after {
                lock(&self.shared.state).cache.evict(None, Some(now.saturating_sub(age)));
            }
        }
        let mut due = self.next.evict;
        if self.poisoned.is_some() {
            return self.check_sound().map(|()| due);
        }
        if now >= self.next.space {
            self.next.space = later(now, SPACE_CHECK_PERIOD);
            self.missing_space();
        }
        due = due.min(self.next.space);
        if let Some(at) = self.rotation_due() {
            if now >= at {
                self.rotate(now)?;
            } else {
                due = due.min(at);
            }
        }
        if now >= self.next.archive {
            self.next.archive = later(now, self.shared.config.archive_period);
            self.keeper.submit(&self.shared, Job::Maintain { now, archive: true });
        }
        due = due.min(self.next.archive);
        self.check_seals()?;
        Ok(due)
    }

    /// Gives the live segment its rotated name and begins a new one. Does nothing if it has no records, or
    /// if the disk is too full for a new one.
    ///
    /// Costs a few renames; the old segment is synced and its index completed on the keeper's thread.
    ///
    /// # Errors
    ///
    /// [`AppendError::Poisoned`].
    pub fn rotate(&mut self, now: Timestamp) -> Result<(), AppendError> {
        self.check_sound()?;
        if self.live.bytes == HEAD_BYTES {
            return Ok(());
        }
        let storage = Arc::clone(&self.shared.storage);
        let new_path = self.shared.config.dir.join(format!("{}.new", self.shared.config.name));
        let new_file = match new_segment(&self.shared, &new_path) {
            Ok(file) => file,
            Err(error) if is_full(&error) => {
                tracing::warn!(log = %self.shared.config.name, "no space to rotate; the segment grows on");
                return Ok(());
            }
            Err(error) => return Err(self.failed("rotate", &error)),
        };
        self.close_stretch();
        self.write_index()?;
        let (millis, name) = self.unused_name(now).map_err(|e| self.failed("rotate", &e))?;
        let path = self.shared.config.dir.join(&name);
        // The index goes first: a live segment without one is scanned, but never meets a stranger's.
        if self.live.index_file.is_some() {
            storage
                .rename(&index_path(&self.live.path), &index_path(&path))
                .map_err(|e| self.failed("rotate", &e))?;
        }
        storage.rename(&self.live.path, &path).map_err(|e| self.failed("rotate", &e))?;
        storage.rename(&new_path, &self.live.path).map_err(|e| self.failed("rotate", &e))?;
        self.rotated_millis = millis;

        let old_file = std::mem::replace(&mut self.live.file, Arc::clone(&new_file));
        let mut state = lock(&self.shared.state);
        let index = Arc::new(std::mem::take(&mut state.live.index));
        let (first, last) = index.interval().expect("the segment has records");
        let (bytes, count) = (self.live.bytes, index.count());
        let summary = Summary { bytes, count, first, last, crc: 0 };
        let reach = state.older.back().map_or(Timestamp::MIN, |segment| segment.reach);
        let place = Place::Open(Arc::clone(&old_file), path);
        let base = self.live.base;
        let segment = Segment::new(
            base,
            name,
            millis,
            summary,
            reach,
            place,
            bytes,
            Some(Arc::clone(&index)),
        );
        let segment = Arc::new(segment);
        state.older.push_back(Arc::clone(&segment));
        self.live.base = segment.end();
        state.live = Live {
            file: new_file,
            path: self.live.path.clone(),
            base: self.live.base,
            bytes: HEAD_BYTES,
            index: Index::default(),
            open: None,
        };
        drop(state);
        self.live.bytes = HEAD_BYTES;
        self.live.open = None;
        self.live.stretches = 0;
        self.live.index_file = None;
        self.live.index_written = 0;
        self.live.durable = Durable::default();
        self.live.index_durable = 0;
        self.live.name_unsynced = true;
        self.live.first = None;
        self.shared.counters.rotations.add(1);
        tracing::debug!(segment = %segment.name, bytes, count, "rotated");
        let ticket = Ticket::default();
        self.seals.push_back(ticket.clone());
        self.keeper.submit(&self.shared, Job::Seal { segment, file: old_file, index, ticket });
        if self.shared.config.max_bytes.is_some() {
            self.keeper.submit(&self.shared, Job::Maintain { now, archive: false });
        }
        Ok(())
    }

    /// Syncs everything and marks the live segment closed.
    ///
    /// # Errors
    ///
    /// [`AppendError::Poisoned`]; the log is then as after a crash.
    pub fn close(mut self) -> Result<(), AppendError> {
        self.check_sound()?;
        self.close_stretch();
        self.write_index()?;
        self.sync()?;
        if let Some(index_file) = &self.live.index_file {
            index_file.sync().map_err(|error| self.failed("sync", &error))?;
        }
        // Only now: the mark says that everything before it is durable.
        let file = Arc::clone(&self.live.file);
        write_full(&*file, &CLOSED, 4)
            .and_then(|()| file.sync())
            .map_err(|error| self.failed("close", &error))
    }

    fn check_sound(&self) -> Result<(), AppendError> {
        match &self.poisoned {
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
        if let Err(error) = self.live.file.set_bytes(self.live.bytes) {
            return self.failed("cutting off a partial write", &error);
        }
        let wanted_bytes = batch.bytes() as u64;
        let free_bytes = self.shared.storage.free_bytes(&self.shared.config.dir).unwrap_or(0);
        self.note_no_space(free_bytes, wanted_bytes);
        AppendError::NoSpace { batch, free_bytes, wanted_bytes }
    }

    /// The free and the wanted bytes if there are fewer free than `min_free_bytes`.
    fn missing_space(&mut self) -> Option<(u64, u64)> {
        let wanted = self.shared.config.min_free_bytes?;
        // What cannot be asked is taken to be enough; the write itself will tell.
        let free = self.shared.storage.free_bytes(&self.shared.config.dir).unwrap_or(u64::MAX);
        if free >= wanted {
            self.space_unchecked = 0;
            lock(&self.shared.state).no_space = false;
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

    fn rotation_due(&self) -> Option<Timestamp> {
        Some(later(self.live.first?, self.shared.config.reopen_period?))
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
    /// written over as it grows. A full disk only puts it off.
    fn write_index(&mut self) -> Result<(), AppendError> {
        let result = self.try_write_index();
        match result {
            Err(error) if !is_full(&error) => Err(self.failed("writing the index", &error)),
            _ => Ok(()),
        }
    }

    fn try_write_index(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        let index_file = match &self.live.index_file {
            Some(file) => file,
            None => {
                let path = index_path(&self.live.path);
                let file = create_fresh(&*self.shared.storage, &path)?;
                write_full(&*file, &HEADER, 0)?;
                self.live.index_file.insert(file)
            }
        };
        let durable = self.live.durable;
        let state = lock(&self.shared.state);
        let closed = state.live.index.slots()[self.live.index_written..].iter().map(|s| s.stretch);
        for stretch in closed.chain(self.live.open) {
            bytes.extend_from_slice(&Entry::Stretch { stretch, durable }.encode());
        }
        drop(state);
        let at = HEADER.len() + self.live.index_written * ENTRY_BYTES;
        write_full(&**index_file, &bytes, at as u64)?;
        self.live.index_written = self.live.stretches;
        Ok(())
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
