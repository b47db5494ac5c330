//! A copy of a log, also beside the node that writes to it, from which a log can be opened.
//!
//! Rotated segments and archives never change, so each is copied once, checked against its index, and gets its name
//! when it is durable. Of the live segment the copy has a beginning, as far as the index reached when it was looked at;
//! the next backup adds to it. Nothing is written to the log that is copied.
//!
//! What the log deletes meanwhile, or archives, is seen by listing it again: the live segment is opened, then
//! everything rotated before that must be in the copy, then the live one follows. So a copy holds a beginning of what
//! the log held, without a gap, apart from what the log's retention deleted before it could be copied.
//!
//! # Invariants
//!
//! - `untouched`: no file of the source is made, changed or removed, nor is it locked.
//! - `resumable`: whenever a backup dies, the copy can be opened, holds all that it held before, and another backup
//!   goes on from there.
//! - `nothing_lost`: no entry of the copy goes because the source does not have it any more. A segment goes when its
//!   archive is there, and was read back.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::index::{Durable, Head, Index, ParsedIndex, Slot, Stretch, Summary, parse};
use super::inventory::Listings;
use super::manifest::{Listing, Manifest, Member};
use super::names::{ARCHIVE_SUFFIX, draft_path, index_path, parse_rotated_name, rotated_name};
use super::open::read_listings;
use super::record::{Entries, HEAD_BYTES};
use super::repair::{Scanned, Trust, examine};
use super::segment::{read_index, read_summary};
use super::source::{Location, Source};
use super::storage::{
    Access, Lock, Storage, StorageFile, create_fresh, is_transient, read_full, write_full,
};
use super::{LogConfig, OpenError, sealed_index};
use crate::time::Timestamp;

/// How much is copied at once.
const COPY_BYTES: usize = 1 << 20;
/// How often the source is listed again because it changed, before that is given up.
const MAX_ROUNDS: u32 = 10_000;
/// How often something odd of the source's live segment is looked at again: a rotation was in between.
const MAX_DOUBTS: u32 = 20;
/// How long until then. Nothing happens beside a test.
const DOUBT_PERIOD: Duration = Duration::from_millis(if cfg!(test) { 0 } else { 20 });
/// The longest file of cursors' positions that is copied: none of ours gets near this.
const MAX_CURSORS_BYTES: u64 = 256 << 20;

/// Why a backup could not be made. What was copied until then is of use to the next one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The machine failed, or another backup to the same place is running.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The copy was opened by a node, so it has a life of its own.
    #[error("{} was opened for writing since: it is no backup any more", path.display())]
    Opened {
        /// The copy.
        path: PathBuf,
    },
    /// The log is rotated faster than it can be copied.
    #[error("{} changes faster than it can be copied", path.display())]
    Restless {
        /// The log.
        path: PathBuf,
    },
}

impl BackupError {
    fn io<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> BackupError + 'a {
        move |error| BackupError::Open(OpenError::io(what, path)(error))
    }
}

/// What a backup did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackedUp {
    /// Segments and archives copied, or added to.
    pub copied: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Segments and archives that were there.
    pub present: u64,
}

/// Who is told how a backup goes on.
pub trait BackupWatch {
    /// So many bytes more were copied.
    fn copied(&mut self, bytes: u64);

    /// Something of the source is damaged or missing; it was copied as it is.
    fn damaged(&mut self, what: String);
}

/// Copies a log to `to`, whose directories are made if missing, or adds to that copy what is new.
///
/// Costs reading and writing what is new, and a short read of each file that is there.
///
/// # Errors
///
/// [`BackupError`].
pub fn backup(
    from: &LogConfig,
    to: &LogConfig,
    storage: &dyn Storage,
    watch: &mut dyn BackupWatch,
) -> Result<BackedUp, BackupError> {
    for dir in [&to.dir, &to.arch_dir] {
        storage.create_dir(dir).map_err(BackupError::io("make directory", dir))?;
    }
    let lock_path = to.dir.join(format!("{}.lock", to.name));
    let lock = storage.lock(&lock_path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked { path: lock_path.clone() },
        _ => OpenError::io("lock", &lock_path)(error),
    })?;
    let mut copying = Copying {
        from,
        to,
        storage,
        watch,
        _lock: lock,
        reached: None,
        there: BTreeMap::new(),
        unreadable: BTreeSet::new(),
        doubts: 0,
        done: BackedUp::default(),
    };
    copying.run()
}

/// A rotated segment or an archive of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    /// The segment's own name.
    segment: String,
    location: LocationKind,
    path: PathBuf,
    /// Where its copy lies.
    copy: PathBuf,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LocationKind {
    File,
    Archive,
}

impl Piece {
    fn location_of(&self, path: &Path) -> Location {
        match self.location {
            LocationKind::File => Location::File(path.to_owned()),
            LocationKind::Archive => Location::Archive(path.to_owned()),
        }
    }
}

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    Done,
    /// The source changed meanwhile.
    Again,
}

struct Copying<'a> {
    from: &'a LogConfig,
    to: &'a LogConfig,
    storage: &'a dyn Storage,
    watch: &'a mut dyn BackupWatch,
    _lock: Lock,
    /// The latest timestamp in the copy before.
    reached: Option<Timestamp>,
    /// Copies that are complete, by path, with the length of the file.
    there: BTreeMap<PathBuf, u64>,
    /// Copies that could not be made.
    unreadable: BTreeSet<PathBuf>,
    /// How often in a row something was odd.
    doubts: u32,
    done: BackedUp,
}

