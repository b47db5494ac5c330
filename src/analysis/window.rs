//! Continuous aggregates: values of the events of a stretch of time, told when it is over.
//!
//! Stamps rise, so no event is ever late or out of order: when one is stamped at or after a window's end, or nothing earlier
//! can come any more, the window is over for good. Windows are aligned to the Unix epoch. One that slides is made of panes,
//! as long as its steps, which are merged when it ends.
//!
//! # Invariants
//!
//! - `prefix`: what is known, and with it what is told, follows from the definition and the events alone. Whoever begins with
//!   all events of a window tells the same of it.
//! - `ordered`: rows are told in the order of [`Place`], so that whoever told the last one knows which are left.
//! - `bounded`: a pane has at most [`Analysis::max_rows`] rows, their memory being about `STATE_BYTES` in all.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::pairs::Pairs;
use super::window_value::{Kept, Left, MAX_ELEMENT, MAX_TERM_BYTES, Value};
use crate::etf::{Term, TermBuf, TermRef, canonical, encode};
use crate::match_spec::{MatchSpec, Outcome, Scratch};
use crate::time::Timestamp;

/// Rows of a pane at most.
pub const MAX_ROWS: usize = 100_000;

/// Memory of an analysis, about.
const STATE_BYTES: usize = 256 << 20;

/// Memory of a row besides its values, about.
const ROW_BYTES: usize = 128;

/// So many steps the match spec may take for an event, of about 20 ns each.
const MAX_STEPS: u64 = 100_000;

/// The key of what is beyond the limit; and of the only row, where there are no keys.
const OTHER: &str = "other";
const ALL: &str = "all";

/// What is to be computed.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// Its name, and that of the instance that it is told in.
    pub name: String,
    /// The instance whose events are looked at.
    pub from: String,
    /// Which of them, and what is made of them; `None`: all, as they are.
    pub spec: Option<(MatchSpec, TermBuf)>,
    /// The element whose values have a row each.
    pub by: Option<usize>,
    /// How long a window is, in microseconds.
    pub window: u64,
    /// How far it is from one to the next. A window is a multiple of it.
    pub every: u64,
    /// What is computed, and what it is called.
    pub values: Vec<(String, Value)>,
    /// Whether it begins with the oldest event there is, when it first runs.
    pub from_earliest: bool,
}

impl Analysis {
    /// All that decides about what is known; where it is another one, what was known is of no use.
    pub fn definition(&self) -> String {
        let Analysis { from, by, window, every, .. } = self;
        let mut text = format!("from {from} by {by:?} window {window} every {every}");
        for (name, value) in &self.values {
            write!(text, " {name}={value}").expect("strings take everything");
        }
        if let Some((_, term)) = &self.spec {
            write!(text, " of {term:?}").expect("strings take everything");
        }
        text
    }

    /// How many keys are told apart in a stretch of `every`.
    pub fn max_rows(&self) -> usize {
        let row = ROW_BYTES + self.values.iter().map(|(_, value)| value.bytes()).sum::<usize>();
        let panes = usize::try_from(self.window / self.every).unwrap_or(usize::MAX);
        (STATE_BYTES / row / panes).clamp(1, MAX_ROWS)
    }

    /// The end of the last step that had ended by then.
    pub fn step(&self, at: Timestamp) -> Timestamp {
        Timestamp::from_micros(at.micros() / self.every * self.every)
    }

    fn row(&self) -> Row {
        self.values.iter().map(|(_, value)| value.nothing()).collect()
    }

    /// `{analysis, Name, By, {From, To}, #{...}}`.
    fn event(&self, key: &Key, end: Timestamp, row: &[Kept]) -> TermBuf {
        TermBuf::written(|out| {
            encode::tuple_header(out, 5);
            encode::atom(out, "analysis");
            encode::atom(out, &self.name);
            match key {
                Key::Other => encode::atom(out, if self.by.is_some() { OTHER } else { ALL }),
                Key::Term(term) => out.extend_from_slice(term),
            }
            encode::tuple_header(out, 2);
            encode::timestamp(out, Timestamp::from_micros(end.micros() - self.window));
            encode::timestamp(out, end);
            let mut pairs = Pairs::default();
            for ((name, value), kept) in self.values.iter().zip(row) {
                let mut bytes = Vec::new();
                if kept.write(*value, &mut bytes) {
                    pairs.add(name, |out| out.extend_from_slice(&bytes));
                }
            }
            pairs.write(out);
        })
    }

