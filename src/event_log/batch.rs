//! Records on their way into the log.

use super::index::STRIDE_BYTES;
use super::record;
use crate::time::Timestamp;

/// Records gathered for one write; they are framed as they are pushed, so writing is one call.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(super) bytes: Vec<u8>,
    spans: Vec<Span>,
    count: u64,
}

/// Whole records that share a checksum: a stretch of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) count: u32,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

impl Batch {
    /// A batch without records; it allocates with the first one.
    pub fn new() -> Self {
        Batch::default()
    }

    /// Adds the record of an entry. `event` is its term without version byte, already known to be well formed.
    ///
    /// Costs a copy of the event.
    ///
    /// # Panics
    ///
    /// If `stamp` is not later than the last one pushed: giving out rising stamps is the caller's job.
    pub fn push(&mut self, stamp: Timestamp, event: &[u8]) {
        assert!(self.last().is_none_or(|last| last < stamp), "stamps rise within a batch");
        let start = self.bytes.len();
        record::push(&mut self.bytes, stamp, event);
        let end = self.bytes.len();
        self.count += 1;
        match self.spans.last_mut() {
            Some(span) if span.end - span.start < STRIDE_BYTES => {
                span.end = end;
                span.count += 1;
                span.last = stamp;
            }
            _ => self.spans.push(Span { start, end, count: 1, first: stamp, last: stamp }),
        }
    }

    /// Bytes that will be written.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many records there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first record's timestamp.
    pub fn first(&self) -> Option<Timestamp> {
        self.spans.first().map(|span| span.first)
    }

    /// The last record's timestamp.
    pub fn last(&self) -> Option<Timestamp> {
        self.spans.last().map(|span| span.last)
    }

    /// The records, as a segment holds them.
    pub fn into_records(self) -> Vec<u8> {
        self.bytes
    }

    /// The stretches of the batch, in order.
    pub(super) fn spans(&self) -> impl Iterator<Item = Span> + '_ {
        self.spans.iter().copied()
    }
}
