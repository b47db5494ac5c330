//! Why something ended, found in the event that says so.

use std::borrow::Cow;

use super::kind::Kind;
use super::report::{Report, find};
use crate::etf::{Term, TermRef};

/// The most characters of a format that are looked at to tell what it is about.
const FORMAT_CHARS: usize = 4096;

/// Why something ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure<'a> {
    pub(super) reason: TermRef<'a>,
    pub(super) stack: Option<TermRef<'a>>,
}

impl<'a> Failure<'a> {
    /// `crash_reason` in metadata, which always comes with a stack trace, if perhaps an empty one.
    pub(super) fn of_elixir(reason: TermRef<'a>) -> Self {
        match reason.as_tuple() {
            Some([reason, TermRef::NIL]) => Failure { reason, stack: None },
            _ => Failure::of(reason),
        }
    }

    /// A reason that may come with the stack trace that led to it.
    pub(super) fn of(reason: TermRef<'a>) -> Self {
        match reason.as_tuple() {
            Some([inner, stack]) if is_stack(stack) => {
                Failure { reason: inner, stack: Some(stack) }
            }
            _ => Failure { reason, stack: None },
        }
    }
}

impl<'a> Failure<'a> {
    /// Why something else ended, where one ended because of that: a process that was called, a child that did not start, an
    /// application whose supervisor did not. `None` where nothing else did.
    pub(super) fn cause(self) -> Option<Cause<'a>> {
        let mut cause: Option<Cause<'a>> = None;
        for _ in 0..MAX_CAUSES {
            let within = cause.map_or(self, |cause| cause.failure).within();
            let Some(inner) = within else { break };
            let child = inner.child.or(cause.and_then(|cause| cause.child));
            cause = Some(Cause { child, ..inner });
        }
        cause
    }

    fn within(self) -> Option<Cause<'a>> {
        let of = |reason| Some(Cause { failure: Failure::of(reason), child: None });
        let of_child = |term: TermRef<'a>| {
            let [tag, child, reason] = term.as_tuple()?;
            tag.is_atom("failed_to_start_child")
                .then(|| Cause { failure: Failure::of(reason), child: Some(child) })
        };
        if let Some(cause) = of_child(self.reason) {
            return Some(cause);
        }
        let [first, second] = self.reason.as_tuple()?;
        if first.is_atom("shutdown") {
            return of_child(second);
        }
        if first.is_atom("EXIT") {
            return of(second);
        }
        // What the start function of an application returned.
        if first.is_atom("bad_return") {
            let [_, returned] = second.as_tuple()?;
            let [exit, reason] = returned.as_tuple()?;
            return if exit.is_atom("EXIT") { of(reason) } else { None };
        }
        let [module, function, _] = second.as_tuple()?;
        let is_call = module.as_atom().is_some() && function.as_atom().is_some();
        let inner = of(first).filter(|_| is_call)?;
        let is_cause = inner.failure.stack.is_some() || inner.failure.within().is_some();
        is_cause.then_some(inner)
    }

    /// What somebody tells who caught it and logs it: among the arguments of a format, or in a report. With the last process
    /// that is named before.
    pub(super) fn told_in(logged: TermRef<'a>) -> Option<(Self, Option<TermRef<'a>>)> {
        if let Some(stack) = STACK_KEYS.iter().find_map(|key| value_of(logged, key)) {
            let reason = REASON_KEYS.iter().find_map(|key| value_of(logged, key))?;
            return is_stack(stack).then_some((Failure { reason, stack: Some(stack) }, None));
        }
        let (mut before, mut process) = (None, None);
        for term in logged.cells().take(MAX_ARGUMENTS) {
            if matches!(term.view(), Term::Pid { .. }) {
                process = Some(term);
            }
            match (Failure::of(term), before) {
                (failure @ Failure { stack: Some(_), .. }, _) => return Some((failure, process)),
                (_, Some(reason)) if is_stack(term) => {
                    return Some((Failure { reason, stack: Some(term) }, process));
                }
                _ => before = Some(term),
            }
        }
        None
    }
}

/// Why something else ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cause<'a> {
    pub(super) failure: Failure<'a>,
    /// The id of the child that did not start, if that is what happened.
    pub(super) child: Option<TermRef<'a>>,
}

/// So many causes within causes are looked at.
const MAX_CAUSES: usize = 16;

/// So many arguments of a format are looked at.
const MAX_ARGUMENTS: usize = 32;

/// Under which keys reports have a stack trace, and the reason.
const STACK_KEYS: [&str; 3] = ["stacktrace", "stack", "stack_trace"];
const REASON_KEYS: [&str; 4] = ["reason", "error", "exception", "cause"];

