//! What happens to segments after rotation, away from the thread that records.

use std::fmt;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use super::index::{Entry, Index};
use super::lock;
use super::log::Shared;
use super::record::CLOSED;
use super::segment::{Place, Segment, index_path};
use super::storage::{Access, Storage, StorageFile, write_full};

/// Jobs that may wait; more make the recorder wait, for rotations come faster than the disk takes them.
const WAITING_JOBS: usize = 16;

/// Work on segments that nobody writes to any more.
#[derive(Debug)]
pub(super) enum Job {
    /// Makes a rotated segment durable and completes its index.
    Seal { segment: Arc<Segment>, file: Arc<dyn StorageFile>, index: Arc<Index>, ticket: Ticket },
}

/// Does jobs one after another, on a thread of its own or at once.
pub(super) enum Keeper {
    /// On a thread that ends when this is dropped.
    Thread { jobs: Option<SyncSender<(Arc<Shared>, Job)>>, thread: Option<JoinHandle<()>> },
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
        let (jobs, todo) = sync_channel::<(Arc<Shared>, Job)>(WAITING_JOBS);
        let thread =
            std::thread::Builder::new().name(format!("{log}-keeper")).spawn(move || {
                while let Ok((shared, job)) = todo.recv() {
                    run(&shared, job);
                }
            })?;
        Ok(Keeper::Thread { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Hands over a job; waits if many are waiting.
    pub(super) fn submit(&self, shared: &Arc<Shared>, job: Job) {
        match self {
            Keeper::Thread { jobs, .. } => {
                let jobs = jobs.as_ref().expect("taken only by drop");
                if let Err(unsent) = jobs.send((Arc::clone(shared), job)) {
                    // Its thread panicked: the bug is reported there, and the work is done here.
                    run(shared, unsent.0.1);
                }
            }
            #[cfg(test)]
            Keeper::Inline => run(shared, job),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        match self {
            Keeper::Thread { jobs, thread } => {
                drop(jobs.take());
                if thread.take().is_some_and(|thread| thread.join().is_err()) {
                    tracing::error!("the keeper's thread panicked");
                }
            }
            #[cfg(test)]
            Keeper::Inline => {}
        }
    }
}

/// Whether a segment was sealed; clones are the same ticket.
#[derive(Clone, Debug, Default)]
pub(super) struct Ticket(Arc<(Mutex<Option<Sealed>>, Condvar)>);

/// Whether it worked; if not, why.
type Sealed = Result<(), Arc<str>>;

impl Ticket {
    pub(super) fn finish(&self, result: Sealed) {
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
            done = self.0.1.wait(done).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    pub(super) fn is_done(&self) -> bool {
        lock(&self.0.0).is_some()
    }

    pub(super) fn failure(&self) -> Option<Arc<str>> {
        lock(&self.0.0).as_ref()?.as_ref().err().cloned()
    }
}

fn run(shared: &Arc<Shared>, job: Job) {
    match job {
        Job::Seal { segment, file, index, ticket } => {
            ticket.finish(make_durable(&*file));
            if let Err(error) = write_sealed_index(&*shared.storage, &segment, &index) {
                tracing::warn!(segment = %segment.name, %error, "index not completed; done at the next start");
                return;
            }
            segment.move_to(Place::File(segment.place().path().to_owned()));
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

/// Writes a complete index beside a segment, in place of what is there.
pub(super) fn write_sealed_index(
    storage: &dyn Storage,
    segment: &Segment,
    index: &Index,
) -> io::Result<()> {
    let path = index_path(segment.place().path());
    let mut bytes = index.to_file(segment.summary.bytes);
    let summary = super::index::Summary { crc: crc32c::crc32c(&bytes), ..segment.summary };
    bytes.extend_from_slice(&Entry::Sealed(summary).encode());
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let file = storage.open(draft.as_ref(), Access::Create)?;
    write_full(&*file, &bytes, 0)?;
    file.sync()?;
    storage.rename(draft.as_ref(), &path)
}
