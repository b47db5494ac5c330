//! The seam between the log and the machine: every file operation of the log goes through here.
//!
//! [`RealStorage`] is the machine's file system. Tests use a double that lives in memory, fails on
//! demand, and at a "power loss" forgets what was not synced.

use std::any::Any;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code, reason = "fuzzing lets nothing fail"))]
pub(crate) mod memory;

/// Permissions of the directories we make: events are not for everybody on a shared machine. A umask may take away
/// more. What is there already keeps what its owner gave it.
pub const DIR_MODE: u32 = 0o750;

/// Permissions of the files we make.
pub const FILE_MODE: u32 = 0o640;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must exist.
    Update,
    /// For reading and writing; made if missing, emptied if not.
    Create,
}

/// A file in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name in the directory.
    pub name: String,
    /// How long the file is.
    pub bytes: u64,
}

/// What holds a lock; dropping it lets go.
pub type Lock = Box<dyn Any + Send>;

/// A file system as the log needs it.
pub trait Storage: Send + Sync + fmt::Debug {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// As the file system says; `NotFound` unless the access is [`Access::Create`].
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn StorageFile>>;

    /// Renames a file over whatever has the new name.
    ///
    /// # Errors
    ///
    /// As the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// As the file system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The plain files of a directory, in no order; names that are not UTF-8 are left out.
    ///
    /// # Errors
    ///
    /// As the file system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<Listed>>;

    /// Makes a directory and those above it, if missing. The names of those that it made are durable.
    ///
    /// # Errors
    ///
    /// As the file system says.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Opens a directory, to make the names in it durable later, when a descriptor may be hard to get.
    ///
    /// # Errors
    ///
    /// As the file system says.
    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn StorageDir>>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    ///
    /// As the file system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.open_dir(dir)?.sync()
    }

    /// What differs after each start of the machine and is the same until then; `None` if that can't be told. The
    /// death of a process leaves it as it is: then everything that was written is still there, synced or not.
    fn boot_id(&self) -> Option<String> {
        None
    }

    /// Bytes that can still be written to the file system of `dir`.
    ///
    /// # Errors
    ///
    /// As the file system says.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;

    /// Takes an exclusive lock on a file, making it if missing.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if somebody holds it.
    fn lock(&self, path: &Path) -> io::Result<Lock>;

    /// Whether somebody holds a lock on a file, as far as can be told without making it.
    fn is_locked(&self, _path: &Path) -> bool {
        false
    }
}

/// An open file; reads and writes name their position, so one handle serves many threads.
pub trait StorageFile: Send + Sync + fmt::Debug {
    /// Reads up to `buffer.len()` bytes; 0 means the end of the file.
    ///
    /// # Errors
    ///
    /// As the file system says.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes some of `bytes`, at least one unless they are empty, and says how many.
    ///
    /// # Errors
    ///
    /// As the file system says.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize>;

    /// The file's length.
    ///
    /// # Errors
    ///
    /// As the file system says.
    fn bytes(&self) -> io::Result<u64>;

    /// Cuts the file, or extends it with zeros.
    ///
    /// # Errors
    ///
    /// As the file system says.
    fn set_bytes(&self, bytes: u64) -> io::Result<()>;

    /// Makes the contents and length durable (`fdatasync`).
    ///
    /// # Errors
    ///
    /// As the file system says. After an error nothing is known about what was not yet durable.
    fn sync(&self) -> io::Result<()>;
}

/// An open directory.
pub trait StorageDir: Send + Sync + fmt::Debug {
    /// Makes the names in it durable, and those that are no longer in it gone for good.
    ///
    /// # Errors
    ///
    /// As the file system says.
    fn sync(&self) -> io::Result<()>;
}

