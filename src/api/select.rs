//! What the parameters of a request select.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::Refusal;
use super::filter;
use super::route::Shared;
use crate::etf::text;
use crate::instance::Instance;
use crate::instance::reader::{Order, Selection};
use crate::match_spec::MatchSpec;
use crate::time::{Timestamp, moment};

/// Entries of one answer, unless told.
const DEFAULT_LIMIT: usize = 100;

/// Entries of one answer at most.
const MAX_LIMIT: usize = 10_000;

/// Bytes of records in one answer at most.
const MAX_PAGE_BYTES: usize = 16 << 20;

/// Which entries, in which order and form.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// Entries at or after this moment: `15m` (ago), RFC 3339, microseconds since 1970, `Mega.Sec.Micro`, `now`, `today`, `earliest`
    pub(super) from: Option<String>,
    /// Entries at or before this moment
    pub(super) to: Option<String>,
    /// At most so many entries: 100 unless told, 10,000 at most; without end where entries are streamed
    pub(super) limit: Option<String>,
    /// `asc`, oldest first, or `desc`
    pub(super) order: Option<String>,
    /// Goes on where an answer ended (its `next`), or right behind the entry with this timestamp
    pub(super) cursor: Option<String>,
    /// Events of this level or a more severe one: `emergency` to `debug`
    pub(super) level: Option<String>,
    /// Events of this node; `*` stands for anything
    pub(super) node: Option<String>,
    /// Events whose message, detail or text this regular expression finds
    pub(super) grep: Option<String>,
    /// Events that this match specification, written as an Erlang term, chooses, and what it makes of them
    pub(super) r#match: Option<String>,
    /// How events are written: `json`, or `text` for Erlang terms
    pub(super) format: Option<String>,
    /// Events of this kind: `log`, `crash`, `gen_server`, `supervisor`, `task`, `progress`, `alarm`, `dropped`
    pub(super) kind: Option<String>,
    /// Events of this module
    pub(super) module: Option<String>,
    /// Events of this process, as `<0.1.0>`
    pub(super) pid: Option<String>,
}

impl FromRequestParts<Shared> for Parameters {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Refusal> {
        let query = Query::<Parameters>::try_from_uri(&parts.uri);
        query.map(|Query(parameters)| parameters).map_err(|wrong| {
            let source = std::error::Error::source(&wrong).map(ToString::to_string);
            Refusal::bad("query", source.unwrap_or_else(|| wrong.to_string()))
        })
    }
}

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// As lossless JSON.
    Json,
    /// As Erlang text.
    Text,
}

/// What is to be read.
pub(super) struct Wanted {
    pub(super) selection: Selection,
    pub(super) format: Format,
    /// Whether many entries may have to be looked at for few.
    pub(super) is_search: bool,
}

impl Parameters {
    /// What a page holds.
    pub(super) fn page(&self, instance: &Instance) -> Result<Wanted, Refusal> {
        let mut wanted = self.wanted(instance, Timestamp::MIN)?;
        wanted.selection.max_entries = self.limit()?.unwrap_or(DEFAULT_LIMIT);
        if wanted.selection.max_entries > MAX_LIMIT {
            return Err(Refusal::bad(
                "limit",
                format!("at most {MAX_LIMIT}; go on with next, or ask for application/x-ndjson"),
            ));
        }
        wanted.selection.max_bytes = MAX_PAGE_BYTES;
        Ok(wanted)
    }

    /// What is streamed, from there on unless told.
    pub(super) fn stream(&self, instance: &Instance, begin: Timestamp) -> Result<Wanted, Refusal> {
        let mut wanted = self.wanted(instance, begin)?;
        wanted.selection.max_entries = self.limit()?.unwrap_or(usize::MAX);
        Ok(wanted)
    }

    fn limit(&self) -> Result<Option<usize>, Refusal> {
        let Some(limit) = &self.limit else { return Ok(None) };
        let limit = limit.parse().ok().filter(|limit| *limit > 0);
        limit.map(Some).ok_or_else(|| Refusal::bad("limit", "write a number from 1 on"))
    }

    fn wanted(&self, instance: &Instance, begin: Timestamp) -> Result<Wanted, Refusal> {
        let now = instance.clock().now();
        let next = instance.tail().next_stamp();
        let moment = |place: &str, text: &str| match text {
            "earliest" => Ok(Timestamp::MIN),
            // Behind everything there is, also where that is stamped ahead of the clock.
            "now" => Ok(next.max(now)),
            text => moment::parse(text, now).map_err(|wrong| Refusal::bad(place, wrong)),
        };
        let optional = |place: &str, text: &Option<String>| {
            text.as_deref().map(|text| moment(place, text)).transpose()
        };
        let (from, to) = (optional("from", &self.from)?, optional("to", &self.to)?);
        let cursor = optional("cursor", &self.cursor)?;
        let order = match self.order.as_deref() {
            None | Some("asc") => Order::Ascending,
            Some("desc") => Order::Descending,
            Some(_) => return Err(Refusal::bad("order", "write asc or desc")),
        };
        let format = match self.format.as_deref() {
            None | Some("json") => Format::Json,
            Some("text") => Format::Text,
            Some(_) => return Err(Refusal::bad("format", "write json or text")),
        };
        let from = from.unwrap_or(begin);
        let (from, to) = match (order, cursor) {
            (Order::Ascending, None) => (from, to),
            (Order::Ascending, Some(cursor)) => (cursor.next(), to),
            (Order::Descending, None) => (to.unwrap_or_else(|| next.max(now)), Some(from)),
            (Order::Descending, Some(cursor)) => (cursor.previous(), Some(from)),
        };
        let condition = filter::condition(self)?;
        let filter = self.r#match.as_deref().map(match_spec).transpose()?;
        let is_search = condition.is_some() || filter.is_some();
        let selection = Selection { order, to, condition, filter, ..Selection::starting(from) };
        Ok(Wanted { selection, format, is_search })
    }
}

/// Where a page goes on whose reader stands at `position`: the `cursor` that leads there.
pub(super) fn cursor(order: Order, position: Timestamp) -> Timestamp {
    match order {
        Order::Ascending => position.previous(),
        Order::Descending => position.next(),
    }
}

fn match_spec(written: &str) -> Result<MatchSpec, Refusal> {
    let bad = |message: String| Refusal::bad("match", message);
    let term = text::parse(written).map_err(|wrong| bad(wrong.to_string()))?;
    MatchSpec::compile(term.as_term(), Default::default()).map_err(|wrong| bad(wrong.to_string()))
}
