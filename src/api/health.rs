//! Whether the program is alive, and whether it does its work.

use axum::Json;
use axum::extract;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::state::Shared;
use crate::instance::Recording;

/// Whether all is well.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok` or `not_ready`
    status: &'static str,
    /// What is not as it should be
    reasons: Vec<String>,
}

/// Says that the program is alive.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = Health)))]
pub(super) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok", reasons: Vec::new() })
}

/// Says whether every instance records.
#[utoipa::path(get, path = "/readyz", responses((status = 200, body = Health), (status = 503, body = Health)))]
pub(super) async fn readyz(extract::State(state): extract::State<Shared>) -> impl IntoResponse {
    let reasons = not_ready(&state);
    match reasons.is_empty() {
        true => (StatusCode::OK, Json(Health { status: "ok", reasons })),
        false => (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "not_ready", reasons })),
    }
}

/// What is not as it should be.
pub(super) fn not_ready(state: &Shared) -> Vec<String> {
    let reason = |name: &str, recording| match recording {
        Recording::Running => None,
        Recording::Waiting(why) => Some(format!("instance {name} waits: {why}")),
        Recording::Failed(why) => Some(format!("instance {name} has failed: {why}")),
    };
    let instances = state.instances.iter();
    instances.filter_map(|(name, instance)| reason(name, instance.tail().recording())).collect()
}
