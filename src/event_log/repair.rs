//! Finding out what a segment holds when its index does not say, or is not to be believed.
//!
//! A stretch whose bytes lie behind what was known to be durable is compared with its checksum; bytes
//! that no stretch covers are scanned record by record. A tail in which nothing is whole was torn by a
//! crash; damage with whole records behind it is left where it is, and readers step over it.
//!
//! A scan sees whether a record is a well-formed term, not whether a binary inside it has the right bytes.
//! After the death of the process that is no matter, for the index is written with every append. After a
//! power loss it can let through a record that was never synced and lost a sector inside a binary.

use std::io;

use super::batch::Span;
use super::index::{Durable, Index, Parsed, Stretch};
use super::record::{self, Fault, Frame, HEAD_BYTES};
use super::segment::Source;
use crate::time::Timestamp;

/// How much a scan reads at once.
const SCAN_BYTES: usize = 1 << 20;

/// Bytes of a segment that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where they begin in the (unpacked) segment.
    pub position: u64,
    /// How many they are.
    pub bytes: u64,
    /// What is wrong with the first of them.
    pub what: &'static str,
}

/// What a segment turned out to hold.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Its closed stretches.
    pub(super) index: Index,
    /// The stretch behind them that still may grow.
    pub(super) open: Option<Stretch>,
    /// Damage with whole records behind it.
    pub(super) damage: Vec<Damage>,
    /// The tail in which nothing is whole.
    pub(super) torn: Option<Damage>,
}

impl Found {
    /// Counts one record, behind those before it.
    fn add(&mut self, position: u64, bytes: &[u8], stamp: Timestamp) {
        let span = Span { start: 0, end: bytes.len(), count: 1, first: stamp, last: stamp };
        match &mut self.open {
            Some(open) => open.grow(span, bytes),
            None => self.open = Some(Stretch::of_span(position, span, bytes)),
        }
        if self.open.as_ref().is_some_and(Stretch::is_full) {
            self.close();
        }
    }

    /// Closes the open stretch.
    pub(super) fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.index.push(open);
        }
    }
}

/// Scans a whole segment; every stretch is closed, a torn tail counts as damage.
pub(super) fn scan_all(source: &mut Source, segment_bytes: u64) -> io::Result<Found> {
    let mut found = Found::default();
    scan(source, HEAD_BYTES.min(segment_bytes), segment_bytes, &mut found)?;
    found.close();
    found.damage.extend(found.torn.take());
    Ok(found)
}

/// Checks what the index says of the bytes that may not have been durable, and scans what it does not cover.
pub(super) fn examine(
    source: &mut Source,
    parsed: &Parsed,
    segment_bytes: u64,
) -> io::Result<Found> {
    if !belongs(source, &parsed.index)? {
        let mut found = Found::default();
        scan(source, HEAD_BYTES.min(segment_bytes), segment_bytes, &mut found)?;
        return Ok(found);
    }
    let mut found = Found::default();
    let mut behind = HEAD_BYTES;
    // How many stretches there are up to the last whole one, where it ends, and the damage up to there.
    let (mut whole, mut whole_end, mut whole_damage) = (0, HEAD_BYTES, 0);
    for slot in parsed.index.slots() {
        let stretch = &slot.stretch;
        if stretch.position > behind {
            // Damage that was found before; or the entry in between reached the disk before it grew.
            scan(source, behind, stretch.position, &mut found)?;
            found.close();
            found.damage.extend(found.torn.take());
            if found.index.end() > Some(whole_end) {
                whole = found.index.slots().len();
                whole_end = found.index.end().unwrap_or(whole_end);
                whole_damage = found.damage.iter().filter(|d| d.position < whole_end).count();
            }
        }
        behind = stretch.end();
        let (good, bad) = split(source, stretch, parsed.durable)?;
        if let Some(good) = good {
            found.index.push(good);
            whole = found.index.slots().len();
            whole_end = good.end();
            whole_damage = found.damage.len();
        }
        if let Some(bad) = bad {
            let (position, bytes) = (bad.position, u64::from(bad.bytes));
            found.damage.push(Damage { position, bytes, what: "checksum does not match" });
            // It keeps its place in the index, where its checksum tells readers to step over it.
            found.index.push(bad);
        }
    }
    let indexed = found.index.slots().len();
    scan(source, behind, segment_bytes, &mut found)?;
    let nothing_behind = found.open.is_none() && found.index.slots().len() == indexed;
    if nothing_behind && whole_end < behind {
        // Nothing is whole behind the last whole stretch: all of that is the torn tail.
        let what = found.damage.get(whole_damage).map_or("bytes that are no records", |d| d.what);
        found.damage.truncate(whole_damage);
        found.index.truncate(whole);
        found.torn = Some(Damage { position: whole_end, bytes: segment_bytes - whole_end, what });
    }
    Ok(found)
}

