//! Copies of a log that goes on, in memory.

use super::*;
use crate::event_log::keeper::Keeper;
use crate::event_log::open::open_with;
use crate::event_log::storage::memory::{MemoryStorage, Seeded};
use crate::event_log::{Batch, Log, Writer, open_read_only, verify};
use crate::time::{Clock, Timestamp};

const START: u64 = 1_700_000_000_000_000;
const DAY: u64 = 86_400_000_000;

fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn config(dir: &str) -> LogConfig {
    LogConfig::still("quotes", dir.into(), format!("{dir}/archive").into())
}

/// A log that is written to; `day` is that of its clock.
struct Node {
    writer: Writer,
    log: Log,
    clock: Clock,
    day: u64,
    next: u64,
}

impl Node {
    fn start(storage: &MemoryStorage) -> Self {
        let mut config = config("/log");
        config.archive_after = Some(Duration::from_secs(2 * 86_400));
        config.archive_period = Duration::from_secs(1);
        config.delete_after = Some(Duration::from_secs(6 * 86_400));
        let clock = Clock::manual(at(START));
        let opened = open_with(config, Arc::new(storage.clone()), clock.clone(), Keeper::Inline);
        let (writer, log) = opened.expect("opens");
        Node { writer, log, clock, day: 0, next: 1 }
    }

    /// Appends some entries.
    fn write(&mut self) {
        for _ in 0..5 {
            let mut batch = Batch::new();
            for _ in 0..4 {
                let mut event = vec![109, 0, 0, 3, 232];
                event.extend((0..1000).map(|i| (self.next * 7 + i).to_le_bytes()[0]));
                batch.push(at(START + self.day * DAY + self.next), &event);
                self.next += 1;
            }
            self.writer.append(batch).expect("appends");
        }
    }

    /// A day passes: the segment is rotated, older ones are archived and deleted.
    fn pass_a_day(&mut self) {
        self.day += 1;
        self.clock.step(i64::try_from(DAY).expect("small"));
        self.writer.rotate().expect("rotates");
        self.writer.maintain().expect("maintains");
    }
}

fn all(log: &Log) -> Vec<u64> {
    let (mut cursor, mut seen) = (log.cursor(Timestamp::MIN), Vec::new());
    while let Some(chunk) = cursor.next(1 << 20).expect("reads") {
        seen.extend(chunk.entries().map(|entry| entry.timestamp.micros()));
    }
    seen
}

/// What a node would find in the copy.
fn restored(storage: &MemoryStorage) -> Vec<u64> {
    let log = open_read_only(config("/copy"), Arc::new(storage.clone())).expect("opens");
    all(&log)
}

#[derive(Default)]
struct Watch {
    bytes: u64,
    damage: Vec<String>,
}

impl BackupWatch for Watch {
    fn copied(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    fn damaged(&mut self, what: String) {
        self.damage.push(what);
    }
}

/// A backup after which the source is what it was.
fn back_up(storage: &MemoryStorage) -> (Result<BackedUp, BackupError>, Watch) {
    let before = source_files(storage);
    let mut watch = Watch::default();
    let done = backup(&config("/log"), &config("/copy"), storage, &mut watch);
    assert_eq!(source_files(storage), before, "untouched");
    (done, watch)
}

fn source_files(storage: &MemoryStorage) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let paths = storage.paths().into_iter().filter(|path| path.starts_with("/log"));
    paths.map(|path| (path.clone(), storage.bytes(&path))).collect()
}

fn sound(storage: &MemoryStorage) -> bool {
    verify(&config("/copy"), storage, &mut |_| ()).expect("verifies").is_sound()
}

