//! Nodes that come and go, with what runs on them, in the instance `nodes`.
//!
//! A node that connects is asked for its release and applications, and is `up` once it has answered or has had its time:
//! events captured from it meanwhile may be stamped earlier. While it stays, it is asked now and then whether its
//! applications are still the same: more are loaded while it starts, and releases are upgraded without a restart. A node
//! that connects again with the same creation is not asked again: its `up` refers to the entry that has its applications,
//! so that one whose connection flaps fills no log.
//!
//! # Invariants
//!
//! - `in_order`: for each connection there is one `up` and one `down`, in this order, unless we stop or start in between.

mod inquiry;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{debug, error};

use crate::analysis::deployment::{
    Application, Applications, Change, Deployment, Origin, Software,
};
use crate::instance::Instance;
use crate::node::task::Owned;
use crate::node::{Ended, Node, NodeEvent, Peer};
use crate::proto::NodeName;
use crate::time::Timestamp;
use inquiry::Answers;

/// The instance that is written to.
pub const INSTANCE: &str = "nodes";

/// How many nodes are asked at once.
const ASKED_AT_ONCE: usize = 16;

/// How long one node may take to answer everything.
const ASK_TIME: Duration = Duration::from_secs(5);

/// When a node is looked at again after it came up, and how often at last.
const FIRST_LOOK: Duration = Duration::from_secs(5);
const LOOK_PERIOD: Duration = Duration::from_secs(300);

/// How many nodes' applications are remembered for when they come back.
const MAX_REMEMBERED: usize = 4096;

/// Below this a creation is one of three, and tells no two lives of a node apart.
const FIRST_WIDE_CREATION: u32 = 4;

/// The watcher of deployments. It ends when this is dropped.
pub struct Deployments {
    asked: Asked,
    _task: Owned,
}

/// Tells what nodes answered, and which have yet to.
#[derive(Clone)]
pub struct Asked {
    node: Node,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The connections whose `up` is recorded.
    told: Mutex<HashMap<NodeName, Told>>,
    recorded: watch::Sender<()>,
}

/// A connection, and what runs at its other end.
struct Told {
    peer: Arc<Peer>,
    running: Running,
}

/// What a connected node runs, as far as it told.
#[derive(Clone, Debug)]
pub struct Running {
    /// When the connection came up.
    pub since: Timestamp,
    /// The release of OTP, `27`.
    pub otp_release: Option<String>,
    /// The version of its emulator, `15.2.7`.
    pub erts_version: Option<String>,
    /// Its applications by name, those of OTP apart; `None`: it did not tell.
    pub applications: Option<Loaded>,
    /// Why it did not tell something.
    pub detail: Option<String>,
}

/// Applications, shared by all lives of a connection.
pub type Loaded = Arc<[LoadedApplication]>;

/// An application that a node has loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedApplication {
    /// Its name.
    pub name: String,
    /// `vsn` of its `.app` file.
    pub version: String,
    /// Whose it is.
    pub origin: Origin,
}

impl Shared {
    fn told(&self) -> MutexGuard<'_, HashMap<NodeName, Told>> {
        self.told.lock().expect("no panic while they are held")
    }
}

impl Deployments {
    /// Starts to watch; no node that comes after this is missed.
    pub fn start(node: &Node, instance: Arc<Instance>) -> Self {
        let shared: Arc<Shared> = Arc::default();
        // Full: answers wait until those before them are recorded.
        let (report, reports) = mpsc::channel(ASKED_AT_ONCE);
        let task = Task {
            node: node.clone(),
            instance,
            shared: shared.clone(),
            present: HashMap::new(),
            remembered: HashMap::new(),
            places: Arc::new(Semaphore::new(ASKED_AT_ONCE)),
            report,
            tasks: JoinSet::new(),
        };
        let task = Owned::spawn(task.run(node.events(), reports));
        Deployments { asked: Asked { node: node.clone(), shared }, _task: task }
    }

    /// For who waits for answers.
    pub const fn asked(&self) -> &Asked {
        &self.asked
    }
}

