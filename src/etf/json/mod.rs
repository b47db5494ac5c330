//! Terms as JSON, and back, without loss.
//!
//! | term | JSON |
//! |---|---|
//! | integer, float | number; floats have a point, integers beyond ±(2^53 - 1) are `{"$int": "..."}` |
//! | `true`, `false`, `null` | `true`, `false`, `null` |
//! | other atom | `{"$atom": "ok"}` |
//! | binary of UTF-8 text | string |
//! | other binary, bitstring | `{"$binary": base64}`, `{"$bits": [base64, bits in the last byte]}` |
//! | list, printable list, improper list | array, `{"$string": "text"}`, `{"$improper": [..., tail]}` |
//! | tuple | `{"$tuple": [...]}` |
//! | map of text keys, of atom keys, other | object, `{"$map": {...}}`, `{"$map": [[key, value], ...]}` |
//! | pid, port | `{"$pid": [node, id, serial, creation]}`, `{"$port": [node, id, creation]}` |
//! | reference | `{"$ref": [node, creation, word, ...]}` |
//! | `fun m:f/1` | `{"$fun": ["m", "f", 1]}` |
//! | closure, native record | `{"$etf": base64 of the external term}` |
//!
//! A string is a binary whatever it says: only what is written as an atom becomes one. An object with a
//! key that begins with `$` is one of the forms above or an error; a map with such a key is written as
//! pairs. `docs/json.md` tells all this with examples.

mod parse;
#[cfg(test)]
mod tests;
mod write;

pub use parse::{JsonError, JsonProblem, parse};
pub use write::{to_json, write_term};

/// The largest integer that every reader of JSON keeps exactly (RFC 8259, section 6).
const MAX_EXACT: u64 = (1 << 53) - 1;
