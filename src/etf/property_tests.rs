//! Properties of terms, over generated trees and over arbitrary bytes.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::keys::{self, Difference};
use super::{AtomRef, Pid, Reference, Term, TermRef, decode, encode, json, order, text, walk};

/// A term as a tree, which only tests build.
#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Integer(i128),
    Float(f64),
    Atom(String),
    Binary(Vec<u8>),
    Bits(Vec<u8>, u8),
    Tuple(Vec<Tree>),
    /// Elements and tail: the tail is never a list with elements.
    List(Vec<Tree>, Box<Tree>),
    Nil,
    Map(Vec<(Tree, Tree)>),
    Pid(Pid),
    Reference(Reference),
    Port(String, u64, u32),
    Export(String, String, u8),
}

impl Tree {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Tree::Integer(value) => match i64::try_from(*value) {
                Ok(value) => encode::integer(out, value),
                Err(_) => {
                    encode::big_integer(out, *value < 0, &value.unsigned_abs().to_le_bytes());
                }
            },
            Tree::Float(value) => encode::float(out, *value),
            Tree::Atom(name) => encode::atom(out, name),
            Tree::Binary(bytes) => encode::binary(out, bytes),
            Tree::Bits(bytes, last_bits) => {
                out.push(77);
                out.extend_from_slice(&u32::try_from(bytes.len()).expect("short").to_be_bytes());
                out.push(*last_bits);
                out.extend_from_slice(bytes);
            }
            Tree::Tuple(elements) => {
                encode::tuple_header(out, elements.len());
                elements.iter().for_each(|element| element.write(out));
            }
            Tree::List(elements, tail) => {
                encode::list_header(out, elements.len());
                elements.iter().for_each(|element| element.write(out));
                tail.write(out);
            }
            Tree::Nil => encode::nil(out),
            Tree::Map(pairs) => {
                encode::map_header(out, pairs.len());
                for (key, value) in pairs {
                    key.write(out);
                    value.write(out);
                }
            }
            Tree::Pid(pid) => encode::pid(out, pid),
            Tree::Reference(reference) => encode::reference(out, reference),
            Tree::Port(node, id, creation) => {
                out.push(120);
                encode::atom(out, node);
                out.extend_from_slice(&id.to_be_bytes());
                out.extend_from_slice(&creation.to_be_bytes());
            }
            Tree::Export(module, function, arity) => {
                out.push(113);
                encode::atom(out, module);
                encode::atom(out, function);
                out.extend_from_slice(&[97, *arity]);
            }
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn read(term: TermRef<'_>) -> Tree {
        let name = |atom: AtomRef<'_>| atom.to_str().into_owned();
        match term.view() {
            Term::Integer(value) => Tree::Integer(value.into()),
            Term::BigInteger { negative, magnitude } => {
                let mut bytes = [0; 16];
                bytes[..magnitude.len()].copy_from_slice(magnitude);
                let value = i128::from_le_bytes(bytes);
                Tree::Integer(if negative { -value } else { value })
            }
            Term::Float(value) => Tree::Float(value),
            Term::Atom(atom) => Tree::Atom(name(atom)),
            Term::Binary(bytes) => Tree::Binary(bytes.into()),
            Term::BitBinary { bytes, last_bits } => Tree::Bits(bytes.into(), last_bits),
            Term::Tuple(elements) => Tree::Tuple(elements.map(Tree::read).collect()),
            Term::Nil => Tree::Nil,
            Term::List(_) | Term::String(_) => {
                let cells = term.cells();
                Tree::List(cells.map(Tree::read).collect(), Box::new(Tree::read(cells.tail())))
            }
            Term::Map(pairs) => {
                Tree::Map(pairs.map(|(k, v)| (Tree::read(k), Tree::read(v))).collect())
            }
            Term::Pid { .. } => Tree::Pid(term.as_pid().expect("a pid")),
            Term::Reference { .. } => Tree::Reference(term.as_reference().expect("a reference")),
            Term::Port { node, id, creation } => Tree::Port(name(node), id, creation),
            Term::Export { module, function, arity } => {
                Tree::Export(name(module), name(function), arity)
            }
            Term::Fun(_) | Term::NativeRecord(_) => unreachable!("none is generated"),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Tree::Integer(_) | Tree::Float(_) => 0,
            Tree::Atom(_) => 1,
            Tree::Reference(_) => 2,
            Tree::Export(..) => 3,
            Tree::Port(..) => 4,
            Tree::Pid(_) => 5,
            Tree::Tuple(_) => 6,
            Tree::Map(_) => 7,
            Tree::Nil => 8,
            Tree::List(..) => 9,
            Tree::Binary(_) | Tree::Bits(..) => 10,
        }
    }

