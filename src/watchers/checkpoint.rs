//! What is known of an instance's faults, in a file, so that it need not be read from the log again.
//!
//! ```text
//! "logmachine faults 1\n"  MD5 of what follows (16 bytes)  the tracker, as postcard writes it
//! ```
//!
//! Nothing depends on such a file: one that is missing, damaged or of another version means that the log is read again from
//! its beginning.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use tracing::warn;

use crate::analysis::tracker::Tracker;

const MAGIC: &[u8] = b"logmachine faults 1\n";

/// The largest file that is read.
const MAX_BYTES: u64 = 1 << 30;

/// The content of the file.
pub(super) fn bytes(tracker: &Tracker) -> Vec<u8> {
    let content = postcard::to_allocvec(tracker).expect("it is plain data");
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&md5::compute(&content).0);
    bytes.extend_from_slice(&content);
    bytes
}

/// Writes the file, so that after a crash either the old or the new content is there.
pub(super) fn store(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().mode(0o750).recursive(true).create(dir)?;
    let temporary = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o640).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()
}

/// What was stored of an instance, if it can be used.
pub(super) fn load(path: &Path, instance: &str) -> Option<Tracker> {
    let bytes = match fs::metadata(path).and_then(|it| match it.len() {
        ..=MAX_BYTES => fs::read(path),
        _ => Err(io::ErrorKind::FileTooLarge.into()),
    }) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            warn!(instance, %error, "what was stored of its faults cannot be read: the log is read again");
            return None;
        }
    };
    let tracker = parse(&bytes).filter(|tracker| tracker.instance() == instance);
    if tracker.is_none() {
        warn!(
            instance,
            "what was stored of its faults is damaged or of another version: the log is read again"
        );
    }
    tracker
}

fn parse(bytes: &[u8]) -> Option<Tracker> {
    let (digest, content) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<16>()?;
    if md5::compute(content).0 != *digest {
        return None;
    }
    let mut tracker: Tracker = postcard::from_bytes(content).ok()?;
    tracker.restore();
    Some(tracker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn what_is_damaged_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trackers/error_logger.checkpoint");
        assert!(load(&path, "error_logger").is_none());
        let tracker = Tracker::new("error_logger", Timestamp::from_micros(17));
        let bytes = bytes(&tracker);
        store(&path, &bytes).unwrap();
        assert_eq!(load(&path, "error_logger").unwrap().position().micros(), 17);
        assert!(load(&path, "another").is_none());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(parse(&damaged).is_none(), "byte {at}");
            assert!(parse(&bytes[..at]).is_none(), "cut at {at}");
        }
    }
}
