//! What an error has in common with others of the same fault.
//!
//! A fault is one thing to mend. What tells one from another, in this order: the shape of the reason ([`shape`]); the
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
use super::facts::{Facts, Shape};
use super::failure::beginning;
use super::kind::{Kind, Level};
use super::platform::is_platform;
use super::report::{Report, find};
use super::{shape, template};
use crate::etf::text::{Lines, Printer};
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
        let digest = md5::compute(format!("{VERSION}\0{instance}\0{text}")).0;
        let (first, _) = digest.split_first_chunk().expect("16 bytes");
        FaultId(u64::from_be_bytes(*first))
    }

    /// The id that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        let is_id =
            text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_id.then(|| u64::from_str_radix(text, 16).ok().map(FaultId)).flatten()
    }
}

impl fmt::Display for FaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A process, as far as nodes name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// Whether something ended: the shape of its reason. Else what was logged.
    pub(super) is_death: bool,
    pub(super) shape: String,
    /// The function of a dependency, or of the platform, that raised it.
    raised: Option<String>,
    /// The team's own function where it came up: its module, and `module:function/arity`.
    own: Option<(String, String)>,
    /// The process that died, where no function tells.
    place: Option<String>,
    /// What a rule of the operator's calls the fault.
    pub(super) rule: Option<String>,
}

/// Functions that are written in C, and so the same in all releases.
const BUILT_IN: [&str; 5] = ["erlang", "ets", "maps", "binary", "persistent_term"];

