//! Reading checksums again, little by little, so that damage is found while there is still a copy elsewhere.

use std::io;
use std::sync::Arc;

use super::lock;
use super::manifest::Line;
use super::repair::{Damage, MISMATCH, UNREADABLE};
use super::segment::Segment;
use super::shared::Shared;
use super::source::{Location, Source};
use super::storage::is_transient;
use crate::time::Timestamp;

/// Reads at least `bytes` bytes of segments again, those that waited longest first, whole segments at a time. A segment
/// is in line once it is sealed, from its rotation on.
pub(super) fn some(shared: &Shared, now: Timestamp, bytes: u64, stop: &dyn Fn() -> bool) {
    let mut left = bytes;
    while left > 0 && !stop() {
        let Some(segment) = shared.next_to_scrub(now) else { return };
        match one(shared, &segment, stop) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) if is_transient(&error) => return,
            Err(_) => {
                let location = segment.location();
                let bytes = segment.summary.bytes;
                let damage = Damage { position: 0, bytes, what: UNREADABLE };
                // What was archived or deleted meanwhile is no damage.
                if shared.is_at(&segment, &location) {
                    shared.report_damage(&segment.name, location.path(), &damage);
                }
            }
        }
        left = left.saturating_sub(segment.summary.bytes.max(1));
        shared.scrubbed(&segment, now);
    }
}

/// Reads a segment; false if it was told to stop.
fn one(shared: &Shared, segment: &Arc<Segment>, stop: &dyn Fn() -> bool) -> io::Result<bool> {
    let storage = &*shared.storage;
    let (index, is_stale) = segment.reload_index(storage)?;
    if is_stale {
        shared.note_stale_index(segment);
    }
    let location = segment.location();
    let mut source = Source::open(storage, &location, &segment.name)?;
    source.use_restarts(&index);
    for slot in index.slots() {
        if stop() {
            return Ok(false);
        }
        let stretch = &slot.stretch;
        let what = match source.read(stretch.position, stretch.bytes as usize) {
            Ok(bytes) if stretch.matches(&bytes) => None,
            Ok(_) => Some(MISMATCH),
            Err(error) if is_transient(&error) => return Err(error),
            Err(_) => Some(UNREADABLE),
        };
        if let Some(what) = what {
            let damage = Damage { position: stretch.position, bytes: stretch.bytes.into(), what };
            shared.report_damage(&segment.name, location.path(), &damage);
        }
        shared.metrics.scrubbed_bytes.add(stretch.bytes.into());
    }
    Ok(true)
}

impl Shared {
    /// The segment whose checksums were read longest ago, if that is `scrub_period` or more.
    fn next_to_scrub(&self, now: Timestamp) -> Option<Arc<Segment>> {
        let period = self.config.scrub_period?;
        let mut queue = lock(&self.scrub_queue);
        if queue.is_empty() {
            // All at once, for one look at the map, outside of which they are sorted.
            let segments: Vec<_> = lock(&self.state).older().iter().map(Arc::clone).collect();
            let scrubbed = lock(&self.scrubbed);
            let since = |segment: &Segment| {
                let rotated = Timestamp::from_micros(segment.rotated_millis.saturating_mul(1000));
                let at = scrubbed.get(&segment.name).copied().unwrap_or(rotated);
                // A time ahead of the clock is none.
                if at > now { Timestamp::MIN } else { at }
            };
            let due = now.saturating_sub(period);
            let waiting = segments.into_iter().filter(|segment| segment.is_sealed());
            let with_time = waiting.map(|segment| (since(&segment), segment));
            let mut waiting: Vec<_> = with_time.filter(|(at, _)| *at <= due).collect();
            waiting.sort_by_key(|(at, segment)| (*at, segment.base));
            queue.extend(waiting.into_iter().map(|(_, segment)| segment));
        }
        queue.pop_front()
    }

    /// Remembers when a segment was read.
    fn scrubbed(&self, segment: &Segment, now: Timestamp) {
        lock(&self.scrubbed).insert(segment.name.clone(), now);
        // Said without a sync of its own would do, but the manifest has no such lines.
        if let Err(error) = self.manifests.dir.add(&[Line::Scrubbed(now, segment.name.clone())]) {
            tracing::debug!(%error, "when it was read is noted later");
        }
    }

    /// Whether a segment is still in the log, at this place.
    fn is_at(&self, segment: &Arc<Segment>, location: &Location) -> bool {
        let state = lock(&self.state);
        state.older_at(segment.base).is_some_and(|here| Arc::ptr_eq(&here, segment))
            && segment.location().path() == location.path()
    }
}
