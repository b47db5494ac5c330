//! Terms as `~p` and `~w` print them.
//!
//! A term is printed once, on one line, as [`flat`] does it; each part that could be broken over lines is noted as a
//! [`Node`], with the piece of that line that it is. Where the line is too long, [`lay_out`] breaks it up: whatever part
//! fits is copied from the line. Neither recurses, so depth costs memory only, and the line's limit bounds that.
//!
//! Layout: `io_lib_pretty` of OTP 23 to 29, which lay out alike.

use std::fmt::Write as _;

use super::print::{
    character, is_printable, printable_up_to, write_escaped, write_fun, write_identifier,
    write_leaf, write_quoted_atom,
};
use crate::etf::order;
use crate::etf::stream::{Cell, Chunk, Head, Stream};
use crate::etf::{Term, TermRef};

/// The characters that a text may hold as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// `~p`: lists and binaries with others are no texts, atoms have others escaped.
    Latin1,
    /// `~tp`: all that Unicode calls printable, as in an emulator started with `+pc unicode`.
    Unicode,
}

impl Encoding {
    /// The last character that it has.
    const fn last(self) -> char {
        match self {
            Encoding::Latin1 => '\u{ff}',
            Encoding::Unicode => char::MAX,
        }
    }
}

/// In which order the pairs of maps are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MapOrder {
    /// As they were sent, which is the order of the node that sent them.
    Sent,
    /// By their keys, as `~kp` does.
    Ascending,
    /// By their keys, backwards, as `~Kp` with `reversed` does.
    Descending,
}

/// What of a term is printed, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// The characters of texts and atoms.
    pub(super) encoding: Encoding,
    /// Whether lists and binaries of printable characters are texts.
    pub(super) strings: bool,
    /// How deep to look, as `~P` counts it; negative for all of it.
    pub(super) depth: i64,
    /// The order of a map's pairs.
    pub(super) order: MapOrder,
    /// Whether a map that is too deep looks as `~W` prints it.
    pub(super) as_written: bool,
}

impl Manner {
    /// All of a term, as `~tp` has it.
    pub(super) const PRETTY: Manner = Manner {
        encoding: Encoding::Unicode,
        strings: true,
        depth: -1,
        order: MapOrder::Sent,
        as_written: false,
    };
}

/// That a text has reached its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// What a part of a printed term is to the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Never broken.
    Text,
    /// A binary of numbers, broken between any two.
    Binary,
    Tuple,
    /// A tuple of at least two elements that begins with an atom.
    TaggedTuple,
    List,
    Map,
    /// A key and its value.
    Pair,
    /// Three dots for the elements that are left.
    Dots,
    /// The tail of an improper list, before the tail itself.
    Tail,
}

/// A part of a printed term. The parts of that follow it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    kind: Kind,
    /// Where it begins and ends in the line, in bytes.
    start: usize,
    end: usize,
    /// Its length in characters.
    len: i64,
    /// The index of the first node that is no part of it.
    next: usize,
}

impl Node {
    /// Counts from where the line begins, which was at `start`.
    pub(super) const fn shift(&mut self, start: usize) {
        self.start -= start;
        self.end -= start;
    }
}

/// A term on one line, as it grows at the end of a text.
pub(super) struct Line<'a> {
    text: &'a mut String,
    limit_bytes: usize,
    /// Characters written.
    chars: i64,
    nodes: &'a mut Vec<Node>,
    home: Option<&'a str>,
}

/// The pairs of a map that are still to be printed.
enum Pairs<'a> {
    Sent(u32),
    /// In another order, and where the stream goes on after them.
    Sorted(std::vec::IntoIter<(TermRef<'a>, TermRef<'a>)>, Stream<'a>),
}

/// What is open around the next head. `depth` is that of the element that is next.
enum Level<'a> {
    Tuple {
        left: u32,
        depth: i64,
        first: bool,
        node: usize,
    },
    Map {
        pairs: Pairs<'a>,
        depth: i64,
        inner: i64,
        first: bool,
        node: usize,
    },
    /// After a key; the value is next in the stream unless it is here.
    Value {
        sorted: Option<TermRef<'a>>,
        depth: i64,
        pair: usize,
    },
    /// After a value.
    Pair {
        pair: usize,
    },
    Cells {
        chunk: Chunk,
        depth: i64,
        first: bool,
        node: usize,
    },
    Tail {
        tail: usize,
        node: usize,
    },
}

