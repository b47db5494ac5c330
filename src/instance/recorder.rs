//! The thread that writes an instance's events to its log, and the tail where they wait for it.
//!
//! Whoever has events appends them to the tail under a short lock: they are stamped and become records in
//! one buffer. The recorder takes the whole buffer each time it comes by, so the busier the instance, the
//! larger the batches: group commit without a timer.
//!
//! # Invariants
//!
//! - `accepted_is_kept`: an event taken into the tail is written, or reported as lost.
//! - `bounded`: the tail holds at most `pending_bytes` and what one socket read adds.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tracing::{debug, error, info, warn};

use super::stamp::Stamper;
use crate::etf::encode;
use crate::event_log::{AppendError, Batch, Writer};
use crate::metrics::InstanceCounters;
use crate::time::{Clock, Timestamp, monotonic};

/// When written data is forced to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// When the operating system likes to.
    None,
    /// Every so often, if something was written.
    Interval(Duration),
    /// Before anything is acknowledged; one sync for all that has gathered.
    Always,
}

/// What happens to events that come faster than they can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overload {
    /// Their senders are not read from until the recorder has caught up.
    Block,
    /// They are dropped, counted, and an event tells how many.
    Drop,
}

/// How an instance records.
#[derive(Clone, Copy, Debug)]
pub struct RecorderConfig {
    /// When data is forced to disk.
    pub sync: Sync,
    /// What to do when behind.
    pub overload: Overload,
    /// How far behind is too far.
    pub pending_bytes: usize,
}

/// Why an append was not, or may not have been, recorded; as Erlang text.
pub type Failure = Arc<str>;

/// Called on the recorder's thread once an append is as durable as `sync` promises; must not block.
pub type OnRecorded = Box<dyn FnOnce(Result<Stamped, Failure>) + Send>;

/// The stamps given to one append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// Of its first event.
    pub first: Timestamp,
    /// Of its last event.
    pub last: Timestamp,
}

/// Events on their way to the log.
pub struct Tail {
    state: Mutex<State>,
    filled: Condvar,
    caught_up: Notify,
    config: RecorderConfig,
    clock: Clock,
    counters: Arc<InstanceCounters>,
    recording: watch::Sender<Recording>,
}

/// How the recorder is, for `info`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recording {
    /// All is well.
    Running,
    /// It waits, and tries again: the disk is full.
    Waiting(Failure),
    /// It has given up: a write or sync failed.
    Failed(Failure),
}

struct State {
    batch: Batch,
    stamper: Stamper,
    /// Events ever taken in; the ticket of the newest one.
    accepted: u64,
    /// Who waits for which ticket, in order.
    waiting: VecDeque<(u64, Stamped, OnRecorded)>,
    failed: Option<Failure>,
    closing: bool,
    /// A gap in what was recorded, not reported yet.
    gap: Option<Gap>,
}

/// Events dropped since the last report.
struct Gap {
    count: u64,
    from: Timestamp,
}

