//! A file that is whole or not there: written as a draft beside its place, and renamed when all of it is on disk.
//!
//! An existing file is kept unless the operator insists, and nothing is ever put into a log's directories: what is read
//! there would be destroyed, or taken for a part of the log. The draft is removed when the work fails or is interrupted;
//! after `kill -9` a file `.NAME.XXXXXX.draft` is left, which nothing reads.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;

/// A file being written.
pub(super) struct Draft {
    file: NamedTempFile,
    target: PathBuf,
    replace: bool,
}

impl Draft {
    /// Begins a file that is to be `target`; `replace`: whatever file is there. `kept_out`: directories that it must not
    /// lie in, by whatever way, and whose files it must not be.
    pub(super) fn begin(target: &Path, replace: bool, kept_out: &[&Path]) -> Result<Self, Failure> {
        let refused = |why: &str| Failure::usage(format!("{}: {why}", target.display()));
        let failed = |error| Failure::failed(format!("{}: {error}", target.display()));
        let is_there = fs::symlink_metadata(target).is_ok();
        let real = if is_there {
            target.canonicalize().map_err(|_| refused("is a link to nothing"))?
        } else {
            let name = target
                .file_name()
                .filter(|_| !target.as_os_str().as_encoded_bytes().ends_with(b"/"));
            let name = name.ok_or_else(|| refused("names no file"))?;
            let parent = target.parent().filter(|parent| *parent != Path::new(""));
            parent.unwrap_or(Path::new(".")).canonicalize().map_err(failed)?.join(name)
        };
        let existing = fs::metadata(&real).ok();
        if existing.as_ref().is_some_and(Metadata::is_dir) {
            return Err(refused("is a directory"));
        }
        if existing.as_ref().is_some_and(|existing| !existing.is_file()) {
            return Err(refused(
                "is no regular file; leave out --output and redirect standard output",
            ));
        }
        let parent = real.parent().expect("a file that is no root has a directory").to_owned();
        for dir in kept_out {
            if is_within(&parent, dir) || existing.as_ref().is_some_and(|file| holds(dir, file)) {
                return Err(refused(&format!("lies in the log that is read, {}", dir.display())));
            }
        }
        if existing.is_some() && !replace {
            return Err(refused("exists; --force replaces it"));
        }
        remove_when_interrupted(&parent, |place| {
            let mut prefix = std::ffi::OsString::from(".");
            prefix.push(real.file_name().expect("a file has a name"));
            prefix.push(".");
            let mut builder = tempfile::Builder::new();
            // As for any new file: less what the umask takes away.
            builder.permissions(fs::Permissions::from_mode(0o666)).prefix(&prefix).suffix(".draft");
            builder.tempfile_in(place)
        })
        .map(|file| Draft { file, target: real, replace })
        .map_err(failed)
    }

    /// The draft's path.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// To write to.
    pub(super) fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Puts the file in its place.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let Draft { file, target, replace } = self;
        let failed = |error| Failure::failed(format!("{}: {error}", target.display()));
        file.as_file().sync_all().map_err(failed)?;
        let placed = match replace {
            true => file.persist(&target),
            false => file.persist_noclobber(&target),
        };
        placed.map_err(|error| failed(error.error))?;
        let dir = target.parent().expect("a file that is no root has a directory");
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
    }
}

/// Whether a directory is `outer` or lies in it, under whatever names: by what the file system says they are.
pub(super) fn is_within(dir: &Path, outer: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    let (Ok(dir), Some(outer)) = (dir.canonicalize(), identity(outer)) else { return false };
    dir.ancestors().any(|dir| identity(dir) == Some(outer))
}

/// Whether the directory holds this file, under whatever name.
pub(super) fn holds(dir: &Path, file: &Metadata) -> bool {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files
        .filter_map(|held| fs::metadata(held.path()).ok())
        .any(|held| (held.dev(), held.ino()) == (file.dev(), file.ino()))
}

/// Makes a draft in `dir` that is removed when a signal ends this program.
fn remove_when_interrupted(
    dir: &Path,
    make: impl FnOnce(&Path) -> std::io::Result<NamedTempFile>,
) -> std::io::Result<NamedTempFile> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        // In force before there is anything to remove.
        let _context = runtime.enter();
        let kinds = (SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup());
        (signal(kinds.0)?, signal(kinds.1)?, signal(kinds.2)?)
    };
    let file = make(dir)?;
    let path = file.path().to_owned();
    std::thread::spawn(move || {
        let (interrupt, terminate, hangup) = &mut signals;
        let kind = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => SignalKind::interrupt(),
                _ = terminate.recv() => SignalKind::terminate(),
                _ = hangup.recv() => SignalKind::hangup(),
            }
        });
        // It may have been renamed or removed meanwhile.
        let _ = fs::remove_file(&path);
        // As the shell tells it.
        std::process::exit(128 + kind.as_raw_value());
    });
    Ok(file)
}
