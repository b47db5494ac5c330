//! How far each durable cursor has come: positions that subscribers acknowledge under a name.
//!
//! They are stored in the background, all that have gathered at once, so that hundreds of sessions that acknowledge cost
//! little more than one; `journal` says how.
//!
//! Instances may share `DIR`, as the original's could; no instance's name holds a dot, so their cursors and
//! everything else lie apart. The first version kept all in `DIR/cursors`: where the directory holds the log of one
//! instance they are its own, and are taken over. Where it holds several nobody knows whose they are; they stay, unused.
//!
//! Locks are taken in this order: the journal, what is known, the queue; of the last two only one at a time.
//!
//! # Invariants
//!
//! - `one_at_a_time`: positions of an instance are stored by one thread at a time, however many sessions acknowledge,
//!   also under one name, as an old session does with its successor after a lost connection.
//! - `found_is_stored`: what is found at the start is stored again before anybody goes on from it: a process that died
//!   may have left it in the memory of the machine alone, where the next power loss would take it.
//! - `last_ack`: the last position acknowledged under a name is stored, whatever is being stored when it comes. One
//!   that cannot be stored, as on a full disk, is kept and tried again until it is stored or a newer one comes.

mod journal;

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;

use super::{LogConfig, RealStorage, Storage, find_logs};
use crate::planted::planted;
use crate::time::Timestamp;
use journal::{Acks, Journal, Known, Position};

/// The longest cursor name, in bytes.
pub const MAX_CURSOR_NAME_BYTES: usize = 100;

/// The most cursors that an instance has; they are kept in memory.
const MAX_CURSORS: usize = 100_000;

/// How often what could not be stored is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// How many positions are kept that could not be stored: as many as there may be sessions.
const MAX_FAILED: usize = 10_000;

/// How often the positions are asked for at the start, and how long after one another.
const READ_TRIES: u32 = 3;
const READ_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 100 });

/// The cursors of one instance. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cursors(Arc<CursorsInner>);

/// A cursor, as it is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedCursor {
    /// What it is acknowledged under.
    pub name: Box<[u8]>,
    /// The last position acknowledged; `None` if it was lost to damage.
    pub position: Option<Timestamp>,
    /// Whether that is stored by now.
    pub is_stored: bool,
}

impl ListedCursor {
    fn stored(name: &[u8], position: Position) -> Self {
        let position = match position {
            Position::At(stamp) => Some(stamp),
            Position::Damaged => None,
        };
        ListedCursor { name: name.into(), position, is_stored: true }
    }
}

#[derive(Debug)]
struct CursorsInner {
    dir: PathBuf,
    /// Where the first version kept them, if what is there belongs to this instance.
    old_dir: Option<PathBuf>,
    journal: Mutex<Journal>,
    /// What is stored; `None` while it cannot be read.
    known: RwLock<Option<Known>>,
    queue: Mutex<Unstored>,
    stored: Notify,
}

/// Positions on their way to the disk: at most one a session, and those that are being stored.
#[derive(Debug, Default)]
struct Unstored {
    waiting: Acks,
    storing: Arc<Acks>,
    /// Those that could not be stored; a name that waits is not among them.
    failed: Acks,
    /// Whether a thread is at it: it takes whatever comes to wait (`one_at_a_time`).
    is_running: bool,
    /// Whether what failed will be tried again by itself.
    is_retry_due: bool,
    /// Whether some position could not be stored: that is said once.
    is_failing: bool,
}

impl Unstored {
    /// The newest position under `name` that is not stored.
    fn position(&self, name: &[u8]) -> Option<Timestamp> {
        let waiting = self.waiting.get(name).or_else(|| self.storing.get(name));
        waiting.or_else(|| self.failed.get(name)).copied()
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.storing.is_empty() && self.failed.is_empty()
    }
}

impl Cursors {
    /// The cursors kept beside the log, whose lock the caller holds. `is_alone` tells what [`is_alone`] said. Blocks.
    ///
    /// If they cannot be read that is said, and tried again when they are needed.
    pub fn open(storage: Arc<dyn Storage>, log: &LogConfig, is_alone: bool) -> Self {
        let cursors = Cursors::read_from(storage, log, is_alone);
        if cursors.known(|known| known.as_ref().is_some_and(|known| !known.is_empty()))
            && !planted("acks: what is found may not be durable")
            && let Err(error) = cursors.store(&Acks::new())
        {
            // The first position that is stored brings them over.
            tracing::error!(dir = %cursors.0.dir.display(), "positions of cursors cannot be stored anew yet: {error}");
        }
        cursors
    }

