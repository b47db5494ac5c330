//! Promises to whoever writes to a log or reads it, each kept by one call or one check that could be left out.
//!
//! Each test breaks off at the moment that counts, by a death, a loss of power or a call that fails, and looks at what is
//! left. `planted.rs` proves that each of them notices when that call or check is not there.

use std::path::PathBuf;
use std::sync::Mutex;

use rustix::io::Errno;

use super::super::index::{ENTRY_BYTES, HEADER};
use super::super::stepped::{Queue, Steps};
use super::super::storage::memory::{FailWith, Fault, SECTOR_BYTES, When};
use super::*;

const START: u64 = 1_700_000_000_000_000;
const LIVE: &str = "/log/quotes";
const MANIFEST: &str = "/log/.quotes.manifest";
/// Losses of power that each leave something else of what was not synced.
const SEEDS: u64 = 24;

/// The log and the queues of its keeper, whose jobs run when the test says so.
fn open_stepped(storage: &MemoryStorage) -> (Writer, Log, Steps) {
    let steps = Steps::new();
    let (config, keeper) = (config(Path::new("/log")), Keeper::Stepped(steps.clone()));
    let (writer, log) =
        open_with(config, Arc::new(storage.clone()), clock(), keeper).expect("opens");
    (writer, log, steps)
}

fn fails(calls: &[Call], path: &'static str, when: When) -> Fault {
    Fault { calls: calls.to_vec(), path, failure: FailWith::Errno(Errno::IO), when }
}

/// What is there after the power failed now, in many ways.
fn powerless(storage: &MemoryStorage) -> impl Iterator<Item = (u64, MemoryStorage)> {
    (0..SEEDS).map(|seed| {
        let after = storage.copy();
        after.lose_power(&mut Seeded::new(seed));
        (seed, after)
    })
}

/// The log has these entries and no damage, however the power fails now.
fn survive(storage: &MemoryStorage, expected: &[u64]) {
    for (seed, after) in powerless(storage) {
        let (_writer, log) = reopen(&after);
        assert_eq!(all(&log), expected, "seed {seed}");
        assert_eq!(log.stats().damaged, 0, "seed {seed}");
    }
}

fn verified(storage: &MemoryStorage) -> Verified {
    verify(&config(Path::new("/log")), storage, &mut |_| ()).expect("lists")
}

/// The rotated segments, oldest first.
fn rotated(storage: &MemoryStorage) -> Vec<PathBuf> {
    let is_one = |path: &PathBuf| path.to_string_lossy().ends_with('Z');
    storage.paths().into_iter().filter(is_one).collect()
}

/// Segments of ten entries each from 1, 101, 201 and so on, and as many in the live one.
fn segments(count: u64) -> MemoryStorage {
    let storage = MemoryStorage::new();
    let (mut writer, _log) = reopen(&storage);
    for i in 0..=count {
        writer.append(batch(i * 100 + 1..i * 100 + 11, 100)).expect("appends");
        if i < count {
            writer.rotate().expect("rotates");
        }
    }
    writer.close().expect("closes");
    storage
}

/// The entries of [`segments`] from the one of this number on.
fn entries(segments: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    segments.flat_map(|i| i * 100 + 1..i * 100 + 11).collect()
}

/// Asks for a sync beside the appends until it says that everything is durable, and lets the keeper do it.
fn sync_beside(writer: &mut Writer, steps: &Steps) {
    for _ in 0..10 {
        if writer.sync_beside().expect("syncs") {
            return;
        }
        steps.run(Queue::Sealer);
    }
    panic!("never durable");
}

/// What was appended before a rotation is as durable after a sync as what was appended since: the sync waits for the
/// rotated segment, also if that runs beside the appends, and also where its index cannot be written.
#[test]
pub(super) fn a_sync_covers_what_was_appended_before_a_rotation() {
    for (beside, has_index) in [(false, true), (true, true), (false, false), (true, false)] {
        let storage = MemoryStorage::new();
        let (mut writer, _log, steps) = open_stepped(&storage);
        writer.append(batch(1..20, 100)).expect("appends");
        if !has_index {
            storage.add_fault(fails(&[Call::Create], ".idx", When::From(1)));
        }
        writer.rotate().expect("rotates");
        writer.append(batch(20..30, 100)).expect("appends");
        if beside {
            sync_beside(&mut writer, &steps);
        } else {
            writer.sync().expect("syncs");
        }
        survive(&storage, &(1..30).collect::<Vec<_>>());
        steps.clear();
    }
}

/// A log that was begun on a full disk, and whose manifest still cannot be written: the first sync that succeeds makes
/// its file's name durable too, also one beside the appends.
#[test]
pub(super) fn the_first_sync_of_a_log_begun_on_a_full_disk_covers_its_name() {
    for beside in [false, true] {
        let storage = MemoryStorage::new();
        storage.set_capacity(Some(0));
        let (mut writer, _log, steps) = open_stepped(&storage);
        storage.set_capacity(None);
        storage.add_fault(fails(&[Call::Create], "manifest", When::From(1)));
        writer.append(batch(1..20, 100)).expect("appends");
        if beside {
            sync_beside(&mut writer, &steps);
        } else {
            writer.sync().expect("syncs");
        }
        survive(&storage, &(1..20).collect::<Vec<_>>());
    }
}

