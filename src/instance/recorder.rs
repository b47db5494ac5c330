//! The thread that writes an instance's events to its log, and the tail where they wait for it.
//!
//! Whoever has events appends them to the tail under a short lock: they are stamped and become records in
//! one buffer. The recorder takes the whole buffer each time it comes by, so the busier the instance, the
//! larger the batches: group commit without a timer. While the recorder has nothing to do, whoever appends a little
//! takes its turn and writes that itself: waking another thread would take longer than the write.
//!
//! # Invariants
//!
//! - `accepted_is_kept`: an event taken into the tail is written, or reported as lost.
//! - `bounded`: the tail holds at most `pending_bytes` and what one socket read of each peer adds; calls that wait
//!   for the recorder count as `WAITING_BYTES` each.
//! - `never_longer`: nobody waits for the recorder longer than `block_for` at a stretch.
//! - `answered`: who waits for an append is told, also when the recorder panics.
//! - `settled`: what is told to be settled up to a moment holds every event that will ever be stamped up to there. The
//!   clock is read under the tail's lock, so that no later event gets an earlier stamp than was promised.
//! - `alone`: no other process opens the log before the instance has stopped, also after a failure.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};
use tracing::{debug, error, info, warn};

use super::stamp::Stamper;
use crate::diagnostics::panic_words;
use crate::etf::encode;
use crate::metrics::InstanceMetrics;
use crate::node::Gate;
use crate::planted::planted;
use crate::store::{Batch, NotAppended, Poisoned, StoreWriter, SyncMode};
use crate::time::{Clock, Timestamp, monotonic};

/// What happens to events that come faster than they can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overload {
    /// Their senders are not read from until the recorder has caught up, but no longer than this at a stretch:
    /// nodes that are not read from suspend whoever sends to this one. After that events are dropped as by `Drop`
    /// until the recorder has caught up.
    Block {
        /// `None`: for however long it takes.
        at_most: Option<Duration>,
    },
    /// They are dropped, counted, and an event tells how many.
    Drop,
}

/// How an instance records.
#[derive(Clone, Copy, Debug)]
pub struct RecorderConfig {
    /// When data is forced to disk; the business of a store of files alone.
    pub sync: SyncMode,
    /// What to do when behind.
    pub overload: Overload,
    /// How far behind is too far.
    pub pending_bytes: usize,
}

/// Why an append was not, or may not have been, recorded; as Erlang text.
pub type Failure = Arc<str>;

/// Called, by the recorder or by who takes its turn, once an append is as durable as `sync` promises; must not block.
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
    /// Tells when something was committed or is lost.
    progress: Notify,
    config: RecorderConfig,
    clock: Clock,
    metrics: Arc<InstanceMetrics>,
    recording: watch::Sender<Recording>,
    /// The running recorder, for who takes its turn; if its store has others do so.
    turns: OnceLock<Weak<Turns>>,
}

/// A recorder that its thread and those who append take turns with; `None` once it has ended.
type Turns = Mutex<Option<Recorder>>;

/// How the recorder is, for `info`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recording {
    /// All is well.
    Running,
    /// It waits, and tries again: the disk is full, or whatever else its store needs is not there.
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
    /// Bytes that the recorder has taken and the store did not.
    held_bytes: usize,
    /// Up to where somebody waits for everything to be settled.
    asked: Option<Timestamp>,
    /// Up to here everything is committed, and nothing is stamped any more: not after a crash and by a clock that was set
    /// back either.
    settled: Option<Timestamp>,
    /// How many of the events in the batch are reports of our own.
    reports: u64,
    failed: Option<Failure>,
    closing: bool,
    /// Whether somebody took the recorder's turn and left something for its thread to do.
    called: bool,
    /// Since when the recorder is too far behind.
    behind_since: Option<Instant>,
    /// A gap in what was recorded, not reported yet.
    gap: Option<Gap>,
}

/// Events dropped since the last report.
struct Gap {
    count: u64,
    from: Timestamp,
}

/// What an append that waits for the recorder costs beside its event: its reply, and for `rpc` a process in name.
const WAITING_BYTES: usize = 1024;

