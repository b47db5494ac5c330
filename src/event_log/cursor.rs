//! A reader's resumable place in a log.
//!
//! A cursor stands at an offset. Wherever the record at that offset is when the cursor is asked, in RAM,
//! in the live segment, in a rotated or archived one, it is read from there; so no hand-over exists
//! between the past and the live end. Only the first look-up goes by timestamp.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::chunk::Chunk;
use super::index::{Index, Slot};
use super::log::{Found, Shared};
use super::repair::Damage;
use super::segment::{Segment, Source};
use super::{ReadError, lock};
use crate::time::Timestamp;

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
    open: Option<Open>,
}

/// An open rotated segment.
#[derive(Debug)]
struct Open {
    segment: Arc<Segment>,
    index: Arc<Index>,
    source: Source,
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

    /// The next entries, at most about `max_bytes` of them but at least one, if they are in RAM. Never
    /// touches a file.
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
                Some(Found::End) => return Next::End,
                Some(Found::In(_)) | None => return Next::Cold,
            },
        };
        if offset >= state.committed.offset.0 {
            return Next::End;
        }
        let Some(chunk) = state.cached(offset) else { return Next::Cold };
        drop(state);
        self.offset = Some(chunk.end());
        match self.sought(chunk) {
            Some(chunk) => Next::Chunk(self.deliver(chunk, max_bytes)),
            None => self.next_cached(max_bytes),
        }
    }

    /// The next entries, at most about `max_bytes` of them but at least one; `None` at the live end. May
    /// read files: call it where blocking is allowed.
    ///
    /// Damaged stretches are stepped over and reported in the diagnostics, once; deleted entries are
    /// stepped over. A strict cursor says so instead.
    ///
    /// # Errors
    ///
    /// [`ReadError::Io`] if a file cannot be read. A strict cursor: [`ReadError::Deleted`],
    /// [`ReadError::Corrupt`]; the call after that goes on behind what was said.
    pub fn next(&mut self, max_bytes: usize) -> Result<Option<Chunk>, ReadError> {
        let mut moves = 0;
        loop {
            match self.next_cached(max_bytes) {
                Next::Chunk(chunk) => return Ok(Some(chunk)),
                Next::End => return Ok(None),
                Next::Cold => {}
            }
            match self.read(max_bytes) {
                Ok(Some(chunk)) => {
                    if let Some(chunk) = self.sought(chunk) {
                        return Ok(Some(self.deliver(chunk, max_bytes)));
                    }
                }
                Ok(None) => {}
                // The segment was archived or deleted between looking it up and opening it.
                Err(ReadError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && moves < MAX_MOVES =>
                {
                    moves += 1;
                    self.open = None;
                }
                Err(error) => return Err(error),
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
            && let Some(oldest) = state.first_stamp()
            && (Timestamp::MIN.next()..oldest).contains(&self.position)
        {
            return Err(ReadError::Deleted { oldest });
        }
        let found = self.offset.map_or_else(|| state.search(self.position), Found::At);
        let offset = match found {
            Found::End => return Ok(None),
            Found::In(segment) => {
                drop(state);
                let index = segment.index(&*shared.storage)?;
                let ordinal = index.search(self.position).unwrap_or(segment.summary.count);
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
            let run = live.run(offset - base, wanted);
            let mut source = Source::File(Arc::clone(&live.file));
            drop(state);
            return self.read_run(&mut source, base, &path, &run, wanted);
        };
        drop(state);
        let mut open = match self.open.take() {
            Some(open) if Arc::ptr_eq(&open.segment, &segment) => open,
            _ => {
                let index = segment.index(&*shared.storage)?;
                let place = segment.place();
                let mut source = Source::open(&*shared.storage, &place, &segment.name)
                    .map_err(ReadError::io(place.path()))?;
                source.use_restarts(&index);
                Open { segment, index, source }
            }
        };
        let base = open.segment.base;
        let run = open.index.slots_from(offset - base);
        if run.is_empty() {
            // The index was lost, and the segment has fewer records than it once had.
            self.offset = Some(open.segment.end());
            return Ok(None);
        }
        let path = open.segment.place().path().to_owned();
        let chunk = self.read_run(&mut open.source, base, &path, run, wanted)?;
        self.open = Some(open);
        Ok(chunk)
    }

    /// Reads about `wanted` bytes of stretches that lie side by side, as far as they are undamaged.
    fn read_run(
        &mut self,
        source: &mut Source,
        base: u64,
        path: &Path,
        run: &[Slot],
        wanted: usize,
    ) -> Result<Option<Chunk>, ReadError> {
        let Some(start) = run.first() else { return Ok(None) };
        let mut end = start.stretch.end();
        let wanted_end = start.stretch.position + wanted as u64;
        for slot in &run[1..] {
            if slot.stretch.position != end || slot.stretch.end() > wanted_end {
                break;
            }
            end = slot.stretch.end();
        }
        let position = start.stretch.position;
        let length =
            usize::try_from(end - position).expect("a run is about READ_BYTES or one record");
        let bytes = Bytes::from(source.read(position, length).map_err(ReadError::io(path))?);
        self.shared.counters.cold_reads.add(1);

        let mut good: Option<Chunk> = None;
        let mut at = 0;
        for slot in run {
            let stretch = &slot.stretch;
            let behind = at + stretch.bytes as usize;
            if behind > length {
                break;
            }
            let part = bytes.slice(at.min(bytes.len())..behind.min(bytes.len()));
            let offset = base + slot.ordinal;
            let whole = stretch.matches(&part).then(|| Chunk::checked(part, offset, stretch.count));
            let Some(part) = whole.flatten() else {
                if good.is_none() {
                    self.offset = Some(base + slot.end());
                    return self.damaged(base, path, slot).map(|()| None);
                }
                break;
            };
            at = behind;
            good = Some(match good {
                None => part,
                Some(good) => {
                    let count = u32::try_from(part.end() - good.offset())
                        .expect("a run holds about READ_BYTES or one stretch");
                    let last = good.last().max(part.last());
                    Chunk::new(bytes.slice(..at), good.offset(), count, good.first(), last)
                }
            });
        }
        let Some(chunk) = good else { return Ok(None) };
        let offset = self.offset.unwrap_or(chunk.offset()).max(chunk.offset());
        self.offset = Some(chunk.end());
        Ok(Some(chunk.skip_to(offset)))
    }

    fn damaged(&self, base: u64, path: &Path, slot: &Slot) -> Result<(), ReadError> {
        let (position, bytes) = (slot.stretch.position, u64::from(slot.stretch.bytes));
        let damage = Damage { position, bytes, what: "checksum does not match" };
        self.shared.report_damage(base, path, &damage);
        if self.strict {
            return Err(ReadError::Corrupt { path: path.to_owned(), position, bytes });
        }
        Ok(())
    }
}
