//! When to install a handler, and when to try again.
//!
//! One plan per node and place (an event manager, or `logger`). It only decides: outcomes go in, the state that
//! `info` shows and the moment of the next try come out.

use std::time::{Duration, Instant};

/// How far the handler of one place has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandlerState {
    /// It is being installed.
    Installing,
    /// It is there.
    Installed,
    /// It is not, and will be tried again.
    Waiting(String),
    /// The node will not have it; tried again rarely.
    Refused(String),
}

/// What became of a try, or of a handler that was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    /// The handler is installed.
    Installed,
    /// The node is not ready, as while it boots.
    NotReady(String),
    /// What it is to be installed in does not exist.
    Missing(String),
    /// It cannot be installed on this node as it is.
    Refused(String),
    /// The handler is gone from where it was.
    Removed(String),
}

/// A node that is not ready is asked again after this, and after each further failure after this more.
const NOT_READY: Duration = Duration::from_millis(250);

/// An event manager that does not exist is looked for this often, as the original did.
pub(super) const MISSING: Duration = Duration::from_secs(5);

/// A node that refuses may be repaired by hand.
const REFUSED: Duration = Duration::from_secs(60);

/// A handler that lasted this long and is gone is installed again at once; one that keeps vanishing is not.
const LASTED: Duration = Duration::from_secs(5);

/// The plan for one place.
#[derive(Debug)]
pub(super) struct Plan {
    state: HandlerState,
    failures: u32,
    installed_at: Option<Instant>,
    due: Option<Instant>,
}

impl Plan {
    /// Nothing is installed, and it is due now.
    pub(super) const fn new() -> Self {
        Plan { state: HandlerState::Installing, failures: 0, installed_at: None, due: None }
    }

    /// The state, for `info`.
    pub(super) const fn state(&self) -> &HandlerState {
        &self.state
    }

    /// When to try; `None` is now, unless it is installed.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A try begins.
    pub(super) fn begin(&mut self) {
        (self.state, self.due) = (HandlerState::Installing, None);
    }

    /// Takes in what happened.
    pub(super) fn record(&mut self, now: Instant, outcome: Tried) {
        let (state, wait) = match outcome {
            Tried::Installed => {
                self.installed_at = Some(now);
                (HandlerState::Installed, None)
            }
            Tried::NotReady(why) => (HandlerState::Waiting(why), Some(self.growing())),
            Tried::Missing(why) => (HandlerState::Waiting(why), Some(MISSING)),
            Tried::Refused(why) => (HandlerState::Refused(why), Some(REFUSED)),
            Tried::Removed(why) => {
                let installed_at = self.installed_at.take();
                let lasted = installed_at.is_some_and(|since| now >= since + LASTED);
                if lasted {
                    self.failures = 0;
                }
                let is_first = self.failures == 0;
                let wait = self.growing();
                (HandlerState::Waiting(why), Some(if is_first { Duration::ZERO } else { wait }))
            }
        };
        self.state = state;
        self.due = wait.map(|wait| now + wait);
    }

    fn growing(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        (NOT_READY * self.failures.min(100)).min(MISSING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::monotonic;

    /// The waits after each outcome, which come a second apart.
    fn waits(outcomes: &[Tried]) -> Vec<Option<u128>> {
        let mut plan = Plan::new();
        let mut now = monotonic();
        let mut waits = Vec::new();
        for outcome in outcomes {
            now += Duration::from_secs(1);
            plan.record(now, outcome.clone());
            waits.push(plan.due().map(|due| (due - now).as_millis()));
        }
        waits
    }

    #[test]
    fn a_booting_node_is_asked_soon_and_then_less_often() {
        let not_ready = Tried::NotReady(String::new());
        let found = waits(&vec![not_ready; 30]);
        assert_eq!(found[..3], [Some(250), Some(500), Some(750)]);
        assert_eq!(found[29], Some(5000));
    }

    #[test]
    fn a_missing_manager_is_looked_for_every_five_seconds_and_a_refusal_stands_for_a_minute() {
        let why = String::new;
        let found = waits(&[Tried::Missing(why()), Tried::Refused(why()), Tried::Installed]);
        assert_eq!(found, [Some(5000), Some(60_000), None]);
    }

    #[test]
    fn a_handler_that_is_gone_comes_back_at_once_but_not_in_a_loop() {
        let (there, gone) = (Tried::Installed, Tried::Removed(String::new()));
        let cycle = [there.clone(), gone.clone(), there.clone(), gone.clone(), there, gone];
        assert_eq!(waits(&cycle), [None, Some(0), None, Some(500), None, Some(750)]);
    }
}
