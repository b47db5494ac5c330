//! What threads have in common that read logs behind the recorders, as anybody would.
//!
//! Each looks for new entries many times a second and is in nobody's way: what is recorded costs nothing more, and while
//! the machine is busy with events it falls behind, and catches up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tracing::{debug, error};

use crate::etf::TermBuf;
use crate::instance::{AppendError, Instance};
use crate::time::Timestamp;

/// How often it looks for new entries.
pub(super) const PERIOD: Duration = Duration::from_millis(50);

/// Bytes of records that are taken from a log at once.
pub(super) const FETCH_BYTES: usize = 1 << 20;

/// How often what it knows is stored, at most.
pub(super) const STORE_PERIOD: Duration = Duration::from_secs(60);

/// How long after something failed it is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// The one priority that is lower than all others'.
const NICE: i32 = 19;

/// A thread of that priority. It is asked to stop when this is dropped.
pub(super) struct Background {
    stops: Stops,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Tells the thread whether it is to stop.
#[derive(Clone, Default)]
pub(super) struct Stops(Arc<AtomicBool>);

impl Stops {
    pub(super) fn asked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What became of events that were to be recorded.
pub(super) enum Recorded {
    /// They are in the log.
    Done,
    /// They, or some of them, may be.
    Failed(AppendError),
    /// The program is to stop before; likewise.
    Stopped,
}

/// Records events, however long the disk takes, unless the program is to stop. Blocks.
pub(super) fn record(
    told: &Instance,
    runtime: &Handle,
    stops: &Stops,
    events: &[TermBuf],
) -> Recorded {
    runtime.block_on(async {
        let mut append = pin!(told.append(events));
        loop {
            match tokio::time::timeout(PERIOD, &mut append).await {
                Ok(Ok(_)) => return Recorded::Done,
                Ok(Err(error)) => return Recorded::Failed(error),
                Err(_) if stops.asked() => return Recorded::Stopped,
                Err(_) => {}
            }
        }
    })
}

/// By how much a position is older than an instance's newest entry, in microseconds.
pub(super) fn behind_micros(instance: &Instance, position: Timestamp) -> u64 {
    let latest = instance.log().interval().map_or(Timestamp::MIN, |(_, latest)| latest);
    latest.next().micros_since(position)
}

impl Background {
    /// Starts it. What it is called is what it keeps.
    pub(super) fn start(name: &'static str, run: impl FnOnce(Stops) + Send + 'static) -> Self {
        let stops = Stops::default();
        let run = {
            let stops = stops.clone();
            move || {
                // Who wants to run goes first.
                if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                    debug!(%error, "the thread that keeps {name} runs at the priority of all others");
                }
                if catch_unwind(AssertUnwindSafe(|| run(stops))).is_err() {
                    error!("{name} are not kept until the program is started again: this is a bug");
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        Background { stops, thread: Mutex::new(Some(thread.expect("a thread can be started"))) }
    }

    /// Has it look for new entries now.
    pub(super) fn wake(&self) {
        if let Some(thread) = &*self.thread.lock().unwrap_or_else(PoisonError::into_inner) {
            thread.thread().unpark();
        }
    }

    /// Has it stop, without waiting for it.
    pub(super) fn ask_to_stop(&self) {
        self.stops.0.store(true, Ordering::Release);
        self.wake();
    }

    /// Stops it, and waits until it has stored what it knows. Blocks.
    pub(super) fn stop(&self) {
        self.stops.0.store(true, Ordering::Release);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.thread().unpark();
            // It has told of a panic itself.
            let _ = thread.join();
        }
    }
}

impl Drop for Background {
    /// As a crash would end it, where nobody has stopped it.
    fn drop(&mut self) {
        self.stops.0.store(true, Ordering::Release);
    }
}
