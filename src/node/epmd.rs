//! The port mapper: asking one, staying registered with it, and being one where none runs.
//!
//! A registration lives as long as its connection. When the port mapper dies, we register again as soon as there
//! is one, or take its place if we may.
//!
//! # Invariants
//!
//! - `only_from_here`: the embedded one takes registrations and commands from this host only, as OTP's does, and
//!   names that can be a node's.
//! - `one_holder`: a name is looked up and given under one lock.
//! - `bounded`: clients hold at most their part of the descriptors, one origin at most a part of that.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, error, info, warn};

use super::places::{Door, Origin, is_here};
use super::task::Owned;
use crate::proto::epmd::{
    DEFAULT_PORT, KILL_REFUSED, MAX_REQUEST_BYTES, Registration, Request, alive2_answer,
    dump_answer, names_answer, parse_alive2, parse_names, parse_port2, port2_answer,
};
use crate::proto::{EpmdError, NodeName};
use crate::strangers::{self, Escaped};

/// Which port mapper to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
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

/// How long after one look for newly registered nodes the next may come.
const PAUSE: Duration = Duration::from_millis(10);

/// The longest answer read: a list of all nodes of a host.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

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

/// The address of a node's host.
///
/// # Errors
///
/// [`EpmdError::Io`] if it has none.
pub async fn host(name: &NodeName) -> Result<IpAddr, EpmdError> {
    let io = |source| EpmdError::Io { port: port(), source };
    let found = timed(tokio::net::lookup_host((name.host(), 0))).await.map_err(io)?;
    let address = found.map(|address| address.ip()).find(IpAddr::is_ipv4);
    address.ok_or_else(|| io(io::ErrorKind::NotFound.into()))
}

/// Where a node listens.
///
/// # Errors
///
/// [`EpmdError`] if its host or its port mapper cannot be reached, or does not know it.
pub async fn lookup(name: &NodeName) -> Result<(IpAddr, u16), EpmdError> {
    let address = host(name).await?;
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

/// How it stands with our registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Others find us.
    Registered,
    /// They do not: the port mapper is gone. We try on.
    Unreachable,
    /// They do not: the port mapper was gone, and somebody else has taken our name meanwhile. We try on.
    NameTaken,
}

/// What is known of the port mapper here while the node runs.
#[derive(Clone)]
pub struct Watch {
    standing: watch::Receiver<Standing>,
    /// How many registrations our own port mapper has seen.
    seen: watch::Receiver<u64>,
}

