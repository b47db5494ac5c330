//! Segments that are no longer written to: what they hold, and where it is.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use super::age::AgeFrom;
use super::index::{ENTRY_BYTES, Head, Index, IndexEntry, ParsedIndex, Summary, parse};
use super::lock;
use super::manifest::Member;
use super::names::{INDEX_SUFFIX, index_path};
use super::repair::{self, Trust};
use super::source::{Location, Source};
use super::storage::{Access, Storage, StorageFile, is_lasting, is_transient, read_full};
use crate::planted::planted;
use crate::time::Timestamp;

/// The longest index file that is read, for segments of 16 TiB; a longer one is rebuilt.
const MAX_INDEX_BYTES: u64 = 16 << 30;

/// A segment that was rotated, in the log's directory or archived.
#[derive(Debug)]
pub(super) struct Segment {
    /// Ordinal of its first record in the log.
    pub(super) base: u64,
    /// How many ordinals are its own: as many as it has records, or may have while nobody could look.
    pub(super) span: u64,
    /// Its own file name; an archive's has `.zip` behind it.
    pub(super) name: String,
    /// When it was rotated, in milliseconds since the epoch.
    pub(super) rotated_millis: u64,
    /// What it holds.
    pub(super) summary: Summary,
    /// The latest timestamp up to its end; rises even where a foreign log's stamps don't.
    pub(super) reach: Timestamp,
    /// AgeFrom when its last record, and its rotation, have aged.
    pub(super) written: AgeFrom,
    pub(super) rotated: AgeFrom,
    /// Why nobody could look what it holds.
    pub(super) unread: Option<Arc<str>>,
    /// Whether some of it could not be read and is not in its index, which is only in memory then.
    pub(super) is_partial: bool,
    inner: Mutex<Inner>,
}

/// What changes of a segment. Its lock is held for moments, and no other is taken under it.
#[derive(Debug)]
struct Inner {
    location: Location,
    /// What the manifest says, or will say once it is sealed.
    listed: Member,
    disk_bytes: u64,
    /// In memory while somebody reads by it.
    index: Weak<Index>,
    /// Held in memory, because its file is not complete.
    pinned: Option<Arc<Index>>,
}

/// A segment as it was found, or as it stopped being live.
pub(super) struct NewSegment {
    pub(super) base: u64,
    pub(super) name: String,
    pub(super) rotated_millis: u64,
    pub(super) summary: Summary,
    /// What it ought to hold.
    pub(super) listed: Member,
    /// The reach of the segment before it.
    pub(super) reach: Timestamp,
    pub(super) written: AgeFrom,
    pub(super) rotated: AgeFrom,
    pub(super) location: Location,
    pub(super) disk_bytes: u64,
    /// Its index, if the file may not be complete yet.
    pub(super) index: Option<Arc<Index>>,
    /// Whether that leaves out what could not be read.
    pub(super) is_partial: bool,
    /// Why nobody could look what it holds.
    pub(super) unread: Option<Arc<str>>,
}

/// A record has at least so many bytes: size, magic, version, two tuples, three small integers, an empty event.
const MIN_RECORD_BYTES: u64 = 8 + 5 + 6 + 1;

impl Segment {
    pub(super) fn new(new: NewSegment) -> Self {
        let NewSegment { summary, listed, location, disk_bytes, index, unread, .. } = new;
        // An archive that nobody could open may hold much more than it has bytes; deflate gives about a thousandfold.
        let most = |bytes: u64| match location {
            Location::Archive(_) => bytes.saturating_mul(1032) / MIN_RECORD_BYTES,
            _ => bytes / MIN_RECORD_BYTES,
        };
        let span =
            if unread.is_some() { most(disk_bytes).max(summary.count) } else { summary.count };
        let is_empty = summary.count == 0 && unread.is_none();
        let reach = if is_empty { new.reach } else { new.reach.max(summary.last) };
        Segment {
            base: new.base,
            span,
            name: new.name,
            rotated_millis: new.rotated_millis,
            summary,
            reach,
            written: new.written,
            rotated: new.rotated,
            unread,
            is_partial: new.is_partial,
            inner: Mutex::new(Inner {
                location,
                listed,
                disk_bytes,
                index: index.as_ref().map_or_else(Weak::new, Arc::downgrade),
                pinned: index,
            }),
        }
    }

    /// The same with so many ordinals of its own.
    pub(super) fn with_span(self, span: u64) -> Self {
        Segment { span, ..self }
    }

    /// One past the last ordinal that is its own.
    pub(super) fn end(&self) -> u64 {
        self.base + self.span
    }

    /// Bytes of its file.
    pub(super) fn disk_bytes(&self) -> u64 {
        lock(&self.inner).disk_bytes
    }

    /// Whether it lies in an archive.
    pub(super) fn is_archived(&self) -> bool {
        matches!(lock(&self.inner).location, Location::Archive(_))
    }

    /// Whether the manifest has it and no directory does.
    pub(super) fn is_missing(&self) -> bool {
        matches!(lock(&self.inner).location, Location::Missing(_))
    }

    /// Whether it is complete, and has a complete index beside it.
    pub(super) fn is_sealed(&self) -> bool {
        let inner = lock(&self.inner);
        inner.pinned.is_none() && matches!(inner.location, Location::File(_) | Location::Archive(_))
    }

    pub(super) fn location(&self) -> Location {
        lock(&self.inner).location.clone()
    }

