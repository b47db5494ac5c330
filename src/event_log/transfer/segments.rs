//! Segments and archives as they lie there, the original's and ours.
//!
//! Each is looked through once before anything of it is taken: then it is known what of it is damaged, and where its
//! timestamps fall, which they do where the original's host set its clock back. Nothing is changed.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::archive::Seekable;
use super::super::index::{Durable, Head};
use super::super::inventory::inventory;
use super::super::names::parse_rotated_name;
use super::super::open::read_listings;
use super::super::record::{self, HEAD_BYTES, LOG_MAGIC};
use super::super::repair::{Damage, Trust, examine};
use super::super::segment::read_index;
use super::super::source::{Location, Source};
use super::super::storage::{Access, Storage, StorageFile, read_full};
use super::super::{LogConfig, OpenError};
use super::READ_BYTES;
use super::feed::{At, Feed, Given, Report};
use crate::time::Timestamp;

/// How often the timestamps of a segment may fall; behind that it is no log.
const MAX_RUNS: usize = 100;

/// Feeds, oldest first as far as names tell.
pub type Feeds<'a> = Vec<Box<dyn Feed + 'a>>;

/// The entries of a log's archives and segments, and of its live one.
///
/// # Errors
///
/// [`OpenError`] if its directories cannot be listed.
pub fn log_feeds<'a>(
    storage: &'a dyn Storage,
    config: &LogConfig,
    report: Report<'_>,
) -> Result<Feeds<'a>, OpenError> {
    let mut feeds = Vec::new();
    let listings = read_listings(config, storage)?;
    for item in inventory(config, storage, &listings)? {
        if matches!(item.location, Location::Missing(_)) {
            report(format!("{}: it is missing", item.location.path().display()));
            continue;
        }
        feeds.extend(segment_feeds(storage, item.location, &item.name, &mut *report));
    }
    let live = config.dir.join(&config.name);
    match storage.open(&live, Access::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // Whatever else is wrong is said when it is read.
        _ => feeds.extend(segment_feeds(storage, Location::File(live), &config.name, report)),
    }
    Ok(feeds)
}

/// The entries of a `disk_log` file; `None` if it does not begin as such files do.
///
/// # Errors
///
/// As the file system says.
pub fn file_feeds<'a>(
    storage: &'a dyn Storage,
    path: &Path,
    report: Report<'_>,
) -> io::Result<Option<Feeds<'a>>> {
    let file = storage.open(path, Access::Read)?;
    if read_full(&*file, 0, 4)? != LOG_MAGIC {
        return Ok(None);
    }
    Ok(Some(segment_feeds(storage, Location::File(path.to_owned()), "", report)))
}

/// The entries of all segments in a zip file, whatever its name is; those that are no segment are passed over, and said
/// to be, unless they are empty or directories.
///
/// # Errors
///
/// If it is no zip file that can be read.
pub fn archive_feeds<'a>(
    storage: &'a dyn Storage,
    path: &Path,
    report: Report<'_>,
) -> io::Result<Feeds<'a>> {
    let file = storage.open(path, Access::Read)?;
    let mut names = members(&file)?;
    names.retain(|name| !name.ends_with('/'));
    names.sort_by_key(|name| (rotated_millis(name), name.clone()));
    if names.windows(2).any(|pair| base_name(&pair[0]) == base_name(&pair[1])) {
        return Err(io::Error::other("archive with two members of one name; unpack it"));
    }
    let mut feeds = Vec::new();
    for name in names {
        feeds.extend(segment_feeds(
            storage,
            Location::Archive(path.to_owned()),
            base_name(&name),
            &mut *report,
        ));
    }
    Ok(feeds)
}

/// The names of a zip file's members.
fn members(file: &Arc<dyn StorageFile>) -> io::Result<Vec<String>> {
    let zip = open_zip(file)?;
    Ok(zip.file_names().map(ToOwned::to_owned).collect())
}

type Zip = zip::ZipArchive<io::BufReader<Seekable>>;

fn open_zip(file: &Arc<dyn StorageFile>) -> io::Result<Zip> {
    let reader = Seekable::new(Arc::clone(file))?;
    zip::ZipArchive::new(io::BufReader::new(reader)).map_err(io::Error::other)
}

fn base_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// When a segment was rotated, by its name; the live one comes last.
fn rotated_millis(name: &str) -> u64 {
    let name = base_name(name);
    // `_YYYY-MM-DD_HH-MM-SS.mmmZ`
    let instance = name.len().checked_sub(25).and_then(|at| name.get(..at));
    instance.and_then(|instance| parse_rotated_name(instance, name)).unwrap_or(u64::MAX)
}

/// The runs of one segment; what keeps it, or a part of it, from being read is reported.
fn segment_feeds<'a>(
    storage: &'a dyn Storage,
    location: Location,
    name: &str,
    report: Report<'_>,
) -> Feeds<'a> {
    let path = location.path().to_owned();
    let mut damaged = |damage: &Damage| {
        let Damage { position, bytes, what } = damage;
        report(format!(
            "{}: damaged at byte {position}, {bytes} bytes: {what}; passed over",
            path.display()
        ));
    };
    let runs = match survey(storage, &location, name, &mut damaged) {
        Ok(runs) => runs,
        Err(error) => {
            report(format!("{}: cannot be read: {error}; passed over", path.display()));
            return Vec::new();
        }
    };
    let name = name.to_owned();
    let feed = |run| -> Box<dyn Feed + 'a> {
        let (location, name) = (location.clone(), name.clone());
        Box::new(SegmentFeed { storage, path: path.clone(), location, name, run, reader: None })
    };
    runs.into_iter().map(feed).collect()
}

