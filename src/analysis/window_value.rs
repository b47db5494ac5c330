//! What an analysis computes of the events of a window, value by value.
//!
//! A value can be stored at any event, gone on with, and merged with that of later events, and comes to what it would have
//! come to in one go; but for sums of floats, which depend on the order as floats do.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};
use sketches_ddsketch::{Config, DDSketch};

use super::distinct::Distinct;
use crate::etf::{Term, TermRef, build, canonical, encode, order};

/// The most bytes of a term that is kept.
pub const MAX_TERM_BYTES: usize = 1024;

/// Elements are counted from 1 to this.
pub const MAX_ELEMENT: usize = 32;

/// By how much a quantile may be off, as a share of it.
const QUANTILE_ERROR: f64 = 0.01;

/// With that error, so many bins reach over 17 powers of ten; what is smaller is taken for the smallest of them.
const QUANTILE_BINS: u32 = 2048;

/// What is nearer to zero is zero to a quantile.
const QUANTILE_ZERO: f64 = 1e-9;

/// What is computed, and of which element of what the match spec makes of an event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// How many events there were.
    Count,
    /// The element of the first one.
    First(usize),
    /// That of the last one.
    Last(usize),
    /// The least in Erlang's order of terms; of equal ones the first.
    Min(usize),
    /// The greatest.
    Max(usize),
    /// The sum of those that are numbers.
    Sum(usize),
    /// Their mean.
    Avg(usize),
    /// How many different ones there were, about.
    Distinct(usize),
    /// Which number no more than this share of them are below, about.
    Quantile(usize, f64),
}

impl Value {
    /// How it is written; [`fmt::Display`] writes it.
    pub const FORMS: &'static str = "count, or first, last, min, max, sum, avg or distinct of an element such as \"max(2)\", or \"quantile(2, 0.99)\"";

    /// Reads what [`Value::FORMS`] tells of.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "count" {
            return Ok(Value::Count);
        }
        let (name, rest) = text.split_once('(').ok_or_else(|| unknown(text))?;
        let arguments = rest.strip_suffix(')').ok_or_else(|| unknown(text))?;
        let (element, share) = match arguments.split_once(',') {
            Some((element, share)) => (element, Some(share.trim())),
            None => (arguments, None),
        };
        let element = element.trim().parse().ok().filter(|n| (1..=MAX_ELEMENT).contains(n));
        let element = element.ok_or_else(|| {
            format!("{text:?}: an element is a number from 1 to {MAX_ELEMENT}, the first is 1")
        })?;
        match (name.trim(), share) {
            ("first", None) => Ok(Value::First(element)),
            ("last", None) => Ok(Value::Last(element)),
            ("min", None) => Ok(Value::Min(element)),
            ("max", None) => Ok(Value::Max(element)),
            ("sum", None) => Ok(Value::Sum(element)),
            ("avg", None) => Ok(Value::Avg(element)),
            ("distinct", None) => Ok(Value::Distinct(element)),
            ("quantile", Some(share)) => {
                let share = share.parse().ok().filter(|share| (0.0..=1.0).contains(share));
                let share = share.ok_or_else(|| {
                    format!("{text:?}: a quantile is a share from 0 to 1, as 0.99")
                })?;
                Ok(Value::Quantile(element, share))
            }
            _ => Err(unknown(text)),
        }
    }

    /// The element that it looks at.
    pub const fn element(self) -> Option<usize> {
        match self {
            Value::Count => None,
            Value::First(element)
            | Value::Last(element)
            | Value::Min(element)
            | Value::Max(element)
            | Value::Sum(element)
            | Value::Avg(element)
            | Value::Distinct(element)
            | Value::Quantile(element, _) => Some(element),
        }
    }

    /// The memory that one takes as a rule, in bytes.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Value::Count | Value::Sum(_) | Value::Avg(_) => 48,
            Value::First(_) | Value::Last(_) | Value::Min(_) | Value::Max(_) => 96,
            Value::Distinct(_) => 4096,
            Value::Quantile(..) => 2048,
        }
    }

    /// Of no event.
    pub(super) fn nothing(self) -> Kept {
        match self {
            Value::Count => Kept::Count(0),
            Value::First(_) | Value::Last(_) | Value::Min(_) | Value::Max(_) => {
                Kept::Term(Vec::new())
            }
            Value::Sum(_) | Value::Avg(_) => Kept::Numbers(Number::Integer(0), 0),
            Value::Distinct(_) => Kept::Distinct(Distinct::default()),
            Value::Quantile(..) => {
                let config = Config::new(QUANTILE_ERROR, QUANTILE_BINS, QUANTILE_ZERO);
                Kept::Quantile(Box::new(DDSketch::new(config)))
            }
        }
    }
}