impl<'a> Line<'a> {
    /// A line that begins where `text` ends, which has at most `limit_bytes` in the end. `nodes` is used as memory.
    ///
    /// Identifiers of the node `home` are printed as that node does.
    pub(super) fn new(
        text: &'a mut String,
        limit_bytes: usize,
        nodes: &'a mut Vec<Node>,
        home: Option<&'a str>,
    ) -> Self {
        nodes.clear();
        Line { text, limit_bytes, chars: 0, nodes, home }
    }

    /// The line's length in characters.
    pub(super) const fn chars(&self) -> i64 {
        self.chars
    }

    /// Adds ASCII.
    fn push(&mut self, ascii: &str) {
        self.text.push_str(ascii);
        self.chars += i64::try_from(ascii.len()).expect("a few bytes");
    }

    fn open(&mut self, kind: Kind) -> usize {
        let start = self.text.len();
        self.nodes.push(Node { kind, start, end: start, len: self.chars, next: 0 });
        self.nodes.len() - 1
    }

    fn close(&mut self, node: usize) {
        let next = self.nodes.len();
        let node = &mut self.nodes[node];
        node.end = self.text.len();
        node.len = self.chars - node.len;
        node.next = next;
    }

    fn leaf(&mut self, kind: Kind, write: impl FnOnce(&mut String)) {
        let node = self.open(kind);
        let start = self.text.len();
        write(self.text);
        self.chars += length(&self.text[start..]);
        self.close(node);
    }

    fn dots(&mut self, separator: &str) {
        self.push(separator);
        let node = self.open(Kind::Dots);
        self.push("...");
        self.close(node);
    }

    /// Prints a term.
    ///
    /// # Errors
    ///
    /// [`Full`] if the limit was passed: the text is then cut to it.
    pub(super) fn print(&mut self, term: TermRef<'a>, manner: Manner) -> Result<(), Full> {
        if manner.depth == 0 {
            self.leaf(Kind::Text, |text| text.push_str("..."));
            return Ok(());
        }
        let mut stream = Stream::new(term);
        let mut levels: Vec<Level<'a>> = Vec::new();
        let mut depth = manner.depth;
        // A map that is sorted has its keys and values walked once more: not too often, where maps are nested.
        let mut sortable_bytes = term.bytes().len().saturating_mul(SORTED_TIMES);
        loop {
            match self.head(&mut stream, depth, manner, &mut sortable_bytes) {
                Some(level) => levels.push(level),
                None if levels.is_empty() => return self.within_limit(),
                None => {}
            }
            self.within_limit()?;
            // Up to the next head: close what is complete, and write what stands between.
            loop {
                let Some(level) = levels.last_mut() else { return self.within_limit() };
                match self.next(level, &mut stream, manner.as_written) {
                    Next::Term(at) => {
                        depth = at;
                        break;
                    }
                    Next::Open(inner, at) => {
                        levels.push(inner);
                        depth = at;
                        break;
                    }
                    Next::Again => self.within_limit()?,
                    Next::Closed => {
                        levels.pop();
                    }
                }
            }
        }
    }

    fn within_limit(&mut self) -> Result<(), Full> {
        if self.text.len() <= self.limit_bytes {
            return Ok(());
        }
        self.text.truncate(self.text.floor_char_boundary(self.limit_bytes));
        Err(Full)
    }

