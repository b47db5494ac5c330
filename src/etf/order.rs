//! Erlang's order and equality of terms, whatever bytes they were written in.
//!
//! number < atom < reference < fun < port < pid < tuple < map < `[]` < list < bitstring. Integers and
//! floats are compared by value, without rounding. Maps are compared by size, then by their keys in
//! ascending order, then by the values in that order; among keys every integer comes before every float.
//!
//! Both terms are read front to back in step. Only maps need more: where two maps of the same size meet,
//! both terms are copied once with the pairs of every map sorted, and the comparison starts again.
//!
//! Order: Erlang Reference Manual, "Term Comparisons". Exact comparison tells `0.0` from `-0.0`, as OTP 27
//! and later do. Closures are compared as far as their own node's bytes allow.

use std::cmp::Ordering;

use super::stream::{Cell, Chunk, FunHead, Head, Stream};
use super::tag::{
    BINARY_EXT, INTEGER_EXT, NEW_FLOAT_EXT, NIL_EXT, SMALL_ATOM_UTF8_EXT, SMALL_INTEGER_EXT,
};
use super::{AtomRef, Term, TermRef};

/// Compares two terms as `<`, `==` and `>` do: `1` and `1.0` are equal.
///
/// Costs a few ns a byte up to the first difference, and no memory unless maps are compared.
pub fn cmp(a: TermRef<'_>, b: TermRef<'_>) -> Ordering {
    compare(a, b, false)
}

/// Compares two terms as keys of a map: equal only if `=:=`, integers before floats.
pub fn cmp_exact(a: TermRef<'_>, b: TermRef<'_>) -> Ordering {
    compare(a, b, true)
}

/// Whether `a == b`.
pub fn equal(a: TermRef<'_>, b: TermRef<'_>) -> bool {
    a.bytes() == b.bytes() || cmp(a, b).is_eq()
}

/// Whether `a =:= b`.
pub fn exactly_equal(a: TermRef<'_>, b: TermRef<'_>) -> bool {
    a.bytes() == b.bytes() || !in_one_form(a, b) && cmp_exact(a, b).is_eq()
}

/// Whether the terms are of a kind in which different bytes are different terms.
pub(crate) fn in_one_form(a: TermRef<'_>, b: TermRef<'_>) -> bool {
    let tag = a.bytes()[0];
    tag == b.bytes()[0]
        && matches!(
            tag,
            SMALL_ATOM_UTF8_EXT | SMALL_INTEGER_EXT | INTEGER_EXT | NEW_FLOAT_EXT | BINARY_EXT
        )
}

/// Whether some map in the term has a key twice, which no Erlang map can.
///
/// Costs some 20 ns for each term inside.
pub fn has_repeated_key(term: TermRef<'_>) -> bool {
    super::keys::has_repeated(term)
}

fn compare(a: TermRef<'_>, b: TermRef<'_>, exact: bool) -> Ordering {
    if is_leaf(a) && is_leaf(b) {
        return leaves(a.view(), b.view(), exact);
    }
    if let Some(order) = in_step(a, b, exact, false) {
        return order;
    }
    let (a, b) = (sort_maps(a), sort_maps(b));
    in_step(TermRef::from_walked(&a), TermRef::from_walked(&b), exact, true)
        .expect("sorted maps are compared in step")
}

fn is_leaf(term: TermRef<'_>) -> bool {
    matches!(
        term.bytes()[0],
        SMALL_ATOM_UTF8_EXT
            | SMALL_INTEGER_EXT
            | INTEGER_EXT
            | NEW_FLOAT_EXT
            | BINARY_EXT
            | NIL_EXT
    )
}

/// What is still to be compared, innermost last.
#[derive(Clone, Copy)]
enum Due {
    Terms { count: u32, exact: bool },
    Cells { a: Chunk, b: Chunk, exact: bool },
}

