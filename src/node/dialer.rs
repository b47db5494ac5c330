//! Nodes that we call: by name, every node of a seed's cluster, or all that the port mapper here knows.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::listener::{
    Ends, Trust, check_listener, check_owners, exchange, within_time, write_messages,
};
use super::socket_owner::Listeners;
use super::{ConnectError, Node, NodeEvent, Peer, StartError, connection};
use super::{epmd, socket_owner};
use crate::etf::{TermRef, encode};
use crate::proto::handshake::{Called, Handshake};
use crate::proto::{EpmdError, HandshakeError, NodeName};
use crate::strangers;
use crate::time::monotonic;

/// How long a seed's nodes are believed to be those it named last.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// How often a port mapper is asked for nodes that come. A question costs it tens of microseconds, and a node may
/// live no longer than a second.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// How soon after a link was lost its node is called again: it has forgotten our global names. Twice as long each
/// time that links are lost again before `ASK_AGAIN`, so that one that flaps costs little.
const RELINK_MIN: Duration = Duration::from_millis(50);
const RELINK_MAX: Duration = Duration::from_millis(400);

/// How long a node that is registered but does not take us is left alone at first, and in the end.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Nodes called at once: one that keeps silent costs the time of a handshake, and must keep no other waiting.
const MAX_CALLS: usize = 16;

/// How often something that fails is tried.
#[derive(Clone, Copy, Debug)]
struct Backoff {
    tries: u32,
    next: Instant,
}

impl Backoff {
    fn new() -> Self {
        Backoff { tries: 0, next: monotonic() }
    }

    fn is_due(&self) -> bool {
        monotonic() >= self.next
    }

    fn failed(&mut self) {
        let pause = BACKOFF_MIN.saturating_mul(1 << self.tries.min(16));
        self.tries += 1;
        self.next = monotonic() + pause.min(BACKOFF_MAX);
    }
}

/// Connects to a node through the port mapper of its host; the connection, if there is one already.
///
/// # Errors
///
/// [`ConnectError`]; trying again later is fine.
pub async fn connect(node: &Node, name: &NodeName) -> Result<Arc<Peer>, ConnectError> {
    if let Some(peer) = node.peer(name.as_str()) {
        return Ok(peer);
    }
    if !node.0.config.allows(name.as_str()) {
        return Err(HandshakeError::NotAllowed { peer: name.to_string() }.into());
    }
    let (address, port) = epmd::lookup(name).await?;
    call(node, Called::Node(name.clone()), SocketAddr::new(address, port), Trust::Anybody).await
}

/// Marks a node as being called, so that a simultaneous call of its own is resolved.
struct Calling<'a>(&'a Node, Called);

impl<'a> Calling<'a> {
    /// `None` if it is being called already.
    fn begin(node: &'a Node, called: &Called) -> Option<Self> {
        node.connections_mut().calls(called).then(|| Calling(node, called.clone()))
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        self.0.connections_mut().called(&self.1);
    }
}

/// Calls whoever listens at `address`.
async fn call(
    node: &Node,
    called: Called,
    address: SocketAddr,
    trust: Trust,
) -> Result<Arc<Peer>, ConnectError> {
    let calling = Calling::begin(node, &called);
    let _calling = calling.ok_or(HandshakeError::Refused { status: "nok".into() })?;
    let (mut handshake, first) =
        Handshake::initiate(node.0.local.clone(), called, node.challenge());
    let (stream, agreed) = within_time(async {
        let io = |source| ConnectError::Io { address: address.to_string(), source };
        let mut stream = TcpStream::connect(address).await.map_err(io)?;
        let ends = Ends::of(&stream)?;
        write_messages(&mut stream, &[first]).await.map_err(io)?;
        let agreed = exchange(node, &mut stream, ends, &mut handshake, trust).await?;
        Ok((stream, agreed))
    })
    .await
    .inspect_err(|error| {
        if !matches!(error, ConnectError::Handshake(error) if error.is_simultaneous()) {
            node.metrics().handshakes_failed.inc();
        }
    })?;
    connection::start(node, stream, agreed)
}

