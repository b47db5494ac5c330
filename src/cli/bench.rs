//! `logmachine bench`: a load generator and a measuring subscriber that join as hidden nodes of their own.
//!
//! An event is `{bench, Sender, Sequence, SentMicros, Padding}`, so that a subscriber on the same machine can tell
//! order, completeness and latency.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use tokio::sync::Notify;

use super::{Failure, cookie, say};
use crate::etf::{Term, TermBuf, TermRef, encode, text};
use crate::instance::erlang::request;
use crate::instance::since::Since;
use crate::node::{CallError, Flow, Node, NodeConfig, Peer, Process, dialer};
use crate::proto::NodeName;
use crate::proto::control;
use crate::proto::handshake::Local;
use crate::proto::packet::Envelope;
use crate::time::{Clock, Timestamp, monotonic};

/// Generate load and measure.
#[derive(Subcommand)]
pub(super) enum Bench {
    /// Cast events as fast as they are taken, or at a rate, and wait until all are in the log
    Ingest(Ingest),
    /// Subscribe, count, check order and measure latency of what `bench ingest` sends
    Subscribe(Subscribe),
}

/// Which node to measure.
#[derive(Args, Clone)]
struct Target {
    /// The node [default: logmachine on this host]
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// The instance
    #[arg(long, default_value = "error_logger")]
    instance: String,
    /// File with the cookie [default: ~/.erlang.cookie]
    #[arg(long, value_name = "F")]
    cookie_file: Option<PathBuf>,
    /// The cookie itself; for tests, as it shows in process lists
    #[arg(long, value_name = "C", env = "LOGMACHINE_SETCOOKIE", hide_env_values = true)]
    setcookie: Option<String>,
}

#[derive(Args)]
pub(super) struct Ingest {
    #[command(flatten)]
    target: Target,
    /// How many events
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Bytes of each event as an external term, 30 at least
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u32).range(30..=1_000_000))]
    bytes: u32,
    /// Events a second [default: as fast as they are taken]
    #[arg(long)]
    rate: Option<u64>,
    /// Connections, each a node of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    connections: u8,
    /// Append by this many concurrent callers instead of casting, each waiting for its answer
    #[arg(long)]
    callers: Option<u16>,
}

#[derive(Args)]
pub(super) struct Subscribe {
    #[command(flatten)]
    target: Target,
    /// Where to begin: `earliest` or `now`
    #[arg(long, default_value = "now", value_parser = ["earliest", "now"])]
    from: String,
    /// Stop after this many entries
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Take up to this many entries in a message
    #[arg(long)]
    batch: Option<u32>,
    /// Give up after this many seconds without an entry
    #[arg(long, default_value_t = 10)]
    patience: u64,
}

impl Bench {
    pub(super) fn run(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.map_err(Failure::failed)?.block_on(async {
            match self {
                Bench::Ingest(ingest) => ingest.run().await,
                Bench::Subscribe(subscribe) => subscribe.run().await,
            }
        })
    }
}

impl Target {
    /// Joins as a hidden node that does not listen.
    async fn join(&self, purpose: &str) -> Result<(Node, Arc<Peer>), Failure> {
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        let host = host.split('.').next().unwrap_or_default();
        let target = self.node.clone().unwrap_or_else(|| format!("logmachine@{host}"));
        let target = NodeName::new(&target)
            .ok_or_else(|| Failure::usage(format!("{target:?} is no node name")))?;
        let cookie = match &self.setcookie {
            Some(cookie) => cookie.clone(),
            None => cookie::read(self.cookie_file.as_deref()).map_err(Failure::usage)?,
        };
        let creation = std::process::id();
        let name = format!("bench_{purpose}_{creation}@{}", target.host());
        let name = NodeName::new(&name).expect("built from a node's host");
        let local = Local { name, creation, cookie };
        let config = NodeConfig::default();
        let node = Node::new(local, config);
        let peer = dialer::connect(&node, &target).await.map_err(Failure::failed)?;
        let receiver = self.receiver();
        let asked = node.call(&peer, &receiver, request::write_global_alias).await;
        match asked {
            Ok(_) => Ok((node, peer)),
            Err(CallError::Down(reason)) if reason == "noproc" => {
                Err(Failure::failed(format!("{target} has no instance {}", self.instance)))
            }
            Err(error) => Err(Failure::failed(error)),
        }
    }

    fn receiver(&self) -> String {
        format!(".{}.receiver.srv", self.instance)
    }
}

