//! Writing JSON.

use std::fmt::{self, Write};

use super::MAX_EXACT;
use crate::etf::stream::{Cell, Chunk, Head, Stream};
use crate::etf::tag::VERSION;
use crate::etf::text::print::{character, printable, write_float, write_leaf};
use crate::etf::{AtomRef, Term, TermRef, base64};

/// Writes a term as JSON on one line. The module's documentation has the mapping.
///
/// Costs two passes over the term and a byte of memory for each list and map.
///
/// # Errors
///
/// Those of `out`.
pub fn write_term(out: &mut impl Write, term: TermRef<'_>) -> fmt::Result {
    let forms = forms(term);
    Writer { out, stream: Stream::new(term), levels: Vec::new(), forms: forms.into_iter() }.write()
}

/// A term as JSON; see [`write_term`].
pub fn to_json(term: TermRef<'_>) -> String {
    let mut json = String::new();
    write_term(&mut json, term).expect("strings take everything");
    json
}

/// The form of a list or map, which only its end decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    List,
    Improper,
    /// A list of printable characters.
    String,
    /// A map of text keys.
    Object,
    /// A map of atom keys.
    Atoms,
    Pairs,
}

/// What is open during the first pass.
enum OpenPart {
    Terms(u64),
    Cells {
        chunk: Chunk,
        form: usize,
    },
    Map {
        /// Keys and values due.
        due: u64,
        form: usize,
        text: bool,
        atoms: bool,
    },
}

/// The forms of all lists and maps, in the order in which they begin.
fn forms(term: TermRef<'_>) -> Vec<Form> {
    let mut forms = Vec::new();
    let mut stream = Stream::new(term);
    let mut levels = vec![OpenPart::Terms(1)];
    while let Some(level) = levels.last_mut() {
        let mut key = None;
        match level {
            OpenPart::Terms(0) => {
                levels.pop();
                continue;
            }
            OpenPart::Terms(due) => *due -= 1,
            OpenPart::Cells { chunk, form } => match stream.cell(chunk) {
                Cell::Byte(_) => continue,
                Cell::Term => {}
                Cell::End => {
                    levels.pop();
                    continue;
                }
                Cell::Tail => {
                    forms[*form] = Form::Improper;
                    *level = OpenPart::Terms(0);
                }
            },
            OpenPart::Map { due: 0, form, text, atoms } => {
                forms[*form] = match (text, atoms) {
                    (true, _) => Form::Object,
                    (_, true) => Form::Atoms,
                    _ => Form::Pairs,
                };
                levels.pop();
                continue;
            }
            OpenPart::Map { due, text, atoms, .. } => {
                *due -= 1;
                if *due % 2 == 1 {
                    key = Some((text, atoms));
                }
            }
        }
        let head = stream.head();
        if let Some((text, atoms)) = key {
            *text &= matches!(head, Head::Leaf(Term::Binary(bytes)) if is_plain_key(bytes));
            *atoms &= matches!(head, Head::Leaf(Term::Atom(_)));
        }
        let form = forms.len();
        match head {
            Head::Leaf(_) => {}
            Head::Tuple(elements) => levels.push(OpenPart::Terms(elements.into())),
            Head::Fun(fun) => levels.push(OpenPart::Terms(fun.free.into())),
            Head::Map(pairs) => {
                forms.push(Form::Pairs);
                let due = 2 * u64::from(pairs);
                levels.push(OpenPart::Map { due, form, text: true, atoms: true });
            }
            Head::List(chunk) => match printable(stream, chunk) {
                Some(end) => {
                    forms.push(Form::String);
                    stream = end;
                }
                None => {
                    forms.push(Form::List);
                    levels.push(OpenPart::Cells { chunk, form });
                }
            },
        }
    }
    forms
}

/// Whether a binary can be a key of an object.
fn is_plain_key(bytes: &[u8]) -> bool {
    !bytes.starts_with(b"$") && std::str::from_utf8(bytes).is_ok()
}

/// What is open during the second pass.
enum Level {
    Elements { left: u32, first: bool },
    Cells { chunk: Chunk, first: bool, close: &'static str },
    Tail { close: &'static str },
    Map { left: u32, first: bool, form: Form, value: bool },
}

struct Writer<'a, W, F> {
    out: &'a mut W,
    stream: Stream<'a>,
    levels: Vec<Level>,
    forms: F,
}

impl<W: Write, F: Iterator<Item = Form>> Writer<'_, W, F> {
    fn write(&mut self) -> fmt::Result {
        loop {
            self.head()?;
            if !self.next()? {
                return Ok(());
            }
        }
    }

