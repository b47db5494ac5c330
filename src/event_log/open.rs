//! Opening a log: which segments there are, what they ought to hold, and what a crash left of the live one.
//!
//! What is found is held against the manifests before anything is repaired, so that no repair makes damage look sound.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::age::AgeFrom;
use super::index::{Head, Index, ParsedIndex, Summary};
use super::inventory::{Item, Listings, inventory};
use super::keeper::Keeper;
use super::live::Live;
use super::log::Log;
use super::look::{Looked, compare, latest_stamp, look_at};
use super::manifest::{self, Listing, Member};
use super::map::{Committed, Started, State};
use super::names::{
    draft_path, index_path, is_draft, rename_old_files, rotated_name, without_segment,
};
use super::record::{CLOSED, HEAD_BYTES, LOG_MAGIC, OPENED};
use super::repair::{Damage, Trust, UNREADABLE, examine, missing_behind};
use super::retention::remove_with_index;
use super::sealed_index;
use super::segment::{NewSegment, Segment, read_index, read_index_or_none};
use super::shared::Shared;
use super::source::{Location, Source};
use super::storage::{
    Access, NoFile, Storage, StorageFile, create_fresh, is_full, is_lasting, read_full, write_full,
};
use super::writer::{AtOpening, Writer};
use super::{LogConfig, OpenError};
use crate::planted::{planted, unless};
use crate::time::{Clock, Timestamp};

/// The longest name of a log: file names leave room for a time of rotation and endings.
pub const MAX_NAME_BYTES: usize = 180;

/// Opens a log for writing, making it if there is none, and repairs what a crash left behind.
///
/// Costs a short read per segment and archive, and time in proportion to what was appended after the last
/// sync; a segment or archive without an index is scanned once, at a second or a few per gigabyte.
///
/// # Errors
///
/// [`OpenError`]; [`OpenError::Locked`] if it is open already.
pub fn open(
    config: LogConfig,
    storage: Arc<dyn Storage>,
    clock: Clock,
) -> Result<(Writer, Log), OpenError> {
    check_name(&config.name)?;
    let dir = config.dir.clone();
    let keeper = Keeper::spawn(&config.name).map_err(OpenError::io("start threads for", &dir))?;
    open_with(config, storage, clock, keeper)
}

/// Opens a log for writing whose keeper does its jobs when a simulation says so.
#[cfg(test)]
pub(crate) fn open_stepped(
    config: LogConfig,
    storage: Arc<dyn Storage>,
    clock: Clock,
    steps: &super::stepped::Steps,
) -> Result<(Writer, Log), OpenError> {
    open_with(config, storage, clock, Keeper::Stepped(steps.clone()))
}

/// Opens a log for reading alone: nothing is written, repaired or locked, and what is appended afterwards
/// is not seen. For a log that nobody writes to.
///
/// # Errors
///
/// [`OpenError`].
pub fn open_read_only(config: LogConfig, storage: Arc<dyn Storage>) -> Result<Log, OpenError> {
    check_name(&config.name)?;
    let listings = read_listings(&config, &*storage)?;
    let mut opening = Opening::new(&config, &*storage, Clock::system(), listings, None);
    let older = opening.older()?;
    let base = older.back().map_or(0, |segment| segment.end());
    let live = opening.read_live(base)?;
    let opening = opening.finish();
    Ok(Log { shared: share(config, storage, older, live, opening) })
}

fn check_name(name: &str) -> Result<(), OpenError> {
    let odd = |c: char| c == '/' || c.is_control();
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.starts_with('.') || name.contains(odd)
    {
        return Err(OpenError::Name { name: name.to_owned() });
    }
    Ok(())
}

