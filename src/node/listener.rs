//! Nodes that call us, and the exchange of handshake messages over a socket for both sides.
//!
//! # Invariants
//!
//! - `newcomers_get_in`: at most `MAX_HANDSHAKES` strangers are under way; when one more comes, the oldest
//!   gives way, so that idle strangers keep nobody out.

use std::collections::VecDeque;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tracing::{debug, warn};

use super::connection::{self, HANDSHAKE_TIME, handshake_deadline};
use super::{ConnectError, MAX_CONNECTIONS, Node, StartError};
use crate::proto::HandshakeError;
use crate::proto::handshake::{Agreed, Handshake, MAX_MESSAGE_BYTES, Status, Step, status_for};

/// Unfinished handshakes at once.
const MAX_HANDSHAKES: usize = 64;

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

/// Accepts nodes for ever.
pub async fn serve(node: Node, listener: TcpListener) {
    let mut under_way: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Mostly too many open files: others may close theirs meanwhile.
                warn!("cannot accept a connection: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        under_way.retain(|handshake| !handshake.is_finished());
        if under_way.len() >= MAX_HANDSHAKES
            && let Some(oldest) = under_way.pop_front()
        {
            oldest.abort();
            node.counters().handshakes_displaced.inc();
        }
        let node = node.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = accepted(&node, stream).await {
                node.counters().handshakes_failed.inc();
                match &error {
                    ConnectError::Handshake(
                        HandshakeError::Cookie { .. } | HandshakeError::Flags { .. },
                    ) => {
                        warn!(%address, "connection refused: {error}");
                    }
                    ConnectError::Handshake(error) if error.is_simultaneous() => {
                        debug!(%address, "simultaneous connect: ours goes on");
                    }
                    _ => warn!(%address, "handshake failed: {error}"),
                }
            }
        });
        under_way.push_back(task.abort_handle());
    }
}

/// A challenge from the operating system's generator.
pub(super) fn challenge() -> u32 {
    getrandom::u32().expect("the operating system gives random numbers")
}

async fn accepted(node: &Node, stream: TcpStream) -> Result<(), ConnectError> {
    let mut handshake = Handshake::accept(node.0.local.clone(), challenge());
    let (stream, agreed) = within_time(exchange(node, stream, &mut handshake)).await?;
    connection::start(node, stream, agreed);
    Ok(())
}

/// Bounds a handshake by `HANDSHAKE_TIME`.
pub(super) async fn within_time<T>(
    exchange: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    tokio::time::timeout_at(handshake_deadline().into(), exchange)
        .await
        .map_err(|_| ConnectError::Timeout { seconds: HANDSHAKE_TIME.as_secs() })?
}

/// Exchanges messages until the handshake is over.
pub(super) async fn exchange(
    node: &Node,
    mut stream: TcpStream,
    handshake: &mut Handshake,
) -> Result<(TcpStream, Agreed), ConnectError> {
    let address =
        stream.peer_addr().map_or_else(|_| "peer".to_owned(), |address| address.to_string());
    let io = |source| ConnectError::Io { address: address.clone(), source };
    tune(&stream).map_err(io)?;
    loop {
        let message = read_message(&mut stream).await.map_err(io)??;
        match handshake.handle(&message)? {
            Step::Send(messages) => write_messages(&mut stream, &messages).await.map_err(io)?,
            Step::Done(messages, agreed) => {
                // We drop the connection before the last message rather than after it.
                if node.0.peers.len() >= MAX_CONNECTIONS {
                    return Err(ConnectError::TooMany { limit: MAX_CONNECTIONS });
                }
                write_messages(&mut stream, &messages).await.map_err(io)?;
                return Ok((stream, agreed));
            }
            Step::Alive => {
                let is_connected =
                    handshake.called().is_some_and(|name| node.0.peers.contains_key(name));
                let (messages, result) = handshake.still_calling(!is_connected);
                write_messages(&mut stream, &messages).await.map_err(io)?;
                result?;
            }
            Step::Decide(peer) => {
                let status = if !node.allows(peer.name.as_str()) || peer.name == *node.name() {
                    Status::NotAllowed
                } else {
                    let connected = node.0.peers.contains_key(&peer.name);
                    status_for(node.name(), &peer.name, connected, node.is_calling(&peer.name))
                };
                let (messages, result) = handshake.answer(status);
                write_messages(&mut stream, &messages).await.map_err(io)?;
                result?;
            }
        }
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
    /// Whether a node of this name may connect.
    fn allows(&self, name: &str) -> bool {
        let allow = &self.0.config.allow;
        allow.is_empty() || allow.iter().any(|glob| glob_matches(glob, name))
    }

    fn is_calling(&self, name: &crate::proto::NodeName) -> bool {
        self.0.calling.lock().expect("no panic while the set is held").contains(name)
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