    /// Reads them and changes nothing, but takes over what earlier versions left.
    fn read_from(storage: Arc<dyn Storage>, log: &LogConfig, is_alone: bool) -> Self {
        let dir = log.dir.join(format!("{}.cursors", log.name));
        let old_dir = old_dir(&*storage, log, is_alone);
        let cursors = Cursors(Arc::new(CursorsInner {
            journal: Mutex::new(Journal::new(storage, dir.clone())),
            dir,
            old_dir,
            known: RwLock::new(None),
            queue: Mutex::default(),
            stored: Notify::new(),
        }));
        for tried in 1..=READ_TRIES {
            match cursors.read() {
                Ok(()) => break,
                Err(_) if tried < READ_TRIES => crate::time::pause(READ_PAUSE),
                Err(error) => {
                    tracing::error!(dir = %cursors.0.dir.display(), "positions of cursors cannot be read: {error}");
                }
            }
        }
        cursors
    }

    fn queue(&self) -> MutexGuard<'_, Unstored> {
        // Nothing that is done under the lock panics half way.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The journal, once everything in it is known.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    fn journal(&self) -> io::Result<MutexGuard<'_, Journal>> {
        // A panic leaves a journal whose next positions begin a new file.
        let mut journal = self.0.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if self.known(|known| known.is_none()) {
            let read = journal.read(self.0.old_dir.as_deref())?;
            *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = Some(read);
        }
        Ok(journal)
    }

    fn read(&self) -> io::Result<()> {
        self.journal().map(drop)
    }

    fn known<T>(&self, look: impl FnOnce(&Option<Known>) -> T) -> T {
        look(&self.0.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The latest position acknowledged under any name, as far as that can be told.
    pub fn highest(&self) -> Option<Timestamp> {
        self.known(|known| {
            let stamps =
                known.iter().flat_map(Known::values).filter_map(|position| match position {
                    Position::At(stamp) => Some(*stamp),
                    Position::Damaged => None,
                });
            stamps.max()
        })
    }

    /// The last position acknowledged under `name`. May block, if the positions could not be read before.
    ///
    /// # Errors
    ///
    /// Those of the file system, `InvalidData` if the position is damaged, `QuotaExceeded` if the name is a new one
    /// and there are too many.
    pub fn load(&self, name: &[u8]) -> io::Result<Option<Timestamp>> {
        if let Some(position) = { self.queue().position(name) } {
            return Ok(Some(position));
        }
        if self.known(|known| known.is_none()) {
            self.read()?;
        }
        self.known(|known| {
            let known = known.as_ref().expect("it was read, and stays");
            match known.get(name) {
                Some(Position::At(stamp)) => Ok(Some(*stamp)),
                Some(Position::Damaged) => Err(io::ErrorKind::InvalidData.into()),
                None if known.len() >= MAX_CURSORS => Err(io::ErrorKind::QuotaExceeded.into()),
                None => Ok(None),
            }
        })
    }

    /// The cursors behind `after` in the order of their names, at most `limit` of them. Nothing is read for it.
    ///
    /// # Errors
    ///
    /// `WouldBlock` while the positions could not be read.
    pub fn list(&self, after: Option<&[u8]>, limit: usize) -> io::Result<Vec<ListedCursor>> {
        let is_behind = |name: &[u8]| after.is_none_or(|after| name > after);
        let unstored: Acks = {
            let queue = self.queue();
            let newest_last = [&queue.failed, &queue.storing, &queue.waiting];
            let all = newest_last.into_iter().flatten().filter(|(name, _)| is_behind(name));
            all.map(|(name, stamp)| (name.clone(), *stamp)).collect()
        };
        let mut listed = self.known(|known| {
            let known = known.as_ref().ok_or(io::ErrorKind::WouldBlock)?;
            let start = after.map_or(Bound::Unbounded, Bound::Excluded);
            let stored = known.range::<[u8], _>((start, Bound::Unbounded)).take(limit);
            let listed = stored.map(|(name, at)| (name.clone(), ListedCursor::stored(name, *at)));
            Ok::<_, io::Error>(listed.collect::<BTreeMap<_, _>>())
        })?;
        for (name, stamp) in unstored {
            let cursor =
                ListedCursor { name: name.clone(), position: Some(stamp), is_stored: false };
            listed.insert(name, cursor);
        }
        Ok(listed.into_values().take(limit).collect())
    }

    /// Has a position stored, soon and durably; an earlier one under the same name that still waits is left out. A
    /// failure is told in the diagnostics, and the position is tried again; the one stored before is still there.
    ///
    /// Call it in a tokio runtime, on whose blocking threads it happens.
    pub fn ack(&self, name: &[u8], position: Timestamp) {
        self.put(name, position);
        self.start();
    }

    fn put(&self, name: &[u8], position: Timestamp) {
        let mut queue = self.queue();
        queue.failed.remove(name);
        queue.waiting.insert(name.into(), position);
    }

    /// Has everything stored that is not, what failed before too, unless a thread is at it already.
    fn start(&self) {
        if self.is_to_run() {
            let cursors = self.clone();
            tokio::task::spawn_blocking(move || cursors.store_all());
        }
    }

    /// Whether there is something to store and nobody at it; the caller is from now on.
    fn is_to_run(&self) -> bool {
        let mut queue = self.queue();
        // Whoever runs looks again under the lock before it ends (`last_ack`).
        if queue.is_running {
            return false;
        }
        let failed = std::mem::take(&mut queue.failed);
        queue.waiting.extend(failed);
        queue.is_running = !queue.waiting.is_empty();
        queue.is_running
    }

    /// Tries what waits, once.
    fn store_all(&self) {
        loop {
            let mut queue = self.queue();
            if queue.waiting.is_empty() {
                self.end_of_pass(&mut queue);
                return;
            }
            let batch = Arc::new(std::mem::take(&mut queue.waiting));
            queue.storing = batch.clone();
            drop(queue);
            let result = catch_unwind(AssertUnwindSafe(|| self.store(&batch)));
            let result = result.unwrap_or_else(|_| Err(io::Error::other("storing panicked")));
            let mut queue = self.queue();
            queue.storing = Arc::default();
            if let Err(error) = result {
                self.failed(&mut queue, &batch, &error);
            }
            drop(queue);
            self.0.stored.notify_waiters();
        }
    }

    /// Stores positions durably. Blocks.
    fn store(&self, batch: &Acks) -> io::Result<()> {
        let mut journal = self.journal()?;
        self.known(|known| journal.store(known.as_ref().expect("it was read"), batch))?;
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        let stored = batch.iter().map(|(name, stamp)| (name.clone(), Position::At(*stamp)));
        known.as_mut().expect("it was read").extend(stored);
        Ok(())
    }

    fn failed(&self, queue: &mut Unstored, batch: &Acks, error: &io::Error) {
        let dir = self.0.dir.display();
        if !std::mem::replace(&mut queue.is_failing, true) {
            tracing::error!(%dir, "positions of cursors were not stored, they are tried again: {error}");
        }
        for (name, stamp) in batch {
            if queue.waiting.contains_key(name) {
                continue;
            }
            if queue.failed.len() < MAX_FAILED {
                queue.failed.insert(name.clone(), *stamp);
            } else {
                tracing::error!(%dir, "the position of a cursor is given up: too many wait");
            }
        }
    }

    /// Nothing waits any more; what failed is tried again later.
    fn end_of_pass(&self, queue: &mut Unstored) {
        queue.is_running = false;
        if queue.failed.is_empty() {
            if std::mem::take(&mut queue.is_failing) {
                tracing::info!(dir = %self.0.dir.display(), "cursor positions are stored again");
            }
        } else if !std::mem::replace(&mut queue.is_retry_due, true) {
            let cursors = self.clone();
            tokio::spawn(async move { cursors.retry().await });
        }
    }

    async fn retry(&self) {
        tokio::time::sleep(RETRY).await;
        self.queue().is_retry_due = false;
        self.start();
    }

    /// Waits until nothing acknowledged under `name`, or under any, still has to be stored: for as long as that
    /// fails. What failed before is tried at once.
    pub async fn stored(&self, name: Option<&[u8]>) {
        self.start();
        loop {
            let stored = self.0.stored.notified();
            tokio::pin!(stored);
            // Registered before looking, so that what is stored in between is not missed.
            stored.as_mut().enable();
            {
                let queue = self.queue();
                if name.map_or(queue.is_empty(), |name| queue.position(name).is_none()) {
                    return;
                }
            }
            stored.await;
        }
    }
}

/// Cursors without a thread: a simulation says when they are stored.
#[cfg(test)]
impl Cursors {
    /// As [`Cursors::ack`], but nothing is stored yet.
    pub(crate) fn put_only(&self, name: &[u8], position: Timestamp) {
        self.put(name, position);
    }

    /// Stores what waits and tries again what failed, once. Call it in a tokio runtime.
    pub(crate) fn step(&self) {
        if self.is_to_run() {
            self.store_all();
        }
    }

    /// Whether nothing acknowledged under `name` still has to be stored.
    pub(crate) fn is_stored(&self, name: &[u8]) -> bool {
        self.queue().position(name).is_none()
    }
}

/// Where the first version kept the cursors of all instances of a directory.
const OLD_DIR: &str = "cursors";

/// That directory, if it is there and this instance's.
fn old_dir(storage: &dyn Storage, log: &LogConfig, is_alone: bool) -> Option<PathBuf> {
    let old = log.dir.join(OLD_DIR);
    if !is_of_cursors(storage, &old) {
        return None;
    }
    if !is_alone {
        tracing::warn!(
            dir = %old.display(),
            "cursors of the first version are left alone: the logs of several instances lie beside them"
        );
    }
    is_alone.then_some(old)
}

/// Whether no other instance's log lies in the directory, as far as one can see. Ask before any log is opened for
/// writing, which makes the new ones. Blocks.
pub fn is_alone(log: &LogConfig) -> bool {
    find_logs(&RealStorage, &log.dir).is_ok_and(|names| names == [log.name.as_str()])
}

/// Whether a directory holds cursors and nothing else: an instance may have that name, and its log there.
fn is_of_cursors(storage: &dyn Storage, dir: &Path) -> bool {
    storage.list(dir).is_ok_and(|files| {
        let is_cursor = |name: &str| {
            let hex = name.strip_suffix(".new").unwrap_or(name);
            hex.len().is_multiple_of(2) && hex.bytes().all(|c| c.is_ascii_hexdigit())
        };
        !files.is_empty() && files.iter().all(|file| is_cursor(&file.name))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::event_log::storage::memory::{Call, MemoryStorage, Seeded};

    /// A view of what the files hold now, beside others.
    fn cursors(dir: &Path, instance: &str) -> Cursors {
        Cursors::read_from(Arc::new(RealStorage), &log(dir, instance), true)
    }

    fn log(dir: &Path, instance: &str) -> LogConfig {
        LogConfig::still(instance, dir.to_owned(), dir.join("archive"))
    }

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    /// Positions that are stored, and others on their way to the disk, under old names and a new one.
    #[tokio::test]
    async fn what_is_listed_is_the_newest_of_each_name_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let all = cursors(dir.path(), "x");
        for (name, micros) in [(b"d", 4), (b"b", 2), (b"a", 1)] {
            all.ack(name, at(micros));
        }
        all.stored(None).await;
        all.put_only(b"b", at(20));
        all.put_only(b"c", at(30));
        let list = |after: Option<&[u8]>, limit| {
            let listed = all.list(after, limit).unwrap();
            let told = |it: &ListedCursor| {
                let name = String::from_utf8_lossy(&it.name).into_owned();
                (name, it.position.map_or(0, Timestamp::micros), it.is_stored)
            };
            listed.iter().map(told).collect::<Vec<_>>()
        };
        let it = |name: &str, micros, is_stored| (name.to_owned(), micros, is_stored);
        let expected = [it("a", 1, true), it("b", 20, false), it("c", 30, false), it("d", 4, true)];
        assert_eq!(list(None, 10), expected);
        assert_eq!(list(None, 2), expected[..2]);
        assert_eq!(list(Some(b"b"), 2), expected[2..]);
        assert_eq!(list(Some(b"d"), 2), []);
    }

    /// Many threads acknowledge, under one name and under their own, while others store.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_last_position_reaches_the_disk_whatever_is_being_stored() {
        let dir = tempfile::tempdir().unwrap();
        let all = cursors(dir.path(), "x");
        let threads: Vec<_> = (1..5_u64)
            .map(|thread| {
                let all = all.clone();
                tokio::spawn(async move {
                    let name = [u8::try_from(thread).unwrap()];
                    for round in 0..200 {
                        all.ack(&name, at(thread * 1000 + round));
                        all.ack(b"shared", at(thread * 1000 + round));
                        all.load(b"shared").unwrap().expect("acknowledged");
                        tokio::task::yield_now().await;
                    }
                    all.stored(Some(&name)).await;
                    // A new view has nothing but the files.
                    let dir = all.0.dir.parent().unwrap();
                    let position = cursors(dir, "x").load(&name).unwrap();
                    assert_eq!(position, Some(at(thread * 1000 + 199)), "last_ack");
                })
            })
            .collect();
        for thread in threads {
            thread.await.unwrap();
        }
        all.stored(None).await;
        let fresh = cursors(dir.path(), "x");
        assert_eq!(fresh.load(b"shared").unwrap(), all.load(b"shared").unwrap(), "last_ack");
    }

    async fn until(condition: impl Fn() -> bool) {
        let holds = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), holds).await.expect("it comes true");
    }

    /// The place of the directory is taken by a file, as good as a full disk; then it is free.
    #[tokio::test]
    async fn what_could_not_be_stored_is_kept_and_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let all = cursors(dir.path(), "x");
        let on_disk = |name: &[u8]| cursors(dir.path(), "x").load(name).ok().flatten();
        fs::write(&all.0.dir, "in the way").unwrap();
        let has_failed = |name: &'static [u8], position: u64| {
            let all = all.clone();
            async move {
                until(|| all.queue().failed.get(name) == Some(&at(position))).await;
            }
        };
        all.ack(b"a", at(1));
        has_failed(b"a", 1).await;
        assert_eq!(all.load(b"a").unwrap(), Some(at(1)), "it counts all the same");
        all.ack(b"a", at(2));
        all.ack(b"b", at(3));
        has_failed(b"a", 2).await;
        has_failed(b"b", 3).await;
        assert_eq!((on_disk(b"a"), on_disk(b"b")), (None, None));
        fs::remove_file(&all.0.dir).unwrap();
        // By itself, with nobody who waits for it or acknowledges more.
        until(|| all.queue().is_empty()).await;
        assert_eq!((on_disk(b"a"), on_disk(b"b")), (Some(at(2)), Some(at(3))), "last_ack");
        // Under the next acknowledgement, and for who waits.
        let draft = all.0.dir.join("positions.new");
        fs::create_dir(&draft).unwrap();
        make_next_rewrite(&all);
        all.ack(b"a", at(4));
        has_failed(b"a", 4).await;
        fs::remove_dir(&draft).unwrap();
        all.ack(b"b", at(5));
        all.stored(None).await;
        assert_eq!((on_disk(b"a"), on_disk(b"b")), (Some(at(4)), Some(at(5))), "last_ack");
    }

    /// The next positions begin a new file, as after a failure.
    fn make_next_rewrite(all: &Cursors) {
        *all.0.journal.lock().unwrap() = Journal::new(Arc::new(RealStorage), all.0.dir.clone());
    }

    #[test]
    fn what_is_stored_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let (all, other) = (cursors(dir.path(), "x"), cursors(&dir.path().join("."), "y"));
        let name = b"audit/\xff";
        assert_eq!((all.load(name).unwrap(), all.highest()), (None, None));
        for micros in [5, 1_795_343_462_123_456, 7] {
            all.store(&[(name[..].into(), at(micros))].into()).unwrap();
            assert_eq!(all.load(name).unwrap(), Some(at(micros)));
            assert_eq!(cursors(dir.path(), "x").load(name).unwrap(), Some(at(micros)));
        }
        all.store(&[(b"b"[..].into(), at(6))].into()).unwrap();
        assert_eq!(cursors(dir.path(), "x").highest(), Some(at(7)));
        assert_eq!(other.load(name).unwrap(), None, "another instance of the directory");
    }

    /// Another version's journal at the start; then it is one of ours.
    #[tokio::test]
    async fn positions_that_could_not_be_read_are_read_later_and_not_written_over() {
        let storage = MemoryStorage::new();
        let config = log(Path::new("/data"), "x");
        let open = || Cursors::open(Arc::new(storage.clone()), &config, true);
        open().store(&[(b"a"[..].into(), at(5))].into()).unwrap();
        let path = Path::new("/data/x.cursors/positions");
        let ours = storage.bytes(path).unwrap();
        let body = "cursors 2";
        storage.put(path, format!("{:08x} {body}\n", crc32c::crc32c(body.as_bytes())).into());
        let all = open();
        assert_eq!(all.load(b"a").unwrap_err().kind(), io::ErrorKind::Unsupported);
        all.ack(b"b", at(6));
        until(|| all.queue().failed.contains_key(&b"b"[..])).await;
        storage.put(path, ours);
        all.stored(None).await;
        assert_eq!((all.load(b"a").unwrap(), all.highest()), (Some(at(5)), Some(at(6))));
    }

    /// A kill before the sync of a position, then a power loss: who went on from it in between does not get it again.
    #[test]
    fn a_position_that_was_found_is_not_lost_with_the_power() {
        let storage = MemoryStorage::new();
        let config = log(Path::new("/data"), "x");
        let open = || Cursors::open(Arc::new(storage.clone()), &config, true);
        open().store(&[(b"a"[..].into(), at(5))].into()).unwrap();
        let life = open();
        storage.fail(Call::Sync, 1, io::ErrorKind::Other);
        life.store(&[(b"a"[..].into(), at(6))].into()).unwrap_err();
        drop(life);
        storage.kill();
        assert_eq!(open().load(b"a").unwrap(), Some(at(6)));
        for seed in 0..20 {
            let storage = storage.copy();
            storage.lose_power(&mut Seeded::new(seed));
            let after = Cursors::open(Arc::new(storage), &config, true);
            assert_eq!(after.load(b"a").unwrap(), Some(at(6)), "found_is_stored");
        }
    }

    #[test]
    fn names_without_end_are_refused() {
        let all =
            Cursors::open(Arc::new(MemoryStorage::new()), &log(Path::new("/data"), "x"), true);
        let names = (0..MAX_CURSORS as u64).map(|n| (n.to_be_bytes()[..].into(), at(n)));
        all.store(&names.collect()).unwrap();
        assert_eq!(all.load(&7_u64.to_be_bytes()).unwrap(), Some(at(7)));
        assert_eq!(all.load(b"new").unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
    }

    /// The first version's directory beside one log, then beside two.
    #[test]
    fn old_cursors_are_taken_over_by_an_instance_that_has_the_directory_for_itself() {
        for (logs, expected) in [(&["x"][..], Some(at(7))), (&["x", "y"], None)] {
            let dir = tempfile::tempdir().unwrap();
            // As the first version wrote it.
            fs::create_dir(dir.path().join("cursors")).unwrap();
            let position = 7_u64.to_be_bytes();
            let sum = crc32c::crc32c(&position).to_be_bytes();
            fs::write(dir.path().join("cursors/6162"), [&position[..], &sum].concat()).unwrap();
            for log in logs {
                fs::write(dir.path().join(log), [1, 2, 3, 4, 6, 7, 8, 9]).unwrap();
            }
            let config = log(dir.path(), "x");
            let cursors = Cursors::open(Arc::new(RealStorage), &config, is_alone(&config));
            assert_eq!(cursors.load(b"ab").unwrap(), expected);
            assert_eq!(dir.path().join("cursors/6162").exists(), expected.is_none());
        }
        // The log of an instance that is called `cursors`.
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("cursors")).unwrap();
        fs::write(dir.path().join("cursors/cursors"), [1, 2, 3, 4, 6, 7, 8, 9]).unwrap();
        let config = log(dir.path(), "x");
        Cursors::open(Arc::new(RealStorage), &config, true);
        assert!(dir.path().join("cursors/cursors").exists());
    }
}
