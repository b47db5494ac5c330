//! The log as a whole: crashes, damage, readers at work while the writer is.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::keeper::Keeper;
use super::open::open_with;
use super::storage::memory::{Call, MemoryStorage, Seeded};
use super::storage::{RealStorage, Storage};
use super::*;
use crate::time::{Clock, Timestamp};

mod contents;
mod disk_log;
mod faults;
mod file_names;
mod model;
mod old;
mod planted;
mod promises;
mod simulation;

const MIN: Timestamp = Timestamp::MIN;

fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn config(dir: &Path) -> LogConfig {
    LogConfig {
        name: "quotes".into(),
        dir: dir.to_owned(),
        arch_dir: dir.join("archive"),
        segment_bytes: None,
        reopen_period: None,
        cache_bytes: None,
        evict_after: None,
        evict_period: Duration::from_secs(5),
        archive_after: None,
        archive_period: Duration::from_secs(3600),
        delete_after: None,
        max_bytes: None,
        min_free_bytes: None,
        scrub_period: None,
    }
}

fn clock() -> Clock {
    Clock::manual(at(1_700_000_000_000_000))
}

/// Doing things at a time.
trait AtTime {
    fn rotate_at(&mut self, at: Timestamp) -> Result<(), AppendError>;
    fn maintain_at(&mut self, at: Timestamp) -> Result<Duration, AppendError>;
}

impl AtTime for Writer {
    fn rotate_at(&mut self, at: Timestamp) -> Result<(), AppendError> {
        go_to(self.clock(), at);
        self.rotate()
    }

    fn maintain_at(&mut self, at: Timestamp) -> Result<Duration, AppendError> {
        go_to(self.clock(), at);
        self.maintain()
    }
}

/// Lets time pass until then; the clock may step back.
fn go_to(clock: &Clock, at: Timestamp) {
    clock.step(at.micros().cast_signed() - clock.now().micros().cast_signed());
}

fn open_in(config: LogConfig, storage: &MemoryStorage) -> Result<(Writer, Log), OpenError> {
    open_with(config, Arc::new(storage.clone()), clock(), Keeper::Inline)
}

fn reopen(storage: &MemoryStorage) -> (Writer, Log) {
    open_in(config(Path::new("/log")), storage).expect("opens")
}

/// An event of `bytes` bytes and a few more that begins with its stamp. Where a sector is missing from it,
/// it is no term.
fn event(stamp: u64, bytes: usize) -> Vec<u8> {
    let mut event = vec![104, 2, 109, 0, 0, 0, 8];
    event.extend_from_slice(&stamp.to_be_bytes());
    if bytes >= 2 {
        event.push(108);
        event.extend_from_slice(&u32::try_from(bytes / 2).expect("small").to_be_bytes());
        event.extend([104, 0].repeat(bytes / 2));
    }
    event.push(106);
    event
}

fn batch(stamps: impl IntoIterator<Item = u64>, bytes: usize) -> Batch {
    let mut batch = Batch::new();
    for stamp in stamps {
        batch.push(at(stamp), &event(stamp, bytes));
    }
    batch
}

/// The stamps a cursor gives, each event compared with what its stamp says it must be.
fn stamps(cursor: &mut Cursor, max_bytes: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    while let Some(chunk) = cursor.next(max_bytes).expect("reads") {
        take(&chunk, &mut seen);
    }
    seen
}

fn take(chunk: &Chunk, seen: &mut Vec<u64>) {
    assert_eq!(chunk.len(), chunk.entries().count());
    for entry in chunk.entries() {
        let stamp = entry.timestamp.micros();
        assert_eq!(entry.event[7..15], stamp.to_be_bytes());
        assert_eq!(entry.event, event(stamp, entry.event.len().saturating_sub(21)));
        seen.push(stamp);
    }
}

/// All entries, read forwards; reading backwards gives the same.
fn all(log: &Log) -> Vec<u64> {
    let seen = stamps(&mut log.cursor(MIN), 1 << 16);
    let (mut back, errors) = stamps_back(log.backward_cursor(Timestamp::MAX, MIN, false));
    back.reverse();
    assert_eq!((back == seen, errors.len()), (true, 0), "{back:?} is not {seen:?}");
    seen
}

