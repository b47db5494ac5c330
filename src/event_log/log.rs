//! Readers' handle on a log.

use std::sync::Arc;

use tokio::sync::watch;

use super::cursor::{BackwardCursor, Cursor};
use super::lock;
use super::map::{Committed, Started};
use super::shared::Shared;
use crate::time::Timestamp;

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
    /// Segments and archives that the manifests have and no directory does.
    pub missing: u64,
    /// Segments and archives that cannot be read for now, so that nobody knows what they hold.
    pub unread: u64,
    /// RAM held by the cache.
    pub cache_bytes: u64,
    /// Records in the cache.
    pub cache_events: u64,
    /// Stretches of bytes known to be damaged, without those that an operator has accepted.
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
    /// Bytes whose checksums were read again since the log was opened.
    pub scrubbed_bytes: u64,
    /// Syncs since the log was opened.
    pub syncs: u64,
    /// How the log had ended when it was opened.
    pub started: Started,
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

    /// A cursor that goes back from the last entry stamped `from` or earlier to the first one stamped `to` or later: over
    /// the same entries as one that goes from `to` up to `from`. A strict one says where entries were deleted or are
    /// damaged.
    pub fn backward_cursor(&self, from: Timestamp, to: Timestamp, strict: bool) -> BackwardCursor {
        BackwardCursor::new(Arc::clone(&self.shared), from, to, strict)
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

    /// Whether a power loss now would be remembered to have taken what was appended last.
    #[cfg(test)]
    pub(crate) fn is_reserved(&self) -> bool {
        let state = lock(&self.shared.state);
        state.floor.max(state.committed.last) <= Some(state.reserved)
    }

    /// Counters and sizes, as they are now.
    pub fn stats(&self) -> LogStats {
        let counters = &self.shared.counters;
        let state = lock(&self.shared.state);
        let totals = state.totals();
        LogStats {
            events: state.events(),
            bytes: state.bytes(),
            segments: totals.segments + 1,
            archives: totals.archives,
            missing: totals.missing,
            unread: totals.unread,
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
            scrubbed_bytes: counters.scrubbed_bytes.get(),
            syncs: counters.syncs.get(),
            started: self.shared.started,
            poisoned: state.poisoned.clone(),
            no_space: state.no_space,
        }
    }
}