/// Where a rotated segment could not be made durable no later sync says that all is well, and the next start writes it
/// again.
#[test]
pub(super) fn a_rotated_segment_that_was_not_synced_stops_the_recorder() {
    for seed in 0..SEEDS {
        let storage = MemoryStorage::new();
        storage.set_seed(seed);
        let (mut writer, _log) = reopen(&storage);
        writer.append(batch(1..20, 1000)).expect("appends");
        storage.add_fault(fails(&[Call::Sync], LIVE, When::Once(1)));
        writer.rotate().expect("is sealed later");
        assert!(matches!(writer.sync(), Err(AppendError::Poisoned { .. })));
        drop(writer);
        survive_a_restart(&storage, &(1..20).collect::<Vec<_>>());
    }
}

/// The live segment could not be synced beside the appends: the next sync says so. If it was rotated before anybody
/// heard of it, the sync of the rotated segment may succeed all the same, and does not make it durable.
#[test]
pub(super) fn a_sync_that_failed_is_told_and_not_tried_again() {
    for (seed, rotates) in (0..SEEDS).flat_map(|seed| [(seed, true), (seed, false)]) {
        let storage = MemoryStorage::new();
        storage.set_seed(seed);
        let (mut writer, _log, steps) = open_stepped(&storage);
        writer.append(batch(1..20, 1000)).expect("appends");
        storage.add_fault(fails(&[Call::Sync], LIVE, When::Once(1)));
        assert!(!writer.sync_beside().expect("begins"));
        if rotates {
            writer.rotate().expect("rotates");
        }
        steps.finish();
        assert!(matches!(writer.sync(), Err(AppendError::Poisoned { .. })));
        drop(writer);
        survive_a_restart(&storage, &(1..20).collect::<Vec<_>>());
    }
}

/// What was not synced and is there after the death of the process is durable once a sync says so, though nothing was
/// appended since.
#[test]
pub(super) fn what_a_restart_found_is_durable_after_a_sync() {
    let storage = MemoryStorage::new();
    let (mut writer, _log) = reopen(&storage);
    writer.append(batch(1..20, 1000)).expect("appends");
    drop(writer);
    survive_a_restart(&storage, &(1..20).collect::<Vec<_>>());
}

/// What is appended after a torn tail was cut off is read after the next start, and the tail is not found again.
#[test]
pub(super) fn a_torn_tail_is_gone_for_what_comes_after_it() {
    let storage = MemoryStorage::new();
    let (mut writer, _log) = reopen(&storage);
    writer.append(batch(1..6, 1000)).expect("appends");
    drop(writer);
    storage.kill();
    let torn = [live(&storage), vec![7; 5_000]].concat();
    storage.put(Path::new(LIVE), torn);
    let (mut writer, log) = reopen(&storage);
    assert_eq!(log.stats().torn_bytes, 5_000);
    writer.append(batch(6..8, 1000)).expect("appends");
    writer.sync().expect("syncs");
    drop(writer);
    storage.kill();
    let (_writer, log) = reopen(&storage);
    assert_eq!(all(&log), (1..8).collect::<Vec<_>>());
    assert_eq!((log.stats().torn_bytes, log.stats().damaged), (0, 0));
}

/// What looks like a record behind a torn one may lie inside an event: it never becomes an entry.
#[test]
pub(super) fn nothing_is_looked_for_in_a_torn_tail() {
    let storage = MemoryStorage::new();
    let (mut writer, _log) = reopen(&storage);
    writer.append(batch(1..6, 1000)).expect("appends");
    writer.sync().expect("syncs");
    let synced = live(&storage);
    writer.append(batch([6], 100)).expect("appends");
    let record = live(&storage)[synced.len()..].to_vec();
    drop(writer);
    for keeps_index in [true, false] {
        let storage = storage.fork();
        if !keeps_index {
            storage.remove(Path::new("/log/.quotes.idx")).expect("is there");
        }
        let torn = [synced.clone(), vec![7; 50], record.clone()].concat();
        storage.put(Path::new(LIVE), torn);
        let (_writer, log) = reopen(&storage);
        assert_eq!(all(&log), (1..6).collect::<Vec<_>>(), "index {keeps_index}");
        assert_eq!(log.stats().torn_bytes, 50 + record.len() as u64);
    }
}

/// Nor behind damage in a rotated segment of ours that lost its index, also if the manifest cannot be read just now.
#[test]
fn nothing_is_looked_for_behind_damage_while_the_manifest_cannot_be_read() {
    let storage = MemoryStorage::new();
    let (mut writer, _log) = reopen(&storage);
    writer.append(batch(1..6, 1000)).expect("appends");
    let whole = live(&storage);
    writer.append(batch([6], 100)).expect("appends");
    let record = live(&storage)[whole.len()..].to_vec();
    writer.rotate().expect("rotates");
    writer.close().expect("closes");
    let segment = rotated(&storage)[0].clone();
    let name = segment.file_name().expect("has one").to_string_lossy().into_owned();
    storage.put(&segment, [whole, vec![7; 50], record].concat());
    storage.remove(&segment.with_file_name(format!(".{name}.idx"))).expect("is there");
    for unread in [false, true] {
        let storage = storage.fork();
        if unread {
            storage.add_fault(fails(&[Call::Read], "manifest", When::Once(1)));
        }
        let (_writer, log) = reopen(&storage);
        assert_eq!(all(&log), (1..6).collect::<Vec<_>>(), "unread {unread}");
        assert!(log.stats().damaged > 0);
    }
}