impl Asked {
    /// Whether this node is connected and what runs there is not recorded yet. It will be within some seconds, unless
    /// hundreds of nodes came at once and do not answer.
    pub fn is_being_asked(&self, node: &str) -> bool {
        let Some(peer) = self.node.peer(node) else { return false };
        self.running(&peer).is_none()
    }

    /// What runs at the other end of a connection; `None` until that is recorded.
    pub fn running(&self, peer: &Arc<Peer>) -> Option<Running> {
        let told = self.shared.told();
        let told = told.get(peer.name()).filter(|told| Arc::ptr_eq(&told.peer, peer))?;
        Some(told.running.clone())
    }

    /// Changes whenever something was recorded, or could not be.
    pub fn recorded(&self) -> watch::Receiver<()> {
        self.shared.recorded.subscribe()
    }
}

/// The versions of a node's applications.
type Versions = BTreeMap<String, String>;

/// A connected node.
struct Present {
    peer: Arc<Peer>,
    since: Timestamp,
    /// Whether its `up` is recorded.
    is_up: bool,
    task: AbortHandle,
}

/// What a node answered before.
#[derive(Clone)]
struct Remembered {
    creation: u32,
    /// Refers to the entry that has its applications.
    software: Software,
    loaded: Loaded,
    versions: Arc<Versions>,
}

/// What a node has to say.
struct Report {
    peer: Arc<Peer>,
    change: Change,
    software: Software,
    detail: Option<String>,
    versions: Arc<Versions>,
}

/// The task that records.
struct Task {
    node: Node,
    instance: Arc<Instance>,
    shared: Arc<Shared>,
    present: HashMap<NodeName, Present>,
    remembered: HashMap<NodeName, Remembered>,
    places: Arc<Semaphore>,
    report: mpsc::Sender<Report>,
    tasks: JoinSet<()>,
}