    /// Prints a leaf, or the beginning of what has parts.
    fn head(
        &mut self,
        stream: &mut Stream<'a>,
        depth: i64,
        manner: Manner,
        sortable_bytes: &mut usize,
    ) -> Option<Level<'a>> {
        let before = *stream;
        match stream.head() {
            Head::Leaf(Term::Binary(bytes)) => self.binary(bytes, 0, depth, manner),
            Head::Leaf(Term::BitBinary { bytes, last_bits }) => {
                self.binary(bytes, last_bits, depth, manner);
            }
            Head::Leaf(Term::Atom(name)) => {
                let last = manner.encoding.last();
                self.leaf(Kind::Text, |text| {
                    write_quoted_atom(text, &name.to_str(), last).expect("strings take everything");
                });
            }
            Head::Leaf(leaf @ (Term::Pid { .. } | Term::Port { .. } | Term::Reference { .. })) => {
                let home = self.home;
                self.leaf(Kind::Text, |text| {
                    write_identifier(text, leaf, home).expect("strings take everything");
                });
            }
            Head::Leaf(leaf) => self.leaf(Kind::Text, |text| {
                write_leaf(text, leaf).expect("strings take everything");
            }),
            Head::Fun(fun) => {
                self.leaf(Kind::Text, |text| {
                    write_fun(text, &fun).expect("strings take everything");
                });
                for _ in 0..fun.free {
                    stream.term();
                }
            }
            Head::Tuple(0) => self.leaf(Kind::Text, |text| text.push_str("{}")),
            Head::Map(0) => self.leaf(Kind::Text, |text| text.push_str("#{}")),
            Head::Tuple(left) if depth == 1 => {
                self.leaf(Kind::Text, |text| text.push_str("{...}"));
                for _ in 0..left {
                    stream.term();
                }
            }
            Head::Map(left) if depth == 1 => {
                let dots = if manner.as_written { "#{}" } else { "#{...}" };
                self.leaf(Kind::Text, |text| text.push_str(dots));
                for _ in 0..2 * u64::from(left) {
                    stream.term();
                }
            }
            Head::Tuple(left) => {
                let is_tagged = left > 1 && matches!({ *stream }.head(), Head::Leaf(Term::Atom(_)));
                let kind = if is_tagged { Kind::TaggedTuple } else { Kind::Tuple };
                let node = self.open(kind);
                self.push("{");
                return Some(Level::Tuple { left, depth, first: true, node });
            }
            Head::Map(left) => {
                let node = self.open(Kind::Map);
                self.push("#{");
                let pairs =
                    sorted(stream, left, manner.order, sortable_bytes).unwrap_or(Pairs::Sent(left));
                return Some(Level::Map { pairs, depth, inner: depth - 1, first: true, node });
            }
            Head::List(chunk) => {
                if manner.strings
                    && depth != 1
                    && let Some(end) = printable_up_to(*stream, chunk, manner.encoding.last())
                {
                    let room = self.limit_bytes.saturating_sub(self.text.len());
                    self.leaf(Kind::Text, |text| write_string(text, stream, chunk, room));
                    *stream = end;
                    return None;
                }
                let node = self.open(Kind::List);
                self.push("[");
                if depth == 1 {
                    self.dots("");
                    self.push("]");
                    self.close(node);
                    *stream = before;
                    stream.term();
                    return None;
                }
                return Some(Level::Cells { chunk, depth, first: true, node });
            }
        }
        None
    }

    /// Goes on with what is open.
    fn next(
        &mut self,
        level: &mut Level<'a>,
        stream: &mut Stream<'a>,
        as_written: bool,
    ) -> Next<'a> {
        match level {
            Level::Tuple { left: 0, node, .. } => {
                self.push("}");
                self.close(*node);
                Next::Closed
            }
            Level::Tuple { left, depth: 1, .. } => {
                self.dots(",");
                for _ in 0..std::mem::take(left) {
                    stream.term();
                }
                Next::Again
            }
            Level::Tuple { left, depth, first, .. } => {
                self.separate(first);
                *left -= 1;
                *depth -= 1;
                Next::Term(*depth)
            }
            Level::Map { pairs, depth, inner, first, node } => {
                let is_over = match pairs {
                    Pairs::Sent(left) => *left == 0,
                    Pairs::Sorted(pairs, _) => pairs.len() == 0,
                };
                if *depth == 1 && (!is_over || as_written) {
                    self.dots(",");
                    match pairs {
                        Pairs::Sent(left) => {
                            for _ in 0..2 * u64::from(std::mem::take(left)) {
                                stream.term();
                            }
                        }
                        Pairs::Sorted(pairs, _) => *pairs = Vec::new().into_iter(),
                    }
                    // Not once more.
                    *depth = -1;
                    return Next::Again;
                }
                if is_over {
                    if let Pairs::Sorted(_, rest) = pairs {
                        *stream = *rest;
                    }
                    self.push("}");
                    self.close(*node);
                    return Next::Closed;
                }
                self.separate(first);
                *depth -= 1;
                let pair = self.open(Kind::Pair);
                let sorted = match pairs {
                    Pairs::Sent(left) => {
                        *left -= 1;
                        None
                    }
                    Pairs::Sorted(pairs, _) => {
                        let (key, value) = pairs.next().expect("looked at");
                        *stream = Stream::new(key);
                        Some(value)
                    }
                };
                Next::Open(Level::Value { sorted, depth: *inner, pair }, *inner)
            }
            Level::Value { sorted, depth, pair } => {
                self.push(" => ");
                if let Some(value) = sorted {
                    *stream = Stream::new(*value);
                }
                let depth = *depth;
                *level = Level::Pair { pair: *pair };
                Next::Term(depth)
            }
            Level::Pair { pair } => {
                self.close(*pair);
                Next::Closed
            }
            Level::Cells { chunk, depth, first, node } => {
                let before = (*stream, *chunk);
                match stream.cell(chunk) {
                    Cell::End => {
                        self.push("]");
                        self.close(*node);
                        Next::Closed
                    }
                    _ if *depth == 1 => {
                        self.dots("|");
                        self.push("]");
                        self.close(*node);
                        let (mut end, mut chunk) = before;
                        skip_cells(&mut end, &mut chunk);
                        *stream = end;
                        Next::Closed
                    }
                    Cell::Byte(byte) => {
                        self.separate(first);
                        *depth -= 1;
                        self.leaf(Kind::Text, |text| {
                            write!(text, "{byte}").expect("strings take everything");
                        });
                        Next::Again
                    }
                    Cell::Term => {
                        self.separate(first);
                        *depth -= 1;
                        Next::Term(*depth)
                    }
                    Cell::Tail => {
                        self.push("|");
                        let tail = self.open(Kind::Tail);
                        let depth = *depth - 1;
                        *level = Level::Tail { tail, node: *node };
                        Next::Term(depth)
                    }
                }
            }
            Level::Tail { tail, node } => {
                self.close(*tail);
                self.push("]");
                self.close(*node);
                Next::Closed
            }
        }
    }

    fn separate(&mut self, first: &mut bool) {
        if !std::mem::replace(first, false) {
            self.push(",");
        }
    }

    /// A binary, as a text if it is one.
    fn binary(&mut self, bytes: &[u8], last_bits: u8, depth: i64, manner: Manner) {
        let room = self.limit_bytes.saturating_sub(self.text.len()).saturating_add(1);
        if bytes.is_empty() {
            return self.leaf(Kind::Text, |text| text.push_str("<<>>"));
        }
        if depth == 1 {
            // Where strings are none, as `~w` has it, it is a binary of no numbers.
            return self.leaf(Kind::Text, |text| text.push_str("<<...>>"));
        }
        if manner.strings
            && last_bits == 0
            && let Some((text, is_whole)) = text_of(bytes, depth - 1, manner.encoding)
        {
            return self.leaf(Kind::Text, |out| write_binary_text(out, text, is_whole, room));
        }
        self.leaf(Kind::Binary, |text| {
            text.push_str("<<");
            let start = text.len();
            let mut depth = depth;
            for (n, byte) in bytes.iter().enumerate() {
                let is_last = n + 1 == bytes.len();
                if depth == 1 || text.len() - start > room {
                    text.push_str("...");
                    break;
                }
                let write = if is_last && last_bits > 0 {
                    write!(text, "{}:{last_bits}", byte >> (8 - last_bits))
                } else {
                    write!(text, "{byte}{}", if is_last { "" } else { "," })
                };
                write.expect("strings take everything");
                depth -= 1;
            }
            text.push_str(">>");
        });
    }
}

