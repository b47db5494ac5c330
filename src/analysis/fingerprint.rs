//! What an error has in common with others of the same fault.
//!
//! A fault is one thing to mend. What tells one from another, in this order: the shape of the reason; the
//! function of the team's own code where it came up, and, where that is not the same, the function of a dependency that
//! raised it there; else the process that died; and for what was only logged, the place that logged it and the words. Line
//! numbers, the numbers of closures and the data of the occurrence have no part in it.
//!
//! The class of an exception (`error`, `exit`, `throw`) has none either: only crash reports tell it, and no two faults of the
//! corpus differ in nothing else.

use std::fmt;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::exception::Call;
use super::facts::Facts;
use super::failure::Failure;
use super::id;
use super::kind::{Kind, Level};
use super::platform::is_platform;
use super::shape;
use super::told::{CHILD_TEXT_BYTES, Child, Logged, TOO_LARGE, process, raised_text};
use crate::etf::{AtomRef, Term, TermRef};

/// The version of the algorithm. It is part of every id, so that whatever a later version tells apart or keeps together
/// gets an id of its own, and a fault that is known keeps the one it has.
pub const VERSION: u32 = 1;

/// The id of a fault: 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FaultId(u64);

impl FaultId {
    /// The id of the fault of an instance that this text tells from its others.
    pub fn of(instance: &str, text: &str) -> Self {
        FaultId(id::of(format!("{VERSION}\0{instance}\0{text}").as_bytes()))
    }

    /// The id that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        id::parse(text).map(FaultId)
    }
}

impl fmt::Display for FaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A process, as far as nodes name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Process {
    pub(super) id: u32,
    pub(super) serial: u32,
}

/// What one report of an error tells of the fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What it is about.
    pub kind: Kind,
    /// How severe it is.
    pub level: Level,
    /// The process that died, or that logged.
    pub(super) process: Option<Process>,
    /// The supervisor that reports it, if one does.
    pub(super) supervisor: Option<Process>,
    /// Whether something ended.
    pub(super) is_death: bool,
    /// The shape of its reason; else what was logged, where that is the same whenever it is.
    pub(super) shape: String,
    /// The words of a text that somebody wrote, with data in it.
    pub(super) words: Option<String>,
    /// Whether another report of the same death is likely to tell where it came up.
    pub(super) is_partial: bool,
    /// Whether the reason is that of something else that ended.
    pub(super) is_carried: bool,
    /// The function of a dependency, or of the platform, that raised it.
    raised: Option<String>,
    /// The team's own function where it came up: its module, and `module:function/arity`.
    own: Option<(String, String)>,
    /// Who called that function, where it is a helper that raised what it was not asked for.
    caller: Option<String>,
    /// The process that died, where no function tells.
    place: Option<String>,
    /// What a rule of the operator's calls the fault.
    pub(super) rule: Option<String>,
}

/// Functions that are written in C, and so the same in all releases.
const BUILT_IN: [&str; 5] = ["erlang", "ets", "maps", "binary", "persistent_term"];

/// Modules that call and are called by everybody, and say nothing of where something came up.
const BEHAVIOURS: [&str; 10] = [
    "application_master",
    "gen",
    "gen_server",
    "gen_statem",
    "gen_event",
    "proc_lib",
    "supervisor",
    "Elixir.GenServer",
    "Elixir.Task",
    "Elixir.Task.Supervised",
];

impl Evidence {
    /// What the event tells, if it is an error: of level `error` or worse. `is_dependency` tells of a module whether it
    /// belongs to somebody else's application; those of OTP and Elixir are known.
    ///
    /// Costs about 3 µs for an error, and for anything else what it takes to see that.
    pub fn of(facts: &Facts<'_>, is_dependency: &dyn Fn(&str) -> bool) -> Option<Self> {
        if facts.level() < Level::Error {
            return None;
        }
        let kind = facts.kind();
        let mut evidence = Evidence {
            kind,
            level: facts.level(),
            process: facts.dead().and_then(process),
            supervisor: facts.pid().filter(|_| kind == Kind::Supervisor).and_then(process),
            is_death: false,
            shape: String::new(),
            words: None,
            is_partial: false,
            is_carried: false,
            raised: None,
            own: None,
            caller: None,
            place: None,
            rule: None,
        };
        let failed = facts.failure().map(|failure| (failure, evidence.process));
        if let Some(process) = facts.grown_too_large() {
            evidence.kind = Kind::Crash;
            evidence.is_death = true;
            evidence.process = Some(process);
            TOO_LARGE.clone_into(&mut evidence.shape);
            evidence.is_partial = true;
        } else if let Some((failure, process)) = failed.or_else(|| facts.told_failure()) {
            evidence.process = process;
            evidence.died(facts, failure, is_dependency);
        } else if kind == Kind::Supervisor {
            let child = facts.text(CHILD_TEXT_BYTES).map(|text| Child::told_by(&text));
            let Child { process, reason, place } = child.unwrap_or_default();
            evidence.is_death = true;
            evidence.process = process;
            evidence.is_partial = reason == "killed";
            evidence.shape = reason;
            evidence.place = Some(place);
        } else {
            match facts.logged() {
                Logged::Same(shape) => evidence.shape = shape,
                Logged::Text(words) => evidence.words = Some(words),
            }
            let logged_by = facts.origin();
            evidence.own = logged_by
                .map(|(module, function, arity, _)| function_name(module, function, arity));
        }
        Some(evidence)
    }

