//! A term as the sequence of heads that its bytes are.
//!
//! What has to look at a whole term (order, printing) reads it front to back, each byte once, and keeps
//! its own stack. Asking a container for its elements instead would walk each element once per level.

use super::decode::skip;
use super::tag::{
    BINARY_EXT, LARGE_TUPLE_EXT, LIST_EXT, MAP_EXT, NATIVE_RECORD_EXT, NEW_FUN_EXT, NIL_EXT,
    SMALL_TUPLE_EXT, STRING_EXT,
};
use super::{AtomRef, Term, TermRef};

/// What begins at a place in a term.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Head<'a> {
    /// A term without elements; it was consumed. Never a container.
    Leaf(Term<'a>),
    /// That many elements follow.
    Tuple(u32),
    /// That many pairs follow.
    Map(u32),
    /// A list with at least one element: its cells follow.
    List(Chunk),
    /// A closure: that many free variables follow.
    Fun(FunHead<'a>),
}

/// How far a list was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk {
    left: u32,
    string: bool,
}

/// What is next in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// An element that was one byte of a string, consumed.
    Byte(u8),
    /// An element, which is the next head.
    Term,
    /// The end of a proper list, consumed.
    End,
    /// The tail of an improper list, which is the next head.
    Tail,
}

impl Cell {
    /// Whether there is an element.
    pub(super) const fn is_element(self) -> bool {
        matches!(self, Cell::Byte(_) | Cell::Term)
    }
}

/// A term in two pieces: a new head, and bytes that were there before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Headed<'a> {
    head: [u8; 5],
    used: usize,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Headed<'a> {
    /// A binary of `bytes`.
    pub(crate) fn binary(bytes: &'a [u8]) -> Self {
        let len = u32::try_from(bytes.len()).expect("part of a binary").to_be_bytes();
        Headed { head: [BINARY_EXT, len[0], len[1], len[2], len[3]], used: 5, bytes }
    }

    /// The new head, of which the first bytes are used.
    pub(crate) const fn head_bytes(&self) -> [u8; 5] {
        self.head
    }

    /// The new head; empty where `bytes` are the whole term.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head[..self.used]
    }
}

/// The comparable and printable parts of a closure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FunHead<'a> {
    pub(crate) module: AtomRef<'a>,
    pub(crate) index: i64,
    pub(crate) uniq: i64,
    pub(crate) free: u32,
    pub(super) arity: u8,
    /// The module's MD5, the index in it, and the pid of the process that made the fun.
    pub(super) digest: &'a [u8],
    pub(super) new_index: u32,
    pub(super) creator: TermRef<'a>,
}

/// A place in a walked term.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream<'a> {
    bytes: &'a [u8],
}

impl<'a> Stream<'a> {
    pub(crate) const fn new(term: TermRef<'a>) -> Self {
        Stream { bytes: term.bytes() }
    }

