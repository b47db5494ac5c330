//! Random specifications and events, answered by a real `ets`.
//!
//! `LOGMACHINE_ORACLE_ERL` names the `erl`s to ask, separated by colons (default: the one on the path),
//! `LOGMACHINE_ORACLE_PAIRS` how many pairs of specification and event each is asked about, and
//! `LOGMACHINE_ORACLE_SEED` where the random numbers begin. The seed is printed.

#![allow(
    clippy::print_stdout,
    reason = "the seed, and what was skipped, is for whoever runs the test"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Limits, MatchSpec, Outcome, Scratch};
use crate::etf::{TermRef, decode, encode, order, text};

/// Pairs that a usual test run asks about.
const PAIRS: usize = 20_000;
/// Events that each specification is run on.
const EVENTS: usize = 10;
/// Pairs in one question, which the oracle holds in memory at once.
const BATCH: usize = 50_000;

/// A small generator of random numbers (SplitMix64): the same everywhere for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Integer(i64),
    Big(bool, Vec<u8>),
    Float(f64),
    Atom(String),
    Binary(Vec<u8>),
    /// A term that has no parts here: identifiers, funs, bitstrings.
    Raw(Vec<u8>),
    Tuple(Vec<Tree>),
    List(Vec<Tree>, Option<Box<Tree>>),
    Map(Vec<(Tree, Tree)>),
}

fn atom(name: &str) -> Tree {
    Tree::Atom(name.to_owned())
}

fn call(name: &str, mut arguments: Vec<Tree>) -> Tree {
    arguments.insert(0, atom(name));
    Tree::Tuple(arguments)
}

impl Tree {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Tree::Integer(value) => encode::integer(out, *value),
            Tree::Big(negative, magnitude) => encode::big_integer(out, *negative, magnitude),
            Tree::Float(value) => encode::float(out, *value),
            Tree::Atom(name) => encode::atom(out, name),
            Tree::Binary(bytes) => encode::binary(out, bytes),
            Tree::Raw(bytes) => out.extend_from_slice(bytes),
            Tree::Tuple(elements) => {
                encode::tuple_header(out, elements.len());
                elements.iter().for_each(|element| element.write(out));
            }
            Tree::List(elements, None)
                if elements.iter().all(|e| matches!(e, Tree::Integer(0..256))) =>
            {
                let bytes = elements.iter().map(|element| match element {
                    Tree::Integer(byte) => u8::try_from(*byte).expect("looked at"),
                    _ => unreachable!("looked at"),
                });
                match u16::try_from(elements.len()).expect("short") {
                    0 => encode::nil(out),
                    len => {
                        out.push(107);
                        out.extend_from_slice(&len.to_be_bytes());
                        out.extend(bytes);
                    }
                }
            }
            Tree::List(elements, tail) => {
                encode::list_header(out, elements.len());
                elements.iter().for_each(|element| element.write(out));
                match tail {
                    Some(tail) => tail.write(out),
                    None => encode::nil(out),
                }
            }
            Tree::Map(pairs) => {
                encode::map_header(out, pairs.len());
                for (key, value) in pairs {
                    key.write(out);
                    value.write(out);
                }
            }
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

/// What one release can be asked.
struct Generator {
    random: Random,
    /// Whether it knows the functions of OTP 28, and signs of zeros.
    new: bool,
    /// Variables of the head that is being made.
    variables: Vec<String>,
    /// Leaves of the event that the head was made from, to compare with.
    leaves: Vec<Tree>,
}

impl Generator {
    fn leaf(&mut self) -> Tree {
        let atoms =
            ["a", "b", "c", "true", "false", "ok", "error", "é", "日", "[]", "_x", "$x", "$01"];
        let floats = [1.0, -1.0, 2.0, 0.5, 1.5, 2.5, -2.5, 1e15, 1e22, 1e300, -1e300, 97.0];
        match self.random.below(20) {
            0..6 => {
                Tree::Integer(self.random.pick(&[-2, -1, 0, 1, 2, 3, 5, 97, 98, 255, 256, 300]))
            }
            6 => Tree::Integer(self.random.pick(&[
                i64::MIN,
                i64::MAX,
                1 << 53,
                (1 << 53) + 1,
                -(1 << 40),
            ])),
            7 => {
                let len = 8 + self.random.below(20);
                let mut magnitude: Vec<u8> = (0..len)
                    .map(|_| u8::try_from(self.random.below(256)).expect("a byte"))
                    .collect();
                magnitude.push(1);
                Tree::Big(self.random.one_in(2), magnitude)
            }
            8..10 if self.new && self.random.one_in(8) => {
                Tree::Float(if self.random.one_in(2) { 0.0 } else { -0.0 })
            }
            8..10 => Tree::Float(self.random.pick(&floats)),
            10..14 => atom(self.random.pick(&atoms)),
            14 => Tree::List(vec![], None),
            15 => {
                Tree::Binary(self.random.pick(&[&b""[..], b"a", b"ab", b"abc", b"\0\xff"]).to_vec())
            }
            16 => self.text(),
            _ => self.raw(),
        }
    }

