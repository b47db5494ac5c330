//! What an instance needs of the place where its log is kept.
//!
//! It appends batches, learns how far they are committed, searches for a timestamp and reads on from there with a cursor,
//! and keeps its subscribers' durable cursors. Nothing else of a store is known to the right of here: where it lies, what
//! it keeps for how long, and what makes its records durable is its own. There is one so far, [`file`]: a directory.
//!
//! A call of a store stands for a batch or a chunk of records, never for one of them. Those are whatever the store the
//! records of `event_log`, for they are handed on as they are. What may block is called where that is allowed, on the
//! recorder's thread or the blocking pool: a store that is a client of servers waits there for its own runtime.
//!
//! # Invariants
//!
//! What the instance relies on, of every store:
//!
//! - `one_writer`: at most one writer anywhere appends to a log at a time.
//! - `prefix`: readers see what is committed, and nothing that is committed before something that is not.
//! - `durable`: what [`StoreWriter::make_durable`] has returned for is not lost by whatever the store was set up for.
//! - `once`: a cursor hands out each record at or after its timestamp once, in order.

pub mod file;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

pub use crate::event_log::{
    Batch, Chunk, Committed, DamagedPlace, EntryRef, ListedCursor, LogConfig,
    MAX_CURSOR_NAME_BYTES, Next, OpenError, ReadError, SegmentInfo, SegmentState, Started,
    WantedSegments, write_record,
};
pub use file::SyncMode;

use crate::metrics::LogStats;

use crate::time::Timestamp;

/// A log that was opened: the three ways to it, each for others.
pub struct Opened {
    /// For the recorder.
    pub writer: Box<dyn StoreWriter>,
    /// For who reads.
    pub log: Arc<dyn Store>,
    /// For subscribers that go on where they were.
    pub cursors: Arc<dyn DurableCursors>,
}

/// What has been recorded. It outlives the writer.
pub trait Store: fmt::Debug + Send + Sync {
    /// How far the records are committed.
    fn committed(&self) -> Committed;

    /// Tells whenever more is committed.
    fn watch(&self) -> watch::Receiver<Committed>;

    /// A cursor at the first entry stamped `from` or later, that also sees later appends. A strict one says where entries
    /// were deleted, are damaged or missing instead of stepping over them. Nothing is looked up before it is read from.
    fn cursor(&self, from: Timestamp, strict: bool) -> Box<dyn StoreCursor>;

    /// A cursor that goes back from the last entry stamped `from` or earlier to the first one stamped `to` or later: over
    /// the same entries as one that goes from `to` up to `from`.
    fn backward_cursor(&self, from: Timestamp, to: Timestamp, strict: bool)
    -> Box<dyn StoreCursor>;

    /// The first and the latest timestamp in the log.
    fn interval(&self) -> Option<(Timestamp, Timestamp)>;

    /// The first and the latest timestamp in RAM.
    fn cache_interval(&self) -> Option<(Timestamp, Timestamp)> {
        None
    }

    /// The segments that it consists of, the newest first. None: it has no such parts.
    fn segments(&self, _wanted: &WantedSegments) -> Vec<SegmentInfo> {
        Vec::new()
    }

    /// At most how many entries are stamped later than `position`, if that can be told without reading.
    fn count_after(&self, _position: Timestamp) -> Option<u64> {
        None
    }

    /// How it had ended when it was opened.
    fn started(&self) -> Started;

    /// Its numbers, as they are now; 0 is what the store has not.
    fn stats(&self) -> LogStats;
}

/// A reader's place in a log.
pub trait StoreCursor: fmt::Debug + Send {
    /// The timestamp from which another cursor would go on, towards the same end; `None` if there can be nothing more.
    fn position(&self) -> Option<Timestamp>;

    /// The next entries, about `max_bytes` of them but at least one, if they are in RAM. Waits for nothing.
    fn next_cached(&mut self, _max_bytes: usize) -> Next {
        Next::Cold
    }

    /// The next entries, from wherever they are; `None` if there are no more for now. Those of a cursor that goes backwards
    /// are oldest first as ever, to be read from the last one back. May block.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; the cursor is where it was, or behind what the error tells of, and can be asked again.
    fn next(&mut self, max_bytes: usize) -> Result<Option<Chunk>, ReadError>;

    /// Lets go of whatever it holds until it is read from again. The next entries are then those of `undelivered`, which it
    /// handed out last and nobody dealt with, if that is some.
    fn let_go(&mut self, undelivered: Option<Chunk>);

    /// Whether there is anything to let go of.
    fn holds_something(&self) -> bool;
}

