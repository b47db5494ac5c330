//! Builds everything and stops everything; the two orders stand next to each other.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::analysis::fault_rule::FaultRule;
use crate::analysis::rule::Rule;
use crate::analysis::window::Analysis;
#[cfg(feature = "http")]
use crate::api::{self, Api, HttpConfig, HttpError};
use crate::instance::budget::{Budget, Limits};
use crate::instance::calls::{Front, Instances, Module};
use crate::instance::{Failure, Instance, InstanceConfig, OpenedInstance};
use crate::node::epmd::{self, Mode, Registered};
use crate::node::{Node, NodeConfig, StartError, descriptors, dialer, listener};
use crate::proto::NodeName;
use crate::proto::epmd::Registration;
use crate::proto::handshake::Local;
use crate::store::OpenError;
use crate::store::file::is_alone;
use crate::strangers;
use crate::time::Clock;
use crate::watchers::notify::NotifyConfig;
use crate::watchers::{WatcherConfig, Watchers};

/// All that is needed to run.
pub struct Settings {
    /// The node's name.
    pub name: NodeName,
    /// What every node of the cluster knows, and nobody else.
    pub cookie: String,
    /// Nodes to join.
    pub connect: Vec<NodeName>,
    /// Whether to join every node of this host as it registers.
    pub connect_local: bool,
    /// Where to listen; `None`: the addresses of the name's host.
    pub listen: Option<SocketAddr>,
    /// Which port mapper.
    pub epmd: Mode,
    /// The node's own settings.
    pub node: NodeConfig,
    /// What to log.
    pub instances: Vec<InstanceConfig>,
    /// Which errors are the same fault, where the program should not decide that itself. Faults are kept where an instance
    /// `faults` is among the above.
    pub fault_rules: Vec<FaultRule>,
    /// What to compute of events of stretches of time. Each needs an instance of its name among the above.
    pub analyses: Vec<Analysis>,
    /// What somebody is to be told of. Alerts are told where an instance `alerts` is among the above.
    pub rules: Vec<Rule>,
    /// Who can be told.
    pub notify: NotifyConfig,
    /// Where to serve HTTP, if anywhere.
    #[cfg(feature = "http")]
    pub http: Option<HttpConfig>,
}

impl Settings {
    /// A node of this name, `name@host`, without instances: it listens on loopback and is found through the port mapper of
    /// its host. `None` if that is no node's name.
    pub fn new(name: &str, cookie: &str) -> Option<Self> {
        Some(Settings {
            name: NodeName::new(name)?,
            cookie: cookie.to_owned(),
            connect: Vec::new(),
            connect_local: false,
            listen: Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)),
            epmd: Mode::Auto,
            node: NodeConfig::default(),
            instances: Vec::new(),
            fault_rules: Vec::new(),
            analyses: Vec::new(),
            rules: Vec::new(),
            notify: NotifyConfig::default(),
            #[cfg(feature = "http")]
            http: None,
        })
    }

    fn watched(&mut self) -> WatcherConfig {
        WatcherConfig::of(
            &self.instances,
            std::mem::take(&mut self.fault_rules),
            std::mem::take(&mut self.analyses),
            std::mem::take(&mut self.rules),
            std::mem::take(&mut self.notify),
        )
    }
}

/// Why the program could not start. Everything begun was taken back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// A log could not be opened.
    #[error("instance {instance}: cannot open its log")]
    Log {
        /// The instance whose log it is.
        instance: String,
        /// What is wrong with the log or its directory.
        #[source]
        source: OpenError,
    },
    /// The node could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// HTTP cannot be served.
    #[cfg(feature = "http")]
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Recorders had failed by the time they were to stop. Everything is stopped.
#[derive(Debug, thiserror::Error)]
#[error("not everything was recorded: {}", self.list())]
pub struct StopError {
    /// Names of instances, and why each failed.
    pub failed: Vec<(String, Failure)>,
}