impl Ingest {
    async fn run(self) -> Result<(), Failure> {
        let mut joined = Vec::new();
        for number in 0..self.connections {
            joined.push(self.target.join(&format!("ingest{number}")).await?);
        }
        let begin = monotonic();
        let mut senders = tokio::task::JoinSet::new();
        let this = Arc::new(self);
        for (number, (node, peer)) in joined.iter().cloned().enumerate() {
            match this.callers {
                None => {
                    senders.spawn(this.clone().cast(node, peer, number));
                }
                Some(callers) => {
                    for caller in 0..callers {
                        let share = this.share(number) / u64::from(callers);
                        let (node, peer) = (node.clone(), peer.clone());
                        senders.spawn(this.clone().call(node, peer, u64::from(caller), share));
                    }
                }
            }
        }
        let mut latencies = Vec::new();
        while let Some(sent) = senders.join_next().await {
            latencies.extend(sent.map_err(Failure::failed)??);
        }
        let seconds = begin.elapsed().as_secs_f64();
        let this = &*this;
        #[expect(clippy::cast_precision_loss, reason = "a rate to three digits")]
        let rate = this.events as f64 / seconds;
        let mbytes = rate * f64::from(this.bytes) / 1e6;
        say(&format!(
            "{} events of {} bytes in {seconds:.3} s: {rate:.0} events/s, {mbytes:.1} MB/s, all recorded",
            this.events, this.bytes
        ));
        if !latencies.is_empty() {
            say(&format!("append latency in microseconds: {}", percentiles(&mut latencies)));
        }
        Ok(())
    }

    /// How many events connection `number` sends.
    fn share(&self, number: usize) -> u64 {
        let connections = u64::from(self.connections);
        self.events / connections + u64::from((number as u64) < self.events % connections)
    }

    fn event(&self, out: &mut Vec<u8>, sender: u64, sequence: u64, sent: Timestamp) {
        let start = out.len();
        encode::tuple_header(out, 5);
        encode::atom(out, "bench");
        encode::unsigned(out, sender);
        encode::unsigned(out, sequence);
        encode::unsigned(out, sent.micros());
        let padding = (self.bytes as usize).saturating_sub(out.len() - start + 5);
        encode::binary(out, &[b'x'; 1_000_000][..padding]);
    }

