//! A reader's place in a log that it reads from the end.
//!
//! Where it begins and how far it goes are looked up by timestamp, as a [`Cursor`] does it, so that both hand out the
//! same entries, also of a log whose stamps do not rise. In between it goes by offsets, one stretch of a file or one
//! cached chunk at a time, whatever was rotated, archived or evicted meanwhile.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::super::chunk::Chunk;
use super::super::index::Slot;
use super::super::map::Found;
use super::super::repair::{MISMATCH, UNREADABLE};
use super::super::segment::Segment;
use super::super::shared::Shared;
use super::super::source::Source;
use super::super::storage::is_transient;
use super::super::{ReadError, lock};
use super::{Cursor, OpenSegment, READ_BYTES};
use crate::time::Timestamp;

/// A reader's place in a log that it reads from the end.
#[derive(Debug)]
pub struct BackwardCursor {
    /// Holds the file that is open, and says what is wrong with it.
    files: Cursor,
    from: Timestamp,
    to: Timestamp,
    /// The offsets still to be read; `None` until they were looked up.
    range: Option<Range<u64>>,
    /// Entries after this were delivered, or not asked for; `None` if there can be no more.
    position: Option<Timestamp>,
}

impl BackwardCursor {
    pub(in super::super) fn new(
        shared: Arc<Shared>,
        from: Timestamp,
        to: Timestamp,
        strict: bool,
    ) -> Self {
        let files = Cursor::new(shared, from, strict);
        BackwardCursor { files, from, to, range: None, position: Some(from) }
    }

    /// Entries stamped at or before this are still to come; `None` if there can be none.
    pub const fn position(&self) -> Option<Timestamp> {
        self.position
    }

    /// Lets go of files until it is read from again. The next entries are then those of `undelivered`, the first part of
    /// what it handed out last, if that is some.
    pub fn let_go(&mut self, undelivered: Option<Chunk>) {
        self.files.open = None;
        if let (Some(next), Some(range)) = (undelivered, &mut self.range) {
            range.end = next.end();
            self.position = Some(next.last());
        }
    }

    /// Whether there is anything to let go of.
    pub const fn holds_something(&self) -> bool {
        self.files.open.is_some()
    }

    /// The entries before those handed out last, about 256 KiB of them: oldest first as ever, to be read from the last
    /// one back. `None` if there are no more. May read files: call it where blocking is allowed.
    ///
    /// What is damaged, missing or cannot be read is stepped over and reported in the diagnostics, once; what was
    /// deleted is the end. A strict cursor says so instead.
    ///
    /// # Errors
    ///
    /// As those of [`Cursor::next`].
    pub fn previous(&mut self) -> Result<Option<Chunk>, ReadError> {
        let mut range = match self.range.clone() {
            Some(range) => range,
            None => self.look_up()?,
        };
        while !range.is_empty() {
            let shared = Arc::clone(&self.files.shared);
            let state = lock(&shared.state);
            // What was deleted may still be in RAM.
            range.start = range.start.max(state.first_offset());
            if range.is_empty() {
                break;
            }
            let chunk = if let Some(chunk) = state.cached_around(range.end - 1) {
                drop(state);
                self.files.open = None;
                let end = std::mem::replace(&mut range.end, chunk.offset());
                Ok(Some(chunk.up_to(end)))
            } else if let Some(segment) = state.older_before(range.end) {
                drop(state);
                self.read_older(&segment, &mut range.end)
            } else {
                let live = &state.live;
                let (base, path) = (live.base, live.path.clone());
                let run = live.run_before(range.end - base, *READ_BYTES.start());
                let mut source = Source::File(Arc::clone(&live.file));
                drop(state);
                let name = shared.config.name.as_str();
                self.read_run(&mut source, base, (name, &path), &run, &mut range.end)
            };
            self.range = Some(range.clone());
            if let Some(chunk) = chunk?
                && chunk.end() > range.start
            {
                let start = range.start.max(chunk.offset());
                let chunk = chunk.skip_to(start);
                let first = chunk.first();
                self.position = (first > Timestamp::MIN).then(|| first.previous());
                return Ok(Some(chunk));
            }
        }
        self.range = Some(range);
        self.files.open = None;
        self.check_bottom()?;
        self.position = None;
        Ok(None)
    }

    /// Finds the offsets from the first entry that is not before `to` up to the first one behind `from`.
    fn look_up(&self) -> Result<Range<u64>, ReadError> {
        let shared = &self.files.shared;
        let committed = lock(&shared.state).committed.offset;
        let behind = match self.from {
            Timestamp::MAX => None,
            from => Cursor::new(Arc::clone(shared), from.next(), false).next(1)?,
        };
        let end = behind.map_or(committed, |chunk| chunk.offset());
        if self.to == Timestamp::MIN {
            return Ok(0..end);
        }
        // What is wrong with the stretch that `to` lies in, a strict reader hears of when it comes there.
        let mut first = Cursor::new(Arc::clone(shared), self.to, self.files.strict);
        first.start_checked = true;
        let start = match first.next(1) {
            Ok(Some(chunk)) => chunk.offset(),
            Ok(None) => end,
            Err(error @ ReadError::Io { .. }) => return Err(error),
            Err(_) => match lock(&shared.state).search(self.to) {
                Found::At(offset) => offset,
                Found::In(segment) => segment.base,
                Found::End => end,
            },
        };
        Ok(start.min(end)..end)
    }

