//! A manifest: what was understood of it survives its being written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logmachine::event_log::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::manifest(bytes));
