//! Tells people and processes of alerts: a thread for each receiver, which reads the instance `alerts`.
//!
//! That log is the queue. What a receiver was told is behind its position, which is stored; a receiver that cannot be reached
//! is tried again, and the ones after it wait. So each is told of every alert that its rules name it for, at least once and in
//! order.
//!
//! # Invariants
//!
//! - `at_least_once`: a position is stored behind what was delivered, or given up.
//! - `both_or_none`: who is told that an alert is resolved was told that it fires, and the other way round as long as a rule
//!   names the receiver.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tracing::{info, warn};

use super::background::{Background, FETCH_BYTES, PERIOD, RETRY, Stops};
use super::checkpoint;
use super::rules::RuleWatcher;
#[cfg(feature = "http")]
use super::webhook::{Sender, Webhook};
use crate::analysis::alert_event::{AlertEvent, AlertId, Phase};
use crate::analysis::rule::{Destination, Receiver, Rule};
use crate::etf::{AtomRef, TermRef, encode};
use crate::instance::Instance;
use crate::instance::read::{self, Entry};
use crate::metrics::{ReceiverMetrics, ReceiverStats};
use crate::node::Node;
use crate::store::{ReadError, StoreCursor};
#[cfg(feature = "http")]
use crate::time::Clock;
use crate::time::{Timestamp, monotonic};

/// What files begin with in which positions are stored.
const MAGIC: &[u8] = b"logmachine receiver 1\n";

/// What is older than this is news to nobody.
const MAX_AGE: Duration = Duration::from_secs(86_400);

/// How long to wait before an attempt is repeated: so long at first, twice as long each time, up to that.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// How often what a receiver refuses for good is tried.
const REFUSED_TRIES: u32 = 5;

/// How long an answer from another node is waited for.
const NODE_TIME: Duration = Duration::from_secs(5);

/// Alerts that a receiver was told to fire, or was not because of a silence; the oldest give way.
const MAX_OPEN: usize = 100_000;

/// Who can be told of alerts.
#[derive(Clone, Debug, Default)]
pub struct NotifyConfig {
    /// Webhooks.
    #[cfg(feature = "http")]
    pub webhooks: Vec<Webhook>,
    /// What links in messages begin with.
    pub public_url: Option<String>,
}

/// Tells receivers.
pub struct Notifier {
    node: Node,
    told: Arc<Instance>,
    rules: Arc<RuleWatcher>,
    dir: PathBuf,
    at_work: Mutex<Vec<AtWork>>,
}

/// A receiver that is told.
struct AtWork {
    state: Arc<State>,
    thread: Background,
}

/// What others see of a receiver.
struct State {
    receiver: Receiver,
    metrics: ReceiverMetrics,
    /// Alerts that wait.
    waiting: Mutex<u64>,
}

impl Notifier {
    /// Starts. Receivers that it does not know yet are told of what is recorded from `since` on.
    pub fn start(
        node: &Node,
        told: &Arc<Instance>,
        rules: &Arc<RuleWatcher>,
        dir: PathBuf,
        config: &NotifyConfig,
        since: Timestamp,
    ) -> Self {
        let this = Notifier {
            node: node.clone(),
            told: told.clone(),
            rules: rules.clone(),
            dir,
            at_work: Mutex::default(),
        };
        this.replace(config, since);
        this
    }

    /// Goes on with other receivers; those that are new are told of what is recorded from `since` on. Blocks until it is
    /// stored what the ones so far were told.
    pub fn replace(&self, config: &NotifyConfig, since: Timestamp) {
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        stop_all(&std::mem::take(&mut *at_work));
        let running = self.rules.running();
        let mut receivers: Vec<Receiver> = Vec::new();
        for receiver in running.iter().flat_map(|running| &running.rule.notify) {
            if !receivers.contains(receiver) {
                receivers.push(receiver.clone());
            }
        }
        at_work.extend(receivers.into_iter().filter_map(|it| self.begin(it, config, since)));
    }