fn live(storage: &MemoryStorage) -> Vec<u8> {
    storage.bytes(Path::new("/log/quotes")).expect("is there")
}

/// Many readers that let go at every turn, often of entries that they were handed and did not use, over segments, live
/// file and cache; and how many files stay open if they don't.
#[test]
fn a_cursor_that_lets_go_hands_out_each_entry_once_and_few_keep_files_open() {
    let storage = MemoryStorage::new();
    let mut small = config(Path::new("/log"));
    small.segment_bytes = Some(40_000);
    small.cache_bytes = Some(30_000);
    let (mut writer, log) = open_in(small, &storage).expect("opens");
    for round in 0..40 {
        writer.append(batch(1 + round * 100..101 + round * 100, 20)).expect("appends");
    }
    let due: Vec<u64> = (1..4_001).collect();
    for unused in 0..3 {
        let (mut cursor, mut seen) = (log.cursor(MIN), Vec::new());
        while let Some(chunk) = cursor.next(700).expect("reads") {
            let used = chunk.len().saturating_sub(unused).max(1);
            let rest = chunk.clone().without_first(used);
            seen.extend(chunk.entries().take(used).map(|entry| entry.timestamp.micros()));
            let next = rest.as_ref().map_or_else(|| cursor.position(), Chunk::first);
            cursor.let_go(rest);
            assert!(!cursor.holds_something());
            assert_eq!(cursor.position(), next);
        }
        assert_eq!(seen, due, "{unused}");
    }
    let mut cursors: Vec<_> = (0..400).map(|_| log.cursor(MIN)).collect();
    for cursor in &mut cursors {
        // One segment's first entries: the file stays open, if it may.
        assert!(cursor.next(1 << 20).expect("reads").is_some());
    }
    let open = cursors.iter().filter(|cursor| cursor.holds_something()).count();
    assert!((1..=128).contains(&open), "few_files: {open}");
    for cursor in &mut cursors {
        while cursor.next(1 << 20).expect("reads").is_some() {}
    }
    assert!(!cursors.iter().any(Cursor::holds_something), "few_files: at the live end");
}

#[test]
fn what_was_appended_is_read_from_any_time() {
    let storage = MemoryStorage::new();
    let mut small = config(Path::new("/log"));
    small.segment_bytes = Some(40_000);
    small.cache_bytes = Some(30_000);
    let (mut writer, log) = open_in(small, &storage).expect("opens");
    assert_eq!(log.interval(), None);
    assert!(all(&log).is_empty());
    let mut watch = log.watch();
    for i in 0..200 {
        let committed = writer.append(batch(i * 30 + 1..=i * 30 + 10, 50)).expect("appends");
        assert_eq!(committed.offset, (i + 1) * 10);
        assert_eq!(*watch.borrow_and_update(), committed);
    }
    let appended: Vec<u64> = (0..200).flat_map(|i| i * 30 + 1..=i * 30 + 10).collect();
    assert!(log.stats().rotations > 3);
    assert!(log.stats().cache_bytes <= 30_000);
    let check = |log: &Log| {
        assert_eq!(log.interval(), Some((at(1), at(5980))));
        for from in (0..6000).step_by(7) {
            for max_bytes in [1, 5000, 1 << 20] {
                let mut cursor = log.cursor(at(from));
                assert_eq!(cursor.position(), at(from));
                let expected: Vec<_> = appended.iter().copied().filter(|s| *s >= from).collect();
                assert_eq!(stamps(&mut cursor, max_bytes), expected);
                assert_eq!(cursor.position(), at(expected.last().map_or(from, |last| last + 1)));
            }
        }
        assert!(matches!(log.cursor(at(5981)).next_cached(1), Next::End));
    };
    check(&log);
    assert!(matches!(log.cursor(MIN).next_cached(1), Next::Cold));
    assert!(matches!(log.cursor(at(5980)).next_cached(1), Next::Chunk(_)));
    let segments = log.stats().segments;
    writer.close().expect("closes");
    let (_writer, log) = reopen(&storage);
    assert_eq!(log.stats().segments, segments);
    assert_eq!(log.stats().events, 2000);
    check(&log);
    assert_eq!(log.stats().damaged, 0);
}

