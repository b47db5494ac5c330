//! What an event says, in plain fields.
//!
//! [`Facts`] are what filters ask of millions of events: they are found in the event's bytes, and nothing is formatted or
//! copied for them. A [`View`] is all of it, with the texts that OTP itself would have written.
//!
//! Shapes: those of OTP's manager `error_logger` (`{Tag, GroupLeader, {Pid, What, Data}}`), whose reports may be SASL's;
//! what our handler for `logger` sends (`{log, Node, Level, Msg, Meta}`, `erlang/HANDLERS.md`), Elixir's included; what an
//! `alarm_handler` gets; and our own `{logmachine, dropped, #{...}}`.

use std::fmt;

use super::exception::{Call, calls};
use super::report::{Report, find};
use crate::etf::text::{Lines, Printer, on_one_line, write_atom};
use crate::etf::{AtomRef, Term, TermRef};
use crate::time::Timestamp;

/// The most bytes of a message, and of a reason.
pub const MESSAGE_BYTES: usize = 8 << 10;

/// The most bytes of a detail.
pub const DETAIL_BYTES: usize = 64 << 10;

/// The most calls that are kept of a stack trace.
pub const MAX_FRAMES: usize = 64;

/// The most characters of a format that are looked at to tell what it is about.
const FORMAT_CHARS: usize = 4096;

/// How severe an event is, as `logger` has it. The more severe one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are logger's")]
pub enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl Level {
    /// All of them, the least severe first.
    pub const ALL: [Level; 8] = [
        Level::Debug,
        Level::Info,
        Level::Notice,
        Level::Warning,
        Level::Error,
        Level::Critical,
        Level::Alert,
        Level::Emergency,
    ];

    /// The level's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Notice => "notice",
            Level::Warning => "warning",
            Level::Error => "error",
            Level::Critical => "critical",
            Level::Alert => "alert",
            Level::Emergency => "emergency",
        }
    }

    /// The level of this name.
    pub fn named(name: &str) -> Option<Self> {
        Level::ALL.into_iter().find(|level| level.as_str() == name)
    }

    fn of(term: TermRef<'_>) -> Option<Self> {
        let name = term.as_atom()?;
        Level::ALL.into_iter().find(|level| name.is(level.as_str()))
    }

    /// What the tag of an event of `error_logger` means, with the type of a report.
    fn of_tag(tag: AtomRef<'_>, what: TermRef<'_>) -> Option<Self> {
        Some(match &*tag.to_str() {
            "error" | "error_report" => Level::Error,
            "warning_msg" | "warning_report" => Level::Warning,
            "info_report" if what.is_atom("progress") => Level::Info,
            "info_report" | "info_msg" | "info" => Level::Notice,
            _ => return None,
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Somebody logged something.
    Log,
    /// A process crashed: a crash report, or the emulator's word for a process without one.
    Crash,
    /// A generic server, state machine or event handler terminates.
    GenServer,
    /// A supervisor tells of a child that ended, or did not start.
    Supervisor,
    /// A task of Elixir's terminates.
    Task,
    /// A supervisor or an application has started something.
    Progress,
    /// An alarm was set or cleared.
    Alarm,
    /// Events were lost on their way to us.
    Dropped,
}

impl Kind {
    /// The kind's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Log => "log",
            Kind::Crash => "crash",
            Kind::GenServer => "gen_server",
            Kind::Supervisor => "supervisor",
            Kind::Task => "task",
            Kind::Progress => "progress",
            Kind::Alarm => "alarm",
            Kind::Dropped => "dropped",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        use Kind::{Alarm, Crash, Dropped, GenServer, Log, Progress, Supervisor, Task};
        [Log, Crash, GenServer, Supervisor, Task, Progress, Alarm, Dropped]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }

    /// What a format of OTP's own, or of Elixir's tasks, is about, by how it begins.
    fn of_format(format: &str) -> Self {
        const BEGINNINGS: [(&str, Kind); 5] = [
            ("** Generic server ", Kind::GenServer),
            ("** State machine ", Kind::GenServer),
            ("** gen_event handler ", Kind::GenServer),
            ("** Task ", Kind::Task),
            ("Error in process ", Kind::Crash),
        ];
        Self::beginning(&BEGINNINGS, format)
    }

    /// What a text that Elixir made of OTP's words is about, by how it begins.
    fn of_elixir(text: &str) -> Self {
        const BEGINNINGS: [(&str, Kind); 7] = [
            ("GenServer ", Kind::GenServer),
            (":gen_statem ", Kind::GenServer),
            (":gen_event handler ", Kind::GenServer),
            ("Task ", Kind::Task),
            ("Process ", Kind::Crash),
            ("Child ", Kind::Supervisor),
            ("Children ", Kind::Supervisor),
        ];
        Self::beginning(&BEGINNINGS, text)
    }

    fn beginning(beginnings: &[(&str, Kind)], text: &str) -> Self {
        let found = beginnings.iter().find(|(beginning, _)| text.starts_with(beginning));
        found.map_or(Kind::Log, |(_, kind)| *kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A call of a stack trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The module's name, without quotes.
    pub module: String,
    /// The function's name, without quotes.
    pub function: String,
    /// How many arguments it was called with.
    pub arity: usize,
    /// The source file as the compiler had it, and the line in it.
    pub place: Option<(String, u64)>,
}

/// `module:function/arity (file:line)`.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_atom(f, &self.module)?;
        f.write_str(":")?;
        write_atom(f, &self.function)?;
        write!(f, "/{}", self.arity)?;
        match &self.place {
            Some((file, line)) => write!(f, " ({file}:{line})"),
            None => Ok(()),
        }
    }
}

impl From<&Call<'_>> for Frame {
    fn from(call: &Call<'_>) -> Self {
        Frame {
            module: call.module.to_str().into_owned(),
            function: call.function.to_str().into_owned(),
            arity: call.arity,
            place: call.place(),
        }
    }
}

