//! A connected node, and the bytes on their way to it.
//!
//! # Invariants
//!
//! - `one_writer`: bytes leave in the order they were queued, by one task.
//! - `no_growth`: who can wait, waits for [`Peer::room`] and adds at most a chunk; what must not wait is
//!   bounded by `STALLED_BYTES`, beyond which the connection is given up.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::error::Ended;
use crate::proto::{Flags, NodeName};

/// Queued bytes above which sessions wait. Large enough to keep a socket busy, small enough that a thousand
/// stalled peers cost little.
pub const ROOM_BYTES: usize = 512 * 1024;

/// Queued bytes above which a peer counts as stalled: it asks and does not read the answers. More than the largest
/// packet and the largest answer to `read` together.
const STALLED_BYTES: usize = 256 << 20;

/// A connected node. Kept by whoever talks to it; a new connection of the same node is another `Peer`.
pub struct Peer {
    name: NodeName,
    flags: Flags,
    address: SocketAddr,
    queue: Mutex<Queue>,
    /// Bytes queued or being written.
    pending: AtomicUsize,
    /// Packets received, for `info`.
    pub received: AtomicU64,
    wake_writer: Notify,
    room: Notify,
    closed: Notify,
}

struct Queue {
    bytes: Vec<u8>,
    ended: Option<Ended>,
}

impl Peer {
    pub(super) fn new(name: NodeName, flags: Flags, address: SocketAddr) -> Self {
        Peer {
            name,
            flags,
            address,
            queue: Mutex::new(Queue { bytes: Vec::new(), ended: None }),
            pending: AtomicUsize::new(0),
            received: AtomicU64::new(0),
            wake_writer: Notify::new(),
            room: Notify::new(),
            closed: Notify::new(),
        }
    }

    /// Its name.
    pub const fn name(&self) -> &NodeName {
        &self.name
    }

    /// What it can decode and do.
    pub const fn flags(&self) -> Flags {
        self.flags
    }

    /// Where it is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it takes part in `global`: it is no hidden node.
    pub const fn is_visible(&self) -> bool {
        self.flags.has(Flags::PUBLISHED)
    }

    /// Queues the packets that `write` appends; false if the connection is gone.
    ///
    /// Does not wait: see [`Peer::room`]. `write` runs under a lock and must only copy bytes.
    pub fn send(&self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut queue = self.queue.lock().expect("no panic while the queue is held");
        if queue.ended.is_some() {
            return false;
        }
        let before = queue.bytes.len();
        write(&mut queue.bytes);
        let added = queue.bytes.len() - before;
        let pending = self.pending.fetch_add(added, Ordering::AcqRel) + added;
        drop(queue);
        if pending > STALLED_BYTES {
            self.close(Ended::Stalled(pending));
            return false;
        }
        self.wake_writer.notify_one();
        true
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

    /// Ends the connection.
    pub fn close(&self, why: Ended) {
        let mut queue = self.queue.lock().expect("no panic while the queue is held");
        queue.ended.get_or_insert(why);
        drop(queue);
        self.wake_writer.notify_one();
        self.closed.notify_one();
        self.room.notify_waiters();
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.queue.lock().expect("no panic while the queue is held").ended.is_some()
    }

    /// Why it ended.
    pub(super) fn take_reason(&self) -> Option<Ended> {
        let mut queue = self.queue.lock().expect("no panic while the queue is held");
        queue.ended.replace(Ended::Closed)
    }

    /// For the reading task: woken once when the connection ends.
    pub(super) async fn closed(&self) {
        self.closed.notified().await;
    }

    /// For the writing task: waits for bytes and swaps them into `into`, which is empty; false at the end.
    ///
    /// What was queued before the end is still given out.
    pub(super) async fn take_output(&self, into: &mut Vec<u8>) -> bool {
        loop {
            {
                let mut queue = self.queue.lock().expect("no panic while the queue is held");
                if !queue.bytes.is_empty() {
                    std::mem::swap(&mut queue.bytes, into);
                    return true;
                }
                if queue.ended.is_some() {
                    return false;
                }
            }
            self.wake_writer.notified().await;
        }
    }

    /// For the writing task: `bytes` have reached the socket.
    pub(super) fn written(&self, bytes: usize) {
        let before = self.pending.fetch_sub(bytes, Ordering::AcqRel);
        if before >= ROOM_BYTES && before - bytes < ROOM_BYTES {
            self.room.notify_waiters();
        }
    }
}
