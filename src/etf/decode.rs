//! The walk: where a term ends, and whether it is well formed all the way down.
//!
//! Every byte that reaches the log passes here once, so the walk is a loop over the bytes without
//! allocation for ordinary terms, and it trusts no count: each element takes at least a byte, so a count
//! beyond the bytes left is refused before anything is reserved for it.
//!
//! Format: External Term Format, ERTS User's Guide.

use super::tag::{
    ATOM_EXT, ATOM_UTF8_EXT, BINARY_EXT, BIT_BINARY_EXT, EXPORT_EXT, FLOAT_EXT, INTEGER_EXT,
    LARGE_BIG_EXT, LARGE_TUPLE_EXT, LIST_EXT, MAP_EXT, NATIVE_RECORD_EXT, NEW_FLOAT_EXT,
    NEW_FUN_EXT, NEW_PID_EXT, NEW_PORT_EXT, NEW_REFERENCE_EXT, NEWER_REFERENCE_EXT, NIL_EXT,
    PID_EXT, PORT_EXT, REFERENCE_EXT, SMALL_ATOM_EXT, SMALL_ATOM_UTF8_EXT, SMALL_BIG_EXT,
    SMALL_INTEGER_EXT, SMALL_TUPLE_EXT, STRING_EXT, V4_PORT_EXT, VERSION,
};
use super::{DecodeError, MAX_DEPTH, TermRef};

/// What a reader of a term must be able to decode beyond what every release from OTP 23 on does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Identifiers that only a node with `DFLAG_V4_NC` reads: 64-bit ports, more than three reference words.
    pub v4_nc: bool,
    /// Native records, which only a node with `DFLAG_NATIVE_RECORDS` reads. OTP 29 sends them to any node.
    pub native_records: bool,
}

impl Needs {
    /// Whether a node that decodes `able` can read the term.
    pub const fn are_met_by(self, able: Needs) -> bool {
        (able.v4_nc || !self.v4_nc) && (able.native_records || !self.native_records)
    }
}

/// What [`walk`] found out about a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Bytes of the term.
    pub len: usize,
    /// What its reader must be able to decode.
    pub needs: Needs,
}

/// Depth that needs no allocation.
const INLINE_DEPTH: usize = 32;

/// Elements still due on each open level, innermost last.
struct Levels {
    inline: [u32; INLINE_DEPTH],
    spilled: Vec<u32>,
    depth: usize,
}

impl Levels {
    fn push(&mut self, due: u32, max_depth: usize, position: usize) -> Result<(), DecodeError> {
        if self.depth < INLINE_DEPTH {
            self.inline[self.depth] = due;
        } else if self.depth < max_depth {
            self.spilled.push(due);
        } else {
            return Err(DecodeError::TooDeep { limit: max_depth, position });
        }
        self.depth += 1;
        Ok(())
    }

    /// The innermost level's count; `None` when no level is open.
    fn pop(&mut self) -> Option<u32> {
        self.depth = self.depth.checked_sub(1)?;
        if self.depth < INLINE_DEPTH { Some(self.inline[self.depth]) } else { self.spilled.pop() }
    }
}

/// Walks the one term that `bytes` begin with (no version byte), down to `MAX_DEPTH` levels.
///
/// Costs about 1 ns a byte of structure; the contents of binaries and strings are not touched.
///
/// # Errors
///
/// [`DecodeError`] if the bytes are no well-formed term.
pub fn walk(bytes: &[u8]) -> Result<Walked, DecodeError> {
    walk_to(MAX_DEPTH, bytes)
}

/// Where the term ends that walked bytes begin with. It may nest deeper than [`MAX_DEPTH`] if this
/// program put it together from walked parts.
pub(super) fn skip(bytes: &[u8]) -> usize {
    // Leaves are most of all elements.
    match *bytes {
        [SMALL_INTEGER_EXT, ..] => 2,
        [INTEGER_EXT, ..] => 5,
        [SMALL_ATOM_UTF8_EXT, len, ..] => 2 + usize::from(len),
        [BINARY_EXT, a, b, c, d, ..] => 5 + u32::from_be_bytes([a, b, c, d]) as usize,
        [NIL_EXT, ..] => 1,
        _ => walk_to(usize::MAX, bytes).expect("walked: elements are well formed").len,
    }
}

