//! The walk: where a term ends, and whether it is well formed all the way down.
//!
//! Every byte that reaches the log passes here once, so the walk is a loop over the bytes without
//! allocation for ordinary terms, and it trusts no count: each element takes at least a byte, so a count
//! beyond the bytes left is refused before anything is reserved for it.
//!
//! What is accepted is sent on, and a node drops the whole connection over one term that it cannot decode. So the
//! walk refuses what a release refuses, and notes in [`Needs`] what only some nodes decode.
//!
//! Format: External Term Format, ERTS User's Guide; the limits are those of `binary_to_term/1`, see `tests/it/terms.rs`.

use super::keys::{self, Difference};
use super::tag::{
    ATOM_EXT, ATOM_UTF8_EXT, BINARY_EXT, BIT_BINARY_EXT, EXPORT_EXT, FLOAT_EXT, INTEGER_EXT,
    LARGE_BIG_EXT, LARGE_TUPLE_EXT, LIST_EXT, MAP_EXT, NATIVE_RECORD_EXT, NEW_FLOAT_EXT,
    NEW_FUN_EXT, NEW_PID_EXT, NEW_PORT_EXT, NEW_REFERENCE_EXT, NEWER_REFERENCE_EXT, NIL_EXT,
    PID_EXT, PORT_EXT, REFERENCE_EXT, SMALL_ATOM_EXT, SMALL_ATOM_UTF8_EXT, SMALL_BIG_EXT,
    SMALL_INTEGER_EXT, SMALL_TUPLE_EXT, STRING_EXT, V4_PORT_EXT, VERSION,
};
use super::{DecodeError, MAX_DEPTH, Reference, Term, TermRef};

/// What a node must be able to do to decode a term, beyond what every release from OTP 23 on does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Identifiers that only a node with `DFLAG_V4_NC` decodes: pids of more than 15 and 13 bits, ports of more than
    /// 28, references of more than three words.
    pub v4_nc: bool,
    /// Identifiers that not every node would give itself: those, and references whose first word has more than 18
    /// bits. The node that such a one names checks it more strictly than others do.
    pub wide: bool,
    /// Native records, which only a node with `DFLAG_NATIVE_RECORDS` decodes. OTP 29 sends them to any node.
    pub native_records: bool,
    /// A map with keys that OTP before 27 may take for the same one: `0.0` and `-0.0`, or an identifier with and without
    /// a creation.
    pub distinct_keys: bool,
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
const INLINE_DEPTH: usize = 16;

/// An open level: how many elements are still due, and whether they are keys and values.
#[derive(Clone, Copy)]
struct Level {
    due: u32,
    /// Where the keys seen begin in [`Keys`]; [`NO_MAP`] if the level is no map.
    keys: u8,
}

/// The open levels around the current one, innermost last.
struct Levels {
    inline: [Level; INLINE_DEPTH],
    spilled: Vec<Level>,
    depth: usize,
}

impl Levels {
    fn push(&mut self, level: Level, max_depth: usize, position: usize) -> Result<(), DecodeError> {
        if self.depth < INLINE_DEPTH {
            self.inline[self.depth] = level;
        } else if self.depth < max_depth {
            self.spilled.push(level);
        } else {
            return Err(DecodeError::TooDeep { limit: max_depth, position });
        }
        self.depth += 1;
        Ok(())
    }

    /// The innermost level; `None` when no level is open.
    fn pop(&mut self) -> Option<Level> {
        self.depth = self.depth.checked_sub(1)?;
        if self.depth < INLINE_DEPTH { Some(self.inline[self.depth]) } else { self.spilled.pop() }
    }
}

/// A level that is no map.
const NO_MAP: u8 = u8::MAX;

/// Keys of open maps that are compared as they come by; where there are more, the term is looked at once more.
const MAX_KEYS: usize = 64;

/// Fingerprints of the keys of the open maps, those of the innermost last.
#[derive(Default)]
struct Keys {
    /// No memory is taken for terms without maps, which most events are.
    prints: Vec<u32>,
    /// Whether fingerprints do not tell if the keys differ.
    doubtful: bool,
}

impl Keys {
    /// Takes a key of the map whose keys begin at `from`.
    fn add(&mut self, from: u8, key: &[u8]) {
        let print =
            fingerprint(key).filter(|print| !self.prints[usize::from(from)..].contains(print));
        match print {
            Some(print) if self.prints.len() < MAX_KEYS => self.prints.push(print),
            _ => self.doubtful = true,
        }
    }
}