/// Compares terms front to back; `None` if that needs the pairs of maps `sorted`, keys first.
fn in_step(a: TermRef<'_>, b: TermRef<'_>, exact: bool, sorted: bool) -> Option<Ordering> {
    let (mut a, mut b) = (Stream::new(a), Stream::new(b));
    let mut due = Vec::new();
    let mut next = Some(Due::Terms { count: 1, exact });
    while let Some(level) = next {
        let (ours, theirs, exact) = match level {
            Due::Terms { count: 0, .. } => {
                next = due.pop();
                continue;
            }
            Due::Terms { count, exact } => {
                next = Some(Due::Terms { count: count - 1, exact });
                (a.head(), b.head(), exact)
            }
            Due::Cells { a: mut ours, b: mut theirs, exact } => {
                let cells = (a.cell(&mut ours), b.cell(&mut theirs));
                next = match cells {
                    (Cell::End, Cell::End) => {
                        next = due.pop();
                        continue;
                    }
                    // Unless both go on, both rests are compared, and nothing of the list is left.
                    (Cell::Tail | Cell::End, _) | (_, Cell::Tail | Cell::End) => {
                        match (cells.0.is_element(), cells.1.is_element()) {
                            (true, _) => return Some(LIST.cmp(&rest_rank(cells.1, &mut b))),
                            (_, true) => return Some(rest_rank(cells.0, &mut a).cmp(&LIST)),
                            _ => due.pop(),
                        }
                    }
                    _ => Some(Due::Cells { a: ours, b: theirs, exact }),
                };
                (cell_head(cells.0, &mut a), cell_head(cells.1, &mut b), exact)
            }
        };
        let inner = match (ours, theirs) {
            (Head::Leaf(ours), Head::Leaf(theirs)) => match leaves(ours, theirs, exact) {
                Ordering::Equal => continue,
                order => return Some(order),
            },
            (Head::Tuple(ours), Head::Tuple(theirs)) => match ours.cmp(&theirs) {
                Ordering::Equal => Due::Terms { count: ours, exact },
                order => return Some(order),
            },
            (Head::Map(ours), Head::Map(theirs)) => {
                if ours != theirs {
                    return Some(ours.cmp(&theirs));
                }
                if ours > 1 && !sorted {
                    return None;
                }
                due.extend(next);
                due.push(Due::Terms { count: ours, exact });
                next = Some(Due::Terms { count: ours, exact: true });
                continue;
            }
            (Head::List(a), Head::List(b)) => Due::Cells { a, b, exact },
            (Head::Fun(ours), Head::Fun(theirs)) => match funs(&ours, &theirs) {
                Ordering::Equal => Due::Terms { count: ours.free, exact },
                order => return Some(order),
            },
            (ours, theirs) => return Some(rank(&ours).cmp(&rank(&theirs))),
        };
        due.extend(next);
        next = Some(inner);
    }
    Some(Ordering::Equal)
}

fn cell_head<'a>(cell: Cell, stream: &mut Stream<'a>) -> Head<'a> {
    match cell {
        Cell::Byte(byte) => Head::Leaf(Term::Integer(i64::from(byte))),
        Cell::End => Head::Leaf(Term::Nil),
        Cell::Term | Cell::Tail => stream.head(),
    }
}

/// The rank of what follows the last element of a list.
fn rest_rank(cell: Cell, stream: &mut Stream<'_>) -> u8 {
    rank(&cell_head(cell, stream))
}

/// The rank of lists.
const LIST: u8 = 11;

/// The place of a type in the order of types. Closures come before exports, as OTP has it.
fn rank(head: &Head<'_>) -> u8 {
    match head {
        Head::Leaf(leaf) => leaf_rank(leaf),
        Head::Fun(_) => 3,
        Head::Tuple(_) => 7,
        Head::Map(_) => 9,
        Head::List(_) => LIST,
    }
}

fn leaf_rank(leaf: &Term<'_>) -> u8 {
    match leaf {
        Term::Integer(_) | Term::BigInteger { .. } | Term::Float(_) => 0,
        Term::Atom(_) => 1,
        Term::Reference { .. } => 2,
        Term::Fun(_) => 3,
        Term::Export { .. } => 4,
        Term::Port { .. } => 5,
        Term::Pid { .. } => 6,
        Term::Tuple(_) => 7,
        // Opaque here; after tuples, as OTP 29 orders them.
        Term::NativeRecord(_) => 8,
        Term::Map(_) => 9,
        Term::Nil => 10,
        Term::List(_) | Term::String(_) => LIST,
        Term::Binary(_) | Term::BitBinary { .. } => 12,
    }
}

