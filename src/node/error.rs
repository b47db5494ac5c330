//! What can go wrong with a node that is running.

use std::io;
use std::net::SocketAddr;

use super::descriptors::TooFew;
use crate::proto::{EpmdError, HandshakeError, PacketError};

/// Why the node could not start. Nothing runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The distribution listener's address is not to be had.
    #[error("cannot listen on {address} for other nodes")]
    Listen {
        /// The address and port that were tried.
        address: SocketAddr,
        /// What the system says of it.
        #[source]
        source: io::Error,
    },
    /// The node's host has no address.
    #[error(
        "host {host} of the node's name has no address; name the node after one that has, or pass --listen"
    )]
    Host {
        /// The part of the node's name behind `@`.
        host: String,
        /// What the system says of it.
        #[source]
        source: io::Error,
    },
    /// Too few files may be open.
    #[error(transparent)]
    Descriptors(#[from] TooFew),
    /// Nobody tells here whose a socket is.
    #[error(
        "cannot join the nodes of this host (`local`): this system does not tell whose a listening socket is, and our cookie must not be shown to any user's; name the nodes instead"
    )]
    NoOwners,
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
        /// What the system says of it.
        #[source]
        source: io::Error,
    },
    /// The two did not agree.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// Nobody listens there.
    #[error("nobody listens on {address}")]
    NobodyListens {
        /// The address and port that were tried.
        address: SocketAddr,
    },
    /// Somebody else's process is there, or nobody's.
    #[error("{address} belongs to {}, and our cookie is shown only to processes of our own user and of root", user_text(*.user))]
    NotOurs {
        /// The address and port that were tried.
        address: SocketAddr,
        /// Whose it is, if it is anybody's.
        user: Option<u32>,
    },
    /// The system does not tell whose it is.
    #[error("cannot find out whose {address} is")]
    NoOwner {
        /// The address and port that were tried.
        address: SocketAddr,
        /// What the system says of it.
        #[source]
        source: io::Error,
    },
    /// The handshake took too long.
    #[error("handshake was not finished within {seconds} s")]
    Timeout {
        /// So long was waited.
        seconds: u64,
    },
    /// There are too many connections.
    #[error("{limit} connections are the limit")]
    TooMany {
        /// As many connections there may be.
        limit: usize,
    },
}

fn user_text(user: Option<u32>) -> String {
    user.map_or_else(|| "no process".to_owned(), |user| format!("user {user}"))
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
    /// A task of the connection panicked over something that the peer sent; a fault of ours.
    #[error("a task of the connection panicked: {0}")]
    Panicked(String),
}

impl Ended {
    /// In a word; that of `net_kernel:monitor_nodes/2` where it has one.
    pub const fn name(&self) -> &'static str {
        match self {
            Ended::Closed | Ended::Io(_) => "connection_closed",
            Ended::Here => "disconnect",
            Ended::Replaced => "replaced",
            Ended::TickTimeout(_) => "net_tick_timeout",
            Ended::Packet(_) => "protocol_error",
            Ended::Stalled(_) => "not_reading",
            Ended::Panicked(_) => "internal_error",
        }
    }

    /// Whether what is still queued is worth sending: nothing went wrong, and the peer is there to take it.
    pub(super) const fn is_orderly(&self) -> bool {
        matches!(self, Ended::Here)
    }
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
