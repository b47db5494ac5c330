//! What generic servers, event handlers and state machines say when they terminate.
//!
//! Texts: `format_log/2` of `gen_server`, `gen_event` and `gen_statem`, of OTP 24 to 29.

use super::report::sentence;
use crate::etf::text::{Lines, Printer};
use crate::etf::{Term, TermBuf, TermRef, encode};

/// The parts of a map that say what terminated, and after what.
struct Parts<'a>(TermRef<'a>);

impl<'a> Parts<'a> {
    fn get(&self, key: &str) -> TermRef<'a> {
        self.0.map_get(key).unwrap_or(TermRef::NIL)
    }

    /// A process's label, since OTP 27.
    fn label(&self) -> Option<TermRef<'a>> {
        self.0.map_get("process_label").filter(|label| !label.is_atom("undefined"))
    }
}

pub(super) fn server(out: &mut Printer, map: TermRef<'_>) {
    let parts = Parts(map);
    let (log, client) = (parts.get("log"), parts.get("client_info"));
    if out.lines() == Lines::One {
        out.push("Generic server ");
        out.term(parts.get("name"));
        out.push(" terminating");
        if let Some(label) = parts.label() {
            out.push(". Label: ");
            out.term(label);
        }
        out.push(". ");
        sentence(
            out,
            &[
                ("Reason: ", parts.get("reason")),
                (" Last message: ", parts.get("last_message")),
                (" State: ", parts.get("state")),
            ],
        );
        if !log.cells().is_empty() {
            out.push(" Log: ");
            out.term(log);
        }
        return client_in_short(out, client);
    }
    out.push("** Generic server ");
    out.term(parts.get("name"));
    out.push(" terminating \n");
    if let Some(label) = parts.label() {
        star(out, "Process label == ", label);
    }
    star(out, "Last message in was ", parts.get("last_message"));
    star(out, "When Server state == ", parts.get("state"));
    out.push("** Reason for termination ==\n");
    star(out, "", parts.get("reason"));
    for (n, entry) in log.cells().enumerate() {
        out.push(if n == 0 { "** Log ==\n** [" } else { ",\n    " });
        out.term(entry);
    }
    if !log.cells().is_empty() {
        out.push("]\n");
    }
    client_at_length(out, client);
}

pub(super) fn event_handler(out: &mut Printer, map: TermRef<'_>) {
    let parts = Parts(map);
    let reason = match parts.get("reason").as_tuple() {
        Some([exit, reason]) if exit.is_atom("EXIT") => reason,
        _ => parts.get("reason"),
    };
    if out.lines() == Lines::One {
        out.push("Generic event handler ");
        out.term(parts.get("handler"));
        out.push(" crashed. Installed: ");
        out.term(parts.get("name"));
        if let Some(label) = parts.label() {
            out.push(". Label: ");
            out.term(label);
        }
        out.push(". ");
        return sentence(
            out,
            &[
                ("Last event: ", parts.get("last_message")),
                (" State: ", parts.get("state")),
                (" Reason: ", reason),
            ],
        );
    }
    out.push("** gen_event handler ");
    out.term(parts.get("handler"));
    out.push(" crashed.\n");
    star(out, "Was installed in ", parts.get("name"));
    if let Some(label) = parts.label() {
        star(out, "Process label == ", label);
    }
    star(out, "Last event was: ", parts.get("last_message"));
    star(out, "When handler state == ", parts.get("state"));
    star(out, "Reason == ", reason);
}

