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
pub mod notify;
pub mod rules;
#[cfg(feature = "http")]
pub mod webhook;

use std::sync::{Arc, Mutex, PoisonError};

use crate::analysis::fault_rule::FaultRule;
use crate::analysis::rule::Rule;
use crate::analysis::window::Analysis;
use crate::instance::InstanceConfig;
use crate::instance::analyst::Analyst;
use crate::instance::calls::Instances;
use crate::node::Node;
use analyses::{AnalysisConfig, AnalysisWatcher};
use answers::Answers;
use deployments::{Asked, Deployments};
use faults::{FaultConfig, FaultWatcher};
use notify::{Notifier, NotifyConfig};
use rules::{RuleConfig, RuleWatcher};

/// What is to be watched, where there are instances for it.
#[derive(Debug, Default)]
pub struct WatcherConfig {
    faults: FaultConfig,
    analyses: Vec<AnalysisConfig>,
    rules: RuleConfig,
    notify: NotifyConfig,
}

impl WatcherConfig {
    /// With the directories that instances have.
    pub fn of(
        configs: &[InstanceConfig],
        fault_rules: Vec<FaultRule>,
        analyses: Vec<Analysis>,
        rules: Vec<Rule>,
        notify: NotifyConfig,
    ) -> Self {
        WatcherConfig {
            faults: FaultConfig::of(configs, fault_rules),
            analyses: AnalysisConfig::of(configs, analyses),
            rules: RuleConfig::of(configs, rules),
            notify,
        }
    }
}

/// What watches.
pub struct Watchers {
    /// Who comes and goes, and what runs there; `None` without an instance for it, or when it has ended.
    deployments: Mutex<Option<Deployments>>,
    /// What keeps breaking; `None` without an instance for it.
    pub faults: Option<Arc<FaultWatcher>>,
    /// What is computed of windows of time.
    pub analyses: Arc<AnalysisWatcher>,
    /// What somebody is to be told of, and who; `None` without an instance for it.
    pub alerts: Option<Arc<AlertWatcher>>,
    /// What Erlang code is answered; instances know of it as long as it is here.
    _answers: Arc<Answers>,
}

/// What somebody is to be told of, and who.
pub struct AlertWatcher {
    /// What fires.
    pub rules: Arc<RuleWatcher>,
    /// Who is told.
    pub notifier: Notifier,
}

impl AlertWatcher {
    fn start(
        node: &Node,
        instances: &Instances,
        faults: Option<&Arc<FaultWatcher>>,
        rules: RuleConfig,
        notify: &NotifyConfig,
    ) -> Option<Self> {
        let dir = rules.dir.clone()?;
        // Before a rule can say anything: whoever is new hears its first word.
        let since = instances.get(rules::INSTANCE)?.tail().next_stamp();
        let rules = Arc::new(RuleWatcher::start(rules, instances, faults.cloned())?);
        let told = &instances[rules::INSTANCE];
        let notifier = Notifier::start(node, told, &rules, dir, notify, since);
        Some(AlertWatcher { rules, notifier })
    }

    fn stop(&self) {
        self.rules.stop();
        self.notifier.stop();
    }
}

impl Watchers {
    /// Starts those that have an instance to write to. They end when this is dropped.
    pub fn start(node: &Node, instances: &Instances, config: WatcherConfig) -> Self {
        let WatcherConfig { faults, analyses, rules, notify } = config;
        let nodes = instances.get(deployments::INSTANCE);
        let deployments = nodes.map(|nodes| Deployments::start(node, nodes.clone()));
        let asked = deployments.as_ref().map(|deployments| deployments.asked().clone());
        let faults = FaultWatcher::start(faults, instances, asked).map(Arc::new);
        let analyses = Arc::new(AnalysisWatcher::start(analyses, instances));
        let alerts = AlertWatcher::start(node, instances, faults.as_ref(), rules, &notify);
        let alerts = alerts.map(Arc::new);
        let answers = Arc::new(Answers { faults: faults.clone() });
        let analyst: Arc<dyn Analyst> = answers.clone();
        for instance in instances.values() {
            instance.set_analyst(Arc::downgrade(&analyst));
        }
        let deployments = Mutex::new(deployments);
        Watchers { deployments, faults, analyses, alerts, _answers: answers }
    }

    /// What the nodes that are connected run, if that is watched.
    pub fn deployed(&self) -> Option<Asked> {
        let deployments = self.deployments.lock().unwrap_or_else(PoisonError::into_inner);
        deployments.as_ref().map(|deployments| deployments.asked().clone())
    }

    /// Goes on with other rules, receivers of alerts and analyses; what there is now. Those that are the same go on where they
    /// were, and how faults are told apart stays. Blocks until what was known is stored.
    pub fn replace(&self, config: WatcherConfig) -> String {
        let WatcherConfig { faults, analyses, rules, notify } = config;
        self.analyses.replace(analyses);
        let mut rule_count = 0;
        if let Some(alerts) = &self.alerts {
            let since = alerts.rules.next_stamp();
            alerts.rules.replace(rules);
            alerts.notifier.replace(&notify, since);
            rule_count = alerts.rules.running().len();
        }
        let mut there_is =
            format!("{rule_count} rules, {} analyses", self.analyses.running().len());
        if self.faults.as_ref().is_some_and(|it| it.grouping().rules() != faults.rules) {
            there_is.push_str("; fault rules are others now, which hold from the next start on");
        }
        there_is
    }

    /// Ends them; what they know is stored. Blocks.
    pub fn stop(&self) {
        drop(self.deployments.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(faults) = &self.faults {
            faults.stop();
        }
        self.analyses.stop();
        if let Some(alerts) = &self.alerts {
            alerts.stop();
        }
    }
}
