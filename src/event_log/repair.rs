//! Finding out what a segment holds when its index does not say all of it.
//!
//! An index is believed: its entries have checksums of their own. A stretch whose bytes lie behind what was known
//! to be durable is compared with its checksum; bytes that no stretch covers are scanned record by record, from
//! where the stretch before them ends.
//!
//! Such a scan ends at the first byte that is no record, for behind it nothing tells a record from one that
//! somebody put into an event's binary. What is left there is damage if a stretch follows, else the torn tail. Only
//! in a segment that never had an index, because somebody else wrote it, the next whole record is looked for; and
//! wherever no checksum is, a record stamped far in the future is none.
//!
//! A scan sees whether a record is a well-formed term, not whether a binary inside it has the right bytes.
//! After the death of the process that is no matter, for the index is written with every append. After a
//! power loss it can let through a record that was never synced and lost a sector inside a binary.
//!
//! # Invariants
//!
//! - `no_forgery`: a record inside an event never becomes an entry where there is an index.
//! - `no_other_stamp`: a flipped bit costs entries, or nothing; it never changes one.

use std::io;
use std::ops::Range;
use std::time::Duration;

use super::index::{Durable, HEADER, Head, Index, ParsedIndex, Span, Stretch};
use super::record::{self, Frame, HEAD_BYTES, RecordError};
use super::source::Source;
use super::storage::is_lasting;
use crate::planted::planted;
use crate::time::Timestamp;

/// How much a scan reads at once.
const SCAN_BYTES: usize = 1 << 20;
/// How much is given up where a file cannot be read.
const UNREADABLE_BYTES: u64 = 4096;
/// How far a record without a checksum may be stamped after the latest one that has one.
pub(super) const LEAD: Duration = Duration::from_secs(24 * 3600);

/// [`Damage::what`] where the machine fails to read.
pub(super) const UNREADABLE: &str = "cannot be read";
pub(super) const MISMATCH: &str = "checksum does not match";
const LEFT_OUT: &str = "records that the index leaves out";
const IN_FUTURE: &str = "stamp far in the future";
const CUT_SHORT: &str = "record is cut short";

/// What is believed of bytes that no checksum covers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trust {
    /// Whether the next whole record is looked for behind damage. Only done where there is no index.
    pub(super) resynchronise: bool,
    /// A record stamped later is none: what the caller believes to be now, and [`LEAD`] more, or
    /// [`Timestamp::MAX`] where nothing is known. An index with later stamps raises it.
    pub(super) latest: Timestamp,
}

impl Trust {
    /// All that can be made of a segment that somebody else wrote.
    pub(super) const FOREIGN: Trust = Trust { resynchronise: true, latest: Timestamp::MAX };
}

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
pub(super) struct Scanned {
    /// Its closed stretches.
    pub(super) index: Index,
    /// The stretch behind them that still may grow; it lies right behind the last of them, or behind the bytes
    /// from which a scan begins.
    pub(super) open: Option<Stretch>,
    /// Damage that stays where it is: something follows it, or it cannot be read.
    pub(super) damage: Vec<Damage>,
    /// The tail in which nothing is whole.
    pub(super) torn: Option<Damage>,
    /// How many records were found by scanning: no checksum speaks for them.
    pub(super) unchecked: u64,
    /// How far the index reaches: from there on everything was found by scanning, or is torn.
    pub(super) checked_end: u64,
    /// How many stretches of the index are in the segment as they were written, or are known to be durable.
    pub(super) same: usize,
    /// Whether a stretch that may not have been durable could not be read: nobody knows how much of it is as it was written.
    pub(super) undecided: bool,
    /// Whether the index's file says something else of the records than is found here, or is of an older version.
    pub(super) rewrite: bool,
}

impl Scanned {
    /// Counts one record, behind those before it.
    fn add(&mut self, position: u64, bytes: &[u8], stamp: Timestamp) {
        let span = Span { start: 0, end: bytes.len(), count: 1, first: stamp, last: stamp };
        match &mut self.open {
            Some(open) => open.grow(span, bytes),
            None => self.open = Some(Stretch::of_span(position, span, bytes)),
        }
        self.unchecked += 1;
        if self.open.as_ref().is_some_and(Stretch::is_full) {
            self.close();
        }
    }

