//! The file that holds the positions of an instance's cursors.
//!
//! A journal of text lines, so that all positions that have gathered cost one write and one sync, and whoever looks at
//! it can read it, or take out a line while the node is stopped:
//!
//! ```text
//! 2f9a1c44 cursors 1                      the version; before each line's space the CRC32C of what is behind it
//! 5b1cf3e0 1795343462123456 6175646974    a position in microseconds, and the name that it was acknowledged under, in hex
//! 0d12ab77 damaged 6175646974             a name whose position was lost to damage
//! ```
//!
//! Of the lines of one name the last counts. Each life begins with a journal of its own, a draft that is renamed over
//! the old one, and so does what comes after any failure: lines are only ever appended to a file of which everything
//! is known to be written. When it has grown long it is written anew as well.
//!
//! What a crash cuts off or leaves out of the last, unsynced lines is illegible and forgotten: nobody was told that it
//! is stored. A legible line whose checksum does not match is damage. Of its name an earlier line counts, which means
//! that entries come again; where there is none the name cannot be subscribed to until the line is taken out, for its
//! subscriber would silently miss entries. A copy of the damaged file is kept.
//!
//! The versions before kept each cursor in a file of its own, `HEX-OF-NAME`: 8 bytes timestamp, 4 bytes CRC32C of them,
//! big endian. They are read, and removed once the journal holds them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::super::storage::{Access, Storage, StorageFile, create_fresh, read_full, write_full};
use super::MAX_CURSOR_NAME_BYTES;
use crate::planted::{planted, unless};
use crate::time::Timestamp;

/// Positions by the name that they were acknowledged under.
pub(super) type Acks = BTreeMap<Box<[u8]>, Timestamp>;

/// The same, for all names there are.
pub(super) type Known = BTreeMap<Box<[u8]>, Position>;

/// What is known of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    At(Timestamp),
    /// Something was acknowledged under it, nobody knows what.
    Damaged,
}

/// A journal is written anew once it is this long, and twice as long as it would be then.
const COMPACT_BYTES: u64 = 4 << 20;

/// More is not read: no journal of ours gets near this.
const MAX_BYTES: u64 = 256 << 20;

const VERSION: &str = "cursors 1";

/// The journal in one directory.
#[derive(Debug)]
pub(super) struct Journal {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    compact_bytes: u64,
    /// The file of this life; `None` if the next positions begin a new one.
    open: Option<JournalFile>,
}

#[derive(Debug)]
struct JournalFile {
    file: Arc<dyn StorageFile>,
    bytes: u64,
    /// When it is written anew.
    compact_at: u64,
}

/// JournalLines on their way to the file.
#[derive(Debug, Default)]
struct JournalLines(Vec<u8>);

impl JournalLines {
    fn push(&mut self, body: &str) {
        let sum = crc32c::crc32c(body.as_bytes());
        writeln!(self.0, "{sum:08x} {body}").expect("memory takes everything");
    }

    fn push_position(&mut self, name: &[u8], position: Position) {
        let mut body = match position {
            Position::At(stamp) => stamp.micros().to_string(),
            Position::Damaged => "damaged".to_owned(),
        };
        body.push(' ');
        for byte in name {
            write!(body, "{byte:02x}").expect("memory takes everything");
        }
        self.push(&body);
    }
}

/// What a line says.
enum JournalLine {
    Version,
    Position(Box<[u8]>, Position),
    /// It is damaged, and was about this name.
    Damaged(Box<[u8]>),
    /// A crash cut it off, or it says nothing that we know.
    Illegible,
}

