//! The distribution protocol: what two nodes say to each other, as values and bytes.
//!
//! No socket, no clock and no task in here. The tasks in `node` move the bytes and tell the time, so that
//! a test can drive two nodes with a pair of byte queues.
//!
//! Protocol: ERTS User's Guide, "Distribution Protocol".

pub mod connection;
pub mod connections;
pub mod control;
pub mod epmd;
mod error;
pub mod flags;
pub mod handshake;
pub mod names;
pub mod packet;
pub mod process_table;
mod remote;
#[cfg(test)]
mod simulation;

pub use error::{EpmdError, HandshakeError, PacketError};
pub use flags::Flags;
pub use remote::Remote;

/// A node's name, `name@host`, checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(std::sync::Arc<str>);

impl NodeName {
    /// Checks that `name` has a name and a host and fits an atom.
    pub fn new(name: &str) -> Option<Self> {
        let (alive, host) = name.split_once('@')?;
        let sound = is_sound_part(alive) && is_sound_part(host) && name.chars().count() <= 255;
        sound.then(|| NodeName(name.into()))
    }

    /// `name@host`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shared text, for pids of this node.
    pub fn text(&self) -> std::sync::Arc<str> {
        self.0.clone()
    }

    /// The part before `@`, under which the port mapper knows the node.
    pub fn alive(&self) -> &str {
        self.0.split_once('@').map_or("", |(alive, _)| alive)
    }

    /// The part after `@`.
    pub fn host(&self) -> &str {
        self.0.split_once('@').map_or("", |(_, host)| host)
    }
}

/// Whether `part` can stand before or after the `@` of a node's name.
fn is_sound_part(part: &str) -> bool {
    !part.is_empty() && part.chars().all(|c| !c.is_control() && !c.is_whitespace() && c != '@')
}

impl std::fmt::Display for NodeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