impl State {
    /// Memory of what waits for the recorder.
    fn pending_bytes(&self) -> usize {
        self.batch.bytes() + self.held_bytes + self.waiting.len() * WAITING_BYTES
    }

    /// Gives up what has gathered; how many events that costs, our own reports not counted.
    fn lose_batch(&mut self) -> u64 {
        let lost = std::mem::replace(&mut self.batch, Batch::new());
        lost.count().saturating_sub(std::mem::take(&mut self.reports))
    }
}

/// What a reader that ends at a moment still has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outstanding {
    /// The moment itself, for so long.
    Time(Duration),
    /// Events that were taken in and are not committed, or that the log remembers the moment: [`Tail::progress`] tells
    /// when to ask again.
    Commits,
}

enum Wait {
    Until(Instant),
    Ever,
}

impl Gate for Tail {
    fn opened(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.caught_up())
    }
}

impl Tail {
    /// A tail whose stamps begin after `last`.
    pub fn new(
        config: RecorderConfig,
        last: Option<Timestamp>,
        clock: Clock,
        metrics: Arc<InstanceMetrics>,
    ) -> Self {
        Tail {
            state: Mutex::new(State {
                batch: Batch::new(),
                stamper: Stamper::after(last),
                accepted: 0,
                waiting: VecDeque::new(),
                held_bytes: 0,
                asked: None,
                settled: last,
                reports: 0,
                failed: None,
                closing: false,
                called: false,
                behind_since: None,
                gap: None,
            }),
            filled: Condvar::new(),
            caught_up: Notify::new(),
            progress: Notify::new(),
            config,
            clock,
            metrics,
            recording: watch::Sender::new(Recording::Running),
            turns: OnceLock::new(),
        }
    }

