//! Which entries of a log somebody wants, and the one way to get at them.
//!
//! Sessions, reads and exports differ in where entries go, in how long they may look, and in whether they may wait for a
//! file. Which entry is chosen, what a match spec makes of it, where it ends and what was withheld is decided here for
//! all of them.

use std::fmt;
use std::sync::Arc;

use crate::etf::TermRef;
use crate::match_spec::{MatchSpec, Outcome, Scratch};
use crate::store::{Chunk, EntryRef, Next, ReadError, Store, StoreCursor};
use crate::time::Timestamp;

/// In which order entries are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    #[default]
    Ascending,
    /// Newest first.
    Descending,
}

/// Which entries of a log, and what of them.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The first timestamp of interest: the oldest, or, in descending order, the newest.
    pub from: Timestamp,
    /// The last one, if there is one.
    pub to: Option<Timestamp>,
    /// In which order.
    pub order: Order,
    /// What an event has to be besides what the match spec asks; looked at first.
    pub condition: Option<Arc<dyn Condition>>,
    /// Which events, and what of them; `None`: all, as they are.
    pub filter: Option<MatchSpec>,
    /// Whether deleted and damaged stretches are told of instead of stepped over.
    pub strict: bool,
    /// At most so many entries.
    pub max_entries: usize,
    /// At most so many bytes of entries, but one entry whatever its size.
    pub max_bytes: usize,
}

impl Selection {
    /// All entries stamped `from` or later, as they are, oldest first.
    pub const fn starting(from: Timestamp) -> Self {
        Selection {
            from,
            to: None,
            order: Order::Ascending,
            condition: None,
            filter: None,
            strict: false,
            max_entries: usize::MAX,
            max_bytes: usize::MAX,
        }
    }
}

/// Something that is true of some events.
pub trait Condition: fmt::Debug + Send + Sync {
    /// Whether it is true of this one. What that took is taken off `steps`, one for about 20 ns: it is the caller who
    /// sees to others who wait.
    fn holds(&self, event: TermRef<'_>, steps: &mut u64) -> bool;
}

/// An entry that was chosen.
#[derive(Clone, Copy, Debug)]
pub struct Selected<'a> {
    /// When it was received.
    pub timestamp: Timestamp,
    /// The event, or what the match spec made of it.
    pub event: TermRef<'a>,
    /// The event as it was recorded.
    pub original: TermRef<'a>,
    /// The term `{Timestamp, Event}`, where it exists already.
    pub entry: Option<TermRef<'a>>,
}

/// What became of an entry that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was taken, and more can be.
    More,
    /// It was taken, and that is enough for now.
    Enough,
    /// It was not taken: it comes again.
    Not,
}

/// Why a look ended before an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Neither it nor a later one is of interest.
    AtEnd,
    /// There are as many entries or bytes as were asked for, and it is one more.
    Full,
    /// It was not taken.
    Refused,
    /// Enough was taken, or the steps are used up.
    Paused,
    /// The match spec needs more steps for it than were given; [`Reader::look_ahead`] takes as many as it needs.
    TooLong,
}

/// What a look came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looked {
    /// Entries dealt with.
    pub entries: usize,
    /// Those of them that were taken.
    pub taken: u64,
    /// The stamp of the first one that was taken.
    pub first_taken: Option<Timestamp>,
    /// Those that were withheld because the match spec ran out of its budget.
    pub over_budget: u64,
    /// Whether the last of them was.
    pub is_exhausted: bool,
    /// Why the next one was left; `None` if all that was fetched is dealt with.
    pub stopped: Option<Stopped>,
}

/// Whether there is something to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// There is.
    Entries,
    /// There is no more in the log for now.
    End,
    /// It is not in RAM; [`Reader::fetch`] reads it.
    Cold,
}

/// A reader's place in a selection. Whoever has one fetches entries and then looks at them, as far as it may.
#[derive(Debug)]
pub struct Reader {
    cursor: Box<dyn StoreCursor>,
    order: Order,
    /// What was fetched and not dealt with yet.
    fetched: Option<Chunk>,
    chooser: Chooser,
}

