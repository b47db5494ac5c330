//! A reader's resumable place in a log.
//!
//! A cursor stands at an offset. Wherever the record at that offset is when the cursor is asked, in RAM,
//! in the live segment, in a rotated or archived one, it is read from there; so no hand-over exists
//! between the past and the live end. Only the first look-up goes by timestamp.
//!
//! # Invariants
//!
//! - `few_files`: of all cursors together at most `MAX_KEPT` keep a file open between two reads, and none that has
//!   come to what is in RAM or was told to let go.

mod backwards;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::chunk::Chunk;
use super::index::{Index, Slot};
use super::map::Found;
use super::repair::{Damage, MISMATCH, UNREADABLE};
use super::segment::Segment;
use super::shared::Shared;
use super::source::{Location, Source};
use super::storage::is_transient;
use super::{ReadError, lock};
use crate::planted::planted;
use crate::time::Timestamp;
pub use backwards::BackwardCursor;

/// The least and the most a cursor reads from a file at once, apart from records that are longer.
const READ_BYTES: std::ops::RangeInclusive<usize> = (256 << 10)..=(1 << 20);
/// How often a segment may move while a cursor looks for it.
const MAX_MOVES: u32 = 100;

/// What [`Cursor::next_cached`] found.
#[derive(Clone, Debug)]
pub enum Next {
    /// The next entries.
    Chunk(Chunk),
    /// There are none yet: the cursor stands at the live end.
    End,
    /// They are in a file; [`Cursor::next`] reads them.
    Cold,
}

/// A reader's place in a log.
#[derive(Debug)]
pub struct Cursor {
    shared: Arc<Shared>,
    /// Entries before this were delivered, or not asked for.
    position: Timestamp,
    /// Where to go on, once that is known.
    offset: Option<u64>,
    /// Entries before `position` may still come along and are to be dropped.
    seeking: bool,
    strict: bool,
    /// A strict cursor has looked whether the timestamp asked for was deleted.
    start_checked: bool,
    /// What was read and not delivered yet; it ends at `offset`.
    rest: Option<Chunk>,
    /// The segment read last.
    open: Option<OpenSegment>,
}

/// An open rotated segment.
#[derive(Debug)]
struct OpenSegment {
    segment: Arc<Segment>,
    index: Arc<Index>,
    source: Source,
    kept: Option<Kept>,
}

