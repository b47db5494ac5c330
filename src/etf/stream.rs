//! A term as the sequence of heads that its bytes are.
//!
//! What has to look at a whole term (order, printing) reads it front to back, each byte once, and keeps
//! its own stack. Asking a container for its elements instead would walk each element once per level.

use super::tag::{
    LARGE_TUPLE_EXT, LIST_EXT, MAP_EXT, NEW_FUN_EXT, NIL_EXT, SMALL_TUPLE_EXT, STRING_EXT,
};
use super::{AtomRef, Term, TermRef, walk};

/// What begins at a place in a term.
#[derive(Clone, Copy, Debug)]
pub(super) enum Head<'a> {
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
pub(super) struct Chunk {
    left: u32,
    string: bool,
}

/// What is next in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
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

/// The comparable and printable parts of a closure.
#[derive(Clone, Copy, Debug)]
pub(super) struct FunHead<'a> {
    pub(super) module: AtomRef<'a>,
    pub(super) index: i64,
    pub(super) uniq: i64,
    pub(super) free: u32,
}

/// A place in a walked term.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream<'a> {
    bytes: &'a [u8],
}

impl<'a> Stream<'a> {
    pub(super) const fn new(term: TermRef<'a>) -> Self {
        Stream { bytes: term.bytes() }
    }

    /// The bytes not read yet.
    pub(super) const fn left(&self) -> &'a [u8] {
        self.bytes
    }

    fn skip(&mut self, len: usize) -> &'a [u8] {
        let (skipped, rest) = self.bytes.split_at(len);
        self.bytes = rest;
        skipped
    }

    /// Skips the whole term that is next, and gives it.
    pub(super) fn term(&mut self) -> TermRef<'a> {
        let len = walk(self.bytes).expect("walked: elements are well formed").len;
        TermRef::from_walked(self.skip(len))
    }

    /// Reads what is next.
    pub(super) fn head(&mut self) -> Head<'a> {
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
    pub(super) fn cell(&mut self, chunk: &mut Chunk) -> Cell {
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
        let free = u32::from_be_bytes([head[26], head[27], head[28], head[29]]);
        let module = self.term().as_atom().expect(WALKED);
        let index = self.term().as_integer().expect(WALKED);
        let uniq = self.term().as_integer().expect(WALKED);
        self.term();
        FunHead { module, index, uniq, free }
    }
}