impl Reader {
    /// Begins. Nothing is looked up before something is fetched.
    pub fn new(log: &dyn Store, selection: Selection) -> Self {
        let Selection { from, to, order, condition, filter, strict, max_entries, max_bytes } =
            selection;
        let (cursor, to) = match order {
            Order::Ascending => (log.cursor(from, strict), to),
            Order::Descending => {
                (log.backward_cursor(from, to.unwrap_or(Timestamp::MIN), strict), None)
            }
        };
        let chooser = Chooser {
            to,
            condition,
            filter: filter.map(Filter::new),
            ready: None,
            entries_left: max_entries,
            bytes_left: max_bytes,
            has_taken: false,
        };
        Reader { cursor, order, fetched: None, chooser }
    }

    /// The timestamp from which another reader would go on; `None` if nothing more can come.
    pub fn position(&self) -> Option<Timestamp> {
        match (&self.fetched, self.order) {
            (Some(chunk), Order::Ascending) => Some(chunk.first()),
            (Some(chunk), Order::Descending) => Some(chunk.last()),
            (None, _) => self.cursor.position(),
        }
    }

    /// Whether a condition or a match spec decides, so that looking takes time.
    pub const fn has_filter(&self) -> bool {
        self.chooser.filter.is_some() || self.chooser.condition.is_some()
    }

    /// Bytes of records that were fetched and not dealt with yet.
    pub fn fetched_bytes(&self) -> usize {
        self.fetched.as_ref().map_or(0, |chunk| chunk.bytes().len())
    }

    /// Lets go of what is open and of entries until something is fetched again.
    pub fn let_go(&mut self) {
        self.cursor.let_go(self.fetched.take());
        self.chooser.ready = None;
    }

    /// Whether there is anything to let go of.
    pub fn holds_something(&self) -> bool {
        self.fetched.is_some() || self.cursor.holds_something()
    }

    /// Gets the next entries, about `max_bytes` of them, if they are in RAM and what was fetched is dealt with. Waits for
    /// nothing.
    pub fn fetch_cached(&mut self, max_bytes: usize) -> Fetched {
        if self.fetched.is_some() {
            return Fetched::Entries;
        }
        match self.cursor.next_cached(max_bytes) {
            Next::Chunk(chunk) => {
                self.fetched = Some(chunk);
                Fetched::Entries
            }
            Next::End => Fetched::End,
            Next::Cold => Fetched::Cold,
        }
    }

    /// The same, from wherever they are; false if there are no more for now. May block.
    ///
    /// # Errors
    ///
    /// [`ReadError`], as those of [`StoreCursor::next`].
    pub fn fetch(&mut self, max_bytes: usize) -> Result<bool, ReadError> {
        if self.fetched.is_none() {
            self.fetched = self.cursor.next(max_bytes)?;
        }
        Ok(self.fetched.is_some())
    }

