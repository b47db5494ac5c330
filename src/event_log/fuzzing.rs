//! What the fuzz targets in `fuzz/` call, because files are read by parts of the log that nobody else sees.
//!
//! Only there in a build for fuzzing, and in tests, which try each with a few seeded inputs. Each function takes
//! arbitrary bytes and panics if what must hold does not; one target calls each.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::Archive;
use super::index::{ENTRY_BYTES, HEADER, Index, IndexEntry, ParsedIndex, Restart, Summary, parse};
use super::manifest;
use super::names::index_path;
use super::record::{self, Entries, HEAD_BYTES, LOG_MAGIC, OPENED};
use super::repair::{Scanned, Trust, examine};
use super::source::Source;
use super::storage::memory::MemoryStorage;
use super::storage::{Access, Storage};
use super::{Batch, Chunk, Log, LogConfig, open, open_read_only, verify};
use crate::time::{Clock, Timestamp};

/// Bytes to be taken from the front; zeros once there are none left.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn short(&mut self) -> usize {
        usize::from(self.byte()) | usize::from(self.byte()) << 8
    }

    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

fn source(bytes: &[u8]) -> Source {
    let (storage, path) = (MemoryStorage::new(), Path::new("/s"));
    storage.put(path, bytes.to_vec());
    Source::File(storage.open(path, Access::Read).expect("is there"))
}

/// The bytes behind the head of a segment that nothing is known of.
pub fn record(bytes: &[u8]) {
    let checked = record::check(bytes);
    if let Ok((frame, stamp)) = checked {
        assert!(frame.bytes() <= bytes.len());
        let entry = Entries::new(bytes).next().expect("what was checked is an entry");
        assert_eq!(entry.timestamp, stamp);
        assert_eq!(entry.entry.len() + 1, frame.term);
    }
    let segment = [&LOG_MAGIC[..], &OPENED, bytes].concat();
    let latest = Timestamp::from_micros(1_900_000_000_000_000);
    for resynchronise in [true, false] {
        for latest in [latest, Timestamp::MAX] {
            let trust = Trust { resynchronise, latest };
            let end = segment.len() as u64;
            let found = examine(&mut source(&segment), &ParsedIndex::default(), end, &trust)
                .expect("reads");
            assert!(resynchronise || found.damage.is_empty());
            let records = covered(&segment, &found);
            assert_eq!(records.len() as u64, found.unchecked);
            assert!(records.iter().all(|(stamp, _)| *stamp <= latest));
            // With the index that comes of it, the same is found again.
            let mut index = found.index.clone();
            found.open.into_iter().for_each(|open| index.push(open));
            let parsed = parse(&index.to_file(0), end);
            assert_eq!(parsed.index.slots(), index.slots());
            let again = examine(&mut source(&segment), &parsed, end, &trust).expect("reads");
            assert_eq!(covered(&segment, &again), records);
        }
    }
}

/// The records of a segment, after a look at whether stretches and damage cover every byte of it once, in order.
fn covered(segment: &[u8], found: &Scanned) -> Vec<(Timestamp, Vec<u8>)> {
    let mut parts: Vec<(u64, u64)> =
        found.damage.iter().chain(&found.torn).map(|d| (d.position, d.bytes)).collect();
    let mut records = Vec::new();
    for stretch in found.index.slots().iter().map(|slot| slot.stretch).chain(found.open) {
        let (at, len) = (stretch.position, u64::from(stretch.bytes));
        let part = &segment[usize::try_from(at).expect("small")..][..stretch.bytes as usize];
        if !stretch.matches(part) {
            assert!(parts.contains(&(at, len)), "a stretch with other bytes is damage");
            continue;
        }
        let chunk = Chunk::checked(part.to_vec().into(), 0, stretch.count).expect("whole records");
        assert_eq!((chunk.first(), chunk.last()), (stretch.first, stretch.last));
        records.extend(chunk.entries().map(|entry| (entry.timestamp, entry.event.to_vec())));
        parts.push((at, len));
    }
    parts.sort_unstable();
    let end = parts.into_iter().fold(HEAD_BYTES, |behind, (at, len)| {
        assert_eq!(at, behind, "apart");
        at + len
    });
    assert_eq!(end, segment.len() as u64);
    records
}

