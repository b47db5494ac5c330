//! An entry as a person reads it: when, how bad, where and what on one line, and below it what there is more to say.
//!
//! An entry whose event has a view is laid out from it; any other is its Erlang text. All of it comes from strangers: what
//! would do something to a terminal is shown and not done.

use std::fmt::Write;

use serde_json::Value;

use super::Failure;
use super::output::event;
use super::selection::Entry;
use crate::strangers::Plain;
use crate::time::{Timestamp, moment};

/// What the terminal can do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Style {
    /// Whether it is a terminal that takes colours.
    pub(super) colours: bool,
    /// How wide it is; `None` where lines may be as long as they are.
    pub(super) columns: Option<usize>,
}

const BOLD: &str = "1";
const DIM: &str = "2";

/// What stands before the lines of a detail.
const INDENT: &str = "    ";

/// The shortest message that is left of one that is cut.
const MIN_MESSAGE_CHARS: usize = 20;

/// The lines of an entry, each with its end.
pub(super) fn lines(entry: &Entry<'_>, now: Timestamp, style: Style) -> Result<String, Failure> {
    let mut out = String::new();
    paint(&mut out, style, DIM, &time(entry.timestamp()));
    let ago = ago(entry.timestamp(), now);
    if let Some(ago) = &ago {
        paint(&mut out, style, DIM, &format!(" ({ago})"));
    }
    let Value::Object(view) = &entry.view else {
        let event = event(entry)?;
        writeln!(out, "  {}", Plain(&event.to_string())).expect("strings take everything");
        return Ok(out);
    };
    let field = |name: &str| view.get(name).and_then(text);
    let level = field("level").unwrap_or_default();
    out.push_str("  ");
    paint(&mut out, style, colour(&level), &format!("{:<7}", Plain(&level).to_string()));
    let mut used = 26 + ago.map_or(0, |ago| ago.len() + 3) + 2 + level.chars().count().max(7);
    if let Some(node) = field("node") {
        let node = format!("  {}", Plain(&node));
        used += node.chars().count();
        out.push_str(&node);
    }
    let who = field("registered_name").filter(|name| !name.is_empty()).or_else(|| field("pid"));
    if let Some(who) = who {
        let who = format!(" {}", Plain(&who));
        used += who.chars().count();
        paint(&mut out, style, DIM, &who);
    }
    let message = field("message").unwrap_or_default();
    let detail = field("detail").unwrap_or_default();
    let more = detail_lines(&message, &detail);
    let message = Plain(&message).to_string();
    // Nothing is lost: the detail says all of it.
    let room = style.columns.filter(|_| !more.is_empty());
    let room = room.map(|columns| columns.saturating_sub(used + 2).max(MIN_MESSAGE_CHARS));
    let message = shortened(&message, room);
    out.push_str("  ");
    paint(&mut out, style, if is_bad(&level) { BOLD } else { "" }, &message);
    out.push('\n');
    for line in more {
        let line = line.replace('\t', "    ");
        writeln!(out, "{INDENT}{}", Plain(&line)).expect("strings take everything");
    }
    let said = if detail.is_empty() { &message } else { &detail };
    if let Some(reason) = field("reason").filter(|reason| !said.contains(reason.as_str())) {
        writeln!(out, "{INDENT}reason: {}", Plain(&reason)).expect("strings take everything");
    }
    let frames = view.get("stacktrace").and_then(Value::as_array);
    let frames: Vec<_> = frames.into_iter().flatten().filter_map(Frame::of).collect();
    if !frames.iter().all(|frame| frame.is_in(&detail)) {
        for (number, frame) in frames.iter().enumerate() {
            let at = if number == 0 { "at" } else { "  " };
            write!(out, "{INDENT}{at} {}", Plain(&frame.call)).expect("strings take everything");
            if let Some((file, line)) = &frame.place {
                out.push(' ');
                paint(&mut out, style, DIM, &format!("({}:{})", Plain(file), Plain(line)));
            }
            out.push('\n');
        }
    }
    Ok(out)
}

/// `2026-11-22 10:31:02.123456`, in UTC: `--since` takes it.
pub(super) fn time(timestamp: Timestamp) -> String {
    moment::rfc3339(timestamp).replacen('T', " ", 1).trim_end_matches('Z').to_owned()
}

