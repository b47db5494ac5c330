//! Bytes as base64 (RFC 4648, section 4, with padding), for JSON and for signatures.

use std::fmt::{self, Write};

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(crate) fn write(out: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    for group in bytes.chunks(3) {
        let byte = |n: usize| u32::from(group.get(n).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for n in 0..4 {
            if n > group.len() {
                out.write_char('=')?;
            } else {
                out.write_char(char::from(DIGITS[(bits >> (18 - 6 * n) & 63) as usize]))?;
            }
        }
    }
    Ok(())
}

/// The bytes; `None` if the text is no base64 in the one form that [`write`] gives.
pub(crate) fn read(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if padding > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in digits.as_bytes().chunks(4) {
        let mut bits: u32 = 0;
        for &digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        let missing = 4 - group.len();
        bits <<= 6 * missing;
        let [zero, group @ ..] = bits.to_be_bytes();
        let (kept, dropped) = group.split_at(3 - missing);
        if zero != 0 || dropped.iter().any(|&byte| byte != 0) {
            return None;
        }
        bytes.extend_from_slice(kept);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_hold_both_ways() {
        // RFC 4648, section 10.
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut written = String::new();
            write(&mut written, bytes.as_bytes()).expect("strings take everything");
            assert_eq!(written, text);
            assert_eq!(read(text), Some(bytes.as_bytes().to_vec()));
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["Z", "Zg=", "Zg", "Zh==", "Z===", "====", "Zm9v Zg=", "Zm=v", "Zm9_"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
