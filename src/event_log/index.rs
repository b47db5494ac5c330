//! The index beside a segment: checksums, and where which time is.
//!
//! `disk_log` has neither. An index entry covers a stretch of whole records: everything written since the
//! entry before it, closed at a sync or once it is [`STRIDE_BYTES`] long. Bytes that no entry covers,
//! between two entries, were found damaged when the index was made. The file can be lost and rebuilt.
//!
//! The layout is drawn in the module above.

use crc32c::{crc32c, crc32c_append};

use super::batch::Span;
use super::record::Entries;
use crate::time::Timestamp;

/// A stretch is closed once it is this long: a time search reads at most about twice this much.
pub(super) const STRIDE_BYTES: usize = 64 << 10;

/// The first bytes of an index file.
pub(super) const HEADER: [u8; 8] = *b"lmindex1";
/// Bytes of an index entry.
pub(super) const ENTRY_BYTES: usize = 48;

/// A segment said to be longer than this is not believed, nor one with more records than bytes: sums of such
/// numbers fit.
const MAX_SEGMENT_BYTES: u64 = 1 << 48;

/// A stretch of whole records in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Where it begins in the segment.
    pub(super) position: u64,
    /// How long it is; never 0.
    pub(super) bytes: u32,
    /// How many records it holds; never 0.
    pub(super) count: u32,
    /// Its first record's timestamp.
    pub(super) first: Timestamp,
    /// The latest timestamp in it.
    pub(super) last: Timestamp,
    /// CRC32C of its bytes.
    pub(super) crc: u32,
}

impl Stretch {
    /// The position behind it.
    pub(super) fn end(&self) -> u64 {
        self.position + u64::from(self.bytes)
    }

    /// Whether `bytes` are what was written.
    pub(super) fn matches(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.bytes as usize && crc32c(bytes) == self.crc
    }

    /// A stretch of the records that `bytes` are; `None` if they are none, or some of them are not whole.
    pub(super) fn of_records(position: u64, bytes: &[u8]) -> Option<Self> {
        let mut entries = Entries::new(bytes);
        let first = entries.next()?.timestamp;
        let mut span = Span { start: 0, end: bytes.len(), count: 1, first, last: first };
        for entry in &mut entries {
            span.count += 1;
            span.last = span.last.max(entry.timestamp);
        }
        entries.rest().is_empty().then(|| Stretch::of_span(position, span, bytes))
    }

    /// A stretch of one span of a batch, whose bytes are given.
    pub(super) fn of_span(position: u64, span: Span, bytes: &[u8]) -> Self {
        Stretch {
            position,
            bytes: u32::try_from(bytes.len()).expect("a span is far below 4 GiB"),
            count: span.count,
            first: span.first,
            last: span.last,
            crc: crc32c(bytes),
        }
    }

    /// Grows by a span written right behind it.
    pub(super) fn grow(&mut self, span: Span, bytes: &[u8]) {
        self.bytes += u32::try_from(bytes.len()).expect("a span is far below 4 GiB");
        self.count += span.count;
        self.last = self.last.max(span.last);
        self.crc = crc32c_append(self.crc, bytes);
    }

    /// Whether it is long enough to be closed.
    pub(super) fn is_full(&self) -> bool {
        self.bytes as usize >= STRIDE_BYTES
    }
}

/// One entry of an index file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A stretch, and what of the segment was known to be durable when the entry was written.
    Stretch { stretch: Stretch, durable: Durable },
    /// Where a reader of the archive can begin to inflate.
    Restart(Restart),
    /// The last entry of an index whose segment will not grow any more.
    Sealed(Summary),
}

/// How far a segment is durable, and the CRC32C of the last stretch up to there if that lies within it.
///
/// A stretch grows after a sync; when the power fails then, its checksum may have reached the disk and its
/// newer bytes not. This tells that the older ones are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Durable {
    pub(super) end: u64,
    pub(super) crc: u32,
}

/// A place in an archive where inflating can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Restart {
    /// Where it is in the segment.
    pub(super) position: u64,
    /// Where it is in the archive's file.
    pub(super) packed: u64,
}

/// What a segment holds in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// Length of the segment.
    pub(super) bytes: u64,
    /// Its records, without damaged ones.
    pub(super) count: u64,
    /// The first record's timestamp, or the time of rotation if it has no records.
    pub(super) first: Timestamp,
    /// The latest timestamp in it.
    pub(super) last: Timestamp,
    /// CRC32C of the index file up to here.
    pub(super) crc: u32,
}

