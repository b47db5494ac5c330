//! Opening a log: which segments there are, and what a crash left of the live one.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::cache::Cache;
use super::index::{Index, Summary};
use super::keeper::{Keeper, write_sealed_index};
use super::log::{Committed, Live, Log, Offset, Shared, State};
use super::record::{CLOSED, HEAD_BYTES, LOG_MAGIC, OPENED};
use super::repair::{Damage, examine};
use super::segment::{
    Place, Segment, Source, index_path, parse_rotated_name, read_index, read_summary, rotated_name,
};
use super::storage::{Access, Storage, StorageFile, read_full, write_full};
use super::writer::{Opened, Writer};
use super::{LogConfig, OpenError};
use crate::time::{Clock, Timestamp};

/// File names leave room for a time of rotation and endings.
const MAX_NAME_BYTES: usize = 180;

/// Opens a log for writing, making it if there is none, and repairs what a crash left behind.
///
/// Costs a short read per segment, and time in proportion to what was appended after the last sync; a
/// segment without an index is scanned once, at about a second per gigabyte.
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
    let keeper = Keeper::spawn(&config.name).map_err(OpenError::io("start a thread for", &dir))?;
    open_with(config, storage, clock, keeper)
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
    damage: Vec<(u64, std::path::PathBuf, Damage)>,
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
    adopt_original_live(&config, &*storage)?;
    let older = open_older(&config, &*storage, &mut reports)?;
    let rotated_millis = older.back().map_or(0, |segment| segment.rotated_millis);
    let base = older.back().map_or(0, |segment| segment.end());
    let reach = older.back().map(|segment| segment.reach).filter(|reach| *reach > Timestamp::MIN);
    let (live, index_file) = open_live(&config, &*storage, &clock, base, &mut reports)?;
    let live_last = live.index.interval().map(|(_, last)| last);
    let last = live_last.into_iter().chain(live.open.map(|open| open.last)).chain(reach).max();
    let committed = Committed { offset: Offset(base + live.count()), last };
    let durable = live.bytes;
    let state =
        State { older, live, cache: Cache::default(), committed, poisoned: None, no_space: false };
    let shared = Arc::new(Shared::new(config, storage, state));
    for (base, path, damage) in reports.damage {
        shared.report_damage(base, &path, &damage);
    }
    shared.counters.torn_bytes.add(reports.torn_bytes);
    let opened = Opened { durable, index_file, rotated_millis, lock };
    let writer = Writer::new(Arc::clone(&shared), clock, keeper, opened);
    Ok((writer, Log { shared }))
}

/// The original called its live file `NAME.log`. It becomes the newest rotated segment, as it is.
fn adopt_original_live(config: &LogConfig, storage: &dyn Storage) -> Result<(), OpenError> {
    let path = config.dir.join(format!("{}.log", config.name));
    let file = match storage.open(&path, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OpenError::io("open", &path)(error)),
    };
    let bytes = file.bytes().map_err(OpenError::io("read", &path))?;
    let head = read_full(&*file, 0, 4).map_err(OpenError::io("read", &path))?;
    if bytes <= HEAD_BYTES || head != LOG_MAGIC {
        return Ok(());
    }
    let mut source = Source::File(file);
    let found =
        super::repair::scan_all(&mut source, bytes).map_err(OpenError::io("read", &path))?;
    let Some((_, last)) = found.index.interval() else { return Ok(()) };
    let listed = storage.list(&config.dir).map_err(OpenError::io("list", &config.dir))?;
    let newest =
        listed.iter().filter_map(|file| parse_rotated_name(&config.name, &file.name)).max();
    let millis = (last.micros() / 1000).max(newest.map_or(0, |newest| newest + 1));
    let to = config.dir.join(rotated_name(&config.name, millis));
    storage.rename(&path, &to).map_err(OpenError::io("rename", &path))?;
    storage.sync_dir(&config.dir).map_err(OpenError::io("sync", &config.dir))
}

/// The rotated segments, oldest first.
fn open_older(
    config: &LogConfig,
    storage: &dyn Storage,
    reports: &mut Reports,
) -> Result<VecDeque<Arc<Segment>>, OpenError> {
    let listed = storage.list(&config.dir).map_err(OpenError::io("list", &config.dir))?;
    let mut names: Vec<(u64, String, u64)> = listed
        .into_iter()
        .filter_map(|file| {
            Some((parse_rotated_name(&config.name, &file.name)?, file.name, file.bytes))
        })
        .collect();
    names.sort();
    let mut older: VecDeque<Arc<Segment>> = VecDeque::new();
    for (millis, name, bytes) in names {
        let path = config.dir.join(&name);
        let (base, reach) =
            older.back().map_or((0, Timestamp::MIN), |segment| (segment.end(), segment.reach));
        let place = Place::File(path.clone());
        let make = |summary: Summary| {
            let reach = if summary.count == 0 { reach } else { reach.max(summary.last) };
            Segment::new(base, name, millis, summary, reach, place, None)
        };
        // A missing or unreadable index is no obstacle: it is made anew.
        if let Some(summary) = read_summary(storage, &path, bytes).ok().flatten() {
            older.push_back(Arc::new(make(summary)));
            continue;
        }
        let (summary, index) = examine_older(storage, &path, bytes, millis, base, reports)
            .map_err(OpenError::io("read", &path))?;
        let segment = make(summary);
        if let Err(error) = write_sealed_index(storage, &segment, &index) {
            tracing::warn!(segment = %path.display(), %error, "its index could not be written");
        }
        older.push_back(Arc::new(segment));
    }
    Ok(older)
}

/// What a rotated segment without a complete index holds.
fn examine_older(
    storage: &dyn Storage,
    path: &Path,
    bytes: u64,
    millis: u64,
    base: u64,
    reports: &mut Reports,
) -> io::Result<(Summary, Index)> {
    let file = storage.open(path, Access::Read)?;
    let parsed = read_index(storage, path, bytes).unwrap_or_default();
    tracing::info!(segment = %path.display(), bytes, "making its index");
    let mut source = Source::File(file);
    let mut found = examine(&mut source, &parsed, bytes)?;
    found.close();
    for damage in found.damage.into_iter().chain(found.torn) {
        reports.damage.push((base, path.to_owned(), damage));
    }
    let rotated = Timestamp::from_micros(millis.saturating_mul(1000));
    let (first, last) = found.index.interval().unwrap_or((rotated, rotated));
    Ok((Summary { bytes, count: found.index.count(), first, last, crc: 0 }, found.index))
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
        let file = storage.open(&path, Access::Create).map_err(OpenError::io("make", &path))?;
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
        let aside = storage.open(&path, Access::Create)?;
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
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let file = storage.open(draft.as_ref(), Access::Create)?;
    write_full(&*file, &bytes, 0)?;
    file.sync()?;
    storage.rename(draft.as_ref(), &path)?;
    Ok(file)
}