pub(super) fn open_with(
    config: LogConfig,
    storage: Arc<dyn Storage>,
    clock: Clock,
    keeper: Keeper,
) -> Result<(Writer, Log), OpenError> {
    for dir in [&config.dir, &config.arch_dir] {
        storage.create_dir(dir).map_err(OpenError::io("make directory", dir))?;
    }
    let lock_path = config.dir.join(format!("{}.lock", config.name));
    let lock = storage.lock(&lock_path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked { path: lock_path.clone() },
        _ => OpenError::io("lock", &lock_path)(error),
    })?;
    for dir in [&config.dir, &config.arch_dir] {
        rename_old_files(&*storage, &config.name, dir).map_err(OpenError::io("rename in", dir))?;
    }
    let listings = read_listings(&config, &*storage)?;
    let started = how_it_ended(&config, &*storage, &listings.dir)?;
    let mut opening = Opening::new(&config, &*storage, clock.clone(), listings, Some(started));
    if !planted("open: finishing deletions") {
        opening.finish_deletions();
    }
    opening.remove_drafts()?;
    let (older, rotated_millis, opened_live) = loop {
        let older = opening.older()?;
        let rotated_millis = older.back().map_or(0, |segment| segment.rotated_millis);
        let (base, reach) =
            older.back().map_or((0, Timestamp::MIN), |segment| (segment.end(), segment.reach));
        match opening.live(base, reach)? {
            OpenedLive::PutAside => {
                opening.put_aside(rotated_millis)?;
            }
            OpenedLive::Live { live, index_file, head_due } => {
                break (older, rotated_millis, (live, index_file, head_due));
            }
        }
    };
    let (live, index_file, head_due) = opened_live;
    let opening = opening.finish();
    let floor = opening.floor(&older, &live, started);
    let durable = live.bytes;
    let shared = share(config, storage, older, live, opening);
    super::lock(&shared.state).floor = floor;
    // The manifests as they are now; one that cannot be written is tried again.
    shared.write_notes();
    let opened = AtOpening { durable, index_file, head_due, rotated_millis, floor, lock };
    let writer = Writer::new(Arc::clone(&shared), clock, keeper, opened);
    Ok((writer, Log { shared }))
}

/// What both manifests say.
pub(super) fn read_listings(
    config: &LogConfig,
    storage: &dyn Storage,
) -> Result<Listings, OpenError> {
    let read = |dir: &Path| match manifest::read(storage, dir, &config.name) {
        Ok(listing) => Ok(listing),
        Err(error) if error.kind() == io::ErrorKind::Unsupported || !is_lasting(&error) => {
            Err(OpenError::io("read the manifest in", dir)(error))
        }
        Err(error) => {
            // It can be lost: then nothing is known to be missing.
            tracing::error!(dir = %dir.display(), %error, "the manifest cannot be read");
            Ok(Listing { bad_lines: 1, ..Listing::default() })
        }
    };
    let dir = read(&config.dir)?;
    let arch = if config.arch_dir == config.dir { dir.clone() } else { read(&config.arch_dir)? };
    Ok(Listings { dir, arch })
}

/// How the log ended, so that one knows what can be trusted of it.
fn how_it_ended(
    config: &LogConfig,
    storage: &dyn Storage,
    listing: &Listing,
) -> Result<Started, OpenError> {
    let path = config.dir.join(&config.name);
    let head = match storage.open(&path, Access::Read) {
        Ok(file) => match read_full(&*file, 0, 8) {
            // It is put aside; nothing can be told by it.
            Err(error) if is_lasting(&error) => Vec::new(),
            head => head.map_err(OpenError::io("read", &path))?,
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if listing.boot.is_none() {
                return Ok(Started::New);
            }
            Vec::new()
        }
        Err(error) => return Err(OpenError::io("open", &path)(error)),
    };
    if head.ends_with(&CLOSED) {
        return Ok(Started::Clean);
    }
    let is_same_boot = listing.boot.is_some() && listing.boot == storage.boot_id();
    let is_same_boot = is_same_boot || planted("open: comparing the boot");
    Ok(if is_same_boot { Started::Kill } else { Started::PowerLoss })
}

/// What is found out while a log is opened.
struct Opening<'a> {
    config: &'a LogConfig,
    storage: &'a dyn Storage,
    clock: Clock,
    listings: Listings,
    /// How the log ended; `None` if it is only to be looked at: then nothing is written.
    started: Option<Started>,
    found: Outcome,
}

/// What outlives the opening.
#[derive(Default)]
struct Outcome {
    listing: Listing,
    /// Damage found, by segment's name.
    damage: Vec<(String, PathBuf, Damage)>,
    torn_bytes: u64,
    started: Started,
}

impl Outcome {
    /// What the next stamp must be later than.
    fn floor(
        &self,
        older: &VecDeque<Arc<Segment>>,
        live: &Live,
        started: Started,
    ) -> Option<Timestamp> {
        let listed = older.iter().filter(|s| s.summary.count > 0).map(|s| s.listed().summary.last);
        let in_log = listed.chain(older.back().map(|s| s.reach)).chain(live.last()).max();
        let in_log = in_log.filter(|last| *last > Timestamp::MIN);
        // Stamps may have been seen whose entries the power loss took, or retention.
        let seen = (started == Started::PowerLoss || live.last().is_none())
            .then_some(self.listing.reserved.max(self.listing.deleted))
            .flatten();
        // Once they were taken, no later end of a life makes that undone.
        let seen = seen.max(self.listing.floor);
        let seen = seen.filter(|seen| *seen > Timestamp::MIN);
        if planted("open: the reserved stamps") { in_log } else { in_log.max(seen) }
    }
}

