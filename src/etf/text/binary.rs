//! Parsing binaries: the bit syntax over literals.
//!
//! Syntax: Erlang Reference Manual, "Bit Syntax Expressions".

use num_bigint::BigInt;

use super::parse::{Number, Parsed, Parser, TextProblem};
use crate::etf::encode;
use crate::etf::tag::BIT_BINARY_EXT;

/// The most bits that one segment of a binary may ask for.
pub const MAX_SEGMENT_BITS: u32 = 4096;

/// The most bytes that all segments of more than 64 bits in a text may ask for together.
pub const MAX_WIDE_SEGMENT_BYTES: usize = 1 << 20;

impl Parser<'_> {
    /// A binary of literals.
    pub(super) fn binary(&mut self) -> Parsed<()> {
        if !self.skip("<<") {
            return Err(TextProblem::Unexpected { found: '<', due: "a term" });
        }
        let mut bits = Bits::default();
        self.space();
        if !self.skip(">>") {
            loop {
                self.space();
                self.segment(&mut bits)?;
                self.space();
                if self.skip(">>") {
                    break;
                }
                self.due(',', "',' or '>>'")?;
            }
        }
        let Bits { bytes, last_bits } = bits;
        if last_bits == 0 {
            encode::binary(&mut self.out, &bytes);
        } else {
            let len = u32::try_from(bytes.len()).map_err(|_| TextProblem::SegmentTooWide)?;
            self.out.push(BIT_BINARY_EXT);
            self.out.extend_from_slice(&len.to_be_bytes());
            self.out.push(last_bits);
            self.out.extend_from_slice(&bytes);
        }
        Ok(())
    }

    fn segment(&mut self, bits: &mut Bits) -> Parsed<()> {
        let start = self.at;
        let values =
            if self.peek() == Some('"') { Err(self.quoted('"')?) } else { Ok(self.number()?) };
        self.space();
        let mut size = None;
        if self.skip(":") {
            self.space();
            size = Some(self.small_number()?);
            self.space();
        }
        let (mut kind, mut little, mut unit) = ("", false, 1);
        if self.skip("/") {
            loop {
                self.space();
                let word = self.atom()?;
                match &*word {
                    "integer" => kind = "integer",
                    "float" => kind = "float",
                    "utf8" => kind = "utf8",
                    "utf16" => kind = "utf16",
                    "utf32" => kind = "utf32",
                    "little" => little = true,
                    "native" => little = cfg!(target_endian = "little"),
                    "big" | "signed" | "unsigned" => {}
                    "unit" => {
                        self.due(':', "':'")?;
                        unit = self.small_number()?;
                    }
                    _ => {
                        self.at = start;
                        return Err(TextProblem::Segment);
                    }
                }
                if !self.skip("-") {
                    break;
                }
            }
        }
        let values = match values {
            Ok(number) => vec![number],
            Err(chars) => chars.into_iter().map(|c| Number::Integer(u32::from(c).into())).collect(),
        };
        let default = if kind == "float" { 64 } else { 8 };
        let size = match size {
            None => default,
            Some(size) => size.saturating_mul(unit),
        };
        for value in values {
            if size > 64 {
                let bytes = size as usize / 8;
                self.wide_bytes = self.wide_bytes.saturating_sub(bytes);
                if size > MAX_SEGMENT_BITS || self.wide_bytes == 0 {
                    self.at = start;
                    return Err(TextProblem::SegmentTooWide);
                }
            }
            if bits.write(&value, kind, size, little).is_none() {
                self.at = start;
                return Err(TextProblem::Segment);
            }
        }
        Ok(())
    }

    fn small_number(&mut self) -> Parsed<u32> {
        self.while_true(|c| c.is_ascii_digit()).parse().map_err(|_| TextProblem::Segment)
    }
}

/// A bitstring as it grows.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// Bits used in the last byte, 0 if it is full.
    last_bits: u8,
}

impl Bits {
    /// Appends a segment; `None` if the value does not fit the type.
    fn write(&mut self, value: &Number, kind: &str, size: u32, little: bool) -> Option<()> {
        let character = || match value {
            Number::Integer(code) => u32::try_from(code).ok().and_then(char::from_u32),
            Number::Float(_) => None,
        };
        match kind {
            "utf8" => self.whole(character()?.encode_utf8(&mut [0; 4]).bytes()),
            "utf16" => character()?.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                self.whole(if little { unit.to_le_bytes() } else { unit.to_be_bytes() });
            }),
            "utf32" => {
                let code = u32::from(character()?);
                self.whole(if little { code.to_le_bytes() } else { code.to_be_bytes() });
            }
            "float" => {
                let value = match value {
                    Number::Float(value) => *value,
                    Number::Integer(value) => {
                        value.to_string().parse().ok().filter(|value: &f64| value.is_finite())?
                    }
                };
                let mut bytes = match size {
                    64 => value.to_be_bytes().to_vec(),
                    32 => narrow(value)?.to_be_bytes().to_vec(),
                    _ => return None,
                };
                if little {
                    bytes.reverse();
                }
                self.whole(bytes);
            }
            _ => {
                let Number::Integer(value) = value else { return None };
                self.integer(value, size, little);
            }
        }
        Some(())
    }

    fn whole(&mut self, bytes: impl IntoIterator<Item = u8>) {
        for byte in bytes {
            self.bits(byte, 8);
        }
    }

    /// The lowest `size` bits of a two's complement integer.
    fn integer(&mut self, value: &BigInt, size: u32, little: bool) {
        let mut bytes = value.to_signed_bytes_le();
        let fill = if value.sign() == num_bigint::Sign::Minus { 0xff } else { 0 };
        bytes.resize(size.div_ceil(8) as usize, fill);
        let whole = size as usize / 8;
        let rest = u8::try_from(size % 8).expect("below 8");
        if little {
            self.whole(bytes[..whole].iter().copied());
        }
        if rest > 0 {
            self.bits(bytes[whole], rest);
        }
        if !little {
            self.whole(bytes[..whole].iter().rev().copied());
        }
    }

    /// The lowest `count` (1 to 8) bits of `byte`.
    fn bits(&mut self, byte: u8, count: u8) {
        let aligned = if count == 8 { byte } else { byte << (8 - count) };
        if self.last_bits == 0 {
            self.bytes.push(aligned);
        } else {
            *self.bytes.last_mut().expect("bits in use are in a byte") |= aligned >> self.last_bits;
            if self.last_bits + count > 8 {
                self.bytes.push(aligned << (8 - self.last_bits));
            }
        }
        self.last_bits = (self.last_bits + count) % 8;
    }
}

/// A float of 32 bits, if the value is in its range.
#[allow(clippy::cast_possible_truncation, reason = "rounding is what a 32-bit float segment does")]
fn narrow(value: f64) -> Option<f32> {
    let value = value as f32;
    value.is_finite().then_some(value)
}