    /// Takes from a failure why something ended, and where it came up.
    fn died(
        &mut self,
        facts: &Facts<'_>,
        failure: Failure<'_>,
        is_dependency: &dyn Fn(&str) -> bool,
    ) {
        let cause = failure.cause();
        let failure = cause.map_or(failure, |cause| cause.failure);
        self.is_carried = cause.is_some();
        self.is_death = true;
        self.shape = shape::of_reason(failure.reason);
        self.words = raised_text(failure.reason);
        if let Some(stack) = failure.stack {
            self.trace(stack, failure.reason, is_dependency);
        }
        if self.own.is_none() {
            let child = cause.and_then(|cause| cause.child).map(shape::of_reason);
            self.place = child.or_else(|| facts.dead_place());
        }
        self.is_partial = match self.kind {
            Kind::Crash | Kind::Log => false,
            // The emulator may have a word about who was killed.
            Kind::Supervisor => failure.reason.is_atom("killed"),
            _ => self.weight() < 2,
        };
    }

    /// Takes from a stack trace where it came up.
    fn trace(
        &mut self,
        stack: TermRef<'_>,
        reason: TermRef<'_>,
        is_dependency: &dyn Fn(&str) -> bool,
    ) {
        let is_undef = is_undefined(reason);
        let mut innermost = None;
        for (n, call) in stack.cells().map_while(Call::of).take(MAX_FRAMES).enumerate() {
            let module = call.module.to_str();
            let (_, name) = function_name(call.module, call.function, call.arity);
            if n == 0 && is_undef {
                self.raised = Some(name);
                continue;
            }
            let is_own = !is_platform(&module) && !is_dependency(&module);
            match &self.own {
                None if is_own => {
                    self.own = Some((module.into_owned(), name));
                    // Else it is this function that has to be looked at.
                    if n > 0 || !is_raised(reason) {
                        return;
                    }
                }
                // It may be called by itself.
                Some((_, own)) if is_own && *own == name => {}
                Some((helper, _)) if is_own => {
                    // What serves other modules says little of the fault; who asked it does.
                    self.caller = (*helper != module).then_some(name);
                    return;
                }
                Some(_) => {}
                // They carry on what others say.
                None if BEHAVIOURS.contains(&&*module) => {}
                None if is_platform(&module) => {
                    if n == 0 {
                        let is_built_in = BUILT_IN.contains(&&*module);
                        self.raised =
                            Some(if is_built_in { name } else { shape::name(call.module) });
                    }
                }
                // Where it came up in a dependency says its innermost function; to its caller it is the outermost that counts.
                None => {
                    innermost.get_or_insert_with(|| name.clone());
                    self.raised = Some(name);
                }
            }
        }
        if self.own.is_none() {
            self.raised = innermost.or(self.raised.take());
        }
    }

    /// Takes from another report of the same death where it came up, if that tells more of it.
    pub(super) fn learn(&mut self, other: Evidence) {
        if other.weight() > self.weight() {
            (self.raised, self.own) = (other.raised, other.own);
            (self.caller, self.place) = (other.caller, other.place);
            self.rule = self.rule.take().or(other.rule);
        }
        if self.shape.is_empty() || other.shape == TOO_LARGE {
            self.shape = other.shape;
        }
        self.is_partial &= other.is_partial;
        self.level = self.level.max(other.level);
    }

    /// How much it tells: of the reports of one death the one that tells most is the fault's.
    pub(super) fn weight(&self) -> u8 {
        if self.rule.is_some() {
            return 4;
        }
        match (&self.own, &self.raised, &self.place) {
            (Some(_), ..) => 3,
            (None, Some(raised), _) if raised.contains('/') => 2,
            (None, None, None) => 0,
            _ => 1,
        }
    }