fn share(
    config: LogConfig,
    storage: Arc<dyn Storage>,
    older: VecDeque<Arc<Segment>>,
    live: Live,
    opening: Outcome,
) -> Arc<Shared> {
    let has_records = older.iter().any(|segment| segment.summary.count > 0);
    let reach = older.back().map(|segment| segment.reach).filter(|_| has_records);
    let last = live.last().into_iter().chain(reach).max();
    let committed = Committed { offset: live.base + live.count(), last };
    let mut state = State::new(older, live, committed);
    state.deleted = opening.listing.deleted;
    // A damaged manifest may have said that the clock had leapt: the newest stamps say nothing against it then.
    state.is_clock_odd = opening.listing.is_clock_odd || opening.listing.bad_lines > 0;
    state.reserved = opening.listing.reserved.unwrap_or(Timestamp::MIN);
    let dir = storage.open_dir(&config.dir).unwrap_or_else(|_| Arc::new(NoFile));
    let shared = Arc::new(Shared::new(config, storage, dir, state, opening.started));
    shared.remember(&opening.listing);
    for (segment, path, damage) in opening.damage {
        shared.report_damage(&segment, &path, &damage);
    }
    shared.metrics.torn_bytes.add(opening.torn_bytes);
    shared
}

impl<'a> Opening<'a> {
    fn new(
        config: &'a LogConfig,
        storage: &'a dyn Storage,
        clock: Clock,
        listings: Listings,
        started: Option<Started>,
    ) -> Self {
        let mut found = Outcome { started: started.unwrap_or_default(), ..Outcome::default() };
        for (dir, listing) in [(&config.dir, &listings.dir), (&config.arch_dir, &listings.arch)] {
            if listing.bad_lines > 0 {
                let path = manifest::manifest_path(dir, &config.name);
                let what = "lines of the manifest are not as they were written";
                let damage = Damage { position: 0, bytes: listing.bad_lines, what };
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                found.damage.push((name, path, damage));
            }
        }
        Opening { config, storage, clock, listings, started, found }
    }

    fn finish(self) -> Outcome {
        Outcome { listing: self.listings.dir, ..self.found }
    }

    fn writes(&self) -> bool {
        self.started.is_some()
    }

    fn damaged(&mut self, segment: &str, path: &Path, damage: Damage) {
        self.found.damage.push((segment.to_owned(), path.to_owned(), damage));
    }

