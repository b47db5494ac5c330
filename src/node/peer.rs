//! A connected node, and the bytes on their way to it.
//!
//! # Invariants
//!
//! - `one_writer`: bytes leave in the order they were queued, by one task.
//! - `no_growth`: who adds more than `SMALL_BYTES` at once has waited for [`Peer::room`]; the small answers that
//!   cannot wait are bounded by `STALLED_BYTES`, beyond which the connection is given up.
//! - `nothing_kept`: a connection that is given up lets go of what is queued at once.
//! - `whole_packets`: the queue holds whole packets, also after a panic while one was being written.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::answers::Answers;
use super::error::Ended;
use super::reactor::Reactor;
use crate::etf::Abilities;
use crate::metrics::{PeerMetrics, PeerStats};
use crate::proto::{Flags, NodeName, Remote, handshake};

/// Queued bytes above which sessions wait. Large enough to keep a socket busy, small enough that a thousand
/// stalled peers cost little.
pub const ROOM_BYTES: usize = 512 * 1024;

/// Bytes that may be added at once without waiting for room: more than any answer that is given at once needs.
/// What is larger (entries, the answer to `read`) has waited.
pub const SMALL_BYTES: usize = 64 * 1024;

/// Bytes of small answers queued above which a peer counts as stalled: it asks and does not read. These are some
/// 300,000 answers to `append`; a node that reads at all, however slowly, has not asked for that many.
const STALLED_BYTES: usize = 32 << 20;

/// A connected node. Kept by whoever talks to it; a new connection of the same node is another `Peer`.
pub struct Peer {
    remote: Remote,
    address: SocketAddr,
    reactor: Reactor,
    queue: Mutex<SendQueue>,
    /// Bytes queued or being written.
    pending: AtomicUsize,
    /// Those of them that were added without waiting for room.
    pending_small: AtomicUsize,
    answers: Answers,
    pub(super) metrics: PeerMetrics,
    wake_writer: Notify,
    room: Notify,
    closed: Notify,
}

struct SendQueue {
    bytes: Vec<u8>,
    /// How many of them were added without waiting for room.
    small: usize,
    ended: Option<Ended>,
}

impl Peer {
    pub(super) fn new(
        peer: handshake::PeerIdentity,
        address: SocketAddr,
        reactor: Reactor,
    ) -> Self {
        Peer {
            remote: Remote::new(peer),
            address,
            reactor,
            queue: Mutex::new(SendQueue { bytes: Vec::new(), small: 0, ended: None }),
            pending: AtomicUsize::new(0),
            pending_small: AtomicUsize::new(0),
            answers: Answers::new(),
            metrics: PeerMetrics::default(),
            wake_writer: Notify::new(),
            room: Notify::new(),
            closed: Notify::new(),
        }
    }

    /// What it said of itself.
    pub const fn remote(&self) -> &Remote {
        &self.remote
    }

    /// The name of the node at the other end.
    pub const fn name(&self) -> &NodeName {
        self.remote.name()
    }

    /// What it can decode and do.
    pub const fn flags(&self) -> Flags {
        self.remote.flags()
    }

    /// Which terms it decodes; see [`Remote::abilities`].
    pub const fn abilities(&self) -> &Abilities {
        self.remote.abilities()
    }

    /// Where it is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its numbers, as they are now.
    pub fn stats(&self) -> PeerStats {
        let queued_bytes = self.pending.load(Ordering::Acquire) as u64;
        PeerStats { queued_bytes, ..self.metrics.read() }
    }

    /// The thread that its connection lives on: where to spawn what sends much to it and takes little time for it.
    pub const fn thread(&self) -> &Handle {
        self.reactor.handle()
    }

    pub(super) const fn reactor(&self) -> &Reactor {
        &self.reactor
    }

    /// Whether it takes part in `global`: it is no hidden node.
    pub const fn is_visible(&self) -> bool {
        self.remote.is_visible()
    }

    /// Whether it is an emulator of Erlang's, and so can be asked things: no other node has an atom cache.
    pub const fn is_emulator(&self) -> bool {
        self.flags().has(Flags::DIST_HDR_ATOM_CACHE)
    }

    pub(super) const fn answers(&self) -> &Answers {
        &self.answers
    }

