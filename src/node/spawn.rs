//! What other nodes may run here: a table of functions, asked for by `rpc` and `erpc`, and nothing else.
//!
//! `erpc:call/4`, and `rpc:call/4` through it, ask for a process that runs `erpc:execute_call(Ref, M, F, Args)`
//! and take the result from its exit reason. We make such a process in name only: it has a pid, can be
//! monitored, and exits with the answer.
//!
//! Source: `erpc.erl`, `rpc.erl`, `net_kernel.erl` of `kernel`; `SPAWN_REQUEST` in the Distribution Protocol.

use std::pin::Pin;
use std::sync::Arc;

use tracing::warn;

use super::call::{Gen, ReplyTo};
use super::{Flow, Node, Peer, Process};
use crate::etf::{Elements, Pid, Term, TermRef, encode};
use crate::proto::control::{self, SpawnRequest, Spawned, Watched};

/// A function's answer: one term.
pub type Answer = Pin<Box<dyn Future<Output = Vec<u8>> + Send>>;

/// The functions that other nodes may call here.
pub trait Functions: Send + Sync {
    /// Applies a function for `caller`; `None` if there is none of this name and number of arguments.
    fn apply(
        &self,
        caller: &Pid,
        module: &str,
        function: &str,
        args: Elements<'_>,
    ) -> Option<Answer>;
}

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
    fn messages(&self, _peer: &Arc<Peer>, messages: &[TermRef<'_>]) -> Flow {
        if let Some(shared) = self.process.node.upgrade() {
            for message in messages {
                self.message(&Node(shared.clone()), *message);
            }
        }
        Flow::Go
    }
}

impl Served {
    fn message(&self, node: &Node, message: TermRef<'_>) {
        let Gen::Call(from, request) = Gen::parse(message) else {
            if self.process.is_rex {
                // `rpc:cast` from before OTP 23; nothing waits for it.
                node.counters().calls_refused.inc();
            }
            return;
        };
        let (Some(to), Term::Tuple(mut fields)) = (ReplyTo::parse(from), request.view()) else {
            return;
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
            return;
        }
        let applied = match (verb.as_str(), fields.exactly()) {
            ("call" | "block_call", Some([module, function, args, _leader])) => {
                apply(node, to.pid(), module, function, args)
                    .ok_or_else(|| undef(module, function, args))
            }
            _ => Err(TermRef::NIL.bytes().to_vec()),
        };
        match applied {
            Ok(answer) => {
                let (node, pid) = (node.clone(), self.pid.clone());
                tokio::spawn(async move {
                    let answer = answer.await;
                    node.reply(&pid, &to, |out| out.extend_from_slice(&answer));
                });
            }
            Err(undef) => {
                node.reply(&self.pid, &to, |out| {
                    encode::tuple_header(out, 2);
                    encode::atom(out, "badrpc");
                    encode::tuple_header(out, 2);
                    encode::atom(out, "EXIT");
                    encode::tuple_header(out, 2);
                    encode::atom(out, "undef");
                    out.extend_from_slice(&undef);
                });
            }
        }
    }
}

/// Looks a function up and applies it; refuses it in the diagnostics otherwise.
fn apply(
    node: &Node,
    caller: &Pid,
    module: TermRef<'_>,
    function: TermRef<'_>,
    args: TermRef<'_>,
) -> Option<Answer> {
    let (module, function) = (module.as_atom()?.to_str(), function.as_atom()?.to_str());
    // A list of small integers may come as a string: no function of ours takes such arguments.
    let answer = args.as_list().and_then(|args| {
        node.0.functions.get().and_then(|table| table.apply(caller, &module, &function, args))
    });
    if answer.is_none() {
        refused(node, caller, &format!("{module}:{function}"));
    }
    answer
}

fn refused(node: &Node, caller: &Pid, what: &str) {
    node.counters().calls_refused.inc();
    warn!(%caller, "refused to run {what}: only logmachine's functions are served");
}

/// The stack trace of a function that is not there: `[{M, F, Args, []}]`.
fn undef(module: TermRef<'_>, function: TermRef<'_>, args: TermRef<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode::list_header(&mut out, 1);
    encode::tuple_header(&mut out, 4);
    for part in [module, function, args, TermRef::NIL] {
        out.extend_from_slice(part.bytes());
    }
    encode::nil(&mut out);
    out
}

/// A peer asks for a process.
pub(super) fn requested(node: &Node, peer: &Arc<Peer>, request: &SpawnRequest<'_>) {
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
    let Some([result, module, function, args]) = call else {
        node.counters().spawns_refused.inc();
        warn!(node = %peer.name(), caller = %request.from, "refused to spawn a process: this node has no code to run");
        // Not `notsup`: OTP 23 would go on to ask `rex` and `net_kernel`.
        let error = Spawned::Error("undef");
        peer.send(|out| control::spawn_reply(out, &request.id, &request.from, &error));
        return;
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
    let answer = apply(node, &request.from, module, function, args);
    let exit = |tail: &dyn Fn(&mut Vec<u8>)| {
        let mut reason = Vec::new();
        reason.extend_from_slice(result.bytes());
        tail(&mut reason);
        reason
    };
    match answer {
        None => {
            let trace = undef(module, function, args);
            let mut reason = vec![crate::etf::tag::SMALL_TUPLE_EXT, 4];
            reason.extend(exit(&|out| {
                encode::atom(out, "error");
                encode::atom(out, "undef");
                out.extend_from_slice(&trace);
            }));
            node.exit(&pid, &reason);
        }
        Some(answer) => {
            let mut reason = vec![crate::etf::tag::SMALL_TUPLE_EXT, 3];
            reason.extend(exit(&|out| encode::atom(out, "return")));
            let node = node.clone();
            tokio::spawn(async move {
                reason.extend(answer.await);
                node.exit(&pid, &reason);
            });
        }
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
