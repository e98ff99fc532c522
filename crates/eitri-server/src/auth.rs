//! Bearer tokens, as vLLM's `--api-key` wants them.

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::AppState;

/// Lets a request to `/v1` pass only with one of the keys. Other routes stay open, and so does
/// `OPTIONS`, which browsers send without credentials.
pub(crate) async fn require_key(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let keys = &state.config().api_keys;
    let guarded = request.uri().path().starts_with("/v1") && request.method() != Method::OPTIONS;
    if !guarded || keys.is_empty() || has_key(request.headers(), keys) {
        return next.run(request).await;
    }
    (StatusCode::UNAUTHORIZED, Json(json!({"error": "Unauthorized"}))).into_response()
}

fn has_key(headers: &HeaderMap, keys: &[String]) -> bool {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return false };
    let Some((scheme, token)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else {
        return false;
    };
    // No early exit: the time must not tell which key was nearly right.
    let matches = keys.iter().filter(|key| equal(key.as_bytes(), token.as_bytes())).count();
    scheme.eq_ignore_ascii_case("bearer") && matches > 0
}

/// Comparison in a time that depends on the lengths alone.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}
