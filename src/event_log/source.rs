//! Where a segment's bytes are, and how they are read from there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::Archive;
use super::index::Index;
use super::storage::{Access, Storage, StorageFile, read_full};

/// Where a segment's bytes are.
#[derive(Clone, Debug)]
pub(super) enum Location {
    /// Still open from when it was live; it also has its path.
    Open(Arc<dyn StorageFile>, PathBuf),
    /// In a file of its own.
    File(PathBuf),
    /// In an archive.
    Archive(PathBuf),
    /// Nowhere: the manifest has this file, and it is not here.
    Missing(PathBuf),
}

impl Location {
    pub(super) fn path(&self) -> &Path {
        match self {
            Location::Open(_, path)
            | Location::File(path)
            | Location::Archive(path)
            | Location::Missing(path) => path,
        }
    }

    /// Its file's name, which is what the manifest calls it.
    pub(super) fn file_name(&self) -> String {
        self.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// An open segment's bytes.
#[derive(Debug)]
pub(super) enum Source {
    File(Arc<dyn StorageFile>),
    Archive(Box<Archive>),
}

impl Source {
    /// Opens the segment `name`, wherever its bytes are.
    pub(super) fn open(storage: &dyn Storage, location: &Location, name: &str) -> io::Result<Self> {
        Ok(match location {
            Location::Open(file, _) => Source::File(Arc::clone(file)),
            Location::File(path) => Source::File(storage.open(path, Access::Read)?),
            Location::Archive(path) => {
                let file = storage.open(path, Access::Read)?;
                Source::Archive(Box::new(Archive::open(file, name)?))
            }
            Location::Missing(_) => return Err(io::ErrorKind::NotFound.into()),
        })
    }

    /// Length of the segment.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        match self {
            Source::File(file) => file.bytes(),
            Source::Archive(archive) => Ok(archive.bytes),
        }
    }

    /// `bytes` bytes at `position`, fewer only if the segment ends there or its archive is damaged.
    pub(super) fn read(&mut self, position: u64, bytes: usize) -> io::Result<Vec<u8>> {
        match self {
            Source::File(file) => read_full(&**file, position, bytes),
            Source::Archive(archive) => archive.read(position, bytes),
        }
    }

    /// Lets an archive be inflated from the places its index tells.
    pub(super) fn use_restarts(&mut self, index: &Index) {
        if let Source::Archive(archive) = self {
            archive.restarts.clone_from(&index.restarts);
        }
    }
}
