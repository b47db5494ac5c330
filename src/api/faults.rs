//! Faults: which there are, one of them with entries, and what people decide about them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{self, Extension, Path, Query};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::body;
use super::entries::{MAX_JSON_BYTES, page_in};
use super::entry::{EntrySchema, Format, write_entry};
use super::error::{ErrorBody, Refusal};
use super::state::{Searching, Shared};
use crate::analysis::fault::{Decision, Fault, State, Version};
use crate::analysis::fingerprint::FaultId;
use crate::analysis::series::Series;
use crate::instance::read;
use crate::instance::reader::{Selected, Taken};
use crate::instance::search::Collect;
use crate::time::{Timestamp, moment};
use crate::watchers::faults::{DecideError, FaultQuery, FaultWatcher, Sort};

/// Faults of one answer, unless told.
const DEFAULT_LIMIT: usize = 100;

/// Faults of one answer at most.
const MAX_LIMIT: usize = 10_000;

/// Minutes whose counts a list shows.
const MINUTES: u64 = 60;

/// And so many hours.
const HOURS: u64 = 24;

/// Both in microseconds.
const MINUTE: u64 = 60_000_000;
const HOUR: u64 = 60 * MINUTE;

/// Which faults.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct Parameters {
    /// Faults in this state, or in one of several with commas between them: `new`, `ongoing`, `regressed`, `resolved`, `muted`
    state: Option<String>,
    /// Faults of this instance
    instance: Option<String>,
    /// Faults that were last seen at or after this moment
    from: Option<String>,
    /// Faults that were first seen at or before this moment
    to: Option<String>,
    /// What comes first: `last_seen`, the latest, unless told; `first_seen`; `count`, the most frequent
    sort: Option<String>,
    /// At most so many: 100 unless told, 10,000 at most
    limit: Option<String>,
    /// Goes on where an answer ended: its `next`
    cursor: Option<String>,
}

/// Faults, and where to go on.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes what is written by hand")]
pub(super) struct FaultsBody {
    faults: Vec<FaultBody>,
    /// The `cursor` that goes on there; null at the end
    next: Option<String>,
}

/// A fault.
#[derive(Serialize, ToSchema)]
pub(super) struct FaultBody {
    /// 16 hexadecimal digits
    #[schema(example = "5f0c7a9be1c2d344")]
    id: String,
    /// The instance whose log has its entries
    instance: String,
    /// What people call it
    #[schema(example = "{badmatch,{error,enoent}} in shop_cart:load/1")]
    title: String,
    /// `new`, `ongoing`, `regressed`, `resolved` or `muted`
    state: &'static str,
    /// Since when
    state_since: String,
    /// Who decided it, if somebody did
    by: Option<String>,
    /// Until when it is muted
    until: Option<String>,
    /// Whether it is resolved in versions that it was not seen in
    in_next_version: bool,
    /// What its first report was about: `crash`, `gen_server`, `log` and so on
    kind: &'static str,
    /// The severest of its levels
    level: &'static str,
    /// How often it occurred
    count: u64,
    first_seen: String,
    last_seen: String,
    first_seen_micros: u64,
    last_seen_micros: u64,
    /// How often it occurred in each of the last 60 minutes, the oldest first
    last_hour: Vec<u64>,
    /// The same for the last 24 hours
    last_day: Vec<u64>,
    /// How often on which node
    nodes: BTreeMap<String, u64>,
    /// The modules it comes up in
    modules: BTreeSet<String>,
    /// The version it was first seen in
    first_version: Option<VersionBody>,
    /// The version it was last seen in
    last_version: Option<VersionBody>,
    /// Timestamps of entries: the first one, and the latest
    samples: Vec<String>,
    /// The version of the algorithm that tells it from others
    algorithm: u32,
}

/// A version of an application.
#[derive(Serialize, ToSchema)]
pub(super) struct VersionBody {
    application: String,
    version: String,
}

/// How often in a stretch of time.
#[derive(Serialize, ToSchema)]
pub(super) struct CountBody {
    /// Where it begins, RFC 3339
    ts: String,
    count: u64,
}

