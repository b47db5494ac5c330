//! What ran where and when, of what concerns faults.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::deployment::{Applications, Change, Deployment, Origin};
use super::explain::Deployed;
use super::fault::Version;
use crate::time::Timestamp;

/// The most nodes that are remembered, and the most deployments of each.
const MAX_NODES: usize = 10_000;
const MAX_DEPLOYMENTS: usize = 256;

/// What runs on nodes, learned from the entries of the instance `nodes` in their order.
#[derive(Debug, Default)]
pub struct Inventory {
    nodes: HashMap<String, BTreeMap<Timestamp, Arc<Installed>>>,
    /// Entries that later ones refer to.
    by_entry: HashMap<(String, Timestamp), Arc<Installed>>,
    /// Modules that were a dependency's on any node.
    dependencies: HashSet<String>,
}

/// The applications of a node that are not Erlang's own.
#[derive(Debug, Default)]
struct Installed {
    versions: Vec<Version>,
    /// How many of those are the team's own: the first ones.
    own: usize,
    /// Which of them has a module, and whether it is a dependency.
    modules: HashMap<String, (u32, bool)>,
}

impl Inventory {
    /// Learns of an entry of the instance `nodes`.
    pub fn learn(&mut self, at: Timestamp, deployment: &Deployment) {
        let Deployment { node, change, since, software, .. } = deployment;
        let installed = match &software.applications {
            Applications::Unknown => return,
            Applications::At(earlier) => match self.by_entry.get(&(node.clone(), *earlier)) {
                Some(installed) => installed.clone(),
                None => return,
            },
            Applications::Told { by_name, .. } => {
                let mut installed = Installed::default();
                let of = |origin| by_name.iter().filter(move |(_, it)| it.origin == origin);
                installed.own = of(Origin::Own).count();
                for (name, application) in of(Origin::Own).chain(of(Origin::Dependency)) {
                    let number = u32::try_from(installed.versions.len()).unwrap_or(u32::MAX);
                    installed.versions.push(Version {
                        application: name.clone(),
                        version: application.version.clone(),
                    });
                    let is_dependency = application.origin == Origin::Dependency;
                    for module in &application.modules {
                        installed.modules.insert(module.clone(), (number, is_dependency));
                        if is_dependency {
                            self.dependencies.insert(module.clone());
                        }
                    }
                }
                let installed = Arc::new(installed);
                if self.by_entry.len() >= MAX_NODES {
                    self.by_entry.clear();
                }
                self.by_entry.insert((node.clone(), at), installed.clone());
                installed
            }
        };
        if self.nodes.len() >= MAX_NODES && !self.nodes.contains_key(node) {
            return;
        }
        // Events that came while the node was asked are of what it said then.
        let from = if *change == Change::Up { *since } else { at };
        let known = self.nodes.entry(node.clone()).or_default();
        known.insert(from, installed);
        if known.len() > MAX_DEPLOYMENTS {
            known.pop_first();
        }
    }

    /// Whether a module belongs to somebody else's application on a node, or, if that is not known of it, on any.
    pub fn is_dependency(&self, node: Option<&str>, module: &str) -> bool {
        let latest =
            node.and_then(|node| self.nodes.get(node)).and_then(|known| known.last_key_value());
        match latest.and_then(|(_, installed)| installed.modules.get(module)) {
            Some((_, is_dependency)) => *is_dependency,
            None => self.dependencies.contains(module),
        }
    }

    /// The last version of an application of the team's own that a node began to run from one moment to another, in place of
    /// another one.
    pub fn deployed(&self, node: &str, from: Timestamp, to: Timestamp) -> Option<Deployed> {
        let known = self.nodes.get(node)?;
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
        let (_, installed) = self.nodes.get(node?)?.range(..=at).next_back()?;
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
}