/// What there is to do after a look at what is open.
enum Next<'a> {
    /// Print the next term, at this depth.
    Term(i64),
    /// The same, inside of something new.
    Open(Level<'a>, i64),
    /// Look again.
    Again,
    /// Nothing: it is closed.
    Closed,
}

/// How many times its size the maps of a term may have together to be sorted.
const SORTED_TIMES: usize = 8;

/// The pairs of a map in another order than they were sent in; `None` if that is not asked for, or costs too much.
fn sorted<'a>(
    stream: &Stream<'a>,
    count: u32,
    order: MapOrder,
    sortable_bytes: &mut usize,
) -> Option<Pairs<'a>> {
    if order == MapOrder::Sent {
        return None;
    }
    let mut end = *stream;
    let mut pairs = Vec::new();
    for _ in 0..count {
        pairs.push((end.term(), end.term()));
    }
    let used = stream.left().len() - end.left().len();
    *sortable_bytes = sortable_bytes.checked_sub(used)?;
    pairs.sort_by(|(a, _), (b, _)| {
        let order_of = order::cmp_exact(*a, *b);
        if order == MapOrder::Ascending { order_of } else { order_of.reverse() }
    });
    Some(Pairs::Sorted(pairs.into_iter(), end))
}

/// Skips what is left of a list.
fn skip_cells(stream: &mut Stream<'_>, chunk: &mut Chunk) {
    loop {
        match stream.cell(chunk) {
            Cell::End => return,
            Cell::Byte(_) => {}
            Cell::Term => {
                stream.term();
            }
            Cell::Tail => {
                stream.term();
                return;
            }
        }
    }
}

