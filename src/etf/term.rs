//! A term, looked at in place.
//!
//! A [`TermRef`] is the bytes of one walked term. [`TermRef::view`] tells what it is without copying;
//! containers give their elements as further `TermRef`s.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::decode::{skip, walk};
use super::tag::{
    ATOM_EXT, ATOM_UTF8_EXT, BINARY_EXT, BIT_BINARY_EXT, EXPORT_EXT, FLOAT_EXT, INTEGER_EXT,
    LARGE_BIG_EXT, LARGE_TUPLE_EXT, LIST_EXT, MAP_EXT, NATIVE_RECORD_EXT, NEW_FLOAT_EXT,
    NEW_PID_EXT, NEW_PORT_EXT, NEW_REFERENCE_EXT, NEWER_REFERENCE_EXT, NIL_EXT, PID_EXT, PORT_EXT,
    REFERENCE_EXT, SMALL_ATOM_EXT, SMALL_ATOM_UTF8_EXT, SMALL_BIG_EXT, SMALL_INTEGER_EXT,
    SMALL_TUPLE_EXT, STRING_EXT, V4_PORT_EXT,
};
use super::{DecodeError, Pid, Reference};

/// The bytes of exactly one well-formed term, without a version byte.
///
/// `==` compares bytes, which is enough for identity within one source; Erlang's own order and equality
/// are in `etf::order`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TermRef<'a>(&'a [u8]);

