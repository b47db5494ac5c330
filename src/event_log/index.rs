//! The index beside a segment: checksums, and where which time is.
//!
//! `disk_log` has neither. An index entry covers a stretch of whole records: everything written since the
//! entry before it, closed at a sync or once it is [`STRIDE_BYTES`] long. Bytes that no entry covers,
//! between two entries, were found damaged when the index was made. The file can be lost and rebuilt.
//!
//! The layout is drawn in the module above. Version 2 is what is written; version 1, with the same layout, is
//! read as well. A later version has to give its entries another checksum, so that none of them is one here:
//! that tells it from a flip in the header.
//!
//! # Invariants
//!
//! - `apart`: the stretches of an index rise and don't overlap, whatever its file says.

use std::sync::LazyLock;

use crc32c::{crc32c, crc32c_append, crc32c_combine};

use super::record::Entries;
use crate::planted::planted;
use crate::time::Timestamp;

/// A stretch is closed once it is this long: a time search reads at most about twice this much.
pub(super) const STRIDE_BYTES: usize = 64 << 10;

/// The first bytes of an index file; the last of them is the version.
pub(super) const HEADER: [u8; 8] = *b"lmindex2";
/// The oldest version that is read.
const OLDEST_VERSION: u8 = b'1';
const CURRENT_VERSION: u8 = HEADER[7];
/// Bytes of an index entry.
pub(super) const ENTRY_BYTES: usize = 48;

/// A segment said to be longer than this is not believed, nor one with more records than bytes: sums of such
/// numbers fit.
const MAX_SEGMENT_BYTES: u64 = 1 << 48;

