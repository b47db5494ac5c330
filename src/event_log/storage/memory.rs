//! A file system in memory that fails on demand and behaves at a crash as Linux does: after the death of a process
//! everything that was written is there; after a power loss what was synced is, and of the rest whatever the disk had
//! got round to. A sync that fails leaves its pages clean and unwritten.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Access, Listed, Lock, Storage, StorageDir, StorageFile};
use disk::{Contents, Inode, Names};

mod disk;
mod faults;

pub(crate) use disk::SECTOR_BYTES;
pub(crate) use faults::{Call, FailWith, Fault, When};

/// A small generator of numbers; one seed decides everything.
#[derive(Clone, Debug)]
pub(crate) struct Seeded(u64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Seeded(seed.wrapping_mul(2).wrapping_add(1))
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end.max(1)
    }
}

impl Seeded {
    /// An index below `end`.
    pub(crate) fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).expect("below a usize")
    }
}

/// Called at each call to the storage, before it is done; not at those that it makes itself.
pub(crate) type Hook = Arc<dyn Fn(Call, &Path) + Send + Sync>;

#[derive(Default)]
struct Disk {
    names: Names,
    locked: Vec<PathBuf>,
    capacity: Option<u64>,
    faults: Vec<Fault>,
    /// Chooses where the seed of the test has no say.
    seeded: Option<Seeded>,
    /// Changing calls left until everything fails, as when the process dies.
    calls_left: Option<u64>,
    dead: bool,
    calls: u64,
    /// At most so many bytes are written by one call.
    short_writes: Option<usize>,
    boots: u64,
    hook: Option<Hook>,
    /// The calls that failed because it was asked for.
    hits: Vec<Hit>,
}

/// A call that failed.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub(crate) call: Call,
    pub(crate) path: PathBuf,
    pub(crate) is_transient: bool,
    pub(crate) is_full: bool,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("names", &self.names).finish_non_exhaustive()
    }
}

/// What becomes of a call that does not fail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Happens,
    /// The process dies in it: it may happen, and nobody is told.
    Dies,
}

fn dead() -> io::Error {
    io::Error::other("the process is dead")
}

impl Disk {
    fn used(&self) -> u64 {
        self.names.present.values().map(|inode| guard(inode).bytes.len() as u64).sum()
    }

    fn seeded(&mut self) -> &mut Seeded {
        self.seeded.get_or_insert_with(|| Seeded::new(1))
    }

