//! Bytes as a term: refused, or looked at from all sides.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logmachine::etf::{TermRef, inflate, order, text};

fuzz_target!(|bytes: &[u8]| {
    let _ = inflate(bytes, 1 << 16);
    let Ok((term, rest)) = TermRef::split_first(bytes) else { return };
    assert_eq!(term.bytes().len() + rest.len(), bytes.len());
    assert!(order::cmp(term, term).is_eq() && order::exactly_equal(term, term));
    order::has_repeated_key(term);
    let mut printed = String::new();
    text::write_term(&mut printed, term, 1 << 16).expect("strings take everything");
    if let Ok((other, _)) = TermRef::split_first(rest) {
        assert_eq!(order::cmp(term, other), order::cmp(other, term).reverse());
    }
});
