//! Checking every byte of a log that nobody writes to.

use std::io;
use std::path::{Path, PathBuf};

use super::index::{Durable, ParsedIndex};
use super::inventory::{Item, Listings, inventory};
use super::look::compare;
use super::manifest::{Line, Manifest, Member, manifest_path};
use super::open::read_listings;
use super::record::{HEAD_BYTES, LOG_MAGIC};
use super::repair::{Damage, Trust, examine, missing_behind};
use super::segment::read_index;
use super::shared::Manifests;
use super::source::{Location, Source};
use super::storage::{Access, Storage, read_full};
use super::{LogConfig, OpenError};
use crate::time::Timestamp;

/// What a log turned out to hold, segment by segment, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// The archives and segments, those that are missing too; the live one, if there is one, last.
    pub segments: Vec<VerifiedSegment>,
    /// Manifests that are not as they were written, and how many lines of each.
    pub manifests: Vec<(PathBuf, u64)>,
    /// Whether the log is open for writing: then what is written just now is not looked at.
    pub is_running: bool,
}

impl Verified {
    /// Whether nothing is damaged or missing but what an operator has accepted. A torn tail of the live segment counts
    /// as damage: opening cuts it off.
    pub fn is_sound(&self) -> bool {
        self.manifests.is_empty() && self.segments.iter().all(VerifiedSegment::is_sound)
    }

    /// Records in all.
    pub fn events(&self) -> u64 {
        self.segments.iter().map(|segment| segment.events).sum()
    }

    /// Bytes of segments in all, unpacked.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

/// What was found in one segment or archive.
#[derive(Clone, Debug)]
pub struct VerifiedSegment {
    /// The segment's own name.
    pub name: String,
    /// The file that was looked through.
    pub path: PathBuf,
    /// Length of the segment, unpacked.
    pub bytes: u64,
    /// Its undamaged records.
    pub events: u64,
    /// The first and the latest timestamp.
    pub interval: Option<(Timestamp, Timestamp)>,
    /// What its index was worth.
    pub index: IndexState,
    /// What is not as it was written, with positions in the unpacked segment.
    pub damage: Vec<Damage>,
    /// How much of that an operator has accepted; it is not among `damage`.
    pub accepted: usize,
    /// Why it could not be read, or only in part.
    pub unreadable: Option<String>,
    /// What it was found to hold, if it is complete.
    found: Option<Member>,
    /// Whether the manifest lists it, and it is not there.
    is_missing: bool,
}

impl VerifiedSegment {
    /// Whether the manifest lists it, and it is not there.
    pub fn is_missing(&self) -> bool {
        self.is_missing
    }

    /// Whether nothing is wrong with it but what an operator has accepted.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && self.index != IndexState::Damaged && self.unreadable.is_none()
    }
}

/// What an index is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// It covers its segment.
    Complete,
    /// It covers a part; for the live segment that is as it should be.
    Partial,
    /// Some of it is not as it was written; the next start, or the running node, makes it anew.
    Damaged,
    /// There is none, or it is of no use: checksums could not be compared, only the structure was checked.
    Missing,
}

/// Checks every record and checksum of a log without changing anything, and whether all that ought to be there is.
/// `progress` is told the bytes done.
///
/// Beside a node that writes to the log, what it removes or writes meanwhile is no damage.
///
/// Costs reading all of it, archives inflated.
///
/// # Errors
///
/// [`OpenError`] if the directories cannot be listed; a file that cannot be read is part of the answer.
pub fn verify(
    config: &LogConfig,
    storage: &dyn Storage,
    progress: &mut dyn FnMut(u64),
) -> Result<Verified, OpenError> {
    let is_running = is_running(config, storage);
    let listings = read_listings(config, storage)?;
    let mut verified = Verified { is_running, ..Verified::default() };
    if !is_running {
        for (dir, listing) in [(&config.dir, &listings.dir), (&config.arch_dir, &listings.arch)] {
            let path = manifest_path(dir, &config.name);
            let is_new = verified.manifests.iter().all(|(other, _)| *other != path);
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let noted = listings.dir.damage.get(&(name, 0)).filter(|noted| !noted.known);
            let lines = listing.bad_lines.max(noted.map_or(0, |noted| noted.bytes));
            if lines > 0 && is_new {
                verified.manifests.push((path, lines));
            }
        }
    }
    let mut done = 0;
    for item in inventory(config, storage, &listings)? {
        let segment = verify_item(storage, &item);
        if is_running && !segment.is_sound() && has_moved(config, storage, &item)? {
            continue;
        }
        done += segment.bytes;
        verified.segments.push(accepted(segment, &listings));
        progress(done);
    }
    let path = config.dir.join(&config.name);
    if let Ok(file) = storage.open(&path, Access::Read) {
        let location = Location::Open(file, path);
        let segment = verify_one(storage, &location, &config.name, Kind::Live { is_running });
        progress(done + segment.bytes);
        verified.segments.push(accepted(segment, &listings));
    }
    Ok(verified)
}

