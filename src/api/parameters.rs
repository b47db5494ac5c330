//! The parameters that requests for entries have in common.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::Refusal;
use super::state::Shared;

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
