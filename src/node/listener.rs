//! Nodes that call us, and the exchange of handshake messages over a socket for both sides.
//!
//! Who connects is a stranger until its handshake is done: unfinished ones get a place each (`places.rs`), so that
//! neither idle strangers nor a flood of them keep a node out.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::connection::{self, HANDSHAKE_TIME, handshake_deadline};
use super::places::{Door, Origin, is_here};
use super::socket_owner::{self, Listeners, Owner};
use super::{ConnectError, Node, StartError, epmd};
use crate::proto::handshake::{
    Agreed, Called, Handshake, MAX_MESSAGE_BYTES, Status, Step, status_for,
};
use crate::proto::{HandshakeError, NodeName};
use crate::strangers;

/// Opens the listening sockets, all on one port: the port mapper knows only one. Port 0 takes any.
///
/// # Errors
///
/// [`StartError::Listen`], with the address that is not to be had.
pub async fn bind(addresses: &[SocketAddr]) -> Result<(Vec<TcpListener>, u16), StartError> {
    let mut listeners = Vec::new();
    let mut port = 0;
    for address in addresses {
        let mut address = *address;
        if address.port() == 0 {
            address.set_port(port);
        }
        let listen = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        port = listener.local_addr().map_err(listen)?.port();
        listeners.push(listener);
    }
    Ok((listeners, port))
}

/// Accepts nodes for ever, on all sockets.
pub async fn serve(node: Node, listeners: Vec<TcpListener>) {
    let door = Arc::new(Door::new(node.0.config.budget.handshakes));
    let mut tasks = JoinSet::new();
    for listener in listeners {
        tasks.spawn(accept(node.clone(), listener, door.clone()));
    }
    while tasks.join_next().await.is_some() {}
}

async fn accept(node: Node, listener: TcpListener, door: Arc<Door>) {
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Mostly too many open files: others may close theirs meanwhile.
                if strangers::ACCEPTS.admit() {
                    warn!("cannot accept a connection: {error}");
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let origin = Origin::of(&stream);
        let handshake = {
            let node = node.clone();
            async move {
                if let Err(error) = accepted(&node, stream).await {
                    node.counters().handshakes_failed.inc();
                    report(address, &error);
                }
            }
        };
        if door.serve(origin, handshake).await {
            node.counters().handshakes_displaced.inc();
        }
    }
}

fn report(address: SocketAddr, error: &ConnectError) {
    match error {
        ConnectError::Handshake(error) if error.is_simultaneous() => {
            debug!(%address, "simultaneous connect: ours goes on");
        }
        _ if !strangers::HANDSHAKES.admit() => {}
        ConnectError::Handshake(HandshakeError::Cookie { .. } | HandshakeError::Flags { .. }) => {
            warn!(%address, "connection refused: {error}");
        }
        _ => warn!(%address, "handshake failed: {error}"),
    }
}

/// Enough bits that no two are alike, from the operating system's generator.
fn random_number() -> u64 {
    getrandom::u64().expect("the operating system gives random numbers")
}

async fn accepted(node: &Node, stream: TcpStream) -> Result<(), ConnectError> {
    let mut handshake = Handshake::accept(node.0.local.clone(), node.challenge());
    let (stream, agreed) =
        within_time(exchange(node, stream, &mut handshake, Trust::Anybody)).await?;
    connection::start(node, stream, agreed).map(drop)
}

/// Bounds a handshake by `HANDSHAKE_TIME`.
pub(super) async fn within_time<T>(
    exchange: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    tokio::time::timeout_at(handshake_deadline().into(), exchange)
        .await
        .map_err(|_| ConnectError::Timeout { seconds: HANDSHAKE_TIME.as_secs() })?
}

/// Who is given our digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Whoever answers where we called.
    Anybody,
    /// Only a process of our own user or of root, on this host.
    OurUser,
}

/// Exchanges messages until the handshake is over.
pub(super) async fn exchange(
    node: &Node,
    mut stream: TcpStream,
    handshake: &mut Handshake,
    trust: Trust,
) -> Result<(TcpStream, Agreed), ConnectError> {
    let io = |source| ConnectError::Io { address: "peer".into(), source };
    let (peer_address, here) = (stream.peer_addr().map_err(io)?, stream.local_addr().map_err(io)?);
    let io = |source| ConnectError::Io { address: peer_address.to_string(), source };
    tune(&stream).map_err(io)?;
    loop {
        let message = read_message(&mut stream).await.map_err(|error| {
            use std::io::ErrorKind::{ConnectionReset, UnexpectedEof};
            let is_closed = matches!(error.kind(), UnexpectedEof | ConnectionReset);
            let meaning = handshake.if_closed().filter(|_| is_closed);
            meaning.map_or_else(|| io(error), ConnectError::from)
        })??;
        let step = match handshake.handle(&message)? {
            Step::NameMe(host) => {
                let name = node.0.lent_names.lend(&host, random_number());
                handshake.name(name.ok_or(HandshakeError::Name)?, epmd::new_creation())?
            }
            step => step,
        };
        match step {
            Step::NameMe(_) => unreachable!("it was just given a name"),
            Step::Send(messages) => write_messages(&mut stream, &messages).await.map_err(io)?,
            Step::Done(messages, agreed) => {
                // We drop the connection before the last message rather than after it.
                let limit = node.0.config.budget.connections;
                if node.0.peers.len() >= limit && !node.0.peers.contains_key(&agreed.peer.name) {
                    return Err(ConnectError::TooMany { limit });
                }
                write_messages(&mut stream, &messages).await.map_err(io)?;
                return Ok((stream, agreed));
            }
            Step::Alive => {
                // Only who certainly has no connection may let the peer drop the one it has.
                let is_connected = handshake.called().is_none_or(|called| node.may_have(called));
                let (messages, result) = handshake.still_calling(!is_connected);
                write_messages(&mut stream, &messages).await.map_err(io)?;
                result?;
            }
            Step::Challenged(peer) => {
                if !node.0.config.allows(peer.name.as_str()) {
                    let peer = peer.name.to_string();
                    return Err(HandshakeError::NotAllowed { peer }.into());
                }
                if trust == Trust::OurUser {
                    check_owner(peer_address, here)?;
                }
                let messages = handshake.prove()?;
                write_messages(&mut stream, &messages).await.map_err(io)?;
            }
            Step::Decide(peer) => {
                let allowed = node.0.config.allows(peer.name.as_str());
                let status = if !allowed || peer.name == *node.name() {
                    Status::NotAllowed
                } else {
                    let connected = node.0.peers.contains_key(&peer.name);
                    let calling = node.is_calling(&peer.name, is_here(peer_address, here));
                    status_for(node.name(), &peer.name, connected, calling)
                };
                let (messages, result) = handshake.answer(status);
                write_messages(&mut stream, &messages).await.map_err(io)?;
                result?;
            }
        }
    }
}

