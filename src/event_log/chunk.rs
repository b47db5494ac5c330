//! Records on their way to a reader.

use bytes::Bytes;

use super::record::{Entries, EntryRef};
use crate::time::Timestamp;

/// Consecutive whole records, at least one. Cheap to clone: the bytes are shared.
#[derive(Clone, Debug)]
pub struct Chunk {
    bytes: Bytes,
    offset: u64,
    count: u32,
    first: Timestamp,
    last: Timestamp,
}

impl Chunk {
    /// Records as they were written; `offset` is the first one's ordinal in the log.
    pub(super) fn new(
        bytes: Bytes,
        offset: u64,
        count: u32,
        first: Timestamp,
        last: Timestamp,
    ) -> Self {
        debug_assert!(count > 0 && first <= last);
        Chunk { bytes, offset, count, first, last }
    }

    /// Records as they were read: `None` unless `bytes` are exactly `count` whole records. Costs a look
    /// at each record's header.
    pub(super) fn checked(bytes: Bytes, offset: u64, count: u32) -> Option<Self> {
        let mut entries = Entries::new(&bytes);
        let first = entries.next()?.timestamp;
        let (mut last, mut found) = (first, 1);
        for entry in &mut entries {
            last = last.max(entry.timestamp);
            found += 1;
        }
        let whole = entries.rest().is_empty() && found == count;
        whole.then(|| Chunk { bytes, offset, count, first, last })
    }