fn walk_to(max_depth: usize, bytes: &[u8]) -> Result<Walked, DecodeError> {
    let mut levels = Levels { inline: [0; INLINE_DEPTH], spilled: Vec::new(), depth: 0 };
    // Where each open fun says it ends, with the depth at which its last element is read.
    let mut fun_ends: Vec<(usize, usize)> = Vec::new();
    let mut needs = Needs::default();
    let mut due: u32 = 1;
    let mut at = 0;
    loop {
        while due == 0 {
            if let Some(&(end, depth)) = fun_ends.last()
                && depth == levels.depth
            {
                if end != at {
                    return Err(DecodeError::Malformed { what: "fun", position: at });
                }
                fun_ends.pop();
            }
            match levels.pop() {
                Some(outer) => due = outer,
                None => return Ok(Walked { len: at, needs }),
            }
        }
        due -= 1;
        let start = at;
        let tag = *bytes.get(at).ok_or(DecodeError::Truncated { position: at })?;
        at += 1;
        let elements: u32 = match tag {
            SMALL_INTEGER_EXT => take(bytes, &mut at, 1)?,
            INTEGER_EXT => take(bytes, &mut at, 4)?,
            NEW_FLOAT_EXT => {
                let end = at;
                take(bytes, &mut at, 8)?;
                // A NaN or infinity is no Erlang float: exponent bits all ones.
                if bytes[end] & 0x7f == 0x7f && bytes[end + 1] & 0xf0 == 0xf0 {
                    return Err(DecodeError::Malformed { what: "float", position: start });
                }
                0
            }
            FLOAT_EXT => {
                take(bytes, &mut at, 31)?;
                if super::term::old_float(&bytes[at - 31..at]).is_none() {
                    return Err(DecodeError::Malformed { what: "float", position: start });
                }
                0
            }
            NIL_EXT => 0,
            SMALL_ATOM_UTF8_EXT | ATOM_UTF8_EXT | SMALL_ATOM_EXT | ATOM_EXT => {
                at = start;
                atom(bytes, &mut at)?;
                0
            }
            STRING_EXT => {
                let len = u16_at(bytes, &mut at)?;
                take(bytes, &mut at, len)?
            }
            BINARY_EXT => {
                let len = u32_at(bytes, &mut at)?;
                take(bytes, &mut at, len as usize)?
            }
            BIT_BINARY_EXT => {
                let len = u32_at(bytes, &mut at)? as usize;
                let bits = *bytes.get(at).ok_or(DecodeError::Truncated { position: at })?;
                if !(1..=8).contains(&bits) || len == 0 {
                    return Err(DecodeError::Malformed { what: "bitstring", position: start });
                }
                at += 1;
                take(bytes, &mut at, len)?
            }
            SMALL_BIG_EXT => {
                let len = u8_at(bytes, &mut at)?;
                sign(bytes, at, start)?;
                take(bytes, &mut at, usize::from(len) + 1)?
            }
            LARGE_BIG_EXT => {
                let len = u32_at(bytes, &mut at)?;
                sign(bytes, at, start)?;
                take(bytes, &mut at, (len as usize).saturating_add(1))?
            }
            SMALL_TUPLE_EXT => u32::from(u8_at(bytes, &mut at)?),
            LARGE_TUPLE_EXT => u32_at(bytes, &mut at)?,
            LIST_EXT => u32_at(bytes, &mut at)?
                .checked_add(1)
                .ok_or(DecodeError::Truncated { position: bytes.len() })?,
            MAP_EXT => u32_at(bytes, &mut at)?
                .checked_mul(2)
                .ok_or(DecodeError::Truncated { position: bytes.len() })?,
            NEW_PID_EXT => identifier(bytes, &mut at, 12)?,
            PID_EXT => identifier(bytes, &mut at, 9)?,
            NEW_PORT_EXT => identifier(bytes, &mut at, 8)?,
            V4_PORT_EXT => {
                needs.v4_nc = true;
                identifier(bytes, &mut at, 12)?
            }
            PORT_EXT | REFERENCE_EXT => identifier(bytes, &mut at, 5)?,
            NEWER_REFERENCE_EXT | NEW_REFERENCE_EXT => {
                let words = u16_at(bytes, &mut at)?;
                if !(1..=5).contains(&words) {
                    return Err(DecodeError::Malformed { what: "reference", position: start });
                }
                needs.v4_nc |= words > 3;
                identifier(
                    bytes,
                    &mut at,
                    4 * words + if tag == NEWER_REFERENCE_EXT { 4 } else { 1 },
                )?
            }
            EXPORT_EXT => {
                atom(bytes, &mut at)?;
                atom(bytes, &mut at)?;
                if u8_at(bytes, &mut at)? != SMALL_INTEGER_EXT {
                    return Err(DecodeError::Malformed { what: "export fun", position: start });
                }
                take(bytes, &mut at, 1)?
            }
            NEW_FUN_EXT => {
                let size = u32_at(bytes, &mut at)? as usize;
                // Arity, 16 bytes of uniqueness, index, number of free variables.
                take(bytes, &mut at, 21)?;
                let mut count_at = at;
                let free = u32_at(bytes, &mut count_at)?;
                at = count_at;
                let end = (start + 1).saturating_add(size);
                if end > bytes.len() {
                    return Err(DecodeError::Truncated { position: bytes.len() });
                }
                // Module, old index, old uniq, pid, then the free variables.
                atom(bytes, &mut at)?;
                for _ in 0..2 {
                    let len = match u8_at(bytes, &mut at)? {
                        SMALL_INTEGER_EXT => 1,
                        INTEGER_EXT => 4,
                        _ => return Err(DecodeError::Malformed { what: "fun", position: start }),
                    };
                    take(bytes, &mut at, len)?;
                }
                let numbers = match u8_at(bytes, &mut at)? {
                    NEW_PID_EXT => 12,
                    PID_EXT => 9,
                    _ => return Err(DecodeError::Malformed { what: "fun", position: start }),
                };
                identifier(bytes, &mut at, numbers)?;
                if free > 0 {
                    fun_ends.push((end, levels.depth + 1));
                } else if end != at {
                    return Err(DecodeError::Malformed { what: "fun", position: start });
                }
                free
            }
            NATIVE_RECORD_EXT => {
                needs.native_records = true;
                let fields = u32_at(bytes, &mut at)?;
                // Whether it is exported; then module, name and the fields' names, then their values.
                take(bytes, &mut at, 1)?;
                for _ in 0..u64::from(fields) + 2 {
                    atom(bytes, &mut at)?;
                }
                fields
            }
            tag => return Err(DecodeError::UnknownTag { tag, position: start }),
        };
        if elements > 0 {
            if elements as usize > bytes.len() - at {
                return Err(DecodeError::Truncated { position: bytes.len() });
            }
            levels.push(due, max_depth, start)?;
            due = elements;
        }
    }
}