/// Keeps a seed connected, and with it every visible node it knows; for ever.
///
/// While it is down, the port mapper of its host is asked for it all the time, as a node that comes may not stay
/// long; a node that is there and refuses us is called ever more rarely.
pub async fn keep_seed(node: Node, seed: NodeName) {
    let mut events = node.events();
    let mut news = node.0.mapper.get().cloned();
    let mut down = Down::default();
    let mut relink = RELINK_MIN;
    loop {
        if let Some(peer) = node.peer(seed.as_str()) {
            down = Down::default();
            let is_lost = tokio::select! {
                is_lost = stay_joined(&node, &peer) => is_lost,
                () = until_it_comes_or_goes(&mut events, &seed) => false,
            };
            if is_lost {
                sleep(relink).await;
                relink = (relink * 2).min(RELINK_MAX);
            } else {
                relink = RELINK_MIN;
            }
            continue;
        }
        match down.attempt(&node, &seed).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => down.complain(&seed, &error),
        }
        tokio::select! {
            () = sleep(LOOK_AGAIN) => {}
            // All only say that it is time to look again.
            () = registration(&mut news) => {}
            () = until_it_comes_or_goes(&mut events, &seed) => {}
        }
    }
}

/// Waits until a node registers with our own port mapper; for ever, where there is none.
async fn registration(mapper: &mut Option<epmd::Watch>) {
    match mapper {
        Some(mapper) => mapper.registration().await,
        None => std::future::pending().await,
    }
}