/// A fingerprint of a key of the common kinds, each of which has one form: `None` for any other. Keys that differ have
/// the same one rarely enough.
fn fingerprint(key: &[u8]) -> Option<u32> {
    let (kind, content) = match *key {
        [SMALL_ATOM_UTF8_EXT, _, ref name @ ..] => (1, name),
        // Latin-1 beyond ASCII has another form in UTF-8.
        [ATOM_EXT, _, _, ref name @ ..] | [SMALL_ATOM_EXT, _, ref name @ ..] if name.is_ascii() => {
            (1, name)
        }
        [BINARY_EXT, _, _, _, _, ref content @ ..] => (2, content),
        [SMALL_INTEGER_EXT, ref value @ ..] => (3, value),
        [INTEGER_EXT, a, b, c, _] if (a, b, c) != (0, 0, 0) => (4, &key[1..]),
        _ => return None,
    };
    u32::try_from(mix_bytes(kind, content) >> 32).ok()
}

/// Stirs bytes into `hash`, and how many they are.
pub(super) fn mix_bytes(hash: u64, bytes: &[u8]) -> u64 {
    let mut hash = mix(hash, bytes.len() as u64);
    let word = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
    match (bytes.last_chunk::<8>(), bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        // The last word overlaps the one before it.
        (Some(last), ..) => {
            for chunk in bytes.chunks_exact(8) {
                hash = mix(hash, u64::from_le_bytes(chunk.try_into().expect("8 bytes")));
            }
            mix(hash, u64::from_le_bytes(*last))
        }
        (None, Some(first), Some(last)) => mix(hash, word(first) << 32 | word(last)),
        _ => mix(hash, bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte))),
    }
}

/// Stirs `word` into `hash`.
#[allow(clippy::cast_possible_truncation, reason = "both halves are used")]
pub(super) const fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word ^ 0x9e37_79b9_7f4a_7c15) as u128 * 0xd6e8_feb8_6659_fd93;
    (product as u64) ^ (product >> 64) as u64
}

/// Walks the one term that `bytes` begin with (no version byte), down to `MAX_DEPTH` levels.
///
/// Costs about 1 ns a byte of structure; the contents of binaries and strings are not touched. Maps with many keys, or
/// with other keys than atoms, integers and binaries, cost some 50 ns a term inside more, and up to 8 bytes a key.
///
/// # Errors
///
/// [`DecodeError`] if the bytes are no term that every release with what it [`Needs`] decodes.
pub fn walk(bytes: &[u8]) -> Result<Walked, DecodeError> {
    walk_within(MAX_DEPTH, bytes)
}

/// The same with another depth, for terms that this program put together from walked parts.
pub(super) fn walk_within(max_depth: usize, bytes: &[u8]) -> Result<Walked, DecodeError> {
    let (mut walked, noted) = walk_to::<true>(max_depth, bytes, &mut |_| ())?;
    if noted.doubtful_keys {
        match keys::look(TermRef::from_walked(&bytes[..walked.len]), noted.zero_creation) {
            Difference::Clear => {}
            Difference::Slight => walked.needs.distinct_keys = true,
            Difference::None => return Err(DecodeError::RepeatedKey),
        }
    }
    Ok(walked)
}

/// Hands each pid, port and reference of a walked term to `each`, those inside funs too.
pub(super) fn identifiers<'a>(term: TermRef<'a>, each: &mut impl FnMut(Term<'a>)) {
    let view = &mut |identifier| each(TermRef::from_walked(identifier).view());
    walk_to::<false>(usize::MAX, term.bytes(), view).expect("walked: elements are well formed");
}

/// Where the term ends that walked bytes begin with. It may nest deeper than [`MAX_DEPTH`] if this
/// program put it together from walked parts.
#[inline]
pub(super) fn skip(bytes: &[u8]) -> usize {
    // Leaves are most of all elements, and are not to pay for the call of a walk.
    match *bytes {
        [SMALL_INTEGER_EXT, ..] => 2,
        [INTEGER_EXT, ..] => 5,
        [SMALL_ATOM_UTF8_EXT, len, ..] => 2 + usize::from(len),
        [BINARY_EXT, a, b, c, d, ..] => 5 + u32::from_be_bytes([a, b, c, d]) as usize,
        [NIL_EXT, ..] => 1,
        _ => {
            let walked = walk_to::<false>(usize::MAX, bytes, &mut |_| ());
            walked.expect("walked: elements are well formed").0.len
        }
    }
}

/// What the walk saw that takes another look.
#[derive(Default)]
struct Noted {
    /// Some map may have a key twice.
    doubtful_keys: bool,
    /// Some identifier has creation 0, which stands for any.
    zero_creation: bool,
}

