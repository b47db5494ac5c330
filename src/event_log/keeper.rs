//! What happens to segments after rotation, away from the thread that records.
//!
//! Two threads, because a sync may have to wait for a rotated segment to be durable, but never for an
//! archive to be packed.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::age::Now;
use super::index::Index;
use super::segment::Segment;
use super::shared::Shared;
use super::storage::StorageFile;
use super::ticket::Ticket;
use super::{lock, reread, retention, scrub, sealing};
use crate::planted::{planted, unless};
use crate::time::{Timestamp, monotonic};

/// Jobs that may wait for a thread. More make the recorder wait: it rotates faster than the disk takes it.
const WAITING_JOBS: usize = 16;

/// Work on files that nobody waits for while it is done.
#[derive(Debug)]
pub(super) enum Job {
    /// Makes a rotated segment durable and completes its index.
    Seal { segment: Arc<Segment>, file: Arc<dyn StorageFile>, index: Arc<Index>, ticket: Ticket },
    /// Makes the live segment durable, and its name if that is new.
    Sync { file: Arc<dyn StorageFile>, new_name: bool, ticket: Ticket },
    /// Sees to it that no stamp up to this one can be given again after a power loss.
    Reserve(Timestamp),
    /// Deletes what is due and repairs what can be, and more if that is asked for.
    Maintain(Maintain),
}

/// What is to be looked after.
#[derive(Clone, Copy, Debug)]
pub(super) struct Maintain {
    pub(super) now: Now,
    /// Whether the wall clock is believed, so that things can be deleted by age.
    pub(super) by_age: bool,
    pub(super) archive: bool,
    /// How many bytes of checksums are to be read again.
    pub(super) scrub_bytes: u64,
}

/// Does jobs on threads of its own, or at once.
pub(super) enum Keeper {
    /// On threads that end when this is dropped.
    Threads { sealer: Worker, archiver: Worker, stop: Arc<AtomicBool> },
    /// In the caller's thread: for tests whose order is decided by a seed.
    #[cfg(test)]
    Inline,
    /// When a simulation says so.
    #[cfg(test)]
    Stepped(super::stepped::Steps),
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keeper")
    }
}

impl Keeper {
    pub(super) fn spawn(log: &str) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        Ok(Keeper::Threads {
            sealer: Worker::spawn(format!("{log} sealer"), &stop)?,
            archiver: Worker::spawn(format!("{log} archiver"), &stop)?,
            stop,
        })
    }

    /// Hands over a job. One that syncs waits for a place; one that maintains is left out if many wait, for
    /// the next one will do its work.
    pub(super) fn submit(&self, shared: &Arc<Shared>, job: Job) {
        match self {
            Keeper::Threads { sealer, archiver, .. } => match job {
                Job::Seal { .. } | Job::Sync { .. } => sealer.submit(shared, job),
                Job::Reserve(_) => sealer.try_submit(shared, job),
                Job::Maintain(_) => archiver.try_submit(shared, job),
            },
            #[cfg(test)]
            Keeper::Inline => run(shared, job, &|| false),
            #[cfg(test)]
            Keeper::Stepped(steps) => {
                use super::stepped::Queue;
                let archives = matches!(job, Job::Maintain { .. });
                let queue = if archives { Queue::Archiver } else { Queue::Sealer };
                let shared = Arc::clone(shared);
                steps.push(queue, Box::new(move || run(&shared, job, &|| false)));
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        match self {
            // What is being archived is given up; the next start takes it up again.
            Keeper::Threads { stop, .. } => stop.store(true, Ordering::Relaxed),
            #[cfg(test)]
            Keeper::Inline => {}
            #[cfg(test)]
            Keeper::Stepped(steps) => steps.finish(),
        }
    }
}

/// A thread that does one job after another, and ends when this is dropped.
pub(super) struct Worker {
    jobs: Option<SyncSender<(Arc<Shared>, Job)>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn spawn(name: String, stop: &Arc<AtomicBool>) -> io::Result<Self> {
        let (jobs, todo) = sync_channel::<(Arc<Shared>, Job)>(WAITING_JOBS);
        let stop = Arc::clone(stop);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            while let Ok((shared, job)) = todo.recv() {
                run_caught(&shared, job, &|| stop.load(Ordering::Relaxed));
            }
        })?;
        Ok(Worker { jobs: Some(jobs), thread: Some(thread) })
    }

    fn submit(&self, shared: &Arc<Shared>, job: Job) {
        let jobs = self.jobs.as_ref().expect("taken only by drop");
        if let Err(unsent) = jobs.send((Arc::clone(shared), job)) {
            // Its thread is gone, which nothing but a bug explains: the work is done here.
            run_caught(shared, unsent.0.1, &|| false);
        }
    }

    fn try_submit(&self, shared: &Arc<Shared>, job: Job) {
        let jobs = self.jobs.as_ref().expect("taken only by drop");
        if jobs.try_send((Arc::clone(shared), job)).is_err() {
            tracing::debug!(log = %shared.config.name, "the keeper is busy; this round is left out");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("a thread that keeps segments panicked");
        }
    }
}

/// Does a job. If it panics, who waits for it is told, and the next one is done all the same.
fn run_caught(shared: &Arc<Shared>, job: Job, stop: &dyn Fn() -> bool) {
    let ticket = match &job {
        Job::Seal { ticket, .. } | Job::Sync { ticket, .. } => Some(ticket.clone()),
        Job::Reserve(_) | Job::Maintain(_) => None,
    };
    if catch_unwind(AssertUnwindSafe(|| run(shared, job, stop))).is_err() {
        tracing::error!(log = %shared.config.name, "a thread that keeps segments panicked");
        if let Some(ticket) = ticket.filter(|ticket| !ticket.is_done()) {
            ticket.finish(Err("a thread that keeps segments panicked".into()));
        }
    }
}

/// Does a job.
pub(super) fn run(shared: &Arc<Shared>, job: Job, stop: &dyn Fn() -> bool) {
    match job {
        Job::Seal { segment, file, index, ticket } => {
            sealing::seal(shared, &segment, &*file, &index, &ticket)
        }
        Job::Sync { file, new_name, ticket } => {
            let begun = monotonic();
            let synced = unless("sync beside: the segment", || file.sync());
            shared.metrics.sync.observe(begun.elapsed(), 1);
            let synced =
                synced.and_then(|()| match new_name && !planted("sync beside: the new name") {
                    true => shared.dir.sync(),
                    false => Ok(()),
                });
            let synced = synced.map_err(|error| Arc::from(format!("sync failed: {error}")));
            if let Err(reason) = &synced {
                // Before the writer hears of it: what is sealed next must not count as durable.
                lock(&shared.state).poisoned.get_or_insert_with(|| Arc::clone(reason));
            }
            ticket.finish(synced);
        }
        Job::Reserve(last) => {
            if let Err(error) = shared.reserve(last) {
                tracing::debug!(%error, "stamps are reserved later");
            }
        }
        Job::Maintain(Maintain { now, by_age, archive, scrub_bytes }) => {
            reread::unread_segments(shared, now.wall);
            reread::stale_indexes(shared);
            shared.write_notes();
            retention::delete(shared, &now, by_age);
            if archive {
                retention::archive(shared, &now, stop);
                retention::delete(shared, &now, by_age);
            }
            scrub::some(shared, now.wall, scrub_bytes, stop);
            shared.write_notes();
        }
    }
}
