//! Archiving old segments, and deleting what is too old or too much.
//!
//! An archive is packed as a draft, read back, and given its index, then its name, then its line in the manifest; only
//! then is the segment taken off the list and removed. Whatever step a crash interrupts, the next start finds the
//! segment in one piece: with both there, the archive counts if the manifest has it, else the segment does.
//!
//! What is deleted is first said to be in the manifest, so that a crash half way neither brings entries back nor makes
//! them missing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::age::Now;
use super::archive::{self, Archive};
use super::index::Index;
use super::lock;
use super::manifest::{Line, Member};
use super::names::{ARCHIVE_SUFFIX, draft_path, index_path};
use super::sealed_index;
use super::segment::Segment;
use super::shared::Shared;
use super::source::{Location, Source};
use super::storage::{Access, Storage, StorageFile, create_fresh};
use crate::planted::{planted, unless};
use crate::time::Timestamp;

/// How much is compared at once when an archive is read back.
const COMPARE_BYTES: usize = 1 << 20;

/// Archives the segments rotated `archive_after` ago, oldest first, until `stop` says so.
pub(super) fn archive(shared: &Shared, now: &Now, stop: &dyn Fn() -> bool) {
    let Some(after) = shared.config.archive_after else { return };
    let due: Vec<Arc<Segment>> = {
        let state = lock(&shared.state);
        let is_due = |segment: &&Arc<Segment>| {
            segment.unread.is_none() && !segment.is_archived() && now.age(segment.rotated) > after
        };
        state.older().iter().filter(is_due).map(Arc::clone).collect()
    };
    for segment in due {
        if stop() {
            return;
        }
        match archive_one(shared, &segment, stop) {
            Ok(Some(bytes)) => {
                shared.metrics.archived.inc();
                tracing::info!(segment = %segment.name, from_bytes = segment.summary.bytes, bytes, "archived");
            }
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            // That one is no reason not to archive the others.
            Err(error) => {
                tracing::warn!(segment = %segment.name, %error, "not archived; tried again next time");
            }
        }
    }
}

/// Archives a segment; `None` if it is not sealed yet, or its index is to be written anew first.
fn archive_one(
    shared: &Shared,
    segment: &Arc<Segment>,
    stop: &dyn Fn() -> bool,
) -> io::Result<Option<u64>> {
    let storage = &*shared.storage;
    let Location::File(from) = segment.location() else { return Ok(None) };
    let (index, is_stale) = segment.index(storage)?;
    if is_stale || !segment.is_sealed() {
        shared.note_stale_index(segment);
        return Ok(None);
    }
    let zip_path = zip_path(shared, segment);
    let draft = draft_path(&zip_path);
    if planted("archive: the segment goes last") {
        remove_listed(shared, &[Location::File(from.clone())]);
    }
    let file = create_fresh(storage, &draft)?;
    let packed = pack(storage, segment, &from, &file, &index, stop);
    let index = match packed {
        Ok(index) => index,
        Err(error) => {
            // Nothing but a draft is lost; the segment is where it was.
            drop(storage.remove(&draft));
            return Err(error);
        }
    };
    let summary = sealed_index::write(storage, &zip_path, segment.summary, &index)?;
    storage.rename(&draft, &zip_path)?;
    unless("archive: the directory", || storage.sync_dir(&shared.config.arch_dir))?;
    // What the segment ought to hold the archive ought to; damage stays on record.
    let listed = segment.listed();
    let disk_bytes = file.bytes()?;
    let listed = Member {
        disk_bytes,
        summary: super::index::Summary { crc: summary.crc, ..listed.summary },
        ..listed
    };
    let location = Location::Archive(zip_path);
    let listing = lock(&shared.listing);
    let have = Line::Have(location.file_name(), listed);
    unless("archive: listing", || shared.manifests.arch.add(&[have]))?;
    lock(&shared.state).move_to(segment, location, listed, true);
    drop(listing);
    for (_, error) in remove_listed(shared, &[Location::File(from)]) {
        tracing::warn!(segment = %segment.name, %error, "archived segment not removed; the next start does it");
    }
    Ok(Some(disk_bytes))
}

