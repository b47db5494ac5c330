//! Rules, the alerts that fire, and silences.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{self, Extension, Path, Query};
use axum::http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::body;
use super::error::{ErrorBody, Refusal};
use super::faults::ending;
use super::state::Shared;
use crate::analysis::alert_event::{AlertEvent, MAX_TEXT_BYTES, Silence};
use crate::analysis::rule::{Condition, Rule};
use crate::etf::json;
use crate::time::{Timestamp, moment};
use crate::watchers::AlertWatcher;
use crate::watchers::rules::{Running, SilenceError};

/// Alerts of one answer, unless told, and at most.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 10_000;

/// The longest silence.
const MAX_SILENCE: Duration = Duration::from_secs(366 * 86_400);

/// Rules, all of them.
#[derive(Serialize, ToSchema)]
pub(super) struct RulesBody {
    rules: Vec<RuleBody>,
    /// Null: there are no more
    next: Option<String>,
}

/// A rule.
#[derive(Serialize, ToSchema)]
pub(super) struct RuleBody {
    name: String,
    /// The instance whose events, or faults, it is about
    instance: String,
    /// What it waits for, in words
    #[schema(example = "10 events of level error within 1m")]
    condition: String,
    /// A level of `logger`
    severity: &'static str,
    /// What people are told, if it is written
    text: Option<String>,
    /// Who is told
    #[schema(example = json!(["webhook:on_call"]))]
    notify: Vec<String>,
    /// Alerts that fire
    firing: u64,
    /// Events that it has taken
    events: u64,
    /// Alerts that fired so far
    fired: u64,
    /// Values of `by` that are known
    keys: u64,
    /// Entries stamped before this moment have been looked at, RFC 3339
    position: String,
    /// By how much that is older than the newest entry
    behind_seconds: f64,
}

impl RuleBody {
    #[expect(clippy::cast_precision_loss, reason = "JSON has floats")]
    fn of(running: &Running) -> Self {
        let rule = &running.rule;
        let progress = running.progress();
        RuleBody {
            name: rule.name.clone(),
            instance: rule.instance.clone(),
            condition: condition(rule),
            severity: rule.severity.as_str(),
            text: rule.text.clone(),
            notify: rule.notify.iter().map(ToString::to_string).collect(),
            firing: progress.firing,
            events: progress.tally.taken,
            fired: progress.tally.fired,
            keys: progress.keys,
            position: moment::rfc3339(progress.position),
            behind_seconds: running.behind_micros() as f64 / 1e6,
        }
    }
}

/// What a rule waits for, in words.
fn condition(rule: &Rule) -> String {
    let span = |micros| humantime::format_duration(Duration::from_micros(micros));
    let mut what = match rule.fault {
        Some(news) => format!("{} faults", news.as_str()),
        None => "events".to_owned(),
    };
    if let Some(level) = rule.level {
        what.push_str(&format!(" of level {} or worse", level.as_str()));
    }
    if rule.spec.is_some() {
        what.push_str(" that the match spec takes");
    }
    if let Some(grep) = &rule.grep {
        what.push_str(&format!(" with {grep} in them"));
    }
    let mut text = match rule.condition {
        Condition::Count { count, within } => format!("{count} {what} within {}", span(within)),
        Condition::Absent { after } => format!("no {what} for {}", span(after)),
    };
    if rule.hold > 0 {
        text.push_str(&format!(", for {}", span(rule.hold)));
    }
    text
}

/// Which alerts.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct Parameters {
    /// Alerts of this rule
    rule: Option<String>,
    /// At most so many: 100 unless told, 10,000 at most
    limit: Option<String>,
    /// Goes on where an answer ended: its `next`
    cursor: Option<String>,
}

/// Alerts that fire, the latest first, and where to go on.
#[derive(Serialize, ToSchema)]
pub(super) struct AlertsBody {
    alerts: Vec<AlertBody>,
    /// The `cursor` that goes on there; null at the end
    next: Option<String>,
}

