//! Records on their way into the log.

use super::index::{STRIDE_BYTES, Span};
use super::record;
use crate::time::Timestamp;

/// Records gathered for one write; they are framed as they are pushed, so writing is one call.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(super) bytes: Vec<u8>,
    spans: Vec<Span>,
    count: u64,
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

    /// Takes off the first records, of at most so many bytes; `None` if those are none or all. Costs a copy of the rest.
    pub fn split_first(&mut self, at_most: usize) -> Option<Batch> {
        let spans = self.spans.partition_point(|span| span.end <= at_most);
        if spans == 0 || spans == self.spans.len() {
            return None;
        }
        let mut rest = Batch { spans: self.spans.split_off(spans), ..Batch::default() };
        let cut = self.spans[spans - 1].end;
        rest.bytes = self.bytes.split_off(cut);
        for span in &mut rest.spans {
            (span.start, span.end) = (span.start - cut, span.end - cut);
            rest.count += u64::from(span.count);
        }
        self.count -= rest.count;
        Some(std::mem::replace(self, rest))
    }

    /// Adds the records of a later batch.
    ///
    /// # Panics
    ///
    /// If that one is not later.
    pub fn join(&mut self, later: Batch) {
        assert!(self.last() < later.first() || later.is_empty(), "stamps rise within a batch");
        let behind = self.bytes.len();
        self.bytes.extend_from_slice(&later.bytes);
        let moved =
            |span: Span| Span { start: span.start + behind, end: span.end + behind, ..span };
        self.spans.extend(later.spans.into_iter().map(moved));
        self.count += later.count;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_split_and_joined_is_as_it_was() {
        let mut whole = Batch::new();
        for i in 0..1000 {
            whole.push(Timestamp::from_micros(i + 1), &[7; 300]);
        }
        let mut rest = whole.clone();
        assert!(rest.split_first(STRIDE_BYTES - 1).is_none(), "not even the first fits");
        assert!(rest.split_first(usize::MAX).is_none(), "all of it does");
        let mut first = rest.split_first(3 * STRIDE_BYTES).expect("some fit");
        assert!(first.bytes() <= 3 * STRIDE_BYTES && first.last() < rest.first());
        assert_eq!(first.count() + rest.count(), whole.count());
        first.join(rest);
        assert_eq!((&first.bytes, first.count), (&whole.bytes, whole.count));
        let ends =
            |batch: &Batch| batch.spans().map(|span| (span.start, span.end)).collect::<Vec<_>>();
        assert_eq!(ends(&first), ends(&whole));
    }
}