    /// Casts one connection's share, then calls: the answer means that all before it is recorded.
    async fn cast(
        self: Arc<Self>,
        node: Node,
        peer: Arc<Peer>,
        number: usize,
    ) -> Result<Vec<u32>, Failure> {
        let (from, receiver) = (node.spawn_mailbox().0, self.target.receiver());
        let mut cast = Vec::new();
        encode::tuple_header(&mut cast, 2);
        encode::atom(&mut cast, "$gen_cast");
        let head = |out: &mut Vec<u8>| control::reg_send_head(out, &from, &receiver);
        let envelope = Envelope::new(head, &cast, &[]);
        let (clock, begin, share) = (Clock::system(), monotonic(), self.share(number));
        let per_connection = self.rate.map(|rate| (rate / u64::from(self.connections)).max(1));
        let mut sequence = 0;
        while sequence < share {
            if !peer.room().await {
                return Err(Failure::failed("the node closed the connection"));
            }
            let mut due = share;
            if let Some(rate) = per_connection {
                let micros = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
                due = share.min(micros.saturating_mul(rate) / 1_000_000 + 1);
                if due <= sequence {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
            }
            let now = clock.now();
            peer.send(|out| {
                let until = out.len() + 128 * 1024;
                while sequence < due && out.len() < until {
                    let start = envelope.begin(out);
                    self.event(out, number as u64, sequence, now);
                    envelope.finish(out, start);
                    sequence += 1;
                }
            });
        }
        // The log may be far behind: ask again rather than give up.
        loop {
            let answer = node.call(&peer, &receiver, |out| encode::atom(out, "info")).await;
            if answer.is_ok() {
                break;
            }
        }
        self.barrier(&node, &peer).await?;
        Ok(Vec::new())
    }

    /// Waits until everything sent before is recorded.
    async fn barrier(&self, node: &Node, peer: &Arc<Peer>) -> Result<(), Failure> {
        let receiver = self.target.receiver();
        let answer = node.call(peer, &receiver, |out| {
            request::write_append(out, |out| {
                encode::tuple_header(out, 2);
                encode::atom(out, "bench");
                encode::atom(out, "end");
            });
        });
        let answer = answer.await.map_err(Failure::failed)?;
        let appended = answer.as_term().as_tuple::<2>();
        if appended.is_some_and(|[ok, _]| ok.is_atom("ok")) {
            return Ok(());
        }
        Err(Failure::failed("the instance does not record"))
    }

    /// Appends one caller's share, one after the other; the latency of each.
    async fn call(
        self: Arc<Self>,
        node: Node,
        peer: Arc<Peer>,
        caller: u64,
        share: u64,
    ) -> Result<Vec<u32>, Failure> {
        let (clock, receiver) = (Clock::system(), self.target.receiver());
        let mut latencies = Vec::new();
        for sequence in 0..share {
            let begin = monotonic();
            let answer = node.call(&peer, &receiver, |out| {
                request::write_append(out, |out| {
                    self.event(out, caller, sequence, clock.now());
                });
            });
            answer.await.map_err(Failure::failed)?;
            latencies.push(u32::try_from(begin.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
        Ok(latencies)
    }
}

/// What the measuring subscriber has seen.
#[derive(Default)]
struct Seen {
    entries: u64,
    bytes: u64,
    out_of_order: u64,
    missing: u64,
    last: Timestamp,
    /// The next sequence number of each sender.
    next: std::collections::HashMap<i64, i64>,
    latencies: Vec<u32>,
    first_at: Option<Instant>,
    last_at: Option<Instant>,
}

/// The subscriber: measures on the connection's own task.
struct Meter {
    seen: Mutex<Seen>,
    clock: Clock,
    wanted: u64,
    has_come: AtomicBool,
    done: Notify,
}

impl Process for Meter {
    fn messages(&self, _peer: &Arc<Peer>, messages: &[TermRef<'_>]) -> Flow {
        let now = self.clock.now();
        let mut seen = self.seen.lock().expect("no panic while it is held");
        for message in messages {
            let Some([_marker, entry]) = message.as_tuple() else { continue };
            match entry.view() {
                Term::List(list) => list.elements().for_each(|entry| seen.entry(entry, now)),
                _ => seen.entry(entry, now),
            }
        }
        let at = monotonic();
        seen.first_at.get_or_insert(at);
        seen.last_at = Some(at);
        self.has_come.store(true, Ordering::Relaxed);
        if seen.entries >= self.wanted {
            self.done.notify_one();
        }
        Flow::Go
    }
}

impl Seen {
    fn entry(&mut self, entry: TermRef<'_>, now: Timestamp) {
        let Some([stamp, event]) = entry.as_tuple() else { return };
        let parts: Option<[TermRef<'_>; 3]> = stamp.as_tuple();
        let stamp = parts.and_then(|[mega, secs, micros]| {
            let (mega, secs) = (mega.as_integer()?, secs.as_integer()?);
            Timestamp::from_parts(mega, secs, micros.as_integer()?)
        });
        self.entries += 1;
        self.bytes += event.bytes().len() as u64;
        let stamp = stamp.unwrap_or_default();
        self.out_of_order += u64::from(stamp <= self.last);
        self.last = stamp;
        if let Some([_, sender, sequence, sent, _]) = event.as_tuple()
            && let (Some(sender), Some(sequence), Some(sent)) =
                (sender.as_integer(), sequence.as_integer(), sent.as_integer())
        {
            let next = self.next.entry(sender).or_insert(sequence);
            self.missing += u64::from(sequence != *next);
            *next = sequence + 1;
            let micros = now.micros().saturating_sub(sent.cast_unsigned());
            self.latencies.push(u32::try_from(micros).unwrap_or(u32::MAX));
        }
    }
}

impl Subscribe {
    async fn run(self) -> Result<(), Failure> {
        let (node, peer) = self.target.join("subscribe").await?;
        let meter = Arc::new(Meter {
            seen: Mutex::default(),
            clock: Clock::system(),
            wanted: self.events,
            has_come: AtomicBool::new(false),
            done: Notify::new(),
        });
        let pid = node.spawn(|_| meter.clone());
        let marker = TermBuf::written(|out| encode::atom(out, "bench"));
        let subscribe = request::Subscribe {
            from: if self.from == "earliest" { Since::Earliest } else { Since::Now },
            pid,
            marker: Some(marker),
            batch: self.batch,
            credit: None,
        };
        let receiver = self.target.receiver();
        let answer = node.call(&peer, &receiver, |out| subscribe.write(out));
        let answer = answer.await.map_err(Failure::failed)?;
        let answer = answer.as_term();
        if !answer.as_tuple::<2>().is_some_and(|[ok, _]| ok.is_atom("ok")) {
            return Err(Failure::failed(format!("subscribing: {}", text::to_text(answer))));
        }
        say("subscribed");
        let patience = Duration::from_secs(self.patience);
        loop {
            if tokio::time::timeout(patience, meter.done.notified()).await.is_ok() {
                break;
            }
            if !meter.has_come.swap(false, Ordering::Relaxed) {
                say(&format!("no entry for {} s", self.patience));
                break;
            }
        }
        report(&mut meter.seen.lock().expect("no panic while it is held"));
        Ok(())
    }
}

fn report(seen: &mut Seen) {
    let span = seen.last_at.zip(seen.first_at).map(|(last, first)| last - first);
    let seconds = span.unwrap_or_default().as_secs_f64().max(1e-9);
    #[expect(clippy::cast_precision_loss, reason = "a rate to three digits")]
    let (rate, mbytes) = (seen.entries as f64 / seconds, seen.bytes as f64 / seconds / 1e6);
    say(&format!(
        "{} entries in {seconds:.3} s: {rate:.0} events/s, {mbytes:.1} MB/s; {} out of order, {} gaps",
        seen.entries, seen.out_of_order, seen.missing
    ));
    if !seen.latencies.is_empty() {
        say(&format!("latency in microseconds: {}", percentiles(&mut seen.latencies)));
    }
}

fn percentiles(latencies: &mut [u32]) -> String {
    latencies.sort_unstable();
    let at = |per_mille: usize| latencies[(latencies.len() - 1) * per_mille / 1000];
    format!(
        "p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
        at(500),
        at(900),
        at(990),
        at(999),
        at(1000)
    )
}
