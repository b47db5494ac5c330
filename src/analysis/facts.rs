//! What filters ask of events.

use super::alert_event::Phase;
use super::deployment::Change;
use super::exception::Call;
use super::failure::{Failure, beginning, failure_in, failure_of};
use super::kind::{Kind, Level};
use super::report::{Report, find, list};
use crate::etf::{AtomRef, Term, TermRef};

/// What an event says, as far as it can be seen without formatting.
///
/// Making one costs some 0.3 µs, most of it a walk over the message to get to the metadata; kind, module and pid cost about
/// 1 µs each for the reports of OTP. Nothing is allocated but for kinds that only a text tells.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub(super) level: Level,
    pub(super) node: Option<AtomRef<'a>>,
    pub(super) shape: Shape<'a>,
}

/// The shapes of events.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape<'a> {
    /// A report of `error_logger`, with its type.
    Report {
        pid: TermRef<'a>,
        kind: TermRef<'a>,
        report: TermRef<'a>,
    },
    /// A message of `error_logger`.
    Message {
        pid: TermRef<'a>,
        format: TermRef<'a>,
        args: TermRef<'a>,
    },
    Log {
        message: TermRef<'a>,
        meta: TermRef<'a>,
    },
    Alarm {
        is_set: bool,
        alarm: TermRef<'a>,
    },
    Dropped(TermRef<'a>),
    /// A node came or went; see `deployment`.
    Node {
        change: AtomRef<'a>,
        about: TermRef<'a>,
    },
    /// A rule tells of an alert; see `alert_event`.
    Alert {
        rule: AtomRef<'a>,
        phase: AtomRef<'a>,
        about: TermRef<'a>,
    },
}

impl<'a> Facts<'a> {
    /// What an event says; `None` if it has no known shape.
    pub fn of(event: TermRef<'a>) -> Option<Self> {
        let Term::Tuple(elements) = event.view() else { return None };
        match elements.len() {
            2 => Self::of_alarm(elements.exactly()?),
            3 => {
                let [tag, second, third] = elements.exactly()?;
                let tag = tag.as_atom()?;
                if tag.is("logmachine") {
                    return Self::of_dropped(second, third);
                }
                let Term::Pid { node, .. } = second.view() else { return None };
                let [pid, what, data] = third.as_tuple()?;
                let level = Level::of_tag(tag, what)?;
                let name = tag.to_str();
                let shape = if name.ends_with("_report") {
                    Shape::Report { pid, kind: what, report: data }
                } else {
                    Shape::Message { pid, format: what, args: data }
                };
                Some(Facts { level, node: Some(node), shape })
            }
            4 => {
                let elements = elements.exactly()?;
                Self::of_node(elements).or_else(|| Self::of_alert(elements))
            }
            5 => {
                let [tag, node, level, message, meta] = elements.exactly()?;
                if !tag.is_atom("log") || !matches!(meta.view(), Term::Map(_)) {
                    return None;
                }
                message.as_tuple::<2>()?;
                let shape = Shape::Log { message, meta };
                Some(Facts { level: Level::of(level)?, node: Some(node.as_atom()?), shape })
            }
            _ => None,
        }
    }

