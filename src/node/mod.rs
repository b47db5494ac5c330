//! This node: the protocol with sockets and tasks.
//!
//! A [`Node`] is a cheap handle. It owns the processes of this node, the connections to others, and what
//! must outlive a connection: links, monitors, registered names. What a process does with its messages is its
//! own affair ([`Process`]).

pub mod call;
pub mod connection;
pub mod dialer;
pub mod epmd;
mod error;
pub mod listener;
pub mod mailbox;
pub mod names;
pub mod peer;
pub mod spawn;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::broadcast;
use tracing::{debug, info};

pub use error::{CallError, ConnectError, Ended, StartError};
pub use mailbox::{Flow, Letter, Mailbox, Process};
pub use peer::Peer;
pub use spawn::Functions;

use crate::etf::{Pid, Reference, TermRef, encode};
use crate::metrics::NodeCounters;
use crate::proto::NodeName;
use crate::proto::control::{self, Destination, Signal, Watched};
use crate::proto::handshake::Local;
use crate::proto::process_table::{Bereaved, LocalId, ProcessTable, TieError};

/// The most nodes connected at once.
pub const MAX_CONNECTIONS: usize = 1024;

/// What the node is told at its start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Silence after which a node counts as down.
    pub net_ticktime: Duration,
    /// Nodes that may connect, as globs over `name@host`; empty allows all that know the cookie.
    pub allow: Vec<String>,
}

/// A node came or went.
#[derive(Clone)]
pub enum NodeEvent {
    /// Connected.
    Up(Arc<Peer>),
    /// Not any more.
    Down(NodeName),
}

/// A handle to this node.
#[derive(Clone)]
pub struct Node(Arc<Shared>);

struct Shared {
    local: Local,
    config: NodeConfig,
    counters: Arc<NodeCounters>,
    table: Mutex<ProcessTable>,
    processes: DashMap<LocalId, Arc<dyn Process>>,
    peers: DashMap<NodeName, Arc<Peer>>,
    /// Nodes we are calling right now, for the resolution of simultaneous calls.
    calling: Mutex<std::collections::HashSet<NodeName>>,
    functions: OnceLock<Arc<dyn Functions>>,
    events: broadcast::Sender<NodeEvent>,
}

impl Node {
    /// A node of this name and creation. It listens and calls only when told to.
    pub fn new(local: Local, config: NodeConfig) -> Self {
        let table = ProcessTable::new(local.name.text(), local.creation);
        let node = Node(Arc::new(Shared {
            local,
            config,
            counters: Arc::default(),
            table: Mutex::new(table),
            processes: DashMap::new(),
            peers: DashMap::new(),
            calling: Mutex::default(),
            functions: OnceLock::new(),
            // Who lags behind this many comings and goings starts from `peers` again.
            events: broadcast::Sender::new(1024),
        }));
        spawn::register(&node);
        node
    }

    /// Its name.
    pub fn name(&self) -> &NodeName {
        &self.0.local.name
    }

    /// Its counters.
    pub fn counters(&self) -> &Arc<NodeCounters> {
        &self.0.counters
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
        self.0.peers.iter().map(|peer| peer.value().clone()).collect()
    }

    /// The connection to a node, if there is one.
    pub fn peer(&self, name: &str) -> Option<Arc<Peer>> {
        let name = NodeName::new(name)?;
        self.0.peers.get(&name).map(|peer| peer.value().clone())
    }