/// An index file; a part of the time with checksums that hold.
pub fn index(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (mode, segment_bytes) = (input.byte(), input.short() as u64);
    let mut file = HEADER.to_vec();
    if mode & 1 == 0 {
        file.clear();
        file.extend_from_slice(input.0);
    } else {
        for body in input.0.chunks(ENTRY_BYTES - 4) {
            let mut body = body.to_vec();
            body.resize(ENTRY_BYTES - 4, 0);
            if mode & 2 != 0 && body[8..16] == [0; 8] {
                // The checksum of a summary.
                body[40..44].copy_from_slice(&crc32c::crc32c(&file).to_le_bytes());
            }
            let own = crc32c::crc32c(&body);
            file.extend_from_slice(&body);
            file.extend_from_slice(&own.to_le_bytes());
        }
    }
    for entry in file.get(HEADER.len()..).unwrap_or_default().chunks(ENTRY_BYTES) {
        if let Some(entry) = IndexEntry::decode(entry) {
            assert_eq!(IndexEntry::decode(&entry.encode()), Some(entry));
        }
    }
    let parsed = parse(&file, segment_bytes);
    let mut behind = HEAD_BYTES;
    for slot in parsed.index.slots() {
        assert!(slot.stretch.position >= behind && slot.stretch.end() <= segment_bytes, "apart");
        behind = slot.stretch.end();
    }
    assert!(parsed.sealed.is_none() || !parsed.is_damaged());
    let again = parse(&parsed.index.to_file(behind), segment_bytes);
    assert_eq!(again.index.slots(), parsed.index.slots());
    let summary = Summary {
        bytes: segment_bytes,
        count: parsed.index.count(),
        first: Timestamp::MIN,
        last: Timestamp::MAX,
        crc: 0,
    };
    if summary.count <= segment_bytes {
        let again = parse(&parsed.index.to_sealed_file(summary), segment_bytes);
        assert_eq!(again.index.slots(), parsed.index.slots());
        assert_eq!(again.index.restarts, parsed.index.restarts);
        assert!(again.sealed.is_some() && !again.is_damaged());
    }
    search(&parsed.index);
}

fn search(index: &Index) {
    index.content_crc();
    for slot in index.slots() {
        let found = index.search(slot.stretch.first).expect("is in there");
        assert!(found <= slot.ordinal);
        assert_eq!(index.slots_from(slot.ordinal)[0], *slot);
    }
}

/// A zip file, and places in it where inflating may not be able to begin.
pub fn zip(bytes: &[u8]) {
    let mut input = Input(bytes);
    let restart = Restart { position: input.short() as u64, packed: input.short() as u64 };
    let (storage, path) = (MemoryStorage::new(), Path::new("/s.zip"));
    storage.put(path, input.0.to_vec());
    let open = || Archive::open(storage.open(path, Access::Read).expect("is there"), "s").ok();
    let Some(mut archive) = open() else { return };
    let whole = archive.read(0, 1 << 20).expect("memory can be read");
    assert!(whole.len() as u64 <= archive.bytes);
    let mut archive = open().expect("opened before");
    for (position, bytes) in [(0, 100), (restart.position, 1000), (50, 1), (40, 70_000)] {
        let part = archive.read(position, bytes).expect("memory can be read");
        let at = usize::try_from(position).expect("short").min(whole.len());
        // Nothing is said of how much comes where the archive is damaged.
        let due = &whole[at..whole.len().min(at + bytes)];
        assert!(due.starts_with(&part) || part.starts_with(due));
    }
    archive.restarts.push(restart);
    for position in [0, restart.position, restart.position + 10, 1 << 40, u64::MAX - 10] {
        let part = archive.read(position, 1000).expect("memory can be read");
        assert!(part.len() <= 1000);
    }
    let mut source = Source::Archive(Box::new(archive));
    let end = source.bytes().expect("known");
    drop(examine(&mut source, &ParsedIndex::default(), end, &Trust::FOREIGN));
}

