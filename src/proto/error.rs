//! What can go wrong between two nodes, by who has to do something about it.

use crate::etf::DecodeError;

/// Why a packet from the peer could not become a signal.
///
/// Unless [`PacketError::is_refused_event`] says otherwise the peer broke the protocol or the connection is
/// damaged: close it. The node lives on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// The length field is beyond the limit.
    #[error("packet declares {declared_bytes} bytes, limit is {limit_bytes}")]
    TooLarge {
        /// What the peer announced.
        declared_bytes: u64,
        /// What is allowed.
        limit_bytes: u64,
    },
    /// Not a pass-through packet.
    #[error("packet of type {found} where pass-through ({expected}) was agreed")]
    PacketType {
        /// The type byte found.
        found: u8,
        /// The one agreed on.
        expected: u8,
    },
    /// The control message is not a term.
    #[error("control message is not a term")]
    ControlTerm(#[source] DecodeError),
    /// The control message is a term of the wrong shape.
    #[error("control message {operation:?} is malformed")]
    ControlShape {
        /// Its operation number, if it has one.
        operation: Option<i64>,
    },
    /// The payload is not a term. The packet's bounds are intact, so the next packet can be read.
    #[error("payload of operation {operation} is not a term")]
    Payload {
        /// The operation that carried it.
        operation: i64,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
}

impl PacketError {
    /// Whether only this one message is lost: its payload was damaged, the packets around it are sound.
    pub const fn is_refused_event(&self) -> bool {
        matches!(self, PacketError::Payload { .. })
    }
}

/// Why two nodes did not come to an agreement. Close the socket; nothing was kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer's bytes are not the handshake message that was due.
    #[error("{due} message was due, found {found_bytes} bytes beginning with {first:?}")]
    Message {
        /// Which message was due.
        due: &'static str,
        /// How long the one that came is.
        found_bytes: usize,
        /// Its first byte.
        first: Option<u8>,
    },
    /// The peer's name is no node name.
    #[error("peer's name is no node name")]
    Name,
    /// Another node answered than the one that was called.
    #[error("called {called}, but {answered} answered")]
    OtherNode {
        /// Whom we wanted.
        called: String,
        /// Who it is.
        answered: String,
    },
    /// The peer cannot do what our packets need.
    #[error("peer {peer} lacks distribution flags {missing:?}")]
    Flags {
        /// Who.
        peer: String,
        /// What it lacks.
        missing: super::Flags,
    },
    /// The peer's digest does not fit our cookie.
    #[error("peer {peer} has another cookie")]
    Cookie {
        /// Who.
        peer: String,
    },
    /// The peer asks for the digest of a challenge that we gave out ourselves.
    #[error("peer {peer} hands our own challenge back to us: it is a relay, and gets no answer")]
    Reflected {
        /// Who.
        peer: String,
    },
    /// The node that answered is none that we may connect to.
    #[error("node {peer} is not among those that `allow` names")]
    NotAllowed {
        /// Who.
        peer: String,
    },
    /// The peer closed the connection when it had our digest, as OTP does where the cookies differ.
    #[error(
        "{peer} closed the connection when it saw our digest: it refused our cookie, probably; the cookies of both nodes have to be the same"
    )]
    CookieRefused {
        /// Who.
        peer: String,
    },
    /// The peer turned us down.
    #[error("peer refused with status {status}")]
    Refused {
        /// `nok`, `not_allowed`, or what else it said.
        status: String,
    },
}

impl HandshakeError {
    /// Whether the other side's own call is under way or has come up, so that ours may simply end.
    pub fn is_simultaneous(&self) -> bool {
        matches!(self, HandshakeError::Refused { status } if status == "nok" || status == "alive")
    }
}

/// Why talking to the port mapper failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EpmdError {
    /// It could not be reached, or the connection broke.
    #[error("port mapper on port {port} cannot be reached")]
    Io {
        /// The port asked.
        port: u16,
        /// What the system says of it.
        #[source]
        source: std::io::Error,
    },
    /// Another node has the name.
    #[error("name {name} is taken: another node is registered under it")]
    NameTaken {
        /// The name asked for.
        name: String,
    },
    /// No such node.
    #[error("port mapper of {host} knows no node named {name}")]
    UnknownName {
        /// The name asked for.
        name: String,
        /// The host whose port mapper was asked.
        host: String,
    },
    /// The answer is none.
    #[error("port mapper's answer is malformed")]
    Malformed,
}