    /// The same with one kind of zero.
    fn one_zero(&self) -> Tree {
        let all = |trees: &[Tree]| trees.iter().map(Tree::one_zero).collect();
        match self {
            Tree::Float(0.0) => Tree::Float(0.0),
            Tree::Tuple(elements) => Tree::Tuple(all(elements)),
            Tree::List(elements, tail) => Tree::List(all(elements), Box::new(tail.one_zero())),
            Tree::Map(pairs) => {
                let mut pairs: Vec<_> =
                    pairs.iter().map(|(key, value)| (key.one_zero(), value.one_zero())).collect();
                pairs.sort_by(|a, b| a.0.compare(&b.0, true));
                Tree::Map(pairs)
            }
            other => other.clone(),
        }
    }

    /// The bits of a bitstring, one by one.
    fn bits(&self) -> Vec<u8> {
        let (bytes, last) = match self {
            Tree::Binary(bytes) => (bytes, 8),
            Tree::Bits(bytes, last) => (bytes, usize::from(*last)),
            _ => unreachable!("only called for bitstrings"),
        };
        let all = bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> (7 - bit) & 1));
        all.take((bytes.len() * 8 + last).saturating_sub(8)).collect()
    }

    /// Erlang's order as the manual tells it: a second, naive version.
    fn compare(&self, other: &Tree, exact: bool) -> Ordering {
        let all = |a: &[Tree], b: &[Tree], exact: bool| {
            a.iter().zip(b).fold(Ordering::Equal, |order, (a, b)| order.then(a.compare(b, exact)))
        };
        match (self, other) {
            (Tree::Integer(a), Tree::Integer(b)) => a.cmp(b),
            (Tree::Float(a), Tree::Float(b)) if exact => a.total_cmp(b),
            (Tree::Float(a), Tree::Float(b)) => a.partial_cmp(b).expect("no NaN"),
            (Tree::Integer(_), Tree::Float(_)) if exact => Ordering::Less,
            (Tree::Float(_), Tree::Integer(_)) if exact => Ordering::Greater,
            (Tree::Integer(a), Tree::Float(b)) => {
                // Generated floats are multiples of 1/4 below 2^100.
                #[allow(clippy::cast_possible_truncation, reason = "in range")]
                (a * 4).cmp(&((b * 4.0) as i128))
            }
            (Tree::Float(_), Tree::Integer(_)) => other.compare(self, exact).reverse(),
            (Tree::Atom(a), Tree::Atom(b)) => a.chars().cmp(b.chars()),
            (Tree::Tuple(a), Tree::Tuple(b)) => {
                a.len().cmp(&b.len()).then_with(|| all(a, b, exact))
            }
            (Tree::List(a, a_tail), Tree::List(b, b_tail)) => {
                let common = a.len().min(b.len());
                all(&a[..common], &b[..common], exact).then_with(|| {
                    let rest = |list: &[Tree], tail: &Tree| match &list[common..] {
                        [] => tail.clone(),
                        rest => Tree::List(rest.to_vec(), Box::new(tail.clone())),
                    };
                    if a.len() == b.len() {
                        a_tail.compare(b_tail, exact)
                    } else {
                        rest(a, a_tail).rank().cmp(&rest(b, b_tail).rank())
                    }
                })
            }
            (Tree::Map(a), Tree::Map(b)) => {
                let sorted = |pairs: &[(Tree, Tree)]| {
                    let mut pairs = pairs.to_vec();
                    pairs.sort_by(|a, b| a.0.compare(&b.0, true));
                    pairs.into_iter().unzip::<_, _, Vec<_>, Vec<_>>()
                };
                let ((a_keys, a_values), (b_keys, b_values)) = (sorted(a), sorted(b));
                (a.len().cmp(&b.len()))
                    .then_with(|| all(&a_keys, &b_keys, true))
                    .then_with(|| all(&a_values, &b_values, exact))
            }
            (Tree::Pid(a), Tree::Pid(b)) => {
                (a.serial, a.id, &a.node, a.creation).cmp(&(b.serial, b.id, &b.node, b.creation))
            }
            (Tree::Reference(a), Tree::Reference(b)) => (&a.node, a.creation)
                .cmp(&(&b.node, b.creation))
                .then_with(|| a.words().iter().rev().cmp(b.words().iter().rev())),
            (Tree::Port(a, a_id, a_creation), Tree::Port(b, b_id, b_creation)) => {
                (a, a_creation, a_id).cmp(&(b, b_creation, b_id))
            }
            (Tree::Export(a, b, c), Tree::Export(d, e, f)) => (a, b, c).cmp(&(d, e, f)),
            (Tree::Binary(_) | Tree::Bits(..), Tree::Binary(_) | Tree::Bits(..)) => {
                self.bits().cmp(&other.bits())
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

/// Trees over few different leaves, so that equal parts are common; identifiers only where asked for.
fn tree(identifiers: bool) -> BoxedStrategy<Tree> {
    let node = || prop_oneof![Just("a@b".to_owned()), Just("é@b".to_owned())];
    let atom = prop_oneof![
        4 => "[a-c]",
        1 => "[a-zA-Z_@0-9 'é\\\\\n日]{0,6}",
        1 => prop_oneof![Just("end".to_owned()), Just("é".repeat(255))],
        1 => prop::sample::select(vec!["$pid", "$ref", "$etf", "$tuple"]).prop_map(str::to_owned),
    ];
    let integer = prop_oneof![
        6 => -2..3_i128,
        2 => 90..130_i128,
        2 => any::<i64>().prop_map(i128::from),
        2 => -(1_i128 << 90)..1_i128 << 90,
        1 => (0..90_u32, -1..2_i128, any::<bool>())
            .prop_map(|(bit, more, minus)| ((1 << bit) + more) * if minus { -1 } else { 1 }),
    ];
    let float = prop_oneof![
        3 => (-2..3_i32).prop_map(f64::from),
        1 => Just(-0.0),
        2 => (-1_000_000..1_000_000_i32).prop_map(|quarters| f64::from(quarters) / 4.0),
        2 => (0..90_i32, any::<bool>())
            .prop_map(|(bit, minus)| 2_f64.powi(bit) * if minus { -1.0 } else { 1.0 }),
    ];
    let bits =
        (prop::collection::vec(prop::sample::select(vec![0, 1, 97, 0xa5, 255]), 1..4), 1..8_u8)
            .prop_map(|(mut bytes, last_bits)| {
                *bytes.last_mut().expect("not empty") &= 0xff << (8 - last_bits);
                Tree::Bits(bytes, last_bits)
            });
    let word = || 0..3_u32;
    let identifier = prop_oneof![
        (node(), word(), word(), word()).prop_map(|(node, id, serial, creation)| {
            Tree::Pid(Pid { node: node.into(), id, serial, creation })
        }),
        (node(), word(), prop::array::uniform3(word())).prop_map(|(node, creation, words)| {
            Tree::Reference(Reference::new(node.into(), creation, words.into_iter()))
        }),
        (node(), 0..3_u64, word()).prop_map(|(node, id, creation)| Tree::Port(node, id, creation)),
    ];
    let leaf = prop_oneof![
        4 => integer.prop_map(Tree::Integer),
        3 => float.prop_map(Tree::Float),
        3 => atom.clone().prop_map(Tree::Atom),
        1 => Just(Tree::Nil),
        1 => prop::collection::vec(any::<u8>(), 0..4).prop_map(Tree::Binary),
        1 => "[a-zéñ\n\"日]{0,5}".prop_map(|text| Tree::Binary(text.into_bytes())),
        1 => bits,
        1 => (atom.clone(), atom, any::<u8>()).prop_map(|(m, f, a)| Tree::Export(m, f, a)),
        if identifiers { 3 } else { 0 } => identifier,
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        let list = prop::collection::vec(inner.clone(), 1..5);
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 0..5).prop_map(Tree::Tuple),
            3 => list.clone().prop_map(|elements| Tree::List(elements, Box::new(Tree::Nil))),
            1 => "[a-z日\n\"]{1,5}".prop_map(|text| Tree::List(
                text.chars().map(|c| Tree::Integer(u32::from(c).into())).collect(),
                Box::new(Tree::Nil)
            )),
            1 => (list, inner.clone()).prop_map(|(mut elements, tail)| match tail {
                Tree::List(mut more, tail) => {
                    elements.append(&mut more);
                    Tree::List(elements, tail)
                }
                tail => Tree::List(elements, Box::new(tail)),
            }),
            2 => prop::collection::vec((inner.clone(), inner), 0..4).prop_map(|mut pairs| {
                pairs.sort_by(|a, b| a.0.compare(&b.0, true));
                pairs.dedup_by(|a, b| a.0.compare(&b.0, true).is_eq());
                // Half of the maps are sent in another order.
                if pairs.len() % 2 == 0 {
                    pairs.reverse();
                }
                Tree::Map(pairs)
            }),
        ]
    })
    .boxed()
}

