//! The threads that connections live on, and how often they look at their sockets.
//!
//! All of a connection, its reader, its writer and the sessions that feed it, runs on one thread, so that an event that
//! comes in and goes out wakes nobody else. What takes long belongs on the program's other threads.
//!
//! A BEAM node writes one small packet per cast as long as its socket takes it, and each wakes whoever waits for it: at
//! hundreds of thousands a second that costs both sides more than the events do. So the busier a thread is, the longer it
//! leaves its sockets alone before it looks again ([`pause`]), as network cards moderate their interrupts. Meanwhile a
//! sender's casts gather, and come in a few large pieces. Whoever sends little is read from at once.
//!
//! # Invariants
//!
//! - `prompt`: below `QUIET_RATE` packets a second a thread never waits before it looks; above, never longer than
//!   `MAX_PAUSE`, and not at all while what it reads comes in large pieces.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tracing::{debug, error};

use crate::time::{self, monotonic};

/// One thread for each two cores, up to this many: the other cores are the senders'.
const MAX_REACTORS: usize = 8;

/// Packets a second up to which sockets are looked at at once.
const QUIET_RATE: f64 = 5_000.0;

/// The shortest pause: a process that sends several events in a row has sent them by then.
const MIN_PAUSE: Duration = Duration::from_micros(100);

/// The longest pause, reached at about 159,000 packets a second. Long enough for the window of a sender that writes
/// each packet by itself to fill: only then do its packets gather.
const MAX_PAUSE: Duration = Duration::from_millis(8);

/// The rate is that of about so long.
const RATE_WINDOW: Duration = Duration::from_millis(2);

/// A read of at least so many bytes means that the sender has more: there is nothing to wait for.
const LARGE_READ_BYTES: usize = 16 << 10;

/// The threads. They end when this is dropped.
pub(super) struct Reactors {
    all: Vec<Reactor>,
    next: AtomicUsize,
    _end: watch::Sender<()>,
}

/// One of the threads.
#[derive(Clone)]
pub(super) struct Reactor {
    handle: Handle,
    pace: Arc<Pace>,
}

impl Reactors {
    /// Starts them. Where the system gives no thread, connections live on the threads of whoever starts them.
    pub(super) fn start() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let (end, ended) = watch::channel(());
        let mut all = Vec::new();
        for number in 0..(cores / 2).clamp(1, MAX_REACTORS) {
            match Reactor::start(number, ended.clone()) {
                Ok(reactor) => all.push(reactor),
                Err(error) => error!("a thread for connections cannot be started: {error}"),
            }
        }
        Reactors { all, next: AtomicUsize::new(0), _end: end }
    }

    /// The one for the next connection: they take turns.
    pub(super) fn next(&self) -> Reactor {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let reactor = self.all.get(number % self.all.len().max(1)).cloned();
        reactor
            .unwrap_or_else(|| Reactor { handle: Handle::current(), pace: Arc::new(Pace::new()) })
    }
}

impl Reactor {
    fn start(number: usize, mut ended: watch::Receiver<()>) -> io::Result<Self> {
        let pace = Arc::new(Pace::new());
        let parked = pace.clone();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || {
                if let Some(pause) = parked.next(monotonic()) {
                    time::pause(pause);
                }
            })
            .build()?;
        let handle = runtime.handle().clone();
        thread::Builder::new().name(format!("connections {number}")).spawn(move || {
            be_precise();
            // Until the sender is dropped.
            runtime.block_on(async { while ended.changed().await.is_ok() {} });
        })?;
        Ok(Reactor { handle, pace })
    }

    /// Where to spawn what belongs to a connection.
    pub(super) const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Something was read: so many bytes, and in them so many packets.
    pub(super) fn has_read(&self, bytes: usize, packets: u64) {
        self.pace.packets.fetch_add(packets, Ordering::Relaxed);
        if bytes >= LARGE_READ_BYTES {
            self.pace.is_large.store(true, Ordering::Relaxed);
        }
    }
}

/// Lets short pauses of this thread be short; without it each is 50 us longer.
fn be_precise() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)) {
        debug!("pauses are longer than they should be: {error}");
    }
}

/// How busy a thread is. Only that thread changes it.
struct Pace {
    begin: Instant,
    /// Packets read since the thread last had nothing to do, and whether a read was large.
    packets: AtomicU64,
    is_large: AtomicBool,
    /// When that was, in microseconds since the beginning, and packets a second then.
    parked: AtomicU64,
    rate: AtomicU64,
}

impl Pace {
    fn new() -> Self {
        Pace {
            begin: monotonic(),
            packets: AtomicU64::new(0),
            is_large: AtomicBool::new(false),
            parked: AtomicU64::new(0),
            rate: AtomicU64::new(0),
        }
    }

    /// The thread has nothing more to do: how long it leaves its sockets alone.
    fn next(&self, now: Instant) -> Option<Duration> {
        let now = u64::try_from((now - self.begin).as_micros()).unwrap_or(u64::MAX);
        let span = now.saturating_sub(self.parked.swap(now, Ordering::Relaxed)).max(1);
        let packets = self.packets.swap(0, Ordering::Relaxed);
        let before = f64::from_bits(self.rate.load(Ordering::Relaxed));
        let rate = rate(before, packets, Duration::from_micros(span));
        self.rate.store(rate.to_bits(), Ordering::Relaxed);
        if self.is_large.swap(false, Ordering::Relaxed) { None } else { pause(rate) }
    }
}

/// Packets a second, after so many packets in a span.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn rate(before: f64, packets: u64, span: Duration) -> f64 {
    let weight = (span.as_secs_f64() / RATE_WINDOW.as_secs_f64()).min(1.0);
    before * (1.0 - weight) + packets as f64 / span.as_secs_f64() * weight
}

/// How long to wait at a rate: with its third power, 0.25 ms at 50,000 packets a second.
fn pause(rate: f64) -> Option<Duration> {
    // No rate is so high that this is infinite; it is cut off long before.
    let pause = Duration::try_from_secs_f64(250e-6 * (rate / 50_000.0).powi(3));
    (rate > QUIET_RATE).then(|| pause.unwrap_or(MAX_PAUSE).clamp(MIN_PAUSE, MAX_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds of `packets` each, `every` so often: what pause follows the last.
    fn after(
        pace: &Pace,
        rounds: u32,
        packets: u64,
        every: Duration,
        bytes: usize,
    ) -> Option<Duration> {
        let start = pace.begin + Duration::from_micros(pace.parked.load(Ordering::Relaxed));
        let mut last = None;
        for round in 1..=rounds {
            pace.packets.store(packets, Ordering::Relaxed);
            pace.is_large.store(bytes >= LARGE_READ_BYTES, Ordering::Relaxed);
            last = pace.next(start + every * round);
        }
        last
    }

    #[test]
    fn the_busier_the_longer_and_never_too_long() {
        let milli = Duration::from_millis(1);
        let pace = Pace::new();
        assert_eq!(after(&pace, 100, 4, milli, 1000), None, "prompt: 4,000 a second");
        assert_eq!(after(&pace, 100, 10, milli, 1000), Some(MIN_PAUSE));
        let at_50 = after(&pace, 100, 50, milli, 5000).expect("a pause");
        assert!((200..300).contains(&at_50.as_micros()), "{at_50:?}");
        assert_eq!(after(&pace, 100, 500, milli, 10_000), Some(MAX_PAUSE));
        assert_eq!(after(&pace, 100, 500, milli, 64 << 10), None, "prompt: there is more");
        assert_eq!(after(&pace, 1, 0, Duration::from_secs(1), 0), None, "prompt: it is over");
    }
}