    fn text(&mut self) -> Tree {
        let text = self.random.pick(&["a", "ab", "abc", "ac", "a\u{ff}"]);
        Tree::List(text.chars().map(|c| Tree::Integer(u32::from(c).into())).collect(), None)
    }

    fn raw(&mut self) -> Tree {
        let texts = ["fun lists:map/2", "fun a:b/0", "<<1:3>>", "<<97,5:7>>"];
        match self.random.below(7) {
            // Bitstrings were binaries to binary_part before OTP 28.
            n @ 0..4 => Tree::Raw(
                text::parse(texts[if self.new { n } else { n / 2 }]).expect("a term").into_bytes(),
            ),
            4 => Tree::Raw(vec![88, 119, 3, b'a', b'@', b'b', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]),
            5 => Tree::Raw(vec![89, 119, 3, b'a', b'@', b'b', 0, 0, 0, 1, 0, 0, 0, 1]),
            _ => Tree::Raw(vec![
                90, 0, 3, 119, 3, b'a', b'@', b'b', 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3,
            ]),
        }
    }

    fn terms(&mut self, depth: usize, most: usize) -> Vec<Tree> {
        (0..self.random.below(most + 1)).map(|_| self.term(depth)).collect()
    }

    fn term(&mut self, depth: usize) -> Tree {
        if depth == 0 {
            return self.leaf();
        }
        match self.random.below(8) {
            0..3 => Tree::Tuple(self.terms(depth - 1, 4)),
            3 => Tree::List(self.terms(depth - 1, 4), None),
            4 => {
                let elements = self.terms(depth - 1, 3);
                let tail = self.leaf();
                match (elements.is_empty(), tail) {
                    (false, tail @ (Tree::Atom(_) | Tree::Integer(_) | Tree::Binary(_))) => {
                        Tree::List(elements, Some(Box::new(tail)))
                    }
                    _ => Tree::List(elements, None),
                }
            }
            5 => {
                let mut pairs: Vec<(Tree, Tree)> = Vec::new();
                for _ in 0..self.random.below(4) {
                    let key = if self.random.one_in(6) { self.term(1) } else { self.leaf() };
                    let zero = matches!(key, Tree::Float(value) if value == 0.0);
                    if !zero && pairs.iter().all(|(other, _)| other.bytes() != key.bytes()) {
                        pairs.push((key, self.term(depth - 1)));
                    }
                }
                Tree::Map(pairs)
            }
            _ => self.leaf(),
        }
    }

    fn variable(&mut self) -> Tree {
        let name = self.random.pick(&["$0", "$1", "$2", "$3", "$10", "$100000000"]);
        if !self.variables.iter().any(|known| known == name) {
            self.variables.push(name.to_owned());
        }
        atom(name)
    }