    fn begin(&self, receiver: Receiver, config: &NotifyConfig, since: Timestamp) -> Option<AtWork> {
        let channel = match &receiver {
            Receiver::Process(destination) => {
                Channel::Process(destination.clone(), self.node.clone())
            }
            #[cfg(feature = "http")]
            Receiver::Webhook(name) => {
                let Some(webhook) = config.webhooks.iter().find(|it| it.name == *name) else {
                    warn!(%receiver, "there is no such webhook: nobody is told");
                    return None;
                };
                Channel::Webhook(
                    Sender::new(webhook, config.public_url.as_deref()),
                    self.told.clock().clone(),
                )
            }
            #[cfg(not(feature = "http"))]
            Receiver::Webhook(_) => {
                let _ = config;
                warn!(%receiver, "webhooks need the feature `http`: nobody is told");
                return None;
            }
        };
        // It holds what no file's name can.
        let digest = md5::compute(receiver.to_string());
        let stored = self.dir.join(format!("{digest:x}.receiver"));
        let known = checkpoint::load(MAGIC, &stored, &receiver.to_string());
        let known = known.unwrap_or_else(|| Known::new(since));
        let state = Arc::new(State {
            receiver,
            metrics: ReceiverMetrics::default(),
            waiting: Mutex::default(),
        });
        let work = Work {
            cursor: self.told.log().cursor(known.position, false),
            told: self.told.clone(),
            rules: self.rules.clone(),
            runtime: Handle::current(),
            state: state.clone(),
            look_at: monotonic(),
            channel,
            known,
            stored,
        };
        // That there is this receiver is remembered from here on.
        work.store();
        let thread = Background::start("receiver", move |stops| work.run(&stops));
        Some(AtWork { state, thread })
    }

    /// Stops, and stores what receivers were told. Blocks until it is stored.
    pub fn stop(&self) {
        let at_work =
            std::mem::take(&mut *self.at_work.lock().unwrap_or_else(PoisonError::into_inner));
        stop_all(&at_work);
    }

    /// The numbers of each receiver, by its name.
    pub fn stats(&self) -> Vec<(String, ReceiverStats)> {
        let at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        let stats = |AtWork { state, .. }: &AtWork| {
            let waiting = *state.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            (state.receiver.to_string(), ReceiverStats { waiting, ..state.metrics.read() })
        };
        at_work.iter().map(stats).collect()
    }
}

/// Each may be in the middle of an attempt: they end at the same time.
fn stop_all(at_work: &[AtWork]) {
    at_work.iter().for_each(|it| it.thread.ask_to_stop());
    at_work.iter().for_each(|it| it.thread.stop());
}

/// How a receiver is reached.
enum Channel {
    Process(Destination, Node),
    #[cfg(feature = "http")]
    Webhook(Sender, Clock),
}

/// Why an attempt failed.
struct Failed {
    why: String,
    /// Whether it was understood and refused.
    is_refused: bool,
    /// How long not to try again, as the receiver says.
    pause: Option<Duration>,
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Failed { why, is_refused: false, pause: None }
    }
}

impl Channel {
    fn send(&self, alert: &AlertEvent, runtime: &Handle) -> Result<(), Failed> {
        match self {
            Channel::Process(destination, node) => {
                Ok(runtime.block_on(tell_process(node, destination, alert))?)
            }
            #[cfg(feature = "http")]
            Channel::Webhook(sender, clock) => {
                sender.send(alert, clock.now()).map_err(|error| Failed {
                    is_refused: error.is_final(),
                    pause: error.retry_after(),
                    why: error.to_string(),
                })
            }
        }
    }
}

