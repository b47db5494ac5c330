//! The tail without a recorder, so that it is as far behind as a test wants; and recorders that fail.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::ThreadId;

use super::*;
use crate::etf::{TermRef, text};
use crate::event_log::storage::memory::{Call, MemoryStorage, Seeded};
use crate::event_log::storage::{Access, Listed, Lock, Storage, StorageDir, StorageFile};
use crate::event_log::{self, Log, LogConfig, OpenError};
use crate::store::Lack;
use crate::store::file::SyncedWriter;

const BLOCK: Overload = Overload::Block { at_most: None };

/// A tail that counts, and an event of some 40 bytes.
fn tail(overload: Overload, pending_bytes: usize) -> (Arc<Tail>, Arc<InstanceMetrics>, Vec<u8>) {
    let config = RecorderConfig { sync: SyncMode::Always, overload, pending_bytes };
    let metrics: Arc<InstanceMetrics> = Arc::default();
    let tail = Tail::new(config, None, Clock::system(), metrics.clone());
    (Arc::new(tail), metrics, text::parse("{quote, 1}").expect("a term").into_bytes())
}

fn cast(tail: &Tail, event: &[u8], count: usize) -> bool {
    tail.append((0..count).map(|_| event), None)
}

/// Appends as a call does; the answer comes over the channel.
fn call(tail: &Tail, event: &[u8]) -> (bool, mpsc::Receiver<Result<Stamped, Failure>>) {
    let (told, answer) = mpsc::sync_channel(1);
    let recorded = Box::new(move |result| told.send(result).expect("it is waited for"));
    (tail.append([event].into_iter(), Some(recorded)), answer)
}

