//! Which files of a directory are segments and archives of a log, ours or the original's.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::index::Summary;
use super::manifest::{Listing, Member};
use super::names::{ARCHIVE_SUFFIX, DRAFT_SUFFIX, parse_rotated_name, rotated_name};
use super::record::{HEAD_BYTES, LOG_MAGIC};
use super::segment::read_summary;
use super::source::{Location, Source};
use super::storage::{Access, Listed, Storage, read_full};
use super::{LogConfig, OpenError, repair};

/// A rotated segment or an archive.
#[derive(Debug)]
pub(super) struct Item {
    /// The segment's own file name.
    pub(super) name: String,
    /// When it was rotated, in milliseconds since the epoch.
    pub(super) rotated_millis: u64,
    pub(super) location: Location,
    /// Length of the file.
    pub(super) disk_bytes: u64,
    /// What it holds, if its index is complete.
    pub(super) summary: Option<Summary>,
    /// What it ought to hold, if the manifest says so.
    pub(super) listed: Option<Member>,
    /// The segment that a complete archive was made from, if it is still there.
    pub(super) leftover: Option<PathBuf>,
    /// The original called its live file `NAME.log`; it is the newest rotated segment to us.
    pub(super) is_original_live: bool,
    /// Whether it may be by somebody else, so that it has no index for another reason than that it was lost. What is
    /// newer than all that is listed is what we had not listed yet.
    pub(super) may_be_foreign: bool,
}

/// The files that may be one segment.
#[derive(Default)]
struct Files {
    segment: Option<(PathBuf, u64)>,
    archive: Option<(PathBuf, u64)>,
    /// Where the manifest has it.
    listed_at: Option<PathBuf>,
}

/// What the manifests of both directories say.
#[derive(Clone, Debug, Default)]
pub(super) struct Listings {
    pub(super) dir: Listing,
    /// The same as `dir` if the directories are the same.
    pub(super) arch: Listing,
}

impl Listings {
    /// What it says of a segment, and whether of its archive.
    fn of(&self, segment: &str) -> Option<(Member, bool)> {
        let archive = self.arch.members.get(&format!("{segment}{ARCHIVE_SUFFIX}"));
        let here = || self.dir.members.get(segment).map(|member| (*member, false));
        archive.map(|member| (*member, true)).or_else(here)
    }

    /// All that is listed: segments' names, and whether it is the archive.
    fn names(&self) -> impl Iterator<Item = (&str, bool)> {
        let archives = self.arch.members.keys();
        let archives = archives.filter_map(|name| name.strip_suffix(ARCHIVE_SUFFIX));
        let segments = self.dir.members.keys().filter(|name| !name.ends_with(ARCHIVE_SUFFIX));
        archives.map(|name| (name, true)).chain(segments.map(|name| (name.as_str(), false)))
    }
}

/// The rotated segments and archives of a log, oldest first, those that are missing among them.
pub(super) fn inventory(
    config: &LogConfig,
    storage: &dyn Storage,
    listings: &Listings,
) -> Result<Vec<Item>, OpenError> {
    let mut files: BTreeMap<(u64, String), Files> = BTreeMap::new();
    for dir in [&config.arch_dir, &config.dir] {
        for Listed { name, bytes } in list(storage, dir)? {
            let path = dir.join(&name);
            let segment = name.strip_suffix(ARCHIVE_SUFFIX);
            let name = segment.unwrap_or(&name).to_owned();
            let Some(millis) = parse_rotated_name(&config.name, &name) else { continue };
            let dropping = if dir == &config.dir { &listings.dir } else { &listings.arch };
            let file_name = path.file_name().unwrap_or_default().to_string_lossy();
            if dropping.dropping.contains(&*file_name) {
                continue;
            }
            let found = files.entry((millis, name)).or_default();
            if segment.is_some() {
                found.archive = Some((path, bytes));
            } else {
                found.segment = Some((path, bytes));
            }
        }
    }
    let mut newest_listed = None;
    for (name, is_archive) in listings.names() {
        if let Some(millis) = parse_rotated_name(&config.name, name) {
            newest_listed = newest_listed.max(Some(millis));
            let found = files.entry((millis, name.to_owned())).or_default();
            let (dir, ending) =
                if is_archive { (&config.arch_dir, ARCHIVE_SUFFIX) } else { (&config.dir, "") };
            found.listed_at.get_or_insert_with(|| dir.join(format!("{name}{ending}")));
        }
    }
    let newest = files.keys().next_back().map(|(millis, _)| *millis);
    let mut items: Vec<Item> = files
        .into_iter()
        .filter_map(|((millis, name), files)| choose(storage, listings, millis, name, files))
        .collect();
    // A manifest that cannot be read tells as much: somebody else's log has none.
    let was_open = listings.dir.boot.is_some() || listings.dir.bad_lines > 0;
    for item in &mut items {
        let is_newest = newest_listed < Some(item.rotated_millis);
        item.may_be_foreign = item.listed.is_none() && !(was_open && is_newest);
    }
    items.extend(original_live(config, storage, newest)?);
    Ok(items)
}

