//! What other nodes may run here: a table of functions, asked for by `rpc` and `erpc`, and nothing else.
//!
//! `erpc:call/4`, and `rpc:call/4` through it, ask for a process that runs `erpc:execute_call(Ref, M, F, Args)`
//! and take the result from its exit reason. We make such a process in name only: it has a pid, can be
//! monitored, and exits with the answer.
//!
//! Source: `erpc.erl`, `rpc.erl`, `net_kernel.erl` of `kernel`; `SPAWN_REQUEST` in the Distribution Protocol.

use std::borrow::Cow;
use std::sync::Arc;

use tracing::warn;

use super::call::{Gen, ReplyTo};
use super::{Flow, Node, Peer, Process, inquiry};
use crate::etf::{Elements, Pid, Term, TermBuf, TermRef, encode};
use crate::proto::control::{self, Destination, SpawnRequest, Spawned, Watched};
use crate::strangers::{self, Escaped};

/// How a function ends, each with one term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It returns.
    Return(TermBuf),
    /// It throws.
    Throw(TermBuf),
}

/// Told how a function ended. May be called on another thread, later; must not block.
pub type OnApplied = Box<dyn FnOnce(Applied) + Send>;

/// The functions that other nodes may call here.
pub trait Functions: Send + Sync {
    /// Whether there is a function of this name and number of arguments.
    fn serves(&self, module: &str, function: &str, arity: usize) -> bool;

    /// Applies a function that is there for `caller`; whether the peer that asked has to wait for something.
    fn apply(&self, caller: &Pid, function: &str, args: Elements<'_>, ended: OnApplied) -> Flow;
}

/// What comes back to the caller of what is refused is not longer than this.
const MAX_ECHO_BYTES: usize = 16 << 10;

/// Registers the processes that every node has: `net_kernel` and `rex`.
pub(super) fn register(node: &Node) {
    for name in ["net_kernel", "rex"] {
        let process = Kernel { node: Arc::downgrade(&node.0), is_rex: name == "rex" };
        let pid = node.spawn(|pid| Arc::new(Served { pid: pid.clone(), process }));
        node.register(name, &pid);
    }
}

struct Served {
    pid: Pid,
    process: Kernel,
}

/// `net_kernel` says that we are there; `rex` applies functions for callers from before `erpc`.
struct Kernel {
    node: std::sync::Weak<super::Shared>,
    is_rex: bool,
}

impl Process for Served {
    fn messages(&self, peer: &Arc<Peer>, messages: &[TermRef<'_>]) -> Flow {
        let Some(shared) = self.process.node.upgrade() else { return Flow::Go };
        let node = Node(shared);
        let mut flow = Flow::Go;
        for message in messages {
            match Gen::parse(*message) {
                Gen::Call(from, request) => {
                    if let Some(to) = ReplyTo::parse(from) {
                        flow.and(self.call(&node, to, request));
                    }
                }
                // `rpc:cast` from before OTP 23; nothing waits for it.
                Gen::Cast(_) if self.process.is_rex => node.metrics().calls_refused.inc(),
                _ => match self.info(&node, peer, *message) {
                    Some(more) => flow.and(more),
                    None => {
                        let role =
                            ("process", if self.process.is_rex { "rex" } else { "net_kernel" });
                        inquiry::answer(&node, peer, &self.pid, role, *message);
                    }
                },
            }
        }
        flow
    }
}

impl Served {
    /// What `rex` is asked without `gen`: `{From, Request}`, by C nodes and by `rpc:sbcast/3`. `None` if it is nothing
    /// of that kind.
    fn info(&self, node: &Node, peer: &Arc<Peer>, message: TermRef<'_>) -> Option<Flow> {
        let [from, request] = message.as_tuple().filter(|_| self.process.is_rex)?;
        let from = from.as_pid()?;
        if request.is_atom("features_request") {
            node.tell(&from, |out| {
                encode::tuple_header(out, 3);
                encode::atom(out, "features_reply");
                encode::atom(out, node.name().as_str());
                encode::list(out, ["erpc"].into_iter(), encode::atom);
            });
            return Some(Flow::Go);
        }
        Some(match request.as_tuple() {
            Some([verb, name, message]) if verb.is_atom("sbcast") => {
                let passed_on = pass_on(node, peer, name, message);
                self.passed_on(node, &from, name, passed_on.is_some());
                passed_on.unwrap_or(Flow::Go)
            }
            Some([verb, name, message]) if verb.is_atom("send") => {
                let with_sender = TermBuf::written(|out| {
                    encode::tuple_header(out, 2);
                    encode::pid(out, &from);
                    out.extend_from_slice(message.bytes());
                });
                // It is up to the process to answer.
                let passed_on = pass_on(node, peer, name, with_sender.as_term());
                if passed_on.is_none() {
                    self.passed_on(node, &from, name, false);
                }
                passed_on.unwrap_or(Flow::Go)
            }
            _ if is_call(request) => self.call(node, ReplyTo::tagged(from, "rex"), request),
            _ => return None,
        })
    }

