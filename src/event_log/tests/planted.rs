//! Whether these tests find what they are there to find: each fault that is planted in the log makes one of them fail.
//!
//! Every sync, every order and every check that an entry's safety hangs on can be left out by name. A fault that no test
//! notices is a promise that no test keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use super::super::lock;
use super::simulation::simulate;
use super::*;
use super::{faults, promises};
use crate::planted::{asked, named_in, with};
use crate::time::monotonic;

/// Simulated runs that a fault may take to be noticed.
const RUNS: u64 = 100;

/// What can be left out or done wrongly.
const FAULTS: &[&str] = &[
    "append: a failed write counts as success",
    "append: an index begins as a draft",
    "append: cutting off a part",
    "append: reserving stamps",
    "append: the index",
    "archive: listing",
    "archive: reading back",
    "archive: the archive",
    "archive: the directory",
    "archive: the segment goes last",
    "close: syncing",
    "complete: listing",
    "complete: the directory",
    "cursor: comparing checksums",
    "cursor: reading around a bad sector",
    "cursor: what is deleted meanwhile",
    "delete: doubting the clock",
    "delete: the directory",
    "delete: saying so after",
    "delete: saying so before",
    "delete: sparing the unsealed",
    "delete: the stamp",
    "index: by way of a draft",
    "index: comparing checksums",
    "index: sharing what was found without it",
    "index: the draft",
    "look: comparing with the manifest",
    "manifest: added lines",
    "manifest: comparing checksums",
    "manifest: counting bad lines",
    "manifest: giving up after a failure",
    "manifest: the directory",
    "manifest: the draft",
    "manifest: the leap goes first",
    "open: comparing the boot",
    "open: cutting again after a kill",
    "open: cutting off a torn tail",
    "open: cutting off what an index may know of",
    "open: finishing deletions",
    "open: holding against the manifest",
    "open: keeping a torn tail",
    "open: nobody tells how much there was",
    "open: reporting what is missing",
    "open: settling a rotated segment",
    "open: strangers' indexes",
    "open: the directory",
    "open: the index",
    "open: the reserved stamps",
    "open: the segment",
    "open: unreadable is not empty",
    "open: what deletion left",
    "open: writing again after a kill",
    "open: writing again after a start that failed",
    "pass: looking at the clock",
    "poison: is forgotten",
    "repair: comparing checksums",
    "repair: doubting what was not synced",
    "repair: not resynchronising",
    "repair: saving what was synced of a stretch",
    "rotate: the index goes first",
    "rotate: the index that is there",
    "rotate: the new segment is not durable",
    "rotate: what was cut off",
    "rotate: undoing half a rotation",
    "seal: a failure counts as success",
    "seal: a sync that failed before is tried again",
    "seal: the directory",
    "seal: the segment",
    "sync beside: the new name",
    "sync beside: the segment",
    "sync beside: waiting for it",
    "sync: a failure counts as success",
    "sync: rotated segments",
    "sync: the new name",
    "sync: the segment",
    "write: finishing a short one",
];

/// Tests and their names.
macro_rules! checks {
    ($($check:path),* $(,)?) => { [$((stringify!($check), $check)),*] };
}