    /// A pattern that mostly matches the term.
    fn pattern(&mut self, term: &Tree) -> Tree {
        match self.random.below(24) {
            0..3 => return atom("_"),
            3..8 => {
                self.leaves.push(term.clone());
                return self.variable();
            }
            8 if self.random.one_in(3) => return self.term(1),
            _ => {}
        }
        match term {
            Tree::Tuple(elements) => {
                Tree::Tuple(elements.iter().map(|element| self.pattern(element)).collect())
            }
            Tree::List(elements, tail) => {
                let mut kept = elements.len();
                let mut end = tail.as_ref().map(|tail| Box::new(self.pattern(tail)));
                if !elements.is_empty() && self.random.one_in(3) {
                    kept = 1 + self.random.below(elements.len());
                    let rest = if self.random.one_in(3) { atom("_") } else { self.variable() };
                    end = Some(Box::new(rest));
                }
                let elements = elements[..kept].iter().map(|e| self.pattern(e)).collect();
                Tree::List(elements, end)
            }
            Tree::Map(pairs) => {
                let mut kept = Vec::new();
                for (key, value) in pairs {
                    if !self.random.one_in(3) {
                        kept.push((key.clone(), self.pattern(value)));
                    }
                }
                Tree::Map(kept)
            }
            leaf => leaf.clone(),
        }
    }

    /// A term that differs from another one somewhere, or not at all.
    fn variation(&mut self, term: &Tree) -> Tree {
        if self.random.one_in(8) {
            return self.term(1);
        }
        let mut term = term.clone();
        let part = match &mut term {
            Tree::Tuple(elements) | Tree::List(elements, _) if !elements.is_empty() => {
                let n = self.random.below(elements.len());
                &mut elements[n]
            }
            Tree::Map(pairs) if !pairs.is_empty() => {
                let n = self.random.below(pairs.len());
                &mut pairs[n].1
            }
            _ => return self.term(1),
        };
        *part = self.variation(&part.clone());
        term
    }

    fn expression(&mut self, depth: usize) -> Tree {
        if depth == 0 || self.random.one_in(4) {
            return match self.random.below(12) {
                0..6 if !self.variables.is_empty() => {
                    let variables = self.variables.clone();
                    Tree::Atom(self.random.pick(&variables))
                }
                0 => atom("$_"),
                1 => atom("$$"),
                2 => call("const", vec![self.term(1)]),
                3 => call("node", vec![]),
                4 => Tree::Integer(self.random.pick(&[0, 1, 2, 3])),
                6..8 if !self.leaves.is_empty() => {
                    let leaves = self.leaves.clone();
                    call("const", vec![self.random.pick(&leaves)])
                }
                _ => self.leaf(),
            };
        }
        let arguments = |this: &mut Self, n: usize| -> Vec<Tree> {
            (0..n).map(|_| this.expression(depth - 1)).collect()
        };
        match self.random.below(14) {
            0 => {
                let elements = self.random.below(4);
                Tree::Tuple(vec![Tree::Tuple(arguments(self, elements))])
            }
            1 => {
                let elements = self.random.below(4);
                let tail = (elements > 0 && self.random.one_in(3))
                    .then(|| Box::new(self.expression(depth - 1)));
                Tree::List(arguments(self, elements), tail)
            }
            2 => {
                // Which of two equal keys wins depends on the order inside of a map: one key, or constants.
                let pairs = if self.random.one_in(2) {
                    vec![(self.expression(depth - 1), self.expression(depth - 1))]
                } else {
                    (0..3).map(|n| (Tree::Integer(n), self.expression(depth - 1))).collect()
                };
                Tree::Map(pairs)
            }
            3..5 => {
                let name = self.random.pick(&["and", "or", "andalso", "orelse"]);
                let count = if self.random.one_in(20) { 0 } else { 1 + self.random.below(3) };
                call(name, (0..count).map(|_| self.boolean(depth - 1)).collect())
            }
            5..8 => self.boolean(depth),
            _ => self.function(depth),
        }
    }

