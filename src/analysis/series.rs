//! How often something happened, by minute and by hour.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Counts by stretches of time of one length. Stretches without any take no room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Seconds of a stretch.
    width: u32,
    /// So many stretches are kept.
    keep: u32,
    /// Stretches by number since the epoch, and their counts, in order.
    counts: VecDeque<(u32, u32)>,
}

impl Series {
    /// By minute, for 24 hours.
    pub const fn minutes() -> Self {
        Series { width: 60, keep: 24 * 60, counts: VecDeque::new() }
    }

    /// By hour, for 30 days.
    pub const fn hours() -> Self {
        Series { width: 3600, keep: 30 * 24, counts: VecDeque::new() }
    }

    /// Counts one.
    pub(super) fn count(&mut self, at: Timestamp) {
        let number = self.number(at);
        // Almost always the last one.
        let place = self.counts.partition_point(|(other, _)| *other < number);
        match self.counts.get_mut(place) {
            Some((other, count)) if *other == number => *count = count.saturating_add(1),
            _ => self.counts.insert(place, (number, 1)),
        }
        let last = self.counts.back().map_or(number, |(last, _)| *last);
        while self.counts.front().is_some_and(|(first, _)| last - first >= self.keep) {
            self.counts.pop_front();
        }
    }

    /// The stretches that begin at `from` or later: when they begin, and their counts.
    pub fn since(&self, from: Timestamp) -> impl Iterator<Item = (Timestamp, u64)> {
        let (first, width) = (self.number(from), u64::from(self.width));
        let since = self.counts.iter().skip_while(move |(number, _)| *number < first);
        since.map(move |(number, count)| {
            (Timestamp::from_micros(u64::from(*number) * width * 1_000_000), u64::from(*count))
        })
    }

    fn number(&self, at: Timestamp) -> u32 {
        u32::try_from(at.micros() / 1_000_000 / u64::from(self.width)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_a_day_goes() {
        let at = |minute: u64| Timestamp::from_micros((1_000_000 + minute) * 60_000_000 + 5);
        let mut series = Series::minutes();
        for minute in [0, 0, 1, 7, 1439] {
            series.count(at(minute));
        }
        // Late, but not too late.
        series.count(at(5));
        let all = |series: &Series| -> Vec<u64> {
            series.since(Timestamp::MIN).map(|(_, count)| count).collect()
        };
        assert_eq!(all(&series), [2, 1, 1, 1, 1]);
        series.count(at(1440));
        assert_eq!(all(&series), [1, 1, 1, 1, 1]);
        assert_eq!(series.since(at(1439)).map(|(at, _)| at.micros() % 60_000_000).sum::<u64>(), 0);
        assert_eq!(series.since(at(1439)).count(), 2);
    }
}