/// The most bytes of a text that are looked at.
const TEXT_BYTES: usize = 400;

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
            is_death: false,
            shape: String::new(),
            raised: None,
            own: None,
            place: None,
            rule: None,
        };
        match facts.failure() {
            Some(failure) => {
                evidence.is_death = true;
                evidence.shape = shape::of_reason(failure.reason);
                if let Some(stack) = failure.stack {
                    evidence.trace(stack, failure.reason.is_atom("undef"), is_dependency);
                }
                if evidence.own.is_none() {
                    evidence.place = facts.dead_place();
                }
            }
            None => {
                evidence.shape = facts.logged();
                let mfa = facts
                    .origin()
                    .map(|(module, function, arity, _)| frame(module, function, arity));
                evidence.own = mfa;
            }
        }
        Some(evidence)
    }

    /// Takes from a stack trace where it came up.
    fn trace(&mut self, stack: TermRef<'_>, is_undef: bool, is_dependency: &dyn Fn(&str) -> bool) {
        for (n, call) in stack.cells().map_while(Call::of).take(MAX_FRAMES).enumerate() {
            let module = call.module.to_str();
            let (_, name) = frame(call.module, call.function, call.arity);
            if n == 0 && is_undef {
                self.raised = Some(name);
            } else if is_platform(&module) {
                if n == 0 {
                    let is_built_in = BUILT_IN.contains(&&*module);
                    self.raised = Some(if is_built_in { name } else { shape::name(call.module) });
                }
            } else if is_dependency(&module) {
                if n == 0 || self.raised.as_ref().is_none_or(|raised| !raised.contains('/')) {
                    self.raised = Some(name);
                }
            } else {
                self.own = Some((module.into_owned(), name));
                return;
            }
        }
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

    /// The text that is the same for all of the fault's reports, and for no others.
    pub fn text(&self) -> String {
        if let Some(rule) = &self.rule {
            return format!("rule|{rule}");
        }
        let what = if self.is_death { "death" } else { "log" };
        let parts = [
            self.raised.as_deref(),
            self.own.as_ref().map(|(_, name)| name.as_str()),
            self.place.as_deref(),
        ];
        let mut out = format!("{what}|{}", self.shape);
        for part in parts {
            write!(out, "|{}", part.unwrap_or_default()).expect("strings take everything");
        }
        out
    }

    /// What people call the fault, on one line.
    pub fn title(&self) -> String {
        if let Some(rule) = &self.rule {
            return rule.clone();
        }
        let mut out = self.shape.clone();
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
        if let Some(place) = &self.place {
            add(if self.is_death { ", " } else { " in " }, place);
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
fn frame(module: AtomRef<'_>, function: AtomRef<'_>, arity: usize) -> (String, String) {
    let text = function.to_str();
    let (outer, arity) = match enclosing(&text) {
        Some((outer, arity)) => (outer.to_owned(), arity),
        None => (shape::name(function), arity),
    };
    let between = if module.to_str().starts_with("Elixir.") { '.' } else { ':' };
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

fn process(term: TermRef<'_>) -> Option<Process> {
    match term.view() {
        Term::Pid { id, serial, .. } => Some(Process { id, serial }),
        _ => None,
    }
}

impl<'a> Facts<'a> {
    /// The process that ended, where the event is of another's end; else the one that it is about.
    fn dead(&self) -> Option<TermRef<'a>> {
        match self.report() {
            Some(Report::Supervisor { child, .. }) => find(child, "pid"),
            _ => self.pid(),
        }
    }

    /// What the event reports, if it does.
    fn report(&self) -> Option<Report<'a>> {
        match self.shape {
            Shape::Report { kind, report, .. } => Some(Report::of_type(kind, report)),
            Shape::Log { message, .. } => {
                let [tag, body] = message.as_tuple()?;
                tag.is_atom("report").then(|| Report::of(body))
            }
            _ => None,
        }
    }

    /// Which process ended, by a name that its successor has, too.
    fn dead_place(&self) -> Option<String> {
        match self.report() {
            Some(Report::Crash { own, .. }) => {
                let registered = find(own, "registered_name").and_then(TermRef::as_atom);
                let initial = || {
                    let [module, function, args] = find(own, "initial_call")?.as_tuple()?;
                    let arity = match args.as_integer() {
                        Some(arity) => usize::try_from(arity).ok()?,
                        None => args.cells().count(),
                    };
                    Some(frame(module.as_atom()?, function.as_atom()?, arity).1)
                };
                initial().or_else(|| registered.map(shape::name_without_numbers))
            }
            Some(Report::Supervisor { name, child, .. }) => {
                let [_, of] = name.as_tuple().unwrap_or([TermRef::NIL; 2]);
                let id = find(child, "id").map(shape::of_reason).unwrap_or_default();
                let of = of.as_atom().map(shape::name_without_numbers);
                Some(match of {
                    Some(of) => format!("child {id} of {of}"),
                    None => format!("child {id}"),
                })
            }
            Some(Report::Server(map) | Report::StateMachine(map) | Report::EventHandler(map)) => {
                let name = map.map_get("name")?.as_atom()?;
                Some(shape::name_without_numbers(name))
            }
            Some(Report::ApplicationExited { application, .. }) => {
                Some(format!("application {}", shape::of_reason(application)))
            }
            _ => None,
        }
    }

    /// What was logged, without its data.
    fn logged(&self) -> String {
        match self.shape {
            Shape::Message { format, .. } => template_of_format(format),
            Shape::Report { kind, report, .. } => of_report(Report::of_type(kind, report)),
            Shape::Log { message, .. } => {
                let Some([first, second]) = message.as_tuple() else { return String::new() };
                if first.is_atom("string") {
                    return template_of_chardata(second);
                }
                if !first.is_atom("report") {
                    return template_of_format(first);
                }
                of_report(Report::of(second))
            }
            Shape::Alarm { alarm, .. } => shape::of_reason(alarm),
            Shape::Dropped(_) => String::new(),
        }
    }
}

/// The first line of a format is the same whenever it is logged.
fn template_of_format(format: TermRef<'_>) -> String {
    let format = beginning(format);
    // Elixir and others put a text into a format of nothing but data.
    let line = format.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    line.trim().chars().take(TEXT_BYTES).collect()
}

fn template_of_chardata(text: TermRef<'_>) -> String {
    let mut out = Printer::new(TEXT_BYTES, Lines::One, None);
    out.chardata(text);
    template::of_text(&out.finish())
}

/// Reports are told apart by what they hold: names of keys, and values that are atoms.
fn of_report(report: Report<'_>) -> String {
    let term = match report {
        Report::Format { format, .. } => return template_of_format(format),
        Report::Map(term) | Report::Any(term) => term,
        Report::Unhandled { module, .. } => {
            return format!("unhandled message in {}", shape::of_reason(module));
        }
        _ => return String::new(),
    };
    let mut words: Vec<String> = Vec::new();
    let mut add = |key: TermRef<'_>, value: TermRef<'_>| {
        if words.len() < MAX_KEYS {
            let key = shape::of_reason(key);
            words.push(match value.as_atom() {
                Some(_) => format!("{key}: {}", shape::of_reason(value)),
                None => key,
            });
        }
    };
    match term.view() {
        Term::Map(pairs) => pairs.into_iter().for_each(|(key, value)| add(key, value)),
        Term::List(_) => {
            let pairs = || term.cells().map(TermRef::as_tuple::<2>);
            if pairs().any(|pair| pair.is_none()) {
                return template_of_chardata(term);
            }
            pairs().flatten().for_each(|[key, value]| add(key, value));
        }
        Term::String(_) | Term::Binary(_) => return template_of_chardata(term),
        _ => return shape::of_reason(term),
    }
    words.sort();
    words.join(", ")
}

/// The most keys of a report that are looked at.
const MAX_KEYS: usize = 16;