/// Tests that look for one thing each.
const CHECKS: &[(&str, fn())] = &checks![
    a_full_disk_keeps_the_batch_for_later_and_tears_nothing,
    a_lost_or_damaged_index_is_made_anew,
    a_process_that_dies_at_any_call_leaves_what_was_synced,
    a_torn_tail_is_kept_beside_the_log,
    after_a_failed_write_or_sync_nothing_is_accepted_and_readers_go_on,
    an_archive_that_differs_is_not_believed,
    short_writes_are_finished,
    what_is_missing_is_reported_until_it_is_back,
    faults::a_clock_that_leaps_deletes_nothing_and_stops_nothing,
    faults::a_live_segment_of_which_nothing_can_be_read_is_put_aside,
    faults::a_rotation_that_fails_is_undone_and_tried_again,
    faults::a_segment_that_cannot_be_read_for_a_while_is_neither_archived_nor_forgotten,
    faults::an_index_of_what_is_no_more_is_not_taken_for_that_of_what_comes,
    faults::an_index_that_knows_of_a_hole_is_there_until_the_next_one_is,
    faults::no_stamp_is_given_twice_over_a_power_loss_or_an_emptied_log,
    faults::nothing_is_sealed_with_a_sync_that_comes_after_a_failed_one,
    faults::what_a_full_disk_had_no_room_for_does_not_come_back,
    faults::what_was_being_deleted_does_not_come_back,
    promises::a_bad_sector_costs_one_of_many_stretches_that_are_read_at_once,
    promises::a_clock_that_is_wrong_at_the_start_deletes_nothing,
    promises::a_deleted_segment_that_is_put_back_stays,
    promises::a_flipped_bit_in_the_manifest_is_reported_and_not_believed,
    promises::a_hole_costs_nothing_behind_it_wherever_a_rotation_dies,
    promises::a_leap_is_remembered_before_stamps_that_would_hide_it,
    promises::a_line_that_the_manifest_did_not_take_is_written_later,
    promises::a_loss_of_power_while_closing_damages_nothing,
    promises::a_manifest_written_anew_survives_a_loss_of_power,
    promises::a_rotated_segment_that_was_not_synced_stops_the_recorder,
    promises::a_strict_reader_hears_of_deletions_after_a_restart,
    promises::a_sync_covers_what_was_appended_before_a_rotation,
    promises::a_sync_that_failed_is_told_and_not_tried_again,
    promises::a_torn_tail_is_gone_for_what_comes_after_it,
    promises::an_archive_survives_a_loss_of_power,
    promises::an_archive_that_goes_is_missed,
    promises::an_index_from_before_a_loss_of_power_does_not_come_back,
    promises::an_index_that_cannot_be_read_for_a_while_is_not_made_anew,
    promises::an_index_that_is_left_of_what_was_deleted_is_nobody_elses,
    promises::closing_waits_for_what_was_rotated,
    promises::nothing_is_handed_out_of_a_stretch_with_a_flipped_bit,
    promises::nothing_is_looked_for_in_a_torn_tail,
    promises::nothing_is_torn_that_an_index_may_know_of_which_cannot_be_read,
    promises::the_first_sync_of_a_log_begun_on_a_full_disk_covers_its_name,
    promises::what_a_restart_found_is_durable_after_a_sync,
    promises::what_could_not_be_removed_does_not_come_back,
    promises::what_a_start_cut_off_that_failed_does_not_come_back,
    promises::what_is_deleted_under_a_reader_is_not_damaged,
    promises::what_is_found_without_an_index_is_not_taken_for_what_it_says,
    promises::what_is_not_sealed_is_not_deleted,
    promises::what_was_deleted_stays_deleted,
    promises::what_was_sealed_is_not_looked_through_after_a_loss_of_power,
];

/// A segment that somebody removes, or cuts at a record's border, is missed by everybody and stays so.
#[test]
fn what_is_missing_is_reported_until_it_is_back() {
    for cut in [false, true] {
        let storage = MemoryStorage::new();
        let (mut writer, _log) = reopen(&storage);
        for i in 0..3 {
            writer.append(batch(i * 100 + 1..i * 100 + 20, 50)).expect("appends");
            writer.rotate().expect("rotates");
        }
        writer.close().expect("closes");
        let is_segment = |path: &&std::path::PathBuf| {
            path.to_string_lossy().ends_with('Z') && !path.to_string_lossy().contains("/.")
        };
        let paths = storage.paths();
        let segment = paths.iter().find(is_segment).expect("a segment");
        let whole = storage.bytes(segment).expect("is there");
        if cut {
            let record = (whole.len() - 8) / 19;
            storage.put(segment, whole[..whole.len() - 3 * record].to_vec());
        } else {
            storage.remove(segment).expect("removes");
        }
        for _ in 0..3 {
            let verified =
                verify(&config(Path::new("/log")), &storage, &mut |_| {}).expect("lists");
            assert!(!verified.is_sound(), "cut {cut}");
            let (_writer, log) = reopen(&storage);
            assert!(log.stats().damaged > 0, "cut {cut}");
            let mut strict = log.strict_cursor(MIN);
            let reads: Vec<_> = (0..20).map(|_| strict.next(1 << 20).is_err()).collect();
            assert!(cut || reads.contains(&true));
            assert!(all(&log).len() >= 38);
        }
    }
}

/// What a crash tore off is still beside the log afterwards.
#[test]
fn a_torn_tail_is_kept_beside_the_log() {
    let storage = MemoryStorage::new();
    let (mut writer, _log) = reopen(&storage);
    writer.append(batch(1..20, 50)).expect("appends");
    drop(writer);
    let mut torn = live(&storage);
    let cut = torn.len() - 10;
    torn.truncate(cut);
    storage.put(Path::new("/log/quotes"), torn.clone());
    let (_writer, log) = reopen(&storage);
    let lost = log.stats().torn_bytes;
    assert!(lost > 0);
    let paths = storage.paths();
    let kept = paths.iter().find(|path| path.to_string_lossy().contains(".torn-"));
    let kept = storage.bytes(kept.expect("kept")).expect("is there");
    assert_eq!(kept[..], torn[torn.len() - kept.len()..]);
    assert_eq!(kept.len() as u64, lost);
}

