//! What a machine does to a log, fault by fault: errors that pass, files that go, clocks that leap, full disks.

use std::path::PathBuf;

use rustix::io::Errno;

use super::super::stepped::Steps;
use super::super::storage::memory::{FailWith, Fault, When};
use super::super::verify::accept;
use super::*;

const DAY: u64 = 86_400_000_000;
const START: u64 = 1_700_000_000_000_000;

fn dir() -> &'static Path {
    Path::new("/log")
}

fn fault(calls: &[Call], path: &'static str, errno: Errno, when: When) -> Fault {
    Fault { calls: calls.to_vec(), path, failure: FailWith::Errno(errno), when }
}

fn rotated(storage: &MemoryStorage) -> Vec<PathBuf> {
    let is_one = |path: &PathBuf| path.to_string_lossy().ends_with('Z');
    storage.paths().into_iter().filter(is_one).collect()
}

/// Three rotated segments of 50 entries and a live one of 10, closed in order.
fn written() -> (MemoryStorage, Vec<u64>) {
    let storage = MemoryStorage::new();
    let (mut writer, log) = reopen(&storage);
    for start in (0..3).map(|day| START + day * DAY) {
        go_to(writer.clock(), at(start));
        writer.append(batch(start..start + 50, 100)).expect("appends");
        writer.rotate_at(at(start + 1000)).expect("rotates");
    }
    go_to(writer.clock(), at(START + 3 * DAY));
    writer.append(batch(START + 3 * DAY..START + 3 * DAY + 10, 100)).expect("appends");
    let all = all(&log);
    writer.close().expect("closes");
    (storage, all)
}

fn check(storage: &MemoryStorage) -> Verified {
    verify(&config(dir()), storage, &mut |_| ()).expect("lists")
}

fn whats(verified: &Verified) -> Vec<&'static str> {
    verified.segments.iter().flat_map(|s| s.damage.iter().map(|damage| damage.what)).collect()
}

/// Each call of a rotation fails once, with an error that passes and with one that does not.
#[test]
pub(super) fn a_rotation_that_fails_is_undone_and_tried_again() {
    for errno in [Errno::MFILE, Errno::NOSPC, Errno::ACCESS, Errno::IO] {
        for call in [Call::Open, Call::Create, Call::Write, Call::Rename, Call::Remove] {
            for nth in 1..6 {
                let storage = MemoryStorage::new();
                let (mut writer, log) = reopen(&storage);
                writer.append(batch(1..10, 10)).expect("appends");
                writer.sync().expect("syncs");
                storage.add_fault(fault(&[call], "", errno, When::Once(nth)));
                writer.rotate_at(at(START + 1)).expect("is put off at most");
                storage.heal();
                writer.append(batch(10..20, 10)).expect("goes on");
                writer.rotate_at(at(START + 3_000_000)).expect("rotates");
                writer.append(batch(20..30, 10)).expect("goes on");
                assert!((1..=2).contains(&log.stats().rotations), "{errno} {call:?} {nth}");
                assert_eq!(all(&log), (1..30).collect::<Vec<_>>());
                writer.close().expect("closes");
                assert!(check(&storage).is_sound(), "{errno} {call:?} {nth}");
                assert_eq!(all(&reopen(&storage).1), (1..30).collect::<Vec<_>>());
            }
        }
    }
}

/// Renames fail for good from the nth on, the undoing too: then the recorder stops, and nothing is lost.
#[test]
fn a_rotation_that_cannot_be_undone_stops_the_recorder_and_loses_nothing() {
    let mut stopped = 0;
    for nth in 1..4 {
        let storage = MemoryStorage::new();
        let (mut writer, _log) = reopen(&storage);
        writer.append(batch(1..10, 10)).expect("appends");
        writer.sync().expect("syncs");
        storage.add_fault(fault(&[Call::Rename], "", Errno::IO, When::From(nth)));
        stopped += usize::from(writer.rotate_at(at(START + 1)).is_err());
        drop(writer);
        storage.kill();
        assert_eq!(all(&reopen(&storage).1), (1..10).collect::<Vec<_>>(), "{nth}");
        assert!(check(&storage).is_sound());
    }
    assert_eq!(stopped, 2);
}

