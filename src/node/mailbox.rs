//! Processes of this node: who takes what other nodes send.
//!
//! Most are a task behind a [`Mailbox`]; the receiver of an instance takes events on the connection's own
//! task, so that the hot path has no hand-over.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::peer::Peer;
use crate::etf::{Pid, Reference, TermRef};
use crate::metrics::NodeCounters;

/// Whether the sender should be read from further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Go,
    /// Wait for [`Process::ready`] first.
    Wait,
}

/// What takes the signals to one process. Called on a connection's task: must not block.
pub trait Process: Send + Sync {
    /// Messages in the order they came, all of one peer.
    fn messages(&self, peer: &Arc<Peer>, messages: &[TermRef<'_>]) -> Flow;

    /// An exit signal: `exit/2`, or the other end of a link is gone. All our processes trap exits.
    fn exit_signal(&self, _from: &Pid, _reason: TermRef<'_>) {}

    /// A process that this one monitors is gone.
    fn down(&self, _reference: &Reference, _reason: TermRef<'_>) {}

    /// Ends when a sender that was told to wait may go on.
    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

/// What came for a process, copied out of the connection's buffer.
#[derive(Debug)]
pub enum Letter {
    /// A message, as a term without version byte.
    Message(Box<[u8]>),
    /// An exit signal.
    Exit {
        /// Who exited, or sent it.
        from: Pid,
        /// Why, as a term.
        reason: Box<[u8]>,
    },
    /// A monitored process is gone.
    Down {
        /// The monitor.
        reference: Reference,
        /// Why, as a term.
        reason: Box<[u8]>,
    },
}

/// Puts what comes for a process into a bounded channel.
///
/// Our processes have short conversations (credit, acknowledgements, replies). Full means that the other side
/// misbehaves: the letter is dropped and counted.
pub struct Mailbox {
    letters: mpsc::Sender<Letter>,
    counters: Arc<NodeCounters>,
}

/// Letters a mailbox holds. A stuck process costs at most these, each bounded by the packet limit.
const CAPACITY: usize = 1024;

impl Mailbox {
    /// A mailbox and what its process reads from.
    pub fn new(counters: Arc<NodeCounters>) -> (Self, mpsc::Receiver<Letter>) {
        let (letters, receiver) = mpsc::channel(CAPACITY);
        (Mailbox { letters, counters }, receiver)
    }

    fn put(&self, letter: Letter) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.letters.try_send(letter) {
            self.counters.messages_dropped.inc();
        }
    }
}

impl Process for Mailbox {
    fn messages(&self, _peer: &Arc<Peer>, messages: &[TermRef<'_>]) -> Flow {
        for message in messages {
            self.put(Letter::Message(message.to_bytes()));
        }
        Flow::Go
    }

    fn exit_signal(&self, from: &Pid, reason: TermRef<'_>) {
        self.put(Letter::Exit { from: from.clone(), reason: reason.to_bytes() });
    }

    fn down(&self, reference: &Reference, reason: TermRef<'_>) {
        self.put(Letter::Down { reference: reference.clone(), reason: reason.to_bytes() });
    }
}