    /// A strict cursor that comes to the oldest entry kept says whether older ones were asked for and deleted.
    fn check_bottom(&self) -> Result<(), ReadError> {
        let state = lock(&self.files.shared.state);
        if self.files.strict
            && let (Some(oldest), Some(deleted)) = (state.first_stamp(), state.deleted)
            && (self.from <= deleted || (self.to > Timestamp::MIN && self.to <= deleted))
        {
            return Err(ReadError::Deleted { oldest });
        }
        Ok(())
    }

    /// Reads the entries before the offset `end` from a rotated segment, and moves `end` to the first of them.
    fn read_older(
        &mut self,
        segment: &Arc<Segment>,
        end: &mut u64,
    ) -> Result<Option<Chunk>, ReadError> {
        *end = (*end).min(segment.end());
        let mut open = match self.files.open.take() {
            Some(open) if Arc::ptr_eq(&open.segment, segment) => open,
            _ => match self.files.open(segment) {
                Ok(open) => open,
                Err(error) => return self.unreadable(segment, error, end).map(|()| None),
            },
        };
        let base = segment.base;
        let run = open.index.run_before(*end - base, None, *READ_BYTES.start());
        let path = segment.location().path().to_owned();
        let OpenSegment { source, .. } = &mut open;
        let chunk = self.read_run(source, base, (&segment.name, &path), &run, end)?;
        self.files.open = Some(open).filter(|open| open.kept.is_some());
        Ok(chunk)
    }

    fn unreadable(
        &mut self,
        segment: &Arc<Segment>,
        error: io::Error,
        end: &mut u64,
    ) -> Result<(), ReadError> {
        let told = self.files.unreadable(segment, error);
        if !matches!(told, Err(ReadError::Io { .. })) {
            *end = segment.base;
        }
        told
    }

    /// Reads stretches that lie side by side, the last of which holds the entry before `end`, as far as they are
    /// undamaged from the last one back, and moves `end` to the first of them.
    fn read_run(
        &mut self,
        source: &mut Source,
        base: u64,
        (segment, path): (&str, &Path),
        run: &[Slot],
        end: &mut u64,
    ) -> Result<Option<Chunk>, ReadError> {
        let Some((last, before)) = run.split_last() else {
            // The index was lost, and the segment has fewer records than it once had.
            *end = base;
            return Ok(None);
        };
        *end = (*end).min(base + last.end());
        let start = run[0].stretch.position;
        let length = usize::try_from(last.stretch.end() - start)
            .expect("a run is about READ_BYTES or one stretch");
        let bytes = match source.read(start, length) {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) if is_transient(&error) => return Err(ReadError::io(path)(error)),
            // A bad sector: without the stretch that it lies in, the others can be read.
            Err(_) if !before.is_empty() => {
                return self.read_run(source, base, (segment, path), &run[before.len()..], end);
            }
            Err(_) => {
                *end = base + last.ordinal;
                return self.files.damaged((segment, path), last, UNREADABLE).map(|()| None);
            }
        };
        self.files.shared.counters.cold_reads.add(1);
        let mut good: Option<Chunk> = None;
        for slot in run.iter().rev() {
            let stretch = &slot.stretch;
            let at = usize::try_from(stretch.position - start).expect("within the run");
            let behind = (at + stretch.bytes as usize).min(bytes.len());
            let part = bytes.slice(at.min(bytes.len())..behind);
            let whole = stretch
                .matches(&part)
                .then(|| Chunk::checked(part, base + slot.ordinal, stretch.count));
            let Some(part) = whole.flatten() else {
                if good.is_none() {
                    *end = base + slot.ordinal;
                    return self.files.damaged((segment, path), slot, MISMATCH).map(|()| None);
                }
                break;
            };
            good = Some(match good {
                None => part,
                Some(good) => {
                    let count = u32::try_from(good.end() - part.offset())
                        .expect("a run holds about READ_BYTES or one stretch");
                    let all = bytes.slice(at..at + part.bytes().len() + good.bytes().len());
                    let latest = good.last().max(part.last());
                    Chunk::new(all, part.offset(), count, part.first(), latest)
                }
            });
        }
        let chunk = good.map(|good| good.up_to(*end));
        if let Some(chunk) = &chunk {
            *end = chunk.offset();
        }
        Ok(chunk)
    }
}