    /// A panic while the tail was held may have left half a record in it. So the instance fails, as after a failed
    /// write, and the rest of the node goes on.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| self.give_up(poisoned))
    }

    fn give_up<'s>(&self, poisoned: PoisonError<MutexGuard<'s, State>>) -> MutexGuard<'s, State> {
        self.state.clear_poison();
        let mut state = poisoned.into_inner();
        let lost = state.lose_batch();
        self.metrics.dropped.add(lost);
        state.failed.get_or_insert("a panic while events were taken in".into());
        // The recorder tells who waits, and everybody else.
        self.filled.notify_one();
        state
    }

    /// How the recorder is.
    pub fn recording(&self) -> Recording {
        self.recording.borrow().clone()
    }

    /// Stamps events (terms without version byte) and puts them into the tail. `recorded` is told when they
    /// are durable, or why they are dropped; dropped events are counted. True if whoever sent them must wait until
    /// the recorder has caught up ([`Gate`]).
    pub fn append<'a>(
        &self,
        events: impl ExactSizeIterator<Item = &'a [u8]>,
        recorded: Option<OnRecorded>,
    ) -> bool {
        let count = events.len() as u64;
        let mut state = self.lock();
        // Only now (`settled`).
        let now = self.clock.now();
        let refusal = if let Some(failure) = &state.failed {
            Some(failure.clone())
        } else if self.is_dropping(&state) {
            let from = state.stamper.next().max(now);
            state.gap.get_or_insert(Gap { count: 0, from }).count += count;
            Some("overload".into())
        } else {
            None
        };
        if let Some(refusal) = refusal {
            drop(state);
            self.metrics.dropped.add(count);
            if let Some(recorded) = recorded {
                recorded(Err(refusal));
            }
            return false;
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
        let is_behind = state.pending_bytes() >= self.config.pending_bytes;
        if is_behind {
            state.behind_since.get_or_insert_with(monotonic);
        }
        let is_little = state.batch.bytes() <= LITTLE_BYTES;
        drop(state);
        // Who finds something in the batch leaves it to the one who put it there.
        if was_empty && !(is_little && self.take_turn()) {
            self.filled.notify_one();
        }
        self.metrics.received.add(count);
        self.metrics.received_bytes.add(bytes);
        is_behind && self.config.overload != Overload::Drop
    }

    /// Whether events are dropped now: the recorder is behind, and nobody waits for it, or has waited enough.
    fn is_dropping(&self, state: &State) -> bool {
        let Some(since) = state.behind_since else { return false };
        match self.config.overload {
            Overload::Drop => true,
            Overload::Block { at_most } => at_most.is_some_and(|most| since + most <= monotonic()),
        }
    }

    /// Takes note of what the recorder has done.
    fn check_caught_up(&self, state: &mut State) {
        if state.pending_bytes() < self.config.pending_bytes {
            state.behind_since = None;
            self.caught_up.notify_waiters();
        }
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
        state.reports += 1;
        warn!(count, "events dropped: they came faster than they could be written");
    }

    /// Every event taken in so far is stamped before this, and none that comes is.
    pub fn next_stamp(&self) -> Timestamp {
        self.lock().stamper.next()
    }

    /// What keeps a reader from having seen all events that will ever be stamped at or before `to`, if it looks at the
    /// log after this; `None` if nothing does, from now on for ever (`settled`).
    pub fn outstanding(&self, to: Timestamp) -> Option<Outstanding> {
        let mut state = self.lock();
        if state.stamper.next() <= to {
            let now = self.clock.now();
            if now <= to {
                let left = Duration::from_micros(to.micros() - now.micros());
                return Some(Outstanding::Time(left + Duration::from_millis(1)));
            }
            if !planted("to: the promise is forgotten") {
                state.stamper.pass(to);
            }
        }
        if planted("to: committed is not asked") {
            return None;
        }
        if Some(to) <= state.settled {
            return None;
        }
        state.asked = state.asked.max(Some(to));
        self.filled.notify_one();
        Some(Outstanding::Commits)
    }

    /// Ends once something is committed or lost that isn't yet. Counts from the moment it is enabled.
    pub fn progress(&self) -> Notified<'_> {
        self.progress.notified()
    }

    /// Waits until what has been taken in by now, as far as it is stamped at or before `to`, is committed or lost.
    pub async fn committed(&self, to: Timestamp) {
        let to = to.min(self.next_stamp().previous());
        if to == Timestamp::MIN {
            return;
        }
        loop {
            let progress = self.progress();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if self.outstanding(to).is_none() {
                return;
            }
            progress.await;
        }
    }

    /// By how much the newest stamp is ahead of the clock, in microseconds.
    pub fn stamp_lead(&self) -> u64 {
        let state = self.lock();
        let now = self.clock.now();
        state.stamper.next().previous().micros_since(now)
    }

    /// Bytes that wait to be written, or to be told that they are.
    pub fn pending_bytes(&self) -> usize {
        self.lock().pending_bytes()
    }

    /// How long senders have to wait at most, from now on; `None` if they need not (`never_longer`).
    fn wait(&self) -> Option<Wait> {
        let state = self.lock();
        let (Some(since), None) = (state.behind_since, &state.failed) else { return None };
        match self.config.overload {
            Overload::Block { at_most: None } => Some(Wait::Ever),
            Overload::Block { .. } if self.is_dropping(&state) => None,
            Overload::Block { at_most: Some(most) } => Some(Wait::Until(since + most)),
            Overload::Drop => None,
        }
    }

    async fn caught_up(&self) {
        let mut has_waited = false;
        loop {
            let notified = self.caught_up.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let Some(wait) = self.wait() else { return };
            if !has_waited {
                self.metrics.blocked.inc();
                has_waited = true;
            }
            match wait {
                Wait::Ever => notified.await,
                // Asked again either way: it may have caught up and be behind again.
                Wait::Until(end) => {
                    if tokio::time::timeout_at(end.into(), notified).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Records what has gathered, here and now, if the recorder is idle and it costs a write and no more.
    fn take_turn(&self) -> bool {
        let Some(turns) = self.turns.get().and_then(Weak::upgrade) else { return false };
        // Waits for nobody: who has the turn is told.
        let Ok(mut turn) = turns.try_lock() else { return false };
        turn.as_mut().is_some_and(Recorder::turn)
    }

    /// Lets the recorder's thread look what there is to do.
    fn call(&self) {
        self.lock().called = true;
        self.filled.notify_one();
    }

    /// Tells the recorder to write what is left and end.
    pub fn close(&self) {
        self.lock().closing = true;
        self.filled.notify_one();
    }

    /// For the recorder's thread: waits for something to do until `deadline`.
    fn something(&self, deadline: Instant) {
        let mut state = self.lock();
        while state.batch.is_empty()
            && !state.closing
            && !state.called
            && state.failed.is_none()
            && state.asked <= state.settled
        {
            let Some(wait) = deadline.checked_duration_since(monotonic()) else { break };
            state = match self.filled.wait_timeout(state, wait) {
                Ok((state, _)) => state,
                Err(poisoned) => self.give_up(PoisonError::new(poisoned.into_inner().0)),
            };
        }
        state.called = false;
    }

    /// Takes what has gathered.
    fn take(&self) -> Drained {
        let mut state = self.lock();
        // After all events that came before the gap, and whether others follow or not.
        self.report_gap(&mut state, self.clock.now());
        let taken = Drained {
            in_hand: InHand::of(&state),
            batch: std::mem::replace(&mut state.batch, Batch::new()),
            ticket: state.accepted,
            is_closing: state.closing,
            asked: state.asked.filter(|asked| Some(*asked) > state.settled),
            failed: state.failed.clone(),
        };
        state.reports = 0;
        self.check_caught_up(&mut state);
        taken
    }

    /// Counts a batch that is in the log's file, whose first event had this stamp.
    fn has_committed(&self, count: u64, first: Timestamp) {
        self.metrics.recorded.add(count);
        self.metrics.commits.inc();
        self.metrics.append.observe_micros(self.clock.now().micros_since(first), count);
    }

    /// The store did not take so many bytes that the recorder has, or has by now. Up to where somebody waits.
    fn hold(&self, bytes: usize) -> Option<Timestamp> {
        let mut state = self.lock();
        state.held_bytes = bytes;
        state.asked.filter(|asked| Some(*asked) > state.settled)
    }

    /// Everything up to here is committed or lost, and the log remembers that nothing more comes.
    fn has_settled(&self, to: Timestamp) {
        let mut state = self.lock();
        state.settled = state.settled.max(Some(to));
        drop(state);
        self.progress.notify_waiters();
    }

    /// Waits for the end, `patience` long; whether it has come.
    fn closes_within(&self, patience: Duration) -> bool {
        let deadline = monotonic() + patience;
        let mut state = self.lock();
        while !state.closing {
            let Some(wait) = deadline.checked_duration_since(monotonic()) else { break };
            state = match self.filled.wait_timeout(state, wait) {
                Ok((state, _)) => state,
                Err(poisoned) => self.give_up(PoisonError::new(poisoned.into_inner().0)),
            };
        }
        state.closing
    }

    /// Tells everybody up to `ticket`.
    fn recorded(&self, ticket: u64) {
        let mut due = Vec::new();
        let mut state = self.lock();
        let ticket = if planted("recorded: everybody is told") { u64::MAX } else { ticket };
        while state.waiting.front().is_some_and(|(waiting, ..)| *waiting <= ticket) {
            due.extend(state.waiting.pop_front());
        }
        self.check_caught_up(&mut state);
        drop(state);
        for (_, stamped, recorded) in due {
            tell(recorded, Ok(stamped));
        }
    }

    /// Nothing is taken from now on, and everybody who waits is told why.
    fn fail(&self, failure: &Failure, lost: u64) {
        let mut state = self.lock();
        state.failed = Some(failure.clone());
        state.behind_since = None;
        let gap = state.gap.take().map_or(0, |gap| gap.count);
        let lost = lost + state.lose_batch();
        // Nobody remembers more after this.
        state.settled = Some(Timestamp::MAX);
        state.held_bytes = 0;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.metrics.dropped.add(lost);
        if gap > 0 {
            error!(
                count = gap,
                "events dropped before the recorder failed are reported nowhere else"
            );
        }
        self.recording.send_replace(Recording::Failed(failure.clone()));
        self.caught_up.notify_waiters();
        self.progress.notify_waiters();
        for (_, stamped, recorded) in waiting {
            if planted("fail: who waits is told that all is well") {
                tell(recorded, Ok(stamped));
                continue;
            }
            tell(recorded, Err(failure.clone()));
        }
    }
}

/// What the recorder takes from the tail.
struct Drained {
    batch: Batch,
    in_hand: Option<InHand>,
    /// Of its last event.
    ticket: u64,
    is_closing: bool,
    /// Up to where somebody waits for everything to be settled.
    asked: Option<Timestamp>,
    /// Why nothing more can come: a panic of who filled the tail.
    failed: Option<Failure>,
}

/// What was taken and is written.
struct Done {
    ticket: u64,
    is_empty: bool,
    is_closing: bool,
    failed: Option<Failure>,
}

/// Events taken from the tail that are not known to be written.
#[derive(Clone, Copy)]
struct InHand {
    count: u64,
    /// How many of them are reports of our own.
    reports: u64,
    /// The first one's stamp, and the last one's.
    first: Timestamp,
    last: Timestamp,
}

impl InHand {
    fn of(state: &State) -> Option<Self> {
        let (count, reports) = (state.batch.count(), state.reports);
        let (first, last) = state.batch.first().zip(state.batch.last())?;
        Some(InHand { count, reports, first, last })
    }
}

/// Tells one who waits. If that panics, the others are told all the same (`answered`).
fn tell(recorded: OnRecorded, result: Result<Stamped, Failure>) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| recorded(result))) {
        error!("the answer to an append panicked: {}", panic_words(&*panic));
    }
}