    /// Whether some of it could not be read that no checksum covers. An index that leaves that out must not pass for
    /// a complete one.
    pub(super) fn is_partial(&self) -> bool {
        let torn = self.torn.as_ref().into_iter();
        let mut unreadable = self.damage.iter().chain(torn).filter(|d| d.what == UNREADABLE);
        let positions = || self.index.slots().iter().map(|slot| slot.stretch.position);
        unreadable.any(|damage| positions().all(|position| position != damage.position))
    }

    /// Closes the open stretch.
    pub(super) fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.index.push(open);
        }
    }

    /// Everything up to here is as it should be, or can't be judged: it is not part of a torn tail.
    fn whole(&self) -> Whole {
        Whole {
            stretches: self.index.slots().len(),
            end: self.index.end().unwrap_or(HEAD_BYTES),
            damage: self.damage.len(),
        }
    }
}

/// How much there is up to the end of the last whole stretch.
#[derive(Clone, Copy)]
struct Whole {
    stretches: usize,
    end: u64,
    damage: usize,
}

/// Scans a whole segment that nothing is known of; every stretch is closed, a torn tail counts as damage. A
/// record stamped after `latest` is none.
///
/// # Errors
///
/// Those that go away by themselves; what cannot be read for good is damage.
pub(super) fn scan_all(
    source: &mut Source,
    segment_bytes: u64,
    latest: Timestamp,
) -> io::Result<Scanned> {
    let trust = Trust { latest, ..Trust::FOREIGN };
    let mut found = examine(source, &ParsedIndex::default(), segment_bytes, &trust)?;
    found.close();
    found.damage.extend(found.torn.take());
    Ok(found)
}

/// Checks what the index says of the bytes that may not have been durable, and scans what it does not cover.
///
/// Whether the index is this segment's is for the caller to know ([`ParsedIndex::first`]).
///
/// # Errors
///
/// Those that go away by themselves; what cannot be read for good is damage.
pub(super) fn examine(
    source: &mut Source,
    parsed: &ParsedIndex,
    segment_bytes: u64,
    trust: &Trust,
) -> io::Result<Scanned> {
    let latest = trust.latest.max(parsed.last().map_or(Timestamp::MIN, |last| later(last, LEAD)));
    let mut found = Scanned { checked_end: HEAD_BYTES.min(segment_bytes), ..Scanned::default() };
    // Once the index was complete, nothing can have been added: what it leaves out was damaged already.
    let sealed = parsed.sealed.is_some();
    let mut whole = found.whole();
    for slot in parsed.index.slots() {
        let stretch = &slot.stretch;
        let gap = found.checked_end..stretch.position;
        if !gap.is_empty() {
            // Damage that was found before; or the entry for it is damaged, or reached the disk before it grew.
            let stretches = found.index.slots().len();
            let rest = match sealed {
                true => left_out(source, gap.start, gap.end)?,
                false => scan(source, gap.start, gap.end, latest, false, &mut found)?,
            };
            found.close();
            if found.index.slots().len() > stretches {
                whole = found.whole();
            }
            found.damage.extend(rest);
        }
        found.checked_end = stretch.end();
        match compare(source, stretch, parsed.durable)? {
            Compared::Same => {
                found.same += 1;
                found.index.push(*stretch);
                whole = found.whole();
            }
            Compared::Unreadable => {
                found.damage.push(damage(stretch, UNREADABLE));
                found.undecided = true;
                found.index.push(*stretch);
                whole = found.whole();
            }
            Compared::Different(good, bad) => {
                if let Some(good) = good {
                    found.index.push(good);
                    whole = found.whole();
                }
                found.damage.push(damage(&bad, MISMATCH));
                // It keeps its place in the index, where its checksum tells readers to step over it.
                found.index.push(bad);
            }
        }
    }
    let behind = found.checked_end;
    if sealed {
        found.damage.extend(left_out(source, behind, segment_bytes)?);
    } else {
        let stretches = found.index.slots().len();
        let resynchronise = (trust.resynchronise && parsed.index.slots().is_empty())
            || planted("repair: not resynchronising");
        let damages = found.damage.len();
        let rest = scan(source, behind, segment_bytes, latest, resynchronise, &mut found)?;
        if found.damage.len() > damages {
            // The next time there is an index, and nothing behind this damage is looked for.
            found.close();
        }
        let nothing_behind = found.open.is_none() && found.index.slots().len() == stretches;
        match rest {
            Some(rest) if rest.what == UNREADABLE => found.damage.push(rest),
            _ if nothing_behind && whole.end < behind => {
                // Nothing is whole behind the last whole stretch: all of that is the torn tail.
                let first = found.damage.get(whole.damage);
                let what = first.or(rest.as_ref()).map_or("bytes that are no records", |d| d.what);
                found.damage.truncate(whole.damage);
                found.index.truncate(whole.stretches);
                found.checked_end = whole.end;
                found.torn =
                    Some(Damage { position: whole.end, bytes: segment_bytes - whole.end, what });
            }
            rest => found.torn = rest,
        }
    }
    let stretches =
        |index: &Index| index.slots().iter().map(|slot| slot.stretch).collect::<Vec<_>>();
    found.rewrite = parsed.is_damaged()
        || parsed.claimed_end > segment_bytes
        || !matches!(parsed.head, Head::Known { version } if version == HEADER[7])
        || found.open.is_some()
        || stretches(&found.index) != stretches(&parsed.index);
    Ok(found)
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
    Timestamp::from_micros(at.micros().saturating_add(micros))
}

