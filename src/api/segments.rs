//! What an instance's log consists of, and how much of it is kept where. Nothing is read for it.

use axum::Json;
use axum::extract::Query;
use axum::http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{ErrorBody, Refusal};
use super::parameters::limit;
use super::state::Named;
use crate::store::{SegmentInfo, SegmentState, WantedSegments};
use crate::time::{Timestamp, moment};

/// Segments of a page, unless told, and at most.
const DEFAULT_LIMIT: usize = 1000;
const MAX_LIMIT: usize = 10_000;

/// Of how many damaged places of a segment is told where they are.
const MAX_PLACES: usize = 16;

/// Which segments.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// At most so many segments: 1,000 unless told, 10,000 at most
    limit: Option<String>,
    /// Goes on where an answer ended: its `next`
    cursor: Option<String>,
    /// `true`: only those of which something is damaged, missing or unreadable
    damaged: Option<bool>,
}

impl Parameters {
    /// One more than are to be shown, which tells whether there are more.
    fn wanted(&self) -> Result<WantedSegments, Refusal> {
        let before = self.cursor.as_deref().map(|text| {
            let micros = text.parse().ok().map(Timestamp::from_micros);
            micros.ok_or_else(|| Refusal::bad("cursor", "write the next of an answer"))
        });
        Ok(WantedSegments {
            before: before.transpose()?,
            damaged: self.damaged.unwrap_or(false),
            limit: limit(self.limit.as_deref(), DEFAULT_LIMIT, MAX_LIMIT)? + 1,
        })
    }
}

/// Segments, the newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct SegmentsBody {
    segments: Vec<SegmentBody>,
    /// The `cursor` that goes on there; null at the end
    next: Option<String>,
}

/// A segment.
#[derive(Serialize, ToSchema)]
pub(super) struct SegmentBody {
    /// The name of its file; that of an archive ends in `.zip`
    name: String,
    /// `live`: written to; `rotated`, `archived`, or `missing`: it was there, and no directory has it
    state: &'static str,
    /// The first timestamp in it, RFC 3339; null without any
    first: Option<String>,
    /// The latest one
    last: Option<String>,
    /// When it was rotated
    rotated: Option<String>,
    /// Entries in it
    events: u64,
    /// Its length, without the packing of an archive
    bytes: u64,
    /// Bytes of its file
    disk_bytes: u64,
    /// When its checksums were read again last; null: not yet
    scrubbed: Option<String>,
    /// How many places of it are damaged
    damaged: usize,
    /// The first of those places
    damage: Vec<DamageBody>,
    /// Why nobody can look what it holds
    unreadable: Option<String>,
}

/// A damaged place.
#[derive(Serialize, ToSchema)]
pub(super) struct DamageBody {
    /// Where it begins in the segment
    position: u64,
    bytes: u64,
    /// Whether an operator has accepted it, by `logmachine verify --accept`
    accepted: bool,
}

impl SegmentBody {
    fn of(segment: SegmentInfo) -> Self {
        let (first, last) = segment.interval.unzip();
        let places = segment.damage.iter().take(MAX_PLACES).map(|place| DamageBody {
            position: place.position,
            bytes: place.bytes,
            accepted: place.is_accepted,
        });
        SegmentBody {
            state: match segment.state {
                SegmentState::Live => "live",
                SegmentState::Rotated => "rotated",
                SegmentState::Archived => "archived",
                SegmentState::Missing => "missing",
            },
            first: first.map(moment::rfc3339),
            last: last.map(moment::rfc3339),
            rotated: segment.rotated.map(moment::rfc3339),
            events: segment.events,
            bytes: segment.bytes,
            disk_bytes: segment.disk_bytes,
            scrubbed: segment.scrubbed.map(moment::rfc3339),
            damaged: segment.damage.len(),
            damage: places.collect(),
            unreadable: segment.unread.map(|why| why.to_string()),
            name: segment.name,
        }
    }
}

/// Lists the segments of an instance's log, the newest first.
#[utoipa::path(
    get, path = "/api/v1/instances/{instance}/segments",
    params(("instance" = String, Path, description = "Its name"), Parameters),
    responses((status = 200, body = SegmentsBody), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody))
)]
pub(super) async fn segments(
    Named(instance): Named,
    uri: Uri,
) -> Result<Json<SegmentsBody>, Refusal> {
    let Query(parameters) = Query::<Parameters>::try_from_uri(&uri)?;
    let wanted = parameters.wanted()?;
    let mut segments = instance.log().segments(&wanted);
    let has_more = segments.len() == wanted.limit;
    segments.truncate(wanted.limit - 1);
    let next = segments.last().filter(|_| has_more).map(next);
    Ok(Json(SegmentsBody { segments: segments.into_iter().map(SegmentBody::of).collect(), next }))
}

/// Where the page goes on that ends with this segment. Behind the live one come all that were rotated.
fn next(last: &SegmentInfo) -> String {
    last.rotated.unwrap_or(Timestamp::MAX).micros().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_ends_with_is_where_the_next_begins() {
        let of = |rotated: Option<u64>| SegmentInfo {
            name: "q".to_owned(),
            state: SegmentState::Rotated,
            rotated: rotated.map(Timestamp::from_micros),
            interval: None,
            events: 0,
            bytes: 8,
            disk_bytes: 8,
            scrubbed: None,
            damage: Vec::new(),
            unread: None,
        };
        let wanted = |cursor: &str| {
            Parameters { cursor: Some(cursor.to_owned()), ..Parameters::default() }.wanted()
        };
        for rotated in [Some(1_700_000_000_123_000), None] {
            let before = wanted(&next(&of(rotated))).expect("a cursor").before;
            assert_eq!(before, Some(rotated.map_or(Timestamp::MAX, Timestamp::from_micros)));
        }
        assert_eq!(wanted("soon").expect_err("no number").status(), 400);
    }
}