/// As many bytes are written by who appends them: what one read of a connection that is not busy brings.
const LITTLE_BYTES: usize = 16 << 10;

/// A store that made somebody who appends wait this long has its events written by the recorder's thread for a while.
const SLOW: Duration = Duration::from_millis(5);
const SLOW_PERIOD: Duration = Duration::from_secs(10);

/// How often a store that takes no more for now, as one on a full disk, is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// How soon, and how late, the store is looked after again.
const SOONEST: Duration = Duration::from_millis(10);
const LATEST: Duration = Duration::from_secs(60);

/// How long it is tried again once the instance is to stop: on a disk, retention may be about to make room.
const LAST_TRIES: Duration = Duration::from_secs(3);
const LAST_RETRY: Duration = Duration::from_millis(100);

/// How often the log is attended to after a failure.
const FAILED_PERIOD: Duration = Duration::from_secs(1);

/// The recorder of one instance; [`Recorder::run`] is its thread.
pub struct Recorder {
    tail: Arc<Tail>,
    writer: Box<dyn StoreWriter>,
    name: Arc<str>,
    maintain_at: Instant,
    in_hand: Option<InHand>,
    /// What was taken and is not written.
    unwritten: Option<Unwritten>,
    /// Until when that is tried, once the instance is to stop.
    give_up_at: Option<Instant>,
    /// What went wrong in a turn that somebody else took.
    broken: Option<Broken>,
    /// Nobody else takes a turn before this.
    turns_from: Instant,
    /// Whether nothing is made durable now, however due it is.
    #[cfg(test)]
    leaves_undurable: bool,
}