impl Task {
    async fn run(
        mut self,
        mut events: broadcast::Receiver<NodeEvent>,
        mut reports: mpsc::Receiver<Report>,
    ) {
        loop {
            tokio::select! {
                // Receiving drops nothing when it loses the race.
                event = events.recv() => match event {
                    Ok(NodeEvent::Up(peer)) => self.came(peer).await,
                    Ok(NodeEvent::Down(peer, why)) => self.went(&peer, Some(&why)).await,
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        events = self.node.events();
                        self.look_around().await;
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                Some(report) = reports.recv() => self.told(report).await,
                // A task ends when it is aborted here, or by a panic.
                Some(ended) = self.tasks.join_next() => {
                    if let Err(failure) = ended && failure.is_panic() {
                        error!(instance = INSTANCE, "{failure}");
                    }
                }
            }
        }
    }

    /// Makes up for comings and goings that were missed.
    async fn look_around(&mut self) {
        let peers = self.node.peers();
        let is_gone = |it: &Present| !peers.iter().any(|peer| Arc::ptr_eq(peer, &it.peer));
        let gone: Vec<_> =
            self.present.values().filter(|it| is_gone(it)).map(|it| it.peer.clone()).collect();
        for peer in gone {
            self.went(&peer, None).await;
        }
        for peer in peers {
            self.came(peer).await;
        }
    }

    async fn came(&mut self, peer: Arc<Peer>) {
        if let Some(before) = self.present.get(peer.name()).map(|it| it.peer.clone()) {
            if Arc::ptr_eq(&before, &peer) {
                return;
            }
            self.went(&before, Some(&Ended::Replaced)).await;
        }
        let creation = peer.abilities().creation;
        let known = self.remembered.get(peer.name()).filter(|it| it.creation == creation);
        let guest = Guest {
            node: self.node.clone(),
            peer: peer.clone(),
            places: self.places.clone(),
            report: self.report.clone(),
        };
        let task = self.tasks.spawn(guest.run(known.cloned()));
        let since = self.instance.clock().now();
        let name = peer.name().clone();
        self.present.insert(name, Present { peer, since, is_up: false, task });
    }

    async fn told(&mut self, report: Report) {
        let Report { peer, change, software, detail, versions } = report;
        let Some(present) = self.present.get_mut(peer.name()) else { return };
        if !Arc::ptr_eq(&present.peer, &peer) {
            return;
        }
        present.is_up = true;
        let event = Deployment { software, detail, ..event(present, change) };
        let at = self.record(&event).await;
        let applications = match &event.software.applications {
            Applications::Told { by_name, .. } => Some(loaded(by_name)),
            Applications::At(_) => self.remembered.get(peer.name()).map(|it| it.loaded.clone()),
            Applications::Unknown => None,
        };
        let running = Running {
            since: event.since,
            otp_release: event.software.otp_release.clone(),
            erts_version: event.software.erts_version.clone(),
            applications: applications.clone(),
            detail: event.detail.clone(),
        };
        if let (Some(at), None, Applications::Told { .. }, Some(loaded)) =
            (at, &event.detail, &event.software.applications, applications)
        {
            let software = Software { applications: Applications::At(at), ..event.software };
            let creation = peer.abilities().creation;
            self.remember(&peer, Remembered { creation, software, loaded, versions });
        }
        self.shared.told().insert(peer.name().clone(), Told { peer, running });
        self.shared.recorded.send_replace(());
    }

    fn remember(&mut self, peer: &Peer, remembered: Remembered) {
        let creation = remembered.creation;
        if creation < FIRST_WIDE_CREATION {
            return;
        }
        if self.remembered.len() >= MAX_REMEMBERED {
            self.remembered.retain(|name, _| self.present.contains_key(name));
        }
        self.remembered.insert(peer.name().clone(), remembered);
    }

    async fn went(&mut self, peer: &Arc<Peer>, why: Option<&Ended>) {
        let is_it = |it: &Present| Arc::ptr_eq(&it.peer, peer);
        if !self.present.get(peer.name()).is_some_and(is_it) {
            return;
        }
        let present = self.present.remove(peer.name()).expect("looked up above");
        present.task.abort();
        if !present.is_up {
            let detail = Some("it was gone before it answered".to_owned());
            self.record(&Deployment { detail, ..event(&present, Change::Up) }).await;
        }
        let down = Deployment {
            reason: why.map(|why| why.name().to_owned()),
            detail: why.map(|why| match std::error::Error::source(why) {
                Some(source) => format!("{why}: {source}"),
                None => why.to_string(),
            }),
            ..event(&present, Change::Down)
        };
        self.record(&down).await;
        self.shared.told().remove(peer.name());
        self.shared.recorded.send_replace(());
    }

    /// When it was recorded, if it was.
    async fn record(&self, event: &Deployment) -> Option<Timestamp> {
        let stamped = self.instance.append(&[event.encode()]).await;
        if let Err(failure) = &stamped {
            debug!(instance = INSTANCE, node = event.node, "{failure}");
        }
        stamped.ok().map(|stamped| stamped.first)
    }
}

/// Those that are not OTP's own.
fn loaded(by_name: &BTreeMap<String, Application>) -> Loaded {
    let others = by_name.iter().filter(|(_, it)| it.origin != Origin::Otp);
    let loaded = others.map(|(name, it)| LoadedApplication {
        name: name.clone(),
        version: it.version.clone(),
        origin: it.origin,
    });
    loaded.collect()
}

/// An event about a node that has nothing to tell.
fn event(present: &Present, change: Change) -> Deployment {
    let Present { peer, since, .. } = present;
    Deployment {
        node: peer.name().to_string(),
        change,
        creation: peer.abilities().creation,
        since: *since,
        is_visible: peer.is_visible(),
        reason: None,
        detail: None,
        software: Software::default(),
    }
}

/// Asks one connected node.
struct Guest {
    node: Node,
    peer: Arc<Peer>,
    places: Arc<Semaphore>,
    report: mpsc::Sender<Report>,
}

impl Guest {
    /// Tells what the node runs, and from then on when that changes, for as long as it is connected.
    async fn run(self, known: Option<Remembered>) {
        if !self.peer.is_emulator() {
            // It would not expect to be asked: clients that wait for an answer of ours take the next message for it.
            let detail = Some("it is no Erlang emulator".to_owned());
            return self.tell(Change::Up, Software::default(), detail, Arc::default()).await;
        }
        let mut versions = match known {
            Some(known) => {
                self.tell(Change::Up, known.software, None, known.versions.clone()).await;
                known.versions
            }
            None => self.ask(Change::Up).await,
        };
        let mut pause = FIRST_LOOK;
        loop {
            sleep(pause).await;
            pause = (pause * 6).min(LOOK_PERIOD);
            let loaded = {
                let _place = self.places.acquire().await;
                timeout(ASK_TIME, inquiry::loaded(&self.node, &self.peer)).await
            };
            if loaded.is_ok_and(|loaded| loaded.is_ok_and(|loaded| loaded != *versions)) {
                versions = self.ask(Change::Changed).await;
            }
        }
    }

