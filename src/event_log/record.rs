//! Records: how one entry lies in a segment.
//!
//! The framing is that of OTP's `disk_log` (halt, internal format), so that every Erlang tool reads our
//! segments: a size, a magic number, for large terms a digest of the size, then the external term.

use crate::etf::tag::{INTEGER_EXT, SMALL_INTEGER_EXT, SMALL_TUPLE_EXT, VERSION};
use crate::etf::{self, DecodeError};
use crate::time::Timestamp;

/// Bytes before the first record of a segment: `disk_log`'s magic and the open or closed mark.
pub(super) const HEAD_BYTES: u64 = 8;
/// What every `disk_log` file begins with.
pub(super) const LOG_MAGIC: [u8; 4] = [1, 2, 3, 4];
/// The mark of a file somebody writes to, or whose writer died.
pub(super) const OPENED: [u8; 4] = [6, 7, 8, 9];
/// The mark of a file that was closed in order.
pub(super) const CLOSED: [u8; 4] = [99, 88, 77, 11];

/// The magic of records written since OTP R9.
pub(super) const MAGIC: [u8; 4] = [98, 87, 76, 65];
/// The magic of older records; never with a digest.
const OLD_MAGIC: [u8; 4] = [12, 33, 44, 55];
/// Terms of this many bytes and more carry the MD5 digest of their size field.
const DIGEST_FROM_BYTES: usize = 65_528;
const DIGEST_BYTES: usize = 16;

/// The largest term a record may hold. A size field beyond it is damage, so no memory is reserved for it.
pub const MAX_RECORD_BYTES: usize = 256 << 20;

/// Size, magic, version, tuple header and the longest timestamp.
pub(super) const MAX_OVERHEAD_BYTES: usize = 8 + DIGEST_BYTES + 3 + 17;

/// A record that bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The entry's timestamp.
    pub timestamp: Timestamp,
    /// The event; it was walked.
    pub event: &'a [u8],
    /// Bytes of the whole record.
    pub bytes: usize,
}

impl<'a> Record<'a> {
    /// The record that these bytes begin with; `None` if there have to be more of them.
    ///
    /// # Errors
    ///
    /// Why they are none, whatever follows.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Self>, &'static str> {
        let (frame, timestamp) = match check(bytes) {
            Ok(found) => found,
            Err(RecordError::Short { .. }) => return Ok(None),
            Err(RecordError::Bad(why)) => return Err(why),
        };
        let term = &bytes[frame.header..frame.bytes()];
        let (_, begin) = stamp(term).ok_or("no timestamp")?;
        Ok(Some(Record { timestamp, event: &term[begin..], bytes: frame.bytes() }))
    }
}

/// How long the parts of a record are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Bytes before the term.
    pub(super) header: usize,
    /// Bytes of the term with its version byte.
    pub(super) term: usize,
}