/// Events that the recorder has taken and not written yet.
struct Unwritten {
    taken: Drained,
    /// Whether the store did not take them.
    is_waiting: bool,
}

/// Why the recorder's thread is to end.
struct Broken {
    failure: Failure,
    has_panicked: bool,
}

impl Broken {
    fn panicked(panic: &(dyn std::any::Any + Send)) -> Self {
        let failure = format!("the recorder panicked: {}", panic_words(panic)).into();
        Broken { failure, has_panicked: true }
    }
}

/// What the recorder's thread waits for.
enum Idle {
    /// Something to do, or this moment.
    Until(Instant),
    /// That the store takes more, which is tried now and then.
    Store,
    /// The same for the last few times.
    StoreAtLast,
}

/// A failure as everybody is told it.
fn failure(error: impl std::error::Error) -> Failure {
    error.to_string().into()
}

impl Recorder {
    /// Writes what comes into `tail` with `writer`.
    pub fn new(name: Arc<str>, tail: Arc<Tail>, writer: Box<dyn StoreWriter>) -> Self {
        let now = monotonic();
        Recorder {
            tail,
            writer,
            name,
            maintain_at: now,
            in_hand: None,
            unwritten: None,
            give_up_at: None,
            broken: None,
            turns_from: now,
            #[cfg(test)]
            leaves_undurable: false,
        }
    }