/// A log, of which files are changed, lost, or added; opened, read and verified.
pub fn directory(bytes: &[u8]) {
    let mut input = Input(bytes);
    let storage = MemoryStorage::new();
    let written = write(&storage, &mut input);
    let harm = harm(&storage, &mut input);
    let config = config();
    let verified = verify(&config, &storage, &mut |_| ());
    let clock = || Clock::manual(Timestamp::from_micros(START));
    let before = open_read_only(config.clone(), Arc::new(storage.clone())).map(|log| read(&log));
    let Ok((writer, log)) = open(config.clone(), Arc::new(storage.clone()), clock()) else {
        return;
    };
    let seen = read(&log);
    if let Ok(before) = before {
        assert!(harm.foreign || before == seen, "who only reads sees the same");
    }
    if !(harm.foreign || harm.segments && harm.indexes) {
        // Where a stretch is cut, its checksum tells nothing of what is left of it.
        if !(harm.cut && harm.flipped) {
            assert!(seen.iter().all(|entry| written.contains(entry)), "no_other_stamp");
            assert!(seen.is_sorted_by(|a, b| a.0 < b.0), "rising");
        }
        let sound = verified.is_ok_and(|verified| verified.is_sound());
        assert!(harm.segments || seen.len() == written.len(), "indexes cost no entry");
        assert!(!sound || harm.shorter || seen.len() == written.len(), "sound and yet missing");
    }
    drop(writer);
    drop(log);
    for close in [true, false] {
        let opened = open(config.clone(), Arc::new(storage.clone()), clock());
        let (writer, log) = opened.expect("what opened once opens again");
        assert_eq!(read(&log), seen, "opening again gives the same");
        if close {
            writer.close().expect("nothing fails");
        }
    }
}

const START: u64 = 1_700_000_000_000_000;

fn config() -> LogConfig {
    LogConfig::still("q", PathBuf::from("/log"), PathBuf::from("/archive"))
}

type Written = (Timestamp, Vec<u8>);

fn read(log: &Log) -> Vec<Written> {
    let (mut cursor, mut seen) = (log.cursor(Timestamp::MIN), Vec::new());
    while let Some(chunk) = cursor.next(1 << 20).expect("memory can be read") {
        seen.extend(chunk.entries().map(|entry| (entry.timestamp, entry.event.to_vec())));
    }
    seen
}

fn write(storage: &MemoryStorage, input: &mut Input<'_>) -> BTreeSet<Written> {
    let clock = Clock::manual(Timestamp::from_micros(START));
    let opened = open(config(), Arc::new(storage.clone()), clock.clone());
    let (mut writer, _log) = opened.expect("an empty directory opens");
    let (mut written, mut micros) = (BTreeSet::new(), START);
    for _ in 0..input.byte() % 16 {
        let what = input.byte();
        let mut batch = Batch::new();
        for _ in 0..what % 4 {
            micros += 1 + u64::from(what);
            let payload = match what & 16 {
                0 => input.take(usize::from(what >> 2) % 8 * 16),
                _ => &[7; 3000],
            };
            let len = u32::try_from(payload.len()).expect("short").to_be_bytes();
            let event = [&[109], &len[..], payload].concat();
            let stamp = Timestamp::from_micros(micros);
            batch.push(stamp, &event);
            written.insert((stamp, event));
        }
        writer.append(batch).expect("nothing fails");
        if what & 32 != 0 {
            writer.sync().expect("nothing fails");
        }
        if what & 64 != 0 {
            clock.step(micros.cast_signed() - clock.now().micros().cast_signed());
            writer.rotate().expect("nothing fails");
        }
    }
    match input.byte() % 2 {
        0 => writer.close().expect("nothing fails"),
        _ => drop(writer),
    }
    written
}

/// What was done to a log.
#[derive(Default)]
struct Harm {
    segments: bool,
    flipped: bool,
    cut: bool,
    indexes: bool,
    /// The live segment, or what tells of the others, ends before its end or is not there.
    shorter: bool,
    /// A segment has no index, or one that is not its own.
    foreign: bool,
}