/// What is seen after a restart and a sync is there after a loss of power.
fn survive_a_restart(storage: &MemoryStorage, expected: &[u64]) {
    storage.kill();
    let (mut writer, log) = reopen(storage);
    assert_eq!(all(&log), expected);
    writer.sync().expect("syncs");
    survive(storage, expected);
}

/// A log whose rotated segment could not be made durable says so when it is closed.
#[test]
pub(super) fn closing_waits_for_what_was_rotated() {
    let storage = MemoryStorage::new();
    let (mut writer, _log, _steps) = open_stepped(&storage);
    writer.append(batch(1..20, 100)).expect("appends");
    storage.add_fault(fails(&[Call::Sync], LIVE, When::Once(1)));
    writer.rotate().expect("is sealed later");
    writer.append(batch(20..30, 100)).expect("appends");
    assert!(matches!(writer.close(), Err(AppendError::Poisoned { .. })));
}

/// The power fails at any call of closing: what the mark of a closed log says is durable is so, and nothing is damaged.
#[test]
pub(super) fn a_loss_of_power_while_closing_damages_nothing() {
    for call in 1..100 {
        let storage = MemoryStorage::new();
        let (mut writer, _log) = reopen(&storage);
        writer.append(batch(1..6, 1000)).expect("appends");
        writer.sync().expect("syncs");
        writer.append(batch(6..26, 1000)).expect("appends");
        storage.die_at_call(call);
        if writer.close().is_ok() {
            assert!(call > 3);
            return;
        }
        for (seed, after) in powerless(&storage) {
            let (_writer, log) = reopen(&after);
            assert_eq!(all(&log)[..5], [1, 2, 3, 4, 5], "call {call}, seed {seed}");
            let is_clean = log.started() == Started::Clean;
            assert!(!is_clean || all(&log).len() == 25, "call {call}, seed {seed}");
        }
    }
    panic!("it never closes");
}

/// A start looks through what was appended last, not through segments that were complete before the power failed.
#[test]
pub(super) fn what_was_sealed_is_not_looked_through_after_a_loss_of_power() {
    let storage = MemoryStorage::new();
    let (mut writer, _log) = reopen(&storage);
    writer.append(batch(1..20, 1000)).expect("appends");
    writer.rotate().expect("rotates");
    for (seed, after) in powerless(&storage) {
        let looked = Arc::new(Mutex::new(0));
        let count = Arc::clone(&looked);
        after.set_hook(Some(Arc::new(move |call, path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if call == Call::Read && name.ends_with('Z') {
                *count.lock().expect("nobody panics") += 1;
            }
        })));
        drop(reopen(&after));
        assert_eq!(*looked.lock().expect("nobody panics"), 0, "seed {seed}");
    }
}

/// The power took the end of the log, and its index knows of entries that are not there. What is appended in their
/// place, and synced, is not held against that index after the next loss of power, even where no manifest can be written.
#[test]
pub(super) fn an_index_from_before_a_loss_of_power_does_not_come_back() {
    let storage = MemoryStorage::new();
    let (mut writer, _log) = reopen(&storage);
    writer.append(batch(1..6, 1000)).expect("appends");
    writer.sync().expect("syncs");
    let synced = live(&storage).len();
    writer.append(batch(6..11, 1000)).expect("appends");
    drop(writer);
    let storage = storage.fork();
    storage.put(Path::new(LIVE), live(&storage)[..synced].to_vec());
    storage.add_fault(fails(&[Call::Create], "manifest", When::From(1)));
    let (mut writer, _log) = reopen(&storage);
    writer.append(batch(11..21, 1000)).expect("appends");
    writer.sync().expect("syncs");
    survive(&storage, &(1..6).chain(11..21).collect::<Vec<_>>());
}

/// A live segment, not closed in order, with a hole in the middle that only its index knows the end of; and what else
/// is in it.
fn holed() -> (MemoryStorage, Vec<u64>) {
    let storage = MemoryStorage::new();
    let (mut writer, _log) = reopen(&storage);
    for start in [1, 11, 21] {
        writer.append(batch(start..start + 5, 1000)).expect("appends");
        writer.sync().expect("syncs");
    }
    drop(writer);
    let storage = storage.fork();
    let mut bytes = live(&storage);
    let middle = bytes.len() / 2;
    bytes[middle - 700..middle + 700].fill(0);
    storage.put(Path::new(LIVE), bytes);
    (storage, (1..6).chain(21..26).collect())
}