/// What a segment of so many bytes lacks that was synced, as its index says.
pub(super) fn missing_behind(parsed: &ParsedIndex, bytes: u64) -> Option<Damage> {
    let lacks = parsed.durable.end.checked_sub(bytes.max(HEAD_BYTES)).filter(|lacks| *lacks > 0)?;
    Some(Damage { position: bytes, bytes: lacks, what: "it is shorter than it was" })
}

fn damage(stretch: &Stretch, what: &'static str) -> Damage {
    Damage { position: stretch.position, bytes: u64::from(stretch.bytes), what }
}

/// What a complete index leaves out of a segment; nothing of it becomes an entry.
fn left_out(source: &mut Source, from: u64, end: u64) -> io::Result<Option<Damage>> {
    if from >= end {
        return Ok(None);
    }
    let mut window = Window::new(source, from, end, Timestamp::MAX);
    let what = window.check(from)?.err().unwrap_or(LEFT_OUT);
    Ok(Some(Damage { position: from, bytes: end - from, what }))
}

/// What became of a stretch.
enum Compared {
    Same,
    Unreadable,
    /// Its first part, if that is as it was written, and the rest.
    Different(Option<Stretch>, Stretch),
}

fn compare(source: &mut Source, stretch: &Stretch, durable: Durable) -> io::Result<Compared> {
    if stretch.end() <= durable.end || planted("repair: doubting what was not synced") {
        return Ok(Compared::Same);
    }
    let bytes = match source.read(stretch.position, stretch.bytes as usize) {
        Ok(bytes) => bytes,
        Err(error) if !is_lasting(&error) => return Err(error),
        Err(_) => return Ok(Compared::Unreadable),
    };
    if stretch.matches(&bytes) || planted("repair: comparing checksums") {
        return Ok(Compared::Same);
    }
    // It grew after a sync; what it was then may be good.
    let synced =
        durable.end.checked_sub(stretch.position).and_then(|len| usize::try_from(len).ok());
    let Some((good, bad)) = synced.and_then(|len| bytes.split_at_checked(len)) else {
        return Ok(Compared::Different(None, *stretch));
    };
    let is_good = crc32c::crc32c(good) == durable.crc;
    let good = (is_good && !planted("repair: saving what was synced of a stretch"))
        .then(|| Stretch::of_records(stretch.position, good))
        .flatten()
        .filter(|good| good.count < stretch.count && good.bytes < stretch.bytes);
    let Some(good) = good else { return Ok(Compared::Different(None, *stretch)) };
    let bad = Stretch {
        position: good.end(),
        bytes: stretch.bytes - good.bytes,
        count: stretch.count - good.count,
        first: good.last.next(),
        last: stretch.last.max(good.last.next()),
        // One that they do not have: their own checksum is not known.
        crc: !crc32c::crc32c(bad),
    };
    Ok(Compared::Different(Some(good), bad))
}

