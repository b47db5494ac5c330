//! Global names: which node must know which of our pids, and what to register again.
//!
//! `global` keeps names in every visible node, and after a dropped link or a dead registrar these copies
//! differ and stay different. So the truth is asked for: what each visible node answers to `whereis_name`
//! goes in, one step towards agreement comes out, and the next survey tells whether it helped.
//!
//! Behaviour of `global`: `kernel`'s reference manual; its partial failures were measured on OTP 23 to 29.

use std::collections::HashMap;

use super::NodeName;

/// Numbers tried for an instance's alias, as the original did.
pub const ALIASES: u8 = 10;

/// Surveys in a row in which a node does not know a name that others know, before that is repaired: a node
/// that just joined is still learning.
const PATIENCE: u32 = 2;

/// Whom a visible node knows under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// Our process.
    Ours,
    /// A process of an earlier life of our node.
    Stale,
    /// Somebody else's.
    Other,
}

/// The next step towards one name that every visible node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing to do before the next survey.
    Wait,
    /// Every visible node knows the name as ours.
    Settled,
    /// Register the name through this node.
    Register(NodeName),
    /// Unregister it through the first, register it through the second: they disagree.
    Repair(NodeName, NodeName),
    /// Remove what an earlier life of our node left, through this node.
    Clear(NodeName),
    /// The number is taken: survey this one instead.
    Try(u8),
    /// All ten are taken.
    Exhausted,
}

/// The alias of one instance: a number, and how far the cluster agrees on it.
#[derive(Debug, Default)]
pub struct Alias {
    number: u8,
    settled: bool,
    unknown: HashMap<NodeName, u32>,
}

impl Alias {
    /// The number that is sought or held.
    pub const fn number(&self) -> u8 {
        self.number
    }

    /// The number, once every visible node of the last survey knew it as ours.
    pub fn held(&self) -> Option<u8> {
        self.settled.then_some(self.number)
    }

    /// `global_name_conflict` told us that the name went to another process: look for one from the start.
    pub fn lost(&mut self) {
        *self = Alias::default();
    }

    /// Decides on what each visible node knows under the current number.
    pub fn decide(&mut self, survey: &[(NodeName, Holder)]) -> Step {
        self.unknown
            .retain(|node, _| survey.iter().any(|(n, h)| n == node && *h == Holder::Nobody));
        let first =
            |holder| survey.iter().find(|(_, h)| *h == holder).map(|(node, _)| node.clone());
        if first(Holder::Other).is_some() {
            let next = self.number + 1;
            self.lost();
            if next == ALIASES {
                return Step::Exhausted;
            }
            self.number = next;
            return Step::Try(next);
        }
        if let Some(node) = first(Holder::Stale) {
            self.settled = false;
            return Step::Clear(node);
        }
        let Some(unaware) = first(Holder::Nobody) else {
            self.settled = !survey.is_empty();
            return if self.settled { Step::Settled } else { Step::Wait };
        };
        let Some(aware) = first(Holder::Ours) else {
            self.settled = false;
            return Step::Register(unaware);
        };
        for (node, _) in survey.iter().filter(|(_, holder)| *holder == Holder::Nobody) {
            let surveys = self.unknown.entry(node.clone()).or_default();
            *surveys += 1;
            if *surveys >= PATIENCE {
                *surveys = 0;
                return Step::Repair(aware, node.clone());
            }
        }
        Step::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(holders: &[Holder]) -> Vec<(NodeName, Holder)> {
        let name = |n: usize| NodeName::new(&format!("n{n}@h")).unwrap();
        holders.iter().enumerate().map(|(n, holder)| (name(n), *holder)).collect()
    }

    fn node(n: usize) -> NodeName {
        survey(&[Holder::Ours; 10])[n].0.clone()
    }

    #[test]
    fn the_first_free_number_is_registered_and_settles() {
        use Holder::{Nobody, Other, Ours};
        let mut alias = Alias::default();
        assert_eq!(alias.decide(&[]), Step::Wait);
        assert_eq!(alias.decide(&survey(&[Other, Other])), Step::Try(1));
        assert_eq!(alias.decide(&survey(&[Nobody, Nobody])), Step::Register(node(0)));
        assert_eq!(alias.held(), None);
        assert_eq!(alias.decide(&survey(&[Ours, Ours])), Step::Settled);
        assert_eq!(alias.held(), Some(1));
    }

    #[test]
    fn a_node_that_stays_unaware_is_repaired_with_patience() {
        use Holder::{Nobody, Ours};
        let mut alias = Alias::default();
        assert_eq!(alias.decide(&survey(&[Ours, Nobody])), Step::Wait);
        assert_eq!(alias.decide(&survey(&[Ours, Nobody])), Step::Repair(node(0), node(1)));
        assert_eq!(alias.decide(&survey(&[Ours, Nobody])), Step::Wait);
        assert_eq!(alias.decide(&survey(&[Ours, Ours])), Step::Settled);
    }

    #[test]
    fn an_earlier_life_is_cleared_and_a_conflict_starts_over() {
        use Holder::{Other, Ours, Stale};
        let mut alias = Alias::default();
        assert_eq!(alias.decide(&survey(&[Ours, Stale])), Step::Clear(node(1)));
        for number in 1..ALIASES {
            assert_eq!(alias.decide(&survey(&[Other])), Step::Try(number));
        }
        assert_eq!(alias.decide(&survey(&[Other])), Step::Exhausted);
        assert_eq!(alias.number(), 0);
    }
}
