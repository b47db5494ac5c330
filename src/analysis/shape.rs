//! The shape of a reason: what stays the same when the same fault happens again.
//!
//! Atoms and the arity of tuples are kept. Process ids, references, ports, numbers, texts and lists are the data
//! of one occurrence, and left out. Of a struct its name is kept, of another map what it says of the sort of an error. A call, as `exit` reasons of `gen_server:call`
//! have it, is named by who was called and by the tag of the request.

use std::fmt::Write as _;

use super::failure::Failure;
use crate::etf::text::write_atom;
use crate::etf::{AtomRef, Term, TermRef};

/// Stands for what is left out.
const DATA: &str = "_";

/// So deep a reason is looked at.
const MAX_DEPTH: usize = 6;

/// A tuple of more elements is a record, of which its name is kept.
const MAX_ELEMENTS: usize = 6;

/// The most bytes of a shape, about.
const MAX_BYTES: usize = 300;

/// The shape of a reason.
pub(super) fn of_reason(reason: TermRef<'_>) -> String {
    let mut out = String::new();
    shape(&mut out, reason, 0, false);
    out
}

/// The name of a module, function or process as people write it: that of an Elixir module without its prefix.
pub(super) fn name(atom: AtomRef<'_>) -> String {
    let text = atom.to_str();
    match text.strip_prefix("Elixir.") {
        Some(module) => module.to_owned(),
        None => {
            let mut out = String::new();
            write_atom(&mut out, &text).expect("strings take everything");
            out
        }
    }
}

/// A name without the numbers that tell those of its kind apart: `worker_17` is `worker_#`.
pub(super) fn name_without_numbers(atom: AtomRef<'_>) -> String {
    let mut out = String::new();
    for c in name(atom).chars() {
        match c.is_ascii_digit() {
            false => out.push(c),
            true if out.ends_with('#') => {}
            true => out.push('#'),
        }
    }
    out
}

/// `has_status`: the term is part of what somebody says of HTTP.
fn shape(out: &mut String, term: TermRef<'_>, depth: usize, has_status: bool) {
    if depth > MAX_DEPTH || out.len() > MAX_BYTES {
        return out.push_str(DATA);
    }
    match term.view() {
        // The name of a node is data, too.
        Term::Atom(atom) if atom.to_str().contains('@') => out.push_str(DATA),
        Term::Atom(atom) => out.push_str(&name(atom)),
        Term::Tuple(elements) => {
            // A reason with the stack trace that led to it; and one that came from a process that was called.
            if let Some([inner, second]) = term.as_tuple() {
                if Failure::of(term).stack.is_some() {
                    return shape(out, inner, depth, has_status);
                }
                if let Some(call) = call(second) {
                    shape(out, inner, depth, has_status);
                    return out.push_str(&call);
                }
            }
            let arity = elements.len();
            // Older releases say of which record, newer ones with which value.
            if let Some([tag, _]) = term.as_tuple()
                && tag.is_atom("badrecord")
            {
                return out.push_str("{badrecord,_}");
            }
            if arity > MAX_ELEMENTS {
                out.push('{');
                let first = elements.into_iter().next();
                match first.and_then(TermRef::as_atom) {
                    Some(tag) => out.push_str(&name(tag)),
                    None => out.push_str(DATA),
                }
                write!(out, "/{arity}}}").expect("strings take everything");
                return;
            }
            out.push('{');
            let tag = elements.clone().next().and_then(TermRef::as_atom).map(AtomRef::to_str);
            let has_status =
                has_status || tag.is_some_and(|tag| tag.contains("http") || tag.contains("status"));
            for (n, element) in elements.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                shape(out, element, depth + 1, has_status);
            }
            out.push('}');
        }
        Term::Map(_) => {
            let Some(name_of) = term.map_get("__struct__").and_then(TermRef::as_atom) else {
                return map(out, term);
            };
            out.push_str(&name(name_of));
            if term.map_get("__exception__").is_some_and(|it| it.is_atom("true")) {
                let sort = sort_of(term);
                if !sort.is_empty() {
                    write!(out, " {sort}").expect("strings take everything");
                }
            }
            // What Erlang raised, and what did not match: as in Erlang's own reasons.
            let of_erlang = [
                ("Elixir.ErlangError", "original"),
                ("Elixir.MatchError", "term"),
                ("Elixir.CaseClauseError", "term"),
                ("Elixir.WithClauseError", "term"),
                ("Elixir.TryClauseError", "term"),
            ];
            let of_erlang = of_erlang.iter().find(|(exception, _)| name_of.is(exception));
            if let Some(inner) = of_erlang.and_then(|(_, key)| term.map_get(key)) {
                out.push(' ');
                shape(out, inner, depth + 1, false);
            }
        }
        // The status of an answer is no datum of the request.
        Term::Integer(status @ 100..600) if has_status => {
            write!(out, "{status}").expect("strings take everything");
        }
        Term::List(_) => list(out, term, depth),
        _ => out.push_str(DATA),
    }
}

/// A map that says nothing of the sort of an error is data.
fn map(out: &mut String, map: TermRef<'_>) {
    match &*sort_of(map) {
        "" => out.push_str(DATA),
        sort => out.push_str(sort),
    }
}

