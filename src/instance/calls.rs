//! What `gen_server:call`, `rpc` and `erpc` may ask of an instance, and how it is answered.
//!
//! The receiver is asked `{Verb, Args...}`, the process `logmachine` `{Verb, Instance, Args...}`, and
//! `rpc` `logmachine:Verb(Instance, Args...)`: all become one [`Request`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::ack::MAX_NAME_BYTES;
use super::from::From;
use super::session;
use super::subscription::{MAX_MARKER_BYTES, Method, Subscriber, Subscription};
use super::{Failure, Instance, Stamped, live, read};
use crate::etf::{Elements, Pid, Term, TermRef, encode};
use crate::match_spec::{Limits, MatchSpec};
use crate::node::call::{Gen, ReplyTo};
use crate::node::inquiry::{self, unsupported};
use crate::node::{Applied, Flow, Functions, Node, OnApplied, Peer, Process};
use crate::time::Timestamp;

/// Takes the answer to a request: one term. May be called on another thread, later; must not block.
pub type Reply = Box<dyn FnOnce(Vec<u8>) + Send>;

/// Events in one `append_many`. Each costs more than its bytes, and it can be as short as one.
const MAX_EVENTS: usize = 1_000_000;

/// The longest key or name that an error says again.
const MAX_ECHO_BYTES: usize = 4096;

