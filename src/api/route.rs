//! Which request goes where, and what each has to pass first.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{self, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::watch;
use utoipa::OpenApi;

use super::access::{Access, Caller, Connection};
use super::append::{self, Remembered};
use super::error::{ErrorBody, Refusal};
use super::{Role, about, entries, health, histogram, open_metrics, stream};
use crate::instance::Instance;
use crate::instance::calls::Instances;
use crate::metrics::HttpMetrics;
use crate::node::Node;
use crate::time::{Clock, Timestamp};

/// What all requests share.
pub(super) struct State {
    pub(super) node: Node,
    pub(super) instances: Instances,
    pub(super) access: Access,
    pub(super) clock: Clock,
    pub(super) started: Timestamp,
    pub(super) metrics: HttpMetrics,
    /// Streams under way.
    pub(super) streams: AtomicU64,
    /// Answers to appends that may be asked for again.
    pub(super) remembered: Remembered,
    /// How many searches each caller has under way.
    searches: Mutex<HashMap<Arc<str>, usize>>,
    stops: watch::Receiver<bool>,
}

pub(super) type Shared = Arc<State>;

/// Searches of one caller at once: requests that look at many entries for few.
const SEARCHES_AT_ONCE: usize = 16;

impl State {
    pub(super) fn new(
        node: Node,
        instances: Instances,
        access: Access,
        clock: Clock,
        stops: watch::Receiver<bool>,
    ) -> Self {
        State {
            node,
            instances,
            access,
            started: clock.now(),
            clock,
            metrics: HttpMetrics::default(),
            streams: AtomicU64::new(0),
            remembered: Remembered::default(),
            searches: Mutex::default(),
            stops,
        }
    }

    /// Ends when the program stops.
    pub(super) async fn stopped(&self) {
        // Who could tell is gone with the program.
        let _ = self.stops.clone().wait_for(|stopping| *stopping).await;
    }

    /// The instance of a path.
    pub(super) fn instance(&self, name: &str) -> Result<&Arc<Instance>, Refusal> {
        self.instances.get(name).ok_or_else(|| {
            let names: Vec<_> = self.instances.keys().map(|name| &**name).collect();
            let message =
                format!("there is no instance of that name; there is {}", names.join(", "));
            Refusal::not_found(message).at("instance")
        })
    }

    /// A place for one more search of a caller; it ends when this is dropped.
    pub(super) fn search(self: &Arc<Self>, caller: &Caller) -> Result<Searching, Refusal> {
        let mut searches = self.searches.lock().unwrap_or_else(PoisonError::into_inner);
        let count = searches.entry(caller.name.clone()).or_default();
        if *count >= SEARCHES_AT_ONCE {
            let message = format!("{SEARCHES_AT_ONCE} searches of yours are under way");
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_searches", message));
        }
        *count += 1;
        Ok(Searching { state: self.clone(), caller: caller.name.clone() })
    }
}

/// A search that is under way.
pub(super) struct Searching {
    state: Shared,
    caller: Arc<str>,
}

impl Drop for Searching {
    fn drop(&mut self) {
        let mut searches = self.state.searches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = searches.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                searches.remove(&self.caller);
            }
        }
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "logmachine", description = "Durable event logs of a BEAM cluster"),
    paths(
        about::node,
        about::instances,
        about::instance,
        entries::read,
        append::append,
        stream::follow,
        histogram::histogram,
        open_metrics::metrics,
        health::healthz,
        health::readyz,
        log_in,
        log_out,
        openapi,
    ),
    components(schemas(ErrorBody))
)]
struct Description;

/// All routes.
pub(super) fn router(state: &Shared) -> Router {
    const INSTANCE: &str = "/api/v1/instances/{instance}";
    let below = |path: &str| format!("{INSTANCE}/{path}");
    let wrong_method = || async {
        let message = "this address does not take that method";
        Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    };
    Router::new()
        .route("/api/v1/node", get(about::node))
        .route("/api/v1/instances", get(about::instances))
        .route(INSTANCE, get(about::instance))
        .route(&below("entries"), get(entries::read).post(append::append))
        .route(&below("stream"), get(stream::follow))
        .route(&below("histogram"), get(histogram::histogram))
        .route("/api/v1/session", post(log_in).delete(log_out))
        .route("/api/v1/openapi.json", get(openapi))
        .route("/metrics", get(open_metrics::metrics))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .fallback(|| async { Refusal::not_found("there is nothing at this address") })
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(state.clone(), pass))
        .with_state(state.clone())
}