fn parse(line: &[u8]) -> io::Result<JournalLine> {
    let Some((sum, body)) = line.split_at_checked(8).filter(|(_, body)| body.starts_with(b" "))
    else {
        return Ok(JournalLine::Illegible);
    };
    let Ok(body) = std::str::from_utf8(&body[1..]) else { return Ok(JournalLine::Illegible) };
    let is_sound = format!("{:08x}", crc32c::crc32c(body.as_bytes())).as_bytes() == sum;
    if is_sound && body.starts_with("cursors ") {
        return match body {
            VERSION => Ok(JournalLine::Version),
            // Ours to read some day, and not to write over.
            _ => Err(io::Error::new(io::ErrorKind::Unsupported, "written by a newer version")),
        };
    }
    let Some((position, name)) = body.split_once(' ') else { return Ok(JournalLine::Illegible) };
    let position = match position {
        "damaged" => Some(Position::Damaged),
        micros => micros.parse().ok().map(|micros| Position::At(Timestamp::from_micros(micros))),
    };
    Ok(match (position, name_of(name)) {
        (Some(position), Some(name)) if is_sound => JournalLine::Position(name, position),
        (Some(_), Some(name)) if sum.iter().all(u8::is_ascii_hexdigit) => {
            JournalLine::Damaged(name)
        }
        _ => JournalLine::Illegible,
    })
}

/// The name that a file or line has in hex.
fn name_of(hex: &str) -> Option<Box<[u8]>> {
    let is_hex = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex
        || !hex.len().is_multiple_of(2)
        || !(1..=MAX_CURSOR_NAME_BYTES).contains(&(hex.len() / 2))
    {
        return None;
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok()).collect()
}

impl Journal {
    /// The journal in `dir`, which may not be there yet.
    pub(super) fn new(storage: Arc<dyn Storage>, dir: PathBuf) -> Self {
        Journal { storage, dir, compact_bytes: COMPACT_BYTES, open: None }
    }

    #[cfg(test)]
    pub(super) fn compacting_at(mut self, bytes: u64) -> Self {
        self.compact_bytes = bytes;
        self
    }

    fn path(&self) -> PathBuf {
        self.dir.join("positions")
    }

    /// Everything there is, also what earlier versions left here; `old_dir` is where the first one kept its cursors, if
    /// what is there is ours. Blocks.
    ///
    /// # Errors
    ///
    /// Those of the file system; nothing was changed then.
    pub(super) fn read(&mut self, old_dir: Option<&Path>) -> io::Result<Known> {
        let mut known = Known::new();
        let found = self.read_lines(&mut known)?;
        let mut old = self.read_old(&self.dir, &mut known)?;
        if !found
            && old.is_empty()
            && let Some(old_dir) = old_dir
        {
            old = self.read_old(old_dir, &mut known)?;
        }
        if !old.is_empty() {
            match self.rewrite(&known, &Acks::new()) {
                Ok(()) => {
                    tracing::info!(dir = %self.dir.display(), count = old.len(), "cursors of an earlier version taken over");
                    self.remove(&old);
                }
                // They stay, and the first position stored brings them over.
                Err(error) => {
                    tracing::error!(dir = %self.dir.display(), "cursors of an earlier version cannot be taken over yet: {error}");
                }
            }
        }
        Ok(known)
    }

    /// Reads the journal, if there is one.
    fn read_lines(&self, known: &mut Known) -> io::Result<bool> {
        let path = self.path();
        let Some(bytes) = self.read_file(&path)? else { return Ok(false) };
        let (mut damaged, mut illegible) = (Vec::new(), 0);
        let mut lines = bytes.split(|&byte| byte == b'\n');
        // What is behind the last line's end was cut off; its name may be too.
        lines.next_back();
        for line in lines {
            match parse(line)? {
                JournalLine::Position(name, position) => drop(known.insert(name, position)),
                JournalLine::Damaged(name) => damaged.push(name),
                JournalLine::Illegible => illegible += 1,
                JournalLine::Version => {}
            }
        }
        if illegible > 0 {
            tracing::warn!(path = %path.display(), illegible, "lines of positions are illegible, as a power loss leaves unsynced ones");
        }
        if damaged.is_empty() {
            return Ok(true);
        }
        self.keep_damaged(&path, &bytes);
        for name in damaged {
            known.entry(name).or_insert(Position::Damaged);
        }
        Ok(true)
    }

