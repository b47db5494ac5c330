//! Lists and binaries that are texts, and how long texts are.

use super::line::Encoding;
use super::print::{character, is_printable, write_escaped};
use crate::etf::stream::{Cell, Chunk, Stream};

/// A list of printable characters, of which some more than `room` bytes are written.
pub(super) fn write_string(
    text: &mut String,
    stream: &mut Stream<'_>,
    mut chunk: Chunk,
    room: usize,
) {
    let start = text.len();
    text.push('"');
    loop {
        let cell = stream.cell(&mut chunk);
        if matches!(cell, Cell::End | Cell::Tail) || text.len() - start > room {
            text.push('"');
            return;
        }
        let c = character(cell, stream).expect("only called for printable lists");
        write_escaped(text, c, '"').expect("strings take everything");
    }
}

/// The text that a binary is, and whether it is all of it: within `depth`, and printable as `encoding` has it.
///
/// As OTP 23 to 27 have it. Later ones tell `<<194,130,...>>` where a character that isn't printable comes before bytes
/// that are no UTF-8, and the depth cuts both off.
pub(super) fn text_of(
    bytes: &[u8],
    depth: i64,
    encoding: Encoding,
) -> Option<(BinaryText<'_>, bool)> {
    // So many bytes, or characters, are looked at.
    let looked_at = usize::try_from(depth)
        .map_or(bytes.len(), |depth| depth.saturating_mul(4).min(bytes.len()));
    let is_enough =
        |count: usize| depth > 0 && i64::try_from(count).is_ok_and(|count| count >= depth);
    if encoding == Encoding::Unicode {
        let (valid, is_all) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, true),
            Err(error) => {
                let valid = &bytes[..error.valid_up_to()];
                (std::str::from_utf8(valid).expect("valid up to there"), false)
            }
        };
        // What isn't looked at may be anything.
        if is_all || valid.chars().nth(looked_at - 1).is_some() {
            let printable = valid.chars().take(looked_at).take_while(|&c| is_printable(c));
            let (count, end) =
                printable.fold((0, 0), |(count, end), c| (count + 1, end + c.len_utf8()));
            let is_whole = end == bytes.len();
            let text = BinaryText::Utf8(&valid[..end]);
            return (is_whole || is_enough(count)).then_some((text, is_whole));
        }
    }
    let printable =
        bytes[..looked_at].iter().take_while(|&&byte| is_printable(char::from(byte))).count();
    let is_whole = printable == bytes.len();
    (is_whole || is_enough(printable))
        .then_some((BinaryText::Latin1(&bytes[..printable]), is_whole))
}

/// A binary that is text, or begins with some, of which some more than `room` bytes are written.
pub(super) fn write_binary_text(
    out: &mut String,
    text: BinaryText<'_>,
    is_whole: bool,
    room: usize,
) {
    let limit = out.len().saturating_add(room);
    out.push_str("<<\"");
    let mut write = |c| {
        write_escaped(out, c, '"').expect("strings take everything");
        out.len() <= limit
    };
    let is_ascii = match text {
        BinaryText::Latin1(bytes) => {
            let _ = bytes.iter().all(|&byte| write(char::from(byte)));
            true
        }
        BinaryText::Utf8(text) => {
            let _ = text.chars().all(write);
            text.is_ascii()
        }
    };
    out.push_str(if is_ascii { "\"" } else { "\"/utf8" });
    out.push_str(if is_whole { ">>" } else { "...>>" });
}

/// The printable characters that a binary begins with.
#[derive(Clone, Copy, Debug)]
pub(super) enum BinaryText<'a> {
    Latin1(&'a [u8]),
    Utf8(&'a str),
}

/// The length of a text as `io_lib:chars_length/1` has it: code points, or grapheme clusters if some are beyond Latin-1.
///
/// Clusters are found by what commonly joins them: combining marks, variation selectors, the zero width joiner.
pub(super) fn length(text: &str) -> i64 {
    let mut count = 0;
    if text.is_ascii() {
        count = text.len();
    } else if text.chars().all(|c| c <= '\u{ff}') {
        count = text.chars().count();
    } else {
        let mut before = '\0';
        for c in text.chars() {
            if !extends(before, c) {
                count += 1;
            }
            before = c;
        }
    }
    i64::try_from(count).expect("texts are limited")
}

/// Whether a character belongs to the cluster of the one before it.
pub(super) const fn extends(before: char, c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5bd}' | '\u{64b}'..='\u{65f}'
        | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{200d}' | '\u{20d0}'..='\u{20ff}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0100}'..='\u{e01ef}')
        || before == '\u{200d}'
        || before == '\r' && c == '\n'
}
