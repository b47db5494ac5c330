//! Timestamps, and the only way to ask the time.
//!
//! An entry is identified by its timestamp, so timestamps are microseconds since the Unix epoch that
//! are unique and rise strictly within an instance. Everything that decides takes `now` as a value;
//! only this module reads a clock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch, UTC. Erlang sees it as `{MegaSecs, Secs, MicroSecs}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The earliest timestamp there is.
    pub const MIN: Timestamp = Timestamp(0);
    /// The latest timestamp: what a signed 64-bit count of microseconds holds, in the year 294247.
    pub const MAX: Timestamp = Timestamp(i64::MAX.cast_unsigned());

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
        let mega = part(mega, Self::MAX.0.cast_signed() / 1_000_000_000_000)?;
        let secs = part(secs, 1_000_000)?;
        let micros = part(micros, 1_000_000)?;
        Some(Timestamp((mega * 1_000_000 + secs) * 1_000_000 + micros))
    }

    /// `(MegaSecs, Secs, MicroSecs)`; the last two are below a million.
    pub const fn parts(self) -> (u32, u32, u32) {
        let secs = self.0 / 1_000_000;
        ((secs / 1_000_000) as u32, (secs % 1_000_000) as u32, (self.0 % 1_000_000) as u32)
    }

    /// The next later timestamp.
    #[must_use]
    pub const fn next(self) -> Self {
        Self::from_micros(self.0 + 1)
    }

    /// The timestamp `duration` before this one, not before the epoch.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Timestamp(self.0.saturating_sub(micros))
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
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clock.
    pub const fn system() -> Self {
        Clock(Source::System)
    }

    /// A clock for tests that stands at `start` until [`Clock::step`] moves it.
    pub fn manual(start: Timestamp) -> Self {
        Clock(Source::Manual(Arc::new(AtomicI64::new(start.0.cast_signed()))))
    }

    /// The wall clock's time; it may step backwards. A clock before 1970 reads as 1970.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
            }
            Source::Manual(micros) => {
                Timestamp::from_micros(micros.load(Ordering::SeqCst).max(0).cast_unsigned())
            }
        }
    }

    /// Moves a manual clock by `micros`, which may be negative. Does nothing to the system's.
    pub fn step(&self, micros: i64) {
        if let Source::Manual(now) = &self.0 {
            now.fetch_add(micros, Ordering::SeqCst);
        }
    }
}

/// The monotonic clock, for deadlines.
pub fn monotonic() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_micros_are_the_same_timestamp() {
        for micros in [0, 1, 999_999, 1_000_000, 1_795_343_462_123_456, 9_000_000_999_999_999_999] {
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
}
