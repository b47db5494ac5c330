//! One event log with all its parts, in the order an event travels: receiver, stamp, recorder, cacher (the
//! log's own cache), session. The locator brings events in from nodes that know nothing of us.

pub mod analyst;
pub mod budget;
pub mod calls;
mod entry;
pub mod erlang;
mod inbox;
pub mod info;
mod live_registry;
pub mod locator;
#[cfg(test)]
mod queue_tests;
pub mod read;
pub mod reader;
pub mod receiver;
pub mod recorder;
pub mod redaction;
#[cfg_attr(
    not(feature = "http"),
    allow(dead_code, reason = "who follows the log without a process is the API")
)]
pub(crate) mod search;
pub mod session;
#[cfg(test)]
mod simulation;
pub mod since;
pub mod stamp;
pub mod subscription;

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{oneshot, watch};

pub use recorder::{Failure, Overload, Recording, Stamped};

pub use crate::store::SyncMode;

use crate::etf::{Pid, TermBuf};
use crate::metrics::{InstanceMetrics, InstanceStats};
use crate::node::names::{self, Conflicts, Held, NameKeeper};
use crate::node::task::Owned;
use crate::node::{Flow, Node};
use crate::store::{self, DurableCursors, LogConfig, OpenError, Store, StoreWriter};
use crate::time::{Clock, Timestamp};
use analyst::Analyst;
use budget::Budget;
use erlang::answer;
use info::InstanceInfo;
use locator::Locator;
use locator::target::Capture;
use receiver::Receiver;
use recorder::{OnRecorded, Recorder, RecorderConfig, Tail};
use redaction::Redaction;
use session::{Refused, SessionState};
use subscription::Subscription;

/// How an instance is set up.
#[derive(Clone, Debug)]
pub struct InstanceConfig {
    /// Its log in files, and with it its name.
    pub log: LogConfig,
    /// How it records.
    pub recorder: RecorderConfig,
    /// What is kept out of the log of what is cast.
    pub redaction: Redaction,
    /// The largest event taken, in bytes of its external term.
    pub max_event_bytes: usize,
    /// What it captures on other nodes.
    pub capture: Option<Capture>,
    /// How long a lower number of its global name has to be free before it moves there.
    pub takeover: Option<Duration>,
    /// Whether its errors are kept together as faults.
    pub faults: bool,
}

impl InstanceConfig {
    /// An instance whose log is in `dir`, which is made if it is missing, with the defaults of `docs/configuration.md`:
    /// it captures nothing, syncs every second, and keeps everything.
    ///
    /// ```
    /// use logmachine::{InstanceConfig, SyncMode};
    ///
    /// let mut orders = InstanceConfig::new("orders", "data/orders".as_ref());
    /// orders.recorder.sync = SyncMode::Always;
    /// orders.log.max_bytes = Some(10 << 30);
    /// ```
    pub fn new(name: &str, dir: &Path) -> Self {
        const MINUTES: u64 = 60;
        const HOURS: u64 = 60 * MINUTES;
        const DAYS: u64 = 24 * HOURS;
        let span = |seconds| Some(Duration::from_secs(seconds));
        InstanceConfig {
            log: LogConfig {
                name: name.to_owned(),
                dir: dir.to_owned(),
                arch_dir: dir.join("archive"),
                segment_bytes: Some(256 << 20),
                reopen_period: span(30 * MINUTES),
                cache_bytes: Some(256 << 20),
                evict_after: span(4 * HOURS),
                evict_period: Duration::from_secs(5),
                archive_after: span(7 * DAYS),
                archive_period: Duration::from_secs(60 * MINUTES),
                delete_after: None,
                max_bytes: None,
                min_free_bytes: Some(1 << 30),
                scrub_period: span(30 * DAYS),
            },
            recorder: RecorderConfig {
                sync: SyncMode::Interval(Duration::from_secs(1)),
                overload: Overload::Block { at_most: span(2) },
                pending_bytes: 64 << 20,
            },
            redaction: Redaction::default(),
            max_event_bytes: 16 << 20,
            capture: None,
            takeover: span(30),
            faults: true,
        }
    }
}

