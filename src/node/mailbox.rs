//! Processes of this node: who takes what other nodes send.
//!
//! Most are a task behind a [`Mailbox`]; the receiver of an instance takes events on the connection's own
//! task, so that the hot path has no hand-over, and a session folds what it is told into a few numbers.
//!
//! # Invariants
//!
//! - `told`: a process that reads its mailbox is told of the end of everything that it monitors or is linked to,
//!   however many messages wait.
//! - `bounded`: what waits in a mailbox takes at most about `MAX_WAITING_BYTES` and one message.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use super::peer::Peer;
use super::{Node, Shared, inquiry};
use crate::etf::{Pid, Reference, TermBuf, TermRef, encode};
use crate::metrics::NodeMetrics;

/// Whether the peer that sent something should be read from further.
#[must_use]
pub enum Flow {
    /// Go on.
    Go,
    /// Wait for these first: what was sent filled them.
    Wait(Vec<Arc<dyn Gate>>),
}

impl Flow {
    /// Waits for what `other` says, too; for each gate once.
    pub fn and(&mut self, other: Flow) {
        let Flow::Wait(more) = other else { return };
        match self {
            Flow::Go => *self = Flow::Wait(more),
            Flow::Wait(gates) => {
                for gate in more {
                    if !gates.iter().any(|known| Arc::ptr_eq(known, &gate)) {
                        gates.push(gate);
                    }
                }
            }
        }
    }
}

