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
    /// Why the other process ended, where one ended because another did that it had called: `{{Reason, Stack}, Call}`.
    pub(super) fn cause(self) -> Self {
        let Some([inner, call]) = self.reason.as_tuple() else { return self };
        let is_call =
            || call.as_tuple().is_some_and(|[module, _, _]: [_; 3]| module.as_atom().is_some());
        match Failure::of(inner) {
            cause @ Failure { stack: Some(_), .. } if is_call() => cause.cause(),
            _ => self,
        }
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
