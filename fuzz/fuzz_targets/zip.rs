//! An archive: refused, or read from anywhere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logmachine::event_log::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::zip(bytes));