/// What a recorder that has all the time takes.
fn take(tail: &Tail) -> (u64, u64) {
    let taken = tail.take();
    (taken.batch.count(), taken.ticket)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// No recorder takes anything until the tail is full; what it takes then ends with a report of the loss, though
/// no event follows.
#[test]
fn overload_drops_what_is_too_much_counts_it_and_reports_it() {
    let clock = Clock::manual(Timestamp::from_micros(1_000_000));
    let config =
        RecorderConfig { sync: SyncMode::None, overload: Overload::Drop, pending_bytes: 200 };
    let metrics: Arc<InstanceMetrics> = Arc::default();
    let tail = Tail::new(config, None, clock.clone(), metrics.clone());
    let event = text::parse("{quote, 1}").expect("a term");
    assert!(!cast(&tail, &event, 10), "senders of a dropping instance never wait");
    clock.step(500);
    let (_, answer) = call(&tail, &event);
    cast(&tail, &event, 2);
    assert_eq!(answer.recv().expect("told at once"), Err("overload".into()));
    assert_eq!((metrics.received.get(), metrics.dropped.get()), (10, 3));
    clock.step(500);
    let taken = tail.take();
    assert_eq!((taken.batch.count(), taken.ticket), (11, 11));
    let mut records = &taken.batch.into_records()[..];
    let mut events = Vec::new();
    while !records.is_empty() {
        // Behind 8 bytes of framing and the version.
        let (entry, rest) = TermRef::split_first(&records[9..]).expect("a record holds a term");
        let [_, event] = entry.as_tuple().expect("an entry");
        events.push(text::to_text(event));
        records = rest;
    }
    assert_eq!(
        events.last().map(String::as_str),
        Some(
            "{logmachine,dropped,#{count => 3,from => {0,1,500},reason => overload,to => {0,1,1000}}}"
        )
    );
    cast(&tail, &event, 1);
    assert_eq!(take(&tail), (1, 12));
}

/// Nobody takes anything: senders wait no longer than they may, then events are dropped; when the recorder has come
/// by, events are taken and senders wait again.
#[test]
fn senders_wait_for_block_for_then_events_are_dropped_until_the_recorder_has_caught_up() {
    let at_most = Some(Duration::from_millis(1));
    let (tail, metrics, event) = tail(Overload::Block { at_most }, 200);
    for round in 1..=2 {
        assert!(cast(&tail, &event, 10), "never_longer: a stretch begins");
        runtime().block_on(tail.caught_up());
        assert!(!cast(&tail, &event, 3), "and is over");
        let (waits, answer) = call(&tail, &event);
        assert!(!waits);
        assert_eq!(answer.recv().expect("told at once"), Err("overload".into()));
        assert_eq!((metrics.received.get(), metrics.dropped.get()), (10 * round, 4 * round));
        assert_eq!(take(&tail).0, 11, "the events and the report");
    }
    assert_eq!(metrics.blocked.get(), 2);
}

/// Without `block_for` senders wait until the recorder comes by, and nothing is dropped.
#[test]
fn senders_wait_for_ever_where_they_are_told_to() {
    let (tail, metrics, event) = tail(BLOCK, 200);
    assert!(!cast(&tail, &event, 1));
    assert!(cast(&tail, &event, 10));
    runtime().block_on(async {
        let mut opened = std::pin::pin!(tail.caught_up());
        assert!(futures::poll!(&mut opened).is_pending());
        assert!(cast(&tail, &event, 10), "whatever still comes is taken");
        take(&tail);
        opened.await;
    });
    assert_eq!(metrics.dropped.get(), 0);
}

/// Calls without end cost memory before their events do, also while these are being written.
#[test]
fn calls_that_wait_for_the_recorder_count_as_what_they_cost() {
    let (tail, _, event) = tail(BLOCK, 100 * WAITING_BYTES);
    let calls: Vec<_> = (0..100).map(|_| call(&tail, &event)).collect();
    assert!(calls[..95].iter().all(|(waits, _)| !waits));
    assert!(calls[99].0, "bounded");
    let (_, ticket) = take(&tail);
    assert!(tail.pending_bytes() >= 100 * WAITING_BYTES, "they wait on");
    tail.recorded(ticket);
    assert_eq!(tail.pending_bytes(), 0);
    for (_, answer) in calls {
        assert!(answer.recv().expect("told").is_ok());
    }
    assert!(!call(&tail, &event).0);
}

/// The recorder gives up with two events taken: who waits is told, what was taken and what comes is counted.
#[test]
fn a_failed_recorder_tells_who_waits_and_counts_what_is_lost() {
    let (tail, metrics, event) = tail(BLOCK, 1 << 20);
    let (first, second) = (call(&tail, &event).1, call(&tail, &event).1);
    let failure: Failure = "sync failed: EIO".into();
    tail.fail(&failure, 0);
    for answer in [first, second, call(&tail, &event).1] {
        assert_eq!(answer.recv().expect("told at once"), Err(failure.clone()));
    }
    cast(&tail, &event, 1);
    assert_eq!(metrics.dropped.get(), 4);
    assert_eq!(tail.recording(), Recording::Failed(failure));
}

/// What a disk is told to do.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// Writing panics.
    pub(crate) panics: AtomicBool,
    /// Each write and sync takes a while.
    is_slow: AtomicBool,
    /// Each takes so long that nobody is kept waiting for a second one.
    stalls: AtomicBool,
    /// Which threads have written.
    writers: Mutex<HashSet<ThreadId>>,
}

impl Trouble {
    fn take_a_while(&self) {
        if self.is_slow.load(Ordering::SeqCst) {
            crate::time::pause(Duration::from_micros(500));
        }
        if self.stalls.load(Ordering::SeqCst) {
            crate::time::pause(SLOW);
        }
    }
}

/// A file system in memory that gets into trouble once it is told to.
#[derive(Debug)]
pub(crate) struct Panicking {
    pub(crate) files: MemoryStorage,
    pub(crate) trouble: Arc<Trouble>,
}

#[derive(Debug)]
struct PanickingFile(Arc<dyn StorageFile>, Arc<Trouble>);

impl Storage for Panicking {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        let file = self.files.open(path, access)?;
        Ok(Arc::new(PanickingFile(file, self.trouble.clone())))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.files.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Listed>> {
        self.files.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.files.create_dir(dir)
    }
    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn StorageDir>> {
        self.files.open_dir(dir)
    }
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.files.free_bytes(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Lock> {
        self.files.lock(path)
    }
}

impl StorageFile for PanickingFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(buffer, position)
    }
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        assert!(!self.1.panics.load(Ordering::SeqCst), "the disk has gone mad");
        self.1.writers.lock().expect("sound").insert(std::thread::current().id());
        self.1.take_a_while();
        self.0.write_at(bytes, position)
    }
    fn bytes(&self) -> io::Result<u64> {
        self.0.bytes()
    }
    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.0.set_bytes(bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.1.take_a_while();
        self.0.sync()
    }
}