    /// What the manifest says of it, which damage does not change.
    pub(super) fn listed(&self) -> Member {
        lock(&self.inner).listed
    }

    /// Says where its bytes are from now on, and what the manifest says of it there. With `sealed` a complete index
    /// lies beside them.
    pub(super) fn move_to(&self, location: Location, listed: Member, sealed: bool) {
        let mut inner = lock(&self.inner);
        inner.location = location;
        inner.listed = listed;
        inner.disk_bytes = listed.disk_bytes;
        if sealed {
            inner.pinned = None;
            // An archive's index knows more than that of the segment it was made from.
            inner.index = Weak::new();
        }
    }

    /// Its index, from memory or its file; what the file does not tell is found out from the segment. Whether the
    /// file should be written anew.
    ///
    /// # Errors
    ///
    /// As the file system says.
    pub(super) fn index(&self, storage: &dyn Storage) -> io::Result<(Arc<Index>, bool)> {
        loop {
            let location = {
                let inner = lock(&self.inner);
                if let Some(index) = inner.pinned.clone().or_else(|| inner.index.upgrade()) {
                    return Ok((index, false));
                }
                inner.location.clone()
            };
            match self.load_index(storage, &location) {
                // It was archived meanwhile.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        && self.location().path() != location.path() => {}
                Err(error) => return Err(error),
                Ok((index, is_stale)) => {
                    let index = Arc::new(index);
                    let mut inner = lock(&self.inner);
                    // The file may be read the next time, and know more than was found without it.
                    let is_shared =
                        !is_stale || planted("index: sharing what was found without it");
                    if is_shared && inner.location.path() == location.path() {
                        inner.index = Arc::downgrade(&index);
                    }
                    return Ok((index, is_stale));
                }
            }
        }
    }

    /// Its index as the file has it now, and whether the file should be written anew.
    ///
    /// # Errors
    ///
    /// As the file system says.
    pub(super) fn reload_index(&self, storage: &dyn Storage) -> io::Result<(Arc<Index>, bool)> {
        lock(&self.inner).index = Weak::new();
        self.index(storage)
    }

    fn load_index(&self, storage: &dyn Storage, location: &Location) -> io::Result<(Index, bool)> {
        let parsed = match read_index_or_none(storage, location.path(), self.summary.bytes) {
            Err(error) if is_transient(&error) => return Err(error),
            // It is not ours to read: readers get what is found without it.
            other => other.unwrap_or_else(|_| ParsedIndex::unreadable()),
        };
        if parsed.sealed.is_some() {
            return Ok((parsed.index, false));
        }
        tracing::warn!(segment = %location.path().display(), "index is lost or damaged; looking at the segment");
        let mut source = Source::open(storage, location, &self.name)?;
        source.use_restarts(&parsed.index);
        let is_ours = self.listed() != Member::default();
        let resynchronise = parsed.head == Head::Absent && !is_ours;
        let trust = Trust { resynchronise, latest: self.summary.last.max(self.reach) };
        let mut found = repair::examine(&mut source, &parsed, self.summary.bytes, &trust)?;
        found.close();
        if found.is_partial() {
            // Its records would not be where they were counted.
            return Err(rustix::io::Errno::IO.into());
        }
        found.index.restarts = parsed.index.restarts;
        Ok((found.index, true))
    }
}

/// Opens the index beside a segment, under the name that the first version gave it if need be: who only reads
/// renames nothing.
fn open_index(storage: &dyn Storage, segment: &Path) -> io::Result<Arc<dyn StorageFile>> {
    match storage.open(&index_path(segment), Access::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut old = segment.as_os_str().to_owned();
            old.push(INDEX_SUFFIX);
            storage.open(Path::new(&old), Access::Read)
        }
        other => other,
    }
}

/// The index beside a segment of `segment_bytes`, as far as it makes sense.
pub(super) fn read_index(
    storage: &dyn Storage,
    segment: &Path,
    segment_bytes: u64,
) -> io::Result<ParsedIndex> {
    let file = open_index(storage, segment)?;
    let bytes = file.bytes()?;
    let Some(bytes) = usize::try_from(bytes).ok().filter(|_| bytes <= MAX_INDEX_BYTES) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    Ok(parse(&read_full(&*file, 0, bytes)?, segment_bytes))
}

/// The same; with nothing in it if the index is lost.
///
/// # Errors
///
/// As the file system says, if it is there and cannot be read for now.
pub(super) fn read_index_or_none(
    storage: &dyn Storage,
    segment: &Path,
    segment_bytes: u64,
) -> io::Result<ParsedIndex> {
    match read_index(storage, segment, segment_bytes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ParsedIndex::default()),
        Err(error) if is_lasting(&error) => Ok(ParsedIndex::unreadable()),
        other => other,
    }
}

/// The summary at the end of the index beside a segment or archive; `None` if that is not sealed.
pub(super) fn read_summary(storage: &dyn Storage, segment: &Path) -> io::Result<Option<Summary>> {
    let file = open_index(storage, segment)?;
    let Some(at) = file.bytes()?.checked_sub(ENTRY_BYTES as u64) else { return Ok(None) };
    match IndexEntry::decode(&read_full(&*file, at, ENTRY_BYTES)?) {
        Some(IndexEntry::Sealed(summary)) => Ok(Some(summary)),
        _ => Ok(None),
    }
}
