//! What an event says: whatever term it is, within the limits.

#![no_main]

use logmachine::TermRef;
use logmachine::analysis::view::{DETAIL_BYTES, MESSAGE_BYTES, View};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(event) = TermRef::whole(data) else { return };
    if let Some(view) = View::of(event) {
        assert!(view.message.len() <= MESSAGE_BYTES + 3 && view.detail.len() <= DETAIL_BYTES + 3);
    }
});
