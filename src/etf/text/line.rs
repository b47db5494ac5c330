//! Terms as `~p` and `~w` print them.
//!
//! A term is printed once, as a [`Line`]; each part that could be broken over lines is noted as a [`Node`], with the piece
//! of that line that it is. Where the line is too long, [`lay_out`](super::layout::lay_out) breaks it up: whatever part
//! fits is copied from the line. Neither recurses, so depth costs memory only, and the line's limit bounds that.
//!
//! Texts: `io_lib:write/2` and `io_lib_pretty` of OTP 23 to 29.

use std::fmt::Write as _;

use super::print::{printable_up_to, write_fun, write_identifier, write_leaf, write_quoted_atom};
use super::string::{length, text_of, write_binary_text, write_string};
use crate::etf::order;
use crate::etf::stream::{Cell, Chunk, Head, Stream};
use crate::etf::{AtomRef, Term, TermRef};

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
    pub(super) const fn last(self) -> char {
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
pub(super) enum Kind {
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
    /// A native record: its name, and fields.
    Record,
    /// A field's name and its value.
    Field,
    /// Three dots for the elements that are left.
    Dots,
    /// The tail of an improper list, before the tail itself.
    Tail,
}

/// A part of a printed term. The parts of that follow it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Where it begins and ends in the line, in bytes.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Its length in characters.
    pub(super) len: i64,
    /// The index of the first node that is no part of it.
    pub(super) next: usize,
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
    /// After a value, of a map or of a record.
    Pair {
        pair: usize,
    },
    Record {
        fields: std::vec::IntoIter<AtomRef<'a>>,
        depth: i64,
        first: bool,
        node: usize,
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
            return self.within_limit();
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
                match self.next(level, &mut stream, manner) {
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
            Head::Leaf(Term::Atom(name)) => self.atom(name, manner),
            Head::Leaf(Term::NativeRecord(_)) => {
                *stream = before;
                return self.record(stream, depth, manner);
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

    fn atom(&mut self, name: AtomRef<'_>, manner: Manner) {
        self.leaf(Kind::Text, |text| {
            write_quoted_atom(text, &name.to_str(), manner.encoding.last())
                .expect("strings take everything");
        });
    }

    /// Prints the beginning of a native record of OTP 29, or all of it if it is too deep.
    fn record(&mut self, stream: &mut Stream<'a>, depth: i64, manner: Manner) -> Option<Level<'a>> {
        let (mut names, left) = stream.record().expect("looked at");
        let node = self.open(Kind::Record);
        self.leaf(Kind::Text, |text| {
            let mut name = || names.next().expect("walked: a record has a module and a name");
            let (module, name) = (name(), name());
            text.push('#');
            write_quoted_atom(text, &module.to_str(), manner.encoding.last())
                .expect("strings take everything");
            text.push(':');
            write_quoted_atom(text, &name.to_str(), manner.encoding.last())
                .expect("strings take everything");
        });
        self.push("{");
        if depth == 1 && left > 0 {
            self.push("...}");
            self.close(node);
            // Nothing of it is broken.
            self.nodes.truncate(node + 1);
            self.nodes[node].kind = Kind::Text;
            self.nodes[node].next = node + 1;
            for _ in 0..left {
                stream.term();
            }
            return None;
        }
        let depth = if manner.as_written { depth } else { depth - 1 };
        let fields = names.collect::<Vec<_>>().into_iter();
        Some(Level::Record { fields, depth, first: true, node })
    }

    /// Goes on with what is open.
    fn next(&mut self, level: &mut Level<'a>, stream: &mut Stream<'a>, manner: Manner) -> Next<'a> {
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
                if *depth == 1 && (!is_over || manner.as_written) {
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
            Level::Record { fields, node, .. } if fields.len() == 0 => {
                self.push("}");
                self.close(*node);
                Next::Closed
            }
            Level::Record { fields, depth: 1, first, .. } => {
                self.dots(if *first { "" } else { "," });
                for _ in std::mem::take(fields) {
                    stream.term();
                }
                Next::Again
            }
            Level::Record { fields, depth, first, .. } => {
                self.separate(first);
                *depth -= 1;
                let depth = *depth;
                let pair = self.open(Kind::Field);
                let name = fields.next().expect("looked at");
                self.atom(name, manner);
                self.push(" = ");
                Next::Open(Level::Pair { pair }, depth)
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
