//! What has no syntax in Erlang, as terms that have.
//!
//! | term | form |
//! |---|---|
//! | pid | `{'$pid', Node, Id, Serial, Creation}` |
//! | port | `{'$port', Node, Id, Creation}` |
//! | reference | `{'$ref', Node, Creation, Word, ...}` |
//! | closure | `{'$closure', Module, Arity, Digest, NewIndex, Index, Uniq, Pid, [FreeVariable]}` |
//! | native record | `{'$etf', Binary}` for `binary_to_term/1` |
//! | a tuple that begins with one of these atoms | `{'$tuple', Element, ...}` |
//!
//! So a form is never taken for a tuple that was logged, nor such a tuple for a form. What begins with one of these atoms
//! and is no form stays the tuple that it is.

use std::fmt::{self, Write};

use super::print::{write_atom, write_binary};
use crate::etf::stream::FunHead;
use crate::etf::tag::{
    ATOM_EXT, ATOM_UTF8_EXT, NEW_FUN_EXT, SMALL_ATOM_EXT, SMALL_ATOM_UTF8_EXT, VERSION,
};
use crate::etf::{Pid, Reference, Term, TermRef, decode, encode};

/// What escaped tuples begin with, as text.
pub(super) const TUPLE: &str = "'$tuple'";

const NAMES: [&str; 6] = ["$pid", "$port", "$ref", "$closure", "$etf", "$tuple"];

/// Whether an atom with a form's name comes next.
pub(super) fn is_name(bytes: &[u8]) -> bool {
    let name = match bytes {
        [SMALL_ATOM_UTF8_EXT | SMALL_ATOM_EXT, len, name @ ..]
        | [ATOM_UTF8_EXT | ATOM_EXT, 0, len, name @ ..] => name.get(..usize::from(*len)),
        _ => None,
    };
    name.is_some_and(|name| NAMES.iter().any(|known| known.as_bytes() == name))
}

/// Writes a leaf whose bytes these are, if it has a form; whether it has.
pub(super) fn write(
    out: &mut impl Write,
    leaf: Term<'_>,
    bytes: &[u8],
) -> Result<bool, fmt::Error> {
    match leaf {
        Term::Pid { node, id, serial, creation } => {
            out.write_str("{'$pid',")?;
            write_atom(out, &node.to_str())?;
            write!(out, ",{id},{serial},{creation}}}")?;
        }
        Term::Port { node, id, creation } => {
            out.write_str("{'$port',")?;
            write_atom(out, &node.to_str())?;
            write!(out, ",{id},{creation}}}")?;
        }
        Term::Reference { node, creation, ids } => {
            out.write_str("{'$ref',")?;
            write_atom(out, &node.to_str())?;
            write!(out, ",{creation}")?;
            ids.iter().try_for_each(|word| write!(out, ",{word}"))?;
            out.write_char('}')?;
        }
        Term::NativeRecord(_) => {
            out.write_str("{'$etf',")?;
            write_binary(out, &[&[VERSION], bytes].concat())?;
            out.write_char('}')?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Writes a closure up to its free variables.
pub(super) fn write_closure(out: &mut impl Write, fun: &FunHead<'_>) -> fmt::Result {
    out.write_str("{'$closure',")?;
    write_atom(out, &fun.module.to_str())?;
    write!(out, ",{},", fun.arity)?;
    write_binary(out, fun.digest)?;
    write!(out, ",{},{},{},", fun.new_index, fun.index, fun.uniq)?;
    write(out, fun.creator.view(), fun.creator.bytes())?;
    out.write_str(",[")
}

/// The term that a tuple is the form of; `None` if it is a tuple.
pub(super) fn read(tuple: TermRef<'_>) -> Option<Vec<u8>> {
    let Term::Tuple(mut elements) = tuple.view() else { return None };
    let name = elements.next()?.as_atom()?.to_str();
    let mut out = Vec::new();
    match &*name {
        "$pid" => {
            let [node, id, serial, creation] = elements.exactly()?;
            let (id, serial, creation) = (word(id)?, word(serial)?, word(creation)?);
            encode::pid(
                &mut out,
                &Pid { node: node.as_atom()?.to_str().into(), id, serial, creation },
            );
        }
        "$port" => {
            let [node, id, creation] = elements.exactly()?;
            encode::port(&mut out, &node.as_atom()?.to_str(), unsigned(id)?, word(creation)?);
        }
        "$ref" => {
            let (node, creation) = (elements.next()?.as_atom()?, word(elements.next()?)?);
            let count = elements.len();
            let words: Vec<u32> = elements.map_while(word).collect();
            if words.len() != count || !(1..=Reference::MAX_WORDS).contains(&count) {
                return None;
            }
            let reference = Reference::new(node.to_str().into(), creation, words.into_iter());
            encode::reference(&mut out, &reference);
        }
        "$closure" => closure(&mut out, elements.exactly()?)?,
        "$etf" => {
            let [bytes] = elements.exactly()?;
            out.extend_from_slice(decode::external(bytes.as_binary()?).ok()?.bytes());
        }
        "$tuple" if !elements.is_empty() => {
            encode::tuple_header(&mut out, elements.len());
            elements.for_each(|element| out.extend_from_slice(element.bytes()));
        }
        _ => return None,
    }
    Some(out)
}

fn closure(out: &mut Vec<u8>, parts: [TermRef<'_>; 8]) -> Option<()> {
    let [module, arity, digest, new_index, index, uniq, creator, free] = parts;
    let arity = u8::try_from(arity.as_integer()?).ok()?;
    let digest = digest.as_binary().filter(|digest| digest.len() == 16)?;
    let (new_index, module) = (word(new_index)?, module.as_atom()?);
    let cells = free.cells();
    if cells.tail() != TermRef::NIL {
        return None;
    }
    out.push(NEW_FUN_EXT);
    let size_at = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(arity);
    out.extend_from_slice(digest);
    out.extend_from_slice(&new_index.to_be_bytes());
    out.extend_from_slice(&u32::try_from(cells.count()).ok()?.to_be_bytes());
    encode::atom(out, &module.to_str());
    for number in [index, uniq] {
        encode::integer(out, i32::try_from(number.as_integer()?).ok()?.into());
    }
    encode::pid(out, &creator.as_pid()?);
    cells.for_each(|variable| out.extend_from_slice(variable.bytes()));
    let size = u32::try_from(out.len() - size_at).ok()?;
    out[size_at..size_at + 4].copy_from_slice(&size.to_be_bytes());
    // The number of free variables is limited.
    decode::walk(out).ok().map(|_| ())
}

fn unsigned(term: TermRef<'_>) -> Option<u64> {
    match term.view() {
        Term::Integer(value) => u64::try_from(value).ok(),
        Term::BigInteger { negative: false, magnitude } => {
            Some(u64::from_le_bytes(magnitude.try_into().ok()?))
        }
        _ => None,
    }
}

fn word(term: TermRef<'_>) -> Option<u32> {
    term.as_integer().and_then(|value| u32::try_from(value).ok())
}
