//! When a rule's alerts fire and when they are resolved: what follows from the events it takes and from the passing of time.
//!
//! Time is what stamps say, and nothing here is older than what was before it: whoever deals with the same entries, and the
//! same stretches that nobody watched, tells the same, at whatever pace.
//!
//! Of events that are counted, a window reaches back from every moment: those stamped in `(t - within, t]` are in it at `t`.
//!
//! # Invariants
//!
//! - `once`: an alert fires once and resolves once, and in between there is no other one of its rule and key.
//! - `replay`: what is told follows from the rule, the entries and the unwatched stretches alone.
//! - `bounded`: at most [`Rule::max_keys`] keys, and one for all others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::alert_event::{AlertId, Phase, Unwatched};
use super::rule::{Condition, Rule};
use super::window::Key;
use crate::time::Timestamp;

/// When we come back, others need time to come back to us: whoever is silent is given so long, in microseconds.
const GRACE: u64 = 60_000_000;

/// What a rule tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// What became of the alert.
    pub phase: Phase,
    /// Whose it is.
    pub key: Key,
    /// Which.
    pub id: AlertId,
    /// The rule's words are numbered, from 1.
    pub number: u64,
    /// When it was so.
    pub at: Timestamp,
    /// Events that it is of.
    pub count: u64,
    /// The last of them, when it began to fire.
    pub entry: Option<Timestamp>,
    /// When it began to fire, of one that is resolved.
    pub firing_at: Option<Timestamp>,
}

/// An alert that fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    /// Which.
    pub id: AlertId,
    /// Since when.
    pub at: Timestamp,
    /// The last event, when it began to.
    pub entry: Option<Timestamp>,
}

/// What was counted since the rule began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Events that were taken.
    pub taken: u64,
    /// Alerts that fired.
    pub fired: u64,
    /// Events without what `by` names.
    pub without_key: u64,
    /// Events that were counted under `other`.
    pub other: u64,
    /// Events that the match spec had not decided about within its steps.
    pub over_budget: u64,
}

/// A key, and what is known of it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Watched {
    /// The newest events, as many as the rule counts up to.
    stamps: VecDeque<Timestamp>,
    /// Since when there are enough of them.
    begun: Option<Timestamp>,
    /// Events since then, and those that made it so. None is of an absence.
    matched: u64,
    /// Where absence is waited for: when it has lasted for long enough.
    absent_at: Option<Timestamp>,
    last: Option<Timestamp>,
    firing: Option<Firing>,
    /// It stands in the list of what is due: no later than it is.
    listed: Option<Timestamp>,
}

impl Watched {
    /// When there are not enough events any more, if no other comes.
    fn ends(&self, count: usize, within: u64) -> Option<Timestamp> {
        let first = self.stamps.len().checked_sub(count)?;
        Some(Timestamp::from_micros(self.stamps[first].micros() + within))
    }

    /// When it has to be looked at.
    fn due(&self, rule: &Rule) -> Option<Timestamp> {
        match rule.condition {
            Condition::Absent { .. } => self.absent_at.filter(|_| self.firing.is_none()),
            Condition::Count { count, within } => match self.begun {
                None => self.last.map(|last| Timestamp::from_micros(last.micros() + within)),
                Some(begun) => {
                    let ends = self.ends(count, within);
                    let fires = Timestamp::from_micros(begun.micros() + rule.hold);
                    if self.firing.is_some() { ends } else { ends.map(|ends| ends.min(fires)) }
                }
            },
        }
    }
}

/// What nobody is told: it has been.
#[derive(Debug, Serialize, Deserialize)]
struct WarmUp {
    /// Until then.
    until: Timestamp,
    /// What fires by then, as far as anybody was told.
    known: BTreeMap<Key, Firing>,
}

/// What is known of a rule's alerts.
#[derive(Debug, Serialize, Deserialize)]
pub struct Alerts {
    position: Timestamp,
    last: Timestamp,
    number: u64,
    watched: BTreeMap<Key, Watched>,
    /// When which key has to be looked at.
    due: BTreeSet<(Timestamp, Key)>,
    warm_up: Option<WarmUp>,
    /// Unwatched stretches that end here or before have been stepped over.
    stepped: Timestamp,
    /// Those to come.
    #[serde(skip)]
    gaps: VecDeque<Unwatched>,
    tally: Tally,
}

