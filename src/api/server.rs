//! The listener: who gets a connection, for how long, encrypted or not; and its end.
//!
//! # Invariants
//!
//! - `bounded`: there are at most so many connections as the node can spare; the one that has been idle longest gives way,
//!   and who is served keeps his.
//! - `in_time`: a request's head that is not there after `HEAD_TIME` ends its connection.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;
use tracing::{debug, info, warn};

use super::access::{Access, Connection};
use super::route;
use super::state::{Shared, State};
use super::{HttpConfig, TlsFiles};
use crate::instance::calls::Instances;
use crate::node::Node;
use crate::strangers;
use crate::time::{Clock, monotonic};
use crate::watchers::Watchers;

/// How long the head of a request may take, and how long a connection may be idle between two.
const HEAD_TIME: Duration = Duration::from_secs(20);

/// How long requests under way may take when the program stops.
const STOP_TIME: Duration = Duration::from_secs(2);

/// The largest head of a request.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Why HTTP is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The address is not to be had.
    #[error("cannot serve HTTP at {address}")]
    Listen {
        /// The address and port that were asked for.
        address: SocketAddr,
        /// What the system says of it.
        #[source]
        source: io::Error,
    },
    /// A file of the certificate or its key cannot be used.
    #[error("[http.tls] {}: {why}", path.display())]
    Tls {
        /// The file that cannot be used.
        path: std::path::PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Anybody could read everything.
    #[error(
        "[http] listen = \"{0}\" is no loopback address and there is no token: make one with `logmachine token NAME --role read`"
    )]
    NoToken(SocketAddr),
    /// Tokens and events would travel in the clear.
    #[error(
        "[http] listen = \"{0}\" is no loopback address and there is no [http.tls]: set cert and key, or plain = true behind a proxy that encrypts"
    )]
    NoTls(SocketAddr),
}

/// Requests at once on a connection of HTTP/2.
const MAX_STREAMS: u32 = 1024;

/// Bytes that a request of HTTP/2, and all of a connection together, may send ahead of who reads them: one that is not read, as a
/// recorder waits, leaves room for others.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 2 << 20;

