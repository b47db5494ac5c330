//! Carries entries to one subscriber.
//!
//! A session pulls: it looks where its cursor stands, waits until the subscriber's connection has room, and
//! sends what fits. There is no queue of events per subscriber and no switch from history to live entries; the
//! cursor walks archives, segments, cache and the live end alike. A slow subscriber costs a position in the log.
//!
//! A match spec runs in slices: when the steps of one are used up, the session lets others have the thread and then
//! goes on where it was. An event that needs more than a whole slice is looked at elsewhere, one at a time in the node.
//!
//! # Invariants
//!
//! - `each_once`: the subscriber gets every entry from its start on, once, in order, without a gap; up to its end, if it
//!   asked for one, every entry that will ever be stamped up to there.
//! - `ends_with_subscriber`: no session outlives its subscriber or the connection to it.
//! - `holds_nothing`: a session that waits for credit, for room, or for new entries has no file open, and holds no
//!   entries, after at most `LINGER`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use super::budget::{Permit, SLICE_STEPS};
use super::erlang::answer::atom;
use super::inbox::{Inbox, Reason};
use super::reader::{Fetched, Looked, Reader, Selected, Stopped, Taken};
use super::recorder::{Outstanding, Tail};
use super::subscription::{Method, Subscriber, Subscription};
use super::{Instance, entry};
use crate::etf::{Pid, build, encode};
use crate::metrics::{SessionMetrics, SessionStats};
use crate::node::Peer;
use crate::planted::planted;
use crate::proto::control;
use crate::proto::packet::Envelope;
use crate::store::{Committed, ReadError};
use crate::time::Timestamp;

/// Bytes that a session takes from the log, and gives to the connection, at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Bytes of packets that a session makes of such a chunk at once, as far as whole packets go: a marker can be much longer
/// than the entries.
const OUTPUT_BYTES: usize = 4 * CHUNK_BYTES;

/// How long a session that waits for room keeps its file open and its entries in memory: a connection that takes bytes
/// has room again long before.
const LINGER: Duration = Duration::from_millis(50);

/// A session, as it is at one moment.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// The process on this node that stands for the session: its links, monitors and credit.
    pub pid: Pid,
    /// Who gets the entries.
    pub subscriber: Subscriber,
    /// Entries stamped from here on are still to come.
    pub position: Timestamp,
    /// Whether the newest event that its match spec has looked at was withheld, because that ran out of its budget.
    pub is_exhausted: bool,
    /// Whether it waits until it is told that it may send more.
    pub waits_for_credit: bool,
    /// Under which name its subscriber acknowledges.
    pub cursor: Option<Box<[u8]>>,
    /// What it has sent and looked at, and how far behind it is.
    pub stats: SessionStats,
}

/// A session, seen from outside.
pub(super) struct SessionState {
    pid: Pid,
    subscriber: Subscriber,
    metrics: SessionMetrics,
    /// In microseconds since the epoch.
    position: AtomicU64,
    is_exhausted: AtomicBool,
    waits_for_credit: AtomicBool,
    cursor: Option<Box<[u8]>>,
}

impl SessionState {
    fn new(pid: Pid, subscription: &Subscription) -> Self {
        SessionState {
            pid,
            subscriber: subscription.subscriber.clone(),
            metrics: SessionMetrics::default(),
            position: AtomicU64::new(subscription.selection.from.micros()),
            is_exhausted: AtomicBool::new(false),
            waits_for_credit: AtomicBool::new(false),
            cursor: subscription.cursor.clone(),
        }
    }

    /// What it is now, in a log whose newest entry has this stamp.
    pub(super) fn info(&self, newest: Option<Timestamp>) -> SessionInfo {
        let position = Timestamp::from_micros(self.position.load(Ordering::Relaxed));
        let lag = newest.map_or(0, |newest| newest.micros_since(position));
        SessionInfo {
            pid: self.pid.clone(),
            subscriber: self.subscriber.clone(),
            position,
            is_exhausted: self.is_exhausted.load(Ordering::Relaxed),
            waits_for_credit: self.waits_for_credit.load(Ordering::Relaxed),
            cursor: self.cursor.clone(),
            stats: SessionStats { lag, ..self.metrics.read() },
        }
    }
}

