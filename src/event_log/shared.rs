//! What a log's writer, its keeper and its readers share.
//!
//! Locks, in the order in which they may be taken: `listing`, a manifest's own, the map (`state`), a segment's own,
//! `scrub_queue`, `scrubbed`, `notes`. Only the first two are held while a file is touched.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::contents::DamagedPlace;
use super::manifest::{Line, Listing, Manifest, Member, Noted};
use super::map::{Committed, Started, State};
use super::names::ARCHIVE_SUFFIX;
use super::segment::Segment;
use super::source::Location;
use super::storage::{Storage, StorageDir};
use super::{Damage, LogConfig, lock};
use crate::metrics::LogMetrics;
use crate::planted::planted;
use crate::time::Timestamp;

/// What writer, keeper and readers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: LogConfig,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) state: Mutex<State>,
    pub(super) watch: watch::Sender<Committed>,
    pub(super) metrics: LogMetrics,
    /// Free bytes of the disk, as asked for last.
    pub(super) free_bytes: AtomicU64,
    pub(super) manifests: Manifests,
    /// The log's directory, kept open: a rotation must not lack a descriptor when names have to be durable.
    pub(super) dir: Arc<dyn StorageDir>,
    pub(super) started: Started,
    /// When each segment's checksums were read last.
    pub(super) scrubbed: Mutex<BTreeMap<String, Timestamp>>,
    /// Those that are due to be read again.
    pub(super) scrub_queue: Mutex<VecDeque<Arc<Segment>>>,
    /// Held from before a line is added to a manifest until the map says the same, so that a manifest written anew
    /// meanwhile says it too. Taken before any other lock.
    pub(super) listing: Mutex<()>,
    notes: Mutex<Notes>,
}

/// The manifests of the segments' and the archives' directories; the same one if those are the same.
#[derive(Debug)]
pub(super) struct Manifests {
    pub(super) dir: Arc<Manifest>,
    pub(super) arch: Arc<Manifest>,
}

impl Manifests {
    pub(super) fn new(config: &LogConfig) -> Self {
        let dir = Arc::new(Manifest::new(&config.dir, &config.name));
        let arch = match config.arch_dir == config.dir {
            true => Arc::clone(&dir),
            false => Arc::new(Manifest::new(&config.arch_dir, &config.name)),
        };
        Manifests { dir, arch }
    }

    /// Whether what lies at `location` is listed with the archives, apart from the segments.
    pub(super) fn is_in_arch(&self, location: &Location) -> bool {
        let is_archive = match location {
            Location::Archive(_) => true,
            Location::Missing(path) => path.extension().is_some_and(|end| end == "zip"),
            Location::Open(..) | Location::File(_) => false,
        };
        is_archive && !Arc::ptr_eq(&self.dir, &self.arch)
    }

    /// The one that lists what lies at `location`.
    pub(super) fn of(&self, location: &Location) -> &Manifest {
        if self.is_in_arch(location) { &self.arch } else { &self.dir }
    }
}

/// What readers found out and the keeper is to write down.
#[derive(Debug, Default)]
struct Notes {
    /// Damage found by now or before, by segment and position.
    damage: BTreeMap<(String, u64), Noted>,
    /// What is not in the manifest yet.
    unwritten: Vec<Line>,
    /// Segments whose index should be written anew.
    stale: Vec<Arc<Segment>>,
}

/// More damaged places than this are counted, but no longer named and noted one by one.
const MAX_NOTED: usize = 10_000;

impl Shared {
    pub(super) fn new(
        config: LogConfig,
        storage: Arc<dyn Storage>,
        dir: Arc<dyn StorageDir>,
        state: State,
        started: Started,
    ) -> Self {
        let watch = watch::Sender::new(state.committed);
        let manifests = Manifests::new(&config);
        Shared {
            config,
            storage,
            state: Mutex::new(state),
            watch,
            metrics: LogMetrics::default(),
            free_bytes: AtomicU64::new(0),
            manifests,
            dir,
            started,
            scrubbed: Mutex::default(),
            scrub_queue: Mutex::default(),
            listing: Mutex::default(),
            notes: Mutex::default(),
        }
    }

