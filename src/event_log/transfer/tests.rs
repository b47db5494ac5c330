//! What goes out comes back, once.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::etf::encode;
use crate::event_log::keeper::Keeper;
use crate::event_log::open::open_with;
use crate::event_log::storage::memory::MemoryStorage;
use crate::event_log::{LogConfig, find_logs};
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
    let mut seen = Vec::new();
    let mut each = |entry: EntryRef<'_>| {
        seen.push((entry.timestamp.micros(), entry.event.to_vec()));
        Ok(())
    };
    export(log, Timestamp::MIN, Timestamp::MAX, &mut each, &mut |_| ()).expect("exports");
    seen
}

#[test]
fn both_forms_come_back_as_they_went_out() {
    let storage = MemoryStorage::new();
    let (mut writer, log) = open(&storage, "/log");
    fill(&mut writer, (1..2000).map(|i| i * 500_000));
    let mut text = Vec::new();
    let mut each = |entry: EntryRef<'_>| {
        Ok(write_consult(&mut text, entry.timestamp, TermRef::from_walked(entry.event))?)
    };
    let (from, to) = (at(1_000_000), at(900_000_000));
    let count = export(&log, from, to, &mut each, &mut |_| ()).expect("exports");
    assert_eq!(count, 1799);
    let text = String::from_utf8(text).expect("is text");
    assert!(text.starts_with("{{0,1,0},{\"text. with\\na dot.\\n\",1000000}}.\n"), "{text:.80}");

    let path = Path::new("/out");
    let mut even = |entry: EntryRef<'_>| entry.timestamp.micros().is_multiple_of(1_000_000);
    let range = (from, to);
    let kept = export_disk_log(&log, range, &storage, path, &mut even, &mut |_| ());
    assert_eq!(kept.expect("exports"), 900);
    assert_eq!(find_logs(&storage, Path::new("/")).expect("lists"), ["out"]);

    let (mut writer, copy) = open(&storage, "/copy");
    let mut import = Import::new(&mut writer, &copy);
    let mut push = |entry: EntryRef<'_>| Ok(import.push(entry.timestamp, entry.event)?);
    let damage = read_disk_log(&storage, path, &mut push).expect("reads");
    assert_eq!(damage, []);
    assert_eq!(import.finish().expect("imports"), Imported { added: 900, duplicates: 0 });
    let expected: Vec<_> = all(&log).into_iter().filter(|(s, _)| s % 1_000_000 == 0).collect();
    assert_eq!(all(&copy), expected[..900]);

    let (mut writer, copy) = open(&storage, "/other");
    for (added, duplicates) in [(1799, 0), (0, 1799)] {
        let mut import = Import::new(&mut writer, &copy);
        let mut push = |entry: EntryRef<'_>| Ok(import.push(entry.timestamp, entry.event)?);
        let commented = format!("%% -*- mode: erlang -*-\n\n{text}\n");
        read_consult(path, &mut commented.as_bytes(), &mut push).expect("reads");
        assert_eq!(import.finish().expect("imports"), Imported { added, duplicates });
    }
    assert_eq!(all(&copy), all(&log)[1..1800]);
}

#[test]
fn an_import_adds_nothing_twice_and_never_breaks_the_order() {
    let storage = MemoryStorage::new();
    let (mut writer, log) = open(&storage, "/log");
    fill(&mut writer, (1..=100).map(|i| i * 10));
    let mut import = Import::new(&mut writer, &log);
    import.push(at(500), &event(500, true)).expect("the same term in other bytes");
    let other = import.push(at(510), &event(511, false));
    assert!(matches!(other, Err(ImportError::Conflict { .. })));
    let missing = import.push(at(515), &event(515, false));
    assert!(matches!(missing, Err(ImportError::WouldReorder { .. })));
    import.push(at(520), &event(520, false)).expect("is there");
    let back = import.push(at(500), &event(500, false));
    assert!(matches!(back, Err(ImportError::OutOfOrder { .. })));
    import.push(at(2000), &event(2000, false)).expect("is new");
    assert_eq!(import.finish().expect("imports"), Imported { added: 1, duplicates: 2 });
    assert_eq!(all(&log).len(), 101);
}

#[test]
fn text_that_is_no_entry_is_named_by_its_line() {
    let read = |text: &str| {
        let mut seen = 0;
        let mut each = |_: EntryRef<'_>| {
            seen += 1;
            Ok(())
        };
        (read_consult(Path::new("in"), &mut text.as_bytes(), &mut each), seen)
    };
    assert!(matches!(read("{{0,0,1},\na}\n.\n{{0,0,2},b}."), (Ok(2), 2)));
    assert!(matches!(read("{{0,0,1},a}.\nb.\n"), (Err(ExportError::NotAnEntry { line: 2 }), 1)));
    assert!(matches!(read("{{0,0,1},a}.\n{{0,0,"), (Err(ExportError::Text { .. }), 1)));
    assert!(matches!(read(""), (Ok(0), 0)));
}
