//! Carries entries to one subscriber.
//!
//! A session pulls: it looks where its cursor stands, waits until the subscriber's connection has room, and
//! sends what fits. There is no queue of events per subscriber and no switch from history to live entries; the
//! cursor walks archives, segments, cache and the live end alike. A slow subscriber costs a position in the log.
//!
//! # Invariants
//!
//! - `each_once`: the subscriber gets every entry from its start on, once, in order, without a gap.
//! - `ends_with_subscriber`: no session outlives its subscriber or the connection to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use super::Instance;
use super::subscription::{Method, Subscriber, Subscription};
use crate::etf::tag::{LIST_EXT, NIL_EXT, VERSION};
use crate::etf::{Needs, Pid, TermRef, encode, walk};
use crate::event_log::{Chunk, Committed, Cursor, Next};
use crate::match_spec::{MatchSpec, Outcome, Scratch};
use crate::node::call::{Gen, ReplyTo};
use crate::node::{Letter, Node, Peer};
use crate::proto::Flags;
use crate::proto::control;
use crate::proto::packet::PASS_THROUGH;
use crate::time::Timestamp;

/// Bytes that a session takes from the log, and gives to the connection, at once.
const CHUNK_BYTES: usize = 64 * 1024;

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
}

/// Starts a session; its pid, or `None` if the subscriber's node is not connected.
pub fn start(instance: &Arc<Instance>, subscription: Subscription) -> Option<Pid> {
    let node = instance.node();
    let subscriber = subscription.subscriber.clone();
    let peer = node.peer(subscriber.node())?;
    let (pid, letters) = node.spawn_mailbox();
    if let (true, Subscriber::Pid(subscriber)) = (subscription.link, &subscriber) {
        node.link(&pid, subscriber);
    }
    node.monitor(&pid, subscriber.node(), &subscriber.watched());
    let position = subscription.from;
    let info = Arc::new(SessionInfo {
        pid: pid.clone(),
        subscriber,
        sent: AtomicU64::new(0),
        position: AtomicU64::new(position.micros()),
    });
    instance.sessions().insert(pid.clone(), info.clone());
    let (head, tail) = packet_parts(&subscription, &pid);
    let session = Session {
        head,
        tail,
        decodes: Needs {
            v4_nc: peer.flags().has(Flags::V4_NC),
            native_records: peer.flags().has(Flags::NATIVE_RECORDS),
        },
        committed: instance.log().watch(),
        instance: instance.clone(),
        node: node.clone(),
        credit: subscription.credit,
        filter: subscription.filter.clone().map(|spec| Filter::new(spec.for_process(&pid))),
        acked: None,
        storing: None,
        subscription,
        peer,
        letters,
        info,
    };
    let cursor = instance.log().cursor(position);
    let (instance, node, session_pid) = (instance.clone(), node.clone(), pid.clone());
    tokio::spawn(async move {
        // In a task of its own, so that a panic does not leave the pid behind.
        let ended = tokio::spawn(session.run(cursor)).await;
        let reason = ended.unwrap_or_else(|panic| {
            tracing::error!(session = %session_pid, "session failed: {panic}");
            atom("error")
        });
        instance.sessions().remove(&session_pid);
        instance.live().retain(|_, live| *live != session_pid);
        node.exit(&session_pid, &reason);
    });
    Some(pid)
}

fn atom(name: &str) -> Box<[u8]> {
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

/// Why a session ends, as a term.
type Reason = Box<[u8]>;

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
}

struct Session {
    instance: Arc<Instance>,
    node: Node,
    peer: Arc<Peer>,
    subscription: Subscription,
    head: Vec<u8>,
    tail: Vec<u8>,
    /// What the subscriber's node can decode beyond what every release does.
    decodes: Needs,
    credit: Option<u64>,
    filter: Option<Filter>,
    /// The newest acknowledgement that is not stored yet.
    acked: Option<Timestamp>,
    storing: Option<tokio::task::JoinHandle<()>>,
    letters: mpsc::Receiver<Letter>,
    committed: watch::Receiver<Committed>,
    info: Arc<SessionInfo>,
}

impl Session {
    /// Carries entries until something ends that, and stores the last acknowledgement.
    async fn run(mut self, cursor: Cursor) -> Reason {
        let reason = self.carry(cursor).await;
        while let Some(storing) = self.storing.take() {
            // A failure was reported where it happened.
            let _ = storing.await;
            self.store_ack();
        }
        reason
    }

