//! Which files of a directory are segments and archives of a log, ours or the original's.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::index::Summary;
use super::record::{HEAD_BYTES, LOG_MAGIC};
use super::segment::{
    ARCHIVE_SUFFIX, DRAFT_SUFFIX, Place, Source, parse_rotated_name, read_summary, rotated_name,
};
use super::storage::{Access, Listed, Storage, read_full};
use super::{LogConfig, OpenError, repair};

/// A rotated segment or an archive.
#[derive(Debug)]
pub(super) struct Item {
    /// The segment's own file name.
    pub(super) name: String,
    /// When it was rotated, in milliseconds since the epoch.
    pub(super) rotated_millis: u64,
    pub(super) place: Place,
    /// Length of the file.
    pub(super) disk_bytes: u64,
    /// What it holds, if its index is complete.
    pub(super) summary: Option<Summary>,
    /// The segment that a complete archive was made from, if it is still there.
    pub(super) leftover: Option<PathBuf>,
    /// The original called its live file `NAME.log`; it is the newest rotated segment to us.
    pub(super) is_original_live: bool,
}

/// The files that may be one segment.
#[derive(Default)]
struct Files {
    segment: Option<(PathBuf, u64)>,
    archive: Option<(PathBuf, u64)>,
}

/// The rotated segments and archives of a log, oldest first.
pub(super) fn inventory(config: &LogConfig, storage: &dyn Storage) -> Result<Vec<Item>, OpenError> {
    let mut files: BTreeMap<(u64, String), Files> = BTreeMap::new();
    for dir in [&config.arch_dir, &config.dir] {
        for Listed { name, bytes } in list(storage, dir)? {
            let path = dir.join(&name);
            let segment = name.strip_suffix(ARCHIVE_SUFFIX);
            let name = segment.unwrap_or(&name).to_owned();
            let Some(millis) = parse_rotated_name(&config.name, &name) else { continue };
            let found = files.entry((millis, name)).or_default();
            if segment.is_some() {
                found.archive = Some((path, bytes));
            } else {
                found.segment = Some((path, bytes));
            }
        }
    }
    let newest = files.keys().next_back().map(|(millis, _)| *millis);
    let mut items: Vec<Item> = files
        .into_iter()
        .filter_map(|((millis, name), files)| choose(storage, millis, name, files))
        .collect();
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

/// An archive counts once its index is complete, or when there is nothing else.
fn choose(storage: &dyn Storage, rotated_millis: u64, name: String, files: Files) -> Option<Item> {
    // A missing or unreadable index is no obstacle: it is made anew.
    let summary = |path: &Path| read_summary(storage, path).ok().flatten();
    let packed = files.archive.as_ref().and_then(|(path, _)| summary(path));
    let is_original_live = false;
    if let Some((path, disk_bytes)) = files.archive
        && (packed.is_some() || files.segment.is_none())
    {
        let unpacked =
            |s: &Summary| Some(s.bytes) == files.segment.as_ref().map(|(_, bytes)| *bytes);
        let leftover = packed.as_ref().filter(|s| unpacked(s)).and(files.segment);
        let leftover = leftover.map(|(path, _)| path);
        let place = Place::Archive(path);
        let summary = packed;
        return Some(Item {
            name,
            rotated_millis,
            place,
            disk_bytes,
            summary,
            leftover,
            is_original_live,
        });
    }
    let (path, disk_bytes) = files.segment?;
    let summary = summary(&path).filter(|summary| summary.bytes == disk_bytes);
    let (place, leftover) = (Place::File(path), None);
    Some(Item { name, rotated_millis, place, disk_bytes, summary, leftover, is_original_live })
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
    let found = repair::scan_all(&mut source, disk_bytes).map_err(OpenError::io("read", &path))?;
    let Some((_, last)) = found.index.interval() else { return Ok(None) };
    let rotated_millis = (last.micros() / 1000).max(newest.map_or(0, |newest| newest + 1));
    Ok(Some(Item {
        name: rotated_name(&config.name, rotated_millis),
        rotated_millis,
        place: Place::File(path),
        disk_bytes,
        summary: None,
        leftover: None,
        is_original_live: true,
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
        let instance = name.len().checked_sub(TIME_BYTES).and_then(|at| name.get(..at));
        if let Some(instance) = instance
            && parse_rotated_name(instance, &name).is_some()
        {
            let unquoted = instance.strip_prefix('\'').and_then(|name| name.strip_suffix('\''));
            names.push(unquoted.unwrap_or(instance).to_owned());
        } else if bytes >= HEAD_BYTES && !name.ends_with(DRAFT_SUFFIX) {
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
