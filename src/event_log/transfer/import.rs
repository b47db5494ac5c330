//! Entries from outside into a log, with the timestamps they have.

use std::collections::VecDeque;

use super::super::look::latest_stamp;
use super::super::{AppendError, Batch, Chunk, Cursor, Log, ReadError, Writer};
use super::{READ_BYTES, WRITE_BYTES};
use crate::etf::{DecodeError, TermRef, order, walk};
use crate::time::Timestamp;

/// The latest timestamp that is imported, the end of the year 9999: the node's own entries have to come after it.
const LATEST: Timestamp = Timestamp::from_micros(253_402_300_799_999_999);

/// How many entries may crowd at a timestamp, and behind it because it was taken; the original's are unique.
const MAX_CROWD: usize = 10_000;

/// The latest timestamp that is taken from outside at `now` into a log that goes up to `last`: a day after the later
/// one. A clock that was plainly never set refuses nothing.
///
/// One wrong timestamp would be followed by those of all later entries, and stop everything that goes by age.
pub fn latest_believed(now: Timestamp, last: Option<Timestamp>) -> Timestamp {
    latest_stamp(now, last.unwrap_or(Timestamp::MIN))
}

/// Why an entry was not taken into a log. Those before it were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Stamps must not fall: this one lies before the one before it in the import.
    #[error("entry stamped {stamp} comes after one stamped {before}")]
    OutOfOrder {
        /// The entry's timestamp.
        stamp: Timestamp,
        /// The timestamp before it.
        before: Timestamp,
    },
    /// The timestamp is none that an entry can have been given.
    #[error("the timestamp, {stamp}, is beyond the year 9999")]
    TooLate {
        /// The timestamp, or the latest there is.
        stamp: Timestamp,
    },
    /// The timestamp lies in the future.
    #[error("the timestamp, {stamp}, is more than a day ahead of the clock (latest: {latest})")]
    Future {
        /// The timestamp of the entry.
        stamp: Timestamp,
        /// The latest that is believed.
        latest: Timestamp,
    },
    /// The log goes on beyond this timestamp, and has no such entry.
    #[error("entry stamped {stamp} is not in the log, which already goes up to {last}")]
    WouldReorder {
        /// The entry's timestamp.
        stamp: Timestamp,
        /// The log's latest.
        last: Timestamp,
    },
    /// The log has another event with this timestamp, and no room behind it.
    #[error("the log has another event stamped {stamp}")]
    Conflict {
        /// The timestamp of the entry.
        stamp: Timestamp,
    },
    /// So many entries share timestamps that they cannot be told apart.
    #[error("more than {MAX_CROWD} entries crowd at the timestamp {stamp}")]
    Crowded {
        /// The timestamp of the entry.
        stamp: Timestamp,
    },
    /// The event is no term that an Erlang node takes.
    #[error("event stamped {stamp} is no term")]
    NoTerm {
        /// The timestamp of the entry.
        stamp: Timestamp,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The log could not be read for comparison.
    #[error("cannot read the log")]
    Read(#[from] ReadError),
    /// The log could not be written.
    #[error("cannot write the log")]
    Append(#[from] AppendError),
}

impl ImportError {
    /// Whether the next entry can be taken although this one was not.
    pub fn is_of_one_entry(&self) -> bool {
        matches!(
            self,
            ImportError::TooLate { .. } | ImportError::Future { .. } | ImportError::NoTerm { .. }
        )
    }
}

/// How an import went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Entries added.
    pub added: u64,
    /// Of these, entries with a later timestamp than they brought, because that was taken.
    pub moved: u64,
    /// Entries that the log had already.
    pub duplicates: u64,
}

/// Takes entries into a log with the timestamps they have. An import that is repeated, or taken up again after it
/// stopped, adds nothing twice.
///
/// Entries may share a timestamp, where segments of different origin meet. The same event is then the same entry;
/// another gets the next microsecond that is free.
#[derive(Debug)]
pub struct Import<'a> {
    writer: &'a mut Writer,
    /// The latest timestamp the log had; entries up to it must be in the log.
    last: Option<Timestamp>,
    /// The latest timestamp that is believed.
    latest: Timestamp,
    existing: Cursor,
    chunk: Option<Chunk>,
    before: Option<Timestamp>,
    /// The entries of the log that are stamped as the last one pushed was, or follow that without a gap.
    placed: VecDeque<Placed>,
    batch: Batch,
    imported: Imported,
}

/// An entry of the log.
#[derive(Debug)]
struct Placed {
    /// Its timestamp there.
    stamp: Timestamp,
    /// The timestamp it brought; `None` while nothing that was pushed turned out to be this entry.
    brought: Option<Timestamp>,
    event: Vec<u8>,
}

