//! Carries out what `gen_server:call`, `rpc` and `erpc` ask of an instance, and sees to it that each is answered.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::analyst::Question;
use super::erlang::answer;
use super::erlang::request::{
    BadRequest, MAX_EVENTS, Request, SubscribeArguments, echo, proper_list, selection, split,
};
use super::reader::Selection;
use super::subscription::Subscription;
use super::{Instance, live_registry, read};
use crate::etf::{Elements, Pid, Term, TermBuf, TermRef, encode};
use crate::node::call::{Gen, ReplyTo};
use crate::node::inquiry::{self, unsupported};
use crate::node::{Applied, Flow, Functions, Node, OnApplied, Peer, Process};

/// Takes the answer to a request. May be called on another thread, later; must not block.
pub type Reply = Box<dyn FnOnce(TermBuf) + Send>;

/// Answers a request of `caller`, now or when it has been carried out; whether its peer has to wait.
pub fn carry_out(
    instance: &Arc<Instance>,
    request: Request<'_>,
    caller: &Pid,
    reply: Reply,
) -> Flow {
    let Some(reply) = admitted(instance.node(), caller, request.argument_bytes(), reply) else {
        return Flow::Go;
    };
    match request {
        Request::Append(event) => return append(instance, &[event.bytes().into()], false, reply),
        Request::AppendMany(events) => match proper_list(events) {
            Some(events) if events.len() > MAX_EVENTS => reply(answer::error_atom("too_large")),
            Some(events) if !events.is_empty() => return append(instance, &events, true, reply),
            _ => reply(answer::bad_request(&BadRequest::option("events"))),
        },
        Request::GlobalAlias => {
            reply(answer::global_alias(instance.name(), instance.global_alias()));
        }
        Request::Subscribe([from, pid, marker, spec]) => {
            let arguments = SubscribeArguments::original([from, pid, marker, spec]);
            subscribe(instance, Ok(arguments), caller, reply);
        }
        Request::SubscribeMap(map) => {
            subscribe(instance, SubscribeArguments::parse(map), caller, reply);
        }
        Request::SubscribeLive(reference, method) => {
            live_registry::subscribe(instance, reference, method, caller, reply);
        }
        Request::Read(from, options) => match selection(instance, from, options) {
            Ok(selection) => read(instance, caller, selection, reply),
            Err(bad) => reply(answer::bad_request(&bad)),
        },
        Request::Info => {
            let node = caller.node.clone();
            when_there_is_room(instance, caller, reply, move |instance| {
                let peer = instance.node().peer(&node);
                let abilities = peer.as_ref().map(|peer| peer.abilities());
                answer::properties(&answer::info(&instance.info()), abilities)
            });
        }
        Request::InfoKey(key) => {
            let key = key.as_atom().map(|key| key.to_str().into_owned()).unwrap_or_default();
            when_there_is_room(instance, caller, reply, move |instance| {
                let info = answer::info(&instance.info());
                let value = info.into_iter().find(|(name, _)| *name == key);
                value.map_or_else(|| answer::atom("undefined"), |(_, value)| value)
            });
        }
        Request::Analysis(question, options) => analyse(instance, caller, question, options, reply),
        Request::Unsupported => {
            instance.metrics().unknown.inc();
            reply(TermBuf::written(unsupported));
        }
    }
    Flow::Go
}

/// Gives a call that may be answered later its place among those of its peer, which it has until it is answered.
/// Refuses it, or forgets it if there is nobody to answer, and gives nothing back. What is answered at once, or
/// bounded by the tail as appends are, needs no place.
fn admitted(
    node: &Node,
    caller: &Pid,
    argument_bytes: Option<usize>,
    reply: Reply,
) -> Option<Reply> {
    let Some(argument_bytes) = argument_bytes else { return Some(reply) };
    let Some(waiting) = node.peer(&caller.node)?.admit(argument_bytes) else {
        reply(answer::error_atom("system_limit"));
        return None;
    };
    Some(Box::new(move |answer| {
        reply(answer);
        drop(waiting);
    }))
}

/// Answers as soon as the caller's connection has room for something large.
fn when_there_is_room(
    instance: &Arc<Instance>,
    caller: &Pid,
    reply: Reply,
    make: impl FnOnce(&Instance) -> TermBuf + Send + 'static,
) {
    let Some(peer) = instance.node().peer(&caller.node) else { return };
    if peer.has_room() {
        return reply(make(instance));
    }
    let (node, instance) = (instance.node().clone(), instance.clone());
    node.run(async move {
        if peer.room().await {
            reply(make(&instance));
        }
    });
}