fn zip_path(shared: &Shared, segment: &Segment) -> PathBuf {
    shared.config.arch_dir.join(format!("{}{ARCHIVE_SUFFIX}", segment.name))
}

/// Packs a segment into a draft, and reads that back; the index that belongs beside it.
fn pack(
    storage: &dyn Storage,
    segment: &Segment,
    path: &Path,
    file: &Arc<dyn StorageFile>,
    index: &Index,
    stop: &dyn Fn() -> bool,
) -> io::Result<Index> {
    let mut source = Source::File(storage.open(path, Access::Read)?);
    let bytes = segment.summary.bytes;
    let rotated = Timestamp::from_micros(segment.rotated_millis.saturating_mul(1000));
    let mut read = |position, bytes| source.read(position, bytes);
    let restarts = archive::write(&**file, &segment.name, rotated, &mut read, bytes, stop)?;
    unless("archive: the archive", || file.sync())?;
    let mut index = index.clone();
    index.restarts = restarts;
    let mut packed = Archive::open(Arc::clone(file), &segment.name)?;
    let mut at = 0;
    while at < bytes {
        if stop() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let block = source.read(at, COMPARE_BYTES)?;
        if block.is_empty()
            || (packed.read(at, block.len())? != block && !planted("archive: reading back"))
        {
            return Err(io::Error::other("archive differs from its segment when read back"));
        }
        at += block.len() as u64;
    }
    Ok(index)
}

/// Removes files that the manifest still lists, and their indexes: said before, so that none is missing, and finished
/// by the next start if need be. Those that could not be removed, and why, for the last of them.
fn remove_listed(shared: &Shared, locations: &[Location]) -> Vec<(usize, io::Error)> {
    let by_manifest = |line: fn(String) -> Line, except: &[(usize, io::Error)]| {
        // Archives are older than segments: a crash in between leaves no hole.
        for (manifest, is_arch) in [(&shared.manifests.arch, true), (&shared.manifests.dir, false)]
        {
            let here = locations.iter().enumerate().filter(|(i, location)| {
                shared.manifests.is_in_arch(location) == is_arch
                    && except.iter().all(|(failed, _)| failed != i)
            });
            let lines: Vec<_> = here.map(|(_, location)| line(location.file_name())).collect();
            // A full disk takes no line, and what is deleted may be what makes room: the manifest is then written anew.
            if !lines.is_empty()
                && let Err(error) = manifest.add(&lines)
            {
                tracing::debug!(%error, "the manifest does not say yet what is removed");
            }
        }
    };
    let _listing = lock(&shared.listing);
    if !planted("delete: saying so before") {
        by_manifest(Line::Drop, &[]);
    }
    let remove = |location: &Location| remove_with_index(&*shared.storage, location.path());
    let failed: Vec<_> = locations
        .iter()
        .enumerate()
        .filter_map(|(i, location)| Some((i, remove(location).err()?)))
        .collect();
    // What is said to be gone must not be there again after a power loss.
    let synced = unless("delete: the directory", || sync_dirs_of(shared, locations));
    if let Err(error) = synced {
        tracing::warn!(log = %shared.config.name, %error, "what was removed is forgotten by the next start");
        return failed;
    }
    if !planted("delete: saying so after") {
        by_manifest(Line::Gone, &failed);
    }
    if failed.is_empty() {
        // There may be room for it now.
        shared.write_due_manifests();
    }
    failed
}

/// Makes the removal of files durable.
fn sync_dirs_of(shared: &Shared, locations: &[Location]) -> io::Result<()> {
    if locations.iter().any(|location| shared.manifests.is_in_arch(location)) {
        shared.storage.sync_dir(&shared.config.arch_dir)?;
    }
    if locations.iter().any(|location| !shared.manifests.is_in_arch(location)) {
        shared.dir.sync()?;
    }
    Ok(())
}

