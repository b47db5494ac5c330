//! The node at the other end of a connection: what it said of itself, and what may be sent to it therefore.

use super::{Flags, NodeName, handshake};
use crate::etf::Abilities;

/// A node whose handshake is done.
#[derive(Debug)]
pub struct Remote {
    name: NodeName,
    flags: Flags,
    abilities: Abilities,
}

impl Remote {
    /// Takes what the node said in its handshake.
    pub fn new(peer: handshake::PeerIdentity) -> Self {
        let handshake::PeerIdentity { name, flags, creation } = peer;
        let abilities = Abilities {
            node: name.text(),
            creation,
            v4_nc: flags.has(Flags::V4_NC),
            native_records: flags.has(Flags::NATIVE_RECORDS),
            // The first flag that is newer than OTP 25: 26 and 27 have none of their own.
            distinct_keys: flags.has(Flags::ALTACT_SIG),
            wide: flags.has(Flags::ALTACT_SIG).into(),
        };
        Remote { name, flags, abilities }
    }

    /// The name that it gave, or that we gave it.
    pub const fn name(&self) -> &NodeName {
        &self.name
    }

    /// The capabilities that it announced.
    pub const fn flags(&self) -> Flags {
        self.flags
    }

    /// Which terms it decodes. Nothing that another node had a say in may be sent to it without asking here: it drops
    /// the connection over one term that it cannot decode.
    pub const fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    /// Whether it takes part in `global`: it is no hidden node.
    pub const fn is_visible(&self) -> bool {
        self.flags.has(Flags::PUBLISHED)
    }

    /// Whether it understands monitors of its processes: by pid and by name. One that does not is sent none; there a
    /// monitor fires with the connection alone.
    pub const fn can_be_monitored(&self) -> bool {
        self.flags.has(Flags::MONITORS)
    }
}
