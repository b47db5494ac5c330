//! What must be in the log, what may be, and what must not.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::*;

/// How an entry's event is made from its stamp.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// A term that no longer is one where a sector of it is missing.
    Plain(usize),
    /// A binary of bytes that say nothing.
    Opaque(usize),
    /// A binary that holds records as segments do, with stamps far away and near.
    Forged(usize),
}

impl Shape {
    pub(super) fn event(self, stamp: u64) -> Vec<u8> {
        let payload = match self {
            Shape::Plain(bytes) => return event(stamp, bytes),
            Shape::Opaque(bytes) => {
                let mut seeded = Seeded::new(stamp);
                (0..bytes).map(|_| u8::try_from(1 + seeded.below(255)).expect("a byte")).collect()
            }
            Shape::Forged(shift) => {
                let mut payload = vec![0; shift % 512];
                for forged in [stamp + 1, stamp + 1_000_000, 9_000_000_000_000_000_000] {
                    record::push(&mut payload, at(forged), &event(forged, 20));
                }
                payload.resize(payload.len() + shift, 0);
                payload
            }
        };
        let mut event = vec![104, 2, 109, 0, 0, 0, 8];
        event.extend_from_slice(&stamp.to_be_bytes());
        event.push(109);
        event.extend_from_slice(&u32::try_from(payload.len()).expect("small").to_be_bytes());
        event.extend_from_slice(&payload);
        event
    }

    /// Whether a missing sector can leave a well-formed term. Then only a checksum can tell, and after a power loss
    /// there may be none for what was not synced.
    const fn is_opaque(self) -> bool {
        !matches!(self, Shape::Plain(_))
    }
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    /// Nobody was told that it is there; it may be.
    Offered,
    /// It is there until power is lost.
    Committed,
    /// It is there.
    Synced,
    /// Retention deleted it in this life; a crash may undo that.
    Deleted,
    /// It was not there when the log was opened: it is no more.
    Gone,
}

#[derive(Clone, Debug)]
struct Entry {
    shape: Shape,
    is: Is,
    /// When it was appended, by the time that really passed.
    born: Duration,
    /// Its stamp is as a clock had it that was wrong without anybody being able to notice.
    is_astray: bool,
    /// It lies where the medium is damaged.
    may_miss: bool,
    /// It was not synced when the power failed.
    was_doubtful: bool,
    /// What is left of its event where no checksum could tell.
    holed: Option<Vec<u8>>,
}

/// What makes an entry old.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    /// What really passed since the beginning.
    pub(super) passed: Duration,
    /// By how much the wall clock may have been set wrong by steps too small to be noticed.
    pub(super) small_leaps: Duration,
    /// For how long the wall clock has gone evenly in this life.
    pub(super) even: Duration,
    pub(super) wall: u64,
}

/// All entries that were ever appended.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    entries: BTreeMap<u64, Entry>,
    /// The latest stamp that anybody was told of.
    told: u64,
    pub(super) delete_after: Option<Duration>,
    pub(super) max_bytes: bool,
    pub(super) has_deleted: bool,
    /// Entries whose event lost sectors without anybody being able to tell.
    pub(super) holed: u64,
}

/// Why readers may not get all that they should, for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    Sound,
    /// Calls failed with what looks like damage.
    Failed,
}

impl Oracle {
    pub(super) fn new(delete_after: Option<Duration>, max_bytes: bool) -> Self {
        Oracle { delete_after, max_bytes, ..Oracle::default() }
    }

    pub(super) fn told(&self) -> u64 {
        self.told
    }

    /// Nobody could remember that later stamps than this were given.
    pub(super) fn forget_told(&mut self, floor: u64) {
        self.told = self.told.min(floor);
    }

    pub(super) fn count(&self) -> usize {
        self.entries.len()
    }

    /// A stamp that was given, or the one after the last.
    pub(super) fn any_stamp(&self, seeded: &mut Seeded) -> u64 {
        let nth = seeded.index(self.entries.len() + 1);
        let last = self.entries.keys().next_back().map_or(1, |last| last + 1);
        self.entries.keys().nth(nth).copied().unwrap_or(last)
    }

    /// An entry is about to be appended.
    pub(super) fn offer(&mut self, stamp: u64, shape: Shape, born: Duration) {
        let fresh = Entry {
            shape,
            is: Is::Offered,
            born,
            is_astray: false,
            may_miss: false,
            was_doubtful: false,
            holed: None,
        };
        // One that nobody was told of, and that is no more, might be given again.
        assert!(stamp > self.told, "{stamp} was given twice");
        self.entries.insert(stamp, fresh);
    }

    pub(super) fn committed(&mut self, stamps: &[u64]) {
        for stamp in stamps {
            self.entries.get_mut(stamp).expect("was offered").is = Is::Committed;
            self.told = self.told.max(*stamp);
        }
    }

    /// Everything that is committed is durable.
    pub(super) fn synced(&mut self) {
        self.turn(Is::Committed, Is::Synced);
    }

