//! What an event says, and of which fault it is: whatever term it is, within the limits.

#![no_main]

use logmachine::TermRef;
use logmachine::analysis::grouping::Grouping;
use logmachine::analysis::view::{DETAIL_BYTES, MESSAGE_BYTES, View};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(event) = TermRef::whole(data) else { return };
    if let Some(view) = View::of(event) {
        assert!(view.message.len() <= MESSAGE_BYTES + 3 && view.detail.len() <= DETAIL_BYTES + 3);
    }
    if let Some(error) = Grouping::default().error(event) {
        assert!(error.evidence.title().len() <= 16 << 10);
    }
});
