//! Printing terms.

use std::fmt::{self, Write};

use num_bigint::{BigInt, Sign};

use super::{NEWLY_RESERVED, RESERVED, continues_atom, forms, starts_atom};
use crate::etf::stream::{Cell, Chunk, FunHead, Head, Stream};
use crate::etf::{AtomRef, Term, TermBuf, TermRef};

/// Integers of more bytes are printed in base 16, as printing in base 10 costs the square of the length.
pub(super) const MAX_DECIMAL_BYTES: usize = 1024;

/// Prints a term on one line, as `~0tp` does, with at most `limit_bytes` bytes and `...` for the rest.
///
/// A pid is printed with its node's name for the number that only a BEAM could give it:
/// `<name@host.41.0>`, and so are ports and references. Whether all of the term was printed is returned.
///
/// # Errors
///
/// Those of `out`.
pub fn write_term(
    out: &mut impl Write,
    term: TermRef<'_>,
    limit_bytes: usize,
) -> Result<bool, fmt::Error> {
    let mut limited = Limited { out, left: limit_bytes, full: false };
    match print(&mut limited, term, Style::Shell) {
        Err(_) if limited.full => {
            limited.out.write_str("...")?;
            Ok(false)
        }
        printed => printed.map(|()| true),
    }
}

/// As Erlang text, in the way of [`to_text`].
impl fmt::Display for TermRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_text(*self))
    }
}

/// As Erlang text, in the way of [`to_text`].
impl fmt::Display for TermBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_term().fmt(f)
    }
}

/// A whole term as text; see [`write_term`].
pub fn to_text(term: TermRef<'_>) -> String {
    let mut text = String::new();
    write_term(&mut text, term, usize::MAX).expect("strings take everything");
    text
}

/// A whole term as text that `file:consult/1` reads and [`parse_lossless`](super::parse_lossless) makes the same term of;
/// the forms are those of [`super::forms`].
pub fn to_lossless(term: TermRef<'_>) -> String {
    let mut text = String::new();
    print(&mut text, term, Style::Lossless).expect("strings take everything");
    text
}

/// How what has no syntax is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// As the shell does, for people.
    Shell,
    /// In the forms that are parsed again.
    Lossless,
}

/// Lets so many bytes pass.
struct Limited<'a, W> {
    out: &'a mut W,
    left: usize,
    full: bool,
}

impl<W: Write> Write for Limited<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if let Some(left) = self.left.checked_sub(text.len()) {
            self.left = left;
            return self.out.write_str(text);
        }
        self.full = true;
        self.out.write_str(&text[..text.floor_char_boundary(self.left)])?;
        Err(fmt::Error)
    }
}

/// What is open around the next head.
enum Level {
    Terms { left: u32, first: bool, close: char },
    Map { left: u32, first: bool, value: bool },
    Cells { chunk: Chunk, first: bool },
    Tail,
}

