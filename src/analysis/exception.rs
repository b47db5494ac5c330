//! Exceptions in words, as crash reports have them.
//!
//! Texts: `erl_error:format_exception/8` of OTP 23 to 29, with `FILE:LINE` as OTP 28 and later write places. What a module
//! itself says of its errors since OTP 24 (`error_info`: `*** argument 1: not an atom`) would need its code, and is left
//! out.

use super::report::find;
use crate::etf::text::{Lines, Printer, write_atom};
use crate::etf::{AtomRef, Term, TermBuf, TermRef, encode};

/// A call in a stack trace, in place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) module: AtomRef<'a>,
    pub(super) function: AtomRef<'a>,
    pub(super) arity: usize,
    /// The arguments, where they are told.
    args: Option<TermRef<'a>>,
    info: TermRef<'a>,
}

impl<'a> Call<'a> {
    /// The call that an entry of a stack trace is.
    pub(super) fn of(entry: TermRef<'a>) -> Option<Self> {
        let [module, function, args, info] = entry.as_tuple()?;
        let (module, function) = (module.as_atom()?, function.as_atom()?);
        if !is_proper_list(info) {
            return None;
        }
        let (arity, args) = match args.as_integer() {
            Some(arity) => (usize::try_from(arity).ok()?, None),
            None if is_proper_list(args) => (args.cells().count(), Some(args)),
            None => return None,
        };
        Some(Call { module, function, arity, args, info })
    }

    /// The line that the call is in.
    pub(super) fn line(&self) -> Option<u64> {
        u64::try_from(find(self.info, "line")?.as_integer()?).ok()
    }

    /// The file and the line that the call is in.
    pub(super) fn place(&self) -> Option<(String, u64)> {
        let line = self.line()?;
        let mut file = Printer::new(MAX_FILE_BYTES, Lines::One, None);
        file.chardata(find(self.info, "file")?);
        Some((file.finish(), line))
    }

    /// `MODULE:FUNCTION`, or the name alone of a function that needs no module.
    fn name(&self) -> String {
        let (module, function) = (self.module.to_str(), self.function.to_str());
        let mut text = String::new();
        let is_own = module == "erlang" && is_operator(&function, self.arity) && function != "/";
        if is_own {
            return function.into_owned();
        }
        if !(module == "erlang"
            && (function == "/" && self.arity == 2 || is_imported(&function, self.arity)))
        {
            write_atom(&mut text, &module).expect("strings take everything");
            text.push(':');
        }
        write_atom(&mut text, &function).expect("strings take everything");
        text
    }

    fn operator(&self) -> Option<String> {
        let function = self.function.to_str();
        (self.module.is("erlang") && is_operator(&function, self.arity))
            .then(|| function.into_owned())
    }

    fn is_of(&self, module: &str) -> bool {
        self.module.is(module)
    }
}

/// The most bytes of a file's name that are shown.
const MAX_FILE_BYTES: usize = 1024;

/// The most calls of a stack trace that are looked at.
const MAX_CALLS: usize = 1024;

fn is_proper_list(term: TermRef<'_>) -> bool {
    matches!(term.view(), Term::Nil | Term::List(_) | Term::String(_))
        && term.cells().tail() == TermRef::NIL
}

