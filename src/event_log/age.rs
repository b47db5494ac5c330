//! How old things are, whatever the wall clock does.
//!
//! What was made since the log was opened ages by the monotonic clock. For what was there before, only the wall clock
//! can tell; and a wall clock may be wrong by decades. So it must have gone evenly for a day before anything is deleted
//! because of it.

use std::time::Duration;

use crate::time::{Clock, Timestamp};

/// A wall clock that moved this much more or less than the monotonic one, or that is this far from the newest stamp
/// when the log is opened, is not believed.
const LEAP: Duration = Duration::from_secs(24 * 3600);
/// For how long nothing is deleted by age then.
const PAUSE: Duration = Duration::from_secs(24 * 3600);

/// A moment from which something ages; the wall clock moves it only if it was before the log was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AgeFrom {
    /// In this life, at this [`Clock::uptime`].
    Uptime(Duration),
    /// Before it, at this time of the wall clock.
    Wall(Timestamp),
}

/// What both clocks say at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) wall: Timestamp,
    pub(super) uptime: Duration,
    opened: Duration,
}

impl Now {
    /// How long ago that was. What seems to be in the future has been there since the log was opened.
    pub(super) fn age(&self, since: AgeFrom) -> Duration {
        match since {
            AgeFrom::Uptime(at) => self.uptime.saturating_sub(at),
            AgeFrom::Wall(at) => {
                let by_wall = self.wall.micros().saturating_sub(at.micros());
                Duration::from_micros(by_wall).max(self.uptime.saturating_sub(self.opened))
            }
        }
    }
}

/// Watches the wall clock for leaps.
#[derive(Debug)]
pub(super) struct Ages {
    clock: Clock,
    opened: Duration,
    last: Now,
    /// Nothing is deleted by age before this.
    paused_until: Option<Duration>,
}

impl Ages {
    /// The wall clock is held against `newest`, the newest stamp there is; `is_odd` if it had leapt before.
    pub(super) fn new(clock: Clock, newest: Option<Timestamp>, is_odd: bool) -> Self {
        let (wall, opened) = (clock.now(), clock.uptime());
        let mut ages =
            Ages { clock, opened, last: Now { wall, uptime: opened, opened }, paused_until: None };
        let is_far = |newest: Timestamp| wall.micros().abs_diff(newest.micros()) > micros(LEAP);
        if is_odd || newest.is_some_and(is_far) {
            ages.paused_until = Some(opened + PAUSE);
        }
        ages
    }

    /// Looks at both clocks. True if the wall clock has leapt since the last look.
    pub(super) fn look(&mut self) -> (Now, bool) {
        let now = Now { wall: self.clock.now(), uptime: self.clock.uptime(), opened: self.opened };
        let due = self.last.wall.micros() + micros(now.uptime.saturating_sub(self.last.uptime));
        let has_leapt = now.wall.micros().abs_diff(due) > micros(LEAP);
        if has_leapt {
            self.paused_until = Some(now.uptime + PAUSE);
        } else if self.paused_until.is_some_and(|until| until <= now.uptime) {
            self.paused_until = None;
        }
        self.last = now;
        (now, has_leapt)
    }

    /// Whether nothing may be deleted by age for now.
    pub(super) fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;

    #[test]
    fn a_leap_changes_no_age_of_this_life_and_pauses_for_a_day() {
        let start = Timestamp::from_micros(1_700_000_000_000_000);
        let clock = Clock::manual(start);
        let mut ages = Ages::new(clock.clone(), Some(start), false);
        assert!(!ages.is_paused());
        let here = AgeFrom::Uptime(clock.uptime());
        for leap in [80 * 365 * DAY, -80 * 365 * DAY, -80 * 365 * DAY] {
            clock.leap(leap);
            clock.step(5);
            let (now, has_leapt) = ages.look();
            assert!(has_leapt && ages.is_paused());
            assert!(now.age(here) < Duration::from_secs(1));
        }
        clock.step(DAY / 2);
        assert!(!ages.look().1 && ages.is_paused());
        clock.step(DAY / 2);
        let (now, _) = ages.look();
        assert!(!ages.is_paused());
        // What is stamped far ahead ages all the same.
        assert!(now.age(AgeFrom::Wall(Timestamp::MAX)) >= Duration::from_secs(86_400));
    }

    #[test]
    fn a_clock_far_from_the_newest_stamp_is_not_believed_at_first() {
        let start = Timestamp::from_micros(1_700_000_000_000_000);
        let clock = Clock::manual(start);
        for (newest, paused) in
            [(0, true), (1_699_999_999_000_000, false), (4_000_000_000_000_000, true)]
        {
            let ages = Ages::new(clock.clone(), Some(Timestamp::from_micros(newest)), false);
            assert_eq!(ages.is_paused(), paused, "{newest}");
        }
        assert!(!Ages::new(clock, None, false).is_paused());
    }
}
