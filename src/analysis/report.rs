//! Reports of OTP's own behaviours, in OTP's words.
//!
//! Functions don't run here, so the report callbacks that OTP names in metadata are known by what they are called with:
//! the type of an `error_logger` report, or the label of a map.
//!
//! Texts: `format_log/2` of `supervisor` and `application_controller`, `proc_lib:report_cb/2`, `logger:format_report/1`, of
//! OTP 23 to 29.

use super::behaviour::{event_handler, server, state_machine};
use super::exception;
use crate::etf::text::{Lines, Printer, is_printable};
use crate::etf::{AtomRef, Term, TermBuf, TermRef, encode};

/// A report that is known, with its parts in place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Report<'a> {
    /// A process of `proc_lib` crashed: what it says of itself, and of its neighbours.
    Crash {
        own: TermRef<'a>,
        linked: TermRef<'a>,
    },
    Supervisor {
        name: TermRef<'a>,
        context: TermRef<'a>,
        reason: TermRef<'a>,
        child: TermRef<'a>,
    },
    ChildStarted {
        supervisor: TermRef<'a>,
        child: TermRef<'a>,
    },
    ApplicationStarted {
        application: TermRef<'a>,
        node: TermRef<'a>,
    },
    ApplicationExited {
        application: TermRef<'a>,
        reason: TermRef<'a>,
        kind: TermRef<'a>,
    },
    /// `gen_server` terminates: the map.
    Server(TermRef<'a>),
    /// `gen_event` throws a handler out: the map.
    EventHandler(TermRef<'a>),
    /// `gen_statem` terminates: the map.
    StateMachine(TermRef<'a>),
    /// A message that nobody handled.
    Unhandled {
        module: TermRef<'a>,
        message: TermRef<'a>,
    },
    /// A map that was given to `error_logger`.
    Map(TermRef<'a>),
    /// A format that was given to `error_logger`, as `logger` has it.
    Format {
        format: TermRef<'a>,
        args: TermRef<'a>,
    },
    /// Any other: pairs and terms, or a text.
    Any(TermRef<'a>),
}

impl<'a> Report<'a> {
    /// A report of `error_logger` with its type.
    pub(super) fn of_type(kind: TermRef<'a>, report: TermRef<'a>) -> Self {
        let known = match kind.as_atom() {
            Some(kind) if kind.is("crash_report") => Self::crash(report),
            Some(kind) if kind.is("supervisor_report") => Self::supervisor(report),
            Some(kind) if kind.is("progress") => Self::progress(report),
            Some(kind) if kind.is("std_info") => Self::application_exited(report),
            _ => None,
        };
        known.unwrap_or_else(|| Self::given(report))
    }

    /// What somebody gave to `error_logger`.
    fn given(report: TermRef<'a>) -> Self {
        match report.view() {
            Term::Map(_) => Report::Map(report),
            _ => Report::Any(report),
        }
    }

    /// A report of `logger`: a map with a label, or anything.
    pub(super) fn of(report: TermRef<'a>) -> Self {
        let get = |key| report.map_get(key);
        let known = get("label").and_then(TermRef::as_tuple).and_then(|[who, what]| {
            let inner = get("report").unwrap_or(TermRef::NIL);
            match (&*who.as_atom()?.to_str(), &*what.as_atom()?.to_str()) {
                ("proc_lib", "crash") => Self::crash(inner),
                ("supervisor", "progress") | ("application_controller", "progress") => {
                    Self::progress(inner)
                }
                ("supervisor", _) => Self::supervisor(inner),
                ("application_controller", "exit") => Self::application_exited(inner),
                ("gen_server", "terminate") => Some(Report::Server(report)),
                ("gen_event", "terminate") => Some(Report::EventHandler(report)),
                ("gen_statem", "terminate") => Some(Report::StateMachine(report)),
                ("error_logger", _) => match (get("format"), get("args")) {
                    (Some(format), Some(args)) => Some(Report::Format { format, args }),
                    _ => Some(Self::given(get("report")?)),
                },
                (_, "no_handle_info") => {
                    Some(Report::Unhandled { module: get("module")?, message: get("message")? })
                }
                _ => None,
            }
        });
        known.unwrap_or(Report::Any(report))
    }

    fn crash(report: TermRef<'a>) -> Option<Self> {
        let [own, linked] = list(report)?;
        matches!(own.view(), Term::List(_)).then_some(Report::Crash { own, linked })
    }

    fn supervisor(report: TermRef<'a>) -> Option<Self> {
        let [name, context, reason, child] = list(report)?;
        Some(Report::Supervisor {
            name: value(name, "supervisor")?,
            context: value(context, "errorContext")?,
            reason: value(reason, "reason")?,
            child: value(child, "offender")?,
        })
    }

    fn progress(report: TermRef<'a>) -> Option<Self> {
        let [first, second] = list(report)?;
        if let Some(supervisor) = value(first, "supervisor") {
            return Some(Report::ChildStarted { supervisor, child: value(second, "started")? });
        }
        let application = value(first, "application")?;
        Some(Report::ApplicationStarted { application, node: value(second, "started_at")? })
    }

    fn application_exited(report: TermRef<'a>) -> Option<Self> {
        let [application, reason, kind] = list(report)?;
        Some(Report::ApplicationExited {
            application: value(application, "application")?,
            reason: value(reason, "exited")?,
            kind: value(kind, "type")?,
        })
    }

    /// The report's text: on many lines, or as it is before line ends are replaced.
    pub(super) fn print(self, out: &mut Printer) {
        let many = out.lines() == Lines::Many;
        match self {
            Report::Crash { own, linked } => crash(out, own, linked),
            Report::Supervisor { name, context, reason, child } if many => pairs(
                out,
                &[
                    ("supervisor", name),
                    ("errorContext", context),
                    ("reason", reason),
                    ("offender", child),
                ],
            ),
            Report::Supervisor { name, context, reason, child } => {
                sentence(
                    out,
                    &[("Supervisor: ", name), (" Context: ", context), (" Reason: ", reason)],
                );
                child_in_short(out, " Offender:", child);
            }
            Report::ChildStarted { supervisor, child } if many => {
                pairs(out, &[("supervisor", supervisor), ("started", child)]);
            }
            Report::ChildStarted { supervisor, child } => {
                sentence(out, &[("Supervisor: ", supervisor)]);
                child_in_short(out, " Started:", child);
            }
            Report::ApplicationStarted { application, node } if many => {
                pairs(out, &[("application", application), ("started_at", node)]);
            }
            Report::ApplicationStarted { application, node } => {
                sentence(out, &[("Application: ", application), (" Started at: ", node)]);
            }
            Report::ApplicationExited { application, reason, kind } if many => {
                pairs(out, &[("application", application), ("exited", reason), ("type", kind)]);
            }
            Report::ApplicationExited { application, reason, kind } => sentence(
                out,
                &[("Application: ", application), (" Exited: ", reason), (" Type: ", kind)],
            ),
            Report::Server(map) => server(out, map),
            Report::EventHandler(map) => event_handler(out, map),
            Report::StateMachine(map) => state_machine(out, map),
            Report::Unhandled { module, message } if many => {
                out.push("** Undefined handle_info in ");
                out.term(module);
                out.push("\n** Unhandled message: ");
                out.term(message);
                out.push("\n");
            }
            Report::Unhandled { module, message } => sentence(
                out,
                &[("Undefined handle_info in ", module), (" Unhandled message: ", message)],
            ),
            Report::Map(map) => {
                out.term(map);
                out.push("\n");
            }
            Report::Format { format, args } => out.format_or(format, args, "ERROR"),
            Report::Any(report) => any(out, report),
        }
    }
}

/// The elements of a proper list of exactly `N`.
pub(super) fn list<const N: usize>(term: TermRef<'_>) -> Option<[TermRef<'_>; N]> {
    let mut cells = term.cells();
    let mut elements = [TermRef::NIL; N];
    for element in &mut elements {
        *element = cells.next()?;
    }
    (cells.next().is_none() && cells.tail() == TermRef::NIL).then_some(elements)
}

/// The second element of `{key, Value}`.
fn value<'a>(pair: TermRef<'a>, key: &str) -> Option<TermRef<'a>> {
    let [name, value] = pair.as_tuple()?;
    name.is_atom(key).then_some(value)
}

/// The value of `key` in a list of pairs.
pub(super) fn find<'a>(list: TermRef<'a>, key: &str) -> Option<TermRef<'a>> {
    list.cells().find_map(|pair| value(pair, key))
}

