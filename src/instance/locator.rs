//! Finds event managers and loggers on other nodes and installs our handlers there.
//!
//! A node that is connected is a node that is captured, if `locate_em` wants it: whether it was there before us,
//! came later, or came back. Each place on it (its event manager, its `logger`) has a task with a plan
//! (`plan.rs`), which ends with the connection. What it installs and how is `guest.rs` with `manager.rs` and
//! `logger.rs`; the handlers themselves are Erlang, described in `erlang/HANDLERS.md`.
//!
//! A `gen_event` handler is gone when its connection is, and events of that time are nobody's: when it is
//! installed again in the same manager, the event `{logmachine, dropped, #{node => Node, from => From, to => To,
//! count => undefined, reason => not_captured}}` tells so. A `logger` handler stays, counts, and reports by itself.
//!
//! `info` has under `handlers` a list of `{Node, Place, State}`: `Place` is the event manager's name or `logger`,
//! `State` is `installing`, `installed`, `{waiting, Why}` or `{refused, Why}`, `Why` a binary.
//!
//! # Invariants
//!
//! - `one_handler`: a manager has at most one handler of an instance. A manager itself would take the same id
//!   twice, so it is asked first, by a process whose messages it gets in order.

mod guest;
mod logger;
mod manager;
mod plan;
pub mod target;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{broadcast, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tracing::{error, warn};

use super::recorder::Tail;
use crate::etf::{Pid, TermBuf, encode};
use crate::node::task::Owned;
use crate::node::{Node, Peer};
use crate::proto::NodeName;
use crate::time::{Clock, Timestamp};
use guest::Guest;
use logger::{logger_id, remove_from_logger};
pub use plan::HandlerState;
use target::Capture;

/// How long nodes may take to remove our handlers when we stop; those that stay remove themselves later.
const STOP_TIME: Duration = Duration::from_secs(2);

/// Losses that are remembered for when a node comes back; beyond, the gap is not reported.
const MAX_LOSSES: usize = 4096;

/// The locator of an instance.
pub struct Locator {
    node: Node,
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: oneshot::Sender<()>,
    task: Owned,
}

/// A place on a node that a handler goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Manager,
    Logger,
}

impl Place {
    /// As `info` shows it.
    fn name(self, capture: &Capture) -> &str {
        match self {
            Place::Manager => &capture.target.manager,
            Place::Logger => "logger",
        }
    }
}

/// A handler of ours on another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerInfo {
    /// The node that the handler is, or should be, on.
    pub node: NodeName,
    /// The event manager, or `logger`.
    pub place: String,
    /// How far it has come.
    pub state: HandlerState,
}

/// What the tasks of an instance share.
struct Shared {
    states: Mutex<BTreeMap<(NodeName, String), HandlerState>>,
    captured: Mutex<HashMap<NodeName, Captured>>,
    tail: Arc<Tail>,
    clock: Clock,
}

/// A manager that has, or had, our handler.
struct Captured {
    manager: Pid,
    lost_at: Option<Timestamp>,
}

impl Locator {
    /// Starts to capture for the instance `name`, into `tail`. Without `capture` there is nothing to do.
    pub fn start(
        node: &Node,
        name: &Arc<str>,
        capture: Option<Capture>,
        tail: Arc<Tail>,
        clock: Clock,
    ) -> Self {
        let (states, captured) = Default::default();
        let shared = Arc::new(Shared { states, captured, tail, clock });
        let running = capture.map(|capture| {
            let (stop, stopped) = oneshot::channel();
            let task = Task {
                node: node.clone(),
                instance: name.clone(),
                capture: Arc::new(capture),
                shared: shared.clone(),
                guests: HashMap::new(),
                tasks: JoinSet::new(),
            };
            Running { stop, task: Owned::spawn(task.run(stopped)) }
        });
        Locator { node: node.clone(), shared, running: Mutex::new(running) }
    }

    /// The handlers on connected nodes.
    pub fn handlers(&self) -> Vec<HandlerInfo> {
        let states = self.shared.states();
        // A task that is being aborted may have left a last word about a node that is gone.
        let connected =
            states.iter().filter(|((node, _), _)| self.node.peer(node.as_str()).is_some());
        let info = |((node, place), state): (&(NodeName, String), &HandlerState)| HandlerInfo {
            node: node.clone(),
            place: place.clone(),
            state: state.clone(),
        };
        connected.map(info).collect()
    }

    /// Removes the handlers from all connected nodes.
    pub async fn stop(&self) {
        let running = self.running.lock().expect("no panic while the handle is held").take();
        if let Some(Running { stop, mut task }) = running {
            // It may have ended in a panic, which was reported.
            let _ = stop.send(());
            let _ = task.join().await;
        }
    }
}

/// The locator's task: gives each connected node its guests.
struct Task {
    node: Node,
    instance: Arc<str>,
    capture: Arc<Capture>,
    shared: Arc<Shared>,
    guests: HashMap<NodeName, (Arc<Peer>, Vec<AbortHandle>)>,
    tasks: JoinSet<()>,
}