/// What a peer may have to wait for before it is read from again.
pub trait Gate: Send + Sync {
    /// Ends when the peer may be read from; at once, if it may be already.
    fn opened(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// What takes the signals to one process. Called on a connection's task: must not block.
pub trait Process: Send + Sync {
    /// Messages in the order they came, all of one peer.
    fn messages(&self, peer: &Arc<Peer>, messages: &[TermRef<'_>]) -> Flow;

    /// A message to it was refused, because it is no term that we take. Whoever waits for an answer is told by the node.
    fn refused(&self) {}

    /// An exit signal: `exit/2`, or the other end of a link is gone. All our processes trap exits.
    fn exit_signal(&self, _from: &Pid, _reason: TermRef<'_>) {}

    /// A process that this one monitors is gone.
    fn down(&self, _reference: &Reference, _reason: TermRef<'_>) {}
}

/// What came for a process, copied out of the connection's buffer.
#[derive(Debug)]
pub enum Letter {
    /// A message, as a term without version byte.
    Message(TermBuf),
    /// An exit signal.
    Exit {
        /// Who exited, or sent it.
        from: Pid,
        /// Why, as a term.
        reason: TermBuf,
    },
    /// A monitored process is gone.
    Down {
        /// The monitor that ended: its reference is not in force any more.
        reference: Reference,
        /// Why, as a term.
        reason: TermBuf,
    },
}

/// Messages that wait in a mailbox. Our processes have short conversations, so more mean that the other side
/// misbehaves: what comes then is dropped and counted.
const MAX_MESSAGES: usize = 1024;

/// Bytes of waiting messages above which no more are taken.
const MAX_WAITING_BYTES: usize = 16 << 20;

/// Exit signals that wait in a mailbox. Whoever finds as many knows that it is to end, so more are dropped: they come
/// from `exit/2`, or from links that others made.
const MAX_EXITS: usize = 64;

/// A reason longer than this, in bytes, is told as `too_large`.
const MAX_REASON_BYTES: usize = 64 << 10;

/// Takes what comes for a process that reads [`Letters`].
pub struct Mailbox {
    queue: Arc<LetterQueue>,
    metrics: Arc<NodeMetrics>,
}

/// What came for a process, for it to read. Ends when the process is removed.
pub struct Letters(Arc<LetterQueue>);

#[derive(Default)]
struct LetterQueue {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Default)]
struct Waiting {
    letters: VecDeque<Letter>,
    messages: usize,
    message_bytes: usize,
    exits: usize,
    is_closed: bool,
}

impl LetterQueue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Whatever panics leaves a whole letter or none.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mailbox {
    /// A mailbox and what its process reads from.
    pub fn new(metrics: Arc<NodeMetrics>) -> (Self, Letters) {
        let queue = Arc::<LetterQueue>::default();
        (Mailbox { queue: queue.clone(), metrics }, Letters(queue))
    }

    fn put(&self, letter: Letter) {
        let mut waiting = self.queue.lock();
        let has_room = match &letter {
            // As many as the process has monitors.
            Letter::Down { .. } => true,
            Letter::Exit { .. } => waiting.exits < MAX_EXITS,
            Letter::Message(_) => {
                waiting.messages < MAX_MESSAGES && waiting.message_bytes < MAX_WAITING_BYTES
            }
        };
        if !has_room {
            self.metrics.messages_dropped.inc();
            return;
        }
        waiting.count(&letter, true);
        waiting.letters.push_back(letter);
        drop(waiting);
        self.queue.arrived.notify_one();
    }
}

impl Waiting {
    fn count(&mut self, letter: &Letter, comes: bool) {
        let (messages, bytes, exits) = match letter {
            Letter::Message(message) => (1, message.bytes().len(), 0),
            Letter::Exit { .. } => (0, 0, 1),
            Letter::Down { .. } => (0, 0, 0),
        };
        if comes {
            self.messages += messages;
            self.message_bytes += bytes;
            self.exits += exits;
        } else {
            self.messages -= messages;
            self.message_bytes -= bytes;
            self.exits -= exits;
        }
    }
}

impl Letters {
    /// The next letter, in the order they came; `None` once the process was removed and all are read.
    ///
    /// Losing a race drops nothing: a letter is taken only when it is returned.
    pub async fn recv(&mut self) -> Option<Letter> {
        loop {
            {
                let mut waiting = self.0.lock();
                if let Some(letter) = waiting.letters.pop_front() {
                    waiting.count(&letter, false);
                    return Some(letter);
                }
                if waiting.is_closed {
                    return None;
                }
            }
            self.0.arrived.notified().await;
        }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.queue.lock().is_closed = true;
        self.queue.arrived.notify_one();
    }
}

impl Process for Mailbox {
    fn messages(&self, _peer: &Arc<Peer>, messages: &[TermRef<'_>]) -> Flow {
        for message in messages {
            self.put(Letter::Message(message.to_buf()));
        }
        Flow::Go
    }

    fn exit_signal(&self, from: &Pid, reason: TermRef<'_>) {
        self.put(Letter::Exit { from: from.clone(), reason: short_reason(reason) });
    }

    fn down(&self, reference: &Reference, reason: TermRef<'_>) {
        self.put(Letter::Down { reference: reference.clone(), reason: short_reason(reason) });
    }
}

/// The process of a task that reads [`Letters`]: its mailbox, and what any process answers.
pub(super) struct TaskProcess {
    node: Weak<Shared>,
    pid: Pid,
    mailbox: Mailbox,
}

impl TaskProcess {
    pub(super) fn new(node: &Node, pid: &Pid, mailbox: Mailbox) -> Self {
        TaskProcess { node: Arc::downgrade(&node.0), pid: pid.clone(), mailbox }
    }
}

impl Process for TaskProcess {
    fn messages(&self, peer: &Arc<Peer>, messages: &[TermRef<'_>]) -> Flow {
        let Some(node) = self.node.upgrade().map(Node) else { return Flow::Go };
        let mut flow = Flow::Go;
        for message in messages {
            let role = ("process", "logmachine");
            if !inquiry::answer(&node, peer, &self.pid, role, *message) {
                flow.and(self.mailbox.messages(peer, &[*message]));
            }
        }
        flow
    }

    fn exit_signal(&self, from: &Pid, reason: TermRef<'_>) {
        self.mailbox.exit_signal(from, reason);
    }

    fn down(&self, reference: &Reference, reason: TermRef<'_>) {
        self.mailbox.down(reference, reason);
    }
}

/// A reason that may wait: as it is, unless it is long.
pub fn short_reason(reason: TermRef<'_>) -> TermBuf {
    if reason.bytes().len() <= MAX_REASON_BYTES {
        return reason.to_buf();
    }
    TermBuf::written(|out| encode::atom(out, "too_large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(id: u32) -> Pid {
        Pid { node: "r@h".into(), id, serial: 0, creation: 1 }
    }

    fn message(mailbox: &Mailbox, bytes: usize) {
        let binary = TermBuf::written(|out| encode::binary(out, &vec![0; bytes.saturating_sub(5)]));
        mailbox.put(Letter::Message(binary));
    }

    /// As many messages as fit, and more; then the end of what is monitored and linked.
    #[tokio::test]
    async fn a_full_mailbox_still_takes_exits_and_downs() {
        for bytes in [1, 1 << 20] {
            let metrics: Arc<NodeMetrics> = Arc::default();
            let (mailbox, mut letters) = Mailbox::new(metrics.clone());
            for _ in 0..2 * MAX_MESSAGES {
                message(&mailbox, bytes);
            }
            let reference = Reference::new("h@h".into(), 1, [1].into_iter());
            mailbox.exit_signal(&pid(1), TermRef::NIL);
            mailbox.down(&reference, TermRef::NIL);
            drop(mailbox);
            let (mut messages, mut held) = (0, 0);
            while let Some(letter) = letters.recv().await {
                match letter {
                    Letter::Message(message) => {
                        messages += 1;
                        held += message.len();
                    }
                    Letter::Exit { from, .. } => assert_eq!(from, pid(1)),
                    Letter::Down { reference: fired, .. } => {
                        assert_eq!(fired, reference);
                        messages += 10_000;
                    }
                }
            }
            let fit = MAX_MESSAGES.min(MAX_WAITING_BYTES / bytes);
            assert_eq!(messages, 10_000 + fit, "told");
            assert!(held <= MAX_WAITING_BYTES, "bounded");
            assert_eq!(metrics.messages_dropped.get(), (2 * MAX_MESSAGES - fit) as u64);
        }
    }

    #[tokio::test]
    async fn a_flood_of_exit_signals_is_bounded() {
        let (mailbox, mut letters) = Mailbox::new(Arc::default());
        for id in 0..10_000 {
            mailbox.exit_signal(&pid(id), TermRef::NIL);
        }
        drop(mailbox);
        let mut count = 0;
        while letters.recv().await.is_some() {
            count += 1;
        }
        assert_eq!(count, MAX_EXITS, "bounded");
    }

    #[test]
    fn a_long_reason_is_cut_short() {
        let long = TermBuf::written(|out| encode::binary(out, &[0; 0x20000]));
        assert!(short_reason(long.as_term()).as_term().is_atom("too_large"));
        assert_eq!(*short_reason(TermRef::NIL), *TermRef::NIL.bytes());
    }
}
