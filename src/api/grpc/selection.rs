//! What a request selects, as the parameters that HTTP has for the same.

use tonic::Status;

use super::generated::{Format, Selection};
use super::status::bad;
use crate::api::parameters::{Faults, Parameters};
use crate::api::select::Wanted;
use crate::api::state::Shared;
use crate::instance::Instance;
use crate::time::Timestamp;

/// What is selected of an instance, from there on unless told.
pub(super) fn wanted(
    state: &Shared,
    instance: &Instance,
    selection: Option<Selection>,
    begin: Timestamp,
) -> Result<Wanted, Status> {
    let Selection {
        from,
        to,
        after,
        limit,
        newest_first,
        level,
        node,
        grep,
        r#match,
        kind,
        module,
        pid,
        fault,
    } = selection.unwrap_or_default();
    let given = |text: String| (!text.is_empty()).then_some(text);
    let parameters = Parameters {
        from: given(from),
        to: given(to),
        cursor: after.map(|micros| micros.to_string()),
        limit: (limit > 0).then(|| limit.to_string()),
        order: newest_first.then(|| "desc".to_owned()),
        level: given(level),
        node: given(node),
        grep: given(grep),
        r#match: given(r#match),
        kind: given(kind),
        module: given(module),
        pid: given(pid),
        fault: given(fault),
        format: None,
        faults: Faults(state.faults.clone()),
    };
    Ok(parameters.stream(instance, begin)?)
}

/// How terms are to be written.
pub(super) fn format(number: i32) -> Result<Format, Status> {
    match Format::try_from(number) {
        Ok(Format::Unspecified | Format::Etf) => Ok(Format::Etf),
        Ok(format) => Ok(format),
        Err(_) => Err(bad("format", format!("there is no format {number}"))),
    }
}