#[test]
fn one_writer_at_a_time() {
    let dir = tempfile::tempdir().expect("makes a directory");
    let open = || super::open(config(dir.path()), Arc::new(RealStorage), clock());
    let (writer, _log) = open().expect("opens");
    assert!(matches!(open(), Err(OpenError::Locked { .. })));
    drop(writer);
    open().expect("opens again");
    let mut odd = config(dir.path());
    odd.name = "a/b".into();
    let odd = super::open(odd, Arc::new(RealStorage), clock());
    assert!(matches!(odd, Err(OpenError::Name { .. })));
}

#[test]
fn a_cursor_at_the_live_end_sees_what_comes_and_skips_what_is_before_its_time() {
    let storage = MemoryStorage::new();
    let (mut writer, log) = reopen(&storage);
    let (mut now, mut later) = (log.cursor(at(5)), log.cursor(at(35)));
    for cursor in [&mut now, &mut later] {
        assert!(matches!(cursor.next_cached(100), Next::End));
        assert!(cursor.next(100).expect("reads").is_none());
    }
    writer.append(batch([1, 3, 5, 7], 10)).expect("appends");
    writer.append(batch([20, 30, 40], 10)).expect("appends");
    assert_eq!(stamps(&mut now, 1 << 20), [5, 7, 20, 30, 40]);
    assert_eq!(stamps(&mut later, 1 << 20), [40]);
    writer.append(batch([50], 10)).expect("appends");
    assert_eq!(stamps(&mut now, 1 << 20), [50]);
    assert_eq!(stamps(&mut later, 1 << 20), [50]);
}

/// Writes batches that are too long to share a stretch, cuts the live segment at every byte of the last two.
#[test]
fn a_cut_anywhere_in_the_last_two_batches_leaves_a_prefix() {
    let storage = MemoryStorage::new();
    let (mut writer, _log) = reopen(&storage);
    let mut ends = vec![];
    for i in 0..4 {
        writer.append(batch(i * 10 + 1..=i * 10 + 5, 900)).expect("appends");
        writer.sync().expect("syncs");
        ends.push(live(&storage).len());
    }
    let (bytes, record) = (live(&storage), (ends[1] - ends[0]) / 5);
    let index = storage.bytes(Path::new("/log/.quotes.idx")).expect("is there");
    let appended: Vec<u64> = (0..4).flat_map(|i| i * 10 + 1..=i * 10 + 5).collect();
    for keep_index in [true, false] {
        for cut in ends[1]..ends[3] {
            let crashed = MemoryStorage::new();
            crashed.put(Path::new("/log/quotes"), bytes[..cut].to_vec());
            if keep_index {
                crashed.put(Path::new("/log/.quotes.idx"), index.clone());
            }
            let (mut writer, log) = reopen(&crashed);
            let whole = (cut - 8) / record;
            assert_eq!(all(&log), appended[..whole], "cut at {cut}");
            let torn = (cut - 8) % record;
            assert_eq!(log.stats().torn_bytes, torn as u64, "cut at {cut}");
            // The index knows of the sync before the last append.
            let is_known = keep_index && cut < ends[2];
            assert_eq!(log.stats().damaged, u64::from(is_known), "cut at {cut}");
            let kept = crashed.paths().into_iter().find(|p| p.to_string_lossy().contains("torn"));
            let kept = kept.and_then(|path| crashed.bytes(&path));
            assert_eq!(kept.unwrap_or_default(), bytes[cut - torn..cut], "cut at {cut}");
            writer.append(batch([1000], 10)).expect("appends");
            assert_eq!(all(&log).last(), Some(&1000));
        }
    }
}

