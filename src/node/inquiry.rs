//! What operators' tools ask of any process: `sys`, `io`, `gen_event:call`, calls of any behaviour, `rpc:server_call`.
//!
//! Most wait for ever, so whatever has an answer gets one at once: what a process says of itself, or that it does not
//! do such things. A process takes its own messages first and hands on what it does not know.
//!
//! Source: `sys.erl`, `gen.erl`, `gen_event.erl`, `file_io_server.erl` of `stdlib` and `kernel`; "The Erlang I/O
//! Protocol".

use super::call::ReplyTo;
use super::{Node, Peer};
use crate::etf::{Pid, Term, TermRef, encode};
use crate::proto::control::{self, Watched};

/// Answers `message` to our process `us`, which is `{What, Name}`, for instance `{receiver, quotes}`; false if nobody
/// waits for an answer to it, as far as can be seen.
pub fn answer(
    node: &Node,
    peer: &Peer,
    us: &Pid,
    (what, name): (&str, &str),
    message: TermRef<'_>,
) -> bool {
    let state = |out: &mut Vec<u8>| {
        encode::tuple_header(out, 2);
        encode::atom(out, what);
        encode::atom(out, name);
    };
    if let (Some(to), Some([tag, _from, request])) = (call(message), message.as_tuple()) {
        return if tag.is_atom("system") {
            node.reply(us, &to, |out| system(out, us, state, request))
        } else if tag.is_atom("$gen_call") {
            node.reply(us, &to, unsupported)
        } else {
            node.reply(us, &to, |out| event_manager(out, request))
        };
    }
    answer_other(node, peer, us, message)
}

/// Who waits for the answer to a call: of any behaviour, of `sys`, or of an event manager, which are
/// `{'$gen_call', From, Request}`, `{system, From, Request}` and `{Pid, From, Request}`.
pub(super) fn call(message: TermRef<'_>) -> Option<ReplyTo> {
    let [tag, from, _request] = message.as_tuple()?;
    let is_call = tag.is_atom("$gen_call") || tag.is_atom("system") || tag.as_pid().is_some();
    is_call.then(|| ReplyTo::parse(from))?
}

/// The same for what is no [`call`].
pub(super) fn answer_other(node: &Node, peer: &Peer, us: &Pid, message: TermRef<'_>) -> bool {
    if let Some([tag, from, reply_as, _request]) = message.as_tuple()
        && let Some(from) = from.as_pid()
    {
        let (reply, reason) = if tag.is_atom("io_request") {
            ("io_reply", "request")
        } else if tag.is_atom("file_request") {
            ("file_reply", "enotsup")
        } else {
            return false;
        };
        return node.tell(&from, |out| {
            encode::tuple_header(out, 3);
            encode::atom(out, reply);
            out.extend_from_slice(reply_as.bytes());
            error(out, reason);
        });
    }
    match message.as_tuple() {
        Some([from, _message]) => from.as_pid().is_some_and(|from| dismiss(node, peer, us, &from)),
        None => false,
    }
}

/// `rpc:server_call/4` sends `{Caller, Message}` and waits for an answer of a form that only it knows, or for its
/// monitor of our name to fire: that is how it is told that there is no such server.
fn dismiss(node: &Node, peer: &Peer, us: &Pid, caller: &Pid) -> bool {
    if *caller.node != *peer.name().as_str() {
        // Somebody speaks in another node's name.
        return false;
    }
    let monitors = {
        let mut table = node.table();
        let Some(local) = table.local(us) else { return false };
        table.dismiss(local, caller)
    };
    let mut reason = Vec::new();
    encode::atom(&mut reason, "unsupported");
    for (name, reference) in &monitors {
        let watched = Watched::Name(name.clone());
        peer.send(|out| {
            control::monitor_exit(out, peer.flags(), &watched, caller, reference, &reason)
        });
    }
    !monitors.is_empty()
}

/// What a process answers `sys`; it is neither suspended, nor traced, nor stopped from outside.
fn system(out: &mut Vec<u8>, us: &Pid, state: impl Fn(&mut Vec<u8>), request: TermRef<'_>) {
    if request.is_atom("get_state") {
        state(out);
    } else if request.is_atom("get_status") {
        // `{status, Pid, {module, Module}, [Dictionary, State, Parent, Debug, Misc]}`
        encode::tuple_header(out, 4);
        encode::atom(out, "status");
        encode::pid(out, us);
        encode::tuple_header(out, 2);
        encode::atom(out, "module");
        encode::atom(out, "logmachine");
        encode::list_header(out, 5);
        encode::nil(out);
        encode::atom(out, "running");
        encode::pid(out, us);
        encode::nil(out);
        state(out);
        encode::nil(out);
    } else {
        unsupported(out);
    }
}

/// What an event manager without handlers answers.
fn event_manager(out: &mut Vec<u8>, request: TermRef<'_>) {
    let is_call = |request: TermRef<'_>| match request.view() {
        Term::Tuple(mut parts) => parts.next().is_some_and(|verb| verb.is_atom("call")),
        _ => false,
    };
    if request.is_atom("which_handlers") {
        encode::nil(out);
    } else if is_call(request) {
        error(out, "bad_module");
    } else {
        unsupported(out);
    }
}

/// `{error, unsupported}`.
pub fn unsupported(out: &mut Vec<u8>) {
    error(out, "unsupported");
}

/// `{error, Reason}`.
pub(super) fn error(out: &mut Vec<u8>, reason: &str) {
    encode::tuple_header(out, 2);
    encode::atom(out, "error");
    encode::atom(out, reason);
}