/// The walk, never part of its callers, whose short ways would pay for its registers; `KEYS`: whether the keys of maps are compared. `identifier` is given the bytes of each identifier.
#[inline(never)]
fn walk_to<'a, const KEYS: bool>(
    max_depth: usize,
    bytes: &'a [u8],
    identifier: &mut impl FnMut(&'a [u8]),
) -> Result<(Walked, Noted), DecodeError> {
    const NOTHING: Level = Level { due: 0, keys: NO_MAP };
    let mut levels = Levels { inline: [NOTHING; INLINE_DEPTH], spilled: Vec::new(), depth: 0 };
    let mut keys = Keys::default();
    // Where each open fun says it ends, with the depth at which its last element is read.
    let mut fun_ends: Vec<(usize, usize)> = Vec::new();
    let mut needs = Needs::default();
    let mut noted = Noted::default();
    let mut level = Level { due: 1, keys: NO_MAP };
    let mut at = 0;
    loop {
        while level.due == 0 {
            if let Some(&(end, depth)) = fun_ends.last()
                && depth == levels.depth
            {
                if end != at {
                    return Err(DecodeError::Malformed { what: "fun", position: at });
                }
                fun_ends.pop();
            }
            if KEYS && level.keys != NO_MAP {
                keys.prints.truncate(level.keys.into());
            }
            match levels.pop() {
                Some(outer) => level = outer,
                None => {
                    noted.doubtful_keys = keys.doubtful;
                    return Ok((Walked { len: at, needs }, noted));
                }
            }
        }
        let is_key = KEYS && level.keys != NO_MAP && level.due.is_multiple_of(2);
        level.due -= 1;
        let start = at;
        let tag = *bytes.get(at).ok_or(DecodeError::Truncated { position: at })?;
        at += 1;
        let malformed = |what| DecodeError::Malformed { what, position: start };
        let elements: u32 = match tag {
            SMALL_INTEGER_EXT => take(bytes, &mut at, 1)?,
            INTEGER_EXT => take(bytes, &mut at, 4)?,
            NEW_FLOAT_EXT => {
                let end = at;
                take(bytes, &mut at, 8)?;
                // A NaN or infinity is no Erlang float: exponent bits all ones.
                if bytes[end] & 0x7f == 0x7f && bytes[end + 1] & 0xf0 == 0xf0 {
                    return Err(malformed("float"));
                }
                0
            }
            FLOAT_EXT => {
                take(bytes, &mut at, 31)?;
                if super::term::old_float(&bytes[at - 31..at]).is_none() {
                    return Err(malformed("float"));
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
                // One without bits brings the emulator of OTP 28 down.
                if !(1..=8).contains(&bits) || len == 0 {
                    return Err(malformed("bitstring"));
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
                if len > MAX_INTEGER_BYTES {
                    return Err(malformed("big integer"));
                }
                take(bytes, &mut at, len as usize + 1)?
            }
            SMALL_TUPLE_EXT => u32::from(u8_at(bytes, &mut at)?),
            LARGE_TUPLE_EXT => match u32_at(bytes, &mut at)? {
                arity @ 0..=MAX_ARITY => arity,
                _ if bytes.len() - at <= MAX_ARITY as usize => {
                    return Err(DecodeError::Truncated { position: bytes.len() });
                }
                _ => return Err(malformed("tuple")),
            },
            LIST_EXT => u32_at(bytes, &mut at)?
                .checked_add(1)
                .ok_or(DecodeError::Truncated { position: bytes.len() })?,
            MAP_EXT => u32_at(bytes, &mut at)?
                .checked_mul(2)
                .ok_or(DecodeError::Truncated { position: bytes.len() })?,
            NEW_PID_EXT | PID_EXT | NEW_PORT_EXT | V4_PORT_EXT | PORT_EXT | REFERENCE_EXT
            | NEWER_REFERENCE_EXT | NEW_REFERENCE_EXT => {
                let zero_creation = self::identifier(bytes, &mut at, tag, start, &mut needs)?;
                noted.zero_creation |= zero_creation;
                identifier(&bytes[start..at]);
                0
            }
            EXPORT_EXT => {
                atom(bytes, &mut at)?;
                atom(bytes, &mut at)?;
                if u8_at(bytes, &mut at)? != SMALL_INTEGER_EXT {
                    return Err(malformed("export fun"));
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
                        _ => return Err(malformed("fun")),
                    };
                    take(bytes, &mut at, len)?;
                }
                let pid_at = at;
                match u8_at(bytes, &mut at)? {
                    tag @ (NEW_PID_EXT | PID_EXT) => {
                        self::identifier(bytes, &mut at, tag, start, &mut needs)?;
                    }
                    _ => return Err(malformed("fun")),
                }
                identifier(&bytes[pid_at..at]);
                if free > MAX_FREE_VARIABLES {
                    return Err(malformed("fun"));
                }
                if free > 0 {
                    fun_ends.push((end, levels.depth + 1));
                } else if end != at {
                    return Err(malformed("fun"));
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
        if is_key {
            if elements == 0 {
                keys.add(level.keys, &bytes[start..at]);
            } else {
                keys.doubtful = true;
            }
        }
        if elements > 0 {
            if elements as usize > bytes.len() - at {
                return Err(DecodeError::Truncated { position: bytes.len() });
            }
            levels.push(level, max_depth, start)?;
            let is_map = KEYS && tag == MAP_EXT && elements > 2;
            let keys = u8::try_from(keys.prints.len()).expect("at most MAX_KEYS");
            level = Level { due: elements, keys: if is_map { keys } else { NO_MAP } };
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
#[inline]
fn take(bytes: &[u8], at: &mut usize, len: usize) -> Result<u32, DecodeError> {
    if len > bytes.len() - *at {
        return Err(DecodeError::Truncated { position: bytes.len() });
    }
    *at += len;
    Ok(0)
}

#[inline]
fn u8_at(bytes: &[u8], at: &mut usize) -> Result<u8, DecodeError> {
    let value = *bytes.get(*at).ok_or(DecodeError::Truncated { position: *at })?;
    *at += 1;
    Ok(value)
}

#[inline]
fn u16_at(bytes: &[u8], at: &mut usize) -> Result<usize, DecodeError> {
    let start = *at;
    take(bytes, at, 2)?;
    Ok(usize::from(u16::from_be_bytes([bytes[start], bytes[start + 1]])))
}

#[inline]
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
#[inline]
fn atom(bytes: &[u8], at: &mut usize) -> Result<(), DecodeError> {
    // Nearly all are of this kind.
    if let Some(&[SMALL_ATOM_UTF8_EXT, len]) = bytes.get(*at..*at + 2)
        && let Some(name) = bytes.get(*at + 2..*at + 2 + usize::from(len))
        && name.is_ascii()
    {
        *at += 2 + usize::from(len);
        return Ok(());
    }
    any_atom(bytes, at)
}

#[inline(never)]
fn any_atom(bytes: &[u8], at: &mut usize) -> Result<(), DecodeError> {
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

/// A node name and numbers, behind the tag of an identifier. Whether its creation is 0.
fn identifier(
    bytes: &[u8],
    at: &mut usize,
    tag: u8,
    start: usize,
    needs: &mut Needs,
) -> Result<bool, DecodeError> {
    let malformed = |what| DecodeError::Malformed { what, position: start };
    let words = match tag {
        NEW_PID_EXT | PID_EXT | V4_PORT_EXT => 2,
        NEW_PORT_EXT | PORT_EXT | REFERENCE_EXT => 1,
        _ => match u16_at(bytes, at)? {
            words @ 1..=MAX_REFERENCE_WORDS => words,
            _ => return Err(malformed("reference")),
        },
    };
    atom(bytes, at)?;
    let numbers_at = *at;
    let has_short_creation = matches!(tag, PID_EXT | PORT_EXT | REFERENCE_EXT | NEW_REFERENCE_EXT);
    let creation_bytes = if has_short_creation { 1 } else { 4 };
    take(bytes, at, 4 * words + creation_bytes)?;
    let numbers = &bytes[numbers_at..*at];
    let is_reference = matches!(tag, NEWER_REFERENCE_EXT | NEW_REFERENCE_EXT);
    let (creation, numbers) = if is_reference {
        numbers.split_at(creation_bytes)
    } else {
        let (numbers, creation) = numbers.split_at(4 * words);
        (creation, numbers)
    };
    if has_short_creation && creation[0] > MAX_SHORT_CREATION {
        return Err(malformed("creation"));
    }
    let word =
        |n: usize| u32::from_be_bytes(numbers[4 * n..4 * n + 4].try_into().expect("4 bytes"));
    // The old forms of references have 18 bits in the first word; in the new one more are only a doubt.
    let is_beyond = (is_reference || tag == REFERENCE_EXT) && word(0) >> 18 != 0;
    if is_beyond && tag != NEWER_REFERENCE_EXT {
        return Err(malformed("reference"));
    }
    needs.v4_nc |= match tag {
        NEW_PID_EXT | PID_EXT => word(0) >> 15 != 0 || word(1) >> 13 != 0,
        NEW_PORT_EXT | PORT_EXT => word(0) >> 28 != 0,
        V4_PORT_EXT => true,
        _ => words > 3,
    };
    needs.wide |= needs.v4_nc || is_beyond;
    Ok(creation.iter().all(|&byte| byte == 0))
}

/// The largest creation in an identifier's short form.
const MAX_SHORT_CREATION: u8 = 3;

/// The most words of a reference.
const MAX_REFERENCE_WORDS: usize = Reference::MAX_WORDS;

/// The most bytes of an integer's magnitude that OTP 27 and later decode; 23 and 25 know larger ones.
const MAX_INTEGER_BYTES: u32 = 524_280;

/// The most elements of a tuple.
const MAX_ARITY: u32 = 0xff_ffff;

/// The most free variables of a fun.
const MAX_FREE_VARIABLES: u32 = 255;

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
