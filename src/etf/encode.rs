//! Writing terms.
//!
//! Every function appends one term, or the head of one, to `out`, in the bytes that
//! `term_to_binary/1` of OTP 26 and later would give. A container's head is followed by its elements.

use super::tag::{
    ATOM_UTF8_EXT, BINARY_EXT, EXPORT_EXT, INTEGER_EXT, LARGE_BIG_EXT, LARGE_TUPLE_EXT, LIST_EXT,
    MAP_EXT, NEW_FLOAT_EXT, NEW_PID_EXT, NEW_PORT_EXT, NEWER_REFERENCE_EXT, NIL_EXT,
    SMALL_ATOM_UTF8_EXT, SMALL_BIG_EXT, SMALL_INTEGER_EXT, SMALL_TUPLE_EXT, STRING_EXT,
    V4_PORT_EXT,
};
use super::{Pid, Reference};
use crate::time::Timestamp;

/// An atom. `name` has at most 255 characters; longer ones are cut, as no such atom exists.
pub fn atom(out: &mut Vec<u8>, name: &str) {
    let name = match name.char_indices().nth(255) {
        Some((end, _)) => &name[..end],
        None => name,
    };
    match u8::try_from(name.len()) {
        Ok(len) => out.extend_from_slice(&[SMALL_ATOM_UTF8_EXT, len]),
        Err(_) => {
            let len = u16::try_from(name.len()).expect("255 characters are at most 1,020 bytes");
            out.push(ATOM_UTF8_EXT);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
    out.extend_from_slice(name.as_bytes());
}

/// `true` or `false`.
pub fn boolean(out: &mut Vec<u8>, value: bool) {
    atom(out, if value { "true" } else { "false" });
}

/// An integer.
pub fn integer(out: &mut Vec<u8>, value: i64) {
    if let Ok(value) = u8::try_from(value) {
        out.extend_from_slice(&[SMALL_INTEGER_EXT, value]);
    } else if let Ok(value) = i32::try_from(value) {
        out.push(INTEGER_EXT);
        out.extend_from_slice(&value.to_be_bytes());
    } else {
        big(out, value < 0, value.unsigned_abs());
    }
}

/// An integer that cannot be negative.
pub fn unsigned(out: &mut Vec<u8>, value: u64) {
    match i64::try_from(value) {
        Ok(value) => integer(out, value),
        Err(_) => big(out, false, value),
    }
}

fn big(out: &mut Vec<u8>, negative: bool, magnitude: u64) {
    big_integer(out, negative, &magnitude.to_le_bytes());
}

/// An integer beyond 64 bits: sign and magnitude, least significant byte first.
pub fn big_integer(out: &mut Vec<u8>, negative: bool, magnitude: &[u8]) {
    let used = magnitude.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    match u8::try_from(used) {
        Ok(len) => out.extend_from_slice(&[SMALL_BIG_EXT, len]),
        Err(_) => {
            out.push(LARGE_BIG_EXT);
            count(out, used);
        }
    }
    out.push(negative.into());
    out.extend_from_slice(&magnitude[..used]);
}

/// A finite float; Erlang has no others, so NaN and infinities are written as 0.0.
pub fn float(out: &mut Vec<u8>, value: f64) {
    let value = if value.is_finite() { value } else { 0.0 };
    out.push(NEW_FLOAT_EXT);
    out.extend_from_slice(&value.to_be_bytes());
}

/// A binary of at most 4 GiB - 1.
pub fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("bounded: nothing here is near 4 GiB");
    out.push(BINARY_EXT);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// A list of the characters of `text`, what Erlang calls a string.
pub fn string(out: &mut Vec<u8>, text: &str) {
    if text.is_empty() {
        return nil(out);
    }
    if let (true, Ok(len)) = (text.is_ascii(), u16::try_from(text.len())) {
        out.push(STRING_EXT);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(text.as_bytes());
        return;
    }
    list_header(out, text.chars().count());
    for c in text.chars() {
        integer(out, i64::from(u32::from(c)));
    }
    nil(out);
}

/// The head of a tuple of `arity` elements.
pub fn tuple_header(out: &mut Vec<u8>, arity: usize) {
    match u8::try_from(arity) {
        Ok(arity) => out.extend_from_slice(&[SMALL_TUPLE_EXT, arity]),
        Err(_) => {
            out.push(LARGE_TUPLE_EXT);
            count(out, arity);
        }
    }
}

/// The head of a list of `elements` (more than none); its tail, mostly [`nil`], comes last.
pub fn list_header(out: &mut Vec<u8>, elements: usize) {
    out.push(LIST_EXT);
    count(out, elements);
}

/// A proper list of the items that `each` writes.
pub fn list<T>(
    out: &mut Vec<u8>,
    items: impl ExactSizeIterator<Item = T>,
    mut each: impl FnMut(&mut Vec<u8>, T),
) {
    if items.len() > 0 {
        list_header(out, items.len());
        for item in items {
            each(out, item);
        }
    }
    nil(out);
}

/// The empty list.
pub fn nil(out: &mut Vec<u8>) {
    out.push(NIL_EXT);
}

/// The head of a map of `pairs`.
pub fn map_header(out: &mut Vec<u8>, pairs: usize) {
    out.push(MAP_EXT);
    count(out, pairs);
}

fn count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("bounded: nothing here has 2^32 elements");
    out.extend_from_slice(&count.to_be_bytes());
}

/// `fun module:function/arity`.
pub fn export(out: &mut Vec<u8>, module: &str, function: &str, arity: u8) {
    out.push(EXPORT_EXT);
    atom(out, module);
    atom(out, function);
    integer(out, arity.into());
}

/// A pid.
pub fn pid(out: &mut Vec<u8>, pid: &Pid) {
    out.push(NEW_PID_EXT);
    atom(out, &pid.node);
    for number in [pid.id, pid.serial, pid.creation] {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// A port.
pub fn port(out: &mut Vec<u8>, node: &str, id: u64, creation: u32) {
    match u32::try_from(id) {
        Ok(id) => {
            out.push(NEW_PORT_EXT);
            atom(out, node);
            out.extend_from_slice(&id.to_be_bytes());
        }
        Err(_) => {
            out.push(V4_PORT_EXT);
            atom(out, node);
            out.extend_from_slice(&id.to_be_bytes());
        }
    }
    out.extend_from_slice(&creation.to_be_bytes());
}

/// A reference.
pub fn reference(out: &mut Vec<u8>, reference: &Reference) {
    let words = reference.words();
    out.push(NEWER_REFERENCE_EXT);
    out.extend_from_slice(&u16::try_from(words.len()).expect("at most 5").to_be_bytes());
    atom(out, &reference.node);
    out.extend_from_slice(&reference.creation.to_be_bytes());
    for word in words {
        out.extend_from_slice(&word.to_be_bytes());
    }
}

/// `{MegaSecs, Secs, MicroSecs}`.
pub fn timestamp(out: &mut Vec<u8>, stamp: Timestamp) {
    let (mega, secs, micros) = stamp.parts();
    tuple_header(out, 3);
    for part in [mega, secs, micros] {
        integer(out, i64::from(part));
    }
}