/// A fault with all that is known of it.
#[derive(Serialize, ToSchema)]
pub(super) struct WholeFaultBody {
    #[serde(flatten)]
    fault: FaultBody,
    /// All versions it was seen in
    versions: Vec<VersionBody>,
    /// By minute, for 24 hours; minutes without any are left out
    minutes: Vec<CountBody>,
    /// By hour, for 30 days
    hours: Vec<CountBody>,
    /// The entries that `samples` names, as far as they are still in the log and come to 16 MiB at most
    #[schema(value_type = Vec<EntrySchema>)]
    entries: Vec<Box<RawValue>>,
}

/// What somebody decides about a fault.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DecisionBody {
    /// `resolved`, `muted` or `ongoing`
    state: String,
    /// For `muted`: until this moment, RFC 3339
    until: Option<String>,
    /// For `muted`: for so long, as `2h`
    r#for: Option<String>,
    /// For `resolved`: in versions that it was not seen in; in those it may go on to occur
    #[serde(default)]
    in_next_version: bool,
}

impl From<&Version> for VersionBody {
    fn from(version: &Version) -> Self {
        let Version { application, version } = version.clone();
        VersionBody { application, version }
    }
}

impl FaultBody {
    fn of(instance: &str, fault: &Fault, now: Timestamp) -> Self {
        FaultBody {
            id: fault.id.to_string(),
            instance: instance.to_owned(),
            title: fault.title.clone(),
            state: fault.state(now).as_str(),
            state_since: moment::rfc3339(fault.since),
            by: fault.by.clone(),
            until: fault.until.map(moment::rfc3339),
            in_next_version: fault.in_next_version,
            kind: fault.kind.as_str(),
            level: fault.level.as_str(),
            count: fault.count,
            first_seen: moment::rfc3339(fault.first_seen),
            last_seen: moment::rfc3339(fault.last_seen),
            first_seen_micros: fault.first_seen.micros(),
            last_seen_micros: fault.last_seen.micros(),
            last_hour: lately(&fault.minutes, MINUTE, MINUTES, now),
            last_day: lately(&fault.hours, HOUR, HOURS, now),
            nodes: fault.nodes.clone(),
            modules: fault.modules.clone(),
            first_version: fault.first_version.as_ref().map(Into::into),
            last_version: fault.last_version.as_ref().map(Into::into),
            samples: fault.samples.iter().map(|at| moment::rfc3339(*at)).collect(),
            algorithm: fault.algorithm,
        }
    }
}

/// How often it occurred in each of the last steps of so many microseconds.
fn lately(series: &Series, step: u64, steps: u64, now: Timestamp) -> Vec<u64> {
    let begin = now.micros() / step + 1 - steps;
    let mut counts = vec![0; usize::try_from(steps).expect("it is small")];
    for (at, count) in series.since(Timestamp::from_micros(begin * step)) {
        let number = usize::try_from(at.micros() / step - begin).unwrap_or(usize::MAX);
        // One that is stamped ahead of the clock is of the last step.
        let number = number.min(counts.len() - 1);
        counts[number] += count;
    }
    counts
}

/// What keeps the faults, if they are kept.
fn watcher(state: &Shared) -> Result<&Arc<FaultWatcher>, Refusal> {
    state.faults.as_ref().ok_or_else(|| Refusal::not_found("this node keeps no faults"))
}

/// A caller's turn, and room for what it is answered, before there is anything to hold.
async fn turn(
    state: &Shared,
    caller: &Caller,
) -> Result<(Searching, OwnedSemaphorePermit), Refusal> {
    let searching = state.search(caller)?;
    Ok((searching, state.pages.room(MAX_JSON_BYTES as u64).await?))
}

