//! The keeper's queues without its threads: a simulation says which job runs when.
//!
//! Each queue is first in, first out, as that of a thread is; what is in different queues, and what the writer does
//! meanwhile, can happen in any order. The writer may have to wait for a job: then those before it run, and it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::lock;

/// A job and all that it needs.
type Work = Box<dyn FnOnce() + Send>;

/// More than that many jobs don't wait for the archiver, as with threads.
const WAITING_JOBS: usize = 16;

/// Which of the keeper's threads would do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    Sealer,
    Archiver,
}

/// Jobs that wait to be told to run; clones are the same queues. Those of a thread that were made last are where its
/// tickets wait.
#[derive(Clone, Default)]
pub(crate) struct Steps(Arc<Mutex<Queues>>);

#[derive(Default)]
struct Queues {
    sealer: VecDeque<Work>,
    archiver: VecDeque<Work>,
}

thread_local!(static CURRENT: RefCell<Option<Steps>> = const { RefCell::new(None) });

impl Steps {
    pub(crate) fn new() -> Self {
        let steps = Steps::default();
        CURRENT.set(Some(steps.clone()));
        steps
    }

    pub(crate) fn push(&self, queue: Queue, work: Work) {
        let mut queues = lock(&self.0);
        match queue {
            Queue::Sealer => queues.sealer.push_back(work),
            Queue::Archiver if queues.archiver.len() < WAITING_JOBS => {
                queues.archiver.push_back(work);
            }
            Queue::Archiver => {}
        }
        let is_full = queues.sealer.len() > WAITING_JOBS;
        drop(queues);
        if is_full {
            self.run(Queue::Sealer);
        }
    }

    /// Runs the oldest job of a queue; false if there is none.
    pub(crate) fn run(&self, queue: Queue) -> bool {
        let mut queues = lock(&self.0);
        let work = match queue {
            Queue::Sealer => queues.sealer.pop_front(),
            Queue::Archiver => queues.archiver.pop_front(),
        };
        drop(queues);
        work.map(|work| work()).is_some()
    }

    /// Runs all jobs, and those that they make.
    pub(crate) fn finish(&self) {
        while self.run(Queue::Sealer) || self.run(Queue::Archiver) {}
    }

    /// Whether nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        let queues = lock(&self.0);
        queues.sealer.is_empty() && queues.archiver.is_empty()
    }

    /// Forgets all jobs, as a crash does.
    pub(crate) fn clear(&self) {
        let queues = std::mem::take(&mut *lock(&self.0));
        drop(queues);
    }
}

/// Runs jobs of the sealer until `is_done`, if this thread has such queues.
pub(crate) fn wait(is_done: impl Fn() -> bool) {
    let steps = CURRENT.with_borrow(Clone::clone);
    while let Some(steps) = &steps
        && !is_done()
        && steps.run(Queue::Sealer)
    {}
}