/// A value of a map or of a list of pairs.
fn value_of<'a>(report: TermRef<'a>, key: &str) -> Option<TermRef<'a>> {
    match report.view() {
        Term::Map(_) => report.map_get(key),
        Term::List(_) => find(report, key),
        _ => None,
    }
}

/// Whether a term looks like a stack trace of at least one call.
fn is_stack(term: TermRef<'_>) -> bool {
    let Some([module, function, _, info]) = term.cells().next().and_then(TermRef::as_tuple) else {
        return false;
    };
    module.as_atom().is_some()
        && function.as_atom().is_some()
        && matches!(info.view(), Term::Nil | Term::List(_))
}

/// Why something ended, as a report says it.
pub(super) fn failure_of(report: Report<'_>) -> Option<Failure<'_>> {
    match report {
        Report::Crash { own, .. } => {
            let [_, reason, stack] = find(own, "error_info")?.as_tuple()?;
            Some(Failure { reason, stack: is_stack(stack).then_some(stack) })
        }
        Report::Supervisor { reason, .. } | Report::ApplicationExited { reason, .. } => {
            Some(Failure::of(reason))
        }
        Report::Server(map) | Report::EventHandler(map) => {
            let reason = map.map_get("reason")?;
            match reason.as_tuple() {
                Some([exit, reason]) if exit.is_atom("EXIT") => Some(Failure::of(reason)),
                _ => Some(Failure::of(reason)),
            }
        }
        Report::StateMachine(map) => {
            let [_, reason, stack] = map.map_get("reason")?.as_tuple()?;
            Some(Failure { reason, stack: is_stack(stack).then_some(stack) })
        }
        Report::ChildStarted { .. }
        | Report::ApplicationStarted { .. }
        | Report::Unhandled { .. }
        | Report::Map(_)
        | Report::Format { .. }
        | Report::Any(_) => None,
    }
}

/// Why something ended, as a format of OTP's own says it: the argument that follows certain words.
pub(super) fn failure_in<'a>(format: TermRef<'a>, args: TermRef<'a>) -> Option<Failure<'a>> {
    /// The words, and how many arguments after them the reason is.
    const WORDS: [(&str, usize); 4] = [
        ("Reason for termination ==", 0),
        ("** Reason == ", 0),
        // Its class is before it.
        ("Reason for termination = ", 1),
        ("with exit value:", 0),
    ];
    let format = beginning(format);
    if Kind::of_format(&format) == Kind::Log {
        return None;
    }
    let (at, after) =
        WORDS.iter().find_map(|(words, after)| format.find(words).map(|at| (at, *after)))?;
    let reason = args.cells().nth(arguments(&format[..at]) + after)?;
    let failure = Failure::of(reason);
    // A state machine's stack trace comes later.
    match (failure.stack, format.find("** Stacktrace =")) {
        (None, Some(at)) => {
            let stack = args.cells().nth(arguments(&format[..at])).filter(|stack| is_stack(*stack));
            Some(Failure { stack, ..failure })
        }
        _ => Some(failure),
    }
}

/// How many arguments this part of a format takes.
fn arguments(format: &str) -> usize {
    let mut count = 0;
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '~' {
            continue;
        }
        for c in chars.by_ref() {
            match c {
                '*' => count += 1,
                'n' | '~' => break,
                'P' | 'W' | 'x' | 'X' => {
                    count += 2;
                    break;
                }
                '0'..='9' | '-' | '.' | 't' | 'l' | 'k' | 'K' => {}
                _ => {
                    count += 1;
                    break;
                }
            }
        }
    }
    count
}

/// How a format begins.
pub(super) fn beginning(format: TermRef<'_>) -> Cow<'_, str> {
    let latin1 = |bytes: &[u8]| {
        let bytes = &bytes[..bytes.len().min(FORMAT_CHARS)];
        bytes.iter().map(|&byte| char::from(byte)).collect::<String>().into()
    };
    match format.view() {
        Term::Atom(name) => name.to_str(),
        Term::String(bytes) | Term::Binary(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if text.is_ascii() => text[..text.len().min(FORMAT_CHARS)].into(),
            _ => latin1(bytes),
        },
        _ => {
            let code = |cell: TermRef<'_>| u32::try_from(cell.as_integer()?).ok();
            let chars = format.cells().map_while(|cell| char::from_u32(code(cell)?));
            chars.take(FORMAT_CHARS).collect::<String>().into()
        }
    }
}