fn unknown(text: &str) -> String {
    format!("{text:?}: write {}", Value::FORMS)
}

/// As the configuration has it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Count => f.write_str("count"),
            Value::First(element) => write!(f, "first({element})"),
            Value::Last(element) => write!(f, "last({element})"),
            Value::Min(element) => write!(f, "min({element})"),
            Value::Max(element) => write!(f, "max({element})"),
            Value::Sum(element) => write!(f, "sum({element})"),
            Value::Avg(element) => write!(f, "avg({element})"),
            Value::Distinct(element) => write!(f, "distinct({element})"),
            Value::Quantile(element, share) => write!(f, "quantile({element}, {share})"),
        }
    }
}

/// An integer as long as it fits, else the nearest float.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Number {
    Integer(i128),
    Float(f64),
}

impl Number {
    fn read(term: TermRef<'_>) -> Option<Self> {
        Some(match term.view() {
            Term::Integer(value) => Number::Integer(value.into()),
            Term::Float(value) => Number::Float(value),
            Term::BigInteger { negative, magnitude } => {
                let value = build::big_integer(negative, magnitude);
                let wide = || {
                    let value = magnitude
                        .iter()
                        .rev()
                        .fold(0.0, |sum, byte| sum * 256.0 + f64::from(*byte));
                    Number::Float(if negative { -value } else { value }).finite()
                };
                i128::try_from(value).map_or_else(|_| wide(), Number::Integer)
            }
            _ => return None,
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "it is to be the nearest one")]
    const fn float(self) -> f64 {
        match self {
            Number::Integer(value) => value as f64,
            Number::Float(value) => value,
        }
    }

    /// Erlang has no infinite floats.
    const fn finite(self) -> Self {
        match self {
            Number::Float(value) => Number::Float(value.clamp(-f64::MAX, f64::MAX)),
            integer @ Number::Integer(_) => integer,
        }
    }

    fn plus(self, other: Number) -> Self {
        if let (Number::Integer(a), Number::Integer(b)) = (self, other)
            && let Some(sum) = a.checked_add(b)
        {
            return Number::Integer(sum);
        }
        Number::Float(self.float() + other.float()).finite()
    }

    fn write(self, out: &mut Vec<u8>) {
        match self {
            Number::Integer(value) => build::integer(out, &value.into()),
            Number::Float(value) => encode::float(out, value),
        }
    }
}

/// Why a value did not take an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// There is none of that number.
    Missing,
    /// It is no number.
    NoNumber,
    /// It is too large to be kept.
    Large,
}

/// What is kept of a value.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Kept {
    Count(u64),
    /// A term's bytes; none of no term.
    Term(Vec<u8>),
    /// The sum of so many.
    Numbers(Number, u64),
    Distinct(Distinct),
    Quantile(Box<DDSketch>),
}

impl Kept {
    /// Takes one more event, whose element this is.
    pub(super) fn add(&mut self, value: Value, element: Option<TermRef<'_>>) -> Result<(), Left> {
        if let Kept::Count(count) = self {
            *count += 1;
            return Ok(());
        }
        let element = element.ok_or(Left::Missing)?;
        match self {
            Kept::Numbers(sum, count) => {
                let number = Number::read(element).ok_or(Left::NoNumber)?;
                *sum = if *count == 0 { number } else { sum.plus(number) };
                *count += 1;
            }
            Kept::Quantile(sketch) => {
                sketch.add(Number::read(element).ok_or(Left::NoNumber)?.float());
            }
            _ if element.bytes().len() > MAX_TERM_BYTES => return Err(Left::Large),
            Kept::Term(kept) => keep(value, kept, element),
            Kept::Distinct(distinct) => {
                let mut bytes = Vec::new();
                canonical::write(&mut bytes, element);
                distinct.add(&bytes);
            }
            Kept::Count(_) => unreachable!("it was told apart above"),
        }
        Ok(())
    }

