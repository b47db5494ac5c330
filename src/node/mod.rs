//! This node: the protocol with sockets and tasks.
//!
//! A [`Node`] is a cheap handle. It owns the processes of this node, the connections to others, and what
//! must outlive a connection: links, monitors, registered names. What a process does with its messages is its
//! own affair ([`Process`]).

mod answers;
pub mod call;
pub mod connection;
pub mod descriptors;
pub mod dialer;
pub mod epmd;
mod error;
pub mod inquiry;
mod lent_names;
pub mod listener;
pub mod mailbox;
pub mod names;
pub mod peer;
mod places;
mod reactor;
mod refusal;
pub mod socket_owner;
pub mod spawn;
pub mod task;
mod transport;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::time::Duration;

use dashmap::DashMap;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, broadcast};
use tokio::task::JoinSet;
use tracing::{debug, error, info};

pub use answers::{Allowance, Waiting};
pub use descriptors::SocketBudget;
pub use error::{CallError, ConnectError, Ended, StartError};
use mailbox::TaskProcess;
pub use mailbox::{Flow, Gate, Letter, Letters, Mailbox, Process, short_reason};
pub use peer::Peer;
pub use spawn::{Applied, Functions, OnApplied};

use crate::diagnostics::panic_words;
use crate::etf::{Pid, Reference, TermBuf, encode};
use crate::metrics::{NodeMetrics, NodeStats};
use crate::proto::connections::Connections;
use crate::proto::control::{self, Destination, Signal, Watched};
use crate::proto::handshake::{Challenge, Challenges, Local};
use crate::proto::process_table::{Effect, LocalId, ProcessTable};
use crate::proto::{Flags, NodeName};
use crate::strangers;

/// What the node is told at its start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Silence after which a node counts as down.
    pub net_ticktime: Duration,
    /// Nodes that we connect with, whoever calls, as globs over `name@host`; empty allows all that know the cookie.
    pub allow: Vec<String>,
    /// How many sockets there may be.
    pub budget: SocketBudget,
}

impl Default for NodeConfig {
    fn default() -> Self {
        NodeConfig {
            net_ticktime: Duration::from_secs(60),
            allow: Vec::new(),
            budget: SocketBudget::default(),
        }
    }
}

impl NodeConfig {
    /// Whether a node of this name may be connected with.
    pub fn allows(&self, name: &str) -> bool {
        self.allow.is_empty() || self.allow.iter().any(|glob| listener::glob_matches(glob, name))
    }
}

/// A node came or went.
#[derive(Clone)]
pub enum NodeEvent {
    /// Connected.
    Up(Arc<Peer>),
    /// Not any more, and why.
    Down(Arc<Peer>, Arc<Ended>),
}

/// A handle to this node.
#[derive(Clone)]
pub struct Node(Arc<Shared>);

struct Shared {
    local: Local,
    config: NodeConfig,
    metrics: Arc<NodeMetrics>,
    table: Mutex<ProcessTable>,
    processes: DashMap<LocalId, Arc<dyn Process>>,
    connections: RwLock<Connections<Arc<Peer>>>,
    challenges: Challenges,
    /// Names for nodes that come without one.
    lent_names: lent_names::LentNames,
    mapper: OnceLock<epmd::Watch>,
    functions: OnceLock<Arc<dyn Functions>>,
    events: broadcast::Sender<NodeEvent>,
    /// What large answers may hold, of all peers together.
    memory: Arc<Semaphore>,
    reactors: reactor::Reactors,
    /// Where the node was made: what takes long runs there.
    home: Option<Handle>,
    /// Connections, and answers that are being made.
    tasks: Mutex<JoinSet<()>>,
}

impl Node {
    /// A node of this name and creation. It listens and calls only when told to.
    pub fn new(local: Local, config: NodeConfig) -> Self {
        let table = ProcessTable::new(local.name.text(), local.creation);
        let connections = Connections::new(local.name.clone(), config.budget.connections);
        let node = Node(Arc::new(Shared {
            local,
            config,
            metrics: Arc::default(),
            table: Mutex::new(table),
            processes: DashMap::new(),
            connections: RwLock::new(connections),
            challenges: Challenges::default(),
            lent_names: lent_names::LentNames::default(),
            mapper: OnceLock::new(),
            functions: OnceLock::new(),
            // Who lags behind this many comings and goings starts from `peers` again.
            events: broadcast::Sender::new(1024),
            memory: answers::memory(),
            reactors: reactor::Reactors::start(),
            home: Handle::try_current().ok(),
            tasks: Mutex::default(),
        }));
        spawn::register(&node);
        node
    }

