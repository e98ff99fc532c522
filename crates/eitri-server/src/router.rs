//! Which path leads where.

use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    http::{HeaderValue, StatusCode},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;
use tower_http::{
    cors::{AllowOrigin, Any, CorsLayer},
    trace::TraceLayer,
};

use crate::{
    AppState, auth,
    routes::{admin, chat, completions, health, metrics, models, tokenize},
};

/// All routes of a server.
pub fn router(state: AppState) -> Router {
    let mut router = Router::new()
        .route("/v1/models", get(models::list))
        .route("/v1/completions", post(completions::create))
        .route("/v1/chat/completions", post(chat::create))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
        .route("/health", get(health::health))
        .route("/ping", get(health::health).post(health::health))
        .route("/version", get(health::version))
        .route("/load", get(health::load))
        .route("/metrics", get(metrics::metrics));
    if state.config().dev_mode {
        router = router.route("/reset_prefix_cache", post(admin::reset_prefix_cache));
    }
    let router = router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(state.config().max_body_bytes))
        .layer(middleware::from_fn_with_state(state.clone(), auth::require_key))
        .layer(TraceLayer::new_for_http());
    let router = match cors(&state.config().allowed_origins) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router.with_state(state)
}

fn cors(origins: &[String]) -> Option<CorsLayer> {
    let origin = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let values = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
        AllowOrigin::list(values)
    };
    let layer = CorsLayer::new().allow_origin(origin).allow_methods(Any).allow_headers(Any);
    (!origins.is_empty()).then_some(layer)
}

/// Starlette's shape, which clients of vLLM meet on unknown paths.
async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"detail": "Not Found"}))).into_response()
}

async fn method_not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, Json(json!({"detail": "Method Not Allowed"}))).into_response()
}