/// What a term is, with its parts still in place.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names are Erlang's data types")]
pub enum Term<'a> {
    /// An integer that fits 64 bits, however it was written.
    Integer(i64),
    /// Any other integer: sign and magnitude, least significant byte first, no leading zeros.
    BigInteger {
        negative: bool,
        magnitude: &'a [u8],
    },
    Float(f64),
    Atom(AtomRef<'a>),
    Reference {
        node: AtomRef<'a>,
        creation: u32,
        ids: ReferenceIds<'a>,
    },
    Port {
        node: AtomRef<'a>,
        id: u64,
        creation: u32,
    },
    Pid {
        node: AtomRef<'a>,
        id: u32,
        serial: u32,
        creation: u32,
    },
    Tuple(Elements<'a>),
    Map(Pairs<'a>),
    Nil,
    List(ListRef<'a>),
    /// A list of bytes in its short form.
    String(&'a [u8]),
    Binary(&'a [u8]),
    /// A bitstring; the last byte holds `last_bits` (1 to 7) bits, most significant first.
    BitBinary {
        bytes: &'a [u8],
        last_bits: u8,
    },
    /// A closure: only its own node can look inside. The bytes after the tag.
    Fun(&'a [u8]),
    Export {
        module: AtomRef<'a>,
        function: AtomRef<'a>,
        arity: u8,
    },
    /// OTP 29's native record, carried as it is. The bytes after the tag.
    NativeRecord(&'a [u8]),
}

impl<'a> TermRef<'a> {
    /// The empty list.
    pub const NIL: TermRef<'static> = TermRef(&[NIL_EXT]);

    /// The empty map.
    pub const EMPTY_MAP: TermRef<'static> = TermRef(&[MAP_EXT, 0, 0, 0, 0]);

    /// The small integer `byte`, which as an element of a string has no bytes of its own.
    pub(crate) fn byte(byte: u8) -> TermRef<'static> {
        static BYTES: [[u8; 2]; 256] = {
            let mut terms = [[SMALL_INTEGER_EXT, 0]; 256];
            let mut byte: u8 = 0;
            loop {
                terms[byte as usize][1] = byte;
                if byte == u8::MAX {
                    break terms;
                }
                byte += 1;
            }
        };
        TermRef(&BYTES[usize::from(byte)])
    }

    /// Takes the term that `bytes` begin with, and the bytes after it.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if there is no well-formed term.
    pub fn split_first(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let (term, rest) = bytes.split_at(walk(bytes)?.len);
        Ok((TermRef(term), rest))
    }

    /// Takes `bytes` as one term and nothing else.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if they are something else.
    pub fn whole(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        match Self::split_first(bytes)? {
            (term, []) => Ok(term),
            (_, rest) => Err(DecodeError::TrailingBytes { extra: rest.len() }),
        }
    }

    /// Takes `bytes` that [`walk`] measured before, so that they are not walked twice.
    ///
    /// Looking into bytes that were not walked may panic.
    pub(crate) const fn from_walked(bytes: &'a [u8]) -> Self {
        TermRef(bytes)
    }

    /// The term's bytes, without a version byte.
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// What the term is.
    pub fn view(self) -> Term<'a> {
        let mut bytes = self.0;
        // An empty LIST_EXT is its tail, which may be such a list again.
        while bytes[0] == LIST_EXT && be32(&bytes[1..]) == 0 {
            bytes = &bytes[5..];
        }
        let body = &bytes[1..];
        match bytes[0] {
            SMALL_INTEGER_EXT => Term::Integer(i64::from(body[0])),
            INTEGER_EXT => Term::Integer(i64::from(be32(body).cast_signed())),
            SMALL_BIG_EXT => big(body[1] == 1, &body[2..]),
            LARGE_BIG_EXT => big(body[4] == 1, &body[5..]),
            NEW_FLOAT_EXT => Term::Float(f64::from_bits(be64(body))),
            FLOAT_EXT => Term::Float(old_float(body).expect("walked: the digits were checked")),
            NIL_EXT => Term::Nil,
            STRING_EXT if body.len() == 2 => Term::Nil,
            STRING_EXT => Term::String(&body[2..]),
            BINARY_EXT => Term::Binary(&body[4..]),
            BIT_BINARY_EXT => match body[4] {
                8 => Term::Binary(&body[5..]),
                last_bits => Term::BitBinary { bytes: &body[5..], last_bits },
            },
            SMALL_TUPLE_EXT => Term::Tuple(Elements::to_the_end(u32::from(body[0]), &body[1..])),
            LARGE_TUPLE_EXT => Term::Tuple(Elements::to_the_end(be32(body), &body[4..])),
            LIST_EXT => {
                let elements = Elements { left: be32(body), bytes: &body[4..], has_tail: true };
                Term::List(ListRef { elements })
            }
            MAP_EXT => {
                Term::Map(Pairs(Elements::to_the_end(be32(body).saturating_mul(2), &body[4..])))
            }
            NEW_PID_EXT | PID_EXT => {
                let (node, rest) = AtomRef::split(body);
                Term::Pid {
                    node,
                    id: be32(rest),
                    serial: be32(&rest[4..]),
                    creation: creation(&rest[8..]),
                }
            }
            NEW_PORT_EXT | PORT_EXT => {
                let (node, rest) = AtomRef::split(body);
                Term::Port { node, id: u64::from(be32(rest)), creation: creation(&rest[4..]) }
            }
            V4_PORT_EXT => {
                let (node, rest) = AtomRef::split(body);
                Term::Port { node, id: be64(rest), creation: creation(&rest[8..]) }
            }
            REFERENCE_EXT => {
                let (node, rest) = AtomRef::split(body);
                Term::Reference {
                    node,
                    creation: creation(&rest[4..]),
                    ids: ReferenceIds(&rest[..4]),
                }
            }
            tag @ (NEWER_REFERENCE_EXT | NEW_REFERENCE_EXT) => {
                let (node, rest) = AtomRef::split(&body[2..]);
                let (stamp, ids) = rest.split_at(if tag == NEWER_REFERENCE_EXT { 4 } else { 1 });
                Term::Reference { node, creation: creation(stamp), ids: ReferenceIds(ids) }
            }
            EXPORT_EXT => {
                let (module, rest) = AtomRef::split(body);
                let (function, rest) = AtomRef::split(rest);
                Term::Export { module, function, arity: rest[1] }
            }
            ATOM_EXT | ATOM_UTF8_EXT | SMALL_ATOM_EXT | SMALL_ATOM_UTF8_EXT => {
                Term::Atom(AtomRef::split(bytes).0)
            }
            NATIVE_RECORD_EXT => Term::NativeRecord(body),
            _ => Term::Fun(body),
        }
    }

    /// The atom that the term is.
    pub fn as_atom(self) -> Option<AtomRef<'a>> {
        match self.view() {
            Term::Atom(atom) => Some(atom),
            _ => None,
        }
    }

    /// Whether the term is the atom `name`.
    pub fn is_atom(self, name: &str) -> bool {
        self.as_atom().is_some_and(|atom| atom.is(name))
    }

    /// The integer that the term is, if it fits.
    pub fn as_integer(self) -> Option<i64> {
        match self.view() {
            Term::Integer(value) => Some(value),
            _ => None,
        }
    }

    /// The elements of a tuple of exactly `N`.
    pub fn as_tuple<const N: usize>(self) -> Option<[TermRef<'a>; N]> {
        match self.view() {
            Term::Tuple(elements) => elements.exactly(),
            _ => None,
        }
    }

    /// The elements of a proper list; a short string's bytes are not elements in place: see `Term::String`.
    pub fn as_list(self) -> Option<Elements<'a>> {
        match self.view() {
            Term::Nil => Some(Elements::NONE),
            Term::List(list) if list.tail().bytes() == [NIL_EXT] => Some(list.elements()),
            _ => None,
        }
    }

    /// The elements of a list however it was written, and what follows them; none for any other term.
    pub fn cells(self) -> Cells<'a> {
        let mut cells = Cells { string: &[], elements: Elements::NONE, rest: self };
        cells.open();
        cells
    }

    /// The bytes of a binary.
    pub fn as_binary(self) -> Option<&'a [u8]> {
        match self.view() {
            Term::Binary(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The pid that the term is, copied.
    pub fn as_pid(self) -> Option<Pid> {
        match self.view() {
            Term::Pid { node, id, serial, creation } => {
                Some(Pid { node: node.to_str().into(), id, serial, creation })
            }
            _ => None,
        }
    }

    /// The reference that the term is, copied.
    pub fn as_reference(self) -> Option<Reference> {
        match self.view() {
            Term::Reference { node, creation, ids } => {
                Some(Reference::new(node.to_str().into(), creation, ids.iter()))
            }
            _ => None,
        }
    }

    /// The value under the atom `key`, if the term is a map that has it. Costs a scan of the map.
    pub fn map_get(self, key: &str) -> Option<TermRef<'a>> {
        match self.view() {
            Term::Map(pairs) => pairs.into_iter().find(|(k, _)| k.is_atom(key)).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The bytes, copied, to outlive their buffer.
    pub fn to_bytes(self) -> Box<[u8]> {
        self.0.into()
    }

    /// The term, copied, to outlive its buffer.
    pub fn to_buf(self) -> TermBuf {
        TermBuf(self.0.into())
    }
}

/// An owned term: the bytes of exactly one, checked when it was made.
///
/// `==` compares bytes, as that of [`TermRef`] does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TermBuf(Vec<u8>);

impl TermBuf {
    /// Takes `bytes` as one term without a version byte, and nothing else. Costs a walk.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if they are something else.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, DecodeError> {
        let bytes = bytes.into();
        TermRef::whole(&bytes)?;
        Ok(TermBuf(bytes))
    }

    /// The term that `write` appends by means of `etf::encode`; whoever writes sees to it that it is one.
    pub(crate) fn written(write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut out = Vec::new();
        write(&mut out);
        TermBuf::from_walked(out)
    }

    /// Takes bytes that were walked, or made by us as one term.
    pub(crate) fn from_walked(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        // An entry, as text has it, is one level deeper than its event.
        debug_assert!(
            super::decode::walk_within(super::MAX_DEPTH + 1, &bytes)
                .is_ok_and(|walked| walked.len == bytes.len()),
            "the bytes are one term"
        );
        TermBuf(bytes)
    }

    /// The term, to look inside.
    pub const fn as_term(&self) -> TermRef<'_> {
        TermRef(self.0.as_slice())
    }

    /// The term's bytes, without a version byte.
    pub const fn bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// The same, owned.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// The term's bytes.
impl std::ops::Deref for TermBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// An atom's name in place.
#[derive(Clone, Copy, Debug)]
pub struct AtomRef<'a> {
    name: &'a [u8],
    latin1: bool,
}

impl<'a> AtomRef<'a> {
    /// The atom at the beginning of walked bytes, and the rest.
    fn split(bytes: &'a [u8]) -> (Self, &'a [u8]) {
        let (len, head) = match bytes[0] {
            SMALL_ATOM_UTF8_EXT | SMALL_ATOM_EXT => (usize::from(bytes[1]), 2),
            _ => (usize::from(u16::from_be_bytes([bytes[1], bytes[2]])), 3),
        };
        let latin1 = matches!(bytes[0], SMALL_ATOM_EXT | ATOM_EXT);
        let (name, rest) = bytes[head..].split_at(len);
        (AtomRef { name, latin1 }, rest)
    }

    /// The name; copied only if it holds Latin-1 characters beyond ASCII.
    pub fn to_str(self) -> Cow<'a, str> {
        if !self.latin1 || self.name.is_ascii() {
            Cow::Borrowed(std::str::from_utf8(self.name).expect("walked: atoms hold valid UTF-8"))
        } else {
            Cow::Owned(self.name.iter().map(|&byte| char::from(byte)).collect())
        }
    }

    /// Whether this is the atom `name`.
    pub fn is(self, name: &str) -> bool {
        if self.latin1 && !self.name.is_ascii() {
            self.name.iter().map(|&byte| char::from(byte)).eq(name.chars())
        } else {
            self.name == name.as_bytes()
        }
    }
}

impl PartialEq for AtomRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        if self.latin1 == other.latin1 { self.name == other.name } else { self.is(&other.to_str()) }
    }
}