/// Everything that looks at walked bytes, to show that none of it panics.
fn look_at(term: TermRef<'_>) {
    let mut printed = String::new();
    text::write_term(&mut printed, term, 10_000).expect("strings take everything");
    printed.clear();
    json::write_term(&mut printed, term).expect("strings take everything");
    assert!(order::cmp(term, term).is_eq() && order::cmp_exact(term, term).is_eq());
    order::has_repeated_key(term);
    let mut left = vec![term];
    while let Some(term) = left.pop() {
        let cells = term.cells();
        left.extend(cells);
        match term.view() {
            Term::Tuple(elements) => left.extend(elements),
            Term::Map(pairs) => left.extend(pairs.flat_map(|(key, value)| [key, value])),
            Term::List(list) => {
                left.push(list.tail());
                left.push(cells.tail());
            }
            _ => {
                let _ = (term.as_atom().map(AtomRef::to_str), term.as_pid(), term.as_reference());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_term_is_read_back_as_it_was_written(tree in tree(true)) {
        let bytes = tree.bytes();
        prop_assert_eq!(walk(&bytes).map(|walked| walked.len), Ok(bytes.len()));
        let term = TermRef::whole(&bytes).expect("walked");
        prop_assert_eq!(Tree::read(term), tree);
        look_at(term);
    }

    #[test]
    fn printed_text_is_parsed_into_an_equal_term(tree in tree(false)) {
        let bytes = tree.bytes();
        let term = TermRef::whole(&bytes).expect("walked");
        let printed = text::to_text(term);
        let parsed = text::parse(&printed).map_err(|error| TestCaseError::fail(format!("{error}: {printed}")))?;
        prop_assert!(order::exactly_equal(TermRef::whole(&parsed).expect("a term"), term), "{}", printed);
    }

    #[test]
    fn lossless_text_is_parsed_into_the_same_term(tree in tree(true), free in prop::collection::vec(tree(true), 0..4)) {
        // Beside a closure, which no tree holds.
        let mut bytes = vec![104, 2];
        tree.write(&mut bytes);
        bytes.extend(closure(&free));
        let term = TermRef::whole(&bytes).expect("walked");
        let written = text::to_lossless(term);
        let parsed = text::parse_lossless(&written).map_err(|error| TestCaseError::fail(format!("{error}: {written}")))?;
        prop_assert!(order::exactly_equal(TermRef::whole(&parsed).expect("a term"), term), "{}", written);
        prop_assert!(text::parse(&written).is_ok(), "{}", written);
    }

    #[test]
    fn a_key_is_found_twice_as_by_comparing_each_with_each(
        keys in prop::collection::vec(tree(true), 1..40),
        outside in tree(false),
        again in any::<prop::sample::Index>(),
    ) {
        let mut pairs: Vec<_> = keys.iter().map(|key| (key.clone(), Tree::Nil)).collect();
        let twice = again.index(2 * keys.len());
        if let Some(key) = keys.get(twice) {
            pairs.push((key.clone(), Tree::Nil));
        }
        let map = Tree::Tuple(vec![outside, Tree::Map(pairs.clone())]).bytes();
        let equal = |exact: bool| pairs.iter().enumerate().any(|(n, (a, _))| {
            pairs[..n].iter().any(|(b, _)| if exact { a.compare(b, true).is_eq() } else { a.one_zero() == b.one_zero() })
        });
        let found = keys::look(TermRef::from_walked(&map), false);
        prop_assert_eq!(found == Difference::None, equal(true));
        prop_assert_eq!(walk(&map) == Err(super::DecodeError::RepeatedKey), equal(true));
        prop_assert!(found != Difference::Clear || !equal(false));
    }

    #[test]
    fn json_is_parsed_into_the_same_term(tree in tree(true)) {
        let bytes = tree.bytes();
        let term = TermRef::whole(&bytes).expect("walked");
        let written = json::to_json(term);
        let parsed = json::parse(&written).map_err(|error| TestCaseError::fail(format!("{error}: {written}")))?;
        prop_assert_eq!(Tree::read(TermRef::whole(&parsed).expect("a term")), tree, "{}", written);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&written).is_ok(), "{}", written);
    }

    #[test]
    fn arbitrary_json_is_refused_or_parsed_into_a_term(
        parts in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "1", "-1.5e3", "true", " ", "\"a\"", "\"$tuple\":", "\"$map\":",
            "\"$atom\":", "\"$improper\":", "\"$pid\":", "\"$int\":\"5\"", "[[", "]]", "\\u12", "é", "\"$bits\":",
        ]), 0..20),
    ) {
        if let Ok(term) = json::parse(&parts.concat()) {
            look_at(TermRef::whole(&term).expect("parsed JSON is a term"));
        }
    }

    #[test]
    fn order_is_total_and_agrees_with_a_naive_version(a in tree(true), b in tree(true), c in tree(true)) {
        let bytes = [a.bytes(), b.bytes(), c.bytes()];
        let [x, y, z] = [0, 1, 2].map(|n| TermRef::whole(&bytes[n]).expect("walked"));
        for (exact, cmp) in [(false, order::cmp as fn(_, _) -> _), (true, order::cmp_exact)] {
            prop_assert_eq!(cmp(x, y), a.compare(&b, exact));
            prop_assert_eq!(cmp(y, x), cmp(x, y).reverse());
            prop_assert!(cmp(x, x).is_eq());
            let mut sorted = [x, y, z];
            sorted.sort_by(|a, b| cmp(*a, *b));
            prop_assert!(cmp(sorted[0], sorted[2]).is_le());
        }
        prop_assert_eq!(order::equal(x, y), a.compare(&b, false).is_eq());
        prop_assert_eq!(order::exactly_equal(x, y), a.compare(&b, true).is_eq());
    }

    #[test]
    fn a_changed_copy_is_refused_or_looked_at(
        tree in tree(true),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = tree.bytes();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok((term, _)) = TermRef::split_first(&bytes) {
            look_at(term);
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_looked_at(
        bytes in prop::collection::vec(prop_oneof![
            prop::sample::select(vec![97, 98, 104, 105, 106, 107, 108, 109, 110, 112, 116, 119]),
            0..4_u8,
            any::<u8>(),
        ], 0..200),
    ) {
        if let Ok((term, rest)) = TermRef::split_first(&bytes) {
            prop_assert_eq!(term.bytes().len() + rest.len(), bytes.len());
            look_at(term);
        }
    }

    #[test]
    fn arbitrary_text_is_refused_or_parsed_into_a_term(text in "[-+a-cA_0-9.#$<>(){}\\[\\]|,:/'\"%\\\\x =é\n]{0,40}") {
        if let Ok(term) = text::parse(&text) {
            look_at(TermRef::whole(&term).expect("parsed text is a term"));
        }
    }

    #[test]
    fn eetf_reads_the_same_term(tree in tree(true)) {
        // It writes lists of integers beyond a byte as strings, bitstrings and large maps its own way.
        let mut bytes = vec![131];
        tree.write(&mut bytes);
        let second = eetf::Term::decode(&bytes[..])
            .map_err(|error| TestCaseError::fail(format!("{error} in {bytes:?}")))?;
        if !wrong_in_eetf(&tree) {
            let mut again = Vec::new();
            second.encode(&mut again).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let again = decode::external(&again).expect("eetf writes terms");
            prop_assert!(order::exactly_equal(again, TermRef::whole(&bytes[1..]).expect("walked")), "{again:?}");
        }
    }
}

/// A closure with these free variables.
fn closure(free: &[Tree]) -> Vec<u8> {
    let mut body = vec![2];
    body.extend(1..=16_u8);
    body.extend(3_u32.to_be_bytes());
    body.extend(u32::try_from(free.len()).expect("few").to_be_bytes());
    encode::atom(&mut body, "m");
    encode::integer(&mut body, 3);
    encode::integer(&mut body, -7);
    encode::pid(&mut body, &Pid { node: "a@b".into(), id: 1, serial: 2, creation: 3 });
    free.iter().for_each(|variable| variable.write(&mut body));
    let size = u32::try_from(body.len() + 4).expect("short").to_be_bytes();
    [&[112], &size[..], &body].concat()
}

/// Terms that `eetf` 0.12 is known to write back as others.
fn wrong_in_eetf(tree: &Tree) -> bool {
    match tree {
        Tree::List(elements, tail) => {
            elements.iter().all(|element| matches!(element, Tree::Integer(_)))
                || elements.iter().any(wrong_in_eetf)
                || wrong_in_eetf(tail)
        }
        // As a key of a map it loses its sign.
        Tree::Float(value) => *value == 0.0 && value.is_sign_negative(),
        Tree::Tuple(elements) => elements.iter().any(wrong_in_eetf),
        Tree::Map(pairs) => pairs.iter().any(|(k, v)| wrong_in_eetf(k) || wrong_in_eetf(v)),
        _ => false,
    }
}

/// A third opinion: `erlang-term` maps bytes to a tree one to one, so what it writes back is what we wrote.
#[test]
fn erlang_term_writes_the_same_bytes() {
    let texts = [
        "ok",
        "{a, 1, -1, 1000000, \"string\"}",
        "[one, [two, [3.5, {}]], []]",
        "#{key => <<\"value\">>, 1 => #{}}",
        "123456789012345678901234567890",
        "[a | b]",
    ];
    for text in texts {
        let ours = [&[super::tag::VERSION], &*super::text::parse(text).unwrap()].concat();
        let theirs = erlang_term::RawTerm::from_bytes(&ours).unwrap_or_else(|_| panic!("{text}"));
        assert_eq!(theirs.to_bytes(), ours, "{text}");
    }
}