/// Flips a bit of every byte of the last two batches: known durable after a clean close, and not so after a crash.
#[test]
fn a_flip_anywhere_costs_its_batch_and_is_reported() {
    for clean in [true, false] {
        let storage = MemoryStorage::new();
        let (mut writer, _log) = reopen(&storage);
        let mut ends = vec![];
        for i in 0..4 {
            writer.append(batch(i * 100 + 1..=i * 100 + 5, 900)).expect("appends");
            if i < 2 {
                writer.sync().expect("syncs");
            } else {
                // As in a crash between the index entry and the sync.
                storage.fail(Call::Sync, 1, io::ErrorKind::Other);
                let synced = clean || writer.sync().is_err();
                assert!(synced);
                storage.heal();
            }
            ends.push(live(&storage).len());
            if !clean && i >= 2 {
                drop(writer);
                writer = reopen(&storage.fork()).0;
                drop(writer);
                writer = reopen(&storage).0;
            } else if clean && i >= 2 {
                writer.sync().expect("syncs");
            }
        }
        if clean {
            writer.close().expect("closes");
        } else {
            drop(writer);
        }
        let bytes = live(&storage);
        assert_eq!(bytes.len(), ends[3]);
        for flip in ends[1]..ends[3] {
            let damaged = storage.fork();
            let mut bytes = bytes.clone();
            bytes[flip] ^= 0x10;
            damaged.put(Path::new("/log/quotes"), bytes);
            let (mut writer, log) = reopen(&damaged);
            let lost = if flip < ends[2] { 2 } else { 3 };
            let expected: Vec<u64> =
                (0..4).filter(|i| *i != lost).flat_map(|i| i * 100 + 1..=i * 100 + 5).collect();
            assert_eq!(all(&log), expected, "flip at {flip}, clean {clean}");
            assert_eq!(all(&log), expected, "flip at {flip}, clean {clean}");
            let stats = log.stats();
            let torn = stats.torn_bytes > 0;
            assert_eq!(stats.damaged, u64::from(!torn), "flip at {flip}, clean {clean}");
            assert!(!torn || (!clean && lost == 3), "flip at {flip}, clean {clean}");
            let mut strict = log.strict_cursor(MIN);
            let found = std::iter::from_fn(|| match strict.next(1 << 20) {
                Ok(chunk) => chunk.map(|_| false),
                Err(error) => {
                    Some(matches!(error, ReadError::Corrupt { bytes, .. } if bytes > 4000))
                }
            });
            assert_eq!(found.filter(|corrupt| *corrupt).count(), usize::from(!torn));
            writer.append(batch([1000], 10)).expect("appends");
            assert_eq!(all(&log).last(), Some(&1000));
        }
    }
}

#[test]
fn a_lost_or_damaged_index_is_made_anew() {
    let storage = MemoryStorage::new();
    let (mut writer, log) = reopen(&storage);
    for i in 0..60 {
        writer.append(batch(i * 100 + 1..=i * 100 + 20, 100)).expect("appends");
        if i % 20 == 10 {
            writer.rotate_at(at(i)).expect("rotates");
        }
    }
    let expected = all(&log);
    writer.close().expect("closes");
    let indexes: Vec<_> =
        storage.paths().into_iter().filter(|p| p.extension().is_some_and(|e| e == "idx")).collect();
    assert_eq!(indexes.len(), 4);
    let mut seeded = Seeded::new(7);
    for path in &indexes {
        let good = storage.bytes(path).expect("is there");
        for round in 0..40 {
            let copy = storage.fork();
            let mut bad = good.clone();
            let at = usize::try_from(seeded.below(good.len() as u64)).expect("small");
            match round % 3 {
                0 => bad.truncate(at),
                1 => bad[at] ^= 1 << (round % 8),
                _ => bad.extend_from_slice(&good[at..]),
            }
            copy.put(path, bad);
            let (writer, log) = reopen(&copy);
            assert_eq!(all(&log), expected);
            assert_eq!((log.stats().damaged, log.stats().torn_bytes), (0, 0));
            writer.close().expect("closes");
            // Whatever index there is now is trusted.
            assert_eq!(all(&reopen(&copy).1), expected);
        }
        let copy = storage.fork();
        let (_writer, log) = reopen(&copy);
        copy.remove(path).expect("removes");
        assert_eq!(all(&log), expected, "an index lost while the log is open");
    }
}

