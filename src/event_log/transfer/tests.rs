//! What goes out comes back, once.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::etf::{TermRef, encode};
use crate::event_log::keeper::Keeper;
use crate::event_log::open::open_with;
use crate::event_log::storage::memory::MemoryStorage;
use crate::event_log::{Batch, Log, LogConfig, Writer, find_logs};
use crate::time::Clock;

fn open(storage: &MemoryStorage, dir: &str) -> (Writer, Log) {
    let config = LogConfig {
        name: "quotes".into(),
        dir: dir.into(),
        arch_dir: format!("{dir}/archive").into(),
        segment_bytes: Some(20_000),
        reopen_period: None,
        cache_bytes: Some(1000),
        evict_after: None,
        evict_period: Duration::from_secs(5),
        archive_after: None,
        archive_period: Duration::from_secs(3600),
        delete_after: None,
        max_bytes: None,
        min_free_bytes: None,
        scrub_period: None,
    };
    let clock = Clock::manual(at(1_700_000_000_000_000));
    open_with(config, Arc::new(storage.clone()), clock, Keeper::Inline).expect("opens")
}

fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// `{"text. with\na dot", N}`, whose string is written as a list of integers where `as_list` says so.
fn event(n: u64, as_list: bool) -> Vec<u8> {
    let mut event = Vec::new();
    encode::tuple_header(&mut event, 2);
    let text = "text. with\na dot.\n";
    if as_list {
        encode::list_header(&mut event, text.len());
        text.bytes().for_each(|byte| encode::unsigned(&mut event, byte.into()));
        encode::nil(&mut event);
    } else {
        encode::string(&mut event, text);
    }
    encode::unsigned(&mut event, n);
    event
}

fn fill(writer: &mut Writer, stamps: impl Iterator<Item = u64>) {
    for stamp in stamps {
        let mut batch = Batch::new();
        batch.push(at(stamp), &event(stamp, false));
        writer.append(batch).expect("appends");
    }
}

fn all(log: &Log) -> Vec<(u64, Vec<u8>)> {
    let (mut cursor, mut seen) = (log.cursor(Timestamp::MIN), Vec::new());
    while let Some(chunk) = cursor.next(READ_BYTES).expect("reads") {
        seen.extend(chunk.entries().map(|e| (e.timestamp.micros(), e.event.to_vec())));
    }
    seen
}

/// Takes all that the feeds have; what was reported.
fn take(writer: &mut Writer, log: &Log, feeds: Feeds<'_>) -> (Imported, Vec<String>) {
    let mut reported = Vec::new();
    let mut merge = Merge::new(feeds, &mut |what| reported.push(what));
    let mut import = Import::new(writer, log, Timestamp::MAX);
    while let Some((given, _)) = merge.next(&mut |what| reported.push(what)) {
        import.push(given.stamp, &given.event).expect("is taken");
    }
    (import.finish().expect("imports"), reported)
}

fn imported(added: u64, duplicates: u64) -> Imported {
    Imported { added, moved: 0, duplicates }
}

/// A `disk_log` file with these stamps; an event tells its number.
fn segment(entries: &[(u64, u64)]) -> Vec<u8> {
    let mut bytes = [record::LOG_MAGIC, record::CLOSED].concat();
    entries.iter().for_each(|(stamp, n)| record::push(&mut bytes, at(*stamp), &event(*n, false)));
    bytes
}

fn read_text(text: &str, form: Form) -> (Vec<Given>, Vec<(u64, String)>) {
    let mut reader = text::TextReader::new(text.as_bytes(), form);
    let (mut given, mut bad) = (Vec::new(), Vec::new());
    loop {
        match reader.next() {
            text::TextItem::Entry(entry) => given.push(entry),
            text::TextItem::Bad { line, why } => bad.push((line, why)),
            text::TextItem::End => return (given, bad),
        }
    }
}