    fn table(&self) -> MutexGuard<'_, ProcessTable> {
        self.0.table.lock().expect("no panic while the process table is held")
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
    pub fn spawn_mailbox(&self) -> (Pid, tokio::sync::mpsc::Receiver<Letter>) {
        let (mailbox, letters) = Mailbox::new(self.0.counters.clone());
        (self.spawn(|_| Arc::new(mailbox)), letters)
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
            if let Some(peer) = self.peer(&node) {
                peer.send(|out| control::demonitor(out, pid, &watched, &reference));
            }
        }
        for one in bereaved {
            let Some(peer) = self.peer(one.node()) else { continue };
            peer.send(|out| match &one {
                Bereaved::Linked(other) => control::exit(out, pid, other, reason),
                Bereaved::Monitor { owner, watched, reference } => {
                    control::monitor_exit(out, watched, owner, reference, reason);
                }
            });
        }
    }

    /// Links one of our processes to another node's; false if that node is not connected.
    pub fn link(&self, pid: &Pid, remote: &Pid) -> bool {
        let Some(peer) = self.peer(&remote.node) else { return false };
        let mut table = self.table();
        let Some(local) = table.local(pid) else { return false };
        if table.link_to(local, remote.clone()) {
            peer.send(|out| control::link(out, pid, remote));
        }
        true
    }

    /// Monitors a process of another node; `None` if that node is not connected.
    pub fn monitor(&self, pid: &Pid, node: &str, watched: &Watched) -> Option<Reference> {
        let peer = self.peer(node)?;
        let mut table = self.table();
        let local = table.local(pid)?;
        let reference = table.monitor_to(local, peer.name().text(), watched.clone())?;
        peer.send(|out| control::monitor(out, pid, watched, &reference));
        Some(reference)
    }

    /// Takes a monitor back.
    pub fn demonitor(&self, pid: &Pid, node: &str, watched: &Watched, reference: &Reference) {
        let mut table = self.table();
        let Some(local) = table.local(pid) else { return };
        if table.monitor_ended(local, reference)
            && let Some(peer) = self.peer(node)
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
        let local = {
            let table = self.table();
            match to {
                Destination::Pid(pid) => table.local(&pid.as_pid()?)?,
                Destination::Name(name) => table.whereis(&name.as_atom()?.to_str())?,
                // We hand out no aliases.
                Destination::Alias(_) => return None,
            }
        };
        self.0.processes.get(&local).map(|process| process.value().clone())
    }

    fn process(&self, local: LocalId) -> Option<Arc<dyn Process>> {
        self.0.processes.get(&local).map(|process| process.value().clone())
    }

    /// Carries out a signal that is not a message.
    fn signal(&self, peer: &Arc<Peer>, signal: Signal<'_>) {
        match signal {
            Signal::Link { from, to } => {
                let mut table = self.table();
                let Some(local) = table.local(&to) else { return };
                if let Err(error) = table.link_from(from.clone(), local) {
                    peer.send(|out| control::exit(out, &to, &from, &tie_error(error)));
                }
            }
            Signal::Unlink { id, from, to } => {
                let mut table = self.table();
                if let Some(local) = table.local(&to) {
                    table.unlink_from(&from, local);
                }
                if let Some(id) = id {
                    peer.send(|out| control::unlink_ack(out, id, &to, &from));
                }
            }
            Signal::UnlinkAck { id, from, to } => {
                let mut table = self.table();
                if let Some(local) = table.local(&to) {
                    table.unlink_acked(local, &from, id);
                }
            }
            Signal::Exit { from, to, reason } => {
                let mut table = self.table();
                let Some(local) = table.local(&to) else { return };
                if table.exit_from(&from, local) {
                    drop(table);
                    self.with(local, |process| process.exit_signal(&from, reason));
                }
            }
            Signal::Exit2 { from, to, reason } => {
                if let Some(local) = { self.table().local(&to) } {
                    self.with(local, |process| process.exit_signal(&from, reason));
                }
            }
            Signal::Monitor { from, to, reference } => {
                let set_up = self.table().monitor_from(from.clone(), to.clone(), reference.clone());
                if let Err(error) = set_up {
                    let reason = tie_error(error);
                    peer.send(|out| control::monitor_exit(out, &to, &from, &reference, &reason));
                }
            }
            Signal::Demonitor { from, to, reference } => {
                self.table().demonitor_from(&from, &to, &reference);
            }
            Signal::MonitorExit { to, reference, reason } => {
                let mut table = self.table();
                let Some(local) = table.local(&to) else { return };
                if table.monitor_ended(local, &reference) {
                    drop(table);
                    self.with(local, |process| process.down(&reference, reason));
                }
            }
            Signal::SpawnRequest(request) => spawn::requested(self, peer, &request),
            Signal::Message { .. } | Signal::Ignored => {}
        }
    }

    fn with(&self, local: LocalId, act: impl FnOnce(&dyn Process)) {
        if let Some(process) = self.process(local) {
            act(&*process);
        }
    }

    // Connections.

    /// A handshake succeeded: the peer takes the place of any older connection of that name.
    fn connected(&self, peer: &Arc<Peer>) {
        if let Some(old) = self.0.peers.insert(peer.name().clone(), peer.clone()) {
            old.close(Ended::Replaced);
            self.lost(peer.name());
        }
        self.0.counters.connections.inc();
        let (visible, address) = (peer.is_visible(), peer.address());
        info!(node = %peer.name(), visible, %address, flags = ?peer.flags(), "connected");
        // Nobody listening is fine: the send fails only then.
        let _ = self.0.events.send(NodeEvent::Up(peer.clone()));
    }

    /// A connection ended.
    fn disconnected(&self, peer: &Arc<Peer>, why: &Ended) {
        let removed = self.0.peers.remove_if(peer.name(), |_, now| Arc::ptr_eq(now, peer));
        match std::error::Error::source(why) {
            Some(source) => info!(node = %peer.name(), "disconnected: {why}: {source}"),
            None => info!(node = %peer.name(), "disconnected: {why}"),
        }
        if removed.is_some() {
            self.lost(peer.name());
            let _ = self.0.events.send(NodeEvent::Down(peer.name().clone()));
        }
    }

    /// Links and monitors over a lost connection fire with `noconnection`.
    fn lost(&self, name: &NodeName) {
        let down = self.table().node_down(name.as_str());
        let mut reason = Vec::new();
        encode::atom(&mut reason, "noconnection");
        let reason = TermRef::from_walked(&reason);
        for (local, from) in down.exits {
            self.with(local, |process| process.exit_signal(&from, reason));
        }
        for (local, reference) in down.downs {
            self.with(local, |process| process.down(&reference, reason));
        }
    }

    /// Closes every connection, after what is queued for it has been given to the writer.
    pub async fn stop(&self, patience: Duration) {
        let mut events = self.events();
        for peer in self.peers() {
            peer.close(Ended::Here);
        }
        let all_gone = async {
            while !self.0.peers.is_empty() {
                if matches!(events.recv().await, Err(broadcast::error::RecvError::Closed)) {
                    break;
                }
            }
        };
        if tokio::time::timeout(patience, all_gone).await.is_err() {
            debug!("connections were still open when the time to stop was over");
        }
    }
}

fn tie_error(error: TieError) -> Vec<u8> {
    let mut reason = Vec::new();
    encode::atom(&mut reason, &error.to_string());
    reason
}