impl StopError {
    fn list(&self) -> String {
        let failed = self.failed.iter().map(|(name, why)| format!("instance {name}: {why}"));
        failed.collect::<Vec<_>>().join("; ")
    }
}

/// A running program.
pub struct App {
    node: Node,
    instances: Instances,
    registered: Registered,
    watchers: Arc<Watchers>,
    #[cfg(feature = "http")]
    api: Option<Api>,
    tasks: JoinSet<()>,
}

/// How long each step of stopping may take.
const STOP_STEP: Duration = Duration::from_secs(5);

impl App {
    /// Starts: logs, listener, port mapper, instances, calls from other nodes, calls to them.
    ///
    /// # Errors
    ///
    /// [`AppError`].
    pub async fn start(mut settings: Settings) -> Result<Self, AppError> {
        let raised = descriptors::raise();
        debug!("open files: {raised}");
        let budget = raised.budget().map_err(StartError::Descriptors)?;
        settings.node.budget = budget;
        if settings.connect_local {
            dialer::can_keep_local()?;
        }
        #[cfg(feature = "http")]
        if let Some(http) = &settings.http {
            api::check(http)?;
        }
        let clock = Clock::system();
        // The logs first: one that cannot be opened must not cost another node its name.
        let mut opened = Vec::new();
        let watched = settings.watched();
        // Before the first is opened: opening one makes the files of a new log.
        let alone: Vec<bool> =
            settings.instances.iter().map(|config| is_alone(&config.log)).collect();
        for (config, is_alone) in settings.instances.into_iter().zip(alone) {
            let (instance, clock) = (config.log.name.clone(), clock.clone());
            let open =
                tokio::task::spawn_blocking(move || OpenedInstance::open(config, clock, is_alone));
            let open = open.await.expect("opening a log does not panic");
            opened.push(open.map_err(|source| AppError::Log { instance, source })?);
        }
        let addresses = match settings.listen {
            Some(address) => vec![address],
            None => host_addresses(settings.name.host()).await?,
        };
        let (listeners, port) = listener::bind(&addresses).await?;
        let registration = Registration::hidden(settings.name.alive(), port);
        let serve_on = addresses.iter().map(SocketAddr::ip).collect();
        let registered =
            epmd::register(settings.epmd, registration, serve_on, budget.mapper_clients);
        let registered = registered.await.map_err(StartError::Epmd)?;
        let local =
            Local { name: settings.name, creation: registered.creation, cookie: settings.cookie };
        let node = Node::new(local, settings.node);
        let workers = tokio::runtime::Handle::current().metrics().num_workers();
        let sessions = Budget::new(Limits::default(), workers);
        if let Some(watch) = &registered.watch {
            node.watch_port_mapper(watch.clone());
        }
        let instances: BTreeMap<Arc<str>, _> = opened
            .into_iter()
            .map(|opened| opened.start(&node, &sessions))
            .map(|instance| (instance.name().into(), instance))
            .collect();
        let instances = Arc::new(instances);
        Front::start(&node, &instances);
        node.serve(Arc::new(Module(Arc::downgrade(&instances))));
        // Before any node can come.
        let watchers = Arc::new(Watchers::start(&node, &instances, watched));
        let mut tasks = JoinSet::new();
        tasks.spawn(strangers::sum_up());
        tasks.spawn(listener::serve(node.clone(), listeners));
        for seed in settings.connect {
            tasks.spawn(dialer::keep_seed(node.clone(), seed));
        }
        if settings.connect_local {
            tasks.spawn(dialer::keep_local(node.clone()));
        }
        info!(node = %node.name(), port, "listening");
        #[cfg(feature = "http")]
        let api = match &settings.http {
            None => None,
            Some(http) => {
                let (node, instances) = (node.clone(), instances.clone());
                Api::start(http, node, instances, &watchers, clock, budget.http).await
            }?,
        };
        Ok(App {
            node,
            instances,
            registered,
            watchers,
            #[cfg(feature = "http")]
            api,
            tasks,
        })
    }