/// A recorder on its thread, and its disk.
struct Running {
    thread: std::thread::JoinHandle<()>,
    files: MemoryStorage,
    trouble: Arc<Trouble>,
    log: Log,
}

fn still() -> LogConfig {
    LogConfig::still("quotes", "/log".into(), "/log/archive".into())
}

fn recorder(tail: &Arc<Tail>) -> Running {
    recorder_on(tail, MemoryStorage::new(), still())
}

fn recorder_on(tail: &Arc<Tail>, files: MemoryStorage, config: LogConfig) -> Running {
    let trouble: Arc<Trouble> = Arc::default();
    let storage = Panicking { files: files.clone(), trouble: trouble.clone() };
    let opened = event_log::open(config, Arc::new(storage), tail.clock.clone());
    let (writer, log) = opened.expect("the log opens");
    let writer = Box::new(SyncedWriter::new(writer, tail.config.sync));
    let recorder = Recorder::new("quotes".into(), tail.clone(), writer);
    Running { thread: std::thread::spawn(move || recorder.run()), files, trouble, log }
}

/// A tail of its own clock, and an event of some 40 bytes.
fn tail_at(sync: SyncMode, clock: &Clock) -> (Arc<Tail>, Arc<InstanceMetrics>, Vec<u8>) {
    let config = RecorderConfig { sync, overload: BLOCK, pending_bytes: 1 << 20 };
    let metrics: Arc<InstanceMetrics> = Arc::default();
    let tail = Tail::new(config, None, clock.clone(), metrics.clone());
    (Arc::new(tail), metrics, text::parse("{quote, 1}").expect("a term").into_bytes())
}

/// Polls until it holds.
fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = monotonic() + Duration::from_secs(30);
    while !condition() {
        assert!(monotonic() < deadline, "{what}");
        crate::time::pause(Duration::from_millis(1));
    }
}

/// Bytes of all files.
fn used(files: &MemoryStorage) -> u64 {
    files.paths().iter().filter_map(|path| files.bytes(path)).map(|b| b.len() as u64).sum()
}

fn is_waiting(tail: &Tail) -> bool {
    matches!(tail.recording(), Recording::Waiting(_))
}

/// All stamps in a log.
fn stamps(log: &Log) -> Vec<Timestamp> {
    let mut cursor = log.cursor(Timestamp::MIN);
    let mut stamps = Vec::new();
    while let Some(chunk) = cursor.next(1 << 20).expect("it can be read") {
        stamps.extend(chunk.entries().map(|entry| entry.timestamp));
    }
    stamps
}

/// The stamps in a log that nobody has open.
fn stamps_on(files: &MemoryStorage) -> Vec<Timestamp> {
    let log = event_log::open_read_only(still(), Arc::new(files.fork()));
    stamps(&log.expect("it can be read"))
}

/// The disk panics under the recorder: its thread ends in order, the caller is told, and so is who comes later.
#[test]
fn a_recorder_that_panics_has_failed_and_answers() {
    let (tail, metrics, event) = tail(BLOCK, 1 << 20);
    let Running { thread, files, trouble, log } = recorder(&tail);
    assert!(call(&tail, &event).1.recv().expect("answered").is_ok());
    trouble.panics.store(true, Ordering::SeqCst);
    let failure: Failure = "the recorder panicked: the disk has gone mad".into();
    for _ in 0..2 {
        let answer = call(&tail, &event).1.recv();
        assert_eq!(answer.expect("answered"), Err(failure.clone()));
    }
    assert_eq!(tail.recording(), Recording::Failed(failure.clone()));
    assert_eq!(metrics.dropped.get(), 2);
    // What was recorded can be read, by us alone.
    assert_eq!(stamps(&log).len(), 1);
    let other = || event_log::open(still(), Arc::new(files.clone()), Clock::system());
    for _ in 0..20 {
        assert!(matches!(other(), Err(OpenError::Locked { .. })), "alone");
        crate::time::pause(Duration::from_millis(1));
    }
    tail.close();
    thread.join().expect("it ends in order");
    assert_eq!(tail.recording(), Recording::Failed(failure));
    drop(other().expect("nobody has it open"));
}