fn print(out: &mut impl Write, term: TermRef<'_>, style: Style) -> fmt::Result {
    let is_lossless = style == Style::Lossless;
    let mut stream = Stream::new(term);
    let mut levels: Vec<Level> = Vec::new();
    loop {
        let start = stream.left();
        match stream.head() {
            Head::Leaf(leaf) => {
                let bytes = &start[..start.len() - stream.left().len()];
                if !(is_lossless && forms::write(out, leaf, bytes)?) {
                    write_leaf(out, leaf)?;
                }
            }
            Head::Tuple(left) => {
                out.write_char('{')?;
                let is_escaped = is_lossless && left > 0 && forms::is_name(stream.left());
                if is_escaped {
                    out.write_str(forms::TUPLE)?;
                }
                levels.push(Level::Terms { left, first: !is_escaped, close: '}' });
            }
            Head::Map(left) => {
                out.write_str("#{")?;
                levels.push(Level::Map { left, first: true, value: false });
            }
            Head::List(chunk) => {
                if let Some(end) = printable(stream, chunk) {
                    write_string(out, &mut stream, chunk)?;
                    stream = end;
                } else {
                    out.write_char('[')?;
                    levels.push(Level::Cells { chunk, first: true });
                }
            }
            Head::Fun(fun) if is_lossless => {
                forms::write_closure(out, &fun)?;
                // The list of free variables, and the tuple around it.
                levels.push(Level::Terms { left: 0, first: false, close: '}' });
                levels.push(Level::Terms { left: fun.free, first: true, close: ']' });
            }
            Head::Fun(fun) => {
                write_fun(out, &fun)?;
                for _ in 0..fun.free {
                    stream.term();
                }
            }
        }
        // Up to the next head: close what is complete, and write what stands between.
        loop {
            match levels.last_mut() {
                None => return Ok(()),
                Some(Level::Terms { left: 0, close, .. }) => {
                    out.write_char(*close)?;
                    levels.pop();
                }
                Some(Level::Terms { left, first, .. }) => {
                    *left -= 1;
                    separate(out, first)?;
                    break;
                }
                Some(Level::Map { value: value @ true, .. }) => {
                    *value = false;
                    out.write_str(" => ")?;
                    break;
                }
                Some(Level::Map { left: 0, .. }) => {
                    out.write_char('}')?;
                    levels.pop();
                }
                Some(Level::Map { left, first, value }) => {
                    *left -= 1;
                    *value = true;
                    separate(out, first)?;
                    break;
                }
                Some(level @ Level::Cells { .. }) => {
                    let Level::Cells { chunk, first } = level else { continue };
                    match stream.cell(chunk) {
                        Cell::Byte(byte) => {
                            separate(out, first)?;
                            write!(out, "{byte}")?;
                        }
                        Cell::Term => {
                            separate(out, first)?;
                            break;
                        }
                        Cell::End => {
                            out.write_char(']')?;
                            levels.pop();
                        }
                        Cell::Tail => {
                            out.write_char('|')?;
                            *level = Level::Tail;
                            break;
                        }
                    }
                }
                Some(Level::Tail) => {
                    out.write_char(']')?;
                    levels.pop();
                }
            }
        }
    }
}

fn separate(out: &mut impl Write, first: &mut bool) -> fmt::Result {
    if std::mem::replace(first, false) { Ok(()) } else { out.write_char(',') }
}

/// Where a list of printable characters ends; `None` for any other list.
pub(in crate::etf) fn printable(stream: Stream<'_>, chunk: Chunk) -> Option<Stream<'_>> {
    printable_up_to(stream, chunk, char::MAX)
}

/// The same for characters up to `last`.
pub(super) fn printable_up_to<'a>(
    mut stream: Stream<'a>,
    mut chunk: Chunk,
    last: char,
) -> Option<Stream<'a>> {
    loop {
        match stream.cell(&mut chunk) {
            Cell::End => return Some(stream),
            Cell::Tail => return None,
            cell => {
                character(cell, &mut stream).filter(|&c| c <= last && is_printable(c))?;
            }
        }
    }
}

/// Writes a list that [`printable`] found to be one.
fn write_string(out: &mut impl Write, stream: &mut Stream<'_>, mut chunk: Chunk) -> fmt::Result {
    out.write_char('"')?;
    loop {
        let cell = stream.cell(&mut chunk);
        if !cell.is_element() {
            return out.write_char('"');
        }
        let c = character(cell, stream).expect("only called for printable lists");
        write_escaped(out, c, '"')?;
    }
}

/// The character that an element of a list is.
pub(in crate::etf) fn character(cell: Cell, stream: &mut Stream<'_>) -> Option<char> {
    match cell {
        Cell::Byte(byte) => Some(char::from(byte)),
        _ => match stream.head() {
            Head::Leaf(Term::Integer(code)) => u32::try_from(code).ok().and_then(char::from_u32),
            _ => None,
        },
    }
}

/// What `io_lib:printable_unicode_list/1` takes.
pub(crate) const fn is_printable(c: char) -> bool {
    matches!(c,
        '\x08'..='\r' | '\x1b' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}'
        | '\u{10000}'..='\u{10ffff}')
}

