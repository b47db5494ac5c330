//! Opening a log: which segments there are, and what a crash left of the live one.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cache::Cache;
use super::index::{Index, Summary};
use super::inventory::{Item, inventory};
use super::keeper::{Keeper, write_sealed_index};
use super::log::{Committed, Live, Log, Offset, Shared, State};
use super::record::{CLOSED, HEAD_BYTES, LOG_MAGIC, OPENED};
use super::repair::{Damage, examine};
use super::retention::remove_with_index;
use super::segment::{Place, Segment, Source, draft_path, index_path, read_index};
use super::storage::{Access, NoFile, Storage, StorageFile, create_fresh, read_full, write_full};
use super::writer::{Opened, Writer};
use super::{LogConfig, OpenError};
use crate::time::{Clock, Timestamp};

/// File names leave room for a time of rotation and endings.
const MAX_NAME_BYTES: usize = 180;

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

/// Opens a log for reading alone: nothing is written, repaired or locked, and what is appended afterwards
/// is not seen. For a log that nobody writes to.
///
/// # Errors
///
/// [`OpenError`].
pub fn open_read_only(config: LogConfig, storage: Arc<dyn Storage>) -> Result<Log, OpenError> {
    check_name(&config.name)?;
    let mut reports = Reports::default();
    let older = open_older(&config, &*storage, false, &mut reports)?;
    let base = older.back().map_or(0, |segment| segment.end());
    let live = read_live(&config, &*storage, base, &mut reports)?;
    Ok(Log { shared: share(config, storage, older, live, reports) })
}

fn check_name(name: &str) -> Result<(), OpenError> {
    let odd = |c: char| c == '/' || c.is_control();
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.starts_with('.') || name.contains(odd)
    {
        return Err(OpenError::Name { name: name.to_owned() });
    }
    Ok(())
}

/// What repair has to say once there are counters to count it.
#[derive(Default)]
struct Reports {
    damage: Vec<(u64, PathBuf, Damage)>,
    torn_bytes: u64,
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
    let mut reports = Reports::default();
    let older = open_older(&config, &*storage, true, &mut reports)?;
    let rotated_millis = older.back().map_or(0, |segment| segment.rotated_millis);
    let base = older.back().map_or(0, |segment| segment.end());
    let (live, index_file) = open_live(&config, &*storage, &clock, base, &mut reports)?;
    let durable = live.bytes;
    let shared = share(config, storage, older, live, reports);
    let opened = Opened { durable, index_file, rotated_millis, lock };
    let writer = Writer::new(Arc::clone(&shared), clock, keeper, opened);
    Ok((writer, Log { shared }))
}

fn share(
    config: LogConfig,
    storage: Arc<dyn Storage>,
    older: VecDeque<Arc<Segment>>,
    live: Live,
    reports: Reports,
) -> Arc<Shared> {
    let has_records = older.iter().any(|segment| segment.summary.count > 0);
    let reach = older.back().map(|segment| segment.reach).filter(|_| has_records);
    let last = live.last().into_iter().chain(reach).max();
    let committed = Committed { offset: Offset(live.base + live.count()), last };
    let cache = Cache::default();
    let state = State { older, live, cache, committed, poisoned: None, no_space: false };
    let shared = Arc::new(Shared::new(config, storage, state));
    for (base, path, damage) in reports.damage {
        shared.report_damage(base, &path, &damage);
    }
    shared.counters.torn_bytes.add(reports.torn_bytes);
    shared
}