/// An answer that panics costs the others nothing.
#[test]
fn an_answer_that_panics_does_not_end_recording() {
    let (tail, _, event) = tail(BLOCK, 1 << 20);
    let Running { thread, .. } = recorder(&tail);
    tail.append([&*event].into_iter(), Some(Box::new(|_| panic!("nobody there"))));
    assert!(call(&tail, &event).1.recv().expect("answered").is_ok());
    tail.close();
    thread.join().expect("it ends in order");
    assert_eq!(tail.recording(), Recording::Running);
}

/// A panic while events are being taken in ends the instance, not whoever comes next.
#[test]
fn a_panic_over_the_tail_fails_the_instance_alone() {
    let (tail, _, event) = tail(BLOCK, 1 << 20);
    let Running { thread, .. } = recorder(&tail);
    let torn = [0, 1].iter().map(|&n| if n == 0 { &*event } else { panic!("a torn event") });
    let taken = catch_unwind(AssertUnwindSafe(|| tail.append(torn, None)));
    assert!(taken.is_err());
    let refusal = call(&tail, &event).1.recv().expect("answered");
    assert_eq!(refusal, Err("a panic while events were taken in".into()));
    tail.close();
    thread.join().expect("it ends in order");
    assert!(matches!(tail.recording(), Recording::Failed(_)));
}

/// A moment is settled once everything up to it is committed; whoever was promised that nothing more comes is right,
/// also when the clock steps back.
#[test]
fn nothing_is_stamped_in_what_is_settled() {
    let at = Timestamp::from_micros;
    let clock = Clock::manual(at(1000));
    let (tail, _, event) = tail_at(SyncMode::None, &clock);
    cast(&tail, &event, 1);
    assert_eq!(tail.next_stamp(), at(1001));
    assert!(matches!(tail.outstanding(at(1500)), Some(Outstanding::Time(_))));
    assert_eq!(tail.outstanding(at(1000)), Some(Outstanding::Commits));
    assert_eq!(tail.outstanding(at(999)), Some(Outstanding::Commits));
    clock.step(1000);
    assert_eq!(tail.outstanding(at(1500)), Some(Outstanding::Commits));
    let taken = tail.take();
    cast(&tail, &event, 1);
    assert_eq!(tail.outstanding(at(1500)), Some(Outstanding::Commits), "it is being written");
    tail.has_settled(at(1000));
    assert_eq!(tail.outstanding(at(1500)), Some(Outstanding::Commits), "nobody remembers it yet");
    tail.has_settled(taken.asked.expect("asked"));
    assert_eq!(tail.outstanding(at(1500)), None);
    assert_eq!(tail.outstanding(at(2000)), Some(Outstanding::Commits), "the second event");
    clock.step(1000);
    assert_eq!(tail.outstanding(at(2900)), Some(Outstanding::Commits));
    tail.has_settled(tail.take().asked.expect("asked"));
    assert_eq!(tail.outstanding(at(2900)), None);
    clock.step(-2000);
    let (_, answer) = call(&tail, &event);
    tail.recorded(tail.take().ticket);
    assert_eq!(answer.recv().expect("told").expect("recorded").first, at(2901), "promised");
    assert_eq!(tail.stamp_lead(), 1901);
    // Lost is as good as committed: nothing more will come of it.
    tail.fail(&"no".into(), 0);
    assert_eq!(tail.outstanding(at(2901)), None);
}

/// Who waits for what was taken in does not wait for what comes later.
#[test]
fn what_was_taken_in_is_waited_for_until_it_is_committed_or_lost() {
    let clock = Clock::manual(Timestamp::from_micros(1000));
    let (tail, _, event) = tail_at(SyncMode::None, &clock);
    runtime().block_on(async {
        tail.committed(Timestamp::MAX).await;
        for fails in [false, true] {
            cast(&tail, &event, 1);
            let mut waits = std::pin::pin!(tail.committed(Timestamp::MAX));
            assert!(futures::poll!(&mut waits).is_pending());
            let taken = tail.take();
            assert!(futures::poll!(&mut waits).is_pending());
            clock.step(10);
            cast(&tail, &event, 1);
            if fails {
                tail.fail(&"no".into(), 1);
            } else {
                tail.has_settled(taken.batch.last().expect("an event"));
            }
            waits.await;
            if let Some(last) = tail.take().batch.last() {
                tail.has_settled(last);
            }
        }
    });
}