fn harm(storage: &MemoryStorage, input: &mut Input<'_>) -> Harm {
    let mut harm = Harm::default();
    for _ in 0..input.byte() % 8 {
        let what = input.byte();
        let paths: Vec<_> = storage
            .paths()
            .into_iter()
            .filter(|p| p.extension().is_none_or(|e| e != "lock"))
            .collect();
        let Some(path) = paths.get(usize::from(input.byte()) % paths.len().max(1)) else { break };
        let ends = |ending| path.extension().is_some_and(|e| e == ending);
        let (is_index, is_manifest) = (ends("idx"), ends("manifest"));
        // Of the live segment nothing tells how long it was.
        let is_bounded =
            !is_manifest && !path.to_string_lossy().trim_end_matches(".idx").ends_with('q');
        if is_index || is_manifest {
            harm.indexes = true;
        } else {
            harm.segments = true;
        }
        let mut bytes = storage.bytes(path).expect("is there");
        match what % 8 {
            0..4 => {
                harm.flipped = true;
                let at = input.short();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (what >> 5);
                }
                // Such a file is no longer taken for a segment.
                harm.foreign |= !is_index && !is_manifest && at < 8;
                harm.shorter |= is_manifest;
            }
            4 => {
                harm.cut = true;
                bytes.truncate(input.short());
                harm.shorter |= !is_bounded;
                harm.foreign |= is_index;
            }
            5 => {
                storage.remove(path).expect("is there");
                harm.shorter |= !is_bounded;
                harm.foreign |= is_index;
                continue;
            }
            6 => {
                bytes.extend_from_slice(input.take(usize::from(what)));
                harm.foreign |= !is_manifest;
            }
            _ => {
                harm.foreign = true;
                let names = ["/log/q_2023-11-14_22-13-19.000Z", "/log/q.log", "/log/q"];
                let zip = "/archive/q_2023-11-14_22-13-20.500Z.zip";
                let mut name = PathBuf::from(match usize::from(what >> 3) % 4 {
                    3 => zip,
                    at => names[at],
                });
                if what & 32 != 0 {
                    name = index_path(&name);
                }
                let bytes = match what & 64 {
                    0 => bytes,
                    _ => input.take(usize::from(what)).to_vec(),
                };
                storage.put(&name, bytes);
                continue;
            }
        }
        storage.put(path, bytes);
    }
    harm
}

/// A manifest: what was understood of it is the same once it was written anew.
pub fn manifest(bytes: &[u8]) {
    let Some(mut listing) = manifest::parse(bytes) else { return };
    listing.bad_lines = 0;
    assert_eq!(manifest::parse(listing.to_file().as_bytes()), Some(listing));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::storage::memory::Seeded;

    /// Bytes of which many are small, in runs or not, and some are whole records.
    fn bytes(seeded: &mut Seeded) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..seeded.below(40) {
            match seeded.below(4) {
                0 => {
                    record::push(&mut out, Timestamp::from_micros(START + seeded.below(99)), &[106])
                }
                1 => out.extend((0..seeded.below(20)).map(|_| seeded.below(256).to_le_bytes()[0])),
                2 => out.extend((0..seeded.below(60)).map(|_| seeded.below(3).to_le_bytes()[0])),
                _ => out.push(seeded.below(256).to_le_bytes()[0]),
            }
        }
        out
    }

    /// `LOGMACHINE_FUZZ_SEED` gives the one to try, as it was said to have failed, `LOGMACHINE_FUZZ_TIMES` how many.
    fn check(target: fn(&[u8])) {
        let number = |name| std::env::var(name).ok().and_then(|value| value.parse().ok());
        let first: u64 = number("LOGMACHINE_FUZZ_SEED").unwrap_or(0);
        for seed in first..first + number("LOGMACHINE_FUZZ_TIMES").unwrap_or(200) {
            let bytes = bytes(&mut Seeded::new(seed));
            let tried = std::panic::catch_unwind(|| target(&bytes));
            assert!(tried.is_ok(), "failed with LOGMACHINE_FUZZ_SEED={seed}");
        }
    }

    /// The kinds of lines with arbitrary words, each under its checksum.
    #[test]
    fn arbitrary_manifests_are_read() {
        let words =
            ["have", "drop", "gone", "damaged", "known", "stamp", "boot", "0", "77", "ff", "a b"];
        let mut seeded = Seeded::new(7);
        for _ in 0..2000 {
            let mut file = String::new();
            for _ in 0..seeded.below(6) {
                let body: Vec<_> =
                    (0..seeded.below(10)).map(|_| words[seeded.index(words.len())]).collect();
                let body = body.join(" ");
                file.push_str(&format!("{:08x} {body}\n", crc32c::crc32c(body.as_bytes())));
            }
            manifest(file.as_bytes());
            manifest(&bytes(&mut seeded));
        }
    }

    #[test]
    fn arbitrary_records_are_scanned() {
        check(record);
    }

    #[test]
    fn arbitrary_indexes_are_parsed() {
        check(index);
    }

    #[test]
    fn arbitrary_archives_are_read_or_refused() {
        check(zip);
    }

    #[test]
    fn arbitrary_directories_are_opened_and_verified() {
        check(directory);
    }
}
