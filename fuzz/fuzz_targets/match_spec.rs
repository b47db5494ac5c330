//! Two terms as a match specification and an event: refused, or run within its limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logmachine::etf::TermRef;
use logmachine::match_spec::{Limits, MatchSpec, Scratch};

fuzz_target!(|bytes: &[u8]| {
    let Ok((spec, rest)) = TermRef::split_first(bytes) else { return };
    let Ok((event, _)) = TermRef::split_first(rest) else { return };
    let limits = Limits { steps: 10_000, result_bytes: 1 << 16, ..Limits::default() };
    let Ok(spec) = MatchSpec::compile(spec, limits) else { return };
    let mut out = Vec::new();
    spec.run(&mut Scratch::default(), event, &mut out);
    assert!(out.len() <= limits.result_bytes);
});