/// 20 callers, a slow disk, every append synced. 30 readers go up to the moment that they begin at: none of what was
/// stamped up to there may be missing.
#[test]
fn a_reader_up_to_now_misses_nothing_that_was_stamped_by_then() {
    let clock = Clock::system();
    let (tail, _, event) = tail_at(SyncMode::Always, &clock);
    let running = recorder(&tail);
    running.trouble.is_slow.store(true, Ordering::SeqCst);
    let is_over = AtomicBool::new(false);
    let (read, told) = std::thread::scope(|scope| {
        let append = || {
            let mut told = Vec::new();
            while !is_over.load(Ordering::SeqCst) {
                told.push(call(&tail, &event).1.recv().expect("told").expect("recorded").first);
            }
            told
        };
        let callers: Vec<_> = (0..20).map(|_| scope.spawn(append)).collect();
        until("it is under way", || running.log.committed().offset > 100);
        let read: Vec<_> = (0..30)
            .map(|_| {
                let to = clock.now();
                let (mut cursor, mut read) = (running.log.cursor(Timestamp::MIN), Vec::new());
                let mut is_settled = false;
                loop {
                    match cursor.next(1 << 20).expect("it can be read") {
                        Some(chunk) => read.extend(chunk.entries().map(|entry| entry.timestamp)),
                        None if is_settled => break (to, read),
                        None => is_settled = tail.outstanding(to).is_none(),
                    }
                }
            })
            .collect();
        is_over.store(true, Ordering::SeqCst);
        let told: Vec<_> = callers.into_iter().flat_map(|c| c.join().expect("it ends")).collect();
        (read, told)
    });
    for (to, read) in read {
        let missed = told.iter().filter(|&&at| at <= to && read.binary_search(&at).is_err());
        assert_eq!(missed.count(), 0, "settled");
    }
    tail.close();
    running.thread.join().expect("it ends in order");
}

/// The disk has less free than it should. What expires meanwhile makes room.
#[test]
fn retention_goes_on_while_the_recorder_waits_for_space() {
    let clock = Clock::manual(Timestamp::from_micros(1_795_000_000_000_000));
    let (tail, metrics, event) = tail_at(SyncMode::Interval(Duration::from_millis(1)), &clock);
    let files = MemoryStorage::new();
    let config = LogConfig {
        segment_bytes: Some(2000),
        archive_period: Duration::from_millis(10),
        delete_after: Some(Duration::from_secs(600)),
        min_free_bytes: Some(10_000),
        ..still()
    };
    let running = recorder_on(&tail, files.clone(), config);
    for _ in 0..400 {
        assert!(call(&tail, &event).1.recv().expect("told").is_ok());
    }
    files.set_capacity(Some(used(&files) + 5000));
    // Free space is asked for once in a while only.
    clock.step(6_000_000);
    until("it waits", || {
        cast(&tail, &event, 1);
        is_waiting(&tail)
    });
    clock.step(3_600_000_000);
    until("there is space again", || tail.recording() == Recording::Running);
    assert!(running.log.stats().deleted > 0);
    tail.close();
    running.thread.join().expect("it ends in order");
    assert_eq!(metrics.dropped.get(), 0);
    assert_eq!(metrics.recorded.get(), metrics.received.get());
}

/// An event is written, the next one waits for space: the first is synced at its time, and survives a power loss.
#[test]
fn what_was_written_is_synced_while_the_recorder_waits_for_space() {
    let clock = Clock::system();
    let (tail, _, event) = tail_at(SyncMode::Interval(Duration::from_millis(700)), &clock);
    let running = recorder(&tail);
    let first = call(&tail, &event).1.recv().expect("told").expect("recorded").first;
    running.files.set_capacity(Some(used(&running.files)));
    cast(&tail, &event, 1);
    until("it waits", || is_waiting(&tail));
    until("it syncs", || running.log.stats().syncs > 0);
    assert!(is_waiting(&tail));
    running.files.set_capacity(None);
    tail.close();
    running.thread.join().expect("it ends in order");
    assert_eq!(stamps_on(&running.files)[0], first);
    assert_eq!(stamps_on(&running.files).len(), 2);
}