/// Why events were not recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// There are none.
    #[error("no event")]
    Nothing,
    /// One of them is too large; none was taken in.
    #[error("an event of {bytes} bytes, limit is {limit_bytes}")]
    TooLarge {
        /// Bytes of the event's term.
        bytes: usize,
        /// The largest that is taken.
        limit_bytes: usize,
    },
    /// The recorder failed, or is behind and does not take them.
    #[error("not recorded: {0}")]
    Recorder(Failure),
}

/// A running instance.
pub struct Instance {
    name: Arc<str>,
    config: InstanceConfig,
    node: Node,
    pid: Pid,
    tail: Arc<Tail>,
    log: Arc<dyn Store>,
    clock: Clock,
    metrics: Arc<InstanceMetrics>,
    sessions: DashMap<Pid, Arc<SessionState>>,
    /// Sessions of the original's live registry, by the term they were registered under.
    live_registry: DashMap<TermBuf, Pid>,
    cursors: Arc<dyn DurableCursors>,
    budget: Arc<Budget>,
    held: watch::Receiver<Held>,
    conflicts: Arc<Conflicts>,
    recorder: Mutex<Option<std::thread::JoinHandle<()>>>,
    keeper: Owned,
    locator: Locator,
    /// Who is asked what the events mean. It knows the instance, and not the other way round.
    analyst: OnceLock<Weak<dyn Analyst>>,
}

/// An instance whose log is open and whose recorder does not run yet.
pub struct OpenedInstance {
    config: InstanceConfig,
    writer: Box<dyn StoreWriter>,
    log: Arc<dyn Store>,
    clock: Clock,
    cursors: Arc<dyn DurableCursors>,
}

impl OpenedInstance {
    /// Opens the log, repairing what a crash left. `is_alone` tells what [`store::file::is_alone`] said. Blocks.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; nothing was changed that a second try would miss.
    pub fn open(config: InstanceConfig, clock: Clock, is_alone: bool) -> Result<Self, OpenError> {
        let (log, sync) = (&config.log, config.recorder.sync);
        let opened = store::file::open_on_disk(log, sync, clock.clone(), is_alone)?;
        Ok(OpenedInstance::new(opened, config, clock))
    }

    /// With a log that is kept wherever it may be.
    pub(crate) fn new(store: store::Opened, config: InstanceConfig, clock: Clock) -> Self {
        let store::Opened { writer, log, cursors } = store;
        OpenedInstance { config, writer, log, clock, cursors }
    }

    /// The stamp after which the first one comes: later than any in the log, than any that a power loss may have taken
    /// from it, and than every position that was acknowledged. A subscriber that goes on there must not miss an event.
    fn newest_stamp(&self) -> Option<Timestamp> {
        self.writer.stamp_floor().max(self.cursors.highest())
    }

    /// Starts the recorder, takes events under the local name, and seeks a global one.
    pub fn start(self, node: &Node, budget: &Arc<Budget>) -> Arc<Instance> {
        let newest = self.newest_stamp();
        let OpenedInstance { config, writer, log, clock, cursors } = self;
        let name: Arc<str> = config.log.name.as_str().into();
        let metrics: Arc<InstanceMetrics> = Arc::default();
        let tail = Arc::new(Tail::new(config.recorder, newest, clock.clone(), metrics.clone()));
        let recorder = Recorder::new(name.clone(), tail.clone(), writer);
        let thread = std::thread::Builder::new().name(format!("recorder {name}"));
        let thread = thread.spawn(move || recorder.run()).expect("a thread can be started");
        let conflicts: Arc<Conflicts> = Arc::default();
        let (held_sender, held) = watch::channel(Held::Seeking);
        let instance = Arc::new_cyclic(|this| {
            let pid = node.spawn(|_| Arc::new(Receiver::new(this.clone())));
            let keeper = NameKeeper::new(
                node.clone(),
                name.clone(),
                pid.clone(),
                config.takeover,
                conflicts.clone(),
                held_sender,
            );
            let capture = config.capture.clone();
            Instance {
                keeper: Owned::spawn(keeper.run()),
                locator: Locator::start(node, &name, capture, tail.clone(), clock.clone()),
                name: name.clone(),
                config,
                node: node.clone(),
                pid,
                tail,
                log,
                clock,
                metrics,
                sessions: DashMap::new(),
                live_registry: DashMap::new(),
                cursors,
                budget: budget.clone(),
                held,
                conflicts,
                recorder: Mutex::new(Some(thread)),
                analyst: OnceLock::new(),
            }
        });
        node.register(&format!(".{name}.receiver.srv"), &instance.pid);
        instance
    }
}