/// Why a session was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The subscriber's node is not connected.
    #[error("the subscriber's node is not connected")]
    NoConnection,
    /// The node has as many sessions as it takes, or no memory left for the match spec.
    #[error("too many sessions")]
    SystemLimit,
    /// It is not known where its cursor stands.
    #[error("the cursor's position cannot be read")]
    Cursor(#[source] std::io::Error),
}

/// Starts a session; its pid.
///
/// # Errors
///
/// [`Refused`]; nothing was started.
pub(super) fn start(instance: &Arc<Instance>, subscription: Subscription) -> Result<Pid, Refused> {
    let node = instance.node();
    let peer = node.peer(subscription.subscriber.node()).ok_or(Refused::NoConnection)?;
    if subscription.undecodable(peer.abilities()).is_some() {
        // It was told apart before; another connection of that node has come since.
        return Err(Refused::NoConnection);
    }
    let filter = &subscription.selection.filter;
    // Kept as it was asked for, and as it goes into each packet.
    let kept_bytes = 2 * subscription.method.term_bytes();
    let Some(place) = instance.budget().session(filter.as_ref(), kept_bytes) else {
        instance.metrics().sessions_refused.inc();
        return Err(Refused::SystemLimit);
    };
    // Where the subscriber cannot be monitored only a link tells of its end.
    let is_monitored = peer.remote().can_be_monitored();
    let linked = match &subscription.subscriber {
        Subscriber::Pid(pid) if subscription.link || !is_monitored => Some(pid.clone()),
        _ => None,
    };
    let mut inbox = None;
    let pid = node.spawn(|pid| {
        let (cursor, instead) = (subscription.cursor.clone(), linked.clone());
        let instead = instead.filter(|_| !is_monitored);
        let made = Arc::new(Inbox::new(instance.clone(), pid.clone(), cursor, instead));
        inbox.insert(made).clone()
    });
    let inbox = inbox.expect("a process is made where it is spawned");
    if let Some(subscriber) = &linked {
        node.link(&pid, subscriber);
    }
    let subscriber = &subscription.subscriber;
    if node.monitor(&pid, subscriber.node(), &subscriber.watched()).is_none() {
        // It was connected a moment ago.
        inbox.end(atom("noconnection"));
    }
    let state = Arc::new(SessionState::new(pid.clone(), &subscription));
    instance.sessions().insert(pid.clone(), state.clone());
    let mut selection = subscription.selection.clone();
    selection.filter = selection.filter.map(|spec| spec.for_process(&pid));
    // Where it ends is for the session to see as well: it waits there.
    let end = End::at(selection.to);
    let reader = Reader::new(instance.log(), selection);
    let session = Session {
        envelope: envelope(&subscription, &pid),
        committed: instance.log().watch(),
        instance: instance.clone(),
        credit: subscription.credit,
        is_due: false,
        has_filter: reader.has_filter(),
        end,
        _place: place,
        subscription,
        peer,
        inbox,
        state,
        has_caught_up: false,
        sends: 0,
    };
    // A filter may take long; without one a session does little but fill the connection.
    let there = if session.has_filter { node.home() } else { session.peer.thread().clone() };
    let (instance, node, session_pid) = (instance.clone(), node.clone(), pid.clone());
    there.clone().spawn(async move {
        // In a task of its own, so that a panic does not leave the pid behind.
        let ended = there.spawn(session.run(reader)).await;
        let reason = ended.unwrap_or_else(|panic| {
            tracing::error!(session = %session_pid, "session failed: {panic}");
            atom("error")
        });
        instance.sessions().remove(&session_pid);
        instance.live_registry().retain(|_, session| *session != session_pid);
        node.exit(&session_pid, reason.bytes());
    });
    Ok(pid)
}

/// What every packet to the subscriber holds but the entry, or the list of entries.
fn envelope(subscription: &Subscription, session: &Pid) -> Envelope {
    let (before, after) = subscription.method.around();
    let head = |out: &mut Vec<u8>| match (&subscription.method, &subscription.subscriber) {
        (Method::Apply(..), _) => control::reg_send_head(out, session, "rex"),
        (_, Subscriber::Pid(pid)) => control::send_head(out, pid),
        (_, Subscriber::Name { name, .. }) => control::reg_send_head(out, session, name),
    };
    Envelope::new(head, &before, &after)
}

/// The end that a session was asked for, if it was.
pub(super) struct End {
    to: Option<Timestamp>,
    /// Whether the log held everything up to there before it was looked at last.
    is_settled: bool,
}