#[test]
fn both_forms_come_back_as_they_went_out() {
    let storage = MemoryStorage::new();
    let (mut writer, log) = open(&storage, "/log");
    fill(&mut writer, (1..2000).map(|i| i * 500_000));
    let (mut text, mut count) = (Vec::new(), 0);
    let path = Path::new("/out");
    let mut file = DiskLogFile::create(&storage, path).expect("is created");
    let term = |event| TermRef::whole(event).expect("a term");
    for (micros, event) in all(&log).iter().filter(|(at, _)| (1_000_000..=900_000_000).contains(at))
    {
        write_consult(&mut text, at(*micros), term(event)).expect("is written");
        count += 1;
        if micros.is_multiple_of(1_000_000) {
            file.push(at(*micros), term(event)).expect("is added");
        }
    }
    file.finish().expect("is closed");
    assert_eq!(count, 1799);
    let text = String::from_utf8(text).expect("is text");
    assert!(text.starts_with("{{0,1,0},{\"text. with\\na dot.\\n\",1000000}}.\n"), "{text:.80}");
    assert_eq!(find_logs(&storage, Path::new("/")).expect("lists"), ["out"]);

    let (mut writer, copy) = open(&storage, "/copy");
    let feeds = file_feeds(&storage, path, &mut |what| panic!("{what}")).expect("reads");
    let taken = take(&mut writer, &copy, feeds.expect("is a disk_log file"));
    assert_eq!(taken, (imported(900, 0), vec![]));
    let expected: Vec<_> = all(&log).into_iter().filter(|(s, _)| s % 1_000_000 == 0).collect();
    assert_eq!(all(&copy), expected[..900]);

    let (mut writer, copy) = open(&storage, "/other");
    for (added, duplicates) in [(1799, 0), (0, 1799)] {
        let mut import = Import::new(&mut writer, &copy, Timestamp::MAX);
        let commented = format!("%% -*- mode: erlang -*-\n\n{text}\n");
        let (given, bad) = read_text(&commented, Form::Terms);
        assert_eq!(bad, []);
        given.iter().for_each(|entry| import.push(entry.stamp, &entry.event).expect("is taken"));
        assert_eq!(import.finish().expect("imports"), imported(added, duplicates));
    }
    assert_eq!(all(&copy), all(&log)[1..1800]);
}

#[test]
fn an_import_adds_nothing_twice_and_never_breaks_the_order() {
    let storage = MemoryStorage::new();
    let (mut writer, log) = open(&storage, "/log");
    fill(&mut writer, (1..=100).map(|i| i * 10));
    let mut import = Import::new(&mut writer, &log, Timestamp::MAX);
    import.push(at(500), &event(500, true)).expect("the same term in other bytes");
    let other = import.push(at(510), &event(511, false));
    assert!(matches!(other, Err(ImportError::Conflict { .. })));
    let missing = import.push(at(515), &event(515, false));
    assert!(matches!(missing, Err(ImportError::WouldReorder { .. })));
    import.push(at(520), &event(520, false)).expect("is there");
    let back = import.push(at(500), &event(500, false));
    assert!(matches!(back, Err(ImportError::OutOfOrder { .. })));
    import.push(at(2000), &event(2000, false)).expect("is new");
    assert_eq!(import.finish().expect("imports"), imported(1, 2));
    assert_eq!(all(&log).len(), 101);
}

#[test]
fn text_that_is_no_entry_is_named_by_its_line() {
    let read = |text: &str, form| {
        let (given, bad) = read_text(text, form);
        let lines: Vec<_> = bad.iter().map(|(line, _)| *line).collect();
        (given.len(), lines)
    };
    let terms = |text: &str| read(text, Form::Terms);
    assert_eq!(terms("{{0,0,1},\na}\n.\n{{0,0,2},b}."), (2, vec![]));
    assert_eq!(terms("{{0,0,1},a}.\nb.\n{{0,0,2},c}.\n"), (2, vec![2]));
    assert_eq!(terms("{{0,0,1},a}.\n{{0,0,"), (1, vec![3]));
    assert_eq!(terms("{{0,0,1},a}.\n{{0,0,2},b}"), (2, vec![]));
    assert_eq!(terms(""), (0, vec![]));
    let json = |text: &str| read(text, Form::JsonLines);
    let line = "{\"timestamp\":1,\"event\":2}\n";
    assert_eq!(json(&format!("{line}\n{line}")), (2, vec![]));
    assert_eq!(json(&format!("{{\"oops\"\n{line}{{\"timestamp\":1,\"event\":}}")), (1, vec![1, 3]));
}