impl Alerts {
    /// Begins at a moment, with what was told by then: up to which number, and which alerts fire.
    ///
    /// It is begun earlier, so that the events before that moment are known that the condition asks for.
    /// `gaps` are the stretches that nobody watched, the oldest first.
    pub fn begin(
        rule: &Rule,
        at: Timestamp,
        number: u64,
        known: BTreeMap<Key, Firing>,
        gaps: &[Unwatched],
    ) -> Self {
        let position = reach(rule, at, gaps);
        let mut alerts = Alerts {
            position: Timestamp::from_micros(position),
            last: Timestamp::MIN,
            number,
            watched: BTreeMap::new(),
            due: BTreeSet::new(),
            warm_up: None,
            stepped: Timestamp::from_micros(position),
            gaps: VecDeque::new(),
            tally: Tally::default(),
        };
        if let Condition::Absent { .. } = rule.condition {
            // What is silent has no events to be known by.
            for (key, firing) in &known {
                let watched = Watched { firing: Some(*firing), ..Watched::default() };
                alerts.watched.insert(key.clone(), watched);
            }
            if rule.by.is_none() && known.is_empty() {
                let absent_at = Some(Timestamp::from_micros(position + rule.horizon()));
                let watched = Watched { absent_at, ..Watched::default() };
                alerts.watched.insert(Key::Other, watched);
                alerts.list(rule, &Key::Other);
            }
        }
        alerts.warm_up = Some(WarmUp { until: at, known });
        alerts
    }

    /// Tells of the stretches that nobody watched, the oldest first.
    pub fn unwatched(&mut self, gaps: impl IntoIterator<Item = Unwatched>) {
        self.gaps = gaps.into_iter().filter(|gap| gap.to > self.stepped).collect();
    }

    /// Entries stamped before this have been dealt with.
    pub const fn position(&self) -> Timestamp {
        self.position
    }

    /// The stamp of the last entry that was taken.
    pub const fn last(&self) -> Timestamp {
        self.last
    }

    /// How many words there were.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// What was counted.
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// Counts an event that the rule could not be asked about.
    pub fn count_unasked(&mut self, why: Unasked) {
        match why {
            Unasked::WithoutKey => self.tally.without_key += 1,
            Unasked::OverBudget => self.tally.over_budget += 1,
        }
    }

    /// How many keys are known.
    pub fn keys(&self) -> usize {
        self.watched.len()
    }

    /// The alerts that fire.
    pub fn firing(&self) -> impl Iterator<Item = (&Key, &Firing)> {
        self.watched.iter().filter_map(|(key, it)| Some((key, it.firing.as_ref()?)))
    }

    /// When there is something to tell, or to forget, if no event comes.
    pub fn due(&self) -> Option<Timestamp> {
        let gap = self.gaps.front().map(|gap| gap.from);
        let first = self.due.first().map(|(due, _)| *due);
        let warm = self.warm_up.as_ref().map(|it| it.until);
        [gap, first, warm].into_iter().flatten().min()
    }

    /// Deals with an entry that the rule takes, later than all before; `tell` gets what is to be told by then.
    ///
    /// Costs some 0.1 µs.
    pub fn entry(&mut self, rule: &Rule, at: Timestamp, key: Key, tell: &mut impl FnMut(Word)) {
        self.pass(rule, at, tell);
        self.position = at.next();
        self.last = at;
        self.tally.taken += 1;
        let has_room = self.watched.len() < rule.max_keys() || self.watched.contains_key(&key);
        let key = if has_room { key } else { Key::Other };
        if key == Key::Other && rule.by.is_some() {
            self.tally.other += 1;
        }
        let watched = self.watched.entry(key.clone()).or_default();
        watched.last = Some(at);
        match rule.condition {
            Condition::Absent { after } => {
                watched.absent_at = Some(Timestamp::from_micros(at.micros() + after + rule.hold));
                if let Some(firing) = watched.firing.take() {
                    self.tell(Phase::Resolved, &key, firing, at, tell);
                }
            }
            Condition::Count { count, .. } => {
                if watched.stamps.len() == count {
                    watched.stamps.pop_front();
                }
                watched.stamps.push_back(at);
                watched.matched += 1;
                if watched.begun.is_none() && self.has_enough(rule, &key, at) {
                    let watched = self.watched.get_mut(&key).expect("it was there");
                    watched.begun = Some(at);
                    watched.matched = watched.stamps.len() as u64;
                    if rule.hold == 0 {
                        self.fire(rule, &key, at, tell);
                    }
                }
            }
        }
        self.list(rule, &key);
    }

    fn has_enough(&self, rule: &Rule, key: &Key, at: Timestamp) -> bool {
        let Condition::Count { count, within } = rule.condition else { return false };
        self.watched[key].ends(count, within).is_some_and(|ends| ends > at)
    }

    /// All entries stamped before `to` have been dealt with, and no more of them will come.
    pub fn pass(&mut self, rule: &Rule, to: Timestamp, tell: &mut impl FnMut(Word)) {
        while let Some(due) = self.due()
            && due < to
        {
            if let Some(gap) = self.gaps.front().copied().filter(|gap| gap.from <= due) {
                self.gaps.pop_front();
                self.stepped = gap.to;
                self.step_over(rule, gap);
            } else if self.due.first().is_some_and(|(first, _)| *first == due)
                && let Some((_, key)) = self.due.pop_first()
            {
                // What becomes so at the end of the warm-up is known by then.
                self.settle(rule, &key, due, tell);
            } else {
                self.warmed_up(rule, tell);
            }
        }
        self.position = self.position.max(to);
    }