/// What a session does that has seen all that the log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtEnd {
    /// It ends.
    Over,
    /// It looks at the log again: what was committed since it looked counts.
    LookAgain,
    /// It waits for more, or for this.
    Wait(Option<Outstanding>),
}

impl End {
    pub(super) const fn at(to: Option<Timestamp>) -> Self {
        End { to, is_settled: false }
    }

    /// What to do after a look at the log that found nothing more.
    pub(super) fn at_end_of_log(&mut self, tail: &Tail) -> AtEnd {
        if self.is_settled {
            return AtEnd::Over;
        }
        match self.to.map(|to| tail.outstanding(to)) {
            Some(None) if planted("to: the log is not looked at again") => AtEnd::Over,
            Some(None) => {
                self.is_settled = true;
                AtEnd::LookAgain
            }
            outstanding => AtEnd::Wait(outstanding.flatten()),
        }
    }
}

struct Session {
    instance: Arc<Instance>,
    peer: Arc<Peer>,
    subscription: Subscription,
    envelope: Envelope,
    credit: Option<u64>,
    /// The next entry is one to be sent, as soon as there is credit.
    is_due: bool,
    has_filter: bool,
    _place: Permit,
    inbox: Arc<Inbox>,
    committed: watch::Receiver<Committed>,
    end: End,
    state: Arc<SessionState>,
    /// Whether it had reached the newest entry: what it sends since then has just come.
    has_caught_up: bool,
    /// How often it has sent something.
    sends: u32,
}

/// Of so many sends of a session one is timed.
const TIMED_SENDS: u32 = 8;

/// How soon is read again what could not be read for want of descriptors or memory.
const READ_RETRY: Duration = Duration::from_millis(500);

/// How long the end of a session waits for its last acknowledgement to be stored. Less than `gen_server:call/2` waits.
const ACK_PATIENCE: Duration = Duration::from_secs(3);

impl Session {
    /// Carries entries until something ends that, and the last acknowledgement is stored.
    async fn run(mut self, reader: Reader) -> Reason {
        let Err(reason) = self.carry(reader).await;
        if let Some(name) = &self.subscription.cursor {
            // What a full disk does not take is tried on without the session.
            let stored = self.instance.cursors().stored(Some(name));
            let _ = tokio::time::timeout(ACK_PATIENCE, stored).await;
        }
        reason
    }

    /// Goes on until it has a reason to end.
    async fn carry(&mut self, mut reader: Reader) -> Result<std::convert::Infallible, Reason> {
        loop {
            self.take_in()?;
            if self.credit == Some(0) && self.is_due {
                reader.let_go();
                self.state.waits_for_credit.store(true, Ordering::Relaxed);
                self.inbox.something().await;
                self.state.waits_for_credit.store(false, Ordering::Relaxed);
                continue;
            }
            // Nothing is taken from the log before there is room.
            self.wait_for_room(&mut reader).await?;
            // Marked as seen before looking, so that a commit in between wakes us.
            self.committed.borrow_and_update();
            let has_entries = match reader.fetch_cached(self.chunk_bytes()) {
                Fetched::Entries => true,
                Fetched::End => false,
                Fetched::Cold => {
                    let has_entries;
                    (reader, has_entries) = self.read_cold(reader).await?;
                    // That took a while: others of this connection may have used the room.
                    if has_entries {
                        continue;
                    }
                    false
                }
            };
            if has_entries {
                match self.send(&mut reader).await?.stopped {
                    Some(Stopped::AtEnd) => return Err(atom("normal")),
                    Some(Stopped::TooLong) => reader = self.look_ahead(reader).await?,
                    // Its slice is used up: whoever else waits for this thread comes first.
                    Some(Stopped::Paused) => tokio::task::yield_now().await,
                    Some(Stopped::Refused | Stopped::Full) | None => {
                        tokio::task::consume_budget().await;
                    }
                }
                if let Some(next) = reader.position() {
                    self.state.position.store(next.micros(), Ordering::Relaxed);
                }
                continue;
            }
            self.has_caught_up = true;
            // Registered before asking, so that no commit in between is missed.
            let progress = self.instance.tail().progress();
            tokio::pin!(progress);
            progress.as_mut().enable();
            let outstanding = match self.end.at_end_of_log(self.instance.tail()) {
                AtEnd::Over => return Err(atom("normal")),
                AtEnd::LookAgain => continue,
                AtEnd::Wait(outstanding) => outstanding,
            };
            tokio::select! {
                // Only says that it is time to look whether the end has come.
                () = until(outstanding) => {}
                // The same.
                () = progress, if outstanding == Some(Outstanding::Commits) => {}
                // Only says that there is more.
                changed = self.committed.changed() => if changed.is_err() {
                    return Err(atom("shutdown"));
                },
                // What came is taken in above.
                () = self.inbox.something() => {}
            }
        }
    }

