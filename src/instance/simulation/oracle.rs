//! What an instance must still have, what it may have, and what nobody may ever see.

use std::collections::BTreeMap;

/// Names under which positions are acknowledged.
pub(super) const NAMES: [&[u8]; 3] = [b"audit", b"billing", b"c"];

/// Where an event stands that was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Is {
    /// Nobody was told that it is there; it may be.
    Taken,
    /// It is there until power is lost.
    Committed,
    /// It is there.
    Synced,
}

#[derive(Debug)]
struct Entry {
    event: Vec<u8>,
    is: Is,
    /// It was not synced when power was lost, and nobody has looked since.
    was_doubtful: bool,
    is_holed: bool,
}

/// The positions that a name may have.
#[derive(Debug, Default)]
struct Acked {
    /// What is on the disk, at the least.
    stored: Option<u64>,
    /// What was acknowledged since, oldest first.
    since: Vec<u64>,
}

/// All that was taken in, shown, told and acknowledged.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    entries: BTreeMap<u64, Entry>,
    /// The highest stamp that anybody was shown or told of.
    told: Option<u64>,
    /// The same, as far as it was told while a manifest had reserved it.
    reserved: Option<u64>,
    /// Nothing may be stamped up to here.
    promised: Option<u64>,
    acked: [Acked; NAMES.len()],
    /// Entries of which a power loss left holes, and nobody could tell.
    pub(super) holed: u64,
}

impl Oracle {
    /// Events got these stamps on.
    pub(super) fn taken_in(&mut self, first: u64, events: Vec<Vec<u8>>) {
        let newest = self.entries.keys().next_back().copied();
        let past = newest.max(self.told).max(self.promised);
        assert!(Some(first) > past, "rising: stamped {first} after {past:?}");
        let fresh = events.into_iter().map(|event| Entry {
            event,
            is: Is::Taken,
            was_doubtful: false,
            is_holed: false,
        });
        self.entries.extend((first..).zip(fresh));
    }

    /// What was taken in up to here is in the file: somebody was told, or saw it.
    pub(super) fn committed(&mut self, up_to: Option<u64>) {
        let Some(up_to) = up_to else { return };
        self.told = self.told.max(Some(up_to));
        self.raise(up_to, Is::Committed);
    }

    /// What was taken in up to here is on the disk.
    pub(super) fn synced(&mut self, up_to: Option<u64>) {
        self.raise(up_to.unwrap_or_default(), Is::Synced);
    }

    fn raise(&mut self, up_to: u64, is: Is) {
        for (_, entry) in self.entries.range_mut(..=up_to) {
            entry.is = entry.is.max(is);
        }
    }

    /// All stamps told so far are reserved.
    pub(super) fn reserved(&mut self) {
        self.reserved = self.told;
    }

    /// Nobody may get one stamped up to here any more that is not taken in yet.
    pub(super) fn promised(&mut self, to: u64) {
        // No clock says 0, which is what an empty log's stamps come after.
        self.promised = self.promised.max(Some(to).filter(|to| *to > 0));
    }

    /// What was not synced when the power failed may be there or not.
    pub(super) fn power_lost(&mut self) {
        for entry in self.entries.values_mut().filter(|entry| entry.is < Is::Synced) {
            entry.is = Is::Taken;
            entry.was_doubtful = true;
        }
    }

    /// The instance was opened, holds these entries, and will give this stamp next.
    pub(super) fn opened(&mut self, found: &[(u64, Vec<u8>)], next: u64, is_manifest_hit: bool) {
        for (stamp, event) in found {
            self.got(*stamp, event);
        }
        self.entries.retain(|stamp, entry| {
            let is_there = found.binary_search_by_key(stamp, |(found, _)| *found).is_ok();
            assert!(is_there || entry.is == Is::Taken, "kept: {stamp} is missing, {:?}", entry.is);
            is_there
        });
        // Recording goes on where the manifest cannot be written: then it knows of what was reserved before.
        let due = if is_manifest_hit { self.reserved } else { self.told.max(self.promised) };
        assert!(Some(next) > due, "rising: {next} next, {due:?} was told");
        self.promised = self.promised.min(next.checked_sub(1));
        self.told = self.told.min(next.checked_sub(1));
        self.reserved = self.told;
    }

    /// Somebody got this, and will get it again.
    pub(super) fn got(&mut self, stamp: u64, event: &[u8]) {
        let Some(entry) = self.entries.get_mut(&stamp) else {
            panic!("{stamp} was never taken in, or is back");
        };
        if entry.event != event {
            // An index tells the checksum of what was synced. Of anything else a power loss leaves what sectors it
            // wants, and zeros instead of the others; where they fall into a binary the term is one all the same. It is
            // looked at once, when the log is opened, and stays as it is.
            let has_holes = entry.event.len() == event.len()
                && entry.event.iter().zip(event).all(|(due, got)| due == got || *got == 0);
            assert!(
                entry.was_doubtful && has_holes && !entry.is_holed,
                "{stamp}, {:?}, is not what was taken in but {event:02x?}",
                entry.is
            );
            event.clone_into(&mut entry.event);
            entry.is_holed = true;
            self.holed += 1;
        }
        entry.was_doubtful = false;
        entry.is = entry.is.max(Is::Committed);
        self.told = self.told.max(Some(stamp));
    }

    /// The entry that a reader at this stamp gets next.
    pub(super) fn next(&self, from: u64) -> Option<u64> {
        self.entries.range(from..).next().map(|(stamp, _)| *stamp)
    }

    /// The stamp of the `nth` of all entries.
    pub(super) fn nth(&self, nth: usize) -> Option<u64> {
        self.entries.keys().nth(nth).copied()
    }

    pub(super) fn count(&self) -> usize {
        self.entries.len()
    }

    /// A position was acknowledged.
    pub(super) fn acked(&mut self, name: usize, stamp: u64) {
        self.acked[name].since.push(stamp);
    }

    /// What was acknowledged last under a name.
    pub(super) fn position(&self, name: usize) -> Option<u64> {
        let acked = &self.acked[name];
        acked.since.last().copied().or(acked.stored)
    }

    /// The last position of a name is on the disk.
    pub(super) fn stored(&mut self, name: usize) {
        self.acked[name].stored = self.position(name);
        self.acked[name].since.clear();
    }

    /// A position was found after a start that went well, which stores what it finds.
    pub(super) fn loaded(&mut self, name: usize, found: Option<u64>, next: u64) {
        let acked = &mut self.acked[name];
        let is_known = found == acked.stored || found.is_some_and(|at| acked.since.contains(&at));
        assert!(is_known, "resumed: at {found:?}, {acked:?}");
        assert!(found.is_none_or(|found| found < next), "rising: {next} next, {found:?} acked");
        *acked = Acked { stored: found, since: Vec::new() };
    }
}
