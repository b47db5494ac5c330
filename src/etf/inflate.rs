//! Compressed terms, as `term_to_binary(Term, [compressed])` writes them.

use std::io::Read;

use flate2::read::ZlibDecoder;

use super::tag::{COMPRESSED, VERSION};
use super::{DecodeError, TermRef};

/// The most that deflate shrinks anything; a larger claim is false. (RFC 1951: 258 bytes from 2 bits.)
const MAX_RATIO: usize = 1032;

/// Gives the bytes of the one term (without a version byte) in `131, 80, Size:32, Zlib`.
///
/// At most `limit` bytes are reserved, and no more than the input can inflate to.
///
/// # Errors
///
/// [`DecodeError::TooLarge`] if the term is larger than `limit` bytes; another [`DecodeError`] if `bytes`
/// are no compressed term, inflate to another size than they say, or to something else than one term.
pub fn inflate(bytes: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    const WHAT: &str = "compressed term";
    let size = match bytes {
        [VERSION, COMPRESSED, a, b, c, d, ..] => u32::from_be_bytes([*a, *b, *c, *d]) as usize,
        [VERSION] | [VERSION, COMPRESSED, ..] => {
            return Err(DecodeError::Truncated { position: bytes.len() });
        }
        [VERSION, tag, ..] => return Err(DecodeError::UnknownTag { tag: *tag, position: 1 }),
        _ => return Err(DecodeError::Version { found: bytes.first().copied() }),
    };
    if size > limit {
        return Err(DecodeError::TooLarge { size, limit });
    }
    let deflated = &bytes[6..];
    if size > deflated.len().saturating_mul(MAX_RATIO) {
        return Err(DecodeError::Truncated { position: bytes.len() });
    }
    let mut term = Vec::with_capacity(size);
    let mut zlib = ZlibDecoder::new(deflated);
    // One byte more than due shows a stream that goes on.
    let read = zlib.by_ref().take(size as u64 + 1).read_to_end(&mut term);
    if read.is_err() || term.len() != size {
        return Err(DecodeError::Malformed { what: WHAT, position: 1 });
    }
    match usize::try_from(zlib.total_in()) {
        Ok(used) if used < deflated.len() => {
            return Err(DecodeError::TrailingBytes { extra: deflated.len() - used });
        }
        _ => {}
    }
    TermRef::whole(&term)?;
    Ok(term)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn compressed(size: u32, term: &[u8]) -> Vec<u8> {
        let mut bytes = vec![VERSION, COMPRESSED];
        bytes.extend_from_slice(&size.to_be_bytes());
        let mut zlib = ZlibEncoder::new(bytes, Compression::default());
        zlib.write_all(term).expect("writes to memory");
        zlib.finish().expect("writes to memory")
    }

    #[test]
    fn a_compressed_term_comes_back() {
        let mut term = vec![109, 0, 1, 0, 0];
        term.resize(5 + 65536, 7);
        assert_eq!(inflate(&compressed(65541, &term), 65541), Ok(term));
    }

    #[test]
    fn a_term_beyond_the_limit_is_refused_before_it_is_inflated() {
        let bomb = compressed(u32::MAX, &[0; 1 << 20]);
        let expected = DecodeError::TooLarge { size: u32::MAX as usize, limit: 1 << 24 };
        assert_eq!(inflate(&bomb, 1 << 24), Err(expected));
    }

    #[test]
    fn a_false_size_is_refused() {
        for size in [0, 1, 3, 1000] {
            let found = inflate(&compressed(size, &[97, 1]), 1000);
            assert!(matches!(found, Err(DecodeError::Malformed { .. })), "{size}: {found:?}");
        }
        assert!(matches!(
            inflate(&compressed(1_000_000, &[97, 1]), 1_000_000),
            Err(DecodeError::Truncated { .. })
        ));
    }

    #[test]
    fn what_follows_is_refused() {
        let mut bytes = compressed(2, &[97, 1]);
        bytes.push(0);
        assert_eq!(inflate(&bytes, 10), Err(DecodeError::TrailingBytes { extra: 1 }));
    }

    #[test]
    fn what_is_inside_must_be_a_term() {
        assert_eq!(
            inflate(&compressed(2, &[0, 1]), 10),
            Err(DecodeError::UnknownTag { tag: 0, position: 0 })
        );
    }
}