    /// What was not synced when the power failed may be there or not.
    pub(super) fn power_lost(&mut self) {
        for entry in self.entries.values_mut() {
            if entry.is == Is::Offered || entry.is == Is::Committed {
                entry.was_doubtful = true;
            }
        }
        self.turn(Is::Committed, Is::Offered);
    }

    fn turn(&mut self, from: Is, to: Is) {
        self.entries.values_mut().filter(|entry| entry.is == from).for_each(|e| e.is = to);
    }

    /// The clock was wrong since then, and nobody could notice.
    pub(super) fn stamped_astray(&mut self, since: Duration) {
        let later = self.entries.values_mut().filter(|entry| entry.born >= since);
        later.for_each(|entry| entry.is_astray = true);
    }

    /// The medium is damaged in a file that holds these stamps.
    pub(super) fn may_miss(&mut self, first: u64, last: u64) {
        self.entries.range_mut(first..=last).for_each(|(_, entry)| entry.may_miss = true);
    }

    /// Whether an entry that should be there and is not lies where the medium is damaged. What retention has deleted, up
    /// to `deleted`, should not.
    pub(super) fn misses(&self, seen: &[u64], deleted: u64) -> bool {
        let is_due = |entry: &Entry| matches!(entry.is, Is::Committed | Is::Synced);
        let lost = |(stamp, entry): (&u64, &Entry)| {
            is_due(entry)
                && entry.may_miss
                && *stamp > deleted
                && seen.binary_search(stamp).is_err()
        };
        self.entries.iter().any(lost)
    }

    /// A reader got this.
    pub(super) fn got(&mut self, stamp: u64, event: &[u8]) {
        let Some(entry) = self.entries.get_mut(&stamp) else {
            panic!("{stamp} was never appended");
        };
        // What a power loss left whole of a stretch is torn with the rest, and found again where the index that told so
        // lies on a bad sector.
        let may_return = entry.may_miss && entry.was_doubtful;
        assert!(entry.is != Is::Gone || may_return, "{stamp} was gone and is back");
        let due = entry.shape.event(stamp);
        let is_same = entry.holed.as_deref().unwrap_or(&due) == event;
        if !is_same {
            let has_holes = due.len() == event.len()
                && due.iter().zip(event).all(|(due, got)| due == got || *got == 0);
            assert!(
                entry.shape.is_opaque() && entry.was_doubtful && has_holes && entry.holed.is_none(),
                "{stamp} ({:?}, {:?}, {}) is not what was appended but {event:02x?}",
                entry.shape,
                entry.is,
                entry.was_doubtful
            );
            entry.holed = Some(event.to_owned());
            self.holed += 1;
        }
        if matches!(entry.is, Is::Offered | Is::Gone) {
            entry.is = Is::Committed;
        }
        self.told = self.told.max(stamp);
    }

    /// A reader came from `from` to `end`, exclusive, and got `seen`. What else was due must have been deleted, rightly.
    pub(super) fn came(
        &mut self,
        from: u64,
        end: u64,
        seen: &[u64],
        reads: Reads,
        first: Option<u64>,
        times: Times,
    ) {
        if reads == Reads::Failed || from >= end {
            return;
        }
        let (delete_after, max_bytes) = (self.delete_after, self.max_bytes);
        let mut deleted = false;
        for (stamp, entry) in self.entries.range_mut(from..end) {
            if !matches!(entry.is, Is::Committed | Is::Synced) || seen.binary_search(stamp).is_ok()
            {
                continue;
            }
            if first.is_none_or(|first| *stamp < first) {
                let age = times.passed.saturating_sub(entry.born) + times.small_leaps;
                let by_wall = Duration::from_micros(times.wall.saturating_sub(*stamp));
                let is_by_wall = entry.is_astray || times.even >= Duration::from_secs(86_400);
                let is_old = |after: Duration| age >= after || (is_by_wall && by_wall >= after);
                if max_bytes || delete_after.is_some_and(is_old) {
                    entry.is = Is::Deleted;
                    deleted = true;
                    continue;
                }
            }
            assert!(
                entry.may_miss,
                "{stamp} ({:?}, {:?}) is missing between {from} and {end}; the log begins at {first:?}",
                entry.is, entry.shape,
            );
        }
        self.has_deleted |= deleted;
    }

    /// A log was opened, and these are all its entries.
    pub(super) fn opened(&mut self, seen: &[u64]) {
        for (stamp, entry) in &mut self.entries {
            let is_there = seen.binary_search(stamp).is_ok();
            match entry.is {
                // What is damaged may be read another time.
                Is::Offered | Is::Deleted if !is_there && entry.may_miss => {}
                Is::Offered | Is::Deleted if !is_there => entry.is = Is::Gone,
                Is::Offered | Is::Deleted => entry.is = Is::Committed,
                _ => {}
            }
        }
    }
}
