//! Tasks that read nodes and logs and write what they make of them to instances of their own.
//!
//! Each runs if there is an instance of its name, and owns what it remembers. What it writes is a log like any other.

pub mod analyses;
mod answers;
mod background;
mod checkpoint;
pub mod deployments;
pub mod explain;
pub mod faults;
#[cfg(feature = "http")]
#[allow(dead_code, reason = "nobody sends alerts yet")]
pub mod webhook;

use std::sync::Arc;

use crate::instance::analyst::Analyst;
use crate::instance::calls::Instances;
use crate::node::Node;
use analyses::{AnalysisConfig, AnalysisWatcher};
use answers::Answers;
use deployments::Deployments;
use faults::{FaultConfig, FaultWatcher};

/// What watches.
pub struct Watchers {
    /// Who comes and goes, and what runs there; `None` without an instance for it.
    pub deployments: Option<Deployments>,
    /// What keeps breaking; `None` without an instance for it.
    pub faults: Option<Arc<FaultWatcher>>,
    /// What is computed of windows of time; `None` without any.
    pub analyses: Option<Arc<AnalysisWatcher>>,
    /// What Erlang code is answered; instances know of it as long as it is here.
    _answers: Arc<Answers>,
}

impl Watchers {
    /// Starts those that have an instance to write to. They end when this is dropped.
    pub fn start(
        node: &Node,
        instances: &Instances,
        faults: FaultConfig,
        analyses: Vec<AnalysisConfig>,
    ) -> Self {
        let nodes = instances.get(deployments::INSTANCE);
        let deployments = nodes.map(|nodes| Deployments::start(node, nodes.clone()));
        let asked = deployments.as_ref().map(|deployments| deployments.asked().clone());
        let faults = FaultWatcher::start(faults, instances, asked).map(Arc::new);
        let analyses = AnalysisWatcher::start(analyses, instances).map(Arc::new);
        let answers = Arc::new(Answers { faults: faults.clone() });
        let analyst: Arc<dyn Analyst> = answers.clone();
        for instance in instances.values() {
            instance.set_analyst(Arc::downgrade(&analyst));
        }
        Watchers { deployments, faults, analyses, _answers: answers }
    }

    /// Ends them; what they know is stored. Blocks.
    pub fn stop(self) {
        drop(self.deployments);
        if let Some(faults) = self.faults {
            faults.stop();
        }
        if let Some(analyses) = self.analyses {
            analyses.stop();
        }
    }
}
