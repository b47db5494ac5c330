//! Floats as `~e`, `~f` and `~g` write them.
//!
//! Digits are those that C's `%.20e` gives, rounded half up, as `io_lib_format` does.

/// A float's digits, and where the point is: `0.DIGITS * 10^POINT`. They are those of `%.20e`.
fn digits_of(value: f64) -> (Vec<u8>, i64) {
    let text = format!("{:.20e}", value.abs());
    let (mantissa, exponent) = text.split_once('e').expect("LowerExp writes an exponent");
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    let exponent: i64 = exponent.parse().expect("LowerExp writes an integer");
    (digits, exponent + 1)
}

/// `whole` digits, a point and `places` more, rounded half up; and whether the first digit was carried over.
fn rounded(digits: &[u8], whole: i64, places: i64) -> (String, bool) {
    let whole = usize::try_from(whole).expect("digits before a point");
    let wanted = whole + usize::try_from(places).expect("at least one place");
    let mut kept: Vec<u8> = digits.iter().copied().take(wanted).collect();
    kept.resize(wanted, b'0');
    let mut carry = digits.get(wanted).is_some_and(|&digit| digit >= b'5');
    for digit in kept.iter_mut().rev() {
        if !carry {
            break;
        }
        carry = *digit == b'9';
        *digit = if carry { b'0' } else { *digit + 1 };
    }
    let mut text = String::from_utf8(kept).expect("digits");
    text.insert(whole, '.');
    (text, carry)
}

fn sign(value: f64) -> &'static str {
    if value.is_sign_negative() { "-" } else { "" }
}

/// `~e`.
pub(super) fn exponential(value: f64, precision: i64) -> String {
    let (digits, point) = digits_of(value);
    let (mut text, carry) = rounded(&digits, 1, precision - 1);
    let mut exponent = point - 1;
    if carry {
        text.replace_range(..1, "1");
        exponent += 1;
    }
    let plus = if exponent >= 0 { "+" } else { "" };
    format!("{}{text}e{plus}{exponent}", sign(value))
}

/// `~f`.
pub(super) fn fixed(value: f64, precision: i64) -> String {
    let (mut digits, mut point) = digits_of(value);
    if point <= 0 {
        let zeros = usize::try_from(1 - point).expect("a few hundred");
        digits.splice(..0, std::iter::repeat_n(b'0', zeros));
        point = 1;
    }
    let (text, carry) = rounded(&digits, point, precision);
    format!("{}{}{text}", sign(value), if carry { "1" } else { "" })
}

/// `~g`.
pub(super) fn general(value: f64, precision: i64) -> String {
    let magnitude = value.abs();
    let exponent = match magnitude {
        m if m < 0.1 => -2,
        m if m < 1.0 => -1,
        m if m < 10.0 => 0,
        m if m < 100.0 => 1,
        m if m < 1.0e3 => 2,
        m if m < 1.0e4 => 3,
        // Larger ones have an exponent.
        _ => precision,
    };
    if precision <= 1 && exponent == -1 || precision - 1 > exponent && exponent >= -1 {
        fixed(value, precision - 1 - exponent)
    } else {
        exponential(value, precision.max(2))
    }
}
