//! What files are called: as the original's wildcard wants it, and as the first version did.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;

const DAY: u64 = 86_400_000_000;
const START: u64 = 1_700_000_000_000_000;

fn archiving() -> LogConfig {
    let mut config = config(Path::new("/log"));
    config.archive_after = Some(Duration::from_secs(86_400));
    config
}

/// Two archives, two rotated segments and a live one, closed in order.
fn written() -> (MemoryStorage, Vec<u64>) {
    let storage = MemoryStorage::new();
    let (mut writer, log) = open_in(archiving(), &storage).expect("opens");
    for start in (0..4).map(|day| START + day * DAY) {
        go_to(writer.clock(), at(start));
        writer.append(batch(start..start + 50, 2000)).expect("appends");
        writer.rotate_at(at(start + DAY - 1)).expect("rotates");
    }
    writer.maintain_at(at(START + 3 * DAY + DAY / 2)).expect("maintains");
    assert_eq!((log.stats().archives, log.stats().segments), (2, 3));
    writer.append(batch(START + 4 * DAY..START + 4 * DAY + 50, 2000)).expect("appends");
    writer.close().expect("closes");
    (storage, all(&log))
}

/// The same files as the first version called them.
fn first_versions(storage: &MemoryStorage) -> MemoryStorage {
    let first = MemoryStorage::new();
    let mut renamed = 0;
    for path in storage.paths() {
        let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        if name.ends_with(".manifest") {
            continue;
        }
        let old = name.strip_prefix('.');
        renamed += usize::from(old.is_some());
        let bytes = storage.bytes(&path).expect("is there");
        first.put(&path.with_file_name(old.unwrap_or(name)), bytes);
    }
    assert_eq!(renamed, 5, "an index each");
    first
}

/// A bit of a binary in each segment: whatever reads the structure alone does not see it.
fn flip_a_bit_of_each_segment(storage: &MemoryStorage) {
    for path in storage.paths() {
        let name = path.to_string_lossy().into_owned();
        if name == "/log/quotes" || name.ends_with('Z') {
            let mut bytes = storage.bytes(&path).expect("is there");
            let stamp = 8 + 8 + 20 + 7;
            bytes[stamp + 7] ^= 1;
            storage.put(&path, bytes);
        }
    }
}

/// The segments in which checksums tell that something is damaged.
fn damaged(storage: &MemoryStorage) -> usize {
    let verified = verify(&archiving(), storage, &mut |_| ()).expect("verifies");
    verified.segments.iter().filter(|segment| !segment.damage.is_empty()).count()
}

fn paths(storage: &MemoryStorage) -> Vec<PathBuf> {
    let is_one =
        |path: &PathBuf| !path.ends_with("quotes.lock") && !path.ends_with(".quotes.manifest");
    storage.paths().into_iter().filter(is_one).collect()
}

/// Opens it as the first version would have left it, in good order and with damage in every segment that only the
/// checksums of its indexes tell: those are found, not made anew.
#[test]
fn a_directory_of_the_first_version_opens_with_its_indexes() {
    let (storage, expected) = written();
    let names = paths(&storage);
    let first = first_versions(&storage);
    let verified = verify(&archiving(), &first, &mut |_| ()).expect("verifies");
    assert!(verified.segments.iter().all(|segment| segment.index == IndexState::Complete));
    let log = open_read_only(archiving(), Arc::new(first.clone())).expect("opens");
    assert_eq!(all(&log), expected);
    assert_eq!(paths(&first), paths(&first_versions(&storage)), "who reads renames nothing");
    let (writer, log) = reopen(&first);
    assert_eq!(all(&log), expected);
    writer.close().expect("closes");
    assert_eq!(paths(&first), names);

    let damaged = first_versions(&storage);
    flip_a_bit_of_each_segment(&damaged);
    let (_writer, log) = reopen(&damaged);
    let mut cursor = log.cursor(MIN);
    while let Some(result) = cursor.next(1 << 16).transpose() {
        drop(result);
    }
    assert_eq!(log.stats().damaged, 3, "two segments and the live one");
}

