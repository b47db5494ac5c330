//! A file system in memory that fails on demand and forgets at a crash what was not synced.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Access, Listed, Lock, Storage, StorageFile};

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

/// What a disk writes wholly or not at all.
const SECTOR_BYTES: u64 = 512;

/// A call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Write,
    Sync,
    Rename,
}

/// What happened to a file since it was last synced.
#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Cut(u64),
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let at = |n: u64| usize::try_from(n).expect("small files");
    match change {
        Change::Write(position, written) => {
            let end = at(*position) + written.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[at(*position)..end].copy_from_slice(written);
        }
        Change::Cut(end) => bytes.resize(at(*end), 0),
    }
}

#[derive(Debug, Default)]
struct Contents {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

type Inode = Arc<Mutex<Contents>>;

#[derive(Debug, Default)]
struct Disk {
    names: BTreeMap<PathBuf, Inode>,
    /// The names as they were after each change since the last sync of a directory, oldest first.
    durable_names: Vec<BTreeMap<PathBuf, Inode>>,
    locked: Vec<PathBuf>,
    capacity: Option<u64>,
    failures: Vec<(Call, u64, io::ErrorKind)>,
    /// Calls left until everything fails, as when the process dies.
    calls_left: Option<u64>,
    calls: u64,
    /// At most so many bytes are written by one call.
    short_writes: Option<usize>,
}

impl Disk {
    fn used(&self) -> u64 {
        self.names.values().map(|inode| guard(inode).bytes.len() as u64).sum()
    }

    fn rename_happened(&mut self) {
        if self.durable_names.is_empty() {
            self.durable_names.push(BTreeMap::new());
        }
        self.durable_names.push(self.names.clone());
    }

    /// Counts a call down to the failure that was asked for.
    fn called(&mut self, call: Option<Call>) -> io::Result<()> {
        self.calls += 1;
        if let Some(left) = &mut self.calls_left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Err(io::Error::other("the process is dead"));
            }
        }
        for (which, left, kind) in &mut self.failures {
            if Some(*which) == call {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    return Err((*kind).into());
                }
            }
        }
        Ok(())
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

    /// Lets the `nth` call of a kind from now on, and all after it, fail.
    pub(crate) fn fail(&self, call: Call, nth: u64, kind: io::ErrorKind) {
        guard(&self.0).failures.push((call, nth, kind));
    }

    /// Lets every call from the `nth` on fail, as if the process died there.
    pub(crate) fn die_at_call(&self, nth: u64) {
        guard(&self.0).calls_left = Some(nth);
    }

    /// How many calls there were.
    pub(crate) fn calls(&self) -> u64 {
        guard(&self.0).calls
    }

    /// Nothing fails any more.
    pub(crate) fn heal(&self) {
        let mut disk = guard(&self.0);
        disk.failures.clear();
        disk.calls_left = None;
        disk.capacity = None;
        disk.short_writes = None;
    }

    /// From now on the disk holds at most `bytes` bytes.
    pub(crate) fn set_capacity(&self, bytes: Option<u64>) {
        guard(&self.0).capacity = bytes;
    }

    /// From now on a call writes at most `bytes` bytes.
    pub(crate) fn set_short_writes(&self, bytes: usize) {
        guard(&self.0).short_writes = Some(bytes);
    }

    /// All locks are free, as after the death of their process.
    pub(crate) fn kill(&self) {
        let mut disk = guard(&self.0);
        disk.locked.clear();
        drop(disk);
        self.heal();
    }

    /// The power fails: of what was not synced, some writes are there and some are not, whatever their
    /// order; of renames, a first part is.
    pub(crate) fn lose_power(&self, seeded: &mut Seeded) {
        self.kill();
        let mut disk = guard(&self.0);
        let states = disk.durable_names.len() as u64;
        if states > 0 {
            let at = usize::try_from(seeded.below(states)).expect("small");
            disk.names = disk.durable_names[at].clone();
        }
        disk.durable_names = vec![disk.names.clone()];
        for inode in disk.names.values_mut() {
            let mut contents = guard(inode);
            let mut bytes = std::mem::take(&mut contents.durable);
            for change in std::mem::take(&mut contents.unsynced) {
                match change {
                    // A write reaches the disk in sectors, any of which may be missing.
                    Change::Write(position, written) => {
                        let mut at = 0;
                        while at < written.len() {
                            let position = position + at as u64;
                            let sector_end = SECTOR_BYTES - position % SECTOR_BYTES;
                            let sector_end = usize::try_from(sector_end).expect("small");
                            let end = written.len().min(at + sector_end);
                            if seeded.below(3) > 0 {
                                let part = written[at..end].to_vec();
                                apply(&mut bytes, &Change::Write(position, part));
                            }
                            at = end;
                        }
                    }
                    cut @ Change::Cut(_) => {
                        if seeded.below(2) > 0 {
                            apply(&mut bytes, &cut);
                        }
                    }
                }
            }
            let fresh = Contents { bytes: bytes.clone(), durable: bytes, unsynced: Vec::new() };
            drop(contents);
            // Handles from before the crash are of another life.
            *inode = Arc::new(Mutex::new(fresh));
        }
        disk.durable_names = vec![disk.names.clone()];
    }

    /// A file's bytes.
    pub(crate) fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        guard(&self.0).names.get(path).map(|inode| guard(inode).bytes.clone())
    }

    /// Replaces a file's bytes, durably.
    pub(crate) fn put(&self, path: &Path, bytes: Vec<u8>) {
        let contents = Contents { bytes: bytes.clone(), durable: bytes, unsynced: Vec::new() };
        let mut disk = guard(&self.0);
        disk.names.insert(path.to_owned(), Arc::new(Mutex::new(contents)));
        disk.durable_names = vec![disk.names.clone()];
    }

    /// A disk with the same files, all of them durable.
    pub(crate) fn fork(&self) -> Self {
        let fresh = MemoryStorage::new();
        let disk = guard(&self.0);
        for (path, inode) in &disk.names {
            fresh.put(path, guard(inode).bytes.clone());
        }
        drop(disk);
        fresh
    }

    /// All paths.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        guard(&self.0).names.keys().cloned().collect()
    }
}