    /// Counts a call, and lets it fail if that was asked for.
    fn called(&mut self, call: Call, path: &Path) -> io::Result<Fate> {
        if self.dead {
            return Err(dead());
        }
        if call.is_change() {
            self.calls += 1;
            if let Some(left) = &mut self.calls_left {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.dead = true;
                    return Ok(Fate::Dies);
                }
            }
        }
        let mut seeded = self.seeded().clone();
        let failed = self.faults.iter_mut().find_map(|fault| fault.hits(call, path, &mut seeded));
        self.seeded = Some(seeded);
        let Some(error) = failed else { return Ok(Fate::Happens) };
        let (is_transient, is_full) = (super::is_transient(&error), super::is_full(&error));
        self.hits.push(Hit { call, path: path.to_owned(), is_transient, is_full });
        Err(error)
    }

    /// Does a change, or does it not, if the process dies in it.
    fn fated<T>(
        &mut self,
        fate: Fate,
        change: impl FnOnce(&mut Disk) -> io::Result<T>,
    ) -> io::Result<T> {
        if fate == Fate::Happens {
            return change(self);
        }
        if self.seeded().below(2) > 0 {
            drop(change(self));
        }
        Err(dead())
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The double; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryStorage(Arc<Mutex<Disk>>);

impl MemoryStorage {
    pub(crate) fn new() -> Self {
        MemoryStorage::default()
    }

    /// Lets `seed` decide what the test does not.
    pub(crate) fn set_seed(&self, seed: u64) {
        guard(&self.0).seeded = Some(Seeded::new(seed));
    }

    /// Lets the `nth` call of a kind from now on, and all after it, fail. Cutting is writing here, and a directory's
    /// sync is a sync.
    pub(crate) fn fail(&self, call: Call, nth: u64, kind: io::ErrorKind) {
        let calls = match call {
            Call::Write => vec![Call::Write, Call::SetBytes],
            Call::Sync => vec![Call::Sync, Call::SyncDir],
            other => vec![other],
        };
        self.add_fault(Fault {
            calls,
            path: "",
            failure: FailWith::Kind(kind),
            when: When::From(nth),
        });
    }

    /// Lets calls fail until [`MemoryStorage::heal`].
    pub(crate) fn add_fault(&self, fault: Fault) {
        guard(&self.0).faults.push(fault);
    }

    /// Lets every call from the `nth` that changes something on fail, as if the process died there.
    pub(crate) fn die_at_call(&self, nth: u64) {
        guard(&self.0).calls_left = Some(nth);
    }

    /// Whether it died.
    pub(crate) fn is_dead(&self) -> bool {
        guard(&self.0).dead
    }

    /// How many calls there were that change something.
    pub(crate) fn calls(&self) -> u64 {
        guard(&self.0).calls
    }

    /// Is called at each call from now on.
    pub(crate) fn set_hook(&self, hook: Option<Hook>) {
        guard(&self.0).hook = hook;
    }

    /// Nothing fails any more, but for sectors that can't be read.
    pub(crate) fn heal(&self) {
        let mut disk = guard(&self.0);
        disk.faults.clear();
        disk.calls_left = None;
        disk.dead = false;
        disk.capacity = None;
        disk.short_writes = None;
    }

    /// From now on the disk holds at most `bytes` bytes.
    pub(crate) fn set_capacity(&self, bytes: Option<u64>) {
        guard(&self.0).capacity = bytes;
    }

    /// The calls that failed since this was asked last.
    pub(crate) fn take_hits(&self) -> Vec<Hit> {
        std::mem::take(&mut guard(&self.0).hits)
    }

    /// Bytes of all files.
    pub(crate) fn used(&self) -> u64 {
        guard(&self.0).used()
    }

    /// From now on a call writes at most `bytes` bytes.
    pub(crate) fn set_short_writes(&self, bytes: usize) {
        guard(&self.0).short_writes = Some(bytes);
    }

    /// All locks are free, as after the death of their process.
    pub(crate) fn kill(&self) {
        guard(&self.0).locked.clear();
        self.heal();
    }

    /// The power fails: of what was not synced some sectors are there and some are not, whatever their order; of each
    /// directory's changes a first part is.
    pub(crate) fn lose_power(&self, seeded: &mut Seeded) {
        self.kill();
        let mut disk = guard(&self.0);
        disk.boots += 1;
        disk.names.lose_power(seeded);
    }

    /// Reads of a file's sector fail until it is written again; false if there is no such sector.
    pub(crate) fn spoil_sector(&self, path: &Path, sector: u64) -> bool {
        let disk = guard(&self.0);
        let Some(inode) = disk.names.present.get(path) else { return false };
        let mut contents = guard(inode);
        let is_there = sector * SECTOR_BYTES < contents.bytes.len() as u64;
        is_there && contents.unreadable.insert(sector)
    }

    /// A bit of a file is the other one from now on.
    pub(crate) fn flip(&self, path: &Path, position: u64, bit: u32) {
        if let Some(inode) = guard(&self.0).names.present.get(path) {
            guard(inode).flip(position, bit);
        }
    }

    /// A file's bytes.
    pub(crate) fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        guard(&self.0).names.present.get(path).map(|inode| guard(inode).bytes.clone())
    }

    /// Replaces a file's bytes, durably.
    pub(crate) fn put(&self, path: &Path, bytes: Vec<u8>) {
        guard(&self.0).names.put(path, Arc::new(Mutex::new(Contents::durably(bytes))));
    }

    /// A disk with the same files, all of them durable.
    pub(crate) fn fork(&self) -> Self {
        let fresh = MemoryStorage::new();
        let disk = guard(&self.0);
        for (path, inode) in &disk.names.present {
            fresh.put(path, guard(inode).bytes.clone());
        }
        guard(&fresh.0).boots = disk.boots;
        drop(disk);
        fresh
    }

    /// A disk in the same state, with what is not durable and what can't be read, but with no faults and no locks.
    pub(crate) fn copy(&self) -> Self {
        let disk = guard(&self.0);
        let (names, seeded, boots) = (disk.names.copy(), disk.seeded.clone(), disk.boots);
        MemoryStorage(Arc::new(Mutex::new(Disk { names, seeded, boots, ..Disk::default() })))
    }

    /// All paths.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        guard(&self.0).names.present.keys().cloned().collect()
    }

    /// Tells the hook of a call, and locks the disk.
    fn entered(&self, call: Call, path: &Path) -> MutexGuard<'_, Disk> {
        thread_local!(static INSIDE: Cell<bool> = const { Cell::new(false) });
        let hook = guard(&self.0).hook.clone();
        if let Some(hook) = hook
            && !INSIDE.replace(true)
        {
            hook(call, path);
            INSIDE.set(false);
        }
        guard(&self.0)
    }
}