#[test]
fn a_crash_at_any_call_of_the_first_opening_loses_no_index() {
    let (storage, _) = written();
    let names = paths(&storage);
    let whole = first_versions(&storage);
    drop(reopen(&whole));
    for call in 1..=whole.calls() {
        for power in [false, true] {
            let crashed = first_versions(&storage);
            flip_a_bit_of_each_segment(&crashed);
            crashed.die_at_call(call);
            drop(open_in(config(Path::new("/log")), &crashed));
            if power {
                crashed.lose_power(&mut Seeded::new(call));
            } else {
                crashed.kill();
            }
            assert_eq!(damaged(&crashed), 3, "died at call {call}, power {power}");
            let (writer, _log) = reopen(&crashed);
            writer.close().expect("closes");
            assert_eq!(damaged(&crashed), 3, "died at call {call}, power {power}");
            assert_eq!(paths(&crashed), names, "died at call {call}, power {power}");
        }
    }
}

/// The first version opened a directory of ours and made its indexes anew, after damage: ours know of it.
#[test]
fn an_index_made_anew_by_the_first_version_does_not_replace_ours() {
    let (storage, _) = written();
    flip_a_bit_of_each_segment(&storage);
    let both = first_versions(&storage);
    for path in both.paths() {
        if path.extension().is_some_and(|ending| ending == "idx") {
            both.put(&path, b"lmindex1".to_vec());
        }
    }
    for path in storage.paths() {
        both.put(&path, storage.bytes(&path).expect("is there"));
    }
    drop(reopen(&both));
    assert_eq!(damaged(&both), 3);
    let kept = both.paths().into_iter().filter(|path| path.to_string_lossy().ends_with(".idx.old"));
    assert_eq!(kept.count(), 5);
}

/// Every name that is there after a crash at any call of appending, rotating and archiving, and of opening again
/// with a torn tail, is put into a directory for `filelib:wildcard`, as the original calls it in both directories.
#[test]
fn the_originals_wildcard_finds_segments_and_archives_alone() {
    let work = |storage: &MemoryStorage| -> Option<()> {
        let (mut writer, _log) = open_in(archiving(), storage).ok()?;
        writer.append(batch(START..START + 50, 200)).ok()?;
        writer.rotate_at(at(START + DAY)).ok()?;
        writer.append(batch(START + 2 * DAY..START + 2 * DAY + 50, 200)).ok()?;
        writer.rotate_at(at(START + 3 * DAY)).ok()?;
        writer.append(batch([START + 4 * DAY], 200)).ok()?;
        writer.maintain_at(at(START + 3 * DAY + DAY / 2)).ok()?;
        writer.close().ok()
    };
    let whole = MemoryStorage::new();
    work(&whole).expect("nothing fails");
    let mut names = BTreeSet::new();
    for call in 1..=whole.calls() {
        let storage = MemoryStorage::new();
        storage.die_at_call(call);
        work(&storage);
        names.extend(storage.paths());
        storage.kill();
        let live = storage.bytes(Path::new("/log/quotes"));
        if let Some(mut torn) = live.filter(|bytes| bytes.len() >= 8) {
            torn.extend([0, 0, 0, 9]);
            storage.put(Path::new("/log/quotes"), torn);
        }
        drop(reopen(&storage));
        names.extend(storage.paths());
    }
    let ends = |ending: &str| names.iter().any(|path| path.to_string_lossy().ends_with(ending));
    assert!(ends("Z") && ends(".zip") && ends(".idx") && ends(".idx.new") && ends(".zip.new"));
    assert!(names.iter().any(|path| path.to_string_lossy().contains("quotes.torn-")), "{names:?}");

    let dir = tempfile::tempdir().expect("makes a directory");
    std::fs::create_dir_all(dir.path().join("log/archive")).expect("makes directories");
    for path in &names {
        let path = dir.path().join(path.strip_prefix("/").expect("they are absolute"));
        std::fs::write(path, "").expect("writes");
    }
    let code = r#"
        Wildcard = lists:flatten(io_lib:format("~p_????-??-??_*", [quotes])),
        io:format("~0p ~0p", [filelib:wildcard(Wildcard, Dir) || Dir <- ["log", "log/archive"]])."#;
    let Some(found) = disk_log::erl(dir.path(), code) else { return };
    assert_eq!(
        found,
        r#"["quotes_2023-11-15_22-13-20.000Z","quotes_2023-11-17_22-13-20.000Z"] ["quotes_2023-11-15_22-13-20.000Z.zip"]"#
    );
}
