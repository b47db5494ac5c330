//! Nodes that we call: by name, every node of a seed's cluster, or all that the port mapper here knows.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::epmd;
use super::listener::{challenge, exchange, within_time, write_messages};
use super::{ConnectError, Node, Peer, connection};
use crate::etf::{TermRef, encode};
use crate::proto::handshake::Handshake;
use crate::proto::{HandshakeError, NodeName};

/// How long a seed's nodes are believed to be those it named last.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// How often the port mapper here is asked for new nodes. A question costs it tens of microseconds.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Connects to a node through the port mapper of its host; the connection, if there is one already.
///
/// # Errors
///
/// [`ConnectError`]; trying again later is fine.
pub async fn connect(node: &Node, name: &NodeName) -> Result<Arc<Peer>, ConnectError> {
    if let Some(peer) = node.peer(name.as_str()) {
        return Ok(peer);
    }
    let (address, port) = epmd::lookup(name).await?;
    call(node, Some(name), SocketAddr::new(address, port)).await
}

/// Marks a node as being called, so that a simultaneous call of its own is resolved.
struct Calling<'a>(&'a Node, NodeName);

impl<'a> Calling<'a> {
    /// `None` if it is being called already.
    fn begin(node: &'a Node, name: &NodeName) -> Option<Self> {
        let mut calling = node.0.calling.lock().expect("no panic while the set is held");
        calling.insert(name.clone()).then(|| Calling(node, name.clone()))
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        self.0.0.calling.lock().expect("no panic while the set is held").remove(&self.1);
    }
}

/// Calls whoever listens at `address`; it has to be `name`, if one is given.
async fn call(
    node: &Node,
    name: Option<&NodeName>,
    address: SocketAddr,
) -> Result<Arc<Peer>, ConnectError> {
    let _calling = match name {
        None => None,
        Some(name) => Some(
            Calling::begin(node, name).ok_or(HandshakeError::Refused { status: "nok".into() })?,
        ),
    };
    let (mut handshake, first) =
        Handshake::initiate(node.0.local.clone(), name.cloned(), challenge());
    let (stream, agreed) = within_time(async {
        let io = |source| ConnectError::Io { address: address.to_string(), source };
        let mut stream = TcpStream::connect(address).await.map_err(io)?;
        write_messages(&mut stream, &[first]).await.map_err(io)?;
        exchange(node, stream, &mut handshake).await
    })
    .await
    .inspect_err(|error| {
        if !matches!(error, ConnectError::Handshake(error) if error.is_simultaneous()) {
            node.counters().handshakes_failed.inc();
        }
    })?;
    Ok(connection::start(node, stream, agreed))
}

/// Keeps a seed connected, and with it every visible node it knows; for ever.
pub async fn keep_seed(node: Node, seed: NodeName) {
    let mut backoff = BACKOFF_MIN;
    let mut complained = false;
    loop {
        match connect(&node, &seed).await {
            Ok(peer) => {
                (backoff, complained) = (BACKOFF_MIN, false);
                join_known(&node, &peer).await;
                sleep(ASK_AGAIN).await;
            }
            Err(error) => {
                let detail = std::error::Error::source(&error).map(ToString::to_string);
                let detail = detail.map_or_else(String::new, |detail| format!(": {detail}"));
                if complained {
                    debug!(node = %seed, "cannot connect: {error}{detail}");
                } else {
                    warn!(node = %seed, "cannot connect, trying on: {error}{detail}");
                    complained = true;
                }
                sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}

/// Connects to the visible nodes that `peer` is connected to.
async fn join_known(node: &Node, peer: &Arc<Peer>) {
    let nodes = node.rpc(peer, "erlang", "nodes", encode::nil).await;
    let Ok(nodes) = nodes else { return };
    let Some(names) = TermRef::from_walked(&nodes).as_list() else { return };
    for name in names.filter_map(TermRef::as_atom).filter_map(|name| NodeName::new(&name.to_str()))
    {
        if node.peer(name.as_str()).is_none()
            && name != *node.name()
            && let Err(error) = connect(node, &name).await
        {
            debug!(node = %name, "cannot connect to a node of {}: {error}", peer.name());
        }
    }
}

/// Connects to every node that registers with this host's port mapper, as it registers; for ever.
///
/// A registration is a name and a port. One that refused us is left alone until its port changes, which it
/// does when the node registers anew.
pub async fn keep_local(node: Node) {
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut refused: HashMap<String, u16> = HashMap::new();
    let mut retries: HashMap<String, (u16, u32)> = HashMap::new();
    loop {
        sleep(LOOK_AGAIN).await;
        let Ok(names) = epmd::names(here).await else { continue };
        refused.retain(|name, port| names.iter().any(|(n, p)| n == name && p == port));
        retries.retain(|name, (port, _)| names.iter().any(|(n, p)| n == name && p == port));
        for (name, port) in names {
            let is_it = |peer: &Arc<Peer>| {
                let is_here =
                    peer.name().host() == node.name().host() || peer.address().ip().is_loopback();
                peer.name().alive() == name && is_here
            };
            let is_connected = node.peers().iter().any(is_it);
            if name == node.name().alive() || is_connected || refused.get(&name) == Some(&port) {
                continue;
            }
            // A node that answers but does not agree right now is asked again, ever more rarely.
            let tries = retries.entry(name.clone()).or_insert((port, 0));
            tries.1 += 1;
            if tries.1 > 4 && !tries.1.is_multiple_of(20) {
                continue;
            }
            match call_local(&node, here, port).await {
                Ok(_) => {
                    retries.remove(&name);
                }
                Err(error) if is_refusal(&error) => {
                    info!(%name, port, "a node here refuses us, probably for its cookie; it is asked again when it registers anew");
                    refused.insert(name, port);
                }
                Err(error) => debug!(%name, port, "cannot connect: {error}"),
            }
        }
    }
}

/// A node with another cookie closes the connection after our digest, or says that we may not connect.
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

/// Calls a node of which only the port is known: it says itself who it is.
async fn call_local(node: &Node, here: IpAddr, port: u16) -> Result<Arc<Peer>, ConnectError> {
    let loopback = call(node, None, SocketAddr::new(here, port)).await;
    if matches!(&loopback, Err(ConnectError::Io { source, .. })
        if source.kind() == std::io::ErrorKind::ConnectionRefused)
    {
        // It may listen on the host's own address alone.
        let host = node.name().host();
        let found = timeout(Duration::from_secs(1), tokio::net::lookup_host((host, port))).await;
        if let Ok(Ok(mut found)) = found
            && let Some(address) = found.find(|address| address.is_ipv4())
        {
            return call(node, None, address).await;
        }
    }
    loopback
}