/// The disk writes another bit than it was given when an archive is packed: the segment stays.
#[test]
fn an_archive_that_differs_is_not_believed() {
    let storage = MemoryStorage::new();
    let mut archived = config(Path::new("/log"));
    archived.archive_after = Some(Duration::ZERO);
    archived.archive_period = Duration::from_secs(1);
    let clock = clock();
    let opened = open_with(archived, Arc::new(storage.clone()), clock.clone(), Keeper::Inline);
    let (mut writer, log) = opened.expect("opens");
    writer.append(batch(1..200, 50)).expect("appends");
    writer.rotate().expect("rotates");
    let disk = storage.clone();
    storage.set_hook(Some(Arc::new(move |call, path| {
        let is_archive = path.to_string_lossy().ends_with(".zip.new");
        if call == Call::Sync && is_archive {
            disk.flip(path, 200, 3);
        }
    })));
    clock.step(5_000_000);
    writer.maintain().expect("maintains");
    storage.set_hook(None);
    assert_eq!(log.stats().archives, 0);
    assert_eq!(all(&log), (1..200).collect::<Vec<_>>());
    clock.step(5_000_000);
    writer.maintain().expect("maintains");
    assert_eq!(log.stats().archives, 1);
    assert_eq!(all(&log), (1..200).collect::<Vec<_>>());
}

/// A check or a simulated run as it is without any fault.
struct Clean {
    is_sound: bool,
    /// Faults that it can notice, perhaps.
    asked: BTreeSet<&'static str>,
    took: Duration,
}

impl Clean {
    fn of<T>(what: impl FnOnce() -> T, is_sound: impl FnOnce(T) -> bool) -> Self {
        let began = monotonic();
        let (did, asked) = asked(what);
        Clean { is_sound: is_sound(did), asked, took: began.elapsed() }
    }

    /// Whether it would be worth something that it fails with the fault: it comes by it, and does not fail without.
    fn can_notice(&self, fault: &str) -> bool {
        self.is_sound && self.asked.contains(fault)
    }
}

/// Looks for what notices a fault.
struct Gate {
    /// The quickest first.
    checks: Vec<(Clean, &'static str, fn())>,
    /// By seed, as far as they were needed.
    runs: Mutex<BTreeMap<u64, Arc<Clean>>>,
}

/// What became of a fault.
enum Noticed {
    By(String),
    ByNobody,
    /// Nothing that was tried comes by its switch.
    NeverReached,
}

impl Gate {
    fn new() -> Self {
        let clean =
            |(name, check): &(&'static str, fn())| (Clean::of(check, |()| true), *name, *check);
        let mut checks: Vec<_> = CHECKS.iter().map(clean).collect();
        checks.sort_by_key(|(clean, ..)| clean.took);
        Gate { checks, runs: Mutex::default() }
    }

    fn run(&self, seed: u64) -> Arc<Clean> {
        if let Some(run) = lock(&self.runs).get(&seed) {
            return Arc::clone(run);
        }
        let run = Arc::new(Clean::of(|| simulate(seed), |ran| ran.is_ok()));
        lock(&self.runs).insert(seed, Arc::clone(&run));
        run
    }

    fn notice(&self, fault: &'static str) -> Noticed {
        let mut is_reached = false;
        for (_, name, check) in self.checks.iter().filter(|(clean, ..)| clean.can_notice(fault)) {
            is_reached = true;
            if with(fault, || catch_unwind(AssertUnwindSafe(check))).0.is_err() {
                return Noticed::By((*name).to_owned());
            }
        }
        for seed in (0..RUNS).filter(|seed| self.run(*seed).can_notice(fault)) {
            is_reached = true;
            if with(fault, || simulate(seed)).0.is_err() {
                return Noticed::By(format!("the simulation with seed {seed}"));
            }
        }
        if is_reached { Noticed::ByNobody } else { Noticed::NeverReached }
    }
}

/// Nothing is planted that is not on the list, and nothing is on it that is not planted.
#[test]
fn the_list_of_planted_faults_is_what_the_code_says() {
    // Those of durable cursors are for the simulation of an instance to notice.
    let planted = named_in(&["event_log"], "durable_cursors");
    let listed: BTreeSet<_> = FAULTS.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(planted, listed);
}

/// Two at a time, for a switch is one thread's own. `LOGMACHINE_PLANTED` has it look at those alone that have it in their
/// names.
#[test]
#[expect(clippy::print_stderr, reason = "shown by `make mutants`")]
fn the_suite_kills_every_planted_fault() {
    let given = std::env::var("LOGMACHINE_PLANTED").ok();
    let is_given = |fault: &&&str| given.as_deref().is_none_or(|given| fault.contains(given));
    let faults: Vec<_> = FAULTS.iter().filter(is_given).collect();
    let gate = Gate::new();
    let next = AtomicUsize::new(0);
    let survivors = Mutex::new(BTreeSet::new());
    let look = || {
        while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
            let began = monotonic();
            let noticed = match gate.notice(fault) {
                Noticed::By(name) => format!("noticed by {name}"),
                Noticed::ByNobody => "NOT NOTICED".to_owned(),
                Noticed::NeverReached => "NEVER REACHED".to_owned(),
            };
            let line = format!("{fault}: {noticed}, {:?}", began.elapsed());
            if !noticed.starts_with("noticed") {
                lock(&survivors).insert(line.clone());
            }
            eprintln!("{line}");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(look);
        }
    });
    let survivors = lock(&survivors);
    assert!(survivors.is_empty(), "{} were not noticed: {survivors:#?}", survivors.len());
}