pub(super) fn write_escaped(out: &mut impl Write, c: char, quote: char) -> fmt::Result {
    let short = match c {
        '\n' => 'n',
        '\t' => 't',
        '\r' => 'r',
        '\x0b' => 'v',
        '\x08' => 'b',
        '\x0c' => 'f',
        '\x1b' => 'e',
        '\x7f' => 'd',
        '\\' => '\\',
        c if c == quote => c,
        '\0'..'\u{a0}' if c.is_control() => return write!(out, "\\{:03o}", u32::from(c)),
        c => return out.write_char(c),
    };
    out.write_char('\\')?;
    out.write_char(short)
}

/// Prints an atom, quoted if it has to be.
///
/// # Errors
///
/// Those of `out`.
pub fn write_atom(out: &mut impl Write, name: &str) -> fmt::Result {
    write_quoted_atom(out, name, char::MAX)
}

/// The same, with characters after `last` written as numbers.
pub(super) fn write_quoted_atom(out: &mut impl Write, name: &str, last: char) -> fmt::Result {
    let plain = name.starts_with(starts_atom)
        && name.chars().all(continues_atom)
        && !RESERVED.contains(&name)
        && !NEWLY_RESERVED.contains(&name);
    if plain {
        return out.write_str(name);
    }
    out.write_char('\'')?;
    for c in name.chars() {
        if c > last {
            write!(out, "\\x{{{:X}}}", u32::from(c))?;
        } else {
            write_escaped(out, c, '\'')?;
        }
    }
    out.write_char('\'')
}

/// A closure, without its variables.
pub(super) fn write_fun(out: &mut impl Write, fun: &FunHead<'_>) -> fmt::Result {
    out.write_str("#Fun<")?;
    write_atom(out, &fun.module.to_str())?;
    write!(out, ".{}.{}>", fun.index, fun.uniq)
}

pub(in crate::etf) fn write_leaf(out: &mut impl Write, leaf: Term<'_>) -> fmt::Result {
    match leaf {
        Term::Integer(value) => write!(out, "{value}"),
        Term::BigInteger { negative, magnitude } => {
            let sign = if negative { Sign::Minus } else { Sign::Plus };
            let value = BigInt::from_bytes_le(sign, magnitude);
            if magnitude.len() <= MAX_DECIMAL_BYTES {
                write!(out, "{value}")
            } else {
                let minus = if negative { "-" } else { "" };
                write!(out, "{minus}16#{:X}", value.magnitude())
            }
        }
        Term::Float(value) => write_float(out, value),
        Term::Atom(name) => write_atom(out, &name.to_str()),
        Term::Reference { .. } | Term::Port { .. } | Term::Pid { .. } => {
            write_identifier(out, leaf, None)
        }
        Term::Nil => out.write_str("[]"),
        Term::Binary(bytes) => write_binary(out, bytes),
        Term::BitBinary { bytes, last_bits } => {
            out.write_str("<<")?;
            let (last, whole) = bytes.split_last().expect("walked: bitstrings are not empty");
            for byte in whole {
                write!(out, "{byte},")?;
            }
            write!(out, "{}:{last_bits}>>", last >> (8 - last_bits))
        }
        Term::Export { module, function, arity } => {
            out.write_str("fun ")?;
            write_atom(out, &module.to_str())?;
            out.write_char(':')?;
            write_atom(out, &function.to_str())?;
            write!(out, "/{arity}")
        }
        Term::NativeRecord(_) => out.write_str("#Record<>"),
        Term::Tuple(_) | Term::Map(_) | Term::List(_) | Term::String(_) | Term::Fun(_) => {
            unreachable!("Head::Leaf holds no container")
        }
    }
}

