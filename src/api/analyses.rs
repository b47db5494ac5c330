//! Analyses: which there are, and how far each is. What they come to is in the instances of their names.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract;
use serde::Serialize;
use utoipa::ToSchema;

use super::state::Shared;
use crate::time::moment;
use crate::watchers::analyses::Running;

/// Analyses, all of them.
#[derive(Serialize, ToSchema)]
pub(super) struct AnalysesBody {
    analyses: Vec<AnalysisBody>,
    /// Null: there are no more
    next: Option<String>,
}

/// An analysis.
#[derive(Serialize, ToSchema)]
pub(super) struct AnalysisBody {
    /// Its name, and that of the instance that has its rows
    name: String,
    /// The instance whose events are looked at
    from: String,
    window_seconds: f64,
    /// How far it is from one window to the next
    every_seconds: f64,
    /// The number of the element that is the key, from 1; null: one row a window
    by: Option<usize>,
    /// What is computed, by name
    #[schema(example = json!({"open": "first(2)", "n": "count"}))]
    values: BTreeMap<String, String>,
    /// Entries stamped before this moment have been looked at, RFC 3339
    position: String,
    /// By how much that is older than the newest entry
    behind_seconds: f64,
    /// The end of the last window that was recorded
    last_window: Option<String>,
    /// Rows of windows that are not over
    rows: u64,
}

impl AnalysisBody {
    #[expect(clippy::cast_precision_loss, reason = "JSON has floats")]
    fn of(running: &Running) -> Self {
        let seconds = |micros: u64| micros as f64 / 1e6;
        let analysis = &running.analysis;
        let progress = running.progress();
        AnalysisBody {
            name: analysis.name.clone(),
            from: analysis.from.clone(),
            window_seconds: seconds(analysis.window),
            every_seconds: seconds(analysis.every),
            by: analysis.by,
            values: analysis
                .values
                .iter()
                .map(|(name, it)| (name.clone(), it.to_string()))
                .collect(),
            position: moment::rfc3339(progress.position),
            behind_seconds: seconds(running.behind_micros()),
            last_window: progress.told.map(moment::rfc3339),
            rows: progress.rows,
        }
    }
}

/// Lists analyses.
#[utoipa::path(get, path = "/api/v1/analyses", responses((status = 200, body = AnalysesBody)))]
pub(super) async fn analyses(extract::State(state): extract::State<Shared>) -> Json<AnalysesBody> {
    let running = state.analyses.running();
    let analyses = running.values().map(|it| AnalysisBody::of(it)).collect();
    Json(AnalysesBody { analyses, next: None })
}