/// The one writer of a log. The recorder owns it; its calls may block.
///
/// Dropped without [`StoreWriter::close`], it leaves the log as a crash would.
pub trait StoreWriter: Send {
    /// The latest timestamp in the log.
    fn last_timestamp(&self) -> Option<Timestamp>;

    /// What the next record's timestamp must be later than, so that none is given twice over all lives.
    fn stamp_floor(&self) -> Option<Timestamp>;

    /// Commits a batch; or a first part of it, and gives back the rest, to be appended next.
    ///
    /// # Errors
    ///
    /// [`NotAppended`]; nothing of the batch was committed.
    fn append(&mut self, batch: Batch) -> Result<Option<Batch>, NotAppended>;

    /// Remembers over a crash that no record's timestamp will be at or before `to` any more.
    fn pass(&mut self, to: Timestamp);

    /// By when what was appended has to be made durable; nobody is told that something was recorded while that is past.
    /// `None` while there is nothing to do, as ever where an append is durable when it returns.
    fn durable_by(&self) -> Option<Instant> {
        None
    }

    /// Makes what was appended durable, or sees to it that it soon will be, as [`StoreWriter::durable_by`] tells after it.
    ///
    /// # Errors
    ///
    /// [`Poisoned`].
    fn make_durable(&mut self) -> Result<(), Poisoned> {
        Ok(())
    }

    /// Does what else is due; how soon to call it next.
    ///
    /// # Errors
    ///
    /// [`Poisoned`]; it may be called again all the same, and does then what can be done.
    fn maintain(&mut self) -> Result<Duration, Poisoned>;

    /// Whether whoever has a few events may append them here and now instead of the recorder's thread, where
    /// [`StoreWriter::is_quick`] says so: an append costs about as much as to wake that thread.
    fn takes_turns(&self) -> bool {
        false
    }

    /// Whether to append so many bytes, up to a stamp, is nothing that takes long.
    fn is_quick(&self, _bytes: usize, _last: Timestamp) -> bool {
        false
    }

    /// The instance is to stop: what the store else keeps free is used for what still has to be appended.
    fn keep_nothing_free(&mut self) {}

    /// Ends in order; everything that was appended is durable then.
    ///
    /// # Errors
    ///
    /// [`Poisoned`]; the log is then as after a crash.
    fn close(self: Box<Self>) -> Result<(), Poisoned>;
}

/// Positions that subscribers acknowledged, each under a name of the subscriber's choice.
pub trait DurableCursors: Send + Sync {
    /// The last position acknowledged under `name`. May block.
    ///
    /// # Errors
    ///
    /// Those of the store, `InvalidData` if the position is damaged, `QuotaExceeded` if the name is a new one and there are
    /// too many.
    fn load(&self, name: &[u8]) -> io::Result<Option<Timestamp>>;

    /// The latest position acknowledged under any name, as far as that can be told.
    fn highest(&self) -> Option<Timestamp>;

    /// The cursors behind `after` in the order of their names, at most `limit` of them. Does not block.
    ///
    /// # Errors
    ///
    /// `WouldBlock` while they cannot be told.
    fn list(&self, after: Option<&[u8]>, limit: usize) -> io::Result<Vec<ListedCursor>>;

    /// Has a position stored, soon and durably, and tried again until it is or a later call has another for the name. Call
    /// it in a tokio runtime.
    fn ack(&self, name: &[u8], position: Timestamp);

    /// Waits until nothing acknowledged under `name`, or under any, still has to be stored.
    fn stored<'a>(
        &'a self,
        name: Option<&'a [u8]>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// Why a batch was not appended.
#[derive(Debug, thiserror::Error)]
pub enum NotAppended {
    /// The store takes no more for now: append it again later.
    #[error("{lack}")]
    ForNow {
        /// The batch, for the next attempt.
        batch: Batch,
        /// What is in the way.
        lack: Lack,
    },
    /// Nor will anything else be.
    #[error(transparent)]
    ForGood(#[from] Poisoned),
}

/// What a store cannot do without, and has not for now.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{details}")]
pub struct Lack {
    /// What it is, in words that stay the same from one attempt to the next.
    pub what: &'static str,
    /// What it is, with what is known of it at the moment.
    pub details: String,
}

/// A call failed that nobody can tell the outcome of. The writer accepts nothing more; readers go on.
#[derive(Clone, Debug, thiserror::Error)]
#[error("recorder stopped: {reason}")]
pub struct Poisoned {
    /// The first failure.
    pub reason: Arc<str>,
}