/// Damage costs the stretch that it is in and nothing behind it: there is always an index that knows where that ends, from
/// the moment that something is appended, and at every call of a rotation that the process, or the machine, dies in.
#[test]
pub(super) fn a_hole_costs_nothing_behind_it_wherever_a_rotation_dies() {
    let (whole, expected) = holed();
    assert_eq!(all(&reopen(&whole.fork()).1), expected);
    for call in 1..100 {
        let mut is_over = true;
        for seed in 0..6 {
            let storage = whole.fork();
            storage.set_seed(seed);
            let (mut writer, _log) = reopen(&storage);
            storage.die_at_call(call);
            drop(writer.rotate());
            is_over &= !storage.is_dead();
            drop(writer);
            if seed % 2 == 0 {
                storage.kill();
            } else {
                storage.lose_power(&mut Seeded::new(seed));
            }
            assert_eq!(all(&reopen(&storage).1), expected, "died at call {call}, seed {seed}");
        }
        if is_over {
            assert!(call > 10);
            return;
        }
    }
    panic!("it never ends");
}

/// A bad sector costs the stretch that it lies in and is reported once, however much is read at a time.
#[test]
pub(super) fn a_bad_sector_costs_one_of_many_stretches_that_are_read_at_once() {
    let storage = MemoryStorage::new();
    let (mut writer, _log) = reopen(&storage);
    for start in (0..100).step_by(5) {
        writer.append(batch(start + 1..start + 6, 1000)).expect("appends");
        writer.sync().expect("syncs");
    }
    writer.rotate().expect("rotates");
    writer.close().expect("closes");
    let (_writer, log) = reopen(&storage);
    let segment = &rotated(&storage)[0];
    let bytes = storage.bytes(segment).expect("is there").len() as u64;
    assert!(storage.spoil_sector(segment, (bytes / 2 + 2_500) / SECTOR_BYTES));
    for max_bytes in [1, 20_000, 1 << 20] {
        let seen = stamps(&mut log.cursor(MIN), max_bytes);
        assert_eq!(seen.len(), 95, "{max_bytes} bytes at once: {seen:?}");
        assert_eq!(log.stats().damaged, 1);
    }
}

/// A flipped bit costs the stretch that it is in: nothing is handed out of that, and it is reported.
#[test]
pub(super) fn nothing_is_handed_out_of_a_stretch_with_a_flipped_bit() {
    let storage = segments(1).fork();
    let segment = &rotated(&storage)[0];
    storage.flip(segment, storage.bytes(segment).expect("is there").len() as u64 - 20, 0);
    let (_writer, log) = reopen(&storage);
    assert_eq!(all(&log), entries(1..=1));
    assert_eq!(log.stats().damaged, 1);
}

/// A reader meets a segment that retention deletes at this moment: that is no damage, and a strict reader is told what
/// it is.
#[test]
pub(super) fn what_is_deleted_under_a_reader_is_not_damaged() {
    for strict in [false, true] {
        let storage = segments(3).fork();
        let mut keeping = config(Path::new("/log"));
        keeping.max_bytes = Some(5_000);
        let (writer, log) = open_in(keeping, &storage).expect("opens");
        let first = rotated(&storage)[0].clone();
        let writer = Mutex::new(Some(writer));
        storage.set_hook(Some(Arc::new(move |call, path| {
            if call == Call::Open && path == first {
                let writer = writer.lock().expect("nobody panics").take();
                if let Some(mut writer) = writer {
                    go_to(writer.clock(), at(START + 20_000_000));
                    writer.maintain().expect("maintains");
                }
            }
        })));
        let mut cursor = if strict { log.strict_cursor(MIN) } else { log.cursor(MIN) };
        let mut seen = Vec::new();
        let mut told = 0;
        loop {
            match cursor.next(1 << 20) {
                Ok(Some(chunk)) => take(&chunk, &mut seen),
                Ok(None) => break,
                Err(ReadError::Deleted { .. }) => told += 1,
                Err(error) => panic!("{error}"),
            }
        }
        storage.set_hook(None);
        assert!(log.stats().deleted > 0);
        assert_eq!(rotated(&storage).len() as u64, 3 - log.stats().deleted);
        assert_eq!(seen, entries(log.stats().deleted..=3));
        assert_eq!((told, log.stats().damaged), (usize::from(strict), 0));
    }
}

/// A segment that is due and not yet durable is not deleted before it is: its seal would find it gone.
#[test]
pub(super) fn what_is_not_sealed_is_not_deleted() {
    let storage = MemoryStorage::new();
    let steps = Steps::new();
    let mut keeping = config(Path::new("/log"));
    keeping.max_bytes = Some(1);
    let keeper = Keeper::Stepped(steps.clone());
    let opened = open_with(keeping, Arc::new(storage.clone()), clock(), keeper);
    let (mut writer, log) = opened.expect("opens");
    writer.append(batch(1..11, 100)).expect("appends");
    writer.rotate().expect("rotates");
    while steps.run(Queue::Archiver) {}
    assert_eq!(log.stats().deleted, 0);
    steps.finish();
    drop(writer);
    storage.kill();
    assert!(verified(&storage).is_sound(), "{:?}", verified(&storage));
    assert_eq!(reopen(&storage).1.stats().missing, 0);
}

