//! What can go wrong with a log, one enum per thing that can be attempted.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch::Batch;
use crate::time::Timestamp;

/// Why a log could not be opened. Nothing was changed beyond what repair had already done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Somebody else, perhaps another process, has this log open.
    #[error("log is open elsewhere: {} is locked", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A file with a segment's name does not begin as `disk_log` files do.
    #[error("{} is no disk_log file: it begins with {found:?}", path.display())]
    NotALog {
        /// The file that is concerned.
        path: PathBuf,
        /// Its first bytes.
        found: Vec<u8>,
    },
    /// The instance's name cannot be a file name.
    #[error("instance name {name:?} is empty, too long, or holds a slash or control character")]
    Name {
        /// The name given.
        name: String,
    },
    /// The machine failed.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// How it failed.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn io<'a>(
        what: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> OpenError + 'a {
        move |source| OpenError::Io { what, path: path.to_owned(), source }
    }
}

/// Why records could not be written or made durable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// A write or sync failed before, or just now. The writer accepts nothing more; readers go on.
    #[error("recorder stopped: {reason}")]
    Poisoned {
        /// The first failure.
        reason: Arc<str>,
    },
    /// The disk is full, or has less free than `min_free_bytes`. Nothing of the batch was kept: append it
    /// again later.
    #[error("no space: {free_bytes} bytes free, {wanted_bytes} bytes wanted")]
    NoSpace {
        /// The batch, for the next attempt.
        batch: Batch,
        /// Free bytes of the file system, 0 if unknown.
        free_bytes: u64,
        /// What must be free to go on.
        wanted_bytes: u64,
    },
}

impl AppendError {
    /// Whether the same batch can succeed later without opening the log anew.
    pub fn is_retryable(&self) -> bool {
        matches!(self, AppendError::NoSpace { .. })
    }
}

/// Why a cursor could not go on. It stays where it is; the call can be repeated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A strict cursor stands where retention has deleted.
    #[error("entries before {oldest} are deleted")]
    Deleted {
        /// The oldest timestamp kept.
        oldest: Timestamp,
    },
    /// A strict cursor met bytes that are not what was written; the next call goes on behind them.
    #[error("{} is damaged at {position} ({bytes} bytes)", path.display())]
    Corrupt {
        /// The segment or archive.
        path: PathBuf,
        /// Position in the (unpacked) segment.
        position: u64,
        /// Length of the damage.
        bytes: u64,
    },
    /// A strict cursor met a segment or archive that ought to be there and is not, or that cannot be read for now;
    /// the next call goes on behind it.
    #[error("{} is missing or cannot be read", path.display())]
    Missing {
        /// The segment or archive.
        path: PathBuf,
        /// Its first and latest timestamps, if they are known.
        interval: Option<(Timestamp, Timestamp)>,
        /// How many entries it had, 0 if that is not known.
        events: u64,
    },
    /// The machine lacks something for now, such as descriptors; the call can be repeated.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file that is concerned.
        path: PathBuf,
        /// How it failed.
        #[source]
        source: io::Error,
    },
}

impl ReadError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> ReadError + '_ {
        move |source| ReadError::Io { path: path.to_owned(), source }
    }
}
