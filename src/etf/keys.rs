//! Whether the keys of a term's maps differ.
//!
//! No Erlang map has a key twice, and a node that is sent one drops the connection. Keys that look alike, or that can be
//! written in several ways, are compared by a hash of what they are, whatever bytes they were written in: each term inside
//! is hashed once, so that nothing a stranger nests costs more than its bytes, and equal terms have equal hashes. Unequal
//! ones are taken for equal if two 64-bit hashes of each agree.

use std::cell;

use super::decode::{mix, mix_bytes};
use super::stream::{Cell, Chunk, Head, Stream};
use super::{AtomRef, Term, TermRef};

/// How the keys of a term's maps differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// For every release.
    Clear,
    /// Only for who tells `0.0` from `-0.0`, or creation 0 from others.
    Slight,
    /// Some map has a key twice.
    None,
}

/// Looks at every map in a term. `zero_creation`: whether some identifier has creation 0.
///
/// Costs some 50 ns for each term inside, and 8 bytes for each key of a map.
pub(super) fn look(term: TermRef<'_>, zero_creation: bool) -> Difference {
    let repeated = |rules: Rules| SEEDS.iter().all(|&seed| is_repeated(term, seed, rules));
    let is_doubtful = repeated(Rules { one_zero: true, creations: true })
        || zero_creation && repeated(Rules { one_zero: true, creations: false });
    if !is_doubtful {
        Difference::Clear
    } else if !repeated(Rules::EXACT) {
        Difference::Slight
    } else {
        Difference::None
    }
}

/// Whether some map in the term has a key twice, which no Erlang map can.
pub(crate) fn has_repeated(term: TermRef<'_>) -> bool {
    SEEDS.iter().all(|&seed| is_repeated(term, seed, Rules::EXACT))
}

/// Where hashes begin. A pair of terms collides from both by chance alone.
const SEEDS: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344];

/// So that a key and its value do not stand for each other.
const PAIR: u64 = 0xa409_3822_299f_31d0;

/// Which terms are told apart.
#[derive(Clone, Copy)]
struct Rules {
    /// `0.0` and `-0.0` are the same.
    one_zero: bool,
    /// Identifiers of different creations differ. Where not, only maps that hold creation 0 are looked at.
    creations: bool,
}

impl Rules {
    const EXACT: Rules = Rules { one_zero: false, creations: true };
}

/// What is open around the next head, with the hash of what was read of it.
enum Level {
    Terms { left: u32, hash: u64 },
    Cells { chunk: Chunk, hash: u64 },
    Map { left: u32, key: Option<u64>, hash: u64, keys: Vec<u64>, zeros: u64 },
}

/// Kinds of terms, to begin their hashes with.
mod kind {
    pub(super) const INTEGER: u64 = 1;
    pub(super) const BIG_INTEGER: u64 = 2;
    pub(super) const FLOAT: u64 = 3;
    pub(super) const ATOM: u64 = 4;
    pub(super) const REFERENCE: u64 = 5;
    pub(super) const PORT: u64 = 6;
    pub(super) const PID: u64 = 7;
    pub(super) const NIL: u64 = 8;
    pub(super) const BITS: u64 = 9;
    pub(super) const EXPORT: u64 = 10;
    pub(super) const FUN: u64 = 11;
    pub(super) const TUPLE: u64 = 12;
    pub(super) const LIST: u64 = 13;
    pub(super) const MAP: u64 = 14;
    pub(super) const RECORD: u64 = 15;
}

fn is_repeated(term: TermRef<'_>, seed: u64, rules: Rules) -> bool {
    let hasher = Hasher { seed, rules, zeros: cell::Cell::new(0) };
    let mut stream = Stream::new(term);
    let mut levels: Vec<Level> = Vec::new();
    loop {
        // A native record is no leaf here: its values may hold maps.
        let opened = if let Some((names, left)) = stream.record() {
            let hash = names.fold(hasher.start(kind::RECORD), |hash, name| hasher.atom(hash, name));
            Level::Terms { left, hash }
        } else {
            match stream.head() {
                Head::Leaf(leaf) => {
                    match hasher.close(&mut levels, hasher.leaf(leaf), &mut stream) {
                        Closed::Open => continue,
                        Closed::All => return false,
                        Closed::Repeated => return true,
                    }
                }
                Head::Tuple(left) => {
                    Level::Terms { left, hash: mix(hasher.start(kind::TUPLE), left.into()) }
                }
                Head::Fun(fun) => {
                    let hash = hasher.atom(hasher.start(kind::FUN), fun.module);
                    let numbers =
                        [fun.index.cast_unsigned(), fun.uniq.cast_unsigned(), fun.free.into()];
                    Level::Terms { left: fun.free, hash: numbers.into_iter().fold(hash, mix) }
                }
                Head::Map(left) => {
                    let keys = Vec::with_capacity(left as usize);
                    let hash = mix(hasher.start(kind::MAP), left.into());
                    let zeros = hasher.zeros.get();
                    Level::Map { left: left.saturating_mul(2), key: None, hash, keys, zeros }
                }
                Head::List(chunk) => Level::Cells { chunk, hash: hasher.start(kind::LIST) },
            }
        };
        levels.push(opened);
        match hasher.go_on(&mut levels, &mut stream) {
            Closed::Open => {}
            Closed::All => return false,
            Closed::Repeated => return true,
        }
    }
}