    fn of_alarm([what, alarm]: [TermRef<'a>; 2]) -> Option<Self> {
        let what = what.as_atom()?;
        let is_set = what.is("set_alarm");
        if is_set {
            alarm.as_tuple::<2>()?;
        } else if !what.is("clear_alarm") {
            return None;
        }
        Some(Facts { level: Level::Notice, node: None, shape: Shape::Alarm { is_set, alarm } })
    }

    fn of_dropped(what: TermRef<'a>, about: TermRef<'a>) -> Option<Self> {
        if !what.is_atom("dropped") {
            return None;
        }
        if !matches!(about.view(), Term::Map(_)) {
            return None;
        }
        let node = about.map_get("node").and_then(TermRef::as_atom);
        Some(Facts { level: Level::Warning, node, shape: Shape::Dropped(about) })
    }

    fn of_node([tag, change, node, about]: [TermRef<'a>; 4]) -> Option<Self> {
        let change = change.as_atom().filter(|_| tag.is_atom("node"))?;
        Change::of_name(&change.to_str())?;
        if !matches!(about.view(), Term::Map(_)) {
            return None;
        }
        let shape = Shape::Node { change, about };
        Some(Facts { level: Level::Notice, node: Some(node.as_atom()?), shape })
    }

    fn of_alert([tag, rule, phase, about]: [TermRef<'a>; 4]) -> Option<Self> {
        let phase = phase.as_atom().filter(|_| tag.is_atom("alert"))?;
        let severity = match about.view() {
            Term::Map(_) => about.map_get("severity").and_then(Level::of)?,
            _ => return None,
        };
        let level = match Phase::of(phase)? {
            Phase::Firing => severity,
            Phase::Resolved => Level::Notice,
        };
        let shape = Shape::Alert { rule: rule.as_atom()?, phase, about };
        Some(Facts { level, node: None, shape })
    }

    /// How severe the event is.
    pub const fn level(&self) -> Level {
        self.level
    }

    /// The node that it happened on.
    pub const fn node(&self) -> Option<AtomRef<'a>> {
        self.node
    }

    /// What it is about.
    pub fn kind(&self) -> Kind {
        match self.shape {
            Shape::Alarm { .. } | Shape::Alert { .. } => Kind::Alarm,
            Shape::Dropped(_) => Kind::Dropped,
            Shape::Node { .. } => Kind::Log,
            Shape::Message { format, .. } => Kind::of_format(&beginning(format)),
            Shape::Report { kind, report, .. } if kind.is_atom("std_info") && is_alarm(report) => {
                Kind::Alarm
            }
            Shape::Report { kind, report, .. } => kind_of(Report::of_type(kind, report)),
            Shape::Log { message, meta } => {
                let Some([tag, body]) = message.as_tuple() else { return Kind::Log };
                if tag.is_atom("string") {
                    return self.kind_of_text(body, meta);
                }
                if !tag.is_atom("report") {
                    return Kind::of_format(&beginning(tag));
                }
                if is_alarm(body) {
                    return Kind::Alarm;
                }
                let label = body.map_get("label").and_then(TermRef::as_tuple);
                let is_task = label.is_some_and(|[who, _]| {
                    who.as_atom().is_some_and(|who| who.to_str().starts_with("Elixir.Task"))
                });
                if is_task { Kind::Task } else { kind_of(Report::of(body)) }
            }
        }
    }

    /// What a text is about, if it is one that Elixir made of a report of OTP's.
    fn kind_of_text(&self, text: TermRef<'_>, meta: TermRef<'_>) -> Kind {
        /// The longest beginning, and more.
        const BEGINNING_BYTES: usize = 32;
        let is_crash = meta.map_get("crash_reason").is_some();
        if !is_crash && meta.map_get("error_logger").is_none() {
            return Kind::Log;
        }
        let text = text.as_binary().unwrap_or_default();
        let text = String::from_utf8_lossy(&text[..text.len().min(BEGINNING_BYTES)]);
        match Kind::of_elixir(&text) {
            Kind::Supervisor if self.level == Level::Info => Kind::Progress,
            Kind::Log if self.level == Level::Info && text.starts_with("Application ") => {
                Kind::Progress
            }
            Kind::Log if is_crash => Kind::Crash,
            kind => kind,
        }
    }

    /// The process that it is about: the one that crashed, or the one that logged.
    pub fn pid(&self) -> Option<TermRef<'a>> {
        let pid = match self.shape {
            Shape::Report { pid, kind, report } => match Report::of_type(kind, report) {
                Report::Crash { own, .. } => find(own, "pid").unwrap_or(pid),
                _ => pid,
            },
            // The emulator speaks of a process.
            Shape::Message { pid, args, .. } if pid.is_atom("emulator") => args.cells().next()?,
            Shape::Message { pid, .. } => pid,
            Shape::Log { meta, .. } => meta.map_get("pid")?,
            Shape::Alarm { .. } | Shape::Dropped(_) | Shape::Node { .. } | Shape::Alert { .. } => {
                return None;
            }
        };
        matches!(pid.view(), Term::Pid { .. }).then_some(pid)
    }

    /// The module of the innermost call of a crash, else the one that logged, else the one that a crashed process ran.
    pub fn module(&self) -> Option<AtomRef<'a>> {
        self.origin().map(|(module, ..)| module)
    }