    /// `{rex, Node, Node}`, or `{rex, Node, {nonexisting_name, Name}}`.
    fn passed_on(&self, node: &Node, from: &Pid, name: TermRef<'_>, is_there: bool) {
        node.tell(from, |out| {
            encode::tuple_header(out, 3);
            encode::atom(out, "rex");
            encode::atom(out, node.name().as_str());
            if is_there {
                encode::atom(out, node.name().as_str());
            } else {
                encode::tuple_header(out, 2);
                encode::atom(out, "nonexisting_name");
                out.extend_from_slice(name.bytes());
            }
        });
    }

    fn call(&self, node: &Node, to: ReplyTo, request: TermRef<'_>) -> Flow {
        let Term::Tuple(mut fields) = request.view() else {
            node.reply(&self.pid, &to, inquiry::unsupported);
            return Flow::Go;
        };
        let verb = fields.next().and_then(TermRef::as_atom);
        let verb = verb.map(|verb| verb.to_str().into_owned()).unwrap_or_default();
        if !self.process.is_rex {
            if verb == "is_auth" {
                node.reply(&self.pid, &to, |out| encode::atom(out, "yes"));
            } else {
                refused(node, to.pid(), &format!("net_kernel {verb}"));
                node.reply(&self.pid, &to, |out| {
                    encode::tuple_header(out, 2);
                    encode::atom(out, "error");
                    encode::atom(out, "undef");
                });
            }
            return Flow::Go;
        }
        let undef = match (verb.as_str(), fields.exactly()) {
            ("call" | "block_call", Some(mfa @ [_, _, _, _leader])) => {
                let [module, function, args, _] = mfa;
                match find(node, to.pid(), module, function, args) {
                    Some(found) => {
                        let (node, pid, caller) =
                            (node.clone(), self.pid.clone(), to.pid().clone());
                        return found.apply(
                            &caller,
                            Box::new(move |applied| {
                                // To `rpc` what is thrown is a value like any other.
                                let (Applied::Return(term) | Applied::Throw(term)) = applied;
                                node.reply_with(&pid, &to, term.bytes());
                            }),
                        );
                    }
                    None => undef(module, function, args),
                }
            }
            _ => TermRef::NIL.bytes().to_vec(),
        };
        node.reply(&self.pid, &to, |out| {
            encode::tuple_header(out, 2);
            encode::atom(out, "badrpc");
            encode::tuple_header(out, 2);
            encode::atom(out, "EXIT");
            encode::tuple_header(out, 2);
            encode::atom(out, "undef");
            out.extend_from_slice(&undef);
        });
        Flow::Go
    }
}

/// `{call, M, F, A, GroupLeader}`.
fn is_call(request: TermRef<'_>) -> bool {
    request.as_tuple().is_some_and(|[verb, _, _, _, _]| verb.is_atom("call"))
}

/// Gives a message to the process registered as `name`; `None` if there is none.
fn pass_on(node: &Node, peer: &Arc<Peer>, name: TermRef<'_>, message: TermRef<'_>) -> Option<Flow> {
    // Not to `rex` itself, which could go as deep as a message nests.
    let process = node.resolve(Destination::Name(name)).filter(|_| !name.is_atom("rex"))?;
    Some(process.messages(peer, &[message]))
}

/// A function that is there, with its arguments.
struct ServedCall<'a> {
    table: Arc<dyn Functions>,
    function: Cow<'a, str>,
    args: Elements<'a>,
}

impl ServedCall<'_> {
    fn apply(self, caller: &Pid, ended: OnApplied) -> Flow {
        self.table.apply(caller, &self.function, self.args, ended)
    }
}

/// Looks a function up; refuses it in the diagnostics if there is none.
fn find<'a>(
    node: &Node,
    caller: &Pid,
    module: TermRef<'a>,
    function: TermRef<'a>,
    args: TermRef<'a>,
) -> Option<ServedCall<'a>> {
    let (module, function) = (module.as_atom()?.to_str(), function.as_atom()?.to_str());
    // A list of small integers may come as a string: no function of ours takes such arguments.
    let found = args.as_list().and_then(|args| {
        let table = node.0.functions.get()?;
        let is_there = table.serves(&module, &function, args.len());
        is_there.then(|| ServedCall { table: table.clone(), function: function.clone(), args })
    });
    if found.is_none() {
        refused(node, caller, &format!("{module}:{function}"));
    }
    found
}

fn refused(node: &Node, caller: &Pid, what: &str) {
    node.metrics().calls_refused.inc();
    if strangers::REFUSALS.admit() {
        let what = Escaped(what);
        warn!(%caller, "refused to run {what}: only logmachine's functions are served");
    }
}