impl Instance {
    /// The name that it was configured with: nodes find it as `{Name, N}`, and its log's files begin with it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is set up.
    pub const fn config(&self) -> &InstanceConfig {
        &self.config
    }

    /// The node it runs on.
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// The receiver's pid.
    pub const fn pid(&self) -> &Pid {
        &self.pid
    }

    /// Events on their way to the log.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Records events, one behind the other; the stamps they got, once they are as durable as the configuration says.
    ///
    /// # Errors
    ///
    /// [`AppendError`]; what it says of the recorder leaves open whether they are in the log.
    pub async fn append(&self, events: &[TermBuf]) -> Result<Stamped, AppendError> {
        self.check(events)?;
        let (told, recorded) = oneshot::channel();
        let tell = move |result| {
            // Nobody waits any more.
            let _ = told.send(result);
        };
        // Who waits for the answer has no need to be held up as well.
        let _ = self.take_in(events.iter().map(TermBuf::bytes), Some(Box::new(tell)));
        recorded
            .await
            .map_err(|_| "the recorder panicked".into())
            .flatten()
            .map_err(AppendError::Recorder)
    }

    /// Refuses events that can't be appended.
    pub(crate) fn check(&self, events: &[TermBuf]) -> Result<(), AppendError> {
        if events.is_empty() {
            return Err(AppendError::Nothing);
        }
        let large = events.iter().find(|event| !self.accepts(event.bytes().len()));
        large.map_or(Ok(()), |large| {
            let (bytes, limit_bytes) = (large.bytes().len(), self.config.max_event_bytes);
            Err(AppendError::TooLarge { bytes, limit_bytes })
        })
    }