    /// Module, function, arity, and the line where it is known.
    pub(super) fn origin(&self) -> Option<(AtomRef<'a>, AtomRef<'a>, usize, Option<u64>)> {
        let first = self.failure().and_then(|failure| failure.stack).and_then(|stack| {
            let call = Call::of(stack.cells().next()?)?;
            Some((call.module, call.function, call.arity, call.line()))
        });
        if first.is_some() {
            return first;
        }
        let (called, line) = match self.shape {
            Shape::Log { meta, .. } => (meta.map_get("mfa")?, meta.map_get("line")),
            Shape::Report { kind, report, .. } => match Report::of_type(kind, report) {
                Report::Crash { own, .. } => (find(own, "initial_call")?, None),
                _ => return None,
            },
            _ => return None,
        };
        let (module, function, arity) = mfa(called)?;
        let line = line.and_then(TermRef::as_integer).and_then(|line| u64::try_from(line).ok());
        Some((module, function, arity, line))
    }

    /// Why something ended, if the event says so.
    pub(super) fn failure(&self) -> Option<Failure<'a>> {
        match self.shape {
            Shape::Report { kind, report, .. } => failure_of(Report::of_type(kind, report)),
            Shape::Message { format, args, .. } => failure_in(format, args),
            Shape::Log { message, meta } => {
                let [tag, body] = message.as_tuple()?;
                let known = tag.is_atom("report").then(|| failure_of(Report::of(body))).flatten();
                known.or_else(|| meta.map_get("crash_reason").map(Failure::of_elixir))
            }
            Shape::Alarm { .. } | Shape::Dropped(_) | Shape::Node { .. } | Shape::Alert { .. } => {
                None
            }
        }
    }
}

/// Module, function and arity of `{M, F, A}`, whose last element may be the arguments.
pub(super) fn mfa(term: TermRef<'_>) -> Option<(AtomRef<'_>, AtomRef<'_>, usize)> {
    let [module, function, args] = term.as_tuple()?;
    let arity = match args.as_integer() {
        Some(arity) => usize::try_from(arity).ok()?,
        None => args.cells().count(),
    };
    Some((module.as_atom()?, function.as_atom()?, arity))
}

/// Whether a report is that of an alarm, as `alarm_handler` makes it.
fn is_alarm(report: TermRef<'_>) -> bool {
    let report = report.map_get("report").unwrap_or(report);
    list(report)
        .is_some_and(|[pair]| pair.as_tuple().is_some_and(|[who, _]| who.is_atom("alarm_handler")))
}

const fn kind_of(report: Report<'_>) -> Kind {
    match report {
        Report::Crash { .. } => Kind::Crash,
        Report::Supervisor { .. } => Kind::Supervisor,
        Report::ChildStarted { .. } | Report::ApplicationStarted { .. } => Kind::Progress,
        Report::Server(_) | Report::EventHandler(_) | Report::StateMachine(_) => Kind::GenServer,
        Report::ApplicationExited { .. }
        | Report::Unhandled { .. }
        | Report::Map(_)
        | Report::Format { .. }
        | Report::Any(_) => Kind::Log,
    }
}
