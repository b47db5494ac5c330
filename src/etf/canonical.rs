//! One form for each term: terms that are `=:=` have the same bytes in it, whoever had encoded them and however.
//!
//! It is that of today's OTP, with the pairs of a map in the order of their keys' bytes. Closures and native records keep
//! the bytes that they have.

use super::tag::{BINARY_EXT, NEW_FLOAT_EXT, SMALL_ATOM_UTF8_EXT, SMALL_INTEGER_EXT};
use super::{Term, TermRef, build, encode};

/// Appends the term in that form. Costs a copy of what mostly has it already: small integers, floats, atoms and binaries.
pub(crate) fn write(out: &mut Vec<u8>, term: TermRef<'_>) {
    let tag = term.bytes()[0];
    if matches!(tag, SMALL_INTEGER_EXT | NEW_FLOAT_EXT | BINARY_EXT | SMALL_ATOM_UTF8_EXT) {
        return out.extend_from_slice(term.bytes());
    }
    match term.view() {
        Term::Integer(value) => encode::integer(out, value),
        Term::BigInteger { negative, magnitude } => {
            build::integer(out, &build::big_integer(negative, magnitude));
        }
        Term::Float(value) => encode::float(out, value),
        Term::Atom(atom) => encode::atom(out, &atom.to_str()),
        Term::Binary(bytes) => encode::binary(out, bytes),
        Term::Tuple(elements) => {
            encode::tuple_header(out, elements.len());
            elements.for_each(|element| write(out, element));
        }
        Term::Nil => encode::nil(out),
        Term::String(_) | Term::List(_) => {
            let mut cells = term.cells();
            let start = out.len();
            encode::list_header(out, 0);
            let mut count = 0;
            for element in &mut cells {
                write(out, element);
                count += 1;
            }
            build::set_count(out, start, count);
            write(out, cells.tail());
        }
        Term::Map(pairs) => {
            let mut written: Vec<(Vec<u8>, TermRef<'_>)> = pairs
                .into_iter()
                .map(|(key, value)| {
                    let mut bytes = Vec::new();
                    write(&mut bytes, key);
                    (bytes, value)
                })
                .collect();
            written.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            encode::map_header(out, written.len());
            for (key, value) in written {
                out.extend_from_slice(&key);
                write(out, value);
            }
        }
        Term::Pid { .. } => encode::pid(out, &term.as_pid().expect("it is one")),
        Term::Port { node, id, creation } => encode::port(out, &node.to_str(), id, creation),
        Term::Reference { .. } => encode::reference(out, &term.as_reference().expect("it is one")),
        Term::Export { module, function, arity } => {
            encode::export(out, &module.to_str(), &function.to_str(), arity);
        }
        Term::BitBinary { .. } | Term::Fun(_) | Term::NativeRecord(_) => {
            out.extend_from_slice(term.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etf::{TermBuf, order, text};

    fn canonical(term: TermRef<'_>) -> TermBuf {
        TermBuf::written(|out| write(out, term))
    }

    /// Old forms against new ones, byte by byte.
    #[test]
    fn a_term_has_one_form_however_it_was_written() {
        for (old, new) in [
            (&b"\x64\x00\x02ok"[..], "ok"),
            (b"\x73\x02ok", "ok"),
            (b"\x76\x00\x02ok", "ok"),
            (b"\x64\x00\x01\xe9", "'\u{e9}'"),
            (b"\x62\x00\x00\x00\x05", "5"),
            (b"\x6e\x02\x00\x05\x00", "5"),
            (b"\x6b\x00\x02\x01\x02", "[1,2]"),
            (b"\x6c\x00\x00\x00\x01\x61\x01\x6b\x00\x01\x02", "[1,2]"),
            (b"\x69\x00\x00\x00\x01\x61\x01", "{1}"),
            (b"\x74\x00\x00\x00\x02\x61\x02\x61\x00\x61\x01\x6a", "#{1 => [],2 => 0}"),
            (b"\x6e\x0a\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00", "-18446744073709551616"),
        ] {
            let old = TermRef::whole(old).unwrap();
            let new = text::parse(new).unwrap();
            assert!(order::exactly_equal(old, new.as_term()), "{new}");
            assert_eq!(canonical(old).bytes(), canonical(new.as_term()).bytes(), "{new}");
        }
        for text in ["1.0", "<<1:3>>", "[a|b]", "#{a => #{}}", "{}", "\"\"", "fun m:f/1", "1"] {
            let term = text::parse(text).unwrap();
            assert!(order::exactly_equal(canonical(term.as_term()).as_term(), term.as_term()));
        }
        let one = |text: &str| canonical(text::parse(text).unwrap().as_term());
        assert_ne!(one("1"), one("1.0"));
    }
}
