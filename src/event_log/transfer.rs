//! Entries out of a log and into one: `disk_log` files and the form `file:consult/1` reads.
//!
//! Other forms bring their own function for an entry; ranges, order and duplicates are the same for all.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use super::record::{self, CLOSED, EntryRef, HEAD_BYTES, LOG_MAGIC, OPENED};
use super::repair::{Damage, scan_all};
use super::segment::Source;
use super::storage::{Access, Storage, read_full, write_full};
use super::{AppendError, Batch, Chunk, Cursor, Log, ReadError, Writer};
use crate::etf::text::{TextError, parse, to_text};
use crate::etf::{TermRef, decode, encode, order, tag};
use crate::time::Timestamp;

/// How much is read from a log at once.
const READ_BYTES: usize = 1 << 20;
/// How much is gathered for one write.
const WRITE_BYTES: usize = 1 << 20;
/// How long one term's text may be.
const MAX_TEXT_BYTES: usize = 64 << 20;

/// Why entries could not be taken out of a log or a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The log could not be read.
    #[error("cannot read the log")]
    Read(#[from] ReadError),
    /// The other side could not be written or read.
    #[error("cannot access {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// How it failed.
        #[source]
        source: io::Error,
    },
    /// A file does not begin as `disk_log` files do.
    #[error("{} is no disk_log file", path.display())]
    NotALog {
        /// The file.
        path: PathBuf,
    },
    /// Text is no term.
    #[error("no term before line {line}")]
    Text {
        /// The line behind it.
        line: u64,
        /// What is wrong, with lines counted from the term's first.
        #[source]
        source: TextError,
    },
    /// A term is not `{Timestamp, Event}`.
    #[error("term before line {line} is not {{Timestamp, Event}}")]
    NotAnEntry {
        /// The line behind it.
        line: u64,
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
/// were. `progress` is told the bytes of records read.
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

/// Writes an entry as a line that `file:consult/1` reads. An event with pids, ports, references or funs, for which
/// Erlang has no syntax, is written as `{'$etf', Binary}`, which `binary_to_term/1` and [`read_consult`] take.
///
/// # Errors
///
/// Those of `out`.
pub fn write_consult(
    out: &mut dyn io::Write,
    stamp: Timestamp,
    event: TermRef<'_>,
) -> io::Result<()> {
    let (mega, secs, micros) = stamp.parts();
    let mut printed = to_text(event);
    let is_same = parse(&printed)
        .is_ok_and(|parsed| order::exactly_equal(TermRef::from_walked(&parsed), event));
    if !is_same {
        let mut wrapped = Vec::new();
        encode::tuple_header(&mut wrapped, 2);
        encode::atom(&mut wrapped, "$etf");
        encode::binary(&mut wrapped, &[&[tag::VERSION], event.bytes()].concat());
        printed = to_text(TermRef::from_walked(&wrapped));
    }
    writeln!(out, "{{{{{mega},{secs},{micros}}},{printed}}}.")
}

/// The term in `{'$etf', Binary}`.
fn unwrapped(event: TermRef<'_>) -> Option<TermRef<'_>> {
    let [etf, bytes] = event.as_tuple()?;
    let bytes = bytes.as_binary().filter(|_| etf.is_atom("$etf"))?;
    decode::external(bytes).ok()
}

/// Reads terms `{Timestamp, Event}` that each end in a dot and a line's end.
///
/// # Errors
///
/// [`ExportError`]; the entries before it were handed over.
pub fn read_consult(
    path: &Path,
    input: &mut dyn BufRead,
    each: Each<'_>,
) -> Result<u64, ExportError> {
    let (mut text, mut line, mut count) = (String::new(), 0, 0);
    let mut failed = None;
    loop {
        let begins = text.is_empty();
        let room = (MAX_TEXT_BYTES + 1 - text.len()) as u64;
        let mut line_input = io::Read::take(&mut *input, room);
        let read = line_input.read_line(&mut text).map_err(ExportError::io(path))?;
        line += 1;
        let ended = text.trim_end().ends_with('.');
        if begins && is_blank(&text) {
            text.clear();
        } else if ended || read == 0 || text.len() > MAX_TEXT_BYTES {
            match parse(&text) {
                Ok(term) => {
                    let external = [&[tag::VERSION], &*term].concat();
                    let (timestamp, event_at) =
                        record::stamp(&external).ok_or(ExportError::NotAnEntry { line })?;
                    let event = TermRef::from_walked(&external[event_at..]);
                    let event = unwrapped(event).unwrap_or(event).bytes();
                    each(EntryRef { timestamp, event, entry: &term })
                        .map_err(ExportError::Stopped)?;
                    count += 1;
                    text.clear();
                    failed = None;
                }
                // The dot may have stood in a string that goes on in the next line.
                Err(source) if read > 0 && text.len() <= MAX_TEXT_BYTES => failed = Some(source),
                Err(source) => {
                    let source = failed.unwrap_or(source);
                    return Err(ExportError::Text { line, source });
                }
            }
        }
        if read == 0 {
            return Ok(count);
        }
    }
}

/// Whether a line holds nothing but space and a comment.
fn is_blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('%')
}

/// Hands over the entries of one `disk_log` file, and says what of it is damaged. Nothing is changed.
///
/// # Errors
///
/// [`ExportError`]; the entries before it were handed over.
pub fn read_disk_log(
    storage: &dyn Storage,
    path: &Path,
    each: Each<'_>,
) -> Result<Vec<Damage>, ExportError> {
    let io = || ExportError::io(path);
    let file = storage.open(path, Access::Read).map_err(io())?;
    if read_full(&*file, 0, 4).map_err(io())? != LOG_MAGIC {
        return Err(ExportError::NotALog { path: path.to_owned() });
    }
    let mut source = Source::File(file);
    let bytes = source.bytes().map_err(io())?;
    let found = scan_all(&mut source, bytes).map_err(io())?;
    for slot in found.index.slots() {
        let stretch = &slot.stretch;
        let bytes = source.read(stretch.position, stretch.bytes as usize).map_err(io())?;
        for entry in record::Entries::new(&bytes) {
            each(entry).map_err(ExportError::Stopped)?;
        }
    }
    Ok(found.damage)
}

/// Why an entry was not taken into a log. Those before it were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Stamps must rise: this one does not come after the one before it in the import.
    #[error("entry stamped {stamp} comes after one stamped {before}")]
    OutOfOrder {
        /// The entry's timestamp.
        stamp: Timestamp,
        /// The timestamp before it.
        before: Timestamp,
    },
    /// The log goes on beyond this timestamp, and has no such entry.
    #[error("entry stamped {stamp} is not in the log, which already goes up to {last}")]
    WouldReorder {
        /// The entry's timestamp.
        stamp: Timestamp,
        /// The log's latest.
        last: Timestamp,
    },
    /// The log has another event with this timestamp.
    #[error("the log has another event stamped {stamp}")]
    Conflict {
        /// The timestamp.
        stamp: Timestamp,
    },
    /// The log could not be read for comparison.
    #[error("cannot read the log")]
    Read(#[from] ReadError),
    /// The log could not be written.
    #[error("cannot write the log")]
    Append(#[from] AppendError),
}

/// How an import went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Entries added.
    pub added: u64,
    /// Entries that the log had already.
    pub duplicates: u64,
}

/// Takes entries into a log with the timestamps they have. An import that is repeated, or taken up again
/// after it stopped, adds nothing twice.
#[derive(Debug)]
pub struct Import<'a> {
    writer: &'a mut Writer,
    /// The latest timestamp the log had; entries up to it must be in the log.
    last: Option<Timestamp>,
    existing: Cursor,
    chunk: Option<Chunk>,
    before: Option<Timestamp>,
    batch: Batch,
    imported: Imported,
}