/// Where a term's end leaves the reading.
enum Closed {
    /// A head is next.
    Open,
    /// The whole term was read.
    All,
    /// A map had a key twice.
    Repeated,
}

/// Gives a complete term's hash to the innermost level; false if there is none.
fn take(levels: &mut [Level], term: u64) -> bool {
    match levels.last_mut() {
        None => return false,
        Some(Level::Terms { left, hash }) => {
            *left -= 1;
            *hash = mix(*hash, term);
        }
        Some(Level::Cells { hash, .. }) => *hash = mix(*hash, term),
        Some(Level::Map { left, key, hash, keys, .. }) => {
            *left -= 1;
            match key.take() {
                None => {
                    *key = Some(term);
                    keys.push(term);
                }
                // Pairs in any order come to the same.
                Some(key) => *hash = hash.wrapping_add(mix(mix(PAIR, key), term)),
            }
        }
    }
    true
}

struct Hasher {
    seed: u64,
    rules: Rules,
    /// Identifiers of creation 0 so far.
    zeros: cell::Cell<u64>,
}

impl Hasher {
    const fn start(&self, kind: u64) -> u64 {
        mix(self.seed, kind)
    }

    /// Hands a complete term's hash to the innermost level, and goes on to the next head.
    fn close(&self, levels: &mut Vec<Level>, term: u64, stream: &mut Stream<'_>) -> Closed {
        if take(levels, term) { self.go_on(levels, stream) } else { Closed::All }
    }

    /// Closes what is complete, up to the next head.
    fn go_on(&self, levels: &mut Vec<Level>, stream: &mut Stream<'_>) -> Closed {
        loop {
            let complete = match levels.last_mut() {
                None => return Closed::All,
                Some(Level::Terms { left: 0, hash }) => *hash,
                Some(Level::Map { left: 0, hash, keys, zeros, .. }) => {
                    keys.sort_unstable();
                    let is_looked_at = self.rules.creations || self.zeros.get() > *zeros;
                    if is_looked_at && keys.windows(2).any(|pair| pair[0] == pair[1]) {
                        return Closed::Repeated;
                    }
                    *hash
                }
                Some(Level::Terms { .. } | Level::Map { .. }) => return Closed::Open,
                Some(Level::Cells { chunk, hash }) => match stream.cell(chunk) {
                    Cell::Byte(byte) => {
                        *hash = mix(*hash, self.leaf(Term::Integer(byte.into())));
                        continue;
                    }
                    Cell::Term => return Closed::Open,
                    Cell::End => mix(*hash, self.start(kind::NIL)),
                    Cell::Tail => {
                        // The tail's hash is the last that is mixed in.
                        let hash = *hash;
                        *levels.last_mut().expect("looked at above") =
                            Level::Terms { left: 1, hash };
                        return Closed::Open;
                    }
                },
            };
            levels.pop();
            if !take(levels, complete) {
                return Closed::All;
            }
        }
    }

    fn atom(&self, hash: u64, atom: AtomRef<'_>) -> u64 {
        mix_bytes(hash, atom.to_str().as_bytes())
    }

    fn node(&self, kind: u64, node: AtomRef<'_>, creation: u32) -> u64 {
        if creation == 0 {
            self.zeros.set(self.zeros.get() + 1);
        }
        let creation = if self.rules.creations { creation } else { 0 };
        mix(self.atom(self.start(kind), node), creation.into())
    }