    async fn carry(&mut self, mut cursor: Cursor) -> Reason {
        // A filter looks at more than it passes on.
        let chunk_bytes = if self.filter.is_some() { 8 * CHUNK_BYTES } else { CHUNK_BYTES };
        loop {
            while let Ok(letter) = self.letters.try_recv() {
                if let Some(reason) = self.letter(&letter) {
                    return reason;
                }
            }
            if self.credit == Some(0) {
                match self.wait_for_letter().await {
                    Some(reason) => return reason,
                    None => continue,
                }
            }
            tokio::select! {
                // Nothing is taken from the log before there is room.
                room = self.peer.room() => if !room {
                    return atom("noconnection");
                },
                // A letter received here is handled here.
                letter = self.letters.recv() => {
                    match letter.and_then(|letter| self.letter(&letter)) {
                        Some(reason) => return reason,
                        None => continue,
                    }
                }
            }
            // Marked as seen before looking, so that a commit in between wakes us.
            self.committed.borrow_and_update();
            let chunk = match cursor.next_cached(chunk_bytes) {
                Next::Chunk(chunk) => Some(chunk),
                Next::End => None,
                Next::Cold => {
                    let (back, read) = self.read_cold(cursor, chunk_bytes).await;
                    cursor = back;
                    match read {
                        Ok(chunk) => chunk,
                        Err(reason) => return reason,
                    }
                }
            };
            // Reading took a while: others of this connection may have used the room.
            if !self.peer.room().await {
                return atom("noconnection");
            }
            match chunk {
                Some(chunk) => {
                    if let Some(reason) = self.deliver(&chunk, &mut cursor) {
                        return reason;
                    }
                    // Others have work too.
                    tokio::task::consume_budget().await;
                }
                None if self.is_past_end() => return atom("normal"),
                None => tokio::select! {
                    // Only says that it is time to look whether the end has come.
                    () = until(self.time_left()) => {}
                    // Only says that there is more.
                    changed = self.committed.changed() => if changed.is_err() {
                        return atom("shutdown");
                    },
                    // A letter received here is handled here.
                    letter = self.letters.recv() => {
                        if let Some(reason) = letter.and_then(|letter| self.letter(&letter)) {
                            return reason;
                        }
                    }
                },
            }
        }
    }

    /// Whether no entry to come can be of interest.
    fn is_past_end(&self) -> bool {
        let next = || self.instance.tail().earliest_next();
        self.subscription.to.is_some_and(|to| to < next())
    }

    /// How long entries may still come that are of interest.
    fn time_left(&self) -> Option<Duration> {
        let left =
            self.subscription.to?.micros().saturating_sub(self.instance.clock().now().micros());
        Some(Duration::from_micros(left) + Duration::from_millis(1))
    }

    async fn wait_for_letter(&mut self) -> Option<Reason> {
        match self.letters.recv().await {
            Some(letter) => self.letter(&letter),
            None => Some(atom("shutdown")),
        }
    }

    /// Reads the next chunk from files, on a thread that may block.
    async fn read_cold(
        &self,
        mut cursor: Cursor,
        bytes: usize,
    ) -> (Cursor, Result<Option<Chunk>, Reason>) {
        let read = tokio::task::spawn_blocking(move || {
            let chunk = cursor.next(bytes);
            (cursor, chunk)
        });
        let (cursor, chunk) = read.await.expect("reading the log does not panic");
        let chunk = chunk.map_err(|error| {
            warn!(session = %self.info.pid, "session ends: {error}");
            let mut reason = Vec::new();
            encode::tuple_header(&mut reason, 2);
            encode::atom(&mut reason, "read_failed");
            encode::binary(&mut reason, error.to_string().as_bytes());
            reason.into()
        });
        (cursor, chunk)
    }

    /// Sends what credit allows of a chunk; the cursor goes back to what was not sent.
    fn deliver(&mut self, chunk: &Chunk, cursor: &mut Cursor) -> Option<Reason> {
        let mut filter = self.filter.take();
        let mut part = Part::default();
        let is_connected = if filter.is_some() {
            // A filter is no work to do while the connection's queue is held.
            let mut packets = Vec::new();
            self.write(&mut packets, chunk, filter.as_mut(), &mut part);
            packets.is_empty() || self.peer.send(|out| out.extend_from_slice(&packets))
        } else {
            self.peer.send(|out| self.write(out, chunk, None, &mut part))
        };
        self.filter = filter;
        if !is_connected {
            return Some(atom("noconnection"));
        }
        if let Some(next) = part.stopped_at.filter(|_| !part.ended) {
            *cursor = self.instance.log().cursor(next);
        }
        if let Some(credit) = &mut self.credit {
            *credit -= part.sent;
        }
        self.info.sent.fetch_add(part.sent, Ordering::Relaxed);
        self.info.position.store(cursor.position().micros(), Ordering::Relaxed);
        let counters = self.instance.counters();
        counters.delivered.add(part.sent);
        counters.undecodable.add(part.undecodable);
        counters.unfiltered.add(part.over_budget);
        part.ended.then(|| atom("normal"))
    }