/// Walks `bytes` as version 131 and one whole term, and gives a view of the term.
///
/// # Errors
///
/// [`DecodeError`] if there is no version byte, no well-formed term, or something after it.
pub fn external(bytes: &[u8]) -> Result<TermRef<'_>, DecodeError> {
    match bytes.split_first() {
        Some((&VERSION, term)) => TermRef::whole(term),
        other => Err(DecodeError::Version { found: other.map(|(v, _)| *v) }),
    }
}

/// Skips `len` bytes; 0 so that leaf tags read as one expression.
fn take(bytes: &[u8], at: &mut usize, len: usize) -> Result<u32, DecodeError> {
    if len > bytes.len() - *at {
        return Err(DecodeError::Truncated { position: bytes.len() });
    }
    *at += len;
    Ok(0)
}

fn u8_at(bytes: &[u8], at: &mut usize) -> Result<u8, DecodeError> {
    let value = *bytes.get(*at).ok_or(DecodeError::Truncated { position: *at })?;
    *at += 1;
    Ok(value)
}

fn u16_at(bytes: &[u8], at: &mut usize) -> Result<usize, DecodeError> {
    let start = *at;
    take(bytes, at, 2)?;
    Ok(usize::from(u16::from_be_bytes([bytes[start], bytes[start + 1]])))
}

fn u32_at(bytes: &[u8], at: &mut usize) -> Result<u32, DecodeError> {
    let start = *at;
    take(bytes, at, 4)?;
    Ok(u32::from_be_bytes([bytes[start], bytes[start + 1], bytes[start + 2], bytes[start + 3]]))
}