pub(super) fn state_machine(out: &mut Printer, map: TermRef<'_>) {
    let parts = Parts(map);
    let [class, reason, stack] = parts.get("reason").as_tuple().unwrap_or([TermRef::NIL; 3]);
    let mut queue = parts.get("queue").cells();
    let (event, log, client) = (queue.next(), parts.get("log"), parts.get("client_info"));
    let is_empty = |list: TermRef<'_>| list.cells().is_empty();
    if out.lines() == Lines::One {
        out.push("State machine ");
        out.term(parts.get("name"));
        out.push(" terminating");
        let label = parts.label().map(|label| (". Label: ", label));
        let stack = (!is_empty(stack)).then_some((". Stack: ", stack));
        let event = event.map(|event| (". Last event: ", event));
        let log = (!is_empty(log)).then_some((". Log: ", log));
        let state = Some((". State: ", parts.get("state")));
        let all = [label, Some((". Reason: ", reason)), stack, event, state, log];
        for (words, term) in all.into_iter().flatten() {
            out.push(words);
            out.term(term);
        }
        out.push(".");
        return client_in_short(out, client);
    }
    out.push("** State machine ");
    out.term(parts.get("name"));
    out.push(" terminating\n");
    if let Some(label) = parts.label() {
        star(out, "Process label = ", label);
    }
    if let Some(event) = event {
        star(out, "Last event = ", event);
    }
    star(out, "When server state  = ", parts.get("state"));
    out.push("** Reason for termination = ");
    out.term(class);
    out.push(":");
    out.term(reason);
    out.push("\n");
    star(out, "Callback modules = ", parts.get("modules"));
    let mode = parts.get("callback_mode");
    if parts.get("state_enter").is_atom("true") {
        let both = TermBuf::written(|bytes| {
            encode::list_header(bytes, 2);
            bytes.extend_from_slice(mode.bytes());
            encode::atom(bytes, "state_enter");
            encode::nil(bytes);
        });
        star(out, "Callback mode = ", both.as_term());
    } else {
        star(out, "Callback mode = ", mode);
    }
    if !queue.is_empty() {
        let queued = TermBuf::written(|bytes| {
            let rest: Vec<_> = queue.collect();
            encode::list_header(bytes, rest.len());
            rest.iter().for_each(|event| bytes.extend_from_slice(event.bytes()));
            encode::nil(bytes);
        });
        star(out, "Queued = ", queued.as_term());
    }
    if !is_empty(parts.get("postponed")) {
        star(out, "Postponed = ", parts.get("postponed"));
    }
    if !is_empty(stack) {
        out.push("** Stacktrace =\n");
        star(out, " ", stack);
    }
    if let Some([count, _]) = parts.get("timeouts").as_tuple()
        && count.as_integer() != Some(0)
    {
        star(out, "Time-outs: ", parts.get("timeouts"));
    }
    if !is_empty(log) {
        out.push("** Log =\n");
        star(out, " ", log);
    }
    client_at_length(out, client);
}

/// A line with two stars.
fn star(out: &mut Printer, words: &str, term: TermRef<'_>) {
    out.push("** ");
    out.push(words);
    out.term(term);
    out.push("\n");
}

/// Who waits for an answer: `{Pid, dead | remote | {Name, Stacktrace}}`.
fn client_in_short(out: &mut Printer, client: TermRef<'_>) {
    let Some([pid, about]) = client.as_tuple() else { return };
    out.push(" Client ");
    if about.is_atom("dead") {
        out.term(pid);
        out.push(" is dead.");
    } else if let Some([name, stack]) = about.as_tuple() {
        const SHOWN_CALLS: usize = 4;
        let shown = TermBuf::written(|bytes| {
            let calls: Vec<_> = stack.cells().take(SHOWN_CALLS).collect();
            encode::list(bytes, calls.into_iter(), |bytes, call| {
                bytes.extend_from_slice(call.bytes())
            });
        });
        out.term(name);
        out.push(" stacktrace: ");
        out.term(shown.as_term());
        out.push(".");
    } else {
        out.term(pid);
        out.push(" is remote on node ");
        node_of(out, pid);
        out.push(".");
    }
}

fn client_at_length(out: &mut Printer, client: TermRef<'_>) {
    let Some([pid, about]) = client.as_tuple() else { return };
    out.push("** Client ");
    if about.is_atom("dead") {
        out.term(pid);
        out.push(" is dead\n");
    } else if let Some([name, stack]) = about.as_tuple() {
        out.term(name);
        out.push(" stacktrace\n");
        star(out, "", stack);
    } else {
        out.term(pid);
        out.push(" is remote on node ");
        node_of(out, pid);
        out.push("\n");
    }
}

fn node_of(out: &mut Printer, pid: TermRef<'_>) {
    if let Term::Pid { node, .. } = pid.view() {
        let node = TermBuf::written(|bytes| encode::atom(bytes, &node.to_str()));
        out.term(node.as_term());
    }
}