/// An alert that fires.
#[derive(Serialize, ToSchema)]
pub(super) struct AlertBody {
    /// 16 hexadecimal digits
    #[schema(example = "5f0c7a9be1c2d344")]
    id: String,
    rule: String,
    /// `firing`
    state: &'static str,
    severity: &'static str,
    /// The instance whose events it is about
    instance: String,
    /// What this alert is of, where the rule has one for each value
    #[schema(value_type = Option<Object>)]
    by: Option<Box<RawValue>>,
    text: String,
    /// Events that made it fire
    count: u64,
    /// Since when, RFC 3339
    at: String,
    /// The same, in microseconds since 1970
    micros: u64,
    /// The timestamp of the last event that made it fire
    entry: Option<String>,
    /// What was different in its stretch of time
    explanation: Option<String>,
    /// Whether a silence holds for it
    silenced: bool,
}

impl AlertBody {
    fn of(alert: &AlertEvent, silenced: bool) -> Self {
        let by = alert.by.as_ref().map(|by| json::to_json(by.as_term()));
        AlertBody {
            id: alert.id.to_string(),
            rule: alert.rule.clone(),
            state: alert.phase.as_str(),
            severity: alert.severity.as_str(),
            instance: alert.instance.clone(),
            by: by.map(|by| RawValue::from_string(by).expect("it is JSON")),
            text: alert.text.clone(),
            count: alert.count,
            at: moment::rfc3339(alert.at),
            micros: alert.at.micros(),
            entry: alert.entry.map(moment::rfc3339),
            explanation: alert.explanation.clone(),
            silenced,
        }
    }
}

/// Silences that hold, all of them.
#[derive(Serialize, ToSchema)]
pub(super) struct SilencesBody {
    silences: Vec<SilenceBody>,
    /// Null: there are no more
    next: Option<String>,
}

/// A silence.
#[derive(Serialize, ToSchema)]
pub(super) struct SilenceBody {
    id: String,
    /// Of alerts of this rule; null: of all
    rule: Option<String>,
    /// Of alerts of this value of `by`; null: of all
    by: Option<String>,
    /// Until when, RFC 3339
    until: String,
    /// Who set it
    who: String,
    reason: String,
}

impl SilenceBody {
    fn of(silence: &Silence) -> Self {
        let Silence { id, rule, by, until, who, reason } = silence.clone();
        SilenceBody { id, rule, by, until: moment::rfc3339(until), who, reason }
    }
}

/// What is to be silent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSilenceBody {
    /// Alerts of this rule; all, if it is left out
    rule: Option<String>,
    /// Alerts of this value of `by`, as a node's name; all, if it is left out
    by: Option<String>,
    /// Until this moment, RFC 3339
    until: Option<String>,
    /// Or for so long, as `2h`
    r#for: Option<String>,
    /// Why
    #[serde(default)]
    reason: String,
}

/// What keeps the alerts, if they are kept.
fn watcher(state: &Shared) -> Result<&AlertWatcher, Refusal> {
    state.alerts.as_deref().ok_or_else(|| Refusal::not_found("this node keeps no alerts"))
}

/// Lists rules.
#[utoipa::path(
    get, path = "/api/v1/rules",
    responses((status = 200, body = RulesBody), (status = 404, body = ErrorBody))
)]
pub(super) async fn rules(
    extract::State(state): extract::State<Shared>,
) -> Result<Json<RulesBody>, Refusal> {
    let running = watcher(&state)?.rules.running();
    Ok(Json(RulesBody { rules: running.iter().map(|it| RuleBody::of(it)).collect(), next: None }))
}

