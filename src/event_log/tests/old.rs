//! Old segments: archived, deleted, read from archives, verified.

use std::path::PathBuf;

use super::*;

const DAY: u64 = 86_400_000_000;
const START: u64 = 1_700_000_000_000_000;

fn keeping(change: impl FnOnce(&mut LogConfig)) -> LogConfig {
    let mut config = config(Path::new("/log"));
    config.archive_after = Some(Duration::from_secs(86_400));
    change(&mut config);
    config
}

/// Writes a segment a day for `days` days.
fn write_days(writer: &mut Writer, days: std::ops::Range<u64>) {
    for day in days {
        let start = START + day * DAY;
        go_to(writer.clock(), at(start));
        writer.append(batch((1..=50).map(|i| start + i * 1000), 2000)).expect("appends");
        writer.sync().expect("syncs");
        writer.rotate_at(at(start + DAY - 1)).expect("rotates");
    }
}

fn days(days: std::ops::Range<u64>) -> Vec<u64> {
    days.flat_map(|day| (1..=50).map(move |i| START + day * DAY + i * 1000)).collect()
}

fn names(storage: &MemoryStorage, dir: &str) -> Vec<String> {
    let in_dir = storage.paths().into_iter().filter(|path| path.parent() == Some(Path::new(dir)));
    in_dir.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect()
}

#[test]
fn archived_segments_are_read_like_others_also_after_reopening() {
    let storage = MemoryStorage::new();
    let (mut writer, log) = open_in(keeping(|_| ()), &storage).expect("opens");
    write_days(&mut writer, 0..4);
    let before = log.stats().bytes;
    let mut standing = log.cursor(MIN);
    let mut seen = Vec::new();
    take(&standing.next(30_000).expect("reads").expect("has entries"), &mut seen);
    writer.maintain_at(at(START + 4 * DAY + DAY / 2)).expect("maintains");
    assert!(log.stats().bytes < before - 3 * 90_000, "they are packed");
    write_days(&mut writer, 4..6);
    let stats = log.stats();
    assert_eq!((stats.archived, stats.archives, stats.segments), (3, 3, 4));
    let archive: Vec<_> = names(&storage, "/log/archive");
    assert_eq!(archive.len(), 7, "{archive:?}");
    assert!(archive.contains(&"quotes_2023-11-15_22-13-19.999Z.zip".to_owned()), "{archive:?}");
    assert!(
        archive.contains(&".quotes_2023-11-15_22-13-19.999Z.zip.idx".to_owned()),
        "{archive:?}"
    );
    let check = |log: &Log| {
        for from in [0, START + 30_000, START + DAY, START + 2 * DAY + 50_000, START + 3 * DAY] {
            let expected: Vec<_> = days(0..6).into_iter().filter(|stamp| *stamp >= from).collect();
            assert_eq!(stamps(&mut log.cursor(at(from)), 1 << 16), expected, "from {from}");
        }
    };
    check(&log);
    seen.extend(stamps(&mut standing, 1 << 16));
    assert_eq!(seen, days(0..6), "a cursor goes on where it stood");
    writer.close().expect("closes");
    let (writer, log) = reopen(&storage);
    check(&log);
    assert_eq!((log.stats().archives, log.stats().damaged), (3, 0));
    writer.close().expect("closes");
    // An archive whose index is lost is inflated once and gets a new one.
    let index = Path::new("/log/archive/.quotes_2023-11-16_22-13-19.999Z.zip.idx");
    storage.remove(index).expect("is there");
    let (_writer, log) = reopen(&storage);
    check(&log);
    assert!(storage.bytes(index).is_some());
}

#[test]
fn archiving_interrupted_at_any_call_loses_nothing_and_is_finished_later() {
    let written = MemoryStorage::new();
    let (mut writer, _log) = reopen(&written);
    write_days(&mut writer, 0..2);
    writer.close().expect("closes");
    let now = at(START + 10 * DAY);
    let archive = |storage: &MemoryStorage| {
        let (mut writer, _log) = open_in(keeping(|_| ()), storage).ok()?;
        writer.maintain_at(now).ok()?;
        writer.close().ok()
    };
    let whole = written.fork();
    archive(&whole).expect("nothing fails");
    let calls = whole.calls();
    assert!(calls > 40);
    for call in 1..=calls {
        for power in [false, true] {
            let storage = written.fork();
            storage.die_at_call(call);
            archive(&storage);
            if power {
                storage.lose_power(&mut Seeded::new(call));
            } else {
                storage.kill();
            }
            let (writer, log) = reopen(&storage);
            assert_eq!(all(&log), days(0..2), "died at call {call}, power {power}");
            assert_eq!(log.stats().damaged, 0, "died at call {call}, power {power}");
            writer.close().expect("closes");
            archive(&storage).expect("nothing fails");
            let (writer, log) = reopen(&storage);
            assert_eq!(log.stats().archives, 2, "died at call {call}, power {power}");
            assert_eq!(all(&log), days(0..2), "died at call {call}, power {power}");
            assert_eq!(names(&storage, "/log/archive").len(), 5, "died at call {call}");
            drop(writer);
        }
    }
}

