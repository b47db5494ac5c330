//! Segments that are no longer written to: their names, what they hold, how they are read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use super::ReadError;
use super::index::{ENTRY_BYTES, Entry, Index, Summary, parse};
use super::lock;
use super::repair;
use super::storage::{Access, Storage, StorageFile, read_full};
use crate::time::Timestamp;

/// The ending of an index file's name.
pub(super) const INDEX_SUFFIX: &str = ".idx";
/// The longest index file that is read, for segments of 16 TiB; a longer one is rebuilt.
const MAX_INDEX_BYTES: u64 = 16 << 30;

/// The index file beside a segment or archive.
pub(super) fn index_path(segment: &Path) -> PathBuf {
    let mut path = segment.as_os_str().to_owned();
    path.push(INDEX_SUFFIX);
    path.into()
}

/// The name of a segment rotated `millis` after the epoch: `NAME_YYYY-MM-DD_HH-MM-SS.mmmZ`, in UTC.
pub(super) fn rotated_name(instance: &str, millis: u64) -> String {
    let secs = i64::try_from(millis / 1000).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(secs).unwrap_or(jiff::Timestamp::MAX);
    format!("{instance}_{}.{:03}Z", time.strftime("%Y-%m-%d_%H-%M-%S"), millis % 1000)
}

/// The time of rotation that a rotated segment's name tells, in milliseconds since the epoch.
///
/// The original wrote names with `~p`, so that of an atom with odd characters stands in quotes.
pub(super) fn parse_rotated_name(instance: &str, name: &str) -> Option<u64> {
    let quoted = format!("'{instance}'");
    let rest = name.strip_prefix(&quoted).or_else(|| name.strip_prefix(instance))?;
    let rest = rest.strip_prefix('_')?;
    let digits = |range: std::ops::Range<usize>| -> Option<i64> {
        let part = rest.get(range)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let is_shape = rest.len() == 24
        && [(4, '-'), (7, '-'), (10, '_'), (13, '-'), (16, '-'), (19, '.'), (23, 'Z')]
            .iter()
            .all(|&(at, c)| rest[at..].starts_with(c));
    if !rest.is_ascii() || !is_shape {
        return None;
    }
    let small = |range| i8::try_from(digits(range)?).ok();
    let time = jiff::civil::DateTime::new(
        i16::try_from(digits(0..4)?).ok()?,
        small(5..7)?,
        small(8..10)?,
        small(11..13)?,
        small(14..16)?,
        small(17..19)?,
        0,
    )
    .ok()?;
    let since = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    u64::try_from(since * 1000 + digits(20..23)?).ok()
}

/// A segment that was rotated, in the log's directory or archived.
#[derive(Debug)]
pub(super) struct Segment {
    /// Ordinal of its first record in the log.
    pub(super) base: u64,
    /// Its file name, without directory and without `.zip`.
    pub(super) name: String,
    /// When it was rotated, in milliseconds since the epoch.
    pub(super) rotated_millis: u64,
    /// What it holds.
    pub(super) summary: Summary,
    /// The latest timestamp up to its end; rises even where a foreign log's stamps don't.
    pub(super) reach: Timestamp,
    place: Mutex<Place>,
    index: Mutex<Weak<Index>>,
    /// Held until the index file is complete.
    pinned: Mutex<Option<Arc<Index>>>,
}

/// Where a segment's bytes are.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Still open from when it was live; it also has its path.
    Open(Arc<dyn StorageFile>, PathBuf),
    /// In a file of its own.
    File(PathBuf),
}

impl Place {
    pub(super) fn path(&self) -> &Path {
        match self {
            Place::Open(_, path) | Place::File(path) => path,
        }
    }
}

impl Segment {
    /// A segment as it was found, or as it stopped being live; `index` if its index file may not be
    /// complete yet.
    pub(super) fn new(
        base: u64,
        name: String,
        rotated_millis: u64,
        summary: Summary,
        reach: Timestamp,
        place: Place,
        index: Option<Arc<Index>>,
    ) -> Self {
        Segment {
            base,
            name,
            rotated_millis,
            summary,
            reach: reach.max(summary.last),
            place: Mutex::new(place),
            index: Mutex::new(index.as_ref().map_or_else(Weak::new, Arc::downgrade)),
            pinned: Mutex::new(index),
        }
    }

    /// One past its last record's ordinal in the log.
    pub(super) fn end(&self) -> u64 {
        self.base + self.summary.count
    }