/// The calls of a stack trace, innermost first; `None` if the term is none.
pub(super) fn calls(stack: TermRef<'_>) -> Option<Vec<Call<'_>>> {
    if !is_proper_list(stack) {
        return None;
    }
    stack.cells().take(MAX_CALLS).map(Call::of).collect()
}

/// Adds the words for an exception, in a text that is indented by `indent` spaces: `exception error: ` and so on.
pub(super) fn print(
    out: &mut Printer,
    indent: usize,
    class: TermRef<'_>,
    reason: TermRef<'_>,
    stack: TermRef<'_>,
) {
    let title = format!("exception {}: ", class.as_atom().map_or("error".into(), AtomRef::to_str));
    out.push(&title);
    let words = Words { indent, title: title.len(), spare: out.another() };
    let is_error = class.is_atom("error");
    let Some(mut calls) = calls(stack) else {
        let both = TermBuf::written(|bytes| {
            encode::tuple_header(bytes, 2);
            bytes.extend_from_slice(reason.bytes());
            bytes.extend_from_slice(stack.bytes());
        });
        out.term_at(both.as_term(), words.column(0));
        return;
    };
    match calls.first().copied() {
        Some(call) if is_error && reason.is_atom("function_clause") && call.args.is_some() => {
            calls.remove(0);
            out.push("no function clause matching ");
            let before = " ".repeat(indent + title.len());
            out.push(&words.call(&call, &before, "no function clause matching "));
            out.push(" ");
            place(out, &call);
        }
        Some(call) if is_error && reason.is_atom("undef") => {
            calls.remove(0);
            out.push(&format!("undefined function {}/{}", call.name(), call.arity));
        }
        _ => words.reason(out, is_error, reason),
    }
    while calls.last().is_some_and(|call| call.is_of("erl_eval") || call.is_of("proc_lib")) {
        calls.pop();
    }
    let indent = " ".repeat(indent + 2);
    for (n, call) in calls.iter().enumerate() {
        out.push("\n");
        out.push(&indent);
        out.push(match (n, call.operator()) {
            (0, Some(_)) => "in operator  ",
            (0, None) => "in function  ",
            _ => "in call from ",
        });
        out.push(&format!("{}/{}", call.name(), call.arity));
        if call.args.is_some() {
            let before = format!("{indent}   called as ");
            out.push("\n");
            out.push(&before);
            out.push(&words.call(call, &before, ""));
        } else {
            out.push(" ");
            place(out, call);
        }
    }
}

/// `(FILE:LINE)`, if it is known.
fn place(out: &mut Printer, call: &Call<'_>) {
    if let Some((file, line)) = call.place() {
        out.push(&format!("({file}:{line})"));
    }
}

/// What the words for one exception have in common.
struct Words {
    indent: usize,
    /// The length of `exception CLASS: `.
    title: usize,
    /// To print terms beside the text.
    spare: Printer,
}

impl Words {
    /// The column after the title and `more` characters, from 1.
    fn column(&self, more: usize) -> i64 {
        column(self.indent + self.title + more)
    }

    fn term(&self, term: TermRef<'_>, column: i64) -> String {
        let mut text = self.spare.another();
        text.term_at(term, column);
        text.finish()
    }

    fn reason(&self, out: &mut Printer, is_error: bool, reason: TermRef<'_>) {
        let words = reason.as_atom().and_then(|atom| {
            Some(match (&*atom.to_str(), is_error) {
                ("badarg", true) => "bad argument",
                ("badarith", true) => "an error occurred when evaluating an arithmetic expression",
                ("if_clause", true) => "no true branch found when evaluating an if expression",
                ("noproc", true) => "no such process or port",
                ("notalive", true) => "the node cannot be part of a distributed system",
                ("system_limit", true) => "a system limit has been reached",
                ("timeout_value", true) => "bad receive timeout value",
                ("calling_self", false) => "the current process attempted to call itself",
                _ => return None,
            })
        });
        if let Some(words) = words {
            return out.push(words);
        }
        let explained = reason.as_tuple().filter(|_| is_error).and_then(|[tag, value]| {
            let words = match &*tag.as_atom()?.to_str() {
                "badarg" => "bad argument: ",
                "badkey" => "bad key: ",
                "badmap" => "bad map: ",
                "badfun" => "bad function ",
                "badmatch" => "no match of right hand side value ",
                "case_clause" => "no case clause matching ",
                "else_clause" => "no else clause matching ",
                "try_clause" => "no try clause matching ",
                "bad_filter" => "bad filter ",
                "bad_generator" => "bad generator ",
                "bad_generators" => "bad generators: ",
                "badarity" => return bad_arity(value),
                _ => return None,
            };
            Some(format!("{words}{}", self.value(value, words)))
        });
        match explained {
            Some(text) => out.push(&text),
            None => out.term_at(reason, self.column(0)),
        }
    }

    /// A value after some words, on a line of its own if it is shorter there.
    fn value(&self, value: TermRef<'_>, words: &str) -> String {
        let text = self.term(value, self.column(words.len()));
        if lines(&text) > 1 {
            let below = self.term(value, self.column(0));
            if lines(&below) < lines(&text) {
                return format!("\n{}{below}", " ".repeat(self.indent + self.title));
            }
        }
        text
    }

    /// A call with its arguments after `words`, in a text that has `before` at the beginning of its line.
    fn call(&self, call: &Call<'_>, before: &str, words: &str) -> String {
        let args = call.args.expect("only called with arguments");
        let mut cells = args.cells();
        match (call.operator(), cells.next(), cells.next()) {
            (Some(operator), Some(one), None) => {
                let at = words.len() + before.len() + operator.len() + 1;
                format!("{operator} {}", self.term(one, column(at)))
            }
            (Some(operator), Some(one), Some(two)) => {
                let at = words.len() + before.len();
                let (left, below) = (self.term(one, column(at)), self.term(two, column(at)));
                let new_line = format!("\n{}", " ".repeat(at));
                let beside = self.term(two, column(at + operator.len() + 2 + left.chars().count()));
                if lines(&left) > 0 || lines(&below) < lines(&beside) {
                    format!("{left}{new_line}{operator}{new_line}{below}")
                } else {
                    format!("{left} {operator} {beside}")
                }
            }
            _ => {
                let name = call.name();
                let (at, below) =
                    (before.len() + words.len() + name.len(), before.len() + name.len());
                let beside = self.arguments(args, at);
                let under = self.arguments(args, below);
                // Two arguments of six letters must fit.
                let is_long = column(at) + SHORT_ARGUMENTS >= 80;
                if is_long || lines(&under) < lines(&beside) {
                    format!("\n{before}{name}{under}")
                } else {
                    format!("{name}{beside}")
                }
            }
        }
    }

    /// Arguments in parentheses, from `at` on.
    fn arguments(&self, args: TermRef<'_>, at: usize) -> String {
        let mut text = self.spare.another();
        // The list itself is no string, whatever is in it.
        let is_text = args.cells().all(|arg| matches!(arg.view(), Term::Integer(_)));
        if is_text {
            text.plain_term_at(args, column(at));
        } else {
            text.term_at(args, column(at));
        }
        let text = text.finish();
        let inner = text.strip_prefix('[').unwrap_or(&text);
        format!("({})", inner.strip_suffix(']').unwrap_or(inner))
    }
}

/// The length of `[a2345,b2345]`.
const SHORT_ARGUMENTS: i64 = 13;

/// The column after so many characters, from 1.
fn column(chars: usize) -> i64 {
    i64::try_from(chars).expect("texts are limited") + 1
}

fn lines(text: &str) -> usize {
    text.matches('\n').count()
}

fn bad_arity(value: TermRef<'_>) -> Option<String> {
    let [fun, args] = value.as_tuple()?;
    let name = match fun.view() {
        Term::Export { module, function, arity } => {
            let call =
                Call { module, function, arity: arity.into(), args: None, info: TermRef::NIL };
            format!("{}/{arity}", call.name())
        }
        // Its name is known to its own node only.
        Term::Fun(_) => fun.to_string(),
        _ => return None,
    };
    let count = args.cells().count();
    let arguments = match count {
        0 => "no arguments".to_owned(),
        1 => "one argument".to_owned(),
        2 => "two arguments".to_owned(),
        count => format!("{count} arguments"),
    };
    Some(format!("{name} called with {arguments}"))
}

/// `erl_internal:op_type/2`.
fn is_operator(name: &str, arity: usize) -> bool {
    match arity {
        1 => matches!(name, "+" | "-" | "bnot" | "not"),
        2 => matches!(
            name,
            "!" | "*"
                | "+"
                | "++"
                | "-"
                | "--"
                | "/"
                | "/="
                | "<"
                | "=/="
                | "=:="
                | "=<"
                | "=="
                | ">"
                | ">="
                | "and"
                | "band"
                | "bor"
                | "bsl"
                | "bsr"
                | "bxor"
                | "div"
                | "or"
                | "rem"
                | "xor"
        ),
        _ => false,
    }
}

/// `erl_internal:bif/2`: functions of `erlang` that are called without their module.
fn is_imported(name: &str, arity: usize) -> bool {
    IMPORTED.iter().any(|(imported, arities)| *imported == name && arities.contains(&arity))
}

/// Of OTP 29; earlier ones have no others that are called.
const IMPORTED: [(&str, &[usize]); 123] = [
    ("abs", &[1]),
    ("alias", &[0, 1]),
    ("apply", &[2, 3]),
    ("atom_to_binary", &[1, 2]),
    ("atom_to_list", &[1]),
    ("binary_part", &[2, 3]),
    ("binary_to_atom", &[1, 2]),
    ("binary_to_existing_atom", &[1, 2]),
    ("binary_to_float", &[1]),
    ("binary_to_integer", &[1, 2]),
    ("binary_to_list", &[1, 3]),
    ("binary_to_term", &[1, 2]),
    ("bit_size", &[1]),
    ("bitstring_to_list", &[1]),
    ("byte_size", &[1]),
    ("ceil", &[1]),
    ("check_old_code", &[1]),
    ("check_process_code", &[2, 3]),
    ("date", &[0]),
    ("delete_module", &[1]),
    ("demonitor", &[1, 2]),
    ("disconnect_node", &[1]),
    ("element", &[2]),
    ("erase", &[0, 1]),
    ("error", &[1, 2, 3]),
    ("exit", &[1, 2, 3]),
    ("exit_signal", &[2, 3]),
    ("float", &[1]),
    ("float_to_binary", &[1, 2]),
    ("float_to_list", &[1, 2]),
    ("floor", &[1]),
    ("garbage_collect", &[0, 1, 2]),
    ("get", &[0, 1]),
    ("get_keys", &[0, 1]),
    ("group_leader", &[0, 2]),
    ("halt", &[0, 1, 2]),
    ("hd", &[1]),
    ("integer_to_binary", &[1, 2]),
    ("integer_to_list", &[1, 2]),
    ("iolist_size", &[1]),
    ("iolist_to_binary", &[1]),
    ("is_alive", &[0]),
    ("is_atom", &[1]),
    ("is_binary", &[1]),
    ("is_bitstring", &[1]),
    ("is_boolean", &[1]),
    ("is_float", &[1]),
    ("is_function", &[1, 2]),
    ("is_integer", &[1, 3]),
    ("is_list", &[1]),
    ("is_map", &[1]),
    ("is_map_key", &[2]),
    ("is_number", &[1]),
    ("is_pid", &[1]),
    ("is_port", &[1]),
    ("is_process_alive", &[1]),
    ("is_record", &[1, 2, 3]),
    ("is_reference", &[1]),
    ("is_tuple", &[1]),
    ("length", &[1]),
    ("link", &[1, 2]),
    ("list_to_atom", &[1]),
    ("list_to_binary", &[1]),
    ("list_to_bitstring", &[1]),
    ("list_to_existing_atom", &[1]),
    ("list_to_float", &[1]),
    ("list_to_integer", &[1, 2]),
    ("list_to_pid", &[1]),
    ("list_to_port", &[1]),
    ("list_to_ref", &[1]),
    ("list_to_tuple", &[1]),
    ("load_module", &[2]),
    ("make_ref", &[0]),
    ("map_get", &[2]),
    ("map_size", &[1]),
    ("max", &[2]),
    ("min", &[2]),
    ("module_loaded", &[1]),
    ("monitor", &[2, 3]),
    ("monitor_node", &[2]),
    ("node", &[0, 1]),
    ("nodes", &[0, 1, 2]),
    ("now", &[0]),
    ("open_port", &[2]),
    ("pid_to_list", &[1]),
    ("port_close", &[1]),
    ("port_command", &[2, 3]),
    ("port_connect", &[2]),
    ("port_control", &[3]),
    ("port_to_list", &[1]),
    ("pre_loaded", &[0]),
    ("process_flag", &[2, 3]),
    ("process_info", &[1, 2]),
    ("processes", &[0]),
    ("purge_module", &[1]),
    ("put", &[2]),
    ("ref_to_list", &[1]),
    ("register", &[2]),
    ("registered", &[0]),
    ("round", &[1]),
    ("self", &[0]),
    ("setelement", &[3]),
    ("size", &[1]),
    ("spawn", &[1, 2, 3, 4]),
    ("spawn_link", &[1, 2, 3, 4]),
    ("spawn_monitor", &[1, 2, 3, 4]),
    ("spawn_opt", &[2, 3, 4, 5]),
    ("spawn_request", &[1, 2, 3, 4, 5]),
    ("spawn_request_abandon", &[1]),
    ("split_binary", &[2]),
    ("statistics", &[1]),
    ("term_to_binary", &[1, 2]),
    ("term_to_iovec", &[1, 2]),
    ("throw", &[1]),
    ("time", &[0]),
    ("tl", &[1]),
    ("trunc", &[1]),
    ("tuple_size", &[1]),
    ("tuple_to_list", &[1]),
    ("unalias", &[1]),
    ("unlink", &[1]),
    ("unregister", &[1]),
    ("whereis", &[1]),
];
