//! Which request goes where, and what each has to pass first.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{self, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use futures_util::StreamExt;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::access::{Caller, Connection};
use super::error::{ErrorBody, Refusal};
use super::state::{Shared, State};
use super::{
    Role, about, alerts, analyses, append, console, cursors, entries, explain, faults, grpc,
    health, histogram, open_metrics, segments, stream,
};

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
        segments::segments,
        cursors::cursors,
        faults::faults,
        faults::fault,
        faults::decide,
        explain::explanation,
        analyses::analyses,
        alerts::rules,
        alerts::alerts,
        alerts::silences,
        alerts::silence,
        alerts::lift_silence,
        open_metrics::metrics,
        health::healthz,
        health::readyz,
        who,
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
        .route("/", get(console::page))
        .route("/console/{*file}", get(console::file))
        .route("/api/v1/node", get(about::node))
        .route("/api/v1/instances", get(about::instances))
        .route(INSTANCE, get(about::instance))
        .route(&below("entries"), get(entries::read).post(append::append))
        .route(&below("stream"), get(stream::follow))
        .route(&below("histogram"), get(histogram::histogram))
        .route(&below("segments"), get(segments::segments))
        .route(&below("cursors"), get(cursors::cursors))
        .route("/api/v1/faults", get(faults::faults))
        .route("/api/v1/faults/{id}", get(faults::fault).patch(faults::decide))
        .route("/api/v1/explain", get(explain::explanation))
        .route("/api/v1/analyses", get(analyses::analyses))
        .route("/api/v1/rules", get(alerts::rules))
        .route("/api/v1/alerts", get(alerts::alerts))
        .route("/api/v1/silences", get(alerts::silences).post(alerts::silence))
        .route("/api/v1/silences/{id}", delete(alerts::lift_silence))
        .route("/api/v1/session", get(who).post(log_in).delete(log_out))
        .route("/api/v1/openapi.json", get(openapi))
        .route("/metrics", get(open_metrics::metrics))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .merge(grpc::router(state))
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
    let path = request.uri().path();
    let is_posted = path.ends_with("/entries") || path == "/api/v1/silences";
    let is_grpc = grpc::is_ours(request.headers());
    let takes_body = match *request.method() {
        Method::POST => is_posted || is_grpc,
        Method::PATCH => true,
        _ => false,
    };
    if passed.is_err() || !takes_body {
        drain(std::mem::take(request.body_mut())).await;
    } else if is_grpc {
        grpc::meter(&state, &mut request);
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
            if is_grpc { grpc::refuse(refusal) } else { refusal.into_response() }
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
    let mut parts = body.into_data_stream();
    let read = async {
        let mut bytes = 0;
        while let Some(Ok(part)) = parts.next().await {
            bytes += part.len();
            if bytes > BYTES {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(TIME, read).await;
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
        // The console is the same for everybody, and asks for a token.
        (_, "/healthz" | "/readyz" | "/") => None,
        (_, path) if path.starts_with("/console/") => None,
        // As `/readyz`.
        (_, path) if path.starts_with("/grpc.health.v1.Health/") => None,
        // It shows its token itself.
        (&(Method::POST | Method::DELETE), "/api/v1/session") => None,
        (&(Method::GET | Method::HEAD), _) => Some(Role::Read),
        (&Method::POST, path) if path.ends_with("/entries") => Some(Role::Write),
        (&Method::POST, "/logmachine.v1.Log/Append" | "/logmachine.v1.Log/AppendStream") => {
            Some(Role::Write)
        }
        (&Method::POST, path) if path.starts_with("/logmachine.v1.Log/") => Some(Role::Read),
        (&Method::POST, path) if path.starts_with("/grpc.reflection.") => Some(Role::Read),
        _ => Some(Role::Admin),
    }
}

/// Who sends a request.
#[derive(Serialize, ToSchema)]
struct CallerBody {
    /// The name of the token, or `local` where none is needed
    name: String,
    /// `read`, `write` or `admin`
    role: &'static str,
    /// Whether it is by the cookie of a browser's session
    is_session: bool,
}

/// Says who one is, and what one may do.
#[utoipa::path(
    get, path = "/api/v1/session",
    responses((status = 200, body = CallerBody), (status = 401, body = ErrorBody))
)]
async fn who(extract::Extension(caller): extract::Extension<Caller>) -> Json<CallerBody> {
    let (role, is_session) = (caller.role().as_str(), caller.is_session);
    Json(CallerBody { name: caller.name.to_string(), role, is_session })
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