/// Adds the records in `from..end` to `found`; what is left where no record follows, or none is looked for.
fn scan(
    source: &mut Source,
    from: u64,
    end: u64,
    latest: Timestamp,
    resynchronise: bool,
    found: &mut Scanned,
) -> io::Result<Option<Damage>> {
    let mut window = Window::new(source, from, end, latest);
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
                let next = if resynchronise { window.next_whole(position + 1)? } else { None };
                let behind = next.unwrap_or(end);
                let what = if window.is_unreadable(position, behind) { UNREADABLE } else { what };
                let damage = Damage { position, bytes: behind - position, what };
                if next.is_none() {
                    return Ok(Some(damage));
                }
                found.damage.push(damage);
                position = behind;
            }
        }
    }
    Ok(None)
}

/// A part of a segment in memory that only moves forward.
struct Window<'a> {
    source: &'a mut Source,
    bytes: Vec<u8>,
    start: u64,
    end: u64,
    /// A record stamped later is none.
    latest: Timestamp,
    /// What could not be read and is zeros in `bytes`, rising.
    unreadable: Vec<Range<u64>>,
}

impl<'a> Window<'a> {
    fn new(source: &'a mut Source, start: u64, end: u64, latest: Timestamp) -> Self {
        Window { source, bytes: Vec::new(), start, end, latest, unreadable: Vec::new() }
    }

    /// Whether some of `from..end` could not be read, as far as that was tried.
    fn is_unreadable(&self, from: u64, end: u64) -> bool {
        let at = self.unreadable.partition_point(|range| range.end <= from);
        self.unreadable.get(at).is_some_and(|range| range.start < end)
    }

    /// `bytes` bytes at `position`, fewer if the segment ends there; zeros where they cannot be read.
    fn read(&mut self, position: u64, bytes: usize) -> io::Result<Vec<u8>> {
        match self.source.read(position, bytes) {
            Err(error) if is_lasting(&error) => {}
            other => return other,
        }
        let block_bytes = match self.source {
            Source::File(_) => UNREADABLE_BYTES,
            // Behind a place that cannot be inflated nothing can be until the next restart.
            Source::Archive(_) => SCAN_BYTES as u64,
        };
        let mut out = Vec::with_capacity(bytes);
        let (mut at, end) = (position, position + bytes as u64);
        while at < end {
            let behind = ((at / block_bytes + 1) * block_bytes).min(end);
            let wanted = usize::try_from(behind - at).expect("a block");
            match self.source.read(at, wanted) {
                Ok(block) => {
                    out.extend_from_slice(&block);
                    if block.len() < wanted {
                        break;
                    }
                }
                Err(error) if !is_lasting(&error) => return Err(error),
                Err(_) => {
                    out.resize(out.len() + wanted, 0);
                    self.unreadable.push(at..behind);
                }
            }
            at = behind;
        }
        Ok(out)
    }

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
                let more = self.read(at, missing.min(left))?;
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
            let have = bytes.len();
            let what = match record::check(bytes) {
                Ok((frame, stamp)) if stamp <= self.latest => {
                    let end = position + frame.bytes() as u64;
                    let good = !self.is_unreadable(position, end);
                    return Ok(if good { Ok((frame, stamp)) } else { Err(UNREADABLE) });
                }
                Ok(_) => IN_FUTURE,
                Err(RecordError::Bad(what)) => what,
                Err(RecordError::Short { needed })
                    if have >= needed
                        || have < wanted
                        || self.end.saturating_sub(position) < needed as u64 =>
                {
                    CUT_SHORT
                }
                Err(RecordError::Short { needed }) => {
                    wanted = needed;
                    continue;
                }
            };
            let seen = position + wanted.min(have) as u64;
            return Ok(Err(if self.is_unreadable(position, seen) { UNREADABLE } else { what }));
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
    use crate::event_log::storage::{Access, Storage, StorageFile, write_full};

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

