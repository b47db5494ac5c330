//! The parameters that requests for entries have in common.

use std::fmt;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::Refusal;
use super::state::Shared;
use crate::watchers::faults::FaultWatcher;

/// Who knows the faults, if they are kept.
#[derive(Clone, Default)]
pub(super) struct Faults(pub(super) Option<Arc<FaultWatcher>>);

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "kept" } else { "not kept" })
    }
}

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
    /// How events are written: `json`, `text` for Erlang terms, or `brief` for lists: the view without detail and stack trace,
    /// texts up to 512 bytes, and the event, as text, only where there is no view
    pub(super) format: Option<String>,
    /// Events of this kind: `log`, `crash`, `gen_server`, `supervisor`, `task`, `progress`, `alarm`, `dropped`
    pub(super) kind: Option<String>,
    /// Events of this module
    pub(super) module: Option<String>,
    /// Events of this process, as `<0.1.0>`
    pub(super) pid: Option<String>,
    /// Errors of the fault with this id, by what they tell themselves
    pub(super) fault: Option<String>,
    /// Who knows the faults.
    #[serde(skip)]
    #[param(ignore)]
    pub(super) faults: Faults,
}

impl FromRequestParts<Shared> for Parameters {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Refusal> {
        let Query(parameters) = Query::<Parameters>::try_from_uri(&parts.uri)?;
        Ok(Parameters { faults: Faults(state.faults.clone()), ..parameters })
    }
}

/// How many to list: a number from 1 to `most`, or what is usual.
pub(super) fn limit(written: Option<&str>, usual: usize, most: usize) -> Result<usize, Refusal> {
    let Some(written) = written else { return Ok(usual) };
    let limit = written.parse().ok().filter(|limit| (1..=most).contains(limit));
    limit.ok_or_else(|| Refusal::bad("limit", format!("write a number from 1 to {most}")))
}