/// A start with a clock that is decades ahead deletes nothing by age.
#[test]
pub(super) fn a_clock_that_is_wrong_at_the_start_deletes_nothing() {
    let storage = segments(3).fork();
    let mut keeping = config(Path::new("/log"));
    keeping.delete_after = Some(Duration::from_secs(3600));
    let ahead = Clock::manual(at(2 * START));
    let opened = open_with(keeping, Arc::new(storage), ahead.clone(), Keeper::Inline);
    let (mut writer, log) = opened.expect("opens");
    ahead.step(20_000_000);
    writer.maintain().expect("maintains");
    assert_eq!(log.stats().deleted, 0);
    assert_eq!(all(&log), entries(0..=3));
}

/// A log whose rotated segment has a hole that only its index and its manifest know of, and what is around the hole.
fn holed_and_rotated() -> (MemoryStorage, Vec<u64>) {
    let storage = MemoryStorage::new();
    let (mut writer, _log) = reopen(&storage);
    for start in [1, 101, 201] {
        writer.append(batch(start..start + 70, 1000)).expect("appends");
    }
    drop(writer);
    let storage = storage.fork();
    let mut bytes = live(&storage);
    let middle = bytes.len() / 2;
    bytes[middle - 700..middle + 700].fill(0);
    storage.put(Path::new(LIVE), bytes);
    // Nor does the index know any more what was there.
    let path = Path::new("/log/.quotes.idx");
    let mut index = storage.bytes(path).expect("is there");
    let entry = HEADER.len() + ENTRY_BYTES * ((index.len() - HEADER.len()) / ENTRY_BYTES / 2);
    index[entry..entry + ENTRY_BYTES].fill(0);
    storage.put(path, index);
    let (mut writer, log) = reopen(&storage);
    assert!(log.stats().damaged > 0);
    writer.rotate().expect("rotates");
    writer.close().expect("closes");
    let found = all(&log);
    assert!(found.starts_with(&[1]) && found.ends_with(&[270]) && found.len() < 210);
    (storage, found)
}

/// Damage that was found in a live segment is known once that is rotated and its index complete, though no checksum
/// covers a hole.
#[test]
fn a_hole_is_not_forgotten_when_its_segment_is_rotated() {
    let (storage, expected) = holed_and_rotated();
    for _ in 0..2 {
        assert!(!verified(&storage).is_sound());
        let (_writer, log) = reopen(&storage);
        assert!(log.stats().damaged > 0, "before anybody reads it");
        assert_eq!(all(&log), expected);
    }
}

/// An index that nobody may read, or that cannot be read for a while, is not replaced by one that does not know what lies
/// behind a hole; nor where the manifest cannot be read either.
#[test]
pub(super) fn an_index_that_cannot_be_read_for_a_while_is_not_made_anew() {
    let (storage, expected) = holed_and_rotated();
    for (call, errno, path) in [
        (Call::Open, Errno::ACCESS, ".quotes_2"),
        (Call::Open, Errno::MFILE, ".quotes_2"),
        (Call::Read, Errno::IO, ".quotes_2"),
        (Call::Read, Errno::IO, "/log/.quotes"),
    ] {
        let storage = storage.fork();
        let failure = FailWith::Errno(errno);
        storage.add_fault(Fault { calls: vec![call], path, failure, when: When::From(1) });
        if let Ok((mut writer, _)) = open_in(config(Path::new("/log")), &storage) {
            go_to(writer.clock(), at(START + 20_000_000));
            writer.maintain().expect("maintains");
        }
        storage.heal();
        storage.kill();
        assert_eq!(all(&reopen(&storage).1), expected, "{call:?} {errno} {path}");
    }
}

/// A start after a loss of power cuts off a torn tail and fails, for it could not be synced: what was cut off is so for the
/// kernel, and no longer to be written. The next start says so again.
#[test]
pub(super) fn what_a_start_cut_off_that_failed_does_not_come_back() {
    let storage = MemoryStorage::new();
    let (mut writer, _log) = reopen(&storage);
    writer.append(batch(1..20, 1000)).expect("appends");
    writer.sync().expect("syncs");
    writer.append(batch(20..40, 1000)).expect("appends");
    drop(writer);
    let torn = storage.fork();
    let mut bytes = live(&torn);
    let end = bytes.len();
    bytes[end - 5_000..end - 4_000].fill(0);
    torn.put(Path::new(LIVE), bytes);
    torn.lose_power(&mut Seeded::new(0));
    for seed in 0..SEEDS {
        let storage = torn.fork();
        storage.set_seed(seed);
        // The first is that of the copy of the torn tail.
        storage.add_fault(fails(&[Call::Sync], LIVE, When::Once(2)));
        assert!(open_in(config(Path::new("/log")), &storage).is_err());
        storage.kill();
        assert_eq!(all(&reopen(&storage).1), (1..20).collect::<Vec<_>>());
        survive(&storage, &(1..20).collect::<Vec<_>>());
    }
}