#[test]
fn a_foreign_file_is_refused_and_left_as_it_is() {
    let storage = MemoryStorage::new();
    storage.put(Path::new("/log/quotes"), b"something else entirely".to_vec());
    let opened = open_in(config(Path::new("/log")), &storage);
    assert!(matches!(opened, Err(OpenError::NotALog { .. })));
    assert_eq!(live(&storage), b"something else entirely");
    // Whatever index lies beside it, and however it ends.
    let written = MemoryStorage::new();
    let (mut writer, _log) = reopen(&written);
    writer.append(batch(1..=50, 10)).expect("appends");
    writer.sync().expect("syncs");
    let index = written.bytes(Path::new("/log/.quotes.idx")).expect("is there");
    for mark in [record::OPENED, record::CLOSED] {
        let foreign = [&[9; 4][..], &mark, &[77; 9_000]].concat();
        storage.put(Path::new("/log/quotes"), foreign.clone());
        storage.put(Path::new("/log/.quotes.idx"), index.clone());
        let opened = open_in(config(Path::new("/log")), &storage);
        assert!(matches!(opened, Err(OpenError::NotALog { .. })));
        assert_eq!(live(&storage), foreign);
    }
}

#[test]
fn a_process_that_dies_at_any_call_leaves_what_was_synced() {
    let run = |storage: &MemoryStorage, acknowledged: &mut u64| -> Option<()> {
        let mut small = config(Path::new("/log"));
        small.segment_bytes = Some(3000);
        let (mut writer, _log) = open_in(small, storage).ok()?;
        for i in 0..30 {
            writer.append(batch(i * 10 + 1..=i * 10 + 5, 60)).ok()?;
            if i % 3 == 0 {
                writer.sync().ok()?;
                *acknowledged = i * 10 + 5;
            }
        }
        writer.close().ok()
    };
    let appended: Vec<u64> = (0..30).flat_map(|i| i * 10 + 1..=i * 10 + 5).collect();
    let whole = MemoryStorage::new();
    run(&whole, &mut 0).expect("nothing fails");
    let calls = whole.calls();
    assert!(calls > 100);
    for call in 1..=calls {
        for power in [false, true] {
            let storage = MemoryStorage::new();
            storage.die_at_call(call);
            let mut acknowledged = 0;
            assert_eq!(run(&storage, &mut acknowledged), None);
            if power {
                storage.lose_power(&mut Seeded::new(call));
            } else {
                storage.kill();
            }
            let (_writer, log) = reopen(&storage);
            let seen = all(&log);
            let synced = appended.partition_point(|stamp| *stamp <= acknowledged);
            assert!(
                seen.starts_with(&appended[..synced]),
                "died at call {call}, power {power}: {seen:?}"
            );
            if power {
                // Of what was not synced, later writes may have reached the disk and earlier ones not.
                assert!(seen.is_sorted() && seen.iter().all(|stamp| appended.contains(stamp)));
            } else {
                assert!(appended.starts_with(&seen), "died at call {call}: {seen:?}");
            }
        }
    }
}

#[test]
fn a_full_disk_keeps_the_batch_for_later_and_tears_nothing() {
    let storage = MemoryStorage::new();
    let mut limited = config(Path::new("/log"));
    limited.segment_bytes = Some(4000);
    let (mut writer, log) = open_in(limited, &storage).expect("opens");
    let mut waiting = None;
    let mut refused = 0;
    storage.set_capacity(Some(10_000));
    for i in 0..100 {
        let batch = waiting.take().unwrap_or_else(|| batch(i * 10 + 1..=i * 10 + 5, 60));
        match writer.append(batch) {
            Ok(_) => {}
            Err(AppendError::NoSpace { batch, .. }) => {
                refused += 1;
                assert!(log.lacks_space());
                waiting = Some(batch);
                let before = all(&log);
                assert_eq!(before, all(&reopen(&storage.fork()).1));
                storage.set_capacity(Some(10_000 + refused * 3_000));
            }
            Err(other) => panic!("{other}"),
        }
        writer.sync().expect("syncs");
    }
    assert!(refused > 3);
    let seen = all(&log);
    assert!(seen.is_sorted() && seen.len() as u64 == 5 * (100 - refused));
    storage.set_capacity(None);
    writer.append(waiting.unwrap_or_else(|| batch([2000], 1))).expect("appends");
    assert!(!log.lacks_space());
    let seen = all(&log);
    writer.close().expect("closes");
    assert_eq!(all(&reopen(&storage).1), seen);
}

