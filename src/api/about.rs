//! What the node and its instances say of themselves.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::error::{ErrorBody, Refusal};
use super::state::{Named, Shared, State};
use crate::instance::locator::HandlerState;
use crate::instance::subscription::Subscriber;
use crate::instance::{Instance, Recording};
use crate::metrics::{self, Stats};
use crate::node::Peer;
use crate::node::epmd::Standing;
use crate::node::names::Held;
use crate::store::{LogConfig, Started};
use crate::time::{Timestamp, moment};
use crate::watchers::deployments::LoadedApplication;

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
    /// When the connection came up, RFC 3339; null, as what follows, until the node was asked
    since: Option<String>,
    /// The release of OTP
    #[schema(example = "27")]
    otp_release: Option<String>,
    /// The version of its emulator
    #[schema(example = "15.2.7")]
    erts_version: Option<String>,
    /// Its applications, those of OTP apart; null: it did not tell
    applications: Option<Vec<ApplicationBody>>,
    /// Why it did not tell something
    detail: Option<String>,
    /// Numbers of the connection
    counters: Value,
}

/// An application that a node has loaded.
#[derive(Serialize, ToSchema)]
pub(super) struct ApplicationBody {
    name: String,
    version: String,
    /// `own`, or `dependency`: somebody else's
    origin: &'static str,
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
    retention: RetentionBody,
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

/// What is kept for how long, and how much, as it was configured; null: no limit.
#[derive(Serialize, ToSchema)]
pub(super) struct RetentionBody {
    /// The live segment is rotated before it grows beyond this
    segment_bytes: Option<u64>,
    /// The live segment is rotated when it is this old
    reopen_period_seconds: Option<f64>,
    /// Segments are archived this long after they were rotated
    archive_after_seconds: Option<f64>,
    /// Segments and archives whose last entry is older are deleted
    delete_after_seconds: Option<f64>,
    /// The oldest ones are deleted while all together are larger
    max_bytes: Option<u64>,
    /// Recording waits while the disk has less free
    min_free_bytes: Option<u64>,
    /// Within this time every segment's checksums are read again
    scrub_period_seconds: Option<f64>,
    /// RAM for the cache
    cache_bytes: Option<u64>,
    /// Entries older than this leave the cache
    evict_after_seconds: Option<f64>,
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
    /// Whether it waits until its subscriber allows more
    waits_for_credit: bool,
    /// The durable cursor under which its subscriber acknowledges
    cursor: Option<String>,
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
    let peers = peers.iter().map(|peer| peer_body(&state, peer));
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

fn peer_body(state: &State, peer: &Arc<Peer>) -> PeerBody {
    let running = state.deployed.as_ref().and_then(|deployed| deployed.running(peer));
    let since = running.as_ref().map(|running| moment::rfc3339(running.since));
    let (otp_release, erts_version, applications, detail) = running
        .map_or_else(Default::default, |it| {
            (it.otp_release, it.erts_version, it.applications, it.detail)
        });
    let application = |it: &LoadedApplication| ApplicationBody {
        name: it.name.clone(),
        version: it.version.clone(),
        origin: it.origin.name(),
    };
    PeerBody {
        name: peer.name().to_string(),
        address: peer.address().to_string(),
        visible: peer.is_visible(),
        since,
        otp_release,
        erts_version,
        applications: applications.map(|all| all.iter().map(application).collect()),
        detail,
        counters: numbers(&peer.stats()).into(),
    }
}

/// What all instances say of themselves.
#[utoipa::path(get, path = "/api/v1/instances", responses((status = 200, body = InstancesBody)))]
pub(super) async fn instances(
    extract::State(state): extract::State<Shared>,
) -> Json<InstancesBody> {
    let instances = state.instances.values().map(|instance| body(instance)).collect();
    Json(InstancesBody { instances, next: None })
}

/// What an instance says of itself.
#[utoipa::path(
    get, path = "/api/v1/instances/{instance}",
    params(("instance" = String, Path, description = "Its name")),
    responses((status = 200, body = InstanceBody), (status = 404, body = ErrorBody))
)]
pub(super) async fn instance(Named(instance): Named) -> Result<Json<InstanceBody>, Refusal> {
    Ok(Json(body(&instance)))
}

fn body(instance: &Instance) -> InstanceBody {
    let info = instance.info();
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
        waits_for_credit: session.waits_for_credit,
        cursor: session.cursor.as_deref().map(|name| String::from_utf8_lossy(name).into_owned()),
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
        retention: RetentionBody::of(&instance.config().log),
        recording: RecordingBody { state, reason },
        sessions: sessions.collect(),
        handlers: handlers.collect(),
        numbers: all,
        name: info.name,
    }
}

impl RetentionBody {
    fn of(config: &LogConfig) -> Self {
        let seconds = |span: Option<Duration>| span.map(|span| span.as_secs_f64());
        RetentionBody {
            segment_bytes: config.segment_bytes,
            reopen_period_seconds: seconds(config.reopen_period),
            archive_after_seconds: seconds(config.archive_after),
            delete_after_seconds: seconds(config.delete_after),
            max_bytes: config.max_bytes,
            min_free_bytes: config.min_free_bytes,
            scrub_period_seconds: seconds(config.scrub_period),
            cache_bytes: config.cache_bytes,
            evict_after_seconds: seconds(config.evict_after),
        }
    }
}

pub(super) fn pid(pid: &crate::etf::Pid) -> String {
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
