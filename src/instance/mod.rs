//! One event log with all its parts, in the order an event travels: receiver, stamp, recorder, cacher (the
//! log's own cache), session. The locator brings events in from nodes that know nothing of us.

pub mod ack;
pub mod calls;
pub mod from;
mod live;
pub mod locator;
mod read;
pub mod receiver;
pub mod recorder;
pub mod session;
pub mod stamp;
pub mod subscription;

use std::sync::{Arc, Mutex};

use dashmap::DashMap;
use tokio::sync::{Notify, watch};

pub use recorder::{Failure, Overload, Recording, Stamped, Sync};

use crate::etf::{Pid, TermRef, encode};
use crate::event_log::{self, Log, LogConfig, OpenError};
use crate::metrics::InstanceCounters;
use crate::node::Node;
use crate::node::names::{Held, Keeper};
use crate::time::Clock;
use ack::Cursors;
use calls::{term, timestamp_or_undefined};
use locator::Locator;
use locator::target::Capture;
use receiver::Receiver;
use recorder::{Recorder, RecorderConfig, Tail};
use session::SessionInfo;

/// `{waiting, Why}` or `{failed, Why}`.
fn stopped(out: &mut Vec<u8>, how: &str, why: &str) {
    encode::tuple_header(out, 2);
    encode::atom(out, how);
    encode::binary(out, why.as_bytes());
}

/// How an instance is set up.
#[derive(Clone, Debug)]
pub struct InstanceConfig {
    /// Its log, and with it its name.
    pub log: LogConfig,
    /// How it records.
    pub recorder: RecorderConfig,
    /// The largest event taken, in bytes of its external term.
    pub max_event_bytes: usize,
    /// What it captures on other nodes.
    pub capture: Option<Capture>,
}

/// A running instance.
pub struct Instance {
    name: Arc<str>,
    config: InstanceConfig,
    node: Node,
    pid: Pid,
    tail: Arc<Tail>,
    log: Log,
    clock: Clock,
    counters: Arc<InstanceCounters>,
    sessions: DashMap<Pid, Arc<SessionInfo>>,
    /// Sessions of the original's live registry, by the term they were registered under.
    live: DashMap<Box<[u8]>, Pid>,
    cursors: Cursors,
    held: watch::Receiver<Held>,
    conflict: Arc<Notify>,
    recorder: Mutex<Option<std::thread::JoinHandle<()>>>,
    keeper: tokio::task::JoinHandle<()>,
    locator: Locator,
}

/// An instance whose log is open and whose recorder does not run yet.
pub struct Opened {
    config: InstanceConfig,
    writer: event_log::Writer,
    log: Log,
    clock: Clock,
}

impl Opened {
    /// Opens the log, repairing what a crash left.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; nothing was changed that a second try would miss.
    pub fn open(config: InstanceConfig, clock: Clock) -> Result<Self, OpenError> {
        let storage = Arc::new(event_log::storage::RealStorage);
        let (writer, log) = event_log::open(config.log.clone(), storage, clock.clone())?;
        Ok(Opened { config, writer, log, clock })
    }

    /// Starts the recorder, takes events under the local name, and seeks a global one.
    pub fn start(self, node: &Node) -> Arc<Instance> {
        let Opened { config, writer, log, clock } = self;
        let name: Arc<str> = config.log.name.as_str().into();
        let counters: Arc<InstanceCounters> = Arc::default();
        let last = writer.last_timestamp();
        let tail = Arc::new(Tail::new(config.recorder, last, clock.clone(), counters.clone()));
        let recorder = Recorder::new(name.clone(), tail.clone(), writer);
        let thread = std::thread::Builder::new().name(format!("recorder {name}"));
        let thread = thread.spawn(move || recorder.run()).expect("a thread can be started");
        let conflict = Arc::new(Notify::new());
        let cursors = Cursors::new(&config.log.dir);
        let (held_sender, held) = watch::channel(Held::Seeking);
        let instance = Arc::new_cyclic(|this| {
            let pid = node.spawn(|_| Arc::new(Receiver::new(this.clone())));
            let keeper =
                Keeper::new(node.clone(), name.clone(), pid.clone(), conflict.clone(), held_sender);
            let capture = config.capture.clone();
            Instance {
                keeper: tokio::spawn(keeper.run()),
                locator: Locator::start(node, &name, capture, tail.clone(), clock.clone()),
                name: name.clone(),
                config,
                node: node.clone(),
                pid,
                tail,
                log,
                clock,
                counters,
                sessions: DashMap::new(),
                live: DashMap::new(),
                cursors,
                held,
                conflict,
                recorder: Mutex::new(Some(thread)),
            }
        });
        node.register(&format!(".{name}.receiver.srv"), &instance.pid);
        instance
    }
}

