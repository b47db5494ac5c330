//! What a client can send, for the fuzzer.

use axum::extract::Query;
use axum::http::Uri;

use super::parameters::Parameters;
use super::select::Present;
use crate::etf::TermRef;
use crate::time::Timestamp;

/// A query, and behind a byte of 0 an event that its condition looks at.
pub fn query(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (query, event) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(query) = str::from_utf8(query) else { return };
    let Ok(uri) = Uri::builder().path_and_query(format!("/?{query}")).build() else { return };
    let Ok(Query(parameters)) = Query::<Parameters>::try_from_uri(&uri) else { return };
    let now = Timestamp::from_micros(1_795_343_462_123_456);
    let Ok(wanted) = parameters.page_at(Present { now, next: now.next() }) else { return };
    if let (Some(condition), Ok(event)) = (wanted.selection.condition, TermRef::whole(event)) {
        condition.holds(event, &mut { u64::MAX });
    }
}
