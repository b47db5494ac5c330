//! Takes an event from any node, under the name `{Instance, N}`.
//!
//! The receiver runs on the task of the connection that the events come in on: all events of a socket read are
//! stamped under one lock, and nothing is handed over.

use std::sync::{Arc, Weak};

use super::Instance;
use super::calls;
use super::erlang::request::Request;
use crate::etf::{TermBuf, TermRef};
use crate::node::call::{Gen, ReplyTo};
use crate::node::{Flow, Peer, Process, inquiry};

/// The process behind `{Instance, N}` and `'.Instance.receiver.srv'`.
pub struct Receiver {
    instance: Weak<Instance>,
}

impl Receiver {
    /// For `instance`.
    pub const fn new(instance: Weak<Instance>) -> Self {
        Receiver { instance }
    }
}

impl Process for Receiver {
    fn messages(&self, peer: &Arc<Peer>, messages: &[TermRef<'_>]) -> Flow {
        let Some(instance) = self.instance.upgrade() else { return Flow::Go };
        let mut events: Vec<&[u8]> = Vec::with_capacity(messages.len());
        let mut flow = Flow::Go;
        for message in messages {
            match Gen::parse(*message) {
                Gen::Cast(event) => {
                    if instance.accepts(event.bytes().len()) {
                        events.push(event.bytes());
                    }
                }
                other => {
                    flow.and(take_in(&instance, &mut events));
                    flow.and(handle(&instance, peer, *message, other));
                }
            }
        }
        flow.and(take_in(&instance, &mut events));
        flow
    }

    fn refused(&self) {
        if let Some(instance) = self.instance.upgrade() {
            instance.metrics().refused.inc();
        }
    }
}

fn take_in(instance: &Instance, events: &mut Vec<&[u8]>) -> Flow {
    if events.is_empty() {
        return Flow::Go;
    }
    // A cast has no answer; what is lost is counted.
    let flow = instance.take_in(events.iter().copied(), None);
    events.clear();
    flow
}

fn handle(instance: &Arc<Instance>, peer: &Peer, message: TermRef<'_>, parsed: Gen<'_>) -> Flow {
    match parsed {
        Gen::Call(from, request) => {
            let Some(to) = ReplyTo::parse(from) else {
                instance.metrics().unknown.inc();
                return Flow::Go;
            };
            let (node, pid) = (instance.node().clone(), instance.pid().clone());
            let caller = to.pid().clone();
            let reply = move |answer: TermBuf| {
                node.reply_with(&pid, &to, answer.bytes());
            };
            return calls::carry_out(instance, Request::parse(request), &caller, Box::new(reply));
        }
        Gen::Info(_) | Gen::Cast(_) | Gen::System(..) => {
            let role = ("receiver", instance.name());
            if let Some(number) = conflict(message, instance.name()) {
                instance.name_conflicts().tell(number);
            } else if !inquiry::answer(instance.node(), peer, instance.pid(), role, message) {
                instance.metrics().unknown.inc();
            }
        }
    }
    Flow::Go
}

/// The number in `{global_name_conflict, {Instance, N}}`.
fn conflict(message: TermRef<'_>, instance: &str) -> Option<u8> {
    let [_, name] = message.as_tuple().filter(|[tag, _]| tag.is_atom("global_name_conflict"))?;
    let [_, number] = name.as_tuple().filter(|[name, _]| name.is_atom(instance))?;
    u8::try_from(number.as_integer()?).ok()
}
