//! What the node and its instances say of themselves.

use axum::Json;
use axum::extract;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::error::{ErrorBody, Refusal};
use super::state::{Named, Shared};
use crate::instance::Recording;
use crate::instance::info::InstanceInfo;
use crate::instance::locator::HandlerState;
use crate::instance::subscription::Subscriber;
use crate::metrics::{self, Stats};
use crate::node::epmd::Standing;
use crate::node::names::Held;
use crate::store::Started;
use crate::time::{Timestamp, moment};

/// The node.
#[derive(Serialize, ToSchema)]
pub(super) struct NodeBody {
    /// `name@host`
    name: String,
    /// The program's version
    version: &'static str,
    /// Seconds since it was started
    uptime_seconds: u64,
    /// `registered`, `unreachable`, `name_taken`, or `none`
    port_mapper: &'static str,
    /// The nodes connected now
    peers: Vec<PeerBody>,
    /// Its numbers: docs/metrics.md says what each tells
    counters: Value,
    /// Those of the HTTP listener
    http: Value,
}

/// A node that is connected.
#[derive(Serialize, ToSchema)]
pub(super) struct PeerBody {
    name: String,
    /// Where it is
    address: String,
    /// Whether it is no hidden node
    visible: bool,
    /// Numbers of the connection
    counters: Value,
}

/// Instances.
#[derive(Serialize, ToSchema)]
pub(super) struct InstancesBody {
    instances: Vec<InstanceBody>,
    /// Always null: there is one page
    next: Option<String>,
}

/// An instance.
#[derive(Serialize, ToSchema)]
pub(super) struct InstanceBody {
    name: String,
    data_dir: String,
    arch_data_dir: String,
    /// Under which global name it is found, `{Instance, N}`
    global_alias: Option<AliasBody>,
    /// Whether all ten global names belong to others
    global_aliases_exhausted: bool,
    /// What is kept
    interval: Option<IntervalBody>,
    /// What is in RAM
    cache_interval: Option<IntervalBody>,
    /// How the log had ended: `new`, `clean`, `kill` or `power_loss`
    started: &'static str,
    recording: RecordingBody,
    sessions: Vec<SessionBody>,
    handlers: Vec<HandlerBody>,
    /// Its numbers, under the names that `info` has for them
    #[serde(flatten)]
    #[schema(value_type = Object)]
    numbers: Map<String, Value>,
}

/// A global name.
#[derive(Serialize, ToSchema)]
pub(super) struct AliasBody {
    instance: String,
    number: u8,
}

/// From the first timestamp to the last one.
#[derive(Serialize, ToSchema)]
pub(super) struct IntervalBody {
    first: String,
    last: String,
}

/// How recording goes.
#[derive(Serialize, ToSchema)]
pub(super) struct RecordingBody {
    /// `running`, `waiting` or `failed`
    state: &'static str,
    reason: Option<String>,
}

/// A session.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionBody {
    pid: String,
    subscriber: String,
    /// Entries from there on are still to come
    position: String,
    /// Whether the match spec ran out of its budget for the newest event
    exhausted: bool,
    #[serde(flatten)]
    #[schema(value_type = Object)]
    numbers: Map<String, Value>,
}

/// A handler on another node.
#[derive(Serialize, ToSchema)]
pub(super) struct HandlerBody {
    node: String,
    /// The event manager, or `logger`
    place: String,
    /// `installing`, `installed`, `waiting` or `refused`
    state: &'static str,
    reason: Option<String>,
}

/// What the node says of itself.
#[utoipa::path(get, path = "/api/v1/node", responses((status = 200, body = NodeBody), (status = 401, body = ErrorBody)))]
pub(super) async fn node(extract::State(state): extract::State<Shared>) -> Json<NodeBody> {
    let mut peers: Vec<_> = state.node.peers();
    peers.sort_by(|a, b| a.name().as_str().cmp(b.name().as_str()));
    let peers = peers.iter().map(|peer| PeerBody {
        name: peer.name().to_string(),
        address: peer.address().to_string(),
        visible: peer.is_visible(),
        counters: numbers(&peer.stats()).into(),
    });
    Json(NodeBody {
        name: state.node.name().to_string(),
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: state.clock.now().micros_since(state.started) / 1_000_000,
        port_mapper: match state.node.port_mapper() {
            None => "none",
            Some(Standing::Registered) => "registered",
            Some(Standing::Unreachable) => "unreachable",
            Some(Standing::NameTaken) => "name_taken",
        },
        peers: peers.collect(),
        counters: numbers(&state.node.stats()).into(),
        http: numbers(&state.http_stats()).into(),
    })
}