/// A pid, port or reference; those of the node `home` as that node prints them.
pub(super) fn write_identifier<W: Write>(
    out: &mut W,
    identifier: Term<'_>,
    home: Option<&str>,
) -> fmt::Result {
    let write_node = |out: &mut W, node: AtomRef<'_>| {
        if home.is_some_and(|home| node.is(home)) {
            out.write_char('0')
        } else {
            write_node(out, node)
        }
    };
    match identifier {
        Term::Reference { node, ids, .. } => {
            out.write_str("#Ref<")?;
            write_node(out, node)?;
            for word in ids.iter().rev() {
                write!(out, ".{word}")?;
            }
            out.write_char('>')
        }
        Term::Port { node, id, .. } => {
            out.write_str("#Port<")?;
            write_node(out, node)?;
            write!(out, ".{id}>")
        }
        Term::Pid { node, id, serial, .. } => {
            out.write_char('<')?;
            write_node(out, node)?;
            write!(out, ".{id}.{serial}>")
        }
        _ => unreachable!("called for identifiers only"),
    }
}

/// A node's name, quoted only if it is a strange one.
fn write_node(out: &mut impl Write, node: AtomRef<'_>) -> fmt::Result {
    let name = node.to_str();
    if name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '@' | '.' | '-' | '_')) {
        out.write_str(&name)
    } else {
        out.write_char('\'')?;
        for c in name.chars() {
            write_escaped(out, c, '\'')?;
        }
        out.write_char('\'')
    }
}

pub(super) fn write_binary(out: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    let latin1 = |byte: &u8| is_printable(char::from(*byte));
    let (characters, end) = match std::str::from_utf8(bytes) {
        Ok("") => return out.write_str("<<>>"),
        Ok(text) if text.chars().all(is_printable) => {
            (Ok(text), if text.is_ascii() { "\">>" } else { "\"/utf8>>" })
        }
        Err(_) if bytes.iter().all(latin1) => (Err(bytes), "\">>"),
        _ => {
            out.write_str("<<")?;
            for (n, byte) in bytes.iter().enumerate() {
                write!(out, "{}{byte}", if n == 0 { "" } else { "," })?;
            }
            return out.write_str(">>");
        }
    };
    out.write_str("<<\"")?;
    match characters {
        Ok(text) => text.chars().try_for_each(|c| write_escaped(out, c, '"'))?,
        Err(bytes) => bytes.iter().try_for_each(|&b| write_escaped(out, char::from(b), '"'))?,
    }
    out.write_str(end)
}

/// The shortest digits that read back as the same float, laid out as `io_lib_format:fwrite_g/1` does:
/// with an exponent where that is shorter, and always from 2^53 on, where digits would promise too much.
pub(in crate::etf) fn write_float(out: &mut impl Write, value: f64) -> fmt::Result {
    /// From here on not every integer is a float.
    const LOSSLESS: f64 = 9_007_199_254_740_992.0;
    let scientific = format!("{:e}", value.abs());
    let (mantissa, exponent) = scientific.split_once('e').expect("LowerExp writes an exponent");
    let exponent: i32 = exponent.parse().expect("LowerExp writes an integer");
    let digits = mantissa.replace('.', "");
    if value.is_sign_negative() {
        out.write_char('-')?;
    }
    // Digits before the point.
    let place = exponent + 1;
    let len = i32::try_from(digits.len()).expect("at most 17 digits");
    let cost = exponent.to_string().len() + 1 + if len == 1 { 2 } else { 1 };
    let cost = i32::try_from(cost).expect("a few bytes");
    if place == 0 {
        write!(out, "0.{digits}")
    } else if place < 0 && 2 - place <= cost {
        write!(out, "0.{}{digits}", "0".repeat(place.unsigned_abs() as usize))
    } else if place >= len && place - len + 2 <= cost && value.abs() < LOSSLESS {
        write!(out, "{digits}{}.0", "0".repeat((place - len).unsigned_abs() as usize))
    } else if place > 0 && place < len && value.abs() < LOSSLESS {
        let (whole, rest) = digits.split_at(place.unsigned_abs() as usize);
        write!(out, "{whole}.{rest}")
    } else {
        let (first, rest) = digits.split_at(1);
        write!(out, "{first}.{}e{exponent}", if rest.is_empty() { "0" } else { rest })
    }
}