impl Eq for AtomRef<'_> {}

/// By the names' characters, as Erlang orders atoms.
impl Ord for AtomRef<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.latin1 == other.latin1 {
            self.name.cmp(other.name)
        } else {
            self.to_str().cmp(&other.to_str())
        }
    }
}

impl PartialOrd for AtomRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The words of a reference, most significant last, as OTP sends them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReferenceIds<'a>(&'a [u8]);

impl ReferenceIds<'_> {
    /// The words in the order they are sent.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = u32> + ExactSizeIterator + '_ {
        self.0.chunks_exact(4).map(be32)
    }
}

/// The elements of a tuple or list, in order.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a> {
    left: u32,
    bytes: &'a [u8],
    /// Whether something follows the last element.
    has_tail: bool,
}

impl<'a> Elements<'a> {
    const NONE: Elements<'static> = Elements { left: 0, bytes: &[], has_tail: false };

    /// Elements of which the last one ends where `bytes` do.
    const fn to_the_end(left: u32, bytes: &'a [u8]) -> Self {
        Elements { left, bytes, has_tail: false }
    }

    /// How many elements are left.
    pub const fn len(&self) -> usize {
        self.left as usize
    }

    /// Whether none is left.
    pub const fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The elements, if there are exactly `N`.
    pub fn exactly<const N: usize>(mut self) -> Option<[TermRef<'a>; N]> {
        if self.len() != N {
            return None;
        }
        Some(std::array::from_fn(|_| self.next().expect("counted above")))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = TermRef<'a>;

    fn next(&mut self) -> Option<TermRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        // What ends with the bytes needs no walk: most of all, the event at the end of a cast.
        let is_all = self.left == 0 && !self.has_tail;
        let len = if is_all { self.bytes.len() } else { skip(self.bytes) };
        debug_assert_eq!(len, skip(self.bytes), "a term's bytes are those of exactly one");
        let (term, rest) = self.bytes.split_at(len);
        self.bytes = rest;
        Some(TermRef(term))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl ExactSizeIterator for Elements<'_> {}

/// A list with at least one element.
#[derive(Clone, Copy, Debug)]
pub struct ListRef<'a> {
    elements: Elements<'a>,
}

impl<'a> ListRef<'a> {
    /// The elements before the tail.
    pub const fn elements(self) -> Elements<'a> {
        self.elements
    }