/// What of a stretch is as it was written, and what is not.
fn split(
    source: &mut Source,
    stretch: &Stretch,
    durable: Durable,
) -> io::Result<(Option<Stretch>, Option<Stretch>)> {
    if stretch.end() <= durable.end {
        return Ok((Some(*stretch), None));
    }
    let bytes = source.read(stretch.position, stretch.bytes as usize)?;
    if stretch.matches(&bytes) {
        return Ok((Some(*stretch), None));
    }
    // It grew after a sync; what it was then may be good.
    let synced =
        durable.end.checked_sub(stretch.position).and_then(|len| usize::try_from(len).ok());
    let Some((good, bad)) = synced.and_then(|len| bytes.split_at_checked(len)) else {
        return Ok((None, Some(*stretch)));
    };
    let good = (crc32c::crc32c(good) == durable.crc)
        .then(|| Stretch::of_records(stretch.position, good))
        .flatten()
        .filter(|good| good.count < stretch.count);
    let Some(good) = good else { return Ok((None, Some(*stretch))) };
    let bad = Stretch {
        position: good.end(),
        bytes: stretch.bytes - good.bytes,
        count: stretch.count - good.count,
        first: good.last.next(),
        last: stretch.last.max(good.last.next()),
        // One that they do not have: their own checksum is not known.
        crc: !crc32c::crc32c(bad),
    };
    Ok((Some(good), Some(bad)))
}

/// Whether an index was made for this segment: a record begins where its first and its last stretch do,
/// with the stamp it says, in at least one of the two cases.
fn belongs(source: &mut Source, index: &Index) -> io::Result<bool> {
    let slots = index.slots();
    for slot in slots.first().into_iter().chain(slots.last()) {
        let begin = source.read(slot.stretch.position, record::MAX_OVERHEAD_BYTES)?;
        let header = match record::frame(&begin) {
            Ok(frame) => frame.header,
            // The event is longer than what was read; 8 or 24 bytes of header were.
            Err(Fault::Short { .. }) if begin.len() >= 24 => {
                if begin[..4] >= [0, 0, 0xff, 0xf8][..] && begin[4..8] == record::MAGIC {
                    24
                } else {
                    8
                }
            }
            Err(_) => continue,
        };
        let mut term = begin.get(header..).unwrap_or_default().to_vec();
        term.push(0);
        if record::stamp(&term).is_some_and(|(stamp, _)| stamp == slot.stretch.first) {
            return Ok(true);
        }
    }
    Ok(slots.is_empty())
}

/// Scans the records in `from..end`, adding them to `found`.
fn scan(source: &mut Source, from: u64, end: u64, found: &mut Found) -> io::Result<()> {
    let mut window = Window { source, bytes: Vec::new(), start: from, end };
    let mut position = from;
    while position < end {
        match window.check(position)? {
            Ok((frame, stamp)) => {
                let record = window.get(position, frame.bytes())?;
                found.add(position, &record[..frame.bytes()], stamp);
                position += frame.bytes() as u64;
            }
            Err(what) => {
                found.close();
                let Some(next) = window.next_whole(position + 1)? else {
                    found.torn = Some(Damage { position, bytes: end - position, what });
                    return Ok(());
                };
                found.damage.push(Damage { position, bytes: next - position, what });
                position = next;
            }
        }
    }
    Ok(())
}

/// A part of a segment in memory that only moves forward.
struct Window<'a> {
    source: &'a mut Source,
    bytes: Vec<u8>,
    start: u64,
    end: u64,
}

