//! Entries from many places in the order of their timestamps.
//!
//! The original's files may be given in any order, overlap, and even hold timestamps that fall, where its host's clock
//! was set back between two lives of it. Each place is therefore a feed whose own timestamps rise, and the feeds are
//! merged; one that lies behind the others in time is not opened before its turn.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::path::Path;

use crate::time::Timestamp;

/// Where an entry stood in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// At this byte of the (unpacked) segment.
    Byte(u64),
    /// At the end of this line.
    Line(u64),
}

/// An entry from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The timestamp it brings along.
    pub stamp: Timestamp,
    /// Its event's term, without version byte.
    pub event: Vec<u8>,
    /// Where it stood.
    pub at: At,
}

/// Takes a line on something that had to be passed over.
pub type Report<'a> = &'a mut dyn FnMut(String);

/// Entries of one place, oldest first.
pub trait Feed: fmt::Debug {
    /// The file, for people.
    fn path(&self) -> &Path;

    /// The first entry's timestamp; `None` if there is no entry. Nothing is held open for it.
    fn first(&mut self, report: Report<'_>) -> Option<Timestamp>;

    /// The next entry; what is damaged before it is reported and passed over.
    fn next(&mut self, report: Report<'_>) -> Option<Given>;
}

/// A feed in a merge.
#[derive(Debug)]
struct Branch<'a> {
    feed: Box<dyn Feed + 'a>,
    /// Its next entry, if that was read already.
    head: Option<Given>,
}

/// The entries of several feeds, by time; of those with one timestamp, that of the feed which begins first.
#[derive(Debug)]
pub struct Merge<'a> {
    branches: Vec<Branch<'a>>,
    /// The timestamp of each branch's next entry.
    next: BinaryHeap<Reverse<(Timestamp, usize)>>,
}

impl<'a> Merge<'a> {
    /// Looks at the first entry of each feed.
    pub fn new(feeds: Vec<Box<dyn Feed + 'a>>, report: Report<'_>) -> Self {
        let mut feeds: Vec<_> = feeds
            .into_iter()
            .filter_map(|mut feed| Some((feed.first(&mut *report)?, feed)))
            .collect();
        // In whatever order they were given.
        feeds.sort_by_key(|(first, _)| *first);
        let next = (0..).zip(&feeds).map(|(at, (first, _))| Reverse((*first, at))).collect();
        let branches = feeds.into_iter().map(|(_, feed)| Branch { feed, head: None }).collect();
        Merge { branches, next }
    }

    /// The next entry, and the file it is from.
    pub fn next(&mut self, report: Report<'_>) -> Option<(Given, &Path)> {
        let (given, at) = loop {
            let Reverse((_, at)) = self.next.pop()?;
            let branch = &mut self.branches[at];
            let given = branch.head.take().or_else(|| branch.feed.next(&mut *report));
            let Some(given) = given else { continue };
            branch.head = branch.feed.next(&mut *report);
            if let Some(head) = &branch.head {
                self.next.push(Reverse((head.stamp, at)));
            }
            break (given, at);
        };
        Some((given, self.branches[at].feed.path()))
    }
}