/// What was read where a run of stretches lies.
enum RunRead {
    /// The records of those that are undamaged, up to one that isn't.
    Good(Chunk),
    /// Not even the one wanted first is sound; what is wrong with it.
    Damaged(Slot, &'static str),
}

/// The first stretches of a run, about `wanted` bytes of them but at least one, up to a gap.
fn side_by_side(run: &[Slot], wanted: usize) -> &[Slot] {
    let Some(first) = run.first() else { return run };
    let wanted_end = first.stretch.position + wanted as u64;
    let is_next = |pair: &&[Slot]| {
        pair[1].stretch.position == pair[0].stretch.end() && pair[1].stretch.end() <= wanted_end
    };
    &run[..1 + run.windows(2).take_while(is_next).count()]
}

/// Files that the cursors of this process keep open from one read to the next. Beyond, a segment is opened for each
/// read, which costs less than to run out of descriptors.
const MAX_KEPT: usize = 128;

/// How many there are now.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// The right to keep a file open.
#[derive(Debug)]
struct Kept;

impl Kept {
    fn take() -> Option<Self> {
        let more = |kept| (kept < MAX_KEPT).then_some(kept + 1);
        KEPT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Kept)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        KEPT.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Cursor {
    pub(super) fn new(shared: Arc<Shared>, from: Timestamp, strict: bool) -> Self {
        Cursor {
            shared,
            position: from,
            offset: None,
            seeking: true,
            strict,
            start_checked: !strict,
            rest: None,
            open: None,
        }
    }

    /// Entries stamped at or after this are still to come.
    pub fn position(&self) -> Timestamp {
        self.position
    }

    /// Lets go of files and memory until it is read from again. The next entry is then the first of `undelivered`,
    /// which it handed out last, if that is some.
    pub fn let_go(&mut self, undelivered: Option<Chunk>) {
        self.open = None;
        let rest = self.rest.take();
        if let Some(next) = undelivered.or(rest) {
            self.offset = Some(next.offset());
            self.position = next.first();
        }
    }

    /// Whether there is anything to let go of.
    pub const fn holds_something(&self) -> bool {
        self.open.is_some() || self.rest.is_some()
    }

    /// The next entries, at most about `max_bytes` of them but at least one, if they are in RAM. Never
    /// touches a file, but closes one that it read from before.
    pub fn next_cached(&mut self, max_bytes: usize) -> Next {
        if let Some(rest) = self.rest.take() {
            return Next::Chunk(self.deliver(rest, max_bytes));
        }
        let state = lock(&self.shared.state);
        let offset = match self.offset {
            Some(offset) => offset,
            None if !self.start_checked => return Next::Cold,
            None => match state.search_cached(self.position) {
                Some(Found::At(offset)) => offset,
                Some(Found::End) => {
                    self.open = None;
                    return Next::End;
                }
                Some(Found::In(_)) | None => return Next::Cold,
            },
        };
        if offset >= state.committed.offset {
            self.open = None;
            return Next::End;
        }
        let Some(chunk) = state.cached(offset) else { return Next::Cold };
        drop(state);
        self.open = None;
        self.offset = Some(chunk.end());
        match self.sought(chunk) {
            Some(chunk) => Next::Chunk(self.deliver(chunk, max_bytes)),
            None => self.next_cached(max_bytes),
        }
    }

    /// The next entries, at most about `max_bytes` of them but at least one; `None` at the live end. May
    /// read files: call it where blocking is allowed.
    ///
    /// What is damaged, missing or cannot be read is stepped over and reported in the diagnostics, once; deleted
    /// entries are stepped over. A strict cursor says so instead.
    ///
    /// # Errors
    ///
    /// [`ReadError::Io`] if the machine lacks something for now. A strict cursor: [`ReadError::Deleted`],
    /// [`ReadError::Corrupt`], [`ReadError::Missing`]; the call after that goes on behind what was said.
    pub fn next(&mut self, max_bytes: usize) -> Result<Option<Chunk>, ReadError> {
        loop {
            match self.next_cached(max_bytes) {
                Next::Chunk(chunk) => return Ok(Some(chunk)),
                Next::End => return Ok(None),
                Next::Cold => {}
            }
            if let Some(chunk) = self.read(max_bytes)?
                && let Some(chunk) = self.sought(chunk)
            {
                return Ok(Some(self.deliver(chunk, max_bytes)));
            }
        }
    }

    /// Drops what lies before the timestamp asked for.
    fn sought(&mut self, chunk: Chunk) -> Option<Chunk> {
        if !self.seeking {
            return Some(chunk);
        }
        let chunk = chunk.skip_before(self.position)?;
        self.seeking = false;
        Some(chunk)
    }

    /// Hands out the front of a chunk and keeps the rest.
    fn deliver(&mut self, chunk: Chunk, max_bytes: usize) -> Chunk {
        let (front, rest) = chunk.take(max_bytes);
        self.rest = rest;
        self.position = self.position.max(front.last().next());
        front
    }

    /// Reads the entries at the cursor's offset from a file; `None` if it moved without finding any.
    fn read(&mut self, max_bytes: usize) -> Result<Option<Chunk>, ReadError> {
        let wanted = max_bytes.clamp(*READ_BYTES.start(), *READ_BYTES.end());
        let shared = Arc::clone(&self.shared);
        let state = lock(&shared.state);
        if !std::mem::replace(&mut self.start_checked, true)
            && let (Some(oldest), Some(deleted)) = (state.first_stamp(), state.deleted)
            && self.position > Timestamp::MIN
            && self.position <= deleted
        {
            // What was deleted may still be in memory.
            self.position = self.position.max(oldest);
            return Err(ReadError::Deleted { oldest });
        }
        let found = self.offset.map_or_else(|| state.search(self.position), Found::At);
        let offset = match found {
            Found::End => return Ok(None),
            Found::In(segment) => {
                drop(state);
                let index = match self.index_of(&segment) {
                    Ok(index) => index,
                    Err(error) => return self.unreadable(&segment, error).map(|()| None),
                };
                let ordinal = index.search(self.position).unwrap_or(segment.span);
                self.offset = Some(segment.base + ordinal);
                return Ok(None);
            }
            Found::At(offset) => offset,
        };
        let first = state.first_offset();
        if offset < first {
            let oldest = state.first_stamp();
            self.offset = Some(first);
            if let (true, Some(oldest)) = (self.strict, oldest) {
                return Err(ReadError::Deleted { oldest });
            }
            return Ok(None);
        }
        self.offset = Some(offset);
        let Some(segment) = state.older_at(offset) else {
            self.open = None;
            let live = &state.live;
            let (base, path) = (live.base, live.path.clone());
            let run = live.run(offset.saturating_sub(base), wanted);
            let mut source = Source::File(Arc::clone(&live.file));
            drop(state);
            let name = shared.config.name.as_str();
            return self.read_on(&mut source, base, (name, &path), &run, wanted);
        };
        drop(state);
        // Where something in the middle was deleted, or is gone, it goes on behind that.
        let offset = offset.max(segment.base);
        self.offset = Some(offset);
        let mut open = match self.open.take() {
            Some(open) if Arc::ptr_eq(&open.segment, &segment) => open,
            _ => match self.open(&segment) {
                Ok(open) => open,
                Err(error) => return self.unreadable(&segment, error).map(|()| None),
            },
        };
        let base = open.segment.base;
        let run = open.index.slots_from(offset - base);
        if run.is_empty() {
            // The index was lost, and the segment has fewer records than it once had; or nobody knew how many.
            self.offset = Some(open.segment.end());
            return Ok(None);
        }
        let path = open.segment.location().path().to_owned();
        let chunk = self.read_on(&mut open.source, base, (&segment.name, &path), run, wanted)?;
        self.open = Some(open).filter(|open| open.kept.is_some());
        Ok(chunk)
    }

    fn index_of(&self, segment: &Arc<Segment>) -> io::Result<Arc<Index>> {
        if segment.unread.is_some() {
            return Err(io::ErrorKind::Other.into());
        }
        let (index, is_stale) = segment.index(&*self.shared.storage)?;
        if is_stale {
            self.shared.note_stale_index(segment);
        }
        Ok(index)
    }

    fn open(&self, segment: &Arc<Segment>) -> io::Result<OpenSegment> {
        let index = self.index_of(segment)?;
        let mut moves = 0;
        let mut source = loop {
            let location = segment.location();
            match Source::open(&*self.shared.storage, &location, &segment.name) {
                // It was archived between asking where it is and opening it.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        && moves < MAX_MOVES
                        && segment.location().path() != location.path() =>
                {
                    moves += 1;
                }
                other => break other?,
            }
        };
        source.use_restarts(&index);
        Ok(OpenSegment { segment: Arc::clone(segment), index, source, kept: Kept::take() })
    }

    /// Steps over a segment that cannot be opened, unless it only cannot be for now.
    fn unreadable(&mut self, segment: &Arc<Segment>, error: io::Error) -> Result<(), ReadError> {
        let location = segment.location();
        let path = location.path();
        let is_deleted = {
            let state = lock(&self.shared.state);
            state.first_offset() > segment.base
        };
        self.open = None;
        if is_deleted && !planted("cursor: what is deleted meanwhile") {
            // Found again from the oldest that is left, which says that it was deleted.
            self.offset = Some(self.offset.unwrap_or(segment.base).max(segment.base));
            return Ok(());
        }
        if is_transient(&error) {
            return Err(ReadError::io(path)(error));
        }
        self.offset = Some(segment.end());
        let summary = segment.summary;
        let is_known = matches!(location, Location::Missing(_)) || segment.unread.is_some();
        if !is_known {
            let damage = Damage { position: 0, bytes: summary.bytes, what: "file cannot be read" };
            self.shared.report_damage(&segment.name, path, &damage);
        }
        if self.strict {
            let interval = (summary.count > 0).then_some((summary.first, summary.last));
            return Err(ReadError::Missing {
                path: path.to_owned(),
                interval,
                events: summary.count,
            });
        }
        Ok(())
    }

    /// Reads about `wanted` bytes of a run that begins with the stretch in which the cursor stands, and moves it.
    fn read_on(
        &mut self,
        source: &mut Source,
        base: u64,
        (segment, path): (&str, &Path),
        run: &[Slot],
        wanted: usize,
    ) -> Result<Option<Chunk>, ReadError> {
        let run = side_by_side(run, wanted);
        if run.is_empty() {
            return Ok(None);
        }
        match self.read_run(source, base, path, run, false)? {
            RunRead::Good(chunk) => {
                let offset = self.offset.unwrap_or(chunk.offset()).max(chunk.offset());
                self.offset = Some(chunk.end());
                Ok(Some(chunk.skip_to(offset)))
            }
            RunRead::Damaged(slot, what) => {
                self.offset = Some(base + slot.end());
                self.damaged((segment, path), &slot, what).map(|()| None)
            }
        }
    }

    /// Reads a run of stretches, at least one, that lie side by side: as far as they are undamaged from the first one on
    /// or, `backwards`, from the last one back.
    fn read_run(
        &self,
        source: &mut Source,
        base: u64,
        path: &Path,
        run: &[Slot],
        backwards: bool,
    ) -> Result<RunRead, ReadError> {
        let (first, last) = (&run[0], &run[run.len() - 1]);
        let wanted = if backwards { last } else { first };
        let start = first.stretch.position;
        let behind = |slot: &Slot| {
            usize::try_from(slot.stretch.end() - start).expect("READ_BYTES or one stretch")
        };
        let bytes = match source.read(start, behind(last)) {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) if is_transient(&error) => return Err(ReadError::io(path)(error)),
            // A bad sector: without the stretch that it lies in, the others can be read.
            Err(_) if run.len() > 1 && !planted("cursor: reading around a bad sector") => {
                return self.read_run(source, base, path, std::slice::from_ref(wanted), backwards);
            }
            Err(_) => return Ok(RunRead::Damaged(*wanted, UNREADABLE)),
        };
        self.shared.metrics.cold_reads.inc();
        let undamaged = |slot: &Slot| {
            let end = behind(slot);
            if end > bytes.len() {
                return None;
            }
            let part = bytes.slice(end - slot.stretch.bytes as usize..end);
            let matches = slot.stretch.matches(&part) || planted("cursor: comparing checksums");
            let chunk =
                matches.then(|| Chunk::checked(part, base + slot.ordinal, slot.stretch.count));
            chunk.flatten()
        };
        let good: Vec<Chunk> = if backwards {
            let mut good: Vec<_> = run.iter().rev().map_while(undamaged).collect();
            good.reverse();
            good
        } else {
            run.iter().map_while(undamaged).collect()
        };
        let (Some(front), Some(back)) = (good.first(), good.last()) else {
            return Ok(RunRead::Damaged(*wanted, MISMATCH));
        };
        let at = if backwards { run.len() - good.len() } else { 0 };
        let (from, to) =
            (behind(&run[at]) - front.bytes().len(), behind(&run[at + good.len() - 1]));
        let count = u32::try_from(back.end() - front.offset())
            .expect("a run holds about READ_BYTES or one stretch");
        let latest = good.iter().map(Chunk::last).max().expect("there are some");
        let all = bytes.slice(from..to);
        Ok(RunRead::Good(Chunk::new(all, front.offset(), count, front.first(), latest)))
    }

    fn damaged(
        &self,
        (segment, path): (&str, &Path),
        slot: &Slot,
        what: &'static str,
    ) -> Result<(), ReadError> {
        let (position, bytes) = (slot.stretch.position, u64::from(slot.stretch.bytes));
        self.shared.report_damage(segment, path, &Damage { position, bytes, what });
        if self.strict {
            return Err(ReadError::Corrupt { path: path.to_owned(), position, bytes });
        }
        Ok(())
    }
}
