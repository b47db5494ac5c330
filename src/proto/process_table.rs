//! Local pids and references; links and monitors in force between our processes and those of other nodes.
//!
//! A link can be broken from both ends at once, and an exit signal may already be on its way when it
//! is. Since OTP 23 an unlink therefore carries an id and is acknowledged; this table remembers which
//! unlinks are still open, so that a late exit signal is recognised and dropped.
//!
//! Protocol: Distribution Protocol, "Link Protocol" and "New Link Protocol".
//!
//! # Invariants
//!
//! - `one_link`: a pair of processes has at most one active link, however often it was asked for.
//! - `bounded`: the links and monitors that the processes of one node have on ours number at most `MAX_TIES`; no node
//!   keeps others from theirs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Remote;
use super::control::{self, Signal, SpawnRequest, Watched};
use crate::etf::{Pid, Reference, TermRef, encode};

/// The most links and monitors that the processes of one node may hold on ours: a `gen_server:call` holds one while it
/// waits.
pub const MAX_TIES: usize = 100_000;

/// The most monitors on one process among which one is looked for.
const MAX_SEARCHED: usize = 1000;

/// A process of ours, without node and creation: these never change in one life of the node.
pub type LocalId = u64;

/// Why a link or monitor was not set up. The other side is told as if the process had died of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TieError {
    /// There is no such process.
    #[error("noproc")]
    NoProc,
    /// That node has [`MAX_TIES`] already.
    #[error("system_limit")]
    SystemLimit,
}

impl TieError {
    /// The reason that the other side is given, a term.
    fn reason(self) -> Vec<u8> {
        let mut reason = Vec::new();
        encode::atom(&mut reason, &self.to_string());
        reason
    }
}

/// Who has to be told that a process of ours is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bereaved {
    /// A process linked to it.
    Linked(Pid),
    /// A process that monitors it.
    Monitor {
        /// The monitor's owner.
        owner: Pid,
        /// What it watches, as it asked.
        watched: Watched,
        /// The monitor that its watcher made.
        reference: Reference,
    },
}

impl Bereaved {
    /// The node to tell.
    pub const fn node(&self) -> &Arc<str> {
        match self {
            Bereaved::Linked(pid) | Bereaved::Monitor { owner: pid, .. } => &pid.node,
        }
    }

    /// Writes the signal that tells it that `ours` is gone, for `reason`, which may be another node's.
    pub fn write(&self, out: &mut Vec<u8>, remote: &Remote, ours: &Pid, reason: &[u8]) {
        let reason = if remote.abilities().decode(reason) { reason } else { UNDECODABLE };
        match self {
            Bereaved::Linked(other) => control::exit(out, remote.flags(), ours, other, reason),
            Bereaved::Monitor { owner, watched, reference } => {
                control::monitor_exit(out, remote.flags(), watched, owner, reference, reason);
            }
        }
    }
}

/// The atom `undecodable`, for a node that cannot decode the term in its place.
const UNDECODABLE: &[u8] = b"w\x0bundecodable";

/// What a signal that is no message came to.
#[derive(Debug)]
pub enum Effect<'a> {
    /// The table has taken it in: nobody else needs to know.
    Done,
    /// The peer spoke for another node's process: nothing was done.
    Presumed,
    /// A process of ours gets an exit signal.
    Exit {
        /// Our process that is told.
        to: LocalId,
        /// From whom.
        from: Pid,
        /// The exit reason, a term.
        reason: TermRef<'a>,
    },
    /// A process of ours is told that what it monitors is gone.
    Down {
        /// Our process that is told.
        to: LocalId,
        /// The monitor, which is in force no longer.
        reference: Reference,
        /// The exit reason, a term.
        reason: TermRef<'a>,
    },
    /// The peer asks for a process.
    Spawn(SpawnRequest<'a>),
}

/// What ends when the connection to a node does.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct NodeDown {
    /// Our processes that were linked, and to whom: an exit signal `noconnection` each.
    pub exits: Vec<(LocalId, Pid)>,
    /// Our processes that monitored, and how: a `DOWN` with `noconnection` each.
    pub downs: Vec<(LocalId, Reference)>,
}