#[test]
fn too_little_free_space_stops_appends_before_the_disk_is_full() {
    let storage = MemoryStorage::new();
    let mut limited = config(Path::new("/log"));
    limited.min_free_bytes = Some(1_000_000);
    let (mut writer, log) = open_in(limited, &storage).expect("opens");
    storage.set_capacity(Some(1_500_000));
    writer.append(batch([1], 10)).expect("appends");
    storage.set_capacity(Some(900_000));
    writer.maintain_at(at(1_700_000_010_000_000)).expect("maintains");
    assert!(log.lacks_space());
    let refused = writer.append(batch([2], 10));
    let Err(AppendError::NoSpace { batch, wanted_bytes: 1_000_000, .. }) = refused else {
        panic!("{refused:?}")
    };
    storage.set_capacity(None);
    writer.append(batch).expect("appends");
    assert!(!log.lacks_space());
    assert_eq!(all(&log), [1, 2]);
}

#[test]
fn after_a_failed_write_or_sync_nothing_is_accepted_and_readers_go_on() {
    for call in [Call::Write, Call::Sync] {
        let storage = MemoryStorage::new();
        let (mut writer, log) = reopen(&storage);
        writer.append(batch([1, 2], 10)).expect("appends");
        storage.fail(call, 1, io::ErrorKind::Other);
        let failed = match call {
            Call::Write => writer.append(batch([3], 10)).map(|_| ()),
            _ => writer.sync(),
        };
        assert!(matches!(failed, Err(AppendError::Poisoned { .. })));
        storage.heal();
        let again = writer.append(batch([3], 10));
        assert!(matches!(&again, Err(error) if !error.is_retryable()));
        assert!(matches!(writer.sync(), Err(AppendError::Poisoned { .. })));
        assert!(log.poisoned().is_some());
        assert_eq!(all(&log), [1, 2]);
    }
}

#[test]
fn short_writes_are_finished() {
    let storage = MemoryStorage::new();
    let (mut writer, log) = reopen(&storage);
    storage.set_short_writes(7);
    writer.append(batch(1..100, 10)).expect("appends");
    writer.close().expect("closes");
    assert_eq!(all(&log), (1..100).collect::<Vec<_>>());
    assert_eq!(all(&reopen(&storage).1), (1..100).collect::<Vec<_>>());
}

#[test]
fn rotation_is_by_age_and_by_size_and_names_never_collide() {
    let storage = MemoryStorage::new();
    let mut aged = config(Path::new("/log"));
    aged.reopen_period = Some(Duration::from_secs(60));
    let (mut writer, log) = open_in(aged, &storage).expect("opens");
    let start = 1_700_000_000_000_000;
    writer.append(batch([start], 10)).expect("appends");
    let due = writer.maintain_at(at(start + 1_000_000)).expect("maintains");
    assert!(due > Duration::ZERO && due <= Duration::from_secs(60));
    assert_eq!(log.stats().rotations, 0);
    writer.maintain_at(at(start + 60_000_000)).expect("maintains");
    assert_eq!(log.stats().rotations, 1);
    writer.maintain_at(at(start + 600_000_000)).expect("maintains");
    assert_eq!(log.stats().rotations, 1, "an empty segment is not rotated");
    // The clock stands still, then steps back: names go on.
    for i in 1..=5 {
        writer.append(batch([start + i], 10)).expect("appends");
        writer.rotate_at(at(start + 60_000_000 - i)).expect("rotates");
    }
    let mut names: Vec<_> =
        storage.paths().into_iter().filter(|p| p.to_string_lossy().ends_with('Z')).collect();
    names.sort();
    assert_eq!(names.len(), 6);
    assert!(names[0].ends_with("quotes_2023-11-14_22-14-20.000Z"), "{names:?}");
    assert!(names[5].ends_with("quotes_2023-11-14_22-14-20.005Z"), "{names:?}");
    assert_eq!(all(&log), (start..=start + 5).collect::<Vec<_>>());
    drop(writer);
    assert_eq!(all(&reopen(&storage).1), (start..=start + 5).collect::<Vec<_>>());
}