/// The copy holds everything at each step, also what the log has deleted; and only what is new is copied.
#[test]
fn a_copy_follows_a_log_through_rotation_archiving_and_deletion() {
    let storage = MemoryStorage::new();
    let mut node = Node::start(&storage);
    let mut expected: Vec<u64> = Vec::new();
    for day in 0..10 {
        node.write();
        let known = expected.last().copied();
        expected.extend(all(&node.log).into_iter().filter(|stamp| known < Some(*stamp)));
        let (done, watch) = back_up(&storage);
        let done = done.expect("is made");
        assert_eq!(watch.damage, Vec::<String>::new());
        assert_eq!(restored(&storage), expected, "day {day}");
        assert!(sound(&storage), "day {day}");
        let live = 20 * 1000;
        // The day's entries, and an archive, which is small.
        let range = if day > 3 { live..3 * live } else { live..2 * live };
        assert!(range.contains(&done.bytes), "day {day}: {done:?}");
        // Nothing is new.
        let (again, _) = back_up(&storage);
        assert_eq!(again.expect("is made").bytes, 0, "day {day}");
        node.pass_a_day();
    }
    let copied = storage.paths().into_iter().filter(|path| path.starts_with("/copy"));
    let names: Vec<_> = copied.map(|path| path.display().to_string()).collect();
    let archives = names.iter().filter(|name| name.ends_with("Z.zip")).count();
    let raw = names.iter().filter(|name| name.ends_with('Z') && !name.contains("/.")).count();
    assert!(archives >= 6 && raw <= 3, "archives take the place of segments: {names:?}");
    // What the copy became is a log that goes on.
    let clock = Clock::manual(at(START + 20 * DAY));
    let restored_storage = Arc::new(storage.clone());
    let opened = open_with(config("/copy"), restored_storage, clock, Keeper::Inline);
    let (writer, log) = opened.expect("opens");
    assert_eq!(all(&log), expected);
    drop(writer);
}

/// Long pauses between two backups: what was deleted meanwhile and never copied is missing, nothing else.
#[test]
fn what_the_copy_has_of_a_segment_that_is_gone_is_kept() {
    let storage = MemoryStorage::new();
    let mut node = Node::start(&storage);
    node.write();
    let first = all(&node.log);
    back_up(&storage).0.expect("is made");
    // More of the same segment, which is then lost.
    node.write();
    for _ in 0..9 {
        node.pass_a_day();
        node.write();
    }
    let now = all(&node.log);
    assert!(now[0] > first[19]);
    for _ in 0..2 {
        back_up(&storage).0.expect("is made");
        assert_eq!(restored(&storage), [&first[..], &now].concat());
        assert!(sound(&storage));
    }
}

/// The second and the fourth backup die at every call, by kill and by power loss; the copy can be opened then and has
/// all it had, and the next backup makes it complete.
#[test]
fn a_backup_that_dies_leaves_a_copy_and_the_next_one_goes_on() {
    for days in [0, 1, 8] {
        let storage = MemoryStorage::new();
        let mut node = Node::start(&storage);
        node.write();
        node.pass_a_day();
        node.write();
        let before = all(&node.log);
        back_up(&storage).0.expect("is made");
        node.write();
        for _ in 0..days {
            node.pass_a_day();
            node.write();
        }
        let now = all(&node.log);
        drop(node);
        let whole = storage.fork();
        let calls_before = whole.calls();
        back_up(&whole).0.expect("nothing fails");
        let calls = whole.calls() - calls_before;
        let expected = restored(&whole);
        assert!(expected.starts_with(&before) && expected.ends_with(&now[now.len().min(20)..]));
        for call in 1..=calls {
            for power in [false, true] {
                let storage = storage.fork();
                storage.die_at_call(call);
                let mut watch = Watch::default();
                drop(backup(&config("/log"), &config("/copy"), &storage, &mut watch));
                match power {
                    true => storage.lose_power(&mut Seeded::new(call)),
                    false => storage.kill(),
                }
                let left = restored(&storage);
                let has = |stamp: &u64| left.binary_search(stamp).is_ok();
                assert!(left.is_sorted_by(|a, b| a < b), "{days} days, call {call}, power {power}");
                assert!(before.iter().all(has), "{days} days, call {call}, power {power}");
                back_up(&storage).0.expect("is made");
                assert_eq!(restored(&storage), expected, "{days} days, call {call}, power {power}");
                assert!(sound(&storage), "{days} days, call {call}, power {power}");
            }
        }
    }
}

