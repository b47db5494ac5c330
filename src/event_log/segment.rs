//! Segments that are no longer written to: their names, what they hold, how they are read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use super::ReadError;
use super::archive::Archive;
use super::index::{ENTRY_BYTES, Entry, Index, Summary, parse};
use super::lock;
use super::repair;
use super::storage::{Access, Storage, StorageFile, read_full};
use crate::time::Timestamp;

/// The ending of an index file's name.
const INDEX_SUFFIX: &str = ".idx";
/// The longest index file that is read, for segments of 16 TiB; a longer one is rebuilt.
const MAX_INDEX_BYTES: u64 = 16 << 30;

/// The ending of an archive's name.
pub(super) const ARCHIVE_SUFFIX: &str = ".zip";
/// The ending of the name of a file that is not finished.
pub(super) const DRAFT_SUFFIX: &str = ".new";

/// `path` with `suffix` behind its name.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Where a file is made before it gets its name.
pub(super) fn draft_path(path: &Path) -> PathBuf {
    with_suffix(path, DRAFT_SUFFIX)
}

/// The index file beside a segment or archive.
pub(super) fn index_path(segment: &Path) -> PathBuf {
    with_suffix(segment, INDEX_SUFFIX)
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
    /// Its own file name; an archive's has `.zip` behind it.
    pub(super) name: String,
    /// When it was rotated, in milliseconds since the epoch.
    pub(super) rotated_millis: u64,
    /// What it holds.
    pub(super) summary: Summary,
    /// The latest timestamp up to its end; rises even where a foreign log's stamps don't.
    pub(super) reach: Timestamp,
    place: Mutex<Place>,
    /// Length of its file, which an archive's summary does not tell.
    disk_bytes: AtomicU64,
    index: Mutex<Weak<Index>>,
    /// Held while its files get other names, and while its index is read.
    moving: Mutex<()>,
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
    /// In an archive.
    Archive(PathBuf),
}

impl Place {
    pub(super) fn path(&self) -> &Path {
        match self {
            Place::Open(_, path) | Place::File(path) | Place::Archive(path) => path,
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
        disk_bytes: u64,
        index: Option<Arc<Index>>,
    ) -> Self {
        Segment {
            base,
            name,
            rotated_millis,
            summary,
            reach: if summary.count == 0 { reach } else { reach.max(summary.last) },
            place: Mutex::new(place),
            disk_bytes: AtomicU64::new(disk_bytes),
            index: Mutex::new(index.as_ref().map_or_else(Weak::new, Arc::downgrade)),
            moving: Mutex::default(),
            pinned: Mutex::new(index),
        }
    }

    /// One past its last record's ordinal in the log.
    pub(super) fn end(&self) -> u64 {
        self.base + self.summary.count
    }

    /// Bytes of its file.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.disk_bytes.load(Ordering::Relaxed)
    }

    /// Whether it lies in an archive.
    pub(super) fn is_archived(&self) -> bool {
        matches!(*lock(&self.place), Place::Archive(_))
    }

    pub(super) fn place(&self) -> Place {
        lock(&self.place).clone()
    }

    /// Lets go of its open file. Its index is in memory only.
    pub(super) fn close(&self, path: PathBuf) {
        *lock(&self.place) = Place::File(path);
    }

    /// Keeps readers from looking for its index while its files get other names.
    pub(super) fn hold(&self) -> MutexGuard<'_, ()> {
        lock(&self.moving)
    }

    /// Moves it to where its bytes are from now on, with a complete index beside it.
    pub(super) fn move_to(&self, place: Place, disk_bytes: u64) {
        *lock(&self.place) = place;
        self.disk_bytes.store(disk_bytes, Ordering::Relaxed);
        *lock(&self.pinned) = None;
        // An archive's index knows more than that of the segment it was made from.
        *lock(&self.index) = Weak::new();
    }

    /// Its index, from memory or its file; scans the segment if the file is lost or damaged.
    pub(super) fn index(&self, storage: &dyn Storage) -> Result<Arc<Index>, ReadError> {
        if let Some(index) = lock(&self.index).upgrade() {
            return Ok(index);
        }
        let _still = lock(&self.moving);
        let place = self.place();
        let path = place.path();
        let parsed = read_index(storage, path, self.summary.bytes).unwrap_or_default();
        let index = if parsed.sealed.is_some() {
            parsed.index
        } else {
            tracing::warn!(segment = %path.display(), "index is lost or damaged; scanning the segment");
            let mut source =
                Source::open(storage, &place, &self.name).map_err(ReadError::io(path))?;
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

/// The summary at the end of the index beside a segment or archive; `None` if that is not sealed.
pub(super) fn read_summary(storage: &dyn Storage, segment: &Path) -> io::Result<Option<Summary>> {
    let file = storage.open(&index_path(segment), Access::Read)?;
    let Some(at) = file.bytes()?.checked_sub(ENTRY_BYTES as u64) else { return Ok(None) };
    match Entry::decode(&read_full(&*file, at, ENTRY_BYTES)?) {
        Some(Entry::Sealed(summary)) => Ok(Some(summary)),
        _ => Ok(None),
    }
}

/// An open segment's bytes.
#[derive(Debug)]
pub(super) enum Source {
    File(Arc<dyn StorageFile>),
    Archive(Box<Archive>),
}

impl Source {
    /// Opens the segment `name`, wherever its bytes are.
    pub(super) fn open(storage: &dyn Storage, place: &Place, name: &str) -> io::Result<Self> {
        Ok(match place {
            Place::Open(file, _) => Source::File(Arc::clone(file)),
            Place::File(path) => Source::File(storage.open(path, Access::Read)?),
            Place::Archive(path) => {
                let file = storage.open(path, Access::Read)?;
                Source::Archive(Box::new(Archive::open(file, name)?))
            }
        })
    }

    /// Length of the segment.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        match self {
            Source::File(file) => file.bytes(),
            Source::Archive(archive) => Ok(archive.bytes),
        }
    }

    /// `bytes` bytes at `position`, fewer only if the segment ends there or its archive is damaged.
    pub(super) fn read(&mut self, position: u64, bytes: usize) -> io::Result<Vec<u8>> {
        match self {
            Source::File(file) => read_full(&**file, position, bytes),
            Source::Archive(archive) => archive.read(position, bytes),
        }
    }

    /// Lets an archive be inflated from the places its index tells.
    pub(super) fn use_restarts(&mut self, index: &Index) {
        if let Source::Archive(archive) = self {
            archive.restarts.clone_from(&index.restarts);
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