/// Nothing is cut off a live segment, or what that was, behind a hole while its index cannot be read.
#[test]
pub(super) fn nothing_is_torn_that_an_index_may_know_of_which_cannot_be_read() {
    let (storage, expected) = holed();
    for path in ["/log/.quotes.idx", "/log/.quotes"] {
        let storage = storage.fork();
        for _ in 0..2 {
            storage.add_fault(fails(&[Call::Read], path, When::From(1)));
            let (_writer, log) = reopen(&storage);
            assert!(all(&log).starts_with(&[1, 2, 3, 4, 5]));
            assert_eq!(log.stats().torn_bytes, 0);
            storage.heal();
            storage.kill();
        }
        assert_eq!(all(&reopen(&storage).1), expected, "{path}");
    }
}

/// A reader that cannot read an index for a while makes do with what it finds in the segment, in front of a hole. The
/// index is not replaced by that, nor is it what others read by or what is archived.
#[test]
pub(super) fn what_is_found_without_an_index_is_not_taken_for_what_it_says() {
    let (storage, expected) = holed_and_rotated();
    for archive_after in [None, Some(Duration::ZERO)] {
        let storage = storage.fork();
        let archiving = LogConfig { archive_after, ..config(Path::new("/log")) };
        let (mut writer, log) = open_in(archiving, &storage).expect("opens");
        storage.add_fault(fails(&[Call::Read], ".idx", When::From(1)));
        let mut reader = log.cursor(MIN);
        assert!(reader.next(1).expect("reads").is_some());
        storage.heal();
        assert_eq!(all(&log), expected);
        for seconds in [20_000_000, 4_000_000_000] {
            go_to(writer.clock(), at(START + seconds));
            writer.maintain().expect("maintains");
        }
        assert_eq!(log.stats().archives, u64::from(archive_after.is_some()));
        assert_eq!(all(&log), expected);
    }
}

/// An archive that could not be listed does not outlive its segment: what retention deleted stays deleted.
#[test]
fn an_archive_that_is_not_listed_is_deleted_with_its_segment() {
    let storage = segments(2).fork();
    let mut keeping = config(Path::new("/log"));
    keeping.archive_after = Some(Duration::ZERO);
    let (mut writer, log) = open_in(keeping.clone(), &storage).expect("opens");
    storage.add_fault(fails(&[Call::Write], MANIFEST, When::From(1)));
    storage.add_fault(fails(&[Call::Write], "manifest.new", When::From(1)));
    go_to(writer.clock(), at(START + 20_000_000));
    writer.maintain().expect("maintains");
    assert_eq!(log.stats().archives, 0);
    assert!(storage.paths().iter().any(|path| path.extension().is_some_and(|end| end == "zip")));
    drop(writer);
    storage.heal();
    storage.kill();
    (keeping.archive_after, keeping.max_bytes) = (Some(Duration::from_secs(3600)), Some(1));
    let (mut writer, log) = open_in(keeping, &storage).expect("opens");
    go_to(writer.clock(), at(START + 40_000_000));
    writer.maintain().expect("maintains");
    assert_eq!(log.stats().deleted, 2);
    drop(writer);
    survive_a_restart(&storage, &entries(2..=2));
}

/// A damaged manifest may have said that the clock had leapt: nothing is deleted by age until it has gone evenly.
#[test]
fn a_damaged_manifest_has_nothing_deleted_by_age() {
    for is_damaged in [false, true] {
        let storage = segments(2).fork();
        if is_damaged {
            storage.flip(Path::new(MANIFEST), 30, 1);
        }
        let mut keeping = config(Path::new("/log"));
        keeping.delete_after = Some(Duration::from_secs(60));
        let clock = Clock::manual(at(20_000_000));
        let opened = open_with(keeping, Arc::new(storage), clock.clone(), Keeper::Inline);
        let (mut writer, log) = opened.expect("opens");
        clock.step(200_000_000);
        writer.maintain().expect("maintains");
        assert_eq!(log.stats().deleted > 0, !is_damaged);
    }
}

/// The process dies while the first stamps after a leap of the clock are reserved, or while it is remembered that a reader
/// was told of an end, with any part of those lines written: the next start does not believe the clock, so that nothing is
/// deleted by age.
#[test]
pub(super) fn a_leap_is_remembered_before_stamps_that_would_hide_it() {
    const YEARS: i64 = 77 * 365 * 86_400_000_000;
    let mut keeping = config(Path::new("/log"));
    keeping.delete_after = Some(Duration::from_secs(60));
    let open = |storage: &MemoryStorage, clock: &Clock| {
        let storage = Arc::new(storage.clone());
        open_with(keeping.clone(), storage, clock.clone(), Keeper::Inline).expect("opens")
    };
    for is_told in [false, true] {
        let storage = segments(2).fork();
        // Near the newest stamp, so that the clock is believed till it leaps.
        let clock = Clock::manual(at(20_000_000));
        let (mut writer, _log) = open(&storage, &clock);
        let before = storage.bytes(Path::new(MANIFEST)).expect("is there").len();
        let live = storage.bytes(Path::new(LIVE)).expect("is there");
        clock.leap(YEARS);
        match is_told {
            true => writer.pass(clock.now()),
            false => drop(writer.append(batch([clock.now().micros()], 10)).expect("appends")),
        }
        let manifest = storage.bytes(Path::new(MANIFEST)).expect("is there");
        assert!(before < manifest.len());
        for end in before..=manifest.len() {
            let storage = storage.fork();
            storage.put(Path::new(LIVE), live.clone());
            storage.put(Path::new(MANIFEST), manifest[..end].to_vec());
            // The machine was started again: what was reserved counts.
            storage.lose_power(&mut Seeded::new(0));
            let clock = Clock::manual(clock.now());
            let (mut writer, log) = open(&storage, &clock);
            clock.step(200_000_000);
            writer.maintain().expect("maintains");
            let of = manifest.len();
            assert_eq!(log.stats().deleted, 0, "{end} of {before}..{of}, {is_told}");
        }
    }
}

