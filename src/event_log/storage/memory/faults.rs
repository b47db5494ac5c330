//! Which calls fail, when, and how.

use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::Seeded;

/// A call of the log to its storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Open,
    Create,
    Read,
    Write,
    SetBytes,
    Sync,
    OpenDir,
    SyncDir,
    Rename,
    Remove,
    List,
    CreateDir,
    FreeBytes,
    Lock,
}

impl Call {
    /// Whether something may have changed when it dies half way; a death before any other call is one before these.
    pub(super) fn is_change(self) -> bool {
        !matches!(self, Call::Read | Call::List | Call::FreeBytes | Call::OpenDir)
    }
}

/// How a call fails.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FailWith {
    Kind(io::ErrorKind),
    Errno(Errno),
}

impl From<FailWith> for io::Error {
    fn from(failure: FailWith) -> Self {
        match failure {
            FailWith::Kind(kind) => kind.into(),
            FailWith::Errno(errno) => errno.into(),
        }
    }
}

/// When a call fails.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// The nth of those that it could be, and no other.
    Once(u64),
    /// The nth, and all after it.
    From(u64),
    /// One in so many, as the seed has it.
    OneIn(u64),
}

/// Calls that fail.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// Which calls; all if empty.
    pub(crate) calls: Vec<Call>,
    /// What must be a part of the file's path.
    pub(crate) path: &'static str,
    pub(crate) failure: FailWith,
    pub(crate) when: When,
}

impl Fault {
    /// The error of this call, if it is one that fails.
    pub(super) fn hits(
        &mut self,
        call: Call,
        path: &Path,
        seeded: &mut Seeded,
    ) -> Option<io::Error> {
        let is_meant = (self.calls.is_empty() || self.calls.contains(&call))
            && path.to_string_lossy().contains(self.path);
        if !is_meant {
            return None;
        }
        let fails = match &mut self.when {
            When::Once(0) => false,
            When::Once(left) => {
                *left -= 1;
                *left == 0
            }
            When::From(left) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            When::OneIn(of) => seeded.below(*of) == 0,
        };
        fails.then(|| self.failure.into())
    }
}