    /// The node, for who runs it inside another program.
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// The instances, by name.
    pub const fn instances(&self) -> &Instances {
        &self.instances
    }

    /// Where HTTP is served, if it is.
    #[cfg(feature = "http")]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.api.as_ref().map(Api::address)
    }

    /// Takes up other tokens and names, and reads certificates again; what changed. What cannot be used changes nothing.
    ///
    /// # Errors
    ///
    /// [`HttpError`].
    #[cfg(feature = "http")]
    pub fn reload_http(&self, http: &HttpConfig) -> Result<String, HttpError> {
        match &self.api {
            Some(api) => api.reload(http),
            None => Ok("HTTP is not served".to_owned()),
        }
    }

    /// Goes on with other rules, receivers of alerts and analyses; what there is now. Those that are the same go on where they
    /// were, and a new analysis begins with the next start if it has no instance yet. Fault rules stay as they are until then;
    /// whether there are others is said.
    pub async fn reload(&self, mut settings: Settings) -> String {
        let watched = settings.watched();
        let watchers = self.watchers.clone();
        let replace = tokio::task::spawn_blocking(move || watchers.replace(watched));
        replace.await.expect("replacing rules does not panic")
    }

    /// Stops in the direction events flow: HTTP, what watches logs, receivers, recorders, sessions with their connections, what subscribers
    /// acknowledged, port mapper.
    ///
    /// # Errors
    ///
    /// [`StopError`]: everything is stopped, but not everything that was taken in is in the logs.
    pub async fn stop(mut self) -> Result<(), StopError> {
        // No node is called or accepted from here on.
        self.tasks.abort_all();
        #[cfg(feature = "http")]
        if let Some(api) = self.api.take() {
            api.stop().await;
        }
        // That our connections end is no node's going; and they write to instances.
        let watchers = self.watchers.clone();
        let stop = tokio::task::spawn_blocking(move || watchers.stop());
        stop.await.expect("stopping does not panic");
        let receivers = async {
            for instance in self.instances.values() {
                instance.stop_receiving().await;
            }
        };
        if tokio::time::timeout(STOP_STEP, receivers).await.is_err() {
            warn!("global names were not given back in time");
        }
        let instances = self.instances.clone();
        let recorders = tokio::task::spawn_blocking(move || {
            let stop = |instance: &Arc<Instance>| {
                let failure = instance.stop_recording().err()?;
                Some((instance.name().to_owned(), failure))
            };
            instances.values().filter_map(stop).collect::<Vec<_>>()
        });
        // Without a deadline: what was accepted is written, however long the disk takes.
        let failed = recorders.await.unwrap_or_else(|panic| {
            let why = panic.to_string().into();
            vec![("of one or another name".to_owned(), why)]
        });
        self.node.stop(STOP_STEP).await;
        let acknowledged = async {
            for instance in self.instances.values() {
                instance.cursors().stored(None).await;
            }
        };
        if tokio::time::timeout(STOP_STEP, acknowledged).await.is_err() {
            warn!("some acknowledged positions were not stored in time");
        }
        self.registered.stop();
        strangers::sum_up_now();
        if failed.is_empty() { Ok(()) } else { Err(StopError { failed }) }
    }
}

/// The addresses other nodes find under the host's name; loopback where they are all that.
async fn host_addresses(host: &str) -> Result<Vec<SocketAddr>, StartError> {
    let found = tokio::net::lookup_host((host, 0)).await;
    let found = found.map_err(|source| StartError::Host { host: host.to_owned(), source })?;
    let mut addresses: Vec<IpAddr> = found.map(|a| a.ip()).filter(IpAddr::is_ipv4).collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.iter().all(IpAddr::is_loopback) {
        addresses = vec![Ipv4Addr::LOCALHOST.into()];
    }
    Ok(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect())
}