/// Reads `bytes` bytes at `position`, fewer only if the file ends there.
///
/// The caller bounds `bytes`: that much memory is reserved.
pub(crate) fn read_full(
    file: &dyn StorageFile,
    position: u64,
    bytes: usize,
) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    let mut filled = 0;
    while filled < bytes {
        match file.read_at(&mut buffer[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

/// Writes all of `bytes` at `position`.
pub(crate) fn write_full(file: &dyn StorageFile, bytes: &[u8], position: u64) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match file.write_at(&bytes[written..], position + written as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(_) if crate::planted::planted("write: finishing a short one") => break,
            Ok(n) => written += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes a new file, in place of one that may have the name: after a power loss a file that was only
/// emptied could have its old contents again.
pub(crate) fn create_fresh(storage: &dyn Storage, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
    match storage.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    storage.open(path, Access::Create)
}

/// Whether an error means that the disk or a quota is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether an error tells of the machine's present state, not of the file: the same call may succeed later, and
/// nothing is known to be damaged.
pub(super) fn is_transient(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR, Errno::AGAIN];
    let errno = Errno::from_io_error(error);
    let kinds = [io::ErrorKind::OutOfMemory, io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock];
    is_full(error) || errno.is_some_and(|e| lacks.contains(&e)) || kinds.contains(&error.kind())
}

/// Whether a failed read is likely to fail again: the medium, not the state that the machine is in, nor who may read.
pub(super) fn is_lasting(error: &io::Error) -> bool {
    !is_transient(error) && error.kind() != io::ErrorKind::PermissionDenied
}

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealStorage;

impl RealStorage {
    /// The machine's file system.
    pub const fn new() -> Self {
        RealStorage
    }
}

impl Storage for RealStorage {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(access != Access::Read);
        if access == Access::Create {
            options.create(true).truncate(true).mode(FILE_MODE);
        }
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Listed>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // A file that vanishes while we list is as good as never there. Links are followed.
            if let Ok(meta) = fs::metadata(entry.path())
                && meta.is_file()
            {
                found.push(Listed { name, bytes: meta.len() });
            }
        }
        Ok(found)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = dir.ancestors().take_while(|above| !above.exists()).collect();
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)?;
        for made in missing {
            let parent = made.parent().unwrap_or(made);
            let here = parent.as_os_str().is_empty();
            self.sync_dir(if here { Path::new(".") } else { parent })?;
        }
        Ok(())
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn StorageDir>> {
        Ok(Arc::new(RealDir(File::open(dir)?)))
    }

    fn boot_id(&self) -> Option<String> {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(id.trim().to_owned()).filter(|id| !id.is_empty())
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(FILE_MODE).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn is_locked(&self, path: &Path) -> bool {
        let Ok(file) = File::open(path) else { return false };
        matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
    }
}

/// A file that does not exist, for those who only read.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoFile;

impl StorageDir for NoFile {
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl StorageFile for NoFile {
    fn read_at(&self, _buffer: &mut [u8], _position: u64) -> io::Result<usize> {
        Ok(0)
    }

    fn write_at(&self, _bytes: &[u8], _position: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn set_bytes(&self, _bytes: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct RealDir(File);

impl StorageDir for RealDir {
    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

#[derive(Debug)]
struct RealFile(File);

impl StorageFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.0.write_at(bytes, position)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_lacks_at_the_moment_is_no_damage() {
        use rustix::io::Errno;
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR, Errno::AGAIN] {
            assert!(is_transient(&errno.into()), "{errno}");
        }
        assert!(is_transient(&Errno::NOSPC.into()) && is_transient(&Errno::DQUOT.into()));
        assert!(is_transient(&io::ErrorKind::StorageFull.into()));
        for errno in [Errno::IO, Errno::ACCESS, Errno::NOENT, Errno::ROFS] {
            assert!(!is_transient(&errno.into()), "{errno}");
        }
    }

    #[test]
    fn a_directory_is_made_with_those_above_it() {
        let dir = tempfile::tempdir().expect("makes a directory");
        let deep = dir.path().join("a/b/c");
        RealStorage.create_dir(&deep).expect("makes it");
        RealStorage.create_dir(&deep).expect("it is there already");
        assert!(deep.is_dir());
        RealStorage.sync_dir(&deep).expect("syncs");
        assert_eq!(RealStorage.boot_id(), RealStorage.boot_id());
    }
}