/// A list of printable characters, of which some more than `room` bytes are written.
fn write_string(text: &mut String, stream: &mut Stream<'_>, mut chunk: Chunk, room: usize) {
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
fn text_of(bytes: &[u8], depth: i64, encoding: Encoding) -> Option<(BinaryText<'_>, bool)> {
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
fn write_binary_text(out: &mut String, text: BinaryText<'_>, is_whole: bool, room: usize) {
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
enum BinaryText<'a> {
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

/// Where a line is broken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    /// The column that it begins in, from 1.
    pub(super) column: i64,
    /// The length of a line, in characters.
    pub(super) line_length: i64,
}

impl Page {
    /// Whether a line of so many characters stays as it is.
    pub(super) const fn fits(self, chars: i64) -> bool {
        self.line_length == 0 || chars < self.line_length - self.column
    }
}

/// Appends `line`, which has these parts, broken over lines.
///
/// # Errors
///
/// [`Full`] if `out` got longer than `limit_bytes`: it is then cut to that.
pub(super) fn lay_out(
    out: &mut String,
    line: &str,
    nodes: &[Node],
    page: Page,
    limit_bytes: usize,
) -> Result<(), Full> {
    let column = page.column.max(1);
    let mut layout = Layout {
        line,
        nodes,
        line_length: page.line_length,
        width: nodes[0].len,
        indent: 1,
        out: None,
        limit_bytes,
    };
    // Elements stand below the tag of their tuple, or else this far to the right of it.
    for indent in [-1, 4] {
        layout.indent = indent;
        if layout.run(column) == Ok(true) {
            break;
        }
        layout.indent = 1;
    }
    layout.out = Some(out);
    layout.run(column).map(|_| ())
}

/// One attempt to break a line: a trial, which says whether the indentation is any good, or with output.
struct Layout<'a> {
    line: &'a str,
    nodes: &'a [Node],
    line_length: i64,
    /// The most characters in a line, indentation aside: those of the whole term.
    width: i64,
    /// How far to the right of a tag its tuple's elements stand; -1: right of the tag.
    indent: i64,
    out: Option<&'a mut String>,
    limit_bytes: usize,
}

/// A part that is broken, with the rest of its elements.
#[derive(Clone, Copy)]
enum Broken {
    Elements {
        next: usize,
        end: usize,
        /// The column of elements that begin a line, and of the next one.
        start: i64,
        column: i64,
        /// Closing characters that will follow the last element.
        closing: i64,
        /// Characters of the line so far.
        used: i64,
        is_first: bool,
        kind: Kind,
    },
    Value {
        node: usize,
        column: i64,
        closing: i64,
    },
}

impl Layout<'_> {
    /// Prints all; `Ok(false)` if a trial found that the indentation leaves too little room.
    fn run(&mut self, column: i64) -> Result<bool, Full> {
        let mut stack = Vec::new();
        let mut is_good = self.part(&mut stack, 0, column, 0, 0)?;
        while is_good {
            let Some(broken) = stack.pop() else { break };
            is_good = match broken {
                Broken::Value { node, column, closing } => {
                    let column = column + self.value_indent();
                    self.write(" =>")?;
                    self.new_line(column)?;
                    self.part(&mut stack, node, column, closing, 0)?
                }
                Broken::Elements { .. } => self.element(&mut stack, broken)?,
            };
        }
        Ok(is_good)
    }

    const fn is_trial(&self) -> bool {
        self.out.is_none()
    }

    const fn value_indent(&self) -> i64 {
        if self.indent > 0 { self.indent } else { 4 }
    }

    const fn fits(&self, node: Node, column: i64, closing: i64, used: i64) -> bool {
        node.len < self.line_length - column - closing && node.len + used + closing <= self.width
    }

    /// Prints a part, or opens it.
    fn part(
        &mut self,
        stack: &mut Vec<Broken>,
        at: usize,
        column: i64,
        closing: i64,
        used: i64,
    ) -> Result<bool, Full> {
        let node = self.nodes[at];
        if node.kind == Kind::Text || self.fits(node, column, closing, used) {
            self.copy(node)?;
            return Ok(true);
        }
        let mut elements = |next, start, column, used, is_first| {
            let end = node.next;
            stack.push(Broken::Elements {
                next,
                end,
                start,
                column,
                closing,
                used,
                is_first,
                kind: node.kind,
            });
        };
        match node.kind {
            Kind::Text | Kind::Dots | Kind::Tail | Kind::Pair => unreachable!("no part by itself"),
            Kind::Binary => self.binary(node, column + 2, closing, used)?,
            Kind::List => {
                elements(at + 1, column + 1, column + 1, used + 1, true);
                self.write("[")?;
            }
            Kind::Tuple => {
                elements(at + 1, column + 1, column + 1, used + 1, true);
                self.write("{")?;
            }
            Kind::Map => {
                let used = used + if self.is_trial() { 2 } else { 1 };
                elements(at + 1, column + 2, column + 2, used, true);
                self.write("#{")?;
            }
            Kind::TaggedTuple => {
                let tag = self.nodes[at + 1];
                let beside = column + tag.len + 2;
                if self.indent > 0 && tag.len + 2 > self.indent {
                    let start = column + self.indent;
                    if self.is_trial()
                        && self.width + start > self.line_length
                        && start > self.line_length / 2
                    {
                        return Ok(false);
                    }
                    elements(tag.next, start, beside, used + 1 + tag.len, false);
                    self.write("{")?;
                    self.copy(tag)?;
                } else {
                    if self.is_trial()
                        && self.width + beside >= self.line_length
                        && beside >= self.line_length / 2
                    {
                        return Ok(false);
                    }
                    elements(tag.next, beside, beside, used + 1 + tag.len + 1, true);
                    self.write("{")?;
                    self.copy(tag)?;
                    self.write(",")?;
                }
            }
        }
        Ok(true)
    }

    /// Prints the next element of a broken part, or closes that.
    fn element(&mut self, stack: &mut Vec<Broken>, broken: Broken) -> Result<bool, Full> {
        let Broken::Elements { next, end, start, column, closing, used, is_first, kind } = broken
        else {
            unreachable!("called for elements only")
        };
        if next == end {
            self.write(if kind == Kind::List { "]" } else { "}" })?;
            return Ok(true);
        }
        let node = self.nodes[next];
        let rest = |column, used| Broken::Elements {
            next: node.next,
            end,
            start,
            column,
            closing,
            used,
            is_first: false,
            kind,
        };
        match node.kind {
            Kind::Dots => {
                stack.push(rest(column, used));
                if !is_first {
                    self.write(if kind == Kind::List { "|" } else { "," })?;
                }
                self.write("...")?;
                return Ok(true);
            }
            Kind::Tail => {
                stack.push(rest(column, used));
                self.write("|")?;
                let tail = self.nodes[next + 1];
                let closing = closing + 1;
                if tail.kind == Kind::Text
                    && tail.len + 1 < self.line_length - column - closing
                    && tail.len + 1 + used + closing <= self.width
                {
                    self.copy(tail)?;
                    return Ok(true);
                }
                self.new_line(start)?;
                let column = if self.is_trial() { column } else { start };
                return self.part(stack, next + 1, column, closing, 0);
            }
            _ => {}
        }
        let is_followed =
            node.next != end && !matches!(self.nodes[node.next].kind, Kind::Dots | Kind::Tail);
        let closing = if is_followed { 0 } else { closing + 1 };
        // What stands in one line and needs no brackets may be followed by more.
        let is_plain = match node.kind {
            Kind::Pair => {
                let key = self.nodes[next + 1];
                key.kind == Kind::Text && self.nodes[key.next].kind == Kind::Text
            }
            kind => kind == Kind::Text,
        };
        if !is_first {
            self.write(",")?;
            let len = node.len + 1;
            // Even a closing bracket that isn't this part's wants its place.
            let after = closing.max(1);
            if is_plain
                && len < self.line_length - column - after
                && used + len + after <= self.width
            {
                stack.push(rest(column + len, used + len));
                self.copy(node)?;
                return Ok(true);
            }
            self.new_line(start)?;
        }
        let before = if is_first { used } else { 0 };
        let at = if is_first { column } else { start };
        let fits = self.fits(node, at, closing, before);
        let taken = if fits && is_plain { node.len } else { self.line_length };
        let used = if !is_first || node.kind == Kind::Pair && !self.is_trial() {
            taken
        } else {
            used + taken
        };
        stack.push(rest(at + taken, used));
        if node.kind == Kind::Pair && fits {
            self.copy(node)?;
            return Ok(true);
        }
        if node.kind == Kind::Pair {
            let value = self.nodes[next + 1].next;
            stack.push(Broken::Value { node: value, column: at, closing });
            return self.part(stack, next + 1, at, closing, before);
        }
        self.part(stack, next, at, closing, before)
    }

    /// A binary of numbers, with as many in a line as have room.
    fn binary(&mut self, node: Node, column: i64, closing: i64, used: i64) -> Result<(), Full> {
        if self.is_trial() {
            return Ok(());
        }
        let room = (self.line_length - column).min(self.width - 4 - used) - closing;
        let room = room.max(8);
        let line = self.line;
        let numbers = &line[node.start + 2..node.end - 2];
        self.write("<<")?;
        let mut left = room;
        for number in numbers.split_inclusive(',') {
            let len = i64::try_from(number.len()).expect("a few digits");
            if len > left {
                self.new_line(column)?;
                left = room;
            }
            left -= len;
            self.write(number)?;
        }
        self.write(">>")
    }

    fn copy(&mut self, node: Node) -> Result<(), Full> {
        let line = self.line;
        self.write(&line[node.start..node.end])
    }

    fn write(&mut self, text: &str) -> Result<(), Full> {
        let Some(out) = &mut self.out else { return Ok(()) };
        out.push_str(text);
        if out.len() <= self.limit_bytes {
            return Ok(());
        }
        out.truncate(out.floor_char_boundary(self.limit_bytes));
        Err(Full)
    }

    fn new_line(&mut self, column: i64) -> Result<(), Full> {
        let Some(out) = &mut self.out else { return Ok(()) };
        let spaces = usize::try_from(column - 1).unwrap_or(0);
        let room = self.limit_bytes.saturating_sub(out.len());
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', spaces.min(room)));
        self.write("")
    }
}
