//! Every number that the program keeps of itself: what it is called, its unit, and what it tells.
//!
//! There is one table for each thing that is counted. A table is declared once, in two parts: counters and histograms are
//! kept where they happen (`LogMetrics`), and read together with the gauges, which whoever knows them fills in, as one
//! plain value (`LogStats`). What shows numbers walks such a value, so nothing can be counted that nobody can read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Up to where each bucket of a histogram goes, in microseconds, inclusive; one more takes what is longer.
pub const BUCKET_MICROS: [u64; 18] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
    500_000, 1_000_000, 2_500_000, 10_000_000,
];

/// How long something took, by how often it did.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKET_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    /// Counts `times` that took `duration` each.
    pub fn observe(&self, duration: Duration, times: u64) {
        self.observe_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), times);
    }

    /// The same, in microseconds.
    pub fn observe_micros(&self, micros: u64, times: u64) {
        let bucket = BUCKET_MICROS.partition_point(|most| *most < micros);
        self.buckets[bucket].fetch_add(times, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros.saturating_mul(times), Ordering::Relaxed);
    }

    /// What was counted by now.
    pub fn get(&self) -> Distribution {
        let number = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Distribution {
            buckets: self.buckets.each_ref().map(number),
            sum_micros: number(&self.sum_micros),
        }
    }
}

/// What a [`Histogram`] had counted at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// How often it took so long: up to each of [`BUCKET_MICROS`], and longer.
    pub buckets: [u64; BUCKET_MICROS.len() + 1],
    /// How long all of it took.
    pub sum_micros: u64,
}

impl Distribution {
    /// How often.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// No more than this in microseconds for a share of `per_mille` thousandths; `None` without any, and where all that is
    /// known is that it took longer than the last of [`BUCKET_MICROS`].
    pub fn quantile(&self, per_mille: u64) -> Option<u64> {
        let count = u128::from(self.count());
        let wanted = (count * u128::from(per_mille)).div_ceil(1000).max(1);
        let mut seen = 0;
        let reaches = |n: &u64| {
            seen += u128::from(*n);
            seen >= wanted
        };
        let bucket = self.buckets.iter().position(reaches)?;
        BUCKET_MICROS.get(bucket).copied()
    }
}

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// What it is called in its table: the key of `info`.
    pub name: &'static str,
    /// In what it counts.
    pub unit: Unit,
    /// What it tells.
    pub help: &'static str,
}

/// In what a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things, named by the metric.
    Count,
    /// Bytes.
    Bytes,
    /// Microseconds.
    Micros,
}

/// A number and of which kind it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// It only grows while the program runs.
    Counter(u64),
    /// It is so now.
    Gauge(u64),
    /// How long something took, and how often.
    Histogram(Distribution),
}

/// Numbers of one thing, read at one moment.
pub trait Stats {
    /// What the thing is called in the names of its metrics.
    const THING: &'static str;

    /// Each of its metrics, with the number.
    fn table(&self) -> Vec<(Metric, Value)>;
}

