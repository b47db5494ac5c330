//! What all instances of the node share, and what one stranger must not use up for the others: places for sessions
//! and reads, memory for match specs, time on the threads.
//!
//! # Invariants
//!
//! - `bounded`: sessions, reads, and the memory of their compiled match specs and markers stay within
//!   [`Limits`]; who comes when all is taken is told `system_limit`.
//! - `a_worker_is_free`: while match specs run on the threads that serve the sockets, one of those threads is free of
//!   them, if there are two or more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::match_spec::MatchSpec;

/// How much there is to share.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sessions, of all instances and forms.
    pub sessions: usize,
    /// Reads that run, or have room for their answer and wait to run.
    pub reads: usize,
    /// Bytes of the compiled match specs and the markers of all of them.
    pub spec_bytes: usize,
}

impl Default for Limits {
    /// 10,000 sessions, 1,024 reads, 64 MiB: a usual match spec takes 2 KB, the largest up to 1 MiB.
    fn default() -> Self {
        Limits { sessions: 10_000, reads: 1_024, spec_bytes: 64 << 20 }
    }
}

/// Steps that a match spec may take at once on a thread that serves others too. Measured on a machine of 2 cores, a
/// step takes 20 ns in a usual one and up to 380 ns in one made to be slow: 0.4 to 8 ms.
pub(super) const SLICE_STEPS: u64 = 20_000;

/// Events at once that need more than a slice each, of all sessions and of all reads. One each: they keep a core busy.
const ALONE_AT_ONCE: usize = 1;

/// Sessions at once that read from files. Each has a file open and a thread.
const COLD_AT_ONCE: usize = 64;

/// Reads at once that look for entries. Each may have a file open, and a thread.
const READS_AT_ONCE: usize = 16;

/// What is left to share.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    sessions: AtomicUsize,
    reads: AtomicUsize,
    spec_bytes: AtomicUsize,
    slices: Semaphore,
    alone: Arc<Semaphore>,
    read_alone: Semaphore,
    cold: Semaphore,
    searches: Semaphore,
}

/// A turn with something that few may do at a time; it ends when this is dropped.
pub(super) type Turn<'a> = SemaphorePermit<'a>;

const NEVER_CLOSED: &str = "the semaphores are never closed";

impl Budget {
    /// For a runtime of so many threads.
    pub fn new(limits: Limits, workers: usize) -> Arc<Self> {
        Arc::new(Budget {
            limits,
            sessions: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            spec_bytes: AtomicUsize::new(0),
            slices: Semaphore::new(workers.saturating_sub(1).max(1)),
            alone: Arc::new(Semaphore::new(ALONE_AT_ONCE)),
            read_alone: Semaphore::new(ALONE_AT_ONCE),
            cold: Semaphore::new(COLD_AT_ONCE),
            searches: Semaphore::new(READS_AT_ONCE),
        })
    }

    /// A place for a session that keeps so many bytes besides its match spec; `None` if all are taken.
    pub(super) fn session(
        self: &Arc<Self>,
        spec: Option<&MatchSpec>,
        kept_bytes: usize,
    ) -> Option<Permit> {
        self.place(|budget| (&budget.sessions, budget.limits.sessions), spec, kept_bytes)
    }

    /// A place for a read; `None` if all are taken.
    pub(super) fn read(self: &Arc<Self>, spec: Option<&MatchSpec>) -> Option<Permit> {
        self.place(|budget| (&budget.reads, budget.limits.reads), spec, 0)
    }

    fn place(
        self: &Arc<Self>,
        one_of: Counted,
        spec: Option<&MatchSpec>,
        kept_bytes: usize,
    ) -> Option<Permit> {
        let take = |taken: &AtomicUsize, more: usize, limit: usize| {
            let within = |taken: usize| taken.checked_add(more).filter(|sum| *sum <= limit);
            taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
        };
        let (taken, limit) = one_of(self);
        if !take(taken, 1, limit) {
            return None;
        }
        // Gives back what it has, also if the memory is used up.
        let mut place = Permit { budget: self.clone(), one_of, spec_bytes: 0 };
        let spec_bytes = spec.map_or(0, MatchSpec::memory_bytes) + kept_bytes;
        if !take(&self.spec_bytes, spec_bytes, self.limits.spec_bytes) {
            return None;
        }
        place.spec_bytes = spec_bytes;
        Some(place)
    }

    /// Waits for the turn to run a match spec for a slice, in the order of asking.
    pub(super) async fn slice(&self) -> Turn<'_> {
        self.slices.acquire().await.expect(NEVER_CLOSED)
    }

    /// Waits for a session's turn to run a match spec on one event for as long as it takes, elsewhere.
    pub(super) async fn alone(&self) -> OwnedSemaphorePermit {
        self.alone.clone().acquire_owned().await.expect(NEVER_CLOSED)
    }

    /// The same for a read, which has one of few places to look for entries and does not queue behind sessions.
    pub(super) async fn read_alone(&self) -> Turn<'_> {
        self.read_alone.acquire().await.expect(NEVER_CLOSED)
    }

    /// Waits for the turn of a session to read from files.
    pub(super) async fn cold(&self) -> Turn<'_> {
        self.cold.acquire().await.expect(NEVER_CLOSED)
    }

    /// Waits for the turn of a read to look for entries.
    pub(super) async fn search(&self) -> Turn<'_> {
        self.searches.acquire().await.expect(NEVER_CLOSED)
    }
}

/// Which count a place belongs to, and its limit.
type Counted = fn(&Budget) -> (&AtomicUsize, usize);

/// What a session or read holds while it lasts.
#[derive(Debug)]
pub(super) struct Permit {
    budget: Arc<Budget>,
    one_of: Counted,
    spec_bytes: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        (self.one_of)(&self.budget).0.fetch_sub(1, Ordering::Relaxed);
        self.budget.spec_bytes.fetch_sub(self.spec_bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etf::text;

    #[test]
    fn places_and_memory_are_bounded_and_given_back() {
        let spec = text::parse("[{{a,'$1'},[{'>','$1',5}],['$1']}]").unwrap();
        let spec = MatchSpec::compile(spec.as_term(), Default::default()).unwrap();
        let bytes = spec.memory_bytes();
        let limits = Limits { sessions: 3, reads: 1, spec_bytes: 2 * bytes };
        let budget = Budget::new(limits, 2);
        let session = |spec| budget.session(spec, 0);
        let (a, b) = (session(Some(&spec)).unwrap(), session(Some(&spec)).unwrap());
        assert!(session(Some(&spec)).is_none(), "bounded: memory");
        assert!(budget.session(None, 1).is_none(), "bounded: markers");
        let c = session(None).unwrap();
        assert!(session(None).is_none(), "bounded: sessions");
        drop(a);
        let read = budget.read(Some(&spec)).unwrap();
        assert!(budget.read(None).is_none(), "bounded: reads");
        drop(read);
        let d = session(Some(&spec)).unwrap();
        drop((b, c, d));
        assert_eq!(budget.sessions.load(Ordering::Relaxed), 0);
        assert_eq!(budget.reads.load(Ordering::Relaxed), 0);
        assert_eq!(budget.spec_bytes.load(Ordering::Relaxed), 0);
    }
}
