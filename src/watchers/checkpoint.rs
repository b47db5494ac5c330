//! What is known of an instance's log, in a file, so that it need not be read again.
//!
//! ```text
//! "logmachine faults 2\n"  MD5 of what follows (16 bytes)  what is known, as postcard writes it
//! ```
//!
//! The first line is that of its kind.
//!
//! Nothing depends on such a file: one that is missing, damaged or of another version means that the log is read again from
//! where that is known otherwise.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::warn;

/// The largest file that is read.
const MAX_BYTES: u64 = 1 << 30;

/// The content of the file.
pub(super) fn bytes<T: Serialize>(magic: &[u8], known: &T) -> Vec<u8> {
    let content = postcard::to_allocvec(known).expect("it is plain data");
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&md5::compute(&content).0);
    bytes.extend_from_slice(&content);
    bytes
}

/// Writes the file, so that after a crash either the old or the new content is there.
pub(super) fn store(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().mode(0o750).recursive(true).create(dir)?;
    let temporary = path.with_extension("new");
    // Whatever it is that is there: it is not written to.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file =
        options.write(true).create_new(true).mode(0o640).custom_flags(NO_LINK).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()
}

/// Opens neither what a symbolic link names, nor waits for who writes to a pipe.
const NO_LINK: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();

/// All of a file, if it is one.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(NO_LINK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// What was stored of an instance, if it can be used.
pub(super) fn load<T: DeserializeOwned>(magic: &[u8], path: &Path, instance: &str) -> Option<T> {
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            warn!(instance, %error, "what is known of it and was stored cannot be read: the log is read again");
            return None;
        }
    };
    let known = parse(magic, &bytes);
    if known.is_none() {
        warn!(
            instance,
            "what is known of it and was stored is damaged or of another version: the log is read again"
        );
    }
    known
}

fn parse<T: DeserializeOwned>(magic: &[u8], bytes: &[u8]) -> Option<T> {
    let (digest, content) = bytes.strip_prefix(magic)?.split_first_chunk::<16>()?;
    if md5::compute(content).0 != *digest {
        return None;
    }
    postcard::from_bytes(content).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    const MAGIC: &[u8] = b"logmachine numbers 1\n";

    #[test]
    fn what_is_damaged_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("known/error_logger.checkpoint");
        let load = |magic| load::<Vec<Timestamp>>(magic, &path, "error_logger");
        assert!(load(MAGIC).is_none());
        let known = vec![Timestamp::from_micros(17), Timestamp::MAX];
        let bytes = bytes(MAGIC, &known);
        store(&path, &bytes).unwrap();
        assert_eq!(load(MAGIC), Some(known));
        assert!(load(b"logmachine numbers 2\n").is_none());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(parse::<Vec<Timestamp>>(MAGIC, &damaged).is_none(), "byte {at}");
            assert!(parse::<Vec<Timestamp>>(MAGIC, &bytes[..at]).is_none(), "cut at {at}");
        }
    }

    /// Links, pipes and directories in the place of the file, and of the one that is written before.
    #[test]
    fn nothing_else_is_taken_for_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, new) = (dir.path().join("a.checkpoint"), dir.path().join("a.new"));
        let other = dir.path().join("other");
        let known = vec![Timestamp::from_micros(17)];
        let content = bytes(MAGIC, &known);
        fs::write(&other, &content).unwrap();
        let load = || load::<Vec<Timestamp>>(MAGIC, &path, "error_logger");
        let link = |place: &Path| std::os::unix::fs::symlink(&other, place).unwrap();
        let pipe = |place: &Path| {
            let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
            rustix::fs::mknodat(rustix::fs::CWD, place, kind, mode, 0).unwrap();
        };
        for make in [&link as &dyn Fn(&Path), &pipe] {
            make(&path);
            make(&new);
            assert!(load().is_none());
            store(&path, &bytes(MAGIC, &Vec::<Timestamp>::new())).unwrap();
            assert_eq!(load(), Some(Vec::new()));
            assert_eq!(fs::read(&other).unwrap(), content);
            fs::remove_file(&path).unwrap();
        }
        fs::create_dir(&path).unwrap();
        assert!(load().is_none() && store(&path, &content).is_err());
        fs::remove_dir(&path).unwrap();
        fs::remove_file(&new).unwrap();
        fs::create_dir(&new).unwrap();
        store(&path, &content).unwrap_err();
        fs::remove_dir(&new).unwrap();
        store(&path, &content).unwrap();
        assert_eq!(load(), Some(known));
    }
}
