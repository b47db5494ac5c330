//! What an event tells of who ended, and of what was logged, where that is told in words rather than by a stack trace.

use super::facts::{Facts, Shape, mfa};
use super::failure::{Failure, beginning};
use super::fingerprint::{Process, function_name};
use super::platform::is_platform;
use super::report::{Report, find};
use super::{shape, template};
use crate::etf::text::{Lines, Printer};
use crate::etf::{Term, TermRef};

/// What the emulator says of a process that it ended for its size.
pub(super) const TOO_LARGE: &str = "maximum heap size reached";

/// The most bytes of a text about a child that are looked at.
pub(super) const CHILD_TEXT_BYTES: usize = 16 << 10;

/// The most bytes of a text that are looked at.
const TEXT_BYTES: usize = 400;

impl<'a> Facts<'a> {
    /// The process that ended, where the event is of another's end; else the one that it is about.
    pub(super) fn dead(&self) -> Option<TermRef<'a>> {
        match self.report() {
            Some(Report::Supervisor { child, .. }) => find(child, "pid"),
            _ => self.pid(),
        }
    }

    /// Why something ended, as somebody tells who caught it and logs it, and which process that was.
    pub(super) fn told_failure(&self) -> Option<(Failure<'a>, Option<Process>)> {
        let (failure, pid) = Failure::told_in(self.report_or_arguments()?)?;
        Some((failure, pid.and_then(process)))
    }

    /// The report that was logged, or the arguments of the format.
    fn report_or_arguments(&self) -> Option<TermRef<'a>> {
        match self.report() {
            Some(Report::Format { args, .. }) => Some(args),
            Some(Report::Map(report) | Report::Any(report)) => Some(report),
            Some(_) => None,
            None => self.format().map(|(_, args)| args),
        }
    }

    /// The format that was logged, with its arguments, where it is no report's.
    fn format(&self) -> Option<(TermRef<'a>, TermRef<'a>)> {
        match self.shape {
            Shape::Message { format, args, .. } => Some((format, args)),
            Shape::Log { message, .. } => {
                let [format, args] = message.as_tuple()?;
                (!format.is_atom("string") && !format.is_atom("report")).then_some((format, args))
            }
            _ => None,
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

    /// The process that the emulator ended because it had grown too large, if the event says so.
    pub(super) fn grown_too_large(&self) -> Option<Process> {
        let (format, args) = self.format()?;
        let says = || beginning(format).contains(TOO_LARGE);
        process(args.cells().next()?).filter(|_| says())
    }

    /// The text that was logged, where it is one.
    pub(super) fn text(&self, limit_bytes: usize) -> Option<String> {
        let Shape::Log { message, .. } = self.shape else { return None };
        let [tag, text] = message.as_tuple()?;
        tag.is_atom("string").then(|| {
            let mut out = Printer::new(limit_bytes, Lines::Many, None);
            out.chardata(text);
            out.finish()
        })
    }

    /// Which process ended, by a name that its successor has, too.
    pub(super) fn dead_place(&self) -> Option<String> {
        match self.report() {
            Some(Report::Crash { own, .. }) => {
                let registered = find(own, "registered_name").and_then(TermRef::as_atom);
                find(own, "initial_call")
                    .and_then(initial_call)
                    .or_else(|| registered.map(shape::name_without_numbers))
            }
            Some(Report::Supervisor { name, child, .. }) => {
                let started = find(child, "mfargs").or_else(|| find(child, "mfa"));
                let module = started.and_then(TermRef::as_tuple).map(|[module, _, _]| module);
                let module = module.and_then(TermRef::as_atom);
                if let Some(module) = module.filter(|module| !is_platform(&module.to_str())) {
                    return Some(shape::name(module));
                }
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
            None => {
                if let Shape::Log { meta, .. } = self.shape
                    && let Some(place) = meta.map_get("initial_call").and_then(initial_call)
                {
                    return Some(place);
                }
                // `GenServer Shop.Cart terminating`
                let text = self.text(TEXT_BYTES)?;
                let mut words = text.split_whitespace().skip(1);
                let name = words.next().filter(|name| !name.starts_with("#PID"))?;
                (words.next()? == "terminating").then(|| name.to_owned())
            }
            _ => None,
        }
    }

    /// What was logged, without its data.
    pub(super) fn logged(&self) -> Logged {
        if let Some(text) = self.text(TEXT_BYTES) {
            return Logged::Text(template::of_text(&text));
        }
        if let Some((format, args)) = self.format() {
            return of_format(format, args);
        }
        let kind = match self.shape {
            Shape::Report { kind, .. } => Some(kind),
            Shape::Log { meta, .. } => {
                meta.map_get("error_logger").and_then(|it| it.map_get("type"))
            }
            _ => None,
        };
        self.report().map_or_else(|| Logged::Same(String::new()), |it| of_report(it).typed(kind))
    }
}

/// What was logged, without its data.
pub(super) enum Logged {
    /// What is the same whenever it is logged.
    Same(String),
    /// The words of a text.
    Text(String),
}

impl Logged {
    /// The same, of a report of this type, where the type says something.
    fn typed(self, kind: Option<TermRef<'_>>) -> Self {
        const STANDARD: [&str; 3] = ["std_error", "std_warning", "std_info"];
        let kind = kind.and_then(TermRef::as_atom);
        match (kind.filter(|kind| !STANDARD.iter().any(|name| kind.is(name))), self) {
            (Some(kind), Logged::Same(shape)) => {
                Logged::Same(format!("{} {shape}", shape::name(kind)).trim().to_owned())
            }
            (_, logged) => logged,
        }
    }
}

/// The function that a process began with; of what all behaviours begin with the module alone.
fn initial_call(call: TermRef<'_>) -> Option<String> {
    let (module, function, arity) = mfa(call)?;
    if function.is("init") && arity == 1 {
        return Some(shape::name(module));
    }
    Some(function_name(module, function, arity).1)
}

/// The words that somebody raised, in exceptions that are nothing else.
pub(super) fn raised_text(reason: TermRef<'_>) -> Option<String> {
    let exception = reason.map_get("__struct__")?;
    let is_text =
        ["Elixir.RuntimeError", "Elixir.ArgumentError"].iter().any(|it| exception.is_atom(it));
    let message = reason.map_get("message").filter(|_| is_text)?.as_binary()?;
    let message = String::from_utf8_lossy(&message[..message.len().min(TEXT_BYTES)]);
    Some(template::of_text(&message))
}

/// The first line of a format is the same whenever it is logged; without arguments it is a text.
fn of_format(format: TermRef<'_>, args: TermRef<'_>) -> Logged {
    let format = beginning(format);
    let line = format.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let line: String = line.trim_end_matches("~n").trim().chars().take(TEXT_BYTES).collect();
    match args.cells().is_empty() {
        true => Logged::Text(template::of_text(&line)),
        false => Logged::Same(line),
    }
}

fn of_chardata(text: TermRef<'_>) -> Logged {
    let mut out = Printer::new(TEXT_BYTES, Lines::One, None);
    out.chardata(text);
    Logged::Text(template::of_text(&out.finish()))
}

/// Under which keys reports say what they are of.
const SUBJECTS: [&str; 6] = ["what", "event", "msg", "message", "text", "description"];

/// Reports are told apart by what they say that they are of; else by the names of their keys, and values that are atoms.
fn of_report(report: Report<'_>) -> Logged {
    let term = match report {
        Report::Format { format, args } => return of_format(format, args),
        Report::Map(term) | Report::Any(term) => term,
        Report::Unhandled { module, .. } => {
            return Logged::Same(format!("unhandled message in {}", shape::of_reason(module)));
        }
        _ => return Logged::Same(String::new()),
    };
    let is_text = |term: TermRef<'_>| matches!(term.view(), Term::String(_) | Term::Binary(_));
    if is_text(term) {
        return of_chardata(term);
    }
    let pairs: Vec<[TermRef<'_>; 2]> = match term.view() {
        Term::Map(pairs) => pairs.into_iter().map(|(key, value)| [key, value]).collect(),
        Term::List(_) => term.cells().filter_map(TermRef::as_tuple).collect(),
        _ => return Logged::Same(shape::of_reason(term)),
    };
    if pairs.is_empty() && matches!(term.view(), Term::List(_)) {
        return of_chardata(term);
    }
    let subject = SUBJECTS.iter().find_map(|name| {
        let (_, value) =
            pairs.iter().map(|[key, value]| (key, *value)).find(|(key, _)| key.is_atom(name))?;
        (is_text(value) || value.as_atom().is_some()).then_some(value)
    });
    match subject {
        Some(text) if is_text(text) => of_chardata(text),
        Some(what) => Logged::Same(shape::of_reason(what)),
        None => {
            let word = |[key, value]: &[TermRef<'_>; 2]| match value.as_atom() {
                Some(_) => format!("{}: {}", shape::of_reason(*key), shape::of_reason(*value)),
                None => shape::of_reason(*key),
            };
            let mut words: Vec<_> = pairs.iter().take(MAX_KEYS).map(word).collect();
            words.sort();
            Logged::Same(words.join(", "))
        }
    }
}

/// The most keys of a report that are looked at.
const MAX_KEYS: usize = 16;

/// What Elixir's text of a supervisor's report tells of the child.
#[derive(Default)]
pub(super) struct Child {
    pub(super) process: Option<Process>,
    pub(super) reason: String,
    pub(super) place: String,
}

impl Child {
    /// `Child ID of Supervisor NAME terminated`, the reason on the next line, then `Pid: #PID<0.1.0>` and `Start Call: M.f(`.
    pub(super) fn told_by(text: &str) -> Self {
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let what = first.strip_suffix(" terminated").or(first.strip_suffix(" failed to start"));
        let place = what.unwrap_or(first).replace("Child ", "child ").replace("Supervisor ", "");
        let reason = lines.next().unwrap_or_default();
        let reason = reason.strip_prefix("** (exit) ").unwrap_or(reason);
        let mut child = Child { process: None, reason: template::of_text(reason), place };
        for line in lines.map(str::trim) {
            if let Some(pid) = line.strip_prefix("Pid: #PID<") {
                let mut parts = pid.trim_end_matches('>').split('.').skip(1).map(str::parse);
                if let (Some(Ok(id)), Some(Ok(serial))) = (parts.next(), parts.next()) {
                    child.process = Some(Process { id, serial });
                }
            } else if let Some((call, _)) =
                line.strip_prefix("Start Call: ").and_then(|call| call.split_once('('))
                && let Some((module, _)) = call.rsplit_once('.')
                && !is_platform(&format!("Elixir.{module}"))
            {
                module.trim_start_matches(':').clone_into(&mut child.place);
            }
        }
        child
    }
}

pub(super) fn process(term: TermRef<'_>) -> Option<Process> {
    match term.view() {
        Term::Pid { id, serial, .. } => Some(Process { id, serial }),
        _ => None,
    }
}