/// Whole records that share a checksum: a stretch of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) count: u32,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

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
pub(super) enum IndexEntry {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
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

impl IndexEntry {
    /// Its bytes in the file.
    pub(super) fn encode(self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        let both = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let fields = match self {
            IndexEntry::Stretch { stretch: s, durable } => [
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
            IndexEntry::Restart(r) => [r.position, both(0, 1), 0, 0, r.packed, 0],
            IndexEntry::Sealed(s) => {
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
        if crc32c(body) != u32::from_le_bytes(*own) && !planted("index: comparing checksums") {
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
                if count > position || position > MAX_SEGMENT_BYTES || first > last {
                    return None;
                }
                IndexEntry::Sealed(Summary { bytes: position, count, first, last, crc })
            }
            (0, 1) => IndexEntry::Restart(Restart { position, packed: u64_at(32)? }),
            (0, _) | (_, 0) => return None,
            (bytes, count) => {
                let stretch = Stretch { position, bytes, count, first, last, crc };
                let end = position.checked_add(u64::from(bytes))?;
                if count > bytes || end > MAX_SEGMENT_BYTES || first > last {
                    return None;
                }
                let end = match u32_at(32)? {
                    u32::MAX => 0,
                    behind => end.saturating_sub(u64::from(behind)),
                };
                IndexEntry::Stretch { stretch, durable: Durable { end, crc: u32_at(36)? } }
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

    /// CRC32C of the bytes of all its stretches, one behind the other. It is the same wherever they are cut, so
    /// an index that was made anew can be compared with the one that was lost.
    ///
    /// Costs less than a microsecond a stretch.
    pub(super) fn content_crc(&self) -> u32 {
        self.slots.iter().fold(0, |crc, slot| combine(crc, slot.stretch.crc, slot.stretch.bytes))
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

    /// The slots up to the one that holds the record before `ordinal`: stretches that lie side by side, at most `bytes`
    /// of them but at least one. `open` comes behind all others.
    pub(super) fn run_before(&self, ordinal: u64, open: Option<Slot>, bytes: usize) -> Vec<Slot> {
        let at = self.slots.partition_point(|slot| slot.ordinal < ordinal);
        let open = open.filter(|slot| slot.ordinal < ordinal);
        let (mut left, mut run) = (bytes as u64, Vec::<Slot>::new());
        for slot in open.into_iter().chain(self.slots[..at].iter().rev().copied()) {
            let length = u64::from(slot.stretch.bytes);
            if let Some(next) = run.last()
                && (slot.stretch.end() != next.stretch.position || length > left)
            {
                break;
            }
            left = left.saturating_sub(length);
            run.push(slot);
        }
        run.reverse();
        run
    }

    /// The whole index file of a segment that will not grow any more.
    pub(super) fn to_sealed_file(&self, summary: Summary) -> Vec<u8> {
        let mut out = self.to_file(summary.bytes);
        for restart in &self.restarts {
            out.extend_from_slice(&IndexEntry::Restart(*restart).encode());
        }
        let summary = Summary { crc: sum(&out, HEADER[7]), ..summary };
        out.extend_from_slice(&IndexEntry::Sealed(summary).encode());
        out
    }

    /// The whole index file, without a summary, every stretch known to be durable up to `durable`.
    pub(super) fn to_file(&self, durable: u64) -> Vec<u8> {
        let mut out = HEADER.to_vec();
        for slot in &self.slots {
            let durable = Durable { end: durable, crc: 0 };
            out.extend_from_slice(&IndexEntry::Stretch { stretch: slot.stretch, durable }.encode());
        }
        out
    }
}

/// The checksum of an index's first bytes, whole entries, in a file of this version.
///
/// AgeFrom the second version it leaves out the entries' own. A CRC over bytes that end with their own is the same
/// whatever the bytes are, so what the first version wrote tells no more than how many entries there are.
pub(super) fn sum(before: &[u8], version: u8) -> u32 {
    if version == OLDEST_VERSION {
        return crc32c(before);
    }
    let (header, entries) = before.split_at(before.len().min(HEADER.len()));
    let bodies =
        entries.chunks(ENTRY_BYTES).map(|entry| &entry[..entry.len().min(ENTRY_BYTES - 4)]);
    bodies.fold(crc32c(header), crc32c_append)
}

/// The CRC32C of bytes with the CRC `front` and `bytes` more with the CRC `back` behind them.
fn combine(front: u32, back: u32, bytes: u32) -> u32 {
    /// What `1 << k` zero bytes behind them do to the CRC of other bytes, as a matrix over single bits.
    ///
    /// `crc32c_combine` works these out in each call, which takes ten times as long as using them.
    static ZEROS: LazyLock<[[u32; 32]; 32]> = LazyLock::new(|| {
        let mut zeros = [[0; 32]; 32];
        for (bit, column) in zeros[0].iter_mut().enumerate() {
            *column = crc32c_combine(1 << bit, 0, 1);
        }
        for k in 1..32 {
            let half = zeros[k - 1];
            zeros[k] = half.map(|column| times(&half, column));
        }
        zeros
    });
    let zeros = &*ZEROS;
    let moved = zeros.iter().enumerate().filter(|(k, _)| bytes & (1 << k) != 0);
    moved.fold(front, |crc, (_, zeros)| times(zeros, crc)) ^ back
}

fn times(matrix: &[u32; 32], bits: u32) -> u32 {
    matrix.iter().enumerate().fold(0, |sum, (i, column)| sum ^ (column * ((bits >> i) & 1)))
}

/// What the first bytes of an index file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Head {
    /// There is no file.
    #[default]
    Absent,
    /// There is nothing in it, or no more than the beginning of the header: a crash or a full disk came before the first
    /// write was done. Nobody else makes such a file.
    Empty,
    /// It is there and cannot be read.
    Unreadable,
    /// They are none of an index; entries behind them are read all the same.
    Damaged,
    /// A later version than this program's made it. It is not read, and not ours to replace.
    Newer,
    /// The version is one that is read.
    Known {
        /// The version that the file says it has.
        version: u8,
    },
}

/// What an index file says.
#[derive(Clone, Debug, Default)]
pub(super) struct ParsedIndex {
    pub(super) index: Index,
    /// How far the segment was durable when the index was last written, and the checksum from the
    /// beginning of the stretch in which that lies.
    pub(super) durable: Durable,
    /// Present if the index is complete.
    pub(super) sealed: Option<Summary>,
    /// What an index says that was complete once, but is damaged, or the segment is not what it was then.
    pub(super) claimed: Option<Summary>,
    pub(super) head: Head,
    /// How many entries are none, or lie before the end of the one before them.
    pub(super) bad_entries: usize,
    /// How far the stretches reach, those behind the segment's end included: a segment that was synced up to
    /// there and is shorter lost something.
    pub(super) claimed_end: u64,
    /// The latest timestamp of the stretches, those behind the segment's end included.
    claimed_last: Option<Timestamp>,
}

impl ParsedIndex {
    /// Of a file that is there and cannot be read.
    pub(super) fn unreadable() -> Self {
        ParsedIndex { head: Head::Unreadable, ..ParsedIndex::default() }
    }

    /// Whether the file is not what was written. After a power loss that can be so without any fault: the
    /// index is synced more seldom than the segment.
    pub(super) fn is_damaged(&self) -> bool {
        matches!(self.head, Head::Damaged | Head::Unreadable) || self.bad_entries > 0
    }

    /// The first record's timestamp, if any stretch tells it. An index beside the live segment that tells one
    /// which is not after the newest rotated segment's last is that segment's.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.index.interval().map(|(first, _)| first)
    }

    /// The latest timestamp that an entry with a good checksum tells.
    pub(super) fn last(&self) -> Option<Timestamp> {
        let summary = self.sealed.or(self.claimed).filter(|summary| summary.count > 0);
        self.claimed_last.max(summary.map(|summary| summary.last))
    }
}

/// Reads the index file of a segment of `segment_bytes`. Entries that are damaged, or do not follow the one
/// before them, are stepped over and counted; what they covered has to be scanned.
pub(super) fn parse(file: &[u8], segment_bytes: u64) -> ParsedIndex {
    let mut parsed = ParsedIndex::default();
    let (header, entries) = file.split_at(file.len().min(HEADER.len()));
    let mut good_entries = 0;
    for (i, bytes) in entries.chunks_exact(ENTRY_BYTES).enumerate() {
        let entry = IndexEntry::decode(bytes);
        good_entries += usize::from(entry.is_some());
        let follows = match entry {
            Some(IndexEntry::Stretch { stretch, durable }) => {
                parsed.add(stretch, durable, segment_bytes)
            }
            Some(IndexEntry::Restart(restart)) => parsed.add_restart(restart, segment_bytes),
            Some(IndexEntry::Sealed(summary)) => {
                let before = &file[..HEADER.len() + i * ENTRY_BYTES];
                if summary.crc == sum(before, file[HEADER.len() - 1])
                    && summary.bytes == segment_bytes
                    && summary.count == parsed.index.count()
                    && parsed.bad_entries == 0
                {
                    parsed.sealed = Some(summary);
                } else {
                    parsed.claimed = Some(summary);
                }
                break;
            }
            None => false,
        };
        parsed.bad_entries += usize::from(!follows);
    }
    parsed.head = head(header, entries, good_entries);
    match parsed.head {
        Head::Newer => ParsedIndex { head: Head::Newer, ..ParsedIndex::default() },
        // The first version wrote such an index also for a segment that it could not read for a while.
        Head::Known { version: OLDEST_VERSION }
            if parsed.index.slots.is_empty() && segment_bytes > super::record::HEAD_BYTES =>
        {
            let claimed = parsed.claimed.or(parsed.sealed.take());
            ParsedIndex { claimed, ..parsed }
        }
        _ => parsed,
    }
}

fn head(header: &[u8], entries: &[u8], good_entries: usize) -> Head {
    // A full disk, or a death, may have taken no more of the first write.
    if header.len() < HEADER.len() && HEADER.starts_with(header) {
        return Head::Empty;
    }
    let Some((version, name)) = header.split_last() else { return Head::Empty };
    if header.len() < HEADER.len() || *name != HEADER[..HEADER.len() - 1] {
        return Head::Damaged;
    }
    match *version {
        version @ OLDEST_VERSION..=CURRENT_VERSION => Head::Known { version },
        version if version > CURRENT_VERSION && !entries.is_empty() && good_entries == 0 => {
            Head::Newer
        }
        _ => Head::Damaged,
    }
}

impl ParsedIndex {
    /// Adds a stretch if it lies behind the last one; false if it does not.
    fn add(&mut self, stretch: Stretch, durable: Durable, segment_bytes: u64) -> bool {
        let behind = self.index.end().unwrap_or(super::record::HEAD_BYTES);
        if stretch.position < behind.max(self.claimed_end) {
            return false;
        }
        self.claimed_end = stretch.end();
        self.claimed_last = self.claimed_last.max(Some(stretch.last));
        if stretch.end() <= segment_bytes {
            self.index.push(stretch);
        }
        if durable.end > self.durable.end {
            self.durable = durable;
        }
        true
    }

    fn add_restart(&mut self, restart: Restart, segment_bytes: u64) -> bool {
        let before = self.index.restarts.last();
        let follows = before
            .is_none_or(|b| b.position < restart.position && b.packed < restart.packed)
            && restart.position <= segment_bytes;
        if follows {
            self.index.restarts.push(restart);
        }
        follows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(position: u64, bytes: u32, first: u64) -> Stretch {
        let (first, last) = (Timestamp::from_micros(first), Timestamp::from_micros(first + 9));
        Stretch { position, bytes, count: 10, first, last, crc: 77 }
    }

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(micros)
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
        let restart = IndexEntry::Restart(Restart { position: 1 << 40, packed: 1 << 39 });
        let stretched = IndexEntry::Stretch { stretch: stretch(8, 100, 50), durable };
        for entry in [stretched, restart, IndexEntry::Sealed(summary)] {
            let bytes = entry.encode();
            assert_eq!(IndexEntry::decode(&bytes), Some(entry));
            for at in 0..ENTRY_BYTES {
                let mut flipped = bytes;
                flipped[at] ^= 1;
                assert_eq!(IndexEntry::decode(&flipped), None);
            }
            assert_eq!(IndexEntry::decode(&bytes[1..]), None);
        }
    }

    fn three() -> Index {
        let mut index = Index::default();
        for (position, first) in [(8, 100), (108, 200), (300, 300)] {
            index.push(stretch(position, 100, first));
        }
        index
    }

    fn positions(parsed: &ParsedIndex) -> Vec<u64> {
        parsed.index.slots().iter().map(|slot| slot.stretch.position).collect()
    }

    #[test]
    fn entries_that_make_no_sense_are_counted_and_stepped_over() {
        let index = three();
        let file = index.to_file(208);
        let whole = parse(&file, 400);
        assert_eq!(whole.index.slots(), index.slots());
        assert_eq!((whole.durable.end, whole.bad_entries, whole.claimed_end), (208, 0, 400));
        assert!(!whole.is_damaged());
        assert_eq!(whole.first(), Some(Timestamp::from_micros(100)));
        assert_eq!(whole.last(), Some(Timestamp::from_micros(309)));
        let shorter = parse(&file, 399);
        assert_eq!((positions(&shorter), shorter.bad_entries), (vec![8, 108], 0));
        assert_eq!((shorter.claimed_end, shorter.last()), (400, whole.last()));
        assert_eq!(positions(&parse(&file[..file.len() - 1], 400)), [8, 108]);
        for at in 0..3 {
            let mut flipped = file.clone();
            flipped[HEADER.len() + at * ENTRY_BYTES] ^= 1;
            let parsed = parse(&flipped, 400);
            let mut expected = vec![8, 108, 300];
            expected.remove(at);
            assert_eq!((positions(&parsed), parsed.bad_entries), (expected, 1));
        }
    }

    /// Entries in every order, and one that lies across others: what is left never overlaps.
    #[test]
    fn stretches_stay_apart_whatever_the_file_says() {
        let all =
            [stretch(8, 100, 1), stretch(108, 100, 2), stretch(150, 300, 3), stretch(208, 9, 4)];
        for order in 0..256 {
            let mut file = HEADER.to_vec();
            for digit in 0..4 {
                let stretch = all[(order >> (2 * digit)) & 3];
                let entry = IndexEntry::Stretch { stretch, durable: Durable::default() };
                file.extend_from_slice(&entry.encode());
            }
            for segment_bytes in [200, 217, 1000] {
                let parsed = parse(&file, segment_bytes);
                let ends = parsed.index.slots().iter().map(|slot| slot.stretch);
                let mut behind = 8;
                for stretch in ends {
                    assert!(stretch.position >= behind && stretch.end() <= segment_bytes, "apart");
                    behind = stretch.end();
                }
            }
        }
    }

    #[test]
    fn versions_are_told_apart_and_from_flips() {
        let index = three();
        let summary = Summary { bytes: 400, count: 30, first: at(100), last: at(309), crc: 0 };
        let live = index.to_file(400);
        let sealed = index.to_sealed_file(summary);
        for version in [b'1', b'2'] {
            let mut old = live.clone();
            old[7] = version;
            assert_eq!(parse(&old, 400).head, Head::Known { version });
            assert_eq!(positions(&parse(&old, 400)), [8, 108, 300]);
        }
        assert!(parse(&sealed, 400).sealed.is_some());
        for (file, end) in [(&live, false), (&sealed, true)] {
            for bit in 0..8 * HEADER.len() {
                let mut flipped = file.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let parsed = parse(&flipped, 400);
                assert_eq!(parsed.head, Head::Damaged, "{bit}");
                assert_eq!(positions(&parsed), [8, 108, 300]);
                assert_eq!((parsed.sealed, parsed.claimed.is_some()), (None, end));
            }
        }
        let mut newer = b"lmindex3".to_vec();
        assert_eq!(parse(&newer, 400).head, Head::Damaged, "nothing is lost with it");
        newer.resize(300, 77);
        assert_eq!(parse(&newer, 400).head, Head::Newer);
        assert_eq!(parse(&newer, 400).bad_entries, 0);
        for begun in 0..HEADER.len() {
            assert_eq!(parse(&HEADER[..begun], 400).head, Head::Empty);
        }
        for nonsense in [&b"lmj"[..], b"nonsense", &[0; 4096]] {
            assert_eq!(parse(nonsense, 400).head, Head::Damaged);
            assert_eq!(positions(&parse(nonsense, 400)), [0; 0]);
        }
    }

    #[test]
    fn a_complete_index_is_only_claimed_once_anything_is_amiss() {
        let summary = Summary { bytes: 400, count: 30, first: at(100), last: at(309), crc: 0 };
        let file = three().to_sealed_file(summary);
        let whole = parse(&file, 400);
        assert_eq!((whole.sealed.map(|s| s.count), whole.claimed), (Some(30), None));
        for segment_bytes in [8, 399, 401] {
            let parsed = parse(&file, segment_bytes);
            assert_eq!((parsed.sealed, parsed.claimed.map(|s| s.bytes)), (None, Some(400)));
        }
        for bit in 0..8 * file.len() {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let parsed = parse(&flipped, 400);
            let lost = bit / 8 >= file.len() - ENTRY_BYTES;
            assert_eq!((parsed.sealed, parsed.claimed.is_none()), (None, lost), "{bit}");
            assert!(parsed.is_damaged());
        }
    }

    #[test]
    fn an_index_that_covers_nothing_is_believed_from_the_second_version_on() {
        let summary = Summary { bytes: 500, count: 0, first: at(1), last: at(1), crc: 0 };
        let file = Index::default().to_sealed_file(summary);
        assert!(parse(&file, 500).sealed.is_some());
        let mut old = file[..HEADER.len()].to_vec();
        old[7] = OLDEST_VERSION;
        let summary = Summary { crc: crc32c(&old), ..summary };
        old.extend_from_slice(&IndexEntry::Sealed(summary).encode());
        let parsed = parse(&old, 500);
        assert_eq!((parsed.sealed, parsed.claimed), (None, Some(summary)));
        assert!(!parsed.is_damaged());
    }

    #[test]
    fn the_checksum_of_all_is_the_same_wherever_it_is_cut() {
        let bytes: Vec<u8> = (0..300_000u32).map(|i| i.wrapping_mul(i).to_le_bytes()[1]).collect();
        for cuts in [vec![], vec![1], vec![299_999], vec![7, 8, 9, 4096, 65_536, 262_145]] {
            let mut index = Index::default();
            let mut from = 0;
            for to in cuts.into_iter().chain([bytes.len()]) {
                let crc = crc32c(&bytes[from..to]);
                let len = u32::try_from(to - from).expect("short");
                index.push(Stretch { crc, ..stretch(8 + from as u64, len, 1) });
                from = to;
            }
            assert_eq!(index.content_crc(), crc32c(&bytes));
        }
        assert_eq!(Index::default().content_crc(), 0);
        for (front, back) in [(0, 0), (1, 2), (u32::MAX, 0x1234_5678)] {
            for bytes in [0, 1, 2, 3, 255, 65_537, u32::MAX] {
                let expected = crc32c_combine(front, back, bytes as usize);
                let expected = if bytes == 0 { front ^ back } else { expected };
                assert_eq!(combine(front, back, bytes), expected);
            }
        }
    }

    #[test]
    fn searches_find_the_stretch_that_holds_the_record() {
        let index = three();
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