    /// Goes on with deletions that a crash interrupted.
    fn finish_deletions(&mut self) {
        let in_dir = self.listings.dir.dropping.iter().map(|name| self.config.dir.join(name));
        let in_arch =
            self.listings.arch.dropping.iter().map(|name| self.config.arch_dir.join(name));
        let mut gone = Vec::new();
        for path in in_dir.chain(in_arch) {
            match remove_with_index(self.storage, &path) {
                Ok(()) => gone.push(path),
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "not deleted; tried again next time");
                }
            }
        }
        for listing in [&mut self.listings.dir, &mut self.listings.arch] {
            listing.dropping.retain(|name| !gone.iter().any(|path| path.ends_with(name)));
        }
    }

    /// Removes what a crash left half written.
    fn remove_drafts(&mut self) -> Result<(), OpenError> {
        for dir in [&self.config.dir, &self.config.arch_dir] {
            let listed = self.storage.list(dir).map_err(OpenError::io("list", dir))?;
            for file in listed.iter().filter(|file| is_draft(&self.config.name, &file.name)) {
                let path = dir.join(&file.name);
                if let Err(error) = self.storage.remove(&path) {
                    tracing::debug!(draft = %path.display(), %error, "not removed");
                }
            }
        }
        Ok(())
    }

    /// The rotated segments and archives, oldest first. Indexes are made where they are missing, and what a crash left
    /// of archiving is tidied up.
    fn older(&mut self) -> Result<VecDeque<Arc<Segment>>, OpenError> {
        let mut older: VecDeque<Arc<Segment>> = VecDeque::new();
        for mut item in inventory(self.config, self.storage, &self.listings)? {
            // The archive's name may not be durable yet.
            if let Some(leftover) = item.leftover.take_if(|_| self.writes())
                && let Err(error) = (self.storage.sync_dir(&self.config.arch_dir))
                    .and_then(|()| remove_with_index(self.storage, &leftover))
            {
                tracing::warn!(segment = %leftover.display(), %error, "archived segment not removed");
            }
            if self.writes() && item.is_original_live {
                item.location = take_over(self.config, self.storage, &item)?;
            }
            let (base, reach) =
                older.back().map_or((0, Timestamp::MIN), |segment| (segment.end(), segment.reach));
            older.push_back(Arc::new(self.older_one(item, base, reach)));
        }
        Ok(older)
    }

    fn older_one(&mut self, item: Item, base: u64, reach: Timestamp) -> Segment {
        let rotated = Timestamp::from_micros(item.rotated_millis.saturating_mul(1000));
        let path = item.location.path().to_owned();
        let mut new = NewSegment {
            base,
            rotated_millis: item.rotated_millis,
            summary: Summary {
                bytes: item.disk_bytes,
                count: 0,
                first: rotated,
                last: rotated,
                crc: 0,
            },
            listed: Member::default(),
            reach,
            written: AgeFrom::Wall(rotated),
            rotated: AgeFrom::Wall(rotated),
            disk_bytes: item.disk_bytes,
            index: None,
            is_partial: false,
            unread: None,
            location: item.location,
            name: item.name,
        };
        if let (Location::Missing(_), Some(listed)) = (&new.location, item.listed) {
            let damage = Damage { position: 0, bytes: listed.summary.bytes, what: "it is missing" };
            if !planted("open: reporting what is missing") {
                self.damaged(&new.name, &path, damage);
            }
            (new.summary, new.listed) = (listed.summary, listed);
            new.written = AgeFrom::Wall(listed.summary.last);
            return Segment::new(new);
        }
        if let Some(summary) = item.summary {
            // Nothing but the end of the index was read. If that is what it was, so is all before it.
            let is_as_listed = item.listed.is_some_and(|listed| {
                listed.summary == summary && listed.disk_bytes == item.disk_bytes
            });
            if is_as_listed {
                (new.summary, new.listed) = (summary, item.listed.unwrap_or_default());
                new.written = AgeFrom::Wall(summary.last);
                return Segment::new(new);
            }
            if let Ok(parsed) = read_index(self.storage, &path, summary.bytes)
                && parsed.sealed.is_some()
            {
                let records_crc = parsed.index.content_crc();
                let found = Member { disk_bytes: item.disk_bytes, summary, records_crc };
                new.listed = self.listed(&new.name, &path, found, item.listed);
                new.summary = summary;
                new.written = AgeFrom::Wall(summary.last);
                return Segment::new(new);
            }
        }
        let latest = latest_stamp(self.clock.now(), reach.max(self.reserved()));
        tracing::info!(segment = %path.display(), bytes = item.disk_bytes, "making its index");
        let foreign = item.may_be_foreign;
        match look_at(self.storage, &new.location, &new.name, rotated, latest, foreign) {
            Ok(looked) => self.completed(new, looked, item.listed),
            Err(error) => {
                // One unreadable file is no reason not to open the others, nor to forget it.
                tracing::error!(segment = %path.display(), %error, "cannot be read; tried again");
                if is_lasting(&error) {
                    let bytes = item.disk_bytes;
                    let damage = Damage { position: 0, bytes, what: UNREADABLE };
                    self.damaged(&new.name, &path, damage);
                }
                if planted("open: unreadable is not empty") {
                    new.index = Some(Arc::default());
                    return Segment::new(new);
                }
                new.unread = Some(error.to_string().into());
                if let Some(listed) = item.listed {
                    new.listed = listed;
                    new.summary.count = listed.summary.count;
                }
                Segment::new(new)
            }
        }
    }

    /// Whether the kernel may hold what a failed sync could not write as if it were written: it is the same one. After a
    /// power loss too, for a start since then may have failed before the manifest said which boot this is.
    fn may_have_been_forgotten(&self) -> bool {
        match self.started {
            Some(Started::Kill) => true,
            Some(Started::PowerLoss) => !planted("open: writing again after a start that failed"),
            _ => false,
        }
    }

    fn reserved(&self) -> Timestamp {
        self.listings.dir.reserved.unwrap_or(Timestamp::MIN)
    }

    /// What the manifest is to say of a segment: what it says, or what was found if it says nothing. What does not
    /// agree is damage, once.
    fn listed(&mut self, name: &str, path: &Path, found: Member, listed: Option<Member>) -> Member {
        let Some(listed) = listed else { return found };
        match compare(&found, &listed).filter(|_| !planted("open: holding against the manifest")) {
            Some(damage) => {
                self.damaged(name, path, damage);
                Member { summary: Summary { crc: found.summary.crc, ..listed.summary }, ..listed }
            }
            None => found,
        }
    }

    /// A segment that had no complete index gets one, once its bytes are durable.
    fn completed(
        &mut self,
        mut new: NewSegment,
        mut looked: Looked,
        listed: Option<Member>,
    ) -> Segment {
        let path = new.location.path().to_owned();
        let is_file = matches!(new.location, Location::File(_));
        // Its index cannot be read now, and tells perhaps what lies behind damage; or how much there was, and no manifest
        // can be read either. The next start looks again.
        let bad_lines = self.listings.dir.bad_lines + self.listings.arch.bad_lines;
        let is_unknown = looked.index_unread && listed.is_none();
        let is_unknown = is_unknown && (looked.torn.is_some() || bad_lines > 0);
        let is_unknown = is_unknown && !planted("open: nobody tells how much there was");
        let torn = looked.torn.take();
        if let Some(torn) = torn {
            let is_ours = looked.had_index && listed.is_none() && !is_unknown;
            let is_cut = is_file && self.writes() && is_ours;
            match is_cut.then(|| self.cut_torn(&path, &torn)) {
                Some(Ok(())) => {
                    looked.summary.bytes = torn.position;
                    new.disk_bytes = torn.position;
                }
                _ => looked.damage.push(torn),
            }
        }
        for damage in std::mem::take(&mut looked.damage) {
            self.damaged(&new.name, &path, damage);
        }
        let found = looked.member(new.disk_bytes);
        let mut found = found;
        let is_less =
            looked.index_unread && listed.is_some_and(|listed| compare(&found, &listed).is_some());
        if looked.is_partial || is_less || is_unknown {
            // What is left out may be read another time; what was found is as durable after a sync as the rest.
            if self.writes()
                && let Err(error) = self.settle(&new.location, looked.durable_end)
            {
                tracing::warn!(segment = %path.display(), %error, "what was not synced of it may not be durable");
            }
            new.index = Some(Arc::new(looked.index));
            new.is_partial = true;
            new.summary = found.summary;
            new.written = AgeFrom::Wall(found.summary.last);
            new.listed = listed.unwrap_or_default();
            return Segment::new(new);
        }
        if self.writes() {
            let from = looked.durable_end;
            let written = self.settle(&new.location, from).and_then(|()| {
                sealed_index::write(self.storage, &path, looked.summary, &looked.index)
            });
            match written {
                Ok(summary) => found.summary = summary,
                Err(error) => {
                    tracing::warn!(segment = %path.display(), %error, "its index could not be written");
                    new.index = Some(Arc::new(looked.index));
                }
            }
        } else {
            new.index = Some(Arc::new(looked.index));
        }
        new.summary = found.summary;
        new.written = AgeFrom::Wall(found.summary.last);
        new.listed = self.listed(&new.name, &path, found, listed);
        Segment::new(new)
    }

    /// Makes what lies behind the durable mark durable: an index is believed from then on.
    fn settle(&self, location: &Location, durable_end: u64) -> io::Result<()> {
        let Location::File(path) = location else { return Ok(()) };
        if planted("open: settling a rotated segment") {
            return Ok(());
        }
        if self.may_have_been_forgotten() {
            let file = self.storage.open(path, Access::Update)?;
            rewrite(&*file, durable_end)?;
            return file.sync();
        }
        self.storage.open(path, Access::Read)?.sync()
    }

    /// Keeps a torn tail aside and cuts it off.
    fn cut_torn(&mut self, path: &Path, torn: &Damage) -> Result<(), OpenError> {
        let file = self.storage.open(path, Access::Update).map_err(OpenError::io("open", path))?;
        keep_torn(self.config, self.storage, &self.clock, &*file, torn)?;
        file.set_bytes(torn.position).map_err(OpenError::io("cut", path))?;
        self.found.torn_bytes += torn.bytes;
        Ok(())
    }

    /// The live segment as it is; what is torn of it is left out.
    fn read_live(&mut self, base: u64) -> Result<Live, OpenError> {
        let path = self.config.dir.join(&self.config.name);
        let file = match self.storage.open(&path, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Arc::new(NoFile),
            Err(error) => return Err(OpenError::io("open", &path)(error)),
        };
        let mut bytes = file.bytes().map_err(OpenError::io("read", &path))?;
        let head = read_full(&*file, 0, 8).map_err(OpenError::io("read", &path))?;
        let mut parsed = read_index(self.storage, &path, bytes).unwrap_or_default();
        let is_log = head.starts_with(&LOG_MAGIC) || bytes <= HEAD_BYTES;
        if !is_log {
            // Its index has to prove that it is one.
            parsed.durable.end = 0;
        } else if head.ends_with(&CLOSED) {
            parsed.durable.end = bytes;
        }
        let mut source = Source::File(Arc::clone(&file));
        let latest = latest_stamp(self.clock.now(), self.reserved());
        let trust = Trust { resynchronise: false, latest };
        let found =
            examine(&mut source, &parsed, bytes, &trust).map_err(OpenError::io("read", &path))?;
        if !is_log && found.same == 0 {
            return Err(OpenError::NotALog { path, found: head });
        }
        for damage in found.damage {
            self.damaged(&self.config.name, &path, damage);
        }
        if let Some(torn) = found.torn {
            self.found.torn_bytes += torn.bytes;
            bytes = torn.position;
        }
        Ok(Live { file, path, base, bytes, index: found.index, open: found.open })
    }

    /// The live segment, repaired and marked as opened, its index file, and whether its head is still to be written.
    fn live(&mut self, base: u64, reach: Timestamp) -> Result<OpenedLive, OpenError> {
        let (config, storage) = (self.config, self.storage);
        let path = config.dir.join(&config.name);
        let file = match storage.open(&path, Access::Update) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.report_short(&path, 0, reach)?;
                return self.new_live(base);
            }
            Err(error) => return Err(OpenError::io("open", &path)(error)),
        };
        let bytes = file.bytes().map_err(OpenError::io("read", &path))?;
        self.report_short(&path, bytes, reach)?;
        let head = match read_full(&*file, 0, 8) {
            Err(error) if is_lasting(&error) => return Ok(OpenedLive::PutAside),
            head => head.map_err(OpenError::io("read", &path))?,
        };
        // A new segment's head may not have reached the disk, wholly or in part, when the power failed.
        let due = [LOG_MAGIC, OPENED].concat();
        let unfinished = head.iter().zip(&due).all(|(found, due)| [0, *due].contains(found));
        if unfinished && bytes <= HEAD_BYTES {
            return self.new_live(base);
        }
        let mut parsed = self.live_index(&path, bytes, reach)?;
        let is_log = head.starts_with(&LOG_MAGIC) || unfinished;
        if !is_log {
            // Its index has to prove that it is one: nothing is taken on trust.
            parsed.durable.end = 0;
        } else if head.ends_with(&CLOSED) {
            // The writer marks a segment closed only after everything in it is durable.
            parsed.durable.end = bytes;
        }
        let mut source = Source::File(Arc::clone(&file));
        let latest = latest_stamp(self.clock.now(), reach.max(self.reserved()));
        let trust = Trust { resynchronise: false, latest };
        let found =
            examine(&mut source, &parsed, bytes, &trust).map_err(OpenError::io("read", &path))?;
        if !is_log && found.same == 0 {
            return Err(OpenError::NotALog { path, found: head });
        }
        let is_empty = found.index.slots().is_empty() && found.open.is_none();
        let is_unknown = parsed.head == Head::Unreadable && found.torn.is_some();
        let is_unknown = is_unknown && !planted("open: cutting off what an index may know of");
        if is_empty && !found.damage.is_empty() || found.undecided || is_unknown {
            // Nothing of it can be read, and what has no records is not rotated. Or something may be read another time,
            // its index perhaps, which tells then how much of it is sound.
            return Ok(OpenedLive::PutAside);
        }
        let mut bytes = bytes;
        if let Some(torn) = found.torn {
            match keep_torn(config, storage, &self.clock, &*file, &torn) {
                Ok(()) => {}
                Err(OpenError::Io { source, .. }) if is_full(&source) || is_lasting(&source) => {
                    return Ok(OpenedLive::PutAside);
                }
                Err(error) => return Err(error),
            }
            unless("open: cutting off a torn tail", || file.set_bytes(torn.position))
                .map_err(OpenError::io("cut", &path))?;
            self.found.torn_bytes += torn.bytes;
            bytes = torn.position;
        }
        for damage in found.damage {
            self.damaged(&config.name, &path, damage);
        }
        if self.may_have_been_forgotten() {
            unless("open: writing again after a kill", || rewrite(&*file, parsed.durable.end))
                .map_err(OpenError::io("write", &path))?;
        }
        let (mark, at) =
            if head.starts_with(&LOG_MAGIC) { (&OPENED[..], 4) } else { (&due[..], 0) };
        write_full(&*file, mark, at)
            .and_then(|()| unless("open: the segment", || file.sync()))
            .map_err(OpenError::io("write", &path))?;
        self.remove_strangers(None)?;
        let index_file = rewrite_index(storage, &path, &found.index, bytes)
            .inspect_err(
                |error| tracing::warn!(segment = %path.display(), %error, "no index for now"),
            )
            .ok();
        unless("open: the directory", || storage.sync_dir(&config.dir))
            .map_err(OpenError::io("sync", &config.dir))?;
        let live = Live { file, path, base, bytes, index: found.index, open: found.open };
        Ok(OpenedLive::Live { live, index_file, head_due: false })
    }

    /// A new live segment. On a full disk its head is written with the first record.
    fn new_live(&self, base: u64) -> Result<OpenedLive, OpenError> {
        let path = self.config.dir.join(&self.config.name);
        let file = create_fresh(self.storage, &path).map_err(OpenError::io("make", &path))?;
        self.remove_strangers(Some(&path))?;
        let written = write_full(&*file, &[LOG_MAGIC, OPENED].concat(), 0);
        let head_due = written.as_ref().is_err_and(is_full);
        if !head_due {
            written
                .and_then(|()| file.sync())
                .and_then(|()| self.storage.sync_dir(&self.config.dir))
                .map_err(OpenError::io("write", &path))?;
        }
        let live = Live::empty(file, path, base);
        Ok(OpenedLive::Live { live, index_file: None, head_due })
    }

    /// Says of a live segment of so many bytes that it is shorter than it was, if its index knows of a sync of more.
    fn report_short(&mut self, path: &Path, bytes: u64, reach: Timestamp) -> Result<(), OpenError> {
        let parsed = read_index_or_none(self.storage, path, u64::MAX)
            .map_err(OpenError::io("read", &index_path(path)))?;
        let is_ours = parsed.first().is_some_and(|first| first > reach);
        if let Some(damage) = missing_behind(&parsed, bytes).filter(|_| is_ours) {
            self.damaged(&self.config.name, path, damage);
        }
        Ok(())
    }

    /// The live segment's index; that of a rotation which a crash interrupted gets its name back.
    fn live_index(
        &self,
        path: &Path,
        bytes: u64,
        reach: Timestamp,
    ) -> Result<ParsedIndex, OpenError> {
        let (config, storage) = (self.config, self.storage);
        let read = |segment: &Path| {
            read_index_or_none(storage, segment, bytes)
                .map_err(OpenError::io("read", &index_path(segment)))
        };
        let is_ours = |parsed: &ParsedIndex| parsed.first().is_some_and(|first| first > reach);
        let parsed = read(path)?;
        if is_ours(&parsed) || bytes <= HEAD_BYTES {
            return Ok(parsed);
        }
        // Stamps rise: an index whose first is not after the newest rotated segment's last is that one's. And one whose
        // first is not after what retention has deleted is left of that, because it could not be removed.
        let is_stranger = parsed.first().is_some();
        let deleted = self.listings.dir.deleted.filter(|_| !planted("open: what deletion left"));
        let is_left = |parsed: &ParsedIndex| parsed.first() <= deleted;
        let listed = storage.list(&config.dir).map_err(OpenError::io("list", &config.dir))?;
        for rotated in without_segment(&config.name, &listed) {
            let rotated = config.dir.join(rotated);
            let parsed = read(&rotated)?;
            if is_ours(&parsed) && !is_left(&parsed) {
                let (from, to) = (index_path(&rotated), index_path(path));
                storage.rename(&from, &to).map_err(OpenError::io("rename", &from))?;
                return Ok(parsed);
            }
        }
        Ok(if is_stranger { ParsedIndex::default() } else { parsed })
    }

    /// Removes indexes of records that a power loss took: those of rotated segments that are not there, and what lies
    /// beside a live segment that is a `new` one. Else the next start might take them for the index of what is
    /// appended now. The directory is to be synced before that is.
    fn remove_strangers(&self, new: Option<&Path>) -> Result<(), OpenError> {
        if planted("open: strangers' indexes") {
            return Ok(());
        }
        let (config, storage) = (self.config, self.storage);
        let listed = storage.list(&config.dir).map_err(OpenError::io("list", &config.dir))?;
        let rotated = without_segment(&config.name, &listed);
        let rotated = rotated.into_iter().map(|name| index_path(&config.dir.join(name)));
        for index in rotated.chain(new.map(index_path)) {
            match storage.remove(&index) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(OpenError::io("remove", &index)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Gives the live segment the name of a rotated one: for what cannot be repaired where it is.
    fn put_aside(&self, newest_millis: u64) -> Result<(), OpenError> {
        let (config, storage) = (self.config, self.storage);
        let path = config.dir.join(&config.name);
        let millis = (self.clock.now().micros() / 1000).max(newest_millis + 1);
        let to = config.dir.join(rotated_name(&config.name, millis));
        match storage.rename(&index_path(&path), &index_path(&to)) {
            // That it is ours is known by its index, though there is nothing in that.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                drop(create_fresh(storage, &index_path(&to)));
            }
            other => other.map_err(OpenError::io("rename", &path))?,
        }
        storage
            .rename(&path, &to)
            .and_then(|()| storage.sync_dir(&config.dir))
            .map_err(OpenError::io("rename", &path))
    }
}

/// What became of the live segment.
enum OpenedLive {
    Live {
        live: Live,
        index_file: Option<Arc<dyn StorageFile>>,
        head_due: bool,
    },
    /// It cannot be read, or has a torn tail that the disk has no room to keep a copy of.
    PutAside,
}

/// Writes what lies behind `from` once more. A sync that failed may have marked it as written in memory; only a write
/// has the next sync write it. The same holds for where the file ends.
fn rewrite(file: &dyn StorageFile, from: u64) -> io::Result<()> {
    unless("open: cutting again after a kill", || file.set_bytes(file.bytes()?))?;
    let mut at = from.max(HEAD_BYTES);
    loop {
        match read_full(file, at, 1 << 20) {
            Ok(part) if part.is_empty() => return Ok(()),
            Ok(part) => {
                write_full(file, &part, at)?;
                at += part.len() as u64;
            }
            // What cannot be read is not in memory either. Around it, sector by sector.
            Err(error) if is_lasting(&error) => {
                let length = file.bytes()?;
                if at >= length {
                    return Ok(());
                }
                let end = length.min(at + (1 << 20));
                while at < end {
                    let behind = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
                    let wanted = usize::try_from(behind - at).expect("a sector");
                    match read_full(file, at, wanted) {
                        Err(error) if is_lasting(&error) => {}
                        part => write_full(file, &part?, at)?,
                    }
                    at = behind;
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// What a disk reads wholly or not at all.
const SECTOR_BYTES: u64 = 512;

/// Gives the original's live file the name of a rotated segment; it is not written to.
fn take_over(
    config: &LogConfig,
    storage: &dyn Storage,
    item: &Item,
) -> Result<Location, OpenError> {
    let (from, to) = (item.location.path(), config.dir.join(&item.name));
    storage.rename(from, &to).map_err(OpenError::io("rename", from))?;
    storage.sync_dir(&config.dir).map_err(OpenError::io("sync", &config.dir))?;
    Ok(Location::File(to))
}

/// Keeps the bytes of a torn tail beside the segment before they are cut off.
fn keep_torn(
    config: &LogConfig,
    storage: &dyn Storage,
    clock: &Clock,
    file: &dyn StorageFile,
    torn: &Damage,
) -> Result<(), OpenError> {
    let millis = clock.now().micros() / 1000;
    let name = format!("{}.torn-{}-{millis}", config.name, torn.position);
    let path = config.dir.join(name);
    tracing::warn!(
        log = %config.name, position = torn.position, bytes = torn.bytes, what = torn.what,
        kept = %path.display(), "torn tail cut off"
    );
    let keep = || -> io::Result<()> {
        if planted("open: keeping a torn tail") {
            return Ok(());
        }
        let aside = create_fresh(storage, &path)?;
        let mut at = 0;
        while at < torn.bytes {
            let part = usize::try_from((torn.bytes - at).min(1 << 20)).expect("at most 1 MiB");
            let part = read_full(file, torn.position + at, part)?;
            if part.is_empty() {
                break;
            }
            write_full(&*aside, &part, at)?;
            at += part.len() as u64;
        }
        aside.sync()?;
        storage.sync_dir(&config.dir)
    };
    keep().map_err(OpenError::io("keep a torn tail in", &path))
}

/// Makes the live segment's index file hold exactly `index`.
fn rewrite_index(
    storage: &dyn Storage,
    segment: &Path,
    index: &Index,
    durable: u64,
) -> io::Result<Arc<dyn StorageFile>> {
    let path = index_path(segment);
    let bytes = index.to_file(durable);
    if let Ok(file) = storage.open(&path, Access::Update)
        && file.bytes()? >= bytes.len() as u64
        && read_full(&*file, 0, bytes.len())? == bytes
    {
        file.set_bytes(bytes.len() as u64)?;
        file.sync()?;
        return Ok(file);
    }
    let draft = draft_path(&path);
    let file = create_fresh(storage, &draft)?;
    write_full(&*file, &bytes, 0)?;
    unless("open: the index", || file.sync())?;
    storage.rename(&draft, &path)?;
    Ok(file)
}