/// Killed between rotating and sealing; after the next start the power fails.
#[test]
fn what_an_index_was_sealed_over_is_durable() {
    for seed in 0..50 {
        let storage = MemoryStorage::new();
        let (mut writer, _log) = reopen(&storage);
        writer.append(batch(1..6, 3000)).expect("appends");
        writer.sync().expect("syncs");
        writer.append(batch(6..26, 3000)).expect("appends");
        // The recorder dies at the seal's first call.
        storage.add_fault(fault(&[Call::Sync], "_", Errno::IO, When::From(1)));
        drop(writer.rotate_at(at(START + 1)));
        drop(writer);
        storage.kill();
        let (writer, log) = reopen(&storage);
        assert_eq!(all(&log), (1..26).collect::<Vec<_>>());
        drop((writer, log));
        storage.lose_power(&mut Seeded::new(seed));
        let (_writer, log) = reopen(&storage);
        assert_eq!(all(&log), (1..26).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(log.stats().damaged, 0);
    }
}

type Harm<'a> = &'a dyn Fn(&MemoryStorage);

/// A segment cut at a record's border, emptied, removed; its index left, or not.
#[test]
fn what_is_gone_is_missed_until_an_operator_accepts_it() {
    let (whole, expected) = written();
    let segment = rotated(&whole)[1].clone();
    let index = segment.with_file_name(format!(
        ".{}.idx",
        segment.file_name().expect("has one").to_string_lossy()
    ));
    let cut = |storage: &MemoryStorage| {
        let mut bytes = storage.bytes(&segment).expect("is there");
        let record = (bytes.len() - 8) / 50;
        bytes.truncate(bytes.len() - 3 * record);
        storage.put(&segment, bytes);
    };
    let empty = |storage: &MemoryStorage| {
        storage.put(&segment, whole.bytes(&segment).expect("is there")[..8].to_vec());
    };
    let remove = |storage: &MemoryStorage| storage.remove(&segment).expect("is there");
    let harms: [(Harm<'_>, usize); 3] = [(&cut, 3), (&empty, 50), (&remove, 50)];
    for (harm, lost) in harms {
        for keeps_index in [true, false] {
            let storage = whole.fork();
            harm(&storage);
            if !keeps_index {
                storage.remove(&index).expect("is there");
            }
            let found = check(&storage);
            assert!(!found.is_sound(), "lost {lost}, index {keeps_index}");
            // Starting twice makes indexes anew, and forgets nothing.
            for _ in 0..2 {
                let (writer, log) = reopen(&storage);
                let seen = all(&log);
                assert!(seen.len() < expected.len() && seen.len() >= expected.len() - 50);
                assert!(log.stats().damaged > 0, "lost {lost}, index {keeps_index}");
                assert_eq!(log.stats().missing, u64::from(storage.bytes(&segment).is_none()));
                writer.close().expect("closes");
                assert!(!check(&storage).is_sound(), "lost {lost}, index {keeps_index}");
            }
            let log = open_read_only(config(dir()), Arc::new(storage.clone())).expect("opens");
            let mut strict = log.strict_cursor(MIN);
            let mut errors = 0;
            for _ in 0..20 {
                errors += usize::from(strict.next(1 << 20).is_err());
            }
            if storage.bytes(&segment).is_none() {
                assert!(errors > 0, "a strict reader is told");
            }
            let verified = check(&storage);
            accept(&config(dir()), &storage, &verified).expect("accepts");
            assert!(check(&storage).is_sound(), "{:?}", check(&storage));
            let (writer, log) = reopen(&storage);
            assert_eq!((log.stats().damaged, log.stats().missing), (0, 0));
            writer.close().expect("closes");
            // Later damage is reported again.
            let other = rotated(&storage)[0].clone();
            storage.remove(&other).expect("is there");
            assert_eq!(whats(&check(&storage)), ["it is missing"]);
        }
    }
}

/// A bit of an event's binary flips, then its index is lost: the structure alone says that all is well.
#[test]
fn damage_is_not_forgotten_because_an_index_was_made_anew() {
    let (storage, _) = written();
    let segment = rotated(&storage)[1].clone();
    let mut bytes = storage.bytes(&segment).expect("is there");
    bytes[45] ^= 1;
    storage.put(&segment, bytes);
    let name = segment.file_name().expect("has one").to_string_lossy().into_owned();
    storage.remove(&segment.with_file_name(format!(".{name}.idx"))).expect("is there");
    let (writer, log) = reopen(&storage);
    assert_eq!(log.stats().damaged, 1);
    writer.close().expect("closes");
    let (writer, log) = reopen(&storage);
    assert_eq!(log.stats().damaged, 1, "it stays on record");
    writer.close().expect("closes");
    assert_eq!(whats(&check(&storage)), ["its entries are not those that it had"]);
}

/// A flipped bit in an index costs nothing: what it covered is found, and the index is made anew.
#[test]
fn a_damaged_index_is_reported_and_made_anew_from_its_segment() {
    let (storage, expected) = written();
    let segment = rotated(&storage)[1].clone();
    let name = segment.file_name().expect("has one").to_string_lossy().into_owned();
    let index = segment.with_file_name(format!(".{name}.idx"));
    storage.flip(&index, 20, 3);
    let found = check(&storage);
    assert!(!found.is_sound());
    assert!(found.segments.iter().any(|segment| segment.index == IndexState::Damaged));
    let (mut writer, log) = reopen(&storage);
    assert_eq!(all(&log), expected);
    writer.maintain_at(at(START + 4 * DAY)).expect("maintains");
    writer.close().expect("closes");
    assert!(check(&storage).is_sound(), "{:?}", check(&storage));
    assert_eq!(all(&reopen(&storage).1), expected);
}

/// The file of a segment without a complete index cannot be opened or read for a while.
#[test]
pub(super) fn a_segment_that_cannot_be_read_for_a_while_is_neither_archived_nor_forgotten() {
    for (call, errno) in
        [(Call::Open, Errno::MFILE), (Call::Open, Errno::ACCESS), (Call::Read, Errno::MFILE)]
    {
        for has_manifest in [true, false] {
            let (storage, expected) = written();
            let segment = rotated(&storage)[1].clone();
            let name = segment.file_name().expect("has one").to_string_lossy().into_owned();
            storage.remove(&segment.with_file_name(format!(".{name}.idx"))).expect("is there");
            if !has_manifest {
                storage.remove(Path::new("/log/.quotes.manifest")).expect("is there");
            }
            let part: &'static str = "/log/quotes_2023-11-15";
            storage.add_fault(fault(&[call], part, errno, When::From(1)));
            let mut archiving = config(dir());
            archiving.archive_after = Some(Duration::from_secs(1));
            let (mut writer, log) = open_in(archiving, &storage).expect("opens");
            assert_eq!(log.stats().unreadable, 1, "{call:?} {errno}");
            go_to(writer.clock(), at(START + 5 * DAY));
            let mut slow = log.cursor(MIN);
            assert_eq!(stamps(&mut slow, 1 << 20).len(), 110);
            writer.append(batch([START + 5 * DAY], 10)).expect("appends");
            writer.maintain_at(at(START + 6 * DAY)).expect("maintains");
            assert_eq!((log.stats().archives, log.stats().unreadable), (2, 1));
            assert!(storage.bytes(&segment).is_some());
            storage.heal();
            writer.maintain_at(at(START + 6 * DAY + 3_600_000_000)).expect("maintains");
            assert_eq!(log.stats().unreadable, 0);
            let expected: Vec<_> = expected.into_iter().chain([START + 5 * DAY]).collect();
            assert_eq!(all(&log), expected, "{call:?} {errno} {has_manifest}");
            writer.append(batch([START + 6 * DAY], 10)).expect("appends");
            writer.maintain_at(at(START + 7 * DAY)).expect("maintains");
            writer.close().expect("closes");
            assert!(check(&storage).is_sound(), "{:?}", whats(&check(&storage)));
        }
    }
}

/// A bad sector in an archive's, a rotated and the live segment's file.
#[test]
fn a_bad_sector_costs_a_stretch_and_is_counted() {
    let storage = MemoryStorage::new();
    let (mut writer, log) = reopen(&storage);
    for start in [1, 1001] {
        writer.append(batch(start..start + 1000, 1000)).expect("appends");
        writer.sync().expect("syncs");
        writer.rotate_at(at(START + start * 1000)).expect("rotates");
    }
    writer.append(batch(2001..3001, 1000)).expect("appends");
    writer.close().expect("closes");
    drop(log);
    let (_writer, log) = reopen(&storage);
    for path in rotated(&storage).into_iter().chain([PathBuf::from("/log/quotes")]) {
        assert!(storage.spoil_sector(&path, 1000));
    }
    let seen = all(&log);
    assert!(seen.len() < 3000 && seen.len() > 2700, "{}", seen.len());
    assert_eq!(log.stats().damaged, 3);
    assert!(seen.is_sorted());
    let mut strict = log.strict_cursor(MIN);
    let mut corrupt = 0;
    loop {
        match strict.next(1 << 20) {
            Ok(None) => break,
            Ok(Some(_)) => {}
            Err(ReadError::Corrupt { .. }) => corrupt += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(corrupt, 3);
    let (mut back, errors) = stamps_back(log.backward_cursor(Timestamp::MAX, MIN, true));
    back.reverse();
    assert_eq!((back == seen, errors.len()), (true, 3));
}

/// An archive loses its directory: readers of other segments go on, and it is counted.
#[test]
fn an_archive_that_is_damaged_stops_no_reader() {
    let (storage, expected) = written();
    let mut archiving = config(dir());
    archiving.archive_after = Some(Duration::from_secs(1));
    let (mut writer, _log) = open_in(archiving, &storage).expect("opens");
    writer.maintain_at(at(START + 5 * DAY)).expect("maintains");
    writer.close().expect("closes");
    let archives =
        storage.paths().into_iter().filter(|p| p.extension().is_some_and(|e| e == "zip"));
    let archive = archives.collect::<Vec<_>>()[1].clone();
    let (_writer, log) = reopen(&storage);
    let bytes = storage.bytes(&archive).expect("is there");
    storage.put(&archive, bytes[..bytes.len() - 30].to_vec());
    assert_eq!(all(&log), [&expected[..50], &expected[100..]].concat());
    assert_eq!(log.stats().damaged, 1);
    assert_eq!(whats(&check(&storage)).len(), 1);
}

/// The bytes of a live segment that were written and never synced, by a process whose sync failed: its memory said that
/// they were written. The next life's sync has to write them.
#[test]
fn what_a_failed_sync_left_in_memory_is_written_again_by_the_next_start() {
    for seed in 0..20 {
        let storage = MemoryStorage::new();
        let (mut writer, _log) = reopen(&storage);
        writer.append(batch(1..6, 1000)).expect("appends");
        writer.sync().expect("syncs");
        writer.append(batch(6..26, 1000)).expect("appends");
        storage.add_fault(fault(&[Call::Sync], "/log/quotes", Errno::IO, When::Once(1)));
        assert!(matches!(writer.sync(), Err(AppendError::Poisoned { .. })));
        drop(writer);
        storage.kill();
        let (mut writer, log) = reopen(&storage);
        assert_eq!(all(&log), (1..26).collect::<Vec<_>>());
        writer.append(batch([26], 10)).expect("appends");
        writer.sync().expect("syncs");
        drop((writer, log));
        storage.lose_power(&mut Seeded::new(seed));
        assert_eq!(all(&reopen(&storage).1), (1..=26).collect::<Vec<_>>(), "seed {seed}");
    }
}

/// The index of a segment with a hole cannot be written for a while; a rotation comes meanwhile, or not. Then the process
/// dies.
#[test]
pub(super) fn an_index_that_knows_of_a_hole_is_there_until_the_next_one_is() {
    for rotates in [false, true] {
        let storage = MemoryStorage::new();
        let (mut writer, _log) = reopen(&storage);
        for start in [1, 31, 61] {
            writer.append(batch(start..start + 30, 3000)).expect("appends");
        }
        writer.sync().expect("syncs");
        drop(writer);
        storage.kill();
        // In the first record's magic number.
        storage.flip(Path::new("/log/quotes"), 13, 0);
        let (mut writer, log) = reopen(&storage);
        let mut expected = all(&log);
        assert!(expected.len() < 90 && expected.ends_with(&[89, 90]), "{expected:?}");
        storage.add_fault(fault(&[Call::Write], ".idx", Errno::IO, When::From(1)));
        for stamp in [100, 101] {
            writer.append(batch([stamp], 10)).expect("appends");
            writer.clock().step(2_000_000);
            expected.push(stamp);
        }
        if rotates {
            writer.rotate_at(at(START)).expect("rotates");
        }
        drop((writer, log));
        storage.kill();
        assert_eq!(all(&reopen(&storage).1), expected, "{rotates}");
    }
}

/// A power loss took the records of an index that is left: the live segment's, or one of a rotation that it undid.
#[test]
pub(super) fn an_index_of_what_is_no_more_is_not_taken_for_that_of_what_comes() {
    for name in ["/log/.quotes.idx", "/log/.quotes_2023-11-14_22-13-03.405Z.idx"] {
        let storage = MemoryStorage::new();
        let (mut writer, _log) = reopen(&storage);
        writer.append(batch(1..6, 100)).expect("appends");
        drop(writer);
        storage.kill();
        let index = storage.bytes(Path::new("/log/.quotes.idx")).expect("is there");
        let head = live(&storage)[..8].to_vec();
        storage.put(Path::new("/log/quotes"), head);
        storage.remove(Path::new("/log/.quotes.idx")).expect("is there");
        storage.put(Path::new(name), index);
        let (mut writer, _log) = reopen(&storage);
        let calls = [Call::Remove, Call::Create];
        storage.add_fault(fault(&calls, ".idx", Errno::MFILE, When::From(1)));
        writer.append(batch(50..60, 100)).expect("appends");
        drop(writer);
        storage.kill();
        assert_eq!(all(&reopen(&storage).1), (50..60).collect::<Vec<_>>(), "{name}");
    }
}

/// A sync beside the appends fails, and before the recorder hears of it the segment is rotated and sealed.
#[test]
pub(super) fn nothing_is_sealed_with_a_sync_that_comes_after_a_failed_one() {
    for seed in 0..20 {
        let storage = MemoryStorage::new();
        let (mut writer, _log) = reopen(&storage);
        writer.append(batch(1..26, 1000)).expect("appends");
        storage.add_fault(fault(&[Call::Sync], "/log/quotes", Errno::IO, When::Once(1)));
        assert!(!writer.sync_beside().expect("begins"));
        writer.rotate_at(at(START)).expect("has not heard of it");
        assert!(matches!(writer.sync(), Err(AppendError::Poisoned { .. })));
        drop(writer);
        storage.kill();
        reopen(&storage).0.close().expect("closes");
        storage.lose_power(&mut Seeded::new(seed));
        assert_eq!(all(&reopen(&storage).1), (1..26).collect::<Vec<_>>(), "seed {seed}");
    }
}

/// A batch that finds no room is written in part and cut off. Then it is written to the next segment; or a sync fails, and
/// it is given up.
#[test]
pub(super) fn what_a_full_disk_had_no_room_for_does_not_come_back() {
    for (seed, fails) in (0..200).flat_map(|seed| [(seed, false), (seed, true)]) {
        let storage = MemoryStorage::new();
        storage.set_seed(seed);
        // What seals the rotated segment does not come to it.
        let steps = Steps::new();
        let keeper = Keeper::Stepped(steps.clone());
        let opened = open_with(config(dir()), Arc::new(storage.clone()), clock(), keeper);
        let (mut writer, _log) = opened.expect("opens");
        writer.append(batch(1..6, 1000)).expect("appends");
        writer.sync().expect("syncs");
        storage.set_capacity(Some(storage.used() + 1000));
        let Err(AppendError::NoSpace { batch, .. }) = writer.append(batch(6..26, 60)) else {
            panic!("there is no room");
        };
        storage.set_capacity(None);
        if fails {
            storage.add_fault(fault(&[Call::Sync], "/log/quotes", Errno::IO, When::Once(1)));
            writer.append(super::batch(6..8, 60)).expect("appends");
            assert!(matches!(writer.sync(), Err(AppendError::Poisoned { .. })));
            drop(writer);
            storage.kill();
            reopen(&storage).0.close().expect("closes");
        } else {
            writer.rotate_at(at(START)).expect("rotates");
            writer.append(batch).expect("appends");
            steps.clear();
            drop(writer);
        }
        storage.lose_power(&mut Seeded::new(seed));
        let found = all(&reopen(&storage).1);
        assert!(found.is_sorted_by(|a, b| a < b), "seed {seed}: {found:?}");
        assert!(!fails || found == [1, 2, 3, 4, 5, 6, 7], "seed {seed}: {found:?}");
    }
}

/// The index is lost, and the live segment's only sector cannot be read; then more is appended than a segment holds.
#[test]
pub(super) fn a_live_segment_of_which_nothing_can_be_read_is_put_aside() {
    let storage = MemoryStorage::new();
    let (mut writer, _log) = reopen(&storage);
    writer.append(batch([1], 3000)).expect("appends");
    drop(writer);
    storage.kill();
    storage.remove(Path::new("/log/.quotes.idx")).expect("is there");
    assert!(storage.spoil_sector(Path::new("/log/quotes"), 1));
    let (mut writer, log) = reopen(&storage);
    writer.append(batch([2], 10)).expect("appends");
    writer.rotate_at(at(START)).expect("rotates");
    assert_eq!((all(&log), rotated(&storage).len()), (vec![2], 2));
}

/// Somebody cuts, empties or removes the live segment after a kill: what was synced of it is missed.
#[test]
fn what_was_synced_of_a_live_segment_is_missed() {
    let storage = MemoryStorage::new();
    let (mut writer, _log) = reopen(&storage);
    writer.append(batch(1..40, 1000)).expect("appends");
    writer.sync().expect("syncs");
    writer.append(batch(40..60, 1000)).expect("appends");
    drop(writer);
    storage.kill();
    let live = Path::new("/log/quotes");
    let whole = storage.bytes(live).expect("is there");
    for left in [Some(10_000), Some(8), Some(0), None] {
        let storage = storage.fork();
        match left {
            Some(left) => storage.put(live, whole[..left].to_vec()),
            None => storage.remove(live).expect("is there"),
        }
        let verified = verify(&config(dir()), &storage, &mut |_| {}).expect("lists");
        assert!(left.is_none() || !verified.is_sound(), "{left:?}");
        let (mut writer, log) = reopen(&storage);
        assert_eq!(log.stats().damaged, 1, "{left:?}");
        writer.append(batch(100..110, 1000)).expect("appends");
        writer.rotate().expect("rotates");
        writer.close().expect("closes");
        let (_writer, log) = reopen(&storage);
        assert_eq!(log.stats().damaged, 1, "it is not forgotten, {left:?}");
        assert!(all(&log).ends_with(&(100..110).collect::<Vec<_>>()));
    }
}

/// One look at a clock in 2100, and back; then a clock that stays there.
#[test]
pub(super) fn a_clock_that_leaps_deletes_nothing_and_stops_nothing() {
    const CENTURY: i64 = 80 * 365 * DAY.cast_signed();
    let storage = MemoryStorage::new();
    let mut keeping = config(dir());
    keeping.delete_after = Some(Duration::from_secs(10 * 86_400));
    keeping.archive_after = Some(Duration::from_secs(2 * 86_400));
    keeping.reopen_period = Some(Duration::from_secs(3600));
    keeping.evict_after = Some(Duration::from_secs(3600));
    let (mut writer, log) = open_in(keeping, &storage).expect("opens");
    let clock = writer.clock().clone();
    let mut stamp = START;
    let mut appended = 0;
    let day = |writer: &mut Writer, stamp: &mut u64, appended: &mut u64| {
        for _ in 0..24 {
            *stamp = (*stamp + 1).max(clock.now().micros());
            writer.append(batch([*stamp], 10)).expect("appends");
            *appended += 1;
            clock.step((DAY / 24).cast_signed());
            writer.maintain().expect("maintains");
        }
    };
    for _ in 0..3 {
        day(&mut writer, &mut stamp, &mut appended);
    }
    clock.leap(CENTURY);
    writer.maintain().expect("maintains");
    assert_eq!(log.stats().deleted, 0);
    // One event is stamped in 2100; then the clock is right again.
    stamp = clock.now().micros();
    writer.append(batch([stamp], 10)).expect("appends");
    appended += 1;
    clock.leap(-CENTURY);
    let (rotations, archived) = (log.stats().rotations, log.stats().archived);
    for _ in 0..4 {
        day(&mut writer, &mut stamp, &mut appended);
    }
    assert_eq!((log.stats().deleted, log.stats().events), (0, appended));
    assert!(log.stats().rotations >= rotations + 80, "rotation by age goes on");
    assert!(log.stats().archived >= archived + 80, "and archiving");
    assert!(log.stats().cache_events < 10, "and eviction");
    for _ in 0..8 {
        day(&mut writer, &mut stamp, &mut appended);
    }
    assert!(log.stats().deleted > 0, "and deletion, by what time has passed");
    assert!(log.stats().events > 200);
}

#[test]
fn a_clock_that_boots_in_1970_refuses_nothing_that_is_in_the_log() {
    let (storage, expected) = written();
    storage.remove(Path::new("/log/.quotes.idx")).expect("is there");
    storage.remove(Path::new("/log/.quotes.manifest")).expect("is there");
    let mut open = storage.bytes(Path::new("/log/quotes")).expect("is there");
    open[4..8].copy_from_slice(&[6, 7, 8, 9]);
    storage.put(Path::new("/log/quotes"), open);
    let opened = open_with(config(dir()), Arc::new(storage), Clock::manual(at(5)), Keeper::Inline);
    let (writer, log) = opened.expect("opens");
    assert_eq!(all(&log), expected);
    assert_eq!(writer.stamp_floor(), Some(at(*expected.last().expect("some"))));
}

/// Stamps that were seen and not synced are not given again, whatever the clock says after the power loss.
#[test]
pub(super) fn no_stamp_is_given_twice_over_a_power_loss_or_an_emptied_log() {
    for seed in 0..20 {
        let storage = MemoryStorage::new();
        let (mut writer, _log) = reopen(&storage);
        let mut last = START;
        for i in 0..20 {
            last = START + i * 1_500_000;
            go_to(writer.clock(), at(last));
            writer.append(batch([last], 10)).expect("appends");
        }
        drop(writer);
        storage.lose_power(&mut Seeded::new(seed));
        let (writer, log) = reopen(&storage);
        assert_eq!(log.started(), Started::PowerLoss);
        let floor = writer.stamp_floor().expect("there is one");
        assert!(floor >= at(last) && floor <= at(last + 20_000_000), "{floor} {last}");
    }
    let storage = MemoryStorage::new();
    let mut keeping = config(dir());
    keeping.delete_after = Some(Duration::from_secs(1));
    let (mut writer, log) = open_in(keeping, &storage).expect("opens");
    writer.append(batch([START + 7 * DAY], 10)).expect("appends");
    writer.rotate_at(at(START + 10)).expect("rotates");
    go_to(writer.clock(), at(START + 2 * DAY));
    writer.maintain().expect("maintains");
    assert_eq!(log.stats().events, 0);
    writer.close().expect("closes");
    let (writer, _log) = reopen(&storage);
    assert!(writer.stamp_floor() >= Some(at(START + 7 * DAY)));
}

/// A torn tail on a disk without room for a copy of it: the log opens, and keeps the tail where it is.
#[test]
fn a_full_disk_prevents_no_start() {
    let storage = MemoryStorage::new();
    let (mut writer, _log) = reopen(&storage);
    writer.append(batch(1..100, 1000)).expect("appends");
    writer.sync().expect("syncs");
    drop(writer);
    storage.kill();
    let path = Path::new("/log/quotes");
    let mut torn = storage.bytes(path).expect("is there");
    torn.extend(std::iter::repeat_n(7, 5000));
    storage.put(path, torn);
    storage.set_capacity(Some(storage.used() + 100));
    let (mut writer, log) = reopen(&storage);
    assert_eq!(all(&log), (1..100).collect::<Vec<_>>());
    assert!(matches!(writer.append(batch([100], 1000)), Err(AppendError::NoSpace { .. })));
    storage.set_capacity(None);
    writer.append(batch([100], 1000)).expect("appends");
    assert_eq!(all(&log), (1..=100).collect::<Vec<_>>());
    writer.close().expect("closes");
    let kept = rotated(&storage);
    assert_eq!(kept.len(), 1);
    assert!(storage.bytes(&kept[0]).expect("is there").ends_with(&[7; 5000]));
    assert_eq!(all(&reopen(&storage).1), (1..=100).collect::<Vec<_>>());
}

/// A clean zip without index, and one whose deletion had begun.
#[test]
pub(super) fn what_was_being_deleted_does_not_come_back() {
    let (whole, expected) = written();
    let mut keeping = config(dir());
    keeping.archive_after = Some(Duration::from_secs(1));
    let (mut writer, _log) = open_in(keeping.clone(), &whole).expect("opens");
    writer.maintain_at(at(START + 5 * DAY)).expect("maintains");
    writer.close().expect("closes");
    keeping.max_bytes = Some(2_000);
    let delete = |storage: &MemoryStorage| {
        let (mut writer, _log) = open_in(keeping.clone(), storage).ok()?;
        writer.maintain_at(at(START + 5 * DAY)).ok()?;
        writer.close().ok()
    };
    let done = whole.fork();
    delete(&done).expect("nothing fails");
    let left = all(&reopen(&done).1).len();
    assert!(left < expected.len());
    for call in 1..=done.calls() {
        for power in [false, true] {
            let storage = whole.fork();
            storage.die_at_call(call);
            delete(&storage);
            if power {
                storage.lose_power(&mut Seeded::new(call));
            } else {
                storage.kill();
            }
            let (writer, log) = reopen(&storage);
            let seen = all(&log);
            assert!(expected.ends_with(&seen), "died at call {call}, power {power}");
            assert_eq!((log.stats().missing, log.stats().damaged), (0, 0), "{call} {power}");
            writer.close().expect("closes");
            assert!(check(&storage).is_sound(), "died at call {call}, power {power}");
        }
    }
}

/// A flipped bit where nobody reads: scrubbing finds it within the period, also over restarts.
#[test]
fn scrubbing_finds_damage_that_nobody_reads() {
    let (storage, _) = written();
    let mut scrubbing = config(dir());
    scrubbing.scrub_period = Some(Duration::from_secs(10 * 86_400));
    let segment = rotated(&storage)[1].clone();
    storage.flip(&segment, 500, 1);
    let (mut writer, log) = open_in(scrubbing.clone(), &storage).expect("opens");
    go_to(writer.clock(), at(START + 4 * DAY));
    for hour in 0..24 * 12 {
        writer.maintain_at(at(START + 4 * DAY + hour * DAY / 24)).expect("maintains");
    }
    assert_eq!(log.stats().damaged, 1);
    let bytes = log.stats().scrubbed_bytes;
    assert!(bytes > 0);
    writer.close().expect("closes");
    // It stays on record, and what was read is not read again at once.
    let (mut writer, log) = open_in(scrubbing, &storage).expect("opens");
    assert_eq!(log.stats().damaged, 1);
    writer.maintain_at(at(START + 16 * DAY)).expect("maintains");
    assert_eq!(log.stats().scrubbed_bytes, 0);
}

/// A later version's files are not touched.
#[test]
fn a_manifest_of_a_later_version_is_refused() {
    let (storage, _) = written();
    let body = "manifest 2";
    let line = format!("{:08x} {body}\n", crc32c::crc32c(body.as_bytes()));
    storage.put(Path::new("/log/.quotes.manifest"), line.clone().into_bytes());
    assert!(matches!(open_in(config(dir()), &storage), Err(OpenError::Io { .. })));
    assert_eq!(storage.bytes(Path::new("/log/.quotes.manifest")), Some(line.into_bytes()));
}

/// Strict readers that begin before the first entry are told of deletions, and of nothing else.
#[test]
fn a_strict_reader_hears_of_deletions_only_where_something_was_deleted() {
    let (storage, expected) = written();
    let (_writer, log) = reopen(&storage);
    let mut strict = log.strict_cursor(at(START - 5));
    let mut seen = Vec::new();
    while let Some(chunk) = strict.next(1 << 16).expect("nothing was deleted") {
        take(&chunk, &mut seen);
    }
    assert_eq!(seen, expected);
}