    /// Takes what is kept of later events.
    pub(super) fn merge(&mut self, value: Value, later: &Kept) {
        match (self, later) {
            (Kept::Count(count), Kept::Count(later)) => *count += later,
            (Kept::Term(_), Kept::Term(later)) if later.is_empty() => {}
            (Kept::Term(kept), Kept::Term(later)) => {
                keep(value, kept, TermRef::from_walked(later));
            }
            (Kept::Numbers(..), Kept::Numbers(_, 0)) => {}
            (Kept::Numbers(sum, count), Kept::Numbers(later, more)) => {
                *sum = if *count == 0 { *later } else { sum.plus(*later) };
                *count += more;
            }
            (Kept::Distinct(distinct), Kept::Distinct(later)) => distinct.merge(later),
            (Kept::Quantile(sketch), Kept::Quantile(later)) => {
                sketch.merge(later).expect("they are set up alike");
            }
            _ => unreachable!("they are of the same value"),
        }
    }

    /// Appends it as a term; false if there was nothing that it could be of.
    pub(super) fn write(&self, value: Value, out: &mut Vec<u8>) -> bool {
        match self {
            Kept::Count(count) => encode::unsigned(out, *count),
            Kept::Term(term) if term.is_empty() => return false,
            Kept::Term(term) => out.extend_from_slice(term),
            Kept::Numbers(_, 0) => return false,
            #[expect(
                clippy::cast_precision_loss,
                reason = "more than 2^53 events are not waited for"
            )]
            Kept::Numbers(sum, count) if matches!(value, Value::Avg(_)) => {
                encode::float(out, sum.float() / *count as f64);
            }
            Kept::Numbers(sum, _) => sum.write(out),
            Kept::Distinct(distinct) => encode::unsigned(out, distinct.count()),
            Kept::Quantile(sketch) => {
                let Value::Quantile(_, share) = value else { return false };
                let Ok(Some(found)) = sketch.quantile(share) else { return false };
                Number::Float(found).finite().write(out);
            }
        }
        true
    }
}