impl<'a> Import<'a> {
    /// Begins an import into a log that nobody else writes to meanwhile.
    pub fn new(writer: &'a mut Writer, log: &Log) -> Self {
        let last = writer.last_timestamp();
        let (existing, chunk) = (log.cursor(Timestamp::MIN), None);
        let (batch, imported) = (Batch::new(), Imported::default());
        let before = None;
        Import { writer, last, existing, chunk, before, batch, imported }
    }

    /// Adds an entry; `event` is its well-formed term without version byte.
    ///
    /// # Errors
    ///
    /// [`ImportError`].
    pub fn push(&mut self, stamp: Timestamp, event: &[u8]) -> Result<(), ImportError> {
        if let Some(before) = self.before.filter(|before| *before >= stamp) {
            return Err(ImportError::OutOfOrder { stamp, before });
        }
        self.before = Some(stamp);
        match self.last {
            Some(last) if stamp <= last => self.compare(stamp, last, event),
            _ => {
                self.batch.push(stamp, event);
                self.imported.added += 1;
                if self.batch.bytes() >= WRITE_BYTES {
                    self.writer.append(std::mem::take(&mut self.batch))?;
                }
                Ok(())
            }
        }
    }

    /// Writes what is left and makes all of it durable.
    ///
    /// # Errors
    ///
    /// [`ImportError::Append`].
    pub fn finish(mut self) -> Result<Imported, ImportError> {
        self.writer.append(std::mem::take(&mut self.batch))?;
        self.writer.sync()?;
        Ok(self.imported)
    }

    /// Looks the entry up in the log; goes forward only.
    fn compare(
        &mut self,
        stamp: Timestamp,
        last: Timestamp,
        event: &[u8],
    ) -> Result<(), ImportError> {
        loop {
            let chunk = match self.chunk.take().and_then(|chunk| chunk.skip_before(stamp)) {
                Some(chunk) => chunk,
                None => match self.existing.next(READ_BYTES)? {
                    Some(chunk) => {
                        self.chunk = Some(chunk);
                        continue;
                    }
                    None => return Err(ImportError::WouldReorder { stamp, last }),
                },
            };
            let same = chunk.entries().next().filter(|entry| entry.timestamp == stamp);
            let same = same.map(|entry| {
                let terms = (TermRef::whole(entry.event), TermRef::whole(event));
                entry.event == event
                    || matches!(terms, (Ok(a), Ok(b)) if order::exactly_equal(a, b))
            });
            self.chunk = Some(chunk);
            return match same {
                Some(true) => {
                    self.imported.duplicates += 1;
                    Ok(())
                }
                Some(false) => Err(ImportError::Conflict { stamp }),
                None => Err(ImportError::WouldReorder { stamp, last }),
            };
        }
    }
}

#[cfg(test)]
mod tests;