/// What a map says of the sort of an error, under the keys that libraries use for that; of an exception, a map in it too.
fn sort_of(map: TermRef<'_>) -> String {
    /// What databases say of the sort of an error (ISO/IEC 9075).
    const SQLSTATE_BYTES: usize = 5;
    let mut found = Vec::new();
    for key in ["class", "code", "error", "reason", "type"] {
        let Some(value) = map.map_get(key) else { continue };
        match value.view() {
            Term::Atom(value) if !value.is("nil") => {
                found.push(format!("{key} => {}", name(value)))
            }
            Term::Binary(value) | Term::String(value)
                if key == "code"
                    && value.len() == SQLSTATE_BYTES
                    && value.iter().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()) =>
            {
                found.push(format!("{key} => {}", String::from_utf8_lossy(value)));
            }
            _ => {}
        }
    }
    if found.is_empty()
        && map.map_get("__exception__").is_some()
        && let Term::Map(pairs) = map.view()
    {
        let is_plain = |value: &TermRef<'_>| {
            matches!(value.view(), Term::Map(_)) && value.map_get("__struct__").is_none()
        };
        let inner = pairs.into_iter().map(|(_, value)| value).filter(is_plain).map(sort_of);
        return inner.into_iter().find(|sort| !sort.is_empty()).unwrap_or_default();
    }
    match found.is_empty() {
        true => String::new(),
        false => format!("#{{{}}}", found.join(",")),
    }
}

/// The shape of a list of things of different sorts, each with its name; of any other, data.
fn list(out: &mut String, term: TermRef<'_>, depth: usize) {
    let tag = |element: TermRef<'_>| match element.view() {
        Term::Tuple(mut elements) => Some(elements.next()?.as_atom()?.to_str().into_owned()),
        _ => None,
    };
    let mut tags = Vec::new();
    for element in term.cells().take(MAX_ELEMENTS + 1) {
        match tag(element) {
            Some(tag) if !tags.contains(&tag) => tags.push(tag),
            _ => return out.push_str(DATA),
        }
    }
    if !(2..=MAX_ELEMENTS).contains(&tags.len()) {
        return out.push_str(DATA);
    }
    out.push('[');
    for (n, element) in term.cells().enumerate() {
        if n > 0 {
            out.push(',');
        }
        shape(out, element, depth + 1, false);
    }
    out.push(']');
}

/// ` calling TARGET REQUEST` of `{Module, Function, Args}`, as who waited in vain for an answer says it.
fn call(term: TermRef<'_>) -> Option<String> {
    let [module, function, args] = term.as_tuple()?;
    let (module, function) = (module.as_atom()?, function.as_atom()?);
    let mut cells = args.cells();
    if cells.is_empty() || cells.tail() != TermRef::NIL {
        return None;
    }
    let is_request = function.is("call")
        && ["gen_server", "gen_statem", "gen_event", "gen", "Elixir.GenServer"]
            .iter()
            .any(|name| module.is(name));
    if !is_request {
        let count = args.cells().count();
        let between = if module.to_str().starts_with("Elixir.") { '.' } else { ':' };
        return Some(format!(" calling {}{between}{}/{count}", name(module), name(function)));
    }
    let mut out = " calling ".to_owned();
    target(&mut out, cells.next()?);
    let request = cells.next();
    let tag = request.and_then(|request| {
        let Term::Tuple(elements) = request.view() else { return request.as_atom() };
        elements.into_iter().next()?.as_atom()
    });
    if let Some(tag) = tag {
        write!(out, " ({})", name(tag)).expect("strings take everything");
    }
    Some(out)
}

/// Who was called, as far as that is a name.
fn target(out: &mut String, term: TermRef<'_>) {
    match term.view() {
        Term::Atom(atom) => out.push_str(&name_without_numbers(atom)),
        Term::Tuple(_) => match term.as_tuple::<2>() {
            Some([scope, inner]) if scope.is_atom("global") => target(out, inner),
            Some([process, _node]) => target(out, process),
            None => match term.as_tuple::<3>() {
                Some([_via, _registry, inner]) => target(out, inner),
                None => out.push_str(DATA),
            },
        },
        _ => out.push_str("a process"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etf::text::parse;

    fn shape_of(text: &str) -> String {
        of_reason(parse(text).unwrap().as_term())
    }

    #[test]
    fn data_is_left_out_and_atoms_and_arity_stay() {
        for (reason, shape) in [
            ("{badmatch,{error,enoent}}", "{badmatch,{error,enoent}}"),
            ("{badmatch,{error,{17,\"x\",<<1>>}}}", "{badmatch,{error,{_,_,_}}}"),
            ("{badkey,[1,2]}", "{badkey,_}"),
            ("{nodedown,'b@host'}", "{nodedown,_}"),
            ("{http,{\"HTTP/1.1\",503,\"x\"},404000}", "{http,{_,503,_},_}"),
            ("{state,1,2,3,4,5,6}", "{state/7}"),
            ("{timeout,{gen_server,call,[db,{get,17},5000]}}", "timeout calling db (get)"),
            ("{noproc,{gen_server,call,[{global,db_12},status]}}", "noproc calling db_# (status)"),
            ("{{badmatch,1},[{m,f,1,[]}]}", "{badmatch,_}"),
            (
                "{{{badmatch,1},[{m,f,1,[]}]},{gen_server,call,[db,x]}}",
                "{badmatch,_} calling db (x)",
            ),
            ("#{'__struct__' => 'Elixir.Shop.Error', reason => secret}", "Shop.Error"),
            ("#{a => 1}", "_"),
            ("[{a,1},{a,2}]", "_"),
            ("[{to,{\"h\",80}},{inet,[inet],econnrefused}]", "[{to,{_,_}},{inet,_,econnrefused}]"),
            ("{pg,#{code => <<\"42P01\">>, message => <<\"x\">>}}", "{pg,#{code => 42P01}}"),
            ("{a,{b,{c,{d,{e,{f,{g,{h,i}}}}}}}}", "{a,{b,{c,{d,{e,{f,{_,_}}}}}}}"),
        ] {
            assert_eq!(shape_of(reason), shape, "{reason}");
        }
    }
}