#[test]
fn retention_deletes_the_oldest_first_and_never_the_live_segment() {
    let storage = MemoryStorage::new();
    let by_age = keeping(|config| {
        config.delete_after = Some(Duration::from_secs(3 * 86_400));
        config.cache_bytes = Some(0);
    });
    let (mut writer, log) = open_in(by_age, &storage).expect("opens");
    write_days(&mut writer, 0..8);
    let mut standing = log.cursor(MIN);
    let mut strict = log.strict_cursor(MIN);
    take(&strict.next(1).expect("reads").expect("has entries"), &mut vec![]);
    writer.maintain_at(at(START + 8 * DAY)).expect("maintains");
    assert_eq!(all(&log), days(5..8));
    assert_eq!(log.interval(), Some((at(days(5..8)[0]), at(days(7..8)[49]))));
    assert_eq!((log.stats().deleted, log.stats().deleted_events), (5, 250));
    assert_eq!(stamps(&mut standing, 1 << 16), days(5..8), "who stood there goes on");
    let oldest = at(days(5..8)[0]);
    let mut deleted = 0;
    while let Some(chunk) = strict
        .next(1 << 16)
        .or_else(|error| match error {
            ReadError::Deleted { oldest: found } if found == oldest => {
                deleted += 1;
                strict.next(1 << 16)
            }
            other => Err(other),
        })
        .expect("reads")
    {
        take(&chunk, &mut vec![]);
    }
    assert_eq!(deleted, 1);
    assert!(matches!(log.strict_cursor(at(5)).next(1), Err(ReadError::Deleted { .. })));
    writer.close().expect("closes");
    assert_eq!(all(&reopen(&storage).1), days(5..8));

    let by_size = keeping(|config| {
        config.archive_after = None;
        config.max_bytes = Some(250_000);
    });
    let (mut writer, log) = open_in(by_size, &storage).expect("opens");
    write_days(&mut writer, 8..12);
    assert!(log.stats().bytes <= 250_000);
    assert_eq!(all(&log), days(10..12));
    writer.append(batch((1..1000).map(|i| START + 12 * DAY + i), 2000)).expect("appends");
    writer.maintain_at(at(START + 13 * DAY)).expect("maintains");
    assert_eq!(log.stats().segments, 1);
    assert_eq!(log.stats().events, 999);
}

#[test]
fn a_full_disk_keeps_segments_as_they_are_until_there_is_space() {
    let storage = MemoryStorage::new();
    let (mut writer, log) = open_in(keeping(|_| ()), &storage).expect("opens");
    write_days(&mut writer, 0..3);
    let used: usize =
        storage.paths().iter().filter_map(|path| Some(storage.bytes(path)?.len())).sum();
    storage.set_capacity(Some(used as u64 + 100));
    writer.maintain_at(at(START + 10 * DAY)).expect("maintains");
    assert_eq!(log.stats().archives, 0);
    assert_eq!(all(&log), days(0..3));
    storage.set_capacity(None);
    writer.maintain_at(at(START + 11 * DAY)).expect("maintains");
    assert_eq!(log.stats().archives, 3);
    assert_eq!(all(&log), days(0..3));
}

#[test]
fn verify_names_what_is_damaged_and_changes_nothing() {
    let storage = MemoryStorage::new();
    let (mut writer, _log) = open_in(keeping(|_| ()), &storage).expect("opens");
    write_days(&mut writer, 0..4);
    writer.maintain_at(at(START + 3 * DAY + DAY / 2)).expect("maintains");
    writer.append(batch((1..20).map(|i| START + 9 * DAY + i), 500)).expect("appends");
    writer.close().expect("closes");
    let config = config(Path::new("/log"));
    let check = |storage: &MemoryStorage| {
        let (before, mut last) = (storage.fork(), 0);
        let verified = verify(&config, storage, &mut |done| last = done).expect("verifies");
        assert_eq!(last, verified.bytes());
        for path in before.paths() {
            assert_eq!(storage.bytes(&path), before.bytes(&path));
        }
        verified
    };
    let sound = check(&storage);
    assert!(sound.is_sound(), "{sound:?}");
    assert_eq!((sound.events(), sound.segments.len()), (219, 5));
    assert!(sound.segments.iter().all(|segment| segment.index == IndexState::Complete));
    let mut seeded = Seeded::new(11);
    let segments: Vec<PathBuf> =
        sound.segments.iter().map(|segment| segment.path.clone()).collect();
    for path in segments {
        for _ in 0..10 {
            let damaged = storage.fork();
            let mut bytes = storage.bytes(&path).expect("is there");
            // Not in the head of a segment, whose marks tell nothing, nor in the headers of an archive.
            let at = 100 + usize::try_from(seeded.below(bytes.len() as u64 - 400)).expect("small");
            bytes[at] ^= 4;
            damaged.put(&path, bytes);
            let found = check(&damaged);
            if found.is_sound() && path.extension().is_some_and(|extension| extension == "zip") {
                // A bit of a code that is never used.
                assert_eq!(found.events(), 219);
                continue;
            }
            assert!(!found.is_sound(), "{} at {at}", path.display());
            assert!(found.events() < 219);
            for segment in found.segments {
                assert_eq!(segment.damage.is_empty(), segment.path != path);
            }
            // The same damage is found by a strict reader.
            let log = open_read_only(config.clone(), Arc::new(damaged.clone())).expect("opens");
            let seen = all(&log);
            assert!(seen.len() < 219 && seen.is_sorted());
        }
    }
    let names = find_logs(&storage, Path::new("/log")).expect("lists");
    assert_eq!(names, ["quotes"]);
}

