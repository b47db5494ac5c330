//! What a session is told: how many entries more it may send, how far its subscriber has come, that it is to end.
//!
//! However much comes, it folds into a few numbers, so nothing has to be dropped. What asks for an answer gets it at
//! once, on the connection's task.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tracing::debug;

use super::Instance;
use super::since::Since;
use crate::etf::{Pid, Reference, TermBuf, TermRef, encode};
use crate::node::call::{Gen, ReplyTo};
use crate::node::{Flow, Peer, Process, inquiry, short_reason};

/// Why a session ends, as a term.
pub(super) type Reason = TermBuf;

/// The process that a session is to others.
pub(super) struct Inbox {
    instance: Arc<Instance>,
    pid: Pid,
    /// Under which name positions are acknowledged.
    cursor: Option<Box<[u8]>>,
    /// The subscriber, if its node cannot be asked to monitor it: then a link tells of its end.
    linked_instead: Option<Pid>,
    arrived: Mutex<Arrived>,
    wake: Notify,
}

/// What has come since the session looked.
#[derive(Default)]
pub(super) struct Arrived {
    /// Entries more that it may send.
    pub(super) credit: u64,
    /// Why it is to end, if it is. The first reason counts, as for any process.
    pub(super) ended: Option<Reason>,
}

impl Inbox {
    pub(super) fn new(
        instance: Arc<Instance>,
        pid: Pid,
        cursor: Option<Box<[u8]>>,
        linked_instead: Option<Pid>,
    ) -> Self {
        let (arrived, wake) = (Mutex::default(), Notify::new());
        Inbox { instance, pid, cursor, linked_instead, arrived, wake }
    }

    fn lock(&self) -> MutexGuard<'_, Arrived> {
        // Numbers and a reason: nothing is left half changed by a panic.
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what has come.
    pub(super) fn take(&self) -> Arrived {
        std::mem::take(&mut *self.lock())
    }

    /// Ends when something has come since the last time that this ended. Losing a race drops nothing.
    pub(super) async fn something(&self) {
        self.wake.notified().await;
    }

    pub(super) fn end(&self, reason: Reason) {
        self.lock().ended.get_or_insert(reason);
        self.wake.notify_one();
    }

    /// `{credit, M}`: M entries more may be sent. `{ack, Timestamp}`: everything up to there is dealt with. False if
    /// it is neither.
    fn order(&self, order: TermRef<'_>) -> bool {
        match order.as_tuple::<2>() {
            Some([verb, count]) if verb.is_atom("credit") => {
                let more = count.as_integer().and_then(|more| u64::try_from(more).ok());
                if let Some(more) = more {
                    let mut arrived = self.lock();
                    arrived.credit = arrived.credit.saturating_add(more);
                    drop(arrived);
                    self.wake.notify_one();
                }
            }
            Some([verb, stamp]) if verb.is_atom("ack") && self.cursor.is_some() => self.ack(stamp),
            _ => return false,
        }
        true
    }

    /// What is none of a session's business.
    fn other(&self, peer: &Peer, message: TermRef<'_>) {
        let role = ("session", self.instance.name());
        if !inquiry::answer(self.instance.node(), peer, &self.pid, role, message) {
            self.instance.metrics().unknown.inc();
        }
    }

    fn ack(&self, stamp: TermRef<'_>) {
        let (Some(Since::At(stamp)), Some(name)) = (Since::parse(stamp), &self.cursor) else {
            return self.instance.metrics().unknown.inc();
        };
        let newest = self.instance.log().committed().last;
        if newest.is_none_or(|newest| stamp > newest) {
            self.instance.metrics().acks_refused.inc();
            debug!(session = %self.pid, %stamp, "acknowledges what is not recorded yet: refused");
            return;
        }
        self.instance.cursors().ack(name, stamp);
    }
}

impl Process for Inbox {
    fn messages(&self, peer: &Arc<Peer>, messages: &[TermRef<'_>]) -> Flow {
        for message in messages {
            match Gen::parse(*message) {
                Gen::Cast(order) | Gen::Info(order) => {
                    if !self.order(order) {
                        self.other(peer, *message);
                    }
                }
                // `gen_server:stop/1,3` asks so, and waits for the exit.
                Gen::System(from, request) => {
                    if let (Some(to), Some([terminate, reason])) =
                        (ReplyTo::parse(from), request.as_tuple())
                        && terminate.is_atom("terminate")
                    {
                        let ok = |out: &mut Vec<u8>| encode::atom(out, "ok");
                        self.instance.node().reply(&self.pid, &to, ok);
                        self.end(short_reason(reason));
                    } else {
                        self.other(peer, *message);
                    }
                }
                Gen::Call(..) => self.other(peer, *message),
            }
        }
        Flow::Go
    }

    /// As for any process that does not trap exits: `normal` is nothing. A subscriber that ends normally is noticed
    /// by the monitor, or, where there is none, by the link.
    fn exit_signal(&self, from: &Pid, reason: TermRef<'_>) {
        match reason.as_atom() {
            Some(normal) if normal.is("normal") && self.linked_instead.as_ref() != Some(from) => {}
            Some(kill) if kill.is("kill") => self.end(super::erlang::answer::atom("killed")),
            _ => self.end(short_reason(reason)),
        }
    }

    fn down(&self, _reference: &Reference, reason: TermRef<'_>) {
        self.end(short_reason(reason));
    }
}