    fn keep_damaged(&self, path: &Path, bytes: &[u8]) {
        let copy = path.with_extension(format!("{:08x}.damaged", crc32c::crc32c(bytes)));
        tracing::error!(path = %path.display(), copy = %copy.display(), "positions of cursors are damaged; a copy is kept");
        let kept = self.storage.open(&copy, Access::Create).and_then(|file| {
            write_full(&*file, bytes, 0)?;
            file.sync()
        });
        if let Err(error) = kept {
            tracing::error!(copy = %copy.display(), "the copy cannot be written: {error}");
        }
    }

    /// Reads cursors in files of their own; those that can be removed once they are stored elsewhere.
    fn read_old(&self, dir: &Path, known: &mut Known) -> io::Result<Vec<PathBuf>> {
        let listed = match self.storage.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed?,
        };
        let mut found = Vec::new();
        for file in listed {
            let path = dir.join(&file.name);
            if let Some(hex) = file.name.strip_suffix(".new") {
                // A draft, as a crash left it.
                found.extend(name_of(hex).map(|_| path));
                continue;
            }
            let Some(name) = name_of(&file.name) else { continue };
            let bytes = match self.read_file(&path) {
                Err(error) if is_passing(&error) => return Err(error),
                bytes => bytes.ok().flatten(),
            };
            let position = bytes.and_then(|bytes| old_position(&bytes));
            if position.is_some() {
                found.push(path);
            } else {
                tracing::error!(path = %path.display(), "the position of a cursor is damaged; the file is kept");
            }
            // The journal is newer.
            known.entry(name).or_insert(position.map_or(Position::Damaged, Position::At));
        }
        Ok(found)
    }

    fn read_file(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let file = match self.storage.open(path, Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let bytes = file.bytes()?;
        if bytes > MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too long for a journal"));
        }
        read_full(&*file, 0, usize::try_from(bytes).expect("it is bounded")).map(Some)
    }

    fn remove(&self, files: &[PathBuf]) {
        for path in files {
            if let Err(error) = self.storage.remove(path) {
                tracing::warn!(path = %path.display(), "old cursor is not removed: {error}");
            }
        }
    }

    /// Stores positions, durably: they survive a power loss once this returns. `known` is everything that is stored.
    /// Blocks, as a rule for one sync.
    ///
    /// # Errors
    ///
    /// Those of the file system. Each position is stored or not then; the ones stored before still are.
    pub(super) fn store(&mut self, known: &Known, fresh: &Acks) -> io::Result<()> {
        let is_long = match &self.open {
            None => return self.rewrite(known, fresh),
            Some(open) => open.bytes >= open.compact_at,
        };
        if is_long {
            let Err(error) = self.rewrite(known, fresh) else { return Ok(()) };
            // Nothing has come of it yet: the file there is can grow on.
            let Some(open) = &mut self.open else { return Err(error) };
            open.compact_at += self.compact_bytes;
        }
        self.append(fresh)
    }

    /// Adds lines to the file of this life. What is in it after a failure is not known, so that was its last line.
    fn append(&mut self, fresh: &Acks) -> io::Result<()> {
        let Some(mut open) = self.open.take() else { unreachable!("the caller saw it") };
        let mut lines = JournalLines::default();
        for (name, stamp) in fresh {
            lines.push_position(name, Position::At(*stamp));
        }
        if planted("acks: a file that failed grows on") {
            self.open = Some(JournalFile { file: Arc::clone(&open.file), ..open });
        }
        write_full(&*open.file, &lines.0, open.bytes)?;
        unless("acks: the lines", || open.file.sync())?;
        open.bytes += lines.0.len() as u64;
        self.open = Some(open);
        Ok(())
    }

    /// Writes a file with everything in place of the one there is.
    fn rewrite(&mut self, known: &Known, fresh: &Acks) -> io::Result<()> {
        let mut lines = JournalLines::default();
        lines.push(VERSION);
        for (name, position) in known.iter().filter(|(name, _)| !fresh.contains_key(*name)) {
            lines.push_position(name, *position);
        }
        for (name, stamp) in fresh {
            lines.push_position(name, Position::At(*stamp));
        }
        let (path, draft) = (self.path(), self.dir.join("positions.new"));
        self.storage.create_dir(&self.dir)?;
        let file = create_fresh(&*self.storage, &draft)?;
        write_full(&*file, &lines.0, 0)?;
        unless("acks: the draft", || file.sync())?;
        // From here on the old one may be gone, and the new one not be there for good.
        self.open = None;
        self.storage.rename(&draft, &path)?;
        unless("acks: the directory", || self.storage.sync_dir(&self.dir))?;
        let bytes = lines.0.len() as u64;
        self.open =
            Some(JournalFile { file, bytes, compact_at: (2 * bytes).max(self.compact_bytes) });
        Ok(())
    }
}