impl Window<'_> {
    /// The bytes from `position`: at least `wanted`, unless the segment ends before.
    fn get(&mut self, position: u64, wanted: usize) -> io::Result<&[u8]> {
        let skip = usize::try_from(position - self.start).unwrap_or(usize::MAX);
        if self.bytes.len() < skip.saturating_add(wanted) {
            self.bytes.drain(..skip.min(self.bytes.len()));
            self.start = position;
            let at = position + self.bytes.len() as u64;
            let missing = (wanted - self.bytes.len()).max(SCAN_BYTES);
            let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
            if left > 0 {
                let more = self.source.read(at, missing.min(left))?;
                self.bytes.extend_from_slice(&more);
            }
            return Ok(&self.bytes);
        }
        Ok(&self.bytes[skip..])
    }

    /// Checks the record at `position`.
    fn check(&mut self, position: u64) -> io::Result<Result<(Frame, Timestamp), &'static str>> {
        let mut wanted = record::MAX_OVERHEAD_BYTES;
        loop {
            let bytes = self.get(position, wanted)?;
            match record::check(bytes) {
                Ok(found) => return Ok(Ok(found)),
                Err(Fault::Bad(what)) => return Ok(Err(what)),
                Err(Fault::Short { needed }) if needed <= wanted.min(bytes.len()) => {
                    return Ok(Err("record is cut short"));
                }
                Err(Fault::Short { needed }) => {
                    let have = bytes.len();
                    if self.end - position < needed as u64 || (have < wanted && have < needed) {
                        return Ok(Err("record is cut short"));
                    }
                    wanted = needed;
                }
            }
        }
    }

    /// Where the next whole record begins, at `position` or later.
    fn next_whole(&mut self, mut position: u64) -> io::Result<Option<u64>> {
        while position + 8 <= self.end {
            let bytes = self.get(position, 8)?;
            if bytes.len() < 8 {
                return Ok(None);
            }
            // A size field that a record within the limit has, then a magic number.
            let begins =
                |w: &[u8]| w[0] <= 16 && matches!(w[4], 98 | 12) && matches!(w[5], 87 | 33);
            match bytes.windows(8).position(begins) {
                None => position += bytes.len() as u64 - 7,
                Some(at) => {
                    position += at as u64;
                    if self.check(position)?.is_ok() {
                        return Ok(Some(position));
                    }
                    position += 1;
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::event_log::storage::memory::MemoryStorage;
    use crate::event_log::storage::{Access, Storage, write_full};

    fn source(bytes: &[u8]) -> Source {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let file = storage.open(Path::new("/s"), Access::Create).expect("opens");
        write_full(&*file, bytes, 0).expect("writes");
        Source::File(file)
    }

    fn segment(records: u64, event: &[u8]) -> Vec<u8> {
        let mut bytes = [record::LOG_MAGIC, record::OPENED].concat();
        for micros in 1..=records {
            record::push(&mut bytes, Timestamp::from_micros(micros), event);
        }
        bytes
    }

    #[test]
    fn scan_finds_every_record_and_closes_stretches_at_their_stride() {
        let mut event = vec![109, 0, 1, 134, 160];
        event.resize(5 + 100_000, 98);
        for (records, event) in [(20_000, &[106][..]), (40, &event)] {
            let bytes = segment(records, event);
            let found = scan_all(&mut source(&bytes), bytes.len() as u64).expect("reads");
            assert_eq!(found.index.count(), records);
            assert_eq!(found.index.end(), Some(bytes.len() as u64));
            assert_eq!(found.damage, []);
            for slot in found.index.slots() {
                let at = usize::try_from(slot.stretch.position).expect("small");
                assert!(slot.stretch.matches(&bytes[at..][..slot.stretch.bytes as usize]));
                assert!(slot.stretch.is_full() || slot.end() == records);
            }
        }
    }

    #[test]
    fn scan_steps_over_damage_and_stops_at_a_torn_tail() {
        let bytes = segment(5, &[107, 0, 3, 1, 2, 3]);
        let record = (bytes.len() - 8) / 5;
        let mut flipped = bytes.clone();
        flipped[8 + record + 5] ^= 1;
        let found = scan_all(&mut source(&flipped), bytes.len() as u64).expect("reads");
        assert_eq!(found.index.count(), 4);
        let what = "no magic number";
        let damage = Damage { position: 8 + record as u64, bytes: record as u64, what };
        assert_eq!(found.damage, [damage]);

        for cut in 1..record {
            let end = (bytes.len() - cut) as u64;
            let mut found = Found::default();
            scan(&mut source(&bytes[..bytes.len() - cut]), 8, end, &mut found).expect("reads");
            let torn = found.torn.expect("torn");
            assert_eq!(torn.position + record as u64, bytes.len() as u64);
            assert_eq!(torn.bytes, (record - cut) as u64);
        }
    }

    #[test]
    fn an_index_of_another_segment_is_not_believed() {
        let ours = segment(5, &[106]);
        let mut theirs = segment(0, &[]);
        record::push(&mut theirs, Timestamp::from_micros(77), &[106]);
        let found = scan_all(&mut source(&theirs), theirs.len() as u64).expect("reads");
        let durable = Durable { end: u64::MAX, crc: 0 };
        let parsed = Parsed { index: found.index, durable, sealed: None };
        let examined = examine(&mut source(&ours), &parsed, ours.len() as u64).expect("reads");
        assert_eq!(examined.open.map(|open| open.count), Some(5));
    }
}