    fn form(&mut self) -> Form {
        self.forms.next().expect("the first pass saw every list and map")
    }

    /// Writes what is next: a leaf, or a container's beginning.
    fn head(&mut self) -> fmt::Result {
        let start = self.stream;
        match self.stream.head() {
            Head::Leaf(leaf) => {
                // In an object, keys are written as the strings that they are.
                let form = match self.levels.last() {
                    Some(Level::Map { value: true, form, .. }) => *form,
                    _ => Form::Pairs,
                };
                match (form, leaf) {
                    (Form::Atoms, Term::Atom(name)) => write_string(self.out, &name.to_str()),
                    (_, Term::NativeRecord(_)) => self.whole(start),
                    (_, leaf) => write_json_leaf(self.out, leaf),
                }
            }
            Head::Tuple(left) => {
                self.levels.push(Level::Elements { left, first: true });
                self.out.write_str("{\"$tuple\":[")
            }
            Head::Fun(fun) => {
                for _ in 0..fun.free {
                    self.stream.term();
                }
                self.skip_forms(start);
                self.whole(start)
            }
            Head::Map(left) => {
                let form = self.form();
                self.levels.push(Level::Map { left, first: true, form, value: false });
                self.out.write_str(match form {
                    Form::Object => "{",
                    Form::Atoms => "{\"$map\":{",
                    _ => "{\"$map\":[",
                })
            }
            Head::List(chunk) => match self.form() {
                Form::String => {
                    self.out.write_str("{\"$string\":")?;
                    self.characters(chunk)?;
                    self.out.write_char('}')
                }
                form => {
                    let (open, close) = match form {
                        Form::Improper => ("{\"$improper\":[", "]}"),
                        _ => ("[", "]"),
                    };
                    self.levels.push(Level::Cells { chunk, first: true, close });
                    self.out.write_str(open)
                }
            },
        }
    }

    /// Up to the next head: closes what is complete. Whether there is a next one.
    fn next(&mut self) -> Result<bool, fmt::Error> {
        let out = &mut *self.out;
        loop {
            match self.levels.last_mut() {
                None => return Ok(false),
                Some(Level::Elements { left: 0, .. }) => {
                    out.write_str("]}")?;
                    self.levels.pop();
                }
                Some(Level::Elements { left, first }) => {
                    *left -= 1;
                    separate(out, first)?;
                    return Ok(true);
                }
                Some(Level::Map { value: value @ true, form, .. }) => {
                    *value = false;
                    out.write_char(if *form == Form::Pairs { ',' } else { ':' })?;
                    return Ok(true);
                }
                Some(Level::Map { left, first, form, value }) => {
                    let pairs = *form == Form::Pairs;
                    if pairs && !*first {
                        out.write_char(']')?;
                    }
                    if *left == 0 {
                        out.write_str(match form {
                            Form::Object => "}",
                            Form::Atoms => "}}",
                            _ => "]}",
                        })?;
                        self.levels.pop();
                        continue;
                    }
                    *left -= 1;
                    *value = true;
                    separate(out, first)?;
                    if pairs {
                        out.write_char('[')?;
                    }
                    return Ok(true);
                }
                Some(level @ Level::Cells { .. }) => {
                    let Level::Cells { chunk, first, close } = level else { continue };
                    match self.stream.cell(chunk) {
                        Cell::Byte(byte) => {
                            separate(out, first)?;
                            write!(out, "{byte}")?;
                        }
                        Cell::Term => {
                            separate(out, first)?;
                            return Ok(true);
                        }
                        Cell::Tail => {
                            out.write_char(',')?;
                            *level = Level::Tail { close };
                            return Ok(true);
                        }
                        Cell::End => {
                            out.write_str(close)?;
                            self.levels.pop();
                        }
                    }
                }
                Some(Level::Tail { close }) => {
                    out.write_str(close)?;
                    self.levels.pop();
                }
            }
        }
    }

