//! How far each durable cursor has come: positions that subscribers acknowledge under a name.
//!
//! A cursor is a file of its own, replaced as a whole, so that a crash leaves the old position or the new one:
//!
//! ```text
//! DIR/cursors/HEX-OF-NAME       8 bytes timestamp, microseconds; 4 bytes CRC32C of them; big endian
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::time::Timestamp;

/// The longest cursor name, in bytes: its file's name is twice as long.
pub const MAX_NAME_BYTES: usize = 100;

/// The cursors of one instance.
///
/// # Invariants
///
/// - `one_draft`: sessions may share a cursor, as an old one does with its successor after a lost connection; one
///   stores at a time.
#[derive(Clone, Debug)]
pub struct Cursors {
    dir: PathBuf,
    storing: Arc<Mutex<()>>,
}

impl Cursors {
    /// The cursors kept beside the log in `log_dir`.
    pub fn new(log_dir: &Path) -> Self {
        Cursors { dir: log_dir.join("cursors"), storing: Arc::default() }
    }

    fn path(&self, name: &[u8]) -> PathBuf {
        let hex: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        self.dir.join(hex)
    }

    /// The last position acknowledged under `name`. Blocks.
    ///
    /// # Errors
    ///
    /// Those of the file system, and `InvalidData` if the file is damaged.
    pub fn load(&self, name: &[u8]) -> io::Result<Option<Timestamp>> {
        let bytes = match fs::read(self.path(name)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let position = bytes.split_last_chunk::<4>().and_then(|(position, sum)| {
            let sound = crc32c::crc32c(position) == u32::from_be_bytes(*sum);
            let micros = u64::from_be_bytes(position.try_into().ok()?);
            sound.then_some(Timestamp::from_micros(micros))
        });
        position.map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Stores a position, durably: it survives a power loss once this returns. Blocks, for two syncs.
    ///
    /// # Errors
    ///
    /// Those of the file system; the old position is then still there.
    pub fn store(&self, name: &[u8], position: Timestamp) -> io::Result<()> {
        // Nothing is left half changed in memory by a panic.
        let _one_draft = self.storing.lock().unwrap_or_else(PoisonError::into_inner);
        fs::create_dir_all(&self.dir)?;
        let path = self.path(name);
        let draft = path.with_extension("new");
        let bytes = position.micros().to_be_bytes();
        let mut file = File::create(&draft)?;
        file.write_all(&bytes)?;
        file.write_all(&crc32c::crc32c(&bytes).to_be_bytes())?;
        file.sync_data()?;
        fs::rename(&draft, &path)?;
        File::open(&self.dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_that_store_at_once_leave_a_sound_file() {
        let dir = tempfile::tempdir().unwrap();
        let cursors = Cursors::new(dir.path());
        std::thread::scope(|scope| {
            for thread in 1..5 {
                let cursors = &cursors;
                scope.spawn(move || {
                    for round in 0..20 {
                        let position = Timestamp::from_micros(thread * 1000 + round);
                        cursors.store(b"x", position).unwrap();
                        cursors.load(b"x").unwrap().expect("one_draft");
                    }
                });
            }
        });
    }

    #[test]
    fn what_is_stored_is_loaded_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let cursors = Cursors::new(dir.path());
        let name = b"audit/\xff";
        assert_eq!(cursors.load(name).unwrap(), None);
        for micros in [5, 1_795_343_462_123_456] {
            cursors.store(name, Timestamp::from_micros(micros)).unwrap();
            assert_eq!(cursors.load(name).unwrap(), Some(Timestamp::from_micros(micros)));
        }
        fs::write(cursors.path(name), [1; 12]).unwrap();
        assert_eq!(cursors.load(name).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