/// The files of a directory; none if there is no such directory.
fn list(storage: &dyn Storage, dir: &Path) -> Result<Vec<Listed>, OpenError> {
    match storage.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(OpenError::io("list", dir)),
    }
}

/// With both there, the archive counts if the manifest has it, or the manifest has neither and its index is complete.
fn choose(
    storage: &dyn Storage,
    listings: &Listings,
    rotated_millis: u64,
    name: String,
    files: Files,
) -> Option<Item> {
    // A missing or unreadable index is no obstacle: it is made anew.
    let summary = |path: &Path| read_summary(storage, path).ok().flatten();
    let listed = listings.of(&name);
    let (listed, is_archived) = (listed.map(|(member, _)| member), listed.map(|(_, is)| is));
    let mut item = Item {
        name,
        rotated_millis,
        location: Location::Missing(PathBuf::new()),
        disk_bytes: 0,
        summary: None,
        listed,
        leftover: None,
        is_original_live: false,
        may_be_foreign: true,
    };
    let Some((segment, segment_bytes)) = files.segment else {
        let Some((archive, disk_bytes)) = files.archive else {
            item.summary = listed.map(|listed| listed.summary);
            // Retention deletes the oldest first; a full disk may have had no room to say so of each file.
            if item.summary.is_some_and(|summary| Some(summary.last) <= listings.dir.deleted) {
                return None;
            }
            item.location = Location::Missing(files.listed_at?);
            return Some(item);
        };
        item.summary = summary(&archive);
        (item.location, item.disk_bytes) = (Location::Archive(archive), disk_bytes);
        return Some(item);
    };
    if let Some((archive, disk_bytes)) = files.archive {
        let packed = summary(&archive);
        let is_whole = packed.is_some_and(|packed| packed.bytes == segment_bytes);
        if is_archived.unwrap_or(is_whole) {
            item.summary = packed;
            // The crash came between completing the archive and removing the segment.
            item.leftover = is_whole.then_some(segment);
            (item.location, item.disk_bytes) = (Location::Archive(archive), disk_bytes);
            return Some(item);
        }
    }
    item.summary = summary(&segment).filter(|summary| summary.bytes == segment_bytes);
    (item.location, item.disk_bytes) = (Location::File(segment), segment_bytes);
    Some(item)
}

/// The original's live file, under the name it would have got had it been rotated after its last record.
fn original_live(
    config: &LogConfig,
    storage: &dyn Storage,
    newest: Option<u64>,
) -> Result<Option<Item>, OpenError> {
    let path = config.dir.join(format!("{}.log", config.name));
    let file = match storage.open(&path, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::io("open", &path)(error)),
    };
    let disk_bytes = file.bytes().map_err(OpenError::io("read", &path))?;
    let head = read_full(&*file, 0, 4).map_err(OpenError::io("read", &path))?;
    if disk_bytes <= HEAD_BYTES || head != LOG_MAGIC {
        return Ok(None);
    }
    let mut source = Source::File(file);
    let found = repair::scan_all(&mut source, disk_bytes, crate::time::Timestamp::MAX)
        .map_err(OpenError::io("read", &path))?;
    let Some((_, last)) = found.index.interval() else { return Ok(None) };
    let rotated_millis = (last.micros() / 1000).max(newest.map_or(0, |newest| newest + 1));
    Ok(Some(Item {
        name: rotated_name(&config.name, rotated_millis),
        rotated_millis,
        location: Location::File(path),
        disk_bytes,
        summary: None,
        listed: None,
        leftover: None,
        is_original_live: true,
        may_be_foreign: true,
    }))
}

/// The names of the instances whose logs lie in `dir`, sorted.
///
/// # Errors
///
/// As the file system says.
pub fn find_logs(storage: &dyn Storage, dir: &Path) -> io::Result<Vec<String>> {
    /// Bytes of `_YYYY-MM-DD_HH-MM-SS.mmmZ`.
    const TIME_BYTES: usize = 25;
    let mut names = Vec::new();
    for Listed { name, bytes } in storage.list(dir)? {
        let segment = name.strip_suffix(ARCHIVE_SUFFIX).unwrap_or(&name);
        let instance = segment.len().checked_sub(TIME_BYTES).and_then(|at| segment.get(..at));
        if let Some(instance) = instance
            && parse_rotated_name(instance, segment).is_some()
        {
            let unquoted = instance.strip_prefix('\'').and_then(|name| name.strip_suffix('\''));
            names.push(unquoted.unwrap_or(instance).to_owned());
        } else if bytes >= HEAD_BYTES && !name.starts_with('.') && !name.ends_with(DRAFT_SUFFIX) {
            let file = storage.open(&dir.join(&name), Access::Read)?;
            if read_full(&*file, 0, 4)? == LOG_MAGIC {
                names.push(name.strip_suffix(".log").unwrap_or(&name).to_owned());
            }
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}