    /// Hands out what was fetched, as far as it is selected, until `take` says that it is enough or the match spec has
    /// taken so many `steps`.
    pub fn look(&mut self, steps: u64, mut take: impl FnMut(Selected<'_>) -> Taken) -> Looked {
        let mut looked = Looked::default();
        let Some(chunk) = self.fetched.take() else { return looked };
        let mut steps = Steps { left: steps, given: steps };
        let mut each = |entry| {
            looked.stopped = self.chooser.pass(entry, &mut steps, &mut looked, &mut take);
            looked.stopped.is_none()
        };
        self.fetched = match self.order {
            Order::Ascending => {
                let _ = chunk.entries().all(&mut each);
                chunk.without_first(looked.entries)
            }
            Order::Descending => {
                // Where a record begins is known from the front alone.
                let entries: Vec<_> = chunk.entries().collect();
                let _ = entries.into_iter().rev().all(&mut each);
                chunk.without_last(looked.entries)
            }
        };
        looked
    }

    /// Lets the match spec look at the next entry for as long as it takes; what is made of it is handed out by the next
    /// look. May block.
    ///
    /// # Errors
    ///
    /// [`ReadError`], if it has to be read for that first.
    pub fn look_ahead(&mut self, max_bytes: usize) -> Result<(), ReadError> {
        if !self.fetch(max_bytes)? {
            return Ok(());
        }
        let entry = self.fetched.as_ref().and_then(|chunk| match self.order {
            Order::Ascending => chunk.entries().next(),
            Order::Descending => chunk.entries().last(),
        });
        if let (Some(entry), Some(filter)) = (entry, &mut self.chooser.filter)
            && self.chooser.to.is_none_or(|to| entry.timestamp <= to)
        {
            self.chooser.ready = Some(filter.run(entry.event, &mut { u64::MAX }));
        }
        Ok(())
    }
}

/// Steps of a match spec.
struct Steps {
    left: u64,
    given: u64,
}

/// Decides about one entry after the other.
#[derive(Debug)]
struct Chooser {
    /// The end, of a reader that goes forwards; the other one's cursor knows its own.
    to: Option<Timestamp>,
    condition: Option<Arc<dyn Condition>>,
    filter: Option<Filter>,
    /// What the match spec made of the next entry, if it has looked at it already.
    ready: Option<Outcome>,
    entries_left: usize,
    bytes_left: usize,
    has_taken: bool,
}

/// Bytes of `{Timestamp, Event}` beside the event's.
const ENTRY_BYTES: usize = 2 + 17;

impl Chooser {
    /// Deals with an entry; why it was left, if it was.
    #[inline]
    fn pass(
        &mut self,
        entry: EntryRef<'_>,
        steps: &mut Steps,
        looked: &mut Looked,
        take: &mut impl FnMut(Selected<'_>) -> Taken,
    ) -> Option<Stopped> {
        if self.to.is_some_and(|to| entry.timestamp > to) {
            return Some(Stopped::AtEnd);
        }
        let is_fresh = steps.left == steps.given;
        if let Some(condition) = &self.condition {
            if steps.left == 0 {
                return Some(Stopped::Paused);
            }
            if !condition.holds(TermRef::from_walked(entry.event), &mut steps.left) {
                looked.is_exhausted = false;
                looked.entries += 1;
                return None;
            }
        }
        let (event, whole) = match &mut self.filter {
            None => (entry.event, Some(TermRef::from_walked(entry.entry))),
            Some(filter) => {
                let outcome = match self.ready.take() {
                    Some(ready) => ready,
                    None => match filter.run(entry.event, &mut steps.left) {
                        Outcome::Unfinished if is_fresh => return Some(Stopped::TooLong),
                        Outcome::Unfinished => return Some(Stopped::Paused),
                        outcome => outcome,
                    },
                };
                if outcome != Outcome::Result {
                    looked.is_exhausted = outcome != Outcome::NoMatch;
                    looked.over_budget += u64::from(looked.is_exhausted);
                    looked.entries += 1;
                    return None;
                }
                (&*filter.result, None)
            }
        };
        let bytes = event.len() + ENTRY_BYTES;
        let taken = if self.entries_left == 0 || (self.has_taken && bytes > self.bytes_left) {
            self.ready = self.filter.is_some().then_some(Outcome::Result);
            return Some(Stopped::Full);
        } else {
            let (timestamp, event) = (entry.timestamp, TermRef::from_walked(event));
            let original = TermRef::from_walked(entry.event);
            take(Selected { timestamp, event, original, entry: whole })
        };
        if taken == Taken::Not {
            self.ready = self.filter.is_some().then_some(Outcome::Result);
            return Some(Stopped::Refused);
        }
        self.has_taken = true;
        self.entries_left -= 1;
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        looked.is_exhausted = false;
        looked.entries += 1;
        looked.taken += 1;
        looked.first_taken.get_or_insert(entry.timestamp);
        (taken == Taken::Enough).then_some(Stopped::Paused)
    }
}

/// A match spec with what it needs to run.
#[derive(Debug)]
struct Filter {
    spec: MatchSpec,
    scratch: Scratch,
    result: Vec<u8>,
}

/// A result larger than this is not kept room for.
const RESULT_BYTES: usize = 64 << 10;

impl Filter {
    fn new(spec: MatchSpec) -> Self {
        Filter { spec, scratch: Scratch::default(), result: Vec::new() }
    }

    /// Looks at an event; what is made of it is in `result` then.
    fn run(&mut self, event: &[u8], steps: &mut u64) -> Outcome {
        self.result.clear();
        self.result.shrink_to(RESULT_BYTES);
        let event = TermRef::from_walked(event);
        self.spec.run_within(&mut self.scratch, event, &mut self.result, steps)
    }
}