/// A full disk takes any part of an index's first bytes: nothing is damaged by that, and nothing is lost.
#[test]
fn an_index_that_a_full_disk_cut_short_is_no_damage() {
    for begun in 0..HEADER.len() {
        let storage = MemoryStorage::new();
        let (mut writer, log) = reopen(&storage);
        writer.append(batch(1..11, 100)).expect("appends");
        let seen = all(&log);
        drop(writer);
        storage.kill();
        storage.put(Path::new("/log/.quotes.idx"), HEADER[..begun].to_vec());
        let found = verified(&storage);
        assert!(found.is_sound(), "{begun}: {found:?}");
        assert_eq!(found.events(), 10);
        let (_writer, log) = reopen(&storage);
        assert_eq!((all(&log), log.stats().damaged), (seen, 0));
    }
}

/// A log of which retention has just deleted two segments of three, and the path and the bytes of the first.
fn deleted() -> (MemoryStorage, PathBuf, Vec<u8>) {
    let storage = segments(3).fork();
    let first = rotated(&storage)[0].clone();
    let bytes = storage.bytes(&first).expect("is there");
    let mut keeping = config(Path::new("/log"));
    keeping.max_bytes = Some(3 * bytes.len() as u64 - 100);
    let (mut writer, log) = open_in(keeping, &storage).expect("opens");
    go_to(writer.clock(), at(START + 20_000_000));
    writer.maintain().expect("maintains");
    assert_eq!(log.stats().deleted, 2);
    (storage, first, bytes)
}

/// What retention has deleted does not come back with a loss of power, and is not missing.
#[test]
pub(super) fn what_was_deleted_stays_deleted() {
    let (storage, ..) = deleted();
    survive(&storage, &entries(2..=3));
}

/// What was to be deleted and could not be removed is removed by the next start, and does not come back after that.
#[test]
pub(super) fn what_could_not_be_removed_does_not_come_back() {
    let storage = segments(3).fork();
    let mut keeping = config(Path::new("/log"));
    keeping.max_bytes = Some(5_000);
    let (mut writer, log) = open_in(keeping, &storage).expect("opens");
    go_to(writer.clock(), at(START + 20_000_000));
    storage.add_fault(fails(&[Call::Remove], "/log/quotes_", When::From(1)));
    writer.maintain().expect("maintains");
    assert!(!storage.take_hits().is_empty());
    assert_eq!((log.stats().deleted, rotated(&storage).len()), (0, 3));
    drop(writer);
    let mut left = None;
    for _ in 0..3 {
        storage.kill();
        let (_writer, log) = reopen(&storage);
        let seen = all(&log);
        assert!(seen.len() < 40 && entries(0..=3).ends_with(&seen));
        assert_eq!(*left.get_or_insert(seen.clone()), seen);
    }
}

/// Where no index can be made or removed what was deleted leaves its own, and the live segment has none: the next start
/// does not take the one for the other's, which would tear what was synced.
#[test]
pub(super) fn an_index_that_is_left_of_what_was_deleted_is_nobody_elses() {
    let storage = segments(1).fork();
    let mut keeping = config(Path::new("/log"));
    keeping.max_bytes = Some(4_000);
    let (mut writer, log) = open_in(keeping, &storage).expect("opens");
    storage.add_fault(fails(&[Call::Create, Call::Remove], ".idx", When::From(1)));
    go_to(writer.clock(), at(START + 20_000_000));
    writer.rotate().expect("rotates");
    writer.append(batch(201..231, 100)).expect("appends");
    writer.maintain().expect("maintains");
    writer.sync().expect("syncs");
    let is_index = |path: &PathBuf| path.extension().is_some_and(|end| end == "idx");
    let indexes = storage.paths().into_iter().filter(is_index).count();
    assert_eq!((log.stats().deleted, rotated(&storage).len(), indexes), (2, 0, 2));
    survive(&storage, &(201..231).collect::<Vec<_>>());
}

/// A strict reader that asks for what was deleted is told so after a restart as well.
#[test]
pub(super) fn a_strict_reader_hears_of_deletions_after_a_restart() {
    let (storage, ..) = deleted();
    storage.kill();
    let (_writer, log) = reopen(&storage);
    let first = log.strict_cursor(at(1)).next(1 << 20);
    assert!(matches!(first, Err(ReadError::Deleted { oldest }) if oldest == at(201)), "{first:?}");
}

