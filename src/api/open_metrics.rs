//! Every number of the program, for Prometheus and whatever else reads `OpenMetrics`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use axum::extract;
use axum::http::header;
use axum::response::IntoResponse;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{self, Registry};

use super::state::Shared;
use crate::instance::Recording;
use crate::instance::info::InstanceInfo;
use crate::instance::locator::HandlerState;
use crate::metrics::{
    AnalysisStats, BUCKET_MICROS, FaultStats, HttpStats, Metric, NodeStats, PeerStats,
    ReceiverStats, RuleStats, Stats, Unit, Value,
};

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All numbers, as `OpenMetrics` text.
#[utoipa::path(
    get, path = "/metrics",
    responses((status = 200, description = "OpenMetrics text", content_type = "application/openmetrics-text"))
)]
pub(super) async fn metrics(extract::State(state): extract::State<Shared>) -> impl IntoResponse {
    let mut registry = Registry::with_prefix("logmachine");
    registry.register_collector(Box::new(Snapshot::of(&state)));
    let mut out = String::new();
    text::encode(&mut out, &registry).expect("strings take everything");
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], out)
}

/// Labels and their values.
type Labels = Vec<(&'static str, String)>;

/// Metrics of one name: what they are, and a number for each set of labels.
struct Family {
    name: String,
    help: &'static str,
    unit: Option<registry::Unit>,
    kind: MetricType,
    samples: Vec<(Labels, Sample)>,
}

#[derive(Clone, Copy)]
enum Sample {
    Whole(Value),
    /// A number of microseconds, told in seconds.
    Micros(Value),
}

/// All numbers at one moment.
#[derive(Default)]
struct Snapshot {
    families: Vec<Family>,
    by_name: HashMap<String, usize>,
}

impl Snapshot {
    fn of(state: &Shared) -> Self {
        let peers = state.node.peers();
        let peers = peers.iter().map(|peer| (peer.name().to_string(), peer.stats()));
        let instances = state.instances.values().map(|instance| instance.info());
        let mut all = Snapshot::new(&state.node.stats(), &state.http_stats(), peers, instances);
        if let Some(faults) = &state.faults {
            for instance in faults.instances() {
                all.faults(instance, &faults.stats(instance).unwrap_or_default());
            }
        }
        for running in state.analyses.running().values() {
            all.analysis(&running.analysis.name, &running.stats());
        }
        if let Some(alerts) = &state.alerts {
            for running in alerts.rules.running().iter() {
                all.rule(&running.rule.name, &running.stats());
            }
            for (receiver, stats) in alerts.notifier.stats() {
                all.receiver(&receiver, &stats);
            }
        }
        all
    }

    fn new(
        node: &NodeStats,
        http: &HttpStats,
        peers: impl Iterator<Item = (String, PeerStats)>,
        instances: impl Iterator<Item = InstanceInfo>,
    ) -> Self {
        let mut all = Snapshot::default();
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        all.gauge("build_info", "The program that runs, in the label.", version, 1);
        all.add(node, &[]);
        all.add(http, &[]);
        for (node, stats) in peers {
            all.add(&stats, &[("node", node)]);
        }
        instances.for_each(|info| all.instance(&info));
        all
    }

    fn instance(&mut self, info: &InstanceInfo) {
        let label = [("instance", info.name.clone())];
        self.add(&info.stats, &label);
        self.add(&info.log, &label);
        let with = |name, value: &str| vec![label[0].clone(), (name, value.to_owned())];
        for (state, is_it) in [
            ("running", info.recording == Recording::Running),
            ("waiting", matches!(info.recording, Recording::Waiting(_))),
            ("failed", matches!(info.recording, Recording::Failed(_))),
        ] {
            let help = "1 for the state that recording is in.";
            self.gauge("instance_recording", help, with("state", state), u64::from(is_it));
        }
        // A group of sessions is those to one node: processes come and go, and names of metrics must not.
        let mut groups: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for session in &info.sessions {
            let (count, lag) = groups.entry(session.subscriber.node()).or_default();
            *count += 1;
            *lag = (*lag).max(session.stats.lag);
        }
        for (node, (count, lag)) in groups {
            let labels = with("node", node);
            self.gauge("sessions", "Sessions that carry entries to a node.", labels.clone(), count);
            let metric = Metric {
                name: "lag",
                unit: Unit::Micros,
                help: "By how much what the slowest session to a node sends next is older than the newest entry.",
            };
            self.sample("sessions", metric, labels, Value::Gauge(lag));
        }
        let mut states: BTreeMap<&str, u64> = BTreeMap::new();
        for handler in &info.handlers {
            *states.entry(state_of(&handler.state)).or_default() += 1;
        }
        for state in ["installed", "installing", "waiting", "refused"] {
            let count = states.get(state).copied().unwrap_or_default();
            let help = "Handlers on other nodes, by how far they have come.";
            self.gauge("instance_handlers", help, with("state", state), count);
        }
    }

    fn faults(&mut self, instance: &str, stats: &FaultStats) {
        self.add(stats, &[("instance", instance.to_owned())]);
    }

    fn analysis(&mut self, name: &str, stats: &AnalysisStats) {
        self.add(stats, &[("analysis", name.to_owned())]);
    }

    fn rule(&mut self, name: &str, stats: &RuleStats) {
        self.add(stats, &[("rule", name.to_owned())]);
    }

    fn receiver(&mut self, name: &str, stats: &ReceiverStats) {
        self.add(stats, &[("receiver", name.to_owned())]);
    }

    /// Adds a table.
    fn add<S: Stats>(&mut self, stats: &S, labels: &[(&'static str, String)]) {
        for (metric, value) in stats.table() {
            self.sample(S::THING, metric, labels.to_vec(), value);
        }
    }

    fn gauge(&mut self, name: &str, help: &'static str, labels: Labels, value: u64) {
        self.push(name.to_owned(), help, None, labels, Sample::Whole(Value::Gauge(value)));
    }

    fn sample(&mut self, thing: &str, metric: Metric, labels: Labels, value: Value) {
        let Metric { name, unit, help } = metric;
        let (name, unit, sample) = match unit {
            Unit::Count => (name, None, Sample::Whole(value)),
            // The unit comes behind the name by itself.
            Unit::Bytes => {
                let name = name.strip_suffix("bytes").unwrap_or(name).trim_end_matches('_');
                (name, Some(registry::Unit::Bytes), Sample::Whole(value))
            }
            Unit::Micros => (name, Some(registry::Unit::Seconds), Sample::Micros(value)),
        };
        let name = if name.is_empty() { thing.to_owned() } else { format!("{thing}_{name}") };
        self.push(name, help, unit, labels, sample);
    }

    fn push(
        &mut self,
        name: String,
        help: &'static str,
        unit: Option<registry::Unit>,
        labels: Labels,
        sample: Sample,
    ) {
        let (Sample::Whole(value) | Sample::Micros(value)) = sample;
        let kind = match value {
            Value::Counter(_) => MetricType::Counter,
            Value::Gauge(_) => MetricType::Gauge,
            Value::Histogram(_) => MetricType::Histogram,
        };
        let key = format!("{name}/{}", unit.as_ref().map_or("", registry::Unit::as_str));
        let at = *self.by_name.entry(key).or_insert_with(|| {
            self.families.push(Family { name, help, unit, kind, samples: Vec::new() });
            self.families.len() - 1
        });
        self.families[at].samples.push((labels, sample));
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} metrics", self.families.len())
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.families {
            let Family { name, help, unit, kind, samples } = family;
            // The library ends the help itself where others leave that to us.
            let help = help.replace('\\', "\\\\").replace('"', "\\\"");
            let mut metric = encoder.encode_descriptor(name, &help, unit.as_ref(), *kind)?;
            for (labels, sample) in samples {
                match labels.is_empty() {
                    true => write_sample(&mut metric, *sample)?,
                    false => write_sample(&mut metric.encode_family(labels)?, *sample)?,
                }
            }
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "readers of metrics take floats")]
fn write_sample(metric: &mut MetricEncoder<'_>, sample: Sample) -> fmt::Result {
    let seconds = |micros: u64| micros as f64 / 1e6;
    match sample {
        Sample::Whole(Value::Counter(number)) => {
            metric.encode_counter::<NoLabelSet, _, u64>(&number, None)
        }
        Sample::Whole(Value::Gauge(number)) => metric.encode_gauge(&number),
        Sample::Micros(Value::Counter(micros)) => {
            metric.encode_counter::<NoLabelSet, _, f64>(&seconds(micros), None)
        }
        Sample::Micros(Value::Gauge(micros)) => metric.encode_gauge(&seconds(micros)),
        Sample::Whole(Value::Histogram(distribution))
        | Sample::Micros(Value::Histogram(distribution)) => {
            let bounds = BUCKET_MICROS.iter().map(|micros| seconds(*micros)).chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(distribution.buckets).collect();
            let sum = seconds(distribution.sum_micros);
            metric.encode_histogram::<NoLabelSet>(sum, distribution.count(), &buckets, None)
        }
    }
}

const fn state_of(state: &HandlerState) -> &'static str {
    match state {
        HandlerState::Installing => "installing",
        HandlerState::Installed => "installed",
        HandlerState::Waiting(_) => "waiting",
        HandlerState::Refused(_) => "refused",
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::etf::Pid;
    use crate::instance::session::SessionInfo;
    use crate::instance::subscription::Subscriber;
    use crate::metrics::{InstanceStats, LogStats, SessionStats};
    use crate::node::names::Held;
    use crate::store::Started;
    use crate::time::Timestamp;

    /// One of everything.
    fn snapshot() -> Snapshot {
        let pid = Pid { node: "a@host".into(), id: 1, serial: 0, creation: 7 };
        let session = SessionInfo {
            pid: pid.clone(),
            subscriber: Subscriber::Pid(pid),
            position: Timestamp::MIN,
            is_exhausted: false,
            waits_for_credit: false,
            cursor: None,
            stats: SessionStats { lag: 1_500_000, ..SessionStats::default() },
        };
        let info = InstanceInfo {
            name: "quotes".into(),
            data_dir: "d".into(),
            arch_data_dir: "d/archive".into(),
            global_alias: Held::Seeking,
            interval: None,
            cache_interval: None,
            started: Started::New,
            stats: InstanceStats::default(),
            log: LogStats::default(),
            recording: Recording::Running,
            sessions: vec![session],
            handlers: Vec::new(),
            port_mapper: None,
        };
        let peers = [("a@host".to_owned(), PeerStats::default())].into_iter();
        let (node, http) = (NodeStats::default(), HttpStats::default());
        let mut all = Snapshot::new(&node, &http, peers, [info].into_iter());
        all.faults("quotes", &FaultStats::default());
        all.analysis("candles", &AnalysisStats::default());
        all.rule("too_many", &RuleStats::default());
        all.receiver("webhook:on_call", &ReceiverStats::default());
        all
    }

    fn text() -> String {
        let mut registry = Registry::with_prefix("logmachine");
        registry.register_collector(Box::new(snapshot()));
        let mut out = String::new();
        text::encode(&mut out, &registry).expect("strings take everything");
        out
    }

    #[test]
    fn numbers_have_their_units_and_labels() {
        let text = text();
        for line in [
            "logmachine_node_packets_total 0",
            "logmachine_peer_received_bytes_total{node=\"a@host\"} 0",
            "logmachine_instance_pending_bytes{instance=\"quotes\"} 0",
            "logmachine_log_bytes{instance=\"quotes\"} 0",
            "logmachine_log_segments{instance=\"quotes\"} 0",
            "logmachine_instance_recording{instance=\"quotes\",state=\"running\"} 1",
            "logmachine_sessions{instance=\"quotes\",node=\"a@host\"} 1",
            "logmachine_sessions_lag_seconds{instance=\"quotes\",node=\"a@host\"} 1.5",
            "# UNIT logmachine_log_sync_seconds seconds",
            "logmachine_log_sync_seconds_bucket{le=\"+Inf\",instance=\"quotes\"} 0",
            "logmachine_instance_append_seconds_bucket{le=\"0.00001\",instance=\"quotes\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    /// `LOGMACHINE_WRITE_DOCS=1` writes the reference anew.
    #[test]
    fn the_reference_has_every_number() {
        let mut table = "| name | type | labels | what it tells |\n|---|---|---|---|\n".to_owned();
        for Family { name, help, unit, kind, samples } in &snapshot().families {
            let unit = unit.as_ref().map_or(String::new(), |unit| format!("_{}", unit.as_str()));
            let total = if matches!(kind, MetricType::Counter) { "_total" } else { "" };
            let labels: Vec<_> =
                samples[0].0.iter().map(|(label, _)| format!("`{label}`")).collect();
            let (kind, labels) = (kind.as_str(), labels.join(", "));
            writeln!(table, "| `logmachine_{name}{unit}{total}` | {kind} | {labels} | {help} |")
                .expect("strings take everything");
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        let page = std::fs::read_to_string(path).expect("it is there");
        let begin = page.find("| name | type").expect("the table begins");
        let end = begin + page[begin..].find("\n\n").expect("the table ends") + 1;
        if std::env::var_os("LOGMACHINE_WRITE_DOCS").is_some() {
            let page = format!("{}{table}{}", &page[..begin], &page[end..]);
            std::fs::write(path, page).expect("it can be written");
        } else {
            assert_eq!(&page[begin..end], table, "LOGMACHINE_WRITE_DOCS=1 writes it anew");
        }
    }
}