/// Lists the alerts that fire. What was is in the instance `alerts`.
#[utoipa::path(
    get, path = "/api/v1/alerts", params(Parameters),
    responses((status = 200, body = AlertsBody), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody))
)]
pub(super) async fn alerts(
    extract::State(state): extract::State<Shared>,
    uri: Uri,
) -> Result<Json<AlertsBody>, Refusal> {
    let Query(parameters) = Query::<Parameters>::try_from_uri(&uri)?;
    let rules = &watcher(&state)?.rules;
    let limit = super::parameters::limit(parameters.limit.as_deref(), DEFAULT_LIMIT, MAX_LIMIT)?;
    let mut firing = rules.firing();
    firing.retain(|alert| parameters.rule.as_ref().is_none_or(|rule| *rule == alert.rule));
    firing.sort_by_key(|alert| (std::cmp::Reverse(alert.at), alert.id));
    if let Some(cursor) = &parameters.cursor {
        let wrong = || Refusal::bad("cursor", "write the next of an answer");
        let (at, id) = cursor.split_once('-').ok_or_else(wrong)?;
        let at = at.parse().map(Timestamp::from_micros).map_err(|_| wrong())?;
        let place = |alert: &Arc<AlertEvent>| (std::cmp::Reverse(alert.at), alert.id.to_string());
        firing.retain(|alert| place(alert) > (std::cmp::Reverse(at), id.to_owned()));
    }
    let is_more = firing.len() > limit;
    firing.truncate(limit);
    let next = firing.last().filter(|_| is_more);
    let next = next.map(|alert| format!("{}-{}", alert.at.micros(), alert.id));
    let (silences, now) = (rules.silences(), state.clock.now());
    let body = |alert: &Arc<AlertEvent>| AlertBody::of(alert, silences.quiet(alert, now));
    Ok(Json(AlertsBody { alerts: firing.iter().map(body).collect(), next }))
}

/// Lists the silences that hold.
#[utoipa::path(
    get, path = "/api/v1/silences",
    responses((status = 200, body = SilencesBody), (status = 404, body = ErrorBody))
)]
pub(super) async fn silences(
    extract::State(state): extract::State<Shared>,
) -> Result<Json<SilencesBody>, Refusal> {
    let silences = watcher(&state)?.rules.silences();
    let silences = silences.holding(state.clock.now()).map(SilenceBody::of).collect();
    Ok(Json(SilencesBody { silences, next: None }))
}

/// Quiets alerts for a time.
///
/// They fire and are recorded all the same; nobody is told of them before it is over. The silence is an event of the instance
/// `alerts` before this answers.
#[utoipa::path(
    post, path = "/api/v1/silences", request_body = NewSilenceBody,
    responses(
        (status = 201, body = SilenceBody), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 408, body = ErrorBody), (status = 413, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn silence(
    extract::State(state): extract::State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<(StatusCode, Json<SilenceBody>), Refusal> {
    let rules = &watcher(&state)?.rules;
    let NewSilenceBody { rule, by, until, r#for, reason } = body::json(body).await?;
    if let Some(rule) = &rule
        && !rules.running().iter().any(|running| running.rule.name == *rule)
    {
        return Err(Refusal::bad("rule", format!("there is no rule {rule}")));
    }
    let now = state.clock.now();
    let until = ending(until.as_deref(), r#for.as_deref(), now)?
        .ok_or_else(|| Refusal::bad("until", "write until or for: a silence has an end"))?;
    if until > now.saturating_add(MAX_SILENCE) {
        return Err(Refusal::bad("until", "a silence lasts a year at most"));
    }
    if reason.len() > MAX_TEXT_BYTES || by.as_ref().is_some_and(|by| by.len() > MAX_TEXT_BYTES) {
        return Err(Refusal::bad("body", format!("texts of at most {MAX_TEXT_BYTES} bytes")));
    }
    let silence =
        Silence { id: random_id(), rule, by, until, who: caller.name.to_string(), reason };
    let body = SilenceBody::of(&silence);
    rules.silence(silence).await.map_err(refused)?;
    Ok((StatusCode::CREATED, Json(body)))
}

/// Ends a silence before its time.
#[utoipa::path(
    delete, path = "/api/v1/silences/{id}", params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 204, description = "It is over"), (status = 404, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn lift_silence(
    extract::State(state): extract::State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    watcher(&state)?.rules.lift(&id, &caller.name).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

fn refused(error: SilenceError) -> Refusal {
    match error {
        SilenceError::Unknown(_) => Refusal::not_found("there is no such silence").at("id"),
        SilenceError::Append(error) => error.into(),
        error => Refusal::busy("not_recorded", error.to_string()),
    }
}

/// 16 hexadecimal digits.
fn random_id() -> String {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the system gives random numbers");
    format!("{:016x}", u64::from_be_bytes(bytes))
}
