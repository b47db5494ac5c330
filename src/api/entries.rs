//! Reading entries: a page, or all that is selected as lines of JSON or as records.

use std::convert::Infallible;
use std::fmt::Write;

use axum::body::{Body, Bytes};
use axum::extract::{self, Extension};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;

use super::ETF;
use super::access::Caller;
use super::entry::{EntrySchema, Format, write_entry};
use super::error::{ErrorBody, Refusal};
use super::parameters::Parameters;
use super::select::{Wanted, cursor};
use super::state::{Memory, Named, Shared};
use super::stream::{Shape, stream_body};
use crate::instance::read;
use crate::instance::reader::{Selected, Taken};
use crate::instance::search::Collect;
use crate::time::Timestamp;

/// Lines of JSON.
const NDJSON: &str = "application/x-ndjson";

/// Entries, and where to go on.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes what is written by hand")]
pub(super) struct EntriesSchema {
    /// In the order that was asked for
    entries: Vec<EntrySchema>,
    /// The `cursor` that goes on there; null where nothing more can come
    next: Option<String>,
}

/// Reads entries.
///
/// A page ends after its limit, 16 MiB of records, or 2 s of looking; `next` is there also at the newest entry, so that a
/// poller goes on from it. With `Accept: application/x-ndjson` or `application/x-erlang-etf` everything selected follows.
#[utoipa::path(
    get, path = "/api/v1/instances/{instance}/entries",
    params(("instance" = String, Path, description = "Its name"), Parameters),
    responses(
        (status = 200, description = "Entries", content(
            (EntriesSchema = "application/json"), (EntrySchema = "application/x-ndjson"), (Vec<u8> = "application/x-erlang-etf"),
        )),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 429, body = ErrorBody),
        (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn read(
    extract::State(state): extract::State<Shared>,
    Extension(caller): Extension<Caller>,
    Named(instance): Named,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let shape = match accepted(&headers) {
        Accepted::Page => None,
        Accepted::Lines => Some((Shape::Lines, NDJSON)),
        Accepted::Records => Some((Shape::Records, ETF)),
        Accepted::Nothing => {
            let message = format!("there is application/json, {NDJSON} and {ETF}");
            return Err(
                Refusal::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", message).at("Accept")
            );
        }
    };
    let Some((shape, content_type)) = shape else {
        let wanted = parameters.page(&instance)?;
        let _searching = if wanted.is_search { Some(state.search(&caller)?) } else { None };
        let Wanted { selection, format, .. } = wanted;
        let order = selection.order;
        let is_settled = read::settled(&instance, &selection).await;
        // Before there is anything to hold.
        let room = state.pages.room(MAX_JSON_BYTES as u64).await?;
        let page = PageBody::new(format);
        let found = read::collect(&instance, selection, is_settled, page).await?;
        let json = found.into.finish(found.later.map(|position| cursor(order, position)));
        return Ok(page_in(room, json));
    };
    let wanted = parameters.stream(&instance, Timestamp::MIN)?;
    let searching = state.search(&caller)?;
    read::settled(&instance, &wanted.selection).await;
    let stream = stream_body(&state, &instance, wanted, shape, false, Some(searching))?;
    Ok(([(header::CONTENT_TYPE, content_type)], Body::from_stream(stream)).into_response())
}

/// An answer whose bytes count among those of all pages until they are sent.
pub(super) fn page_in(mut room: OwnedSemaphorePermit, json: String) -> Response {
    Memory::keep(&mut room, json.len() as u64);
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CONTENT_LENGTH, json.len().to_string()),
    ];
    let parts = stream::unfold((Bytes::from(json), room), async |(mut left, room)| {
        let part = left.split_to(left.len().min(PART_BYTES));
        (!part.is_empty()).then_some((Ok::<_, Infallible>(part), (left, room)))
    });
    (headers, Body::from_stream(parts)).into_response()
}

/// Bytes of a page's JSON; it ends before the entry that would be beyond.
pub(super) const MAX_JSON_BYTES: usize = 16 << 20;

/// Bytes of a page that the connection is given at once.
const PART_BYTES: usize = 64 << 10;

enum Accepted {
    Page,
    Lines,
    Records,
    Nothing,
}

/// What the sender takes. The first kind it names that there is counts: nobody weighs these against each other.
fn accepted(headers: &HeaderMap) -> Accepted {
    let mut named = headers
        .get_all(header::ACCEPT)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|kind| kind.split(';').next().unwrap_or_default().trim())
        .peekable();
    if named.peek().is_none() {
        return Accepted::Page;
    }
    for kind in named {
        match kind {
            NDJSON => return Accepted::Lines,
            ETF => return Accepted::Records,
            "application/json" | "application/*" | "*/*" | "text/html" | "" => {
                return Accepted::Page;
            }
            _ => {}
        }
    }
    Accepted::Nothing
}

/// A page that is being written.
struct PageBody {
    json: String,
    format: Format,
    is_empty: bool,
}

impl PageBody {
    fn new(format: Format) -> Self {
        PageBody { json: r#"{"entries":["#.to_owned(), format, is_empty: true }
    }

    fn finish(mut self, next: Option<Timestamp>) -> String {
        match next {
            Some(next) => {
                write!(self.json, r#"],"next":"{}"}}"#, next.micros())
                    .expect("strings take everything");
            }
            None => self.json.push_str(r#"],"next":null}"#),
        }
        self.json
    }
}

impl Collect for PageBody {
    fn take(&mut self, entry: &Selected<'_>) -> Taken {
        if self.json.len() > MAX_JSON_BYTES {
            return Taken::Not;
        }
        if !std::mem::replace(&mut self.is_empty, false) {
            self.json.push(',');
        }
        write_entry(&mut self.json, entry, self.format);
        Taken::More
    }
}