    /// The scan is of a segment without any index.
    fn scanned(bytes: &[u8]) -> Scanned {
        examined(bytes, &ParsedIndex::default(), &Trust::FOREIGN)
    }

    fn examined(bytes: &[u8], parsed: &ParsedIndex, trust: &Trust) -> Scanned {
        examine(&mut source(bytes), parsed, bytes.len() as u64, trust).expect("reads")
    }

    /// A segment of these records, with an index whose stretches hold so many records each.
    fn indexed(records: &[Vec<u8>], stretches: &[usize]) -> (Vec<u8>, Index) {
        let mut bytes = segment(0, &[]);
        let (mut index, mut records) = (Index::default(), records.iter());
        for count in stretches {
            let position = bytes.len();
            records.by_ref().take(*count).for_each(|record| bytes.extend_from_slice(record));
            let stretch = Stretch::of_records(position as u64, &bytes[position..]);
            index.push(stretch.expect("whole records"));
        }
        records.for_each(|record| bytes.extend_from_slice(record));
        (bytes, index)
    }

    fn record_of(stamp: u64, event: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        record::push(&mut out, Timestamp::from_micros(stamp), event);
        out
    }

    /// An event that is a binary of these bytes.
    fn binary(bytes: &[u8]) -> Vec<u8> {
        let len = u32::try_from(bytes.len()).expect("short").to_be_bytes();
        [&[109], &len[..], bytes].concat()
    }