    /// Bytes of its file.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.summary.bytes
    }

    /// Whether it lies in the archive.
    pub(super) fn is_archived(&self) -> bool {
        false
    }

    pub(super) fn place(&self) -> Place {
        lock(&self.place).clone()
    }

    /// Moves it to where its bytes are from now on, with a complete index beside it.
    pub(super) fn move_to(&self, place: Place) {
        *lock(&self.place) = place;
        *lock(&self.pinned) = None;
    }

    /// Its index, from memory or its file; scans the segment if the file is lost or damaged.
    pub(super) fn index(&self, storage: &dyn Storage) -> Result<Arc<Index>, ReadError> {
        if let Some(index) = lock(&self.index).upgrade() {
            return Ok(index);
        }
        let place = self.place();
        let path = place.path();
        let parsed = read_index(storage, path, self.summary.bytes).unwrap_or_default();
        let index = if parsed.sealed.is_some() {
            parsed.index
        } else {
            tracing::warn!(segment = %path.display(), "index is lost or damaged; scanning the segment");
            let mut source = Source::open(storage, &place).map_err(ReadError::io(path))?;
            repair::scan_all(&mut source, self.summary.bytes).map_err(ReadError::io(path))?.index
        };
        let index = Arc::new(index);
        *lock(&self.index) = Arc::downgrade(&index);
        Ok(index)
    }
}

/// The index beside a segment of `segment_bytes`, as far as it makes sense.
pub(super) fn read_index(
    storage: &dyn Storage,
    segment: &Path,
    segment_bytes: u64,
) -> io::Result<super::index::Parsed> {
    let file = storage.open(&index_path(segment), Access::Read)?;
    let bytes = file.bytes()?;
    let Some(bytes) = usize::try_from(bytes).ok().filter(|_| bytes <= MAX_INDEX_BYTES) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    Ok(parse(&read_full(&*file, 0, bytes)?, segment_bytes))
}

/// The summary at the end of the index beside a segment; `None` if it is not sealed, or for another length.
pub(super) fn read_summary(
    storage: &dyn Storage,
    segment: &Path,
    segment_bytes: u64,
) -> io::Result<Option<Summary>> {
    let file = storage.open(&index_path(segment), Access::Read)?;
    let Some(at) = file.bytes()?.checked_sub(ENTRY_BYTES as u64) else { return Ok(None) };
    match Entry::decode(&read_full(&*file, at, ENTRY_BYTES)?) {
        Some(Entry::Sealed(summary)) if summary.bytes == segment_bytes => Ok(Some(summary)),
        _ => Ok(None),
    }
}

/// An open segment's bytes.
#[derive(Debug)]
pub(super) enum Source {
    File(Arc<dyn StorageFile>),
}

impl Source {
    pub(super) fn open(storage: &dyn Storage, place: &Place) -> io::Result<Self> {
        Ok(match place {
            Place::Open(file, _) => Source::File(Arc::clone(file)),
            Place::File(path) => Source::File(storage.open(path, Access::Read)?),
        })
    }

    /// `bytes` bytes at `position`, fewer only if the segment ends there.
    pub(super) fn read(&mut self, position: u64, bytes: usize) -> io::Result<Vec<u8>> {
        match self {
            Source::File(file) => read_full(&**file, position, bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_time_and_sort_by_it() {
        let millis = 1_321_234_567_089;
        assert_eq!(rotated_name("quotes", millis), "quotes_2011-11-14_01-36-07.089Z");
        let mut last = String::new();
        for millis in [0, 1, 999, 1000, millis, millis + 1, 4_102_444_800_000] {
            let name = rotated_name("q", millis);
            assert_eq!(parse_rotated_name("q", &name), Some(millis));
            assert!(last < name);
            last = name;
        }
    }

    #[test]
    fn only_rotated_segments_of_the_instance_have_such_names() {
        let name = "my-app_2011-11-14_01-36-07.089Z";
        assert!(parse_rotated_name("my-app", name).is_some());
        assert!(parse_rotated_name("my-app", "'my-app'_2011-11-14_01-36-07.089Z").is_some());
        for (instance, name) in [
            ("my", name),
            ("my-app", "my-app"),
            ("my-app", "my-app.log"),
            ("my-app", "my-app_2011-11-14_01-36-07.089Z.idx"),
            ("my-app", "my-app_2011-13-14_01-36-07.089Z"),
            ("my-app", "my-app_2011-11-14_01-36-07.08éZ"),
            ("my-app", "my-app_2011-11-14_01-36-07.0+9Z"),
        ] {
            assert_eq!(parse_rotated_name(instance, name), None, "{name}");
        }
    }
}
