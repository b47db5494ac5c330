//! Which errors are the same fault, by all that is known: what the event says, whose code it came up in, and what the
//! operator wants.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use super::facts::Facts;
use super::fault_rule::{self, FaultRule};
use super::fingerprint::Evidence;
use super::inventory::Inventory;
use super::kind::Level;
use crate::etf::TermRef;
use crate::time::Timestamp;

use super::deployment::Deployment;

/// What decides which errors are the same fault.
#[derive(Debug, Default)]
pub struct Grouping {
    inventory: RwLock<Inventory>,
    rules: Vec<FaultRule>,
}

/// What an event tells that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The node it happened on.
    pub node: Option<String>,
    /// What tells it from others.
    pub evidence: Evidence,
}

impl Grouping {
    /// With the rules of the operator.
    pub fn new(rules: Vec<FaultRule>) -> Self {
        Grouping { inventory: RwLock::default(), rules }
    }

    /// The rules of the operator.
    pub fn rules(&self) -> &[FaultRule] {
        &self.rules
    }

    /// What runs where.
    pub fn inventory(&self) -> RwLockReadGuard<'_, Inventory> {
        self.inventory.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns of an entry of the instance `nodes`.
    pub fn learn(&self, at: Timestamp, deployment: &Deployment) {
        self.inventory.write().unwrap_or_else(PoisonError::into_inner).learn(at, deployment);
    }

    /// What the event tells, if it is an error. Costs some 30 ns for almost all that are none.
    pub fn error(&self, event: TermRef<'_>) -> Option<Error> {
        if !Level::may_be_error(event) {
            return None;
        }
        let facts = Facts::of(event)?;
        let node = facts.node().map(|node| node.to_str().into_owned());
        let inventory = self.inventory();
        let is_dependency = |module: &str| inventory.is_dependency(node.as_deref(), module);
        let mut evidence = Evidence::of(&facts, &is_dependency)?;
        evidence.rule = fault_rule::named(&self.rules, event);
        drop(inventory);
        Some(Error { node, evidence })
    }
}
