//! What a subscriber asks for: who gets which entries, in which messages.

use std::sync::Arc;

use super::reader::Selection;
use crate::etf::{Abilities, Pid, TermBuf, encode};
use crate::proto::control::Watched;

/// Who gets the entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subscriber {
    /// A process.
    Pid(Pid),
    /// Whoever is registered under a name on a node at the moment.
    Name {
        /// The registered name; whoever has it when an entry comes.
        name: Box<str>,
        /// The node where the name is registered.
        node: Arc<str>,
    },
}

impl Subscriber {
    /// The node where it is.
    pub fn node(&self) -> &str {
        match self {
            Subscriber::Pid(pid) => &pid.node,
            Subscriber::Name { node, .. } => node,
        }
    }

    pub(super) fn watched(&self) -> Watched {
        match self {
            Subscriber::Pid(pid) => Watched::Pid(pid.clone()),
            Subscriber::Name { name, .. } => Watched::Name(name.clone()),
        }
    }

    /// The pid, or `{Name, Node}`.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Subscriber::Pid(pid) => encode::pid(out, pid),
            Subscriber::Name { name, node } => {
                encode::tuple_header(out, 2);
                encode::atom(out, name);
                encode::atom(out, node);
            }
        }
    }
}

/// In which message an entry comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// `{Marker, Entry}`, with this marker.
    Marked(TermBuf),
    /// The entry itself.
    Send,
    /// As by `gen_server:cast/2`.
    Cast,
    /// As by `gen_event:notify/2`.
    Notify,
    /// `Module:Function(Ref, Entry)` is called on the subscriber's node, as `gen_server:cast/2` would be; `Ref` is
    /// what was registered, a term. The result is of no interest.
    Apply(Box<str>, Box<str>, TermBuf),
}

/// The longest marker, or reference of the live registry, in bytes: it goes into every message.
pub(super) const MAX_MARKER_BYTES: usize = 64 << 10;

impl Method {
    /// Bytes of the term that every message carries besides the entry.
    pub(super) fn term_bytes(&self) -> usize {
        match self {
            Method::Marked(term) | Method::Apply(_, _, term) => term.bytes().len(),
            Method::Send | Method::Cast | Method::Notify => 0,
        }
    }

    /// The bytes of the message before and after the entry.
    pub(super) fn around(&self) -> (Vec<u8>, Vec<u8>) {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        match self {
            Method::Send => return (before, after),
            Method::Marked(marker) => {
                encode::tuple_header(&mut before, 2);
                before.extend_from_slice(marker.bytes());
            }
            Method::Cast => {
                encode::tuple_header(&mut before, 2);
                encode::atom(&mut before, "$gen_cast");
            }
            Method::Notify => {
                encode::tuple_header(&mut before, 2);
                encode::atom(&mut before, "notify");
            }
            // What `rpc:cast` sent to `rex` before OTP 23, and still may.
            Method::Apply(module, function, reference) => {
                encode::tuple_header(&mut before, 2);
                encode::atom(&mut before, "$gen_cast");
                encode::tuple_header(&mut before, 5);
                for name in ["cast", module, function] {
                    encode::atom(&mut before, name);
                }
                encode::list_header(&mut before, 2);
                before.extend_from_slice(reference.bytes());
                encode::nil(&mut after);
                encode::atom(&mut after, "user");
            }
        }
        (before, after)
    }
}

/// What a subscriber asked for.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Who gets the entries.
    pub subscriber: Subscriber,
    /// In which messages.
    pub method: Method,
    /// Which entries, oldest first; the session ends after the last one of interest.
    pub selection: Selection,
    /// Up to how many entries come in one message; `None`: one, not in a list.
    pub batch: Option<usize>,
    /// How many entries may be sent before more is allowed; `None`: any number.
    pub credit: Option<u64>,
    /// Whether the session is linked to the subscriber.
    pub link: bool,
    /// Under which name positions are acknowledged.
    pub cursor: Option<Box<[u8]>>,
}

impl Subscription {
    /// The option, if any, that the subscriber's node cannot decode in the messages to it: others may have asked for
    /// it.
    pub fn undecodable(&self, abilities: &Abilities) -> Option<&'static str> {
        let mut subscriber = Vec::new();
        self.subscriber.write(&mut subscriber);
        match &self.method {
            _ if !abilities.decode(&subscriber) => Some("pid"),
            Method::Marked(term) | Method::Apply(_, _, term) if !abilities.decode(term.bytes()) => {
                Some("marker")
            }
            _ => None,
        }
    }
}