/// Says of everything that `verified` found damaged or missing that an operator knows of it: it is not reported again.
/// Writes the manifests and nothing else.
///
/// # Errors
///
/// [`OpenError`]; [`OpenError::Locked`] if the log is open for writing.
pub fn accept(
    config: &LogConfig,
    storage: &dyn Storage,
    verified: &Verified,
) -> Result<(), OpenError> {
    let lock_path = config.dir.join(format!("{}.lock", config.name));
    let _lock = storage.lock(&lock_path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked { path: lock_path.clone() },
        _ => OpenError::io("lock", &lock_path)(error),
    })?;
    let mut listings = read_listings(config, storage)?;
    (listings.dir.bad_lines, listings.arch.bad_lines) = (0, 0);
    listings.dir.damage.values_mut().for_each(|noted| noted.known = true);
    let manifests = Manifests::new(config);
    let is_one = config.arch_dir == config.dir;
    for segment in verified.segments.iter().filter(|segment| !segment.is_sound()) {
        let file = segment.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for damage in &segment.damage {
            let location = (damage.position, damage.bytes);
            listings.dir.apply(Line::Known(segment.name.clone(), location));
        }
        let location = match segment.path.extension().is_some_and(|end| end == "zip") {
            true => Location::Archive(segment.path.clone()),
            false => Location::File(segment.path.clone()),
        };
        let listing = match manifests.is_in_arch(&location) {
            true => &mut listings.arch,
            false => &mut listings.dir,
        };
        if segment.is_missing {
            listing.apply(Line::Gone(file));
        } else if let Some(found) = segment.found {
            listing.apply(Line::Have(file, found));
        }
    }
    let write = |manifest: &Manifest, dir: &Path, listing| {
        manifest.write(storage, listing).map_err(OpenError::io("write the manifest in", dir))
    };
    write(&manifests.dir, &config.dir, &listings.dir)?;
    if is_one { Ok(()) } else { write(&manifests.arch, &config.arch_dir, &listings.arch) }
}

/// Whether somebody has the log open for writing, as far as can be told without writing.
fn is_running(config: &LogConfig, storage: &dyn Storage) -> bool {
    storage.is_locked(&config.dir.join(format!("{}.lock", config.name)))
}

/// Whether a running node has archived or deleted a segment meanwhile.
fn has_moved(config: &LogConfig, storage: &dyn Storage, item: &Item) -> Result<bool, OpenError> {
    let now = inventory(config, storage, &read_listings(config, storage)?)?;
    let same = now.iter().find(|now| now.name == item.name);
    Ok(same.is_none_or(|same| same.location.path() != item.location.path()))
}

/// Without the damage that an operator has accepted.
fn accepted(mut segment: VerifiedSegment, listings: &Listings) -> VerifiedSegment {
    // What was found before and does not show any more, because an index was made anew, is on record.
    let noted = listings.dir.damage.iter().filter(|((name, _), _)| *name == segment.name);
    for ((_, position), noted) in noted {
        if segment.damage.iter().all(|damage| damage.position != *position) {
            let (position, bytes, what) = (*position, noted.bytes, "it was found damaged before");
            segment.damage.push(Damage { position, bytes, what });
        }
    }
    let before = segment.damage.len();
    segment.damage.retain(|damage| !listings.dir.is_known(&segment.name, damage.position));
    segment.accepted = before - segment.damage.len();
    if segment.damage.is_empty() && segment.accepted > 0 {
        segment.unreadable = None;
    }
    segment
}

/// What kind of segment is looked at.
#[derive(Clone, Copy)]
enum Kind<'a> {
    Rotated { listed: Option<&'a Member>, disk_bytes: u64, may_be_foreign: bool },
    Live { is_running: bool },
}

fn verify_item(storage: &dyn Storage, item: &Item) -> VerifiedSegment {
    let kind = Kind::Rotated {
        listed: item.listed.as_ref(),
        disk_bytes: item.disk_bytes,
        may_be_foreign: item.may_be_foreign,
    };
    verify_one(storage, &item.location, &item.name, kind)
}