impl Watch {
    /// How it stands with our registration.
    pub fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// Waits until a node registers with our own port mapper, and at least for `PAUSE`: who registers in a loop
    /// does not make us look in a loop. Where our own is not in use: for ever.
    pub(super) async fn registration(&mut self) {
        sleep(PAUSE).await;
        if self.seen.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Our registration: as long as it is kept, others find us.
pub struct Registered {
    /// What distinguishes this life of the node from others.
    pub creation: u32,
    /// What is known of the port mapper; `None` where none is used.
    pub watch: Option<Watch>,
    keeper: Owned,
    /// Our own port mapper, if it was there from the start.
    _embedded: Option<Embedded>,
}

impl Registered {
    /// Gives the name free.
    pub fn stop(self) {
        drop(self.keeper);
    }
}

/// Registers this node, and keeps it registered.
///
/// `serve_on` are the addresses where an embedded port mapper listens, besides loopback; `clients` is how many it
/// serves at once.
///
/// # Errors
///
/// [`EpmdError`]: the name is taken, or there is no port mapper and we may not or cannot be one.
pub async fn register(
    mode: Mode,
    registration: Registration,
    serve_on: Vec<IpAddr>,
    clients: usize,
) -> Result<Registered, EpmdError> {
    if mode == Mode::None {
        let (creation, keeper) = (new_creation(), Owned::spawn(async {}));
        return Ok(Registered { creation, watch: None, keeper, _embedded: None });
    }
    let registry = Arc::new(Registry::new(clients));
    let seen = registry.seen.subscribe();
    let mut embedded = None;
    if mode == Mode::Embedded {
        embedded = Some(Embedded::start(&serve_on, &registry).await?);
    }
    let mut alive = alive2(&registration).await;
    if mode == Mode::Auto && matches!(alive, Err(EpmdError::Io { .. })) {
        embedded = Some(Embedded::start(&serve_on, &registry).await?);
        alive = alive2(&registration).await;
    }
    let (creation, stream) = alive?;
    let (sender, standing) = watch::channel(Standing::Registered);
    let keeper = Registrar {
        registration,
        may_serve: mode == Mode::Auto && embedded.is_none(),
        serve_on,
        registry,
        substitute: None,
        standing: sender,
    };
    let keeper = Owned::spawn(keeper.run(stream));
    Ok(Registered { creation, watch: Some(Watch { standing, seen }), keeper, _embedded: embedded })
}

/// Keeps us registered.
struct Registrar {
    registration: Registration,
    may_serve: bool,
    serve_on: Vec<IpAddr>,
    registry: Arc<Registry>,
    /// Our own port mapper, in the place of one that was there before.
    substitute: Option<Embedded>,
    standing: watch::Sender<Standing>,
}

impl Registrar {
    async fn run(mut self, mut stream: TcpStream) {
        loop {
            until_closed(&mut stream).await;
            warn!("the port mapper is gone: registering again");
            self.standing.send_replace(Standing::Unreachable);
            stream = self.register_again().await;
            self.standing.send_replace(Standing::Registered);
            info!("registered with the port mapper again");
        }
    }

    async fn register_again(&mut self) -> TcpStream {
        loop {
            match alive2(&self.registration).await {
                Ok((_, stream)) => return stream,
                Err(EpmdError::NameTaken { name }) => {
                    let before = self.standing.send_replace(Standing::NameTaken);
                    if before != Standing::NameTaken {
                        error!(%name, "while the port mapper was gone, somebody else has registered under our name: other nodes reach that one instead of us; trying on");
                    }
                }
                Err(error) => {
                    debug!("cannot register: {error}");
                    // Who took our name may still have it: only a port mapper can tell otherwise.
                    if self.may_serve && self.substitute.is_none() {
                        self.substitute =
                            Embedded::start(&self.serve_on, &self.registry).await.ok();
                    }
                }
            }
            sleep(RETRY).await;
        }
    }
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
pub(super) fn new_creation() -> u32 {
    getrandom::u32().expect("the operating system gives random numbers").max(4)
}

/// What the embedded port mapper knows.
struct Registry {
    nodes: Mutex<BTreeMap<String, RegisteredNode>>,
    /// Requests under way. A node that has registered holds no place here.
    requests: Door,
    max_nodes: usize,
    /// How many registrations there were, for who waits for one.
    seen: watch::Sender<u64>,
}

/// A registered node.
struct RegisteredNode {
    registration: Registration,
    origin: Origin,
    /// The descriptor of its connection, which OTP's port mapper shows too.
    descriptor: i32,
}

impl Registry {
    /// `clients` are shared by halves between requests and registered nodes.
    fn new(clients: usize) -> Self {
        Registry {
            nodes: Mutex::default(),
            requests: Door::new(clients / 2),
            max_nodes: clients / 2,
            seen: watch::Sender::new(0),
        }
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, RegisteredNode>> {
        self.nodes.lock().expect("no panic while the map is held")
    }

    /// Gives a node its name; why not, otherwise (`one_holder`).
    fn register(&self, node: RegisteredNode) -> Result<(), &'static str> {
        if !node.registration.has_sound_name() {
            return Err("it is no name of a node");
        }
        let mut nodes = self.nodes();
        if nodes.contains_key(&node.registration.name) {
            return Err("it is taken");
        }
        let from_there = nodes.values().filter(|other| other.origin == node.origin).count();
        // Another user than ours may have half of all.
        let most = if node.origin.is_ours() { self.max_nodes } else { self.max_nodes.div_ceil(2) };
        if nodes.len() >= self.max_nodes || from_there >= most {
            return Err("there are too many");
        }
        nodes.insert(node.registration.name.clone(), node);
        Ok(())
    }
}

/// A port mapper in this process. It ends when it is dropped.
struct Embedded {
    _tasks: JoinSet<()>,
    /// Dropped at the end, which registered nodes' connections are waiting for too.
    _alive: watch::Sender<()>,
}

impl Embedded {
    /// Serves on loopback, on `ERL_EPMD_ADDRESS` or else on `addresses`.
    async fn start(addresses: &[IpAddr], registry: &Arc<Registry>) -> Result<Self, EpmdError> {
        let port = port();
        let named = std::env::var("ERL_EPMD_ADDRESS").unwrap_or_default();
        let named: Vec<IpAddr> = named.split(',').filter_map(|ip| ip.trim().parse().ok()).collect();
        let others = if named.is_empty() { addresses } else { &named };
        let all = others.iter().copied().find(IpAddr::is_unspecified);
        let mut serve_on = vec![all.unwrap_or(Ipv4Addr::LOCALHOST.into())];
        if all.is_none() {
            serve_on.extend(others.iter().filter(|ip| !ip.is_loopback()));
        }
        let (alive, end) = watch::channel(());
        let mut tasks = JoinSet::new();
        for address in serve_on {
            let bound = TcpListener::bind(SocketAddr::new(address, port)).await;
            let listener = bound.map_err(|source| EpmdError::Io { port, source })?;
            tasks.spawn(accept(listener, port, registry.clone(), end.clone()));
        }
        info!(port, "serving as the port mapper of this host");
        Ok(Embedded { _tasks: tasks, _alive: alive })
    }
}

async fn accept(
    listener: TcpListener,
    port: u16,
    registry: Arc<Registry>,
    end: watch::Receiver<()>,
) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                if strangers::ACCEPTS.admit() {
                    warn!("port mapper: cannot accept a connection: {error}");
                }
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let origin = Origin::of(&stream);
        let client = Client { origin, port, registry: registry.clone(), end: end.clone() };
        let request = async move {
            if let Err(error) = client.serve(stream).await
                && strangers::REQUESTS.admit()
            {
                debug!("port mapper request failed: {error}");
            }
        };
        registry.requests.serve(origin, request).await;
    }
}

/// A node's registration, gone when its connection is.
struct HeldName(Arc<Registry>, String);

impl Drop for HeldName {
    fn drop(&mut self) {
        self.0.nodes().remove(&self.1);
        if strangers::REQUESTS.admit() {
            debug!(name = self.1, "node unregistered");
        }
    }
}

/// Who asks our port mapper something.
struct Client {
    origin: Origin,
    port: u16,
    registry: Arc<Registry>,
    /// Changes when the port mapper ends.
    end: watch::Receiver<()>,
}

impl Client {
    async fn serve(self, mut stream: TcpStream) -> io::Result<()> {
        let request = timed(read_request(&mut stream)).await?;
        let local = is_here(stream.peer_addr()?, stream.local_addr()?);
        let answer = match request {
            Request::Names => {
                let nodes = self.registry.nodes();
                names_answer(self.port, nodes.values().map(|node| &node.registration))
            }
            Request::PortPlease2(name) => {
                port2_answer(self.registry.nodes().get(&name).map(|node| &node.registration))
            }
            // `only_from_here`: OTP's port mapper closes the connection without a word.
            _ if !local => {
                if strangers::PORT_MAPPER.admit() {
                    let from = stream.peer_addr()?;
                    warn!(%from, "port mapper: a registration or command from another host is refused");
                }
                return Ok(());
            }
            Request::Dump => {
                let nodes = self.registry.nodes();
                let nodes = nodes.values().map(|node| (&node.registration, node.descriptor));
                dump_answer(self.port, nodes)
            }
            // We are registered ourselves, and a port mapper with nodes is not killed.
            Request::Kill => KILL_REFUSED.to_vec(),
            // Nor are nodes unregistered by others; OTP's says nothing either.
            Request::Stop(_) => return Ok(()),
            Request::Alive2(registration) => return self.register(stream, registration).await,
        };
        timed(stream.write_all(&answer)).await
    }