fn leaves(a: Term<'_>, b: Term<'_>, exact: bool) -> Ordering {
    use Term::{Atom, BigInteger, BitBinary, Export, Float, Integer, Pid, Port, Reference};
    match (a, b) {
        (Integer(a), Integer(b)) => a.cmp(&b),
        (Term::NativeRecord(a), Term::NativeRecord(b)) => a.cmp(b),
        (Integer(_) | BigInteger { .. }, Float(_)) if exact => Ordering::Less,
        (Float(_), Integer(_) | BigInteger { .. }) if exact => Ordering::Greater,
        (Integer(a), Float(b)) => integer_and_float(a, b),
        (Float(a), Integer(b)) => integer_and_float(b, a).reverse(),
        (Float(a), Float(b)) if exact => a.total_cmp(&b),
        (Float(a), Float(b)) => a.partial_cmp(&b).expect("walked: no float is NaN"),
        (Integer(_), BigInteger { negative, .. }) => sign(!negative).reverse(),
        (BigInteger { negative, .. }, Integer(_)) => sign(!negative),
        (
            BigInteger { negative: a_negative, magnitude: a },
            BigInteger { negative: b_negative, magnitude: b },
        ) => match (a_negative, b_negative) {
            (false, false) => magnitudes(a, b),
            (true, true) => magnitudes(b, a),
            (a_negative, _) => sign(!a_negative),
        },
        (BigInteger { negative, magnitude }, Float(b)) => big_and_float(negative, magnitude, b),
        (Float(a), BigInteger { negative, magnitude }) => {
            big_and_float(negative, magnitude, a).reverse()
        }
        (Atom(a), Atom(b)) => a.cmp(&b),
        (
            Reference { node: a_node, creation: a_creation, ids: a },
            Reference { node: b_node, creation: b_creation, ids: b },
        ) => nodes(a_node, a_creation, b_node, b_creation).then_with(|| {
            let words = a.iter().len().max(b.iter().len());
            let word = |ids: super::term::ReferenceIds<'_>, n| ids.iter().nth(n).unwrap_or(0);
            let differing = (0..words).rev().map(|n| word(a, n).cmp(&word(b, n)));
            differing.fold(Ordering::Equal, Ordering::then)
        }),
        (
            Port { node: a_node, creation: a_creation, id: a },
            Port { node: b_node, creation: b_creation, id: b },
        ) => nodes(a_node, a_creation, b_node, b_creation).then(a.cmp(&b)),
        (
            Pid { node: a_node, creation: a_creation, id: a, serial: a_serial },
            Pid { node: b_node, creation: b_creation, id: b, serial: b_serial },
        ) => (a_serial, a)
            .cmp(&(b_serial, b))
            .then_with(|| nodes(a_node, a_creation, b_node, b_creation)),
        (
            Export { module: a_module, function: a_function, arity: a_arity },
            Export { module: b_module, function: b_function, arity: b_arity },
        ) => (a_module, a_function, a_arity).cmp(&(b_module, b_function, b_arity)),
        (Term::Binary(a), Term::Binary(b)) => a.cmp(b),
        (Term::Binary(a), BitBinary { bytes: b, last_bits }) => bits(a, 8, b, last_bits),
        (BitBinary { bytes: a, last_bits }, Term::Binary(b)) => bits(a, last_bits, b, 8),
        (BitBinary { bytes: a, last_bits: a_last }, BitBinary { bytes: b, last_bits: b_last }) => {
            bits(a, a_last, b, b_last)
        }
        (a, b) => leaf_rank(&a).cmp(&leaf_rank(&b)),
    }
}

/// How a number of that sign compares with zero.
const fn sign(positive: bool) -> Ordering {
    if positive { Ordering::Greater } else { Ordering::Less }
}

/// Magnitudes without leading zeros, least significant byte first.
fn magnitudes(a: &[u8], b: &[u8]) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.iter().rev().cmp(b.iter().rev()))
}

#[allow(clippy::cast_possible_truncation, reason = "compared with the range of an i64 before")]
fn integer_and_float(integer: i64, float: f64) -> Ordering {
    /// The first float beyond every `i64`.
    const END: f64 = 9_223_372_036_854_775_808.0;
    if float >= END {
        Ordering::Less
    } else if float < -END {
        Ordering::Greater
    } else {
        let whole = float.trunc();
        integer
            .cmp(&(whole as i64))
            .then_with(|| whole.partial_cmp(&float).expect("walked: no float is NaN"))
    }
}

/// An integer beyond 64 bits with a float.
fn big_and_float(negative: bool, magnitude: &[u8], float: f64) -> Ordering {
    if negative != (float < 0.0) {
        return sign(!negative);
    }
    // A finite float is `mantissa * 2^shift`; below 2^63 it cannot reach an integer that left 64 bits.
    let bits = float.abs().to_bits();
    let mantissa = bits & ((1 << 52) - 1) | 1 << 52;
    let order = match (bits >> 52).checked_sub(1023 + 52) {
        None => Ordering::Greater,
        Some(shift) => {
            let mut bytes = vec![0; usize::try_from(shift / 8).expect("at most 971 / 8")];
            bytes.extend_from_slice(&(u128::from(mantissa) << (shift % 8)).to_le_bytes());
            let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            magnitudes(magnitude, &bytes[..used])
        }
    };
    if negative { order.reverse() } else { order }
}

