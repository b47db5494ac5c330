//! Which segments a log consists of, for who looks at it from outside.
//!
//! No file is touched for that: the map, the manifests and the scrubber's notes are in memory.

use std::sync::Arc;

use super::lock;
use super::log::Log;
use super::map::Found;
use super::segment::Segment;
use super::source::Location;
use crate::time::Timestamp;

/// Where a segment is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// It is written to.
    Live,
    /// It is complete, and in a file of its own.
    Rotated,
    /// It is packed.
    Archived,
    /// The manifest has it, and no directory does.
    Missing,
}

/// A segment, as it is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The name of its file; that of an archive has `.zip` behind it.
    pub name: String,
    /// Where it is in its life.
    pub state: SegmentState,
    /// When it was rotated; no two segments were at the same time. `None`: it is live.
    pub rotated: Option<Timestamp>,
    /// The first and the latest timestamp in it; `None` without any.
    pub interval: Option<(Timestamp, Timestamp)>,
    /// Entries in it.
    pub events: u64,
    /// Its length, without the packing.
    pub bytes: u64,
    /// Bytes of its file.
    pub disk_bytes: u64,
    /// When its checksums were read last, after it was rotated.
    pub scrubbed: Option<Timestamp>,
    /// Where it is damaged, as far as that was found out.
    pub damage: Vec<DamagedPlace>,
    /// Why nobody can look what it holds.
    pub unread: Option<Arc<str>>,
}

/// A stretch of bytes that is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedPlace {
    /// Where it begins in the segment.
    pub position: u64,
    /// How long it is.
    pub bytes: u64,
    /// Whether an operator has accepted it.
    pub is_accepted: bool,
}

/// Which segments somebody wants to know of.
#[derive(Clone, Copy, Debug)]
pub struct WantedSegments {
    /// Those that were rotated earlier; `None`: from the live one on.
    pub before: Option<Timestamp>,
    /// Only those of which something is damaged, missing or unreadable.
    pub damaged: bool,
    /// How many at most.
    pub limit: usize,
}

impl Log {
    /// The segments, the newest first.
    ///
    /// Costs a look at each segment that is listed, or at all of them if only damaged ones are.
    pub fn segments(&self, wanted: &WantedSegments) -> Vec<SegmentInfo> {
        let WantedSegments { before, damaged, limit } = *wanted;
        let is_wanted = |segment: &SegmentInfo| {
            let is_whole = segment.damage.is_empty()
                && segment.unread.is_none()
                && segment.state != SegmentState::Missing;
            !(damaged && is_whole)
        };
        let (live, older) = {
            let state = lock(&self.shared.state);
            let end = before.map_or(state.older().len(), |before| {
                state.older().partition_point(|segment| rotated(segment) < before)
            });
            let wanted = state.older().range(..end).rev();
            let wanted = wanted.take(if damaged { usize::MAX } else { limit });
            let older: Vec<_> = wanted.map(Arc::clone).collect();
            let live = &state.live;
            let interval = live.first().zip(live.last());
            let live = before.is_none().then(|| (interval, live.count(), live.bytes));
            (live, older)
        };
        let live = live.map(|(interval, events, bytes)| SegmentInfo {
            name: self.shared.config.name.clone(),
            state: SegmentState::Live,
            rotated: None,
            interval,
            events,
            bytes,
            disk_bytes: bytes,
            scrubbed: None,
            damage: self.shared.noted_damage(&self.shared.config.name),
            unread: None,
        });
        let older = older.iter().map(|segment| self.segment(segment));
        live.into_iter().chain(older).filter(is_wanted).take(limit).collect()
    }

    fn segment(&self, segment: &Segment) -> SegmentInfo {
        let location = segment.location();
        let summary = segment.summary;
        SegmentInfo {
            name: location.file_name(),
            state: match location {
                Location::Open(..) | Location::File(_) => SegmentState::Rotated,
                Location::Archive(_) => SegmentState::Archived,
                Location::Missing(_) => SegmentState::Missing,
            },
            rotated: Some(rotated(segment)),
            interval: (summary.count > 0).then_some((summary.first, summary.last)),
            events: summary.count,
            bytes: summary.bytes,
            disk_bytes: segment.disk_bytes(),
            scrubbed: lock(&self.shared.scrubbed).get(&segment.name).copied(),
            damage: self.shared.noted_damage(&segment.name),
            unread: segment.unread.clone(),
        }
    }

    /// How many entries are stamped later than `position`: exactly if RAM suffices to tell, else at most so many.
    pub fn count_after(&self, position: Timestamp) -> u64 {
        let from = position.next();
        let state = lock(&self.shared.state);
        let offset = match state.search_cached(from).unwrap_or_else(|| state.search(from)) {
            Found::At(offset) => offset,
            Found::In(segment) => segment.base,
            Found::End => return 0,
        };
        state.committed.offset.saturating_sub(offset)
    }
}

fn rotated(segment: &Segment) -> Timestamp {
    Timestamp::from_micros(segment.rotated_millis.saturating_mul(1000))
}
