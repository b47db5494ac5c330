//! Text in terms: chardata, iolists, atoms.

use super::line::Encoding;
use super::string::extends;
use crate::etf::{AtomRef, Term, TermRef};

/// That a term is no text.
pub(super) struct Malformed;

/// The text that chardata, an iolist or an atom is. It is cut somewhere after `limit_bytes`.
///
/// As `~s` has it, which takes bytes and characters up to 255, or as `~ts` has it, where a binary that isn't UTF-8 is
/// Latin-1.
pub(super) fn collect_text(
    out: &mut String,
    term: TermRef<'_>,
    encoding: Encoding,
    limit_bytes: usize,
) -> Result<(), Malformed> {
    if let Term::Atom(name) = term.view() {
        return push_atom(out, name, encoding);
    }
    if !matches!(term.view(), Term::Nil | Term::List(_) | Term::String(_) | Term::Binary(_)) {
        return Err(Malformed);
    }
    let mut open = vec![term.cells()];
    if let Term::Binary(bytes) = term.view() {
        push_bytes(out, bytes, encoding);
        open.clear();
    }
    while let Some(cells) = open.last_mut() {
        // After the limit it is still seen whether all of it is text.
        let limit = |out: &mut String| {
            if out.len() > limit_bytes + 8 {
                out.truncate(out.floor_char_boundary(limit_bytes + 8));
            }
        };
        match cells.next() {
            Some(element) => match element.view() {
                Term::Integer(code) if code < 0 => return Err(Malformed),
                Term::Integer(code) if encoding == Encoding::Latin1 && code > 255 => {
                    return Err(Malformed);
                }
                Term::Integer(code) => out.push(character_of(code)),
                Term::BigInteger { negative: false, .. } if encoding == Encoding::Unicode => {
                    out.push(char::REPLACEMENT_CHARACTER);
                }
                Term::Binary(bytes) => push_bytes(out, bytes, encoding),
                Term::Nil => {}
                Term::List(_) | Term::String(_) => open.push(element.cells()),
                _ => return Err(Malformed),
            },
            None => {
                match cells.tail().view() {
                    Term::Nil => {}
                    Term::Binary(bytes) => push_bytes(out, bytes, encoding),
                    _ => return Err(Malformed),
                }
                open.pop();
            }
        }
        limit(out);
    }
    Ok(())
}

fn push_atom(out: &mut String, name: AtomRef<'_>, encoding: Encoding) -> Result<(), Malformed> {
    let name = name.to_str();
    if encoding == Encoding::Latin1 && name.chars().any(|c| c > '\u{ff}') {
        return Err(Malformed);
    }
    out.push_str(&name);
    Ok(())
}

fn push_bytes(out: &mut String, bytes: &[u8], encoding: Encoding) {
    match std::str::from_utf8(bytes) {
        Ok(text) if encoding == Encoding::Unicode || text.is_ascii() => out.push_str(text),
        _ => out.extend(bytes.iter().map(|&byte| char::from(byte))),
    }
}

/// The prefix of a number: an atom, or characters in lists.
pub(super) fn collect_prefix(
    out: &mut String,
    term: TermRef<'_>,
    limit_bytes: usize,
) -> Result<(), Malformed> {
    if term.as_binary().is_some() {
        return Err(Malformed);
    }
    collect_text(out, term, Encoding::Unicode, limit_bytes)
}

/// The character of this code; a replacement if there is none.
pub(super) fn character_of(code: i64) -> char {
    u32::try_from(code).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// So many characters of a text, counted as `io_lib:chars_length/1` does.
pub(super) fn beginning(text: &str, count: i64, encoding: Encoding) -> &str {
    let mut left = count;
    let mut before = '\0';
    for (at, c) in text.char_indices() {
        let is_start = encoding == Encoding::Latin1 || !extends(before, c);
        before = c;
        if is_start {
            if left <= 0 {
                return &text[..at];
            }
            left -= 1;
        }
    }
    text
}
