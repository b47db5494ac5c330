//! Takes an event from any node, under the name `{Instance, N}`.
//!
//! The receiver runs on the task of the connection that the events come in on: all events of a socket read are
//! stamped under one lock, and nothing is handed over.

use std::pin::Pin;
use std::sync::{Arc, Weak};

use super::Instance;
use super::calls::{self, Request};
use crate::etf::TermRef;
use crate::node::call::{Gen, ReplyTo};
use crate::node::{Flow, Peer, Process};

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
    fn messages(&self, _peer: &Arc<Peer>, messages: &[TermRef<'_>]) -> Flow {
        let Some(instance) = self.instance.upgrade() else { return Flow::Go };
        let mut events: Vec<&[u8]> = Vec::with_capacity(messages.len());
        for message in messages {
            match Gen::parse(*message) {
                Gen::Cast(event) => {
                    if instance.accepts(event) {
                        events.push(event.bytes());
                    }
                }
                other => {
                    take_in(&instance, &mut events);
                    handle(&instance, other);
                }
            }
        }
        take_in(&instance, &mut events);
        if instance.tail().is_behind() {
            instance.counters().blocked.inc();
            Flow::Wait
        } else {
            Flow::Go
        }
    }

    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let instance = self.instance.upgrade();
        Box::pin(async move {
            if let Some(instance) = instance {
                instance.tail().caught_up().await;
            }
        })
    }
}

fn take_in(instance: &Instance, events: &mut Vec<&[u8]>) {
    if !events.is_empty() {
        // A cast has no answer; what is lost is counted.
        instance.tail().append(events.iter().copied(), None);
        events.clear();
    }
}

fn handle(instance: &Arc<Instance>, message: Gen<'_>) {
    match message {
        Gen::Call(from, request) => {
            let Some(to) = ReplyTo::parse(from) else {
                instance.counters().unknown.inc();
                return;
            };
            let (node, pid) = (instance.node().clone(), instance.pid().clone());
            let caller = to.pid().clone();
            let reply = move |answer: Vec<u8>| {
                node.reply(&pid, &to, |out| out.extend_from_slice(&answer));
            };
            calls::answer(instance, Request::parse(request), &caller, Box::new(reply));
        }
        Gen::Info(message) => {
            if let Some([tag, _name]) = message.as_tuple()
                && tag.is_atom("global_name_conflict")
            {
                instance.name_conflict().notify_one();
            } else {
                instance.counters().unknown.inc();
            }
        }
        Gen::Cast(_) | Gen::System(..) => instance.counters().unknown.inc(),
    }
}