#[derive(Default)]
struct Ties {
    links: HashSet<Pid>,
    /// Monitors that others have on this process.
    watchers: HashMap<(Pid, Reference), Watched>,
    /// Monitors that this process has on others: the node, and what is watched there.
    monitors: HashMap<Reference, (Arc<str>, Watched)>,
}

/// All processes of this node with their ties.
pub struct ProcessTable {
    node: Arc<str>,
    creation: u32,
    next_process: u32,
    next_reference: u64,
    processes: HashMap<LocalId, Ties>,
    names: HashMap<Box<str>, LocalId>,
    open_unlinks: HashMap<(LocalId, Pid), u64>,
    next_unlink: u64,
    /// Links and monitors that each node has on processes of ours.
    held: HashMap<Arc<str>, usize>,
}

impl ProcessTable {
    /// An empty table for one life of the node.
    pub fn new(node: Arc<str>, creation: u32) -> Self {
        ProcessTable {
            node,
            creation,
            next_process: 1,
            next_reference: 1,
            processes: HashMap::new(),
            names: HashMap::new(),
            open_unlinks: HashMap::new(),
            next_unlink: 1,
            held: HashMap::new(),
        }
    }

    /// A new process. Ids keep to the 28 bits that a node without `DFLAG_V4_NC` reads.
    pub fn spawn(&mut self) -> Pid {
        loop {
            let number = self.next_process;
            self.next_process = if number >= 0x0fff_ffff { 1 } else { number + 1 };
            let (id, serial) = (number & 0x7fff, number >> 15);
            let pid = Pid { node: self.node.clone(), id, serial, creation: self.creation };
            if let std::collections::hash_map::Entry::Vacant(free) =
                self.processes.entry(local_id(id, serial))
            {
                free.insert(Ties::default());
                return pid;
            }
        }
    }

    /// A new reference, of three words as every release reads them.
    pub fn make_reference(&mut self) -> Reference {
        let number = self.next_reference;
        self.next_reference += 1;
        let words = [(number & 0x3_ffff) as u32, (number >> 18 & 0xffff_ffff) as u32, 0];
        Reference::new(self.node.clone(), self.creation, words.into_iter())
    }

    /// The process of ours that `pid` names, alive or not; `None` if it is another node's or an earlier life's.
    pub fn local(&self, pid: &Pid) -> Option<LocalId> {
        (pid.node == self.node && pid.creation == self.creation)
            .then_some(local_id(pid.id, pid.serial))
    }

    /// The pid of a process of ours.
    pub fn pid(&self, local: LocalId) -> Pid {
        #[expect(clippy::cast_possible_truncation, reason = "local_id puts 32 bits into each half")]
        let (id, serial) = (local as u32, (local >> 32) as u32);
        Pid { node: self.node.clone(), id, serial, creation: self.creation }
    }

    /// Gives a process a name; false if the name is taken or the process is gone.
    pub fn register(&mut self, name: &str, local: LocalId) -> bool {
        if self.names.contains_key(name) || !self.processes.contains_key(&local) {
            return false;
        }
        self.names.insert(name.into(), local);
        true
    }

    /// The process registered under `name`.
    pub fn whereis(&self, name: &str) -> Option<LocalId> {
        self.names.get(name).copied()
    }

    /// Whether the process is there.
    pub fn is_alive(&self, local: LocalId) -> bool {
        self.processes.contains_key(&local)
    }

    /// How many processes there are.
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// How many links and monitors are in force, for leak checks and `info`.
    pub fn ties(&self) -> usize {
        let count = |ties: &Ties| ties.links.len() + ties.watchers.len() + ties.monitors.len();
        self.processes.values().map(count).sum()
    }

    /// Ends a process; whom to tell.
    pub fn exit(&mut self, local: LocalId) -> Vec<Bereaved> {
        let Some(ties) = self.processes.remove(&local) else { return Vec::new() };
        self.names.retain(|_, named| *named != local);
        self.open_unlinks.retain(|(ours, _), _| *ours != local);
        for owner in ties.links.iter().chain(ties.watchers.keys().map(|(owner, _)| owner)) {
            give_back(&mut self.held, &owner.node);
        }
        let watchers = ties
            .watchers
            .into_iter()
            .map(|((owner, reference), watched)| Bereaved::Monitor { owner, watched, reference });
        ties.links.into_iter().map(Bereaved::Linked).chain(watchers).collect()
    }

