//! An entry on its way to a node, or what stands in its place.

use super::reader::Selected;
use crate::etf::{Abilities, encode};

/// Writes `{Timestamp, Event}`, or `{Timestamp, {logmachine, undecodable, Timestamp}}` if the node cannot decode the
/// event; whether it can.
pub(super) fn write(out: &mut Vec<u8>, selected: &Selected<'_>, abilities: &Abilities) -> bool {
    let (stamp, event) = (selected.timestamp, selected.event.bytes());
    let is_decodable = abilities.decode(event);
    match selected.entry {
        Some(entry) if is_decodable => out.extend_from_slice(entry.bytes()),
        _ => {
            encode::tuple_header(out, 2);
            encode::timestamp(out, stamp);
            if is_decodable {
                out.extend_from_slice(event);
            } else {
                encode::tuple_header(out, 3);
                encode::atom(out, "logmachine");
                encode::atom(out, "undecodable");
                encode::timestamp(out, stamp);
            }
        }
    }
    is_decodable
}
