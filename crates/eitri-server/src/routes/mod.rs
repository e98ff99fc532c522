//! One file per group of routes.

pub(crate) mod admin;
pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod models;
pub(crate) mod tokenize;

use axum::http::HeaderMap;
use eitri_openai::{SamplingFields, StreamOptions};
use uuid::Uuid;

use crate::{ApiError, AppState, ServerConfig, state::unix_seconds};

/// What all objects of one response begin with.
#[derive(Debug, Clone)]
struct Envelope {
    id: String,
    created: u64,
    model: String,
}

impl Envelope {
    /// The id comes from the header `X-Request-Id`, else from the body, else from chance.
    fn new(prefix: &str, headers: &HeaderMap, from_body: Option<&str>, state: &AppState) -> Self {
        let header = headers.get("x-request-id").and_then(|value| value.to_str().ok());
        let given = header.or(from_body).filter(|id| !id.is_empty());
        let id = given.map_or_else(|| Uuid::new_v4().simple().to_string(), str::to_owned);
        let (created, model) = (unix_seconds(), state.model().name.clone());
        Self { id: format!("{prefix}-{id}"), created, model }
    }
}

/// Which token counts a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StreamUsage {
    at_end: bool,
    in_chunks: bool,
}

/// Whether to stream, and with which token counts.
fn stream_mode(
    stream: Option<bool>,
    options: Option<StreamOptions>,
    sampling: &SamplingFields,
    config: &ServerConfig,
) -> Result<Option<StreamUsage>, ApiError> {
    if !stream.unwrap_or(false) {
        if options.is_some() {
            let message = "stream_options can only be set together with stream";
            return Err(ApiError::field("stream_options", message));
        }
        return Ok(None);
    }
    if sampling.prompt_logprobs.is_some() {
        let message = "prompt_logprobs cannot be streamed: leave out stream or prompt_logprobs";
        return Err(ApiError::field("prompt_logprobs", message));
    }
    let options = options.unwrap_or_default();
    let at_end = config.force_include_usage || options.include_usage.unwrap_or(false);
    let in_chunks =
        at_end && (config.force_include_usage || options.continuous_usage_stats.unwrap_or(false));
    Ok(Some(StreamUsage { at_end, in_chunks }))
}