impl Storage for MemoryStorage {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        let mut disk = guard(&self.0);
        disk.called(None)?;
        let inode = match disk.names.get(path) {
            Some(inode) => {
                let inode = Arc::clone(inode);
                if access == Access::Create {
                    let mut contents = guard(&inode);
                    contents.bytes.clear();
                    contents.unsynced.push(Change::Cut(0));
                }
                inode
            }
            None if access == Access::Create => {
                let inode = Inode::default();
                disk.names.insert(path.to_owned(), Arc::clone(&inode));
                disk.rename_happened();
                inode
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        drop(disk);
        Ok(Arc::new(MemoryFile { inode, disk: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = guard(&self.0);
        disk.called(Some(Call::Rename))?;
        let inode = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.names.insert(to.to_owned(), inode);
        disk.rename_happened();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = guard(&self.0);
        disk.called(None)?;
        disk.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        disk.rename_happened();
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Listed>> {
        let mut disk = guard(&self.0);
        disk.called(None)?;
        let listed = disk.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        Ok(listed
            .filter_map(|(path, inode)| {
                let name = path.file_name()?.to_str()?.to_owned();
                Some(Listed { name, bytes: guard(inode).bytes.len() as u64 })
            })
            .collect())
    }

    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut disk = guard(&self.0);
        disk.called(Some(Call::Sync))?;
        disk.durable_names = vec![disk.names.clone()];
        Ok(())
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        let disk = guard(&self.0);
        Ok(disk.capacity.map_or(1 << 50, |capacity| capacity.saturating_sub(disk.used())))
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut disk = guard(&self.0);
        if disk.locked.iter().any(|locked| locked == path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        disk.locked.push(path.to_owned());
        drop(disk);
        Ok(Box::new(MemoryLock { path: path.to_owned(), disk: self.clone() }))
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
}

impl StorageFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let contents = guard(&self.inode);
        let from = usize::try_from(position).unwrap_or(usize::MAX).min(contents.bytes.len());
        let read = buffer.len().min(contents.bytes.len() - from);
        buffer[..read].copy_from_slice(&contents.bytes[from..from + read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        let mut disk = guard(&self.disk.0);
        disk.called(Some(Call::Write))?;
        let mut len = bytes.len().min(disk.short_writes.unwrap_or(usize::MAX));
        if let Some(capacity) = disk.capacity {
            let end = guard(&self.inode).bytes.len() as u64;
            let grows = (position + len as u64).saturating_sub(end);
            let free = capacity.saturating_sub(disk.used());
            if grows > free {
                let short = usize::try_from(len as u64 - (grows - free)).expect("small");
                if short == 0 {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                len = short;
            }
        }
        drop(disk);
        let change = Change::Write(position, bytes[..len].to_vec());
        let mut contents = guard(&self.inode);
        apply(&mut contents.bytes, &change);
        contents.unsynced.push(change);
        Ok(len)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(guard(&self.inode).bytes.len() as u64)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        guard(&self.disk.0).called(Some(Call::Write))?;
        let mut contents = guard(&self.inode);
        apply(&mut contents.bytes, &Change::Cut(bytes));
        contents.unsynced.push(Change::Cut(bytes));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        guard(&self.disk.0).called(Some(Call::Sync))?;
        let mut contents = guard(&self.inode);
        contents.durable = contents.bytes.clone();
        contents.unsynced.clear();
        Ok(())
    }
}