/// Looks whose the sockets are that we are about to give our digest to.
///
/// The process that accepted this connection has sent us its challenge, so its socket has an owner by now. The
/// listening socket is looked at too, as before the call, for somebody else may have come in its place.
fn check_owner(address: SocketAddr, here: SocketAddr) -> Result<(), ConnectError> {
    check_listener(address)?;
    let owner = socket_owner::of_connection(address, here);
    let owner = owner.map_err(|source| ConnectError::NoOwner { address, source })?;
    match owner {
        Some(owner) if owner.is_trusted() => Ok(()),
        owner => Err(ConnectError::NotOurs { address, user: owner.and_then(Owner::user) }),
    }
}

/// Looks whose the sockets are that take connections to `address`.
pub(super) fn check_listener(address: SocketAddr) -> Result<(), ConnectError> {
    let listeners = Listeners::of(address.port());
    check_owners(&listeners.map_err(|source| ConnectError::NoOwner { address, source })?, address)
}

/// Whether every socket that may take a connection to `address` belongs to our own user or to root.
pub(super) fn check_owners(listeners: &Listeners, address: SocketAddr) -> Result<(), ConnectError> {
    let owners: Vec<_> = listeners.owners(address).collect();
    match owners.iter().find(|owner| !owner.is_trusted()) {
        None if owners.is_empty() => Err(ConnectError::NobodyListens { address }),
        None => Ok(()),
        Some(owner) => Err(ConnectError::NotOurs { address, user: owner.user() }),
    }
}

/// Small packets go out at once, and a dead host is noticed even where ticks are rare.
fn tune(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    socket2::SockRef::from(stream).set_keepalive(true)
}

/// A message without its two-byte length.
async fn read_message(stream: &mut TcpStream) -> std::io::Result<Result<Vec<u8>, HandshakeError>> {
    let len = usize::from(stream.read_u16().await?);
    if len > MAX_MESSAGE_BYTES {
        return Ok(Err(HandshakeError::Message { due: "any", found_bytes: len, first: None }));
    }
    let mut message = vec![0; len];
    stream.read_exact(&mut message).await?;
    Ok(Ok(message))
}

/// Writes messages, each with its two-byte length.
pub(super) async fn write_messages(
    stream: &mut TcpStream,
    messages: &[Vec<u8>],
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    for message in messages {
        let len = u16::try_from(message.len()).expect("our messages are short");
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(message);
    }
    stream.write_all(&bytes).await
}

impl Node {
    /// Whether we are calling the node; `is_here` tells whether it is on this host.
    fn is_calling(&self, name: &NodeName, is_here: bool) -> bool {
        let calling = self.0.calling.lock().expect("no panic while the set is held");
        calling.contains(&Called::Node(name.clone()))
            || is_here && calling.contains(&Called::Alive(name.alive().into()))
    }

    /// Whether there may be a connection to whom was called. Of a node known by half of its name that is so as soon
    /// as any node of that half is connected.
    pub(super) fn may_have(&self, called: &Called) -> bool {
        match called {
            Called::Node(name) => self.0.peers.contains_key(name),
            Called::Alive(_) => self.0.peers.iter().any(|peer| called.fits(peer.key())),
        }
    }
}

/// Whether `text` fits `glob`, in which `*` stands for any characters.
pub fn glob_matches(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        // The part before is free to end anywhere: take the earliest place.
        if let Some(middle) = last.replace(part) {
            match rest.find(middle) {
                Some(at) => rest = &rest[at + middle.len()..],
                None => return false,
            }
        }
    }
    match last {
        None => rest.is_empty(),
        Some(end) => rest.ends_with(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_take_stars_for_anything() {
        for (glob, text, expected) in [
            ("a@h", "a@h", true),
            ("a@h", "a@hh", false),
            ("*", "a@h", true),
            ("*@10.*", "web@10.0.0.1", true),
            ("*@10.*", "web@11.0.0.1", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxc", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(glob_matches(glob, text), expected, "{glob} {text}");
        }
    }
}
