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

use super::budget::{Place, SLICE_STEPS};
use super::inbox::{Inbox, Reason};
use super::recorder::{Outstanding, Tail};
use super::subscription::{Method, Subscriber, Subscription};
use super::{Instance, entry};
use crate::etf::tag::{LIST_EXT, NIL_EXT, VERSION};
use crate::etf::{Pid, TermRef, encode};
use crate::event_log::planted::planted;
use crate::event_log::{Chunk, Committed, Cursor, EntryRef, Next};
use crate::match_spec::{MatchSpec, Outcome, Scratch};
use crate::node::Peer;
use crate::proto::control;
use crate::proto::packet::PASS_THROUGH;
use crate::time::Timestamp;

/// Bytes that a session takes from the log, and gives to the connection, at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Bytes of packets that a session makes of such a chunk at once, as far as whole packets go: a marker can be much longer
/// than the entries.
const OUTPUT_BYTES: usize = 4 * CHUNK_BYTES;

/// How long a session that waits for room keeps its file open and its entries in memory: a connection that takes bytes
/// has room again long before.
const LINGER: Duration = Duration::from_millis(50);

/// A session, seen from outside.
pub struct SessionInfo {
    /// Its pid.
    pub pid: Pid,
    /// Who gets the entries.
    pub subscriber: Subscriber,
    /// Entries it has sent.
    pub sent: AtomicU64,
    /// Where it stands, in microseconds since the epoch.
    pub position: AtomicU64,
    /// Events that its match spec has looked at.
    pub filtered: AtomicU64,
    /// Those that were withheld because the match spec ran out of its budget.
    pub unfiltered: AtomicU64,
    /// Whether the newest of them was.
    pub is_exhausted: AtomicBool,
}

impl SessionInfo {
    fn new(pid: Pid, subscription: &Subscription) -> Self {
        SessionInfo {
            pid,
            subscriber: subscription.subscriber.clone(),
            sent: AtomicU64::new(0),
            position: AtomicU64::new(subscription.from.micros()),
            filtered: AtomicU64::new(0),
            unfiltered: AtomicU64::new(0),
            is_exhausted: AtomicBool::new(false),
        }
    }

    /// `{Pid, #{position, sent, filtered, unfiltered, exhausted}}`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let number = |number: &AtomicU64| number.load(Ordering::Relaxed);
        encode::tuple_header(out, 2);
        encode::pid(out, &self.pid);
        encode::map_header(out, 5);
        encode::atom(out, "position");
        encode::timestamp(out, Timestamp::from_micros(number(&self.position)));
        for (key, count) in
            [("sent", &self.sent), ("filtered", &self.filtered), ("unfiltered", &self.unfiltered)]
        {
            encode::atom(out, key);
            encode::unsigned(out, number(count));
        }
        encode::atom(out, "exhausted");
        encode::boolean(out, self.is_exhausted.load(Ordering::Relaxed));
    }
}

/// Why a session was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The subscriber's node is not connected.
    NoConnection,
    /// The node has as many sessions as it takes, or no memory left for the match spec.
    SystemLimit,
}

impl Refused {
    /// `{error, Reason}`.
    pub(super) fn to_answer(self) -> Vec<u8> {
        super::calls::error(|out| match self {
            Refused::NoConnection => encode::atom(out, "noconnection"),
            Refused::SystemLimit => encode::atom(out, "system_limit"),
        })
    }
}