fn verify_one(
    storage: &dyn Storage,
    location: &Location,
    name: &str,
    kind: Kind<'_>,
) -> VerifiedSegment {
    let mut verified = VerifiedSegment {
        name: name.to_owned(),
        path: location.path().to_owned(),
        bytes: 0,
        events: 0,
        interval: None,
        index: IndexState::Missing,
        damage: Vec::new(),
        accepted: 0,
        unreadable: None,
        found: None,
        is_missing: matches!(location, Location::Missing(_)),
    };
    if let (true, Kind::Rotated { listed: Some(listed), .. }) = (verified.is_missing, kind) {
        let (bytes, what) = (listed.summary.bytes, "it is missing");
        verified.damage.push(Damage { position: 0, bytes, what });
        return verified;
    }
    if let Err(error) = look_at(storage, location, name, kind, &mut verified) {
        let (bytes, what) = (verified.bytes, "file cannot be read");
        verified.damage.push(Damage { position: 0, bytes, what });
        verified.unreadable = Some(error.to_string());
    }
    verified
}

fn look_at(
    storage: &dyn Storage,
    location: &Location,
    name: &str,
    kind: Kind<'_>,
    verified: &mut VerifiedSegment,
) -> io::Result<()> {
    // The index first: what a running node adds meanwhile it does not cover.
    let begun = match kind {
        Kind::Live { is_running: true } => read_index(storage, location.path(), u64::MAX).ok(),
        _ => None,
    };
    let mut source = Source::open(storage, location, name)?;
    let mut bytes = source.bytes()?;
    if let Some(begun) = begun {
        bytes = begun.index.end().unwrap_or(HEAD_BYTES).min(bytes);
    }
    verified.bytes = bytes;
    let mut parsed = read_index(storage, location.path(), bytes).unwrap_or_default();
    source.use_restarts(&parsed.index);
    if let Kind::Live { .. } = kind {
        verified.damage.extend(missing_behind(&parsed, bytes));
    }
    // Nothing is taken on trust.
    parsed.durable = Durable::default();
    verified.index = index_state(&parsed, bytes);
    if let Source::File(file) = &source
        && bytes >= HEAD_BYTES
        && read_full(&**file, 0, 4)? != LOG_MAGIC
    {
        verified.damage.push(Damage { position: 0, bytes: HEAD_BYTES, what: "no head of a log" });
    }
    let may_be_foreign = matches!(kind, Kind::Rotated { may_be_foreign: true, .. });
    let resynchronise = may_be_foreign && parsed.head == super::index::Head::Absent;
    let trust = Trust { resynchronise, latest: Timestamp::MAX };
    let mut found = examine(&mut source, &parsed, bytes, &trust)?;
    found.close();
    verified.interval = found.index.interval();
    let damaged = |position: u64| found.damage.iter().any(|damage| damage.position == position);
    let sound = found.index.slots().iter().filter(|slot| !damaged(slot.stretch.position));
    verified.events = sound.map(|slot| u64::from(slot.stretch.count)).sum();
    verified.damage.append(&mut found.damage);
    verified.damage.extend(found.torn);
    if let Source::Archive(archive) = &mut source
        && !archive.matches_crc()?
    {
        let what = "checksum of the archive does not match";
        // Where a stretch is damaged too, that says more.
        if verified.damage.is_empty() {
            verified.damage.push(Damage { position: 0, bytes, what });
        }
    }
    if let Kind::Rotated { listed, disk_bytes, .. } = kind {
        let (count, interval) = (found.index.count(), found.index.interval());
        let (first, last) = interval.unwrap_or_default();
        let crc = parsed.sealed.map_or(0, |sealed| sealed.crc);
        let summary = super::index::Summary { bytes, count, first, last, crc };
        let records_crc = found.index.content_crc();
        let member = Member { disk_bytes, summary, records_crc };
        if let Some(listed) = listed
            && (count > 0 || listed.summary.count > 0)
            && let Some(wrong) = compare(&member, listed)
        {
            // Said by the position of what is missing, or for the whole.
            if verified.damage.iter().all(|damage| damage.position != wrong.position) {
                verified.damage.push(wrong);
            }
        }
        verified.found = Some(member);
    }
    Ok(())
}

fn index_state(parsed: &ParsedIndex, bytes: u64) -> IndexState {
    if parsed.is_damaged() {
        IndexState::Damaged
    } else if parsed.index.end() == Some(bytes)
        || (parsed.sealed.is_some() && parsed.index.end().is_none())
    {
        IndexState::Complete
    } else if parsed.index.slots().is_empty() {
        IndexState::Missing
    } else {
        IndexState::Partial
    }
}
