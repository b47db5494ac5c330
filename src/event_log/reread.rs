//! Second looks: at segments that could not be read before, and at those whose index is lost or damaged.

use std::io;
use std::sync::Arc;

use super::index::Summary;
use super::lock;
use super::look::{compare, latest_stamp, look_at};
use super::manifest::Member;
use super::sealing::complete;
use super::segment::{NewSegment, Segment, read_index_or_none};
use super::shared::Shared;
use super::source::Location;
use super::storage::Access;
use crate::time::Timestamp;

/// Looks again at what could not be read when the log was opened.
pub(super) fn unread_segments(shared: &Shared, now: Timestamp) {
    let unread: Vec<Arc<Segment>> = {
        let state = lock(&shared.state);
        if state.totals().unread == 0 {
            return;
        }
        state.older().iter().filter(|segment| segment.unread.is_some()).map(Arc::clone).collect()
    };
    for segment in unread {
        let location = segment.location();
        let rotated = Timestamp::from_micros(segment.rotated_millis.saturating_mul(1000));
        let latest = latest_stamp(now, segment.reach);
        let looked = look_at(&*shared.storage, &location, &segment.name, rotated, latest, false);
        let Ok(mut looked) = looked else { continue };
        if looked.summary.count > segment.span {
            // More than its length allowed: it is not the file it was. The next start sees to it.
            continue;
        }
        tracing::info!(segment = %location.path().display(), entries = looked.summary.count, "can be read again");
        looked.damage.extend(looked.torn.take());
        let found = looked.member(segment.disk_bytes());
        let listed = segment.listed();
        let is_new = listed == Member::default();
        let wrong = if is_new { None } else { compare(&found, &listed) };
        for damage in looked.damage.iter().chain(&wrong) {
            shared.report_damage(&segment.name, location.path(), damage);
        }
        let now = Segment::new(NewSegment {
            base: segment.base,
            name: segment.name.clone(),
            rotated_millis: segment.rotated_millis,
            summary: looked.summary,
            listed: if wrong.is_some() || looked.is_partial { listed } else { found },
            reach: segment.reach,
            written: segment.written,
            rotated: segment.rotated,
            location,
            disk_bytes: segment.disk_bytes(),
            index: Some(Arc::new(looked.index)),
            is_partial: looked.is_partial,
            unread: None,
        });
        let now = Arc::new(now.with_span(segment.span));
        if !looked.is_partial {
            shared.note_stale_index(&now);
        }
        lock(&shared.state).replace(now);
    }
}

/// Writes indexes anew that were found lost or damaged.
pub(super) fn stale_indexes(shared: &Shared) {
    for segment in shared.take_stale() {
        let location = segment.location();
        if !matches!(location, Location::File(_) | Location::Archive(_)) {
            continue;
        }
        let _listing = lock(&shared.listing);
        match write_index(shared, &segment, &location) {
            Ok(listed) => lock(&shared.state).move_to(&segment, location, listed, true),
            Err(error) => {
                tracing::debug!(segment = %segment.name, %error, "its index is written anew later");
                shared.note_stale_index(&segment);
            }
        }
    }
}

/// Writes an index anew, after the segment is durable; what the manifest says of the segment from then on.
fn write_index(shared: &Shared, segment: &Segment, location: &Location) -> io::Result<Member> {
    if segment.is_partial {
        return Err(io::Error::other("the next start looks for what could not be read"));
    }
    // One that is only kept from us knows more: where there are holes, and what lies behind them.
    read_index_or_none(&*shared.storage, location.path(), segment.summary.bytes)?;
    let (index, _) = segment.index(&*shared.storage)?;
    if let Location::File(path) = location {
        shared.storage.open(path, Access::Read)?.sync()?;
    }
    let (count, interval) = (index.count(), index.interval());
    let (first, last) = interval.unwrap_or((segment.summary.first, segment.summary.last));
    let bytes = segment.summary.bytes;
    let summary = Summary { bytes, count, first, last, crc: 0 };
    let records_crc = index.content_crc();
    let listed = segment.listed();
    let found = Member { disk_bytes: listed.disk_bytes, summary, records_crc };
    // Whether it is all that there was is asked before the index can say that it is.
    if let Some(wrong) = compare(&found, &listed) {
        shared.report_damage(&segment.name, location.path(), &wrong);
    }
    complete(shared, location, summary, listed, &index)
}
