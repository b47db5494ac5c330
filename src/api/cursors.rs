//! Durable cursors of an instance: who has acknowledged what, and how far behind that is. Nothing is read for it.

use axum::Json;
use axum::extract::Query;
use axum::http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::hex;
use super::error::{ErrorBody, Refusal};
use super::parameters::limit;
use super::state::Named;
use crate::store::{ListedCursor, Store};
use crate::time::{Timestamp, moment};

/// Cursors of a page, unless told, and at most.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// Which cursors.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// At most so many cursors: 100 unless told, 1,000 at most
    limit: Option<String>,
    /// Goes on where an answer ended: its `next`
    cursor: Option<String>,
}

/// Durable cursors, in the order of their names.
#[derive(Serialize, ToSchema)]
pub(super) struct CursorsBody {
    cursors: Vec<CursorBody>,
    /// The `cursor` that goes on there; null at the end
    next: Option<String>,
}

/// A durable cursor.
#[derive(Serialize, ToSchema)]
pub(super) struct CursorBody {
    /// Its name; what is no UTF-8 in it is replaced
    name: String,
    /// The bytes of its name, in hex
    id: String,
    /// The timestamp that was acknowledged last, RFC 3339; null: it was lost to damage
    position: Option<String>,
    /// The same in microseconds since 1970
    position_micros: Option<u64>,
    /// By how much that is older than the newest entry
    lag_seconds: Option<f64>,
    /// Entries that came later: exactly if RAM suffices to tell, else at most so many
    lag_events: Option<u64>,
    /// Whether the position has reached the disk
    stored: bool,
}

impl CursorBody {
    #[expect(clippy::cast_precision_loss, reason = "JSON has floats")]
    fn of(cursor: ListedCursor, log: &dyn Store, newest: Timestamp) -> Self {
        let lag = |position| newest.micros_since(position) as f64 / 1e6;
        CursorBody {
            name: String::from_utf8_lossy(&cursor.name).into_owned(),
            id: hex(&cursor.name),
            position: cursor.position.map(moment::rfc3339),
            position_micros: cursor.position.map(Timestamp::micros),
            lag_seconds: cursor.position.map(lag),
            lag_events: cursor.position.and_then(|position| log.count_after(position)),
            stored: cursor.is_stored,
        }
    }
}

/// Lists durable cursors of an instance, with how far behind each is.
#[utoipa::path(
    get, path = "/api/v1/instances/{instance}/cursors",
    params(("instance" = String, Path, description = "Its name"), Parameters),
    responses(
        (status = 200, body = CursorsBody), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn cursors(
    Named(instance): Named,
    uri: Uri,
) -> Result<Json<CursorsBody>, Refusal> {
    let Query(parameters) = Query::<Parameters>::try_from_uri(&uri)?;
    let limit = limit(parameters.limit.as_deref(), DEFAULT_LIMIT, MAX_LIMIT)?;
    let after = parameters.cursor.as_deref().map(|text| {
        bytes(text).ok_or_else(|| Refusal::bad("cursor", "write the next of an answer"))
    });
    let listed = instance.cursors().list(after.transpose()?.as_deref(), limit + 1);
    let mut listed = listed.map_err(|_| {
        Refusal::busy("too_many_requests", "the positions of cursors cannot be read for now")
    })?;
    let has_more = listed.len() > limit;
    listed.truncate(limit);
    let next = listed.last().filter(|_| has_more).map(|last| hex(&last.name));
    let log = instance.log();
    let newest = log.committed().last.unwrap_or(Timestamp::MIN);
    let cursors = listed.into_iter().map(|it| CursorBody::of(it, log, newest)).collect();
    Ok(Json(CursorsBody { cursors, next }))
}

/// What is written as [`hex`].
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let is_hex = hex.len().is_multiple_of(2) && hex.bytes().all(|c| c.is_ascii_hexdigit());
    let two = |at| u8::from_str_radix(&hex[at..at + 2], 16).ok();
    is_hex.then(|| (0..hex.len()).step_by(2).map(two).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_name_survive_the_next_of_a_page() {
        for name in [&b""[..], b"shop", &[0, 255, 16]] {
            assert_eq!(bytes(&hex(name)).as_deref(), Some(name));
        }
        for text in ["0", "0g", "é0", "日本"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }
}