    /// Does what is due for a key.
    fn settle(&mut self, rule: &Rule, key: &Key, now: Timestamp, tell: &mut impl FnMut(Word)) {
        let Some(watched) = self.watched.get_mut(key) else { return };
        watched.listed = None;
        if watched.due(rule).is_some_and(|due| due <= now) {
            match rule.condition {
                Condition::Absent { .. } => self.fire(rule, key, now, tell),
                Condition::Count { count, within } => {
                    if watched.begun.is_none() {
                        self.watched.remove(key);
                        return;
                    }
                    if watched.ends(count, within).is_none_or(|ends| ends <= now) {
                        watched.begun = None;
                        if let Some(firing) = watched.firing.take() {
                            self.tell(Phase::Resolved, key, firing, now, tell);
                        }
                    } else {
                        self.fire(rule, key, now, tell);
                    }
                }
            }
        }
        self.list(rule, key);
    }

    /// Sees to it that the key is looked at when something is due. It may be looked at too early, then this is done again:
    /// most events only put off what is due.
    fn list(&mut self, rule: &Rule, key: &Key) {
        let Some(watched) = self.watched.get_mut(key) else { return };
        let Some(due) = watched.due(rule) else { return };
        if watched.listed.is_some_and(|listed| listed <= due) {
            return;
        }
        if let Some(listed) = watched.listed.replace(due) {
            self.due.remove(&(listed, key.clone()));
        }
        self.due.insert((due, key.clone()));
    }

    fn fire(&mut self, rule: &Rule, key: &Key, at: Timestamp, tell: &mut impl FnMut(Word)) {
        let by: &[u8] = if let Key::Term(bytes) = key { bytes } else { &[] };
        let id = AlertId::of(&rule.name, self.number + 1, by, at);
        let watched = self.watched.get_mut(key).expect("whoever fires is watched");
        let firing = Firing { id, at, entry: watched.last };
        watched.firing = Some(firing);
        self.tell(Phase::Firing, key, firing, at, tell);
    }

    fn tell(
        &mut self,
        phase: Phase,
        key: &Key,
        firing: Firing,
        at: Timestamp,
        tell: &mut impl FnMut(Word),
    ) {
        if self.warm_up.is_some() {
            return;
        }
        let count = self.watched.get(key).map_or(0, |watched| watched.matched);
        self.number += 1;
        self.tally.fired += u64::from(phase == Phase::Firing);
        tell(Word {
            phase,
            key: key.clone(),
            id: firing.id,
            number: self.number,
            at,
            count,
            entry: firing.entry,
            firing_at: (phase == Phase::Resolved).then_some(firing.at),
        });
    }

    /// From here on it is told what happens; what happened before and was not told, too.
    fn warmed_up(&mut self, rule: &Rule, tell: &mut impl FnMut(Word)) {
        let Some(WarmUp { until, mut known }) = self.warm_up.take() else { return };
        let fires: Vec<Key> = self.firing().map(|(key, _)| key.clone()).collect();
        for key in fires {
            match known.remove(&key) {
                Some(firing) => {
                    self.watched.get_mut(&key).expect("it fires").firing = Some(firing);
                }
                None => self.fire(rule, &key, until, tell),
            }
        }
        for (key, firing) in known {
            self.tell(Phase::Resolved, &key, firing, until, tell);
        }
    }

    /// What was silent while nobody watched was not absent.
    fn step_over(&mut self, rule: &Rule, gap: Unwatched) {
        let long = rule.horizon();
        let mut keys = Vec::new();
        for (key, watched) in &mut self.watched {
            let Some(due) = watched.absent_at.filter(|_| watched.firing.is_none()) else {
                continue;
            };
            let since = Timestamp::from_micros(due.micros().saturating_sub(long));
            let unwatched = gap.to.micros_since(gap.from.max(since));
            let least = gap.to.micros() + long.min(GRACE);
            watched.absent_at = Some(Timestamp::from_micros((due.micros() + unwatched).max(least)));
            keys.push(key.clone());
        }
        keys.iter().for_each(|key| self.list(rule, key));
    }
}

/// From which moment on events play a part at that one.
fn reach(rule: &Rule, at: Timestamp, gaps: &[Unwatched]) -> u64 {
    let long = rule.horizon();
    let mut moment = at.micros();
    if let Condition::Absent { .. } = rule.condition {
        // Who was not absent yet when a stretch began is waited for until `long` after it at most.
        for gap in gaps.iter().rev().filter(|gap| gap.from < at) {
            if gap.to.micros() + long < moment {
                break;
            }
            moment = moment.min(gap.from.micros());
        }
    }
    moment.saturating_sub(long)
}

/// Why a rule could not be asked about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unasked {
    /// The event has not what `by` names.
    WithoutKey,
    /// The match spec took too long.
    OverBudget,
}

#[cfg(test)]
mod tests;