impl Copying<'_> {
    fn run(&mut self) -> Result<BackedUp, BackupError> {
        if read_listings(self.to, self.storage)?.dir.boot.is_some() {
            return Err(BackupError::Opened { path: self.to.dir.clone() });
        }
        self.reached = self.reached()?;
        for _ in 0..MAX_ROUNDS {
            let pieces = self.list()?;
            if self.settle(&pieces)? == Attempt::Again {
                continue;
            }
            for piece in &pieces {
                self.copy_piece(piece)?;
            }
            // Before the entries that they stand at.
            self.copy_small_files()?;
            if self.copy_live()? == Attempt::Done {
                self.finish()?;
                return Ok(self.done);
            }
        }
        Err(BackupError::Restless { path: self.from.dir.clone() })
    }

    /// The rotated segments and archives of the source, oldest first. Where both are there, as while a segment is being
    /// archived, the archive counts if the manifest has it, or has neither and the archive's index is complete. What the
    /// first versions of the original called its live segment comes last.
    fn list(&self) -> Result<Vec<Piece>, BackupError> {
        let is_one = self.from.dir == self.from.arch_dir;
        let listings = read_listings(self.from, self.storage)?;
        let dirs = [(&self.from.arch_dir, &self.to.arch_dir), (&self.from.dir, &self.to.dir)];
        let mut found: BTreeMap<(u64, String), Piece> = BTreeMap::new();
        for (dir, copy_dir) in dirs.into_iter().skip(usize::from(is_one)) {
            let files = match self.storage.list(dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(BackupError::io("list", dir))?,
            };
            for file in files {
                let segment = file.name.strip_suffix(ARCHIVE_SUFFIX);
                let location =
                    if segment.is_some() { LocationKind::Archive } else { LocationKind::File };
                let segment = segment.unwrap_or(&file.name).to_owned();
                let is_original_live = dir == &self.from.dir
                    && segment == format!("{}.log", self.from.name)
                    && location == LocationKind::File;
                let millis = match parse_rotated_name(&self.from.name, &segment) {
                    Some(millis) => millis,
                    None if is_original_live => u64::MAX,
                    None => continue,
                };
                let (path, copy) = (dir.join(&file.name), copy_dir.join(&file.name));
                let key = (millis, segment.clone());
                let piece = Piece { segment, location, path, copy, bytes: file.bytes };
                let counts = found.get(&key).is_none_or(|other| {
                    let (archive, is_new) = match location {
                        LocationKind::Archive => (&piece, true),
                        LocationKind::File => (other, false),
                    };
                    self.is_whole_archive(archive, &listings) == is_new
                });
                if counts {
                    found.insert(key, piece);
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// Whether an archive takes the place of the segment beside it.
    fn is_whole_archive(&self, archive: &Piece, listings: &Listings) -> bool {
        let name = format!("{}{ARCHIVE_SUFFIX}", archive.segment);
        let has_segment = listings.dir.members.contains_key(&archive.segment);
        listings.arch.members.contains_key(&name)
            || !has_segment && matches!(read_summary(self.storage, &archive.path), Ok(Some(_)))
    }

    fn is_there(&self, piece: &Piece) -> bool {
        self.there.contains_key(&piece.copy) || self.unreadable.contains(&piece.copy)
    }

    /// Notes that something does not fit, as in the middle of a rotation; true while it should be looked at again.
    fn is_doubtful(&mut self) -> bool {
        self.doubts += 1;
        if self.doubts > MAX_DOUBTS {
            self.doubts = 0;
            return false;
        }
        crate::time::pause(DOUBT_PERIOD);
        true
    }

    /// Copies a rotated segment or archive, unless it is there. What vanished is left to the next listing.
    fn copy_piece(&mut self, piece: &Piece) -> Result<(), BackupError> {
        if self.is_there(piece) {
            return Ok(());
        }
        let index = match self.index_of(piece) {
            Ok(index) => index,
            Err(error) => {
                let path = piece.path.display();
                self.watch.damaged(format!("{path}: its index cannot be read: {error}"));
                IndexFile::default()
            }
        };
        if self.is_same(piece, &index)? {
            self.there.insert(piece.copy.clone(), piece.bytes);
            self.done.present += 1;
            return Ok(());
        }
        let source = match self.storage.open(&piece.path, Access::Read) {
            Ok(source) => source,
            Err(error) => return self.unreadable(piece, &error),
        };
        let draft = draft_path(&piece.copy);
        let copied = self.copy_bytes(&*source, &draft, piece.bytes)?;
        if let Err(error) = copied {
            self.remove(&draft)?;
            return self.unreadable(piece, &error);
        }
        let location = piece.location_of(&draft);
        let (index, damage) = self.check(&location, piece, index)?;
        for what in &damage {
            self.watch.damaged(format!("{}: {what}", piece.path.display()));
        }
        if self.is_better(piece, &location, damage.is_empty())? {
            if damage.is_empty() {
                let path = piece.path.display();
                self.watch.damaged(format!("{path}: is not what it was; the older copy is kept"));
            }
            self.remove(&draft)?;
            self.there.insert(piece.copy.clone(), piece.bytes);
            self.done.present += 1;
            return Ok(());
        }
        // A stale one beside it would be held against it.
        self.remove(&index_path(&piece.copy))?;
        self.rename(&draft, &piece.copy)?;
        self.write_index(&piece.copy, &index)?;
        self.there.insert(piece.copy.clone(), piece.bytes);
        self.done.copied += 1;
        self.done.bytes += piece.bytes;
        Ok(())
    }

    /// A file of the source cannot be read: either it is gone, or damaged.
    fn unreadable(&mut self, piece: &Piece, error: &io::Error) -> Result<(), BackupError> {
        if error.kind() != io::ErrorKind::NotFound {
            self.watch.damaged(format!("{}: cannot be read: {error}", piece.path.display()));
            self.unreadable.insert(piece.copy.clone());
        }
        Ok(())
    }

    /// What the index beside a segment or archive of the source says.
    fn index_of(&self, piece: &Piece) -> io::Result<IndexFile> {
        let bytes = match piece.location {
            LocationKind::File => piece.bytes,
            LocationKind::Archive => {
                let summary = read_summary(self.storage, &piece.path);
                summary.ok().flatten().map_or(u64::MAX, |summary| summary.bytes)
            }
        };
        self.read_index_file(&piece.path, bytes)
    }

    fn read_index_file(&self, segment: &Path, segment_bytes: u64) -> io::Result<IndexFile> {
        let file = match self.storage.open(&index_path(segment), Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(IndexFile::default());
            }
            other => other?,
        };
        let length = usize::try_from(file.bytes()?).map_err(io::Error::other)?;
        let bytes = read_full(&*file, 0, length)?;
        Ok(IndexFile { parsed: parse(&bytes, segment_bytes), bytes })
    }

    /// Whether the copy of a segment or archive is there already.
    fn is_same(&mut self, piece: &Piece, index: &IndexFile) -> Result<bool, BackupError> {
        let failed = || BackupError::io("read", &piece.copy);
        let copy = match self.storage.open(&piece.copy, Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other.map_err(failed())?,
        };
        if copy.bytes().map_err(failed())? != piece.bytes {
            return Ok(false);
        }
        let beside = self.read_index_file(&piece.copy, u64::MAX).map_err(failed())?;
        let due = index.completed(piece);
        if beside.bytes == due && !due.is_empty() {
            return Ok(true);
        }
        // The last backup died between the two, or there is no index, or a new one: the same bytes are the same.
        let source = self.storage.open(&piece.path, Access::Read);
        let Ok(source) = source else { return Ok(false) };
        let Ok(same) = is_same(&*source, &*copy, piece.bytes) else { return Ok(false) };
        if same && index.parsed.is_damaged() {
            let path = piece.path.display();
            self.watch.damaged(format!("{path}: its index is damaged"));
        }
        // A good one is not given up for a worse one.
        if same && !due.is_empty() && (!index.parsed.is_damaged() || beside.bytes.is_empty()) {
            self.write_index(&piece.copy, &due)?;
        }
        Ok(same)
    }

    /// Whether the copy that is there is better than the new one, at `draft`: rotated segments don't change, so what is
    /// other than it was has suffered. Only what was copied while it was live can grow.
    fn is_better(
        &self,
        piece: &Piece,
        draft: &Location,
        is_sound: bool,
    ) -> Result<bool, BackupError> {
        let Ok(file) = self.storage.open(&piece.copy, Access::Read) else { return Ok(false) };
        if !is_sound {
            return Ok(true);
        }
        let location = piece.location_of(&piece.copy);
        let old = Source::open(self.storage, &location, &piece.segment).and_then(|mut old| {
            let bytes = old.bytes()?;
            let parsed = read_index(self.storage, &piece.copy, bytes)?;
            old.use_restarts(&parsed.index);
            let found = examined(&mut old, &parsed, bytes, Kind::Rotated)?;
            let is_whole = found.damage.is_empty() && found.torn.is_none();
            Ok((parsed.sealed.is_some() && is_whole).then_some((old, bytes)))
        });
        drop(file);
        // Itself damaged, or not complete.
        let Ok(Some((mut old, bytes))) = old else { return Ok(false) };
        let new = Source::open(self.storage, draft, &piece.segment);
        let mut new = new.map_err(BackupError::io("read", draft.path()))?;
        Ok(!is_same_to(&mut old, &mut new, bytes))
    }

    /// Copies `bytes` bytes into a new file, durably. The inner error is the source's.
    fn copy_bytes(
        &mut self,
        source: &dyn StorageFile,
        to: &Path,
        bytes: u64,
    ) -> Result<io::Result<()>, BackupError> {
        let failed = || BackupError::io("write", to);
        let file = create_fresh(self.storage, to).map_err(failed())?;
        let copied = self.append_bytes(source, &*file, to, 0, bytes)?;
        file.sync().map_err(failed())?;
        Ok(copied)
    }

    /// Copies the bytes of `from..end` to where they are in the source.
    fn append_bytes(
        &mut self,
        source: &dyn StorageFile,
        file: &dyn StorageFile,
        path: &Path,
        from: u64,
        end: u64,
    ) -> Result<io::Result<()>, BackupError> {
        let mut at = from;
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(COPY_BYTES);
            let block = match read_full(source, at, wanted) {
                Ok(block) if block.is_empty() => {
                    return Ok(Err(io::Error::other("it is shorter than it was")));
                }
                Ok(block) => block,
                Err(error) => return Ok(Err(error)),
            };
            write_full(file, &block, at).map_err(BackupError::io("write", path))?;
            at += block.len() as u64;
            self.watch.copied(block.len() as u64);
        }
        Ok(Ok(()))
    }

    /// Reads a copy back and compares it with the index of its source; the index that belongs beside it, and what is
    /// damaged.
    fn check(
        &mut self,
        location: &Location,
        piece: &Piece,
        index: IndexFile,
    ) -> Result<(Vec<u8>, Vec<String>), BackupError> {
        let due = index.completed(piece);
        let checked =
            Source::open(self.storage, location, &piece.segment).and_then(|mut source| {
                let bytes = source.bytes()?;
                source.use_restarts(&index.parsed.index);
                let found = examined(&mut source, &index.parsed, bytes, Kind::Rotated)?;
                let is_packed_well = match &mut source {
                    Source::Archive(archive) => archive.matches_crc()?,
                    Source::File(_) => true,
                };
                Ok((found, is_packed_well))
            });
        let (found, is_packed_well) = match checked {
            Ok(checked) => checked,
            // An archive that is none.
            Err(error) => return Ok((due, vec![format!("cannot be read: {error}")])),
        };
        let mut damage: Vec<_> = found.damage.iter().chain(&found.torn).map(describe).collect();
        if index.parsed.is_damaged() {
            damage.push("its index is damaged".to_owned());
        }
        if damage.is_empty() && !is_packed_well {
            damage.push("checksum of the archive does not match".to_owned());
        }
        Ok((due, damage))
    }

    /// Sees to what the copy has of a live segment, if the source's live segment is another one by now.
    fn settle(&mut self, pieces: &[Piece]) -> Result<Attempt, BackupError> {
        let path = self.to.dir.join(&self.to.name);
        let Some(copy) = self.copy_of_live()? else { return Ok(Attempt::Done) };
        let from = self.from.dir.join(&self.from.name);
        match self.storage.open(&from, Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            live => {
                let mut live = Source::File(live.map_err(BackupError::io("open", &from))?);
                let parsed = read_index(self.storage, &from, u64::MAX).unwrap_or_default();
                match fit(&copy, &mut live, &parsed) {
                    Fit::Beginning => return Ok(Attempt::Done),
                    Fit::Until(end) => return self.cut(&copy, end).map(|()| Attempt::Again),
                    Fit::Other => {}
                }
            }
        }
        for piece in pieces {
            let first = match read_summary(self.storage, &piece.path) {
                Ok(Some(summary)) => Some(summary.first),
                _ => read_index(self.storage, &piece.path, u64::MAX)
                    .ok()
                    .and_then(|parsed| parsed.index.interval())
                    .map(|(first, _)| first),
            };
            if first.is_some_and(|first| Some(first) != copy.first()) {
                continue;
            }
            let location = piece.location_of(&piece.path);
            let mut source = match Source::open(self.storage, &location, &piece.segment) {
                Ok(source) => source,
                Err(error) if is_transient(&error) => {
                    return Err(BackupError::io("open", &piece.path)(error));
                }
                Err(_) => continue,
            };
            let parsed = self.index_of(piece).unwrap_or_default().parsed;
            source.use_restarts(&parsed.index);
            match fit(&copy, &mut source, &parsed) {
                Fit::Beginning => {}
                Fit::Until(end) => return self.cut(&copy, end).map(|()| Attempt::Again),
                Fit::Other => continue,
            }
            match &source {
                Source::File(source) if piece.copy.parent() == path.parent() => {
                    self.complete(&copy, piece, &**source)?;
                }
                // Under its name the beginning gives way to the whole, and is never there twice.
                _ => self.keep(&copy, &self.to.dir.join(&piece.segment))?,
            }
            return Ok(Attempt::Again);
        }
        if self.is_doubtful() {
            return Ok(Attempt::Again);
        }
        let (_, last) = copy.index.interval().expect("it has entries");
        let mut millis = last.micros() / 1000;
        let kept = loop {
            let name = rotated_name(&self.to.name, millis);
            let archive = self.to.arch_dir.join(format!("{name}{ARCHIVE_SUFFIX}"));
            let kept = self.to.dir.join(name);
            let exists = |path: &Path| self.storage.open(path, Access::Read).is_ok();
            if !exists(&kept) && !exists(&archive) {
                break kept;
            }
            millis += 1;
        };
        self.keep(&copy, &kept)?;
        Ok(Attempt::Again)
    }

    /// Keeps apart what the copy has of a live segment behind `end`: the log lost it, as in a power loss, and has gone on
    /// with other entries.
    fn cut(&mut self, copy: &LiveCopy, end: u64) -> Result<(), BackupError> {
        let path = self.to.dir.join(&self.to.name);
        let (_, last) = copy.index.interval().expect("it has entries");
        let millis = last.micros() / 1000;
        let aside = self.to.dir.join(format!("{}.torn-{end}-{millis}", self.to.name));
        let draft = draft_path(&aside);
        let keep = || -> io::Result<Index> {
            let file = create_fresh(self.storage, &draft)?;
            let (mut at, mut written) = (end, 0);
            while at < copy.end() {
                let wanted = usize::try_from(copy.end() - at).unwrap_or(usize::MAX).min(COPY_BYTES);
                let block = read_full(&*copy.file, at, wanted)?;
                write_full(&*file, &block, written)?;
                at += wanted as u64;
                written += block.len() as u64;
            }
            file.sync()?;
            self.storage.rename(&draft, &aside)?;
            self.storage.sync_dir(&self.to.dir)?;
            let mut index = Index::default();
            for slot in copy.index.slots().iter().take_while(|s| s.stretch.position < end) {
                let stretch = &slot.stretch;
                let length = usize::try_from(stretch.end().min(end) - stretch.position);
                let length = length.map_err(io::Error::other)?;
                if length == stretch.bytes as usize {
                    index.push(*stretch);
                    continue;
                }
                let bytes = read_full(&*copy.file, stretch.position, length)?;
                if let Some(part) = Stretch::of_records(stretch.position, &bytes) {
                    index.push(part);
                }
            }
            Ok(index)
        };
        let index = keep().map_err(BackupError::io("write", &aside))?;
        self.write_index(&path, &index.to_file(end))?;
        copy.file
            .set_bytes(end)
            .and_then(|()| copy.file.sync())
            .map_err(BackupError::io("cut", &path))?;
        let bytes = copy.end() - end;
        self.watch.damaged(format!(
            "{}: lost {bytes} bytes that had been copied; they are kept in {}",
            self.from.dir.join(&self.from.name).display(),
            aside.display()
        ));
        Ok(())
    }

    /// What the copy has of a live segment; None if it has no entry of one.
    fn copy_of_live(&mut self) -> Result<Option<LiveCopy>, BackupError> {
        let path = self.to.dir.join(&self.to.name);
        let failed = || BackupError::io("read", &path);
        let file = match self.storage.open(&path, Access::Update) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.remove(&index_path(&path))?;
                return Ok(None);
            }
            other => other.map_err(failed())?,
        };
        let bytes = file.bytes().map_err(failed())?;
        let parsed = read_index(self.storage, &path, bytes).unwrap_or_default();
        let mut index = parsed.index;
        if index.slots().is_empty() && bytes > HEAD_BYTES {
            // The last backup died before it wrote the index.
            let mut source = Source::File(Arc::clone(&file));
            let found = examined(&mut source, &ParsedIndex::default(), bytes, Kind::Live);
            let mut found = found.map_err(failed())?;
            found.close();
            index = found.index;
        }
        Ok((!index.slots().is_empty()).then_some(LiveCopy { file, index }))
    }

    /// Makes what the copy has of a segment that was live the whole of it, under its new name, as a rotation does.
    fn complete(
        &mut self,
        copy: &LiveCopy,
        piece: &Piece,
        source: &dyn StorageFile,
    ) -> Result<(), BackupError> {
        let path = self.to.dir.join(&self.to.name);
        let Ok(index) = self.index_of(piece) else { return Ok(()) };
        let copied = self.append_bytes(source, &*copy.file, &path, copy.end(), piece.bytes)?;
        let head = read_full(source, 0, 8);
        let (Ok(()), Ok(head)) = (copied, head) else { return Ok(()) };
        let failed = || BackupError::io("write", &path);
        write_full(&*copy.file, &head, 0)
            .and_then(|()| copy.file.set_bytes(piece.bytes))
            .and_then(|()| copy.file.sync())
            .map_err(failed())?;
        let (index, damage) = self.check(&Location::File(path.clone()), piece, index)?;
        for what in damage {
            self.watch.damaged(format!("{}: {what}", piece.path.display()));
        }
        self.remove(&index_path(&path))?;
        self.rename(&path, &piece.copy)?;
        self.write_index(&piece.copy, &index)?;
        self.sync_dirs()?;
        self.there.insert(piece.copy.clone(), piece.bytes);
        self.done.copied += 1;
        self.done.bytes += piece.bytes - copy.end();
        Ok(())
    }

    /// Keeps what the copy has of a segment that is live no more, as a rotated one.
    fn keep(&mut self, copy: &LiveCopy, kept: &Path) -> Result<(), BackupError> {
        let path = self.to.dir.join(&self.to.name);
        let (first, last) = copy.index.interval().expect("it has entries");
        copy.file
            .set_bytes(copy.end())
            .and_then(|()| copy.file.sync())
            .map_err(BackupError::io("cut", &path))?;
        let count = copy.index.count();
        let summary = Summary { bytes: copy.end(), count, first, last, crc: 0 };
        self.remove(&index_path(&path))?;
        self.rename(&path, kept)?;
        sealed_index::write(self.storage, kept, summary, &copy.index)
            .map_err(BackupError::io("write the index of", kept))?;
        self.sync_dirs()
    }

    /// Copies the live segment as far as its index reaches, if all that was rotated before is there.
    fn copy_live(&mut self) -> Result<Attempt, BackupError> {
        let from = self.from.dir.join(&self.from.name);
        let to = self.to.dir.join(&self.to.name);
        let file = match self.storage.open(&from, Access::Read) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(BackupError::io("open", &from)(error)),
        };
        let index = self.read_index_file(&from, u64::MAX);
        // Whatever was rotated before the file was opened is listed now.
        let pieces = self.list()?;
        if !pieces.iter().all(|piece| self.is_there(piece)) {
            return Ok(Attempt::Again);
        }
        let Some(file) = file else {
            // Between two renames there is none, too.
            return Ok(if self.is_doubtful() { Attempt::Again } else { Attempt::Done });
        };
        let index = index.map_err(BackupError::io("read the index of", &from))?;
        let length = file.bytes().map_err(BackupError::io("read", &from))?;
        if length <= HEAD_BYTES {
            return Ok(Attempt::Done);
        }
        let is_covered = !index.parsed.index.slots().is_empty();
        let is_running = is_running(self.storage, self.from);
        if !is_covered && is_running && self.is_doubtful() {
            return Ok(Attempt::Again);
        }
        let bytes = match index.parsed.index.end() {
            Some(end) if is_running => end.min(length),
            _ => length,
        };
        let mut source = Source::File(Arc::clone(&file));
        let found = examined(&mut source, &index.parsed, bytes, Kind::Live);
        let mut found = found.map_err(BackupError::io("read", &from))?;
        found.close();
        let is_whole = found.damage.is_empty() && found.torn.is_none();
        if !is_whole && is_running && self.is_doubtful() {
            return Ok(Attempt::Again);
        }
        for damage in found.damage.iter().chain(&found.torn) {
            self.watch.damaged(format!("{}: {}", from.display(), describe(damage)));
        }
        // With its index as it is if nobody is writing to that; then opening the copy does what opening the log does.
        let (end, index_bytes) = match found.index.end() {
            _ if !is_running && is_covered => (length, index.bytes),
            _ if is_covered => (bytes, index.parsed.index.to_file(bytes)),
            None if is_running => return Ok(Attempt::Done),
            Some(end) if is_running => (end, found.index.to_file(end)),
            _ => (length, found.index.to_file(found.index.end().unwrap_or(HEAD_BYTES))),
        };
        let copy = self.copy_of_live()?;
        let copied = match &copy {
            Some(copy) if fit(copy, &mut source, &index.parsed) == Fit::Beginning => {
                if copy.end() > end {
                    let path = from.display();
                    self.watch
                        .damaged(format!("{path}: it is shorter than the copy, which is kept"));
                    return Ok(Attempt::Done);
                }
                self.add_to(copy, &file, end)?
            }
            // It was rotated after all.
            Some(_) => return Ok(Attempt::Again),
            None => {
                let draft = draft_path(&to);
                let copied = self.copy_bytes(&*file, &draft, end)?;
                if copied.is_ok() {
                    self.remove(&index_path(&to))?;
                    self.rename(&draft, &to)?;
                } else {
                    self.remove(&draft)?;
                }
                copied.map(|()| end)
            }
        };
        match copied {
            Err(error) => {
                self.watch.damaged(format!("{}: cannot be read: {error}", from.display()))
            }
            Ok(copied) => {
                self.write_index(&to, &index_bytes)?;
                self.check_live(&to, &found)?;
                if copied > 0 {
                    self.done.copied += 1;
                    self.done.bytes += copied;
                } else {
                    self.done.present += 1;
                }
            }
        }
        Ok(Attempt::Done)
    }

    /// Adds to the copy of a live segment what is new up to `end`; how much that was. The inner error is the source's.
    fn add_to(
        &mut self,
        copy: &LiveCopy,
        file: &Arc<dyn StorageFile>,
        end: u64,
    ) -> Result<io::Result<u64>, BackupError> {
        let to = self.to.dir.join(&self.to.name);
        let begin = copy.end();
        if let Err(error) = self.append_bytes(&**file, &*copy.file, &to, begin, end)? {
            return Ok(Err(error));
        }
        let head = match read_full(&**file, 0, 8) {
            Ok(head) => head,
            Err(error) => return Ok(Err(error)),
        };
        write_full(&*copy.file, &head, 0)
            .and_then(|()| copy.file.set_bytes(end))
            .and_then(|()| copy.file.sync())
            .map_err(BackupError::io("write", &to))?;
        Ok(Ok(end - begin))
    }

    /// Reads the copy of the live segment back.
    fn check_live(&mut self, to: &Path, found: &Scanned) -> Result<(), BackupError> {
        let failed = || BackupError::io("read", to);
        let file = self.storage.open(to, Access::Read).map_err(failed())?;
        let known: BTreeSet<u64> = found.damage.iter().map(|damage| damage.position).collect();
        for slot in found.index.slots() {
            let stretch = &slot.stretch;
            let bytes = read_full(&*file, stretch.position, stretch.bytes as usize);
            let bytes = bytes.map_err(failed())?;
            if !known.contains(&stretch.position) && !stretch.matches(&bytes) {
                let error = io::Error::other("what was written is not what is read back");
                return Err(failed()(error));
            }
        }
        Ok(())
    }

    /// Copies the positions of durable cursors, as they are now, and bytes that a repair cut off.
    fn copy_small_files(&mut self) -> Result<(), BackupError> {
        let torn = format!("{}.torn-", self.from.name);
        let cursors = format!("{}.cursors", self.from.name);
        let dirs = [
            (self.from.dir.clone(), self.to.dir.clone(), Some(torn)),
            (self.from.dir.join(&cursors), self.to.dir.join(&cursors), None),
        ];
        for (from, to, prefix) in dirs {
            let files = match self.storage.list(&from) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(BackupError::io("list", &from))?,
            };
            if prefix.is_none() {
                self.storage.create_dir(&to).map_err(BackupError::io("make directory", &to))?;
            }
            let mut copied = false;
            let mut names = BTreeSet::new();
            for file in files {
                let wanted = match &prefix {
                    Some(prefix) => file.name.starts_with(prefix.as_str()),
                    // A draft of what is being stored.
                    None => !file.name.ends_with(".new") && file.bytes <= MAX_CURSORS_BYTES,
                };
                if wanted {
                    copied |= self.copy_small(&from.join(&file.name), &to.join(&file.name))?;
                    names.insert(file.name);
                }
            }
            if prefix.is_none() {
                // One kind of file may have taken the place of another.
                for file in self.storage.list(&to).map_err(BackupError::io("list", &to))? {
                    if !names.contains(&file.name) {
                        self.remove(&to.join(&file.name))?;
                        copied = true;
                    }
                }
            }
            if copied {
                self.storage.sync_dir(&to).map_err(BackupError::io("sync", &to))?;
            }
        }
        Ok(())
    }

    /// Copies a file that is replaced as a whole, or never changes; whether there was anything to copy.
    fn copy_small(&mut self, from: &Path, to: &Path) -> Result<bool, BackupError> {
        let Ok(file) = self.storage.open(from, Access::Read) else { return Ok(false) };
        let Ok(bytes) = file.bytes() else { return Ok(false) };
        if let Ok(there) = self.storage.open(to, Access::Read)
            && there.bytes().ok() == Some(bytes)
            && is_same(&*file, &*there, bytes).unwrap_or(false)
        {
            return Ok(false);
        }
        let draft = draft_path(to);
        match self.copy_bytes(&*file, &draft, bytes)? {
            Ok(()) => self.rename(&draft, to)?,
            Err(error) => {
                self.watch.damaged(format!("{}: cannot be read: {error}", from.display()));
            }
        }
        Ok(true)
    }

    /// Makes names durable, writes what belongs to the copy, and removes segments whose archives are there.
    fn finish(&mut self) -> Result<(), BackupError> {
        self.sync_dirs()?;
        let replaced = self.replaced()?;
        self.write_manifests(&replaced)?;
        for path in replaced {
            self.remove(&path)?;
            self.remove(&index_path(&path))?;
        }
        self.sync_dirs()
    }

    /// Segments of the copy whose archives are there too, and sound.
    fn replaced(&mut self) -> Result<Vec<PathBuf>, BackupError> {
        let mut replaced = Vec::new();
        let mut dirs = vec![&self.to.dir];
        dirs.extend((self.to.dir != self.to.arch_dir).then_some(&self.to.arch_dir));
        for dir in dirs {
            for file in self.storage.list(dir).map_err(BackupError::io("list", dir))? {
                if parse_rotated_name(&self.to.name, &file.name).is_none() {
                    continue;
                }
                let path = dir.join(&file.name);
                let archive = self.to.arch_dir.join(format!("{}{ARCHIVE_SUFFIX}", file.name));
                let Ok(Some(packed)) = read_summary(self.storage, &archive) else { continue };
                let location = Location::Archive(archive.clone());
                let Ok(mut source) = Source::open(self.storage, &location, &file.name) else {
                    continue;
                };
                let Ok(raw) = self.storage.open(&path, Access::Read) else { continue };
                let index = read_index(self.storage, &path, file.bytes).unwrap_or_default().index;
                let raw = LiveCopy { file: raw, index };
                if raw.end() == file.bytes
                    && is_beginning(&raw, &mut source)
                    && self.is_sound(&archive, &file.name, packed)
                {
                    replaced.push(path);
                }
            }
        }
        Ok(replaced)
    }

    /// Whether all of an archive is as it was written.
    fn is_sound(&self, archive: &Path, segment: &str, packed: Summary) -> bool {
        let location = Location::Archive(archive.to_owned());
        let checked = Source::open(self.storage, &location, segment).and_then(|mut source| {
            let parsed = read_index(self.storage, archive, packed.bytes)?;
            source.use_restarts(&parsed.index);
            let found = examined(&mut source, &parsed, packed.bytes, Kind::Rotated)?;
            Ok(source.bytes()? == packed.bytes && found.damage.is_empty() && found.torn.is_none())
        });
        checked.unwrap_or(false)
    }

    /// Writes the manifests of the copy: what its directories hold, without what is about to go, and what the source
    /// ought to have and has not.
    fn write_manifests(&mut self, going: &[PathBuf]) -> Result<(), BackupError> {
        let source = read_listings(self.from, self.storage)?;
        let before = read_listings(self.to, self.storage)?;
        let is_one = self.to.dir == self.to.arch_dir;
        let mut arch = self.listing_of(&self.to.arch_dir, &source.arch, &before.arch, going)?;
        let mut dir = self.listing_of(&self.to.dir, &source.dir, &before.dir, going)?;
        self.carry_missing(&source, &before, &mut dir, &mut arch)?;
        dir.reserved = before.dir.reserved.max(source.dir.reserved);
        // What was deleted before it could be copied is not here; what was deleted after that is.
        let is_gap = source.dir.deleted > self.reached;
        dir.deleted = before.dir.deleted.max(source.dir.deleted.filter(|_| is_gap));
        dir.damage.clone_from(&before.dir.damage);
        for (at, noted) in &source.dir.damage {
            dir.damage.insert(at.clone(), *noted);
        }
        let write = |dir: &Path, listing: &Listing, before: &Listing| {
            if listing == before {
                return Ok(());
            }
            let manifest = Manifest::new(dir, &self.to.name);
            manifest
                .write(self.storage, listing)
                .map_err(BackupError::io("write the manifest in", dir))
        };
        if !is_one {
            write(&self.to.arch_dir, &arch, &before.arch)?;
        }
        write(&self.to.dir, &dir, &before.dir)
    }

    /// What a directory of the copy holds. The source knows best what that ought to be.
    fn listing_of(
        &self,
        dir: &Path,
        source: &Listing,
        before: &Listing,
        going: &[PathBuf],
    ) -> Result<Listing, BackupError> {
        let mut listing = Listing { scrubbed: before.scrubbed.clone(), ..Listing::default() };
        for file in self.storage.list(dir).map_err(BackupError::io("list", dir))? {
            let segment = file.name.strip_suffix(ARCHIVE_SUFFIX).unwrap_or(&file.name);
            let path = dir.join(&file.name);
            if parse_rotated_name(&self.to.name, segment).is_none() || going.contains(&path) {
                continue;
            }
            let known = [source, before].into_iter().find_map(|l| l.members.get(&file.name));
            let member = known.copied().or_else(|| self.member(&path, file.bytes));
            if let Some(member) = member {
                listing.members.insert(file.name, member);
            }
        }
        listing.scrubbed.retain(|name, _| listing.members.contains_key(name));
        Ok(listing)
    }

    /// What a file's complete index says of it.
    fn member(&self, path: &Path, disk_bytes: u64) -> Option<Member> {
        let summary = read_summary(self.storage, path).ok()??;
        let parsed = read_index(self.storage, path, summary.bytes).ok()?;
        let summary = parsed.sealed?;
        Some(Member { disk_bytes, summary, records_crc: parsed.index.content_crc() })
    }

    /// Keeps on the list what the source or the copy ought to have and has not, and says so of the source's.
    fn carry_missing(
        &mut self,
        source: &Listings,
        before: &Listings,
        dir: &mut Listing,
        arch: &mut Listing,
    ) -> Result<(), BackupError> {
        let is_one = self.to.dir == self.to.arch_dir;
        let has = |dir: &Listing, arch: &Listing, name: &str| {
            let segment = name.strip_suffix(ARCHIVE_SUFFIX).unwrap_or(name);
            let archive = format!("{segment}{ARCHIVE_SUFFIX}");
            dir.members.contains_key(segment)
                || [dir, arch].iter().any(|l| l.members.contains_key(&archive))
        };
        let mut absent = Vec::new();
        for (listings, is_source) in [(source, true), (before, false)] {
            let of_arch = listings.arch.members.iter().filter(|_| !is_one);
            let all = (of_arch.map(|(name, member)| (name, member, true)))
                .chain(listings.dir.members.iter().map(|(name, member)| (name, member, false)));
            for (name, member, is_arch) in all {
                if has(dir, arch, name) {
                    continue;
                }
                if is_source {
                    absent.push((name.clone(), *member, is_arch));
                } else {
                    let listing = if is_arch { &mut *arch } else { &mut *dir };
                    listing.members.insert(name.clone(), *member);
                }
            }
        }
        for (name, member, is_arch) in absent {
            let its_dir = if is_arch { &self.from.arch_dir } else { &self.from.dir };
            let segment = name.strip_suffix(ARCHIVE_SUFFIX).unwrap_or(&name);
            let archive = self.from.arch_dir.join(format!("{segment}{ARCHIVE_SUFFIX}"));
            let exists = |path: &Path| self.storage.open(path, Access::Read).is_ok();
            // One that was rotated since the live segment was opened is for the next backup.
            if exists(&its_dir.join(&name))
                || exists(&self.from.dir.join(segment))
                || exists(&archive)
            {
                continue;
            }
            // Nor is one missing that was deleted since the manifest was read.
            let now = read_listings(self.from, self.storage)?;
            let now = if is_arch { &now.arch } else { &now.dir };
            if now.members.contains_key(&name) {
                self.watch.damaged(format!("{}: it is missing", its_dir.join(&name).display()));
                let listing = if is_arch { &mut *arch } else { &mut *dir };
                listing.members.insert(name, member);
            }
        }
        Ok(())
    }

    /// The latest timestamp in the copy.
    fn reached(&mut self) -> Result<Option<Timestamp>, BackupError> {
        let mut reached = None;
        for dir in [&self.to.dir, &self.to.arch_dir] {
            for file in self.storage.list(dir).map_err(BackupError::io("list", dir))? {
                let segment = file.name.strip_suffix(ARCHIVE_SUFFIX).unwrap_or(&file.name);
                if parse_rotated_name(&self.to.name, segment).is_some() {
                    let summary = read_summary(self.storage, &dir.join(&file.name));
                    reached = reached.max(summary.ok().flatten().map(|summary| summary.last));
                }
            }
        }
        let live = self.copy_of_live()?.and_then(|copy| copy.index.interval());
        Ok(reached.max(live.map(|(_, last)| last)))
    }

    /// Writes an index file as a whole.
    fn write_index(&self, segment: &Path, bytes: &[u8]) -> Result<(), BackupError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let path = index_path(segment);
        let draft = draft_path(&path);
        let write = || -> io::Result<()> {
            let file = create_fresh(self.storage, &draft)?;
            write_full(&*file, bytes, 0)?;
            file.sync()
        };
        write().map_err(BackupError::io("write", &draft))?;
        self.rename(&draft, &path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), BackupError> {
        self.storage.rename(from, to).map_err(BackupError::io("rename", from))
    }

    /// Removes a file of the copy, if it is there.
    fn remove(&self, path: &Path) -> Result<(), BackupError> {
        match self.storage.remove(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(BackupError::io("remove", path)),
        }
    }

    fn sync_dirs(&self) -> Result<(), BackupError> {
        for dir in [&self.to.dir, &self.to.arch_dir] {
            self.storage.sync_dir(dir).map_err(BackupError::io("sync", dir))?;
        }
        Ok(())
    }
}