impl Tail {
    /// A tail after `last`, the newest stamp in the log.
    pub fn new(
        config: RecorderConfig,
        last: Option<Timestamp>,
        clock: Clock,
        counters: Arc<InstanceCounters>,
    ) -> Self {
        Tail {
            state: Mutex::new(State {
                batch: Batch::new(),
                stamper: Stamper::after(last),
                accepted: 0,
                waiting: VecDeque::new(),
                failed: None,
                closing: false,
                gap: None,
            }),
            filled: Condvar::new(),
            caught_up: Notify::new(),
            config,
            clock,
            counters,
            recording: watch::Sender::new(Recording::Running),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the tail is held")
    }

    /// How the recorder is.
    pub fn recording(&self) -> Recording {
        self.recording.borrow().clone()
    }

    /// Stamps events (terms without version byte) and puts them into the tail. `recorded` is told when they
    /// are durable, or why they are dropped; dropped events are counted.
    pub fn append<'a>(
        &self,
        events: impl ExactSizeIterator<Item = &'a [u8]>,
        recorded: Option<OnRecorded>,
    ) {
        let count = events.len() as u64;
        let now = self.clock.now();
        let mut state = self.lock();
        let refusal = if let Some(failure) = &state.failed {
            Some(failure.clone())
        } else if self.config.overload == Overload::Drop
            && state.batch.bytes() >= self.config.pending_bytes
        {
            let from = state.stamper.earliest_next().max(now);
            state.gap.get_or_insert(Gap { count: 0, from }).count += count;
            Some("overload".into())
        } else {
            None
        };
        if let Some(refusal) = refusal {
            drop(state);
            self.counters.dropped.add(count);
            if let Some(recorded) = recorded {
                recorded(Err(refusal));
            }
            return;
        }
        self.report_gap(&mut state, now);
        let was_empty = state.batch.is_empty();
        let mut stamped: Option<Stamped> = None;
        let mut bytes = 0;
        for event in events {
            let stamp = state.stamper.stamp(now);
            state.batch.push(stamp, event);
            bytes += event.len() as u64;
            stamped.get_or_insert(Stamped { first: stamp, last: stamp }).last = stamp;
        }
        state.accepted += count;
        if let (Some(recorded), Some(stamped)) = (recorded, stamped) {
            let ticket = state.accepted;
            state.waiting.push_back((ticket, stamped, recorded));
        }
        drop(state);
        if was_empty {
            self.filled.notify_one();
        }
        self.counters.received.add(count);
        self.counters.received_bytes.add(bytes);
    }

    /// Records how many events overload cost, before the first event after them.
    fn report_gap(&self, state: &mut State, now: Timestamp) {
        let Some(Gap { count, from }) = state.gap.take() else { return };
        let stamp = state.stamper.stamp(now);
        let mut event = Vec::new();
        encode::tuple_header(&mut event, 3);
        encode::atom(&mut event, "logmachine");
        encode::atom(&mut event, "dropped");
        encode::map_header(&mut event, 4);
        encode::atom(&mut event, "count");
        encode::unsigned(&mut event, count);
        encode::atom(&mut event, "from");
        encode::timestamp(&mut event, from);
        encode::atom(&mut event, "reason");
        encode::atom(&mut event, "overload");
        encode::atom(&mut event, "to");
        encode::timestamp(&mut event, stamp);
        state.batch.push(stamp, &event);
        state.accepted += 1;
        warn!(count, "events dropped: they came faster than they could be written");
    }

    /// No event stamped from now on is earlier than this.
    pub fn earliest_next(&self) -> Timestamp {
        let now = self.clock.now();
        self.lock().stamper.earliest_next().max(now)
    }

    /// Whether the recorder is so far behind that senders have to wait.
    pub fn is_behind(&self) -> bool {
        self.config.overload == Overload::Block && self.pending_bytes() >= self.config.pending_bytes
    }

    /// Bytes that wait to be written.
    pub fn pending_bytes(&self) -> usize {
        self.lock().batch.bytes()
    }

    /// Waits until the recorder has caught up.
    pub async fn caught_up(&self) {
        loop {
            let notified = self.caught_up.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if !self.is_behind() {
                return;
            }
            notified.await;
        }
    }

    /// Tells the recorder to write what is left and end.
    pub fn close(&self) {
        self.lock().closing = true;
        self.filled.notify_one();
    }

    /// Takes what has gathered; waits for it until `deadline`. The ticket it goes up to, and whether to end.
    fn take(&self, deadline: Instant) -> (Batch, u64, bool) {
        let mut state = self.lock();
        while state.batch.is_empty() && !state.closing {
            let Some(wait) = deadline.checked_duration_since(monotonic()) else { break };
            let waited = self.filled.wait_timeout(state, wait);
            state = waited.expect("no panic while the tail is held").0;
        }
        let batch = std::mem::replace(&mut state.batch, Batch::new());
        let (accepted, closing) = (state.accepted, state.closing);
        drop(state);
        self.caught_up.notify_waiters();
        (batch, accepted, closing)
    }

