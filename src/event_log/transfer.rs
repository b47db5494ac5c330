//! Entries out of a log and into one: `disk_log` files, archives, the form `file:consult/1` reads, and JSON lines.
//!
//! Out they go one by one, to whatever writes them. In they come from feeds, one for each file or part of a file whose
//! timestamps rise; the feeds are merged by time, and what the log has already is passed over.

mod feed;
mod import;
mod segments;
mod text;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use feed::{At, Feed, Given, Merge, Report};
pub use import::{Import, ImportError, Imported, latest_believed};
pub use segments::{Feeds, archive_feeds, file_feeds, log_feeds};
pub use text::{Form, TextFeed, write_consult};

use super::ReadError;
use super::record::{self, CLOSED, HEAD_BYTES, LOG_MAGIC, OPENED};
use super::storage::{Access, Storage, StorageFile, write_full};
use crate::etf::TermRef;
use crate::time::Timestamp;

/// How much is read from a log at once.
const READ_BYTES: usize = 1 << 20;
/// How much is gathered for one write.
const WRITE_BYTES: usize = 1 << 20;

/// Why entries could not be taken out of a log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The log could not be read.
    #[error("cannot read the log")]
    Read(#[from] ReadError),
    /// The file could not be written.
    #[error("cannot write {}", path.display())]
    Io {
        /// The file that is concerned.
        path: PathBuf,
        /// How it failed.
        #[source]
        source: io::Error,
    },
    /// Whoever takes the entries gave up.
    #[error("stopped")]
    Stopped(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ExportError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> ExportError + '_ {
        move |source| ExportError::Io { path: path.to_owned(), source }
    }
}

/// A new `disk_log` file that is being filled.
#[derive(Debug)]
pub struct DiskLogFile {
    file: Arc<dyn StorageFile>,
    path: PathBuf,
    /// Where the next write goes.
    position: u64,
    buffer: Vec<u8>,
}

impl DiskLogFile {
    /// Creates it.
    ///
    /// # Errors
    ///
    /// [`ExportError::Io`].
    pub fn create(storage: &dyn Storage, path: &Path) -> Result<Self, ExportError> {
        let io = || ExportError::io(path);
        let file = storage.open(path, Access::Create).map_err(io())?;
        write_full(&*file, &[LOG_MAGIC, OPENED].concat(), 0).map_err(io())?;
        let path = path.to_owned();
        Ok(DiskLogFile { file, path, position: HEAD_BYTES, buffer: Vec::new() })
    }

    /// Adds an entry; `event` is its term.
    ///
    /// # Errors
    ///
    /// [`ExportError::Io`]; the file is then incomplete.
    pub fn push(&mut self, timestamp: Timestamp, event: TermRef<'_>) -> Result<(), ExportError> {
        record::push(&mut self.buffer, timestamp, event.bytes());
        if self.buffer.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    /// Closes it; it is durable then, apart from its name.
    ///
    /// # Errors
    ///
    /// [`ExportError::Io`]; the file is then incomplete.
    pub fn finish(mut self) -> Result<(), ExportError> {
        self.flush()?;
        let closed = self.file.sync().and_then(|()| write_full(&*self.file, &CLOSED, 4));
        closed.and_then(|()| self.file.sync()).map_err(ExportError::io(&self.path))
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        write_full(&*self.file, &self.buffer, self.position)
            .map_err(ExportError::io(&self.path))?;
        self.position += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
