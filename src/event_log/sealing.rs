//! What happens to a segment right after its rotation: it becomes durable, gets a complete index, and is listed.

use std::io;
use std::sync::Arc;

use super::index::{Index, Summary};
use super::manifest::{Line, Member};
use super::record::CLOSED;
use super::segment::Segment;
use super::shared::Shared;
use super::source::Location;
use super::storage::{StorageFile, write_full};
use super::ticket::Ticket;
use super::{lock, sealed_index};
use crate::planted::{planted, unless};

/// Makes a rotated segment and its name durable, then completes its index and lists it.
pub(super) fn seal(
    shared: &Shared,
    segment: &Segment,
    file: &dyn StorageFile,
    index: &Arc<Index>,
    ticket: &Ticket,
) {
    // A sync that failed is never tried again: the kernel may have forgotten what it could not write, and say now that all
    // is well.
    let failed = lock(&shared.state).poisoned.clone();
    let failed = failed.filter(|_| !planted("seal: a sync that failed before is tried again"));
    let synced: Result<(), Arc<str>> = match failed {
        Some(reason) => Err(reason),
        None => unless("seal: the segment", || file.sync())
            .and_then(|()| unless("seal: the directory", || shared.dir.sync()))
            .map_err(|error| format!("sync failed: {error}").into()),
    };
    let synced = if planted("seal: a failure counts as success") { Ok(()) } else { synced };
    let is_durable = synced.is_ok();
    ticket.finish(synced);
    let location = Location::File(segment.location().path().to_owned());
    if !is_durable {
        // The recorder stops; an index that vouches for what may not be there is not written.
        return;
    }
    // The mark only tells `disk_log` that nothing needs repair; losing it loses nothing.
    if let Err(error) = write_full(file, &CLOSED, 4).and_then(|()| file.sync()) {
        tracing::warn!(%error, "a rotated segment could not be marked closed");
    }
    // No checksum covers a hole: once the index is complete nothing but the manifest tells of it.
    shared.add_notes();
    let _listing = lock(&shared.listing);
    let listed = match complete(shared, &location, segment.summary, segment.listed(), index) {
        Ok(listed) => listed,
        Err(error) => {
            tracing::warn!(segment = %segment.name, %error, "index not completed; it stays in memory");
            lock(&shared.state).move_to(segment, location, segment.listed(), false);
            return;
        }
    };
    lock(&shared.state).move_to(segment, location, listed, true);
}

/// Writes the index of a durable segment that holds `summary` and lists the segment; what the manifest says then. The
/// caller holds `listing`.
pub(super) fn complete(
    shared: &Shared,
    location: &Location,
    summary: Summary,
    listed: Member,
    index: &Index,
) -> io::Result<Member> {
    let written = sealed_index::write(&*shared.storage, location.path(), summary, index)?;
    if matches!(location, Location::Archive(_)) {
        shared.storage.sync_dir(&shared.config.arch_dir)?;
    } else {
        unless("complete: the directory", || shared.dir.sync())?;
    }
    let listed = Member { summary: Summary { crc: written.crc, ..listed.summary }, ..listed };
    let have = Line::Have(location.file_name(), listed);
    if let Err(error) = unless("complete: listing", || shared.manifests.of(location).add(&[have])) {
        tracing::debug!(%error, "the segment is listed when the manifest is written anew");
    }
    Ok(listed)
}
