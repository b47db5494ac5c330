//! The log against a plain vector: random operations, one seed decides everything.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::time::monotonic;

/// Steps of one run, and how long runs go on; `LOGMACHINE_MODEL_SECS` makes that longer.
const STEPS: u64 = 400;
const DEFAULT_SECS: u64 = 3;

struct Model {
    storage: MemoryStorage,
    clock: Clock,
    config: LogConfig,
    open: Option<(Writer, Log)>,
    /// What must be there, and how much of it is durable.
    entries: Vec<u64>,
    durable: usize,
    /// All that was ever appended.
    ever: BTreeSet<u64>,
    last: u64,
    lost_power: bool,
    /// Readers that went on since they were made, and what they must see next at the earliest.
    cursors: Vec<(Cursor, u64)>,
    /// Readers that go back, down to which stamp, and what they must see next at the latest.
    backward: Vec<(BackwardCursor, u64, u64)>,
    happened: BTreeMap<&'static str, u64>,
}

impl Model {
    fn new(seeded: &mut Seeded) -> Self {
        let mut config = config(Path::new("/log"));
        config.segment_bytes = Some(2_000 + seeded.below(20_000));
        config.cache_bytes = (seeded.below(2) > 0).then(|| seeded.below(10_000));
        config.reopen_period = Some(Duration::from_secs(1 + seeded.below(100)));
        config.evict_after = Some(Duration::from_secs(1 + seeded.below(50)));
        config.archive_after = Some(Duration::from_secs(seeded.below(300)));
        config.archive_period = Duration::from_secs(10);
        config.delete_after = (seeded.below(2) > 0).then(|| Duration::from_secs(500));
        config.max_bytes = (seeded.below(4) == 0).then_some(30_000);
        Model {
            storage: MemoryStorage::new(),
            clock: clock(),
            config,
            open: None,
            entries: Vec::new(),
            durable: 0,
            ever: BTreeSet::new(),
            last: 0,
            lost_power: false,
            cursors: Vec::new(),
            backward: Vec::new(),
            happened: BTreeMap::new(),
        }
    }

    fn reopen(&mut self) {
        self.open = None;
        self.cursors.clear();
        self.backward.clear();
        let (config, clock) = (self.config.clone(), self.clock.clone());
        let storage = Arc::new(self.storage.clone());
        self.open = Some(open_with(config, storage, clock, Keeper::Inline).expect("opens"));
    }

    /// Drops from the model what retention may delete; fails if it deleted anything else.
    fn delete(&mut self) {
        let Some((_, log)) = &self.open else { return };
        let first = log.interval().map_or(Timestamp::MAX, |(first, _)| first);
        let gone = self.entries.partition_point(|stamp| at(*stamp) < first);
        if gone == 0 {
            return;
        }
        *self.happened.entry("delete").or_default() += 1;
        let limit = self.config.delete_after.map(|after| self.clock.now().saturating_sub(after));
        let too_old = limit.is_some_and(|limit| at(self.entries[gone - 1]) < limit);
        assert!(too_old || self.config.max_bytes.is_some(), "{gone} entries deleted without cause");
        self.entries.drain(..gone);
        self.durable = self.durable.saturating_sub(gone);
    }

