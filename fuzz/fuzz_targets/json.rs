//! JSON as terms: what is parsed is written and parsed again as the same term.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logmachine::etf::{TermRef, json, order};

fuzz_target!(|source: &str| {
    let Ok(term) = json::parse(source) else { return };
    let term = TermRef::whole(&term).expect("parsed JSON is a term");
    let again = json::parse(&json::to_json(term)).expect("written terms are JSON");
    assert!(order::exactly_equal(term, again.as_term()));
});