    /// Records until the tail is closed. A write that fails, or a panic, ends recording, but the log stays open, for
    /// its readers and against other writers (`alone`).
    pub fn run(self) {
        let (tail, name) = (self.tail.clone(), self.name.clone());
        let takes_turns = self.writer.takes_turns();
        let turns = Arc::new(Mutex::new(Some(self)));
        if takes_turns {
            // A tail has one recorder.
            let _ = tail.turns.set(Arc::downgrade(&turns));
        }
        let result = catch_unwind(AssertUnwindSafe(|| Recorder::record(&tail, &turns)));
        let result = result.unwrap_or_else(|panic| Err(Broken::panicked(&*panic)));
        // Nobody takes a turn any more.
        let ended = turns.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut this = ended.expect("only this takes it out");
        let has_panicked = result.as_ref().is_err_and(|broken| broken.has_panicked);
        if let Err(Broken { failure, .. }) = &result {
            error!(instance = %name, "recording has ended: {failure}; what was recorded can be read, new events are refused until the node is started again");
            this.give_up(failure);
            this.stay(has_panicked);
        }
        if has_panicked {
            // What the writer would write now is anybody's guess; the log is as after a crash.
            return;
        }
        // Nothing is taken in any more.
        tail.has_settled(Timestamp::MAX);
        match (this.writer.close(), result) {
            (Ok(()), _) => debug!(instance = %name, "log closed"),
            (Err(failure), Ok(())) => {
                error!(instance = %name, "log not closed: {failure}");
                tail.fail(&format!("log not closed: {failure}").into(), 0);
            }
            // It was said before.
            (Err(_), Err(_)) => {}
        }
    }

    /// Tells everybody that recording has ended.
    fn give_up(&mut self, failure: &Failure) {
        self.unwritten = None;
        let lost = self.put_down();
        self.tail.fail(failure, lost);
    }

    /// Nothing is in hand any more: it was written, or, after a failure, may have been. How many events are lost.
    fn put_down(&mut self) -> u64 {
        let Some(InHand { count, reports, first, last }) = self.in_hand.take() else { return 0 };
        if self.writer.last_timestamp() < Some(last) {
            return count.saturating_sub(reports);
        }
        self.tail.has_committed(count, first);
        0
    }

    /// Waits for the end after a failure. RAM is given back meanwhile, and what can be is made durable.
    fn stay(&mut self, has_panicked: bool) {
        let mut is_sound = !has_panicked;
        while !self.tail.closes_within(FAILED_PERIOD) {
            self.maintain_at = monotonic();
            // A poisoned writer says again what everybody knows.
            is_sound = is_sound && catch_unwind(AssertUnwindSafe(|| self.attend())).is_ok();
        }
    }

    /// The work of the thread. The failure that ends it; what that cost is in hand.
    fn record(tail: &Tail, turns: &Turns) -> Result<(), Broken> {
        let turn = |work: &mut dyn FnMut(&mut Recorder)| {
            let mut turn =
                turns.lock().expect("a turn that panics breaks the recorder, not the lock");
            work(turn.as_mut().expect("taken out by this thread alone"));
        };
        loop {
            let mut idle = Idle::Store;
            turn(&mut |recorder| idle = recorder.idle());
            // Without the lock: this is when others take turns.
            let is_closing = match idle {
                Idle::Until(deadline) => {
                    tail.something(deadline);
                    false
                }
                Idle::Store => tail.closes_within(RETRY),
                Idle::StoreAtLast => {
                    crate::time::pause(LAST_RETRY);
                    false
                }
            };
            let mut result = Ok(false);
            turn(&mut |recorder| {
                if is_closing {
                    recorder.give_up_soon();
                }
                result = match recorder.broken.take() {
                    Some(broken) => Err(broken),
                    None => {
                        recorder.round().map_err(|failure| Broken { failure, has_panicked: false })
                    }
                };
            });
            if result? {
                return Ok(());
            }
        }
    }

    /// What to wait for before the next round.
    fn idle(&self) -> Idle {
        match &self.unwritten {
            Some(Unwritten { is_waiting: true, .. }) if self.give_up_at.is_some() => {
                Idle::StoreAtLast
            }
            Some(Unwritten { is_waiting: true, .. }) => Idle::Store,
            // There is something to do.
            Some(_) => Idle::Until(monotonic()),
            None if self.broken.is_some() => Idle::Until(monotonic()),
            None => {
                let due = self.durable_by().map_or(self.maintain_at, |at| at.min(self.maintain_at));
                Idle::Until(due)
            }
        }
    }