    /// A panic of who held the queue leaves it in order (`whole_packets`).
    fn lock(&self) -> MutexGuard<'_, SendQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues the packets that `write` appends; false if the connection is gone.
    ///
    /// Does not wait: who sends more than [`SMALL_BYTES`] waits for [`Peer::room`] before. `write` runs under a
    /// lock and must only copy bytes.
    pub fn send(&self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut queue = self.lock();
        if queue.ended.is_some() {
            return false;
        }
        // Asked before adding, so that one answer never cuts a connection, whatever its size.
        if self.pending_small.load(Ordering::Acquire) > STALLED_BYTES {
            drop(queue);
            self.close(Ended::Stalled(self.pending.load(Ordering::Acquire)));
            return false;
        }
        let added = Whole::write(&mut queue.bytes, write);
        self.pending.fetch_add(added, Ordering::AcqRel);
        if added <= SMALL_BYTES {
            queue.small += added;
            self.pending_small.fetch_add(added, Ordering::AcqRel);
        }
        drop(queue);
        self.wake_writer.notify_one();
        true
    }

    /// Queues packets that are written already, if there are any.
    pub(super) fn send_all(&self, packets: &[u8]) {
        if !packets.is_empty() {
            self.send(|out| out.extend_from_slice(packets));
        }
    }

    /// Bytes that wait for the writing task.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.lock().bytes.capacity()
    }

    /// Whether there is room for a chunk now.
    pub fn has_room(&self) -> bool {
        self.pending.load(Ordering::Acquire) < ROOM_BYTES
    }

    /// Waits until there is room for a chunk; false if the connection is gone.
    pub async fn room(&self) -> bool {
        loop {
            let notified = self.room.notified();
            tokio::pin!(notified);
            // Registered before looking, so that room made in between is not missed.
            notified.as_mut().enable();
            if self.is_closed() {
                return false;
            }
            if self.has_room() {
                return true;
            }
            notified.await;
        }
    }

    /// Ends the connection. Unless that is in order, what is queued is dropped (`nothing_kept`).
    pub fn close(&self, why: Ended) {
        let mut queue = self.lock();
        let why = queue.ended.get_or_insert(why);
        if !why.is_orderly() {
            queue.bytes = Vec::new();
        }
        drop(queue);
        self.answers.close();
        self.wake_writer.notify_one();
        self.closed.notify_one();
        self.room.notify_waiters();
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.lock().ended.is_some()
    }

    /// Why it ended. What is left to be sent is sent only if that was in order.
    pub(super) fn take_reason(&self) -> Option<Ended> {
        self.lock().ended.replace(Ended::Closed)
    }

    /// For the reading task: woken once when the connection ends.
    pub(super) async fn closed(&self) {
        self.closed.notified().await;
    }

    /// For the writing task: waits for bytes and swaps them into `into`, which is empty; how many of them are
    /// small answers, for [`Peer::written`]. `None` at the end.
    ///
    /// What was queued before an orderly end is still given out.
    pub(super) async fn take_output(&self, into: &mut Vec<u8>) -> Option<usize> {
        loop {
            {
                let mut queue = self.lock();
                if !queue.bytes.is_empty() {
                    std::mem::swap(&mut queue.bytes, into);
                    return Some(std::mem::take(&mut queue.small));
                }
                if queue.ended.is_some() {
                    return None;
                }
            }
            self.wake_writer.notified().await;
        }
    }

    /// What was queued, in place of the writing task.
    #[cfg(test)]
    pub(crate) async fn output(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let small = self.take_output(&mut bytes).await?;
        self.written(bytes.len(), small);
        Some(bytes)
    }

    /// For the writing task: `bytes`, of which `small` were small answers, have reached the socket.
    pub(super) fn written(&self, bytes: usize, small: usize) {
        self.pending_small.fetch_sub(small, Ordering::AcqRel);
        let before = self.pending.fetch_sub(bytes, Ordering::AcqRel);
        if before >= ROOM_BYTES && before - bytes < ROOM_BYTES {
            self.room.notify_waiters();
        }
    }
}

/// Packets that are being written: taken back as a whole if that panics.
struct Whole<'q> {
    bytes: &'q mut Vec<u8>,
    /// Where they begin, while they are not whole.
    unfinished: Option<usize>,
}

impl<'q> Whole<'q> {
    /// How many bytes `write` appends.
    fn write(bytes: &'q mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let start = bytes.len();
        let mut whole = Whole { bytes, unfinished: Some(start) };
        write(whole.bytes);
        whole.unfinished = None;
        whole.bytes.len() - start
    }
}

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        if let Some(start) = self.unfinished {
            self.bytes.truncate(start);
        }
    }
}
