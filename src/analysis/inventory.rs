//! What ran where and when, of what concerns faults.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::deployment::{Application, Applications, Change, Deployment, Origin};
use super::explain::Deployed;
use super::fault::Version;
use crate::time::Timestamp;

/// The most nodes that are remembered, and the most deployments of each. The node that was heard of longest ago gives way.
const MAX_NODES: usize = 10_000;
const MAX_DEPLOYMENTS: usize = 256;

/// What runs on nodes, learned from the entries of the instance `nodes` in their order.
#[derive(Debug, Default)]
pub struct Inventory {
    nodes: HashMap<String, Known>,
    /// The node that was heard of longest ago first.
    by_age: BTreeSet<(Timestamp, String)>,
    /// What nodes run, each once, however many run it and how often they were restarted: 2,000 modules take 250 kB.
    installed: HashSet<Arc<Installed>>,
    /// Modules that were a dependency's on any node.
    dependencies: HashSet<String>,
}

/// A node.
#[derive(Debug, Default)]
struct Known {
    heard: Timestamp,
    deployments: BTreeMap<Timestamp, Arc<Installed>>,
}

/// The applications of a node that are not Erlang's own.
#[derive(Debug, Default, PartialEq, Eq)]
struct Installed {
    versions: Vec<Version>,
    /// How many of those are the team's own: the first ones.
    own: usize,
    /// Which of them has a module, and whether it is a dependency.
    modules: HashMap<String, (u32, bool)>,
}

impl Hash for Installed {
    /// What is equal has equal versions.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.versions.hash(state);
    }
}

impl Installed {
    fn of(by_name: &BTreeMap<String, Application>) -> Self {
        let mut installed = Installed::default();
        let of = |origin| by_name.iter().filter(move |(_, it)| it.origin == origin);
        installed.own = of(Origin::Own).count();
        for (name, application) in of(Origin::Own).chain(of(Origin::Dependency)) {
            let number = u32::try_from(installed.versions.len()).unwrap_or(u32::MAX);
            installed
                .versions
                .push(Version { application: name.clone(), version: application.version.clone() });
            let is_dependency = application.origin == Origin::Dependency;
            let modules = application.modules.iter().cloned();
            installed.modules.extend(modules.map(|module| (module, (number, is_dependency))));
        }
        installed
    }
}

impl Inventory {
    /// Learns of an entry of the instance `nodes`.
    pub fn learn(&mut self, at: Timestamp, deployment: &Deployment) {
        let Deployment { node, change, since, software, .. } = deployment;
        if let Some(known) = self.nodes.get_mut(node) {
            self.by_age.remove(&(known.heard, node.clone()));
            self.by_age.insert((at, node.clone()));
            known.heard = at;
        }
        // Those of an earlier entry it has run since then.
        let Applications::Told { by_name, .. } = &software.applications else { return };
        let installed = self.shared(Installed::of(by_name));
        if !self.nodes.contains_key(node) {
            if self.nodes.len() >= MAX_NODES {
                let (_, oldest) = self.by_age.pop_first().expect("as many as nodes");
                self.nodes.remove(&oldest);
            }
            self.by_age.insert((at, node.clone()));
            self.nodes.insert(node.clone(), Known { heard: at, ..Known::default() });
        }
        let known = &mut self.nodes.get_mut(node).expect("it is there by now").deployments;
        // Events that came while the node was asked are of what it said then.
        let from = if *change == Change::Up { *since } else { at };
        let before = known.range(..=from).next_back();
        if !before.is_some_and(|(_, before)| Arc::ptr_eq(before, &installed)) {
            known.insert(from, installed);
        }
        if known.len() > MAX_DEPLOYMENTS {
            known.pop_first();
        }
        // Nobody knows of those that went.
        self.installed.retain(|it| Arc::strong_count(it) > 1);
    }

    /// The same, in the place that others have it.
    fn shared(&mut self, installed: Installed) -> Arc<Installed> {
        if let Some(known) = self.installed.get(&installed) {
            return known.clone();
        }
        let dependencies =
            installed.modules.iter().filter(|(_, (_, is_dependency))| *is_dependency);
        self.dependencies.extend(dependencies.map(|(module, _)| module.clone()));
        let installed = Arc::new(installed);
        self.installed.insert(installed.clone());
        installed
    }

    /// Whether a module belongs to somebody else's application on a node, or, if that is not known of it, on any.
    pub fn is_dependency(&self, node: Option<&str>, module: &str) -> bool {
        let known = node.and_then(|node| self.nodes.get(node));
        let latest = known.and_then(|known| known.deployments.last_key_value());
        match latest.and_then(|(_, installed)| installed.modules.get(module)) {
            Some((_, is_dependency)) => *is_dependency,
            None => self.dependencies.contains(module),
        }
    }

    /// The last version of an application of the team's own that a node began to run from one moment to another, in place of
    /// another one.
    pub fn deployed(&self, node: &str, from: Timestamp, to: Timestamp) -> Option<Deployed> {
        let known = &self.nodes.get(node)?.deployments;
        known.range(from..=to).rev().find_map(|(since, now)| {
            let (_, before) = known.range(..*since).next_back()?;
            now.versions[..now.own].iter().find_map(|it| {
                let before = before.versions.iter().find(|b| b.application == it.application)?;
                (before.version != it.version).then(|| Deployed {
                    application: it.application.clone(),
                    version: it.version.clone(),
                    before: before.version.clone(),
                    since: *since,
                })
            })
        })
    }

