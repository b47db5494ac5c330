//! Archiving old segments, and deleting what is too old or too much.
//!
//! Archiving has two phases, as in the original: the segment moves into the archives' directory, then it
//! is packed into a draft that gets its name when it is complete and was read back. Whatever step a crash
//! interrupts, the next start finds the segment in one piece and goes on. Only after the archive's index
//! is written is the segment removed; so an archive with a complete index is a complete archive.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::archive::{self, Archive};
use super::index::Index;
use super::keeper::write_sealed_index;
use super::lock;
use super::log::Shared;
use super::segment::{ARCHIVE_SUFFIX, Place, Segment, Source, draft_path, index_path};
use super::storage::{Access, Storage, StorageFile, create_fresh};
use crate::time::Timestamp;

/// How much is compared at once when an archive is read back.
const COMPARE_BYTES: usize = 1 << 20;

/// Archives the segments rotated `archive_after` before `now`, oldest first, until `stop` says so.
pub(super) fn archive(shared: &Shared, now: Timestamp, stop: &dyn Fn() -> bool) {
    let Some(after) = shared.config.archive_after else { return };
    let before = now.saturating_sub(after).micros() / 1000;
    let due: Vec<Arc<Segment>> = {
        let state = lock(&shared.state);
        let due = state.older.iter().filter(|s| s.rotated_millis < before && !s.is_archived());
        due.map(Arc::clone).collect()
    };
    for segment in due {
        if stop() {
            return;
        }
        match archive_one(shared, &segment, stop) {
            Ok(Some(bytes)) => {
                shared.counters.archived.add(1);
                tracing::info!(segment = %segment.name, from_bytes = segment.summary.bytes, bytes, "archived");
            }
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            Err(error) => {
                tracing::warn!(segment = %segment.name, %error, "not archived; tried again next time");
                return;
            }
        }
    }
}

/// Archives a segment; `None` if it is not sealed yet.
fn archive_one(
    shared: &Shared,
    segment: &Segment,
    stop: &dyn Fn() -> bool,
) -> io::Result<Option<u64>> {
    let storage = &*shared.storage;
    let Place::File(from) = segment.place() else { return Ok(None) };
    let index = segment.index(storage).map_err(io::Error::other)?;
    let path = move_to_archive(shared, segment, from)?;

    let zip_path = shared.config.arch_dir.join(format!("{}{ARCHIVE_SUFFIX}", segment.name));
    let draft = draft_path(&zip_path);
    let file = create_fresh(storage, &draft)?;
    let packed = pack(storage, segment, &path, &file, &index, stop);
    let index = match packed {
        Ok(index) => index,
        Err(error) => {
            // Nothing but a draft is lost; the segment is where it was.
            drop(storage.remove(&draft));
            return Err(error);
        }
    };
    storage.rename(&draft, &zip_path)?;
    write_sealed_index(storage, &zip_path, segment.summary, &index)?;
    storage.sync_dir(&shared.config.arch_dir)?;
    let bytes = file.bytes()?;
    {
        let _held = segment.hold();
        segment.move_to(Place::Archive(zip_path), bytes);
    }
    remove_with_index(storage, &path)?;
    Ok(Some(bytes))
}

/// The first phase: the segment and its index get into the archives' directory, unless that is on another
/// file system.
fn move_to_archive(shared: &Shared, segment: &Segment, from: PathBuf) -> io::Result<PathBuf> {
    let storage = &*shared.storage;
    let to = shared.config.arch_dir.join(&segment.name);
    if from == to {
        return Ok(to);
    }
    let _held = segment.hold();
    match storage.rename(&index_path(&from), &index_path(&to)) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => return Ok(from),
        // A lost index can be made anew.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match storage.rename(&from, &to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => return Ok(from),
        other => other?,
    }
    segment.move_to(Place::File(to.clone()), segment.summary.bytes);
    storage.sync_dir(&shared.config.arch_dir)?;
    storage.sync_dir(&shared.config.dir)?;
    Ok(to)
}

/// The second phase up to where the draft is complete; the index that belongs beside it.
fn pack(
    storage: &dyn Storage,
    segment: &Segment,
    path: &std::path::Path,
    file: &Arc<dyn StorageFile>,
    index: &Index,
    stop: &dyn Fn() -> bool,
) -> io::Result<Index> {
    let mut source = Source::File(storage.open(path, Access::Read)?);
    let bytes = segment.summary.bytes;
    let rotated = Timestamp::from_micros(segment.rotated_millis.saturating_mul(1000));
    let restarts = archive::write(&**file, &segment.name, rotated, &mut source, bytes, stop)?;
    file.sync()?;
    let mut index = index.clone();
    index.restarts = restarts;
    let mut packed = Source::Archive(Box::new(Archive::open(Arc::clone(file), &segment.name)?));
    let mut at = 0;
    while at < bytes {
        if stop() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let block = source.read(at, COMPARE_BYTES)?;
        if block.is_empty() || packed.read(at, block.len())? != block {
            return Err(io::Error::other("archive differs from its segment when read back"));
        }
        at += block.len() as u64;
    }
    Ok(index)
}

/// Removes a segment or archive; its index first, for a segment without one is found again and an index
/// without a segment is not.
pub(super) fn remove_with_index(storage: &dyn Storage, path: &std::path::Path) -> io::Result<()> {
    match storage.remove(&index_path(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match storage.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    path.parent().map_or(Ok(()), |dir| storage.sync_dir(dir))
}

/// Why something is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    TooOld,
    TooMuch,
}

/// Deletes the oldest segments and archives while they are too old or all together too much. The live
/// segment is never among them.
pub(super) fn delete(shared: &Shared, now: Timestamp) {
    loop {
        let (segment, why) = {
            let mut state = lock(&shared.state);
            let Some(oldest) = state.older.front() else { return };
            let too_old = |after: Duration| oldest.summary.last < now.saturating_sub(after);
            let bytes = || {
                let older = state.older.iter().map(|segment| segment.disk_bytes());
                older.sum::<u64>() + state.live.bytes
            };
            let why = if shared.config.delete_after.is_some_and(too_old) {
                Why::TooOld
            } else if shared.config.max_bytes.is_some_and(|max| bytes() > max) {
                Why::TooMuch
            } else {
                return;
            };
            // What is not sealed yet is still being written to.
            if matches!(oldest.place(), Place::Open(..)) {
                return;
            }
            // Gone for readers first, so that none opens it half deleted.
            let Some(oldest) = state.older.pop_front() else { return };
            state.cache.evict_before(oldest.end());
            (oldest, why)
        };
        let (place, summary) = (segment.place(), segment.summary);
        if let Err(error) = remove_with_index(&*shared.storage, place.path()) {
            tracing::error!(segment = %place.path().display(), %error, "not deleted; tried again next time");
            lock(&shared.state).older.push_front(segment);
            return;
        }
        shared.counters.deleted.add(1);
        shared.counters.deleted_events.add(summary.count);
        tracing::info!(
            segment = %place.path().display(),
            events = summary.count,
            first = %summary.first,
            last = %summary.last,
            bytes = segment.disk_bytes(),
            ?why,
            "deleted by retention"
        );
    }
}