/// Overlapping, repeated and disordered segments, in every rotation of their order; then once more.
#[test]
fn segments_are_merged_by_time_and_equal_stamps_are_told_apart() {
    let storage = MemoryStorage::new();
    let segments: [&[(u64, u64)]; 5] = [
        // The clock was set back, twice.
        &[(10, 1), (20, 2), (50, 3), (30, 4), (40, 5), (35, 6)],
        // The border with what is above and below.
        &[(50, 3), (50, 7), (51, 8), (60, 9)],
        // One event again and again is another entry each time.
        &[(60, 9), (60, 10), (61, 10), (62, 10)],
        &[],
        // In a copy.
        &[(50, 3), (50, 7), (51, 8), (60, 9)],
    ];
    let expected = [
        (10, 1),
        (20, 2),
        (30, 4),
        (35, 6),
        (40, 5),
        (50, 3),
        (51, 7),
        (52, 8),
        (60, 9),
        (61, 10),
        (62, 10),
        (63, 10),
    ];
    for first in 0..segments.len() {
        let (dir, mut paths) = (format!("/log{first}"), Vec::new());
        for i in (first..segments.len()).chain(0..first) {
            let path = PathBuf::from(format!("/{first}-{i}"));
            storage.put(&path, segment(segments[i]));
            paths.push(path);
        }
        let (mut writer, log) = open(&storage, &dir);
        for round in 0..3 {
            let mut feeds = Feeds::new();
            for path in &paths {
                let found = file_feeds(&storage, path, &mut |what| panic!("{what}"));
                feeds.extend(found.expect("reads").expect("is a disk_log file"));
            }
            let (imported, reported) = take(&mut writer, &log, feeds);
            assert_eq!(reported, Vec::<String>::new());
            let (added, moved) = if round == 0 { (12, 5) } else { (0, 0) };
            assert_eq!(imported, Imported { added, moved, duplicates: 18 - added }, "{first}");
            let seen: Vec<_> = all(&log);
            let expected = expected.map(|(stamp, n)| (stamp, event(n, false)));
            assert_eq!(seen, expected, "{first}, round {round}");
            if round == 1 {
                // Taken up by another process.
                writer.close().expect("closes");
                writer = open(&storage, &dir).0;
            }
        }
    }
}

#[test]
fn an_import_into_a_log_with_equal_stamps_knows_them() {
    let storage = MemoryStorage::new();
    let entries = [(10, 1), (10, 2), (10, 3), (20, 4), (20, 5)];
    storage.put(Path::new("/log/quotes_2011-11-05_10-00-00.000Z"), segment(&entries));
    storage.put(Path::new("/in"), segment(&[&entries[..], &[(30, 6)]].concat()));
    let (mut writer, log) = open(&storage, "/log");
    let feeds = file_feeds(&storage, Path::new("/in"), &mut |what| panic!("{what}"));
    let taken = take(&mut writer, &log, feeds.expect("reads").expect("is a disk_log file"));
    assert_eq!(taken, (imported(1, 5), vec![]));
}

#[test]
fn damage_is_passed_over_and_named() {
    let storage = MemoryStorage::new();
    let entries: Vec<_> = (1..=50).map(|n| (1000 + n, n)).collect();
    let mut bytes = segment(&entries);
    let record = (bytes.len() - 8) / 50;
    bytes[8 + 20 * record + 5] ^= 1;
    bytes.truncate(bytes.len() - 3);
    storage.put(Path::new("/in"), bytes);
    let mut reported = Vec::new();
    let feeds = file_feeds(&storage, Path::new("/in"), &mut |what| reported.push(what));
    let (mut writer, log) = open(&storage, "/log");
    let (imported, more) = take(&mut writer, &log, feeds.expect("reads").expect("is one"));
    assert_eq!((imported.added, more.len()), (48, 0));
    let at = [8 + 20 * record, 8 + 49 * record];
    assert_eq!(reported.len(), 2);
    for (line, at) in reported.iter().zip(at) {
        assert!(line.starts_with(&format!("/in: damaged at byte {at}, ")), "{line}");
    }
    let seen: Vec<_> = all(&log).into_iter().map(|(stamp, _)| stamp - 1000).collect();
    assert_eq!(seen, (1..=49).filter(|n| *n != 21).collect::<Vec<_>>());
}

#[test]
fn a_stamp_in_the_future_is_refused_unless_it_is_there_or_the_clock_was_never_set() {
    const DAY: u64 = 86_400_000_000;
    let now = at(1_700_000_000_000_000);
    let later = |days: u64| at(now.micros() + days * DAY);
    assert_eq!(latest_believed(now, None), later(1));
    assert_eq!(latest_believed(now, Some(later(7))), later(8));
    assert_eq!(latest_believed(at(1_500_000_000_000_000), Some(now)), Timestamp::MAX);
    let storage = MemoryStorage::new();
    let (mut writer, log) = open(&storage, "/log");
    let mut import = Import::new(&mut writer, &log, Timestamp::MAX);
    import.push(later(1), &event(1, false)).expect("is taken");
    import.push(later(9), &event(1, false)).expect("is taken");
    import.finish().expect("imports");
    let mut import = Import::new(&mut writer, &log, latest_believed(now, None));
    import.push(later(1), &event(1, false)).expect("is there");
    import.push(later(9), &event(1, false)).expect("is there");
    let error = import.push(later(10), &event(1, false)).expect_err("is refused");
    assert!(matches!(error, ImportError::Future { .. }) && error.is_of_one_entry());
    assert_eq!(import.finish().expect("imports"), imported(0, 2));
}