impl Frame {
    pub(super) fn bytes(self) -> usize {
        self.header + self.term
    }
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordError {
    /// They may be the beginning of one; that many bytes are needed to go on.
    Short { needed: usize },
    /// They are none, whatever follows.
    Bad(&'static str),
}

/// Looks at the framing of the record that `bytes` begin with.
pub(super) fn frame(bytes: &[u8]) -> Result<Frame, RecordError> {
    let Some((size, rest)) = bytes.split_first_chunk::<4>() else {
        return Err(RecordError::Short { needed: 8 });
    };
    let Some((magic, rest)) = rest.split_first_chunk::<4>() else {
        return Err(RecordError::Short { needed: 8 });
    };
    let term = u32::from_be_bytes(*size) as usize;
    if *magic != MAGIC && *magic != OLD_MAGIC {
        return Err(RecordError::Bad("no magic number"));
    }
    if term > MAX_RECORD_BYTES {
        return Err(RecordError::Bad("record larger than the limit"));
    }
    let mut header = 8;
    if *magic == MAGIC && term >= DIGEST_FROM_BYTES {
        header += DIGEST_BYTES;
        match rest.first_chunk::<DIGEST_BYTES>() {
            None => return Err(RecordError::Short { needed: header }),
            Some(digest) if *digest != md5::compute(size).0 => {
                return Err(RecordError::Bad("digest of the size does not match"));
            }
            Some(_) => {}
        }
    }
    let frame = Frame { header, term };
    if bytes.len() < frame.bytes() {
        Err(RecordError::Short { needed: frame.bytes() })
    } else {
        Ok(frame)
    }
}

/// The timestamp of a term `{Timestamp, Event}` (with version byte), and where its event begins.
pub(super) fn stamp(term: &[u8]) -> Option<(Timestamp, usize)> {
    let rest = term.strip_prefix(&[VERSION, SMALL_TUPLE_EXT, 2, SMALL_TUPLE_EXT, 3])?;
    let (mega, rest) = small_integer(rest)?;
    let (secs, rest) = small_integer(rest)?;
    let (micros, rest) = small_integer(rest)?;
    let stamp = Timestamp::from_parts(mega, secs, micros)?;
    (!rest.is_empty()).then_some((stamp, term.len() - rest.len()))
}

fn small_integer(bytes: &[u8]) -> Option<(i64, &[u8])> {
    match bytes {
        [SMALL_INTEGER_EXT, value, rest @ ..] => Some((i64::from(*value), rest)),
        [INTEGER_EXT, a, b, c, d, rest @ ..] => {
            Some((i64::from(i32::from_be_bytes([*a, *b, *c, *d])), rest))
        }
        _ => None,
    }
}

/// Checks the record that `bytes` begin with down to the last tag of its event.
pub(super) fn check(bytes: &[u8]) -> Result<(Frame, Timestamp), RecordError> {
    let frame = frame(bytes)?;
    let term = &bytes[frame.header..frame.bytes()];
    let (stamp, event_at) =
        stamp(term).ok_or(RecordError::Bad("not a {Timestamp, Event} tuple"))?;
    match etf::walk(&term[event_at..]) {
        Ok(walked) if event_at + walked.len == term.len() => Ok((frame, stamp)),
        Ok(_) => Err(RecordError::Bad("bytes after the event")),
        Err(DecodeError::UnknownTag { .. }) => Err(RecordError::Bad("event of an unknown kind")),
        Err(_) => Err(RecordError::Bad("event is not a well-formed term")),
    }
}

/// Appends the record of an entry; `event` is its term without version byte.
///
/// # Panics
///
/// If the event is larger than [`MAX_RECORD_BYTES`] allows: events are limited far below it.
pub fn push(out: &mut Vec<u8>, stamp: Timestamp, event: &[u8]) {
    let (mega, secs, micros) = stamp.parts();
    let stamp_bytes: usize = [mega, secs, micros].map(|p| if p < 256 { 2 } else { 5 }).iter().sum();
    let term = 5 + stamp_bytes + event.len();
    assert!(term <= MAX_RECORD_BYTES, "event of {} bytes is beyond every limit", event.len());
    let size = u32::try_from(term).expect("limited above").to_be_bytes();
    out.reserve(8 + DIGEST_BYTES + term);
    out.extend_from_slice(&size);
    out.extend_from_slice(&MAGIC);
    if term >= DIGEST_FROM_BYTES {
        out.extend_from_slice(&md5::compute(size).0);
    }
    out.extend_from_slice(&[VERSION, SMALL_TUPLE_EXT, 2, SMALL_TUPLE_EXT, 3]);
    for part in [mega, secs, micros] {
        match u8::try_from(part) {
            Ok(small) => out.extend_from_slice(&[SMALL_INTEGER_EXT, small]),
            Err(_) => {
                out.push(INTEGER_EXT);
                out.extend_from_slice(&part.to_be_bytes());
            }
        }
    }
    out.extend_from_slice(event);
}

/// One entry, in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// When it was received.
    pub timestamp: Timestamp,
    /// The event's term, without version byte.
    pub event: &'a [u8],
    /// The term `{Timestamp, Event}`, without version byte.
    pub entry: &'a [u8],
}

/// The entries of consecutive whole records; ends early, rather than panicking, at bytes that are none.
#[derive(Clone, Debug)]
pub(super) struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Entries { rest: bytes }
    }

    /// The bytes not yet walked over.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = EntryRef<'a>;

    fn next(&mut self) -> Option<EntryRef<'a>> {
        let frame = frame(self.rest).ok()?;
        let (record, rest) = self.rest.split_at(frame.bytes());
        let term = &record[frame.header..];
        let (timestamp, event_at) = stamp(term)?;
        self.rest = rest;
        Some(EntryRef { timestamp, event: &term[event_at..], entry: &term[1..] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(micros: u64, event: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        push(&mut out, Timestamp::from_micros(micros), event);
        out
    }

    #[test]
    fn a_record_is_what_disk_log_writes() {
        // erl 25: disk_log:log(L, {{1700,5,999999}, ok}) adds these bytes.
        let expected = [
            0, 0, 0, 21, 98, 87, 76, 65, 131, 104, 2, 104, 3, 98, 0, 0, 6, 164, 97, 5, 98, 0, 15,
            66, 63, 119, 2, b'o', b'k',
        ];
        assert_eq!(record(1_700_000_005_999_999, &[119, 2, b'o', b'k']), expected);
    }

    #[test]
    fn entries_come_back_as_pushed() {
        let mut bytes = Vec::new();
        let binary = |n: u32| {
            let mut event = vec![109];
            event.extend_from_slice(&n.to_be_bytes());
            event.resize(5 + n as usize, 7);
            event
        };
        let sizes = [0, 1, 65_490, 65_499, 65_500, 65_501, 65_502, 65_510, 65_528, 200_000];
        for (i, n) in (0u64..).zip(sizes) {
            push(&mut bytes, Timestamp::from_micros(i * 1_000_001), &binary(n));
        }
        let entries: Vec<_> = Entries::new(&bytes).collect();
        assert_eq!(entries.len(), sizes.len());
        for ((i, n), entry) in (0u64..).zip(sizes).zip(entries) {
            assert_eq!(entry.timestamp, Timestamp::from_micros(i * 1_000_001));
            assert_eq!(entry.event, binary(n));
            assert!(
                entry.entry.starts_with(&[104, 2, 104, 3])
                    && entry.entry.ends_with(&[7][..n.min(1) as usize])
            );
        }
    }

    #[test]
    fn every_cut_of_a_record_is_short_and_every_header_flip_is_seen() {
        let whole = record(5, &[106]);
        assert!(check(&whole).is_ok());
        for cut in 0..whole.len() {
            assert!(matches!(check(&whole[..cut]), Err(RecordError::Short { .. })), "{cut}");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x80;
            let stamp_value = [14, 16, 18].contains(&at);
            assert_eq!(check(&flipped).is_ok(), stamp_value, "{at}");
        }
    }

    #[test]
    fn an_old_magic_number_is_read() {
        let mut old = record(7, &[106]);
        old[4..8].copy_from_slice(&OLD_MAGIC);
        assert_eq!(check(&old).map(|(_, stamp)| stamp), Ok(Timestamp::from_micros(7)));
    }
}
