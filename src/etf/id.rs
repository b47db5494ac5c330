//! Pids and references that outlive the buffer they came in.

use std::fmt;
use std::sync::Arc;

use crate::strangers::Escaped;

/// A process identifier, of this node or another.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid {
    /// The node it lives on, `name@host`.
    pub node: Arc<str>,
    /// First number.
    pub id: u32,
    /// Second number.
    pub serial: u32,
    /// Which life of the node it belongs to.
    pub creation: u32,
}

/// As the shell of a third node would print it, with the node's name for its number. That name is whatever a peer
/// wrote into a pid, and this form is for diagnostics.
impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}.{}.{}>", Escaped(&self.node), self.id, self.serial)
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}/{}", self.creation)
    }
}

/// A reference, possibly an alias.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reference {
    /// The node that made it.
    pub node: Arc<str>,
    /// Which life of the node it belongs to.
    pub creation: u32,
    words: [u32; Reference::MAX_WORDS],
    count: u8,
}

impl Reference {
    /// The most words a reference of OTP 24 and later has.
    pub const MAX_WORDS: usize = 5;

    /// A reference of up to [`Reference::MAX_WORDS`] words; further ones are ignored.
    pub fn new(node: Arc<str>, creation: u32, ids: impl Iterator<Item = u32>) -> Self {
        let mut words = [0; Self::MAX_WORDS];
        let mut count = 0;
        for (slot, id) in words.iter_mut().zip(ids) {
            *slot = id;
            count += 1;
        }
        Reference { node, creation, words, count }
    }

    /// The words in the order they are sent.
    pub fn words(&self) -> &[u32] {
        &self.words[..usize::from(self.count)]
    }
}
