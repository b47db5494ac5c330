//! Maps of atoms to values, written pair by pair.

use crate::etf::encode;

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
}