    /// Where a row that was told stands among all; `None` for what is none of this analysis.
    pub fn place(&self, event: TermRef<'_>) -> Option<Place> {
        let [tag, name, by, window, _] = event.as_tuple()?;
        if !tag.is_atom("analysis") || !name.is_atom(&self.name) {
            return None;
        }
        let [_, end] = window.as_tuple()?;
        let [mega, secs, micros] = end.as_tuple()?;
        let end =
            Timestamp::from_parts(mega.as_integer()?, secs.as_integer()?, micros.as_integer()?)?;
        let key = if self.by.is_some() { Key::of(by) } else { Key::Other };
        Some(Place { end, key })
    }
}

/// What has a row: a term in its canonical form, or what has none of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Key {
    /// A value of the element `by`.
    Term(Vec<u8>),
    /// All that is beyond the limit; everything where there is no `by`.
    Other,
}

impl Key {
    pub(crate) fn of(term: TermRef<'_>) -> Self {
        if term.is_atom(OTHER) || term.bytes().len() > MAX_TERM_BYTES {
            return Key::Other;
        }
        let mut bytes = Vec::with_capacity(term.bytes().len());
        canonical::write(&mut bytes, term);
        Key::Term(bytes)
    }
}

/// Where a row stands among all that are told: by the window's end, then by the bytes of its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The window's end.
    pub end: Timestamp,
    /// Whose row it is.
    pub key: Key,
}

type Row = Box<[Kept]>;

/// What is known of the events of a step.
#[derive(Serialize, Deserialize)]
struct Pane {
    begin: Timestamp,
    rows: HashMap<Key, Row>,
}

/// What was counted since the analysis began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Events that were taken.
    pub taken: u64,
    /// Rows that were told.
    pub rows: u64,
    /// Events without the element `by`.
    pub without_key: u64,
    /// Events that were counted under `other`.
    pub other: u64,
    /// Elements that a value needs and the event has not.
    pub missing: u64,
    /// Elements that are no numbers, where a value is one of numbers.
    pub not_numbers: u64,
    /// Elements that are too large to be kept.
    pub too_large: u64,
    /// Events that the match spec had not decided about within its steps.
    pub over_budget: u64,
}

/// Memory that one event leaves for the next.
#[derive(Default)]
pub struct Working {
    scratch: Scratch,
    result: Vec<u8>,
}

/// What is known of the windows that are not over.
#[derive(Serialize, Deserialize)]
pub struct Windows {
    position: Timestamp,
    /// The last event that was dealt with.
    last: Timestamp,
    /// Windows that end here or before have been told.
    ended: Timestamp,
    /// The last window that was told.
    told: Option<Timestamp>,
    /// The oldest first; none is empty.
    panes: VecDeque<Pane>,
    tally: Tally,
}

