//! Which nodes are connected and which are being called, and what follows for one that calls.
//!
//! Two nodes may call each other at once; then the call of the one with the greater name goes on. A node whose
//! connection broke without our seeing it may call again; then it takes the place of what it had.
//!
//! Protocol: Distribution Protocol, "Distribution Handshake", steps 2 and 3.
//!
//! # Invariants
//!
//! - `one_connection`: a node has at most one; a later one takes its place, and the end of the earlier one does not
//!   count then.

use std::collections::{HashMap, HashSet};

use super::NodeName;
use super::handshake::{Called, Status};

/// The connections of a node, each known as a `C`.
#[derive(Debug)]
pub struct Connections<C> {
    ours: NodeName,
    limit: usize,
    up: HashMap<NodeName, C>,
    calling: HashSet<Called>,
}

impl<C> Connections<C> {
    /// None yet of the node `ours`, which will have up to `limit`.
    pub fn new(ours: NodeName, limit: usize) -> Self {
        Connections { ours, limit, up: HashMap::new(), calling: HashSet::new() }
    }

    /// The connection to a node.
    pub fn get(&self, name: &NodeName) -> Option<&C> {
        self.up.get(name)
    }

    /// All connections.
    pub fn iter(&self) -> impl Iterator<Item = &C> {
        self.up.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.up.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.up.is_empty()
    }

    /// Whether there is a place for one with this node: it has one, or not all are taken.
    pub fn admits(&self, name: &NodeName) -> bool {
        self.up.len() < self.limit || self.up.contains_key(name)
    }

    /// We begin to call; false if we are doing so already. [`Connections::called`] ends it, whatever came of it.
    pub fn calls(&mut self, called: &Called) -> bool {
        self.calling.insert(called.clone())
    }

    /// The call is over.
    pub fn called(&mut self, called: &Called) {
        self.calling.remove(called);
    }

    /// What a node that calls us is told. `is_allowed`: whether it may connect at all; `is_here`: whether it is on our
    /// host, where a node may be called by half of its name.
    pub fn status(&self, peer: &NodeName, is_allowed: bool, is_here: bool) -> Status {
        let is_called = self.calling.contains(&Called::Node(peer.clone()))
            || is_here && self.calling.contains(&Called::Alive(peer.alive().into()));
        match () {
            () if !is_allowed || *peer == self.ours => Status::NotAllowed,
            () if self.up.contains_key(peer) => Status::Alive,
            () if !is_called => Status::Ok,
            () if self.ours > *peer => Status::Nok,
            () => Status::OkSimultaneous,
        }
    }

    /// Whether there may be a connection to whom was called. Of a node known by half of its name that is so as soon
    /// as any node of that half is connected.
    pub fn may_have(&self, called: &Called) -> bool {
        match called {
            Called::Node(name) => self.up.contains_key(name),
            Called::Alive(_) => self.up.keys().any(|name| called.fits(name)),
        }
    }

    /// A handshake is done; the connection whose place this one takes (`one_connection`).
    pub fn connected(&mut self, name: NodeName, connection: C) -> Option<C> {
        self.up.insert(name, connection)
    }

    /// A connection is over; whether the node has none any more. `is_it` tells the one that ended from one that took its
    /// place.
    pub fn disconnected(&mut self, name: &NodeName, is_it: impl FnOnce(&C) -> bool) -> bool {
        self.up.get(name).is_some_and(is_it) && self.up.remove(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NodeName {
        NodeName::new(text).expect("a name")
    }

    #[test]
    fn of_two_calls_at_once_the_greater_names_goes_on() {
        let mut connections = Connections::<u8>::new(name("m@h"), 2);
        let (lesser, greater) = (name("a@h"), name("z@h"));
        assert_eq!(connections.status(&lesser, true, true), Status::Ok);
        for node in [&lesser, &greater] {
            assert!(connections.calls(&Called::Node(node.clone())));
            assert!(!connections.calls(&Called::Node(node.clone())));
        }
        assert_eq!(connections.status(&lesser, true, true), Status::Nok);
        assert_eq!(connections.status(&greater, true, true), Status::OkSimultaneous);
        connections.called(&Called::Node(greater.clone()));
        assert_eq!(connections.status(&greater, true, true), Status::Ok);
        assert_eq!(connections.status(&greater, false, true), Status::NotAllowed);
        assert_eq!(connections.status(&name("m@h"), true, true), Status::NotAllowed);
    }

    #[test]
    fn half_a_name_counts_on_our_host_alone() {
        let mut connections = Connections::<u8>::new(name("m@h"), 2);
        connections.calls(&Called::Alive("z".into()));
        assert_eq!(connections.status(&name("z@h"), true, true), Status::OkSimultaneous);
        assert_eq!(connections.status(&name("z@elsewhere"), true, false), Status::Ok);
    }

    #[test]
    fn a_connection_whose_place_was_taken_ends_unnoticed() {
        let mut connections = Connections::new(name("m@h"), 2);
        let (peer, other) = (name("a@h"), name("b@h"));
        assert_eq!(connections.connected(peer.clone(), 1), None);
        assert_eq!(connections.status(&peer, true, true), Status::Alive);
        assert_eq!(connections.connected(peer.clone(), 2), Some(1));
        assert!(!connections.disconnected(&peer, |is| *is == 1), "one_connection");
        assert_eq!(connections.get(&peer), Some(&2));
        assert!(connections.admits(&other));
        connections.connected(other, 3);
        assert!(!connections.admits(&name("c@h")) && connections.admits(&peer));
        assert!(connections.disconnected(&peer, |is| *is == 2));
        assert!(!connections.may_have(&Called::Alive("a".into())));
    }
}
