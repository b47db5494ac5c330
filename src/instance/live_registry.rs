//! The original's live registry: `{subscribe, Ref, SendMethod}`, live entries only, in a message of choice.
//!
//! Each registration is a session that begins now; it ends with its subscriber, and so does the registration.

use std::sync::Arc;

use dashmap::Entry;

use super::Instance;
use super::calls::Reply;
use super::erlang::answer;
use super::reader::Selection;
use super::subscription::{MAX_MARKER_BYTES, Method, Subscriber, Subscription};
use crate::etf::{Pid, TermBuf, TermRef, encode};

/// Answers `ok`, `{error, already_subscribed}`, `{error, badarg}`, or why the subscriber cannot be reached.
pub(super) fn subscribe(
    instance: &Arc<Instance>,
    reference: TermRef<'_>,
    method: TermRef<'_>,
    caller: &Pid,
    reply: Reply,
) {
    let is_short = reference.bytes().len() <= MAX_MARKER_BYTES;
    let Some(method) = parse_method(method, reference).filter(|_| is_short) else {
        return reply(badarg_atom());
    };
    let key = reference.to_buf();
    if let Some(subscriber) = parse_reference(reference, caller) {
        let key = TermBuf::written(|out| subscriber.write(out));
        return reply(register(instance, key, subscriber, method));
    }
    let name = reference.as_tuple().filter(|[global, _]| global.is_atom("global"));
    let (Some([_, name]), Some(peer)) = (name, instance.node().peer(&caller.node)) else {
        return reply(badarg_atom());
    };
    // The caller may have given itself out for a process of that node.
    if !peer.abilities().decode(name.bytes()) {
        return reply(badarg_atom());
    }
    let (instance, name) = (instance.clone(), name.to_buf());
    instance.node().clone().run(async move {
        let found = instance.node().rpc(&peer, "global", "whereis_name", |out| {
            encode::list_header(out, 1);
            out.extend_from_slice(name.bytes());
            encode::nil(out);
        });
        let found = found.await.ok();
        let pid = found.and_then(|found| found.as_term().as_pid());
        reply(match pid {
            Some(pid) => register(&instance, key, Subscriber::Pid(pid), method),
            None => badarg_atom(),
        });
    });
}

/// `{error, badarg}`, as the interface has it for a bad `Ref`.
fn badarg_atom() -> TermBuf {
    answer::error_atom("badarg")
}

fn register(
    instance: &Arc<Instance>,
    key: TermBuf,
    subscriber: Subscriber,
    method: Method,
) -> TermBuf {
    let subscription = Subscription {
        subscriber,
        method,
        selection: Selection::starting(instance.tail().next_stamp()),
        batch: None,
        credit: None,
        link: false,
        cursor: None,
    };
    let peer = instance.node().peer(subscription.subscriber.node());
    if peer.is_some_and(|peer| subscription.undecodable(peer.abilities()).is_some()) {
        return badarg_atom();
    }
    let free = match instance.live_registry().entry(key) {
        Entry::Occupied(_) => return answer::error_atom("already_subscribed"),
        Entry::Vacant(free) => free,
    };
    match instance.subscribe(subscription) {
        Ok(pid) => {
            free.insert(pid);
            answer::atom("ok")
        }
        Err(refused) => answer::refusal(refused),
    }
}

/// A pid, a registered name of the caller's node, or `{Name, Node}`.
fn parse_reference(reference: TermRef<'_>, caller: &Pid) -> Option<Subscriber> {
    if let Some(pid) = reference.as_pid() {
        return Some(Subscriber::Pid(pid));
    }
    if let Some(name) = reference.as_atom() {
        let (name, node) = (name.to_str().into(), caller.node.clone());
        return Some(Subscriber::Name { name, node });
    }
    let [name, node] = reference.as_tuple()?;
    let (name, node) = (name.as_atom()?, node.as_atom()?);
    if name.is("global") && !node.to_str().contains('@') {
        return None;
    }
    Some(Subscriber::Name { name: name.to_str().into(), node: node.to_str().into() })
}

/// The documented methods, and the atoms by which the original's code knew three of them.
fn parse_method(method: TermRef<'_>, reference: TermRef<'_>) -> Option<Method> {
    if let Some(atom) = method.as_atom() {
        return match &*atom.to_str() {
            "send" | "info" => Some(Method::Send),
            "gen_server_cast" => Some(Method::Cast),
            "gen_event_notify" => Some(Method::Notify),
            _ => None,
        };
    }
    let [module, function] = method.as_tuple()?;
    let (module, function) = (module.as_atom()?.to_str(), function.as_atom()?.to_str());
    Some(match (&*module, &*function) {
        ("gen_server", "cast") => Method::Cast,
        ("gen_event", "notify") => Method::Notify,
        _ => Method::Apply(module.into(), function.into(), reference.to_buf()),
    })
}