/// The sign byte of a big integer is 0 or 1.
fn sign(bytes: &[u8], at: usize, start: usize) -> Result<(), DecodeError> {
    match bytes.get(at) {
        None => Err(DecodeError::Truncated { position: at }),
        Some(0 | 1) => Ok(()),
        Some(_) => Err(DecodeError::Malformed { what: "big integer", position: start }),
    }
}

/// An atom of at most 255 characters; UTF-8 ones hold valid UTF-8.
fn atom(bytes: &[u8], at: &mut usize) -> Result<(), DecodeError> {
    let start = *at;
    let tag = u8_at(bytes, at)?;
    let len = match tag {
        SMALL_ATOM_UTF8_EXT | SMALL_ATOM_EXT => usize::from(u8_at(bytes, at)?),
        ATOM_UTF8_EXT | ATOM_EXT => u16_at(bytes, at)?,
        tag => return Err(DecodeError::UnknownTag { tag, position: start }),
    };
    let name_at = *at;
    take(bytes, at, len)?;
    let name = &bytes[name_at..*at];
    let fits = if name.is_ascii() || matches!(tag, SMALL_ATOM_EXT | ATOM_EXT) {
        len <= 255
    } else {
        std::str::from_utf8(name).is_ok_and(|name| name.chars().count() <= 255)
    };
    if fits { Ok(()) } else { Err(DecodeError::Malformed { what: "atom", position: start }) }
}

/// A node name and `len` bytes of numbers.
fn identifier(bytes: &[u8], at: &mut usize, len: usize) -> Result<u32, DecodeError> {
    atom(bytes, at)?;
    take(bytes, at, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Result<usize, DecodeError>) {
        assert_eq!(walk(bytes).map(|walked| walked.len), expected, "{bytes:?}");
    }

    #[test]
    fn walk_ends_where_the_term_ends() {
        check(&[97, 1, 99], Ok(2));
        check(&[104, 2, 97, 1, 106, 5], Ok(5));
        check(&[104, 0], Ok(2));
        check(&[108, 0, 0, 0, 1, 97, 1, 106], Ok(8));
        check(&[116, 0, 0, 0, 1, 119, 1, b'a', 109, 0, 0, 0, 2, 1, 2], Ok(15));
        check(&[107, 0, 2, 1, 2], Ok(5));
    }

    #[test]
    fn walk_refuses_a_count_beyond_the_bytes_left() {
        check(&[108, 255, 255, 255, 255, 106], Err(DecodeError::Truncated { position: 6 }));
        check(&[105, 255, 255, 255, 255, 106], Err(DecodeError::Truncated { position: 6 }));
        check(&[116, 255, 255, 255, 255, 106], Err(DecodeError::Truncated { position: 6 }));
        check(&[109, 255, 255, 255, 255, 106], Err(DecodeError::Truncated { position: 6 }));
    }

    #[test]
    fn walk_stops_at_its_depth() {
        let nest = |depth: usize| {
            let mut bytes = [104, 1].repeat(depth);
            bytes.push(106);
            bytes
        };
        check(&nest(MAX_DEPTH), Ok(2 * MAX_DEPTH + 1));
        let limit = MAX_DEPTH;
        check(&nest(1_000_000), Err(DecodeError::TooDeep { limit, position: 2 * MAX_DEPTH }));
    }

    /// Recorded from OTP 29: `#pt{x = 7, y = "q"}` of a module `nr`.
    #[test]
    fn a_native_record_is_walked_and_noted() {
        let mut bytes = vec![67, 0, 0, 0, 2, 0, 119, 2, b'n', b'r', 119, 2, b'p', b't'];
        bytes.extend([119, 1, b'x', 119, 1, b'y', 97, 7, 107, 0, 1, b'q']);
        let walked = walk(&bytes).unwrap();
        assert_eq!((walked.len, walked.needs.native_records), (bytes.len(), true));
        check(
            &[67, 255, 255, 255, 255, 0, 119, 1, b'n'],
            Err(DecodeError::Truncated { position: 9 }),
        );
    }

    #[test]
    fn every_cut_of_a_term_is_truncated() {
        let bytes =
            [104, 3, 98, 0, 0, 1, 0, 108, 0, 0, 0, 1, 119, 2, b'o', b'k', 106, 110, 1, 0, 9];
        check(&bytes, Ok(bytes.len()));
        for cut in 0..bytes.len() {
            assert!(matches!(walk(&bytes[..cut]), Err(DecodeError::Truncated { .. })), "{cut}");
        }
    }
}