/// What is beside a segment.
#[derive(Debug, Default)]
struct IndexFile {
    /// The file; empty if there is none.
    bytes: Vec<u8>,
    parsed: ParsedIndex,
}

impl IndexFile {
    /// The file as it belongs beside a copy: that of a segment which was rotated just now may cover all of it without
    /// being complete.
    fn completed(&self, piece: &Piece) -> Vec<u8> {
        let index = &self.parsed.index;
        match index.interval() {
            Some((first, last))
                if piece.location == LocationKind::File
                    && self.parsed.sealed.is_none()
                    && index.end() == Some(piece.bytes) =>
            {
                let count = index.count();
                let bytes = piece.bytes;
                index.to_sealed_file(Summary { bytes, count, first, last, crc: 0 })
            }
            _ => self.bytes.clone(),
        }
    }
}

/// What the copy has of a live segment.
struct LiveCopy {
    file: Arc<dyn StorageFile>,
    index: Index,
}

impl LiveCopy {
    /// How far it reaches.
    fn end(&self) -> u64 {
        self.index.end().unwrap_or(HEAD_BYTES)
    }

    fn first(&self) -> Option<Timestamp> {
        self.index.interval().map(|(first, _)| first)
    }
}

/// How what the copy has of a live segment relates to a segment of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// It is the beginning of that segment, wherever that is not damaged.
    Beginning,
    /// Up to here it is; then the segment has other entries, or none.
    Until(u64),
    /// It is of another segment.
    Other,
}