/// The disk has less free than it should, but is not full: an orderly stop loses nothing.
#[test]
fn a_stop_writes_what_waits_for_more_free_space_than_it_needs() {
    let (tail, metrics, event) = tail_at(SyncMode::None, &Clock::system());
    let config = LogConfig { min_free_bytes: Some(1 << 60), ..still() };
    let running = recorder_on(&tail, MemoryStorage::new(), config);
    let (_, answer) = call(&tail, &event);
    until("it waits", || is_waiting(&tail));
    cast(&tail, &event, 1);
    tail.close();
    running.thread.join().expect("it ends in order");
    assert_eq!(tail.recording(), Recording::Running);
    let stamped = answer.recv().expect("told").expect("recorded");
    assert_eq!(stamps_on(&running.files).len(), 2);
    assert_eq!(stamps_on(&running.files)[0], stamped.first);
    assert_eq!((metrics.recorded.get(), metrics.dropped.get()), (2, 0));
}

/// The disk is full to the last byte, and stays so. What was written before is closed in order.
#[test]
fn a_stop_on_a_full_disk_loses_what_waits_and_says_so() {
    let (tail, metrics, event) = tail_at(SyncMode::None, &Clock::system());
    let running = recorder(&tail);
    assert!(call(&tail, &event).1.recv().expect("told").is_ok());
    let files = &running.files;
    files.set_capacity(Some(used(files)));
    let (_, answer) = call(&tail, &event);
    until("it waits", || is_waiting(&tail));
    cast(&tail, &event, 1);
    tail.close();
    running.thread.join().expect("it ends in order");
    assert!(answer.recv().expect("told").is_err());
    assert!(matches!(tail.recording(), Recording::Failed(_)), "the exit code tells");
    assert_eq!((metrics.recorded.get(), metrics.dropped.get()), (1, 2));
    assert_eq!(stamps_on(files).len(), 1);
    // As `disk_log` marks a file that is open.
    let live = files.bytes(Path::new("/log/quotes")).expect("it is there");
    assert_ne!(live[4..8], [6, 7, 8, 9]);
    let (writer, _) = event_log::open(still(), Arc::new(files.clone()), Clock::system())
        .expect("nobody has it open");
    assert!(writer.last_timestamp().is_some());
}

/// More has gathered than the disk has room for: what fits is written, at a stop too, and the rest once there is room.
#[test]
fn of_what_finds_no_space_as_much_is_written_as_fits() {
    for stops in [false, true] {
        let clock = Clock::system();
        let (tail, metrics, _) = tail_at(SyncMode::None, &clock);
        let event = [encode_of(1000)];
        let running = recorder(&tail);
        running.files.set_capacity(Some(used(&running.files) + 200_000));
        for _ in 0..500 {
            tail.append(event.iter().map(Vec::as_slice), None);
        }
        until("some of it is written", || is_waiting(&tail) && metrics.recorded.get() >= 64);
        until("all of it is taken or waits", || tail.pending_bytes() > 200_000);
        if stops {
            tail.close();
            running.thread.join().expect("it ends in order");
            assert_eq!(metrics.recorded.get() + metrics.dropped.get(), 500);
            assert_eq!(stamps_on(&running.files).len() as u64, metrics.recorded.get());
            continue;
        }
        running.files.set_capacity(None);
        until("there is space again", || metrics.recorded.get() == 500);
        assert_eq!((tail.recording(), tail.pending_bytes()), (Recording::Running, 0));
        let seen = stamps(&running.log);
        assert!(seen.len() == 500 && seen.windows(2).all(|two| two[0] < two[1]));
        tail.close();
        running.thread.join().expect("it ends in order");
        assert_eq!(metrics.dropped.get(), 0);
    }
}

/// A store that is no directory: it may lack something, takes a part of a batch at a time, and what it has taken is durable.
struct Elsewhere {
    is_lacking: Arc<AtomicBool>,
    /// The last stamp of each part.
    parts: Arc<Mutex<Vec<Timestamp>>>,
}