    /// Takes up what the manifest says was damaged before.
    pub(super) fn remember(&self, listing: &Listing) {
        for ((segment, position), noted) in listing.damage.iter().filter(|(_, noted)| !noted.known)
        {
            self.metrics.damaged.inc();
            let what = "noted before; it stays reported until it is accepted";
            let damage = Damage { position: *position, bytes: noted.bytes, what };
            self.name_damage(Path::new(segment), &damage);
        }
        lock(&self.notes).damage.clone_from(&listing.damage);
        lock(&self.scrubbed).clone_from(&listing.scrubbed);
    }

    /// Counts, names and notes damage of a segment, once for each place.
    pub(super) fn report_damage(&self, segment: &str, path: &Path, damage: &Damage) {
        let mut notes = lock(&self.notes);
        let key = (segment.to_owned(), damage.position);
        if notes.damage.len() >= MAX_NOTED || notes.damage.contains_key(&key) {
            return;
        }
        // The live segment will have another name; each start looks through it till then.
        if segment != self.config.name {
            let line = Line::Damaged(segment.to_owned(), (damage.position, damage.bytes));
            notes.unwritten.push(line);
        }
        notes.damage.insert(key, Noted { bytes: damage.bytes, known: false });
        drop(notes);
        self.metrics.damaged.inc();
        self.name_damage(path, damage);
    }

    /// Where a segment is known to be damaged.
    pub(super) fn noted_damage(&self, segment: &str) -> Vec<DamagedPlace> {
        let notes = lock(&self.notes);
        let places = notes.damage.range((segment.to_owned(), 0)..=(segment.to_owned(), u64::MAX));
        let place = |((_, position), noted): (&(String, u64), &Noted)| DamagedPlace {
            position: *position,
            bytes: noted.bytes,
            is_accepted: noted.known,
        };
        places.map(place).collect()
    }

    fn name_damage(&self, path: &Path, damage: &Damage) {
        tracing::error!(
            segment = %path.display(),
            position = damage.position,
            bytes = damage.bytes,
            what = damage.what,
            "segment is damaged; readers step over it"
        );
    }

    /// Has an index written anew.
    pub(super) fn note_stale_index(&self, segment: &Arc<Segment>) {
        let mut notes = lock(&self.notes);
        if !notes.stale.iter().any(|stale| Arc::ptr_eq(stale, segment)) {
            notes.stale.push(Arc::clone(segment));
        }
    }

    /// The segments whose indexes are to be written anew; they are not noted any more.
    pub(super) fn take_stale(&self) -> Vec<Arc<Segment>> {
        std::mem::take(&mut lock(&self.notes).stale)
    }

    /// The live segment has got the name of a rotated one: what is damaged in it is noted under that.
    pub(super) fn note_rotated(&self, name: &str) {
        let mut notes = lock(&self.notes);
        let live = (self.config.name.clone(), 0)..=(self.config.name.clone(), u64::MAX);
        let found: Vec<_> =
            notes.damage.range(live).map(|((_, at), noted)| (*at, *noted)).collect();
        for (at, noted) in found {
            notes.damage.remove(&(self.config.name.clone(), at));
            notes.damage.insert((name.to_owned(), at), noted);
            notes.unwritten.push(Line::Damaged(name.to_owned(), (at, noted.bytes)));
        }
    }

    /// Writes down what was noted, and manifests anew that could not be added to before.
    pub(super) fn write_notes(&self) {
        self.add_notes();
        let _listing = lock(&self.listing);
        self.write_due_manifests();
    }

    /// Adds what was noted to the manifest.
    pub(super) fn add_notes(&self) {
        let unwritten = std::mem::take(&mut lock(&self.notes).unwritten);
        if !unwritten.is_empty()
            && let Err(error) = self.manifests.dir.add(&unwritten)
        {
            tracing::debug!(%error, "damage is noted when the manifest is written anew");
        }
    }

    /// Writes manifests anew that could not be added to before. Whoever calls it holds `listing`.
    pub(super) fn write_due_manifests(&self) {
        let manifests = [&self.manifests.dir, &self.manifests.arch];
        if manifests.iter().all(|manifest| !manifest.is_due()) {
            return;
        }
        let (dir, arch) = self.listings();
        for (manifest, listing) in [(manifests[0], dir), (manifests[1], arch)] {
            if manifest.is_due()
                && let Err(error) = manifest.write(&*self.storage, &listing)
            {
                tracing::warn!(log = %self.config.name, %error, "manifest not written; tried again");
            }
        }
    }

