//! Gives an event a timestamp later than every one before it.
//!
//! # Invariants
//!
//! - `rising`: stamps rise strictly within an instance, also when the clock steps backwards and across restarts
//!   (the first stamp follows the last one found in the log, any that a power loss may have taken from it, and every
//!   position acknowledged under a cursor).
//! - `promised`: once somebody was told that nothing will be stamped at or before a moment, nothing is.

use crate::time::Timestamp;

/// Where the stamps have come to.
#[derive(Debug)]
pub struct Stamper {
    next: Timestamp,
}

impl Stamper {
    /// Goes on after `last`, the newest stamp that may have been given or acknowledged. The first of all is later than
    /// [`Timestamp::MIN`], whatever the clock says: a position before it is a position before all.
    pub fn after(last: Option<Timestamp>) -> Self {
        Stamper { next: last.unwrap_or(Timestamp::MIN).next() }
    }

    /// The stamp of an event that arrives `now`: the time, or the next microsecond after the last stamp.
    pub fn stamp(&mut self, now: Timestamp) -> Timestamp {
        let stamp = self.next.max(now);
        self.next = stamp.next();
        stamp
    }

    /// Every stamp given is before this, and none given from now on is.
    pub const fn next(&self) -> Timestamp {
        self.next
    }

    /// Lets no stamp given from now on be at or before `stamp`, wherever the clock may go.
    pub fn pass(&mut self, stamp: Timestamp) {
        self.next = self.next.max(stamp.next());
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
        stamper.pass(at(310));
        stamper.pass(at(305));
        assert_eq!((stamper.next(), stamper.stamp(at(290))), (at(311), at(311)), "promised");
        assert_eq!(Stamper::after(None).stamp(at(0)), at(1));
    }
}
