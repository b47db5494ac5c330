//! The store that is a directory of files, as `event_log` keeps them.
//!
//! Here is what only files need: when they are synced, and how much of a batch a full disk is asked to take.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

pub use crate::event_log::is_alone;

use super::{DurableCursors, Lack, NotAppended, Opened, Poisoned, Store, StoreCursor, StoreWriter};
use crate::event_log::{
    self, AppendError, BackwardCursor, Batch, Chunk, Committed, Cursor, Cursors, ListedCursor, Log,
    LogConfig, Next, OpenError, ReadError, RealStorage, SegmentInfo, Started, Storage,
    WantedSegments, Writer,
};
use crate::metrics::LogStats;
use crate::planted::planted;
use crate::time::{Clock, Timestamp, monotonic};

/// When written data is forced to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// When the operating system likes to.
    None,
    /// Every so often, if something was written.
    Interval(Duration),
    /// Before anything is acknowledged; one sync for all that has gathered.
    Always,
}

/// Opens a log, repairing what a crash left. `is_alone` tells what [`is_alone`] said. Blocks.
///
/// # Errors
///
/// [`OpenError`]; nothing was changed that a second try would miss.
pub fn open_on_disk(
    config: &LogConfig,
    sync: SyncMode,
    clock: Clock,
    is_alone: bool,
) -> Result<Opened, OpenError> {
    open(Arc::new(RealStorage), config, sync, clock, is_alone)
}

/// The same, on a storage of one's own.
///
/// # Errors
///
/// [`OpenError`]; nothing was changed that a second try would miss.
pub fn open(
    storage: Arc<dyn Storage>,
    config: &LogConfig,
    sync: SyncMode,
    clock: Clock,
    is_alone: bool,
) -> Result<Opened, OpenError> {
    let (writer, log) = event_log::open(config.clone(), storage.clone(), clock)?;
    let cursors = Cursors::open(storage, config, is_alone);
    let writer = Box::new(SyncedWriter::new(writer, sync));
    Ok(Opened { writer, log: Arc::new(log), cursors: Arc::new(cursors) })
}

/// A writer that is synced as it was configured.
#[derive(Debug)]
pub(crate) struct SyncedWriter {
    writer: Writer,
    sync: SyncMode,
    last_sync: Instant,
    /// Whether what was written may not be durable yet.
    unsynced: bool,
}

impl SyncedWriter {
    pub(crate) fn new(writer: Writer, sync: SyncMode) -> Self {
        SyncedWriter { writer, sync, last_sync: monotonic(), unsynced: false }
    }
}

impl StoreWriter for SyncedWriter {
    fn last_timestamp(&self) -> Option<Timestamp> {
        self.writer.last_timestamp()
    }

    fn stamp_floor(&self) -> Option<Timestamp> {
        self.writer.stamp_floor()
    }

    fn append(&mut self, batch: Batch) -> Result<Option<Batch>, NotAppended> {
        let (mut batch, free_bytes, wanted_bytes) = match self.writer.append(batch) {
            Ok(_) => {
                self.unsynced = true;
                return Ok(None);
            }
            Err(AppendError::NoSpace { .. })
                if planted("recorder: what finds no space is forgotten") =>
            {
                return Ok(None);
            }
            Err(AppendError::NoSpace { batch, free_bytes, wanted_bytes }) => {
                (batch, free_bytes, wanted_bytes)
            }
            Err(error) => return Err(Poisoned::from(error).into()),
        };
        // What has gathered may be more than there will ever be room for.
        let Some(first) = batch.split_first(self.writer.room(free_bytes)) else {
            return Err(no_space(batch, free_bytes, wanted_bytes));
        };
        match self.writer.append(first) {
            Ok(_) => {
                self.unsynced = true;
                Ok(Some(batch))
            }
            Err(AppendError::NoSpace { batch: mut first, free_bytes, wanted_bytes }) => {
                first.join(batch);
                Err(no_space(first, free_bytes, wanted_bytes))
            }
            Err(error) => Err(Poisoned::from(error).into()),
        }
    }

    fn pass(&mut self, to: Timestamp) {
        self.writer.pass(to);
    }

    fn durable_by(&self) -> Option<Instant> {
        if !self.unsynced {
            return None;
        }
        match self.sync {
            SyncMode::None => None,
            SyncMode::Interval(interval) => Some(self.last_sync + interval),
            SyncMode::Always => Some(self.last_sync),
        }
    }