/// All that an event says.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// How severe it is.
    pub level: Level,
    /// What it is about.
    pub kind: Kind,
    /// The node that it happened on.
    pub node: Option<String>,
    /// The process that it is about, as that node prints it: `<0.41.0>`.
    pub pid: Option<String>,
    /// The name that process is registered under.
    pub registered_name: Option<String>,
    /// The parts of `logger`'s domain.
    pub domain: Vec<String>,
    /// The module of the innermost call of a crash, else the one that logged.
    pub module: Option<String>,
    /// The function there: `name/arity`.
    pub function: Option<String>,
    /// The line there.
    pub line: Option<u64>,
    /// One line, of at most [`MESSAGE_BYTES`] and three dots, as `logger_formatter` prints it with `single_line`.
    pub message: String,
    /// The same on as many lines as OTP takes, of at most [`DETAIL_BYTES`] and three dots.
    pub detail: String,
    /// Why something ended, on one line, without the stack trace.
    pub reason: Option<String>,
    /// The calls that led there, innermost first, at most [`MAX_FRAMES`].
    pub stacktrace: Vec<Frame>,
}

impl View {
    /// What an event says; `None` if it has no known shape.
    ///
    /// Costs a few µs, most of it for the texts; ask [`Facts`] where they aren't needed.
    pub fn of(event: TermRef<'_>) -> Option<View> {
        Facts::of(event).map(Facts::view)
    }
}

/// What an event says, as far as it can be seen without formatting.
///
/// Making one costs some 50 ns, and so does each question to which the answer is not a field; nothing is allocated
/// but for kinds that only a text tells.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    level: Level,
    node: Option<AtomRef<'a>>,
    shape: Shape<'a>,
}

/// The shapes of events.
#[derive(Clone, Copy, Debug)]
enum Shape<'a> {
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
}

/// Why something ended.
#[derive(Clone, Copy, Debug)]
struct Failure<'a> {
    reason: TermRef<'a>,
    stack: Option<TermRef<'a>>,
}