impl Windows {
    /// Begins, so that the first window is the first one that ends after `ended`, and is whole.
    pub fn after(ended: Timestamp, analysis: &Analysis) -> Self {
        let ended = analysis.step(ended);
        let position = (ended.micros() + analysis.every).saturating_sub(analysis.window);
        Windows {
            position: Timestamp::from_micros(position),
            last: Timestamp::MIN,
            ended,
            told: None,
            panes: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    /// Goes on where only the last row is known that was told: at the begin of its window.
    pub fn from_told(last: &Place, analysis: &Analysis) -> Self {
        let before = last.end.micros().saturating_sub(analysis.every);
        Windows { told: Some(last.end), ..Windows::after(Timestamp::from_micros(before), analysis) }
    }

    /// Entries stamped before this have been dealt with.
    pub const fn position(&self) -> Timestamp {
        self.position
    }

    /// The stamp of the last entry that was dealt with.
    pub const fn last(&self) -> Timestamp {
        self.last
    }

    /// The end of the last window that was told.
    pub const fn told(&self) -> Option<Timestamp> {
        self.told
    }

    /// Windows that end here or before are over.
    pub const fn ended(&self) -> Timestamp {
        self.ended
    }

    /// What was counted.
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// How many rows are kept.
    pub fn rows(&self) -> usize {
        self.panes.iter().map(|pane| pane.rows.len()).sum()
    }

    /// When the next window ends of which there is something to tell.
    pub fn due(&self, analysis: &Analysis) -> Option<Timestamp> {
        let oldest = self.panes.front()?;
        Some(Timestamp::from_micros(oldest.begin.max(self.ended).micros() + analysis.every))
    }

    /// Deals with an entry; `tell` gets the rows of windows that are over with it.
    ///
    /// Costs some 0.3 µs for six values and one of few keys.
    pub fn entry(
        &mut self,
        analysis: &Analysis,
        working: &mut Working,
        at: Timestamp,
        event: TermRef<'_>,
        tell: &mut impl FnMut(Place, TermBuf),
    ) {
        self.pass(analysis, at, tell);
        self.position = at.next();
        self.last = at;
        let Working { scratch, result } = working;
        let taken = match &analysis.spec {
            None => event,
            Some((spec, _)) => {
                result.clear();
                match spec.run_within(scratch, event, result, &mut { MAX_STEPS }) {
                    Outcome::Result => TermRef::from_walked(result),
                    Outcome::NoMatch => return,
                    Outcome::Budget | Outcome::Unfinished => {
                        self.tally.over_budget += 1;
                        return;
                    }
                }
            }
        };
        self.take(analysis, at, taken);
    }

    fn take(&mut self, analysis: &Analysis, at: Timestamp, taken: TermRef<'_>) {
        let mut elements = [None; MAX_ELEMENT];
        match taken.view() {
            Term::Tuple(tuple) => {
                elements.iter_mut().zip(tuple).for_each(|(at, it)| *at = Some(it))
            }
            _ => elements[0] = Some(taken),
        }
        let key = match analysis.by {
            None => Key::Other,
            Some(by) => match elements[by - 1] {
                Some(term) => Key::of(term),
                None => {
                    self.tally.without_key += 1;
                    return;
                }
            },
        };
        let begin = analysis.step(at);
        if self.panes.back().is_none_or(|pane| pane.begin != begin) {
            self.panes.push_back(Pane { begin, rows: HashMap::new() });
        }
        let rows = &mut self.panes.back_mut().expect("there is one now").rows;
        // The row of what is beyond comes on top of the limit.
        let has_room = rows.len() < analysis.max_rows() || rows.contains_key(&key);
        let key = if has_room { key } else { Key::Other };
        if key == Key::Other && analysis.by.is_some() {
            self.tally.other += 1;
        }
        self.tally.taken += 1;
        let row = rows.entry(key).or_insert_with(|| analysis.row());
        for ((_, value), kept) in analysis.values.iter().zip(row) {
            match kept.add(*value, value.element().and_then(|element| elements[element - 1])) {
                Ok(()) => {}
                Err(Left::Missing) => self.tally.missing += 1,
                Err(Left::NoNumber) => self.tally.not_numbers += 1,
                Err(Left::Large) => self.tally.too_large += 1,
            }
        }
    }

    /// All entries stamped before `to` have been dealt with, and no more of them will come.
    pub fn pass(
        &mut self,
        analysis: &Analysis,
        to: Timestamp,
        tell: &mut impl FnMut(Place, TermBuf),
    ) {
        self.position = self.position.max(to);
        while let Some(end) = self.due(analysis)
            && end <= to
        {
            self.tell(analysis, end, tell);
            self.ended = end;
            while self
                .panes
                .front()
                .is_some_and(|it| it.begin.micros() + analysis.window <= end.micros())
            {
                self.panes.pop_front();
            }
        }
        self.ended = self.ended.max(analysis.step(to));
    }

    /// Tells of the window that ends there; all panes are of it.
    fn tell(&mut self, analysis: &Analysis, end: Timestamp, tell: &mut impl FnMut(Place, TermBuf)) {
        let mut merged: BTreeMap<&Key, Cow<'_, [Kept]>> = BTreeMap::new();
        for (key, row) in self.panes.iter().flat_map(|pane| &pane.rows) {
            let Some(known) = merged.get_mut(key) else {
                merged.insert(key, Cow::Borrowed(row));
                continue;
            };
            for (((_, value), kept), later) in analysis.values.iter().zip(known.to_mut()).zip(row) {
                kept.merge(*value, later);
            }
        }
        self.tally.rows += merged.len() as u64;
        self.told = Some(end);
        for (key, row) in merged {
            tell(Place { end, key: key.clone() }, analysis.event(key, end, &row));
        }
    }
}

#[cfg(test)]
mod tests;