    /// Syncs as promised: before anything is acknowledged, or beside the writing.
    fn make_durable(&mut self) -> Result<(), Poisoned> {
        let is_done = if planted("recorder: never syncs") {
            true
        } else if self.sync == SyncMode::Always {
            self.writer.sync()?;
            true
        } else {
            self.writer.sync_beside()?
        };
        self.unsynced = !is_done;
        self.last_sync = monotonic();
        Ok(())
    }

    fn maintain(&mut self) -> Result<Duration, Poisoned> {
        Ok(self.writer.maintain()?)
    }

    /// An append is a write and no more, but where each is synced.
    fn takes_turns(&self) -> bool {
        self.sync != SyncMode::Always
    }

    fn is_quick(&self, bytes: usize, last: Timestamp) -> bool {
        self.writer.is_quick(bytes, last)
    }

    fn keep_nothing_free(&mut self) {
        self.writer.ignore_min_free();
    }

    fn close(self: Box<Self>) -> Result<(), Poisoned> {
        Ok(self.writer.close()?)
    }
}

fn no_space(batch: Batch, free_bytes: u64, wanted_bytes: u64) -> NotAppended {
    let details = format!("no space: {free_bytes} bytes free, {wanted_bytes} bytes wanted");
    NotAppended::ForNow { batch, lack: Lack { what: "no space left on the log's disk", details } }
}

/// Of a call without a batch, which cannot lack space for one.
impl From<AppendError> for Poisoned {
    fn from(error: AppendError) -> Self {
        let reason = match error {
            AppendError::Poisoned { reason } => reason,
            lacking => lacking.to_string().into(),
        };
        Poisoned { reason }
    }
}

impl Store for Log {
    fn committed(&self) -> Committed {
        self.committed()
    }

    fn watch(&self) -> watch::Receiver<Committed> {
        self.watch()
    }

    fn cursor(&self, from: Timestamp, strict: bool) -> Box<dyn StoreCursor> {
        Box::new(if strict { self.strict_cursor(from) } else { self.cursor(from) })
    }

    fn backward_cursor(
        &self,
        from: Timestamp,
        to: Timestamp,
        strict: bool,
    ) -> Box<dyn StoreCursor> {
        Box::new(self.backward_cursor(from, to, strict))
    }

    fn interval(&self) -> Option<(Timestamp, Timestamp)> {
        self.interval()
    }

    fn cache_interval(&self) -> Option<(Timestamp, Timestamp)> {
        self.cache_interval()
    }

    fn segments(&self, wanted: &WantedSegments) -> Vec<SegmentInfo> {
        self.segments(wanted)
    }

    fn count_after(&self, position: Timestamp) -> Option<u64> {
        Some(self.count_after(position))
    }

    fn started(&self) -> Started {
        self.started()
    }

    fn stats(&self) -> LogStats {
        self.stats()
    }
}

impl StoreCursor for Cursor {
    fn position(&self) -> Option<Timestamp> {
        Some(self.position())
    }

    fn next_cached(&mut self, max_bytes: usize) -> Next {
        self.next_cached(max_bytes)
    }

    fn next(&mut self, max_bytes: usize) -> Result<Option<Chunk>, ReadError> {
        self.next(max_bytes)
    }

    fn let_go(&mut self, undelivered: Option<Chunk>) {
        self.let_go(undelivered);
    }

    fn holds_something(&self) -> bool {
        self.holds_something()
    }
}

impl StoreCursor for BackwardCursor {
    fn position(&self) -> Option<Timestamp> {
        self.position()
    }

    /// About 256 KiB, whatever is asked for.
    fn next(&mut self, _max_bytes: usize) -> Result<Option<Chunk>, ReadError> {
        self.previous()
    }

    fn let_go(&mut self, undelivered: Option<Chunk>) {
        self.let_go(undelivered);
    }

    fn holds_something(&self) -> bool {
        self.holds_something()
    }
}

impl DurableCursors for Cursors {
    fn load(&self, name: &[u8]) -> io::Result<Option<Timestamp>> {
        self.load(name)
    }

    fn highest(&self) -> Option<Timestamp> {
        self.highest()
    }

    fn list(&self, after: Option<&[u8]>, limit: usize) -> io::Result<Vec<ListedCursor>> {
        self.list(after, limit)
    }

    fn ack(&self, name: &[u8], position: Timestamp) {
        self.ack(name, position);
    }

    fn stored<'a>(
        &'a self,
        name: Option<&'a [u8]>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(self.stored(name))
    }
}
