//! The functions that guards and bodies may call.
//!
//! Functions: ERTS User's Guide, "Match Specifications in Erlang", the ets part; and those that OTP 28 and
//! 29 added. Here all are known whatever release asks, and `is_record/2` besides.

use std::cmp::Ordering;

use super::number::{Arithmetic, Number, binary, unary};
use crate::etf::stream::{Cell, Head, Headed, Stream};
use crate::etf::{AtomRef, Term, TermRef, order};

/// A function that a guard or body may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Is(Type),
    IsFunctionOfArity,
    IsIntegerBetween,
    IsMapKey,
    IsRecord,
    Compare(Comparison),
    Arithmetic(Arithmetic),
    Not,
    Xor,
    Max,
    Min,
    Element,
    Head,
    Tail,
    Length,
    Size,
    BitSize,
    ByteSize,
    TupleSize,
    MapSize,
    MapGet,
    BinaryPart,
    NodeOf,
}

/// What a type test asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Atom,
    Binary,
    Bitstring,
    Boolean,
    Float,
    Function,
    Integer,
    List,
    Map,
    Number,
    Pid,
    Port,
    Reference,
    Tuple,
}

/// What a comparison asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
    ExactlyEqual,
    ExactlyNotEqual,
}

/// What a function gave, with its parts still in place.
#[derive(Debug)]
pub(super) enum Answer<'a> {
    Boolean(bool),
    Number(Number),
    Atom(AtomRef<'a>),
    Term(TermRef<'a>),
    Headed(Headed<'a>),
}

impl Function {
    /// Whether it may have to look at all of an argument.
    pub(super) const fn walks(self) -> bool {
        matches!(
            self,
            Function::Element
                | Function::Head
                | Function::Tail
                | Function::Length
                | Function::IsIntegerBetween
        ) || self.compares()
    }

    /// Whether it compares terms, which may take sorting.
    pub(super) const fn compares(self) -> bool {
        matches!(
            self,
            Function::Compare(_)
                | Function::Max
                | Function::Min
                | Function::IsMapKey
                | Function::MapGet
        )
    }

    /// The function of that name for that many arguments.
    pub(super) fn find(name: &str, arity: usize) -> Option<Function> {
        use Function as F;
        Some(match (name, arity) {
            ("is_atom", 1) => F::Is(Type::Atom),
            ("is_binary", 1) => F::Is(Type::Binary),
            ("is_bitstring", 1) => F::Is(Type::Bitstring),
            ("is_boolean", 1) => F::Is(Type::Boolean),
            ("is_float", 1) => F::Is(Type::Float),
            ("is_function", 1) => F::Is(Type::Function),
            ("is_integer", 1) => F::Is(Type::Integer),
            ("is_list", 1) => F::Is(Type::List),
            ("is_map", 1) => F::Is(Type::Map),
            ("is_number", 1) => F::Is(Type::Number),
            ("is_pid", 1) => F::Is(Type::Pid),
            ("is_port", 1) => F::Is(Type::Port),
            ("is_reference", 1) => F::Is(Type::Reference),
            ("is_tuple", 1) => F::Is(Type::Tuple),
            ("is_function", 2) => F::IsFunctionOfArity,
            ("is_integer", 3) => F::IsIntegerBetween,
            ("is_map_key", 2) => F::IsMapKey,
            ("is_record", 2 | 3) => F::IsRecord,
            ("<", 2) => F::Compare(Comparison::Less),
            ("=<", 2) => F::Compare(Comparison::LessOrEqual),
            (">", 2) => F::Compare(Comparison::Greater),
            (">=", 2) => F::Compare(Comparison::GreaterOrEqual),
            ("==", 2) => F::Compare(Comparison::Equal),
            ("/=", 2) => F::Compare(Comparison::NotEqual),
            ("=:=", 2) => F::Compare(Comparison::ExactlyEqual),
            ("=/=", 2) => F::Compare(Comparison::ExactlyNotEqual),
            ("+", 1) => F::Arithmetic(Arithmetic::Plus),
            ("-", 1) => F::Arithmetic(Arithmetic::Minus),
            ("+", 2) => F::Arithmetic(Arithmetic::Add),
            ("-", 2) => F::Arithmetic(Arithmetic::Subtract),
            ("*", 2) => F::Arithmetic(Arithmetic::Multiply),
            ("/", 2) => F::Arithmetic(Arithmetic::Divide),
            ("div", 2) => F::Arithmetic(Arithmetic::IntegerDivide),
            ("rem", 2) => F::Arithmetic(Arithmetic::Remainder),
            ("band", 2) => F::Arithmetic(Arithmetic::BitAnd),
            ("bor", 2) => F::Arithmetic(Arithmetic::BitOr),
            ("bxor", 2) => F::Arithmetic(Arithmetic::BitXor),
            ("bnot", 1) => F::Arithmetic(Arithmetic::BitNot),
            ("bsl", 2) => F::Arithmetic(Arithmetic::ShiftLeft),
            ("bsr", 2) => F::Arithmetic(Arithmetic::ShiftRight),
            ("abs", 1) => F::Arithmetic(Arithmetic::Abs),
            ("round", 1) => F::Arithmetic(Arithmetic::Round),
            ("trunc", 1) => F::Arithmetic(Arithmetic::Trunc),
            ("ceil", 1) => F::Arithmetic(Arithmetic::Ceil),
            ("floor", 1) => F::Arithmetic(Arithmetic::Floor),
            ("float", 1) => F::Arithmetic(Arithmetic::Float),
            ("not", 1) => F::Not,
            ("xor", 2) => F::Xor,
            ("max", 2) => F::Max,
            ("min", 2) => F::Min,
            ("element", 2) => F::Element,
            ("hd", 1) => F::Head,
            ("tl", 1) => F::Tail,
            ("length", 1) => F::Length,
            ("size", 1) => F::Size,
            ("bit_size", 1) => F::BitSize,
            ("byte_size", 1) => F::ByteSize,
            ("tuple_size", 1) => F::TupleSize,
            ("map_size", 1) => F::MapSize,
            ("map_get", 2) => F::MapGet,
            ("binary_part", 2 | 3) => F::BinaryPart,
            ("node", 1) => F::NodeOf,
            _ => return None,
        })
    }
}

/// Calls a function with as many arguments as it was found for; `None` is an exception.
///
/// Looks at each argument's bytes at most once. `steps` is raised by the work that numbers cost.
pub(super) fn call<'a>(
    function: Function,
    arguments: &[TermRef<'a>],
    steps: &mut u64,
) -> Option<Answer<'a>> {
    use Answer::{Atom, Boolean, Headed as Pieces, Term as Whole};
    let a = arguments[0];
    let b = arguments.get(1).copied().unwrap_or(TermRef::NIL);
    let c = arguments.get(2).copied();
    Some(match function {
        Function::Is(wanted) => Boolean(is(wanted, a)),
        Function::IsFunctionOfArity => {
            let Term::Integer(wanted @ 0..) = b.view() else {
                return matches!(b.view(), Term::BigInteger { negative: false, .. })
                    .then_some(Boolean(false));
            };
            Boolean(match a.view() {
                // The bytes of a closure begin with its size and arity.
                Term::Fun(bytes) => i64::from(bytes[4]) == wanted,
                Term::Export { arity, .. } => i64::from(arity) == wanted,
                _ => false,
            })
        }
        Function::IsIntegerBetween => {
            let c = c?;
            if !(is(Type::Integer, b) && is(Type::Integer, c)) {
                return None;
            }
            let between = || order::cmp(b, a).is_le() && order::cmp(a, c).is_le();
            Boolean(is(Type::Integer, a) && between())
        }
        Function::IsMapKey => Boolean(map_get(b, a)?.is_some()),
        Function::MapGet => Whole(map_get(b, a)??),
        Function::IsRecord => Boolean(is_record(a, b, c)?),
        Function::Compare(comparison) => Boolean(compare(comparison, a, b)),
        Function::Arithmetic(operation) => {
            let first = Number::read(a)?;
            *steps += first.cost();
            if arguments.len() == 1 {
                Answer::Number(unary(operation, first)?)
            } else {
                let second = Number::read(b)?;
                *steps += second.cost();
                Answer::Number(binary(operation, first, second)?)
            }
        }
        Function::Not => Boolean(!boolean(a)?),
        Function::Xor => Boolean(boolean(a)? ^ boolean(b)?),
        Function::Max => Whole(if order::cmp(a, b).is_ge() { a } else { b }),
        Function::Min => Whole(if order::cmp(a, b).is_le() { a } else { b }),
        Function::Element => match (a.view(), b.view()) {
            (Term::Integer(n @ 1..), Term::Tuple(mut elements)) => {
                Whole(elements.nth(usize::try_from(n - 1).ok()?)?)
            }
            _ => return None,
        },
        Function::Head => Whole(a.cells().next()?),
        Function::Tail => {
            let mut stream = Stream::new(a);
            let Head::List(mut chunk) = stream.head() else { return None };
            if stream.cell(&mut chunk) == Cell::Term {
                stream.term();
            }
            Pieces(stream.rest(chunk))
        }
        Function::Length => {
            let mut cells = a.cells();
            let length = cells.by_ref().count();
            if !matches!(cells.tail().view(), Term::Nil) {
                return None;
            }
            size(length)
        }
        Function::Size => match a.view() {
            Term::Tuple(elements) => size(elements.len()),
            Term::Binary(bytes) => size(bytes.len()),
            Term::BitBinary { bytes, .. } => size(bytes.len() - 1),
            _ => return None,
        },
        Function::ByteSize => match a.view() {
            Term::Binary(bytes) | Term::BitBinary { bytes, .. } => size(bytes.len()),
            _ => return None,
        },
        Function::BitSize => match a.view() {
            Term::Binary(bytes) => size(8 * bytes.len()),
            Term::BitBinary { bytes, last_bits } => {
                size(8 * (bytes.len() - 1) + usize::from(last_bits))
            }
            _ => return None,
        },
        Function::TupleSize => match a.view() {
            Term::Tuple(elements) => size(elements.len()),
            _ => return None,
        },
        Function::MapSize => match a.view() {
            Term::Map(pairs) => size(pairs.len()),
            _ => return None,
        },
        Function::BinaryPart => {
            let (start, len) = match c {
                Some(c) => (b, c),
                None => b.as_tuple::<2>().map(|[start, len]| (start, len))?,
            };
            Pieces(binary_part(a, start.as_integer()?, len.as_integer()?)?)
        }
        Function::NodeOf => match a.view() {
            Term::Pid { node, .. } | Term::Port { node, .. } | Term::Reference { node, .. } => {
                Atom(node)
            }
            _ => return None,
        },
    })
}

/// The boolean that a term is.
pub(super) fn boolean(term: TermRef<'_>) -> Option<bool> {
    let atom = term.as_atom()?;
    if atom.is("true") {
        Some(true)
    } else if atom.is("false") {
        Some(false)
    } else {
        None
    }
}

fn is(wanted: Type, term: TermRef<'_>) -> bool {
    match term.view() {
        Term::Integer(_) | Term::BigInteger { .. } => {
            matches!(wanted, Type::Integer | Type::Number)
        }
        Term::Float(_) => matches!(wanted, Type::Float | Type::Number),
        Term::Atom(_) => wanted == Type::Atom || wanted == Type::Boolean && boolean(term).is_some(),
        Term::Reference { .. } => wanted == Type::Reference,
        Term::Port { .. } => wanted == Type::Port,
        Term::Pid { .. } => wanted == Type::Pid,
        Term::Tuple(_) => wanted == Type::Tuple,
        Term::Map(_) => wanted == Type::Map,
        Term::Nil | Term::List(_) | Term::String(_) => wanted == Type::List,
        Term::Binary(_) => matches!(wanted, Type::Binary | Type::Bitstring),
        Term::BitBinary { .. } => wanted == Type::Bitstring,
        Term::Fun(_) | Term::Export { .. } => wanted == Type::Function,
        Term::NativeRecord(_) => false,
    }
}

fn compare(comparison: Comparison, a: TermRef<'_>, b: TermRef<'_>) -> bool {
    let cmp = || order::cmp(a, b);
    match comparison {
        Comparison::Less => cmp() == Ordering::Less,
        Comparison::LessOrEqual => cmp() != Ordering::Greater,
        Comparison::Greater => cmp() == Ordering::Greater,
        Comparison::GreaterOrEqual => cmp() != Ordering::Less,
        Comparison::Equal => order::equal(a, b),
        Comparison::NotEqual => !order::equal(a, b),
        Comparison::ExactlyEqual => order::exactly_equal(a, b),
        Comparison::ExactlyNotEqual => !order::exactly_equal(a, b),
    }
}

/// `map_get/2` on a map: no value, or the value; `None` if it is no map.
fn map_get<'a>(map: TermRef<'a>, key: TermRef<'_>) -> Option<Option<TermRef<'a>>> {
    let Term::Map(mut pairs) = map.view() else { return None };
    Some(pairs.find(|(found, _)| order::exactly_equal(*found, key)).map(|(_, value)| value))
}

/// Whether a term is a tuple that begins with an atom, and of that size if one is given.
fn is_record(term: TermRef<'_>, tag: TermRef<'_>, size: Option<TermRef<'_>>) -> Option<bool> {
    let tag = tag.as_atom()?;
    let wanted = match size {
        None => None,
        // OTP takes no size beyond its small integers, of 60 bits.
        Some(size) => Some(size.as_integer().filter(|size| (-1 << 59..1 << 59).contains(size))?),
    };
    let Term::Tuple(mut elements) = term.view() else { return Some(false) };
    let fits = wanted.is_none_or(|wanted| usize::try_from(wanted) == Ok(elements.len()));
    Some(fits && elements.next().and_then(TermRef::as_atom) == Some(tag))
}

fn binary_part(term: TermRef<'_>, start: i64, len: i64) -> Option<Headed<'_>> {
    let bytes = term.as_binary()?;
    let end = start.checked_add(len)?;
    let (start, end) =
        (usize::try_from(start.min(end)).ok()?, usize::try_from(start.max(end)).ok()?);
    Some(Headed::binary(bytes.get(start..end)?))
}

fn size(size: usize) -> Answer<'static> {
    Answer::Number(Number::Small(i64::try_from(size).expect("sizes of terms are below 2^63")))
}