/// Lists faults.
///
/// A page ends after its limit, or 16 MiB.
#[utoipa::path(
    get, path = "/api/v1/faults", params(Parameters),
    responses(
        (status = 200, body = FaultsBody), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 429, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn faults(
    extract::State(state): extract::State<Shared>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let Query(parameters) = Query::<Parameters>::try_from_uri(&uri)?;
    let faults = watcher(&state)?;
    let now = state.clock.now();
    let moment = |place: &str, text: &Option<String>| match text.as_deref() {
        None => Ok(None),
        Some("earliest") => Ok(Some(Timestamp::MIN)),
        Some(text) => {
            moment::parse(text, now).map(Some).map_err(|wrong| Refusal::bad(place, wrong))
        }
    };
    let sort = parameters.sort.as_deref().unwrap_or("last_seen");
    let limit = super::parameters::limit(parameters.limit.as_deref(), DEFAULT_LIMIT, MAX_LIMIT)?;
    let query = FaultQuery {
        states: parameters.state.as_deref().map(states).transpose()?,
        from: moment("from", &parameters.from)?.unwrap_or(Timestamp::MIN),
        to: moment("to", &parameters.to)?.unwrap_or(Timestamp::MAX),
        sort: Sort::named(sort)
            .ok_or_else(|| Refusal::bad("sort", "write last_seen, first_seen or count"))?,
        after: parameters.cursor.as_deref().map(cursor).transpose()?,
        limit,
        instance: parameters.instance,
    };
    if let Some(instance) = &query.instance {
        state.instance(instance)?;
    }
    let (_searching, room) = turn(&state, &caller).await?;
    faults.catch_up().await;
    let faults = faults.clone();
    let page = tokio::task::spawn_blocking(move || page(&faults, &query, now, MAX_JSON_BYTES));
    Ok(page_in(room, page.await.expect("listing does not panic")))
}

/// Faults up to so many bytes, but one at least.
fn page(faults: &FaultWatcher, query: &FaultQuery, now: Timestamp, max_bytes: usize) -> String {
    let mut json = r#"{"faults":["#.to_owned();
    let empty = json.len();
    let next = faults.list(query, now, |instance, fault| {
        let body = serde_json::to_string(&FaultBody::of(instance, fault, now));
        let body = body.expect("it is plain data");
        let is_first = json.len() == empty;
        if !is_first {
            if json.len() + body.len() > max_bytes {
                return false;
            }
            json.push(',');
        }
        json.push_str(&body);
        true
    });
    match next {
        Some((key, id)) => json.push_str(&format!(r#"],"next":"{key}-{id}"}}"#)),
        None => json.push_str(r#"],"next":null}"#),
    }
    json
}

fn states(text: &str) -> Result<Vec<State>, Refusal> {
    let named = |name: &str| {
        let names = || State::ALL.map(State::as_str).join(", ");
        State::named(name).ok_or_else(|| Refusal::bad("state", format!("write one of {}", names())))
    };
    text.split(',').map(str::trim).map(named).collect()
}

fn cursor(text: &str) -> Result<(u64, FaultId), Refusal> {
    let parse = || {
        let (key, id) = text.split_once('-')?;
        Some((key.parse().ok()?, FaultId::parse(id)?))
    };
    parse().ok_or_else(|| Refusal::bad("cursor", "write the next of an answer"))
}

/// One fault, with entries of it.
#[utoipa::path(
    get, path = "/api/v1/faults/{id}", params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 200, body = WholeFaultBody), (status = 404, body = ErrorBody), (status = 429, body = ErrorBody),
        (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn fault(
    extract::State(state): extract::State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let faults = watcher(&state)?;
    let (_searching, room) = turn(&state, &caller).await?;
    faults.catch_up().await;
    let (instance, fault) = FaultId::parse(&id)
        .and_then(|id| faults.find(id))
        .ok_or_else(|| Refusal::not_found("there is no such fault").at("id"))?;
    whole(&state, room, &instance, &fault).await
}

async fn whole(
    state: &Shared,
    room: OwnedSemaphorePermit,
    name: &str,
    fault: &Fault,
) -> Result<Response, Refusal> {
    let instance = state.instance(name)?;
    let (mut entries, mut left) = (Vec::new(), MAX_JSON_BYTES);
    for at in &fault.samples {
        let json = read::at(instance, *at, Written::default()).await?.0;
        let Some(json) = json.filter(|json| json.len() <= left) else { continue };
        left -= json.len();
        entries.push(RawValue::from_string(json).expect("it was written as JSON"));
    }
    let counts = |(at, count)| CountBody { ts: moment::rfc3339(at), count };
    let body = WholeFaultBody {
        fault: FaultBody::of(name, fault, state.clock.now()),
        versions: fault.versions.iter().map(Into::into).collect(),
        minutes: fault.minutes.since(Timestamp::MIN).map(counts).collect(),
        hours: fault.hours.since(Timestamp::MIN).map(counts).collect(),
        entries,
    };
    Ok(page_in(room, serde_json::to_string(&body).expect("it is plain data")))
}

/// Writes the one entry.
#[derive(Default)]
struct Written(Option<String>);

impl Collect for Written {
    fn take(&mut self, entry: &Selected<'_>) -> Taken {
        let mut json = String::new();
        write_entry(&mut json, entry, Format::Json);
        self.0 = Some(json);
        Taken::Enough
    }
}

/// Decides about a fault.
///
/// The decision is an event of the instance `faults` before this answers.
#[utoipa::path(
    patch, path = "/api/v1/faults/{id}", params(("id" = String, Path, description = "Its id")),
    request_body = DecisionBody,
    responses(
        (status = 200, body = WholeFaultBody), (status = 202, description = "It is recorded, and shows later"),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 408, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 429, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn decide(
    extract::State(state): extract::State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Refusal> {
    let faults = watcher(&state)?;
    let id =
        FaultId::parse(&id).ok_or_else(|| Refusal::not_found("there is no such fault").at("id"))?;
    let body: DecisionBody = body::json(body).await?;
    let decision = decision(id, &body, &caller.name, state.clock.now())?;
    let (_searching, room) = turn(&state, &caller).await?;
    match faults.decide(decision).await {
        Ok((instance, fault)) => whole(&state, room, &instance, &fault).await,
        Err(DecideError::Unknown(_)) => Err(Refusal::not_found("there is no such fault").at("id")),
        Err(DecideError::Append(error)) => Err(error.into()),
        Err(error @ DecideError::Stuck) => Err(Refusal::busy("not_recorded", error.to_string())),
        Err(DecideError::Behind) => Ok(StatusCode::ACCEPTED.into_response()),
    }
}

fn decision(
    id: FaultId,
    body: &DecisionBody,
    by: &str,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let state = match State::named(&body.state) {
        Some(state @ (State::Ongoing | State::Resolved | State::Muted)) => state,
        _ => return Err(Refusal::bad("state", "write resolved, muted or ongoing")),
    };
    if state != State::Muted && (body.until.is_some() || body.r#for.is_some()) {
        let place = if body.until.is_some() { "until" } else { "for" };
        return Err(Refusal::bad(place, "only what is muted has an end"));
    }
    let until = ending(body.until.as_deref(), body.r#for.as_deref(), now)?;
    if body.in_next_version && state != State::Resolved {
        return Err(Refusal::bad("in_next_version", "it goes with resolved"));
    }
    let by = by.to_owned();
    Ok(Decision { id, state, by, until, in_next_version: body.in_next_version, seen: None })
}

/// When something ends: at a moment, or so long from now on; `None` if that is not said.
pub(super) fn ending(
    until: Option<&str>,
    span: Option<&str>,
    now: Timestamp,
) -> Result<Option<Timestamp>, Refusal> {
    match (until, span) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Refusal::bad("until", "write until or for")),
        (Some(text), None) => {
            let until = moment::parse(text, now).map_err(|wrong| Refusal::bad("until", wrong))?;
            // `2h` is a moment of the past; who writes it wants a span.
            if until <= now {
                let over =
                    format!("{} is over; a span from now on is `for`", moment::rfc3339(until));
                return Err(Refusal::bad("until", over));
            }
            Ok(Some(until))
        }
        (None, Some(span)) => {
            let span = humantime::parse_duration(span).ok().filter(|span| !span.is_zero());
            let span = span.ok_or_else(|| Refusal::bad("for", "write 30m, 2h, 7d"))?;
            Ok(Some(now.saturating_add(span)))
        }
    }
}