    fn function(&mut self, depth: usize) -> Tree {
        let one = [
            "abs",
            "bit_size",
            "bnot",
            "byte_size",
            "float",
            "hd",
            "length",
            "map_size",
            "node",
            "not",
            "round",
            "size",
            "tl",
            "trunc",
            "+",
            "-",
        ];
        let two = [
            "+",
            "-",
            "*",
            "/",
            "div",
            "rem",
            "band",
            "bor",
            "bxor",
            "bsl",
            "bsr",
            "element",
            "map_get",
            "is_map_key",
            "xor",
            "binary_part",
        ];
        let (name, arity) = match self.random.below(12) {
            0 if self.new => self.random.pick(&[
                ("ceil", 1),
                ("floor", 1),
                ("tuple_size", 1),
                ("max", 2),
                ("min", 2),
            ]),
            0..5 => (self.random.pick(&one), 1),
            5..10 => (self.random.pick(&two), 2),
            10 => ("binary_part", 3),
            _ => self.random.pick(&[
                ("nosuch", 1),
                ("is_record", 3),
                ("hd", 2),
                ("self", 1),
                ("const", 2),
            ]),
        };
        call(name, (0..arity).map(|_| self.expression(depth - 1)).collect())
    }

    /// An expression that is mostly a boolean.
    fn boolean(&mut self, depth: usize) -> Tree {
        if depth == 0 {
            return atom(self.random.pick(&["true", "true", "false"]));
        }
        match self.random.below(10) {
            0..5 => {
                let name = self.random.pick(&["<", "=<", ">", ">=", "==", "/=", "=:=", "=/="]);
                call(name, vec![self.expression(depth - 1), self.expression(depth - 1)])
            }
            5..9 => {
                let mut names = vec![
                    "is_atom",
                    "is_binary",
                    "is_float",
                    "is_function",
                    "is_integer",
                    "is_list",
                    "is_map",
                    "is_number",
                    "is_pid",
                    "is_port",
                    "is_reference",
                    "is_tuple",
                    "not",
                ];
                if self.new {
                    names.extend(["is_boolean", "is_bitstring"]);
                }
                call(self.random.pick(&names), vec![self.expression(depth - 1)])
            }
            _ => {
                let size = Tree::Integer(self.random.pick(&[1, 2, 3]));
                call("is_record", vec![self.expression(depth - 1), atom("a"), size])
            }
        }
    }

    fn question(&mut self) -> (Vec<u8>, Vec<Vec<u8>>) {
        let event = self.term(3);
        let mut clauses = Vec::new();
        for n in 0..1 + self.random.below(2) {
            self.variables.clear();
            self.leaves.clear();
            let head = if n == 0 || self.random.one_in(2) { event.clone() } else { self.term(2) };
            let head = self.pattern(&head);
            let guards = (0..self.random.below(3)).map(|_| self.boolean(3)).collect();
            let bodies = 1 + usize::from(self.random.one_in(8));
            let body = (0..bodies).map(|_| self.expression(3)).collect();
            if self.random.one_in(40) {
                self.variables.push("$7".into());
            }
            clauses.push(Tree::Tuple(vec![head, Tree::List(guards, None), Tree::List(body, None)]));
        }
        let spec = if self.random.one_in(100) { self.term(3) } else { Tree::List(clauses, None) };
        let mut events = vec![event.bytes()];
        while events.len() < EVENTS {
            let other = if self.random.one_in(4) { self.term(2) } else { self.variation(&event) };
            events.push(other.bytes());
        }
        (spec.bytes(), events)
    }
}

/// Asks an `erl`; its release, and the bytes of its answers.
fn ask(erl: &Path, questions: &[(Vec<u8>, Vec<Vec<u8>>)]) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a directory");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/match_oracle.erl");
    let (input, output) = (directory.path().join("in"), directory.path().join("out"));
    let mut bytes = vec![131];
    encode::list(&mut bytes, questions.iter(), |out, (spec, events)| {
        encode::tuple_header(out, 2);
        out.extend_from_slice(spec);
        encode::list(out, events.iter(), |out, event| out.extend_from_slice(event));
    });
    std::fs::write(&input, bytes).expect("writes the question");
    let erlc = erl.with_file_name("erlc");
    let compiled = Command::new(erlc).arg("-o").arg(directory.path()).arg(source).status();
    assert!(compiled.is_ok_and(|status| status.success()), "erlc beside {}", erl.display());
    let answered = Command::new(erl)
        .args(["-noshell", "-pa"])
        .arg(directory.path())
        .args(["-run", "match_oracle", "main"])
        .args([&input, &output])
        .status();
    assert!(answered.is_ok_and(|status| status.success()), "{}", erl.display());
    std::fs::read(output).expect("reads the answer")
}