    /// Somebody who appended a little takes a turn: writes what has gathered, if nothing else has to be done for that.
    /// False if the recorder's thread has to.
    fn turn(&mut self) -> bool {
        let begin = monotonic();
        if self.unwritten.is_some() || self.broken.is_some() || begin < self.turns_from {
            return false;
        }
        let had_durable_by = self.durable_by();
        let written = catch_unwind(AssertUnwindSafe(|| {
            let taken = self.tail.take();
            if !taken
                .batch
                .last()
                .is_some_and(|last| self.writer.is_quick(taken.batch.bytes(), last))
            {
                self.in_hand = taken.in_hand;
                self.unwritten = Some(Unwritten { taken, is_waiting: false });
                return Ok(());
            }
            if let Some(done) = self.put(taken, false)? {
                self.tail.recorded(done.ticket);
            }
            Ok(())
        }));
        self.broken = match written {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(Broken { failure, has_panicked: false }),
            Err(panic) => Some(Broken::panicked(&*panic)),
        };
        if self.unwritten.is_some() || self.broken.is_some() || self.durable_by() != had_durable_by
        {
            self.tail.call();
        }
        if begin.elapsed() > SLOW {
            self.turns_from = monotonic() + SLOW_PERIOD;
        }
        true
    }

    /// Does what is due and writes what has gathered, or what was not written before. Whether that was all there will be.
    fn round(&mut self) -> Result<bool, Failure> {
        let Unwritten { taken, is_waiting } = match self.unwritten.take() {
            Some(unwritten) => unwritten,
            None => {
                self.maintain().map_err(failure)?;
                Unwritten { taken: self.tail.take(), is_waiting: false }
            }
        };
        let Some(done) = self.put(taken, is_waiting)? else {
            // Retention may make room.
            self.attend().map_err(failure)?;
            return Ok(false);
        };
        if planted("recorder: acknowledged before the sync") {
            self.tail.recorded(done.ticket);
        }
        self.make_durable_if_due().map_err(failure)?;
        if !done.is_empty {
            self.tail.recorded(done.ticket);
        }
        done.failed.map_or(Ok(done.is_closing && done.is_empty), Err)
    }

    /// Writes what was taken, and settles it; `None` if the store did not take all of it.
    fn put(&mut self, taken: Drained, is_waiting: bool) -> Result<Option<Done>, Failure> {
        let Drained { batch, in_hand, ticket, is_closing, asked, failed } = taken;
        let is_empty = batch.is_empty();
        if !is_empty {
            self.in_hand = in_hand;
            if let Some(batch) = self.write(batch, is_waiting).map_err(failure)? {
                // Up to the first event that waits nothing more comes.
                let asked = self.tail.hold(batch.bytes()).zip(batch.first());
                let asked = asked.map(|(asked, first)| asked.min(first.previous()));
                self.settle(None, asked);
                let in_hand = self.in_hand;
                let taken = Drained { batch, in_hand, ticket, is_closing, asked: None, failed };
                self.unwritten = Some(Unwritten { taken, is_waiting: true });
                return Ok(None);
            }
            self.put_down();
        }
        self.settle(in_hand.map(|in_hand| in_hand.last), asked);
        Ok(Some(Done { ticket, is_empty, is_closing, failed }))
    }

    /// Tells who waits for it that everything is settled up to the last event that was committed, or up to where somebody
    /// asked: all that was taken in before is committed, and later events are stamped later.
    fn settle(&mut self, committed: Option<Timestamp>, asked: Option<Timestamp>) {
        if let Some(asked) = asked.filter(|asked| self.writer.stamp_floor() < Some(*asked))
            && !planted("to: it is not remembered")
        {
            self.writer.pass(asked);
        }
        if let Some(to) = committed.max(asked) {
            self.tail.has_settled(to);
        }
    }