/// The stack trace of a function that is not there: `[{M, F, Args, []}]`, or none if it would be long.
fn undef(module: TermRef<'_>, function: TermRef<'_>, args: TermRef<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    if [module, function, args].iter().any(|part| part.bytes().len() > MAX_ECHO_BYTES) {
        encode::nil(&mut out);
        return out;
    }
    encode::list_header(&mut out, 1);
    encode::tuple_header(&mut out, 4);
    for part in [module, function, args, TermRef::NIL] {
        out.extend_from_slice(part.bytes());
    }
    encode::nil(&mut out);
    out
}

/// A peer asks for a process.
pub(super) fn requested(node: &Node, peer: &Arc<Peer>, request: &SpawnRequest<'_>) -> Flow {
    let options = Options::parse(request.options);
    let called: Option<[TermRef<'_>; 3]> = request.mfa.as_tuple();
    let is = |function: &str, arity: i64| {
        called.is_some_and(|[m, f, a]| {
            m.is_atom("erpc") && f.is_atom(function) && a.as_integer() == Some(arity)
        })
    };
    let arguments = request.arguments.as_list();
    let call = match arguments {
        Some(arguments) if is("execute_call", 4) => arguments.exactly::<4>(),
        Some(arguments) if is("execute_cast", 3) => {
            arguments.exactly::<3>().map(|[m, f, a]| [TermRef::NIL, m, f, a])
        }
        _ => None,
    };
    // What the caller waits for is a reference.
    let call = call.filter(|[result, ..]| result.bytes().len() <= MAX_ECHO_BYTES);
    let Some([result, module, function, args]) = call else {
        node.metrics().spawns_refused.inc();
        if strangers::REFUSALS.admit() {
            warn!(node = %peer.name(), caller = %request.from, "refused to spawn a process: this node has no code to run");
        }
        // Not `notsup`: OTP 23 would go on to ask `rex` and `net_kernel`.
        let error = Spawned::Error("undef");
        peer.send(|out| control::spawn_reply(out, &request.id, &request.from, &error));
        return Flow::Go;
    };
    let pid = node.spawn(|_| Arc::new(Nominal));
    let (linked, monitored) = {
        let mut table = node.table();
        let local = table.local(&pid).expect("just made here");
        let watched = Watched::Pid(pid.clone());
        let monitored = options.monitor
            && table.monitor_from(request.from.clone(), watched, request.id.clone()).is_ok();
        (options.link && table.link_from(request.from.clone(), local).is_ok(), monitored)
    };
    let process = Spawned::Process { pid: &pid, linked, monitored };
    peer.send(|out| control::spawn_reply(out, &request.id, &request.from, &process));
    let mut reason = vec![crate::etf::tag::SMALL_TUPLE_EXT];
    let Some(found) = find(node, &request.from, module, function, args) else {
        reason.push(4);
        reason.extend_from_slice(result.bytes());
        encode::atom(&mut reason, "error");
        encode::atom(&mut reason, "undef");
        reason.extend_from_slice(&undef(module, function, args));
        node.exit(&pid, &reason);
        return Flow::Go;
    };
    reason.push(3);
    reason.extend_from_slice(result.bytes());
    let body = Body { node: node.clone(), pid, reason: TermRef::NIL.bytes().to_vec() };
    found.apply(
        &request.from,
        Box::new(move |applied| {
            let (class, term) = match applied {
                Applied::Return(term) => ("return", term),
                Applied::Throw(term) => ("throw", term),
            };
            encode::atom(&mut reason, class);
            reason.extend_from_slice(term.bytes());
            body.exit(reason);
        }),
    )
}

/// What there is of a process in name only: with it, the process exits, answered or not.
struct Body {
    node: Node,
    pid: Pid,
    reason: Vec<u8>,
}

impl Body {
    fn exit(mut self, reason: Vec<u8>) {
        self.reason = reason;
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.node.exit(&self.pid, &self.reason);
    }
}

/// A process in name only: it can be monitored and exits with an answer.
struct Nominal;

impl Process for Nominal {
    fn messages(&self, _peer: &Arc<Peer>, _messages: &[TermRef<'_>]) -> Flow {
        Flow::Go
    }
}

/// The spawn options that matter. Whether the caller wants a reply is its own node's affair.
struct Options {
    link: bool,
    monitor: bool,
}

impl Options {
    fn parse(options: TermRef<'_>) -> Self {
        let has = |name: &str| {
            options.as_list().into_iter().flatten().any(|option| {
                let tagged = option.as_tuple().is_some_and(|[key, _]| key.is_atom(name));
                tagged || option.is_atom(name)
            })
        };
        Options { link: has("link"), monitor: has("monitor") }
    }
}
