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

use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use super::Instance;
use crate::etf::tag::{LIST_EXT, NIL_EXT, SMALL_TUPLE_EXT, VERSION};
use crate::etf::{Needs, Pid, TermRef, encode, walk};
use crate::event_log::{Chunk, Committed, Cursor, EntryRef, Next};
use crate::node::call::{Gen, ReplyTo};
use crate::node::{Letter, Node, Peer};
use crate::proto::Flags;
use crate::proto::control::Watched;
use crate::proto::packet::PASS_THROUGH;
use crate::time::Timestamp;

/// Bytes that a session takes from the log, and gives to the connection, at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// What a subscriber asked for.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Who gets the entries.
    pub subscriber: Pid,
    /// What they are tagged with: a term.
    pub marker: Box<[u8]>,
    /// The first timestamp of interest.
    pub from: Timestamp,
    /// The last one; the session ends after it.
    pub to: Option<Timestamp>,
    /// Up to how many entries come in one message; `None`: one, not in a list.
    pub batch: Option<usize>,
    /// How many entries may be sent before more is allowed; `None`: any number.
    pub credit: Option<u64>,
    /// Whether the session is linked to the subscriber.
    pub link: bool,
}

/// A session, seen from outside.
pub struct SessionInfo {
    /// Its pid.
    pub pid: Pid,
    /// Its subscriber's.
    pub subscriber: Pid,
    /// Entries it has sent.
    pub sent: AtomicU64,
    /// Where it stands, in microseconds since the epoch.
    pub position: AtomicU64,
}

/// Starts a session; its pid, or `None` if the subscriber's node is not connected.
pub fn start(instance: &Arc<Instance>, subscription: Subscription) -> Option<Pid> {
    let node = instance.node();
    let subscriber = subscription.subscriber.clone();
    let peer = node.peer(&subscriber.node)?;
    let (pid, letters) = node.spawn_mailbox();
    if subscription.link {
        node.link(&pid, &subscriber);
    }
    node.monitor(&pid, &subscriber.node, &Watched::Pid(subscriber.clone()));
    let position = subscription.from;
    let info = Arc::new(SessionInfo {
        pid: pid.clone(),
        subscriber,
        sent: AtomicU64::new(0),
        position: AtomicU64::new(position.micros()),
    });
    instance.sessions().insert(pid.clone(), info.clone());
    let session = Session {
        packet_head: packet_head(&subscription),
        decodes: Needs {
            v4_nc: peer.flags().has(Flags::V4_NC),
            native_records: peer.flags().has(Flags::NATIVE_RECORDS),
        },
        committed: instance.log().watch(),
        instance: instance.clone(),
        node: node.clone(),
        credit: subscription.credit,
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
        node.exit(&session_pid, &reason);
    });
    Some(pid)
}

fn atom(name: &str) -> Box<[u8]> {
    let mut out = Vec::new();
    encode::atom(&mut out, name);
    out.into()
}

/// What every packet to the subscriber begins with, after its length: up to the entry, or the list of entries.
fn packet_head(subscription: &Subscription) -> Vec<u8> {
    let mut head = vec![PASS_THROUGH, VERSION];
    crate::proto::control::send_head(&mut head, &subscription.subscriber);
    head.extend_from_slice(&[VERSION, SMALL_TUPLE_EXT, 2]);
    head.extend_from_slice(&subscription.marker);
    head
}

/// Why a session ends, as a term.
type Reason = Box<[u8]>;

struct Session {
    instance: Arc<Instance>,
    node: Node,
    peer: Arc<Peer>,
    subscription: Subscription,
    packet_head: Vec<u8>,
    /// What the subscriber's node can decode beyond what every release does.
    decodes: Needs,
    credit: Option<u64>,
    letters: mpsc::Receiver<Letter>,
    committed: watch::Receiver<Committed>,
    info: Arc<SessionInfo>,
}