/// How long ago, roughly; `None` for what is just happening.
pub(super) fn ago(timestamp: Timestamp, now: Timestamp) -> Option<String> {
    let span = |micros: u64| match micros / 1_000_000 {
        0 => None,
        seconds @ 1..60 => Some(format!("{seconds}s")),
        seconds @ 60..3_600 => Some(format!("{}m", seconds / 60)),
        seconds @ 3_600..86_400 => Some(format!("{}h", seconds / 3_600)),
        seconds => Some(format!("{}d", seconds / 86_400)),
    };
    match now.micros().checked_sub(timestamp.micros()) {
        Some(past) => span(past).map(|span| format!("{span} ago")),
        None => span(timestamp.micros() - now.micros()).map(|span| format!("in {span}")),
    }
}

/// The text of a field that is one; numbers as they are.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The lines of the detail, unless they say what the message says; without empty ones around them.
fn detail_lines<'a>(message: &str, detail: &'a str) -> Vec<&'a str> {
    let words = |text: &str| text.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
    let lines: Vec<_> = detail.lines().map(str::trim_end).collect();
    let is_one_line = lines.iter().filter(|line| !line.is_empty()).count() <= 1;
    if is_one_line && words(message) == words(detail) {
        return Vec::new();
    }
    let begin = lines.iter().position(|line| !line.is_empty()).unwrap_or(lines.len());
    let end = lines.iter().rposition(|line| !line.is_empty()).map_or(begin, |last| last + 1);
    lines[begin..end].to_vec()
}