/// Sends the event to the process, if there is one.
async fn tell_process(node: &Node, to: &Destination, alert: &AlertEvent) -> Result<(), String> {
    let Some([first, second]) = to.to.as_term().as_tuple() else {
        return Err("no name".to_owned());
    };
    let peers: Vec<_> = match second.as_atom().map(AtomRef::to_str) {
        Some(name) if !first.is_atom("global") => {
            let peer = node.peer(&name).ok_or_else(|| format!("{name} is not connected"))?;
            vec![peer]
        }
        _ => node.peers().into_iter().filter(|peer| peer.is_visible()).collect(),
    };
    let (module, name) =
        if first.is_atom("global") { ("global", second) } else { ("erlang", first) };
    let function = if first.is_atom("global") { "whereis_name" } else { "whereis" };
    let mut last = Err("no node is connected".to_owned());
    for peer in peers {
        let arguments = |out: &mut Vec<u8>| {
            encode::list_header(out, 1);
            out.extend_from_slice(name.bytes());
            encode::nil(out);
        };
        let answer = node.rpc_within(NODE_TIME, &peer, module, function, arguments).await;
        let pid = answer.map(|answer| answer.as_term().as_pid());
        last = match pid {
            Ok(Some(pid)) => {
                let event = alert.encode();
                let write = |out: &mut Vec<u8>| {
                    if to.is_cast {
                        encode::tuple_header(out, 2);
                        encode::atom(out, "$gen_cast");
                    }
                    out.extend_from_slice(event.bytes());
                };
                match node.send(&pid, write) {
                    true => return Ok(()),
                    false => Err(format!("its node, {}, is not connected", pid.node)),
                }
            }
            Ok(None) => Err("there is no process of this name".to_owned()),
            Err(error) => Err(error.to_string()),
        };
    }
    last
}

/// What a receiver was told.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Known {
    /// Entries stamped before this have been dealt with.
    position: Timestamp,
    /// Alerts that it was told to fire.
    open: BTreeSet<AlertId>,
    /// Alerts that it was not told of, because of a silence; and the entries that tell of them.
    quieted: BTreeMap<AlertId, Timestamp>,
}

impl Known {
    fn new(position: Timestamp) -> Self {
        Known { position, ..Known::default() }
    }
}

/// What the thread owns.
struct Work {
    told: Arc<Instance>,
    rules: Arc<RuleWatcher>,
    runtime: Handle,
    state: Arc<State>,
    channel: Channel,
    cursor: Box<dyn StoreCursor>,
    known: Known,
    stored: PathBuf,
    /// When to look again whether silences are over.
    look_at: Instant,
}

/// What became of an attempt, in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Delivered,
    GivenUp,
    Quieted,
    /// The program is to stop.
    Stopped,
}

impl Work {
    fn run(mut self, stops: &Stops) {
        while !stops.asked() {
            match self.pass(stops) {
                Ok(true) => {}
                Ok(false) => std::thread::park_timeout(PERIOD),
                Err(error) => {
                    warn!(receiver = %self.state.receiver, %error, "cannot read what to tell");
                    std::thread::park_timeout(RETRY);
                }
            }
        }
        self.store();
    }

    /// Deals with the next alerts; whether there may be more.
    fn pass(&mut self, stops: &Stops) -> Result<bool, ReadError> {
        if monotonic() >= self.look_at {
            self.look_at = monotonic() + RETRY;
            self.tell_what_was_quiet(stops);
        }
        let Some(chunk) = self.cursor.next(FETCH_BYTES / 16)? else {
            self.cursor.let_go(None);
            return Ok(false);
        };
        let alerts = chunk.entries().filter_map(|entry| {
            let alert = AlertEvent::decode(TermRef::from_walked(entry.event))?;
            Some((entry.timestamp, alert))
        });
        let alerts: Vec<_> = alerts.collect();
        for (n, (at, alert)) in alerts.iter().enumerate() {
            self.show_waiting(alerts.len() - n);
            if self.is_for_us(alert) && self.deal_with(*at, alert, stops) == End::Stopped {
                // What was fetched comes again in the next life.
                return Ok(false);
            }
            self.known.position = at.next();
        }
        self.show_waiting(0);
        Ok(true)
    }

    fn show_waiting(&self, alerts: usize) {
        *self.state.waiting.lock().unwrap_or_else(PoisonError::into_inner) = alerts as u64;
    }

    fn is_for_us(&self, alert: &AlertEvent) -> bool {
        let notifies =
            |rule: &Rule| rule.name == alert.rule && rule.notify.contains(&self.state.receiver);
        match alert.phase {
            Phase::Firing => {
                alert.has_due_id()
                    && self.rules.running().iter().any(|running| notifies(&running.rule))
            }
            Phase::Resolved => {
                self.known.open.contains(&alert.id) || self.known.quieted.contains_key(&alert.id)
            }
        }
    }