impl Session {
    async fn run(mut self, mut cursor: Cursor) -> Reason {
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
            let chunk = match cursor.next_cached(CHUNK_BYTES) {
                Next::Chunk(chunk) => Some(chunk),
                Next::End => None,
                Next::Cold => {
                    let (back, read) = self.read_cold(cursor).await;
                    cursor = back;
                    match read {
                        Ok(chunk) => chunk,
                        Err(reason) => return reason,
                    }
                }
            };
            match chunk {
                Some(chunk) => {
                    if let Some(reason) = self.deliver(&chunk, &mut cursor) {
                        return reason;
                    }
                }
                None if self
                    .subscription
                    .to
                    .is_some_and(|to| to < self.instance.tail().earliest_next()) =>
                {
                    return atom("normal");
                }
                None => tokio::select! {
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

    async fn wait_for_letter(&mut self) -> Option<Reason> {
        match self.letters.recv().await {
            Some(letter) => self.letter(&letter),
            None => Some(atom("shutdown")),
        }
    }

    /// Reads the next chunk from files, on a thread that may block.
    async fn read_cold(&self, mut cursor: Cursor) -> (Cursor, Result<Option<Chunk>, Reason>) {
        let read = tokio::task::spawn_blocking(move || {
            let chunk = cursor.next(CHUNK_BYTES);
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
        let allowed = self.credit.unwrap_or(u64::MAX);
        let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
        let to = self.subscription.to.unwrap_or(Timestamp::MAX);
        let mut sent: u64 = 0;
        let mut next = None;
        let mut undecodable = 0;
        let mut ended = false;
        let is_connected = self.peer.send(|out| {
            let mut open: Option<OpenBatch> = None;
            for entry in chunk.entries() {
                ended = entry.timestamp > to;
                if ended || sent == allowed as u64 {
                    next = Some(entry.timestamp);
                    break;
                }
                sent += 1;
                undecodable += u64::from(self.write(out, &mut open, &entry));
            }
            if let Some(open) = open {
                open.finish(out);
            }
        });
        if !is_connected {
            return Some(atom("noconnection"));
        }
        if let Some(next) = next.filter(|_| !ended) {
            *cursor = self.instance.log().cursor(next);
        }
        if let Some(credit) = &mut self.credit {
            *credit -= sent;
        }
        self.info.sent.fetch_add(sent, Ordering::Relaxed);
        self.info.position.store(cursor.position().micros(), Ordering::Relaxed);
        self.instance.counters().delivered.add(sent);
        self.instance.counters().undecodable.add(undecodable);
        ended.then(|| atom("normal"))
    }

    /// Writes one entry, in a message of its own or into the open batch; whether it had to be replaced.
    fn write(&self, out: &mut Vec<u8>, open: &mut Option<OpenBatch>, entry: &EntryRef<'_>) -> bool {
        let start = match self.subscription.batch {
            None => {
                let start = out.len();
                out.extend_from_slice(&[0; 4]);
                out.extend_from_slice(&self.packet_head);
                Some(start)
            }
            Some(size) => {
                if open.as_ref().is_some_and(|batch| batch.count as usize == size)
                    && let Some(full) = open.take()
                {
                    full.finish(out);
                }
                open.get_or_insert_with(|| OpenBatch::begin(out, &self.packet_head)).count += 1;
                None
            }
        };
        // A node drops the whole connection over one term that it cannot read.
        let readable = self.decodes_all()
            || walk(entry.event).is_ok_and(|walked| walked.needs.are_met_by(self.decodes));
        if readable {
            out.extend_from_slice(entry.entry);
        } else {
            encode::tuple_header(out, 2);
            encode::timestamp(out, entry.timestamp);
            encode::tuple_header(out, 3);
            encode::atom(out, "logmachine");
            encode::atom(out, "undecodable");
            encode::timestamp(out, entry.timestamp);
        }
        if let Some(start) = start {
            close_packet(out, start);
        }
        !readable
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

    /// `{credit, M}`: M entries more may be sent.
    fn order(&mut self, order: TermRef<'_>) {
        if let Some([verb, count]) = order.as_tuple()
            && verb.is_atom("credit")
            && let Some(more) = count.as_integer().and_then(|more| u64::try_from(more).ok())
        {
            if let Some(credit) = &mut self.credit {
                *credit = credit.saturating_add(more);
            }
        } else {
            self.instance.counters().unknown.inc();
        }
    }
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

    fn finish(self, out: &mut Vec<u8>) {
        out.push(NIL_EXT);
        out[self.count_at..self.count_at + 4].copy_from_slice(&self.count.to_be_bytes());
        close_packet(out, self.start);
    }
}

/// Writes the length of the packet that began at `start`.
fn close_packet(out: &mut [u8], start: usize) {
    let len = u32::try_from(out.len() - start - 4).expect("bounded: a chunk or one event");
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}