    /// What follows the last element: `[]` in a proper list. Costs a walk over the elements.
    pub fn tail(self) -> TermRef<'a> {
        let mut elements = self.elements;
        while elements.next().is_some() {}
        TermRef(elements.bytes)
    }
}

/// The elements of a list, whether it was written as `LIST_EXT`, as `STRING_EXT`, or as a chain of both.
///
/// Each step costs a walk over one element.
#[derive(Clone, Copy, Debug)]
pub struct Cells<'a> {
    string: &'a [u8],
    elements: Elements<'a>,
    rest: TermRef<'a>,
}

impl<'a> Cells<'a> {
    /// What follows the elements: `[]` in a proper list, and the term itself if it is no list.
    ///
    /// Costs a walk over the elements that are left.
    pub fn tail(mut self) -> TermRef<'a> {
        while self.next().is_some() {}
        self.rest
    }

    /// Whether no element is left.
    pub const fn is_empty(&self) -> bool {
        self.string.is_empty() && self.elements.is_empty()
    }

    /// Goes on into `rest` where that is a list itself.
    fn open(&mut self) {
        match self.rest.view() {
            Term::List(list) => self.elements = list.elements,
            Term::String(bytes) => {
                self.string = bytes;
                self.rest = TermRef::NIL;
            }
            Term::Nil => self.rest = TermRef::NIL,
            _ => {}
        }
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = TermRef<'a>;

    fn next(&mut self) -> Option<TermRef<'a>> {
        if let Some((&byte, rest)) = self.string.split_first() {
            self.string = rest;
            return Some(TermRef::byte(byte));
        }
        let element = self.elements.next()?;
        if self.elements.is_empty() {
            self.rest = TermRef(self.elements.bytes);
            self.open();
        }
        Some(element)
    }
}