impl StoreWriter for Elsewhere {
    fn last_timestamp(&self) -> Option<Timestamp> {
        self.parts.lock().expect("sound").last().copied()
    }
    fn stamp_floor(&self) -> Option<Timestamp> {
        self.last_timestamp()
    }
    fn append(&mut self, mut batch: Batch) -> Result<Option<Batch>, NotAppended> {
        if self.is_lacking.load(Ordering::SeqCst) {
            let lack = Lack { what: "the servers are away", details: "since Monday".to_owned() };
            return Err(NotAppended::ForNow { batch, lack });
        }
        let (part, rest) = match batch.split_first(80_000) {
            Some(first) => (first, Some(batch)),
            None => (batch, None),
        };
        self.parts.lock().expect("sound").extend(part.last());
        Ok(rest)
    }
    fn pass(&mut self, _to: Timestamp) {}
    fn maintain(&mut self) -> Result<Duration, Poisoned> {
        Ok(LATEST)
    }
    fn close(self: Box<Self>) -> Result<(), Poisoned> {
        Ok(())
    }
}

/// One that never asks to be synced, has nobody take turns, and takes five events in five parts once it can.
#[test]
fn a_store_that_is_no_directory_is_waited_for_and_gets_every_part() {
    let (tail, counters, _) = tail_at(SyncMode::Always, &Clock::system());
    let (is_lacking, parts) = (Arc::new(AtomicBool::new(true)), Arc::default());
    let store = Elsewhere { is_lacking: Arc::clone(&is_lacking), parts: Arc::clone(&parts) };
    let recorder = Recorder::new("quotes".into(), tail.clone(), Box::new(store));
    let thread = std::thread::spawn(move || recorder.run());
    let (told, answer) = mpsc::sync_channel(1);
    let recorded = Box::new(move |result| told.send(result).expect("it is waited for"));
    let event = encode_of(70_000);
    tail.append((0..5).map(|_| &*event), Some(recorded));
    until("it waits", || is_waiting(&tail));
    assert_eq!(tail.recording(), Recording::Waiting("the servers are away".into()));
    is_lacking.store(false, Ordering::SeqCst);
    let stamped = answer.recv().expect("told").expect("recorded");
    let parts = std::mem::take(&mut *parts.lock().expect("sound"));
    assert_eq!((parts.len(), parts[0], parts[4]), (5, stamped.first, stamped.last));
    assert_eq!((counters.recorded.get(), counters.commits.get()), (5, 5));
    assert_eq!((tail.recording(), tail.pending_bytes()), (Recording::Running, 0));
    assert!(tail.turns.get().is_none());
    tail.close();
    thread.join().expect("it ends in order");
}

/// A binary of so many bytes, as a term.
fn encode_of(bytes: usize) -> Vec<u8> {
    let mut event = Vec::new();
    encode::binary(&mut event, &vec![7; bytes]);
    event
}

/// While the disk is full, a reader whose end lies before the first event that waits has everything that will ever be
/// there, and is told so.
#[test]
fn an_end_before_what_waits_for_space_comes_all_the_same() {
    let at = Timestamp::from_micros;
    let clock = Clock::manual(at(1_795_000_000_000_000));
    let (tail, _, event) = tail_at(SyncMode::None, &clock);
    let running = recorder(&tail);
    assert!(call(&tail, &event).1.recv().expect("told").is_ok());
    running.files.set_capacity(Some(used(&running.files)));
    clock.step(10_000_000);
    let between = at(clock.now().micros() - 5_000_000);
    cast(&tail, &event, 1);
    until("it waits", || is_waiting(&tail));
    until("it is settled", || tail.outstanding(between).is_none());
    assert_eq!(tail.outstanding(clock.now()), Some(Outstanding::Commits), "that event waits");
    running.files.set_capacity(None);
    until("it is settled too", || tail.outstanding(clock.now()).is_none());
    tail.close();
    running.thread.join().expect("it ends in order");
}

/// A write or sync fails, whichever: what counts as recorded is in the log, what counts as dropped isn't.
#[test]
fn counters_tell_what_is_in_the_log_and_what_is_lost() {
    for call_kind in [Call::Write, Call::Sync] {
        for nth in 1..8 {
            let (tail, metrics, event) = tail_at(SyncMode::Always, &Clock::system());
            let running = recorder(&tail);
            running.files.fail(call_kind, nth, io::ErrorKind::Other);
            let told: Vec<_> =
                (0..8).map(|_| call(&tail, &event).1.recv().expect("told")).collect();
            assert!(told.iter().any(Result::is_err), "{call_kind:?} {nth}");
            let events = running.log.stats().events;
            assert_eq!(events + metrics.dropped.get(), 8, "{call_kind:?} {nth}");
            assert_eq!(metrics.recorded.get(), events, "{call_kind:?} {nth}");
            running.files.heal();
            tail.close();
            running.thread.join().expect("it ends in order");
        }
    }
}

