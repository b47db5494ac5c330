//! What an event says, in plain fields.
//!
//! [`Facts`] are what filters ask of millions of events: they are found in the event's bytes, and nothing is formatted or
//! copied for them. A [`View`] is all of it, with the texts that OTP itself would have written.
//!
//! Shapes: those of OTP's manager `error_logger` (`{Tag, GroupLeader, {Pid, What, Data}}`), whose reports may be SASL's;
//! what our handler for `logger` sends (`{log, Node, Level, Msg, Meta}`, `erlang/HANDLERS.md`), Elixir's included; what an
//! `alarm_handler` gets; and our own `{logmachine, dropped, #{...}}`, `{node, up, Node, #{...}}` and
//! `{alert, Rule, firing, #{...}}`.

use std::fmt;

use super::elixir;
use super::exception::{Call, calls};
use super::facts::{Facts, Shape};
use super::kind::{Kind, Level};
use super::report::{Report, find};
use crate::etf::text::{Lines, Printer, on_one_line, write_atom};
use crate::etf::{AtomRef, Term, TermRef};
use crate::time::{Timestamp, moment};

/// The most bytes of a message, and of a reason.
pub const MESSAGE_BYTES: usize = 8 << 10;

/// The most bytes of a detail.
pub const DETAIL_BYTES: usize = 64 << 10;

/// The most calls that are kept of a stack trace.
pub const MAX_FRAMES: usize = 64;

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
    /// Costs some 20 µs for a crash report, a few for a line of text; ask [`Facts`] where texts aren't needed.
    pub fn of(event: TermRef<'_>) -> Option<View> {
        Facts::of(event).map(Facts::view)
    }
}

impl<'a> Facts<'a> {
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
        if let Shape::Alert { about, .. } = self.shape
            && let Some(explanation) = about.map_get("explanation")
        {
            detail.push("\n");
            detail.chardata(explanation);
        }
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
                elixir::exception(failure.reason, &one_line)
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
            Shape::Node { change, about } => {
                out.push("node ");
                out.push(&self.node.map(AtomRef::to_str).unwrap_or_default());
                out.push(" ");
                out.push(&change.to_str());
                deployed(out, about);
            }
            Shape::Alert { rule, phase, about } => {
                out.push(&format!("{} {}", rule.to_str(), phase.to_str()));
                if let Some(text) = about.map_get("text") {
                    out.push(": ");
                    out.chardata(text);
                }
            }
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

/// What we say of events that were dropped.
fn dropped(out: &mut Printer, about: TermRef<'_>) {
    let count = about.map_get("count").and_then(TermRef::as_integer);
    match count {
        Some(1) => out.push("1 event"),
        Some(count) => out.push(&format!("{count} events")),
        None => out.push("events"),
    }
    // What the recorder had to drop is of nobody in particular.
    if let Some(node) = about.map_get("node") {
        out.push(" of ");
        out.chardata(node);
    }
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
    let time = |key| about.map_get(key).and_then(timestamp);
    if let (Some(from), Some(to)) = (time("from"), time("to")) {
        out.push(&format!(" from {} to {}", moment::rfc3339(from), moment::rfc3339(to)));
    }
}

/// What we say of a node: its release and the team's own applications, or why it went.
fn deployed(out: &mut Printer, about: TermRef<'_>) {
    let mut before = ": ";
    let mut say = |word: &str, value: TermRef<'_>| {
        out.push(std::mem::replace(&mut before, ", "));
        out.push(word);
        out.chardata(value);
    };
    if let Some(release) = about.map_get("otp_release") {
        say("OTP ", release);
    }
    let applications = about.map_get("applications").map(TermRef::view);
    if let Some(Term::Map(applications)) = applications {
        for (name, application) in applications {
            let is_own = application.map_get("origin").is_some_and(|it| it.is_atom("own"));
            if let (true, Some(name), Some(version)) =
                (is_own, name.as_atom(), application.map_get("version"))
            {
                say(&format!("{} ", name.to_str()), version);
            }
        }
    }
    for key in ["reason", "detail"] {
        if let Some(why) = about.map_get(key) {
            say("", why);
        }
    }
}

/// A `{MegaSecs, Secs, MicroSecs}`.
pub(super) fn timestamp(term: TermRef<'_>) -> Option<Timestamp> {
    let [mega, secs, micros] = term.as_tuple()?;
    Timestamp::from_parts(mega.as_integer()?, secs.as_integer()?, micros.as_integer()?)
}

/// Replacing line ends makes a text longer.
fn shortened(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES + 3 {
        text.truncate(text.floor_char_boundary(MESSAGE_BYTES));
        text.push_str("...");
    }
    text
}