/// A strict reader that was told from where on there are entries gets none from before that, though they are still in
/// memory.
#[test]
fn a_strict_reader_goes_on_behind_what_it_was_told() {
    let mut keeping = config(Path::new("/log"));
    keeping.max_bytes = Some(100_000);
    let (mut writer, log) = open_in(keeping, &MemoryStorage::new()).expect("opens");
    for i in 0..3 {
        // In memory the first two lie side by side in one chunk.
        writer.append(batch(i * 100 + 1..i * 100 + 11, 4_000)).expect("appends");
        writer.rotate().expect("rotates");
    }
    assert_eq!((log.stats().deleted, log.stats().cache_events), (1, 30));
    let mut strict = log.strict_cursor(at(5));
    let Err(ReadError::Deleted { oldest }) = strict.next(1 << 20) else { panic!("is not told") };
    let seen = stamps(&mut strict, 1 << 20);
    assert_eq!((oldest, seen), (at(101), entries(1..=2)));
}

/// A segment that retention has deleted and that somebody puts back, from a backup say, is not deleted by the next start.
#[test]
pub(super) fn a_deleted_segment_that_is_put_back_stays() {
    let (storage, path, bytes) = deleted();
    storage.kill();
    storage.put(&path, bytes);
    let (_writer, log) = reopen(&storage);
    assert_eq!(all(&log), [entries(0..=0), entries(2..=3)].concat());
}

/// A log whose only rotated segment has just been archived.
fn archived() -> MemoryStorage {
    let storage = segments(1).fork();
    let mut archiving = config(Path::new("/log"));
    archiving.archive_after = Some(Duration::ZERO);
    let (mut writer, log) = open_in(archiving, &storage).expect("opens");
    go_to(writer.clock(), at(START + 20_000_000));
    writer.maintain().expect("maintains");
    assert_eq!(log.stats().archives, 1);
    drop(writer);
    storage
}

/// What was archived is in the archive after a loss of power.
#[test]
pub(super) fn an_archive_survives_a_loss_of_power() {
    survive(&archived(), &entries(0..=1));
}

/// An archive that somebody removes is missed by the next start.
#[test]
pub(super) fn an_archive_that_goes_is_missed() {
    let storage = archived();
    storage.kill();
    let is_archive = |path: &PathBuf| path.extension().is_some_and(|end| end == "zip");
    let archive = storage.paths().into_iter().find(is_archive).expect("there is one");
    storage.remove(&archive).expect("removes");
    assert!(!verified(&storage).is_sound());
    assert_eq!(reopen(&storage).1.stats().missing, 1);
}

/// A flipped bit in a manifest is reported, and nothing is believed that the line says now.
#[test]
pub(super) fn a_flipped_bit_in_the_manifest_is_reported_and_not_believed() {
    let storage = segments(1).fork();
    let manifest = Path::new(MANIFEST);
    let text = String::from_utf8(storage.bytes(manifest).expect("is there")).expect("is text");
    let stamp = text.find(" stamp ").expect("stamps are reserved") + " stamp ".len();
    storage.flip(manifest, stamp as u64, 1);
    let found = verified(&storage);
    assert_eq!(found.manifests, [(manifest.to_owned(), 1)]);
    let (writer, log) = reopen(&storage);
    assert_eq!(log.stats().damaged, 1);
    assert_eq!(all(&log), entries(0..=1));
    drop(writer);
    // And it stays on record.
    storage.kill();
    assert_eq!(reopen(&storage).1.stats().damaged, 1);
}

/// The power fails right after a start, which wrote the manifest anew: it says what it said, and misses what goes.
#[test]
pub(super) fn a_manifest_written_anew_survives_a_loss_of_power() {
    let storage = segments(1).fork();
    drop(reopen(&storage));
    for (seed, after) in powerless(&storage) {
        assert!(verified(&after).is_sound(), "seed {seed}");
        after.remove(&rotated(&after)[0]).expect("removes");
        assert_eq!(reopen(&after).1.stats().missing, 1, "seed {seed}");
    }
}

/// A line that could not be added to the manifest is neither lost nor mistaken for damage.
#[test]
pub(super) fn a_line_that_the_manifest_did_not_take_is_written_later() {
    let storage = MemoryStorage::new();
    let (mut writer, _log) = reopen(&storage);
    writer.append(batch(1..11, 100)).expect("appends");
    storage.add_fault(fails(&[Call::Sync], "manifest", When::Once(1)));
    writer.rotate().expect("rotates");
    assert_eq!(storage.take_hits().len(), 1, "the line of the rotated segment");
    writer.append(batch([START + 60_000_000], 100)).expect("reserves stamps");
    drop(writer);
    storage.kill();
    assert!(verified(&storage).is_sound(), "{:?}", verified(&storage));
    storage.remove(&rotated(&storage)[0]).expect("removes");
    let (_writer, log) = reopen(&storage);
    assert_eq!((log.stats().missing, log.stats().damaged), (1, 1));
}