/// Lets a request pass that is for us and whose sender may.
async fn pass(
    extract::State(state): extract::State<Shared>,
    mut request: Request,
    next: Next,
) -> Response {
    state.metrics.requests.inc();
    let passed = may_pass(&state, &request);
    let is_append = *request.method() == Method::POST && request.uri().path().ends_with("/entries");
    if passed.is_err() || !is_append {
        drain(std::mem::take(request.body_mut())).await;
    }
    let mut response = match passed {
        Ok(caller) => {
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            next.run(request).await
        }
        Err(refusal) => {
            state.metrics.refused.inc();
            refusal.into_response()
        }
    };
    if response.status().is_server_error() {
        state.metrics.failed.inc();
    }
    let mut add = |name: HeaderName, value| {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    };
    add(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    add(header::CACHE_CONTROL, "no-store");
    add(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    response
}

/// A body that nobody wants is read nevertheless: over HTTP/2 an answer that comes before its end looks broken to clients.
async fn drain(body: Body) {
    const BYTES: usize = 256 << 10;
    const TIME: Duration = Duration::from_secs(1);
    let _ = tokio::time::timeout(TIME, to_bytes(body, BYTES)).await;
}

fn may_pass(state: &State, request: &Request) -> Result<Option<Caller>, Refusal> {
    let connection =
        request.extensions().get::<Arc<Connection>>().expect("every request comes by a connection");
    let (method, path, headers) = (request.method(), request.uri().path(), request.headers());
    state.access.check_address(method, request.uri(), headers, connection)?;
    match role(method, path) {
        Some(role) => state.access.caller(role, headers, connection).map(Some),
        None => Ok(None),
    }
}

/// The role that a request needs; `None`: anybody may.
fn role(method: &Method, path: &str) -> Option<Role> {
    match (method, path) {
        // It shows its token itself.
        (_, "/healthz" | "/readyz" | "/api/v1/session") => None,
        (&(Method::GET | Method::HEAD), _) => Some(Role::Read),
        (&Method::POST, path) if path.ends_with("/entries") => Some(Role::Write),
        _ => Some(Role::Admin),
    }
}

/// Trades a token for a cookie that scripts of pages cannot read.
#[utoipa::path(
    post, path = "/api/v1/session",
    responses((status = 204, description = "The cookie is set, for 12 hours"), (status = 401, body = ErrorBody))
)]
async fn log_in(
    extract::State(state): extract::State<Shared>,
    extract::Extension(connection): extract::Extension<Arc<Connection>>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Refusal> {
    let cookie = state.access.log_in(&headers, connection.is_tls)?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]))
}

/// Ends a browser's session.
#[utoipa::path(delete, path = "/api/v1/session", responses((status = 204, description = "The cookie is gone")))]
async fn log_out(
    extract::State(state): extract::State<Shared>,
    headers: HeaderMap,
) -> impl IntoResponse {
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, state.access.log_out(&headers))])
}

/// This description.
#[utoipa::path(get, path = "/api/v1/openapi.json", responses((status = 200, description = "OpenAPI 3.1")))]
async fn openapi() -> impl IntoResponse {
    let json = Description::openapi().to_pretty_json().expect("it is plain data");
    ([(header::CONTENT_TYPE, "application/json")], json)
}

/// The instance that a path names.
pub(super) struct Named(pub(super) Arc<Instance>);

impl FromRequestParts<Shared> for Named {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Refusal> {
        let name = Path::<String>::from_request_parts(parts, state).await;
        let Path(name) = name.map_err(|wrong| Refusal::bad("instance", wrong.to_string()))?;
        state.instance(&name).cloned().map(Named)
    }
}
