//! Finding out what a rotated segment holds when no complete index tells, and whether that is what it ought to hold.

use std::io;

use super::Damage;
use super::index::{Head, Index, Summary};
use super::manifest::Member;
use super::repair::{self, LEAD, Trust};
use super::segment::read_index_or_none;
use super::source::{Location, Source};
use super::storage::Storage;
use crate::planted::planted;
use crate::time::Timestamp;

/// A wall clock that shows less than this, 2020, is not believed.
const EARLIEST_NOW: Timestamp = Timestamp::from_micros(1_577_836_800_000_000);

/// The latest stamp that a record without a checksum may have: a day after the later of now and the latest stamp that
/// is known. A clock that is plainly wrong refuses nothing.
pub(super) fn latest_stamp(now: Timestamp, known: Timestamp) -> Timestamp {
    if now < EARLIEST_NOW {
        return Timestamp::MAX;
    }
    let lead = u64::try_from(LEAD.as_micros()).unwrap_or(u64::MAX);
    Timestamp::from_micros(now.max(known).micros().saturating_add(lead))
}

/// What a segment turned out to hold.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) summary: Summary,
    pub(super) index: Index,
    pub(super) damage: Vec<Damage>,
    /// The tail in which nothing is whole.
    pub(super) torn: Option<Damage>,
    /// How far it was known to be durable.
    pub(super) durable_end: u64,
    /// Whether there was an index of some worth, so that it is a segment of ours.
    pub(super) had_index: bool,
    /// Whether there is one that cannot be read: it may know what is not found without it.
    pub(super) index_unread: bool,
    /// Whether some of it could not be read: what the index leaves out then may still be there.
    pub(super) is_partial: bool,
}

/// Looks through a segment or archive. `rotated` stands for its first stamp if it has no records. One that
/// `may_be_foreign` and has no index is searched behind damage as well; in ours a power loss may have taken the index,
/// and what looks like a record behind damage may lie inside an event.
///
/// # Errors
///
/// As the file system says, if it cannot be opened, or not be read for now.
pub(super) fn look_at(
    storage: &dyn Storage,
    location: &Location,
    name: &str,
    rotated: Timestamp,
    latest: Timestamp,
    may_be_foreign: bool,
) -> io::Result<Looked> {
    let mut source = Source::open(storage, location, name)?;
    let bytes = source.bytes()?;
    let parsed = read_index_or_none(storage, location.path(), bytes)?;
    source.use_restarts(&parsed.index);
    let had_index = parsed.head != Head::Absent;
    let index_unread = parsed.head == Head::Unreadable;
    let trust = Trust { resynchronise: !had_index && may_be_foreign, latest };
    let mut found = repair::examine(&mut source, &parsed, bytes, &trust)?;
    found.close();
    let (first, last) = found.index.interval().unwrap_or((rotated, rotated));
    let summary = Summary { bytes, count: found.index.count(), first, last, crc: 0 };
    let is_partial = found.is_partial() || found.undecided;
    let mut index = found.index;
    index.restarts = parsed.index.restarts;
    let durable_end = parsed.durable.end;
    let (damage, torn) = (found.damage, found.torn);
    Ok(Looked { summary, index, damage, torn, durable_end, had_index, index_unread, is_partial })
}

impl Looked {
    /// What the manifest is to say of it, if it says nothing yet.
    pub(super) fn member(&self, disk_bytes: u64) -> Member {
        Member { disk_bytes, summary: self.summary, records_crc: self.index.content_crc() }
    }
}

/// What is wrong with a segment as a whole, held against what the manifest says of it.
pub(super) fn compare(found: &Member, listed: &Member) -> Option<Damage> {
    let whole = |what| Some(Damage { position: 0, bytes: listed.summary.bytes, what });
    let (is, was) = (found.summary, listed.summary);
    if planted("look: comparing with the manifest") {
        return None;
    }
    if is.bytes < was.bytes {
        let bytes = was.bytes - is.bytes;
        return Some(Damage { position: is.bytes, bytes, what: "it is shorter than it was" });
    }
    if is.count < was.count {
        return whole("it has fewer entries than it had");
    }
    // A segment without entries has no stamps.
    let stamps = |summary: Summary| (summary.count > 0).then_some((summary.first, summary.last));
    if (is.bytes, is.count, stamps(is)) != (was.bytes, was.count, stamps(was))
        || found.records_crc != listed.records_crc
    {
        return whole("its entries are not those that it had");
    }
    None
}
