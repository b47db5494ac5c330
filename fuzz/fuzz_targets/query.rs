//! The parameters of an HTTP request, with regular expression and match spec, and what its filter makes of an event.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| logmachine::api::fuzzing::query(data));