    /// Takes the bytes of walked events in, as [`Tail::append`]; whether the peer that sent them has to wait.
    pub(crate) fn take_in<'a>(
        &self,
        events: impl ExactSizeIterator<Item = &'a [u8]>,
        recorded: Option<OnRecorded>,
    ) -> Flow {
        if self.tail.append(events, recorded) {
            Flow::Wait(vec![self.tail.clone()])
        } else {
            Flow::Go
        }
    }

    /// Tells who is asked what the events mean; once.
    pub fn set_analyst(&self, analyst: Weak<dyn Analyst>) {
        // A second one has nothing to say.
        let _ = self.analyst.set(analyst);
    }

    /// Who is asked that, if there is anybody.
    pub(crate) fn analyst(&self) -> Option<Arc<dyn Analyst>> {
        self.analyst.get()?.upgrade()
    }

    /// What has been recorded.
    pub fn log(&self) -> &dyn Store {
        &*self.log
    }

    /// What its stamps are made of.
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What has happened to events and to subscribers since it was started.
    pub fn metrics(&self) -> &InstanceMetrics {
        &self.metrics
    }

    /// The sessions that run.
    const fn sessions(&self) -> &DashMap<Pid, Arc<SessionState>> {
        &self.sessions
    }

    /// The original's live registry.
    pub(crate) const fn live_registry(&self) -> &DashMap<TermBuf, Pid> {
        &self.live_registry
    }

    /// Where durable cursors are kept.
    pub fn cursors(&self) -> &dyn DurableCursors {
        &*self.cursors
    }

    /// What it shares with the node's other instances.
    pub(crate) const fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// To be told when `global` gave the name to another process.
    pub(crate) fn name_conflicts(&self) -> &Conflicts {
        &self.conflicts
    }

    /// Whether an event of so many bytes is small enough; counts it otherwise.
    pub(crate) fn accepts(&self, event_bytes: usize) -> bool {
        let accepted = event_bytes <= self.config.max_event_bytes;
        if !accepted {
            self.metrics.refused.inc();
        }
        accepted
    }

    /// What is kept out of its log.
    pub(crate) const fn redaction(&self) -> &Redaction {
        &self.config.redaction
    }

    /// How it stands with its global name.
    pub fn global_alias(&self) -> Held {
        *self.held.borrow()
    }

    /// Starts a session; its pid. Where the subscription has a cursor that was acknowledged before, it goes on from
    /// there; that may block.
    ///
    /// # Errors
    ///
    /// [`Refused`]; nothing was started.
    pub fn subscribe(self: &Arc<Self>, mut subscription: Subscription) -> Result<Pid, Refused> {
        if let Some(cursor) = &subscription.cursor {
            // After the last acknowledged entry; a new cursor begins where the subscriber says.
            if let Some(position) = self.cursors.load(cursor).map_err(Refused::Cursor)? {
                subscription.selection.from = position.next();
            }
        }
        session::start(self, subscription)
    }

    /// What it says of itself.
    pub fn info(&self) -> InstanceInfo {
        let newest = self.log.committed().last;
        InstanceInfo {
            name: self.name.to_string(),
            data_dir: self.config.log.dir.clone(),
            arch_data_dir: self.config.log.arch_dir.clone(),
            global_alias: self.global_alias(),
            interval: self.log.interval(),
            cache_interval: self.log.cache_interval(),
            started: self.log.started(),
            stats: InstanceStats {
                pending_bytes: self.tail.pending_bytes() as u64,
                stamp_lead: self.tail.stamp_lead(),
                ..self.metrics.read()
            },
            log: self.log.stats(),
            recording: self.tail.recording(),
            sessions: self.sessions.iter().map(|session| session.info(newest)).collect(),
            handlers: self.locator.handlers(),
            port_mapper: self.node.port_mapper(),
        }
    }

    /// Stops taking events: handlers on other nodes are removed, its global names are given back.
    pub async fn stop_receiving(&self) {
        self.locator.stop().await;
        self.keeper.abort();
        names::unregister_all(&self.node, &self.name, &self.pid).await;
        self.node.exit(&self.pid, answer::atom("shutdown").bytes());
    }

    /// Writes and syncs what has been taken in, and closes the log. Blocks.
    ///
    /// # Errors
    ///
    /// Why the recorder failed, now or before: not everything that was taken in is in the log.
    pub fn stop_recording(&self) -> Result<(), Failure> {
        self.tail.close();
        let thread = self.recorder.lock().expect("no panic while the handle is held").take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            return Err("the recorder panicked".into());
        }
        match self.tail.recording() {
            Recording::Failed(failure) => Err(failure),
            Recording::Running | Recording::Waiting(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::recorder::tests::{Panicking, Trouble};
    use super::*;
    use crate::etf::text;
    use crate::event_log::Storage;
    use crate::event_log::storage::memory::{MemoryStorage, Seeded};
    use crate::node::NodeConfig;
    use crate::proto::NodeName;
    use crate::proto::handshake::Local;
    use crate::store::Batch;

    fn config() -> InstanceConfig {
        InstanceConfig {
            log: LogConfig::still("quotes", "/log".into(), "/log/archive".into()),
            recorder: RecorderConfig {
                sync: SyncMode::Always,
                overload: Overload::Block { at_most: None },
                pending_bytes: 1 << 20,
            },
            redaction: Redaction::default(),
            max_event_bytes: 1 << 20,
            capture: None,
            takeover: None,
            faults: true,
        }
    }

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    /// An instance whose log is on a storage of one's own.
    pub(super) fn open_on(
        storage: Arc<dyn Storage>,
        config: InstanceConfig,
        clock: Clock,
    ) -> OpenedInstance {
        let opened =
            store::file::open(storage, &config.log, config.recorder.sync, clock.clone(), true);
        OpenedInstance::new(opened.expect("the log opens"), config, clock)
    }

    fn open(files: &MemoryStorage, clock: &Clock) -> OpenedInstance {
        open_on(Arc::new(files.clone()), config(), clock.clone())
    }

    /// What the first event after the start is stamped.
    fn next_stamp(opened: &OpenedInstance) -> Timestamp {
        let (config, newest) = (opened.config.recorder, opened.newest_stamp());
        let tail = Tail::new(config, newest, opened.clock.clone(), Arc::default());
        tail.append([&*text::parse("one").expect("a term")].into_iter(), None);
        Timestamp::from_micros(tail.next_stamp().micros() - 1)
    }

    /// An event is seen and acknowledged before it is synced. Then the power fails, and the clock comes back slow.
    #[tokio::test]
    async fn no_stamp_is_at_or_before_an_acknowledged_one_after_a_power_loss() {
        let mut seeded = Seeded::new(16);
        for _ in 0..20 {
            let (files, clock) = (MemoryStorage::new(), Clock::manual(at(1_000_000)));
            let mut opened = open(&files, &clock);
            let mut batch = Batch::new();
            batch.push(at(1_000_000), &text::parse("one").expect("a term"));
            opened.writer.append(batch).expect("it is written");
            opened.cursors.ack(b"a", at(1_000_000));
            opened.cursors.ack(b"b", at(900_000));
            opened.cursors.stored(None).await;
            files.lose_power(&mut seeded);
            clock.step(-500_000);
            let stamp = next_stamp(&open(&files, &clock));
            assert!(stamp > at(1_000_000), "rising");
        }
    }

    /// All that the log held was deleted; what was acknowledged is known.
    #[tokio::test]
    async fn an_emptied_log_does_not_restart_its_stamps() {
        let (files, clock) = (MemoryStorage::new(), Clock::manual(at(1_000_000)));
        let opened = open(&files, &clock);
        opened.cursors.ack(b"a", at(1_000_000));
        opened.cursors.stored(None).await;
        opened.writer.close().expect("it closes");
        clock.step(-500_000);
        let opened = open(&files, &clock);
        assert_eq!(opened.log.interval(), None);
        assert_eq!(next_stamp(&opened), at(1_000_001), "rising");
    }

    /// Later than the clock says, if the log says so.
    #[test]
    fn stamps_begin_where_the_log_says() {
        let (files, clock) = (MemoryStorage::new(), Clock::manual(at(1_000_000)));
        let opened = open(&files, &clock);
        assert_eq!(next_stamp(&opened), at(1_000_000));
        assert_eq!(opened.writer.stamp_floor(), None);
    }

    /// The disk panics under the recorder: callers are answered, `info` tells, and so does the stop, whose answer the
    /// exit code is made of.
    #[tokio::test]
    async fn a_recorder_that_panics_is_noticed_everywhere() {
        let local = Local {
            name: NodeName::new("quotes@localhost").expect("a name"),
            creation: 1,
            cookie: "cookie".into(),
        };
        let node = Node::new(local, NodeConfig::default());
        let trouble: Arc<Trouble> = Arc::default();
        let storage = Panicking { files: MemoryStorage::new(), trouble: trouble.clone() };
        let opened = open_on(Arc::new(storage), config(), Clock::system());
        let budget = Budget::new(budget::Limits::default(), 1);
        let instance = opened.start(&node, &budget);
        let event = text::parse("{quote, 1}").expect("a term");
        let append = || instance.append(std::slice::from_ref(&event));
        assert!(append().await.is_ok());
        assert_eq!(instance.info().recording, Recording::Running);
        trouble.panics.store(true, Ordering::SeqCst);
        for _ in 0..2 {
            assert!(matches!(append().await, Err(AppendError::Recorder(_))));
        }
        let Recording::Failed(why) = instance.info().recording else { panic!("it is told") };
        assert!(why.contains("the disk has gone mad"), "{why}");
        let failure = instance.stop_recording().expect_err("it failed");
        assert!(failure.contains("panicked"), "{failure}");
    }
}