    const fn chunk_bytes(&self) -> usize {
        // A filter looks at more than it passes on.
        if self.has_filter { 8 * CHUNK_BYTES } else { CHUNK_BYTES }
    }

    /// Takes in what the session was told.
    fn take_in(&mut self) -> Result<(), Reason> {
        let arrived = self.inbox.take();
        if let Some(credit) = &mut self.credit {
            *credit = credit.saturating_add(arrived.credit);
        }
        arrived.ended.map_or(Ok(()), Err)
    }

    /// Waits until the connection has room for a chunk (`holds_nothing`).
    async fn wait_for_room(&mut self, reader: &mut Reader) -> Result<(), Reason> {
        let linger = tokio::time::sleep(LINGER);
        tokio::pin!(linger);
        let mut holds = reader.holds_something();
        loop {
            tokio::select! {
                biased;
                room = self.peer.room() => {
                    return if room { Ok(()) } else { Err(atom("noconnection")) };
                }
                // What came is taken in here.
                () = self.inbox.something() => self.take_in()?,
                // Says that this takes longer.
                () = &mut linger, if holds => {
                    reader.let_go();
                    holds = false;
                }
            }
        }
    }

    /// Reads the next chunk from files, on a thread that may block. What the machine lacks for that at the moment is
    /// waited for.
    async fn read_cold(&mut self, mut reader: Reader) -> Result<(Reader, bool), Reason> {
        let bytes = self.chunk_bytes();
        let mut has_failed = false;
        loop {
            let turn = self.instance.budget().cold().await;
            let read = tokio::task::spawn_blocking(move || {
                let fetched = reader.fetch(bytes);
                (reader, fetched)
            });
            let (back, fetched) = read.await.expect("reading the log does not panic");
            drop(turn);
            let error = match fetched {
                Ok(has_entries) => return Ok((back, has_entries)),
                Err(error) => error,
            };
            reader = back;
            if !std::mem::replace(&mut has_failed, true) {
                warn!(session = %self.state.pid, "a session waits: {error}");
            }
            let again = tokio::time::sleep(READ_RETRY);
            tokio::pin!(again);
            loop {
                tokio::select! {
                    // Says that it is time to try again.
                    () = &mut again => break,
                    // What came is taken in here, and ends the waiting if it ends the session.
                    () = self.inbox.something() => self.take_in()?,
                }
            }
        }
    }

    /// Sends what a slice and credit allow of what was fetched.
    async fn send(&mut self, reader: &mut Reader) -> Result<Looked, Reason> {
        let (mut looked, mut undecodable) = (Looked::default(), 0);
        let is_connected = if self.has_filter {
            // A filter is no work to do while the connection's queue is held.
            let mut packets = Vec::new();
            let turn = self.instance.budget().slice().await;
            looked = self.write(&mut packets, CHUNK_BYTES, reader, &mut undecodable);
            drop(turn);
            packets.is_empty() || self.peer.send(|out| out.extend_from_slice(&packets))
        } else {
            let write = |out: &mut Vec<u8>| {
                looked = self.write(out, OUTPUT_BYTES, reader, &mut undecodable);
            };
            self.peer.send(write)
        };
        if !is_connected {
            return Err(atom("noconnection"));
        }
        self.count(&looked, undecodable);
        Ok(looked)
    }

    /// Lets the match spec look at the next entry for as long as it takes, elsewhere.
    async fn look_ahead(&mut self, mut reader: Reader) -> Result<Reader, Reason> {
        reader.let_go();
        let turn = loop {
            tokio::select! {
                turn = self.instance.budget().alone() => break turn,
                // What came is taken in here, and ends the waiting if it ends the session. The place in the line is
                // given up for credit too, which costs only the one who sends it.
                () = self.inbox.something() => self.take_in()?,
            }
        };
        let bytes = self.chunk_bytes();
        let look = tokio::task::spawn_blocking(move || {
            // Kept until it is done, also when the session has ended meanwhile.
            let _turn = turn;
            // What cannot be read now is read again as any other entry.
            let _: Result<(), ReadError> = reader.look_ahead(bytes);
            reader
        });
        tokio::pin!(look);
        loop {
            tokio::select! {
                looked = &mut look => return Ok(looked.expect("neither reading nor filtering panics")),
                // What came is taken in here; a session that ends leaves the rest to the thread.
                () = self.inbox.something() => self.take_in()?,
            }
        }
    }