    /// The entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = EntryRef<'_>> {
        Entries::new(&self.bytes)
    }

    /// How many entries there are; never 0.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Always false; for the sake of convention.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The records' bytes, with their `disk_log` framing.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The first entry's timestamp.
    pub fn first(&self) -> Timestamp {
        self.first
    }

    /// The last entry's timestamp.
    pub fn last(&self) -> Timestamp {
        self.last
    }

    /// What is left behind the first `count` entries; `None` if nothing is.
    pub fn without_first(self, count: usize) -> Option<Chunk> {
        let offset = self.offset + count as u64;
        (offset < self.end()).then(|| self.skip_to(offset))
    }

    /// The first entry's ordinal in the log.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// One past the last entry's ordinal in the log.
    pub(super) fn end(&self) -> u64 {
        self.offset + u64::from(self.count)
    }

    /// Cuts off and returns as many entries as fit into `max_bytes`, at least one; what is left stays,
    /// if anything is.
    pub(super) fn take(self, max_bytes: usize) -> (Chunk, Option<Chunk>) {
        if self.bytes.len() <= max_bytes {
            return (self, None);
        }
        let mut entries = Entries::new(&self.bytes);
        let (mut count, mut end, mut last) = (0, 0, self.first);
        while let Some(entry) = entries.next() {
            let next_end = self.bytes.len() - entries.rest().len();
            if count > 0 && next_end > max_bytes {
                break;
            }
            (count, end, last) = (count + 1, next_end, last.max(entry.timestamp));
        }
        self.split(count, end, last)
    }

    /// What is left before the last `count` entries; `None` if nothing is.
    pub fn without_last(self, count: usize) -> Option<Chunk> {
        let end = self.end() - count as u64;
        (end > self.offset).then(|| self.up_to(end))
    }

    /// Without the entries from `end` on, which lies behind the first.
    pub(super) fn up_to(self, end: u64) -> Chunk {
        if end >= self.end() {
            return self;
        }
        assert!(end > self.offset, "some entry is left");
        let count = u32::try_from(end - self.offset).expect("fewer than there were");
        let mut entries = Entries::new(&self.bytes);
        let last = entries.by_ref().take(count as usize).map(|entry| entry.timestamp).max();
        let bytes = self.bytes.len() - entries.rest().len();
        let last = last.unwrap_or(self.first);
        self.split(count, bytes, last).0
    }

    /// Without the entries before `offset`, which lies in the chunk.
    pub(super) fn skip_to(self, offset: u64) -> Chunk {
        assert!((self.offset..self.end()).contains(&offset), "offset lies in the chunk");
        let mut left = offset - self.offset;
        self.skip_while(|_| {
            let skip = left > 0;
            left = left.saturating_sub(1);
            skip
        })
        .expect("the chunk has more entries than are skipped")
    }

    /// Without the entries before the first one stamped `from` or later; `None` if there is none.
    pub(super) fn skip_before(self, from: Timestamp) -> Option<Chunk> {
        if self.first >= from { Some(self) } else { self.skip_while(|stamp| stamp < from) }
    }

    fn skip_while(self, mut skip: impl FnMut(Timestamp) -> bool) -> Option<Chunk> {
        let mut entries = Entries::new(&self.bytes);
        let (mut count, mut end, mut last) = (0, 0, self.first);
        while let Some(entry) = entries.next() {
            if !skip(entry.timestamp) {
                return self.split(count, end, last).1;
            }
            end = self.bytes.len() - entries.rest().len();
            (count, last) = (count + 1, last.max(entry.timestamp));
        }
        None
    }

    /// The first `count` entries, which end at byte `end` and have no stamp after `last`, and the rest.
    fn split(self, count: u32, end: usize, last: Timestamp) -> (Chunk, Option<Chunk>) {
        let mut front = self;
        let mut bytes = front.bytes.split_off(end);
        let rest = Entries::new(&bytes).next().map(|entry| entry.timestamp).map(|first| Chunk {
            bytes: std::mem::take(&mut bytes),
            offset: front.offset + u64::from(count),
            count: front.count - count,
            first,
            last: front.last.max(first),
        });
        front.count = count;
        front.last = last;
        (front, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::record::push;

    fn chunk(stamps: std::ops::Range<u64>) -> Chunk {
        let mut bytes = Vec::new();
        for micros in stamps.clone() {
            push(&mut bytes, Timestamp::from_micros(micros), &[106]);
        }
        let count = u32::try_from(stamps.end - stamps.start).expect("few");
        Chunk::checked(bytes.into(), 100, count).expect("well formed")
    }

    fn stamps(chunk: &Chunk) -> Vec<u64> {
        chunk.entries().map(|entry| entry.timestamp.micros()).collect()
    }

    #[test]
    fn taking_gives_each_entry_once_and_at_least_one_at_a_time() {
        for max_bytes in [0, 1, 20, 41, 60, 1000] {
            let (mut rest, mut seen) = (Some(chunk(10..20)), Vec::new());
            while let Some(left) = rest {
                assert_eq!(left.offset() - 100, seen.len() as u64);
                let (front, back) = left.take(max_bytes);
                assert!(front.len() == 1 || front.bytes().len() <= max_bytes);
                assert_eq!(stamps(&front).len(), front.len());
                assert_eq!(stamps(&front).last().copied(), Some(front.last().micros()));
                seen.extend(stamps(&front));
                rest = back;
            }
            assert_eq!(seen, (10..20).collect::<Vec<_>>());
        }
    }

    #[test]
    fn skipping_by_offset_and_by_stamp_agree() {
        for skip in 0..10 {
            let by_offset = chunk(10..20).skip_to(100 + skip);
            let by_stamp =
                chunk(10..20).skip_before(Timestamp::from_micros(10 + skip)).expect("some");
            assert_eq!(stamps(&by_offset), (10 + skip..20).collect::<Vec<_>>());
            assert_eq!(stamps(&by_offset), stamps(&by_stamp));
            assert_eq!(by_offset.offset(), by_stamp.offset());
        }
        assert!(chunk(10..20).skip_before(Timestamp::from_micros(20)).is_none());
    }

    #[test]
    fn a_chunk_of_other_bytes_or_another_count_is_refused() {
        let good = chunk(1..4);
        assert!(Chunk::checked(good.bytes().clone(), 0, 2).is_none());
        assert!(Chunk::checked(good.bytes().clone(), 0, 4).is_none());
        assert!(Chunk::checked(good.bytes().slice(1..), 0, 3).is_none());
        assert!(Chunk::checked(good.bytes().slice(..good.bytes().len() - 1), 0, 3).is_none());
    }
}
