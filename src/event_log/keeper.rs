//! What happens to segments after rotation, away from the thread that records.
//!
//! Two threads, because a sync may have to wait for a rotated segment to be durable, but never for an
//! archive to be packed.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::index::{Index, Summary};
use super::log::Shared;
use super::record::CLOSED;
use super::segment::{Place, Segment, draft_path, index_path};
use super::storage::{Storage, StorageFile, create_fresh, write_full};
use super::{lock, retention};
use crate::time::Timestamp;

/// Jobs that may wait for a thread. More make the recorder wait: it rotates faster than the disk takes it.
const WAITING_JOBS: usize = 16;

/// Work on segments that nobody writes to any more.
#[derive(Debug)]
pub(super) enum Job {
    /// Makes a rotated segment durable and completes its index.
    Seal { segment: Arc<Segment>, file: Arc<dyn StorageFile>, index: Arc<Index>, ticket: Ticket },
    /// Makes the live segment durable, and its name if that is new.
    Sync { file: Arc<dyn StorageFile>, new_name: bool, ticket: Ticket },
    /// Deletes what is due, and archives what is due if that is asked for.
    Maintain { now: Timestamp, archive: bool },
}

/// Does jobs on threads of its own, or at once.
pub(super) enum Keeper {
    /// On threads that end when this is dropped.
    Threads { sealer: Worker, archiver: Worker, stop: Arc<AtomicBool> },
    /// In the caller's thread: for tests whose order is decided by a seed.
    #[cfg(test)]
    Inline,
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
                Job::Maintain { .. } => archiver.try_submit(shared, job),
            },
            #[cfg(test)]
            Keeper::Inline => run(shared, job, &|| false),
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
                run(&shared, job, &|| stop.load(Ordering::Relaxed));
            }
        })?;
        Ok(Worker { jobs: Some(jobs), thread: Some(thread) })
    }

    fn submit(&self, shared: &Arc<Shared>, job: Job) {
        let jobs = self.jobs.as_ref().expect("taken only by drop");
        if let Err(unsent) = jobs.send((Arc::clone(shared), job)) {
            // Its thread panicked: the bug is reported there, and the work is done here.
            run(shared, unsent.0.1, &|| false);
        }
    }

    fn try_submit(&self, shared: &Arc<Shared>, job: Job) {
        let jobs = self.jobs.as_ref().expect("taken only by drop");
        if jobs.try_send((Arc::clone(shared), job)).is_err() {
            tracing::debug!(log = %shared.config.name, "archiving is busy; this round is left out");
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

/// Whether a segment is durable; clones are the same ticket.
#[derive(Clone, Debug, Default)]
pub(super) struct Ticket(Arc<(Mutex<Option<Sealed>>, Condvar)>);

/// Whether it worked; if not, why.
type Sealed = Result<(), Arc<str>>;

impl Ticket {
    fn finish(&self, result: Sealed) {
        *lock(&self.0.0) = Some(result);
        self.0.1.notify_all();
    }

    /// Waits until the segment is durable.
    pub(super) fn wait(&self) -> Sealed {
        let mut done = lock(&self.0.0);
        loop {
            if let Some(result) = &*done {
                return result.clone();
            }
            done = self.0.1.wait(done).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn is_done(&self) -> bool {
        lock(&self.0.0).is_some()
    }

    pub(super) fn failure(&self) -> Option<Arc<str>> {
        lock(&self.0.0).as_ref()?.as_ref().err().cloned()
    }
}

fn run(shared: &Arc<Shared>, job: Job, stop: &dyn Fn() -> bool) {
    match job {
        Job::Seal { segment, file, index, ticket } => {
            ticket.finish(make_durable(&*file));
            let path = segment.place().path().to_owned();
            match write_sealed_index(&*shared.storage, &path, segment.summary, &index) {
                Ok(()) => segment.move_to(Place::File(path), segment.summary.bytes),
                Err(error) => {
                    tracing::warn!(segment = %segment.name, %error, "index not completed; it stays in memory");
                    segment.close(path);
                }
            }
        }
        Job::Sync { file, new_name, ticket } => {
            let synced = file.sync().and_then(|()| match new_name {
                true => shared.storage.sync_dir(&shared.config.dir),
                false => Ok(()),
            });
            ticket.finish(synced.map_err(|error| format!("sync failed: {error}").into()));
        }
        Job::Maintain { now, archive } => {
            retention::delete(shared, now);
            if archive {
                retention::archive(shared, now, stop);
                retention::delete(shared, now);
            }
        }
    }
}

/// Syncs a rotated segment, then marks it closed.
fn make_durable(file: &dyn StorageFile) -> Sealed {
    file.sync().map_err(|error| Arc::from(format!("sync failed: {error}")))?;
    // The mark only tells `disk_log` that nothing needs repair; losing it loses nothing.
    if let Err(error) = write_full(file, &CLOSED, 4).and_then(|()| file.sync()) {
        tracing::warn!(%error, "a rotated segment could not be marked closed");
    }
    Ok(())
}

/// Writes a complete index beside a segment or archive, in place of what is there.
pub(super) fn write_sealed_index(
    storage: &dyn Storage,
    segment: &Path,
    summary: Summary,
    index: &Index,
) -> io::Result<()> {
    let path = index_path(segment);
    let draft = draft_path(&path);
    let file = create_fresh(storage, &draft)?;
    write_full(&*file, &index.to_sealed_file(summary), 0)?;
    file.sync()?;
    storage.rename(&draft, &path)
}
