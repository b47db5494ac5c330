//! The port mapper: asking one, staying registered with it, and being one where none runs.
//!
//! A registration lives as long as its connection. When the port mapper dies, we register again as soon as there
//! is one, or take its place if we may.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::proto::epmd::{
    DEFAULT_PORT, MAX_REQUEST_BYTES, Registration, Request, alive2_answer, names_answer,
    parse_alive2, parse_names, parse_port2, port2_answer,
};
use crate::proto::{EpmdError, NodeName};

/// Which port mapper to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The one that runs, or else our own.
    Auto,
    /// The one that runs.
    External,
    /// Our own.
    Embedded,
    /// None: only nodes that know our port can call us.
    None,
}

/// How long a port mapper may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(3);

/// How often a lost port mapper is looked for.
const RETRY: Duration = Duration::from_millis(500);

/// The longest answer read: a list of all nodes of a host.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// Connections the embedded port mapper serves at once; a registered node holds one.
const MAX_CLIENTS: usize = 4096;

/// The port of port mappers: `ERL_EPMD_PORT`, or 4369.
pub fn port() -> u16 {
    std::env::var("ERL_EPMD_PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(DEFAULT_PORT)
}

/// Asks the port mapper at `address`; its whole answer.
async fn ask(address: IpAddr, request: &Request) -> Result<Vec<u8>, EpmdError> {
    let port = port();
    let exchange = async {
        let mut stream = TcpStream::connect((address, port)).await?;
        stream.write_all(&request.to_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
        Ok(answer)
    };
    timed(exchange).await.map_err(|source| EpmdError::Io { port, source })
}

async fn timed<T>(exchange: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(ANSWER_TIME, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Where a node listens.
///
/// # Errors
///
/// [`EpmdError`] if its host or its port mapper cannot be reached, or does not know it.
pub async fn lookup(name: &NodeName) -> Result<(IpAddr, u16), EpmdError> {
    let io = |source| EpmdError::Io { port: port(), source };
    let found = timed(tokio::net::lookup_host((name.host(), 0))).await.map_err(io)?;
    let address = found.map(|address| address.ip()).find(IpAddr::is_ipv4);
    let address = address.ok_or_else(|| io(io::ErrorKind::NotFound.into()))?;
    let answer = ask(address, &Request::PortPlease2(name.alive().to_owned())).await?;
    let unknown =
        || EpmdError::UnknownName { name: name.alive().to_owned(), host: name.host().to_owned() };
    Ok((address, parse_port2(&answer)?.ok_or_else(unknown)?.port))
}

/// Every node registered at `address`, with its port.
///
/// # Errors
///
/// [`EpmdError`] if there is no port mapper.
pub async fn names(address: IpAddr) -> Result<Vec<(String, u16)>, EpmdError> {
    parse_names(&ask(address, &Request::Names).await?)
}

/// Our registration: as long as it is kept, others find us.
pub struct Registered {
    /// What distinguishes this life of the node from others.
    pub creation: u32,
    keeper: tokio::task::JoinHandle<()>,
    embedded: Option<Embedded>,
}

impl Registered {
    /// Gives the name free.
    pub fn stop(self) {
        self.keeper.abort();
        if let Some(embedded) = self.embedded {
            embedded.stop();
        }
    }
}

/// Registers this node, and keeps it registered.
///
/// `serve_on` are the addresses where an embedded port mapper listens, besides loopback.
///
/// # Errors
///
/// [`EpmdError`]: the name is taken, or there is no port mapper and we may not or cannot be one.
pub async fn register(
    mode: Mode,
    registration: Registration,
    serve_on: Vec<IpAddr>,
) -> Result<Registered, EpmdError> {
    if mode == Mode::None {
        let creation = new_creation();
        return Ok(Registered { creation, keeper: tokio::spawn(async {}), embedded: None });
    }
    let mut embedded = None;
    if mode == Mode::Embedded {
        embedded = Some(Embedded::start(&serve_on).await?);
    }
    let mut alive = alive2(&registration).await;
    if mode == Mode::Auto && matches!(alive, Err(EpmdError::Io { .. })) {
        embedded = Some(Embedded::start(&serve_on).await?);
        alive = alive2(&registration).await;
    }
    let (creation, mut stream) = alive?;
    let may_serve = mode == Mode::Auto && embedded.is_none();
    let keeper = tokio::spawn(async move {
        let mut substitute = None;
        loop {
            until_closed(&mut stream).await;
            warn!("the port mapper is gone: registering again");
            stream = loop {
                match alive2(&registration).await {
                    Ok((_, stream)) => break stream,
                    Err(error) => debug!("cannot register: {error}"),
                }
                if may_serve && substitute.is_none() {
                    substitute = Embedded::start(&serve_on).await.ok();
                }
                sleep(RETRY).await;
            };
            info!("registered with the port mapper again");
        }
    });
    Ok(Registered { creation, keeper, embedded })
}

/// Registers; the creation, and the connection that keeps the registration.
async fn alive2(registration: &Registration) -> Result<(u32, TcpStream), EpmdError> {
    let port = port();
    let io = |source| EpmdError::Io { port, source };
    let connect = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    let mut stream = timed(connect).await.map_err(io)?;
    let request = Request::Alive2(registration.clone()).to_bytes();
    timed(stream.write_all(&request)).await.map_err(io)?;
    let mut answer = Vec::new();
    loop {
        if let Some(creation) = parse_alive2(&answer, &registration.name)? {
            return Ok((creation, stream));
        }
        if timed(stream.read_buf(&mut answer)).await.map_err(io)? == 0 {
            return Err(io(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

async fn until_closed(stream: &mut TcpStream) {
    let mut buffer = [0; 64];
    while matches!(stream.read(&mut buffer).await, Ok(read) if read > 0) {}
}

/// A creation that an earlier life of the node hardly had; below 4 are those of old port mappers.
fn new_creation() -> u32 {
    super::listener::challenge().max(4)
}

type Nodes = Arc<Mutex<BTreeMap<String, Registration>>>;

/// A port mapper in this process.
struct Embedded {
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Embedded {
    /// Serves on loopback, on `ERL_EPMD_ADDRESS` or else on `addresses`.
    async fn start(addresses: &[IpAddr]) -> Result<Self, EpmdError> {
        let port = port();
        let named = std::env::var("ERL_EPMD_ADDRESS").unwrap_or_default();
        let named: Vec<IpAddr> = named.split(',').filter_map(|ip| ip.trim().parse().ok()).collect();
        let others = if named.is_empty() { addresses } else { &named };
        let all = others.iter().copied().find(IpAddr::is_unspecified);
        let mut serve_on = vec![all.unwrap_or(Ipv4Addr::LOCALHOST.into())];
        if all.is_none() {
            serve_on.extend(others.iter().filter(|ip| !ip.is_loopback()));
        }
        let nodes = Nodes::default();
        let clients = Arc::new(Semaphore::new(MAX_CLIENTS));
        let mut tasks = Vec::new();
        for address in serve_on {
            let bound = TcpListener::bind(SocketAddr::new(address, port)).await;
            let listener = bound.map_err(|source| EpmdError::Io { port, source })?;
            tasks.push(tokio::spawn(accept(listener, port, nodes.clone(), clients.clone())));
        }
        info!(port, "serving as the port mapper of this host");
        Ok(Embedded { tasks })
    }

    fn stop(self) {
        for task in self.tasks {
            task.abort();
        }
    }
}

async fn accept(listener: TcpListener, port: u16, nodes: Nodes, clients: Arc<Semaphore>) {
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        while tasks.try_join_next().is_some() {}
        let Ok(place) = clients.clone().try_acquire_owned() else { continue };
        let nodes = nodes.clone();
        tasks.spawn(async move {
            if let Err(error) = answer(stream, port, nodes).await {
                debug!("port mapper request failed: {error}");
            }
            drop(place);
        });
    }
}

/// A node's registration, gone when its connection is.
struct Held(Nodes, String);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.lock().expect("no panic while the map is held").remove(&self.1);
        debug!(name = self.1, "node unregistered");
    }
}

async fn answer(mut stream: TcpStream, port: u16, nodes: Nodes) -> io::Result<()> {
    let request = timed(async {
        let len = usize::from(stream.read_u16().await?);
        if len > MAX_REQUEST_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; len];
        stream.read_exact(&mut body).await?;
        Request::parse(&body).ok_or_else(|| io::ErrorKind::InvalidData.into())
    })
    .await?;
    let registered = || nodes.lock().expect("no panic while the map is held");
    match request {
        Request::Names => {
            let answer = names_answer(port, registered().values());
            timed(stream.write_all(&answer)).await
        }
        Request::PortPlease2(name) => {
            let answer = port2_answer(registered().get(&name));
            timed(stream.write_all(&answer)).await
        }
        Request::Alive2(registration) => {
            let name = registration.name.clone();
            let is_free = !registered().contains_key(&name);
            if !is_free {
                return timed(stream.write_all(&alive2_answer(None))).await;
            }
            debug!(%name, port = registration.port, "node registered");
            registered().insert(name.clone(), registration);
            let _held = Held(nodes.clone(), name);
            timed(stream.write_all(&alive2_answer(Some(new_creation())))).await?;
            until_closed(&mut stream).await;
            Ok(())
        }
    }
}
