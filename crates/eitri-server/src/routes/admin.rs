//! Routes for development.

use axum::{extract::State, http::StatusCode};

use crate::{ApiError, AppState};

/// `POST /reset_prefix_cache`: the next request of every prompt is cold.
pub(crate) async fn reset_prefix_cache(
    State(state): State<AppState>,
) -> Result<StatusCode, ApiError> {
    match state.engine().reset_prefix_cache().await {
        Some(blocks) => {
            tracing::info!(blocks, "prefix cache reset");
            Ok(StatusCode::OK)
        }
        None => Err(ApiError::Engine("the engine has stopped".into())),
    }
}
