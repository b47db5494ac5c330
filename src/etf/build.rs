//! Containers whose number of elements is known only once they are closed, and integers of any size.
//!
//! Parsers open a container, append its elements, and close it. What comes out are the bytes that
//! `term_to_binary/1` would give.

use num_bigint::{BigInt, Sign};

use super::encode;
use super::tag::{LARGE_TUPLE_EXT, SMALL_TUPLE_EXT, STRING_EXT};

/// Begins a tuple.
pub(super) fn open_tuple(out: &mut Vec<u8>) {
    out.extend_from_slice(&[SMALL_TUPLE_EXT, 0]);
}

/// Completes the tuple that was opened at `start`. Moves its elements if there are more than 255.
pub(super) fn close_tuple(out: &mut Vec<u8>, start: usize, count: u32) {
    match u8::try_from(count) {
        Ok(arity) => out[start + 1] = arity,
        Err(_) => {
            let mut head = vec![LARGE_TUPLE_EXT];
            head.extend_from_slice(&count.to_be_bytes());
            out.splice(start..start + 2, head);
        }
    }
}

/// Completes the proper list whose head was written at `start`; whether all its elements are bytes, each
/// written as `SMALL_INTEGER_EXT`, is known to the caller.
pub(super) fn close_list(out: &mut Vec<u8>, start: usize, count: u32, bytes: bool) {
    if bytes && u16::try_from(count).is_ok() {
        let bytes: Vec<u8> = out[start + 5..].iter().copied().skip(1).step_by(2).collect();
        out.truncate(start);
        string(out, &bytes);
    } else {
        encode::nil(out);
        set_count(out, start, count);
    }
}

/// Sets the number of elements in the head of a list or map.
pub(crate) fn set_count(out: &mut [u8], start: usize, count: u32) {
    out[start + 1..start + 5].copy_from_slice(&count.to_be_bytes());
}

/// A list of at most 65,535 bytes.
pub(super) fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).expect("checked by the callers");
    if len == 0 {
        return encode::nil(out);
    }
    out.push(STRING_EXT);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// A list of characters.
pub(super) fn characters(out: &mut Vec<u8>, chars: &[char]) {
    let bytes: Option<Vec<u8>> = chars.iter().map(|&c| u8::try_from(c).ok()).collect();
    match bytes {
        Some(bytes) if u16::try_from(bytes.len()).is_ok() => string(out, &bytes),
        _ => encode::list(out, chars.iter(), |out, &c| {
            encode::integer(out, i64::from(u32::from(c)));
        }),
    }
}

/// An integer of any size.
pub(crate) fn integer(out: &mut Vec<u8>, value: &BigInt) {
    match i64::try_from(value) {
        Ok(value) => encode::integer(out, value),
        Err(_) => {
            let negative = value.sign() == Sign::Minus;
            encode::big_integer(out, negative, &value.magnitude().to_bytes_le());
        }
    }
}

/// The integer of a sign and bytes, the lowest first.
pub(crate) fn big_integer(negative: bool, magnitude: &[u8]) -> BigInt {
    BigInt::from_bytes_le(if negative { Sign::Minus } else { Sign::Plus }, magnitude)
}
