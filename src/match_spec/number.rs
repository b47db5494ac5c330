//! Arithmetic as Erlang does it: integers of any size up to a limit, floats that are always finite.

use num_bigint::{BigInt, Sign};

use crate::etf::{Term, TermRef, build, encode};

/// The most bytes of an integer in arithmetic. Larger ones raise `system_limit`, as they do in OTP, whose
/// own limit is higher: 4 Mbit and, before OTP 28, far more.
pub const MAX_INTEGER_BYTES: usize = 8 * 1024;

/// A number that is computed with.
#[derive(Clone, Debug)]
pub(super) enum Number {
    Small(i64),
    Big(BigInt),
    Float(f64),
}

/// What is done with one or two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Plus,
    Minus,
    Add,
    Subtract,
    Multiply,
    Divide,
    IntegerDivide,
    Remainder,
    BitAnd,
    BitOr,
    BitXor,
    BitNot,
    ShiftLeft,
    ShiftRight,
    Abs,
    Round,
    Trunc,
    Ceil,
    Floor,
    Float,
}

impl Number {
    /// The number that a term is; `None` for other terms and for integers beyond the limit.
    pub(super) fn read(term: TermRef<'_>) -> Option<Number> {
        match term.view() {
            Term::Integer(value) => Some(Number::Small(value)),
            Term::BigInteger { negative, magnitude } if magnitude.len() <= MAX_INTEGER_BYTES => {
                Some(Number::Big(build::big_integer(negative, magnitude)))
            }
            Term::Float(value) => Some(Number::Float(value)),
            _ => None,
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Number::Small(value) => encode::integer(out, *value),
            Number::Float(value) => encode::float(out, *value),
            Number::Big(value) => build::integer(out, value),
        }
    }

    /// Steps that computing with such a number is worth: the square of its length counts.
    pub(super) fn cost(&self) -> u64 {
        match self {
            Number::Big(value) => 1 + (value.bits() / 8).pow(2) / 4096,
            _ => 1,
        }
    }

    fn big(self) -> Option<BigInt> {
        match self {
            Number::Small(value) => Some(value.into()),
            Number::Big(value) => Some(value),
            Number::Float(_) => None,
        }
    }

    /// The nearest float; `None` beyond the largest one.
    fn float(&self) -> Option<f64> {
        let value = match self {
            #[allow(clippy::cast_precision_loss, reason = "rounding is what float/1 does")]
            Number::Small(value) => *value as f64,
            Number::Float(value) => *value,
            Number::Big(value) => {
                // Word by word from the lowest, rounding each sum, as OTP does.
                let (mut sum, mut weight) = (0.0_f64, 1.0_f64);
                for word in value.magnitude().iter_u64_digits() {
                    #[allow(clippy::cast_precision_loss, reason = "as OTP does")]
                    let word = word as f64;
                    sum += word * weight;
                    weight *= 18_446_744_073_709_551_616.0;
                }
                if value.sign() == Sign::Minus { -sum } else { sum }
            }
        };
        finite(value)
    }
}

/// Computes with one number; `None` is an exception.
pub(super) fn unary(operation: Arithmetic, a: Number) -> Option<Number> {
    use Number::{Big, Float, Small};
    match (operation, a) {
        (Arithmetic::Plus, a) => Some(a),
        (Arithmetic::Minus, Float(a)) => Some(Float(-a)),
        (Arithmetic::Minus, a) => checked(-a.big()?),
        (Arithmetic::BitNot, Small(a)) => Some(Small(!a)),
        (Arithmetic::BitNot, a) => checked(!a.big()?),
        (Arithmetic::Abs, Float(a)) => Some(Float(a.abs())),
        (Arithmetic::Abs, a) => {
            let (_, magnitude) = a.big()?.into_parts();
            checked(magnitude.into())
        }
        (Arithmetic::Round, Float(a)) => Some(integer(a.round())),
        (Arithmetic::Trunc, Float(a)) => Some(integer(a.trunc())),
        (Arithmetic::Ceil, Float(a)) => Some(integer(a.ceil())),
        (Arithmetic::Floor, Float(a)) => Some(integer(a.floor())),
        (
            Arithmetic::Round | Arithmetic::Trunc | Arithmetic::Ceil | Arithmetic::Floor,
            a @ (Small(_) | Big(_)),
        ) => Some(a),
        (Arithmetic::Float, a) => a.float().map(Float),
        _ => unreachable!("the other operations take two numbers"),
    }
}

