//! What can go wrong with a node that is running.

use std::io;
use std::net::SocketAddr;

use crate::proto::{EpmdError, HandshakeError, PacketError};

/// Why the node could not start. Nothing runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The distribution listener's address is not to be had.
    #[error("cannot listen on {address} for other nodes")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The node's host has no address.
    #[error(
        "host {host} of the node's name has no address; name the node after one that has, or pass --listen"
    )]
    Host {
        /// The host.
        host: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Registering failed.
    #[error("cannot register with the port mapper")]
    Epmd(#[from] EpmdError),
}

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The port mapper of its host could not help.
    #[error(transparent)]
    Epmd(#[from] EpmdError),
    /// Its host or port cannot be reached, or the connection broke during the handshake.
    #[error("cannot reach {address}")]
    Io {
        /// The address or host tried.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The two did not agree.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The handshake took too long.
    #[error("handshake was not finished within {seconds} s")]
    Timeout {
        /// The limit.
        seconds: u64,
    },
    /// There are too many connections.
    #[error("{limit} connections are the limit")]
    TooMany {
        /// The limit.
        limit: usize,
    },
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// The peer closed it.
    #[error("closed by the peer")]
    Closed,
    /// We did.
    #[error("closed here")]
    Here,
    /// The same node connected anew.
    #[error("replaced by a new connection of the same node")]
    Replaced,
    /// The network did.
    #[error("connection lost")]
    Io(#[source] io::Error),
    /// Nothing came for `net_ticktime`.
    #[error("nothing heard for {0:?}")]
    TickTimeout(std::time::Duration),
    /// The peer broke the protocol.
    #[error("protocol broken by the peer")]
    Packet(#[source] PacketError),
    /// The peer does not read what it asks for.
    #[error("peer does not read: {0} bytes are queued")]
    Stalled(usize),
}

/// Why a call to a process of another node has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The process is not there, or died, or the connection was lost; the reason as Erlang text.
    #[error("called process is gone: {0}")]
    Down(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(std::time::Duration),
}