    /// The application that had a module on a node at a moment.
    pub fn version(
        &self,
        node: Option<&str>,
        module: Option<&str>,
        at: Timestamp,
    ) -> Option<Version> {
        let (_, installed) = self.nodes.get(node?)?.deployments.range(..=at).next_back()?;
        let (number, _) = installed.modules.get(module?)?;
        installed.versions.get(*number as usize).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::deployment::{Application, Software};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    /// A node comes up with the team's `shop` and somebody's `jsx` in these versions.
    fn up(seconds: u64, shop: &str, jsx: &str) -> Deployment {
        let application = |version: &str, origin, module: &str| Application {
            version: version.to_owned(),
            origin,
            modules: vec![module.to_owned()],
            modules_left_out: 0,
        };
        let by_name = [
            ("shop", application(shop, Origin::Own, "shop_cart")),
            ("jsx", application(jsx, Origin::Dependency, "jsx_decoder")),
            ("stdlib", application("5.0", Origin::Otp, "lists")),
        ];
        let by_name = by_name.into_iter().map(|(name, it)| (name.to_owned(), it)).collect();
        Deployment {
            node: "b@host".to_owned(),
            change: Change::Up,
            creation: 7,
            since: at(seconds),
            is_visible: true,
            reason: None,
            detail: None,
            software: Software {
                applications: Applications::Told { by_name, left_out: 0 },
                ..Software::default()
            },
        }
    }

    #[test]
    fn what_a_node_runs_is_known_for_each_moment() {
        let mut inventory = Inventory::default();
        inventory.learn(at(101), &up(100, "1.4.1", "3.0"));
        inventory.learn(at(201), &up(200, "1.4.1", "3.1"));
        inventory.learn(at(301), &up(300, "1.4.2", "3.1"));
        let version = |seconds| {
            inventory.version(Some("b@host"), Some("shop_cart"), at(seconds)).map(|it| it.version)
        };
        assert_eq!(version(99), None);
        assert_eq!((version(250), version(300)), (Some("1.4.1".into()), Some("1.4.2".into())));
        assert!(inventory.is_dependency(Some("b@host"), "jsx_decoder"));
        assert!(inventory.is_dependency(Some("never@seen"), "jsx_decoder"));
        assert!(!inventory.is_dependency(Some("b@host"), "shop_cart"));
    }

    #[test]
    fn a_deployment_is_another_version_of_the_teams_own() {
        let mut inventory = Inventory::default();
        inventory.learn(at(101), &up(100, "1.4.1", "3.0"));
        inventory.learn(at(201), &up(200, "1.4.1", "3.1"));
        inventory.learn(at(301), &up(300, "1.4.2", "3.1"));
        // The first that is known of a node is no change, nor is a dependency's.
        assert_eq!(inventory.deployed("b@host", at(0), at(250)), None);
        let found = inventory.deployed("b@host", at(0), at(300)).unwrap();
        let Deployed { application, version, before, since } = &found;
        assert_eq!([application, version, before], ["shop", "1.4.2", "1.4.1"]);
        assert_eq!(*since, at(300));
        assert_eq!(inventory.deployed("b@host", at(301), at(400)), None);
        assert_eq!(inventory.deployed("c@host", at(0), at(400)), None);
    }

    /// `bounded`: more nodes than there may be. One of them goes on to be heard of.
    #[test]
    fn the_node_that_was_heard_of_longest_ago_gives_way() {
        let mut inventory = Inventory::default();
        let node = |n: usize, seconds| Deployment {
            node: format!("n{n}@host"),
            ..up(seconds, if n.is_multiple_of(2) { "1.4.1" } else { "1.4.2" }, "3.0")
        };
        inventory.learn(at(1), &node(0, 1));
        for n in 1..=MAX_NODES {
            let seconds = 2 * n as u64;
            let down = Deployment {
                change: Change::Down,
                software: Software::default(),
                ..node(0, seconds)
            };
            inventory.learn(at(seconds), &down);
            inventory.learn(at(seconds + 1), &node(n, seconds));
        }
        let last = at(3 * MAX_NODES as u64);
        let is_known = |n: usize| {
            inventory.version(Some(&format!("n{n}@host")), Some("shop_cart"), last).is_some()
        };
        assert!(is_known(0) && !is_known(1) && is_known(2) && is_known(MAX_NODES));
        assert_eq!((inventory.nodes.len(), inventory.by_age.len()), (MAX_NODES, MAX_NODES));
    }

    #[test]
    fn what_is_the_same_is_kept_once() {
        let mut inventory = Inventory::default();
        for n in 0..10 {
            inventory.learn(at(100 * n + 101), &up(100 * n + 100, "1.4.1", "3.0"));
            let other = Deployment { node: "c@host".to_owned(), ..up(100, "1.4.1", "3.0") };
            inventory.learn(at(100 * n + 102), &other);
        }
        assert_eq!(inventory.installed.len(), 1);
        assert_eq!(inventory.nodes["b@host"].deployments.len(), 1);
        // A restart with another version, and back; each is kept once and goes with the last that had it.
        for n in 10..10 + 3 * MAX_DEPLOYMENTS as u64 {
            let version = if n.is_multiple_of(2) { "1.4.2" } else { "1.4.3" };
            inventory.learn(at(100 * n + 101), &up(100 * n + 100, version, "3.0"));
        }
        assert_eq!(inventory.installed.len(), 3);
        assert_eq!(inventory.nodes["b@host"].deployments.len(), MAX_DEPLOYMENTS);
    }
}
