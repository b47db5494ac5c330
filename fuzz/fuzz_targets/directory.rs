//! A whole log of which files are damaged, lost or somebody else's: opened, read, verified, opened again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logmachine::event_log::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::directory(bytes));