    /// The text that is the same for all of the fault's reports, and for no others: without the words of a text that has
    /// data in it, which are similar.
    pub fn text(&self) -> String {
        if let Some(rule) = &self.rule {
            return format!("rule|{rule}");
        }
        let what = if self.is_death { "death" } else { "log" };
        let own = self.own.as_ref().map(|(_, name)| name.as_str());
        let part = |part: Option<&str>| part.unwrap_or_default().to_owned();
        let (raised, own, place) =
            (part(self.raised.as_deref()), part(own), part(self.place.as_deref()));
        let caller = part(self.caller.as_deref());
        format!("{what}|{}|{raised}|{own}|{caller}|{place}", self.shape)
    }

    /// The words of the text with data in it, if there is one, and no rule that makes them needless.
    pub fn words(&self) -> Option<&str> {
        self.words.as_deref().filter(|_| self.rule.is_none())
    }

    /// What people call the fault, on one line.
    pub fn title(&self) -> String {
        const NO_TEXT: &str = "(no text)";
        if let Some(rule) = &self.rule {
            return if rule.trim().is_empty() { NO_TEXT.to_owned() } else { rule.clone() };
        }
        let mut out = self.shape.clone();
        if let Some(words) = self.words.as_ref().filter(|words| !words.is_empty()) {
            out = if out.is_empty() { words.clone() } else { format!("{out}: {words}") };
        }
        if out.trim().is_empty() {
            NO_TEXT.clone_into(&mut out);
        }
        let mut add = |words: &str, what: &str| {
            write!(out, "{words}{what}").expect("strings take everything");
        };
        match (&self.own, &self.raised) {
            (Some((_, own)), Some(raised)) if self.is_death => {
                add(" in ", raised);
                add(", called by ", own);
            }
            (Some((_, own)), _) => add(" in ", own),
            (None, Some(raised)) => add(" in ", raised),
            (None, None) => {}
        }
        if let Some(caller) = &self.caller {
            add(", called by ", caller);
        }
        match &self.place {
            Some(place) if self.raised.is_some() => add(", ", place),
            Some(place) => add(" in ", place),
            None => {}
        }
        out
    }

    /// The module of the team's own where it came up, as Erlang names it.
    pub fn module(&self) -> Option<&str> {
        self.own.as_ref().map(|(module, _)| module.as_str())
    }
}

/// The most calls of a stack trace that are looked at.
const MAX_FRAMES: usize = 64;

/// The module, and `module:function/arity`, or `Module.function/arity`. A closure is part of the function it stands in.
pub(super) fn function_name(
    module: AtomRef<'_>,
    function: AtomRef<'_>,
    arity: usize,
) -> (String, String) {
    let text = function.to_str();
    let is_elixir = module.to_str().starts_with("Elixir.");
    let (outer, arity) = match enclosing(&text) {
        Some((outer, arity)) => (outer.to_owned(), arity),
        // As in `decode!`.
        None if is_elixir => (text.into_owned(), arity),
        None => (shape::name(function), arity),
    };
    let between = if is_elixir { '.' } else { ':' };
    let name = format!("{}{between}{outer}/{arity}", shape::name(module));
    (module.to_str().into_owned(), name)
}

/// The function that `-name/1-fun-0-` and its like stand in.
fn enclosing(function: &str) -> Option<(&str, usize)> {
    let inner = function.strip_prefix('-')?;
    let (name, rest) = inner.split_once('/')?;
    let (arity, _) = rest.split_once('-')?;
    // Closures in closures.
    enclosing(name).or_else(|| Some((name, arity.parse().ok()?)))
}

/// Whether somebody raised it on purpose: it is none of the reasons that the emulator has, nor an exception of Elixir's.
fn is_raised(reason: TermRef<'_>) -> bool {
    const OF_EMULATOR: [&str; 16] = [
        "badarg",
        "badarith",
        "badarity",
        "badfun",
        "badkey",
        "badmap",
        "badmatch",
        "badrecord",
        "case_clause",
        "else_clause",
        "function_clause",
        "if_clause",
        "nocatch",
        "system_limit",
        "try_clause",
        "undef",
    ];
    let tag = match reason.view() {
        Term::Atom(atom) => Some(atom),
        Term::Tuple(mut elements) => elements.next().and_then(TermRef::as_atom),
        _ => None,
    };
    tag.is_some_and(|tag| !OF_EMULATOR.iter().any(|name| tag.is(name)))
}

/// Whether a function was called that is not there.
fn is_undefined(reason: TermRef<'_>) -> bool {
    let exception = || reason.map_get("__struct__");
    reason.is_atom("undef")
        || exception().is_some_and(|name| name.is_atom("Elixir.UndefinedFunctionError"))
}