    /// Asks for everything and tells it; the versions, if all was answered.
    async fn ask(&self, change: Change) -> Arc<Versions> {
        let mut answers = Answers::default();
        let failure = {
            let _place = self.places.acquire().await;
            match timeout(ASK_TIME, answers.gather(&self.node, &self.peer)).await {
                Ok(Ok(())) => None,
                Ok(Err(failure)) => Some(failure),
                Err(_) => Some(format!("no answer within {ASK_TIME:?}")),
            }
        };
        let versions = Arc::new(answers.versions.clone());
        if failure.is_none() {
            self.tell(change, answers.software(), None, versions.clone()).await;
            return versions;
        }
        // Of a node that stays, the next look tells more; it finds that everything is new.
        if change == Change::Up {
            self.tell(change, answers.software(), failure, Arc::default()).await;
        }
        Arc::default()
    }

    async fn tell(
        &self,
        change: Change,
        software: Software,
        detail: Option<String>,
        versions: Arc<Versions>,
    ) {
        let peer = self.peer.clone();
        // Whoever takes reports ends with this task.
        let _ = self.report.send(Report { peer, change, software, detail, versions }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etf::TermBuf;
    use crate::instance::budget::{Budget, Limits};
    use crate::instance::reader::Selection;
    use crate::instance::{InstanceConfig, OpenedInstance};
    use crate::node::NodeConfig;
    use crate::proto::handshake::Local;
    use crate::time::Clock;

    /// Comings, goings and a replacement, as fast as they can be.
    #[tokio::test]
    async fn each_up_comes_before_its_down_and_is_known_to_be_awaited() {
        let dir = tempfile::tempdir().expect("a directory");
        let name = NodeName::new("logmachine@h").expect("a name");
        let local = Local { name, creation: 1, cookie: "cookie".into() };
        let node = Node::new(local, NodeConfig::default());
        let config = InstanceConfig::new(INSTANCE, dir.path());
        let opened = OpenedInstance::open(config, Clock::system(), true).expect("the log opens");
        let instance = opened.start(&node, &Budget::new(Limits::default(), 1));
        let deployments = Deployments::start(&node, instance.clone());
        let asked = deployments.asked();
        let mut recorded = asked.recorded();
        node.detach(&node.attach("a@h"));
        let before = node.attach("b@h");
        assert!(asked.is_being_asked("b@h"));
        let after = node.attach("b@h");
        while asked.is_being_asked("b@h") {
            recorded.changed().await.expect("it runs");
        }
        assert!(!asked.is_being_asked("a@h"), "it is gone");
        assert!(asked.running(&after).is_some() && asked.running(&before).is_none());
        node.detach(&before);
        node.detach(&after);
        let wanted = "a up, a down, b up, b down replaced, b up, b down";
        let mut seen = String::new();
        while seen != wanted {
            assert!(wanted.starts_with(&seen), "in_order: {seen}");
            recorded.changed().await.expect("it runs");
            let page = instance.read(Selection::starting(Timestamp::from_micros(0))).await;
            let said = |event: &TermBuf| {
                let it = Deployment::decode(event.as_term()).expect("a deployment");
                let node = it.node.trim_end_matches("@h");
                match it.reason.filter(|reason| reason != "connection_closed") {
                    Some(reason) => format!("{node} {} {reason}", it.change.name()),
                    None => format!("{node} {}", it.change.name()),
                }
            };
            let page = page.expect("it is read");
            seen =
                page.entries.iter().map(|entry| said(&entry.event)).collect::<Vec<_>>().join(", ");
        }
    }
}
