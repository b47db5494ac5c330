//! Text as terms: what is parsed is printed and parsed again as the same term.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logmachine::etf::{TermRef, order, text};

fuzz_target!(|source: &str| {
    let _ = text::parse_terms(source);
    if let Ok(term) = text::parse_lossless(source) {
        let written = text::to_lossless(term.as_term());
        let again = text::parse_lossless(&written).expect("written terms are text");
        assert!(order::exactly_equal(term.as_term(), again.as_term()));
    }
    let Ok(term) = text::parse(source) else { return };
    let term = TermRef::whole(&term).expect("parsed text is a term");
    let again = text::parse(&text::to_text(term)).expect("printed terms are text");
    assert!(order::exactly_equal(term, again.as_term()));
});