    /// Does what is due beside writing.
    fn attend(&mut self) -> Result<(), Poisoned> {
        self.maintain()?;
        self.make_durable_if_due()
    }

    fn maintain(&mut self) -> Result<(), Poisoned> {
        if self.maintain_at <= monotonic() {
            let wait = self.writer.maintain()?;
            self.maintain_at = monotonic() + wait.clamp(SOONEST, LATEST);
        }
        Ok(())
    }

    fn make_durable_if_due(&mut self) -> Result<(), Poisoned> {
        if self.durable_by().is_some_and(|at| at <= monotonic()) {
            self.writer.make_durable()?;
        }
        Ok(())
    }

    /// By when the store is to make durable what it has.
    fn durable_by(&self) -> Option<Instant> {
        #[cfg(test)]
        if self.leaves_undurable {
            return None;
        }
        self.writer.durable_by()
    }

    /// Writes a batch; what the store does not take of it for now comes back. Once the instance is to stop, that is tried
    /// for a little while only.
    fn write(&mut self, mut batch: Batch, is_waiting: bool) -> Result<Option<Batch>, NotAppended> {
        let lack = loop {
            let count = batch.count();
            match self.writer.append(batch) {
                Ok(None) => {
                    if is_waiting {
                        info!(instance = %self.name, "recording goes on");
                        self.tail.recording.send_replace(Recording::Running);
                        self.tail.hold(0);
                        self.give_up_at = None;
                    }
                    return Ok(None);
                }
                Ok(Some(rest)) => {
                    self.has_written(count - rest.count(), self.writer.last_timestamp());
                    batch = rest;
                }
                Err(NotAppended::ForNow { batch: all, lack }) => {
                    batch = all;
                    break lack;
                }
                Err(error) => return Err(error),
            }
        };
        if self.give_up_at.is_some_and(|end| end <= monotonic()) {
            return Err(NotAppended::ForNow { batch, lack });
        }
        if !is_waiting {
            error!(instance = %self.name, "{}: recording waits ({lack})", lack.what);
            self.tail.recording.send_replace(Recording::Waiting(lack.what.into()));
        }
        Ok(Some(batch))
    }

    /// A part of what is in hand was written, up to `last`.
    fn has_written(&mut self, count: u64, last: Option<Timestamp>) {
        if let Some(in_hand) = &mut self.in_hand {
            self.tail.has_committed(count, in_hand.first);
            in_hand.count -= count;
            in_hand.reports = in_hand.reports.min(in_hand.count);
        }
        self.settle(last, None);
    }

    /// The instance is to stop: a store that takes no more is tried a little longer.
    fn give_up_soon(&mut self) {
        self.give_up_at = Some(monotonic() + LAST_TRIES);
        self.writer.keep_nothing_free();
    }
}

/// The recorder without its thread: a simulation says what is due when.
#[cfg(test)]
impl Recorder {
    /// Does one round, waiting for nothing; a failure is told to everybody. Whether that was all there will be.
    pub(super) fn step(&mut self, maintains: bool, syncs: bool) -> Result<bool, Failure> {
        let (now, later) = (monotonic(), monotonic() + 60 * LATEST);
        self.maintain_at = if maintains { now } else { later };
        self.leaves_undurable = !syncs && self.tail.config.sync != SyncMode::Always;
        let result = self.round();
        if let Err(failure) = &result {
            self.give_up(failure);
        }
        result
    }

    /// Somebody who appended takes a turn, if the recorder lets others do so; a failure is told to everybody.
    pub(super) fn take_turn(&mut self) -> Result<bool, Failure> {
        if self.writer.takes_turns() {
            // However slow the simulation is.
            self.turns_from = monotonic();
            self.turn();
        }
        let Some(broken) = self.broken.take() else { return Ok(false) };
        assert!(!broken.has_panicked, "{}", broken.failure);
        self.give_up(&broken.failure);
        Err(broken.failure)
    }

    /// Whether what was written has to be made durable yet.
    pub(super) fn is_undurable(&self) -> bool {
        self.writer.durable_by().is_some()
    }

    /// Ends in order, once a step said that it was the last.
    pub(super) fn close(self) -> Result<(), Poisoned> {
        self.writer.close()
    }
}

#[cfg(test)]
pub(super) mod tests;