    /// The bytes not read yet.
    pub(crate) const fn left(&self) -> &'a [u8] {
        self.bytes
    }

    fn skip(&mut self, len: usize) -> &'a [u8] {
        let (skipped, rest) = self.bytes.split_at(len);
        self.bytes = rest;
        skipped
    }

    /// Skips the whole term that is next, and gives it.
    pub(crate) fn term(&mut self) -> TermRef<'a> {
        TermRef::from_walked(self.skip(skip(self.bytes)))
    }

    /// Reads one head, or one whole term without elements, and says how many terms belong to it.
    pub(crate) fn step(&mut self) -> u64 {
        match self.bytes[0] {
            SMALL_TUPLE_EXT => u64::from(self.skip(2)[1]),
            LARGE_TUPLE_EXT => u64::from(self.count()),
            MAP_EXT => 2 * u64::from(self.count()),
            LIST_EXT => u64::from(self.count()) + 1,
            _ => {
                self.term();
                0
            }
        }
    }

    /// Reads what is left of a list, as the head and the bytes of a term of its own.
    pub(crate) fn rest(&mut self, chunk: Chunk) -> Headed<'a> {
        let start = self.bytes;
        let mut head = Headed { head: [LIST_EXT, 0, 0, 0, 0], used: 0, bytes: &[] };
        if chunk.string {
            head.bytes = self.skip(chunk.left as usize);
            match u16::try_from(chunk.left) {
                Ok(0) => (head.head[0], head.used) = (NIL_EXT, 1),
                left => {
                    let left = left.expect("a string has at most 65,535 bytes").to_be_bytes();
                    head.head = [STRING_EXT, left[0], left[1], 0, 0];
                    head.used = 3;
                }
            }
            return head;
        }
        for _ in 0..=chunk.left {
            self.term();
        }
        head.bytes = &start[..start.len() - self.bytes.len()];
        if chunk.left > 0 {
            head.used = 5;
            head.head[1..].copy_from_slice(&chunk.left.to_be_bytes());
        }
        head
    }

    /// Reads what is next.
    pub(crate) fn head(&mut self) -> Head<'a> {
        let mut tag = self.bytes[0];
        while tag == LIST_EXT {
            match self.count() {
                // An empty LIST_EXT is its tail.
                0 => tag = self.bytes[0],
                left => return Head::List(Chunk { left, string: false }),
            }
        }
        match tag {
            SMALL_TUPLE_EXT => Head::Tuple(u32::from(self.skip(2)[1])),
            LARGE_TUPLE_EXT => Head::Tuple(self.count()),
            MAP_EXT => Head::Map(self.count()),
            STRING_EXT => match self.string() {
                0 => Head::Leaf(Term::Nil),
                left => Head::List(Chunk { left, string: true }),
            },
            NEW_FUN_EXT => Head::Fun(self.fun()),
            _ => Head::Leaf(self.term().view()),
        }
    }

    /// Steps to the next cell of a list.
    pub(crate) fn cell(&mut self, chunk: &mut Chunk) -> Cell {
        loop {
            if chunk.left > 0 {
                chunk.left -= 1;
                return if chunk.string { Cell::Byte(self.skip(1)[0]) } else { Cell::Term };
            }
            if chunk.string {
                return Cell::End;
            }
            match self.bytes[0] {
                NIL_EXT => {
                    self.skip(1);
                    return Cell::End;
                }
                LIST_EXT => chunk.left = self.count(),
                STRING_EXT => *chunk = Chunk { left: self.string(), string: true },
                _ => return Cell::Tail,
            }
        }
    }

    /// Steps into a native record, which [`Stream::head`] takes for a leaf: its names, and how many values follow.
    pub(crate) fn record(&mut self) -> Option<(impl Iterator<Item = AtomRef<'a>> + use<'a>, u32)> {
        // As after the head of any term: an empty LIST_EXT is its tail.
        let mut inside = *self;
        while inside.bytes[0] == LIST_EXT {
            let mut tail = inside;
            if tail.count() > 0 {
                break;
            }
            inside = tail;
        }
        if inside.bytes[0] != NATIVE_RECORD_EXT {
            return None;
        }
        *self = inside;
        let fields = self.count();
        // Whether it is exported.
        self.skip(1);
        let mut names = *self;
        let due = u64::from(fields) + 2;
        for _ in 0..due {
            self.term();
        }
        let name = move |_| names.term().as_atom().expect("walked: a record's names are atoms");
        Some(((0..due).map(name), fields))
    }

    /// The count after a tag.
    fn count(&mut self) -> u32 {
        let head = self.skip(5);
        u32::from_be_bytes([head[1], head[2], head[3], head[4]])
    }

    /// The length of a string.
    fn string(&mut self) -> u32 {
        let head = self.skip(3);
        u32::from(u16::from_be_bytes([head[1], head[2]]))
    }

    /// A closure up to its free variables.
    fn fun(&mut self) -> FunHead<'a> {
        const WALKED: &str = "walked: a fun names its module, index and uniq";
        // Tag, size, arity, 16 bytes of uniqueness, index; then the number of free variables.
        let head = self.skip(30);
        let word =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (arity, digest, new_index, free) = (head[5], &head[6..22], word(22), word(26));
        let module = self.term().as_atom().expect(WALKED);
        let index = self.term().as_integer().expect(WALKED);
        let uniq = self.term().as_integer().expect(WALKED);
        let creator = self.term();
        FunHead { module, index, uniq, free, arity, digest, new_index, creator }
    }
}
