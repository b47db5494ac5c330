//! The bytes of a segment that nothing is known of: scanned, with and without looking for records behind damage.
#![no_main]

use libfuzzer_sys::fuzz_target;
use logmachine::event_log::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::record(bytes));