#[test]
fn old_entries_leave_ram_but_not_the_log() {
    let storage = MemoryStorage::new();
    let mut aged = config(Path::new("/log"));
    aged.evict_after = Some(Duration::from_secs(60));
    let (mut writer, log) = open_in(aged, &storage).expect("opens");
    let start = 1_700_000_000_000_000;
    writer.append(batch(start..start + 10, 70_000)).expect("appends");
    go_to(writer.clock(), at(start + 50_000_000));
    writer.append(batch([start + 50_000_000], 70_000)).expect("appends");
    writer.maintain_at(at(start + 59_000_000)).expect("maintains");
    assert_eq!(log.stats().cache_events, 11);
    writer.maintain_at(at(start + 64_000_000)).expect("maintains");
    assert_eq!(log.stats().cache_events, 1);
    assert_eq!(all(&log).len(), 11);
}

/// Four readers from different times while the writer appends, rotates, syncs and evicts on real files, and
/// the archiver packs what was rotated.
#[test]
fn cursors_give_each_entry_once_while_the_writer_works() {
    let dir = tempfile::tempdir().expect("makes a directory");
    let mut small = config(dir.path());
    small.segment_bytes = Some(100_000);
    small.cache_bytes = Some(50_000);
    small.archive_after = Some(Duration::ZERO);
    small.archive_period = Duration::from_millis(1);
    let opened = super::open(small, Arc::new(RealStorage), Clock::system());
    let (mut writer, log) = opened.expect("opens");
    let batches = 2000u64;
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|reader| {
            let (log, done) = (log.clone(), Arc::clone(&done));
            std::thread::spawn(move || {
                let (mut cursor, mut seen) = (log.cursor(at(reader * 5000)), Vec::new());
                loop {
                    let last = done.load(Ordering::SeqCst);
                    match cursor.next(1 << (10 + 3 * reader)).expect("reads") {
                        Some(chunk) => take(&chunk, &mut seen),
                        None if last => break,
                        None => std::thread::yield_now(),
                    }
                }
                seen
            })
        })
        .collect();
    let mut seeded = Seeded::new(3);
    for i in 0..batches {
        let count = 1 + seeded.below(12);
        writer.append(batch(i * 12 + 1..=i * 12 + count, 40)).expect("appends");
        if i % 50 == 0 {
            writer.sync_beside().expect("syncs");
            writer.maintain().expect("maintains");
        }
    }
    done.store(true, Ordering::SeqCst);
    let whole = all(&log);
    assert!(log.stats().rotations > 5);
    for (reader, seen) in (0u64..).zip(readers) {
        let seen = seen.join().expect("does not panic");
        let from = whole.partition_point(|stamp| *stamp < reader * 5000);
        assert_eq!(seen, whole[from..], "reader {reader}");
    }
    assert_eq!(log.stats().damaged, 0);
    let deadline = crate::time::monotonic() + Duration::from_secs(60);
    while log.stats().segments > 1 {
        assert!(crate::time::monotonic() < deadline, "everything rotated gets archived");
        writer.maintain().expect("maintains");
        std::thread::yield_now();
    }
    assert_eq!(all(&log), whole);
    writer.close().expect("closes");
    assert_eq!(
        dir_names(dir.path()),
        [".quotes.idx", ".quotes.manifest", "archive", "quotes", "quotes.lock"]
    );
}

fn dir_names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("lists");
    let names =
        entries.map(|entry| entry.expect("lists").file_name().into_string().expect("UTF-8"));
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// The stamps a backward cursor gives, newest first, and how it ended.
fn stamps_back(mut cursor: BackwardCursor) -> (Vec<u64>, Vec<ReadError>) {
    let (mut seen, mut errors) = (Vec::new(), Vec::new());
    loop {
        match cursor.previous() {
            Ok(None) => return (seen, errors),
            Ok(Some(chunk)) => {
                let mut part = Vec::new();
                take(&chunk, &mut part);
                seen.extend(part.into_iter().rev());
            }
            Err(error @ ReadError::Deleted { .. }) => {
                errors.push(error);
                return (seen, errors);
            }
            Err(error) => errors.push(error),
        }
    }
}
