//! What real OTP releases say about terms, recorded by `tests/golden/make`.

use std::cmp::Ordering;

use super::{TermRef, decode, inflate, json, order, text};

struct Recorded {
    kind: &'static str,
    bytes: Vec<u8>,
    text: &'static str,
}

fn releases() -> [(u32, &'static str); 5] {
    [
        (23, include_str!("../../tests/golden/terms/otp23.txt")),
        (25, include_str!("../../tests/golden/terms/otp25.txt")),
        (27, include_str!("../../tests/golden/terms/otp27.txt")),
        (28, include_str!("../../tests/golden/terms/otp28.txt")),
        (29, include_str!("../../tests/golden/terms/otp29.txt")),
    ]
}

/// The recorded terms, and how each compares with those after it.
fn read(file: &'static str) -> (Vec<Recorded>, &'static str) {
    let mut terms = Vec::new();
    let mut relations = "";
    for line in file.lines() {
        let (kind, rest) = line.split_once(' ').expect("lines begin with a word");
        if kind == "order" {
            relations = rest;
            continue;
        }
        let (hex, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("hex"));
        let bytes = digits.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect();
        terms.push(Recorded { kind, bytes, text });
    }
    (terms, relations)
}

fn term(bytes: &[u8]) -> TermRef<'_> {
    decode::external(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}"))
}

#[test]
fn every_recorded_term_is_walked_and_comes_back_from_its_older_and_compressed_forms() {
    for (release, file) in releases() {
        let (terms, _) = read(file);
        let mut newest = &terms[0];
        for recorded in &terms {
            match recorded.kind {
                "zip" => {
                    let inflated = inflate(&recorded.bytes, 1 << 20);
                    let expected = Ok(newest.bytes[1..].to_vec());
                    assert_eq!(inflated, expected, "OTP {release}: {}", newest.text);
                }
                "old" => {
                    let (old, new) = (term(&recorded.bytes), term(&newest.bytes));
                    assert!(order::exactly_equal(old, new), "OTP {release}: {}", newest.text);
                    assert!(order::cmp(old, new).is_eq(), "OTP {release}: {}", newest.text);
                }
                _ => {
                    term(&recorded.bytes);
                    newest = recorded;
                }
            }
        }
    }
}

/// Maps of more than 32 keys are printed in another order than they are sent in, and OTP 23 wrote large
/// floats without an exponent.
fn prints_otherwise(release: u32, text: &str) -> bool {
    text.matches(" => ").count() > 32
        || release < 25 && matches!(text, "9007199254740992.0" | "123456789012345680.0")
}

#[test]
fn text_is_what_the_release_prints() {
    for (release, file) in releases() {
        for recorded in read(file).0.iter().filter(|recorded| recorded.kind == "term") {
            let found = text::to_text(term(&recorded.bytes));
            if prints_otherwise(release, recorded.text) {
                assert_ne!(found, recorded.text, "OTP {release}");
            } else {
                assert_eq!(found, recorded.text, "OTP {release}");
            }
        }
    }
}

#[test]
fn recorded_text_is_parsed_into_the_recorded_term() {
    for (release, file) in releases() {
        for recorded in read(file).0.iter().filter(|recorded| recorded.kind == "term") {
            let parsed = text::parse(recorded.text)
                .unwrap_or_else(|error| panic!("OTP {release}: {error}: {}", recorded.text));
            let (found, expected) = (parsed.as_term(), term(&recorded.bytes));
            assert!(order::exactly_equal(found, expected), "OTP {release}: {}", recorded.text);
            if release >= 26 && !prints_otherwise(release, recorded.text) {
                // And into the very same bytes.
                assert_eq!(found.bytes(), expected.bytes(), "OTP {release}: {}", recorded.text);
            }
        }
    }
}

#[test]
fn every_recorded_term_comes_back_from_its_json() {
    for (release, file) in releases() {
        for recorded in read(file).0.iter().filter(|recorded| recorded.kind != "zip") {
            let written = json::to_json(term(&recorded.bytes));
            let parsed = json::parse(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
            let same = order::exactly_equal(parsed.as_term(), term(&recorded.bytes));
            assert!(same, "OTP {release}: {written}");
        }
    }
}

#[test]
fn terms_compare_as_the_release_compares_them() {
    for (release, file) in releases() {
        let (recorded, relations) = read(file);
        let terms: Vec<_> = recorded
            .iter()
            .filter(|recorded| matches!(recorded.kind, "term" | "ident"))
            .map(|recorded| (term(&recorded.bytes), recorded.text))
            .collect();
        let mut relations = relations.chars();
        for (n, &(a, a_text)) in terms.iter().enumerate() {
            assert!(order::exactly_equal(a, a), "OTP {release}: {a_text}");
            for &(b, b_text) in &terms[n + 1..] {
                let expected = relations.next().expect("a relation for each pair");
                let found = match order::cmp(a, b) {
                    Ordering::Less => '<',
                    Ordering::Greater => '>',
                    Ordering::Equal if order::exactly_equal(a, b) => 'e',
                    Ordering::Equal => '=',
                };
                // Zeros are exactly equal whatever their sign before OTP 27.
                if release < 27 && (a_text, b_text) == ("0.0", "-0.0") {
                    assert_eq!((found, expected), ('=', 'e'));
                    continue;
                }
                assert_eq!(found, expected, "OTP {release}: {a_text} and {b_text}: {a:?} {b:?}");
                assert_eq!(order::cmp(b, a), order::cmp(a, b).reverse());
                assert_eq!(order::equal(a, b), matches!(expected, '=' | 'e'));
            }
        }
        assert_eq!(relations.next(), None);
    }
}