fn append(instance: &Instance, events: &[Cow<'_, [u8]>], many: bool, reply: Reply) -> Flow {
    if !events.iter().all(|event| instance.accepts(event.len())) {
        reply(answer::error_atom("too_large"));
        return Flow::Go;
    }
    let recorded = Box::new(move |result| reply(answer::appended(result, many)));
    instance.take_in(events.iter().map(|event| &**event), Some(recorded))
}

/// Starts a session.
fn subscribe(
    instance: &Arc<Instance>,
    arguments: Result<SubscribeArguments<'_>, BadRequest>,
    caller: &Pid,
    reply: Reply,
) {
    let subscription = arguments.and_then(|arguments| arguments.to_subscription(instance, caller));
    let subscription: Subscription = match subscription {
        Ok(subscription) => subscription,
        Err(bad) => return reply(answer::bad_request(&bad)),
    };
    if subscription.cursor.is_none() {
        return reply(answer::subscribed(instance.subscribe(subscription)));
    }
    let instance = instance.clone();
    // Where its cursor stands may have to be read.
    tokio::task::spawn_blocking(move || {
        reply(answer::subscribed(instance.subscribe(subscription)));
    });
}

/// Answers `{ok, [Entry], Next | eof}`, once the caller's connection has room for a large answer.
fn read(instance: &Arc<Instance>, caller: &Pid, mut selection: Selection, reply: Reply) {
    let node = instance.node().clone();
    // Nobody waits for the answer once that connection is gone.
    let Some(peer) = node.peer(&caller.node) else { return };
    let (instance, within) = (instance.clone(), node.clone());
    node.run(async move {
        // Who waits for that has no place yet.
        let is_settled = read::settled(&instance, &selection).await;
        let Some(allowance) = within.allowance(&peer, selection.max_bytes).await else { return };
        selection.max_bytes = allowance.bytes();
        // Only now, so that a node that does not read its answers uses up no places.
        let page = answer::PageAnswer::new(instance.clone(), peer);
        let read = read::collect(&instance, selection, is_settled, page).await;
        let answer = match read {
            Ok(found) => Some(found.into.finish(found.next)),
            Err(failure) => answer::read_failure(failure),
        };
        if let Some(answer) = answer {
            // Large answers take a while to look through and copy; a panic was reported.
            let _ = tokio::task::spawn_blocking(move || reply(answer)).await;
        }
        allowance.used().await;
    });
}

/// Answers what the events mean, as soon as the caller's connection has room for something large.
fn analyse(
    instance: &Arc<Instance>,
    caller: &Pid,
    question: Question,
    options: TermRef<'_>,
    reply: Reply,
) {
    let Some(analyst) = instance.analyst() else {
        return reply(answer::error_atom("not_available"));
    };
    let Some(peer) = instance.node().peer(&caller.node) else { return };
    let (node, instance, options) = (instance.node().clone(), instance.clone(), options.to_buf());
    node.run(async move {
        let answer = analyst.answer(&instance, question, options).await;
        if peer.room().await {
            reply(answer);
        }
    });
}

/// All instances of the node, by name.
pub type Instances = Arc<BTreeMap<Arc<str>, Arc<Instance>>>;

fn find<'i>(instances: &'i Instances, name: TermRef<'_>) -> Option<&'i Arc<Instance>> {
    name.as_atom().and_then(|name| instances.get(&*name.to_str()))
}

/// The process `logmachine`: every call with the instance as first argument.
pub struct Front {
    node: Node,
    pid: Pid,
    instances: Weak<BTreeMap<Arc<str>, Arc<Instance>>>,
}

impl Front {
    /// Starts and registers the process; false if the name is taken.
    pub fn start(node: &Node, instances: &Instances) -> bool {
        let pid = node.spawn(|pid| {
            let (node, pid) = (node.clone(), pid.clone());
            Arc::new(Front { node, pid, instances: Arc::downgrade(instances) })
        });
        node.register("logmachine", &pid)
    }

    fn call(&self, instances: &Instances, to: ReplyTo, request: TermRef<'_>) -> Flow {
        let Term::Tuple(elements) = request.view() else {
            self.node.reply(&self.pid, &to, unsupported);
            return Flow::Go;
        };
        let Some((verb, args)) = split(elements).filter(|(_, args)| !args.is_empty()) else {
            self.node.reply(&self.pid, &to, unsupported);
            return Flow::Go;
        };
        let caller = to.pid().clone();
        let (node, pid) = (self.node.clone(), self.pid.clone());
        let reply: Reply = Box::new(move |answer| {
            node.reply_with(&pid, &to, answer.bytes());
        });
        match find(instances, args[0]) {
            Some(instance) => {
                carry_out(instance, Request::from_parts(&verb, &args[1..]), &caller, reply)
            }
            None => {
                reply(answer::unknown_instance(args[0]));
                Flow::Go
            }
        }
    }
}

impl Process for Front {
    fn messages(&self, peer: &Arc<Peer>, messages: &[TermRef<'_>]) -> Flow {
        let Some(instances) = self.instances.upgrade() else { return Flow::Go };
        let mut flow = Flow::Go;
        for message in messages {
            if let Gen::Call(from, request) = Gen::parse(*message)
                && let Some(to) = ReplyTo::parse(from)
            {
                flow.and(self.call(&instances, to, request));
            } else {
                inquiry::answer(&self.node, peer, &self.pid, ("process", "logmachine"), *message);
            }
        }
        flow
    }
}

/// The module `logmachine`, as `rpc` and `erpc` find it here: its functions return and throw what those of the Erlang
/// application do.
pub struct Module(pub Weak<BTreeMap<Arc<str>, Arc<Instance>>>);

impl Functions for Module {
    fn serves(&self, module: &str, function: &str, arity: usize) -> bool {
        module == "logmachine"
            && matches!(
                (function, arity),
                ("subscribe", 3..=5)
                    | ("info" | "faults", 1 | 2)
                    | ("read", 3)
                    | ("append" | "explain", 2)
            )
    }

    fn apply(&self, caller: &Pid, function: &str, args: Elements<'_>, ended: OnApplied) -> Flow {
        let args: Vec<TermRef<'_>> = args.collect();
        let (name, rest) = args.split_first().expect("serves: every function has arguments");
        let instances = self.0.upgrade();
        let instance = instances.as_ref().and_then(|instances| find(instances, *name));
        match (function, instance) {
            ("subscribe", _) => original_subscribe(instance, *name, rest, caller, ended),
            ("info", Some(instance)) => original_info(instance, rest, caller, ended),
            (_, None) => {
                ended(Applied::Return(answer::unknown_instance(*name)));
                Flow::Go
            }
            (_, Some(instance)) => {
                let reply = Box::new(move |answer| ended(Applied::Return(answer)));
                carry_out(instance, Request::from_parts(function, rest), caller, reply)
            }
        }
    }
}

/// `subscribe/3,4,5`: returns the session's pid, or throws `{failed_to_start_subscription, [...]}`.
fn original_subscribe(
    instance: Option<&Arc<Instance>>,
    name: TermRef<'_>,
    args: &[TermRef<'_>],
    caller: &Pid,
    ended: OnApplied,
) -> Flow {
    let everything = TermBuf::written(write_identity_spec);
    let marker = args.get(2).copied().unwrap_or(name);
    let spec = args.get(3).copied().unwrap_or(everything.as_term());
    // What is thrown, behind the reason.
    let mut told = Vec::new();
    for (key, value) in [
        ("instance", name),
        ("start_from", args[0]),
        ("subscriber", args[1]),
        ("marker", marker),
        ("match_spec", spec),
    ] {
        encode::tuple_header(&mut told, 2);
        encode::atom(&mut told, key);
        told.extend_from_slice(echo(value).bytes());
    }
    let reply: Reply = Box::new(move |answer| {
        if let Some([ok, session]) = answer.as_term().as_tuple()
            && ok.is_atom("ok")
        {
            return ended(Applied::Return(session.to_buf()));
        }
        ended(Applied::Throw(TermBuf::written(|out| {
            encode::tuple_header(out, 2);
            encode::atom(out, "failed_to_start_subscription");
            encode::list_header(out, 6);
            encode::tuple_header(out, 2);
            encode::atom(out, "reason");
            out.extend_from_slice(answer.bytes());
            out.extend_from_slice(&told);
            encode::nil(out);
        })));
    });
    let Some(instance) = instance else {
        reply(answer::error_atom("not_found"));
        return Flow::Go;
    };
    carry_out(instance, Request::Subscribe([args[0], args[1], marker, spec]), caller, reply)
}

/// `[{'$1', [], ['$1']}]`.
fn write_identity_spec(out: &mut Vec<u8>) {
    encode::list_header(out, 1);
    encode::tuple_header(out, 3);
    encode::atom(out, "$1");
    encode::nil(out);
    encode::list_header(out, 1);
    encode::atom(out, "$1");
    encode::nil(out);
    encode::nil(out);
}

/// `info/1` returns the properties; `info/2` one of them, or throws `{noprop, Key}`.
fn original_info(
    instance: &Arc<Instance>,
    args: &[TermRef<'_>],
    caller: &Pid,
    ended: OnApplied,
) -> Flow {
    let Some(&key) = args.first() else {
        return carry_out(
            instance,
            Request::Info,
            caller,
            Box::new(move |answer| ended(Applied::Return(answer))),
        );
    };
    let is_known = answer::info(&instance.info()).iter().any(|(name, _)| key.is_atom(name));
    if !is_known {
        ended(Applied::Throw(TermBuf::written(|out| {
            encode::tuple_header(out, 2);
            encode::atom(out, "noprop");
            out.extend_from_slice(echo(key).bytes());
        })));
        return Flow::Go;
    }
    let reply = Box::new(move |answer| ended(Applied::Return(answer)));
    carry_out(instance, Request::InfoKey(key), caller, reply)
}
