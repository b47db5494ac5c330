//! What is different about a stretch of time.

use std::sync::Arc;

use axum::Json;
use axum::extract::{self, Extension, Query};
use axum::http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::error::{ErrorBody, Refusal};
use super::state::Shared;
use crate::analysis::explain::{Dimension, Finding, Stretch};
use crate::analysis::view::View;
use crate::etf::text;
use crate::instance::reader::{Selected, Taken};
use crate::instance::search::Collect;
use crate::instance::{Instance, read};
use crate::time::moment;
use crate::watchers::explain::{Stretches, explain};

/// The instance that is explained unless told.
const DEFAULT_INSTANCE: &str = "error_logger";

/// The longest message of a sample.
const MAX_MESSAGE_BYTES: usize = 1024;

/// Which stretch of which log.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct Parameters {
    /// The instance, `error_logger` unless told
    instance: Option<String>,
    /// Where the stretch begins, an hour ago unless told: `15m` (ago), RFC 3339, microseconds since 1970
    from: Option<String>,
    /// Where it ends, now unless told
    to: Option<String>,
    /// Where what it is compared with begins; that ends where the stretch begins, and is as long unless told
    baseline: Option<String>,
}

/// What is different.
#[derive(Serialize, ToSchema)]
pub(super) struct ExplanationBody {
    instance: String,
    from: String,
    to: String,
    /// Where what it is compared with begins; it ends at `from`
    baseline: String,
    /// Up to three sentences that say it
    text: String,
    /// How often something happened in the stretch; several reports of one death are one
    count: u64,
    /// The same before
    baseline_count: u64,
    /// What changed, the most striking first; none of them is a consequence of one before
    findings: Vec<FindingBody>,
}

/// Something that changed.
#[derive(Serialize, ToSchema)]
pub(super) struct FindingBody {
    /// What the occurrences have in common, one or two; none where everything changed
    conditions: Vec<ConditionBody>,
    /// What is known of the fault, if one is among them
    fault: Option<KnownBody>,
    /// Whether the fault was never seen before the stretch
    is_new: bool,
    /// The node that at least nine of ten are on
    node: Option<String>,
    /// The version that this node began to run shortly before, in place of another
    deployed: Option<DeployedBody>,
    /// `up` or `down`
    direction: &'static str,
    count: u64,
    per_minute: f64,
    baseline_count: u64,
    baseline_per_minute: f64,
    /// The rate in relation to that before; null where there was none
    ratio: Option<f64>,
    /// When it began
    since: String,
    /// A bound on the probability that chance did it
    significance: f64,
    /// The part of all that changed, from 0 to 1
    share: f64,
    /// Some of them
    samples: Vec<SampleBody>,
}

/// A condition.
#[derive(Serialize, ToSchema)]
pub(super) struct ConditionBody {
    /// `fault`, `module`, `node`, `kind` or `level`
    dimension: &'static str,
    value: String,
}

/// What is known of a fault.
#[derive(Serialize, ToSchema)]
pub(super) struct KnownBody {
    id: String,
    title: String,
    first_seen: String,
    /// In which version of its application it was first seen
    first_version: Option<String>,
}

/// A version that a node began to run.
#[derive(Serialize, ToSchema)]
pub(super) struct DeployedBody {
    application: String,
    version: String,
    /// The version before
    before: String,
    since: String,
}

/// An entry, in short.
#[derive(Serialize, ToSchema)]
pub(super) struct SampleBody {
    ts: String,
    micros: u64,
    level: Option<&'static str>,
    node: Option<String>,
    message: String,
}

