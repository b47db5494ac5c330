//! What the instance `alerts` says: which alerts fire, what is silenced, and when nobody watched.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::background::FETCH_BYTES;
use crate::analysis::alert_event::{AlertEvent, Phase, SilenceEvent, Unwatched};
use crate::analysis::alerts::Firing;
use crate::analysis::silences::Silences;
use crate::analysis::window::Key;
use crate::etf::TermRef;
use crate::instance::Instance;
use crate::store::{ReadError, StoreCursor};
use crate::time::Timestamp;

/// Unwatched stretches that are remembered, and rules, those that are gone among them.
const MAX_GAPS: usize = 1000;
const MAX_RULES: usize = 10_000;

/// A rule and a key.
pub(super) type Whose = (String, Key);

/// What of it is stored, so that only the end of the log has to be read again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Summary {
    /// The last entry that was read.
    pub(super) learned: Timestamp,
    /// From which one on it has to be read to know what fires.
    learn_from: Timestamp,
    /// Each rule's last word: its number, and when it was so.
    last: BTreeMap<String, (u64, Timestamp)>,
    /// Stretches that nobody watched.
    pub(super) gaps: Vec<Unwatched>,
    pub(super) silences: Silences,
}

/// What is known of it.
pub(super) struct Words {
    cursor: Box<dyn StoreCursor>,
    /// Of entries up to this one the summary has told already.
    summed_up: Timestamp,
    pub(super) summary: Summary,
    /// What fires, and the entry that said so.
    pub(super) firing: BTreeMap<Whose, (Timestamp, Arc<AlertEvent>)>,
}

impl Words {
    /// Nothing is read yet.
    pub(super) fn new(told: &Instance, summary: Summary) -> Self {
        Words {
            cursor: told.log().cursor(summary.learn_from, false),
            summed_up: summary.learned,
            summary,
            firing: BTreeMap::new(),
        }
    }

    /// Reads what there is.
    pub(super) fn learn(&mut self) -> Result<(), ReadError> {
        while let Some(chunk) = self.cursor.next(FETCH_BYTES)? {
            for entry in chunk.entries() {
                self.take(entry.timestamp, TermRef::from_walked(entry.event));
            }
        }
        self.cursor.let_go(None);
        let oldest = self.firing.values().map(|(at, _)| *at).min();
        self.summary.learn_from = oldest.unwrap_or(self.summary.learned.next());
        Ok(())
    }

    fn take(&mut self, at: Timestamp, event: TermRef<'_>) {
        let is_summed_up = at <= self.summed_up;
        if !is_summed_up {
            self.summary.take(at, event);
        }
        let Some(alert) = AlertEvent::decode(event) else { return };
        let whose = (alert.rule.clone(), alert.key());
        let is_ours = match alert.phase {
            Phase::Firing => alert.has_due_id(),
            Phase::Resolved => self.firing.get(&whose).is_none_or(|(_, it)| it.id == alert.id),
        };
        if !is_ours || !is_summed_up && !self.summary.is_next(&alert) {
            return;
        }
        match alert.phase {
            Phase::Firing => self.firing.insert(whose, (at, Arc::new(alert))),
            Phase::Resolved => self.firing.remove(&whose),
        };
    }

    /// What fires of a rule.
    pub(super) fn firing_of(&self, rule: &str) -> BTreeMap<Key, Firing> {
        let of_rule = self.firing.iter().filter(|((name, _), _)| name == rule);
        let firing = |it: &AlertEvent| Firing { id: it.id, at: it.at, entry: it.entry };
        of_rule.map(|((_, key), (_, alert))| (key.clone(), firing(alert))).collect()
    }

    /// A rule's last word: its number, and when it was so.
    pub(super) fn last_of(&self, rule: &str) -> Option<(u64, Timestamp)> {
        self.summary.last.get(rule).copied()
    }

    /// The number of a rule's last word.
    pub(super) fn number_of(&self, rule: &str) -> u64 {
        self.last_of(rule).map_or(0, |(number, _)| number)
    }
}

impl Summary {
    fn take(&mut self, at: Timestamp, event: TermRef<'_>) {
        self.learned = at;
        if let Some(gap) = Unwatched::decode(event) {
            // Whatever says more than that was nobody of us.
            let is_next = self.gaps.last().is_none_or(|last| last.to <= gap.from);
            if gap.to <= at && is_next {
                self.gaps.push(gap);
                let beyond = self.gaps.len().saturating_sub(MAX_GAPS);
                self.gaps.drain(..beyond);
            }
        } else if let Some(event) = SilenceEvent::decode(event) {
            self.silences.learn(at, event);
        }
    }

    /// Whether a word is the next one of its rule: ours have no gap in their numbers.
    fn is_next(&mut self, alert: &AlertEvent) -> bool {
        let is_next = match self.last.get(&alert.rule) {
            Some((last, _)) => alert.number == last + 1,
            // Those before may have been deleted; that one is resolved says nothing of those.
            None => alert.phase == Phase::Firing && self.last.len() < MAX_RULES,
        };
        if is_next {
            self.last.insert(alert.rule.clone(), (alert.number, alert.at));
        }
        is_next
    }
}
