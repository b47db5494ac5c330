//! Readers' handle on a log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::cursor::{BackwardCursor, Cursor};
use super::lock;
use super::map::{Committed, Started};
use super::shared::Shared;
use crate::metrics::LogStats;
use crate::time::Timestamp;

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

    /// Its numbers, as they are now.
    pub fn stats(&self) -> LogStats {
        let state = lock(&self.shared.state);
        let totals = state.totals();
        LogStats {
            events: state.events(),
            bytes: state.bytes(),
            segments: totals.segments + 1,
            archives: totals.archives,
            missing: totals.missing,
            unreadable: totals.unread,
            cache_bytes: state.cache.ram_bytes(),
            cache_events: state.cache.events(),
            free_bytes: self.shared.free_bytes.load(Ordering::Relaxed),
            ..self.shared.metrics.read()
        }
    }

    /// How it had ended when it was opened.
    pub fn started(&self) -> Started {
        self.shared.started
    }

    /// Why its writer accepts nothing more, if so.
    pub fn poisoned(&self) -> Option<Arc<str>> {
        lock(&self.shared.state).poisoned.clone()
    }

    /// Whether appends fail for want of space.
    pub fn lacks_space(&self) -> bool {
        lock(&self.shared.state).no_space
    }
}