/// Says what is different about a stretch of time.
///
/// It reads every entry of the stretch and of the one before, some 2 µs for each.
#[utoipa::path(
    get, path = "/api/v1/explain", operation_id = "explain", params(Parameters),
    responses(
        (status = 200, body = ExplanationBody), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 429, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn explanation(
    extract::State(state): extract::State<Shared>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<ExplanationBody>, Refusal> {
    let Query(parameters) = Query::<Parameters>::try_from_uri(&uri)?;
    let name = parameters.instance.as_deref().unwrap_or(DEFAULT_INSTANCE);
    let instance = state.instance(name)?;
    let now = instance.clock().now();
    let next = instance.tail().next_stamp().max(now);
    let moment = |place: &str, text: &str| match text {
        "now" => Ok(next),
        "earliest" => Ok(instance.log().interval().map_or(next, |(first, _)| first)),
        text => moment::parse(text, now).map_err(|wrong| Refusal::bad(place, wrong)),
    };
    let from = moment("from", parameters.from.as_deref().unwrap_or("1h"))?;
    let to = moment("to", parameters.to.as_deref().unwrap_or("now"))?;
    let baseline = parameters.baseline.as_deref().map(|it| moment("baseline", it)).transpose()?;
    let stretches = Stretches::new(from, to, baseline).ok_or_else(|| {
        let place = Stretches::wrong(from, baseline);
        let later = if place == "baseline" { "from" } else { "to" };
        Refusal::bad(place, format!("it has to be before {later}"))
    })?;
    let _searching = state.search(&caller)?;
    let explanation = explain(instance, state.faults.as_ref(), stretches).await?;
    let mut findings = Vec::new();
    for finding in explanation.findings {
        findings.push(finding_body(&state, instance, finding).await?);
    }
    let Stretches { stretch: Stretch { from, to }, baseline } = stretches;
    Ok(Json(ExplanationBody {
        instance: name.to_owned(),
        from: moment::rfc3339(from),
        to: moment::rfc3339(to),
        baseline: moment::rfc3339(baseline.from),
        text: explanation.text,
        count: explanation.count,
        baseline_count: explanation.baseline_count,
        findings,
    }))
}

async fn finding_body(
    state: &Shared,
    instance: &Arc<Instance>,
    finding: Finding,
) -> Result<FindingBody, Refusal> {
    let mut samples = Vec::new();
    for at in &finding.samples {
        samples.extend(read::at(instance, *at, Sample::default()).await?.0);
    }
    let fault = finding.fault().and_then(|id| state.faults.as_ref()?.find(id));
    let fault = fault.map(|(_, fault)| KnownBody {
        id: fault.id.to_string(),
        title: fault.title,
        first_seen: moment::rfc3339(fault.first_seen),
        first_version: fault.first_version.map(|it| format!("{} {}", it.application, it.version)),
    });
    let condition = |(dimension, value): (Dimension, String)| ConditionBody {
        dimension: dimension.as_str(),
        value,
    };
    Ok(FindingBody {
        conditions: finding.conditions.into_iter().map(condition).collect(),
        fault,
        is_new: finding.is_new,
        node: finding.node,
        deployed: finding.deployed.map(|it| DeployedBody {
            application: it.application,
            version: it.version,
            before: it.before,
            since: moment::rfc3339(it.since),
        }),
        direction: if finding.is_rise { "up" } else { "down" },
        count: finding.count,
        per_minute: finding.per_minute,
        baseline_count: finding.baseline_count,
        baseline_per_minute: finding.baseline_per_minute,
        ratio: finding.ratio,
        since: moment::rfc3339(finding.since),
        significance: finding.significance,
        share: finding.share,
        samples,
    })
}

/// Takes the one entry.
#[derive(Default)]
struct Sample(Option<SampleBody>);

impl Collect for Sample {
    fn take(&mut self, entry: &Selected<'_>) -> Taken {
        let view = View::of(entry.event);
        let (level, node) = view.as_ref().map(|it| (it.level.as_str(), it.node.clone())).unzip();
        let message = match view {
            Some(view) => view.message,
            None => {
                let mut text = String::new();
                text::write_term(&mut text, entry.event, MAX_MESSAGE_BYTES)
                    .expect("strings take everything");
                text
            }
        };
        let message = message[..message.floor_char_boundary(MAX_MESSAGE_BYTES)].to_owned();
        self.0 = Some(SampleBody {
            ts: moment::rfc3339(entry.timestamp),
            micros: entry.timestamp.micros(),
            level,
            node: node.flatten(),
            message,
        });
        Taken::Enough
    }
}