    /// Tells everybody up to `ticket`.
    fn recorded(&self, ticket: u64) {
        let mut due = Vec::new();
        let mut state = self.lock();
        while state.waiting.front().is_some_and(|(waiting, ..)| *waiting <= ticket) {
            due.extend(state.waiting.pop_front());
        }
        drop(state);
        for (_, stamped, recorded) in due {
            recorded(Ok(stamped));
        }
    }

    /// Nothing is taken from now on, and everybody who waits is told why.
    fn fail(&self, failure: &Failure, lost: u64) {
        let mut state = self.lock();
        state.failed = Some(failure.clone());
        let lost = lost + state.batch.count();
        state.batch = Batch::new();
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.counters.dropped.add(lost);
        self.recording.send_replace(Recording::Failed(failure.clone()));
        self.caught_up.notify_waiters();
        for (_, _, recorded) in waiting {
            recorded(Err(failure.clone()));
        }
    }
}

/// How often a full disk is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// The recorder of one instance; [`Recorder::run`] is its thread.
pub struct Recorder {
    tail: Arc<Tail>,
    writer: Writer,
    name: Arc<str>,
    last_sync: Instant,
    unsynced: bool,
}

impl Recorder {
    /// Writes what comes into `tail` with `writer`.
    pub fn new(name: Arc<str>, tail: Arc<Tail>, writer: Writer) -> Self {
        Recorder { tail, writer, name, last_sync: monotonic(), unsynced: false }
    }

    /// Records until the tail is closed, or a write fails.
    pub fn run(mut self) {
        let result = self.record();
        match result {
            Ok(()) => match self.writer.close() {
                Ok(()) => debug!(instance = %self.name, "log closed"),
                Err(failure) => error!(instance = %self.name, "log not closed: {failure}"),
            },
            Err(ended) => {
                let (failure, lost) = *ended;
                error!(instance = %self.name, "recording has ended: {failure}; what was recorded can be read, new events are refused until the node is started again");
                self.tail.fail(&failure.to_string().into(), lost);
            }
        }
    }

    /// The failure that ends recording, with the number of accepted events it cost.
    fn record(&mut self) -> Result<(), Box<(AppendError, u64)>> {
        let clock = self.tail.clock.clone();
        let mut maintain_at = monotonic();
        loop {
            if maintain_at <= monotonic() {
                let now = clock.now();
                let next = self.writer.maintain(now).map_err(|failure| Box::new((failure, 0)))?;
                let wait = next.micros().saturating_sub(now.micros());
                maintain_at = monotonic() + Duration::from_micros(wait.clamp(10_000, 60_000_000));
            }
            let deadline = self.sync_at().map_or(maintain_at, |sync_at| sync_at.min(maintain_at));
            let (batch, ticket, closing) = self.tail.take(deadline);
            let is_empty = batch.is_empty();
            if !is_empty {
                let count = batch.count();
                self.write(batch).map_err(|failure| Box::new((failure, count)))?;
                self.tail.counters.commits.inc();
                self.unsynced = true;
            }
            if self.sync_at().is_some_and(|at| at <= monotonic()) {
                self.sync().map_err(|failure| Box::new((failure, 0)))?;
            }
            if !is_empty {
                self.tail.recorded(ticket);
            }
            if closing && is_empty {
                return Ok(());
            }
        }
    }

    /// Syncs as promised: before anything is acknowledged, or beside the writing.
    fn sync(&mut self) -> Result<(), AppendError> {
        let is_done = if self.tail.config.sync == Sync::Always {
            self.writer.sync()?;
            true
        } else {
            self.writer.sync_beside()?
        };
        self.unsynced = !is_done;
        self.last_sync = monotonic();
        self.tail.counters.syncs.inc();
        Ok(())
    }

    /// When a sync is due: never, at the interval's end, or at once.
    fn sync_at(&self) -> Option<Instant> {
        if !self.unsynced {
            return None;
        }
        match self.tail.config.sync {
            Sync::None => None,
            Sync::Interval(interval) => Some(self.last_sync + interval),
            Sync::Always => Some(self.last_sync),
        }
    }