/// A line for each of them.
fn pairs(out: &mut Printer, pairs: &[(&str, TermRef<'_>)]) {
    for (name, value) in pairs {
        out.push(&format!("    {name}: "));
        out.term(*value);
        out.push("\n");
    }
}

/// Words and terms, each with a full stop.
pub(super) fn sentence(out: &mut Printer, parts: &[(&str, TermRef<'_>)]) {
    for (words, value) in parts {
        out.push(words);
        out.term(*value);
        out.push(".");
    }
}

fn child_in_short(out: &mut Printer, words: &str, child: TermRef<'_>) {
    let (name, value) = match find(child, "pid") {
        Some(pid) => ("pid", pid),
        None => ("nb_children", find(child, "nb_children").unwrap_or(TermRef::NIL)),
    };
    out.push(&format!("{words} id="));
    out.written(find(child, "id").unwrap_or(TermRef::NIL));
    out.push(&format!(",{name}="));
    out.written(value);
    out.push(".");
}

/// `proc_lib:report_cb/2`.
fn crash(out: &mut Printer, own: TermRef<'_>, linked: TermRef<'_>) {
    let many = out.lines() == Lines::Many;
    out.push(if many { "  crasher:\n" } else { "crasher: " });
    let mut separator = Separator::new(if many { "\n" } else { ", " });
    let indent = if many { "    " } else { "" };
    for item in own.cells() {
        match item.as_tuple() {
            Some([tag, info]) if tag.is_atom("error_info") => {
                separator.before(out);
                out.push(indent);
                match info.as_tuple() {
                    Some([class, reason, stack]) if many => {
                        exception::print(out, indent.len(), class, reason, stack);
                    }
                    Some([class, reason, stack]) => {
                        out.push(&class.as_atom().map_or("error".into(), AtomRef::to_str));
                        out.push(": ");
                        out.term(pair_of(reason, stack).as_term());
                    }
                    None => out.term(info),
                }
            }
            Some(pair) => item_of_crash(out, &mut separator, indent, pair),
            None => break,
        }
    }
    out.push(if many { "\n  neighbours:\n" } else { "; neighbours: " });
    for (n, neighbour) in linked.cells().enumerate() {
        if n > 0 {
            out.push(if many { "\n" } else { "; " });
        }
        let of = value(neighbour, "neighbour").unwrap_or(neighbour);
        out.push(indent);
        out.push(if many { "neighbour:\n" } else { "neighbour: " });
        let mut separator = Separator::new(if many { "\n" } else { ", " });
        for pair in of.cells().map_while(TermRef::as_tuple) {
            item_of_crash(out, &mut separator, if many { "      " } else { "" }, pair);
        }
    }
}

fn item_of_crash(
    out: &mut Printer,
    separator: &mut Separator,
    indent: &str,
    [tag, data]: [TermRef<'_>; 2],
) {
    if tag.is_atom("process_label") && data.is_atom("undefined") {
        return;
    }
    separator.before(out);
    out.push(indent);
    if tag.is_atom("initial_call")
        && let Some([module, function, args]) = data.as_tuple()
        && let (Some(_), Some(_), Some(args)) =
            (module.as_atom(), function.as_atom(), args.as_list())
    {
        out.push("initial call: ");
        out.term(module);
        out.push(":");
        out.term(function);
        return out.push(&format!("/{}", args.len()));
    }
    out.term(tag);
    out.push(": ");
    /// The column in which OTP prints what a process says of itself.
    const DATA_COLUMN: i64 = 18;
    out.term_at(data, DATA_COLUMN);
}

/// What stands between items, but not before the first.
struct Separator {
    text: &'static str,
    is_first: bool,
}

impl Separator {
    const fn new(text: &'static str) -> Self {
        Separator { text, is_first: true }
    }

    fn before(&mut self, out: &mut Printer) {
        if !std::mem::replace(&mut self.is_first, false) {
            out.push(self.text);
        }
    }
}

/// The pair of two terms.
fn pair_of(a: TermRef<'_>, b: TermRef<'_>) -> TermBuf {
    TermBuf::written(|out| {
        encode::tuple_header(out, 2);
        out.extend_from_slice(a.bytes());
        out.extend_from_slice(b.bytes());
    })
}

/// `logger:format_report/1`, after `logger:format_otp_report/1` has taken it out of a map with a label.
fn any(out: &mut Printer, report: TermRef<'_>) {
    let report = match (report.map_get("label"), report.map_get("report")) {
        (Some(label), Some(inner)) if label.as_tuple::<2>().is_some() => inner,
        _ => report,
    };
    let mut separator = Separator::new("\n");
    if let Term::Map(pairs) = report.view()
        && !pairs.is_empty()
    {
        for (key, value) in pairs {
            separator.before(out);
            line(out, key, value);
        }
        return;
    }
    let is_list = matches!(report.view(), Term::List(_) | Term::String(_))
        && report.cells().tail() == TermRef::NIL;
    if matches!(report.view(), Term::Map(_)) {
        return out.term(TermRef::NIL);
    }
    if !is_list {
        return out.term(report);
    }
    if is_text(report) {
        return out.chardata(report);
    }
    for item in report.cells() {
        separator.before(out);
        match item.as_tuple() {
            Some([key, value]) => line(out, key, value),
            None => {
                out.push("    ");
                out.term(item);
            }
        }
    }
}

fn line(out: &mut Printer, key: TermRef<'_>, value: TermRef<'_>) {
    out.push("    ");
    out.term(key);
    out.push(": ");
    if is_text(value) { out.chardata(value) } else { out.term(value) }
}

/// Whether a term is a list, or lists in lists, of printable characters, and of at least one.
fn is_text(term: TermRef<'_>) -> bool {
    let mut open = vec![term.cells()];
    let mut count = 0;
    while let Some(cells) = open.last_mut() {
        match cells.next() {
            Some(element) => match element.view() {
                Term::Integer(code) => {
                    let c = u32::try_from(code).ok().and_then(char::from_u32);
                    if !c.is_some_and(is_printable) {
                        return false;
                    }
                    count += 1;
                }
                Term::Nil => {}
                Term::List(_) | Term::String(_) => open.push(element.cells()),
                _ => return false,
            },
            None if cells.tail() != TermRef::NIL => return false,
            None => {
                open.pop();
            }
        }
    }
    count > 0
}