#[test]
fn damage_is_copied_as_it_is_and_named() {
    let storage = MemoryStorage::new();
    let mut node = Node::start(&storage);
    for _ in 0..5 {
        node.write();
        node.pass_a_day();
    }
    node.write();
    drop(node);
    let files: Vec<_> = source_files(&storage)
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| {
            let name = path.file_name().expect("has one").to_string_lossy();
            !name.starts_with('.') && !name.ends_with(".lock")
        })
        .collect();
    assert!(files.len() >= 5, "{files:?}");
    for path in files {
        let damaged = storage.fork();
        let mut bytes = storage.bytes(&path).expect("is there");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        damaged.put(&path, bytes.clone());
        let (done, watch) = back_up(&damaged);
        done.expect("is made");
        assert_eq!(watch.damage.len(), 1, "{}: {:?}", path.display(), watch.damage);
        assert!(watch.damage[0].starts_with(&*path.to_string_lossy()), "{:?}", watch.damage);
        let copy = Path::new("/copy").join(path.strip_prefix("/log").expect("lies there"));
        assert_eq!(damaged.bytes(&copy), Some(bytes));
        assert!(!sound(&damaged));
        // A whole copy is not given up for it; of the live segment neither.
        let kept = storage.fork();
        back_up(&kept).0.expect("is made");
        let whole = restored(&kept);
        let mut cut = damaged.bytes(&path).expect("is there");
        cut.truncate(middle);
        for bytes in [damaged.bytes(&path).expect("is there"), cut] {
            let again = kept.fork();
            again.put(&path, bytes);
            back_up(&again).0.expect("is made");
            assert_eq!(restored(&again), whole, "{}", path.display());
            assert!(sound(&again), "{}", path.display());
        }
        if path != Path::new("/log/quotes") {
            let without = storage.fork();
            without.remove(&path).expect("is there");
            let (done, watch) = back_up(&without);
            done.expect("is made");
            assert_eq!(watch.damage, [format!("{}: it is missing", path.display())]);
            assert!(!sound(&without), "the copy misses it too");
        }
    }
}

/// A segment is cut at a record's border, emptied, flipped or deleted, and its index made anew, after it was copied.
#[test]
fn what_the_source_loses_later_the_copy_keeps() {
    let storage = MemoryStorage::new();
    let mut node = Node::start(&storage);
    for _ in 0..4 {
        node.write();
        node.pass_a_day();
    }
    node.write();
    let expected = all(&node.log);
    drop(node);
    back_up(&storage).0.expect("is made");
    let files: Vec<_> = source_files(&storage)
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| {
            let name = path.file_name().expect("has one").to_string_lossy();
            name.ends_with('Z') || name.ends_with("Z.zip")
        })
        .filter(|path| !path.file_name().expect("has one").to_string_lossy().starts_with('.'))
        .collect();
    assert!(files.len() == 4, "{files:?}");
    for path in files {
        for change in 0..5 {
            let damaged = storage.fork();
            let mut bytes = storage.bytes(&path).expect("is there");
            let record = (bytes.len() - 8) / 20;
            match change {
                0 => bytes.truncate(8 + 7 * record),
                1 => bytes.clear(),
                2 => bytes.truncate(8),
                3 => {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                }
                _ => {}
            }
            let index = index_path(&path);
            if change == 4 {
                damaged.remove(&path).expect("is there");
            } else {
                damaged.put(&path, bytes);
            }
            damaged.remove(&index).expect("is there");
            for _ in 0..2 {
                let (done, _) = back_up(&damaged);
                done.expect("is made");
                assert_eq!(restored(&damaged), expected, "{} {change}", path.display());
                assert!(sound(&damaged), "{} {change}", path.display());
            }
        }
    }
}

/// A power loss takes entries that were copied, and the log goes on with others, in the same segment or a new one.
#[test]
fn what_a_power_loss_takes_from_the_source_is_kept_apart() {
    for rotates in [false, true] {
        let storage = MemoryStorage::new();
        let mut node = Node::start(&storage);
        node.write();
        node.writer.sync().expect("syncs");
        let before = all(&node.log);
        let synced = storage.fork();
        node.write();
        back_up(&storage).0.expect("is made");
        assert_eq!(restored(&storage).len(), 40);
        drop(node);
        for (path, _) in source_files(&storage) {
            storage.remove(&path).expect("is there");
        }
        for (path, bytes) in source_files(&synced) {
            storage.put(&path, bytes.expect("is there"));
        }
        storage.kill();
        let mut node = Node::start(&storage);
        node.next = 1_000_000;
        node.write();
        if rotates {
            node.pass_a_day();
            node.write();
        }
        let now = all(&node.log);
        assert!(now.starts_with(&before) && now.len() >= 40);
        let (done, watch) = back_up(&storage);
        done.expect("is made");
        assert_eq!(watch.damage.len(), 1, "{:?}", watch.damage);
        assert!(watch.damage[0].contains("are kept in /copy/quotes.torn-"), "{:?}", watch.damage);
        assert_eq!(restored(&storage), now);
        let (done, watch) = back_up(&storage);
        assert_eq!((done.expect("is made").bytes, watch.damage), (0, vec![]));
        assert!(sound(&storage));
    }
}