impl<'a> Failure<'a> {
    /// A reason that may come with the stack trace that led to it.
    fn of(reason: TermRef<'a>) -> Self {
        match reason.as_tuple() {
            Some([inner, stack]) if is_stack(stack) => {
                Failure { reason: inner, stack: Some(stack) }
            }
            _ => Failure { reason, stack: None },
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
        let node = about.map_get("node")?.as_atom();
        Some(Facts { level: Level::Warning, node, shape: Shape::Dropped(about) })
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
            Shape::Alarm { .. } => Kind::Alarm,
            Shape::Dropped(_) => Kind::Dropped,
            Shape::Message { format, .. } => Kind::of_format(&beginning(format)),
            Shape::Report { report, .. } if is_alarm(report) => Kind::Alarm,
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
            Shape::Alarm { .. } | Shape::Dropped(_) => return None,
        };
        matches!(pid.view(), Term::Pid { .. }).then_some(pid)
    }

    /// The module of the innermost call of a crash, else the one that logged, else the one that a crashed process ran.
    pub fn module(&self) -> Option<AtomRef<'a>> {
        self.origin().map(|(module, ..)| module)
    }

    /// Module, function, arity, and the line where it is known.
    fn origin(&self) -> Option<(AtomRef<'a>, AtomRef<'a>, usize, Option<u64>)> {
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
        let [module, function, args] = called.as_tuple()?;
        let arity = match args.as_integer() {
            Some(arity) => usize::try_from(arity).ok()?,
            None => args.cells().count(),
        };
        let line = line.and_then(TermRef::as_integer).and_then(|line| u64::try_from(line).ok());
        Some((module.as_atom()?, function.as_atom()?, arity, line))
    }

    /// Why something ended, if the event says so.
    fn failure(&self) -> Option<Failure<'a>> {
        match self.shape {
            Shape::Report { kind, report, .. } => failure_of(Report::of_type(kind, report)),
            Shape::Message { format, args, .. } => failure_in(format, args),
            Shape::Log { message, meta } => {
                let [tag, body] = message.as_tuple()?;
                let known = tag.is_atom("report").then(|| failure_of(Report::of(body))).flatten();
                known.or_else(|| meta.map_get("crash_reason").map(Failure::of))
            }
            Shape::Alarm { .. } | Shape::Dropped(_) => None,
        }
    }

    /// All of it, with its texts.
    pub fn view(self) -> View {
        let home = self.node.map(AtomRef::to_str);
        let printer = |limit_bytes, lines| Printer::new(limit_bytes, lines, home.as_deref());
        let one_line = |term: TermRef<'_>| {
            let mut out = printer(MESSAGE_BYTES, Lines::One);
            out.term(term);
            out.finish()
        };
        let failure = self.failure();
        let stacktrace = failure.and_then(|failure| failure.stack).and_then(calls);
        let origin = self.origin();
        let mut message = printer(MESSAGE_BYTES, Lines::One);
        self.print(&mut message);
        let mut detail = printer(DETAIL_BYTES, Lines::Many);
        self.print(&mut detail);
        let function =
            origin.map(|(_, function, arity, _)| format!("{}/{arity}", function.to_str()));
        View {
            level: self.level,
            kind: self.kind(),
            node: self.node.map(|node| node.to_str().into_owned()),
            pid: self.pid().map(one_line),
            registered_name: self.registered_name().map(|name| name.to_str().into_owned()),
            domain: self.domain(),
            module: origin.map(|(module, ..)| module.to_str().into_owned()),
            function,
            line: origin.and_then(|(.., line)| line),
            message: shortened(on_one_line(&message.finish())),
            detail: detail.finish(),
            reason: failure.map(|failure| {
                super::elixir::exception(failure.reason, &one_line)
                    .unwrap_or_else(|| one_line(failure.reason))
            }),
            stacktrace: stacktrace
                .map(|calls| calls.iter().take(MAX_FRAMES).map(Frame::from).collect())
                .unwrap_or_default(),
        }
    }

    /// The text, on many lines, or as it is before line ends are replaced.
    fn print(&self, out: &mut Printer) {
        match self.shape {
            Shape::Report { kind, report, .. } => Report::of_type(kind, report).print(out),
            Shape::Message { format, args, .. } => out.format(format, args),
            Shape::Log { message, meta } => {
                let Some([first, second]) = message.as_tuple() else { return };
                if first.is_atom("string") {
                    return out.chardata(second);
                }
                if !first.is_atom("report") {
                    return out.format(first, second);
                }
                match meta.map_get("$text") {
                    Some(text) => out.chardata(text),
                    None => Report::of(second).print(out),
                }
            }
            Shape::Alarm { is_set, alarm } => {
                out.push("    alarm_handler: ");
                out.push(if is_set { "{set," } else { "{clear," });
                out.term(alarm);
                out.push("}");
            }
            Shape::Dropped(about) => dropped(out, about),
        }
    }

    fn registered_name(&self) -> Option<AtomRef<'a>> {
        match self.shape {
            Shape::Report { kind, report, .. } => match Report::of_type(kind, report) {
                Report::Crash { own, .. } => find(own, "registered_name")?.as_atom(),
                Report::Supervisor { name, .. } | Report::ChildStarted { supervisor: name, .. } => {
                    let [_, name] = name.as_tuple()?;
                    name.as_atom()
                }
                _ => None,
            },
            // Who terminates is named first.
            Shape::Message { args, .. } if self.kind() == Kind::GenServer => {
                args.cells().next()?.as_atom()
            }
            Shape::Log { meta, .. } => meta.map_get("registered_name")?.as_atom(),
            _ => None,
        }
    }

    fn domain(&self) -> Vec<String> {
        let of = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        match self.shape {
            Shape::Log { meta, .. } => match meta.map_get("domain") {
                Some(domain) => domain
                    .cells()
                    .map_while(TermRef::as_atom)
                    .take(MAX_FRAMES)
                    .map(|part| part.to_str().into_owned())
                    .collect(),
                None => Vec::new(),
            },
            // What OTP gave them before error_logger took it away.
            Shape::Report { kind, .. } => match kind.as_atom().map(AtomRef::to_str).as_deref() {
                Some("crash_report" | "supervisor_report" | "progress") => of(&["otp", "sasl"]),
                Some("std_error" | "std_warning" | "std_info") | None => Vec::new(),
                Some(kind) => of(&[kind]),
            },
            Shape::Message { .. } if self.kind() == Kind::GenServer => of(&["otp"]),
            _ => Vec::new(),
        }
    }
}

