//! An instance that is read, and the rules that are asked about its entries.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::super::background::FETCH_BYTES;
use super::{Progress, Running};
use crate::analysis::alerts::{Alerts, Word};
use crate::analysis::rule::{Sight, Working};
use crate::etf::TermRef;
use crate::instance::Instance;
use crate::store::{ReadError, StoreCursor};
use crate::time::{Timestamp, monotonic};

/// How often it is shown how far rules are, at most.
const SHOW_PERIOD: Duration = Duration::from_millis(200);

/// What a rule says.
pub(super) type Said = (Arc<Running>, Word);

/// An instance that is read, and the rules that are asked about its entries.
pub(super) struct Source {
    pub(super) instance: Arc<Instance>,
    cursor: Box<dyn StoreCursor>,
    pub(super) rules: Vec<Asked>,
    /// Until when it was asked for a promise.
    promise: Option<Timestamp>,
    pub(super) is_caught_up: bool,
    working: Working,
    /// Whether there is something new to show, and when it may be shown: it takes a look at every key.
    is_changed: bool,
    show_at: Instant,
    /// Nothing is read before, after it has failed.
    pub(super) retry_at: Instant,
}

/// A rule that is asked.
pub(super) struct Asked {
    pub(super) running: Arc<Running>,
    pub(super) alerts: Alerts,
}

impl Source {
    /// Nothing is read yet.
    pub(super) fn new(instance: Arc<Instance>, rules: Vec<Asked>) -> Self {
        let from = rules.iter().map(|asked| asked.alerts.position()).min();
        Source {
            cursor: instance.log().cursor(from.unwrap_or(Timestamp::MAX), false),
            instance,
            rules,
            promise: None,
            is_caught_up: false,
            working: Working::default(),
            is_changed: false,
            show_at: monotonic(),
            retry_at: monotonic(),
        }
    }

    /// Asks the rules about a portion, or sees that time passes; whether there is more.
    pub(super) fn read(&mut self, words: &mut Vec<Said>) -> Result<bool, ReadError> {
        let Source { instance, cursor, rules, promise, working, .. } = self;
        // Asked before the log is looked at: what is there then is all that there will be.
        let promised = promise.filter(|to| instance.tail().outstanding(*to).is_none());
        let chunk = cursor.next(FETCH_BYTES)?;
        match &chunk {
            None => {
                cursor.let_go(None);
                if let Some(to) = promised {
                    self.is_changed = true;
                    *promise = None;
                    rules.iter_mut().for_each(|asked| asked.pass(to.next(), words));
                }
                let now = instance.clock().now();
                let is_due =
                    rules.iter().filter_map(|asked| asked.alerts.due()).any(|due| due < now);
                if is_due && promise.is_none() {
                    let to = now.previous();
                    // Until we come again it may have been promised.
                    let _ = instance.tail().outstanding(to);
                    *promise = Some(to);
                }
            }
            Some(chunk) => {
                self.is_changed = true;
                let mut last = Timestamp::MIN;
                for entry in chunk.entries() {
                    let sight = Sight::of(TermRef::from_walked(entry.event));
                    last = entry.timestamp;
                    rules.iter_mut().for_each(|asked| asked.entry(last, &sight, working, words));
                }
                rules.iter_mut().for_each(|asked| asked.pass(last.next(), words));
            }
        }
        self.is_caught_up = chunk.is_none();
        Ok(chunk.is_some())
    }

    /// The same, if there is something new and it was not shown a moment ago.
    pub(super) fn publish_now_and_then(&mut self) {
        if self.is_changed && monotonic() >= self.show_at {
            self.publish();
            self.is_changed = false;
            self.show_at = monotonic() + SHOW_PERIOD;
        }
    }

    /// Shows how far its rules are.
    pub(super) fn publish(&self) {
        for Asked { running, alerts } in &self.rules {
            *running.progress.lock().unwrap_or_else(PoisonError::into_inner) = Progress {
                position: alerts.position(),
                keys: alerts.keys() as u64,
                firing: alerts.firing().count() as u64,
                tally: alerts.tally(),
            };
        }
    }
}

impl Asked {
    fn entry(
        &mut self,
        at: Timestamp,
        sight: &Sight<'_>,
        working: &mut Working,
        words: &mut Vec<Said>,
    ) {
        let Asked { running, alerts } = self;
        if at < alerts.position() {
            return;
        }
        match running.rule.takes(sight, working) {
            Ok(None) => {}
            Ok(Some(key)) => {
                alerts
                    .entry(&running.rule, at, key, &mut |word| words.push((running.clone(), word)));
            }
            Err(why) => alerts.count_unasked(why),
        }
    }

    fn pass(&mut self, to: Timestamp, words: &mut Vec<Said>) {
        let Asked { running, alerts } = self;
        alerts.pass(&running.rule, to, &mut |word| words.push((running.clone(), word)));
    }
}
