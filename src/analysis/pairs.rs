//! Maps of atoms to values, written pair by pair; the events that have one, `{Tag, Name, What, Map}`; and the texts in them.

use crate::etf::{Term, TermBuf, TermRef, encode};

/// A binary, a string or an atom, of at most so many bytes.
pub(crate) fn text(term: TermRef<'_>, max_bytes: usize) -> Option<String> {
    let text = match term.view() {
        Term::Binary(bytes) | Term::String(bytes) => std::str::from_utf8(bytes).ok()?.to_owned(),
        Term::Atom(atom) => atom.to_str().into_owned(),
        _ => return None,
    };
    (text.len() <= max_bytes).then_some(text)
}

/// The pairs of a map.
#[derive(Default)]
pub(crate) struct Pairs {
    count: usize,
    bytes: Vec<u8>,
}

impl Pairs {
    /// One more, whose value is written by `value` as one term.
    pub(crate) fn add(&mut self, key: &str, value: impl FnOnce(&mut Vec<u8>)) {
        self.count += 1;
        encode::atom(&mut self.bytes, key);
        value(&mut self.bytes);
    }

    /// One more, whose value is a text.
    pub(crate) fn binary(&mut self, key: &str, text: &str) {
        self.add(key, |out| encode::binary(out, text.as_bytes()));
    }

    /// The map.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        encode::map_header(out, self.count);
        out.extend_from_slice(&self.bytes);
    }

    /// `{Tag, Name, What, Map}`, whose name is written by `name` as one term.
    pub(crate) fn event(&self, tag: &str, what: &str, name: impl FnOnce(&mut Vec<u8>)) -> TermBuf {
        TermBuf::written(|out| {
            encode::tuple_header(out, 4);
            encode::atom(out, tag);
            name(out);
            encode::atom(out, what);
            self.write(out);
        })
    }
}