/// The rotated segments and archives, oldest first. With `write`, indexes are made where they are missing,
/// and what a crash left of archiving is tidied up.
fn open_older(
    config: &LogConfig,
    storage: &dyn Storage,
    write: bool,
    reports: &mut Reports,
) -> Result<VecDeque<Arc<Segment>>, OpenError> {
    let mut older: VecDeque<Arc<Segment>> = VecDeque::new();
    for mut item in inventory(config, storage)? {
        if let Some(leftover) = item.leftover.take_if(|_| write) {
            // The archive is complete; the crash came between that and removing the segment.
            if let Err(error) = remove_with_index(storage, &leftover) {
                tracing::warn!(segment = %leftover.display(), %error, "archived segment not removed");
            }
        }
        if write && item.is_original_live {
            item.place = take_over(config, storage, &item)?;
        }
        let (base, reach) =
            older.back().map_or((0, Timestamp::MIN), |segment| (segment.end(), segment.reach));
        let (summary, index) = match item.summary {
            Some(summary) => (summary, None),
            None => make_index(storage, &item, write, base, reports),
        };
        let Item { name, rotated_millis, place, disk_bytes, .. } = item;
        let segment =
            Segment::new(base, name, rotated_millis, summary, reach, place, disk_bytes, index);
        older.push_back(Arc::new(segment));
    }
    Ok(older)
}

/// Gives the original's live file the name of a rotated segment; it is not written to.
fn take_over(config: &LogConfig, storage: &dyn Storage, item: &Item) -> Result<Place, OpenError> {
    let (from, to) = (item.place.path(), config.dir.join(&item.name));
    storage.rename(from, &to).map_err(OpenError::io("rename", from))?;
    storage.sync_dir(&config.dir).map_err(OpenError::io("sync", &config.dir))?;
    Ok(Place::File(to))
}

/// Finds out what a segment or archive without a complete index holds. The index is kept in memory if it
/// could not be written, or is not to be.
fn make_index(
    storage: &dyn Storage,
    item: &Item,
    write: bool,
    base: u64,
    reports: &mut Reports,
) -> (Summary, Option<Arc<Index>>) {
    let path = item.place.path();
    tracing::info!(segment = %path.display(), bytes = item.disk_bytes, "making its index");
    let rotated = Timestamp::from_micros(item.rotated_millis.saturating_mul(1000));
    let empty = |bytes| Summary { bytes, count: 0, first: rotated, last: rotated, crc: 0 };
    let mut report = |damage| reports.damage.push((base, path.to_owned(), damage));
    let examined = Source::open(storage, &item.place, &item.name).and_then(|mut source| {
        let bytes = source.bytes()?;
        let parsed = read_index(storage, path, bytes).unwrap_or_default();
        source.use_restarts(&parsed.index);
        Ok((examine(&mut source, &parsed, bytes)?, bytes))
    });
    let (mut found, bytes) = match examined {
        Ok(examined) => examined,
        Err(error) => {
            // One unreadable file is no reason not to open the others.
            tracing::error!(segment = %path.display(), %error, "cannot be read; its entries are missing");
            report(Damage { position: 0, bytes: item.disk_bytes, what: "file cannot be read" });
            return (empty(item.disk_bytes), Some(Arc::default()));
        }
    };
    found.close();
    found.damage.extend(found.torn.take());
    found.damage.drain(..).for_each(&mut report);
    let summary = match found.index.interval() {
        Some((first, last)) => Summary { count: found.index.count(), first, last, ..empty(bytes) },
        None => empty(bytes),
    };
    if !write {
        return (summary, Some(Arc::new(found.index)));
    }
    match write_sealed_index(storage, path, summary, &found.index) {
        Ok(()) => (summary, None),
        Err(error) => {
            tracing::warn!(segment = %path.display(), %error, "its index could not be written");
            (summary, Some(Arc::new(found.index)))
        }
    }
}

