//! `GET /health`, `/ping`, `/version`, `/load`.

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};

use crate::AppState;

/// 200 while requests are accepted, else 503; no body.
pub(crate) async fn health(State(state): State<AppState>) -> StatusCode {
    if state.engine().is_shut_down() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

/// The version of the server.
pub(crate) async fn version() -> Json<Value> {
    Json(json!({"version": env!("CARGO_PKG_VERSION")}))
}

/// The number of sequences that run or wait.
pub(crate) async fn load(State(state): State<AppState>) -> Json<Value> {
    let stats = *state.engine().stats().borrow();
    Json(json!({"server_load": stats.running + stats.waiting}))
}