fn release_of(answer: &[u8]) -> (i64, TermRef<'_>) {
    let answer = decode::external(answer).expect("a term");
    let [release, answers] = answer.as_tuple().expect("{Release, Answers}");
    (release.as_integer().expect("a release"), answers)
}

/// Whether results are equal, where the sign of a zero does not count before OTP 27.
fn agree(release: i64, a: TermRef<'_>, b: TermRef<'_>) -> bool {
    order::exactly_equal(a, b)
        || release < 27
            && text::to_text(a).replace("-0.0", "0.0") == text::to_text(b).replace("-0.0", "0.0")
}

fn compare(erl: &Path, seed: u64, pairs: usize) {
    let release = release_of(&ask(erl, &[])).0;
    let mut generator = Generator {
        random: Random(seed),
        new: release >= 28,
        variables: Vec::new(),
        leaves: Vec::new(),
    };
    let (mut refused, mut matched, mut failed) = (0, 0, 0);
    let mut left = pairs;
    while left > 0 {
        let questions: Vec<_> =
            (0..left.min(BATCH).div_ceil(EVENTS)).map(|_| generator.question()).collect();
        left = left.saturating_sub(questions.len() * EVENTS);
        let answer = ask(erl, &questions);
        let (_, answers) = release_of(&answer);
        let mut scratch = Scratch::default();
        let mut out = Vec::new();
        for ((spec, events), answer) in questions.iter().zip(answers.cells()) {
            let spec = TermRef::whole(spec).expect("generated");
            let about = || format!("OTP {release}, seed {seed}: {}", text::to_text(spec));
            let compiled = match MatchSpec::compile(spec, Limits::default()) {
                Ok(compiled) => compiled,
                Err(error) => {
                    assert!(answer.is_atom("badarg"), "{}: {error}", about());
                    refused += 1;
                    continue;
                }
            };
            assert!(!answer.is_atom("badarg"), "{}: should be refused", about());
            for (event, expected) in events.iter().zip(answer.cells()) {
                let event = TermRef::whole(event).expect("generated");
                out.clear();
                let outcome = compiled.run(&mut scratch, event, &mut out);
                let about = || format!("{} on {}", about(), text::to_text(event));
                match expected.cells().next() {
                    None => assert_eq!(outcome, Outcome::NoMatch, "{}", about()),
                    Some(expected) => {
                        let wanted = || format!("{}: {}", about(), text::to_text(expected));
                        assert_eq!(outcome, Outcome::Result, "{}", wanted());
                        let found = TermRef::whole(&out).expect("results are terms");
                        let shown = || format!("{} and not {}", wanted(), text::to_text(found));
                        assert!(agree(release, found, expected), "{}", shown());
                        matched += 1;
                        failed += usize::from(found.is_atom("EXIT"));
                    }
                }
            }
        }
    }
    println!(
        "OTP {release}, seed {seed}: {pairs} pairs, {matched} results, {failed} of them 'EXIT', {refused} specs refused"
    );
    assert!(matched > pairs / 10 && refused < pairs / EVENTS / 2, "the generator misses its aim");
}

/// The `erl` on the path.
fn erl() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("erl")).find(|erl| erl.is_file())
}

#[test]
fn results_are_those_of_ets() {
    let variable = |name: &str| std::env::var(name).ok();
    let number = |name: &str| variable(name).map(|value| value.parse::<u64>().expect("a number"));
    let erls: Vec<PathBuf> = match variable("LOGMACHINE_ORACLE_ERL") {
        Some(erls) => erls.split(':').map(PathBuf::from).collect(),
        None => erl().into_iter().collect(),
    };
    if erls.is_empty() {
        println!("skipped: no erl on the path");
    }
    let pairs = number("LOGMACHINE_ORACLE_PAIRS")
        .map_or(PAIRS, |pairs| usize::try_from(pairs).expect("fits"));
    let seed = number("LOGMACHINE_ORACLE_SEED").unwrap_or_else(|| {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).expect("random bytes");
        u64::from_le_bytes(seed) % 1_000_000
    });
    println!("seed {seed}");
    for erl in erls {
        compare(&erl, seed, pairs);
    }
}