impl Entry {
    /// Its bytes in the file.
    pub(super) fn encode(self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        let both = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let fields = match self {
            Entry::Stretch { stretch: s, durable } => [
                s.position,
                both(s.bytes, s.count),
                s.first.micros(),
                s.last.micros(),
                both(
                    u32::try_from(s.end().saturating_sub(durable.end)).unwrap_or(u32::MAX),
                    durable.crc,
                ),
                u64::from(s.crc),
            ],
            Entry::Restart(r) => [r.position, both(0, 1), 0, 0, r.packed, 0],
            Entry::Sealed(s) => {
                // A stretch has no length of 0 and no such position: the low half tells them apart.
                [s.bytes, 0, s.first.micros(), s.last.micros(), s.count, u64::from(s.crc)]
            }
        };
        for (to, field) in out.chunks_exact_mut(8).zip(fields) {
            to.copy_from_slice(&field.to_le_bytes());
        }
        let own = crc32c(&out[..ENTRY_BYTES - 4]);
        out[ENTRY_BYTES - 4..].copy_from_slice(&own.to_le_bytes());
        out
    }

    /// The entry that `bytes` are; `None` if their own checksum says they are none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ENTRY_BYTES] = bytes.first_chunk()?;
        let (body, own) = bytes.split_last_chunk::<4>()?;
        if crc32c(body) != u32::from_le_bytes(*own) {
            return None;
        }
        let u64_at = |at: usize| bytes[at..].first_chunk().map(|b| u64::from_le_bytes(*b));
        let u32_at = |at: usize| bytes[at..].first_chunk().map(|b| u32::from_le_bytes(*b));
        let (first, last) =
            (Timestamp::from_micros(u64_at(16)?), Timestamp::from_micros(u64_at(24)?));
        let (position, crc) = (u64_at(0)?, u32_at(40)?);
        Some(match (u32_at(8)?, u32_at(12)?) {
            (0, 0) => {
                let count = u64_at(32)?;
                if count > position || position > MAX_SEGMENT_BYTES {
                    return None;
                }
                Entry::Sealed(Summary { bytes: position, count, first, last, crc })
            }
            (0, 1) => Entry::Restart(Restart { position, packed: u64_at(32)? }),
            (0, _) | (_, 0) => return None,
            (bytes, count) => {
                let stretch = Stretch { position, bytes, count, first, last, crc };
                let end = position.checked_add(u64::from(bytes))?;
                let end = match u32_at(32)? {
                    u32::MAX => 0,
                    behind => end.saturating_sub(u64::from(behind)),
                };
                Entry::Stretch { stretch, durable: Durable { end, crc: u32_at(36)? } }
            }
        })
    }
}

/// An index in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    slots: Vec<Slot>,
    /// In an archive, rising.
    pub(super) restarts: Vec<Restart>,
}

/// A stretch, with what a search needs to know of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) stretch: Stretch,
    /// Records of the segment before it.
    pub(super) ordinal: u64,
    /// The latest timestamp up to its end; rises even where a foreign log's stamps don't.
    reach: Timestamp,
}

impl Slot {
    /// Records of the segment up to its end.
    pub(super) fn end(&self) -> u64 {
        self.ordinal + u64::from(self.stretch.count)
    }
}

impl Index {
    /// Adds a stretch behind the last one.
    pub(super) fn push(&mut self, stretch: Stretch) {
        let slot = self.slot_for(stretch);
        self.slots.push(slot);
    }