    fn step(&mut self, seeded: &mut Seeded) {
        let what = match seeded.below(100) {
            0..45 => "append",
            45..55 => "sync",
            55..65 => "maintain",
            65..67 => "rotate",
            67..75 => "read",
            75..82 => "read back",
            82..88 => "go on",
            88..92 => "go on back",
            92..94 => "close",
            94..96 => "kill",
            96..98 => "lose power",
            _ => "full disk",
        };
        *self.happened.entry(what).or_default() += 1;
        self.clock.step(i64::try_from(seeded.below(4_000_000)).expect("small") - 500_000);
        let (writer, log) = self.open.as_mut().expect("open between steps");
        match what {
            "append" | "full disk" => {
                if what == "full disk" {
                    self.storage.set_capacity(Some(0));
                }
                let mut stamps = Vec::new();
                for _ in 0..=seeded.below(20) {
                    self.last = (self.last + 1).max(self.clock.now().micros());
                    stamps.push(self.last);
                }
                let bytes = [10, 100, 1000, 70_000][seeded.index(40) / 13];
                match writer.append(batch(stamps.clone(), bytes)) {
                    Ok(_) => {
                        self.ever.extend(&stamps);
                        self.entries.extend(stamps);
                    }
                    Err(AppendError::NoSpace { batch, .. }) => {
                        self.storage.heal();
                        assert_eq!(what, "full disk");
                        // Not acknowledged, and yet it may be on the disk when power fails.
                        self.ever.extend(&stamps);
                        assert_eq!(batch.count(), stamps.len() as u64);
                    }
                    Err(other) => panic!("{other}"),
                }
                self.storage.heal();
            }
            "sync" => {
                match seeded.below(2) {
                    0 => writer.sync().expect("syncs"),
                    _ => while !writer.sync_beside().expect("syncs") {},
                }
                self.durable = self.entries.len();
            }
            "maintain" => drop(writer.maintain_at(self.clock.now()).expect("maintains")),
            "rotate" => writer.rotate_at(self.clock.now()).expect("rotates"),
            "read" => {
                let some = seeded.below(self.entries.len() as u64 + 1);
                let some = usize::try_from(some).expect("small");
                let from =
                    self.entries.get(some).map_or(self.last + 1, |stamp| stamp - seeded.below(2));
                let mut cursor = log.cursor(at(from));
                if seeded.below(2) > 0 {
                    self.cursors.push((cursor, from));
                } else {
                    let max_bytes = [1, 3000, 1 << 20][seeded.index(3)];
                    let from = self.entries.partition_point(|stamp| *stamp < from);
                    let seen = stamps(&mut cursor, max_bytes);
                    same(&seen, &self.entries[from..]);
                }
            }
            "read back" => {
                let any = |seeded: &mut Seeded| match seeded.index(self.entries.len() + 2) {
                    0 => 0,
                    1 => self.last + 1,
                    any => self.entries[any - 2] + 1 - seeded.below(3),
                };
                let (from, to) = (any(seeded), any(seeded));
                let mut cursor = log.backward_cursor(at(from), at(to), seeded.below(2) > 0);
                if seeded.below(2) > 0 {
                    self.backward.push((cursor, to, from));
                } else if to > 0 {
                    let mut seen = Vec::new();
                    let stopped = loop {
                        match cursor.previous() {
                            Ok(Some(chunk)) => {
                                let mut part = Vec::new();
                                take(&chunk, &mut part);
                                let undelivered = chunk.without_last(1);
                                if from.is_multiple_of(3) && undelivered.is_some() {
                                    part.drain(..part.len() - 1);
                                    cursor.let_go(undelivered);
                                    assert!(!cursor.holds_something());
                                }
                                part.append(&mut seen);
                                seen = part;
                            }
                            Ok(None) => break None,
                            Err(error) => break Some(error),
                        }
                    };
                    let within = |stamp: u64| (to..=from).contains(&stamp);
                    let mut expected: Vec<_> =
                        self.entries.iter().copied().filter(|stamp| within(*stamp)).collect();
                    match stopped {
                        // A strict one may end where entries were deleted.
                        None | Some(ReadError::Deleted { .. }) => {}
                        // And where a power loss has damaged or taken some.
                        Some(ReadError::Corrupt { .. } | ReadError::Missing { .. })
                            if self.lost_power =>
                        {
                            expected.drain(..expected.len().saturating_sub(seen.len()));
                        }
                        Some(other) => panic!("{other}"),
                    }
                    same(&seen, &expected);
                }
            }
            "go on back" => {
                for (cursor, to, from) in &mut self.backward {
                    let within = |stamp: &&u64| (*to..=*from).contains(stamp);
                    let due: Vec<u64> = self.entries.iter().filter(within).copied().collect();
                    match cursor.previous() {
                        Ok(Some(chunk)) => {
                            let mut seen = Vec::new();
                            take(&chunk, &mut seen);
                            // What had been deleted may still be in RAM.
                            let first = due.first().copied().unwrap_or(u64::MAX);
                            let kept = seen.iter().filter(|seen| first <= **seen).count();
                            assert_eq!(seen[seen.len() - kept..], due[due.len() - kept..]);
                            assert_eq!(cursor.position(), Some(at(seen[0] - 1)));
                            *from = seen[0] - 1;
                        }
                        Ok(None) | Err(ReadError::Deleted { .. }) => assert_eq!(due, [0; 0]),
                        // A strict one says what a power loss has done.
                        Err(ReadError::Corrupt { .. } | ReadError::Missing { .. })
                            if self.lost_power => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            "go on" => {
                for (cursor, next) in &mut self.cursors {
                    let Some(chunk) = cursor.next(5_000).expect("reads") else {
                        assert!(self.entries.last().is_none_or(|last| last < next));
                        continue;
                    };
                    let mut seen = Vec::new();
                    take(&chunk, &mut seen);
                    // What a cursor had read before it was deleted may still come.
                    let from = self.entries.partition_point(|stamp| stamp < next);
                    if self.entries.first().is_some_and(|first| seen[0] >= *first) {
                        assert_eq!(seen[..], self.entries[from..from + seen.len()]);
                    }
                    *next = seen[seen.len() - 1] + 1;
                }
            }
            "close" => {
                let (writer, _) = self.open.take().expect("open between steps");
                writer.close().expect("closes");
                self.durable = self.entries.len();
                self.reopen();
            }
            "kill" => {
                self.open = None;
                self.storage.kill();
                self.reopen();
                // Opening syncs what it found.
                self.durable = self.entries.len();
            }
            "lose power" => {
                self.lost_power = true;
                self.delete();
                self.open = None;
                self.storage.lose_power(seeded);
                self.reopen();
                let (_, log) = self.open.as_ref().expect("open");
                let seen = all(log);
                let missing =
                    self.entries[..self.durable].iter().find(|stamp| !seen.contains(stamp));
                assert_eq!(missing, None, "synced entries are there");
                // Deletions may be undone; and what was lost with a damaged stretch may be found again when
                // its index is lost, too.
                let odd = seen.iter().find(|stamp| !self.ever.contains(stamp));
                assert_eq!((odd, seen.is_sorted()), (None, true));
                self.entries = seen;
                self.durable = self.entries.len();
            }
            other => unreachable!("{other}"),
        }
        self.delete();
        if let Some((_, log)) = &self.open {
            let stats = log.stats();
            assert_eq!(log.poisoned(), None);
            // A damaged stretch still counts the records it had.
            let events = self.entries.len() as u64;
            assert!(
                stats.events == events || (stats.events > events && self.lost_power),
                "after {what}"
            );
            if stats.archived > 0 {
                self.happened.insert("archive", 1);
            }
        }
    }
}

/// Compares, and shows only where two long lists part.
fn same(seen: &[u64], expected: &[u64]) {
    let part = seen.iter().zip(expected).position(|(a, b)| a != b);
    let part = part.unwrap_or(seen.len().min(expected.len()));
    let near = |list: &[u64]| list[part..].iter().take(5).copied().collect::<Vec<_>>();
    assert_eq!(near(seen), near(expected), "from {part} of {} and {}", seen.len(), expected.len());
}

#[test]
fn the_log_is_a_vector_that_survives() {
    let secs = std::env::var("LOGMACHINE_MODEL_SECS").ok().and_then(|secs| secs.parse().ok());
    let given = std::env::var("LOGMACHINE_MODEL_SEED").ok().and_then(|seed| seed.parse().ok());
    let until = monotonic() + Duration::from_secs(secs.unwrap_or(DEFAULT_SECS));
    let mut seed: u64 = given.unwrap_or_else(|| Clock::system().now().micros());
    let mut happened: BTreeMap<&str, u64> = BTreeMap::new();
    loop {
        let failing = Seed(seed);
        let mut seeded = Seeded::new(seed);
        let mut model = Model::new(&mut seeded);
        model.reopen();
        for _ in 0..STEPS {
            model.step(&mut seeded);
        }
        let (_, log) = model.open.as_ref().expect("open");
        assert_eq!(all(log), model.entries);
        for (what, times) in model.happened {
            *happened.entry(what).or_default() += times;
        }
        std::mem::forget(failing);
        seed += 1;
        if monotonic() > until && given.is_none() || given.is_some() {
            break;
        }
    }
    if given.is_none() {
        for what in
            ["append", "archive", "delete", "full disk", "kill", "lose power", "read", "rotate"]
        {
            assert!(happened.contains_key(what), "no {what} happened: {happened:?}");
        }
    }
}

/// Says which seed failed.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        let line = format!("failed with LOGMACHINE_MODEL_SEED={}\n", self.0);
        drop(io::Write::write_all(&mut io::stderr(), line.as_bytes()));
    }
}
