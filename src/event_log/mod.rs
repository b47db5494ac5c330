//! The durable log of one instance.
//!
//! A log is a directory of segments. The newest, the live one, grows; the others were rotated and never
//! change. Each segment is a file that OTP's `disk_log` reads (halt log, internal format):
//!
//! ```text
//! NAME, NAME_YYYY-MM-DD_HH-MM-SS.mmmZ              all numbers big endian
//!
//!  0        4        8
//! +--------+--------+----------------------------------------------
//! |01020304| mark   | record, record, ...
//! +--------+--------+----------------------------------------------
//!           06070809 opened (live), 63584D0B closed
//!
//! record    4        8                  24 if the term has 65,528 bytes or more, else 8
//! +--------+--------+------------------+---------------------------
//! | size   |62574C41| MD5 of the size  | term, `size` bytes
//! +--------+--------+------------------+---------------------------
//!           0C212C37 in old files, then without MD5
//!
//! term, as `term_to_binary({Timestamp, Event})` makes it
//! +--------+--------+--------+-----------------------------+-------
//! | 83     | 68 02  | 68 03  | MegaSecs, Secs, MicroSecs   | event
//! +--------+--------+--------+-----------------------------+-------
//!                             each 61 BYTE, or 62 and 4 bytes
//! ```
//!
//! Beside a segment lies its index, which `disk_log` does not have: checksums and times. It can be lost.
//!
//! ```text
//! .SEGMENT.idx                                     all numbers little endian
//!
//!  0                8               56
//! +----------------+---------------+---------------+---------------
//! | "lmindex2"     | entry         | entry         | ...     the last byte is the version; 1 is read as well
//! +----------------+---------------+---------------+---------------
//!
//! entry: a stretch of whole records
//!  0         8       12      16       24       32      36      40      44      48
//! +---------+-------+-------+--------+--------+-------+-------+-------+-------+
//! | position| bytes | count | first  | last   | back  | part  | crc   | own   |
//! +---------+-------+-------+--------+--------+-------+-------+-------+-------+
//!   position  in the segment             first, last  stamps in microseconds
//!   back      bytes at the end of the stretch, and before it, that were not yet synced when the entry
//!             was written; FFFFFFFF if that many or more
//!   part      CRC32C of the stretch without those, if some of it was synced and some not
//!   crc       CRC32C of the stretch       own  CRC32C of the 44 bytes before
//!
//! The last entry is written over while its stretch grows.
//!
//! in an archive's index, after the stretches: a place where inflating can begin; bytes is 0, count is 1
//! +---------+-------+-------+--------+--------+---------------+-------+-------+
//! | position| 0     | 1     | 0      | 0      | in the archive| 0     | own   |
//! +---------+-------+-------+--------+--------+---------------+-------+-------+
//!
//! last entry, once the segment will not grow any more: bytes and count are 0
//! +---------+-------+-------+--------+--------+---------------+-------+-------+
//! | length  | 0     | 0     | first  | last   | records       | crc   | own   |
//! +---------+-------+-------+--------+--------+---------------+-------+-------+
//!   length    of the segment              crc  CRC32C of the index up to here
//! ```
//!
//! An archive is `SEGMENT.zip` in the archives' directory, a zip file that holds the segment under its own
//! name; `.SEGMENT.zip.idx` is its index, whose positions are those in the segment.
//!
//! `.NAME.manifest` says what belongs to a directory (`manifest.rs`). `NAME.cursors/positions` says how far each durable
//! cursor has come (`durable_cursors/journal.rs`).
//!
//! `NAME.lock` is locked while the log is open for writing. `NAME.torn-POSITION-MILLIS` keeps bytes that
//! a repair cut off the live segment. `.NAME.new`, `.....idx.new` and `.....zip.new` are
//! drafts that a crash left behind.
//!
//! The original takes every file named `NAME_????-??-??_*` for a segment: nothing else of ours has such a name.
//! The first version's indexes and drafts had, their names began without the dot; opening a log renames them.
//!
//! # Invariants
//!
//! - `whole`: a chunk holds whole records whose bytes are those that were appended.
//! - `once`: a cursor hands out each record at or after its timestamp once, in order, while the writer
//!   appends, rotates and evicts.
//! - `durable`: after the process died the log holds a prefix of what was appended, with everything that
//!   was committed; after a power loss everything that was synced, and of the rest what is whole.
//! - `kept`: nothing is deleted or overwritten because it looks damaged.
//! - `evident`: what was complete and is not any more is reported, whatever was repaired, until an operator accepts it.

