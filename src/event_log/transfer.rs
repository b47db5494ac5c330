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

pub use feed::{At, Feed, Given, Merge, Report};
pub use import::{Import, ImportError, Imported, latest_believed};
pub use segments::{Feeds, archive_feeds, file_feeds, log_feeds};
pub use text::{Form, TextFeed, write_consult};

use super::record::{self, CLOSED, EntryRef, HEAD_BYTES, LOG_MAGIC, OPENED};
use super::storage::{Access, Storage, write_full};
use super::{Log, ReadError};
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
        /// The file.
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

/// What is done with each entry; an error ends it.
pub type Each<'a> =
    &'a mut dyn FnMut(EntryRef<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Hands the entries stamped `from` up to and with `to` to `each`, oldest first, and says how many there
/// were. `progress` is told the bytes of records read. What is damaged or missing is stepped over; the log counts it.
///
/// # Errors
///
/// [`ExportError::Read`]; [`ExportError::Stopped`] with what `each` says.
pub fn export(
    log: &Log,
    from: Timestamp,
    to: Timestamp,
    each: Each<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, ExportError> {
    let mut cursor = log.cursor(from);
    let (mut count, mut bytes) = (0, 0);
    while let Some(chunk) = cursor.next(READ_BYTES)? {
        for entry in chunk.entries() {
            if entry.timestamp > to {
                return Ok(count);
            }
            each(entry).map_err(ExportError::Stopped)?;
            count += 1;
        }
        bytes += chunk.bytes().len() as u64;
        progress(bytes);
    }
    Ok(count)
}

/// Writes a new `disk_log` file with the entries that `keep` lets pass, and says how many.
///
/// # Errors
///
/// [`ExportError`]; the file is then incomplete.
pub fn export_disk_log(
    log: &Log,
    (from, to): (Timestamp, Timestamp),
    storage: &dyn Storage,
    path: &Path,
    keep: &mut dyn FnMut(EntryRef<'_>) -> bool,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, ExportError> {
    let io = || ExportError::io(path);
    let file = storage.open(path, Access::Create).map_err(io())?;
    write_full(&*file, &[LOG_MAGIC, OPENED].concat(), 0).map_err(io())?;
    let (mut at, mut kept, mut buffer) = (HEAD_BYTES, 0, Vec::new());
    let mut flush = |buffer: &mut Vec<u8>| {
        write_full(&*file, buffer, at)?;
        at += buffer.len() as u64;
        buffer.clear();
        io::Result::Ok(())
    };
    let mut each = |entry: EntryRef<'_>| {
        if keep(entry) {
            kept += 1;
            record::push(&mut buffer, entry.timestamp, entry.event);
            if buffer.len() >= WRITE_BYTES {
                flush(&mut buffer)?;
            }
        }
        Ok(())
    };
    export(log, from, to, &mut each, progress)?;
    flush(&mut buffer).and_then(|()| file.sync()).map_err(io())?;
    write_full(&*file, &CLOSED, 4).and_then(|()| file.sync()).map_err(io())?;
    Ok(kept)
}

#[cfg(test)]
mod tests;