/// Declares a table: what is kept of a thing while it runs, and what is read of it.
macro_rules! metrics {
    (
        $(#[$kept_doc:meta])* $kept:ident;
        $(#[$doc:meta])* $stats:ident of $thing:literal;
        counters { $($counter:ident in $counter_unit:ident: $counter_help:literal,)* }
        gauges { $($gauge:ident in $gauge_unit:ident: $gauge_help:literal,)* }
        histograms { $($histogram:ident: $histogram_help:literal,)* }
    ) => {
        $(#[$kept_doc])*
        #[derive(Debug, Default)]
        pub struct $kept {
            $(#[doc = $counter_help] pub $counter: Counter,)*
            $(#[doc = $histogram_help] pub $histogram: Histogram,)*
        }

        impl $kept {
            /// What was counted by now. The gauges are for the caller to fill in.
            pub fn read(&self) -> $stats {
                $stats {
                    $($counter: self.$counter.get(),)*
                    $($gauge: 0,)*
                    $($histogram: self.$histogram.get(),)*
                }
            }
        }

        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $stats {
            $(#[doc = $counter_help] pub $counter: u64,)*
            $(#[doc = $gauge_help] pub $gauge: u64,)*
            $(#[doc = $histogram_help] pub $histogram: Distribution,)*
        }

        impl Stats for $stats {
            const THING: &'static str = $thing;

            fn table(&self) -> Vec<(Metric, Value)> {
                let metric = |name, unit, help| Metric { name, unit, help };
                vec![
                    $((
                        metric(stringify!($counter), Unit::$counter_unit, $counter_help),
                        Value::Counter(self.$counter),
                    ),)*
                    $((
                        metric(stringify!($gauge), Unit::$gauge_unit, $gauge_help),
                        Value::Gauge(self.$gauge),
                    ),)*
                    $((
                        metric(stringify!($histogram), Unit::Micros, $histogram_help),
                        Value::Histogram(self.$histogram),
                    ),)*
                ]
            }
        }
    };
}

metrics! {
    /// What is counted of the node as a whole.
    NodeMetrics;
    /// The numbers of the node as a whole.
    NodeStats of "node";
    counters {
        connections in Count: "Connections to other nodes that came up.",
        handshakes_failed in Count: "Handshakes that failed, ours and theirs.",
        handshakes_displaced in Count: "Unfinished handshakes that gave way to newer ones.",
        packets in Count: "Packets received from other nodes.",
        packets_malformed in Count: "Packets that broke the protocol and ended their connection.",
        events_malformed in Count: "Messages refused because their payload is no well-formed term.",
        messages_unaddressed in Count: "Messages to a process or name that is not here.",
        messages_dropped in Count: "Messages dropped because a process's mailbox was full.",
        calls_refused in Count: "rpc, erpc and net_kernel calls refused because nothing but logmachine's functions is served.",
        spawns_refused in Count: "Spawn requests refused.",
    }
    gauges {
        peers in Count: "Nodes connected now.",
        processes in Count: "Processes of this node: receivers, sessions and calls under way.",
        ties in Count: "Links and monitors between processes of this node and of others.",
    }
    histograms {}
}

metrics! {
    /// What is counted of a connection to another node.
    PeerMetrics;
    /// The numbers of a connection to another node.
    PeerStats of "peer";
    counters {
        received in Count: "Packets received from the node, ticks not counted.",
        received_bytes in Bytes: "Bytes received from the node.",
        sent_bytes in Bytes: "Bytes sent to the node.",
        paused in Count: "Times that the node was not read from because a recorder was behind.",
    }
    gauges {
        queued_bytes in Bytes: "Bytes on their way to the node that its socket has not taken yet.",
    }
    histograms {}
}

metrics! {
    /// What is counted of an instance, its log apart.
    InstanceMetrics;
    /// The numbers of an instance, its log apart.
    InstanceStats of "instance";
    counters {
        received in Count: "Events taken in by cast or call, to be recorded.",
        received_bytes in Bytes: "Bytes of those events, as external terms.",
        recorded in Count: "Events written to the log, our own reports of drops among them.",
        dropped in Count: "Events that came and are not in the log, because the recorder failed or overload drops.",
        refused in Count: "Events refused because they are larger than max_event_bytes, or no term that is taken; calls of the latter kind too.",
        unknown in Count: "Messages to the receiver that it does not understand.",
        delivered in Count: "Entries sent to subscribers.",
        undecodable in Count: "Entries replaced for a subscriber whose node cannot decode them.",
        unfiltered in Count: "Entries withheld because a match spec reached its step or size budget.",
        sessions_refused in Count: "Subscriptions and reads refused because there was no place, or no memory for their match spec.",
        acks_refused in Count: "Acknowledgements of timestamps later than the newest entry, refused.",
        blocked in Count: "Times that a peer was not read from because the recorder was behind.",
        commits in Count: "Batches written to the log.",
    }
    gauges {
        pending_bytes in Bytes: "Memory of events that are taken in and not written.",
        stamp_lead in Micros: "By how much the newest stamp is ahead of the clock.",
    }
    histograms {
        append: "From the stamp of a batch's first event until the batch is in the log's file, once for each of its events.",
        delivery: "From the stamp of an entry until it is given to a subscriber's connection, for sessions that had reached the newest entry; one of eight sends is timed, by its first entry, which counts for all of them.",
    }
}

metrics! {
    /// What is counted of a log since it was opened.
    LogMetrics;
    /// The numbers of a log.
    LogStats of "log";
    counters {
        appended_bytes in Bytes: "Bytes of records appended since the log was opened.",
        cold_reads in Count: "Reads of segment files by readers.",
        rotations in Count: "Rotations since the log was opened.",
        archived in Count: "Segments archived since the log was opened.",
        deleted in Count: "Segments and archives deleted by retention since the log was opened.",
        deleted_events in Count: "Entries deleted with them.",
        torn_bytes in Bytes: "Bytes of torn tails cut off, and kept aside, when the log was opened.",
        scrubbed_bytes in Bytes: "Bytes whose checksums were read again since the log was opened.",
        syncs in Count: "Syncs begun since the log was opened.",
        damaged in Count: "Stretches of bytes known to be damaged, without those that an operator has accepted.",
    }
    gauges {
        events in Count: "Entries in segments and archives.",
        bytes in Bytes: "Bytes of segments and archives on disk, without their indexes.",
        segments in Count: "Segments, with the live one.",
        archives in Count: "Archives.",
        missing in Count: "Segments and archives that the manifests have and no directory does.",
        unreadable in Count: "Segments and archives that cannot be read for now, so that nobody knows what they hold.",
        cache_events in Count: "Entries in the cache.",
        cache_bytes in Bytes: "Memory held by the cache.",
        free_bytes in Bytes: "Free bytes of the log's disk, as asked for last; 0 if `min_free_bytes` asks for none.",
    }
    histograms {
        sync: "How long it took to force written data to disk.",
    }
}

metrics! {
    /// What is counted of the faults of an instance.
    FaultMetrics;
    /// The numbers of the faults of an instance.
    FaultStats of "faults";
    counters {
        errors in Count: "Entries of level error or worse that were looked at, in this life and those before.",
        forgotten in Count: "Faults that were forgotten because there were too many, in this life and those before.",
    }
    gauges {
        known in Count: "Faults that are known.",
        behind in Micros: "By how much what is looked at next for faults is older than the newest entry.",
    }
    histograms {}
}

metrics! {
    /// What is counted of an analysis.
    AnalysisMetrics;
    /// The numbers of an analysis, the counters in this life and those before.
    AnalysisStats of "analysis";
    counters {
        taken in Count: "Events that were counted in a window.",
        told in Count: "Rows of windows that were recorded.",
        without_key in Count: "Events left out because they have not the element that is the key.",
        other in Count: "Events counted under the key other, because there were too many keys or theirs was too large.",
        missing in Count: "Elements that a value needs and the event has not.",
        not_numbers in Count: "Elements left out because they are no numbers.",
        too_large in Count: "Elements left out because they are larger than what is kept.",
        over_budget in Count: "Events left out because the match spec reached its step budget.",
    }
    gauges {
        rows in Count: "Rows of windows that are not over.",
        behind in Micros: "By how much what is looked at next is older than the newest entry.",
    }
    histograms {}
}

metrics! {
    /// What is counted of a rule.
    RuleMetrics;
    /// The numbers of a rule, the counters in this life and those before.
    RuleStats of "rule";
    counters {
        taken in Count: "Events that it has taken.",
        fired in Count: "Alerts that fired.",
        without_key in Count: "Events left out because they have not what there is an alert each for.",
        other in Count: "Events that share the alert of other, because there were too many keys or theirs was too large.",
        over_budget in Count: "Events left out because the match spec reached its step budget.",
    }
    gauges {
        keys in Count: "Keys that are known.",
        firing in Count: "Alerts that fire.",
        behind in Micros: "By how much what is looked at next is older than the newest entry.",
    }
    histograms {}
}

metrics! {
    /// What is counted of a receiver of alerts.
    ReceiverMetrics;
    /// The numbers of a receiver of alerts.
    ReceiverStats of "receiver";
    counters {
        delivered in Count: "Alerts that it was told of, and of which it was told that they are resolved.",
        failed in Count: "Attempts that failed.",
        given_up in Count: "Alerts that it was not told of: refused for good, or a day old.",
        quieted in Count: "Alerts that it was not told of because of a silence, unless they outlasted it.",
    }
    gauges {
        waiting in Count: "Alerts that wait.",
    }
    histograms {}
}

metrics! {
    /// What is counted of a session.
    SessionMetrics;
    /// The numbers of a session.
    SessionStats of "session";
    counters {
        sent in Count: "Entries it has sent.",
        filtered in Count: "Events that its match spec has looked at.",
        unfiltered in Count: "Those that were withheld because the match spec ran out of its budget.",
    }
    gauges {
        lag in Micros: "By how much what it sends next is older than the newest entry.",
    }
    histograms {}
}

metrics! {
    /// What is counted of the HTTP listener.
    HttpMetrics;
    /// The numbers of the HTTP listener.
    HttpStats of "http";
    counters {
        connections in Count: "HTTP connections accepted.",
        requests in Count: "HTTP requests.",
        refused in Count: "Requests refused because of their token, their role, or to whom they were addressed.",
        failed in Count: "Requests answered with a status of 500 and more.",
        streamed in Count: "Entries sent by streams, and by answers without end.",
    }
    gauges {
        streams in Count: "Streams and answers without end that are under way.",
    }
    histograms {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers around the bounds of buckets, and far beyond.
    #[test]
    fn a_histogram_keeps_how_often_and_how_long() {
        let histogram = Histogram::default();
        assert_eq!(histogram.get().quantile(500), None);
        for micros in [0, 10, 11, 25, 3_000_000] {
            histogram.observe_micros(micros, 1);
        }
        histogram.observe(Duration::from_secs(11), 5);
        let read = histogram.get();
        assert_eq!(read.count(), 10);
        assert_eq!(read.sum_micros, 3_000_046 + 55_000_000);
        assert_eq!(read.buckets[..3], [2, 2, 0]);
        assert_eq!(read.buckets[BUCKET_MICROS.len()], 5);
        assert_eq!(read.quantile(0), Some(10));
        assert_eq!(read.quantile(200), Some(10));
        assert_eq!(read.quantile(201), Some(25));
        assert_eq!(read.quantile(500), Some(10_000_000));
        assert_eq!(read.quantile(501), None, "longer than anybody knows");
    }

    /// Beside the guide that says what `info` tells.
    #[test]
    fn every_number_of_an_instance_is_in_the_guide() {
        let guide = include_str!("../docs/subscribing.md");
        let numbers =
            InstanceStats::default().table().into_iter().chain(LogStats::default().table());
        for (metric, _) in numbers.chain(SessionStats::default().table()) {
            assert!(guide.contains(&format!("`{}`", metric.name)), "{}", metric.name);
        }
    }

    /// Two tables whose names nobody may confuse: those of an instance and its log are keys of the same `info`.
    #[test]
    fn no_name_stands_in_two_tables_of_an_instance() {
        let mut names: Vec<_> =
            InstanceStats::default().table().iter().map(|(m, _)| m.name).collect();
        names.extend(LogStats::default().table().iter().map(|(m, _)| m.name));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