/// What a file of an earlier version says.
fn old_position(bytes: &[u8]) -> Option<Timestamp> {
    let (position, sum) = bytes.split_last_chunk::<4>()?;
    let micros = u64::from_be_bytes(position.try_into().ok()?);
    (crc32c::crc32c(position) == u32::from_be_bytes(*sum)).then_some(Timestamp::from_micros(micros))
}

/// Whether an error says something of the machine at this moment, and nothing of the file.
fn is_passing(error: &io::Error) -> bool {
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR, Errno::AGAIN];
    Errno::from_io_error(error).is_some_and(|errno| lacks.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::storage::memory::{Call, MemoryStorage, Seeded};
    use crate::planted::with;

    const DIR: &str = "/data/x.cursors";

    fn journal(storage: &MemoryStorage) -> Journal {
        Journal::new(Arc::new(storage.clone()), DIR.into()).compacting_at(300)
    }

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn name(number: u64) -> Box<[u8]> {
        format!("cursor/{number}").into_bytes().into()
    }

    fn stored(known: &Known, name: &[u8]) -> u64 {
        match known.get(name) {
            Some(Position::At(stamp)) => stamp.micros(),
            Some(Position::Damaged) => panic!("a crash damages nothing"),
            None => 0,
        }
    }

    /// How far a name must have come, and may have.
    type Bounds = BTreeMap<Box<[u8]>, (u64, u64)>;

    /// Stores 12 batches, each a part of five names, all positions higher than before; until the first failure of a
    /// dead process, over others.
    fn life(storage: &MemoryStorage, bounds: &mut Bounds, seeded: &mut Seeded) {
        let mut journal = journal(storage);
        let Ok(mut known) = journal.read(None) else { return };
        let mut highest = bounds.values().map(|(_, most)| *most).max().unwrap_or(0);
        for _ in 0..12 {
            let mut fresh = Acks::new();
            for number in 0..5 {
                if seeded.below(2) > 0 {
                    highest += 1;
                    fresh.insert(name(number), at(highest));
                    bounds.entry(name(number)).or_default().1 = highest;
                }
            }
            if journal.store(&known, &fresh).is_ok() {
                for (name, stamp) in fresh {
                    bounds.get_mut(&name).expect("it was tried").0 = stamp.micros();
                    known.insert(name, Position::At(stamp));
                }
            }
        }
    }

    fn check(known: &Known, bounds: &Bounds, what: &str) {
        for (name, (least, most)) in bounds {
            let position = stored(known, name);
            assert!((*least..=*most).contains(&position), "{what}: {least}..={most}: {position}");
        }
        assert!(known.keys().all(|name| bounds.contains_key(name)), "{what}: nobody's name");
    }

    /// The process dies at each call in turn, with short writes or without; then the power fails or not. The next life
    /// dies as well, while it reads or stores.
    #[test]
    fn what_was_stored_survives_a_crash_at_every_call() {
        let mut seeded = Seeded::new(10);
        for short in [None, Some(7)] {
            for nth in 1.. {
                let storage = MemoryStorage::new();
                let mut bounds = Bounds::new();
                short.inspect(|bytes| storage.set_short_writes(*bytes));
                storage.die_at_call(nth);
                life(&storage, &mut bounds, &mut seeded);
                let has_ended = storage.calls() < nth;
                for second in 0..6 {
                    let what = format!("{short:?} short, call {nth}, then {second}");
                    if seeded.below(2) > 0 {
                        storage.lose_power(&mut seeded)
                    } else {
                        storage.kill()
                    }
                    check(&journal(&storage).read(None).unwrap(), &bounds, &what);
                    storage.die_at_call(1 + seeded.below(20));
                    life(&storage, &mut bounds, &mut seeded);
                }
                if has_ended {
                    break;
                }
            }
        }
    }

    /// Each kind of call fails for a while, from each time on that it is made; then all is well again.
    #[test]
    fn a_failure_costs_nothing_that_was_stored() {
        let mut seeded = Seeded::new(11);
        for call in [Call::Write, Call::Sync, Call::Rename] {
            for nth in 1..30 {
                let storage = MemoryStorage::new();
                let mut bounds = Bounds::new();
                let mut journal = journal(&storage);
                let mut known = Known::new();
                for round in 1..40 {
                    if round == 3 {
                        storage.fail(call, nth, io::ErrorKind::StorageFull);
                    }
                    if round == 30 {
                        storage.heal();
                    }
                    let fresh: Acks = [(name(round % 3), at(round))].into();
                    bounds.entry(name(round % 3)).or_default().1 = round;
                    let result = journal.store(&known, &fresh);
                    assert!(result.is_ok() || (3..30).contains(&round), "{call:?} {nth} {round}");
                    if result.is_ok() {
                        bounds.get_mut(&name(round % 3)).expect("it is there").0 = round;
                        known.insert(name(round % 3), Position::At(at(round)));
                    }
                }
                storage.lose_power(&mut seeded);
                let known = self::journal(&storage).read(None).unwrap();
                check(&known, &bounds, &format!("{call:?} {nth}"));
            }
        }
    }

    /// A sync fails, and what it was to write may be forgotten: nothing counts as stored that only lies in that file.
    #[test]
    fn after_a_failed_sync_everything_is_written_anew() {
        let storage = MemoryStorage::new();
        let mut journal = journal(&storage);
        let mut store = |micros| journal.store(&Known::new(), &[(name(1), at(micros))].into());
        store(1).unwrap();
        storage.fail(Call::Sync, 1, io::ErrorKind::Other);
        assert!(store(2).is_err());
        storage.heal();
        storage.fail(Call::Rename, 1, io::ErrorKind::Other);
        assert!(store(3).is_err(), "a new file takes the old one's place");
        storage.heal();
        store(4).unwrap();
        assert_eq!(stored(&self::journal(&storage).read(None).unwrap(), &name(1)), 4);
    }

    /// The test before this one notices if the file of which that is not known is added to all the same.
    #[test]
    fn a_file_that_failed_and_grows_on_is_noticed() {
        let test = after_a_failed_sync_everything_is_written_anew;
        let (run, is_reached) =
            with("acks: a file that failed grows on", || std::panic::catch_unwind(test));
        assert!(run.is_err() && is_reached);
    }

    /// Two hundred batches of one name: the file stays short.
    #[test]
    fn a_long_journal_is_written_anew() {
        let storage = MemoryStorage::new();
        let mut journal = journal(&storage);
        let mut known = Known::new();
        for micros in 1..=200 {
            let fresh: Acks = [(name(1), at(micros))].into();
            journal.store(&known, &fresh).unwrap();
            known.insert(name(1), Position::At(at(micros)));
            assert!(storage.bytes(&journal.path()).unwrap().len() < 400);
        }
        assert_eq!(stored(&self::journal(&storage).read(None).unwrap(), &name(1)), 200);
    }

    /// Every bit is flipped in turn, of a journal with two lines of one name, and one of two others.
    #[test]
    fn damage_moves_no_position_forward_and_touches_no_other_name() {
        let storage = MemoryStorage::new();
        let mut journal = journal(&storage).compacting_at(1 << 20);
        let mut known = Known::new();
        for (number, micros) in [(1, 10), (2, 20), (1, 30), (3, 40)] {
            let fresh: Acks = [(name(number), at(micros))].into();
            journal.store(&known, &fresh).unwrap();
            known.extend(fresh.into_iter().map(|(name, at)| (name, Position::At(at))));
        }
        let path = journal.path();
        let sound = storage.bytes(&path).unwrap();
        let mut lost = 0;
        for bit in 0..sound.len() * 8 {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let storage = MemoryStorage::new();
            storage.put(&path, bytes.clone());
            let read = self::journal(&storage).read(None).unwrap();
            let differ: Vec<_> =
                known.iter().filter(|&(name, at)| read.get(name) != Some(at)).collect();
            // A flipped end of line takes two.
            assert!(differ.len() <= 2, "bit {bit}");
            for (other, expected) in differ {
                let earlier = (*other == name(1)).then_some(Position::At(at(10)));
                let is_safe = matches!(read.get(other), None | Some(Position::Damaged));
                assert!(is_safe || read.get(other).copied() == earlier, "bit {bit}: {expected:?}");
                lost += 1;
            }
            let is_ours = |position: &Position| match position {
                Position::At(stamp) => [10, 20, 30, 40].contains(&stamp.micros()),
                Position::Damaged => true,
            };
            assert!(read.values().all(is_ours), "bit {bit}");
            let copies = storage
                .paths()
                .iter()
                .filter(|p| p.to_string_lossy().ends_with(".damaged"))
                .count();
            let is_told = read.values().any(|position| *position == Position::Damaged);
            assert!(!is_told || copies == 1, "the file is kept");
        }
        assert!(lost > 0);
    }

    /// What is known to be damaged stays so over a rewrite; the other names can be stored.
    #[test]
    fn damage_is_not_forgotten() {
        let storage = MemoryStorage::new();
        let mut lines = JournalLines::default();
        lines.push(VERSION);
        lines.push_position(b"bad", Position::At(at(5)));
        let end = lines.0.len();
        lines.0[end - 9] ^= 1;
        storage.put(&Path::new(DIR).join("positions"), lines.0);
        for micros in 1..3 {
            let mut journal = journal(&storage);
            let known = journal.read(None).unwrap();
            assert_eq!(known.get(&b"bad"[..]), Some(&Position::Damaged));
            journal.store(&known, &[(name(1), at(micros))].into()).unwrap();
        }
        assert_eq!(stored(&journal(&storage).read(None).unwrap(), &name(1)), 2);
    }

    #[test]
    fn a_journal_of_a_newer_version_is_left_alone() {
        let storage = MemoryStorage::new();
        let mut lines = JournalLines::default();
        lines.push("cursors 2");
        storage.put(&Path::new(DIR).join("positions"), lines.0.clone());
        let error = journal(&storage).read(None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert_eq!(storage.bytes(&Path::new(DIR).join("positions")), Some(lines.0));
    }

    fn old(micros: u64) -> Vec<u8> {
        let position = micros.to_be_bytes();
        [&position[..], &crc32c::crc32c(&position).to_be_bytes()].concat()
    }

    /// The directory of an earlier version, with a draft and a damaged file; the taking over dies at each call.
    #[test]
    fn cursors_in_files_of_their_own_are_taken_over_whatever_happens() {
        let mut seeded = Seeded::new(12);
        for nth in 1.. {
            let storage = MemoryStorage::new();
            let dir = Path::new(DIR);
            storage.put(&dir.join("61"), old(7));
            storage.put(&dir.join("6162"), old(8));
            storage.put(&dir.join("6162.new"), vec![1]);
            storage.put(&dir.join("6163"), vec![1; 12]);
            storage.die_at_call(nth);
            let has_ended = journal(&storage).read(None).is_ok() && storage.calls() < nth;
            if seeded.below(2) > 0 {
                storage.lose_power(&mut seeded)
            } else {
                storage.kill()
            }
            let mut next = journal(&storage);
            let known = next.read(None).unwrap();
            assert_eq!((stored(&known, b"a"), stored(&known, b"ab")), (7, 8), "call {nth}");
            assert_eq!(known.get(&b"ac"[..]), Some(&Position::Damaged));
            // What is newer in the journal counts.
            next.store(&known, &[(b"a"[..].into(), at(9))].into()).unwrap();
            storage.put(&dir.join("61"), old(7));
            assert_eq!(stored(&journal(&storage).read(None).unwrap(), b"a"), 9);
            assert!(storage.paths().contains(&dir.join("6163")), "what is damaged is kept");
            if has_ended {
                assert!(!storage.paths().contains(&dir.join("6162")));
                break;
            }
        }
    }
}
