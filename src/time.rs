//! Timestamps, and the only way to ask the time.
//!
//! An entry is identified by its timestamp, so timestamps are microseconds since the Unix epoch that
//! are unique and rise strictly within an instance. Everything that decides takes `now` as a value;
//! only this module reads a clock.

pub mod moment;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch, UTC. Erlang sees it as `{MegaSecs, Secs, MicroSecs}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

/// Microseconds of a megasecond.
const MICROS_PER_MEGA: u64 = 1_000_000_000_000;
/// Where the megaseconds of timestamps end.
const MEGA_END: i64 = i64::MAX / MICROS_PER_MEGA.cast_signed();

impl Timestamp {
    /// The earliest timestamp there is.
    pub const MIN: Timestamp = Timestamp(0);
    /// The latest timestamp: the last microsecond of the last whole megasecond that a signed 64-bit count of
    /// microseconds holds, in the year 294247.
    pub const MAX: Timestamp = Timestamp(MEGA_END.cast_unsigned() * MICROS_PER_MEGA - 1);

    /// A timestamp `micros` after the Unix epoch; values beyond [`Timestamp::MAX`] become it.
    pub const fn from_micros(micros: u64) -> Self {
        if micros > Self::MAX.0 { Self::MAX } else { Timestamp(micros) }
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// A timestamp from the parts of `erlang:timestamp()`; `None` if a part is out of its range.
    pub fn from_parts(mega: i64, secs: i64, micros: i64) -> Option<Self> {
        let part = |v: i64, end: i64| u64::try_from(v).ok().filter(|_| v < end);
        let mega = part(mega, MEGA_END)?;
        let secs = part(secs, 1_000_000)?;
        let micros = part(micros, 1_000_000)?;
        Some(Timestamp((mega * 1_000_000 + secs) * 1_000_000 + micros))
    }

    /// `(MegaSecs, Secs, MicroSecs)`; the last two are below a million.
    pub const fn parts(self) -> (u32, u32, u32) {
        let secs = self.0 / 1_000_000;
        ((secs / 1_000_000) as u32, (secs % 1_000_000) as u32, (self.0 % 1_000_000) as u32)
    }

    /// The next earlier timestamp; that of 0 is itself.
    #[must_use]
    pub const fn previous(self) -> Self {
        Timestamp(self.0.saturating_sub(1))
    }

    /// The next later timestamp.
    #[must_use]
    pub const fn next(self) -> Self {
        Self::from_micros(self.0 + 1)
    }

    /// How many microseconds this is later than `earlier`; 0 if it is not.
    pub const fn micros_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The timestamp `duration` before this one, not before the epoch.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Timestamp(self.0.saturating_sub(micros))
    }

    /// The timestamp `duration` after this one, not after the latest there is.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Timestamp::from_micros(self.0.saturating_add(micros))
    }
}

/// As microseconds.
impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Timestamp::from_micros)
    }
}

/// `Mega.Sec.Micro`, the text form the command line accepts.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mega, secs, micros) = self.parts();
        write!(f, "{mega}.{secs}.{micros}")
    }
}

/// Tells the time: the system's clocks, or a test's.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// The monotonic clock's time when this was made.
    System(Instant),
    Manual(Arc<Manual>),
}

/// What a manual clock shows.
#[derive(Debug)]
struct Manual {
    wall_micros: AtomicI64,
    uptime_micros: AtomicU64,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Clock(Source::System(monotonic()))
    }

    /// A clock for tests that stands at `start` until [`Clock::step`] moves it.
    pub fn manual(start: Timestamp) -> Self {
        let wall_micros = AtomicI64::new(start.0.cast_signed());
        Clock(Source::Manual(Arc::new(Manual { wall_micros, uptime_micros: AtomicU64::new(0) })))
    }

    /// The wall clock's time; it may step backwards. A clock before 1970 reads as 1970.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System(_) => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
            }
            Source::Manual(manual) => {
                let micros = manual.wall_micros.load(Ordering::SeqCst);
                Timestamp::from_micros(micros.max(0).cast_unsigned())
            }
        }
    }

    /// The time that has passed since this clock was made, by the monotonic clock: it never steps back, whatever the
    /// wall clock does. Clones have the same origin.
    pub fn uptime(&self) -> Duration {
        match &self.0 {
            Source::System(origin) => origin.elapsed(),
            Source::Manual(manual) => {
                Duration::from_micros(manual.uptime_micros.load(Ordering::SeqCst))
            }
        }
    }

    /// Lets `micros` pass on a manual clock. If negative only the wall clock moves, for time does not run backwards.
    /// Does nothing to the system's.
    pub fn step(&self, micros: i64) {
        if let Source::Manual(manual) = &self.0 {
            manual.wall_micros.fetch_add(micros, Ordering::SeqCst);
            manual.uptime_micros.fetch_add(micros.max(0).cast_unsigned(), Ordering::SeqCst);
        }
    }

    /// Sets a manual wall clock forward or back by `micros` while no time passes. Does nothing to the system's.
    pub fn leap(&self, micros: i64) {
        if let Source::Manual(manual) = &self.0 {
            manual.wall_micros.fetch_add(micros, Ordering::SeqCst);
        }
    }
}

/// The monotonic clock, for deadlines.
#[expect(clippy::disallowed_methods, reason = "the one place that asks")]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Keeps this thread from doing anything for a while. For threads of their own: on one that serves others, tasks wait.
#[expect(clippy::disallowed_methods, reason = "the one place that does so")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_micros_are_the_same_timestamp() {
        for micros in [0, 1, 999_999, 1_000_000, 1_795_343_462_123_456, u64::MAX] {
            let stamp = Timestamp::from_micros(micros);
            let (a, b, c) = stamp.parts();
            assert_eq!(Timestamp::from_parts(a.into(), b.into(), c.into()), Some(stamp));
        }
        assert_eq!(Timestamp::from_parts(1, 1_000_000, 0), None);
        assert_eq!(Timestamp::from_parts(-1, 0, 0), None);
    }

    #[test]
    fn manual_clock_steps_both_ways() {
        let clock = Clock::manual(Timestamp::from_micros(10));
        clock.step(5);
        assert_eq!(clock.now().micros(), 15);
        clock.step(-7);
        assert_eq!(clock.now().micros(), 8);
    }

    #[test]
    fn uptime_never_steps_back_and_is_the_same_for_clones() {
        let clock = Clock::manual(Timestamp::from_micros(10));
        let other = clock.clone();
        clock.step(5);
        clock.step(-7);
        clock.leap(1_000_000);
        clock.leap(-2_000_000);
        assert_eq!(other.uptime(), Duration::from_micros(5));
        let system = Clock::system();
        let (before, clone) = (system.uptime(), system.clone());
        assert!(clone.uptime() >= before);
    }
}