/// A running listener.
pub(crate) struct Api {
    address: SocketAddr,
    state: Shared,
    tls: Option<(TlsFiles, Arc<RwLock<TlsAcceptor>>)>,
    stopping: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// Checks what must hold before anything is opened.
///
/// # Errors
///
/// [`HttpError`].
pub(crate) fn check(config: &HttpConfig) -> Result<(), HttpError> {
    if config.listen.ip().is_loopback() {
        return Ok(());
    }
    if config.tokens.is_empty() {
        return Err(HttpError::NoToken(config.listen));
    }
    if config.tls.is_none() && !config.plain {
        return Err(HttpError::NoTls(config.listen));
    }
    Ok(())
}

impl Api {
    /// Opens the listener and serves, with at most so many connections. `None` if nobody asked for it and the address is
    /// taken.
    ///
    /// # Errors
    ///
    /// [`HttpError`].
    pub(crate) async fn start(
        config: &HttpConfig,
        node: Node,
        instances: Instances,
        watchers: &Watchers,
        clock: Clock,
        max_connections: usize,
    ) -> Result<Option<Self>, HttpError> {
        check(config)?;
        let tls = match &config.tls {
            Some(files) => Some((files.clone(), Arc::new(RwLock::new(acceptor(files)?)))),
            None => None,
        };
        let listener = match TcpListener::bind(config.listen).await {
            Ok(listener) => listener,
            Err(error) if !config.is_asked_for => {
                warn!(
                    "HTTP is not served: {} is taken ({error}); choose another with --http, or off",
                    config.listen
                );
                return Ok(None);
            }
            Err(source) => return Err(HttpError::Listen { address: config.listen, source }),
        };
        let listen_error = |source| HttpError::Listen { address: config.listen, source };
        let address = listener.local_addr().map_err(listen_error)?;
        let (stopping, stops) = watch::channel(false);
        let access = Access::new(config, node.name().host());
        let state = Arc::new(State::new(node, instances, watchers, access, clock, stops));
        let door = Arc::new(Door {
            max: max_connections.max(1),
            next: AtomicU64::new(0),
            seats: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        let acceptor = tls.as_ref().map(|(_, acceptor)| acceptor.clone());
        tasks.spawn(accept(listener, door, acceptor, state.clone()));
        let scheme = if tls.is_some() { "https" } else { "http" };
        info!("HTTP at {scheme}://{address}/");
        Ok(Some(Api { address, state, tls, stopping, tasks }))
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes up tokens and names, and reads certificates again; what changed. What cannot be used changes nothing.
    pub(crate) fn reload(&self, config: &HttpConfig) -> Result<String, HttpError> {
        check(&HttpConfig { listen: self.address, ..config.clone() })?;
        let mut changed = format!("{} tokens", config.tokens.len());
        if let Some((files, current)) = &self.tls {
            let fresh = acceptor(files)?;
            *current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
            changed.push_str(", the certificate");
        }
        self.state.access.replace(config);
        Ok(changed)
    }

    /// Ends: requests under way are given a moment, streams end at once.
    pub(crate) async fn stop(mut self) {
        self.stopping.send_replace(true);
        let over = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIME, over).await.is_err() {
            debug!("HTTP requests under way were cut off");
        }
    }
}

/// Reads a certificate and its key.
fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, HttpError> {
    let wrong = |path: &std::path::Path, why: String| HttpError::Tls { path: path.to_owned(), why };
    let certificates = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(&files.cert, error.to_string()))?;
    if certificates.is_empty() {
        return Err(wrong(&files.cert, "there is no certificate in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| wrong(&files.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for the default versions")
        .with_no_client_auth()
        .with_single_cert(certificates, key);
    let mut config = config.map_err(|error| wrong(&files.key, error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept(
    listener: TcpListener,
    door: Arc<Door>,
    acceptor: Option<Arc<RwLock<TlsAcceptor>>>,
    state: Shared,
) {
    let router = route::router(&state);
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Nobody is accepted any more.
            () = state.stopped() => break,
        };
        // Those that are over need no memory.
        while tasks.try_join_next().is_some() {}
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Mostly too many open files: others may close theirs meanwhile.
                if strangers::ACCEPTS.admit() {
                    warn!("cannot accept an HTTP connection: {error}");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(seat) = door.seat() else {
            debug!(%from, "HTTP connection refused: all places are taken");
            continue;
        };
        let acceptor = acceptor
            .as_ref()
            .map(|acceptor| acceptor.read().unwrap_or_else(PoisonError::into_inner).clone());
        tasks.spawn(connection(stream, from, acceptor, router.clone(), state.clone(), seat));
    }
    while tasks.join_next().await.is_some() {}
}

/// Serves one connection until it is over, or has to give way.
async fn connection(
    stream: TcpStream,
    from: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    state: Shared,
    seat: Taken,
) {
    let (Ok(()), Ok(to)) = (stream.set_nodelay(true), stream.local_addr()) else { return };
    let _ = socket2::SockRef::from(&stream).set_keepalive(true);
    let connection = Arc::new(Connection::new(from, to, acceptor.is_some()));
    state.metrics.connections.inc();
    let serving = async {
        let Some(acceptor) = acceptor else {
            return serve(stream, connection, router, &state, &seat).await;
        };
        match tokio::time::timeout(HEAD_TIME, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => serve(stream, connection, router, &state, &seat).await,
            Ok(Err(error)) => debug!(%from, "TLS handshake failed: {error}"),
            Err(_) => debug!(%from, "TLS handshake took too long"),
        }
    };
    tokio::select! {
        () = serving => {}
        // It was idle, and somebody else needs the place.
        () = seat.seat.leave.notified() => {}
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: Arc<Connection>,
    router: Router,
    state: &Shared,
    seat: &Taken,
) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).expect("it is small"))
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(HEAD_TIME)
        .keep_alive_timeout(HEAD_TIME);
    let seat = seat.seat.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let busy = Busy::new(&seat);
        request.extensions_mut().insert(connection.clone());
        let answered = router.clone().oneshot(request.map(Body::new));
        async move {
            let response = answered.await?;
            Ok::<_, Infallible>(response.map(|body| Body::new(Served { body, _busy: busy })))
        }
    });
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = state.stopped() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        debug!("HTTP connection ended: {error}");
    }
}

/// Gives out places among the connections (`bounded`).
struct Door {
    max: usize,
    next: AtomicU64,
    seats: Mutex<HashMap<u64, Arc<Seat>>>,
}

/// A place among the connections.
struct Seat {
    /// Requests that are being answered.
    busy: AtomicUsize,
    /// Since when there are none.
    idle_since: Mutex<Instant>,
    leave: Notify,
}

/// A place that is taken; it is free again when this is dropped.
struct Taken {
    door: Arc<Door>,
    number: u64,
    seat: Arc<Seat>,
}

impl Door {
    /// A place; `None` if all are taken by who is being served.
    fn seat(self: &Arc<Self>) -> Option<Taken> {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if seats.len() >= self.max {
            let idle = seats.iter().filter(|(_, seat)| seat.busy.load(Ordering::Acquire) == 0);
            let since =
                |seat: &Seat| *seat.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
            let number = *idle.min_by_key(|(_, seat)| since(seat))?.0;
            if let Some(longest) = seats.remove(&number) {
                longest.leave.notify_one();
            }
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let seat = Arc::new(Seat {
            busy: AtomicUsize::new(0),
            idle_since: Mutex::new(monotonic()),
            leave: Notify::new(),
        });
        seats.insert(number, seat.clone());
        Some(Taken { door: self.clone(), number, seat })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.door.seats.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

/// While there is one, the connection is not idle.
struct Busy(Arc<Seat>);

impl Busy {
    fn new(seat: &Arc<Seat>) -> Self {
        seat.busy.fetch_add(1, Ordering::AcqRel);
        Busy(seat.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = monotonic();
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

/// An answer that is being sent.
struct Served {
    body: Body,
    _busy: Busy,
}

impl http_body::Body for Served {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three places, one of them busy.
    #[test]
    fn who_is_idle_longest_gives_way_and_who_is_served_does_not() {
        let door = Arc::new(Door { max: 3, next: AtomicU64::new(0), seats: Mutex::default() });
        let seats: Vec<_> = (0..3).map(|_| door.seat().expect("free")).collect();
        let busy = Busy::new(&seats[0].seat);
        let fourth = door.seat().expect("the second gives way");
        let left = |taken: &Taken| !door.seats.lock().expect("sound").contains_key(&taken.number);
        assert_eq!([left(&seats[0]), left(&seats[1]), left(&seats[2])], [false, true, false]);
        let all: Vec<_> = [&seats[2], &fourth].map(|taken| Busy::new(&taken.seat)).into();
        assert!(door.seat().is_none(), "bounded");
        drop(busy);
        drop(door.seat().expect("the first gives way"));
        assert!(left(&seats[0]));
        drop((all, seats, fourth));
        assert!(door.seats.lock().expect("sound").is_empty());
    }
}