mod age;
mod archive;
mod backup;
mod batch;
mod cache;
mod chunk;
mod contents;
mod cursor;
mod durable_cursors;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod inventory;
mod keeper;
mod live;
mod log;
mod look;
mod manifest;
mod map;
mod names;
mod open;
mod record;
mod repair;
mod reread;
mod retention;
mod scrub;
mod sealed_index;
mod sealing;
#[cfg(test)]
pub(crate) mod seeds;
mod segment;
mod shared;
mod source;
#[cfg(test)]
pub(crate) mod stepped;
pub mod storage;
mod ticket;
pub mod transfer;
mod verify;
mod writer;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use backup::{BackedUp, BackupError, BackupWatch, backup};
pub use batch::Batch;
pub use chunk::Chunk;
pub use contents::{DamagedPlace, SegmentInfo, SegmentState, WantedSegments};
pub use cursor::{BackwardCursor, Cursor, Next};
pub use durable_cursors::{Cursors, ListedCursor, MAX_CURSOR_NAME_BYTES, is_alone};
pub use error::{AppendError, OpenError, ReadError};
pub use inventory::find_logs;
pub use log::Log;
pub use map::{Committed, Started};
#[cfg(test)]
pub(crate) use open::open_stepped;
pub use open::{MAX_NAME_BYTES, open, open_read_only};
pub use record::push as write_record;
pub use record::{EntryRef, MAX_RECORD_BYTES, Record};
pub use repair::Damage;
pub use storage::{RealStorage, Storage};
pub use verify::{IndexState, Verified, VerifiedSegment, accept, verify};
pub use writer::Writer;

/// Where a log lies and how long what is kept.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The instance's name; its files' names begin with it.
    pub name: String,
    /// The directory of the segments.
    pub dir: PathBuf,
    /// The directory of the archives.
    pub arch_dir: PathBuf,
    /// The live segment is rotated before it grows beyond this.
    pub segment_bytes: Option<u64>,
    /// The live segment is rotated once its first record is this old.
    pub reopen_period: Option<Duration>,
    /// RAM for the cache.
    pub cache_bytes: Option<u64>,
    /// Entries older than this leave the cache.
    pub evict_after: Option<Duration>,
    /// How often that is looked after.
    pub evict_period: Duration,
    /// Segments rotated this long ago are archived.
    pub archive_after: Option<Duration>,
    /// How often archiving and retention are looked after.
    pub archive_period: Duration,
    /// Segments and archives whose last entry is older than this are deleted.
    pub delete_after: Option<Duration>,
    /// The oldest segments and archives are deleted while all together are larger than this.
    pub max_bytes: Option<u64>,
    /// Appends fail while the file system has less free than this.
    pub min_free_bytes: Option<u64>,
    /// Within how long every segment's checksums are read again.
    pub scrub_period: Option<Duration>,
}

impl LogConfig {
    /// A log that is only looked at or filled: nothing expires, and nothing happens by itself.
    pub fn still(name: &str, dir: PathBuf, arch_dir: PathBuf) -> Self {
        LogConfig {
            name: name.to_owned(),
            dir,
            arch_dir,
            segment_bytes: Some(256 << 20),
            reopen_period: None,
            cache_bytes: Some(1 << 20),
            evict_after: None,
            evict_period: Duration::from_secs(3600),
            archive_after: None,
            archive_period: Duration::from_secs(3600),
            delete_after: None,
            max_bytes: None,
            min_free_bytes: None,
            scrub_period: None,
        }
    }
}

/// Locks a mutex. What it guards is consistent whenever it is unlocked, so a panic elsewhere is no reason
/// to panic here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