impl Instance {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
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

    /// What has been recorded.
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// Its clock.
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Its counters.
    pub fn counters(&self) -> &InstanceCounters {
        &self.counters
    }

    /// The sessions that run.
    pub const fn sessions(&self) -> &DashMap<Pid, Arc<SessionInfo>> {
        &self.sessions
    }

    /// The original's live registry.
    pub(crate) const fn live(&self) -> &DashMap<Box<[u8]>, Pid> {
        &self.live
    }

    /// Where durable cursors are kept.
    pub const fn cursors(&self) -> &Cursors {
        &self.cursors
    }

    /// To be told when `global` gave the name to another process.
    pub(crate) fn name_conflict(&self) -> &Notify {
        &self.conflict
    }

    /// Whether an event is small enough; counts it otherwise.
    pub fn accepts(&self, event: TermRef<'_>) -> bool {
        let accepted = event.bytes().len() <= self.config.max_event_bytes;
        if !accepted {
            self.counters.refused.inc();
        }
        accepted
    }

    /// `{Instance, N}`, or `undefined` while there is none.
    pub fn write_global_alias(&self, out: &mut Vec<u8>) {
        let held = *self.held.borrow();
        match held {
            Held::Alias(number) => {
                encode::tuple_header(out, 2);
                encode::atom(out, &self.name);
                encode::integer(out, i64::from(number));
            }
            Held::Seeking => encode::atom(out, "undefined"),
            Held::Exhausted => {
                encode::tuple_header(out, 2);
                encode::atom(out, "error");
                encode::atom(out, "global_aliases_exhausted");
            }
        }
    }

    /// What `info` answers: keys, and values as terms.
    pub fn info(&self) -> Vec<(&'static str, Vec<u8>)> {
        let stats = self.log.stats();
        let count = |n: u64| term(|out| encode::unsigned(out, n));
        let path =
            |path: &std::path::Path| term(|out| encode::string(out, &path.to_string_lossy()));
        let interval = |interval: Option<_>| {
            term(|out| {
                encode::tuple_header(out, 2);
                timestamp_or_undefined(out, interval.map(|(first, _)| first));
                timestamp_or_undefined(out, interval.map(|(_, last)| last));
            })
        };
        let sessions: Vec<_> =
            self.sessions.iter().map(|session| session.value().clone()).collect();
        let recording = |recording: Recording| {
            term(|out| match recording {
                Recording::Running => encode::atom(out, "running"),
                Recording::Waiting(why) => stopped(out, "waiting", &why),
                Recording::Failed(why) => stopped(out, "failed", &why),
            })
        };
        let mut info = vec![
            ("data_dir", path(&self.config.log.dir)),
            ("arch_data_dir", path(&self.config.log.arch_dir)),
            ("global_alias", term(|out| self.write_global_alias(out))),
            ("interval", interval(self.log.interval())),
            ("cache_interval", interval(self.log.cache_interval())),
            ("events", count(stats.events)),
            ("bytes", count(stats.bytes)),
            ("segments", count(stats.segments)),
            ("cache_events", count(stats.cache_events)),
            ("cache_bytes", count(stats.cache_bytes)),
            ("pending_bytes", count(self.tail.pending_bytes() as u64)),
            ("recording", recording(self.tail.recording())),
            (
                "sessions",
                term(|out| {
                    encode::list(out, sessions.iter(), |out, session| {
                        encode::tuple_header(out, 2);
                        encode::pid(out, &session.pid);
                        session.subscriber.write(out);
                    });
                }),
            ),
            ("handlers", term(|out| self.locator.write_handlers(out))),
        ];
        info.extend(self.counters.table().into_iter().map(|(key, _, value)| (key, count(value))));
        info
    }

    /// Stops taking events: handlers on other nodes are removed, the global name is given back.
    pub async fn stop_receiving(&self) {
        self.locator.stop().await;
        self.keeper.abort();
        let held = *self.held.borrow();
        if let Held::Alias(number) = held {
            Keeper::unregister(&self.node, &self.name, &self.pid, number).await;
        }
        self.node.exit(&self.pid, &term(|out| encode::atom(out, "shutdown")));
    }

    /// Writes and syncs what has been taken in, and closes the log. Blocks.
    pub fn stop_recording(&self) {
        self.tail.close();
        let thread = self.recorder.lock().expect("no panic while the handle is held").take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(instance = %self.name, "the recorder panicked");
        }
    }
}