/// Removes a segment or archive, then its index: one without the other is no segment.
pub(super) fn remove_with_index(storage: &dyn Storage, path: &Path) -> io::Result<()> {
    match storage.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match storage.remove(&index_path(path)) {
        // It is no segment, and stands in nobody's way.
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(segment = %path.display(), %error, "an index is left of what was removed");
        }
        _ => {}
    }
    Ok(())
}

/// Why something is deleted.
#[derive(Debug)]
enum Why {
    TooOld,
    TooMuch,
}

/// How many segments are deleted at once: each round costs two syncs of a manifest.
const DELETED_AT_ONCE: usize = 256;

/// Deletes the oldest segments and archives while they are too old or all together too much. The live
/// segment is never among them. With `by_age` false the wall clock is not to be believed.
pub(super) fn delete(shared: &Shared, now: &Now, by_age: bool) {
    loop {
        let mut due = Vec::new();
        while due.len() < DELETED_AT_ONCE
            && let Some(oldest) = pop_due(shared, now, by_age)
        {
            due.push(oldest);
        }
        let Some((last, _)) = due.last() else { return };
        let is_last_round = due.len() < DELETED_AT_ONCE;
        let deleted = Line::Deleted(last.reach);
        if let Err(error) = unless("delete: the stamp", || shared.manifests.dir.add(&[deleted])) {
            tracing::debug!(%error, "the manifest does not say yet what is deleted");
        }
        let mut locations: Vec<_> = due.iter().map(|(segment, _)| segment.location()).collect();
        // An archive that could not be listed is no part of the log, and must not become one without its segment.
        let unlisted = due.iter().filter(|(segment, _)| !segment.is_archived());
        if shared.config.archive_after.is_some() {
            locations
                .extend(unlisted.map(|(segment, _)| Location::Archive(zip_path(shared, segment))));
        }
        let failed = remove_listed(shared, &locations);
        for (i, (segment, why)) in due.iter().enumerate().rev() {
            let path = locations[i].path().display();
            if let Some((_, error)) = failed.iter().find(|(failed, _)| *failed == i) {
                tracing::error!(segment = %path, %error, "not deleted; tried again next time");
                lock(&shared.state).push_oldest(Arc::clone(segment));
                continue;
            }
            let summary = segment.summary;
            shared.metrics.deleted.inc();
            shared.metrics.deleted_events.add(summary.count);
            tracing::info!(
                segment = %path,
                events = summary.count,
                first = %summary.first,
                last = %summary.last,
                bytes = segment.disk_bytes(),
                ?why,
                "deleted by retention"
            );
        }
        if is_last_round || !failed.is_empty() {
            return;
        }
    }
}

/// Takes the oldest segment out if it is due: gone for readers first, so that none opens it half deleted.
fn pop_due(shared: &Shared, now: &Now, by_age: bool) -> Option<(Arc<Segment>, Why)> {
    let limits = &shared.config;
    let mut state = lock(&shared.state);
    let oldest = state.older().front()?;
    let too_old = |after: Duration| now.age(oldest.written) > after;
    let why = if limits
        .delete_after
        .filter(|_| by_age || planted("delete: doubting the clock"))
        .is_some_and(too_old)
    {
        Why::TooOld
    } else if limits.max_bytes.is_some_and(|max| state.bytes() > max) {
        Why::TooMuch
    } else {
        return None;
    };
    // What is not sealed yet is still being written to.
    if matches!(oldest.location(), Location::Open(..)) && !planted("delete: sparing the unsealed") {
        return None;
    }
    let oldest = state.pop_oldest()?;
    if oldest.summary.count > 0 || oldest.unread.is_some() {
        state.deleted = state.deleted.max(Some(oldest.reach));
    }
    Some((oldest, why))
}