/// The live segment as it is; what is torn of it is left out.
fn read_live(
    config: &LogConfig,
    storage: &dyn Storage,
    base: u64,
    reports: &mut Reports,
) -> Result<Live, OpenError> {
    let path = config.dir.join(&config.name);
    let file = match storage.open(&path, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Arc::new(NoFile),
        Err(error) => return Err(OpenError::io("open", &path)(error)),
    };
    let mut bytes = file.bytes().map_err(OpenError::io("read", &path))?;
    let head = read_full(&*file, 0, 8).map_err(OpenError::io("read", &path))?;
    let parsed = read_index(storage, &path, bytes).unwrap_or_default();
    if !head.starts_with(&LOG_MAGIC) && parsed.index.slots().is_empty() && bytes > HEAD_BYTES {
        return Err(OpenError::NotALog { path, found: head });
    }
    let mut source = Source::File(Arc::clone(&file));
    let found = examine(&mut source, &parsed, bytes).map_err(OpenError::io("read", &path))?;
    reports.damage.extend(found.damage.into_iter().map(|damage| (base, path.clone(), damage)));
    if let Some(torn) = found.torn {
        reports.torn_bytes += torn.bytes;
        bytes = torn.position;
    }
    Ok(Live { file, path, base, bytes, index: found.index, open: found.open })
}

type OpenedLive = (Live, Option<Arc<dyn StorageFile>>);

/// The live segment, repaired and marked as opened, and its index file.
fn open_live(
    config: &LogConfig,
    storage: &dyn Storage,
    clock: &Clock,
    base: u64,
    reports: &mut Reports,
) -> Result<OpenedLive, OpenError> {
    let path = config.dir.join(&config.name);
    let new = |bytes| -> Result<OpenedLive, OpenError> {
        let file = create_fresh(storage, &path).map_err(OpenError::io("make", &path))?;
        write_full(&*file, &[LOG_MAGIC, OPENED].concat(), 0)
            .and_then(|()| file.sync())
            .and_then(|()| storage.sync_dir(&config.dir))
            .map_err(OpenError::io("write", &path))?;
        let (index, open, path) = (Index::default(), None, path.clone());
        Ok((Live { file, path, base, bytes, index, open }, None))
    };
    let file = match storage.open(&path, Access::Update) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return new(HEAD_BYTES),
        Err(error) => return Err(OpenError::io("open", &path)(error)),
    };
    let bytes = file.bytes().map_err(OpenError::io("read", &path))?;
    let head = read_full(&*file, 0, 8).map_err(OpenError::io("read", &path))?;
    // A new segment's head may not have reached the disk, wholly or in part, when the power failed.
    let due = [LOG_MAGIC, OPENED].concat();
    let unfinished = head.iter().zip(&due).all(|(found, due)| [0, *due].contains(found));
    if unfinished && bytes <= HEAD_BYTES {
        return new(HEAD_BYTES);
    }
    let mut parsed = read_index(storage, &path, bytes).unwrap_or_default();
    let has_index = !parsed.index.slots().is_empty();
    if !head.starts_with(&LOG_MAGIC) && !has_index && !unfinished {
        return Err(OpenError::NotALog { path, found: head });
    }
    if head.ends_with(&CLOSED) {
        // The writer marks a segment closed only after everything in it is durable.
        parsed.durable.end = bytes;
    }
    let mut source = Source::File(Arc::clone(&file));
    let found = examine(&mut source, &parsed, bytes).map_err(OpenError::io("read", &path))?;
    for damage in found.damage {
        reports.damage.push((base, path.clone(), damage));
    }
    let mut bytes = bytes;
    if let Some(torn) = found.torn {
        keep_torn(config, storage, clock, &*file, &torn)?;
        file.set_bytes(torn.position).map_err(OpenError::io("cut", &path))?;
        reports.torn_bytes += torn.bytes;
        bytes = torn.position;
    }
    let (mark, at) = if unfinished { (&due[..], 0) } else { (&OPENED[..], 4) };
    write_full(&*file, mark, at)
        .and_then(|()| file.sync())
        .map_err(OpenError::io("write", &path))?;
    let index_file = rewrite_index(storage, &path, &found.index, bytes)
        .inspect_err(|error| tracing::warn!(segment = %path.display(), %error, "no index for now"))
        .ok();
    storage.sync_dir(&config.dir).map_err(OpenError::io("sync", &config.dir))?;
    Ok((Live { file, path, base, bytes, index: found.index, open: found.open }, index_file))
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
    file.sync()?;
    storage.rename(&draft, &path)?;
    Ok(file)
}