/// At most so many characters, the last of which tells that there are more.
fn shortened(text: &str, room: Option<usize>) -> String {
    match room.and_then(|room| Some((text.char_indices().nth(room)?, room))) {
        Some((_, room)) => text.chars().take(room - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

/// A call of a stack trace.
struct Frame {
    /// `module:function/arity`
    call: String,
    /// The source file and the line in it, if they are known.
    place: Option<(String, String)>,
}

impl Frame {
    fn of(value: &Value) -> Option<Self> {
        if let Value::String(call) = value {
            return Some(Frame { call: call.clone(), place: None });
        }
        let field = |name: &str| value.get(name).and_then(text);
        let (module, function) = (field("module")?, field("function")?);
        let arity = field("arity").map(|arity| format!("/{arity}")).unwrap_or_default();
        let place = field("file").zip(field("line"));
        Some(Frame { call: format!("{module}:{function}{arity}"), place })
    }

    /// Whether a detail has this call: by its place if that is known, as names are written in the ways of two languages.
    fn is_in(&self, detail: &str) -> bool {
        match &self.place {
            Some((file, line)) => {
                detail.contains(&format!("{file}:{line}"))
                    || detail.contains(&format!("{file}, line {line}"))
            }
            None => detail.contains(&self.call),
        }
    }
}

fn is_bad(level: &str) -> bool {
    matches!(level, "emergency" | "alert" | "critical" | "error")
}

/// As the terminal takes it.
fn colour(level: &str) -> &'static str {
    match level {
        "emergency" | "alert" | "critical" => "1;37;41",
        "error" => "1;31",
        "warning" => "33",
        "notice" => "36",
        "info" => "32",
        _ => DIM,
    }
}

fn paint(out: &mut String, style: Style, code: &str, text: &str) {
    match style.colours && !code.is_empty() {
        true => write!(out, "\u{1b}[{code}m{text}\u{1b}[0m").expect("strings take everything"),
        false => out.push_str(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_795_343_462_123_456);

    fn shown(view: &Value, style: Style) -> String {
        let json = json!({"micros": NOW.micros() - 180_000_000, "event": {"$tuple": [1, "a"]}, "view": view});
        let json = json.to_string();
        lines(&Entry::parse(&json).ok().expect("an entry"), NOW, style).ok().expect("shown")
    }

    #[test]
    fn an_event_without_a_view_is_its_erlang_text() {
        let line = "2026-11-22 10:28:02.123456 (3m ago)  {1,<<\"a\">>}\n";
        assert_eq!(shown(&Value::Null, Style::default()), line);
    }

    #[test]
    fn a_log_message_is_one_line() {
        let view = json!({
            "level": "warning", "node": "a@host", "pid": "<0.41.0>", "registered_name": null, "kind": "log",
            "message": "disk almost full", "detail": "disk almost full", "reason": null, "stacktrace": [],
        });
        let line =
            "2026-11-22 10:28:02.123456 (3m ago)  warning  a@host <0.41.0>  disk almost full\n";
        assert_eq!(shown(&view, Style::default()), line);
    }

    /// As OTP 28 reports a crash of `proc_lib`.
    #[test]
    fn a_crash_is_laid_out_with_all_that_its_report_says() {
        let detail = "  crasher:\n    initial call: demo:init/1\n    pid: <0.90.0>\n    registered_name: demo\n    \
            exception error: no match of right hand side value 42\n      in function  demo:run/1 (demo.erl, line 12)\n    \
            ancestors: [demo_sup,<0.88.0>]\n";
        let frame = |module: &str, function: &str, line: u64| json!({"module": module, "function": function, "arity": 1, "file": format!("{module}.erl"), "line": line});
        let mut view = json!({
            "level": "error", "node": "a@host", "pid": "<0.90.0>", "registered_name": "demo", "kind": "crash",
            "message": "crasher: initial call: demo:init/1, pid: <0.90.0>, registered_name: demo, exception error: \
                no match of right hand side value 42, in function  demo:run/1 (demo.erl, line 12)",
            "detail": detail, "reason": "{badmatch,42}", "stacktrace": [frame("demo", "run", 12)],
        });
        let style = Style { columns: Some(100), ..Style::default() };
        let expected = "2026-11-22 10:28:02.123456 (3m ago)  error    a@host demo  crasher: initial call: demo:init/1, pid:…
      crasher:
        initial call: demo:init/1
        pid: <0.90.0>
        registered_name: demo
        exception error: no match of right hand side value 42
          in function  demo:run/1 (demo.erl, line 12)
        ancestors: [demo_sup,<0.88.0>]
    reason: {badmatch,42}
";
        assert_eq!(shown(&view, style), expected);
        // What the detail does not say is said below it.
        view["stacktrace"] = json!([frame("demo", "run", 12), frame("proc_lib", "init_p", 329)]);
        let frames =
            "    at demo:run/1 (demo.erl:12)\n       proc_lib:init_p/1 (proc_lib.erl:329)\n";
        assert_eq!(shown(&view, style), format!("{expected}{frames}"));
        view["stacktrace"] = json!(["demo:run/1 (demo.erl:12)"]);
        assert!(shown(&view, style).ends_with("    at demo:run/1 (demo.erl:12)\n"));
    }

    #[test]
    fn what_strangers_say_does_nothing_to_a_terminal() {
        let bad = "\u{1b}[2J\u{9b}1m\r\u{202e}x";
        let view = json!({
            "level": bad, "node": bad, "pid": bad, "message": bad, "detail": format!("{bad}\nsecond\tline"),
            "reason": format!("{bad}!"), "stacktrace": [{"module": bad, "function": bad, "file": bad, "line": bad}],
        });
        for (style, marks) in
            [(Style::default(), 0), (Style { colours: true, columns: Some(80) }, 1)]
        {
            let shown = shown(&view, style);
            let own = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[2m"];
            let rest = own.iter().fold(shown.clone(), |rest, own| rest.replace(own, ""));
            assert!(rest.chars().all(|c| c == '\n' || crate::strangers::is_plain(c)), "{shown:?}");
            assert_eq!(usize::from(rest != shown), marks);
        }
    }

    #[test]
    fn how_long_ago_is_one_number() {
        let check = |seconds: u64, expected: Option<&str>| {
            let then = Timestamp::from_micros(NOW.micros() - seconds * 1_000_000);
            assert_eq!(ago(then, NOW).as_deref(), expected, "{seconds}");
        };
        check(0, None);
        check(59, Some("59s ago"));
        check(60, Some("1m ago"));
        check(86_399, Some("23h ago"));
        check(10 * 86_400, Some("10d ago"));
        let later = Timestamp::from_micros(NOW.micros() + 7_000_000);
        assert_eq!(ago(later, NOW).as_deref(), Some("in 7s"));
    }
}