fn nodes(a: AtomRef<'_>, a_creation: u32, b: AtomRef<'_>, b_creation: u32) -> Ordering {
    a.cmp(&b).then(a_creation.cmp(&b_creation))
}

fn funs(a: &FunHead<'_>, b: &FunHead<'_>) -> Ordering {
    (a.module, a.index, a.uniq, a.free).cmp(&(b.module, b.index, b.uniq, b.free))
}

/// Bitstrings whose last bytes hold `a_last` and `b_last` bits.
fn bits(a: &[u8], a_last: u8, b: &[u8], b_last: u8) -> Ordering {
    let (a_whole, a_rest) = whole_bytes(a, a_last);
    let (b_whole, b_rest) = whole_bytes(b, b_last);
    let common = a_whole.len().min(b_whole.len());
    a_whole[..common].cmp(&b_whole[..common]).then_with(|| {
        // The shorter one's last bits against as many of the longer one's next byte.
        let next = |whole: &[u8], (byte, bits): (u8, u8)| match whole.get(common) {
            Some(&byte) => (byte, 8),
            None => (byte, bits),
        };
        let ((a_byte, a_bits), (b_byte, b_bits)) = (next(a_whole, a_rest), next(b_whole, b_rest));
        let shared = a_bits.min(b_bits);
        let mask = u8::try_from(0xff00_u16 >> shared & 0xff).expect("masked");
        (a_byte & mask)
            .cmp(&(b_byte & mask))
            .then((a_whole.len(), a_rest.1).cmp(&(b_whole.len(), b_rest.1)))
    })
}

/// The whole bytes, and the last byte with the number of bits that count in it.
fn whole_bytes(bytes: &[u8], last_bits: u8) -> (&[u8], (u8, u8)) {
    match bytes.split_last() {
        Some((&last, whole)) if last_bits < 8 => (whole, (last, last_bits)),
        _ => (bytes, (0, 0)),
    }
}

/// A level of a term whose maps are being sorted.
enum Level {
    Terms(u32),
    Cells(Chunk),
    /// Where each key and value begins, of `terms` in all.
    Map {
        terms: usize,
        starts: Vec<usize>,
    },
}

/// The term's bytes with every map of two pairs or more rewritten: its keys in ascending order, then the
/// values in that order. Only [`in_step`] reads this.
fn sort_maps(term: TermRef<'_>) -> Vec<u8> {
    let mut bytes = term.bytes().to_vec();
    let mut stream = Stream::new(term);
    let mut levels = vec![Level::Terms(1)];
    while let Some(level) = levels.last_mut() {
        let at = bytes.len() - stream.left().len();
        let head = match level {
            Level::Terms(0) => {
                levels.pop();
                continue;
            }
            Level::Terms(due) => {
                *due -= 1;
                stream.head()
            }
            Level::Cells(chunk) => match stream.cell(chunk) {
                Cell::Byte(_) => continue,
                Cell::Term => stream.head(),
                Cell::Tail => {
                    *level = Level::Terms(0);
                    stream.head()
                }
                Cell::End => {
                    levels.pop();
                    continue;
                }
            },
            Level::Map { terms, starts } if starts.len() == *terms => {
                starts.push(at);
                sort_map(&mut bytes, starts);
                levels.pop();
                continue;
            }
            Level::Map { starts, .. } => {
                starts.push(at);
                stream.head()
            }
        };
        levels.push(match head {
            Head::Leaf(_) => continue,
            Head::Tuple(elements) => Level::Terms(elements),
            Head::Map(pairs @ 0..=1) => Level::Terms(2 * pairs),
            Head::Map(pairs) => Level::Map { terms: 2 * pairs as usize, starts: Vec::new() },
            Head::List(chunk) => Level::Cells(chunk),
            Head::Fun(fun) => Level::Terms(fun.free),
        });
    }
    bytes
}

/// Sorts the map whose keys and values lie between `starts`.
fn sort_map(bytes: &mut [u8], starts: &[usize]) {
    let term = |n: usize| &bytes[starts[n]..starts[n + 1]];
    let by_key = |&a: &usize, &b: &usize| {
        let (a, b) = (TermRef::from_walked(term(a)), TermRef::from_walked(term(b)));
        in_step(a, b, true, true).expect("sorted maps are compared in step")
    };
    let mut keys: Vec<usize> = (0..starts.len() - 1).step_by(2).collect();
    keys.sort_by(by_key);
    let mut sorted = Vec::new();
    for &key in &keys {
        sorted.extend_from_slice(term(key));
    }
    for &key in &keys {
        sorted.extend_from_slice(term(key + 1));
    }
    let start = starts[0];
    bytes[start..start + sorted.len()].copy_from_slice(&sorted);
}