    /// Writes the packets for a chunk's entries, as far as credit goes.
    fn write(
        &self,
        out: &mut Vec<u8>,
        chunk: &Chunk,
        mut filter: Option<&mut Filter>,
        part: &mut Part,
    ) {
        let allowed = self.credit.unwrap_or(u64::MAX);
        let to = self.subscription.to.unwrap_or(Timestamp::MAX);
        let mut open: Option<OpenBatch> = None;
        for entry in chunk.entries() {
            part.ended = entry.timestamp > to;
            if part.ended || part.sent == allowed {
                part.stopped_at = Some(entry.timestamp);
                break;
            }
            match &mut filter {
                None => {
                    self.write_entry(
                        out,
                        &mut open,
                        entry.timestamp,
                        entry.event,
                        Some(entry.entry),
                        part,
                    );
                }
                Some(filter) => {
                    filter.result.clear();
                    let event = TermRef::from_walked(entry.event);
                    match filter.spec.run(&mut filter.scratch, event, &mut filter.result) {
                        Outcome::Result => {
                            self.write_entry(
                                out,
                                &mut open,
                                entry.timestamp,
                                &filter.result,
                                None,
                                part,
                            );
                        }
                        Outcome::NoMatch => {}
                        Outcome::Budget => part.over_budget += 1,
                    }
                }
            }
        }
        if let Some(open) = open {
            open.finish(out, &self.tail);
        }
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
        // A node drops the whole connection over one term that it cannot read.
        let is_readable = self.decodes_all()
            || walk(event).is_ok_and(|walked| walked.needs.are_met_by(self.decodes));
        match whole {
            Some(whole) if is_readable => out.extend_from_slice(whole),
            _ => {
                encode::tuple_header(out, 2);
                encode::timestamp(out, stamp);
                if is_readable {
                    out.extend_from_slice(event);
                } else {
                    part.undecodable += 1;
                    encode::tuple_header(out, 3);
                    encode::atom(out, "logmachine");
                    encode::atom(out, "undecodable");
                    encode::timestamp(out, stamp);
                }
            }
        }
        if let Some(start) = start {
            out.extend_from_slice(&self.tail);
            close_packet(out, start);
        }
    }

    const fn decodes_all(&self) -> bool {
        self.decodes.v4_nc && self.decodes.native_records
    }

    /// Handles what came for the session; the reason, if that ends it.
    fn letter(&mut self, letter: &Letter) -> Option<Reason> {
        match letter {
            Letter::Down { reason, .. } => {
                debug!(session = %self.info.pid, "subscriber is gone");
                Some(reason.clone())
            }
            // As for any process that does not trap exits: `normal` is nothing. A subscriber that ends
            // normally is noticed by the monitor.
            Letter::Exit { reason, .. } => match TermRef::from_walked(reason).as_atom() {
                Some(atom) if atom.is("normal") => None,
                Some(killed) if killed.is("kill") => Some(atom("killed")),
                _ => Some(reason.clone()),
            },
            Letter::Message(message) => match Gen::parse(TermRef::from_walked(message)) {
                Gen::Cast(order) | Gen::Info(order) => {
                    self.order(order);
                    None
                }
                Gen::Call(from, _) => {
                    if let Some(to) = ReplyTo::parse(from) {
                        self.node.reply(&self.info.pid, &to, super::calls::unsupported);
                    }
                    None
                }
                // `gen_server:stop/1,3` asks so, and waits for the exit.
                Gen::System(from, request) => {
                    let [terminate, reason] = request.as_tuple()?;
                    if let Some(to) =
                        ReplyTo::parse(from).filter(|_| terminate.is_atom("terminate"))
                    {
                        self.node.reply(&self.info.pid, &to, |out| encode::atom(out, "ok"));
                        return Some(reason.to_bytes());
                    }
                    None
                }
            },
        }
    }

    /// `{credit, M}`: M entries more may be sent. `{ack, Timestamp}`: everything up to there is dealt with.
    fn order(&mut self, order: TermRef<'_>) {
        let parts = order.as_tuple::<2>();
        match parts {
            Some([verb, count]) if verb.is_atom("credit") => {
                let more = count.as_integer().and_then(|more| u64::try_from(more).ok());
                if let (Some(credit), Some(more)) = (&mut self.credit, more) {
                    *credit = credit.saturating_add(more);
                }
            }
            Some([verb, stamp]) if verb.is_atom("ack") && self.subscription.cursor.is_some() => {
                if let Some(super::from::From::At(stamp)) = super::from::From::parse(stamp) {
                    self.acked = Some(stamp);
                    self.store_ack();
                }
            }
            _ => self.instance.counters().unknown.inc(),
        }
    }

    /// Stores the newest acknowledgement on a thread that may block; one at a time, so that many that come quickly
    /// cost few syncs.
    fn store_ack(&mut self) {
        if self.storing.as_ref().is_some_and(|storing| !storing.is_finished()) {
            return;
        }
        let (Some(stamp), Some(name)) = (self.acked.take(), self.subscription.cursor.clone())
        else {
            return;
        };
        let (cursors, session) = (self.instance.cursors().clone(), self.info.pid.clone());
        self.storing = Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = cursors.store(&name, stamp) {
                tracing::error!(%session, "cursor position was not stored: {error}");
            }
        }));
    }
}

/// Ends after `wait`, or never.
async fn until(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// What became of a chunk.
#[derive(Default)]
struct Part {
    sent: u64,
    undecodable: u64,
    over_budget: u64,
    /// The first entry not looked at.
    stopped_at: Option<Timestamp>,
    /// No later entry is of interest.
    ended: bool,
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