#[test]
fn reading_only_changes_nothing_and_leaves_out_a_torn_tail() {
    let storage = MemoryStorage::new();
    let (mut writer, _log) = reopen(&storage);
    write_days(&mut writer, 0..2);
    writer.append(batch((1..20).map(|i| START + 9 * DAY + i), 500)).expect("appends");
    drop(writer);
    let mut torn = live(&storage);
    torn.truncate(torn.len() - 5);
    storage.put(Path::new("/log/quotes"), torn);
    let before = storage.fork();
    let log = open_read_only(config(Path::new("/log")), Arc::new(storage.clone())).expect("opens");
    assert_eq!(all(&log).len(), 118);
    assert!(log.stats().torn_bytes > 0);
    assert_eq!(before.paths(), storage.paths());
    for path in before.paths() {
        assert_eq!(storage.bytes(&path), before.bytes(&path));
    }
    let none = config(Path::new("/elsewhere"));
    let log = open_read_only(none, Arc::new(storage)).expect("opens");
    assert!(all(&log).is_empty());
}

#[test]
fn equal_stamps_at_a_border_and_old_magic_numbers_are_kept_as_they_are() {
    let storage = MemoryStorage::new();
    let segment = |stamps: &[u64], old: bool| {
        let mut bytes = [record::LOG_MAGIC, record::CLOSED].concat();
        for stamp in stamps {
            let from = bytes.len();
            record::push(&mut bytes, at(*stamp), &event(*stamp, 10));
            if old {
                bytes[from + 4..from + 8].copy_from_slice(&[12, 33, 44, 55]);
            }
        }
        bytes
    };
    let dir = Path::new("/log");
    let put = |name: &str, bytes| storage.put(&dir.join(name), bytes);
    put("quotes_2011-11-05_10-00-00.000Z", segment(&[10, 20, 30], true));
    put("quotes_2011-11-05_10-30-00.000Z", segment(&[], false));
    put("quotes_2011-11-05_11-00-00.000Z", segment(&[30, 30, 40], false));
    put("quotes.log", segment(&[40, 50], false));
    let originals = storage.fork();
    let read_only = open_read_only(config(dir), Arc::new(storage.clone())).expect("opens");
    assert_eq!(all(&read_only), [10, 20, 30, 30, 30, 40, 40, 50]);
    let (mut writer, log) = reopen(&storage);
    assert_eq!(all(&log), [10, 20, 30, 30, 30, 40, 40, 50]);
    assert_eq!(stamps(&mut log.cursor(at(30)), 1), [30, 30, 30, 40, 40, 50]);
    assert_eq!(stamps(&mut log.cursor(at(31)), 1), [40, 40, 50]);
    assert_eq!(writer.last_timestamp(), Some(at(50)));
    writer.append(batch([60], 10)).expect("appends");
    assert_eq!(stamps(&mut log.cursor(at(50)), 1), [50, 60]);
    writer.close().expect("closes");
    assert_eq!(all(&reopen(&storage).1), [10, 20, 30, 30, 30, 40, 40, 50, 60]);
    for path in originals.paths() {
        let kept = if path.ends_with("quotes.log") {
            dir.join("quotes_2011-11-05_11-00-00.001Z")
        } else {
            path.clone()
        };
        assert_eq!(storage.bytes(&kept), originals.bytes(&path), "{}", path.display());
    }
}

#[test]
fn an_unreadable_archive_does_not_keep_the_others_from_being_read() {
    let storage = MemoryStorage::new();
    let (mut writer, _log) = open_in(keeping(|_| ()), &storage).expect("opens");
    write_days(&mut writer, 0..3);
    writer.maintain_at(at(START + 10 * DAY)).expect("maintains");
    writer.close().expect("closes");
    let path = Path::new("/log/archive/quotes_2023-11-16_22-13-19.999Z.zip");
    storage.put(path, b"PK nothing of the kind".to_vec());
    let index = path.with_file_name(".quotes_2023-11-16_22-13-19.999Z.zip.idx");
    storage.remove(&index).expect("is there");
    let (_writer, log) = reopen(&storage);
    assert_eq!(all(&log), [days(0..1), days(2..3)].concat());
    assert_eq!(log.stats().damaged, 1);
    assert_eq!(storage.bytes(path), Some(b"PK nothing of the kind".to_vec()));
}
