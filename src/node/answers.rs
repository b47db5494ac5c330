//! Answers that come later, and large ones: how much of them there may be.
//!
//! An answer to `read` may be 32 MiB, and the node that asked need not read it. So such an answer is not begun
//! before the connection has room, and what is being made or not yet taken is bounded for each peer and for all
//! together. When many nodes leave their answers untaken, the answers to others become smaller, and in the end
//! as small as `LEAST_BYTES`: who asks goes on from where his answer ends, and nobody has to wait for a stranger.
//!
//! # Invariants
//!
//! - `bounded_calls`: the calls of one peer that wait for their answers hold at most `WAITING_BYTES`; one more is
//!   refused.
//! - `bounded_answers`: large answers to one peer hold at most `PEER_BYTES`, those to all `NODE_BYTES` and
//!   `LEAST_BYTES` for each; or one event, where that is larger.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Node, Peer};

/// Memory of one peer's calls that are not answered yet, as [`CALL_BYTES`] and their arguments: 4,096 calls
/// without large arguments. Beyond, a call is refused.
const WAITING_BYTES: u32 = 4 << 20;

/// What a waiting call costs beside its arguments: its task, its reply, what it asks.
const CALL_BYTES: usize = 1024;

/// Memory of large answers to one peer, from when they are begun until its socket has taken them: the largest answer
/// to `read`, or eight of the usual size, so that a long search does not hold up all others.
const PEER_BYTES: usize = 32 << 20;

/// Memory of large answers to all peers together, from when they are begun until the sockets have taken them.
const NODE_BYTES: usize = 256 << 20;

/// One answer has at most this part of what is left, so that there is always something left. The largest answer
/// to `read` is just this part of all.
const SHARE: usize = 8;

/// What an answer may have however little is left.
const LEAST_BYTES: usize = 64 << 10;

/// What calls of one peer that wait, and large answers to it, may still hold.
pub(super) struct Answers {
    calls: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl Answers {
    pub(super) fn new() -> Self {
        Answers {
            calls: Arc::new(Semaphore::new(WAITING_BYTES as usize)),
            large: Arc::new(Semaphore::new(PEER_BYTES)),
        }
    }

    /// Nobody is there to answer any more.
    pub(super) fn close(&self) {
        self.calls.close();
        self.large.close();
    }
}

/// Memory for the large answers of all peers.
pub(super) fn memory() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(NODE_BYTES))
}

/// A call that waits for its answer, as long as this is kept.
#[derive(Debug)]
pub struct Waiting(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Peer {
    /// A place for a call with arguments of this size that is answered later; `None` if the peer has too many
    /// already, or is gone (`bounded_calls`).
    pub fn admit(&self, argument_bytes: usize) -> Option<Waiting> {
        let bytes = u32::try_from(argument_bytes.saturating_add(CALL_BYTES)).unwrap_or(u32::MAX);
        self.answers().calls.clone().try_acquire_many_owned(bytes).ok().map(Waiting)
    }
}

/// Leave to make a large answer.
pub struct Allowance {
    peer: Arc<Peer>,
    bytes: usize,
    _place: OwnedSemaphorePermit,
    _memory: Option<OwnedSemaphorePermit>,
}

impl Node {
    /// Waits until an answer of up to `wanted` bytes to `peer` may be made; `None` if the peer is gone.
    pub async fn allowance(&self, peer: &Arc<Peer>, wanted: usize) -> Option<Allowance> {
        let bytes = u32::try_from(wanted.min(PEER_BYTES)).expect("bounded by the constant");
        let place = peer.answers().large.clone().acquire_many_owned(bytes).await.ok()?;
        if !peer.room().await {
            return None;
        }
        let (bytes, memory) = share(&self.0.memory, wanted);
        Some(Allowance { peer: peer.clone(), bytes, _place: place, _memory: memory })
    }
}

/// How much of `wanted` there is, and the permit to use it (`bounded_answers`).
fn share(memory: &Arc<Semaphore>, wanted: usize) -> (usize, Option<OwnedSemaphorePermit>) {
    let bytes = wanted.min(memory.available_permits() / SHARE);
    let permits = u32::try_from(bytes).expect("bounded: a share of the node's memory");
    // Somebody may have been quicker.
    let taken = memory.clone().try_acquire_many_owned(permits).ok();
    if bytes < LEAST_BYTES || taken.is_none() {
        return (wanted.min(LEAST_BYTES), None);
    }
    (bytes, taken)
}

impl Allowance {
    /// How large the answer may be.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The answer has been queued: waits until the socket has taken it, or the connection is gone.
    pub async fn used(self) {
        self.peer.room().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand answers of 32 MiB that nobody takes.
    #[test]
    fn answers_that_are_not_taken_make_others_smaller_but_not_impossible() {
        let memory = memory();
        let wanted = 32 << 20;
        let mut held = Vec::new();
        for _ in 0..1000 {
            let (bytes, permit) = share(&memory, wanted);
            assert!((LEAST_BYTES..=wanted).contains(&bytes), "{bytes}");
            held.push((bytes, permit));
        }
        assert_eq!(held[0].0, wanted, "all of it while there is enough");
        let counted: usize = held.iter().filter(|(_, p)| p.is_some()).map(|(bytes, _)| bytes).sum();
        assert!(counted <= NODE_BYTES, "bounded_answers");
        assert_eq!(share(&memory, 10).0, 10);
        held.clear();
        assert_eq!(share(&memory, wanted).0, wanted, "what was taken comes back");
    }
}