/// Whether a report is that of an alarm, as `alarm_handler` makes it.
fn is_alarm(report: TermRef<'_>) -> bool {
    let report = report.map_get("report").unwrap_or(report);
    super::report::list(report)
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

fn failure_of(report: Report<'_>) -> Option<Failure<'_>> {
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
fn failure_in<'a>(format: TermRef<'a>, args: TermRef<'a>) -> Option<Failure<'a>> {
    /// The words, and how many arguments after them the reason is.
    const WORDS: [(&str, usize); 5] = [
        ("Reason for termination ==", 0),
        ("** Reason == ", 0),
        ("** Reasons for termination ==", 0),
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
fn beginning(format: TermRef<'_>) -> std::borrow::Cow<'_, str> {
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

/// What we say of events that were dropped.
fn dropped(out: &mut Printer, about: TermRef<'_>) {
    let count = about.map_get("count").and_then(TermRef::as_integer);
    match count {
        Some(1) => out.push("1 event of "),
        Some(count) => out.push(&format!("{count} events of ")),
        None => out.push("events of "),
    }
    out.chardata(about.map_get("node").unwrap_or(TermRef::NIL));
    out.push(match count {
        Some(1) => " was dropped",
        Some(_) => " were dropped",
        None => " may have been dropped",
    });
    if let Some(reason) = about.map_get("reason") {
        out.push(" (");
        out.chardata(reason);
        out.push(")");
    }
    let time = |key| {
        let [mega, secs, micros] = about.map_get(key)?.as_tuple()?;
        Timestamp::from_parts(mega.as_integer()?, secs.as_integer()?, micros.as_integer()?)
    };
    if let (Some(from), Some(to)) = (time("from"), time("to")) {
        out.push(&format!(" from {} to {}", rfc3339(from), rfc3339(to)));
    }
}

fn rfc3339(time: Timestamp) -> String {
    let micros = i64::try_from(time.micros()).unwrap_or(i64::MAX);
    format!("{:.6}", jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::MAX))
}

/// Replacing line ends makes a text longer.
fn shortened(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES + 3 {
        text.truncate(text.floor_char_boundary(MESSAGE_BYTES));
        text.push_str("...");
    }
    text
}