    /// What both manifests should say.
    fn listings(&self) -> (Listing, Listing) {
        let (mut dir, mut arch) = (Listing::default(), Listing::default());
        dir.boot = self.storage.boot_id();
        let state = lock(&self.state);
        dir.deleted = state.deleted;
        dir.floor = state.floor;
        dir.is_clock_odd = state.is_clock_odd;
        // More than is known to be given is as good.
        dir.reserved = Some(state.reserved).max(state.committed.last);
        for segment in state.older() {
            let location = segment.location();
            // What was just rotated may not be durable; and what nobody could read yet nobody knows.
            let is_known = segment.listed() != Member::default();
            if is_known && !matches!(location, Location::Open(..)) {
                let listing =
                    if self.manifests.is_in_arch(&location) { &mut arch } else { &mut dir };
                listing.members.insert(location.file_name(), segment.listed());
            }
        }
        drop(state);
        dir.damage.clone_from(&lock(&self.notes).damage);
        // Only what is still here can be damaged; the live segment will have another name.
        let names: BTreeSet<String> =
            dir.members.keys().chain(arch.members.keys()).cloned().collect();
        let is_here = |segment: &str| {
            names.contains(segment)
                || names.contains(&format!("{segment}{ARCHIVE_SUFFIX}"))
                || segment.ends_with(".manifest")
        };
        dir.damage.retain(|(segment, _), _| is_here(segment));
        dir.scrubbed.clone_from(&lock(&self.scrubbed));
        dir.scrubbed.retain(|segment, _| is_here(segment));
        if Arc::ptr_eq(&self.manifests.dir, &self.manifests.arch) {
            dir.members.append(&mut arch.members);
            arch = dir.clone();
        }
        (dir, arch)
    }

    /// Remembers over the next start that the wall clock is not to be believed, or that it is again.
    pub(super) fn note_clock(&self, is_odd: bool) {
        if std::mem::replace(&mut lock(&self.state).is_clock_odd, is_odd) != is_odd {
            lock(&self.notes).unwritten.push(Line::Clock(is_odd));
        }
    }

    /// Sees to it that no stamp up to `last` can be given again after a power loss.
    ///
    /// # Errors
    ///
    /// As the file system says.
    pub(super) fn reserve(&self, last: Timestamp) -> std::io::Result<()> {
        let _listing = lock(&self.listing);
        let is_odd = lock(&self.state).is_clock_odd;
        self.add_or_write(&behind_leap(is_odd, Line::Stamp(last)))?;
        let mut state = lock(&self.state);
        state.reserved = state.reserved.max(last);
        Ok(())
    }

    /// Sees to it that no stamp up to `to` is given after the next start, whatever the log holds then. A manifest that
    /// cannot be added to is written anew for it if `anew`, else later.
    ///
    /// # Errors
    ///
    /// As the file system says; the manifest says it once it can be written.
    pub(super) fn pass(&self, to: Timestamp, anew: bool) -> std::io::Result<()> {
        let _listing = lock(&self.listing);
        let mut state = lock(&self.state);
        state.floor = state.floor.max(Some(to));
        let lines = behind_leap(state.is_clock_odd, Line::Floor(to));
        drop(state);
        if anew { self.add_or_write(&lines) } else { self.manifests.dir.add(&lines) }
    }

    /// Adds lines to the manifest of the directory, or writes it anew with them. Whoever calls it holds `listing`.
    fn add_or_write(&self, lines: &[Line]) -> std::io::Result<()> {
        if self.manifests.dir.add(lines).is_ok() {
            return Ok(());
        }
        let (mut listing, _) = self.listings();
        lines.iter().for_each(|line| listing.apply(line.clone()));
        self.manifests.dir.write(&*self.storage, &listing)
    }
}

/// A line about a stamp, behind the one that says that the clock is odd. By the stamp the next start believes the clock,
/// and a death may cut the lines anywhere.
fn behind_leap(is_odd: bool, line: Line) -> Vec<Line> {
    let odd = is_odd.then_some(Line::Clock(true));
    let mut lines: Vec<_> = odd.into_iter().chain([line]).collect();
    if planted("manifest: the leap goes first") {
        lines.reverse();
    }
    lines
}