impl<'a> Import<'a> {
    /// Begins an import into a log that nobody else writes to meanwhile. `latest`: what is stamped later is refused.
    pub fn new(writer: &'a mut Writer, log: &Log, latest: Timestamp) -> Self {
        Import {
            last: writer.last_timestamp(),
            writer,
            latest,
            existing: log.cursor(Timestamp::MIN),
            chunk: None,
            before: None,
            placed: VecDeque::new(),
            batch: Batch::new(),
            imported: Imported::default(),
        }
    }

    /// Adds an entry; `event` is its term without version byte.
    ///
    /// # Errors
    ///
    /// [`ImportError`].
    pub fn push(&mut self, stamp: Timestamp, event: &[u8]) -> Result<(), ImportError> {
        if stamp > LATEST {
            return Err(ImportError::TooLate { stamp });
        }
        let is_new = self.last.is_none_or(|last| stamp > last);
        if is_new && stamp > self.latest {
            return Err(ImportError::Future { stamp, latest: self.latest });
        }
        if let Some(before) = self.before.filter(|before| *before > stamp) {
            return Err(ImportError::OutOfOrder { stamp, before });
        }
        match walk(event) {
            Ok(walked) if walked.len == event.len() => {}
            Ok(walked) => {
                let source = DecodeError::TrailingBytes { extra: event.len() - walked.len };
                return Err(ImportError::NoTerm { stamp, source });
            }
            Err(source) => return Err(ImportError::NoTerm { stamp, source }),
        }
        self.before = Some(stamp);
        self.location(stamp, event)
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

    /// Finds the entry in the log, or adds it at the first timestamp that is free.
    fn location(&mut self, stamp: Timestamp, event: &[u8]) -> Result<(), ImportError> {
        while self.placed.front().is_some_and(|placed| placed.stamp < stamp) {
            self.placed.pop_front();
        }
        if claim(self.placed.iter_mut(), stamp, event) {
            self.imported.duplicates += 1;
            return Ok(());
        }
        loop {
            if self.placed.len() > MAX_CROWD {
                return Err(ImportError::Crowded { stamp });
            }
            let free = self.placed.back().map_or(stamp, |placed| placed.stamp.next());
            let Some(last) = self.last.filter(|last| free <= *last) else {
                return self.add(free, stamp, event);
            };
            let from = self.placed.len();
            self.look_up(free)?;
            if self.placed.len() == from {
                return Err(match free == stamp {
                    true => ImportError::WouldReorder { stamp, last },
                    false => ImportError::Conflict { stamp },
                });
            }
            if claim(self.placed.range_mut(from..), stamp, event) {
                self.imported.duplicates += 1;
                return Ok(());
            }
        }
    }

    /// Adds an entry that brought `brought` at the log's end.
    fn add(
        &mut self,
        stamp: Timestamp,
        brought: Timestamp,
        event: &[u8],
    ) -> Result<(), ImportError> {
        if stamp > LATEST {
            return Err(ImportError::TooLate { stamp });
        }
        self.batch.push(stamp, event);
        self.imported.added += 1;
        self.imported.moved += u64::from(stamp != brought);
        self.placed.push_back(Placed { stamp, brought: Some(brought), event: event.to_vec() });
        if self.batch.bytes() >= WRITE_BYTES {
            self.writer.append(std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }

    /// Puts the log's entries with this timestamp behind those in `placed`. Goes forward only. There can be several
    /// where the log took the original's files over as they were.
    fn look_up(&mut self, stamp: Timestamp) -> Result<(), ImportError> {
        loop {
            let Some(chunk) = self.chunk.take().and_then(|chunk| chunk.skip_before(stamp)) else {
                match self.existing.next(READ_BYTES)? {
                    Some(chunk) => self.chunk = Some(chunk),
                    None => return Ok(()),
                }
                continue;
            };
            let first = chunk.entries().next().filter(|entry| entry.timestamp == stamp);
            let Some(first) = first else {
                self.chunk = Some(chunk);
                return Ok(());
            };
            let event = first.event.to_vec();
            self.placed.push_back(Placed { stamp, brought: None, event });
            self.chunk = chunk.without_first(1);
        }
    }
}

/// Finds an entry among those in the log: one with the same event that brought the same timestamp, or of which that is
/// not known. An event that repeats a microsecond later is another entry.
fn claim<'a>(
    mut placed: impl Iterator<Item = &'a mut Placed>,
    stamp: Timestamp,
    event: &[u8],
) -> bool {
    let same = |other: &[u8]| {
        let terms = (TermRef::whole(other), TermRef::whole(event));
        other == event || matches!(terms, (Ok(a), Ok(b)) if order::exactly_equal(a, b))
    };
    let found = placed.find(|placed| {
        placed.brought.is_none_or(|brought| brought == stamp) && same(&placed.event)
    });
    found.map(|placed| placed.brought = Some(stamp)).is_some()
}