fn keep(value: Value, kept: &mut Vec<u8>, term: TermRef<'_>) {
    let is_wanted = kept.is_empty()
        || match value {
            Value::Last(_) => true,
            Value::Min(_) => order::cmp(term, TermRef::from_walked(kept)) == Ordering::Less,
            Value::Max(_) => order::cmp(term, TermRef::from_walked(kept)) == Ordering::Greater,
            _ => false,
        };
    if is_wanted {
        kept.clear();
        kept.extend_from_slice(term.bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::etf::{TermBuf, text};

    fn kept(value: Value, terms: &[TermBuf]) -> Kept {
        let mut kept = value.nothing();
        for term in terms {
            let _ = kept.add(value, Some(term.as_term()));
        }
        kept
    }

    fn written(value: Value, kept: &Kept) -> String {
        let mut out = Vec::new();
        let is_one = kept.write(value, &mut out);
        if is_one { text::to_text(TermRef::whole(&out).unwrap()) } else { "nothing".to_owned() }
    }

    /// The value of terms, written as text.
    fn of(value: &str, terms: &str) -> String {
        let value = Value::parse(value).unwrap();
        let terms = text::parse(&format!("[{terms}]")).unwrap();
        let terms: Vec<_> = terms.as_term().cells().map(TermRef::to_buf).collect();
        written(value, &kept(value, &terms))
    }

    #[test]
    fn values_are_what_their_names_say() {
        for (value, terms, due) in [
            ("count", "a, 1", "2"),
            ("first(1)", "b, a, 3", "b"),
            ("last(1)", "b, a, 3", "3"),
            ("min(1)", "b, {1}, 3.5, 3.25, [], 4", "3.25"),
            ("max(1)", "b, {1}, 3.5, #{}, 4", "#{}"),
            ("max(1)", "1, 1.0, 0", "1"),
            ("sum(1)", "1, 2, x, 3", "6"),
            ("sum(1)", "1, 2.5", "3.5"),
            ("sum(1)", "9223372036854775807, 9223372036854775807", "18446744073709551614"),
            ("sum(1)", "170141183460469231731687303715884105727, 1", "1.7014118346046923e38"),
            ("sum(1)", "1.0e308, 1.0e308", "1.7976931348623157e308"),
            ("sum(1)", "x", "nothing"),
            ("avg(1)", "1, 2, x", "1.5"),
            ("avg(1)", "", "nothing"),
            ("distinct(1)", "1, 1.0, a, a, 1", "3"),
            ("distinct(1)", "", "0"),
            ("quantile(1, 0.5)", "x", "nothing"),
            ("first(1)", "", "nothing"),
        ] {
            assert_eq!(of(value, terms), due, "{value} of {terms}");
        }
        let large = TermBuf::written(|out| encode::binary(out, &[0; MAX_TERM_BYTES]));
        let add = |value: Value, term| value.nothing().add(value, term);
        assert_eq!(add(Value::First(1), Some(large.as_term())), Err(Left::Large));
        assert_eq!(add(Value::Sum(1), Some(large.as_term())), Err(Left::NoNumber));
        assert_eq!(add(Value::Sum(1), None), Err(Left::Missing));
    }

    #[test]
    fn what_is_no_value_is_told() {
        for (text, why) in [
            ("median(2)", "median(2)\": write count, or first"),
            ("first", "write count"),
            ("first(2", "write count"),
            ("first(0)", "from 1 to 32"),
            ("first(33)", "from 1 to 32"),
            ("first(x)", "from 1 to 32"),
            ("first(1, 2)", "write count"),
            ("quantile(1)", "write count"),
            ("quantile(1, 2)", "a share from 0 to 1"),
        ] {
            let found = Value::parse(text).unwrap_err();
            assert!(found.contains(why), "{found}");
        }
        for text in ["count", "first(2)", "quantile(3, 0.99)", "distinct(1)", "avg(32)"] {
            assert_eq!(Value::parse(text).unwrap().to_string(), text);
        }
    }

    proptest! {
        /// Cut anywhere, stored, and merged with the rest.
        #[test]
        fn merged_it_is_the_same_as_in_one_go(
            numbers in prop::collection::vec(-1000_i64..1000, 0..40), cut in 0_usize..40
        ) {
            let terms: Vec<_> =
                numbers.iter().map(|n| TermBuf::written(|out| encode::integer(out, *n))).collect();
            let cut = cut.min(terms.len());
            for text in ["count", "first(1)", "last(1)", "min(1)", "max(1)", "sum(1)", "avg(1)", "distinct(1)", "quantile(1, 0.9)"] {
                let value = Value::parse(text).unwrap();
                let stored = postcard::to_allocvec(&kept(value, &terms[..cut])).unwrap();
                let mut merged: Kept = postcard::from_bytes(&stored).unwrap();
                merged.merge(value, &kept(value, &terms[cut..]));
                prop_assert_eq!(written(value, &merged), written(value, &kept(value, &terms)));
            }
        }

        #[test]
        fn a_quantile_is_within_one_percent(
            mut numbers in prop::collection::vec(1e-3_f64..1e6, 1..200), share in 0.0_f64..=1.0
        ) {
            let terms: Vec<_> =
                numbers.iter().map(|n| TermBuf::written(|out| encode::float(out, *n))).collect();
            let value = Value::Quantile(1, share);
            let found: f64 = written(value, &kept(value, &terms)).parse().unwrap();
            numbers.sort_by(f64::total_cmp);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let exact = numbers[(share * (numbers.len() - 1) as f64).floor() as usize];
            prop_assert!((found - exact).abs() <= exact * 0.0101, "{} and {}", found, exact);
        }
    }
}
