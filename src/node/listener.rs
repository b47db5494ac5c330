//! Nodes that call us, and the exchange of handshake messages over a socket for both sides.
//!
//! Who connects is a stranger until its handshake is done: unfinished ones get a place each (`places.rs`), so that
//! neither idle strangers nor a flood of them keep a node out.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::connection::{self, HANDSHAKE_TIME, handshake_deadline};
use super::places::{Door, Origin, is_here};
use super::socket_owner::{self, Listeners, Owner};
use super::{ConnectError, Node, StartError, epmd};
use crate::proto::HandshakeError;
use crate::proto::handshake::{Agreed, Handshake, MAX_MESSAGE_BYTES, Step};
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
                    node.metrics().handshakes_failed.inc();
                    report(address, &error);
                }
            }
        };
        if door.serve(origin, handshake).await {
            node.metrics().handshakes_displaced.inc();
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

async fn accepted(node: &Node, mut stream: TcpStream) -> Result<(), ConnectError> {
    let ends = Ends::of(&stream)?;
    let mut handshake = Handshake::accept(node.0.local.clone(), node.challenge());
    let exchange = exchange(node, &mut stream, ends, &mut handshake, Trust::Anybody);
    let agreed = within_time(exchange).await?;
    connection::start(node, stream, agreed).map(drop)
}

/// Between which addresses a connection is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// The other node's.
    pub(super) peer: SocketAddr,
    /// Ours.
    pub(super) here: SocketAddr,
}

impl Ends {
    /// Those of a socket, which is made ready: small packets go out at once, and a dead host is noticed even where ticks
    /// are rare.
    pub(super) fn of(stream: &TcpStream) -> Result<Self, ConnectError> {
        let io = |source| ConnectError::Io { address: "peer".into(), source };
        let ends =
            Ends { peer: stream.peer_addr().map_err(io)?, here: stream.local_addr().map_err(io)? };
        let tuned = stream
            .set_nodelay(true)
            .and_then(|()| socket2::SockRef::from(stream).set_keepalive(true));
        tuned.map_err(|source| ends.failed(source)).map(|()| ends)
    }

    fn failed(self, source: std::io::Error) -> ConnectError {
        ConnectError::Io { address: self.peer.to_string(), source }
    }
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
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ends: Ends,
    handshake: &mut Handshake,
    trust: Trust,
) -> Result<Agreed, ConnectError> {
    let io = |source| ends.failed(source);
    loop {
        let message = read_message(stream).await.map_err(|error| {
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
            Step::Send(messages) => write_messages(stream, &messages).await.map_err(io)?,
            Step::Done(messages, agreed) => {
                // We drop the connection before the last message rather than after it.
                let limit = node.0.config.budget.connections;
                if !node.connections().admits(&agreed.peer.name) {
                    return Err(ConnectError::TooMany { limit });
                }
                write_messages(stream, &messages).await.map_err(io)?;
                return Ok(agreed);
            }
            Step::Alive => {
                // Only who certainly has no connection may let the peer drop the one it has.
                let is_connected =
                    handshake.called().is_none_or(|called| node.connections().may_have(called));
                let (messages, result) = handshake.still_calling(!is_connected);
                write_messages(stream, &messages).await.map_err(io)?;
                result?;
            }
            Step::Challenged(peer) => {
                if !node.0.config.allows(peer.name.as_str()) {
                    let peer = peer.name.to_string();
                    return Err(HandshakeError::NotAllowed { peer }.into());
                }
                if trust == Trust::OurUser {
                    check_owner(ends.peer, ends.here)?;
                }
                let messages = handshake.prove()?;
                write_messages(stream, &messages).await.map_err(io)?;
            }
            Step::Decide(peer) => {
                let is_allowed = node.0.config.allows(peer.name.as_str());
                let is_here = is_here(ends.peer, ends.here);
                let status = node.connections().status(&peer.name, is_allowed, is_here);
                let (messages, result) = handshake.answer(status);
                write_messages(stream, &messages).await.map_err(io)?;
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

/// A message without its two-byte length.
async fn read_message(
    stream: &mut (impl AsyncRead + Unpin),
) -> std::io::Result<Result<Vec<u8>, HandshakeError>> {
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
    stream: &mut (impl AsyncWrite + Unpin),
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