impl Storage for MemoryStorage {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        let call = if access == Access::Create { Call::Create } else { Call::Open };
        let mut disk = self.entered(call, path);
        let fate = disk.called(call, path)?;
        let inode = disk.fated(fate, |disk| match disk.names.present.get(path) {
            Some(inode) => {
                let inode = Arc::clone(inode);
                if access == Access::Create {
                    guard(&inode).set_length(0);
                }
                Ok(inode)
            }
            None if access == Access::Create => {
                let inode = Inode::default();
                disk.names.add(path, &inode);
                Ok(inode)
            }
            None => Err(io::ErrorKind::NotFound.into()),
        })?;
        drop(disk);
        Ok(Arc::new(MemoryFile { inode, disk: self.clone(), path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.entered(Call::Rename, from);
        let fate = disk.called(Call::Rename, from)?;
        disk.fated(fate, |disk| {
            disk.names.rename(from, to).ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.entered(Call::Remove, path);
        let fate = disk.called(Call::Remove, path)?;
        disk.fated(fate, |disk| {
            disk.names.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Listed>> {
        let mut disk = self.entered(Call::List, dir);
        disk.called(Call::List, dir)?;
        let listed = disk.names.present.iter().filter(|(path, _)| path.parent() == Some(dir));
        Ok(listed
            .filter_map(|(path, inode)| {
                let name = path.file_name()?.to_str()?.to_owned();
                Some(Listed { name, bytes: guard(inode).bytes.len() as u64 })
            })
            .collect())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.entered(Call::CreateDir, dir);
        let fate = disk.called(Call::CreateDir, dir)?;
        disk.fated(fate, |_| Ok(()))
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn StorageDir>> {
        self.entered(Call::OpenDir, dir).called(Call::OpenDir, dir)?;
        Ok(Arc::new(MemoryDir { disk: self.clone(), path: dir.to_owned() }))
    }

    fn boot_id(&self) -> Option<String> {
        Some(guard(&self.0).boots.to_string())
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let mut disk = self.entered(Call::FreeBytes, dir);
        disk.called(Call::FreeBytes, dir)?;
        Ok(disk.capacity.map_or(1 << 50, |capacity| capacity.saturating_sub(disk.used())))
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut disk = self.entered(Call::Lock, path);
        disk.called(Call::Lock, path)?;
        if disk.locked.iter().any(|locked| locked == path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        disk.locked.push(path.to_owned());
        drop(disk);
        Ok(Box::new(MemoryLock { path: path.to_owned(), disk: self.clone() }))
    }

    fn is_locked(&self, path: &Path) -> bool {
        guard(&self.0).locked.iter().any(|locked| locked == path)
    }
}

#[derive(Debug)]
struct MemoryDir {
    disk: MemoryStorage,
    path: PathBuf,
}

impl StorageDir for MemoryDir {
    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.entered(Call::SyncDir, &self.path);
        let fate = disk.called(Call::SyncDir, &self.path)?;
        disk.fated(fate, |disk| {
            disk.names.sync(&self.path);
            Ok(())
        })
    }
}

struct MemoryLock {
    path: PathBuf,
    disk: MemoryStorage,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        guard(&self.disk.0).locked.retain(|locked| *locked != self.path);
    }
}

#[derive(Debug)]
struct MemoryFile {
    inode: Inode,
    disk: MemoryStorage,
    /// What it was called when it was opened.
    path: PathBuf,
}

impl StorageFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.disk.entered(Call::Read, &self.path).called(Call::Read, &self.path)?;
        let contents = guard(&self.inode);
        let from = usize::try_from(position).unwrap_or(usize::MAX).min(contents.bytes.len());
        let mut read = buffer.len().min(contents.bytes.len() - from);
        let from_sector = position / SECTOR_BYTES;
        if let Some(bad) = contents.unreadable.range(from_sector..).next()
            && read > 0
        {
            let good = (bad * SECTOR_BYTES).saturating_sub(position);
            read = read.min(usize::try_from(good).unwrap_or(usize::MAX));
            if read == 0 {
                return Err(rustix::io::Errno::IO.into());
            }
        }
        buffer[..read].copy_from_slice(&contents.bytes[from..from + read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        let mut disk = self.disk.entered(Call::Write, &self.path);
        let fate = disk.called(Call::Write, &self.path)?;
        let mut len = bytes.len().min(disk.short_writes.unwrap_or(usize::MAX));
        if let Some(capacity) = disk.capacity {
            let end = guard(&self.inode).bytes.len() as u64;
            let grows = (position + len as u64).saturating_sub(end);
            let free = capacity.saturating_sub(disk.used());
            if grows > free {
                let short = (len as u64).saturating_sub(grows - free);
                if short == 0 {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                len = usize::try_from(short).expect("not more than before");
            }
        }
        if fate == Fate::Dies {
            // As far as the death lets it.
            len = disk.seeded().index(len + 1);
        }
        guard(&self.inode).write(position, &bytes[..len]);
        if fate == Fate::Dies { Err(dead()) } else { Ok(len) }
    }

    fn bytes(&self) -> io::Result<u64> {
        if self.disk.is_dead() {
            return Err(dead());
        }
        Ok(guard(&self.inode).bytes.len() as u64)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        let mut disk = self.disk.entered(Call::SetBytes, &self.path);
        let fate = disk.called(Call::SetBytes, &self.path)?;
        disk.fated(fate, |_| {
            guard(&self.inode).set_length(bytes);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.entered(Call::Sync, &self.path);
        match disk.called(Call::Sync, &self.path) {
            Ok(fate) => disk.fated(fate, |_| {
                guard(&self.inode).sync();
                Ok(())
            }),
            Err(error) => {
                if !disk.dead {
                    guard(&self.inode).fail_sync(disk.seeded());
                }
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::storage::{read_full, write_full};

    const A: &str = "/d/a";

    fn path(name: &str) -> &Path {
        Path::new(name)
    }

    fn file(storage: &MemoryStorage, name: &str, bytes: &[u8]) -> Arc<dyn StorageFile> {
        let file = storage.open(path(name), Access::Create).expect("opens");
        write_full(&*file, bytes, 0).expect("writes");
        file
    }

    /// Over many power losses, the different contents that a file had afterwards; `None` where it was gone.
    fn outcomes(
        storage: &MemoryStorage,
        name: &str,
    ) -> std::collections::BTreeSet<Option<Vec<u8>>> {
        (0..400)
            .map(|seed| {
                let copy = storage.copy();
                copy.lose_power(&mut Seeded::new(seed));
                copy.bytes(path(name))
            })
            .collect()
    }

    #[test]
    fn a_name_is_durable_once_its_own_directory_was_synced() {
        let storage = MemoryStorage::new();
        file(&storage, A, b"x").sync().expect("syncs");
        storage.sync_dir(path("/other")).expect("syncs");
        assert!(outcomes(&storage, A).contains(&None));
        storage.sync_dir(path("/d")).expect("syncs");
        assert_eq!(outcomes(&storage, A), [Some(b"x".to_vec())].into());
        storage.rename(path(A), path("/d/b")).expect("renames");
        for seed in 0..100 {
            let copy = storage.copy();
            copy.lose_power(&mut Seeded::new(seed));
            assert_eq!(copy.paths().len(), 1, "one name or the other");
        }
        storage.rename(path("/d/b"), path("/other/b")).expect("renames");
        for seed in 0..100 {
            let copy = storage.copy();
            copy.lose_power(&mut Seeded::new(seed));
            assert_eq!(copy.paths().len(), 1, "in one directory or in the other");
        }
        storage.sync_dir(path("/other")).expect("syncs");
        assert_eq!(outcomes(&storage, "/other/b"), [Some(b"x".to_vec())].into());
    }

    #[test]
    fn any_of_the_sectors_that_were_not_synced_may_be_missing() {
        let storage = MemoryStorage::new();
        let file = file(&storage, A, &[1; 1024]);
        storage.sync_dir(path("/d")).expect("syncs");
        file.sync().expect("syncs");
        write_full(&*file, &[2; 1024], 0).expect("writes");
        let sectors = |a: u8, b: u8| Some([[a; 512], [b; 512]].concat());
        let all = [sectors(1, 1), sectors(1, 2), sectors(2, 1), sectors(2, 2)];
        assert_eq!(outcomes(&storage, A), all.into());
        file.sync().expect("syncs");
        file.set_bytes(512).expect("cuts");
        assert_eq!(outcomes(&storage, A), [sectors(2, 2), Some(vec![2; 512])].into());
    }

    #[test]
    fn what_a_failed_sync_did_not_write_no_later_sync_writes() {
        let storage = MemoryStorage::new();
        let file = file(&storage, A, &[1; 512]);
        file.sync().expect("syncs");
        storage.sync_dir(path("/d")).expect("syncs");
        let mut lost = 0;
        for round in 0..20 {
            write_full(&*file, &[2 + round; 512], 0).expect("writes");
            storage.fail(Call::Sync, 1, io::ErrorKind::Other);
            file.sync().expect_err("fails");
            storage.heal();
            file.sync().expect("syncs");
            assert_eq!(read_full(&*file, 0, 512).expect("reads"), [2 + round; 512]);
            let after = outcomes(&storage, A);
            assert_eq!(after.len(), 1);
            lost += usize::from(!after.contains(&Some(vec![2 + round; 512])));
        }
        assert!(lost > 3 && lost < 18, "{lost}");
    }

    #[test]
    fn a_sector_that_cannot_be_read_can_be_written() {
        let storage = MemoryStorage::new();
        let file = file(&storage, A, &[7; 2000]);
        assert!(storage.spoil_sector(path(A), 1));
        assert!(!storage.spoil_sector(path(A), 4));
        assert_eq!(file.read_at(&mut [0; 2000], 0).expect("reads"), 512);
        assert!(file.read_at(&mut [0; 1], 600).is_err());
        assert_eq!(read_full(&*file, 1024, 2000).expect("reads").len(), 976);
        write_full(&*file, &[8; 10], 600).expect("writes");
        assert_eq!(read_full(&*file, 0, 2000).expect("reads").len(), 2000);
    }

    #[test]
    fn faults_hit_the_calls_and_files_they_are_meant_for() {
        let storage = MemoryStorage::new();
        let file_a = file(&storage, A, &[7; 2000]);
        let fault = |when| Fault {
            calls: vec![Call::Read],
            path: "a",
            failure: FailWith::Errno(rustix::io::Errno::IO),
            when,
        };
        storage.add_fault(fault(When::Once(2)));
        let reads = |file: &Arc<dyn StorageFile>| {
            (0..100).filter(|_| file.read_at(&mut [0], 0).is_err()).count()
        };
        assert_eq!(reads(&file(&storage, "/d/b", &[1])), 0);
        assert_eq!(reads(&file_a), 1);
        storage.add_fault(fault(When::OneIn(5)));
        assert!((5..40).contains(&reads(&file_a)));
        storage.heal();
        assert_eq!(reads(&file_a), 0);
    }

    #[test]
    fn a_process_dies_before_or_after_the_call_it_dies_in() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let storage = MemoryStorage::new();
            storage.set_seed(seed);
            drop(file(&storage, A, &[7; 10]));
            storage.die_at_call(1);
            storage.rename(path(A), path("/d/b")).expect_err("dies");
            storage.remove(path(A)).expect_err("is dead");
            storage.kill();
            seen.insert(storage.paths());
        }
        assert_eq!(seen, [vec![PathBuf::from(A)], vec![PathBuf::from("/d/b")]].into());
    }
}