/// Compares what the copy has of a live segment with a segment of the source.
fn fit(copy: &LiveCopy, source: &mut Source, parsed: &ParsedIndex) -> Fit {
    for slot in copy.index.slots() {
        let (position, length) = (slot.stretch.position, slot.stretch.bytes as usize);
        let ours = read_full(&*copy.file, position, length).unwrap_or_default();
        let theirs = source.read(position, length).unwrap_or_default();
        if ours == theirs {
            continue;
        }
        // Damage of the source's is no other entry.
        let overlaps = |other: &&Slot| {
            other.stretch.end() > position && other.stretch.position < slot.stretch.end()
        };
        let is_damaged = parsed.index.slots().iter().filter(overlaps).any(|other| {
            let other = &other.stretch;
            let read = source.read(other.position, other.bytes as usize);
            !read.is_ok_and(|read| other.matches(&read))
        });
        let is_of_it = parsed.first() == copy.first();
        if is_of_it && is_damaged && slot.stretch.end() <= parsed.index.end().unwrap_or(0) {
            continue;
        }
        let same = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
        let mut entries = Entries::new(&ours);
        let mut end = position;
        while entries.next().is_some() {
            let behind = ours.len() - entries.rest().len();
            if behind > same {
                break;
            }
            end = position + behind as u64;
        }
        return if end > HEAD_BYTES { Fit::Until(end) } else { Fit::Other };
    }
    Fit::Beginning
}