    /// The characters of a printable list, as a string.
    fn characters(&mut self, mut chunk: Chunk) -> fmt::Result {
        self.out.write_char('"')?;
        loop {
            let cell = self.stream.cell(&mut chunk);
            if cell == Cell::End {
                return self.out.write_char('"');
            }
            let c = character(cell, &mut self.stream).expect("the first pass saw only characters");
            write_escaped(self.out, c)?;
        }
    }

    /// The term from `start` to here, as its external bytes.
    fn whole(&mut self, start: Stream<'_>) -> fmt::Result {
        let len = start.left().len() - self.stream.left().len();
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&start.left()[..len]);
        self.out.write_str("{\"$etf\":\"")?;
        base64::write(self.out, &bytes)?;
        self.out.write_str("\"}")
    }

    /// Passes over the forms of what lies in the closure from `start` on.
    fn skip_forms(&mut self, mut start: Stream<'_>) {
        let inside = forms(start.term()).len();
        if let Some(last) = inside.checked_sub(1) {
            self.forms.nth(last);
        }
    }
}

fn separate(out: &mut impl Write, first: &mut bool) -> fmt::Result {
    if std::mem::replace(first, false) { Ok(()) } else { out.write_char(',') }
}

fn write_json_leaf(out: &mut impl Write, leaf: Term<'_>) -> fmt::Result {
    match leaf {
        Term::Integer(value) if value.unsigned_abs() <= MAX_EXACT => write!(out, "{value}"),
        Term::Integer(_) | Term::BigInteger { .. } => {
            out.write_str("{\"$int\":\"")?;
            write_leaf(out, leaf)?;
            out.write_str("\"}")
        }
        Term::Float(value) => write_float(out, value),
        Term::Atom(name) => match &*name.to_str() {
            name @ ("true" | "false" | "null") => out.write_str(name),
            name => {
                out.write_str("{\"$atom\":")?;
                write_string(out, name)?;
                out.write_char('}')
            }
        },
        Term::Nil => out.write_str("[]"),
        Term::Binary(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => write_string(out, text),
            Err(_) => {
                out.write_str("{\"$binary\":\"")?;
                base64::write(out, bytes)?;
                out.write_str("\"}")
            }
        },
        Term::BitBinary { bytes, last_bits } => {
            out.write_str("{\"$bits\":[\"")?;
            base64::write(out, bytes)?;
            write!(out, "\",{last_bits}]}}")
        }
        Term::Pid { node, id, serial, creation } => {
            identifier(out, "$pid", node)?;
            write!(out, ",{id},{serial},{creation}]}}")
        }
        Term::Port { node, id, creation } => {
            identifier(out, "$port", node)?;
            out.write_char(',')?;
            match i64::try_from(id) {
                Ok(id) => write_json_leaf(out, Term::Integer(id))?,
                Err(_) => write!(out, "{{\"$int\":\"{id}\"}}")?,
            }
            write!(out, ",{creation}]}}")
        }
        Term::Reference { node, creation, ids } => {
            identifier(out, "$ref", node)?;
            write!(out, ",{creation}")?;
            for word in ids.iter() {
                write!(out, ",{word}")?;
            }
            out.write_str("]}")
        }
        Term::Export { module, function, arity } => {
            identifier(out, "$fun", module)?;
            out.write_char(',')?;
            write_string(out, &function.to_str())?;
            write!(out, ",{arity}]}}")
        }
        Term::Tuple(_)
        | Term::Map(_)
        | Term::List(_)
        | Term::String(_)
        | Term::Fun(_)
        | Term::NativeRecord(_) => unreachable!("written by the caller"),
    }
}

/// The beginning of an array of that kind whose first element is a name.
fn identifier(out: &mut impl Write, kind: &str, name: AtomRef<'_>) -> fmt::Result {
    write!(out, "{{\"{kind}\":[")?;
    write_string(out, &name.to_str())
}

fn write_string(out: &mut impl Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte < b' ' || byte == b'"' || byte == b'\\' {
            out.write_str(&text[plain..at])?;
            write_escaped(out, char::from(byte))?;
            plain = at + 1;
        }
    }
    out.write_str(&text[plain..])?;
    out.write_char('"')
}

fn write_escaped(out: &mut impl Write, c: char) -> fmt::Result {
    match c {
        '"' => out.write_str("\\\""),
        '\\' => out.write_str("\\\\"),
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        '\0'..' ' => write!(out, "\\u{:04x}", u32::from(c)),
        c => out.write_char(c),
    }
}