/// Records of one segment whose timestamps rise, or at least do not fall.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    first: Timestamp,
    last: Timestamp,
    /// Where they are in the segment; between the ranges is damage.
    ranges: Vec<Range<u64>>,
}

/// Checks all of a segment, and finds its runs.
fn survey(
    storage: &dyn Storage,
    location: &Location,
    name: &str,
    damaged: &mut dyn FnMut(&Damage),
) -> io::Result<Vec<Run>> {
    let mut source = Source::open(storage, location, name)?;
    let bytes = source.bytes()?;
    let mut parsed = read_index(storage, location.path(), bytes).unwrap_or_default();
    source.use_restarts(&parsed.index);
    // Nothing is taken on trust.
    parsed.durable = Durable::default();
    let head = source.read(0, 4)?;
    if bytes >= HEAD_BYTES && head != LOG_MAGIC {
        damaged(&Damage { position: 0, bytes: HEAD_BYTES, what: "no head of a log" });
    }
    if let Source::Archive(archive) = &mut source
        && parsed.index.slots().is_empty()
        && !archive.matches_crc()?
    {
        // It does not tell where.
        let what = "the archive's checksum does not match; what is whole of it is read";
        damaged(&Damage { position: 0, bytes, what });
    }
    let trust = Trust { resynchronise: parsed.head == Head::Absent, latest: Timestamp::MAX };
    let mut found = examine(&mut source, &parsed, bytes, &trust)?;
    found.close();
    found.damage.iter().chain(&found.torn).for_each(&mut *damaged);
    let mut runs: Vec<Run> = Vec::new();
    for slot in found.index.slots() {
        let stretch = &slot.stretch;
        let read = source.read(stretch.position, stretch.bytes as usize)?;
        if !stretch.matches(&read) {
            continue;
        }
        let mut entries = record::Entries::new(&read);
        let mut position = stretch.position;
        while let Some(entry) = entries.next() {
            let (stamp, end) = (entry.timestamp, stretch.end() - entries.rest().len() as u64);
            let is_full = runs.len() >= MAX_RUNS;
            match runs.last_mut().filter(|run| run.last <= stamp) {
                Some(run) => {
                    run.last = stamp;
                    match run.ranges.last_mut().filter(|range| range.end == position) {
                        Some(range) => range.end = end,
                        None => run.ranges.push(position..end),
                    }
                }
                None if is_full => {
                    let what = "timestamps fall again and again";
                    damaged(&Damage { position, bytes: bytes - position, what });
                    return Ok(runs);
                }
                None => {
                    let ranges = std::iter::once(position..end).collect();
                    runs.push(Run { first: stamp, last: stamp, ranges });
                }
            }
            position = end;
        }
    }
    Ok(runs)
}

/// The entries of a run.
#[derive(Debug)]
struct SegmentFeed<'a> {
    storage: &'a dyn Storage,
    path: PathBuf,
    location: Location,
    name: String,
    run: Run,
    reader: Option<RunReader>,
}

/// A part of a run in memory.
#[derive(Debug)]
struct RunReader {
    source: Source,
    /// Whole records at `position`; `used` bytes of them were handed out.
    bytes: Vec<u8>,
    position: u64,
    used: usize,
}

impl Feed for SegmentFeed<'_> {
    fn path(&self) -> &Path {
        &self.path
    }

    fn first(&mut self, _report: Report<'_>) -> Option<Timestamp> {
        Some(self.run.first)
    }

    fn next(&mut self, report: Report<'_>) -> Option<Given> {
        let next = self.read_next();
        // The segment was whole a moment ago.
        let next = next.unwrap_or_else(|error| {
            report(format!("{}: cannot be read: {error}", self.path.display()));
            self.run.ranges.clear();
            None
        });
        if next.is_none() {
            self.reader = None;
        }
        next
    }
}

impl SegmentFeed<'_> {
    fn read_next(&mut self) -> io::Result<Option<Given>> {
        loop {
            let Some(range) = self.run.ranges.first_mut() else { return Ok(None) };
            if range.start == range.end {
                self.run.ranges.remove(0);
                continue;
            }
            let reader = match &mut self.reader {
                Some(reader) => reader,
                none => {
                    let source = Source::open(self.storage, &self.location, &self.name)?;
                    none.insert(RunReader { source, bytes: Vec::new(), position: 0, used: 0 })
                }
            };
            let here = reader.position + reader.used as u64;
            let mut entries = record::Entries::new(&reader.bytes[reader.used..]);
            if here == range.start
                && let Some(entry) = entries.next()
            {
                let given = Given {
                    stamp: entry.timestamp,
                    event: entry.event.to_vec(),
                    at: At::Byte(range.start),
                };
                let used = reader.bytes.len() - entries.rest().len();
                range.start += (used - reader.used) as u64;
                reader.used = used;
                return Ok(Some(given));
            }
            reader.fill(range)?;
        }
    }
}

impl RunReader {
    /// Reads from where a range begins, at least one record.
    fn fill(&mut self, range: &Range<u64>) -> io::Result<()> {
        let left = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut wanted = READ_BYTES;
        loop {
            self.bytes = self.source.read(range.start, wanted.min(left))?;
            (self.position, self.used) = (range.start, 0);
            if record::Entries::new(&self.bytes).next().is_some() {
                return Ok(());
            }
            if wanted >= left || wanted > record::MAX_RECORD_BYTES {
                return Err(io::Error::other("a record is not what it was"));
            }
            wanted *= 4;
        }
    }
}