    async fn register(
        mut self,
        mut stream: TcpStream,
        registration: Registration,
    ) -> io::Result<()> {
        let (name, port) = (registration.name.clone(), registration.port);
        let descriptor = stream.as_raw_fd();
        let node = RegisteredNode { registration, origin: self.origin, descriptor };
        if let Err(why) = self.registry.register(node) {
            if strangers::PORT_MAPPER.admit() {
                warn!(name = %Escaped(&name), port, "port mapper: a name is refused: {why}");
            }
            return timed(stream.write_all(&alive2_answer(None))).await;
        }
        if strangers::REQUESTS.admit() {
            debug!(%name, port, "node registered");
        }
        let held = HeldName(self.registry.clone(), name);
        // By itself, so that it holds no place among the requests.
        tokio::spawn(async move {
            let answered = timed(stream.write_all(&alive2_answer(Some(new_creation())))).await;
            if answered.is_ok() {
                self.registry.seen.send_modify(|seen| *seen += 1);
                tokio::select! {
                    // Nothing is read that anybody needs.
                    () = until_closed(&mut stream) => {}
                    _ = self.end.changed() => {}
                }
            }
            drop(held);
        });
        Ok(())
    }
}

async fn read_request(stream: &mut TcpStream) -> io::Result<Request> {
    let len = usize::from(stream.read_u16().await?);
    if len > MAX_REQUEST_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await?;
    Request::parse(&body).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, user: u32) -> RegisteredNode {
        let registration = Registration::hidden(name, 1);
        RegisteredNode { registration, origin: Origin::User(user), descriptor: 1 }
    }

    /// `one_holder`: many threads ask for one name at once.
    #[test]
    fn one_of_many_who_ask_at_once_gets_the_name() {
        let registry = Registry::new(100);
        let given: usize = std::thread::scope(|scope| {
            let ask = || scope.spawn(|| usize::from(registry.register(node("a", 0)).is_ok()));
            let threads: Vec<_> = (0..16).map(|_| ask()).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(given, 1);
    }

    /// `bounded`: a user who registers all he can leaves room for others.
    #[test]
    fn one_user_cannot_take_all_names() {
        let registry = Registry::new(40);
        let taken =
            (0..100).filter(|n| registry.register(node(&format!("x{n}"), 65534)).is_ok()).count();
        assert_eq!(taken, 10);
        let good =
            (0..100).filter(|n| registry.register(node(&format!("y{n}"), 0)).is_ok()).count();
        assert_eq!(good, 10);
        assert_eq!(
            registry.register(node("x\nname y at port 1", 0)),
            Err("it is no name of a node")
        );
    }
}