    fn leaf(&self, leaf: Term<'_>) -> u64 {
        match leaf {
            Term::Integer(value) => mix(self.start(kind::INTEGER), value.cast_unsigned()),
            Term::BigInteger { negative, magnitude } => {
                mix_bytes(mix(self.start(kind::BIG_INTEGER), negative.into()), magnitude)
            }
            Term::Float(value) => {
                let value = if self.rules.one_zero && value == 0.0 { 0.0 } else { value };
                mix(self.start(kind::FLOAT), value.to_bits())
            }
            Term::Atom(atom) => self.atom(self.start(kind::ATOM), atom),
            Term::Reference { node, creation, ids } => {
                // Words of zero at the end make no difference.
                let used = ids.iter().rposition(|word| word != 0).map_or(0, |last| last + 1);
                ids.iter()
                    .take(used)
                    .fold(self.node(kind::REFERENCE, node, creation), |hash, word| {
                        mix(hash, word.into())
                    })
            }
            Term::Port { node, id, creation } => mix(self.node(kind::PORT, node, creation), id),
            Term::Pid { node, id, serial, creation } => {
                mix(self.node(kind::PID, node, creation), u64::from(id) << 32 | u64::from(serial))
            }
            Term::Nil => self.start(kind::NIL),
            Term::Binary(bytes) => mix_bytes(mix(self.start(kind::BITS), 8), bytes),
            Term::BitBinary { bytes, last_bits } => {
                let (last, whole) = bytes.split_last().expect("walked: bitstrings are not empty");
                let hash = mix_bytes(mix(self.start(kind::BITS), last_bits.into()), whole);
                mix(hash, u64::from(last >> (8 - last_bits)))
            }
            Term::Export { module, function, arity } => {
                let hash = self.atom(self.start(kind::EXPORT), module);
                mix(self.atom(hash, function), arity.into())
            }
            Term::Tuple(_)
            | Term::Map(_)
            | Term::List(_)
            | Term::String(_)
            | Term::Fun(_)
            | Term::NativeRecord(_) => {
                unreachable!("Head::Leaf holds no container, and records were looked for")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::etf::{DecodeError, walk};

    fn map(keys: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![116];
        bytes.extend(u32::try_from(keys.len()).expect("few").to_be_bytes());
        for key in keys {
            bytes.extend_from_slice(key);
            bytes.push(106);
        }
        bytes
    }

    /// A list whose first element is a native record, as OTP 29 sends it, is one term: the keys behind it are keys.
    #[test]
    fn a_record_at_the_beginning_of_a_list_moves_no_key() {
        // #a:b{c = [1]}
        let record = [67, 0, 0, 0, 1, 0, 119, 1, 97, 119, 1, 98, 119, 1, 99, 107, 0, 1, 1];
        let list = [&[108, 0, 0, 0, 1][..], &record, &[106]].concat();
        let mut bytes = vec![116, 0, 0, 0, 3, 119, 1, 120];
        bytes.extend(list);
        for key in [1, 2] {
            // A tuple is a key that has to be looked at.
            bytes.extend([104, 1, 97, key, 106]);
        }
        assert!(walk(&bytes).is_ok());
        let (same, other) = (bytes.len() - 7, bytes.len() - 2);
        bytes[other] = bytes[same];
        assert_eq!(walk(&bytes).unwrap_err(), DecodeError::RepeatedKey);
    }

    /// Each pair is one term in two forms; `binary_to_term/1` of every release refuses the map.
    #[test]
    fn a_key_is_recognised_in_each_of_its_forms() {
        let pairs: [(&[u8], &[u8]); 12] = [
            (&[97, 1], &[98, 0, 0, 0, 1]),
            (&[97, 1], &[110, 2, 0, 1, 0]),
            (&[110, 1, 0, 5], &[111, 0, 0, 0, 1, 0, 5]),
            (&[119, 1, b'a'], &[100, 0, 1, b'a']),
            (&[115, 1, 0xe9], &[119, 2, 0xc3, 0xa9]),
            (&[107, 0, 1, 5], &[108, 0, 0, 0, 1, 97, 5, 106]),
            (&[108, 0, 0, 0, 1, 97, 5, 107, 0, 1, 6], &[107, 0, 2, 5, 6]),
            (&[106], &[108, 0, 0, 0, 0, 106]),
            (&[109, 0, 0, 0, 1, 7], &[77, 0, 0, 0, 1, 8, 7]),
            (&[77, 0, 0, 0, 1, 3, 0xe0], &[77, 0, 0, 0, 1, 3, 0xff]),
            (&[104, 1, 106], &[105, 0, 0, 0, 1, 106]),
            (
                &[90, 0, 1, 119, 1, b'n', 0, 0, 0, 1, 0, 0, 0, 5],
                &[114, 0, 2, 119, 1, b'n', 1, 0, 0, 0, 5, 0, 0, 0, 0],
            ),
        ];
        for (one, other) in pairs {
            for keys in [&[one, one][..], &[one, other], &[one, &[119, 1, b'x'], other]] {
                assert_eq!(walk(&map(keys)), Err(DecodeError::RepeatedKey), "{keys:?}");
            }
            assert!(walk(&map(&[one, &[119, 1, b'x']])).is_ok());
            // As keys of keys, and in another order.
            let inner = [map(&[one, &[119, 1, b'x']]), map(&[&[119, 1, b'x'], other])];
            assert_eq!(walk(&map(&[&inner[0], &inner[1]])), Err(DecodeError::RepeatedKey));
        }
    }

    #[test]
    fn keys_that_only_newer_releases_tell_apart_are_noted() {
        let zero = [&[70][..], &[0; 8]].concat();
        let minus_zero = [&[70, 0x80][..], &[0; 7]].concat();
        let needs = walk(&map(&[&zero, &minus_zero])).map(|walked| walked.needs.distinct_keys);
        assert_eq!(needs, Ok(true));
        assert_eq!(walk(&map(&[&zero, &zero])), Err(DecodeError::RepeatedKey));
        let pid = |creation| [88, 119, 1, b'n', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, creation];
        let noted =
            |a: u8, b: u8| walk(&map(&[&pid(a), &pid(b)])).map(|walked| walked.needs.distinct_keys);
        assert_eq!(
            [noted(0, 1), noted(1, 2), noted(0, 0)],
            [Ok(true), Ok(false), Err(DecodeError::RepeatedKey)]
        );
    }

    /// Terms that differ only in the order or place of their parts are different keys.
    #[test]
    fn parts_in_other_places_make_other_keys() {
        let texts = [
            "#{a => b}",
            "#{b => a}",
            "{a,b}",
            "{b,a}",
            "[a,b]",
            "[b,a]",
            "[a|b]",
            "[b|a]",
            "{a,{b}}",
            "{{a},b}",
            "[[a],b]",
            "[a,[b]]",
            "#{a => #{b => c}}",
            "#{b => #{a => c}}",
            "#{a => 1,b => 2}",
            "#{a => 2,b => 1}",
            "{}",
            "{{}}",
            "[]",
            "[[]]",
            "#{}",
            "<<0:1>>",
            "<<0:2>>",
            "<<0>>",
            "<<>>",
            "0",
            "0.0",
            "fun a:b/1",
            "fun b:a/1",
            "<<0:9>>",
            "<<\"aaaaaaaa\">>",
            "<<\"aaaaaaaaa\">>",
            "<<\"abcdefgh\">>",
            "<<\"abcdabcd\">>",
        ];
        let keys: Vec<_> =
            texts.iter().map(|text| crate::etf::text::parse(text).expect("a term")).collect();
        let keys: Vec<_> = keys.iter().map(|key| &key[..]).collect();
        assert_eq!(walk(&map(&keys)).map(|walked| walked.needs.distinct_keys), Ok(false));
    }

    /// Far more keys than fingerprints are kept of, and levels of maps beyond those kept without allocation.
    #[test]
    fn a_repeated_key_is_found_among_many_and_deep_inside() {
        let keys: Vec<_> =
            (0..100_000_u32).map(|n| [&[98][..], &(n + 256).to_be_bytes()].concat()).collect();
        let mut keys: Vec<_> = keys.iter().map(|key| &key[..]).collect();
        assert!(walk(&map(&keys)).is_ok());
        keys.push(keys[5]);
        assert_eq!(walk(&map(&keys)), Err(DecodeError::RepeatedKey));
        for depth in [1, 30, 40, 500] {
            let open = [116, 0, 0, 0, 2, 119, 1, b'a', 106, 119, 1, b'b'].repeat(depth);
            for (last, is_sound) in [(b'c', true), (b'a', false)] {
                let inner = map(&[&[119, 1, b'a'], &[119, 1, last]]);
                assert_eq!(walk(&[&open[..], &inner].concat()).is_ok(), is_sound, "{depth}");
            }
            // After an inner map its outer one's keys are still known.
            let mut outer = vec![116, 0, 0, 0, 2, 119, 1, b'b'];
            outer.extend([&open[..], &[106]].concat());
            outer.extend([119, 1, b'b', 106]);
            assert_eq!(walk(&outer), Err(DecodeError::RepeatedKey), "{depth}");
        }
    }
}
