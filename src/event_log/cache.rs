//! The end of the log in RAM: the chunks that were written last, in order and without a gap.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::chunk::Chunk;
use crate::time::Timestamp;

/// Chunks smaller than this are put together once they amount to it, so that a slow trickle of events
/// costs little more RAM than its records.
const MERGED_BYTES: usize = 64 << 10;
/// What a chunk costs beside its bytes: the entry here and the shared part of [`Bytes`].
const CHUNK_OVERHEAD_BYTES: usize = size_of::<Cached>() + 48;

/// A chunk, and since when it is here, by the clock's uptime.
#[derive(Debug)]
struct Cached {
    chunk: Chunk,
    at: Duration,
}

/// The chunks in RAM, oldest first. The last one ends where the log does.
#[derive(Debug, Default)]
pub(super) struct Cache {
    chunks: VecDeque<Cached>,
    /// Bytes of all chunks.
    bytes: usize,
    /// How many chunks at the end are not merged yet, and their bytes.
    small: usize,
    small_bytes: usize,
}

impl Cache {
    /// Adds the chunk behind the last one.
    pub(super) fn push(&mut self, chunk: Chunk, at: Duration) {
        debug_assert!(self.chunks.back().is_none_or(|last| last.chunk.end() == chunk.offset()));
        let bytes = chunk.bytes().len();
        self.bytes += bytes;
        self.chunks.push_back(Cached { chunk, at });
        if bytes >= MERGED_BYTES {
            // What was small before it stays so: a run of small chunks between large ones is rare.
            (self.small, self.small_bytes) = (0, 0);
            return;
        }
        self.small += 1;
        self.small_bytes += bytes;
        if self.small_bytes >= MERGED_BYTES {
            self.merge();
        }
    }

    /// Puts the small chunks at the end together. Copies less than twice `MERGED_BYTES`.
    fn merge(&mut self) {
        let from = self.chunks.len() - self.small;
        let mut merged = BytesMut::with_capacity(self.small_bytes);
        let (mut count, mut last, mut at) = (0, Timestamp::MIN, Duration::ZERO);
        let first = &self.chunks[from].chunk;
        let (offset, first) = (first.offset(), first.first());
        for Cached { chunk, at: since } in self.chunks.drain(from..) {
            at = since;
            merged.extend_from_slice(chunk.bytes());
            count += u32::try_from(chunk.len()).expect("records of at most 64 KiB");
            last = last.max(chunk.last());
        }
        let chunk = Chunk::new(merged.freeze(), offset, count, first, last);
        self.chunks.push_back(Cached { chunk, at });
        (self.small, self.small_bytes) = (0, 0);
    }

    /// Forgets the oldest chunks until at most `max_bytes` are held, and those whose last entry came before
    /// `oldest`.
    pub(super) fn evict(&mut self, max_bytes: Option<u64>, oldest: Option<Duration>) {
        while let Some(chunk) = self.chunks.front() {
            let too_many = max_bytes.is_some_and(|max| self.ram_bytes() > max);
            if !too_many && oldest.is_none_or(|oldest| chunk.at >= oldest) {
                break;
            }
            self.pop();
        }
        if self.chunks.capacity() > 1024 && self.chunks.len() < self.chunks.capacity() / 4 {
            self.chunks.shrink_to(self.chunks.len() * 2);
        }
    }

    /// Forgets the chunks that end before `offset`: their records were deleted.
    pub(super) fn evict_before(&mut self, offset: u64) {
        while self.chunks.front().is_some_and(|cached| cached.chunk.end() <= offset) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        let all_small = self.small == self.chunks.len();
        let Some(Cached { chunk, .. }) = self.chunks.pop_front() else { return };
        self.bytes -= chunk.bytes().len();
        if all_small {
            self.small -= 1;
            self.small_bytes -= chunk.bytes().len();
        }
    }

    /// RAM held, nearly.
    pub(super) fn ram_bytes(&self) -> u64 {
        (self.bytes + self.chunks.len() * CHUNK_OVERHEAD_BYTES) as u64
    }

    /// Entries held.
    pub(super) fn events(&self) -> u64 {
        match (self.chunks.front(), self.chunks.back()) {
            (Some(first), Some(last)) => last.chunk.end() - first.chunk.offset(),
            _ => 0,
        }
    }

