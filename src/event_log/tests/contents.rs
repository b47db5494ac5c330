//! What a log says of its segments, and of how much is behind a position.

use super::*;

const DAY: u64 = 86_400_000_000;
const START: u64 = 1_700_000_000_000_000;

/// All segments there are to know of.
fn segments(log: &Log) -> Vec<SegmentInfo> {
    log.segments(&WantedSegments { before: None, damaged: false, limit: usize::MAX })
}

fn states(segments: &[SegmentInfo]) -> Vec<SegmentState> {
    segments.iter().map(|segment| segment.state).collect()
}

/// Three rotated segments of 50 entries, a day apart; the older two are archived. A live one of 10.
fn written(storage: &MemoryStorage) -> (Writer, Log) {
    let archiving =
        LogConfig { archive_after: Some(Duration::from_hours(30)), ..config(Path::new("/log")) };
    let (mut writer, log) = open_in(archiving, storage).expect("opens");
    for start in (0..3).map(|day| START + day * DAY) {
        go_to(writer.clock(), at(start));
        writer.append(batch(start..start + 50, 100)).expect("appends");
        writer.rotate_at(at(start + 1000)).expect("rotates");
    }
    writer.maintain_at(at(START + 3 * DAY)).expect("maintains");
    writer.append(batch(START + 3 * DAY..START + 3 * DAY + 10, 100)).expect("appends");
    (writer, log)
}

/// From the map alone; then again as the next start finds them.
#[test]
fn each_segment_is_listed_with_what_it_holds_the_newest_first() {
    use SegmentState::{Archived, Live, Rotated};
    let storage = MemoryStorage::new();
    let check = |log: &Log| {
        let found = segments(log);
        assert_eq!(states(&found), [Live, Rotated, Archived, Archived]);
        let span = |day, count| Some((at(START + day * DAY), at(START + day * DAY + count - 1)));
        let intervals: Vec<_> = found.iter().map(|it| it.interval).collect();
        assert_eq!(intervals, [span(3, 10), span(2, 50), span(1, 50), span(0, 50)]);
        assert_eq!(found.iter().map(|it| it.events).sum::<u64>(), log.stats().events);
        assert_eq!(found.iter().map(|it| it.disk_bytes).sum::<u64>(), log.stats().bytes);
        assert!(found[2].disk_bytes < found[2].bytes && found[1].disk_bytes == found[1].bytes);
        assert!(found[0].name == "quotes" && found[3].name.ends_with("Z.zip"));
        assert!(found.iter().all(|it| it.damage.is_empty() && it.unread.is_none()));
        // One after the other.
        let (mut before, mut paged) = (None, Vec::new());
        loop {
            let page = log.segments(&WantedSegments { before, damaged: false, limit: 1 });
            let Some(last) = page.last() else { break };
            before = Some(last.rotated.unwrap_or(Timestamp::MAX));
            paged.extend(page);
        }
        assert_eq!(paged, found);
    };
    let (writer, log) = written(&storage);
    check(&log);
    writer.close().expect("closes");
    check(&reopen(&storage).1);
}

/// A flipped bit, and a file that went.
#[test]
fn what_is_damaged_or_missing_is_found_among_the_others() {
    let storage = MemoryStorage::new();
    let (writer, _log) = written(&storage);
    writer.close().expect("closes");
    let paths = storage.paths();
    let find = |end: &str| {
        let found = paths.iter().filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("quotes_") && name.ends_with(end)
        });
        found.cloned().collect::<Vec<_>>()
    };
    let segment = find("Z")[0].clone();
    storage.remove(&find("Z.zip")[0]).expect("is there");
    let mut bytes = storage.bytes(&segment).expect("is there");
    bytes[45] ^= 1;
    storage.put(&segment, bytes);
    let (_writer, log) = reopen(&storage);
    all_readable(&log);
    let damaged = log.segments(&WantedSegments { before: None, damaged: true, limit: 10 });
    assert_eq!(states(&damaged), [SegmentState::Rotated, SegmentState::Missing]);
    let [place] = damaged[0].damage[..] else { panic!("{:?}", damaged[0].damage) };
    assert!(!place.is_accepted && place.position <= 45 && 45 < place.position + place.bytes);
    assert_eq!((damaged[1].damage.len(), damaged[1].events), (1, 50), "it is noted as a whole");
    assert_eq!(segments(&log).len(), 4);
}

/// Reads what there is, so that damage is found.
fn all_readable(log: &Log) {
    let mut cursor = log.cursor(MIN);
    while cursor.next(1 << 20).expect("reads").is_some() {}
}

/// With everything in RAM, and with nothing there after a start.
#[test]
fn what_comes_after_a_position_is_counted_and_never_too_low() {
    let storage = MemoryStorage::new();
    let (writer, log) = written(&storage);
    let positions = (0..4).flat_map(|day| [0, 7, 49, 50].map(|n| (day, n)));
    let exactly = |day: u64, n: u64| match day {
        3 => 9_u64.saturating_sub(n),
        _ => (2 - day) * 50 + 49_u64.saturating_sub(n) + 10,
    };
    for (day, n) in positions.clone() {
        assert_eq!(log.count_after(at(START + day * DAY + n)), exactly(day, n), "{day} {n}");
    }
    assert_eq!((log.count_after(MIN), log.count_after(Timestamp::MAX)), (160, 0));
    writer.close().expect("closes");
    let (_writer, log) = reopen(&storage);
    for (day, n) in positions {
        let most = log.count_after(at(START + day * DAY + n));
        assert!((exactly(day, n)..exactly(day, n) + 50).contains(&most), "{day} {n}: {most}");
    }
    assert_eq!(log.count_after(Timestamp::MAX), 0);
}