impl Task {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut events = self.node.events();
        loop {
            self.follow();
            tokio::select! {
                // Only says that it is time to look again.
                event = events.recv() => {
                    if matches!(event, Err(broadcast::error::RecvError::Closed)) {
                        break;
                    }
                }
                // A task ends when it is aborted here, or by a panic.
                Some(ended) = self.tasks.join_next() => {
                    if let Err(failure) = ended && failure.is_panic() {
                        error!(instance = %self.instance, "locator: {failure}");
                    }
                }
                _ = &mut stopped => break,
            }
        }
        self.leave().await;
    }

    /// Starts what connected nodes lack, ends what was for connections that are gone.
    fn follow(&mut self) {
        let peers: HashMap<NodeName, Arc<Peer>> =
            self.node.peers().into_iter().map(|peer| (peer.name().clone(), peer)).collect();
        let shared = &self.shared;
        self.guests.retain(|name, (peer, tasks)| {
            let stays = peers.get(name).is_some_and(|now| Arc::ptr_eq(now, peer));
            if !stays {
                tasks.iter().for_each(AbortHandle::abort);
                shared.forget(name);
            }
            stays
        });
        for (name, peer) in peers {
            if self.guests.contains_key(&name)
                || !self.capture.target.wants(name.as_str(), peer.is_visible())
            {
                continue;
            }
            let mut handles = Vec::new();
            for place in [Place::Manager, Place::Logger] {
                let is_wanted = match place {
                    Place::Manager => self.capture.wants_manager(),
                    Place::Logger => self.capture.wants_logger(),
                };
                if is_wanted {
                    let guest = Guest {
                        node: self.node.clone(),
                        peer: peer.clone(),
                        instance: self.instance.clone(),
                        capture: self.capture.clone(),
                        shared: self.shared.clone(),
                        place,
                    };
                    handles.push(self.tasks.spawn(guest.run()));
                }
            }
            self.guests.insert(name, (peer, handles));
        }
    }

    /// Takes every handler away.
    async fn leave(mut self) {
        // The managers remove theirs because the processes that own them exit with their tasks.
        self.tasks.shutdown().await;
        if !self.capture.wants_logger() {
            return;
        }
        let id = logger_id(&self.instance, &self.node);
        let mut removals = JoinSet::new();
        for (peer, _) in self.guests.into_values() {
            let (node, id) = (self.node.clone(), id.clone());
            removals.spawn(async move { remove_from_logger(&node, &peer, &id).await });
        }
        if tokio::time::timeout(STOP_TIME, removals.join_all()).await.is_err() {
            warn!(instance = %self.instance, "not every node removed its handler in time; they remove themselves");
        }
    }
}

impl Shared {
    fn states(&self) -> MutexGuard<'_, BTreeMap<(NodeName, String), HandlerState>> {
        self.states.lock().expect("no panic while the states are held")
    }

    fn captures(&self) -> MutexGuard<'_, HashMap<NodeName, Captured>> {
        self.captured.lock().expect("no panic while the captures are held")
    }

    /// Notes a state; the one before.
    fn set(&self, node: &NodeName, place: &str, state: HandlerState) -> Option<HandlerState> {
        self.states().insert((node.clone(), place.to_owned()), state)
    }

    fn forget(&self, node: &NodeName) {
        self.states().retain(|(name, _), _| name != node);
    }

    /// A handler is in this manager now; since when it was not, if it was there before.
    fn captured(&self, node: &NodeName, manager: &Pid) -> Option<Timestamp> {
        let mut captures = self.captures();
        let now = Captured { manager: manager.clone(), lost_at: None };
        if captures.len() >= MAX_LOSSES && !captures.contains_key(node) {
            captures.retain(|_, captured| captured.lost_at.is_none());
        }
        let before = captures.insert(node.clone(), now)?;
        before.lost_at.filter(|_| before.manager == *manager)
    }

    /// The handler of a node's manager is gone.
    fn lost(&self, node: &NodeName) {
        if let Some(captured) = self.captures().get_mut(node) {
            captured.lost_at.get_or_insert(self.clock.now());
        }
    }

    /// Records that a node's events since then are missing.
    fn report_gap(&self, node: &NodeName, from: Timestamp) {
        let event = TermBuf::written(|out| {
            encode::tuple_header(out, 3);
            encode::atom(out, "logmachine");
            encode::atom(out, "dropped");
            encode::map_header(out, 5);
            encode::atom(out, "count");
            encode::atom(out, "undefined");
            encode::atom(out, "from");
            encode::timestamp(out, from);
            encode::atom(out, "node");
            encode::atom(out, node.as_str());
            encode::atom(out, "reason");
            encode::atom(out, "not_captured");
            encode::atom(out, "to");
            encode::timestamp(out, self.clock.now());
        });
        // It says nothing of the peer that is being talked to, so nobody waits.
        let _ = self.tail.append([event.bytes()].into_iter(), None);
    }
}