/// The pairs of a map, in the order they were sent.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a>(Elements<'a>);

impl Pairs<'_> {
    /// How many pairs are left.
    pub const fn len(&self) -> usize {
        self.0.len() / 2
    }

    /// Whether none is left.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (TermRef<'a>, TermRef<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.next()?, self.0.next()?))
    }
}

/// The value of `FLOAT_EXT`: 31 bytes of `sprintf("%.20e")`, padded with zeros; digits on both sides of the point.
pub(super) fn old_float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text.split(|&byte| byte == 0).next()?).ok()?;
    let (whole, rest) = text.strip_prefix(['-', '+']).unwrap_or(text).split_once('.')?;
    let (fraction, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let value: f64 =
        [whole, fraction, exponent].map(is_number).eq(&[true; 3]).then(|| text.parse().ok())??;
    value.is_finite().then_some(value)
}

fn big(negative: bool, magnitude: &[u8]) -> Term<'_> {
    let used = magnitude.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let magnitude = &magnitude[..used];
    if used <= 8 {
        let mut bytes = [0; 8];
        bytes[..used].copy_from_slice(magnitude);
        let value = u64::from_le_bytes(bytes);
        let signed =
            if negative { 0i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() };
        if let Some(value) = signed {
            return Term::Integer(value);
        }
    }
    Term::BigInteger { negative, magnitude }
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn be64(bytes: &[u8]) -> u64 {
    u64::from(be32(bytes)) << 32 | u64::from(be32(&bytes[4..]))
}

/// A creation of one byte (before OTP 23) or four.
fn creation(bytes: &[u8]) -> u32 {
    if bytes.len() >= 4 { be32(bytes) } else { u32::from(bytes[0]) }
}