/// What can be asked, its arguments still in place.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// `{append, Event}`.
    Append(TermRef<'a>),
    /// `{append, [Event], many}`.
    AppendMany(TermRef<'a>),
    /// `get_global_alias`.
    GlobalAlias,
    /// `{subscribe, From, Pid, Marker, MatchSpec}`.
    Subscribe([TermRef<'a>; 4]),
    /// `{subscribe, Options}`.
    SubscribeMap(TermRef<'a>),
    /// `{subscribe, Ref, SendMethod}`: the original's live registry.
    SubscribeLive(TermRef<'a>, TermRef<'a>),
    /// `{read, From, Options}`.
    Read(TermRef<'a>, TermRef<'a>),
    /// `info`.
    Info,
    /// `{info, Key}`.
    InfoKey(TermRef<'a>),
    /// Anything else.
    Unsupported,
}

impl<'a> Request<'a> {
    /// From what the receiver was called with.
    pub fn parse(request: TermRef<'a>) -> Self {
        match request.view() {
            Term::Atom(verb) => Request::from_parts(&verb.to_str(), &[]),
            Term::Tuple(elements) => match split(elements) {
                Some((verb, args)) => Request::from_parts(&verb, &args),
                None => Request::Unsupported,
            },
            _ => Request::Unsupported,
        }
    }

    /// Bytes of the arguments that are kept until the answer is there; `None` if it is there at once, or the
    /// recorder bounds how many wait for it.
    fn argument_bytes(self) -> Option<usize> {
        match self {
            Request::Read(_, options) | Request::SubscribeMap(options) => {
                Some(options.bytes().len())
            }
            Request::Subscribe([.., marker, spec]) => {
                Some(marker.bytes().len() + spec.bytes().len())
            }
            Request::SubscribeLive(reference, _) => Some(reference.bytes().len()),
            Request::Info | Request::InfoKey(_) => Some(0),
            Request::Append(_)
            | Request::AppendMany(_)
            | Request::GlobalAlias
            | Request::Unsupported => None,
        }
    }

    fn from_parts(verb: &str, args: &[TermRef<'a>]) -> Self {
        match (verb, args) {
            ("append", [event]) => Request::Append(*event),
            ("append", [events, many]) if many.is_atom("many") => Request::AppendMany(*events),
            ("get_global_alias", []) => Request::GlobalAlias,
            ("subscribe", [from, pid, marker, spec]) => {
                Request::Subscribe([*from, *pid, *marker, *spec])
            }
            ("subscribe", [options]) => Request::SubscribeMap(*options),
            ("subscribe", [reference, method]) => Request::SubscribeLive(*reference, *method),
            ("read", [from, options]) => Request::Read(*from, *options),
            ("info", []) => Request::Info,
            ("info", [key]) => Request::InfoKey(*key),
            _ => Request::Unsupported,
        }
    }
}

/// A verb and at most six arguments: nothing we serve has more.
fn split(elements: Elements<'_>) -> Option<(String, Vec<TermRef<'_>>)> {
    if elements.len() > 7 {
        return None;
    }
    let mut elements = elements;
    let verb = elements.next()?.as_atom()?.to_str().into_owned();
    Some((verb, elements.collect()))
}

/// Answers a request of `caller`, now or when it has been carried out; whether its peer has to wait.
pub fn answer(instance: &Arc<Instance>, request: Request<'_>, caller: &Pid, reply: Reply) -> Flow {
    let Some(reply) = admitted(instance.node(), caller, request.argument_bytes(), reply) else {
        return Flow::Go;
    };
    match request {
        Request::Append(event) => return append(instance, &[event.bytes().into()], false, reply),
        Request::AppendMany(events) => match proper_list(events) {
            Some(events) if events.len() > MAX_EVENTS => reply(too_large()),
            Some(events) if !events.is_empty() => return append(instance, &events, true, reply),
            _ => reply(badarg("events")),
        },
        Request::GlobalAlias => reply(term(|out| instance.write_global_alias(out))),
        Request::Subscribe([from, pid, marker, spec]) => {
            let options = Options {
                from: Some(from),
                pid: Some(pid),
                marker: Some(marker),
                match_spec: Some(spec),
                link: true,
                ..Options::default()
            };
            subscribe(instance, &options, caller, reply);
        }
        Request::SubscribeMap(map) => match Options::parse(map) {
            Ok(options) => subscribe(instance, &options, caller, reply),
            Err(key) => reply(bad_option(key)),
        },
        Request::SubscribeLive(reference, method) => {
            live::subscribe(instance, reference, method, caller, reply);
        }
        Request::Read(from, options) => read::answer(instance, caller, from, options, reply),
        Request::Info => {
            let node = caller.node.clone();
            when_there_is_room(instance, caller, reply, move |instance| {
                let peer = instance.node().peer(&node);
                let undecodable = term(|out| encode::atom(out, "undecodable"));
                let mut info = instance.info();
                // Values hold pids of other nodes.
                for (_, value) in &mut info {
                    if peer.as_ref().is_some_and(|peer| !peer.abilities().decode(value)) {
                        value.clone_from(&undecodable);
                    }
                }
                term(|out| {
                    encode::list(out, info.iter(), |out, (key, value)| {
                        encode::tuple_header(out, 2);
                        encode::atom(out, key);
                        out.extend_from_slice(value);
                    });
                })
            });
        }
        Request::InfoKey(key) => {
            let key = key.as_atom().map(|key| key.to_str().into_owned()).unwrap_or_default();
            when_there_is_room(instance, caller, reply, move |instance| {
                let info: BTreeMap<_, _> = instance.info().into_iter().collect();
                match info.get(key.as_str()) {
                    Some(value) => value.clone(),
                    None => term(|out| encode::atom(out, "undefined")),
                }
            });
        }
        Request::Unsupported => {
            instance.counters().unknown.inc();
            reply(term(unsupported));
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
        reply(error(|out| encode::atom(out, "system_limit")));
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
    make: impl FnOnce(&Instance) -> Vec<u8> + Send + 'static,
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

/// The elements of a proper list in any of its forms: small integers come as a string.
fn proper_list(list: TermRef<'_>) -> Option<Vec<Cow<'_, [u8]>>> {
    match list.view() {
        Term::String(bytes) => {
            let integer = |&byte| Cow::Owned(term(|out| encode::integer(out, i64::from(byte))));
            Some(bytes.iter().map(integer).collect())
        }
        // One more than is taken is enough to see that there are too many.
        _ => {
            let elements = list.as_list()?.take(MAX_EVENTS + 1);
            Some(elements.map(|element| Cow::Borrowed(element.bytes())).collect())
        }
    }
}

fn append(instance: &Instance, events: &[Cow<'_, [u8]>], many: bool, reply: Reply) -> Flow {
    if !events.iter().all(|event| instance.accepts(TermRef::from_walked(event))) {
        reply(too_large());
        return Flow::Go;
    }
    let recorded = Box::new(move |result: Result<Stamped, Failure>| {
        reply(match result {
            Ok(Stamped { first, last }) => term(|out| {
                encode::tuple_header(out, if many { 3 } else { 2 });
                encode::atom(out, "ok");
                encode::timestamp(out, first);
                if many {
                    encode::timestamp(out, last);
                }
            }),
            Err(failure) => error(|out| {
                encode::tuple_header(out, 2);
                encode::atom(out, "recorder");
                encode::binary(out, failure.as_bytes());
            }),
        });
    });
    instance.append(events.iter().map(|event| &**event), Some(recorded))
}

fn too_large() -> Vec<u8> {
    error(|out| encode::atom(out, "too_large"))
}

/// What a subscriber may ask for.
#[derive(Default)]
struct Options<'a> {
    from: Option<TermRef<'a>>,
    to: Option<TermRef<'a>>,
    pid: Option<TermRef<'a>>,
    marker: Option<TermRef<'a>>,
    match_spec: Option<TermRef<'a>>,
    batch: Option<TermRef<'a>>,
    credit: Option<TermRef<'a>>,
    cursor: Option<TermRef<'a>>,
    link: bool,
}

impl<'a> Options<'a> {
    /// From the map form; the key at fault otherwise.
    fn parse(map: TermRef<'a>) -> Result<Self, TermRef<'a>> {
        let Term::Map(pairs) = map.view() else { return Err(map) };
        let mut options = Options::default();
        for (key, value) in pairs {
            let name = key.as_atom().ok_or(key)?.to_str();
            match &*name {
                "from" => options.from = Some(value),
                "to" => options.to = Some(value),
                "pid" => options.pid = Some(value),
                "marker" => options.marker = Some(value),
                "match_spec" => options.match_spec = Some(value),
                "batch" => options.batch = Some(value),
                "credit" => options.credit = Some(value),
                "cursor" => options.cursor = Some(value),
                "link" if value.is_atom("true") => options.link = true,
                "link" if value.is_atom("false") => options.link = false,
                _ => return Err(key),
            }
        }
        Ok(options)
    }
}

/// Starts a session; `{ok, SessionPid}` or `{error, Reason}`. Without a `pid` option the caller subscribes.
fn subscribe(instance: &Arc<Instance>, options: &Options<'_>, caller: &Pid, reply: Reply) {
    let subscription = match subscription(instance, options, caller) {
        Ok(subscription) => subscription,
        Err(refusal) => return reply(refusal),
    };
    let Some(cursor) = subscription.cursor.clone() else {
        return reply(started(session::start(instance, subscription)));
    };
    let instance = instance.clone();
    tokio::task::spawn_blocking(move || {
        let position = match instance.cursors().load(&cursor) {
            Ok(position) => position,
            Err(failure) => {
                return reply(error(|out| {
                    encode::tuple_header(out, 2);
                    encode::atom(out, "cursor");
                    encode::binary(out, failure.to_string().as_bytes());
                }));
            }
        };
        // After the last acknowledged entry; a new cursor begins where the subscriber says.
        let from = position.map_or(subscription.from, Timestamp::next);
        reply(started(session::start(&instance, Subscription { from, ..subscription })));
    });
}

/// `{ok, SessionPid}`, or why there is no session.
fn started(session: Result<Pid, session::Refused>) -> Vec<u8> {
    match session {
        Err(refused) => refused.to_answer(),
        Ok(pid) => term(|out| {
            encode::tuple_header(out, 2);
            encode::atom(out, "ok");
            encode::pid(out, &pid);
        }),
    }
}

/// The largest batch: what one message may carry.
const MAX_BATCH: i64 = 65_536;

/// Checks what was asked for; the refusal otherwise.
fn subscription(
    instance: &Instance,
    options: &Options<'_>,
    caller: &Pid,
) -> Result<Subscription, Vec<u8>> {
    let (now, next) = (instance.clock().now(), instance.tail().next_stamp());
    let begin = |term| From::parse(term).map(|from| from.resolve(now, next));
    let end = |term| From::parse(term).map(|to| to.resolve_end(now, next));
    let subscriber = match options.pid {
        Some(pid) => pid.as_pid().ok_or_else(|| badarg("pid"))?,
        None => caller.clone(),
    };
    let marker = match options.marker {
        Some(marker) if marker.bytes().len() > MAX_MARKER_BYTES => return Err(badarg("marker")),
        Some(marker) => marker.to_bytes(),
        None => term(|out| encode::atom(out, instance.name())).into(),
    };
    let batch = options.batch.map(|batch| {
        let size = batch.as_integer().filter(|size| (1..=MAX_BATCH).contains(size));
        size.and_then(|size| usize::try_from(size).ok()).ok_or_else(|| badarg("batch"))
    });
    let credit = options.credit.map(|credit| {
        let credit = credit.as_integer().and_then(|credit| u64::try_from(credit).ok());
        credit.ok_or_else(|| badarg("credit"))
    });
    let cursor = options.cursor.map(|name| {
        let sound = |name: &&[u8]| (1..=MAX_NAME_BYTES).contains(&name.len());
        name.as_binary().filter(sound).map(Box::from).ok_or_else(|| badarg("cursor"))
    });
    let subscription = Subscription {
        subscriber: Subscriber::Pid(subscriber),
        method: Method::Marked(marker),
        from: options.from.map_or(Some(next), begin).ok_or_else(|| badarg("from"))?,
        to: options.to.map(|to| end(to).ok_or_else(|| badarg("to"))).transpose()?,
        filter: options.match_spec.map(filter).transpose()?.flatten(),
        batch: batch.transpose()?,
        credit: credit.transpose()?,
        link: options.link,
        cursor: cursor.transpose()?,
    };
    let peer = instance.node().peer(subscription.subscriber.node());
    match peer.and_then(|peer| subscription.undecodable(peer.abilities())) {
        Some(part) => Err(badarg(part)),
        None => Ok(subscription),
    }
}

/// Compiles a match spec; `None` if it passes every event as it is. The refusal is `{error, {badarg, Where}}`.
pub(super) fn filter(spec: TermRef<'_>) -> Result<Option<MatchSpec>, Vec<u8>> {
    match MatchSpec::compile(spec, Limits::default()) {
        Ok(spec) if spec.is_identity() => Ok(None),
        Ok(spec) => Ok(Some(spec)),
        Err(wrong) => Err(error(|out| {
            encode::tuple_header(out, 2);
            encode::atom(out, "badarg");
            wrong.write_term(out);
        })),
    }
}

/// One term.
pub(super) fn term(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// `{error, Reason}`.
pub(super) fn error(reason: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    term(|out| {
        encode::tuple_header(out, 2);
        encode::atom(out, "error");
        reason(out);
    })
}

/// `{error, {badarg, Key}}` for a key that is known.
pub(super) fn badarg(key: &str) -> Vec<u8> {
    bad_option(TermRef::from_walked(&term(|out| encode::atom(out, key))))
}

/// `{error, {badarg, Key}}`.
fn bad_option(key: TermRef<'_>) -> Vec<u8> {
    error(|out| {
        encode::tuple_header(out, 2);
        encode::atom(out, "badarg");
        out.extend_from_slice(echo(key).bytes());
    })
}

/// What a caller wrote, to be said again in an error: only if it is short.
fn echo(term: TermRef<'_>) -> TermRef<'_> {
    if term.bytes().len() <= MAX_ECHO_BYTES { term } else { TermRef::NIL }
}

/// All instances of the node, by name.
pub type Instances = Arc<BTreeMap<Arc<str>, Arc<Instance>>>;

fn find<'i>(instances: &'i Instances, name: TermRef<'_>) -> Option<&'i Arc<Instance>> {
    name.as_atom().and_then(|name| instances.get(&*name.to_str()))
}

fn unknown_instance(name: TermRef<'_>) -> Vec<u8> {
    error(|out| {
        encode::tuple_header(out, 2);
        encode::atom(out, "unknown_instance");
        out.extend_from_slice(echo(name).bytes());
    })
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
            node.reply_with(&pid, &to, &answer);
        });
        match find(instances, args[0]) {
            Some(instance) => {
                answer(instance, Request::from_parts(&verb, &args[1..]), &caller, reply)
            }
            None => {
                reply(unknown_instance(args[0]));
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
                ("subscribe", 3..=5) | ("info", 1 | 2) | ("read", 3) | ("append", 2)
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
                ended(Applied::Return(unknown_instance(*name)));
                Flow::Go
            }
            (_, Some(instance)) => {
                let reply = Box::new(move |answer| ended(Applied::Return(answer)));
                answer(instance, Request::from_parts(function, rest), caller, reply)
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
    let everything = term(write_identity_spec);
    let marker = args.get(2).copied().unwrap_or(name);
    let spec = args.get(3).copied().unwrap_or(TermRef::from_walked(&everything));
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
        if let Some([ok, session]) = TermRef::from_walked(&answer).as_tuple()
            && ok.is_atom("ok")
        {
            return ended(Applied::Return(session.bytes().to_vec()));
        }
        ended(Applied::Throw(term(|out| {
            encode::tuple_header(out, 2);
            encode::atom(out, "failed_to_start_subscription");
            encode::list_header(out, 6);
            encode::tuple_header(out, 2);
            encode::atom(out, "reason");
            out.extend_from_slice(&answer);
            out.extend_from_slice(&told);
            encode::nil(out);
        })));
    });
    let Some(instance) = instance else {
        reply(error(|out| encode::atom(out, "not_found")));
        return Flow::Go;
    };
    answer(instance, Request::Subscribe([args[0], args[1], marker, spec]), caller, reply)
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
        return answer(
            instance,
            Request::Info,
            caller,
            Box::new(move |answer| ended(Applied::Return(answer))),
        );
    };
    let is_known = instance.info().iter().any(|(name, _)| key.is_atom(name));
    if !is_known {
        ended(Applied::Throw(term(|out| {
            encode::tuple_header(out, 2);
            encode::atom(out, "noprop");
            out.extend_from_slice(echo(key).bytes());
        })));
        return Flow::Go;
    }
    let reply = Box::new(move |answer| ended(Applied::Return(answer)));
    answer(instance, Request::InfoKey(key), caller, reply)
}

/// A timestamp as a term, for who has none: `undefined`.
pub(super) fn timestamp_or_undefined(out: &mut Vec<u8>, stamp: Option<Timestamp>) {
    match stamp {
        Some(stamp) => encode::timestamp(out, stamp),
        None => encode::atom(out, "undefined"),
    }
}
