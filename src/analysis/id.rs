//! Ids of 16 hexadecimal digits: the beginning of a digest.

/// The id of what these bytes tell from others.
pub(super) fn of(bytes: &[u8]) -> u64 {
    let digest = md5::compute(bytes).0;
    let (first, _) = digest.split_first_chunk().expect("16 bytes");
    u64::from_be_bytes(*first)
}

/// The id that is written so.
pub(super) fn parse(text: &str) -> Option<u64> {
    let is_id =
        text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_id.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}