    /// Writes a batch, however long the disk is full.
    fn write(&mut self, mut batch: Batch) -> Result<(), AppendError> {
        let mut waiting = false;
        loop {
            match self.writer.append(batch) {
                Ok(_) => break,
                Err(AppendError::NoSpace { batch: unwritten, free_bytes, wanted_bytes }) => {
                    if !waiting {
                        error!(instance = %self.name, free_bytes, wanted_bytes, "no space left on the log's disk: recording waits until there is");
                        let failure = "no space left on the log's disk".into();
                        self.tail.recording.send_replace(Recording::Waiting(failure));
                        waiting = true;
                    }
                    if self.tail.lock().closing {
                        return Err(AppendError::NoSpace {
                            batch: unwritten,
                            free_bytes,
                            wanted_bytes,
                        });
                    }
                    batch = unwritten;
                    std::thread::sleep(RETRY);
                }
                Err(failure) => return Err(failure),
            }
        }
        if waiting {
            info!(instance = %self.name, "there is space again: recording goes on");
            self.tail.recording.send_replace(Recording::Running);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etf::{TermRef, text};

    /// No recorder takes anything until the tail is full; the first event after that is told of the loss.
    #[test]
    fn overload_drops_what_is_too_much_counts_it_and_reports_it() {
        let at = Timestamp::from_micros;
        let clock = Clock::manual(at(1_000_000));
        let config =
            RecorderConfig { sync: Sync::None, overload: Overload::Drop, pending_bytes: 200 };
        let counters: Arc<InstanceCounters> = Arc::default();
        let tail = Tail::new(config, None, clock.clone(), counters.clone());
        let event = text::parse("{quote, 1}").expect("a term");
        let append = |count: usize| tail.append((0..count).map(|_| &*event), None);
        append(10);
        assert!(!tail.is_behind(), "senders of a dropping instance never wait");
        clock.step(500);
        let (told, answer) = std::sync::mpsc::sync_channel(1);
        let recorded = Box::new(move |result| told.send(result).expect("it is waited for"));
        tail.append([&*event].into_iter(), Some(recorded));
        append(2);
        assert_eq!(answer.recv().expect("told at once"), Err("overload".into()));
        assert_eq!((counters.received.get(), counters.dropped.get()), (10, 3));
        let (batch, accepted, _) = tail.take(monotonic());
        assert_eq!((batch.count(), accepted), (10, 10));
        clock.step(500);
        append(1);
        let (batch, accepted, _) = tail.take(monotonic());
        assert_eq!((batch.count(), accepted), (2, 12));
        // The report is the batch's first record: behind 8 bytes of framing and the version.
        let record = batch.into_records();
        let (entry, _) = TermRef::split_first(&record[9..]).expect("a record holds a term");
        let [_, report] = entry.as_tuple().expect("an entry");
        assert_eq!(
            text::to_text(report),
            "{logmachine,dropped,#{count => 3,from => {0,1,500},reason => overload,to => {0,1,1000}}}"
        );
    }

    /// The recorder gives up with two events taken: who waits is told, what was taken and what comes is counted.
    #[test]
    fn a_failed_recorder_tells_who_waits_and_counts_what_is_lost() {
        let config = RecorderConfig {
            sync: Sync::Always,
            overload: Overload::Block,
            pending_bytes: 1 << 20,
        };
        let counters: Arc<InstanceCounters> = Arc::default();
        let tail = Tail::new(config, None, Clock::system(), counters.clone());
        let event = text::parse("{quote, 1}").expect("a term");
        let append = || {
            let (told, answer) = std::sync::mpsc::sync_channel(1);
            let recorded = Box::new(move |result| told.send(result).expect("it is waited for"));
            tail.append([&*event].into_iter(), Some(recorded));
            answer
        };
        let (first, second) = (append(), append());
        let failure: Failure = "sync failed: EIO".into();
        tail.fail(&failure, 0);
        for answer in [first, second, append()] {
            assert_eq!(answer.recv().expect("told at once"), Err(failure.clone()));
        }
        tail.append([&*event].into_iter(), None);
        assert_eq!(counters.dropped.get(), 4);
        assert_eq!(tail.recording(), Recording::Failed(failure));
    }
}