    /// The monitors `local` has on others, to be taken back before it ends.
    pub fn monitors(&self, local: LocalId) -> Vec<(Reference, Arc<str>, Watched)> {
        let ties = self.processes.get(&local);
        let monitor = |(reference, (node, watched)): (&Reference, &(Arc<str>, Watched))| {
            (reference.clone(), node.clone(), watched.clone())
        };
        ties.map_or_else(Vec::new, |ties| ties.monitors.iter().map(monitor).collect())
    }

    /// Takes in what a process of `remote` tells one of ours, messages aside; `out` takes the packets that answer it.
    pub fn handle<'a>(
        &mut self,
        remote: &Remote,
        signal: Signal<'a>,
        out: &mut Vec<u8>,
    ) -> Effect<'a> {
        // A peer speaks for its own processes: what is said of another node's would reach that node from us.
        if signal.tied().is_some_and(|from| *from.node != *remote.name().as_str()) {
            return Effect::Presumed;
        }
        match signal {
            Signal::Link { from, to } => {
                // A process of an earlier life of this node is as gone as any other.
                let local = self.local(&to).ok_or(TieError::NoProc);
                if let Err(error) = local.and_then(|local| self.link_from(from.clone(), local)) {
                    control::exit(out, remote.flags(), &to, &from, &error.reason());
                }
            }
            Signal::Unlink { id, from, to } => {
                if let Some(local) = self.local(&to) {
                    self.unlink_from(&from, local);
                }
                if let Some(id) = id {
                    control::unlink_ack(out, id, &to, &from);
                }
            }
            Signal::UnlinkAck { id, from, to } => {
                if let Some(local) = self.local(&to) {
                    self.unlink_acked(local, &from, id);
                }
            }
            Signal::Exit { from, to, reason } => {
                let local = self.local(&to);
                if let Some(to) = local.filter(|local| self.exit_from(&from, *local)) {
                    return Effect::Exit { to, from, reason };
                }
            }
            Signal::Exit2 { from, to, reason } => {
                if let Some(to) = self.local(&to) {
                    return Effect::Exit { to, from, reason };
                }
            }
            Signal::Monitor { from, to, reference } => {
                let set_up = self.monitor_from(from.clone(), to.clone(), reference.clone());
                if let Err(error) = set_up {
                    let (flags, reason) = (remote.flags(), error.reason());
                    control::monitor_exit(out, flags, &to, &from, &reference, &reason);
                }
            }
            Signal::Demonitor { from, to, reference } => {
                self.demonitor_from(&from, &to, &reference);
            }
            Signal::MonitorExit { to, reference, reason } => {
                let local = self.local(&to);
                if let Some(to) = local.filter(|local| self.monitor_ended(*local, &reference)) {
                    return Effect::Down { to, reference, reason };
                }
            }
            Signal::SpawnRequest(request) => return Effect::Spawn(request),
            Signal::Message { .. } | Signal::Ignored => {}
        }
        Effect::Done
    }

    /// Links one of ours to a process of another node, and writes what tells that node; false if ours is gone.
    pub fn link(&mut self, pid: &Pid, to: &Pid, out: &mut Vec<u8>) -> bool {
        let Some(local) = self.local(pid).filter(|local| self.is_alive(*local)) else {
            return false;
        };
        if self.link_to(local, to.clone()) {
            control::link(out, pid, to);
        }
        true
    }

    /// Monitors a process of `remote` for one of ours, and writes what tells that node; `None` if ours is gone.
    pub fn monitor(
        &mut self,
        pid: &Pid,
        remote: &Remote,
        watched: &Watched,
        out: &mut Vec<u8>,
    ) -> Option<Reference> {
        let local = self.local(pid)?;
        let reference = self.monitor_to(local, remote.name().text(), watched.clone())?;
        if remote.can_be_monitored() {
            control::monitor(out, pid, watched, &reference);
        }
        Some(reference)
    }

    /// The ties of a process to which `node` may add one, and the count of what it has.
    fn ties_for(
        &mut self,
        local: LocalId,
        node: &Arc<str>,
    ) -> Result<(&mut Ties, &mut usize), TieError> {
        let ties = self.processes.get_mut(&local).ok_or(TieError::NoProc)?;
        let held = self.held.entry(node.clone()).or_default();
        if *held >= MAX_TIES {
            return Err(TieError::SystemLimit);
        }
        Ok((ties, held))
    }

    /// `remote` links to one of ours.
    ///
    /// # Errors
    ///
    /// [`TieError`]: answer with an exit signal of that reason.
    pub fn link_from(&mut self, remote: Pid, local: LocalId) -> Result<(), TieError> {
        // It crossed our unlink, which ends it there as soon as it arrives. OTP drops it, too: `ERTS_SIG_Q_OP_LINK` in
        // `erl_proc_sig_queue.c`, where the link is there already or is being unlinked.
        if self.open_unlinks.contains_key(&(local, remote.clone())) {
            return Ok(());
        }
        let (ties, held) = self.ties_for(local, &remote.node)?;
        *held += usize::from(ties.links.insert(remote));
        Ok(())
    }

    /// `remote` unlinks from one of ours.
    pub fn unlink_from(&mut self, remote: &Pid, local: LocalId) {
        self.unlink(remote, local);
    }

    /// Whether there was a link.
    fn unlink(&mut self, remote: &Pid, local: LocalId) -> bool {
        let linked = self.processes.get_mut(&local).is_some_and(|ties| ties.links.remove(remote));
        if linked {
            give_back(&mut self.held, &remote.node);
        }
        linked
    }

    /// One of ours links to `remote`; true if `LINK` has to be sent (`one_link`).
    pub fn link_to(&mut self, local: LocalId, remote: Pid) -> bool {
        self.open_unlinks.remove(&(local, remote.clone()));
        let node = remote.node.clone();
        let is_new = self.processes.get_mut(&local).is_some_and(|ties| ties.links.insert(remote));
        if is_new {
            // Ours to ask for: it counts, and is not refused.
            *self.held.entry(node).or_default() += 1;
        }
        is_new
    }

    /// One of ours unlinks from `remote`; the id to send, if there was a link.
    pub fn unlink_to(&mut self, local: LocalId, remote: &Pid) -> Option<u64> {
        if !self.unlink(remote, local) {
            return None;
        }
        let id = self.next_unlink;
        self.next_unlink += 1;
        self.open_unlinks.insert((local, remote.clone()), id);
        Some(id)
    }

    /// `remote` acknowledges an unlink.
    pub fn unlink_acked(&mut self, local: LocalId, remote: &Pid, id: u64) {
        let key = (local, remote.clone());
        if self.open_unlinks.get(&key) == Some(&id) {
            self.open_unlinks.remove(&key);
        }
    }

    /// An exit signal over a link arrives; whether the link was in force, so that the signal counts.
    pub fn exit_from(&mut self, remote: &Pid, local: LocalId) -> bool {
        self.unlink(remote, local)
    }

    /// `remote` monitors one of ours.
    ///
    /// # Errors
    ///
    /// [`TieError`]: answer with a monitor exit of that reason.
    pub fn monitor_from(
        &mut self,
        remote: Pid,
        watched: Watched,
        reference: Reference,
    ) -> Result<(), TieError> {
        let local = match &watched {
            Watched::Name(name) => self.whereis(name),
            Watched::Pid(pid) => self.local(pid),
        };
        let (ties, held) = self.ties_for(local.ok_or(TieError::NoProc)?, &remote.node)?;
        *held += usize::from(ties.watchers.insert((remote, reference), watched).is_none());
        Ok(())
    }

    /// `remote` takes back a monitor on `watched`.
    pub fn demonitor_from(&mut self, remote: &Pid, watched: &Watched, reference: &Reference) {
        let local = match watched {
            Watched::Name(name) => self.whereis(name),
            Watched::Pid(pid) => self.local(pid),
        };
        if let Some(ties) = local.and_then(|local| self.processes.get_mut(&local))
            && ties.watchers.remove(&(remote.clone(), reference.clone())).is_some()
        {
            give_back(&mut self.held, &remote.node);
        }
    }

    /// Takes back what monitors `remote` has on names of `local`; the names and references to tell it of. Nobody is
    /// looked for among more than `MAX_SEARCHED` monitors, so that messages cost little however many there are.
    pub fn dismiss(&mut self, local: LocalId, remote: &Pid) -> Vec<(Box<str>, Reference)> {
        let mut dismissed = Vec::new();
        if let Some(ties) = self.processes.get_mut(&local)
            && ties.watchers.len() <= MAX_SEARCHED
        {
            ties.watchers.retain(|(owner, reference), watched| match watched {
                Watched::Name(name) if owner == remote => {
                    dismissed.push((name.clone(), reference.clone()));
                    false
                }
                _ => true,
            });
        }
        for _ in &dismissed {
            give_back(&mut self.held, &remote.node);
        }
        dismissed
    }

    /// One of ours monitors a process of `node`: the reference to send.
    pub fn monitor_to(
        &mut self,
        local: LocalId,
        node: Arc<str>,
        watched: Watched,
    ) -> Option<Reference> {
        let reference = self.make_reference();
        self.processes.get_mut(&local)?.monitors.insert(reference.clone(), (node, watched));
        Some(reference)
    }

    /// A monitor of `local` fires or is taken back; whether it was in force.
    pub fn monitor_ended(&mut self, local: LocalId, reference: &Reference) -> bool {
        self.processes.get_mut(&local).is_some_and(|ties| ties.monitors.remove(reference).is_some())
    }

    /// The connection to `node` is gone.
    pub fn node_down(&mut self, node: &str) -> NodeDown {
        let mut down = NodeDown::default();
        for (&local, ties) in &mut self.processes {
            ties.links.retain(|pid| {
                let gone = &*pid.node == node;
                if gone {
                    down.exits.push((local, pid.clone()));
                }
                !gone
            });
            ties.watchers.retain(|(owner, _), _| &*owner.node != node);
            ties.monitors.retain(|reference, watched| {
                let gone = &*watched.0 == node;
                if gone {
                    down.downs.push((local, reference.clone()));
                }
                !gone
            });
        }
        self.open_unlinks.retain(|(_, remote), _| &*remote.node != node);
        self.held.remove(node);
        down
    }
}