/// Computes with two numbers; `None` is an exception.
pub(super) fn binary(operation: Arithmetic, a: Number, b: Number) -> Option<Number> {
    use Arithmetic::{Add, Divide, Multiply, Subtract};
    use Number::{Float, Small};
    if operation == Divide {
        let (a, b) = (a.float()?, b.float()?);
        return if b == 0.0 { None } else { finite(a / b).map(Float) };
    }
    if let (Float(_), _) | (_, Float(_)) = (&a, &b) {
        let (a, b) = match operation {
            Add | Subtract | Multiply => (a.float()?, b.float()?),
            _ => return None,
        };
        return finite(match operation {
            Add => a + b,
            Subtract => a - b,
            _ => a * b,
        })
        .map(Float);
    }
    if let (&Small(a), &Small(b)) = (&a, &b)
        && let Some(value) = small(operation, a, b)
    {
        return Some(Small(value));
    }
    let (a, b) = (a.big()?, b.big()?);
    let value = match operation {
        Add => a + b,
        Subtract => a - b,
        Multiply => a * b,
        Arithmetic::IntegerDivide | Arithmetic::Remainder if b.sign() == Sign::NoSign => {
            return None;
        }
        Arithmetic::IntegerDivide => a / b,
        Arithmetic::Remainder => a % b,
        Arithmetic::BitAnd => a & b,
        Arithmetic::BitOr => a | b,
        Arithmetic::BitXor => a ^ b,
        Arithmetic::ShiftLeft => shift_left(a, &b)?,
        Arithmetic::ShiftRight => shift_left(a, &-b)?,
        _ => unreachable!("the other operations take one number"),
    };
    checked(value)
}

/// The common case; `None` if it needs more than 64 bits.
fn small(operation: Arithmetic, a: i64, b: i64) -> Option<i64> {
    match operation {
        Arithmetic::Add => a.checked_add(b),
        Arithmetic::Subtract => a.checked_sub(b),
        Arithmetic::Multiply => a.checked_mul(b),
        Arithmetic::IntegerDivide => a.checked_div(b),
        Arithmetic::Remainder => a.checked_rem(b),
        Arithmetic::BitAnd => Some(a & b),
        Arithmetic::BitOr => Some(a | b),
        Arithmetic::BitXor => Some(a ^ b),
        Arithmetic::ShiftRight if (0..64).contains(&b) => Some(a >> b),
        _ => None,
    }
}

/// Shifts left, or right by a negative number of bits, rounding down; `None` beyond the limit.
fn shift_left(value: BigInt, bits: &BigInt) -> Option<BigInt> {
    if value.sign() == Sign::NoSign {
        return Some(value);
    }
    match i64::try_from(bits) {
        Ok(bits @ 0..) => {
            let due = value.bits().checked_add(bits.unsigned_abs())?;
            (due <= 8 * MAX_INTEGER_BYTES as u64).then(|| value << bits)
        }
        Ok(bits) => Some(value >> bits.unsigned_abs()),
        Err(_) if bits.sign() == Sign::Minus => {
            Some(if value.sign() == Sign::Minus { -1 } else { 0 }.into())
        }
        Err(_) => None,
    }
}

/// An integer within the limit.
fn checked(value: BigInt) -> Option<Number> {
    (value.bits() <= 8 * MAX_INTEGER_BYTES as u64).then_some(Number::Big(value))
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// The integer that a finite float without fraction is.
fn integer(value: f64) -> Number {
    let bits = value.abs().to_bits();
    let mantissa = bits & ((1 << 52) - 1) | 1 << 52;
    let magnitude = match (bits >> 52).checked_sub(1023 + 52) {
        Some(shift) => BigInt::from(mantissa) << shift,
        // Below 2^52: the bits after the point are zero.
        None => match (1023 + 52) - (bits >> 52) {
            shift @ 0..=52 => BigInt::from(mantissa >> shift),
            _ => BigInt::from(0),
        },
    };
    Number::Big(if value < 0.0 { -magnitude } else { magnitude })
}