    /// The name under which other nodes know it.
    pub fn name(&self) -> &NodeName {
        &self.0.local.name
    }

    /// What is counted of it.
    pub fn metrics(&self) -> &Arc<NodeMetrics> {
        &self.0.metrics
    }

    /// Its numbers, as they are now.
    pub fn stats(&self) -> NodeStats {
        let (processes, ties) = self.load();
        let peers = self.connections().iter().count();
        NodeStats {
            peers: peers as u64,
            processes: processes as u64,
            ties: ties as u64,
            ..self.0.metrics.read()
        }
    }

    /// Serves these functions to `rpc` and `erpc`. The first call counts.
    pub fn serve(&self, functions: Arc<dyn Functions>) {
        let _ = self.0.functions.set(functions);
    }

    /// Comings and goings of nodes from now on; see also [`Node::peers`].
    pub fn events(&self) -> broadcast::Receiver<NodeEvent> {
        self.0.events.subscribe()
    }

    /// The nodes connected now.
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        self.connections().iter().cloned().collect()
    }

    /// The connection to a node, if there is one.
    pub fn peer(&self, name: &str) -> Option<Arc<Peer>> {
        let name = NodeName::new(name)?;
        self.connections().get(&name).cloned()
    }

    /// Lets the node know how it stands with the port mapper. The first call counts.
    pub fn watch_port_mapper(&self, watch: epmd::Watch) {
        let _ = self.0.mapper.set(watch);
    }

    /// How it stands with the port mapper; `None` for a node that does not register.
    pub fn port_mapper(&self) -> Option<epmd::Standing> {
        self.0.mapper.get().map(epmd::Watch::standing)
    }

    /// A new challenge, from the operating system's generator.
    fn challenge(&self) -> Challenge {
        loop {
            let number = getrandom::u32().expect("the operating system gives random numbers");
            if let Some(challenge) = self.0.challenges.issue(number) {
                return challenge;
            }
        }
    }

    /// A panic of who changed them leaves them in order: each change is one step.
    fn connections(&self) -> RwLockReadGuard<'_, Connections<Arc<Peer>>> {
        self.0.connections.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, to change them.
    fn connections_mut(&self) -> RwLockWriteGuard<'_, Connections<Arc<Peer>>> {
        self.0.connections.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table goes on after a panic of who held it: each of its steps changes one process or one tie, so at
    /// most the tie in question is missing, and a node without a table would be no node.
    fn table(&self) -> MutexGuard<'_, ProcessTable> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a task that ends with the node, beside the connections. A panic of it is reported.
    pub fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.run_on(&self.home(), work);
    }

    fn run_on(&self, handle: &Handle, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = tasks.try_join_next() {
            report(&ended);
        }
        tasks.spawn_on(work, handle);
    }

    /// Where to spawn what takes longer than a connection may be kept waiting.
    pub fn home(&self) -> Handle {
        self.0.home.clone().unwrap_or_else(Handle::current)
    }

    // Processes.

    /// Makes a process; `make` is given its pid.
    pub fn spawn(&self, make: impl FnOnce(&Pid) -> Arc<dyn Process>) -> Pid {
        let mut table = self.table();
        let pid = table.spawn();
        let local = table.local(&pid).expect("just made here");
        self.0.processes.insert(local, make(&pid));
        pid
    }

    /// Makes a process that is a task reading letters.
    pub fn spawn_mailbox(&self) -> (Pid, Letters) {
        let (mailbox, letters) = Mailbox::new(self.0.metrics.clone());
        (self.spawn(|pid| Arc::new(TaskProcess::new(self, pid, mailbox))), letters)
    }

    /// Registers a process under a name on this node; false if the name is taken.
    pub fn register(&self, name: &str, pid: &Pid) -> bool {
        let mut table = self.table();
        table.local(pid).is_some_and(|local| table.register(name, local))
    }

    /// How many processes, links and monitors there are.
    pub fn load(&self) -> (usize, usize) {
        let table = self.table();
        (table.len(), table.ties())
    }

    /// Ends a process: who is linked to it or monitors it is told `reason`, a term.
    pub fn exit(&self, pid: &Pid, reason: &[u8]) {
        let (bereaved, monitors) = {
            let mut table = self.table();
            let Some(local) = table.local(pid) else { return };
            let monitors = table.monitors(local);
            self.0.processes.remove(&local);
            (table.exit(local), monitors)
        };
        for (reference, node, watched) in monitors {
            if let Some(peer) = self.peer(&node).filter(|peer| peer.remote().can_be_monitored()) {
                peer.send(|out| control::demonitor(out, pid, &watched, &reference));
            }
        }
        for one in bereaved {
            let Some(peer) = self.peer(one.node()) else { continue };
            peer.send(|out| one.write(out, peer.remote(), pid, reason));
        }
    }

    /// Links one of our processes to another node's; false if that node is not connected, or ours is gone.
    pub fn link(&self, pid: &Pid, to: &Pid) -> bool {
        let Some(peer) = self.peer(&to.node) else { return false };
        let (mut table, mut out) = (self.table(), Vec::new());
        let is_linked = table.link(pid, to, &mut out);
        peer.send_all(&out);
        is_linked
    }

    /// Monitors a process of another node; `None` if that node is not connected, or ours is gone.
    pub fn monitor(&self, pid: &Pid, node: &str, watched: &Watched) -> Option<Reference> {
        let peer = self.peer(node)?;
        let (mut table, mut out) = (self.table(), Vec::new());
        let reference = table.monitor(pid, peer.remote(), watched, &mut out)?;
        peer.send_all(&out);
        Some(reference)
    }

    /// Takes a monitor back.
    pub fn demonitor(&self, pid: &Pid, node: &str, watched: &Watched, reference: &Reference) {
        let mut table = self.table();
        let Some(local) = table.local(pid) else { return };
        if table.monitor_ended(local, reference)
            && let Some(peer) = self.peer(node).filter(|peer| peer.remote().can_be_monitored())
        {
            peer.send(|out| control::demonitor(out, pid, watched, reference));
        }
    }

    /// A new reference of this node.
    pub fn make_reference(&self) -> Reference {
        self.table().make_reference()
    }

    /// Sends `message`, a term, to a process of another node; false if that node is not connected.
    pub fn send(&self, to: &Pid, message: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.peer(&to.node).is_some_and(|peer| peer.send(|out| control::send(out, to, message)))
    }

    /// Sends a message to a registered name on another node.
    pub fn send_to_name(
        &self,
        from: &Pid,
        name: &str,
        node: &str,
        message: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        self.peer(node)
            .is_some_and(|peer| peer.send(|out| control::reg_send(out, from, name, message)))
    }

    /// The process that a message is for.
    fn resolve(&self, to: Destination<'_>) -> Option<Arc<dyn Process>> {
        self.process(self.local(to)?)
    }

    fn local(&self, to: Destination<'_>) -> Option<LocalId> {
        let table = self.table();
        match to {
            Destination::Pid(pid) => table.local(&pid.as_pid()?),
            Destination::Name(name) => table.whereis(&name.as_atom()?.to_str()),
            // We hand out no aliases.
            Destination::Alias(_) => None,
        }
    }

    fn process(&self, local: LocalId) -> Option<Arc<dyn Process>> {
        self.0.processes.get(&local).map(|process| process.value().clone())
    }

    /// Carries out a signal that is not a message.
    fn signal(&self, peer: &Arc<Peer>, signal: Signal<'_>) -> Flow {
        let effect = {
            // Held while the answer is queued, so that answers leave in the order of what they say.
            let (mut table, mut answer) = (self.table(), Vec::new());
            let effect = table.handle(peer.remote(), signal, &mut answer);
            peer.send_all(&answer);
            effect
        };
        match effect {
            Effect::Done => {}
            Effect::Presumed => self.0.metrics.messages_unaddressed.inc(),
            Effect::Exit { to, from, reason } => {
                self.with(to, |process| process.exit_signal(&from, reason));
            }
            Effect::Down { to, reference, reason } => {
                self.with(to, |process| process.down(&reference, reason));
            }
            Effect::Spawn(request) => return spawn::requested(self, peer, &request),
        }
        Flow::Go
    }

    fn with(&self, local: LocalId, act: impl FnOnce(&dyn Process)) {
        if let Some(process) = self.process(local) {
            act(&*process);
        }
    }

    // Connections.

    /// A handshake succeeded: the peer takes the place of any older connection of that name.
    fn connected(&self, peer: &Arc<Peer>) {
        let replaced = self.connections_mut().connected(peer.name().clone(), peer.clone());
        if let Some(old) = replaced {
            old.close(Ended::Replaced);
            self.lost(peer.name());
        }
        self.0.metrics.connections.inc();
        let (visible, address) = (peer.is_visible(), peer.address());
        if strangers::CONNECTIONS.admit() {
            info!(node = %peer.name(), visible, %address, flags = ?peer.flags(), "connected");
        }
        // Nobody listening is fine: the send fails only then.
        let _ = self.0.events.send(NodeEvent::Up(peer.clone()));
    }

    /// A connected node that is only a queue: what is sent to it stays there.
    #[cfg(test)]
    pub(crate) fn attach(&self, name: &str) -> Arc<Peer> {
        let name = NodeName::new(name).expect("a node's name");
        let peer =
            crate::proto::handshake::PeerIdentity { name, flags: Flags::OFFERED, creation: 7 };
        let address = ([127, 0, 0, 1], 0).into();
        let peer = Arc::new(Peer::new(peer, address, self.0.reactors.next()));
        self.connected(&peer);
        peer
    }

    /// Its connection ends.
    #[cfg(test)]
    pub(crate) fn detach(&self, peer: &Arc<Peer>) {
        peer.close(Ended::Closed);
        self.disconnected(peer, Ended::Closed);
    }

    /// A connection ended.
    fn disconnected(&self, peer: &Arc<Peer>, why: Ended) {
        let is_down =
            self.connections_mut().disconnected(peer.name(), |now| Arc::ptr_eq(now, peer));
        match std::error::Error::source(&why) {
            _ if !strangers::CONNECTIONS.admit() => {}
            Some(source) => info!(node = %peer.name(), "disconnected: {why}: {source}"),
            None => info!(node = %peer.name(), "disconnected: {why}"),
        }
        if is_down {
            self.lost(peer.name());
            if peer.flags().has(Flags::NAME_ME) {
                self.0.lent_names.give_back(peer.name());
            }
            let _ = self.0.events.send(NodeEvent::Down(peer.clone(), Arc::new(why)));
        }
    }

    /// Links and monitors over a lost connection fire with `noconnection`.
    fn lost(&self, name: &NodeName) {
        let down = self.table().node_down(name.as_str());
        let reason = TermBuf::written(|out| encode::atom(out, "noconnection"));
        let reason = reason.as_term();
        // One process that panics must not keep the others from hearing of it.
        let tell = |local, act: &dyn Fn(&dyn Process)| {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.with(local, act))) {
                error!(node = %name, "a process panicked over a lost connection: {}", panic_words(&*panic));
            }
        };
        for (local, from) in down.exits {
            tell(local, &|process| process.exit_signal(&from, reason));
        }
        for (local, reference) in down.downs {
            tell(local, &|process| process.down(&reference, reason));
        }
    }

    /// Closes every connection, after what is queued for it has been given to the writer.
    pub async fn stop(&self, patience: Duration) {
        let mut events = self.events();
        for peer in self.peers() {
            peer.close(Ended::Here);
        }
        let all_gone = async {
            while !self.connections().is_empty() {
                if matches!(events.recv().await, Err(broadcast::error::RecvError::Closed)) {
                    break;
                }
            }
        };
        if tokio::time::timeout(patience, all_gone).await.is_err() {
            debug!("connections were still open when the time to stop was over");
        }
        let mut tasks =
            std::mem::take(&mut *self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.abort_all();
        while let Some(ended) = tasks.join_next().await {
            report(&ended);
        }
    }
}

fn report(ended: &Result<(), tokio::task::JoinError>) {
    if let Err(failure) = ended
        && failure.is_panic()
    {
        error!("a task of the node failed: {failure}");
    }
}