    fn deal_with(&mut self, at: Timestamp, alert: &AlertEvent, stops: &Stops) -> End {
        let end = match alert.phase {
            Phase::Resolved if self.known.quieted.remove(&alert.id).is_some() => End::Quieted,
            _ => self.deliver(alert, stops),
        };
        match (alert.phase, end) {
            (_, End::Stopped) => return end,
            (Phase::Firing, End::Delivered) => _ = self.known.open.insert(alert.id),
            (Phase::Firing, End::Quieted) => _ = self.known.quieted.insert(alert.id, at),
            (Phase::Firing, End::GivenUp) => {}
            (Phase::Resolved, _) => _ = self.known.open.remove(&alert.id),
        }
        if self.known.open.len() > MAX_OPEN {
            self.known.open.pop_first();
        }
        if self.known.quieted.len() > MAX_OPEN {
            self.known.quieted.pop_first();
        }
        self.known.position = self.known.position.max(at.next());
        self.store();
        end
    }

    /// Tells of what fires still when its silence is over.
    fn tell_what_was_quiet(&mut self, stops: &Stops) {
        let quieted: Vec<_> = self.known.quieted.iter().map(|(id, at)| (*id, *at)).collect();
        for (id, at) in quieted {
            let found: Option<Entry> = self
                .runtime
                .block_on(read::at(&self.told, at, Vec::new()))
                .ok()
                .and_then(|mut it| it.pop());
            let alert = found.and_then(|entry| AlertEvent::decode(entry.event.as_term()));
            let Some(alert) = alert else {
                self.known.quieted.remove(&id);
                continue;
            };
            if self.is_quiet(&alert) {
                continue;
            }
            match self.deliver(&alert, stops) {
                End::Stopped => return,
                End::Quieted => {}
                End::GivenUp => _ = self.known.quieted.remove(&id),
                End::Delivered => {
                    self.known.quieted.remove(&id);
                    self.known.open.insert(id);
                }
            }
            self.store();
        }
    }

    fn is_quiet(&self, alert: &AlertEvent) -> bool {
        alert.phase == Phase::Firing && self.rules.silences().quiet(alert, self.told.clock().now())
    }

    /// Tries until it is done, or there is no use in it.
    fn deliver(&self, alert: &AlertEvent, stops: &Stops) -> End {
        let State { receiver, metrics, .. } = &*self.state;
        let (mut pause, mut refused) = (FIRST_PAUSE, 0);
        loop {
            let now = self.told.clock().now();
            if self.is_quiet(alert) {
                metrics.quieted.inc();
                return End::Quieted;
            }
            if now.saturating_sub(MAX_AGE) > alert.at {
                metrics.given_up.inc();
                warn!(%receiver, alert = %alert.id, rule = alert.rule, "it is a day old: nobody is told");
                return End::GivenUp;
            }
            let failed = match self.channel.send(alert, &self.runtime) {
                Ok(()) => {
                    metrics.delivered.inc();
                    if pause != FIRST_PAUSE {
                        info!(%receiver, alert = %alert.id, "delivered at last");
                    }
                    return End::Delivered;
                }
                Err(failed) => failed,
            };
            metrics.failed.inc();
            refused += u32::from(failed.is_refused);
            let why = failed.why;
            if refused >= REFUSED_TRIES {
                metrics.given_up.inc();
                warn!(%receiver, alert = %alert.id, rule = alert.rule, "refused for good: {why}");
                return End::GivenUp;
            }
            let wait = failed.pause.unwrap_or_default().max(pause);
            warn!(%receiver, alert = %alert.id, "tried again in {}: {why}", humantime::format_duration(wait));
            if !wait_for(wait, stops) {
                return End::Stopped;
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    fn store(&self) {
        let bytes = checkpoint::bytes(MAGIC, &self.known);
        if let Err(error) = checkpoint::store(&self.stored, &bytes) {
            warn!(receiver = %self.state.receiver, %error, "what it was told cannot be stored: it may be told again");
        }
    }
}

/// False if the program is to stop before.
fn wait_for(span: Duration, stops: &Stops) -> bool {
    let until = monotonic() + span;
    while monotonic() < until {
        if stops.asked() {
            return false;
        }
        std::thread::park_timeout(until.saturating_duration_since(monotonic()));
    }
    !stops.asked()
}