    /// The records that readers get, and whether all that is missing is said to be damaged or torn.
    fn read(bytes: &[u8], found: &Scanned) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        let slots = found.index.slots().iter().map(|slot| slot.stretch).chain(found.open);
        let mut covered = HEAD_BYTES;
        let damaged = |position, end| {
            found.damage.iter().any(|d| d.position <= position && d.position + d.bytes >= end)
        };
        for stretch in slots {
            assert!(covered == stretch.position || damaged(covered, stretch.position));
            covered = stretch.end();
            let at = usize::try_from(stretch.position).expect("short");
            let part = &bytes[at..][..stretch.bytes as usize];
            if !stretch.matches(part) {
                continue;
            }
            let mut entries = record::Entries::new(part);
            let mut rest = part;
            while entries.next().is_some() {
                let (record, next) = rest.split_at(rest.len() - entries.rest().len());
                records.push(record.to_vec());
                rest = next;
            }
            assert!(rest.is_empty());
        }
        let end = bytes.len() as u64;
        let torn = found.torn.as_ref().map_or(end, |torn| torn.position);
        assert!(covered == torn || damaged(covered, torn), "{found:?}");
        records
    }

    fn live(index: &Index, durable: u64, segment_bytes: usize) -> ParsedIndex {
        super::super::index::parse(&index.to_file(durable), segment_bytes as u64)
    }

    #[test]
    fn scan_finds_every_record_and_closes_stretches_at_their_stride() {
        let mut event = vec![109, 0, 1, 134, 160];
        event.resize(5 + 100_000, 98);
        for (records, event) in [(20_000, &[106][..]), (40, &event)] {
            let bytes = segment(records, event);
            let found =
                scan_all(&mut source(&bytes), bytes.len() as u64, Timestamp::MAX).expect("reads");
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
        let found =
            scan_all(&mut source(&flipped), bytes.len() as u64, Timestamp::MAX).expect("reads");
        assert_eq!(found.index.count(), 4);
        let what = "no magic number";
        let damage = Damage { position: 8 + record as u64, bytes: record as u64, what };
        assert_eq!(found.damage, [damage]);

        for cut in 1..record {
            let torn = scanned(&bytes[..bytes.len() - cut]).torn.expect("torn");
            assert_eq!(torn.position + record as u64, bytes.len() as u64);
            assert_eq!(torn.bytes, (record - cut) as u64);
        }
    }

    /// Flips each bit of a segment, of which nothing, all, or a part is known to be durable.
    #[test]
    fn a_flipped_bit_is_damage_or_torn_and_never_another_entry() {
        let records: Vec<_> =
            (1..=12).map(|i| record_of(1_700_000_000_000_000 + i, &binary(&[7; 9]))).collect();
        let trust =
            Trust { resynchronise: true, latest: Timestamp::from_micros(1_800_000_000_000_000) };
        for stretches in [&[12][..], &[4, 3, 5], &[1; 12], &[4, 4]] {
            let (bytes, index) = indexed(&records, stretches);
            let behind = index.end().expect("some");
            for durable in [0, bytes.len() as u64, index.slots()[0].stretch.end()] {
                let parsed = live(&index, durable, bytes.len());
                assert_eq!(read(&bytes, &examined(&bytes, &parsed, &trust)), records);
                for bit in 0..8 * bytes.len() {
                    let mut flipped = bytes.clone();
                    flipped[bit / 8] ^= 1 << (bit % 8);
                    let position = (bit / 8) as u64;
                    let found = examined(&flipped, &parsed, &trust);
                    let seen = read(&flipped, &found);
                    if position < HEAD_BYTES {
                        assert_eq!((seen, found.damage), (records.clone(), vec![]), "harmless");
                        continue;
                    }
                    if position >= behind {
                        // No checksum speaks for these.
                        assert_eq!(seen[..8], records[..8]);
                        continue;
                    }
                    let stretch =
                        index.slots().iter().map(|s| s.stretch).find(|s| position < s.end());
                    let stretch = stretch.expect("covered");
                    let lost = |record: &&Vec<u8>| !seen.contains(record);
                    assert!(seen.iter().all(|record| records.contains(record)), "no_other_stamp");
                    let lost = records.iter().filter(lost).count();
                    assert_eq!(lost, stretch.count as usize, "{bit}");
                    if position < durable {
                        // Not looked at; its checksum tells readers.
                        assert_eq!((found.damage, found.torn), (vec![], None));
                    } else if let Some(torn) = found.torn {
                        assert_eq!((torn.position, torn.what), (stretch.position, MISMATCH));
                        assert_eq!(stretch.end(), bytes.len() as u64);
                    } else {
                        assert_eq!(found.damage, [damage(&stretch, MISMATCH)]);
                    }
                }
            }
        }
    }

    /// Flips each bit of an index, complete or not: all entries are still there, and the index is to be written anew.
    #[test]
    fn a_flipped_bit_of_an_index_costs_no_entry() {
        let records: Vec<_> = (1..=12).map(|i| record_of(i << 33, &binary(&[7; 9]))).collect();
        for stretches in [&[12][..], &[4, 3, 5]] {
            let (bytes, index) = indexed(&records, stretches);
            let (first, last) = index.interval().expect("some");
            let summary = super::super::index::Summary {
                bytes: bytes.len() as u64,
                count: 12,
                first,
                last,
                crc: 0,
            };
            let end = bytes.len() as u64;
            for file in [index.to_file(0), index.to_file(end), index.to_sealed_file(summary)] {
                let parsed = super::super::index::parse(&file, end);
                assert!(!examined(&bytes, &parsed, &Trust::FOREIGN).rewrite);
                for bit in 0..8 * file.len() {
                    let mut flipped = file.clone();
                    flipped[bit / 8] ^= 1 << (bit % 8);
                    let parsed = super::super::index::parse(&flipped, end);
                    let mut found = examined(&bytes, &parsed, &Trust::FOREIGN);
                    assert_eq!(read(&bytes, &found), records);
                    assert_eq!((found.damage.len(), &found.torn), (0, &None));
                    assert!(found.rewrite);
                    found.close();
                    assert_eq!(found.index.content_crc(), index.content_crc());
                }
            }
        }
    }

    /// An event's binary holds whole records. Every cut of it, and every flip of its framing, in the tail, in a gap,
    /// and beside an index that covers nothing.
    #[test]
    fn records_inside_an_event_never_become_entries() {
        let forged = record_of(9_000_000_000_000_000_000, &[106]);
        let inner = [&forged[..], &forged, &record_of(30, &[106]), &forged].concat();
        let records = [
            record_of(1, &[106]),
            record_of(2, &[106]),
            record_of(3, &binary(&inner)),
            record_of(40, &[106]),
        ];
        let trust = Trust { resynchronise: true, latest: Timestamp::MAX };
        let (bytes, index) = indexed(&records, &[2]);
        let (behind, last) = (index.end().expect("some"), records[3].len());
        let at = usize::try_from(behind).expect("short");
        let parsed = live(&index, behind, bytes.len());
        for cut in at..bytes.len() - last {
            let found = examined(&bytes[..cut], &parsed, &trust);
            assert_eq!(read(&bytes[..cut], &found), records[..2], "no_forgery");
            assert_eq!(found.torn.map_or(0, |torn| torn.bytes), (cut - at) as u64);
            assert_eq!((found.unchecked, found.checked_end), (0, behind));
        }
        let (_, all) = indexed(&records, &[2, 1, 1]);
        // The entry in the middle is damaged.
        let mut file = all.to_file(bytes.len() as u64);
        file[8 + 48 + 3] ^= 1;
        let gap = super::super::index::parse(&file, bytes.len() as u64);
        assert_eq!(gap.bad_entries, 1);
        let whole = examined(&bytes, &gap, &trust);
        assert_eq!((read(&bytes, &whole), whole.unchecked), (records.to_vec(), 1));
        for flip in (at..at + 30).flat_map(|byte| (0..8).map(move |bit| (byte, 1 << bit))) {
            let mut flipped = bytes.clone();
            flipped[flip.0] ^= flip.1;
            let found = examined(&flipped, &parsed, &trust);
            let seen = read(&flipped, &found);
            // A scan can't tell a stamp from another.
            let is_stamp = seen.len() == 4 && seen[2].len() == records[2].len();
            assert!(is_stamp || seen == records[..2], "no_forgery: {flip:?}");
            let found = examined(&flipped, &gap, &trust);
            let seen = read(&flipped, &found);
            let others = [&records[..2], &records[3..]].concat();
            assert!(is_stamp || seen == others, "no_forgery: {flip:?}");
            assert_eq!(found.damage.len(), usize::from(!is_stamp));
        }
        // Without an index only the stamp tells, or that the segment is ours.
        let mut flipped = bytes.clone();
        flipped[at + 4] ^= 1;
        let now = Timestamp::from_micros(100);
        for (trust, seen) in [
            (Trust { resynchronise: true, latest: now }, [1, 2, 30, 40].as_slice()),
            (Trust { resynchronise: false, latest: Timestamp::MAX }, &[1, 2]),
        ] {
            let found = examined(&flipped, &ParsedIndex::default(), &trust);
            let stamps: Vec<_> = read(&flipped, &found)
                .iter()
                .map(|record| record::check(record).expect("whole").1.micros())
                .collect();
            assert_eq!(stamps, seen);
        }
    }

    #[test]
    fn a_stamp_far_in_the_future_needs_a_checksum() {
        let day = 86_400_000_000;
        let records = [
            record_of(5 * day, &[106]),
            record_of(6 * day, &[106]),
            record_of(6 * day + 1, &[106]),
        ];
        let (bytes, index) = indexed(&records, &[1]);
        let trust = Trust { resynchronise: true, latest: Timestamp::from_micros(1) };
        let found = examined(&bytes, &live(&index, 0, bytes.len()), &trust);
        assert_eq!(read(&bytes, &found), records[..2]);
        assert_eq!(found.torn.map(|torn| torn.what), Some(IN_FUTURE));
        assert_eq!(read(&bytes, &examined(&bytes, &ParsedIndex::default(), &trust)).len(), 0);
        let (bytes, index) = indexed(&records, &[3]);
        let found = examined(&bytes, &live(&index, 0, bytes.len()), &trust);
        assert_eq!((read(&bytes, &found), found.torn), (records.to_vec(), None));
    }

    #[test]
    fn what_a_complete_index_leaves_out_stays_out_and_is_said() {
        let records: Vec<_> = (1..=6).map(|i| record_of(i, &[106])).collect();
        let (bytes, index) = indexed(&records, &[2, 2]);
        let mut gap = Index::default();
        let last = index.slots()[1].stretch;
        gap.push(last);
        let (first, reach) = gap.interval().expect("some");
        let summary = super::super::index::Summary {
            bytes: bytes.len() as u64,
            count: 2,
            first,
            last: reach,
            crc: 0,
        };
        let mut parsed =
            super::super::index::parse(&gap.to_sealed_file(summary), bytes.len() as u64);
        assert!(parsed.sealed.is_some());
        let found = examined(&bytes, &parsed, &Trust::FOREIGN);
        assert_eq!(read(&bytes, &found), records[2..4]);
        assert_eq!(found.torn, None);
        assert_eq!(found.damage.iter().map(|d| d.what).collect::<Vec<_>>(), [LEFT_OUT; 2]);
        parsed.sealed = None;
        assert_eq!(read(&bytes, &examined(&bytes, &parsed, &Trust::FOREIGN)), records);
    }

    /// A file of which some bytes can't be read.
    #[derive(Debug)]
    struct BadSectors {
        bytes: Vec<u8>,
        bad: Range<u64>,
        error: rustix::io::Errno,
    }

    impl StorageFile for BadSectors {
        fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
            let at = usize::try_from(position).expect("short").min(self.bytes.len());
            let len = buffer.len().min(self.bytes.len() - at);
            if position < self.bad.end && position + len as u64 > self.bad.start {
                return Err(self.error.into());
            }
            buffer[..len].copy_from_slice(&self.bytes[at..][..len]);
            Ok(len)
        }

        fn write_at(&self, _bytes: &[u8], _position: u64) -> io::Result<usize> {
            unreachable!("only read")
        }

        fn bytes(&self) -> io::Result<u64> {
            Ok(self.bytes.len() as u64)
        }

        fn set_bytes(&self, _bytes: u64) -> io::Result<()> {
            unreachable!("only read")
        }

        fn sync(&self) -> io::Result<()> {
            unreachable!("only read")
        }
    }

    #[test]
    fn a_bad_sector_costs_what_lies_in_it_and_is_never_torn() {
        use rustix::io::Errno;
        let records: Vec<_> = (1..=40).map(|i| record_of(i, &binary(&[7; 1000]))).collect();
        let (bytes, index) = indexed(&records, &[10, 10, 10, 10]);
        let (_, half) = indexed(&records, &[10, 10]);
        let end = bytes.len() as u64;
        for bad in [9..10, 8192..8193, 12_000..13_000, 24_576..28_672, end - 1..end] {
            for (parsed, all) in [
                (ParsedIndex::default(), 0),
                (live(&half, 0, bytes.len()), 2),
                (live(&index, 0, bytes.len()), 4),
            ] {
                let file = |error| {
                    let (bytes, bad) = (bytes.clone(), bad.clone());
                    Source::File(Arc::new(BadSectors { bytes, bad, error }))
                };
                let trust = Trust::FOREIGN;
                let busy = examine(&mut file(Errno::MFILE), &parsed, end, &trust);
                assert!(busy.is_err_and(|error| !is_lasting(&error)));
                let found = examine(&mut file(Errno::IO), &parsed, end, &trust).expect("goes on");
                assert_eq!(found.torn, None, "{bad:?}");
                assert!(found.damage.iter().all(|d| d.what == UNREADABLE), "{found:?}");
                assert_eq!(found.damage.len(), 1);
                let damage = &found.damage[0];
                assert!(damage.position <= bad.start && bad.end <= damage.position + damage.bytes);
                let lost = damage.bytes / records[0].len() as u64;
                match all {
                    // Whole records; the next is found.
                    0 => assert!(
                        lost <= 9
                            && found.index.count()
                                == 40 - lost - u64::from(found.open.map_or(0, |o| o.count))
                    ),
                    _ if bad.start < half.end().expect("some") || all == 4 => assert_eq!(lost, 10),
                    // The rest.
                    _ => assert_eq!(damage.position + damage.bytes, end),
                }
            }
        }
    }
}
