//! An entry on its way to a node, or what stands in its place.

use crate::etf::{Abilities, encode};
use crate::time::Timestamp;

/// Writes `{Timestamp, Event}`, or `{Timestamp, {logmachine, undecodable, Timestamp}}` if the node cannot decode the
/// event; whether it can. `whole` is the entry's term, where it exists already.
pub(super) fn write(
    out: &mut Vec<u8>,
    stamp: Timestamp,
    event: &[u8],
    whole: Option<&[u8]>,
    abilities: &Abilities,
) -> bool {
    let is_decodable = abilities.decode(event);
    match whole {
        Some(whole) if is_decodable => out.extend_from_slice(whole),
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
