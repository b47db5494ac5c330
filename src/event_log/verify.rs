//! Checking every byte of a log that nobody writes to.

use std::io;
use std::path::PathBuf;

use super::index::{Durable, Parsed};
use super::inventory::inventory;
use super::record::{HEAD_BYTES, LOG_MAGIC};
use super::repair::{Damage, examine};
use super::segment::{Place, Source, read_index};
use super::storage::{Storage, read_full};
use super::{LogConfig, OpenError};
use crate::time::Timestamp;

/// What a log turned out to hold, segment by segment, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// The archives and segments; the live one, if there is one, last.
    pub segments: Vec<VerifiedSegment>,
}

impl Verified {
    /// Whether nothing is damaged. A torn tail of the live segment counts as damage: opening cuts it off.
    pub fn is_sound(&self) -> bool {
        self.segments.iter().all(|segment| segment.damage.is_empty())
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
    /// Its file.
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
    /// Why it could not be read, or only in part.
    pub unreadable: Option<String>,
}

/// What an index is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// It covers its segment.
    Complete,
    /// It covers a part; for the live segment that is as it should be.
    Partial,
    /// There is none, or it is of no use: checksums could not be compared, only the structure was checked.
    Missing,
}

/// Checks every record and checksum of a log without changing anything. `progress` is told the bytes done.
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
    let mut verified = Verified::default();
    let mut done = 0;
    for item in inventory(config, storage)? {
        let segment = verify_one(storage, &item.place, &item.name);
        done += segment.bytes;
        verified.segments.push(segment);
        progress(done);
    }
    let live = config.dir.join(&config.name);
    if storage.open(&live, super::storage::Access::Read).is_ok() {
        let segment = verify_one(storage, &Place::File(live), &config.name);
        progress(done + segment.bytes);
        verified.segments.push(segment);
    }
    Ok(verified)
}

fn verify_one(storage: &dyn Storage, place: &Place, name: &str) -> VerifiedSegment {
    let mut verified = VerifiedSegment {
        path: place.path().to_owned(),
        bytes: 0,
        events: 0,
        interval: None,
        index: IndexState::Missing,
        damage: Vec::new(),
        unreadable: None,
    };
    if let Err(error) = look_at(storage, place, name, &mut verified) {
        let (bytes, what) = (verified.bytes, "file cannot be read");
        verified.damage.push(Damage { position: 0, bytes, what });
        verified.unreadable = Some(error.to_string());
    }
    verified
}

fn look_at(
    storage: &dyn Storage,
    place: &Place,
    name: &str,
    verified: &mut VerifiedSegment,
) -> io::Result<()> {
    let mut source = Source::open(storage, place, name)?;
    let bytes = source.bytes()?;
    verified.bytes = bytes;
    let mut parsed = read_index(storage, place.path(), bytes).unwrap_or_default();
    source.use_restarts(&parsed.index);
    // Nothing is taken on trust.
    parsed.durable = Durable::default();
    verified.index = index_state(&parsed, bytes);
    if let Source::File(file) = &source
        && bytes >= HEAD_BYTES
        && read_full(&**file, 0, 4)? != LOG_MAGIC
    {
        verified.damage.push(Damage { position: 0, bytes: HEAD_BYTES, what: "no head of a log" });
    }
    let mut found = examine(&mut source, &parsed, bytes)?;
    found.close();
    verified.interval = found.index.interval();
    let damaged = |position: u64| found.damage.iter().any(|damage| damage.position == position);
    let sound = found.index.slots().iter().filter(|slot| !damaged(slot.stretch.position));
    verified.events = sound.map(|slot| u64::from(slot.stretch.count)).sum();
    verified.damage.append(&mut found.damage);
    verified.damage.extend(found.torn);
    Ok(())
}

fn index_state(parsed: &Parsed, bytes: u64) -> IndexState {
    if parsed.index.end() == Some(bytes)
        || (parsed.sealed.is_some() && parsed.index.end().is_none())
    {
        IndexState::Complete
    } else if parsed.index.slots().is_empty() {
        IndexState::Missing
    } else {
        IndexState::Partial
    }
}
