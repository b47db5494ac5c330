//! Terms as Erlang text.
//!
//! [`write_term`] prints as `io:format("~0tp", [Term])` does in a shell started with `+pc unicode`;
//! `parse` reads what `erl_parse:parse_term/1` accepts. What has literal syntax comes back the same term.
//! Pids, ports, references and closures have none: they are printed for people and refused when parsed.
//! [`to_lossless`] and [`parse_lossless`] write and read them in [`forms`] that have.

mod binary;
pub mod forms;
mod parse;
pub(super) mod print;
#[cfg(test)]
mod tests;

pub use binary::{MAX_SEGMENT_BITS, MAX_WIDE_SEGMENT_BYTES};
pub use parse::{
    MAX_DIGITS, TextError, TextProblem, parse, parse_lossless, parse_terms, parse_terms_lossless,
};
pub use print::{to_lossless, to_text, write_atom, write_term};

/// Words that are no atoms unless quoted.
const RESERVED: [&str; 27] = [
    "after", "and", "andalso", "band", "begin", "bnot", "bor", "bsl", "bsr", "bxor", "case",
    "catch", "cond", "div", "end", "fun", "if", "let", "not", "of", "or", "orelse", "receive",
    "rem", "try", "when", "xor",
];

/// Reserved since OTP 27 only: quoted when printed, taken as atoms when parsed.
const NEWLY_RESERVED: [&str; 2] = ["else", "maybe"];

/// Whether an unquoted atom may begin with `c`.
const fn starts_atom(c: char) -> bool {
    matches!(c, 'a'..='z' | 'ß'..='ö' | 'ø'..='ÿ')
}

/// Whether an unquoted atom may go on with `c`.
const fn continues_atom(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '@' | 'À'..='Ö' | 'Ø'..='ö' | 'ø'..='ÿ')
}
