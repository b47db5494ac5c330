//! Reading a format: control sequences, and the arguments they take.
//!
//! Syntax: `io:fwrite/3`, "~F.P.PadModC".

use std::borrow::Cow;

use super::chardata::character_of;
use super::format::{Done, Problem};
use super::line::{Encoding, MapOrder};
use crate::etf::{Cells, Term, TermRef};

/// A control sequence: `~F.P.PadModC`.
pub(super) struct Control {
    pub(super) letter: char,
    pub(super) width: Option<i64>,
    pub(super) left: bool,
    pub(super) precision: Option<i64>,
    pub(super) pad: char,
    pub(super) encoding: Encoding,
    pub(super) strings: bool,
    pub(super) order: MapOrder,
}

impl Control {
    /// Reads what follows a tilde, with the arguments that are numbers of the sequence itself.
    pub(super) fn read(format: &mut Format<'_>, args: &mut Args<'_>) -> Result<Self, Problem> {
        let is_negative = format.skip('-');
        let width = number(format, args)?;
        let (width, left) = match width {
            None if is_negative => return Err(Problem::Malformed),
            None => (None, false),
            Some(width) => {
                let width = if is_negative { -width } else { width };
                (Some(width.abs()), width < 0)
            }
        };
        let precision = if format.skip('.') { number(format, args)? } else { None };
        if precision.is_some_and(|precision| precision < 0) {
            return Err(Problem::Malformed);
        }
        let mut pad = ' ';
        if format.skip('.') {
            pad = match format.next().ok_or(Problem::Malformed)? {
                Unit::Char('*') => {
                    character_of(args.next()?.as_integer().ok_or(Problem::Malformed)?)
                }
                Unit::Char(pad) => pad,
                Unit::Nested(_) => return Err(Problem::Malformed),
            };
        }
        let (mut encoding, mut strings, mut order) = (Encoding::Latin1, true, MapOrder::Sent);
        loop {
            match format.next() {
                Some(Unit::Char('t')) => encoding = Encoding::Unicode,
                Some(Unit::Char('l')) => strings = false,
                Some(Unit::Char('k')) => order = MapOrder::Ascending,
                Some(Unit::Char('K')) => {
                    let by = args.next()?;
                    order = match by.view() {
                        Term::Atom(by) if by.is("reversed") => MapOrder::Descending,
                        Term::Atom(by) if by.is("ordered") => MapOrder::Ascending,
                        Term::Atom(by) if by.is("undefined") => MapOrder::Sent,
                        // It can't be called here.
                        Term::Fun(_) | Term::Export { .. } => MapOrder::Sent,
                        _ => return Err(Problem::Malformed),
                    };
                }
                Some(Unit::Char(letter)) => {
                    return Ok(Control {
                        letter,
                        width,
                        left,
                        precision,
                        pad,
                        encoding,
                        strings,
                        order,
                    });
                }
                Some(Unit::Nested(_)) | None => return Err(Problem::Malformed),
            }
        }
    }
}

/// A number in a control sequence, or the argument that a star stands for.
fn number(format: &mut Format<'_>, args: &mut Args<'_>) -> Result<Option<i64>, Problem> {
    /// More than any text has characters.
    const MOST: i64 = 1 << 40;
    if format.skip('*') {
        let number = args.next()?.as_integer().ok_or(Problem::Malformed)?;
        return Ok(Some(number.clamp(-MOST, MOST)));
    }
    let mut number = None;
    while let Some(digit) = format.digit() {
        number = Some((number.unwrap_or(0) * 10 + digit).min(MOST));
    }
    Ok(number)
}

/// The arguments that are left.
pub(super) struct Args<'a>(Cells<'a>);

impl<'a> Args<'a> {
    pub(super) fn of(args: TermRef<'a>) -> Result<Self, Problem> {
        match args.view() {
            Term::Nil | Term::List(_) | Term::String(_) => Ok(Args(args.cells())),
            _ => Err(Problem::Malformed),
        }
    }

    pub(super) fn next(&mut self) -> Result<TermRef<'a>, Problem> {
        self.0.next().ok_or(Problem::Malformed)
    }

    /// That all were used.
    pub(super) fn done(mut self) -> Done {
        if self.0.next().is_some() || self.0.tail() != TermRef::NIL {
            return Err(Problem::Malformed);
        }
        Ok(())
    }
}

/// A unit of a format.
pub(super) enum Unit<'a> {
    Char(char),
    /// Text inside of the list, which may not hold control sequences.
    Nested(TermRef<'a>),
}

/// The rest of a format.
pub(super) enum Format<'a> {
    Bytes(&'a [u8]),
    Name(Cow<'a, str>, usize),
    Cells(Cells<'a>),
}

impl<'a> Format<'a> {
    pub(super) fn of(format: TermRef<'a>) -> Result<Self, Problem> {
        match format.view() {
            Term::Atom(name) => Ok(Format::Name(name.to_str(), 0)),
            // Also a binary is read byte by byte.
            Term::Binary(bytes) | Term::String(bytes) => Ok(Format::Bytes(bytes)),
            Term::Nil => Ok(Format::Bytes(&[])),
            Term::List(_) if format.cells().tail() == TermRef::NIL => {
                Ok(Format::Cells(format.cells()))
            }
            _ => Err(Problem::Malformed),
        }
    }

    pub(super) fn next(&mut self) -> Option<Unit<'a>> {
        match self {
            Format::Bytes(bytes) => {
                let (&first, rest) = bytes.split_first()?;
                *bytes = rest;
                Some(Unit::Char(char::from(first)))
            }
            Format::Name(name, at) => {
                let c = name[*at..].chars().next()?;
                *at += c.len_utf8();
                Some(Unit::Char(c))
            }
            Format::Cells(cells) => {
                let unit = cells.next()?;
                Some(match unit.view() {
                    Term::Integer(code) => Unit::Char(character_of(code)),
                    _ => Unit::Nested(unit),
                })
            }
        }
    }

    fn peek(&self) -> Option<char> {
        match self {
            Format::Bytes(bytes) => bytes.first().map(|&byte| char::from(byte)),
            Format::Name(name, at) => name[*at..].chars().next(),
            Format::Cells(cells) => match cells.clone().next()?.view() {
                Term::Integer(code) => Some(character_of(code)),
                _ => None,
            },
        }
    }

    fn skip(&mut self, c: char) -> bool {
        let is_next = self.peek() == Some(c);
        if is_next {
            self.next();
        }
        is_next
    }

    fn digit(&mut self) -> Option<i64> {
        let digit = self.peek()?.to_digit(10)?;
        self.next();
        Some(digit.into())
    }
}