#[cfg(test)]
impl ProcessTable {
    /// Whom a process is linked to.
    pub(super) fn links(&self, local: LocalId) -> Vec<Pid> {
        let ties = self.processes.get(&local);
        ties.map_or_else(Vec::new, |ties| ties.links.iter().cloned().collect())
    }

    /// The monitors that others have on a process.
    pub(super) fn watchers(&self, local: LocalId) -> Vec<Reference> {
        let ties = self.processes.get(&local);
        let references = |ties: &Ties| ties.watchers.keys().map(|(_, of)| of.clone()).collect();
        ties.map_or_else(Vec::new, references)
    }

    /// Unlinks that were not acknowledged.
    pub(super) fn open_unlinks(&self) -> usize {
        self.open_unlinks.len()
    }
}

/// A node has one tie less.
fn give_back(held: &mut HashMap<Arc<str>, usize>, node: &str) {
    if let Some(count) = held.get_mut(node) {
        *count -= 1;
        if *count == 0 {
            held.remove(node);
        }
    }
}

/// The local part of a pid's numbers.
pub const fn local_id(id: u32, serial: u32) -> LocalId {
    (serial as u64) << 32 | id as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(id: u32) -> Pid {
        Pid { node: "r@h".into(), id, serial: 0, creation: 1 }
    }

    fn table() -> (ProcessTable, LocalId) {
        let mut table = ProcessTable::new("us@h".into(), 3);
        let pid = table.spawn();
        let local = table.local(&pid).unwrap();
        assert_eq!(table.pid(local), pid);
        (table, local)
    }

    #[test]
    fn one_link_however_often_asked_for() {
        let (mut table, local) = table();
        assert!(table.link_to(local, remote(1)));
        assert!(!table.link_to(local, remote(1)), "one_link");
        table.link_from(remote(1), local).unwrap();
        assert_eq!(table.exit(local), [Bereaved::Linked(remote(1))]);
        assert_eq!(table.link_from(remote(1), local), Err(TieError::NoProc));
    }

    #[test]
    fn an_exit_after_our_unlink_is_dropped() {
        let (mut table, local) = table();
        table.link_to(local, remote(1));
        let id = table.unlink_to(local, &remote(1)).unwrap();
        assert!(!table.exit_from(&remote(1), local));
        table.unlink_acked(local, &remote(1), id);
        assert!(table.open_unlinks.is_empty());
        assert_eq!(table.unlink_to(local, &remote(1)), None);
    }

    #[test]
    fn monitors_by_name_and_pid_fire_once() {
        let (mut table, local) = table();
        assert!(table.register("x", local));
        assert!(!table.register("x", local));
        let reference = Reference::new("r@h".into(), 1, [1].into_iter());
        let by_name = Watched::Name("x".into());
        table.monitor_from(remote(1), by_name.clone(), reference.clone()).unwrap();
        assert_eq!(table.ties(), 1);
        let owner = remote(1);
        let bereaved =
            Bereaved::Monitor { owner, watched: by_name.clone(), reference: reference.clone() };
        assert_eq!(table.exit(local), [bereaved]);
        assert_eq!(table.whereis("x"), None);
        assert_eq!(table.monitor_from(remote(1), by_name, reference), Err(TieError::NoProc));
    }

    #[test]
    fn monitors_on_a_name_are_taken_back_for_who_is_dismissed() {
        let (mut table, local) = table();
        assert!(table.register("x", local));
        let reference = |n: u32| Reference::new("r@h".into(), 1, [n].into_iter());
        let by_name = || Watched::Name("x".into());
        table.monitor_from(remote(1), by_name(), reference(1)).unwrap();
        table.monitor_from(remote(1), Watched::Pid(table.pid(local)), reference(2)).unwrap();
        table.monitor_from(remote(2), by_name(), reference(3)).unwrap();
        assert_eq!(table.dismiss(local, &remote(1)), [("x".into(), reference(1))]);
        assert_eq!(table.dismiss(local, &remote(1)), []);
        assert_eq!(table.ties(), 2, "by pid, and another's");
    }

    #[test]
    fn node_down_ends_what_it_held_and_nothing_else() {
        let (mut table, local) = table();
        let other = Pid { node: "o@h".into(), ..remote(9) };
        table.link_from(remote(1), local).unwrap();
        table.link_from(other.clone(), local).unwrap();
        let monitor = table.monitor_to(local, "r@h".into(), Watched::Name("x".into())).unwrap();
        let down = table.node_down("r@h");
        assert_eq!(down.exits, [(local, remote(1))]);
        assert_eq!(down.downs, [(local, monitor)]);
        assert_eq!(table.exit(local), [Bereaved::Linked(other)]);
    }

    #[test]
    fn ties_of_a_node_are_bounded_and_cost_others_nothing() {
        let (mut table, local) = table();
        let reference = |n: u32| Reference::new("r@h".into(), 1, [n].into_iter());
        table.register("x", local);
        for id in 1..u32::try_from(MAX_TIES).unwrap() {
            table.link_from(remote(id), local).unwrap();
        }
        let by_name = || Watched::Name("x".into());
        table.monitor_from(remote(1), by_name(), reference(1)).unwrap();
        let full = Err(TieError::SystemLimit);
        assert_eq!(table.link_from(remote(u32::MAX), local), full, "bounded");
        assert_eq!(table.monitor_from(remote(1), by_name(), reference(2)), full, "bounded");
        let other = Pid { node: "o@h".into(), ..remote(9) };
        assert_eq!(table.link_from(other, local), Ok(()), "another node has its own");
        // Whatever way a tie ends, its place is free again.
        table.unlink_from(&remote(1), local);
        assert_eq!(table.link_from(remote(1), local), Ok(()));
        table.demonitor_from(&remote(1), &by_name(), &reference(1));
        assert_eq!(table.monitor_from(remote(1), by_name(), reference(2)), Ok(()));
        assert!(table.exit_from(&remote(2), local));
        assert_eq!(table.link_from(remote(2), local), Ok(()));
        table.exit(local);
        assert!(table.held.is_empty(), "{:?}", table.held);
    }
}