    /// The slot a stretch would get.
    pub(super) fn slot_for(&self, stretch: Stretch) -> Slot {
        let (ordinal, reach) =
            self.slots.last().map_or((0, Timestamp::MIN), |s| (s.end(), s.reach));
        Slot { stretch, ordinal, reach: reach.max(stretch.last) }
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Records in all.
    pub(super) fn count(&self) -> u64 {
        self.slots.last().map_or(0, Slot::end)
    }

    /// Position behind the last stretch.
    pub(super) fn end(&self) -> Option<u64> {
        self.slots.last().map(|slot| slot.stretch.end())
    }

    /// The first record's timestamp and the latest one.
    pub(super) fn interval(&self) -> Option<(Timestamp, Timestamp)> {
        Some((self.slots.first()?.stretch.first, self.slots.last()?.reach))
    }

    /// Keeps the first `len` stretches.
    pub(super) fn truncate(&mut self, len: usize) {
        self.slots.truncate(len);
    }

    /// Ordinal of the first record of the stretch in which the first record at or after `from` lies.
    pub(super) fn search(&self, from: Timestamp) -> Option<u64> {
        let at = self.slots.partition_point(|slot| slot.reach < from);
        self.slots.get(at).map(|slot| slot.ordinal)
    }

    /// The slots from the one that holds record `ordinal`.
    pub(super) fn slots_from(&self, ordinal: u64) -> &[Slot] {
        let at = self.slots.partition_point(|slot| slot.end() <= ordinal);
        &self.slots[at..]
    }

    /// The whole index file of a segment that will not grow any more.
    pub(super) fn to_sealed_file(&self, summary: Summary) -> Vec<u8> {
        let mut out = self.to_file(summary.bytes);
        for restart in &self.restarts {
            out.extend_from_slice(&Entry::Restart(*restart).encode());
        }
        let summary = Summary { crc: crc32c(&out), ..summary };
        out.extend_from_slice(&Entry::Sealed(summary).encode());
        out
    }

    /// The whole index file, without a summary, every stretch known to be durable up to `durable`.
    pub(super) fn to_file(&self, durable: u64) -> Vec<u8> {
        let mut out = HEADER.to_vec();
        for slot in &self.slots {
            let durable = Durable { end: durable, crc: 0 };
            out.extend_from_slice(&Entry::Stretch { stretch: slot.stretch, durable }.encode());
        }
        out
    }
}

/// What an index file says.
#[derive(Clone, Debug, Default)]
pub(super) struct Parsed {
    pub(super) index: Index,
    /// How far the segment was durable when the index was last written, and the checksum from the
    /// beginning of the stretch in which that lies.
    pub(super) durable: Durable,
    /// Present if the index is complete.
    pub(super) sealed: Option<Summary>,
}

/// Reads an index file as far as its entries are whole and follow one another within a segment of
/// `segment_bytes`; the rest of the segment has to be scanned.
pub(super) fn parse(file: &[u8], segment_bytes: u64) -> Parsed {
    let mut parsed = Parsed::default();
    let Some(entries) = file.strip_prefix(&HEADER) else { return parsed };
    for (i, bytes) in entries.chunks_exact(ENTRY_BYTES).enumerate() {
        match Entry::decode(bytes) {
            Some(Entry::Stretch { stretch, durable }) => {
                let behind = parsed.index.end().unwrap_or(super::record::HEAD_BYTES);
                if stretch.position < behind || stretch.end() > segment_bytes {
                    break;
                }
                parsed.index.push(stretch);
                if durable.end > parsed.durable.end {
                    parsed.durable = durable;
                }
            }
            Some(Entry::Restart(restart)) => {
                if parsed.index.restarts.last().is_some_and(|r| r.position >= restart.position) {
                    break;
                }
                parsed.index.restarts.push(restart);
            }
            Some(Entry::Sealed(summary)) => {
                let before = &file[..HEADER.len() + i * ENTRY_BYTES];
                if summary.bytes == segment_bytes
                    && summary.count == parsed.index.count()
                    && summary.crc == crc32c(before)
                {
                    parsed.sealed = Some(summary);
                }
                break;
            }
            None => break,
        }
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(position: u64, bytes: u32, first: u64) -> Stretch {
        let (first, last) = (Timestamp::from_micros(first), Timestamp::from_micros(first + 9));
        Stretch { position, bytes, count: 10, first, last, crc: 77 }
    }

    #[test]
    fn entries_survive_the_file_and_every_flip_is_seen() {
        let durable = Durable { end: 9, crc: 6 };
        let summary = Summary {
            bytes: 1 << 40,
            count: 1 << 33,
            first: Timestamp::from_micros(3),
            last: Timestamp::from_micros(4),
            crc: 5,
        };
        let restart = Entry::Restart(Restart { position: 1 << 40, packed: 1 << 39 });
        let stretched = Entry::Stretch { stretch: stretch(8, 100, 50), durable };
        for entry in [stretched, restart, Entry::Sealed(summary)] {
            let bytes = entry.encode();
            assert_eq!(Entry::decode(&bytes), Some(entry));
            for at in 0..ENTRY_BYTES {
                let mut flipped = bytes;
                flipped[at] ^= 1;
                assert_eq!(Entry::decode(&flipped), None);
            }
            assert_eq!(Entry::decode(&bytes[1..]), None);
        }
    }

    #[test]
    fn a_file_is_read_up_to_its_first_entry_that_makes_no_sense() {
        let mut index = Index::default();
        for (position, first) in [(8, 100), (108, 200), (300, 300)] {
            index.push(stretch(position, 100, first));
        }
        let file = index.to_file(208);
        assert_eq!(parse(&file, 400).index.slots(), index.slots());
        assert_eq!(parse(&file, 400).durable.end, 208);
        assert_eq!(parse(&file, 399).index.slots().len(), 2);
        assert_eq!(parse(&file[..file.len() - 1], 400).index.slots().len(), 2);
        assert_eq!(parse(b"nonsense", 400).index.slots().len(), 0);
        let mut flipped = file;
        flipped[HEADER.len() + ENTRY_BYTES] ^= 1;
        assert_eq!(parse(&flipped, 400).index.slots().len(), 1);
    }

    #[test]
    fn searches_find_the_stretch_that_holds_the_record() {
        let mut index = Index::default();
        for (position, first) in [(8, 100), (108, 200), (300, 300)] {
            index.push(stretch(position, 100, first));
        }
        let search = |from| index.search(Timestamp::from_micros(from));
        assert_eq!(search(0), Some(0));
        assert_eq!(search(109), Some(0));
        assert_eq!(search(110), Some(10));
        assert_eq!(search(309), Some(20));
        assert_eq!(search(310), None);
        assert_eq!(index.slots_from(0).len(), 3);
        assert_eq!(index.slots_from(9).len(), 3);
        assert_eq!(index.slots_from(10).len(), 2);
        assert_eq!(index.slots_from(30).len(), 0);
    }
}