    /// Counts what was sent, and takes it off the credit.
    fn count(&mut self, looked: &Looked, undecodable: u64) {
        self.is_due = looked.stopped == Some(Stopped::Refused);
        if let Some(credit) = &mut self.credit {
            *credit -= looked.taken;
        }
        self.state.metrics.sent.add(looked.taken);
        let metrics = self.instance.metrics();
        // To ask the time for each would be felt where a thousand sessions get every event.
        self.sends = self.sends.wrapping_add(1);
        let is_timed = self.has_caught_up && self.sends % TIMED_SENDS == 1;
        if let Some(first) = looked.first_taken.filter(|_| is_timed) {
            let micros = self.instance.clock().now().micros_since(first);
            metrics.delivery.observe_micros(micros, looked.taken);
        }
        metrics.delivered.add(looked.taken);
        metrics.undecodable.add(undecodable);
        metrics.unfiltered.add(looked.over_budget);
        if self.has_filter && looked.entries > 0 {
            self.state.metrics.filtered.add(looked.entries as u64);
            self.state.metrics.unfiltered.add(looked.over_budget);
            self.state.is_exhausted.store(looked.is_exhausted, Ordering::Relaxed);
        }
    }

    /// Writes packets of about `bytes` with what was fetched, as far as a slice and credit go.
    fn write(
        &self,
        out: &mut Vec<u8>,
        bytes: usize,
        reader: &mut Reader,
        undecodable: &mut u64,
    ) -> Looked {
        let begin = out.len();
        let mut allowed = self.credit.unwrap_or(u64::MAX);
        let mut open: Option<OpenBatch> = None;
        let looked = reader.look(SLICE_STEPS, |selected| {
            let Some(left) = allowed.checked_sub(1) else { return Taken::Not };
            allowed = left;
            let is_decodable = self.write_entry(out, &mut open, &selected);
            *undecodable += u64::from(!is_decodable);
            if out.len() - begin < bytes { Taken::More } else { Taken::Enough }
        });
        if let Some(open) = open {
            open.finish(out, &self.envelope);
        }
        looked
    }

    /// Writes one entry, in a message of its own or into the open batch; whether the subscriber's node can decode it.
    fn write_entry(
        &self,
        out: &mut Vec<u8>,
        open: &mut Option<OpenBatch>,
        selected: &Selected<'_>,
    ) -> bool {
        let abilities = self.peer.abilities();
        let Some(size) = self.subscription.batch else {
            let start = self.envelope.begin(out);
            let is_decodable = entry::write(out, selected, abilities);
            self.envelope.finish(out, start);
            return is_decodable;
        };
        if let Some(full) = open.take_if(|batch| batch.count as usize == size) {
            full.finish(out, &self.envelope);
        }
        open.get_or_insert_with(|| OpenBatch::begin(out, &self.envelope)).count += 1;
        entry::write(out, selected, abilities)
    }
}

/// Ends when the time has come, or never if it is not what is waited for.
pub(super) async fn until(outstanding: Option<Outstanding>) {
    match outstanding {
        Some(Outstanding::Time(left)) => tokio::time::sleep(left).await,
        Some(Outstanding::Commits) | None => std::future::pending().await,
    }
}

/// A message `{Marker, [Entry]}` whose list is still growing.
struct OpenBatch {
    start: usize,
    list: usize,
    count: u32,
}

impl OpenBatch {
    fn begin(out: &mut Vec<u8>, envelope: &Envelope) -> Self {
        let start = envelope.begin(out);
        let list = out.len();
        encode::list_header(out, 0);
        OpenBatch { start, list, count: 0 }
    }

    fn finish(self, out: &mut Vec<u8>, envelope: &Envelope) {
        encode::nil(out);
        build::set_count(out, self.list, self.count);
        envelope.finish(out, self.start);
    }
}