/// Whether a segment begins with what the copy of a live one holds.
fn is_beginning(copy: &LiveCopy, source: &mut Source) -> bool {
    let mut file = Source::File(Arc::clone(&copy.file));
    is_same_to(&mut file, source, copy.end())
}

/// Whether two segments hold the same up to `end`, apart from the mark in their heads.
fn is_same_to(a: &mut Source, b: &mut Source, end: u64) -> bool {
    let mut at = HEAD_BYTES;
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(COPY_BYTES);
        match (a.read(at, wanted), b.read(at, wanted)) {
            (Ok(a), Ok(b)) if a == b && a.len() == wanted => at += wanted as u64,
            _ => return false,
        }
    }
    true
}

/// Whether two files have the same first `bytes` bytes.
fn is_same(a: &dyn StorageFile, b: &dyn StorageFile, bytes: u64) -> io::Result<bool> {
    let mut at = 0;
    while at < bytes {
        let wanted = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(COPY_BYTES);
        let (left, right) = (read_full(a, at, wanted)?, read_full(b, at, wanted)?);
        if left.len() < wanted || left != right {
            return Ok(false);
        }
        at += wanted as u64;
    }
    Ok(true)
}

fn describe(damage: &super::Damage) -> String {
    let super::Damage { position, bytes, what } = damage;
    format!("damaged at byte {position}, {bytes} bytes: {what}")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rotated,
    Live,
}

/// Checks all of a segment: nothing of its index is taken on trust.
fn examined(
    source: &mut Source,
    parsed: &ParsedIndex,
    bytes: u64,
    kind: Kind,
) -> io::Result<Scanned> {
    let mut parsed = parsed.clone();
    parsed.durable = Durable::default();
    let resynchronise = kind == Kind::Rotated && parsed.head == Head::Absent;
    examine(source, &parsed, bytes, &Trust { resynchronise, latest: Timestamp::MAX })
}

/// Whether a node has the log open.
fn is_running(storage: &dyn Storage, log: &LogConfig) -> bool {
    storage.is_locked(&log.dir.join(format!("{}.lock", log.name)))
}

#[cfg(test)]
mod tests;
