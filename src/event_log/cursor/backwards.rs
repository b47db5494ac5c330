//! A reader's place in a log that it reads from the end.
//!
//! Where it begins and how far it goes are looked up by timestamp, as a [`Cursor`] does it, so that both hand out the
//! same entries, also of a log whose stamps do not rise. In between it goes by offsets, one stretch of a file or one
//! cached chunk at a time, whatever was rotated, archived or evicted meanwhile.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::super::chunk::Chunk;
use super::super::index::Slot;
use super::super::map::Found;
use super::super::segment::Segment;
use super::super::shared::Shared;
use super::super::source::Source;
use super::super::{ReadError, lock};
use super::{Cursor, OpenSegment, READ_BYTES, RunRead};
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
                self.read_back(&mut source, base, (name, &path), &run, &mut range.end)
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
        let chunk = self.read_back(source, base, (&segment.name, &path), &run, end)?;
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

    /// Reads a run whose last stretch holds the entry before `end`, and moves `end` to the first entry read.
    fn read_back(
        &mut self,
        source: &mut Source,
        base: u64,
        (segment, path): (&str, &Path),
        run: &[Slot],
        end: &mut u64,
    ) -> Result<Option<Chunk>, ReadError> {
        let Some(last) = run.last() else {
            // The index was lost, and the segment has fewer records than it once had.
            *end = base;
            return Ok(None);
        };
        *end = (*end).min(base + last.end());
        match self.files.read_run(source, base, path, run, true)? {
            RunRead::Good(chunk) => {
                let chunk = chunk.up_to(*end);
                *end = chunk.offset();
                Ok(Some(chunk))
            }
            RunRead::Damaged(slot, what) => {
                *end = base + slot.ordinal;
                self.files.damaged((segment, path), &slot, what).map(|()| None)
            }
        }
    }
}