/// What all instances say of themselves.
#[utoipa::path(get, path = "/api/v1/instances", responses((status = 200, body = InstancesBody)))]
pub(super) async fn instances(
    extract::State(state): extract::State<Shared>,
) -> Json<InstancesBody> {
    let instances = state.instances.values().map(|instance| body(instance.info())).collect();
    Json(InstancesBody { instances, next: None })
}

/// What an instance says of itself.
#[utoipa::path(
    get, path = "/api/v1/instances/{instance}",
    params(("instance" = String, Path, description = "Its name")),
    responses((status = 200, body = InstanceBody), (status = 404, body = ErrorBody))
)]
pub(super) async fn instance(Named(instance): Named) -> Result<Json<InstanceBody>, Refusal> {
    Ok(Json(body(instance.info())))
}

fn body(info: InstanceInfo) -> InstanceBody {
    let interval = |interval: Option<(Timestamp, Timestamp)>| {
        let (first, last) = interval?;
        Some(IntervalBody { first: moment::rfc3339(first), last: moment::rfc3339(last) })
    };
    let mut all = numbers(&info.stats);
    all.extend(numbers(&info.log));
    let alias = |number| AliasBody { instance: info.name.clone(), number };
    let (state, reason) = match info.recording {
        Recording::Running => ("running", None),
        Recording::Waiting(why) => ("waiting", Some(why.to_string())),
        Recording::Failed(why) => ("failed", Some(why.to_string())),
    };
    let sessions = info.sessions.iter().map(|session| SessionBody {
        pid: pid(&session.pid),
        subscriber: match &session.subscriber {
            Subscriber::Pid(subscriber) => pid(subscriber),
            Subscriber::Name { name, node } => format!("{{{name},{node}}}"),
        },
        position: moment::rfc3339(session.position),
        exhausted: session.is_exhausted,
        numbers: numbers(&session.stats),
    });
    let handlers = info.handlers.iter().map(|handler| {
        let (state, reason) = match &handler.state {
            HandlerState::Installing => ("installing", None),
            HandlerState::Installed => ("installed", None),
            HandlerState::Waiting(why) => ("waiting", Some(why.to_string())),
            HandlerState::Refused(why) => ("refused", Some(why.to_string())),
        };
        HandlerBody { node: handler.node.to_string(), place: handler.place.clone(), state, reason }
    });
    InstanceBody {
        data_dir: info.data_dir.display().to_string(),
        arch_data_dir: info.arch_data_dir.display().to_string(),
        global_alias: match info.global_alias {
            Held::Alias(number) => Some(alias(number)),
            Held::Seeking | Held::Exhausted => None,
        },
        global_aliases_exhausted: info.global_alias == Held::Exhausted,
        interval: interval(info.interval),
        cache_interval: interval(info.cache_interval),
        started: match info.started {
            Started::New => "new",
            Started::Clean => "clean",
            Started::Kill => "kill",
            Started::PowerLoss => "power_loss",
        },
        recording: RecordingBody { state, reason },
        sessions: sessions.collect(),
        handlers: handlers.collect(),
        numbers: all,
        name: info.name,
    }
}

fn pid(pid: &crate::etf::Pid) -> String {
    format!("<{}.{}.{}>", pid.node, pid.id, pid.serial)
}

/// A table as it is in JSON; what took time as count, sum, and how much most of it took at most, in microseconds.
pub(super) fn numbers(stats: &impl Stats) -> Map<String, Value> {
    let number = |value| match value {
        metrics::Value::Counter(number) | metrics::Value::Gauge(number) => json!(number),
        metrics::Value::Histogram(distribution) => json!({
            "count": distribution.count(),
            "sum_micros": distribution.sum_micros,
            "median_micros": distribution.quantile(500),
            "p99_micros": distribution.quantile(990),
        }),
    };
    stats
        .table()
        .into_iter()
        .map(|(metric, value)| (metric.name.to_owned(), number(value)))
        .collect()
}