/// Starts a session; its pid.
///
/// # Errors
///
/// [`Refused`]; nothing was started.
pub fn start(instance: &Arc<Instance>, mut subscription: Subscription) -> Result<Pid, Refused> {
    let node = instance.node();
    let peer = node.peer(subscription.subscriber.node()).ok_or(Refused::NoConnection)?;
    if subscription.undecodable(peer.abilities()).is_some() {
        // It was told apart before; another connection of that node has come since.
        return Err(Refused::NoConnection);
    }
    let filter = subscription.filter.take();
    // Kept as it was asked for, and as it goes into each packet.
    let kept_bytes = 2 * subscription.method.term_bytes();
    let Some(place) = instance.budget().session(filter.as_ref(), kept_bytes) else {
        instance.counters().sessions_refused.inc();
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
    let (subscriber, position) = (&subscription.subscriber, subscription.from);
    if node.monitor(&pid, subscriber.node(), &subscriber.watched()).is_none() {
        // It was connected a moment ago.
        inbox.end(atom("noconnection"));
    }
    let info = Arc::new(SessionInfo::new(pid.clone(), &subscription));
    instance.sessions().insert(pid.clone(), info.clone());
    let (head, tail) = packet_parts(&subscription, &pid);
    let session = Session {
        head,
        tail,
        committed: instance.log().watch(),
        instance: instance.clone(),
        credit: subscription.credit,
        is_due: false,
        end: End::at(subscription.to),
        filter: filter.map(|spec| Filter::new(spec.for_process(&pid))),
        _place: place,
        subscription,
        peer,
        inbox,
        info,
    };
    let cursor = instance.log().cursor(position);
    // A filter may take long; without one a session does little but fill the connection.
    let there = if session.filter.is_some() { node.home() } else { session.peer.thread().clone() };
    let (instance, node, session_pid) = (instance.clone(), node.clone(), pid.clone());
    there.clone().spawn(async move {
        // In a task of its own, so that a panic does not leave the pid behind.
        let ended = there.spawn(session.run(cursor)).await;
        let reason = ended.unwrap_or_else(|panic| {
            tracing::error!(session = %session_pid, "session failed: {panic}");
            atom("error")
        });
        instance.sessions().remove(&session_pid);
        instance.live().retain(|_, live| *live != session_pid);
        node.exit(&session_pid, &reason);
    });
    Ok(pid)
}

pub(super) fn atom(name: &str) -> Box<[u8]> {
    let mut out = Vec::new();
    encode::atom(&mut out, name);
    out.into()
}

/// What every packet to the subscriber begins with after its length, and what it ends with: all but the entry, or
/// the list of entries.
fn packet_parts(subscription: &Subscription, session: &Pid) -> (Vec<u8>, Vec<u8>) {
    let mut head = vec![PASS_THROUGH, VERSION];
    match (&subscription.method, &subscription.subscriber) {
        (Method::Apply(..), _) => control::reg_send_head(&mut head, session, "rex"),
        (_, Subscriber::Pid(pid)) => control::send_head(&mut head, pid),
        (_, Subscriber::Name { name, .. }) => control::reg_send_head(&mut head, session, name),
    }
    head.push(VERSION);
    let (before, after) = subscription.method.around();
    head.extend_from_slice(&before);
    (head, after)
}

/// A match spec with what it needs to run.
struct Filter {
    spec: MatchSpec,
    scratch: Scratch,
    result: Vec<u8>,
}

impl Filter {
    fn new(spec: MatchSpec) -> Self {
        Filter { spec, scratch: Scratch::default(), result: Vec::new() }
    }

    /// Looks at an event; what is made of it is in `result` then.
    fn run(&mut self, event: &[u8], allowance: &mut u64) -> Outcome {
        self.result.clear();
        self.result.shrink_to(CHUNK_BYTES);
        let event = TermRef::from_walked(event);
        self.spec.run_within(&mut self.scratch, event, &mut self.result, allowance)
    }
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

    /// Whether an entry lies behind it.
    pub(super) fn is_before(&self, entry: &EntryRef<'_>) -> bool {
        self.to.is_some_and(|to| entry.timestamp > to)
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
    head: Vec<u8>,
    tail: Vec<u8>,
    credit: Option<u64>,
    /// The next entry is one to be sent, as soon as there is credit.
    is_due: bool,
    filter: Option<Filter>,
    _place: Place,
    inbox: Arc<Inbox>,
    committed: watch::Receiver<Committed>,
    end: End,
    info: Arc<SessionInfo>,
}

/// How soon is read again what could not be read for want of descriptors or memory.
const READ_RETRY: Duration = Duration::from_millis(500);

/// How long the end of a session waits for its last acknowledgement to be stored. Less than `gen_server:call/2` waits.
const ACK_PATIENCE: Duration = Duration::from_secs(3);

impl Session {
    /// Carries entries until something ends that, and the last acknowledgement is stored.
    async fn run(mut self, cursor: Cursor) -> Reason {
        let Err(reason) = self.carry(cursor).await;
        if let Some(name) = &self.subscription.cursor {
            // What a full disk does not take is tried on without the session.
            let stored = self.instance.cursors().stored(Some(name));
            let _ = tokio::time::timeout(ACK_PATIENCE, stored).await;
        }
        reason
    }

    /// Goes on until it has a reason to end.
    async fn carry(&mut self, mut cursor: Cursor) -> Result<std::convert::Infallible, Reason> {
        // What was taken from the log and not looked at yet.
        let mut pending: Option<Chunk> = None;
        loop {
            self.take_in()?;
            if self.credit == Some(0) && self.is_due {
                cursor.let_go(pending.take());
                self.inbox.something().await;
                continue;
            }
            // Nothing is taken from the log before there is room.
            self.wait_for_room(&mut cursor, &mut pending).await?;
            let chunk = match pending.take() {
                Some(chunk) => Some(chunk),
                None => {
                    // Marked as seen before looking, so that a commit in between wakes us.
                    self.committed.borrow_and_update();
                    match cursor.next_cached(self.chunk_bytes()) {
                        Next::Chunk(chunk) => Some(chunk),
                        Next::End => None,
                        Next::Cold => {
                            (cursor, pending) = self.read_cold(cursor).await?;
                            // That took a while: others of this connection may have used the room.
                            if pending.is_some() {
                                continue;
                            }
                            None
                        }
                    }
                }
            };
            match chunk {
                Some(chunk) => {
                    let part = self.send(&chunk).await?;
                    pending = chunk.without_first(part.looked_at);
                    match part.stopped {
                        Some(Stopped::AtEnd) => return Err(atom("normal")),
                        Some(Stopped::ForMore) => {
                            cursor.let_go(pending.take());
                            (cursor, pending) = self.pass_on_alone(cursor).await?;
                        }
                        // Others have work too.
                        Some(Stopped::ForOthers) => tokio::task::yield_now().await,
                        Some(Stopped::ForCredit) | None => tokio::task::consume_budget().await,
                    }
                    let next = pending.as_ref().map_or_else(|| cursor.position(), Chunk::first);
                    self.info.position.store(next.micros(), Ordering::Relaxed);
                }
                None => {
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
        }
    }

    const fn chunk_bytes(&self) -> usize {
        // A filter looks at more than it passes on.
        if self.filter.is_some() { 8 * CHUNK_BYTES } else { CHUNK_BYTES }
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
    async fn wait_for_room(
        &mut self,
        cursor: &mut Cursor,
        pending: &mut Option<Chunk>,
    ) -> Result<(), Reason> {
        let linger = tokio::time::sleep(LINGER);
        tokio::pin!(linger);
        let mut holds = pending.is_some() || cursor.holds_something();
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
                    cursor.let_go(pending.take());
                    holds = false;
                }
            }
        }
    }

    /// Reads the next chunk from files, on a thread that may block. What the machine lacks for that at the moment is
    /// waited for.
    async fn read_cold(&mut self, mut cursor: Cursor) -> Result<(Cursor, Option<Chunk>), Reason> {
        let bytes = self.chunk_bytes();
        let mut has_failed = false;
        loop {
            let turn = self.instance.budget().cold().await;
            let read = tokio::task::spawn_blocking(move || {
                let chunk = cursor.next(bytes);
                (cursor, chunk)
            });
            let (back, chunk) = read.await.expect("reading the log does not panic");
            drop(turn);
            let error = match chunk {
                Ok(chunk) => return Ok((back, chunk)),
                Err(error) => error,
            };
            cursor = back;
            if !std::mem::replace(&mut has_failed, true) {
                warn!(session = %self.info.pid, "a session waits: {error}");
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

    /// Sends what a slice and credit allow of a chunk.
    async fn send(&mut self, chunk: &Chunk) -> Result<Part, Reason> {
        let mut part = Part::default();
        let is_connected = match self.filter.take() {
            None => self.peer.send(|out| self.write(out, chunk, &mut part)),
            Some(mut filter) => {
                // A filter is no work to do while the connection's queue is held.
                let mut packets = Vec::new();
                let turn = self.instance.budget().slice().await;
                self.write_filtered(&mut packets, chunk, &mut filter, &mut part);
                drop(turn);
                self.filter = Some(filter);
                packets.is_empty() || self.peer.send(|out| out.extend_from_slice(&packets))
            }
        };
        if !is_connected {
            return Err(atom("noconnection"));
        }
        self.count(&part);
        Ok(part)
    }

    /// Looks at the next entry for as long as it takes, elsewhere, and passes it on; also what was read behind it.
    async fn pass_on_alone(
        &mut self,
        mut cursor: Cursor,
    ) -> Result<(Cursor, Option<Chunk>), Reason> {
        let turn = loop {
            tokio::select! {
                turn = self.instance.budget().alone() => break turn,
                // What came is taken in here, and ends the waiting if it ends the session. The place in the line is
                // given up for credit too, which costs only the one who sends it.
                () = self.inbox.something() => self.take_in()?,
            }
        };
        let bytes = self.chunk_bytes();
        let mut filter = self.filter.take().expect("only a filter needs more than a slice");
        let look = tokio::task::spawn_blocking(move || {
            // Kept until it is done, also when the session has ended meanwhile.
            let _turn = turn;
            let chunk = cursor.next(bytes);
            let entry = chunk.as_ref().ok().and_then(|chunk| chunk.as_ref()?.entries().next());
            let mut steps = u64::MAX;
            let outcome = entry.map(|entry| filter.run(entry.event, &mut steps));
            (cursor, filter, chunk, outcome)
        });
        tokio::pin!(look);
        let (cursor, mut filter, chunk, outcome) = loop {
            tokio::select! {
                looked = &mut look => break looked.expect("neither reading nor filtering panics"),
                // What came is taken in here; a session that ends leaves the rest to the thread.
                () = self.inbox.something() => self.take_in()?,
            }
        };
        let (Ok(Some(chunk)), Some(outcome)) = (chunk, outcome) else {
            // It was deleted in between, or cannot be read at the moment.
            self.filter = Some(filter);
            return Ok((cursor, None));
        };
        let entry = chunk.entries().next().expect("a chunk is not empty");
        if self.end.is_before(&entry) {
            return Err(atom("normal"));
        }
        let (mut packets, mut open, mut part) = (Vec::new(), None, Part::default());
        self.take_result(&mut packets, &mut open, &entry, outcome, &mut filter, &mut part);
        if let Some(open) = open {
            open.finish(&mut packets, &self.tail);
        }
        self.filter = Some(filter);
        if !packets.is_empty() && !self.peer.send(|out| out.extend_from_slice(&packets)) {
            return Err(atom("noconnection"));
        }
        self.count(&part);
        Ok((cursor, chunk.without_first(part.looked_at)))
    }

    /// Counts what was sent, and takes it off the credit.
    fn count(&mut self, part: &Part) {
        self.is_due = part.stopped == Some(Stopped::ForCredit);
        if let Some(credit) = &mut self.credit {
            *credit -= part.sent;
        }
        self.info.sent.fetch_add(part.sent, Ordering::Relaxed);
        let counters = self.instance.counters();
        counters.delivered.add(part.sent);
        counters.undecodable.add(part.undecodable);
        counters.unfiltered.add(part.over_budget);
        if self.filter.is_some() && part.looked_at > 0 {
            self.info.filtered.fetch_add(part.looked_at as u64, Ordering::Relaxed);
            self.info.unfiltered.fetch_add(part.over_budget, Ordering::Relaxed);
            self.info.is_exhausted.store(part.was_last_over_budget, Ordering::Relaxed);
        }
    }

    /// Writes the packets for a chunk's entries, as far as credit goes.
    fn write(&self, out: &mut Vec<u8>, chunk: &Chunk, part: &mut Part) {
        let allowed = self.credit.unwrap_or(u64::MAX);
        let (mut open, begin): (Option<OpenBatch>, _) = (None, out.len());
        for entry in chunk.entries() {
            if self.end.is_before(&entry) {
                part.stopped = Some(Stopped::AtEnd);
                break;
            }
            if out.len() - begin >= OUTPUT_BYTES {
                part.stopped = Some(Stopped::ForOthers);
                break;
            }
            if part.sent == allowed {
                part.stopped = Some(Stopped::ForCredit);
                break;
            }
            part.looked_at += 1;
            let (stamp, event, whole) = (entry.timestamp, entry.event, Some(entry.entry));
            self.write_entry(out, &mut open, stamp, event, whole, part);
        }
        if let Some(open) = open {
            open.finish(out, &self.tail);
        }
    }

    /// The same for what a filter makes of them, as far as one slice goes too.
    fn write_filtered(
        &self,
        out: &mut Vec<u8>,
        chunk: &Chunk,
        filter: &mut Filter,
        part: &mut Part,
    ) {
        let mut allowance = SLICE_STEPS;
        let mut open: Option<OpenBatch> = None;
        for entry in chunk.entries() {
            if self.end.is_before(&entry) {
                part.stopped = Some(Stopped::AtEnd);
                break;
            }
            if out.len() >= CHUNK_BYTES {
                part.stopped = Some(Stopped::ForOthers);
                break;
            }
            let is_fresh = allowance == SLICE_STEPS;
            let outcome = filter.run(entry.event, &mut allowance);
            if outcome == Outcome::Unfinished {
                part.stopped = Some(if is_fresh { Stopped::ForMore } else { Stopped::ForOthers });
                break;
            }
            self.take_result(out, &mut open, &entry, outcome, filter, part);
            if part.stopped.is_some() {
                break;
            }
        }
        if let Some(open) = open {
            open.finish(out, &self.tail);
        }
    }

    /// Writes what a filter made of an entry, if that is something and there is credit for it.
    fn take_result(
        &self,
        out: &mut Vec<u8>,
        open: &mut Option<OpenBatch>,
        entry: &EntryRef<'_>,
        outcome: Outcome,
        filter: &mut Filter,
        part: &mut Part,
    ) {
        if outcome == Outcome::Result {
            if part.sent == self.credit.unwrap_or(u64::MAX) {
                part.stopped = Some(Stopped::ForCredit);
                return;
            }
            self.write_entry(out, open, entry.timestamp, &filter.result, None, part);
        }
        part.looked_at += 1;
        part.was_last_over_budget = matches!(outcome, Outcome::Budget | Outcome::Unfinished);
        part.over_budget += u64::from(part.was_last_over_budget);
    }

    /// Writes one entry, in a message of its own or into the open batch. `whole` is the entry's term, where it
    /// exists already.
    fn write_entry(
        &self,
        out: &mut Vec<u8>,
        open: &mut Option<OpenBatch>,
        stamp: Timestamp,
        event: &[u8],
        whole: Option<&[u8]>,
        part: &mut Part,
    ) {
        part.sent += 1;
        let start = match self.subscription.batch {
            None => {
                let start = out.len();
                out.extend_from_slice(&[0; 4]);
                out.extend_from_slice(&self.head);
                Some(start)
            }
            Some(size) => {
                if open.as_ref().is_some_and(|batch| batch.count as usize == size)
                    && let Some(full) = open.take()
                {
                    full.finish(out, &self.tail);
                }
                open.get_or_insert_with(|| OpenBatch::begin(out, &self.head)).count += 1;
                None
            }
        };
        let is_decodable = entry::write(out, stamp, event, whole, self.peer.abilities());
        part.undecodable += u64::from(!is_decodable);
        if let Some(start) = start {
            out.extend_from_slice(&self.tail);
            close_packet(out, start);
        }
    }
}

/// Ends when the time has come, or never if it is not what is waited for.
async fn until(outstanding: Option<Outstanding>) {
    match outstanding {
        Some(Outstanding::Time(left)) => tokio::time::sleep(left).await,
        Some(Outstanding::Commits) | None => std::future::pending().await,
    }
}

/// What became of a chunk.
#[derive(Default)]
struct Part {
    /// Entries dealt with, from the first on.
    looked_at: usize,
    sent: u64,
    undecodable: u64,
    over_budget: u64,
    was_last_over_budget: bool,
    /// Why the next entry was left; `None` if there is none.
    stopped: Option<Stopped>,
}

/// Why a session stops before an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    /// Neither it nor a later one is of interest.
    AtEnd,
    /// It is to be sent, and there is no credit.
    ForCredit,
    /// The slice is used up, or there is enough to send.
    ForOthers,
    /// It needs more than a slice.
    ForMore,
}

/// A message `{Marker, [Entry]}` whose list is still growing.
struct OpenBatch {
    start: usize,
    count_at: usize,
    count: u32,
}

impl OpenBatch {
    fn begin(out: &mut Vec<u8>, head: &[u8]) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(head);
        out.push(LIST_EXT);
        let count_at = out.len();
        out.extend_from_slice(&[0; 4]);
        OpenBatch { start, count_at, count: 0 }
    }

    fn finish(self, out: &mut Vec<u8>, tail: &[u8]) {
        out.push(NIL_EXT);
        out.extend_from_slice(tail);
        out[self.count_at..self.count_at + 4].copy_from_slice(&self.count.to_be_bytes());
        close_packet(out, self.start);
    }
}

/// Writes the length of the packet that began at `start`.
fn close_packet(out: &mut [u8], start: usize) {
    let len = u32::try_from(out.len() - start - 4).expect("bounded: a chunk or one event");
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}
