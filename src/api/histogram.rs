//! How many entries there were, step by step.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{self, Extension, Query};
use axum::http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::error::{ErrorBody, Refusal};
use super::parameters::{Faults, Parameters};
use super::state::{Named, Shared};
use crate::instance::read;
use crate::instance::reader::{Selected, Taken};
use crate::instance::search::{Collect, Search, Step};
use crate::time::{Timestamp, moment};

/// Steps in one answer at most.
const MAX_STEPS: u64 = 10_000;

/// Into how many steps a stretch of time is divided, unless told.
const STEPS: u64 = 60;

/// Different values in one answer; others are counted together, as `...`.
const MAX_VALUES: usize = 100;

/// The parameters of a histogram beside those of a selection.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct Steps {
    /// How long a step is, as `10s` or `5m`; a 60th of the stretch unless told
    step: Option<String>,
    /// What to tell apart: `level` or `node`
    by: Option<String>,
}

/// Counts.
#[derive(Serialize, ToSchema)]
pub(super) struct HistogramBody {
    /// How long a step is, in microseconds
    step_micros: u64,
    /// Oldest first, empty ones too
    histogram: Vec<StepBody>,
    /// Always null: there is one page
    next: Option<String>,
}

/// One step.
#[derive(Serialize, ToSchema)]
pub(super) struct StepBody {
    /// Where it begins, RFC 3339
    ts: String,
    /// The same in microseconds since 1970
    micros: u64,
    /// Entries in it
    count: u64,
    /// How many of each value, if values are told apart
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<BTreeMap<String, u64>>,
}

/// What is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Level,
    Node,
}

/// Counts entries, step by step.
///
/// From `from`, an hour ago unless told, to `to`, now unless told. It looks at every entry in between that is selected.
#[utoipa::path(
    get, path = "/api/v1/instances/{instance}/histogram",
    params(("instance" = String, Path, description = "Its name"), Steps, Parameters),
    responses(
        (status = 200, body = HistogramBody), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 429, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn histogram(
    extract::State(state): extract::State<Shared>,
    Extension(caller): Extension<Caller>,
    Named(instance): Named,
    uri: Uri,
) -> Result<Json<HistogramBody>, Refusal> {
    let (steps, mut parameters) = parse(&uri)?;
    parameters.faults = Faults(state.faults.clone());
    if parameters.order.is_some() || parameters.cursor.is_some() || parameters.limit.is_some() {
        return Err(Refusal::bad("query", "a histogram knows no order, cursor or limit"));
    }
    parameters.from.get_or_insert_with(|| "1h".to_owned());
    parameters.to.get_or_insert_with(|| "now".to_owned());
    let by = match steps.by.as_deref() {
        None => None,
        Some("level") => Some(By::Level),
        Some("node") => Some(By::Node),
        Some(_) => return Err(Refusal::bad("by", "write level or node")),
    };
    let mut wanted = parameters.stream(&instance, Timestamp::MIN)?;
    let Some((first, _)) = instance.log().interval() else {
        return Ok(Json(HistogramBody { step_micros: 0, histogram: Vec::new(), next: None }));
    };
    // Before the first entry there is nothing to count.
    let from = wanted.selection.from.max(first);
    let to = wanted.selection.to.expect("set above").max(from);
    wanted.selection.from = from;
    let span = to.micros_since(from) + 1;
    let step = match &steps.step {
        None => span.div_ceil(STEPS).max(1),
        Some(step) => {
            let step = humantime::parse_duration(step).ok();
            let micros = step.and_then(|step| u64::try_from(step.as_micros()).ok());
            micros
                .filter(|micros| *micros > 0)
                .ok_or_else(|| Refusal::bad("step", "write 10s, 5m, 1h"))?
        }
    };
    // Steps begin where clocks show round numbers.
    let begin = if steps.step.is_some() { from.micros() / step * step } else { from.micros() };
    let count = (to.micros() - begin) / step + 1;
    if count > MAX_STEPS {
        return Err(Refusal::bad("step", format!("these are {count} steps, limit is {MAX_STEPS}")));
    }
    let counts = Counts { begin, step, by, steps: Vec::new(), values: Vec::new() };
    let _searching = state.search(&caller)?;
    read::settled(&instance, &wanted.selection).await;
    let mut search = Search::new(&instance, wanted.selection, counts)?;
    while search.step_near().await? == Step::More {
        tokio::task::consume_budget().await;
    }
    let counts = search.into_inner();
    let histogram = (0..count).map(|number| counts.step(number)).collect();
    Ok(Json(HistogramBody { step_micros: step, histogram, next: None }))
}

/// The parameters of both kinds.
fn parse(uri: &Uri) -> Result<(Steps, Parameters), Refusal> {
    let Query(steps) = Query::<Steps>::try_from_uri(uri)?;
    let query = uri.query().unwrap_or_default();
    let is_selection = |pair: &&str| !pair.starts_with("step=") && !pair.starts_with("by=");
    let rest = query.split('&').filter(is_selection).collect::<Vec<_>>().join("&");
    let rest = Uri::builder().path_and_query(format!("/?{rest}")).build();
    let rest = rest.map_err(|wrong| Refusal::bad("query", wrong.to_string()))?;
    let Query(parameters) = Query::<Parameters>::try_from_uri(&rest)?;
    Ok((steps, parameters))
}

/// What was counted so far.
struct Counts {
    begin: u64,
    step: u64,
    by: Option<By>,
    /// Of each step the count, and that of each value, by its place in `values`.
    steps: Vec<(u64, Vec<u64>)>,
    values: Vec<String>,
}

impl Counts {
    fn step(&self, number: u64) -> StepBody {
        let micros = self.begin + number * self.step;
        let counted = usize::try_from(number).ok().and_then(|number| self.steps.get(number));
        let (count, by) = counted.map_or((0, &[][..]), |(count, by)| (*count, by));
        let by = self.by.map(|_| {
            let values = self.values.iter().cloned().zip(by.iter().copied());
            values.filter(|(_, count)| *count > 0).collect()
        });
        StepBody { ts: moment::rfc3339(Timestamp::from_micros(micros)), micros, count, by }
    }
}

impl Collect for Counts {
    fn take(&mut self, entry: &Selected<'_>) -> Taken {
        let number = (entry.timestamp.micros() - self.begin) / self.step;
        let number = usize::try_from(number).expect("steps are few");
        if self.steps.len() <= number {
            self.steps.resize_with(number + 1, Default::default);
        }
        let (count, by) = &mut self.steps[number];
        *count += 1;
        if let Some(kind) = self.by {
            let value = super::filter::value(kind == By::Level, entry.event);
            let value = value.as_deref().unwrap_or("none");
            let known = self.values.iter().position(|known| known == value);
            let place = known.unwrap_or_else(|| {
                let name = if self.values.len() < MAX_VALUES { value } else { "..." };
                let place = self.values.iter().position(|known| known == name);
                place.unwrap_or_else(|| {
                    self.values.push(name.to_owned());
                    self.values.len() - 1
                })
            });
            if by.len() <= place {
                by.resize(place + 1, 0);
            }
            by[place] += 1;
        }
        Taken::More
    }
}
