//! Gives an event a timestamp later than every one before it.
//!
//! # Invariants
//!
//! - `rising`: stamps rise strictly within an instance, also when the clock steps backwards and across restarts
//!   (the first stamp follows the last one found in the log).

use crate::time::Timestamp;

/// The last stamp given.
#[derive(Debug)]
pub struct Stamper {
    last: Option<Timestamp>,
}

impl Stamper {
    /// Goes on after `last`, the newest stamp in the log.
    pub const fn after(last: Option<Timestamp>) -> Self {
        Stamper { last }
    }

    /// The stamp of an event that arrives `now`: the time, or the next microsecond after the last stamp.
    pub fn stamp(&mut self, now: Timestamp) -> Timestamp {
        let stamp = self.earliest_next().max(now);
        self.last = Some(stamp);
        stamp
    }

    /// No stamp given from now on is earlier than this.
    pub fn earliest_next(&self) -> Timestamp {
        self.last.map_or(Timestamp::MIN, Timestamp::next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_whatever_the_clock_does() {
        let at = Timestamp::from_micros;
        let mut stamper = Stamper::after(Some(at(100)));
        let clock = [50, 200, 200, 10, 201, 300];
        let stamps: Vec<_> = clock.iter().map(|&now| stamper.stamp(at(now)).micros()).collect();
        assert_eq!(stamps, [101, 200, 201, 202, 203, 300], "rising");
    }
}