/// Appends a little until that is recorded by the time it is taken in: the recorder was idle, and its turn was taken.
fn append_until_a_turn_is_taken(tail: &Tail, metrics: &InstanceMetrics, event: &[u8]) {
    until("an append records by itself", || {
        cast(tail, event, 1);
        metrics.recorded.get() == metrics.received.get()
    });
}

/// Who appends a little to an idle recorder writes it; and the recorder's thread syncs it when that is due.
#[test]
fn a_little_is_recorded_by_who_appends_it() {
    let interval = SyncMode::Interval(Duration::from_millis(20));
    let (tail, metrics, event) = tail_at(interval, &Clock::system());
    let running = recorder(&tail);
    until("it runs", || tail.turns.get().is_some());
    append_until_a_turn_is_taken(&tail, &metrics, &event);
    let (_, answer) = call(&tail, &event);
    assert!(answer.recv_timeout(Duration::from_secs(30)).expect("answered").is_ok());
    let count = metrics.received.get();
    until("the thread syncs it", || {
        let after = running.files.copy();
        after.lose_power(&mut Seeded::new(1));
        stamps_on(&after).len() as u64 == count
    });
    tail.close();
    running.thread.join().expect("it ends in order");
    assert_eq!(stamps_on(&running.files).len() as u64, metrics.recorded.get());
}

/// What goes wrong in a turn ends recording, and nothing else: who appends goes on, who waits is told.
#[test]
fn a_turn_that_panics_fails_the_recorder_alone() {
    let (tail, metrics, event) = tail_at(SyncMode::None, &Clock::system());
    let running = recorder(&tail);
    until("it runs", || tail.turns.get().is_some());
    append_until_a_turn_is_taken(&tail, &metrics, &event);
    running.trouble.panics.store(true, Ordering::SeqCst);
    let recorded = metrics.recorded.get();
    let failure: Failure = "the recorder panicked: the disk has gone mad".into();
    for _ in 0..2 {
        assert_eq!(call(&tail, &event).1.recv().expect("answered"), Err(failure.clone()));
    }
    assert_eq!((metrics.recorded.get(), metrics.dropped.get()), (recorded, 2));
    tail.close();
    running.thread.join().expect("it ends in order");
    assert_eq!(tail.recording(), Recording::Failed(failure));
}

/// A disk that is slow or full is the recorder's thread's business.
#[test]
fn nobody_waits_for_a_slow_or_full_disk_twice() {
    let (tail, metrics, event) = tail_at(SyncMode::None, &Clock::system());
    let running = recorder(&tail);
    until("it runs", || tail.turns.get().is_some());
    append_until_a_turn_is_taken(&tail, &metrics, &event);
    running.files.set_capacity(Some(used(&running.files)));
    until("it waits for space", || {
        cast(&tail, &event, 1);
        is_waiting(&tail)
    });
    running.files.set_capacity(None);
    until("all of it is recorded", || metrics.recorded.get() == metrics.received.get());
    // Each write takes longer than anybody is kept.
    running.trouble.stalls.store(true, Ordering::SeqCst);
    let has_written = || {
        let mut writers = running.trouble.writers.lock().expect("sound");
        std::mem::take(&mut *writers).contains(&std::thread::current().id())
    };
    until("somebody has waited", || {
        cast(&tail, &event, 1);
        has_written()
    });
    for _ in 0..20 {
        cast(&tail, &event, 1);
        until("it is recorded", || metrics.recorded.get() == metrics.received.get());
    }
    assert!(!has_written(), "the thread did");
    running.trouble.stalls.store(false, Ordering::SeqCst);
    tail.close();
    running.thread.join().expect("it ends in order");
    assert_eq!(metrics.recorded.get(), metrics.received.get());
    assert_eq!(stamps_on(&running.files).len() as u64, metrics.recorded.get());
}