/// Waits until `seed` is connected or is no longer, or until that may have been missed.
async fn until_it_comes_or_goes(events: &mut broadcast::Receiver<NodeEvent>, seed: &NodeName) {
    loop {
        match events.recv().await {
            Ok(NodeEvent::Down(peer, _)) if peer.name() == seed => return,
            Ok(NodeEvent::Up(peer)) if peer.name() == seed => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Waits until a connection ends, or may have ended unseen.
async fn link_lost(events: &mut broadcast::Receiver<NodeEvent>) {
    loop {
        match events.recv().await {
            Ok(NodeEvent::Down(..)) | Err(RecvError::Lagged(_)) => return,
            Ok(NodeEvent::Up(_)) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// A seed that is not connected.
#[derive(Default)]
struct Down {
    /// Where the seed listens that does not take us, and when to call it again.
    refused: Option<(SocketAddr, Backoff)>,
    /// What is wrong with its host, and when to look again: names that do not resolve are not asked for all the time.
    unreachable: Option<Backoff>,
    said: Option<String>,
}

impl Down {
    /// Calls the seed if it is there and due; whether it is connected now.
    async fn attempt(&mut self, node: &Node, seed: &NodeName) -> Result<bool, ConnectError> {
        if self.unreachable.is_some_and(|backoff| !backoff.is_due()) {
            return Ok(false);
        }
        let address = match epmd::lookup(seed).await {
            Ok((ip, port)) => SocketAddr::new(ip, port),
            Err(error) => {
                // Whoever comes registers anew, also where it was before.
                self.refused = None;
                // A port mapper that is not there may come with the node; a host that is not there stays so longer.
                let is_host = !matches!(&error, EpmdError::UnknownName { .. })
                    && !is_connection_refused(&error);
                self.unreachable = is_host.then(|| {
                    let mut backoff = self.unreachable.unwrap_or_else(Backoff::new);
                    backoff.failed();
                    backoff
                });
                return Err(error.into());
            }
        };
        self.unreachable = None;
        let mut backoff = match self.refused {
            Some((before, backoff)) if before == address => backoff,
            _ => Backoff::new(),
        };
        if !backoff.is_due() {
            return Ok(false);
        }
        let called = call(node, Called::Node(seed.clone()), address, Trust::Anybody).await;
        if called.is_err() {
            backoff.failed();
            self.refused = Some((address, backoff));
        }
        called.map(|_| true)
    }

    /// Says what is wrong, once aloud, and later only what is new.
    fn complain(&mut self, seed: &NodeName, error: &ConnectError) {
        let source = std::error::Error::source(error).map(ToString::to_string);
        let text = source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        match &self.said {
            None => warn!(node = %seed, "cannot connect, trying on: {text}"),
            Some(said) if *said == text => return,
            Some(_) => debug!(node = %seed, "cannot connect: {text}"),
        }
        self.said = Some(text);
    }
}

fn is_connection_refused(error: &EpmdError) -> bool {
    matches!(error, EpmdError::Io { source, .. }
        if source.kind() == std::io::ErrorKind::ConnectionRefused)
}

/// Connects to the visible nodes that `peer` is connected to, until it is time to look again: after a while, or at once
/// when a link was lost, which it tells.
async fn stay_joined(node: &Node, peer: &Arc<Peer>) -> bool {
    let mut events = node.events();
    join_known(node, peer).await;
    timeout(ASK_AGAIN, link_lost(&mut events)).await.is_ok()
}

/// Connects to the visible nodes that `peer` is connected to.
async fn join_known(node: &Node, peer: &Arc<Peer>) {
    let nodes = node.rpc(peer, "erlang", "nodes", encode::nil).await;
    let Ok(nodes) = nodes else { return };
    let Some(names) = nodes.as_term().as_list() else { return };
    let names: Vec<_> = names
        .filter_map(TermRef::as_atom)
        .filter_map(|name| NodeName::new(&name.to_str()))
        .collect();
    let mut calls = JoinSet::new();
    for name in names {
        let is_wanted = node.peer(name.as_str()).is_none()
            && name != *node.name()
            && node.0.config.allows(name.as_str());
        if !is_wanted {
            continue;
        }
        if calls.len() >= MAX_CALLS {
            calls.join_next().await;
        }
        let (node, of) = (node.clone(), peer.name().clone());
        calls.spawn(async move {
            if let Err(error) = connect(&node, &name).await {
                debug!(node = %name, "cannot connect to a node of {of}: {error}");
            }
        });
    }
    while calls.join_next().await.is_some() {}
}

/// Whether [`keep_local`] can be had on this system.
///
/// # Errors
///
/// [`StartError::NoOwners`].
pub fn can_keep_local() -> Result<(), StartError> {
    if socket_owner::is_supported() { Ok(()) } else { Err(StartError::NoOwners) }
}

/// Connects to every node that registers with this host's port mapper, as it registers; for ever.
///
/// A registration is a name and a port, and any user of this host can make one. So only ports are called whose
/// listening sockets belong to our own user or to root: whoever is called learns a digest made with our cookie. One
/// that refused us is left alone until its port changes, which it does when the node registers anew.
pub async fn keep_local(node: Node) {
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut news = node.0.mapper.get().cloned();
    let mut registered = Registered::default();
    let mut calls: JoinSet<(String, u16, Result<(), ConnectError>)> = JoinSet::new();
    loop {
        tokio::select! {
            // Both only say that it is time to look; what comes while we look is there when we do.
            () = sleep(LOOK_AGAIN) => {}
            () = registration(&mut news) => {}
            // A call's result waits until it is taken.
            Some(ended) = calls.join_next() => {
                if let Ok((name, port, result)) = ended {
                    registered.settle(&name, port, result);
                }
                continue;
            }
        }
        let Ok(names) = epmd::names(here).await else { continue };
        registered.look(names);
        for (name, port) in registered.choose(&node, here, MAX_CALLS.saturating_sub(calls.len())) {
            let node = node.clone();
            calls.spawn(async move {
                let result = call_local(&node, here, &name, port).await;
                (name, port, result.map(drop))
            });
        }
    }
}

/// Who is registered here. Who only registers names gets nothing for it: ports that are not ours take no place among
/// the calls, a port is called under one name at a time, and both ports and the names of one take turns.
#[derive(Default)]
struct Registered {
    found: BTreeMap<String, RegisteredNode>,
    /// The ports of these names, and those that are being called.
    ports: HashMap<u16, Port>,
    /// Turns given so far.
    turns: u64,
}

/// A port under which somebody is registered.
struct Port {
    is_called: bool,
    /// When it was called last, or seen first.
    turn: u64,
    /// The name that the node there gave itself when it was called; others may have registered theirs in front of it.
    told: Option<String>,
}

impl Port {
    fn new(turn: u64) -> Self {
        Port { is_called: false, turn, told: None }
    }
}

impl Registered {
    /// Notes who is registered now. Who registers anew begins anew.
    fn look(&mut self, names: Vec<(String, u16)>) {
        let there: HashSet<&(String, u16)> = names.iter().collect();
        self.found.retain(|name, found| there.contains(&(name.clone(), found.port)));
        let ports: HashSet<u16> = names.iter().map(|(_, port)| *port).collect();
        self.ports.retain(|number, port| port.is_called || ports.contains(number));
        for (name, port) in names {
            self.turns += 1;
            self.ports.entry(port).or_insert_with(|| Port::new(self.turns));
            self.found.entry(name).or_insert_with(|| RegisteredNode::new(port, self.turns));
        }
    }

    /// Whom to call now, `most` at once; they count as called.
    fn choose(&mut self, node: &Node, here: IpAddr, most: usize) -> Vec<(String, u16)> {
        let Registered { found, ports, turns } = self;
        let is_due = |(name, found): &(&String, &mut RegisteredNode)| {
            !ports.get(&found.port).is_some_and(|port| port.is_called) && found.is_due(node, name)
        };
        let mut due: Vec<_> = found.iter_mut().filter(is_due).collect();
        if due.is_empty() || most == 0 {
            return Vec::new();
        }
        let listeners = Listeners::of(0).map_err(|error| error.kind());
        due.sort_by_key(|(name, found)| {
            let port = ports.get(&found.port);
            let is_told = port.is_some_and(|port| port.told.as_ref() == Some(name));
            (port.map(|port| port.turn), !is_told, found.turn)
        });
        let mut chosen = Vec::new();
        for (name, found) in due {
            match may_call(&listeners, SocketAddr::new(here, found.port)) {
                Ok(()) => {
                    let free = ports.get_mut(&found.port).filter(|port| !port.is_called);
                    if let Some(port) = free.filter(|_| chosen.len() < most) {
                        *turns += 1;
                        (found.turn, port.turn) = (*turns, *turns);
                        port.is_called = true;
                        chosen.push((name.clone(), found.port));
                    }
                }
                Err(error) => found.settle(name, Err(error)),
            }
        }
        chosen
    }

    /// Notes what became of a call.
    fn settle(&mut self, name: &str, port: u16, result: Result<(), ConnectError>) {
        if let Some(port) = self.ports.get_mut(&port) {
            port.is_called = false;
            if let Some(told) = told(name, &result) {
                port.told = Some(told);
            }
        }
        // The node may have registered anew meanwhile.
        if let Some(found) = self.found.get_mut(name).filter(|found| found.port == port) {
            found.settle(name, result);
        }
    }
}

/// Under which name the node that was called as `name` says that it is registered.
fn told(name: &str, result: &Result<(), ConnectError>) -> Option<String> {
    match result {
        Ok(()) => Some(name.to_owned()),
        Err(ConnectError::Handshake(HandshakeError::OtherNode { answered, .. })) => {
            NodeName::new(answered).map(|answered| answered.alive().to_owned())
        }
        Err(_) => None,
    }
}

/// Whether the port of `address` is worth a call: somebody listens there whom we would call, at this address or another
/// one of the host. Whom a call reaches is looked at when it is made.
fn may_call(
    listeners: &Result<Listeners, std::io::ErrorKind>,
    address: SocketAddr,
) -> Result<(), ConnectError> {
    match listeners {
        Ok(listeners) if listeners.has_trusted(address.port()) => Ok(()),
        Ok(listeners) => check_owners(listeners, address),
        Err(kind) => Err(ConnectError::NoOwner { address, source: (*kind).into() }),
    }
}

/// A node that is registered here.
struct RegisteredNode {
    port: u16,
    /// When it was called last, or seen first.
    turn: u64,
    /// It does not want us, or we do not want it.
    is_refused: bool,
    /// Whether it was said that it is not ours.
    is_said: bool,
    backoff: Backoff,
}

impl RegisteredNode {
    fn new(port: u16, turn: u64) -> Self {
        RegisteredNode { port, turn, is_refused: false, is_said: false, backoff: Backoff::new() }
    }

    /// Notes what became of an attempt to call it.
    fn settle(&mut self, name: &str, result: Result<(), ConnectError>) {
        let port = self.port;
        match result {
            Ok(()) => self.backoff = Backoff::new(),
            Err(error) if is_refusal(&error) => {
                self.is_refused = true;
                if !strangers::LOCAL.admit() {
                    return;
                }
                if matches!(error, ConnectError::Io { .. }) {
                    info!(%name, port, "a node here refuses us, probably for its cookie; it is asked again when it registers anew");
                } else {
                    info!(%name, port, "a node here is not joined: {error}; it is asked again when it registers anew");
                }
            }
            Err(error) => {
                self.backoff.failed();
                let is_not_ours =
                    matches!(error, ConnectError::NotOurs { .. } | ConnectError::NoOwner { .. });
                if is_not_ours && !self.is_said && strangers::LOCAL.admit() {
                    self.is_said = true;
                    info!(%name, port, "a node here is not called: {error}");
                } else {
                    debug!(%name, port, "cannot connect: {error}");
                }
            }
        }
    }

    fn is_due(&self, node: &Node, name: &str) -> bool {
        let is_done = name == node.name().alive() || self.is_refused;
        !is_done && self.backoff.is_due() && !is_connected_here(node, name)
    }
}

/// Whether the node of this host that is registered as `name` is connected.
fn is_connected_here(node: &Node, name: &str) -> bool {
    let is_it = |peer: &Arc<Peer>| {
        let is_here = peer.name().host() == node.name().host() || peer.address().ip().is_loopback();
        peer.name().alive() == name && is_here
    };
    node.peers().iter().any(is_it)
}

/// A node with another cookie closes the connection after our digest, or says that we may not connect; one that is
/// not the one registered, or that `allow` leaves out, is refused by us.
fn is_refusal(error: &ConnectError) -> bool {
    match error {
        ConnectError::Handshake(error) if error.is_simultaneous() => false,
        ConnectError::Handshake(_) => true,
        ConnectError::Io { source, .. } => matches!(
            source.kind(),
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset
        ),
        _ => false,
    }
}

/// Calls a node of this host.
async fn call_local(
    node: &Node,
    here: IpAddr,
    name: &str,
    port: u16,
) -> Result<Arc<Peer>, ConnectError> {
    let loopback = call_ours(node, name, SocketAddr::new(here, port)).await;
    if matches!(loopback, Err(ConnectError::NobodyListens { .. } | ConnectError::NotOurs { .. })) {
        // It may listen on the host's own address alone, perhaps with somebody else's at this one.
        let host = node.name().host();
        let found = timeout(Duration::from_secs(1), tokio::net::lookup_host((host, port))).await;
        if let Ok(Ok(mut found)) = found
            && let Some(address) = found.find(|address| address.is_ipv4() && address.ip() != here)
        {
            let called = call_ours(node, name, address).await;
            if !matches!(called, Err(ConnectError::NobodyListens { .. })) {
                return called;
            }
        }
    }
    loopback
}

/// Calls the node registered as `name` if it is a process of our own user or of root that listens there.
async fn call_ours(
    node: &Node,
    name: &str,
    address: SocketAddr,
) -> Result<Arc<Peer>, ConnectError> {
    check_listener(address)?;
    call(node, Called::Alive(name.into()), address, Trust::OurUser).await
}