    /// The first and the last timestamp held.
    pub(super) fn interval(&self) -> Option<(Timestamp, Timestamp)> {
        Some((self.chunks.front()?.chunk.first(), self.chunks.back()?.chunk.last()))
    }

    /// The entries from `offset` to the end of the chunk that holds it.
    pub(super) fn at(&self, offset: u64) -> Option<Chunk> {
        Some(self.around(offset)?.clone().skip_to(offset))
    }

    /// The chunk that holds `offset`.
    pub(super) fn around(&self, offset: u64) -> Option<&Chunk> {
        let at = self.chunks.partition_point(|cached| cached.chunk.end() <= offset);
        let cached = self.chunks.get(at).filter(|cached| cached.chunk.offset() <= offset)?;
        Some(&cached.chunk)
    }

    /// The offset of the first entry stamped `from` or later, if it is certain to be in here.
    pub(super) fn search(&self, from: Timestamp) -> Option<u64> {
        if self.chunks.front()?.chunk.first() > from {
            return None;
        }
        let at = self.chunks.partition_point(|cached| cached.chunk.last() < from);
        Some(self.chunks.get(at)?.chunk.clone().skip_before(from)?.offset())
    }
}

/// `bytes` without the room for growth, if that is worth a copy.
pub(super) fn trimmed(mut bytes: Vec<u8>) -> Bytes {
    if bytes.capacity() - bytes.len() > bytes.len() / 8 {
        bytes.shrink_to_fit();
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::record::push;

    fn chunk(offset: u64, count: u32, event: &[u8]) -> Chunk {
        let mut bytes = Vec::new();
        for i in 0..u64::from(count) {
            push(&mut bytes, Timestamp::from_micros(10 * (offset + i)), event);
        }
        Chunk::checked(bytes.into(), offset, count).expect("well formed")
    }

    fn offsets(cache: &Cache, from: u64) -> Vec<u64> {
        let (mut at, mut seen) = (from, Vec::new());
        while let Some(chunk) = cache.at(at) {
            seen.extend(chunk.entries().map(|entry| entry.timestamp.micros() / 10));
            at = chunk.end();
        }
        seen
    }

    #[test]
    fn small_chunks_are_merged_without_losing_an_entry() {
        let mut cache = Cache::default();
        for offset in 0..10_000 {
            cache.push(chunk(offset, 1, &[107, 0, 3, 1, 2, 3]), Duration::from_micros(offset));
        }
        assert!(cache.chunks.len() < 3_000, "{}", cache.chunks.len());
        assert!(cache.ram_bytes() < 10_000 * 60, "{}", cache.ram_bytes());
        assert_eq!(offsets(&cache, 0), (0..10_000).collect::<Vec<_>>());
        assert_eq!(offsets(&cache, 9_990), (9_990..10_000).collect::<Vec<_>>());
        assert_eq!(cache.search(Timestamp::from_micros(5_001)), Some(501));
        assert_eq!(cache.search(Timestamp::from_micros(99_991)), None);
    }

    #[test]
    fn eviction_is_oldest_first_by_bytes_and_by_age() {
        let mut cache = Cache::default();
        for i in 0..1000 {
            cache.push(chunk(i * 10, 10, &[107, 0, 3, 1, 2, 3]), Duration::from_micros(i));
            cache.evict(Some(100_000), None);
            assert!(cache.ram_bytes() <= 100_000);
        }
        let first = 10_000 - cache.events();
        assert_eq!(offsets(&cache, first), (first..10_000).collect::<Vec<_>>());
        assert_eq!(cache.at(first - 1).map(|chunk| chunk.offset()), None);
        assert_eq!(cache.search(Timestamp::from_micros(10 * first - 1)), None);
        cache.evict(None, Some(Duration::from_micros(999)));
        assert_eq!(cache.events(), 10);
        cache.evict(None, Some(Duration::MAX));
        assert_eq!((cache.events(), cache.bytes, cache.small, cache.small_bytes), (0, 0, 0, 0));
        cache.push(chunk(10_000, 3, &[106]), Duration::ZERO);
        assert_eq!(offsets(&cache, 10_000), [10_000, 10_001, 10_002]);
    }
}
