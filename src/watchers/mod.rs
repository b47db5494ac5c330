//! Tasks that read nodes and logs and write what they make of them to instances of their own.
//!
//! Each runs if there is an instance of its name, and owns what it remembers. What it writes is a log like any other.

pub mod deployments;

use crate::instance::calls::Instances;
use crate::node::Node;
use deployments::Deployments;

/// What watches.
pub struct Watchers {
    /// Who comes and goes, and what runs there; `None` without an instance for it.
    pub deployments: Option<Deployments>,
}

impl Watchers {
    /// Starts those that have an instance to write to. They end when this is dropped.
    pub fn start(node: &Node, instances: &Instances) -> Self {
        let nodes = instances.get(deployments::INSTANCE);
        Watchers { deployments: nodes.map(|nodes| Deployments::start(node, nodes.clone())) }
    }
}
